//! `sluice models bench`

use std::io::Write;

use contract::exit::Exit;
use contract::study::{Answer, BatchSpeed, ConfigurationSpeed, Question, SpeedAnswer};

use super::choice::choose;
use super::{BenchArguments, CommandError, Progress, check_clips, print_json, study_failed};
use crate::cli::text::print_table;
use crate::models::study::{self, StudyError};

/// Frames that are measured on, again and again: more than fit into a cache, and few enough
/// to be kept.
const FRAMES_MAX: u32 = 48;
/// Sessions that get less of the cores than this are in somebody's way.
const PROCESSOR_SHARE_MIN: f64 = 0.9;
/// Batches that give less than this many times the frames of single ones are not worth their
/// latency: what an infer worker takes for the limit, too.
const BATCH_GAIN_MIN: f64 = 1.1;

pub(super) fn bench(
    arguments: &BenchArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let model = choose(&arguments.model)?;
    check_clips(&arguments.clips)?;
    let mut sources: Vec<_> = arguments
        .clips
        .iter()
        .map(|clip| study::clip(clip))
        .collect();
    if sources.is_empty() {
        sources.push(study::pattern(u64::from(FRAMES_MAX)));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let question = Question::Speed {
        model,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
    };
    let mut progress = Progress::begin();
    let mut show = |text: &str| progress.show(|| text.to_owned());
    let answer = study::ask(question, &sources, FRAMES_MAX, &mut show);
    drop(progress);
    let speed = match answer.map_err(|error| study_failed(&error))? {
        Answer::Speed(speed) => speed,
        _ => {
            let error = StudyError::Died("the infer worker answered another question".to_owned());
            return Err(study_failed(&error));
        }
    };
    if arguments.format.json {
        print_json(out, &speed)?;
    } else {
        print(&speed, arguments.clips.is_empty(), out)?;
    }
    Ok(Exit::Success)
}

fn print(
    speed: &SpeedAnswer,
    is_generated: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let kind = if is_generated { "generated" } else { "real" };
    writeln!(
        out,
        "{} on {}, {} cores, {} {kind} frames; times are medians in ms",
        speed.model,
        speed.backend.as_str(),
        speed.cores,
        speed.frames
    )?;
    if !speed.passed_over.is_empty() {
        writeln!(out, "not {}", speed.passed_over)?;
    }
    writeln!(out)?;
    let cells = |row: &ConfigurationSpeed| {
        vec![
            row.sessions.to_string(),
            row.threads.to_string(),
            format!("{:.1}", row.frames_per_second),
            format!("{:.2}", row.frame_ms),
            format!("{:.2}", row.preprocess_ms),
            format!("{:.2}", row.model_ms),
            format!("{:.2}", row.decode_ms),
        ]
    };
    let header = [
        "sessions",
        "threads each",
        "frames/s",
        "a frame",
        "preprocess",
        "model",
        "decode",
    ];
    let rows: Vec<_> = speed.configurations.iter().map(cells).collect();
    print_table(out, &header, &rows)?;
    writeln!(out)?;
    if let [_, _, ..] = speed.batches[..] {
        let cells = speed.batches.iter().map(|row| {
            vec![
                row.batch.to_string(),
                row.sessions.to_string(),
                format!("{:.1}", row.frames_per_second),
                format!("{:.2}", row.batch_ms),
                format!("{:.2}", row.model_ms),
                format!("{:.2}", row.processor_ms),
            ]
        });
        let rows: Vec<_> = cells.collect();
        let header = [
            "batch",
            "sessions",
            "frames/s",
            "a batch",
            "model, a frame",
            "processor, a frame",
        ];
        print_table(out, &header, &rows)?;
    }
    if let Some(limit) = &speed.batch_limit {
        writeln!(out, "no larger batches: {limit}")?;
    }
    writeln!(out)?;
    for line in verdict(speed) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Which configuration wins, and what to write for it.
fn verdict(speed: &SpeedAnswer) -> Vec<String> {
    let rows = speed.configurations.iter();
    let by_rate = |one: &&ConfigurationSpeed, other: &&ConfigurationSpeed| {
        one.frames_per_second.total_cmp(&other.frames_per_second)
    };
    let by_time = |one: &&ConfigurationSpeed, other: &&ConfigurationSpeed| {
        one.frame_ms.total_cmp(&other.frame_ms)
    };
    let mut lines = Vec::new();
    let mut alone = rows.clone().filter(|row| row.threads == 1);
    if alone.any(|row| row.processor_share < PROCESSOR_SHARE_MIN) {
        let text = "other programs were busy meanwhile: measure again when they are not";
        lines.push(text.to_owned());
    }
    if let Some(row) = rows.clone().max_by(by_rate) {
        let rate = row.frames_per_second;
        lines.push(format!("most frames a second: {} ({rate:.0})", shape(row)));
    }
    if let Some(row) = rows.clone().min_by(by_time) {
        let time = row.frame_ms;
        lines.push(format!(
            "soonest done with a frame: {} ({time:.1} ms)",
            shape(row)
        ));
    }
    let batch = best_batch(speed);
    if let ([first, _, ..], Some((best, gain))) = (&speed.batches[..], batch) {
        lines.push(if best.batch == first.batch {
            "batches: none gives so many more frames that it is worth waiting for".to_owned()
        } else {
            format!(
                "batches of {}: {gain:.2} times the frames, each done after {:.1} ms instead of {:.1}",
                best.batch, best.batch_ms, first.batch_ms
            )
        });
    }
    // A run has sessions of one thread only.
    if let Some(row) = rows.filter(|row| row.threads == 1).max_by(by_rate) {
        let batch = batch.map_or(1, |(best, _)| best.batch);
        lines.push(format!(
            "in a run config: `sessions: {}`, `batch: {{max: {batch}}}`",
            row.sessions
        ));
    }
    lines
}

/// The smallest batch that gives nearly as many frames as any, if that is worth it, else the first,
/// of single frames; and how many times as many frames it gives. On a CPU that is a matter of
/// processor time, whatever other programs were doing; a GPU's time is what passes.
fn best_batch(speed: &SpeedAnswer) -> Option<(&BatchSpeed, f64)> {
    let batches = &speed.batches;
    let first = batches.first()?;
    let gain = |row: &BatchSpeed| {
        if speed.backend.is_gpu() {
            row.frames_per_second / first.frames_per_second
        } else {
            first.processor_ms / row.processor_ms
        }
    };
    let most = batches.iter().map(gain).fold(0.0, f64::max);
    if most < BATCH_GAIN_MIN {
        return Some((first, 1.0));
    }
    let mut rows = batches.iter().map(|row| (row, gain(row)));
    rows.find(|(_, gain)| BATCH_GAIN_MIN * gain >= most)
}

/// `2 sessions of 1 thread`
fn shape(row: &ConfigurationSpeed) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (sessions, threads) = (row.sessions, row.threads);
    format!(
        "{sessions} session{} of {threads} thread{}",
        plural(sessions),
        plural(threads)
    )
}

#[cfg(test)]
mod tests {
    use contract::spec::Backend;

    use super::*;

    fn batches(rates: &[f64]) -> Vec<BatchSpeed> {
        let row = |(index, rate): (usize, &f64)| BatchSpeed {
            batch: 1 << index,
            sessions: 2,
            frames_per_second: *rate,
            batch_ms: 10.0 * (index + 1) as f64,
            model_ms: 5.0,
            processor_ms: 10.0,
        };
        rates.iter().enumerate().map(row).collect()
    }

    fn row(sessions: usize, threads: usize, rate: f64, time: f64) -> ConfigurationSpeed {
        ConfigurationSpeed {
            sessions,
            threads,
            frames_per_second: rate,
            processor_share: 0.99,
            frame_ms: time,
            preprocess_ms: 0.4,
            model_ms: time - 0.5,
            decode_ms: 0.1,
        }
    }

    #[test]
    fn the_winner_depends_on_what_is_wanted() {
        let speed = SpeedAnswer {
            model: "nanodet 416x416".to_owned(),
            cores: 2,
            frames: 48,
            configurations: vec![
                row(1, 1, 45.0, 22.0),
                row(2, 1, 91.0, 22.1),
                row(1, 2, 71.0, 14.0),
            ],
            backend: Backend::Cpu,
            passed_over: String::new(),
            batches: Vec::new(),
            batch_limit: None,
        };
        assert_eq!(
            verdict(&speed),
            [
                "most frames a second: 2 sessions of 1 thread (91)",
                "soonest done with a frame: 1 session of 2 threads (14.0 ms)",
                "in a run config: `sessions: 2`, `batch: {max: 1}`",
            ]
        );
        let last_two = |backend, rates: &[f64]| {
            let speed = SpeedAnswer {
                backend,
                batches: batches(rates),
                ..speed.clone()
            };
            verdict(&speed).split_off(2)
        };
        let single = [
            "batches: none gives so many more frames that it is worth waiting for",
            "in a run config: `sessions: 2`, `batch: {max: 1}`",
        ];
        let little = [100.0, 103.0, 107.0, 101.0];
        assert_eq!(last_two(Backend::Cuda, &little), single);
        // Other programs came and went: a frame took the same processor time in all batches.
        assert_eq!(last_two(Backend::Cpu, &[100.0, 95.0, 140.0, 160.0]), single);
        // Eight give a little more than four, and take longer.
        assert_eq!(
            last_two(Backend::Cuda, &[100.0, 170.0, 240.0, 250.0]),
            [
                "batches of 4: 2.40 times the frames, each done after 30.0 ms instead of 10.0",
                "in a run config: `sessions: 2`, `batch: {max: 4}`",
            ]
        );
        let mut busy = speed;
        busy.configurations[1].processor_share = 0.6;
        assert!(verdict(&busy)[0].starts_with("other programs were busy"));
    }
}
