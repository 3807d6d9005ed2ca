//! The file of one event's clip, written on a thread of its own.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::control::{FileContent, FileRecord, FileState};

use super::Encoded;
use super::film::{Collected, Film, FilmError};
use super::lane::{Lane, Taken};
use crate::shared::lock;

/// A file that is not closed so long after its last access unit is given up: its disk hangs.
pub(crate) const CLOSE_NS_MAX: u64 = 5_000_000_000;
/// A disk that is this far behind is too slow, and the clip ends: about ten seconds at 10 Mbit/s.
const QUEUED_BYTES_MAX: usize = 12 << 20;
/// Nothing happens meanwhile: the clip's end comes through its lane.
const WAIT: Duration = Duration::from_secs(60);

/// A clip from its first key frame on.
#[derive(Debug)]
pub(crate) struct ClipFilm {
    lane: Arc<Lane>,
    outcome: Arc<Mutex<Outcome>>,
    record: FileRecord,
    begun: bool,
    /// When it is given up; set once no access unit comes any more.
    close_by_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Outcome {
    content: FileContent,
    error: Option<FilmError>,
}

/// A clip that is not written any more.
#[derive(Debug)]
pub(crate) struct Finished {
    /// With its frames, and with the time of the first.
    pub(crate) record: FileRecord,
    /// What went wrong; the file plays up to there.
    pub(crate) error: Option<FilmError>,
}

impl ClipFilm {
    /// Opens the file that `record` names, inside of `run` unless its path is absolute.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub(crate) fn start(run: &Path, record: FileRecord) -> Result<Self, FilmError> {
        let path = run.join(&record.path);
        let refused = |source| FilmError::Disk {
            path: path.clone(),
            source,
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(refused)?;
        }
        let file = std::fs::File::create(&path).map_err(refused)?;
        let film = Film::new(file, path.clone());
        let lane = Arc::new(Lane::new(QUEUED_BYTES_MAX));
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let (from, told) = (Arc::clone(&lane), Arc::clone(&outcome));
        std::thread::Builder::new()
            .name("clip".to_owned())
            .spawn(move || {
                write(film, &from, &told);
                from.is_written();
            })
            .map_err(refused)?;
        Ok(Self {
            lane,
            outcome,
            record,
            begun: false,
            close_by_ns: None,
        })
    }

    /// Where it is written, as it is reported.
    pub(crate) fn path(&self) -> &str {
        &self.record.path
    }

    /// Adds an access unit. Those before the first key frame are left out, and those after a
    /// failure.
    pub(crate) fn push(&mut self, encoded: &Encoded) {
        if self.has_failed() || !(self.begun || encoded.unit.keyframe) {
            return;
        }
        if !self.begun {
            self.begun = true;
            self.record.begin_pts_ns = encoded.picture.source_pts_ns;
            self.record.begin_wall_ms = encoded.picture.wall_ms;
        }
        if !self.lane.offer(encoded) {
            let path = self.record.path.clone().into();
            let slow = FilmError::Slow { path };
            lock(&self.outcome).error.get_or_insert(slow);
        }
    }

    /// Adds what lies ready, which may be more than the disk takes at once.
    pub(crate) fn push_all<'e>(&mut self, ready: impl Iterator<Item = &'e Encoded> + Clone) {
        let bytes = ready.clone().map(|encoded| encoded.unit.buffer.size());
        self.lane.allow_more(bytes.sum());
        ready.for_each(|encoded| self.push(encoded));
    }

    /// It has failed and takes nothing more.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.outcome).error.is_some()
    }

    /// No access unit comes any more.
    pub(crate) fn end(&mut self, now_ns: u64) {
        self.close_by_ns = Some(now_ns.saturating_add(CLOSE_NS_MAX));
        self.lane.close();
    }

    /// Whether the file is done with, waiting for its disk `timeout` at most.
    pub(crate) fn is_closed(&mut self, now_ns: u64, timeout: Duration) -> bool {
        if self.lane.wait_written(timeout) {
            return true;
        }
        let close_by_ns = self.close_by_ns;
        let late = close_by_ns.is_some_and(|close_by_ns| close_by_ns <= now_ns);
        if late {
            self.give_up();
        }
        late
    }

    /// Waits for it no more.
    pub(crate) fn give_up(&mut self) {
        let path = self.record.path.clone().into();
        let slow = FilmError::Slow { path };
        lock(&self.outcome).error.get_or_insert(slow);
    }

    /// What has become of it.
    pub(crate) fn finished(self) -> Finished {
        let mut outcome = lock(&self.outcome);
        Finished {
            error: outcome.error.take(),
            record: FileRecord {
                state: FileState::Closed,
                content: outcome.content,
                ..self.record.clone()
            },
        }
    }
}

impl Drop for ClipFilm {
    fn drop(&mut self) {
        self.lane.close();
    }
}

/// The thread: writes what comes out of the lane, up to the first failure.
fn write(mut film: Film, lane: &Lane, outcome: &Mutex<Outcome>) {
    let mut collected = Collected::default();
    let mut put = |collected: &mut Collected, next_ns: Option<u64>| {
        let Some((units, end_ns)) = collected.take(next_ns) else {
            return true;
        };
        let written = film.write(&units, end_ns);
        let mut outcome = lock(outcome);
        outcome.content = film.content();
        match written {
            Ok(()) => true,
            Err(error) => {
                outcome.error.get_or_insert(error);
                false
            }
        }
    };
    loop {
        match lane.take(WAIT) {
            Taken::Unit(encoded) => {
                let is_full = collected.is_full_before(&encoded);
                if is_full && !put(&mut collected, Some(encoded.unit.pts_ns)) {
                    return;
                }
                collected.push(encoded);
            }
            Taken::Nothing => {}
            Taken::Cut | Taken::End => break,
        }
    }
    if put(&mut collected, None)
        && let Err(error) = film.sync()
    {
        lock(outcome).error.get_or_insert(error);
    }
}
