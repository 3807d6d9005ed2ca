//! After a supervisor was killed: its run is marked, its books are closed, its
//! shared memory and sockets are removed, its recordings are read for what is in them.
//!
//! Every command that opens a database does this first, so a person never sees
//! a run that claims to be running and is not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::clock;
use contract::name::RunId;
use frame_bus::supervision::{BASE, Leftover, leftovers};
use rusqlite::Connection;

use crate::books::Books;
use crate::recordings::inspect;
use crate::store::{
    self, FoundBook, StoreError, close_file, knows_file, last_recordings, mark_interrupted,
    note_file, open_files, running_runs,
};

/// Orphaned workers exit within a second of their supervisor's death.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(3);

/// Recovers what dead supervisors left; says what was done, a line for each.
///
/// `data` is the directory of `database`.
///
/// # Errors
/// When the database cannot be used. What cannot be swept is left for the next time.
pub fn recover(database: &mut Connection, data: &Path) -> Result<Vec<String>, StoreError> {
    recover_from(database, data, Path::new(BASE))
}

fn recover_from(
    database: &mut Connection,
    data: &Path,
    base: &Path,
) -> Result<Vec<String>, StoreError> {
    let wrong = StoreError::database(&data.join(store::FILE_NAME));
    let mut reports = Vec::new();
    match leftovers(base) {
        Ok(found) => {
            for leftover in found {
                reports.extend(sweep(database, data, leftover));
            }
        }
        Err(error) => tracing::warn!("leftovers of dead runs cannot be looked for: {error}"),
    }
    // Runs whose root is gone altogether: a reboot, or somebody emptied the directory.
    for run in running_runs(database).map_err(&wrong)? {
        if !run.root.join("lock").exists() {
            mark_interrupted(database, &run.id, &[], clock::wall_ms()).map_err(&wrong)?;
            enter_untold(database, &run.id).map_err(&wrong)?;
            reports.push(format!("run {} was interrupted", run.id));
        }
    }
    let completed = complete_files(database).map_err(&wrong)?;
    if !completed.is_empty() {
        let (files, frames) = (completed.len(), completed.iter().sum::<u64>());
        reports.push(format!(
            "{files} open recordings and clips have {frames} frames"
        ));
    }
    Ok(reports)
}

/// Files of runs that are over whose rows nobody has closed get what is in them; returns their
/// frames. What cannot be read now is left for the next time.
fn complete_files(database: &Connection) -> rusqlite::Result<Vec<u64>> {
    let mut completed = Vec::new();
    for file in open_files(database, None)? {
        match inspect::completed(&file) {
            Ok(found) => {
                close_file(database, &file, found.as_ref(), clock::wall_ms())?;
                completed.extend(found.map(|record| record.content.frames));
            }
            Err(error) => tracing::warn!("cannot read {}: {error}", file.absolute().display()),
        }
    }
    Ok(completed)
}

/// Recordings that workers wrote after their supervisor had died, in the second that they
/// lived on: beside the last that is known of each stream.
fn enter_untold(database: &Connection, run: &RunId) -> rusqlite::Result<()> {
    for last in last_recordings(database, run.as_str())? {
        let known = |path: &str| knows_file(database, path).unwrap_or(true);
        for untold in inspect::untold(&last, known) {
            note_file(database, &untold.run, untold.incarnation, &untold.record)?;
        }
    }
    Ok(())
}

/// Closes the books of a dead supervisor into the database they belong to, then removes what
/// it left. When the books cannot be closed or stored, everything stays for the next time.
fn sweep(database: &mut Connection, data: &Path, leftover: Leftover) -> Option<String> {
    let books = Books::find(&leftover.books());
    if let Err(error) = books.close_all(ORPHAN_PATIENCE) {
        tracing::warn!("{} is not swept yet: {error}", leftover.path().display());
        return None;
    }
    let owner = PathBuf::from(leftover.note.trim());
    let content = books.content();
    let marked = if owner == data {
        mark(database, leftover.path(), &content)
    } else {
        match store::open_existing(&owner) {
            Ok(mut other) => mark(&mut other, leftover.path(), &content),
            // Its database is gone: there is nobody to tell.
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => {
                tracing::warn!("{} is not swept yet: {error}", leftover.path().display());
                return None;
            }
        }
    };
    match marked {
        Ok(run) => {
            let path = leftover.path().display().to_string();
            leftover.sweep();
            Some(match run {
                Some(run) => format!("run {run} was interrupted; removed {path}"),
                None => format!("removed {path}, left by a dead supervisor"),
            })
        }
        Err(error) => {
            tracing::warn!("{} is not swept yet: {error}", leftover.path().display());
            None
        }
    }
}

fn mark(
    database: &mut Connection,
    root: &Path,
    books: &[FoundBook],
) -> rusqlite::Result<Option<RunId>> {
    let runs = running_runs(database)?;
    let Some(run) = runs.into_iter().find(|run| run.root == root) else {
        return Ok(None);
    };
    mark_interrupted(database, &run.id, books, clock::wall_ms())?;
    enter_untold(database, &run.id)?;
    Ok(Some(run.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{BookId, Part};
    use crate::store::{NewRun, NewStream, Reader, begin_run, open_or_create};
    use contract::ledger::IngestCounters;
    use frame_bus::BookWriter;
    use frame_bus::supervision::Root;

    fn begin(database: &mut Connection, data: &Path, root: &Path) -> RunId {
        let new = NewRun {
            name: "yard",
            config_path: Path::new("yard.yaml"),
            files: Vec::new(),
            pid: 1,
            root,
            runs_directory: &data.join("runs"),
            wall_ms: 0,
            streams: vec![NewStream {
                name: "yard".parse().expect("a name"),
                source: "test:ball".to_owned(),
            }],
        };
        begin_run(database, &new).expect("begun")
    }

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (data, base) = (directory.path().join("data"), directory.path().join("base"));
        std::fs::create_dir(&base).expect("made");
        let mut database = open_or_create(&data).expect("made");
        let living = Root::create(&base, &data.to_string_lossy()).expect("a root");
        let living_run = begin(&mut database, &data, living.path());

        // What a killed supervisor leaves: a root whose lock nobody holds.
        let dead = base.join("sluice-1-0");
        std::fs::create_dir_all(dead.join("books")).expect("made");
        std::fs::write(dead.join("lock"), format!("1\n{}", data.display())).expect("written");
        let dead_run = begin(&mut database, &data, &dead);
        let book = BookId {
            stream: "yard".parse().expect("a name"),
            part: Part::Ingest,
        };
        let path = dead.join("books").join(book.file_name());
        drop(Books::create(&dead.join("books"), [book]).expect("made"));
        BookWriter::<IngestCounters>::open(&path)
            .expect("opened")
            .update(|counters| (counters.captured, counters.published) = (7, 6));

        let gone_run = begin(&mut database, &data, &base.join("sluice-2-0"));

        let reports = recover_from(&mut database, &data, &base).expect("recovered");
        assert_eq!(reports.len(), 2, "{reports:?}");
        assert!(!dead.exists());
        let reader = Reader::open(&data).expect("readable");
        let state = |run: &RunId| reader.run(run.as_str()).expect("there").state;
        assert_eq!(state(&living_run), "running");
        assert_eq!(state(&dead_run), "interrupted");
        assert_eq!(state(&gone_run), "interrupted");
        let counters = reader.counters(dead_run.as_str()).expect("read");
        let lost = counters.iter().find(|row| row.counter == "lost");
        assert_eq!(lost.expect("stored").value, 1);
        assert!(
            recover_from(&mut database, &data, &base)
                .expect("again")
                .is_empty()
        );
    }
}
