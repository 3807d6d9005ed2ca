//! Writes rows: their SQL, and what must be known to write them.

use std::collections::HashMap;

use contract::best_shot::BestShot;
use contract::event::{Delivery, Event};
use contract::name::{RunId, StreamName};
use rusqlite::{Connection, OptionalExtension, params};

use super::files;
use super::frames::OpenSegments;
use super::row::{Latency, Row};
use super::runs::write_stream;

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// SQLite refused.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// It makes no sense, and never will.
    #[error("{0}")]
    Unusable(String),
}

/// What a writer knows of what it has written. Everything in it can be had from the
/// database again.
#[derive(Debug)]
pub(super) struct Pen {
    run: RunId,
    stream_ids: HashMap<StreamName, i64>,
    segments: OpenSegments,
}

impl Pen {
    pub(super) fn new(run: RunId) -> Self {
        Self {
            run,
            stream_ids: HashMap::new(),
            segments: OpenSegments::default(),
        }
    }

    pub(super) fn run(&self) -> &RunId {
        &self.run
    }

    /// Forgets what was written in a transaction that was not committed.
    pub(super) fn rolled_back(&mut self) {
        self.stream_ids.clear();
        self.segments.clear();
    }

    /// Writes a row, inside the caller's transaction.
    pub(super) fn write(&mut self, connection: &Connection, row: &Row) -> Result<(), WriteError> {
        let Self {
            run,
            stream_ids,
            segments,
        } = self;
        let run = run.as_str();
        let mut id_of = |stream: &StreamName| find_stream(stream_ids, connection, run, stream);
        let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        };
        match row {
            Row::GenerationBegun(begun) => Ok(begun.write(connection, run)?),
            Row::GenerationDone(done) => Ok(done.write(connection, run)?),
            Row::StreamAdded(stream) => Ok(write_stream(connection, run, stream)?),
            Row::Stream(new) => execute(
                "UPDATE streams SET state = ?2, detail = ?3 WHERE id = ?1",
                params![id_of(&new.stream)?, new.state, new.detail],
            ),
            Row::Source { stream, info } => execute(
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
            Row::WorkerBegun {
                worker,
                incarnation,
                pid,
                wall_ms,
            } => execute(
                "INSERT OR REPLACE INTO workers (run, worker, incarnation, kind, pid, begin_wall_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![run, worker.to_string(), incarnation, worker.kind(), pid, wall_ms],
            ),
            Row::WorkerReady {
                worker,
                incarnation,
                text,
                wall_ms,
            } => execute(
                "UPDATE workers SET ready_wall_ms = ?4, ready_text = ?5
                 WHERE run = ?1 AND worker = ?2 AND incarnation = ?3",
                params![run, worker.to_string(), incarnation, wall_ms, text],
            ),
            Row::WorkerEnded(end) => execute(
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
            Row::Event(event) => Ok(write_event(connection, run, event)?),
            Row::Frames {
                stream,
                incarnation,
                models,
                records,
            } => {
                let id = id_of(stream)?;
                segments.write(connection, id, *incarnation, models, records)?;
                Ok(())
            }
            Row::File {
                incarnation,
                record,
            } => Ok(files::note_file(connection, run, *incarnation, record)?),
            Row::FileGone(gone) => Ok(files::write_gone(connection, gone)?),
            Row::RecordingGap(gap) => Ok(files::write_gap(connection, run, gap)?),
            Row::BestShot(shot) => Ok(write_best_shot(connection, run, shot)?),
            Row::Ledger {
                stream,
                book,
                counters,
            } => Ok(write_counters(connection, run, stream.as_str(), book, counters)?),
            Row::Latency(latency) => Ok(write_latency(connection, run, latency)?),
            Row::Metric(sample) => execute(
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
            Row::RunEnded(end) => execute(
                "UPDATE runs SET state = ?2, exit_code = ?3, detail = ?4, end_wall_ms = ?5 WHERE id = ?1",
                params![run, end.state.as_str(), end.exit_code, end.detail, end.wall_ms],
            ),
        }
    }
}

fn find_stream(
    known: &mut HashMap<StreamName, i64>,
    connection: &Connection,
    run: &str,
    stream: &StreamName,
) -> Result<i64, WriteError> {
    if let Some(id) = known.get(stream) {
        return Ok(*id);
    }
    let id = connection
        .prepare_cached("SELECT id FROM streams WHERE run = ?1 AND name = ?2")?
        .query_row([run, stream.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| WriteError::Unusable(format!("run {run} has no stream {stream}")))?;
    known.insert(stream.clone(), id);
    Ok(id)
}

/// An event that is there already only gets its end and its files; so its deliveries are made once.
fn write_event(connection: &Connection, run: &str, event: &Event) -> rusqlite::Result<()> {
    let bounds = event.bounds;
    let labels = serde_json::to_string(&event.labels)
        .expect("a map of texts is always representable in JSON");
    connection
        .prepare_cached(
            "INSERT INTO events (run, id, stream, rule, generation, track, label, sequence_number,
             begin_pts_ns, end_pts_ns, begin_wall_ms, score, x1, y1, x2, y2, message, labels,
             snapshot, clip)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20)
             ON CONFLICT (run, id) DO UPDATE SET
                 end_pts_ns = coalesce(excluded.end_pts_ns, end_pts_ns),
                 snapshot = coalesce(excluded.snapshot, snapshot),
                 clip = coalesce(excluded.clip, clip)",
        )?
        .execute(params![
            run,
            event.id,
            event.stream.as_str(),
            event.rule,
            event.generation,
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
            event.clip,
        ])?;
    event
        .deliveries
        .iter()
        .try_for_each(|delivery| write_delivery(connection, run, event, delivery))
}

/// A file is told of once; of a repeat nothing is changed.
fn write_best_shot(connection: &Connection, run: &str, shot: &BestShot) -> rusqlite::Result<()> {
    let BestShot {
        moment, picture, ..
    } = shot;
    let bounds = &moment.bounds;
    let landmarks = (moment.landmarks.count() > 0).then(|| {
        serde_json::to_string(&moment.landmarks).expect("a list of points is always JSON")
    });
    connection
        .prepare_cached(
            "INSERT INTO best_shots (run, path, stream, track, label, cause, event, sequence_number,
             pts_ns, wall_ms, began_pts_ns, ended_pts_ns, value, score, sharpness, brightness,
             x1, y1, x2, y2, landmarks, width, height)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20, ?21, ?22, ?23)
             ON CONFLICT (run, path) DO NOTHING",
        )?
        .execute(params![
            run,
            shot.path,
            shot.stream.as_str(),
            shot.track,
            shot.label,
            shot.cause.as_str(),
            shot.cause.event(),
            moment.sequence_number,
            moment.pts_ns,
            moment.wall_ms,
            shot.began_pts_ns,
            shot.ended_pts_ns,
            moment.value(),
            moment.score,
            f64::from(moment.quality.sharpness) / 100.0,
            moment.quality.brightness,
            bounds.x1,
            bounds.y1,
            bounds.x2,
            bounds.y2,
            landmarks,
            picture.width,
            picture.height,
        ])
        .map(drop)
}

fn write_delivery(
    connection: &Connection,
    run: &str,
    event: &Event,
    delivery: &Delivery,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO deliveries (run, event, kind, target, payload, wall_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run, event, kind, target) DO NOTHING",
        )?
        .execute(params![
            run,
            event.id,
            delivery.kind.as_str(),
            delivery.target,
            payload(run, event),
            event.begin_wall_ms,
        ])
        .map(drop)
}

/// What a receiver is told: the event as it began. Who else is told is not its business.
fn payload(run: &str, event: &Event) -> String {
    let mut payload =
        serde_json::to_value(event).expect("an event is always representable in JSON");
    if let Some(fields) = payload.as_object_mut() {
        fields.remove("deliveries");
        fields.insert("run".to_owned(), run.into());
    }
    payload.to_string()
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
