//! The one writer of a run: a thread that owns its connection and commits rows in groups.
//!
//! Rows come through a bounded queue and are never waited for: when the queue is
//! full a row is given up and counted, rows that come in masses first. While the
//! disk refuses (full, locked, gone) the same group is tried again, so that what
//! was taken is written as soon as it can be.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::name::{RunId, StreamName};
use rusqlite::{Connection, TransactionBehavior, params};

use super::pen::{Pen, WriteError};
use super::retention::{Pruner, Retention};
use super::row::Row;
use super::{advice, may_pass};

/// Rows that may wait: at the design's 16 streams of 25 fps, in batches, some seconds.
const QUEUE_ROWS_MAX: usize = 4096;

/// Rows that come in masses are given up beyond this, so that the others find room.
const QUEUE_BULK_ROWS_MAX: usize = QUEUE_ROWS_MAX / 4 * 3;

/// Most rows of a commit.
const GROUP_ROWS_MAX: usize = 512;

/// A row waits at most so long for others to be committed with.
const GROUP_WAIT: Duration = Duration::from_millis(100);

/// Between two tries while the disk refuses.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long the end of a run waits for a disk that refuses.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);

/// An event that is safely on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its stream.
    pub stream: StreamName,
    /// Its id.
    pub event: String,
}

/// How the writer does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// What the disk says, while it refuses.
    pub trouble: Option<String>,
    /// Rows that were not and will not be written.
    pub rows_given_up: u64,
}

#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    given_up: AtomicU64,
    finishing: AtomicBool,
    trouble: Mutex<Option<String>>,
    retention: Mutex<Retention>,
    finish: Condvar,
}

/// Hands rows to the writer. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    sender: SyncSender<Row>,
    shared: Arc<Shared>,
}

impl WriterHandle {
    /// Takes a row to be written; gives it up when the queue is full. Never blocks.
    pub fn offer(&self, row: Row) {
        let queued = self.shared.queued.fetch_add(1, Ordering::Relaxed);
        let room = !row.is_bulk() || queued < QUEUE_BULK_ROWS_MAX;
        let weight = row.weight();
        if !room || self.sender.try_send(row).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            self.shared.given_up.fetch_add(weight, Ordering::Relaxed);
        }
    }

    /// Says how much of what was seen in frames is kept, from now on. At first all is.
    pub fn set_retention(&self, retention: Retention) {
        *lock(&self.shared.retention) = retention;
    }

    /// How the writer does.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            trouble: lock(&self.shared.trouble).clone(),
            rows_given_up: self.shared.given_up.load(Ordering::Relaxed),
        }
    }
}

/// The writer thread of one run.
#[derive(Debug)]
pub struct Writer {
    handle: WriterHandle,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. `committed` is called on it for each event once it is on the disk.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        connection: Connection,
        run: RunId,
        committed: impl Fn(Committed) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_ROWS_MAX);
        let shared = Arc::new(Shared::default());
        let desk = Desk {
            connection,
            pen: Pen::new(run),
            pruner: Pruner::new(Instant::now()),
            receiver,
            shared: Arc::clone(&shared),
            committed: Box::new(committed),
            give_up_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || desk.work())?;
        Ok(Self {
            handle: WriterHandle { sender, shared },
            thread,
        })
    }

    /// Where rows are handed in.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Writes what is queued and ends the thread; every other [`WriterHandle`] must be gone.
    ///
    /// Waits a few seconds for a disk that refuses, then gives up what is left.
    #[must_use]
    pub fn finish(self) -> Health {
        let shared = Arc::clone(&self.handle.shared);
        shared.finishing.store(true, Ordering::Release);
        shared.finish.notify_all();
        drop(self.handle);
        if self.thread.join().is_err() {
            let mut trouble = lock(&shared.trouble);
            *trouble = Some("the store's writer panicked; see the log".to_owned());
        }
        let trouble = lock(&shared.trouble).clone();
        Health {
            trouble,
            rows_given_up: shared.given_up.load(Ordering::Relaxed),
        }
    }
}

/// What another thread left is whole, also after a panic: it is replaced in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread works with.
struct Desk {
    connection: Connection,
    pen: Pen,
    pruner: Pruner,
    receiver: Receiver<Row>,
    shared: Arc<Shared>,
    committed: Box<dyn Fn(Committed) + Send>,
    /// Once the run has ended: when a disk that still refuses is given up.
    give_up_at: Option<Instant>,
}

impl Desk {
    fn work(mut self) {
        let mut counted = 0;
        while let Some(group) = self.gather() {
            self.shared.queued.fetch_sub(group.len(), Ordering::Relaxed);
            self.write_patiently(&group);
            self.prune();
            let given_up = self.shared.given_up.load(Ordering::Relaxed);
            if given_up != counted && self.note_given_up(given_up).is_ok() {
                counted = given_up;
            }
        }
        // Makes the database one file again when nobody else has it open.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Waits for a row and takes those that come with it; `None` at the end.
    fn gather(&self) -> Option<Vec<Row>> {
        let mut group = vec![self.receiver.recv().ok()?];
        let deadline = Instant::now() + GROUP_WAIT;
        while group.len() < GROUP_ROWS_MAX {
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(wait) {
                Ok(row) => group.push(row),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(group)
    }

    /// Writes a group, however long the disk refuses; gives up only when the run ends.
    fn write_patiently(&mut self, group: &[Row]) {
        loop {
            match self.write(group) {
                Ok(rejected) => {
                    if rejected > 0 {
                        self.shared.given_up.fetch_add(rejected, Ordering::Relaxed);
                    }
                    *lock(&self.shared.trouble) = None;
                    break;
                }
                Err(error) => {
                    tracing::debug!("the store cannot write: {error}");
                    *lock(&self.shared.trouble) = Some(format!("{error}{}", advice(&error)));
                }
            }
            if self.shared.finishing.load(Ordering::Acquire) {
                let give_up_at = *self
                    .give_up_at
                    .get_or_insert_with(|| Instant::now() + FINISH_PATIENCE);
                if Instant::now() >= give_up_at {
                    let weight: u64 = group.iter().map(Row::weight).sum();
                    self.shared.given_up.fetch_add(weight, Ordering::Relaxed);
                    return;
                }
            }
            let trouble = lock(&self.shared.trouble);
            drop(self.shared.finish.wait_timeout(trouble, RETRY_INTERVAL));
        }
        for row in group {
            if let Row::Event(event) = row {
                (self.committed)(Committed {
                    stream: event.stream.clone(),
                    event: event.id.clone(),
                });
            }
        }
    }

    /// Writes a group in one transaction; returns the rows that the database will never take.
    fn write(&mut self, group: &[Row]) -> rusqlite::Result<u64> {
        let written = self.write_all(group);
        if written.is_err() {
            self.pen.rolled_back();
        }
        written
    }

    fn write_all(&mut self, group: &[Row]) -> rusqlite::Result<u64> {
        let mut transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rejected = 0;
        for row in group {
            // A row is written whole or not at all.
            let savepoint = transaction.savepoint()?;
            match self.pen.write(&savepoint, row) {
                Ok(()) => savepoint.commit()?,
                Err(WriteError::Database(error)) if may_pass(&error) => return Err(error),
                Err(error) => {
                    tracing::error!("the store refuses a row: {error}: {row:?}");
                    drop(savepoint);
                    self.pen.rolled_back();
                    rejected += row.weight();
                }
            }
        }
        transaction.commit()?;
        Ok(rejected)
    }

    fn note_given_up(&self, rows: u64) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "UPDATE runs SET rows_given_up = ?2 WHERE id = ?1",
                params![self.pen.run().as_str(), rows],
            )
            .map(drop)
    }

    /// Deletes a little of what is too old or too much. What cannot be deleted now will be later.
    fn prune(&mut self) {
        let retention = *lock(&self.shared.retention);
        let (now, wall_ms) = (Instant::now(), contract::clock::wall_ms());
        let pruned = self
            .pruner
            .step(&mut self.connection, retention, now, wall_ms);
        if let Err(error) = pruned {
            tracing::warn!("old rows cannot be deleted: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
