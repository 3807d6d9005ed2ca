//! The index of files: recordings, clips and snapshots, and the times without a recording.

use std::path::PathBuf;

use contract::control::{FileContent, FileKind, FileRecord, FileState, RecordingGap};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::row::FileGone;

/// Why a recording was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneReason {
    /// It was older than is kept.
    Age,
    /// There was more than is kept.
    Size,
}

impl GoneReason {
    /// The reason in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
        }
    }
}

/// A recording, a snapshot or a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileRow {
    /// The stream it shows.
    pub stream: String,
    /// `recording`, `snapshot` or `clip`.
    pub kind: String,
    /// Absolute, or inside the run's directory.
    pub path: PathBuf,
    /// `open`, `closed`, `torn`, `deleted`, `missing`.
    pub state: String,
    /// Wall clock of its first frame.
    pub begin_wall_ms: i64,
    /// Wall clock of the end of its last.
    pub end_wall_ms: i64,
    /// Event time of its first frame.
    pub begin_pts_ns: u64,
    /// Event time of the end of its last.
    pub end_pts_ns: u64,
    /// Frames in it.
    pub frames: u64,
    /// Bytes of it.
    pub bytes: Option<u64>,
}

/// A time in which a stream was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapRow {
    /// The stream.
    pub stream: String,
    /// Wall clock of the first frame that is missing.
    pub begin_wall_ms: i64,
    /// Wall clock of the first that was recorded again; `None` while it lasts.
    pub end_wall_ms: Option<i64>,
    /// `disk` or `slow`.
    pub reason: String,
    /// What happened, where, and what to do.
    pub text: String,
    /// Frames that are missing.
    pub frames: u64,
}

/// A recording or a clip with its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its run.
    pub run: String,
    /// The run's name.
    pub run_name: String,
    /// The run's own directory.
    pub run_directory: PathBuf,
    /// The start of the worker that writes it.
    pub incarnation: u32,
    /// What is known of it; what is deleted or missing is not listed.
    pub record: FileRecord,
}

impl Recording {
    /// Where it is.
    #[must_use]
    pub fn absolute(&self) -> PathBuf {
        self.run_directory.join(&self.record.path)
    }
}

/// Writes what is known of a file. One that is whole, or gone, stays as it is.
///
/// # Errors
/// What SQLite says.
pub fn note_file(
    connection: &Connection,
    run: &str,
    incarnation: u32,
    record: &FileRecord,
) -> rusqlite::Result<()> {
    let content = &record.content;
    let duration_ns = content.duration_ns;
    connection
        .prepare_cached(
            "INSERT INTO files (run, path, stream, kind, incarnation, state, begin_wall_ms,
             end_wall_ms, begin_pts_ns, end_pts_ns, frames, bytes, width, height)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (run, path) DO UPDATE SET
                 state = excluded.state, begin_wall_ms = excluded.begin_wall_ms,
                 end_wall_ms = excluded.end_wall_ms, begin_pts_ns = excluded.begin_pts_ns,
                 end_pts_ns = excluded.end_pts_ns, frames = excluded.frames,
                 bytes = excluded.bytes, width = excluded.width, height = excluded.height
             WHERE state = 'open'",
        )?
        .execute(params![
            run,
            record.path,
            record.stream.as_str(),
            record.kind.as_str(),
            incarnation,
            record.state.as_str(),
            record.begin_wall_ms,
            content.end_wall_ms.max(record.begin_wall_ms),
            record.begin_pts_ns,
            record.begin_pts_ns.saturating_add(duration_ns),
            content.frames,
            (content.bytes > 0).then_some(content.bytes),
            content.size.map(|size| size.width),
            content.size.map(|size| size.height),
        ])
        .map(drop)
}

/// Whether any run has a row of a file with this path, as it is stored.
///
/// # Errors
/// What SQLite says.
pub fn knows_file(connection: &Connection, path: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM files WHERE path = ?1)")?
        .query_row([path], |row| row.get(0))
}

/// Closes the row of a file whose writer is dead: with what is in it, or as missing.
///
/// # Errors
/// What SQLite says.
pub fn close_file(
    connection: &Connection,
    file: &Recording,
    found: Option<&FileRecord>,
    wall_ms: i64,
) -> rusqlite::Result<()> {
    match found {
        Some(record) => note_file(connection, &file.run, file.incarnation, record),
        None => write_gone(
            connection,
            &FileGone {
                run: file.run.clone(),
                path: file.record.path.clone(),
                reason: None,
                wall_ms,
            },
        ),
    }
}

pub(super) fn write_gone(connection: &Connection, gone: &FileGone) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE files SET state = ?3, gone_reason = ?4, gone_wall_ms = ?5
             WHERE run = ?1 AND path = ?2 AND state NOT IN ('deleted', 'missing')",
        )?
        .execute(params![
            gone.run,
            gone.path,
            gone.reason.map_or("missing", |_| "deleted"),
            gone.reason.map(GoneReason::as_str),
            gone.wall_ms,
        ])
        .map(drop)
}

pub(super) fn write_gap(
    connection: &Connection,
    run: &str,
    gap: &RecordingGap,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO recording_gaps (run, stream, begin_wall_ms, end_wall_ms, reason, text, frames)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (run, stream, begin_wall_ms) DO UPDATE SET
                 end_wall_ms = excluded.end_wall_ms, frames = max(frames, excluded.frames)",
        )?
        .execute(params![
            run,
            gap.stream.as_str(),
            gap.begin_wall_ms,
            gap.end_wall_ms,
            gap.reason.as_str(),
            gap.text,
            gap.frames,
        ])
        .map(drop)
}

const RECORDING_COLUMNS: &str =
    "SELECT run, name, data_directory, incarnation, stream, kind, path, files.state,
     files.begin_wall_ms, files.begin_pts_ns, files.end_wall_ms, files.end_pts_ns, frames, bytes
     FROM files JOIN runs ON runs.id = run";

/// The recordings in a directory as it is stored, of all runs, the oldest first; those that are
/// gone are not among them.
pub(super) fn recordings_in(
    connection: &Connection,
    directory: &str,
) -> rusqlite::Result<Vec<Recording>> {
    // The paths between `dir/` and `dir0`, the character after the slash, are those in it.
    let sql = format!(
        "{RECORDING_COLUMNS} WHERE kind = 'recording' AND path > ?1 || '/' AND path < ?1 || '0'
         AND files.state IN ('open', 'closed', 'torn') ORDER BY files.begin_wall_ms, path"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([directory], recording)?;
    // What somebody else has written is left alone.
    rows.filter_map(Result::transpose).collect()
}

/// The files that are open as far as the database knows; of one run, or of all that are over.
///
/// # Errors
/// What SQLite says.
pub fn open_files(connection: &Connection, run: Option<&str>) -> rusqlite::Result<Vec<Recording>> {
    let sql = format!(
        "{RECORDING_COLUMNS} WHERE files.state = 'open'
         AND iif(?1 IS NULL, runs.state <> 'running', run = ?1) ORDER BY path"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([run], recording)?;
    rows.filter_map(Result::transpose).collect()
}

/// The newest recording of each stream of a run, whatever has become of it.
///
/// # Errors
/// What SQLite says.
pub fn last_recordings(connection: &Connection, run: &str) -> rusqlite::Result<Vec<Recording>> {
    let sql = format!(
        "{RECORDING_COLUMNS} WHERE run = ?1 AND kind = 'recording' AND files.begin_wall_ms =
         (SELECT max(begin_wall_ms) FROM files AS later WHERE later.run = files.run
          AND later.stream = files.stream AND later.kind = 'recording')"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([run], recording)?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn recording(row: &Row<'_>) -> rusqlite::Result<Option<Recording>> {
    let text = |index| row.get::<_, String>(index);
    let kind = match text(5)?.as_str() {
        "recording" => FileKind::Recording,
        "clip" => FileKind::Clip,
        _ => FileKind::Snapshot,
    };
    let state = match text(7)?.as_str() {
        "open" => FileState::Open,
        "closed" => FileState::Closed,
        _ => FileState::Torn,
    };
    let Ok(stream) = text(4)?.parse() else {
        return Ok(None);
    };
    let begin_pts_ns: u64 = row.get(9)?;
    let end_pts_ns: u64 = row.get(11)?;
    Ok(Some(Recording {
        run: text(0)?,
        run_name: text(1)?,
        run_directory: PathBuf::from(text(2)?),
        incarnation: row.get(3)?,
        record: FileRecord {
            stream,
            kind,
            path: text(6)?,
            state,
            begin_wall_ms: row.get(8)?,
            begin_pts_ns,
            content: FileContent {
                frames: row.get(12)?,
                bytes: row.get::<_, Option<u64>>(13)?.unwrap_or(0),
                duration_ns: end_pts_ns.saturating_sub(begin_pts_ns),
                end_wall_ms: row.get(10)?,
                size: None,
            },
        },
    }))
}

pub(super) fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        stream: row.get(0)?,
        kind: row.get(1)?,
        path: PathBuf::from(row.get::<_, String>(2)?),
        state: row.get(3)?,
        begin_wall_ms: row.get(4)?,
        end_wall_ms: row.get(5)?,
        begin_pts_ns: row.get(6)?,
        end_pts_ns: row.get(7)?,
        frames: row.get(8)?,
        bytes: row.get(9)?,
    })
}

/// The columns that [`file_row`] reads.
pub(super) const FILE_COLUMNS: &str = "stream, kind, path, state, begin_wall_ms, end_wall_ms, \
     begin_pts_ns, end_pts_ns, frames, bytes";

/// The recordings of a stream of a run that are there, in the order of event time.
pub(super) fn recordings_of(
    connection: &Connection,
    run: &str,
    stream: &str,
) -> rusqlite::Result<Vec<Recording>> {
    let sql = format!(
        "{RECORDING_COLUMNS} WHERE run = ?1 AND stream = ?2 AND kind = 'recording'
         AND files.state IN ('open', 'closed', 'torn')
         ORDER BY files.begin_pts_ns, files.begin_wall_ms, path"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([run, stream], recording)?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn gap_row(row: &Row<'_>) -> rusqlite::Result<GapRow> {
    Ok(GapRow {
        stream: row.get(0)?,
        begin_wall_ms: row.get(1)?,
        end_wall_ms: row.get(2)?,
        reason: row.get(3)?,
        text: row.get(4)?,
        frames: row.get(5)?,
    })
}
