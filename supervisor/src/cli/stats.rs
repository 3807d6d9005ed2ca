//! `sluice stats`: what became of each frame of a run, latencies, workers, files.

mod equations;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use contract::exit::Exit;
use contract::ledger::{
    Counters, CropCounters, CropLedger, GatewayCounters, InferCounters, IngestCounters,
    IntakeCounters, MosaicCounters, RenderCounters, TileCounters, TileLedger,
};
use serde::Serialize;

use super::text::{print_table, seconds_between, utc};
use super::{CommandError, Query, open_store, print_json};
use crate::books::StreamBooks;
use crate::run::board::milliseconds;
use crate::store::{
    CounterRow, FileRow, GapRow, GenerationRow, LatencyRow, RunRow, StreamRow, WorkerRow,
};
use equations::{Equation, equations};

#[derive(Serialize)]
struct Stats<'a> {
    run: &'a RunRow,
    /// 1 when the last text that the run was given was good, 0 when not.
    config_last_reload_successful: u8,
    /// The generation in force.
    config_generation: u64,
    generations: &'a [GenerationRow],
    streams: Vec<StreamStats<'a>>,
    workers: &'a [WorkerRow],
    files: &'a [FileRow],
    recording_gaps: &'a [GapRow],
}

#[derive(Serialize)]
struct StreamStats<'a> {
    #[serde(flatten)]
    stream: &'a StreamRow,
    /// Every counter, by book and name.
    counters: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
    equations: Vec<Equation>,
    /// Every equation holds and nothing is in flight.
    closed: bool,
    lost: u64,
    latencies: Vec<&'a LatencyRow>,
    models: Vec<ModelStats<'a>>,
}

/// What a model's runs were like.
#[derive(Debug, PartialEq, Serialize)]
struct ModelStats<'a> {
    book: &'a str,
    frames: u64,
    /// Frames of a run, on average over frames.
    batch: f64,
    /// Milliseconds of a frame in the model: its share of its run.
    model_ms: f64,
    /// Milliseconds making its tensor and reading the outputs.
    conversion_ms: f64,
}

impl<'a> ModelStats<'a> {
    /// `None` where the model did not run.
    #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
    fn of(book: &'a str, infer: &InferCounters) -> Option<Self> {
        let mean = |sum: u64| sum as f64 / infer.inferred as f64;
        (infer.inferred > 0).then(|| Self {
            book,
            frames: infer.inferred,
            batch: mean(infer.batch_frames),
            model_ms: mean(infer.model_us) / 1e3,
            conversion_ms: mean(infer.conversion_us) / 1e3,
        })
    }
}

pub(super) fn stats(
    data: &Path,
    query: &Query,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let run = store.run(&query.run)?;
    let streams = store.streams(&run.id)?;
    let counters = store.counters(&run.id)?;
    let latencies = store.latencies(&run.id)?;
    let workers = store.workers(&run.id)?;
    let files = store.files(&run.id)?;
    let gaps = store.recording_gaps(&run.id)?;
    let generations = store.generations(&run.id)?;
    let of_stream = |stream| stream_stats(stream, &counters, &latencies);
    let stats = Stats {
        run: &run,
        config_last_reload_successful: run.reload_error.is_none().into(),
        config_generation: run.generation,
        generations: &generations,
        streams: streams.iter().map(of_stream).collect(),
        workers: &workers,
        files: &files,
        recording_gaps: &gaps,
    };
    if query.format.json {
        print_json(out, &stats)?;
    } else {
        print(out, &stats)?;
    }
    Ok(Exit::Success)
}

fn stream_stats<'a>(
    stream: &'a StreamRow,
    counters: &'a [CounterRow],
    latencies: &'a [LatencyRow],
) -> StreamStats<'a> {
    let mut by_book: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for row in counters.iter().filter(|row| row.stream == stream.name) {
        let book = by_book.entry(&row.book).or_default();
        book.insert(&row.counter, row.value);
    }
    let books = stream_books(&by_book);
    let of_models = by_book.iter().filter_map(|(book, counters)| {
        let is_model = book.starts_with("infer:") || book.starts_with("infer-crops:");
        let infer = is_model.then(|| read::<InferCounters>(counters))?;
        ModelStats::of(book, &infer)
    });
    StreamStats {
        models: of_models.collect(),
        stream,
        equations: equations(&books),
        closed: books.check_closed().is_ok(),
        lost: books.ledger.lost(),
        counters: by_book,
        latencies: latencies
            .iter()
            .filter(|row| row.stream == stream.name)
            .collect(),
    }
}

fn stream_books(by_book: &BTreeMap<&str, BTreeMap<&str, u64>>) -> StreamBooks {
    let mut books = StreamBooks::default();
    for (book, counters) in by_book {
        match book.split_once(':') {
            None if *book == "ingest" => books.ledger.ingest = read::<IngestCounters>(counters),
            None if *book == "render" => books.ledger.render = read::<RenderCounters>(counters),
            None if *book == "intake" => books.intake = Some(read::<IntakeCounters>(counters)),
            None if *book == "gateway" => books.gateway = Some(read::<GatewayCounters>(counters)),
            Some(("infer", model)) => {
                let infer = read::<InferCounters>(counters);
                books.ledger.infer.push((model.to_owned(), infer));
            }
            Some(("crops", model)) => {
                let infer = by_book.get(format!("infer-crops:{model}").as_str());
                books.ledger.crops.push(CropLedger {
                    model: model.to_owned(),
                    cut: read::<CropCounters>(counters),
                    infer: infer.map(read::<InferCounters>).unwrap_or_default(),
                });
            }
            Some(("tiles", mosaic)) => {
                let taken = by_book.get(format!("mosaic:{mosaic}").as_str());
                books.ledger.tiles.push(TileLedger {
                    mosaic: mosaic.to_owned(),
                    sent: read::<TileCounters>(counters),
                    taken: taken.map(read::<MosaicCounters>).unwrap_or_default(),
                });
            }
            _ => {}
        }
    }
    books
}

fn read<C: Counters>(counters: &BTreeMap<&str, u64>) -> C {
    let value = |name: &&str| counters.get(*name).copied().unwrap_or(0);
    C::from_words(&C::NAMES.iter().map(value).collect::<Vec<_>>())
}

fn print(out: &mut impl Write, stats: &Stats<'_>) -> Result<(), CommandError> {
    let run = stats.run;
    let took = match run.end_wall_ms {
        Some(end) => format!(", {}", seconds_between(run.begin_wall_ms, end)),
        None => String::new(),
    };
    writeln!(
        out,
        "run {}  {}{took}, began {}",
        run.id,
        run.state,
        utc(run.begin_wall_ms)
    )?;
    if let Some(detail) = &run.detail {
        writeln!(out, "  {detail}")?;
    }
    if run.rows_given_up > 0 {
        writeln!(out, "  {} rows could not be stored", run.rows_given_up)?;
    }
    if let Some(error) = &run.reload_error {
        writeln!(
            out,
            "  last reload failed, generation {} runs on: {error}",
            run.generation
        )?;
    }
    for stream in &stats.streams {
        print_stream(out, stream)?;
    }
    print_generations(out, stats.generations)?;
    if !stats.workers.is_empty() {
        writeln!(out, "\nworkers")?;
        let header = [
            "worker",
            "start",
            "pid",
            "ready after",
            "lived",
            "ended",
            "text",
        ];
        let rows: Vec<_> = stats.workers.iter().map(worker_cells).collect();
        print_table(out, &header, &rows)?;
    }
    print_files(out, run, stats.files)?;
    if !stats.recording_gaps.is_empty() {
        writeln!(out, "\nnot recorded")?;
        for gap in stats.recording_gaps {
            let end = match gap.end_wall_ms {
                Some(end) => format!("for {}", seconds_between(gap.begin_wall_ms, end)),
                None => "until now".to_owned(),
            };
            writeln!(
                out,
                "{} from {} {end}, {} frames: {}",
                gap.stream,
                utc(gap.begin_wall_ms),
                gap.frames,
                gap.text
            )?;
        }
    }
    Ok(())
}

/// Recordings are many: a line a stream. Of the others each.
fn print_files(out: &mut impl Write, run: &RunRow, files: &[FileRow]) -> Result<(), CommandError> {
    if files.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfiles")?;
    let same = |a: &FileRow, b: &FileRow| (&a.stream, &a.kind) == (&b.stream, &b.kind);
    for group in files.chunk_by(same) {
        if group[0].kind == "recording" {
            print_recordings(out, run, group)?;
            continue;
        }
        for file in group {
            // A snapshot is one picture.
            let frames = match file.kind.as_str() {
                "snapshot" => String::new(),
                _ => format!(", {} frames", file.frames),
            };
            let path = run.data_directory.join(&file.path);
            let (kind, stream) = (&file.kind, &file.stream);
            writeln!(out, "{kind} of {stream}: {}{frames}", path.display())?;
        }
    }
    Ok(())
}

fn print_recordings(
    out: &mut impl Write,
    run: &RunRow,
    files: &[FileRow],
) -> Result<(), CommandError> {
    let is_gone = |file: &&FileRow| matches!(file.state.as_str(), "deleted" | "missing");
    let gone = files.iter().filter(is_gone).count();
    let there = || files.iter().filter(|file| !is_gone(file));
    let frames: u64 = there().map(|file| file.frames).sum();
    let bytes: u64 = there().filter_map(|file| file.bytes).sum();
    let stream = &files[0].stream;
    write!(out, "recording of {stream}: {} files", there().count())?;
    if let (Some(first), Some(last)) = (there().next(), there().next_back()) {
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let megabytes = bytes as f64 / 1e6;
        write!(
            out,
            ", {frames} frames, {megabytes:.1} MB, {} to {}, the last {}",
            utc(first.begin_wall_ms),
            utc(last.end_wall_ms),
            run.data_directory.join(&last.path).display()
        )?;
    }
    let gone = match gone {
        0 => String::new(),
        gone => format!("; {gone} deleted or gone"),
    };
    writeln!(out, "{gone}")?;
    Ok(())
}

/// What became of each reload; what a run began with is no news.
fn print_generations(
    out: &mut impl Write,
    generations: &[GenerationRow],
) -> Result<(), CommandError> {
    if generations.len() < 2 {
        return Ok(());
    }
    writeln!(out, "\nreloads")?;
    let header = ["generation", "asked by", "at", "outcome", "took", "text"];
    let cells = |row: &GenerationRow| {
        let took = row.applied_wall_ms.map(|applied| applied - row.wall_ms);
        // What the workers said is long; the store has all of it.
        let lines = [&row.diagnostics, &row.plan];
        let first = lines.into_iter().find_map(|lines| lines.first());
        vec![
            row.generation.to_string(),
            row.asked_by.clone(),
            utc(row.wall_ms),
            row.outcome.clone(),
            took.map_or_else(|| "-".to_owned(), |took| format!("{took} ms")),
            first.cloned().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = generations[1..].iter().map(cells).collect();
    print_table(out, &header, &rows)?;
    Ok(())
}

fn print_stream(out: &mut impl Write, stats: &StreamStats<'_>) -> Result<(), CommandError> {
    let stream = stats.stream;
    let mut facts = vec![stream.source.clone()];
    if let (Some(width), Some(height)) = (stream.width, stream.height) {
        facts.push(format!("{width}x{height}"));
    }
    facts.extend(stream.fps.map(|fps| format!("{fps:.2} fps")));
    facts.extend(stream.decoder.clone());
    writeln!(out, "\nstream {}  {}", stream.name, facts.join(", "))?;
    let detail = match stream.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    writeln!(out, "  {}{detail}", stream.state)?;
    for equation in &stats.equations {
        writeln!(out, "  {:<14} {}", equation.book, equation.text())?;
    }
    let verdict = if stats.closed {
        "the books balance, nothing is in flight"
    } else if stats.equations.iter().all(|equation| equation.balanced) {
        "the books balance, with frames in flight"
    } else {
        "the books do NOT balance"
    };
    writeln!(out, "  {verdict}")?;
    for latency in &stats.latencies {
        writeln!(
            out,
            "  {:<14} latency p50 {} ms, p90 {} ms, p99 {} ms, max {} ms over {} frames",
            latency.book,
            milliseconds(Some(latency.p50_us)),
            milliseconds(Some(latency.p90_us)),
            milliseconds(Some(latency.p99_us)),
            milliseconds(Some(latency.max_us)),
            latency.frames
        )?;
    }
    for model in &stats.models {
        writeln!(
            out,
            "  {:<14} {:.2} frames a batch, {:.2} ms a frame in the model, {:.2} beside it",
            model.book, model.batch, model.model_ms, model.conversion_ms
        )?;
    }
    Ok(())
}

fn worker_cells(worker: &WorkerRow) -> Vec<String> {
    let since_begin = |end: Option<i64>| {
        end.map_or_else(
            || "-".to_owned(),
            |end| seconds_between(worker.begin_wall_ms, end),
        )
    };
    let ended = match (&worker.reason, worker.signal) {
        (Some(reason), Some(signal)) => format!("{reason} (signal {signal})"),
        (Some(reason), None) => reason.clone(),
        (None, _) => "-".to_owned(),
    };
    let said = worker.text.as_ref().filter(|text| !text.is_empty());
    vec![
        worker.worker.clone(),
        worker.incarnation.to_string(),
        worker
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        since_begin(worker.ready_wall_ms),
        since_begin(worker.end_wall_ms),
        ended,
        said.or(worker.ready_text.as_ref())
            .cloned()
            .unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::equations::tests::books;
    use super::*;

    #[test]
    fn a_models_runs_are_means_over_its_frames() {
        let infer = InferCounters {
            inferred: 4,
            // One alone, and three together.
            batch_frames: 10,
            model_us: 20_000,
            conversion_us: 1000,
            ..Default::default()
        };
        let stats = ModelStats::of("infer:people", &infer).expect("it ran");
        assert_eq!(
            (stats.batch, stats.model_ms, stats.conversion_ms),
            (2.5, 5.0, 0.25)
        );
        assert_eq!(
            ModelStats::of("infer:people", &InferCounters::default()),
            None
        );
    }

    #[test]
    fn counters_are_read_back_by_name() {
        let all = books();
        let infer = all.ledger.infer[0].1.to_words();
        let infer = InferCounters::NAMES.iter().copied().zip(infer).collect();
        let ingest = all.ledger.ingest.to_words();
        let ingest = IngestCounters::NAMES.iter().copied().zip(ingest).collect();
        let by_book = BTreeMap::from([("infer:people", infer), ("ingest", ingest)]);
        assert_eq!(stream_books(&by_book), all);
    }
}
