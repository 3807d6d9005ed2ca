//! What a running supervisor writes, and the SQL that writes it.

use std::collections::HashMap;
use std::sync::Arc;

use contract::control::{FileRecord, FrameRecord, SourceInfo};
use contract::detection::Skip;
use contract::event::Event;
use contract::latency::Histogram;
use contract::name::{RunId, StreamName, WorkerId};
use contract::spec::RenderModelSpec;
use rusqlite::{Connection, params};

use super::RunState;

/// One thing to be written.
#[derive(Debug, Clone)]
pub enum Row {
    /// A stream's state has changed.
    Stream(StreamRowState),
    /// A stream's source is known.
    Source {
        /// The stream.
        stream: StreamName,
        /// What is known.
        info: SourceInfo,
    },
    /// A worker process was started, or could not be.
    WorkerBegun {
        /// Which.
        worker: WorkerId,
        /// Its start, from 0.
        incarnation: u32,
        /// Its process; `None` when it could not be started.
        pid: Option<u32>,
        /// When.
        wall_ms: i64,
    },
    /// A worker takes frames.
    WorkerReady {
        /// Which.
        worker: WorkerId,
        /// Its start, from 0.
        incarnation: u32,
        /// What it said it works with.
        text: String,
        /// When.
        wall_ms: i64,
    },
    /// A worker process is gone.
    WorkerEnded(WorkerEnd),
    /// A rule began or ended to fire.
    Event(Box<Event>),
    /// What was seen in some frames.
    Frames {
        /// The stream.
        stream: StreamName,
        /// Names of its models and labels.
        models: Arc<[RenderModelSpec]>,
        /// The frames.
        records: Vec<FrameRecord>,
    },
    /// A file was begun or finished.
    File(FileRecord),
    /// All counters of one book.
    Ledger {
        /// The stream it speaks of.
        stream: StreamName,
        /// `ingest`, `infer:MODEL`, `render`, `gateway`.
        book: String,
        /// Each counter's name and value.
        counters: Vec<(&'static str, u64)>,
    },
    /// The latencies of one book.
    Latency(Latency),
    /// One stream over the last second.
    Metric(MetricSample),
    /// The run is over.
    RunEnded(RunEnd),
}

/// A stream's state, for people.
#[derive(Debug, Clone)]
pub struct StreamRowState {
    /// The stream.
    pub stream: StreamName,
    /// The state in one word.
    pub state: &'static str,
    /// What happened.
    pub detail: String,
}

/// How a worker process ended.
#[derive(Debug, Clone)]
pub struct WorkerEnd {
    /// Which.
    pub worker: WorkerId,
    /// Its start, from 0.
    pub incarnation: u32,
    /// When.
    pub wall_ms: i64,
    /// What it exited with.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
    /// Why, in one word.
    pub reason: &'static str,
    /// Its last words.
    pub text: String,
}

/// The latencies of one book.
#[derive(Debug, Clone)]
pub struct Latency {
    /// The stream it speaks of.
    pub stream: StreamName,
    /// `ingest`, `infer:MODEL`, `render`, `gateway`.
    pub book: String,
    /// All that was measured.
    pub histogram: Histogram,
}

/// One stream over the last second.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    /// The stream.
    pub stream: StreamName,
    /// When the second ended.
    pub wall_ms: i64,
    /// Frames captured, a second.
    pub captured_fps: f64,
    /// Frames its first model ran on, a second.
    pub inferred_fps: f64,
    /// Frames rendered, a second.
    pub rendered_fps: f64,
    /// Median of capture to rendered.
    pub latency_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub latency_p99_us: Option<u64>,
    /// Frames dropped in this interval, gates aside.
    pub dropped: u64,
    /// Frames lost in this interval.
    pub lost: u64,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// Its last state.
    pub state: RunState,
    /// What `sluice run` exits with.
    pub exit_code: u8,
    /// Why it failed.
    pub detail: Option<String>,
    /// When.
    pub wall_ms: i64,
}

impl Row {
    /// Whether it is one of many: given up first when the disk cannot follow.
    pub(super) fn is_bulk(&self) -> bool {
        matches!(self, Self::Frames { .. } | Self::Metric(_))
    }

    /// Rows of the database that it becomes.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Frames { records, .. } => records
                .iter()
                .map(|record| 1 + record.objects.len() as u64)
                .sum(),
            Self::Ledger { counters, .. } => counters.len() as u64,
            _ => 1,
        }
    }

    /// Writes it, inside the caller's transaction.
    pub(super) fn write(
        &self,
        connection: &Connection,
        run: &RunId,
        stream_ids: &HashMap<StreamName, i64>,
    ) -> rusqlite::Result<()> {
        let run = run.as_str();
        let id_of = |stream: &StreamName| {
            stream_ids
                .get(stream)
                .copied()
                .ok_or(rusqlite::Error::QueryReturnedNoRows)
        };
        let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            connection.prepare_cached(sql)?.execute(values).map(drop)
        };
        match self {
            Self::Stream(row) => execute(
                "UPDATE streams SET state = ?2, detail = ?3 WHERE id = ?1",
                params![id_of(&row.stream)?, row.state, row.detail],
            ),
            Self::Source { stream, info } => execute(
                "UPDATE streams SET width = ?2, height = ?3, source_width = ?4, source_height = ?5,
                 fps = ?6, frames_total = ?7, decoder = ?8, hardware = ?9 WHERE id = ?1",
                params![
                    id_of(stream)?,
                    info.size.width,
                    info.size.height,
                    info.source_size.width,
                    info.source_size.height,
                    (info.fps > 0.0).then_some(info.fps),
                    info.frames_total,
                    info.decoder,
                    info.hardware,
                ],
            ),
            Self::WorkerBegun {
                worker,
                incarnation,
                pid,
                wall_ms,
            } => execute(
                "INSERT OR REPLACE INTO workers (run, worker, incarnation, kind, pid, begin_wall_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![run, worker.to_string(), incarnation, worker.kind(), pid, wall_ms],
            ),
            Self::WorkerReady {
                worker,
                incarnation,
                text,
                wall_ms,
            } => execute(
                "UPDATE workers SET ready_wall_ms = ?4, ready_text = ?5
                 WHERE run = ?1 AND worker = ?2 AND incarnation = ?3",
                params![run, worker.to_string(), incarnation, wall_ms, text],
            ),
            Self::WorkerEnded(end) => execute(
                "UPDATE workers SET end_wall_ms = ?4, exit_code = ?5, signal = ?6, reason = ?7, text = ?8
                 WHERE run = ?1 AND worker = ?2 AND incarnation = ?3",
                params![
                    run,
                    end.worker.to_string(),
                    end.incarnation,
                    end.wall_ms,
                    end.code,
                    end.signal,
                    end.reason,
                    end.text,
                ],
            ),
            Self::Event(event) => write_event(connection, run, event),
            Self::Frames {
                stream,
                models,
                records,
            } => {
                let id = id_of(stream)?;
                records
                    .iter()
                    .try_for_each(|record| write_frame(connection, id, models, record))
            }
            Self::File(file) => execute(
                "INSERT INTO files (run, path, stream, kind, begin_wall_ms, begin_pts_ns, frames)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (run, path) DO UPDATE SET frames = coalesce(excluded.frames, frames)",
                params![
                    run,
                    file.path,
                    file.stream.as_str(),
                    file.kind.as_str(),
                    file.begin_wall_ms,
                    file.begin_pts_ns,
                    file.frames,
                ],
            ),
            Self::Ledger {
                stream,
                book,
                counters,
            } => write_counters(connection, run, stream.as_str(), book, counters),
            Self::Latency(latency) => write_latency(connection, run, latency),
            Self::Metric(sample) => execute(
                "INSERT OR REPLACE INTO metric_samples (stream_id, wall_ms, captured_fps, inferred_fps,
                 rendered_fps, latency_p50_us, latency_p99_us, dropped, lost)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    id_of(&sample.stream)?,
                    sample.wall_ms,
                    sample.captured_fps,
                    sample.inferred_fps,
                    sample.rendered_fps,
                    sample.latency_p50_us,
                    sample.latency_p99_us,
                    sample.dropped,
                    sample.lost,
                ],
            ),
            Self::RunEnded(end) => execute(
                "UPDATE runs SET state = ?2, exit_code = ?3, detail = ?4, end_wall_ms = ?5 WHERE id = ?1",
                params![run, end.state.as_str(), end.exit_code, end.detail, end.wall_ms],
            ),
        }
    }
}

fn write_event(connection: &Connection, run: &str, event: &Event) -> rusqlite::Result<()> {
    let bounds = event.bounds;
    let labels = serde_json::to_string(&event.labels)
        .expect("a map of texts is always representable in JSON");
    connection
        .prepare_cached(
            "INSERT INTO events (run, id, stream, rule, track, label, sequence_number, begin_pts_ns,
             end_pts_ns, begin_wall_ms, score, x1, y1, x2, y2, message, labels, snapshot)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
             ON CONFLICT (run, id) DO UPDATE SET
                 end_pts_ns = coalesce(excluded.end_pts_ns, end_pts_ns),
                 snapshot = coalesce(excluded.snapshot, snapshot)",
        )?
        .execute(params![
            run,
            event.id,
            event.stream.as_str(),
            event.rule,
            event.track,
            event.label,
            event.sequence_number,
            event.begin_pts_ns,
            event.end_pts_ns,
            event.begin_wall_ms,
            event.score,
            bounds.map(|bounds| bounds.x1),
            bounds.map(|bounds| bounds.y1),
            bounds.map(|bounds| bounds.x2),
            bounds.map(|bounds| bounds.y2),
            event.message,
            labels,
            event.snapshot,
        ])
        .map(drop)
}

fn write_frame(
    connection: &Connection,
    stream_id: i64,
    models: &[RenderModelSpec],
    record: &FrameRecord,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO frames (stream_id, sequence_number, pts_ns, skip)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            stream_id,
            record.sequence_number,
            record.pts_ns,
            record.skip.map(skip_name),
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO detections (stream_id, sequence_number, ordinal, pts_ns, model, label,
         track, score, x1, y1, x2, y2) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for (ordinal, object) in record.objects.iter().enumerate() {
        let model = models.get(usize::from(object.model));
        let label = model.and_then(|model| model.labels.get(usize::from(object.class)));
        insert.execute(params![
            stream_id,
            record.sequence_number,
            ordinal as u64,
            record.pts_ns,
            model.map_or("?", |model| model.model.as_str()),
            label.map_or("?", String::as_str),
            object.track,
            object.score,
            object.bounds.x1,
            object.bounds.y1,
            object.bounds.x2,
            object.bounds.y2,
        ])?;
    }
    Ok(())
}

pub(super) fn write_counters(
    connection: &Connection,
    run: &str,
    stream: &str,
    book: &str,
    counters: &[(&'static str, u64)],
) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO ledgers (run, stream, book, counter, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (run, stream, book, counter) DO UPDATE SET value = excluded.value",
    )?;
    for (counter, value) in counters {
        upsert.execute(params![run, stream, book, counter, value])?;
    }
    Ok(())
}

pub(super) fn write_latency(
    connection: &Connection,
    run: &str,
    latency: &Latency,
) -> rusqlite::Result<()> {
    let histogram = &latency.histogram;
    let quantile = |quantile| histogram.quantile_us(quantile);
    let (Some(p50), Some(p90), Some(p99), Some(max)) =
        (quantile(0.5), quantile(0.9), quantile(0.99), quantile(1.0))
    else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO latencies (run, stream, book, frames, p50_us, p90_us, p99_us, max_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            run,
            latency.stream.as_str(),
            latency.book,
            histogram.total(),
            p50,
            p90,
            p99,
            max,
        ])
        .map(drop)
}

fn skip_name(skip: Skip) -> &'static str {
    match skip {
        Skip::Gated => "gated",
        Skip::Stale => "stale",
        Skip::Shed => "shed",
        Skip::Overflowed => "overflowed",
        Skip::Failed => "failed",
    }
}
