//! Writes the best pictures of tracks that have ended, and keeps their part of the book.

use std::path::PathBuf;

use contract::best_shot::{BestShot, ShotCause};
use contract::control::FromWorker;
use contract::name::StreamName;
use worker::{Control, Failure};

use super::{Ended, Picture};
use crate::paths;
use crate::shared::{SharedBook, lock};
use crate::snapshot::{Snapshot, SnapshotWriter};

/// Pictures that wait to be written, at most 100 KB each: a crowd that leaves at once.
const QUEUE_MAX: usize = 32;

/// Writes the pictures of one stream. They have a thread of their own, so that they never take
/// the place of an event's picture.
#[derive(Debug)]
pub(crate) struct ShotWriter {
    stream: StreamName,
    book: SharedBook,
    writer: SnapshotWriter<BestShot>,
}

impl ShotWriter {
    /// Starts the thread; pictures go into the run's directory.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        directory: PathBuf,
        stream: StreamName,
        control: Control,
        book: SharedBook,
    ) -> Result<Self, Failure> {
        let own = SharedBook::clone(&book);
        let done = move |shot, written| {
            // Told before it is counted: a picture that counts as written is on its way to
            // the store.
            if written {
                control.send(FromWorker::BestShot(Box::new(shot)));
            }
            lock(&own).update(|counters| {
                *if written {
                    &mut counters.shots_written
                } else {
                    &mut counters.shots_failed
                } += 1;
            });
        };
        let writer = SnapshotWriter::start(directory, QUEUE_MAX, done)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            stream,
            book,
            writer,
        })
    }

    /// While frames go by: what has no place in the queue is dropped, and counted.
    pub(crate) fn write(&self, ended: Ended) {
        self.hand_over(ended, SnapshotWriter::submit);
    }

    /// When no frame waits: the writer is given the time it takes.
    pub(crate) fn write_patiently(&self, ended: Ended) {
        self.hand_over(ended, SnapshotWriter::submit_patiently);
    }

    fn hand_over(
        &self,
        ended: Ended,
        submit: impl Fn(&SnapshotWriter<BestShot>, Snapshot<BestShot>) -> bool,
    ) {
        let Ended {
            pictures,
            poor,
            no_room,
        } = ended;
        let due = pictures.len() as u64 + poor + no_room;
        if due == 0 {
            return;
        }
        // Counted before they are handed over: the thread may be quicker than this one.
        lock(&self.book).update(|counters| {
            counters.shots_ended += due;
            counters.shots_poor += poor;
            counters.shots_dropped += no_room;
        });
        let submitted = pictures
            .into_iter()
            .map(|picture| submit(&self.writer, self.snapshot(picture)));
        let dropped = submitted.filter(|submitted| !submitted).count() as u64;
        if dropped + no_room > 0 {
            tracing::warn!(
                "{} best shots are not written: more tracks end than pictures are kept of",
                dropped + no_room
            );
            lock(&self.book).update(|counters| counters.shots_dropped += dropped);
        }
    }

    fn snapshot(&self, picture: Picture) -> Snapshot<BestShot> {
        let Picture {
            track,
            label,
            moment,
            ..
        } = &picture;
        let path = paths::best_shot(&self.stream, label, *track, moment.sequence_number);
        Snapshot {
            about: picture.told(&self.stream, ShotCause::Ended, path.clone()),
            still: picture.still,
            path,
        }
    }
}
