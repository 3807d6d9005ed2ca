//! Deletes what is too old or too much, a little at a time.
//!
//! Frames with their objects go by age and by the size of the whole database, the oldest
//! first, whichever run or stream they are of; metric samples go after a week. Runs, events,
//! ledgers, generations and files stay. The writer calls [`Pruner::step`] between two
//! commits, and a step is short.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// How often it is looked whether something is too old or too much.
const ROUND_INTERVAL: Duration = Duration::from_secs(60);

/// Most frames, or metric samples, deleted in a step: some milliseconds.
const STEP_ROWS_MAX: i64 = 256;

/// Metric samples are kept so long.
const METRIC_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Free pages kept in the file, because the next rows need them: 16 MiB.
const FREE_PAGES_KEPT: i64 = 4096;

/// Most pages given back to the file system in a step.
const STEP_PAGES_MAX: i64 = 256;

/// How much of what was seen in frames is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Frames older than this are deleted; `None`: age does not matter.
    pub max_age: Option<Duration>,
    /// While the database is larger than this, the oldest frames are deleted; `None`: size
    /// does not matter. All of it counts, but only frames are deleted.
    pub max_bytes: Option<u64>,
}

/// Deletes by [`Retention`].
#[derive(Debug)]
pub(super) struct Pruner {
    next_round: Instant,
    work: Work,
}

/// What is left to do in a round.
#[derive(Debug)]
enum Work {
    Nothing,
    /// Streams with metric samples that are too old.
    Metrics(Vec<i64>),
    /// Wall time of the oldest frame of each segment, and the segment.
    Frames(BinaryHeap<Reverse<(i64, i64)>>),
    /// Pages of the file that are free.
    Pages,
}

impl Pruner {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_round: now,
            work: Work::Nothing,
        }
    }

    /// Does one short piece of work, if there is any.
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        retention: Retention,
        now: Instant,
        wall_ms: i64,
    ) -> rusqlite::Result<()> {
        let metrics_before = wall_ms.saturating_sub(milliseconds(METRIC_AGE_MAX));
        match &mut self.work {
            Work::Nothing if now < self.next_round => {}
            Work::Nothing => {
                self.next_round = now + ROUND_INTERVAL;
                self.work = Work::Metrics(streams_with_metrics(connection, metrics_before)?);
            }
            Work::Metrics(streams) => match streams.last() {
                Some(stream_id) => {
                    let deleted = delete_metrics(connection, *stream_id, metrics_before)?;
                    if deleted < STEP_ROWS_MAX {
                        streams.pop();
                    }
                }
                None => self.work = Work::Frames(oldest_frames(connection)?),
            },
            Work::Frames(oldest) => match oldest.pop() {
                Some(Reverse((oldest_wall_ms, segment)))
                    if goes(connection, retention, oldest_wall_ms, wall_ms)? =>
                {
                    // A step may take frames that are younger, by less than its length.
                    let rest = delete_frames(connection, segment)?;
                    oldest.extend(rest.map(|wall_ms| Reverse((wall_ms, segment))));
                }
                _ => self.work = Work::Pages,
            },
            Work::Pages => {
                if !give_back_pages(connection)? {
                    self.work = Work::Nothing;
                }
            }
        }
        Ok(())
    }
}

/// Whether the oldest frame there is must go.
fn goes(
    connection: &Connection,
    retention: Retention,
    oldest_wall_ms: i64,
    wall_ms: i64,
) -> rusqlite::Result<bool> {
    let is_old = retention
        .max_age
        .is_some_and(|age| oldest_wall_ms < wall_ms.saturating_sub(milliseconds(age)));
    let is_much = match retention.max_bytes {
        Some(bytes_max) => used_bytes(connection)? > bytes_max,
        None => false,
    };
    Ok(is_old || is_much)
}

fn streams_with_metrics(
    connection: &Connection,
    before_wall_ms: i64,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM streams WHERE EXISTS
         (SELECT 1 FROM metric_samples WHERE stream_id = streams.id AND wall_ms < ?1)",
    )?;
    let streams = statement.query_map([before_wall_ms], |row| row.get(0))?;
    streams.collect()
}

fn oldest_frames(connection: &Connection) -> rusqlite::Result<BinaryHeap<Reverse<(i64, i64)>>> {
    let mut statement = connection.prepare_cached("SELECT id FROM segments")?;
    let segments = statement.query_map([], |row| row.get::<_, i64>(0))?;
    let mut oldest = BinaryHeap::new();
    for segment in segments {
        let segment = segment?;
        let wall_ms = oldest_wall_ms(connection, segment)?;
        oldest.extend(wall_ms.map(|wall_ms| Reverse((wall_ms, segment))));
    }
    Ok(oldest)
}

fn oldest_wall_ms(connection: &Connection, segment: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT begin_wall_ms + offset_pts_ns / 1000000 + drift_ms
             FROM frames JOIN segments ON segments.id = segment_id
             WHERE segment_id = ?1 ORDER BY sequence_number LIMIT 1",
        )?
        .query_row([segment], |row| row.get(0))
        .optional()
}

/// Deletes the oldest frames of a segment with all that was seen in them, and the segment
/// when nothing is left of it. Returns the wall time of its oldest frame then.
fn delete_frames(connection: &mut Connection, segment: i64) -> rusqlite::Result<Option<i64>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // The first that stays; everything is below the largest number there is.
    let end: i64 = transaction
        .prepare_cached(
            "SELECT sequence_number FROM frames WHERE segment_id = ?1
             ORDER BY sequence_number LIMIT 1 OFFSET ?2",
        )?
        .query_row(params![segment, STEP_ROWS_MAX], |row| row.get(0))
        .optional()?
        .unwrap_or(i64::MAX);
    let delete = |table: &str| {
        let sql = format!("DELETE FROM {table} WHERE segment_id = ?1 AND sequence_number < ?2");
        transaction.prepare_cached(&sql)?.execute([segment, end])
    };
    delete("attributes")?;
    delete("detections")?;
    let frames = delete("frames")?;
    transaction
        .prepare_cached(
            "UPDATE streams SET frames_pruned = frames_pruned + ?2
             WHERE id = (SELECT stream_id FROM segments WHERE id = ?1)",
        )?
        .execute(params![segment, frames])?;
    let rest = oldest_wall_ms(&transaction, segment)?;
    if rest.is_none() {
        // Its writer may still be at work on the last one of a stream.
        transaction
            .prepare_cached(
                "DELETE FROM segments WHERE id = ?1 AND EXISTS
                 (SELECT 1 FROM segments AS later
                  WHERE later.stream_id = segments.stream_id AND later.id > ?1)",
            )?
            .execute([segment])?;
    }
    transaction.commit()?;
    Ok(rest)
}

/// Deletes the oldest metric samples of a stream, as far as they are from before a time;
/// returns how many.
fn delete_metrics(
    connection: &Connection,
    stream_id: i64,
    before_wall_ms: i64,
) -> rusqlite::Result<i64> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM metric_samples WHERE stream_id = ?1 AND wall_ms IN
             (SELECT wall_ms FROM metric_samples WHERE stream_id = ?1 AND wall_ms < ?2
              ORDER BY wall_ms LIMIT ?3)",
        )?
        .execute(params![stream_id, before_wall_ms, STEP_ROWS_MAX])?;
    Ok(i64::try_from(deleted).unwrap_or(STEP_ROWS_MAX))
}

/// Bytes of the database that hold something.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(pages * pragma("page_size")?)
}

/// Makes the file smaller when more of it is free than will soon be written again. Returns
/// whether it did.
fn give_back_pages(connection: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let pages = (free - FREE_PAGES_KEPT).min(STEP_PAGES_MAX);
    if pages <= 0 {
        return Ok(false);
    }
    // A row a page: it goes on only while they are taken.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
