//! The store: everything that outlives a run, in one SQLite database.
//!
//! `runs.db.sql` at the root of the repository is the schema. Each running
//! supervisor has one [`Writer`], a thread that owns its connection and commits
//! rows in groups; everybody else reads through a [`Reader`] whenever they like
//! (write-ahead log). Nothing here touches video, and no caller ever waits for
//! the disk: what cannot be written is counted and shown.

mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod frames;
mod generations;
mod pen;
mod reader;
mod retention;
mod row;
mod runs;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::exit::Exit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use files::{
    FileRow, GapRow, GoneReason, Recording, close_file, knows_file, last_recordings, note_file,
    open_files,
};
pub use frames::{Completeness, Frames, Segment, StoredFrame};
pub use generations::{
    AskedBy, GenerationBegun, GenerationDone, GenerationFile, GenerationFileKind,
    GenerationFileRow, GenerationRow, Outcome,
};
pub use reader::{
    CounterRow, DeliveryRow, EventRow, LatencyRow, Reader, RunRow, StreamRow, WorkerRow,
};
pub use retention::Retention;
pub use row::{FileGone, Latency, MetricSample, Row, RunEnd, StreamRowState, WorkerEnd};
pub use runs::{
    FoundBook, NewRun, NewStream, RunState, RunningRun, begin_run, mark_interrupted, running_runs,
};
pub use writer::{Committed, Health, Writer, WriterHandle};

/// The schema, as in `runs.db.sql`.
pub const SCHEMA: &str = include_str!("../../../runs.db.sql");

/// The `user_version` that [`SCHEMA`] sets.
pub const SCHEMA_VERSION: i64 = 6;

/// File name of the database, inside the data directory.
pub const FILE_NAME: &str = "runs.db";

/// How long a statement waits for another process' commit.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or written.
    #[error(
        "cannot write the data directory {}: {source}; make it writable or choose another with --data", path.display()
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no database yet.
    #[error("there is no run in {} yet: start one with `sluice run FILE`, or name another directory with --data", path.display())]
    Missing {
        /// The data directory.
        path: PathBuf,
    },
    /// The database was made by another version of Sluice.
    #[error("{} has schema version {found}, this sluice knows {SCHEMA_VERSION}: read it with the sluice that made it, and move it away or choose another directory with --data", path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// SQLite refused.
    #[error("cannot use the database {}: {source}{}", path.display(), advice(source))]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Somebody else has written into it.
    #[error("event {0} in the database was not written by sluice")]
    Foreign(String),
    /// There is no such run.
    #[error("there is no run `{0}`: `sluice runs` lists those there are")]
    NoRun(String),
}

impl StoreError {
    /// The exit code of a command that fails with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::NoRun(_) => Exit::NotFound,
            Self::Directory { .. }
            | Self::Version { .. }
            | Self::Database { .. }
            | Self::Foreign(_) => Exit::Environment,
        }
    }

    pub(crate) fn database(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Database {
            path: path.clone(),
            source,
        }
    }
}

/// What to do about an error of SQLite, where that is known.
fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free some space on that disk",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another program keeps it locked, close that"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; make its directory writable or choose another with --data"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; move it away, a new one is made"
        }
        _ => "",
    }
}

/// The disk or another process stands in the way: the same row may succeed later.
fn may_pass(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::SystemIoFailure
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory
        )
    )
}

/// Opens the database in `directory` for writing; makes both when they are missing.
///
/// # Errors
/// When the directory cannot be written, or what is there is not a database of this schema.
pub fn open_or_create(directory: &Path) -> Result<Connection, StoreError> {
    let unwritable = |source| StoreError::Directory {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(unwritable)?;
    check_writable(directory).map_err(unwritable)?;
    open_at(directory, OpenFlags::default())
}

/// Opens the database in `directory` for writing, if there is one.
///
/// # Errors
/// [`StoreError::Missing`] when there is none; otherwise as [`open_or_create`].
pub fn open_existing(directory: &Path) -> Result<Connection, StoreError> {
    if !directory.join(FILE_NAME).exists() {
        return Err(StoreError::Missing {
            path: directory.to_owned(),
        });
    }
    open_at(
        directory,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

/// Whether files can be made in `directory`: permission bits alone do not tell (read-only mounts).
pub(crate) fn check_writable(directory: &Path) -> std::io::Result<()> {
    let probe = directory.join(format!(".write-test-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

fn open_at(directory: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let path = directory.join(FILE_NAME);
    let wrong = StoreError::database(&path);
    let mut connection = Connection::open_with_flags(&path, flags).map_err(&wrong)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&wrong)?;
    // So that the file can be made smaller in small steps. Heard only before the first page
    // is written, which the log below does.
    connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .map_err(&wrong)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(&wrong)?;
    // With a write-ahead log NORMAL never corrupts; a power cut may take the last commits.
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(&wrong)?;
    connection
        .pragma_update(None, "foreign_keys", "ON")
        .map_err(&wrong)?;
    connection.set_prepared_statement_cache_capacity(64);
    apply_schema(&mut connection, &path)?;
    Ok(connection)
}

fn apply_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = StoreError::database(path);
    // Immediate: two supervisors that begin at once must not both find it empty.
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(&wrong)?;
    let found: i64 = transaction
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(&wrong)?;
    match found {
        0 => {
            transaction.execute_batch(SCHEMA).map_err(&wrong)?;
            transaction.commit().map_err(&wrong)
        }
        SCHEMA_VERSION => Ok(()),
        found => Err(StoreError::Version {
            path: path.to_owned(),
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use contract::ledger::{
        Counters, GatewayCounters, InferCounters, IngestCounters, IntakeCounters, MosaicCounters,
        RenderCounters, TileCounters,
    };

    use super::*;

    #[test]
    fn the_schema_says_the_version_that_the_code_knows() {
        assert!(SCHEMA.contains(&format!("PRAGMA user_version = {SCHEMA_VERSION};")));
    }

    /// The view and `contract::ledger` must agree on which counters an equation has.
    fn check_view<C: Counters>(book: &str, come_in: &str) {
        let mut value = 1_u64;
        let words = C::NAMES.iter().map(|name| {
            value *= 2;
            if *name == come_in { 1 << 40 } else { value }
        });
        let counters = C::from_words(&words.collect::<Vec<_>>());
        let directory = tempfile::tempdir().expect("a directory");
        let connection = open_or_create(directory.path()).expect("made");
        connection
            .execute_batch(
                "PRAGMA foreign_keys = OFF;
                 INSERT INTO ledgers VALUES ('r', 's', 'ingest', 'published', 1)",
            )
            .expect("written");
        for (name, value) in C::NAMES.iter().zip(counters.to_words()) {
            connection
                .execute(
                    "INSERT OR REPLACE INTO ledgers VALUES ('r', 's', ?1, ?2, ?3)",
                    rusqlite::params![book, name, value],
                )
                .expect("written");
        }
        let in_flight: u64 = connection
            .query_row(
                "SELECT in_flight FROM v_ledger WHERE book = ?1 AND equation LIKE ?2 || ' =%'",
                [book, come_in],
                |row| row.get(0),
            )
            .expect("one equation");
        assert_eq!(in_flight, counters.in_flight(), "{book}");
    }

    #[test]
    fn the_ledger_view_has_every_counter() {
        check_view::<IngestCounters>("ingest", "captured");
        check_view::<InferCounters>("infer:people", "received");
        check_view::<RenderCounters>("render", "received");
        check_view::<GatewayCounters>("gateway", "received");
        check_view::<IntakeCounters>("intake", "received");
        check_view::<TileCounters>("tiles:wall", "due");
        check_view::<MosaicCounters>("mosaic:wall", "received");
    }

    #[test]
    fn opening_twice_finds_the_same_database() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(open_or_create(directory.path()).expect("made"));
        let again = open_existing(directory.path()).expect("opened");
        let tables: i64 = again
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'table'",
                [],
                |row| row.get(0),
            )
            .expect("counted");
        assert_eq!(tables, 18);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(
            open_existing(directory.path()),
            Err(StoreError::Missing { .. })
        ));

        let file = directory.path().join("a-file");
        std::fs::write(&file, b"x").expect("written");
        let error = open_or_create(&file.join("data")).expect_err("not a directory");
        assert_eq!(error.exit(), Exit::Environment);
        assert!(error.to_string().contains("--data"), "{error}");

        let junk = directory.path().join("junk");
        std::fs::create_dir(&junk).expect("made");
        std::fs::write(junk.join(FILE_NAME), [b'x'; 8192]).expect("written");
        let error = open_or_create(&junk).expect_err("not a database");
        assert!(error.to_string().contains("move it away"), "{error}");

        for version in [1, 2, 3, 4, 5, 99] {
            let other = directory.path().join(format!("version-{version}"));
            let connection = open_or_create(&other).expect("made");
            connection
                .pragma_update(None, "user_version", version)
                .expect("set");
            drop(connection);
            let error = open_existing(&other).expect_err("of another version");
            assert!(
                matches!(error, StoreError::Version { found, .. } if found == version),
                "{error}"
            );
            let error = Reader::open(&other).expect_err("of another version");
            assert!(error.to_string().contains("--data"), "{error}");
        }
    }
}
