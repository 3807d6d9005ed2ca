//! The life of a run in the database: begun, and found dead.

use std::path::{Path, PathBuf};

use contract::latency::Histogram;
use contract::name::{RunId, StreamName};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::generations::{AskedBy, GenerationBegun, GenerationDone, GenerationFile, Outcome};
use super::pen::{write_counters, write_latency};
use super::row::Latency;

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its supervisor lives.
    Running,
    /// Its sources ended, or the time it was given is over.
    Finished,
    /// A person ended it.
    Stopped,
    /// It ended because something was wrong.
    Failed,
    /// Its supervisor died.
    Interrupted,
}

impl RunState {
    /// The state in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A run about to begin.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// `run:` of the config.
    pub name: &'a str,
    /// The config file.
    pub config_path: &'a Path,
    /// The files it begins with: its generation 0.
    pub files: Vec<GenerationFile>,
    /// The supervisor's process.
    pub pid: u32,
    /// The frame bus' directory.
    pub root: &'a Path,
    /// Parent of the run's own directory.
    pub runs_directory: &'a Path,
    /// When.
    pub wall_ms: i64,
    /// Its streams.
    pub streams: Vec<NewStream>,
}

/// A stream that is entered into a run.
#[derive(Debug, Clone)]
pub struct NewStream {
    /// Its name.
    pub name: StreamName,
    /// Its source, without secrets.
    pub source: String,
}

/// A run that the database calls running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRun {
    /// Its id.
    pub id: RunId,
    /// Its supervisor's process.
    pub pid: u32,
    /// The frame bus' directory.
    pub root: PathBuf,
}

/// Enters a run, its streams and the text it begins with; gives the run the next number of
/// its name. Returns its id.
///
/// # Errors
/// What SQLite says.
pub fn begin_run(connection: &mut Connection, new: &NewRun<'_>) -> rusqlite::Result<RunId> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number: i64 = transaction.query_row(
        "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE name = ?1",
        [new.name],
        |row| row.get(0),
    )?;
    let id: RunId = format!("{}-{number}", new.name)
        .parse()
        .expect("a run name leaves room for its number");
    let directory = new.runs_directory.join(id.as_str());
    transaction.execute(
        "INSERT INTO runs (id, name, number, config_path, state, pid, root, data_directory, version,
         begin_wall_ms)
         VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?9)",
        params![
            id.as_str(),
            new.name,
            number,
            new.config_path.to_string_lossy(),
            new.pid,
            new.root.to_string_lossy(),
            directory.to_string_lossy(),
            env!("CARGO_PKG_VERSION"),
            new.wall_ms,
        ],
    )?;
    for stream in &new.streams {
        write_stream(&transaction, id.as_str(), stream)?;
    }
    let begun = GenerationBegun {
        generation: 0,
        asked_by: AskedBy::Start,
        wall_ms: new.wall_ms,
        files: new.files.clone(),
        plan: Vec::new(),
    };
    begun.write(&transaction, id.as_str())?;
    let done = GenerationDone {
        generation: 0,
        wall_ms: new.wall_ms,
        outcome: Outcome::Applied,
        notes: Vec::new(),
        diagnostics: Vec::new(),
    };
    done.write(&transaction, id.as_str())?;
    transaction.commit()?;
    Ok(id)
}

/// Enters a stream; one that comes back goes on in its row.
pub(super) fn write_stream(
    connection: &Connection,
    run: &str,
    stream: &NewStream,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO streams (run, name, source, state) VALUES (?1, ?2, ?3, 'waiting')
             ON CONFLICT (run, name) DO UPDATE SET
                 source = excluded.source, state = excluded.state, detail = ''",
        )?
        .execute(params![run, stream.name.as_str(), stream.source])
        .map(drop)
}

/// The runs that the database calls running, whether their supervisors live or not.
///
/// # Errors
/// What SQLite says.
pub fn running_runs(connection: &Connection) -> rusqlite::Result<Vec<RunningRun>> {
    let mut statement =
        connection.prepare("SELECT id, pid, root FROM runs WHERE state = 'running' ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, u32>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut runs = Vec::new();
    for row in rows {
        let (id, pid, root) = row?;
        // A row that somebody else wrote with a name of no run is left alone.
        if let Ok(id) = id.parse() {
            runs.push(RunningRun {
                id,
                pid,
                root: PathBuf::from(root),
            });
        }
    }
    Ok(runs)
}

/// One book as it was found after its supervisor's death.
#[derive(Debug, Clone)]
pub struct FoundBook {
    /// The stream it speaks of.
    pub stream: StreamName,
    /// `ingest`, `infer:MODEL`, `render`, `gateway`.
    pub book: String,
    /// Its counters, settled.
    pub counters: Vec<(&'static str, u64)>,
    /// Its latencies.
    pub histogram: Histogram,
}

/// Closes a run whose supervisor is dead: its last counters, its workers, its state.
///
/// Returns whether it was still called running.
///
/// # Errors
/// What SQLite says.
pub fn mark_interrupted(
    connection: &mut Connection,
    run: &RunId,
    books: &[FoundBook],
    wall_ms: i64,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let running = transaction
        .query_row(
            "SELECT 1 FROM runs WHERE id = ?1 AND state = 'running'",
            [run.as_str()],
            |_| Ok(()),
        )
        .optional()?
        .is_some();
    if !running {
        return Ok(false);
    }
    for found in books {
        let stream = found.stream.as_str();
        write_counters(
            &transaction,
            run.as_str(),
            stream,
            &found.book,
            &found.counters,
        )?;
        let latency = Latency {
            stream: found.stream.clone(),
            book: found.book.clone(),
            histogram: found.histogram.clone(),
        };
        write_latency(&transaction, run.as_str(), &latency)?;
    }
    // The end is when the run last wrote something, as far as that is known.
    transaction.execute(
        "UPDATE runs SET state = 'interrupted', detail = 'its supervisor died',
             end_wall_ms = min(?2, max(begin_wall_ms, coalesce((SELECT max(wall_ms) FROM metric_samples
                 WHERE stream_id IN (SELECT id FROM streams WHERE run = ?1)), ?2)))
         WHERE id = ?1",
        params![run.as_str(), wall_ms],
    )?;
    transaction.execute(
        "UPDATE workers SET reason = 'orphaned',
             end_wall_ms = max(begin_wall_ms, (SELECT end_wall_ms FROM runs WHERE id = ?1))
         WHERE run = ?1 AND end_wall_ms IS NULL",
        params![run.as_str()],
    )?;
    transaction.execute(
        "UPDATE recording_gaps
             SET end_wall_ms = max(begin_wall_ms, (SELECT end_wall_ms FROM runs WHERE id = ?1))
         WHERE run = ?1 AND end_wall_ms IS NULL",
        params![run.as_str()],
    )?;
    transaction.commit()?;
    Ok(true)
}
