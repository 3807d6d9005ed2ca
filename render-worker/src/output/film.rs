//! A video file being written, and what is reported of it.

use std::path::Path;

use contract::control::FileRecord;
use gstreamer::ClockTime;

use super::Encoded;
use crate::encode::EncodeError;
use crate::encode::recording::Recording;

/// A file that is not closed so long after its last access unit is given up: its disk hangs.
pub(crate) const CLOSE_NS_MAX: u64 = 5_000_000_000;

/// A recording of the stream or of an event, from its first key frame on.
#[derive(Debug)]
pub(crate) struct Film {
    recording: Recording,
    record: FileRecord,
    error: Option<EncodeError>,
    /// When it is given up; set once no access unit comes any more.
    close_by_ns: Option<u64>,
}

/// A file that is not written any more.
#[derive(Debug)]
pub(crate) struct Finished {
    /// With its frames, and with the time of the first.
    pub(crate) record: FileRecord,
    /// What went wrong; the file plays up to there.
    pub(crate) error: Option<EncodeError>,
}

impl Film {
    /// Opens the file that `record` names, inside of `run` unless its path is absolute.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub(crate) fn start(run: &Path, record: FileRecord) -> Result<Self, EncodeError> {
        Ok(Self {
            recording: Recording::start(&run.join(&record.path))?,
            record,
            error: None,
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
        let begins = self.recording.frames() == 0;
        if self.error.is_some() || (begins && !encoded.unit.keyframe) {
            return;
        }
        if begins {
            self.record.begin_pts_ns = encoded.picture.source_pts_ns;
            self.record.begin_wall_ms = encoded.picture.wall_ms;
        }
        self.error = self.recording.push(&encoded.unit).err();
    }

    /// Adds what lies ready, which may be more than the disk takes at once.
    pub(crate) fn push_all<'e>(&mut self, ready: impl Iterator<Item = &'e Encoded> + Clone) {
        let bytes = ready
            .clone()
            .map(|encoded| encoded.unit.buffer.size() as u64);
        self.recording.allow_more(bytes.sum());
        ready.for_each(|encoded| self.push(encoded));
    }

    /// It has failed and takes nothing more.
    pub(crate) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// No access unit comes any more.
    pub(crate) fn end(&mut self, now_ns: u64) {
        self.close_by_ns = Some(now_ns.saturating_add(CLOSE_NS_MAX));
        if self.error.is_none() {
            self.error = self.recording.end().err();
        }
    }

    /// Whether the file is done with, waiting for its disk `timeout` at most.
    pub(crate) fn is_closed(&mut self, now_ns: u64, timeout: ClockTime) -> bool {
        if self.error.is_some() {
            return true;
        }
        match self.recording.ended(timeout) {
            Ok(true) => true,
            Ok(false) => {
                let late = self
                    .close_by_ns
                    .is_some_and(|close_by_ns| close_by_ns <= now_ns);
                if late {
                    self.give_up();
                }
                late
            }
            Err(error) => {
                self.error = Some(error);
                true
            }
        }
    }

    /// Waits for it no more.
    pub(crate) fn give_up(&mut self) {
        let path = self.recording.path().display();
        let reason = format!("cannot close `{path}`: its disk does not answer");
        self.error.get_or_insert(EncodeError::Pipeline(reason));
    }

    /// Lets go of the file, which may take a moment.
    pub(crate) fn finished(self) -> Finished {
        Finished {
            record: FileRecord {
                frames: Some(self.recording.frames()),
                ..self.record
            },
            error: self.error,
        }
    }
}
