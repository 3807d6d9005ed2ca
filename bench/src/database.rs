//! The database of a run that is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

/// How many streams are live.
pub(crate) const LIVE: &str = "SELECT count(*) FROM streams WHERE state = 'live'";

/// The `runs.db` of a data directory, which need not be there yet.
pub(crate) struct Database(PathBuf);

impl Database {
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join("runs.db"))
    }

    /// The one value that a query gives.
    ///
    /// # Errors
    /// When there is none, or it is of another type.
    pub(crate) fn value<T: FromSql>(&self, query: &str) -> anyhow::Result<T> {
        Ok(self.open()?.query_row(query, [], |row| row.get(0))?)
    }

    /// The first column of all rows.
    ///
    /// # Errors
    /// When there is no database yet, or a value is of another type.
    pub(crate) fn column<T: FromSql>(&self, query: &str) -> anyhow::Result<Vec<T>> {
        let connection = self.open()?;
        let mut statement = connection.prepare(query)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn open(&self) -> anyhow::Result<Connection> {
        let connection = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    }
}
