//! Deletes recordings that are too old or too many, and completes the rows of those whose
//! writer died: a thread of its own, because a disk may take its time.
//!
//! Only files that the store has a row of are touched, never the one that is written, the
//! oldest first. Each deletion is a row.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock;
use contract::control::FileState;
use contract::name::{RunId, StreamName};

use super::inspect;
use crate::config::KeepConfig;
use crate::store::{FileGone, GoneReason, Reader, Recording, Row, StoreError, WriterHandle};

/// How often it is looked whether something is too old or too much: a recorder that found the
/// disk full tries again after as long.
const ROUND_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked whether files are still there, so that what somebody else has taken
/// away no longer counts.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// After a worker's death its last rows are on the disk.
const SETTLE_WAIT: Duration = Duration::from_secs(1);
/// Orders that may wait; one more is taken by the next round.
const ORDERS_MAX: usize = 256;

/// Taken away at the end of the run, also from a thread that hangs in a disk: the store's
/// writer waits until nobody can hand it a row.
type SharedStore = Arc<Mutex<Option<WriterHandle>>>;

enum Order {
    Keep(String, BTreeMap<PathBuf, KeepConfig>),
    Died(StreamName, u32),
}

/// The thread.
#[derive(Debug)]
pub struct Keeper {
    orders: Option<SyncSender<Order>>,
    store: SharedStore,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread for a run whose database is in `data`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(data: PathBuf, run: RunId, store: WriterHandle) -> std::io::Result<Self> {
        let (orders, incoming) = sync_channel(ORDERS_MAX);
        let store = Arc::new(Mutex::new(Some(store)));
        let round = Round {
            data,
            run,
            store: Arc::clone(&store),
            name: String::new(),
            kept: BTreeMap::new(),
            died: HashMap::new(),
            looked_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || round.work(&incoming))?;
        Ok(Self {
            orders: Some(orders),
            store,
            thread: Some(thread),
        })
    }

    /// From now on so much is kept in these directories, by runs of this name.
    pub fn keep(&self, run_name: String, kept: BTreeMap<PathBuf, KeepConfig>) {
        self.order(Order::Keep(run_name, kept));
    }

    /// What this start of a stream's render worker has open is not written any more.
    pub fn writer_died(&self, stream: StreamName, incarnation: u32) {
        self.order(Order::Died(stream, incarnation));
    }

    /// Ends the thread after what it is at; a disk that hangs is not waited for.
    pub fn finish(&mut self) {
        self.orders = None;
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            // A panic has been logged by its hook.
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        let refused = self.orders.as_ref().map(|orders| orders.try_send(order));
        if let Some(Err(error)) = refused {
            // What died is completed by the next command, what is kept by the next reload.
            tracing::error!("recordings are not looked after: {error}");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Round {
    data: PathBuf,
    run: RunId,
    store: SharedStore,
    name: String,
    kept: BTreeMap<PathBuf, KeepConfig>,
    /// The last start of each stream's render worker that is dead.
    died: HashMap<StreamName, u32>,
    /// When it was looked whether files are there.
    looked_at: Option<Instant>,
}

impl Round {
    fn work(mut self, orders: &Receiver<Order>) {
        let mut wait = ROUND_INTERVAL;
        loop {
            match orders.recv_timeout(wait) {
                Ok(Order::Keep(name, kept)) => {
                    (self.name, self.kept) = (name, kept);
                    wait = Duration::ZERO;
                }
                Ok(Order::Died(stream, incarnation)) => {
                    self.died.insert(stream, incarnation);
                    wait = SETTLE_WAIT;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.once() {
                        tracing::warn!("recordings cannot be looked after: {error}");
                    }
                    wait = ROUND_INTERVAL;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn once(&mut self) -> Result<(), StoreError> {
        let reader = Reader::open(&self.data)?;
        self.settle(&reader)?;
        let looks = self
            .looked_at
            .is_none_or(|looked_at| looked_at.elapsed() >= LOOK_INTERVAL);
        if looks {
            self.looked_at = Some(Instant::now());
        }
        for (directory, keep) in &self.kept {
            if keep.max_age.is_none() && keep.max_size.is_none() {
                continue;
            }
            let files = reader.recordings_in(&directory.to_string_lossy())?;
            let own = files
                .into_iter()
                .filter(|file| self.counts(file, directory));
            let mut own: Vec<_> = own.collect();
            if looks {
                own.retain(|file| self.is_there(file));
            }
            for (file, reason) in too_much(&own, keep, clock::wall_ms()) {
                self.delete(file, reason);
            }
        }
        Ok(())
    }

    /// Completes what dead workers of this run have left open.
    fn settle(&self, reader: &Reader) -> Result<(), StoreError> {
        if self.died.is_empty() {
            return Ok(());
        }
        for file in reader.open_files(self.run.as_str())? {
            let died = self.died.get(&file.record.stream);
            if died.is_none_or(|died| file.incarnation > *died) {
                continue;
            }
            match inspect::completed(&file) {
                Ok(Some(record)) => self.tell(Row::File {
                    incarnation: file.incarnation,
                    record,
                }),
                Ok(None) => self.gone(&file, None),
                Err(error) => {
                    tracing::warn!("cannot read {}: {error}", file.absolute().display());
                }
            }
        }
        Ok(())
    }

    /// A directory inside a run's own is the same for all runs of one name; of files in
    /// directories inside of it nothing is known here.
    fn counts(&self, file: &Recording, directory: &Path) -> bool {
        let path = Path::new(&file.record.path);
        path.parent() == Some(directory) && (path.is_absolute() || file.run_name == self.name)
    }

    fn is_there(&self, file: &Recording) -> bool {
        let found = std::fs::symlink_metadata(file.absolute());
        let is_missing = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if is_missing && file.record.state != FileState::Open {
            self.gone(file, None);
        }
        !is_missing
    }

    fn delete(&self, file: &Recording, reason: GoneReason) {
        let path = file.absolute();
        match std::fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!("deleted {} ({})", path.display(), reason.as_str());
                self.gone(file, Some(reason));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.gone(file, None),
            Err(error) => tracing::warn!("cannot delete {}: {error}", path.display()),
        }
    }

    fn tell(&self, row: Row) {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = store.as_ref() {
            store.offer(row);
        }
    }

    fn gone(&self, file: &Recording, reason: Option<GoneReason>) {
        self.tell(Row::FileGone(FileGone {
            run: file.run.clone(),
            path: file.record.path.clone(),
            reason,
            wall_ms: clock::wall_ms(),
        }));
    }
}

/// What must go, of files in the order of their begin: what has ended too long ago, and then
/// the oldest while all together are too large. One that is written counts and stays.
fn too_much<'f>(
    files: &'f [Recording],
    keep: &KeepConfig,
    now_wall_ms: i64,
) -> Vec<(&'f Recording, GoneReason)> {
    let age_ms = keep
        .max_age
        .map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut bytes: u64 = files.iter().map(|file| file.record.content.bytes).sum();
    let mut gone = Vec::new();
    for file in files {
        let content = &file.record.content;
        if file.record.state == FileState::Open {
            continue;
        }
        let is_old =
            age_ms.is_some_and(|age_ms| content.end_wall_ms < now_wall_ms.saturating_sub(age_ms));
        let is_much = keep.max_size.is_some_and(|size| bytes > size.bytes());
        let reason = match (is_old, is_much) {
            (true, _) => GoneReason::Age,
            (false, true) => GoneReason::Size,
            (false, false) => continue,
        };
        bytes -= content.bytes;
        gone.push((file, reason));
    }
    gone
}

#[cfg(test)]
mod tests {
    use contract::control::{FileContent, FileKind, FileRecord};

    use super::*;
    use crate::config::ByteSize;
    use crate::store::{Writer, fixture};

    fn record(path: &str, state: FileState, end_wall_ms: i64, bytes: u64) -> FileRecord {
        FileRecord {
            stream: fixture::yard(),
            kind: FileKind::Recording,
            path: path.to_owned(),
            state,
            begin_wall_ms: end_wall_ms - 1000,
            begin_pts_ns: 0,
            content: FileContent {
                frames: 10,
                bytes,
                duration_ns: 1_000_000_000,
                end_wall_ms,
                size: None,
            },
        }
    }

    fn file(state: FileState, end_wall_ms: i64, bytes: u64) -> Recording {
        Recording {
            run: "yard-1".to_owned(),
            run_name: "yard".to_owned(),
            run_directory: PathBuf::from("/data/runs/yard-1"),
            incarnation: 0,
            record: record(&format!("video/{end_wall_ms}"), state, end_wall_ms, bytes),
        }
    }

    #[test]
    fn the_oldest_go_first_by_age_and_by_size_and_the_open_one_stays() {
        const MB: u64 = 1_000_000;
        let files = [
            file(FileState::Open, 1_000, 10 * MB),
            file(FileState::Closed, 10_000, 4 * MB),
            file(FileState::Torn, 100_000, 3 * MB),
            file(FileState::Closed, 200_000, 2 * MB),
        ];
        let gone = |max_age_s: Option<u64>, max_size: Option<&str>| {
            let keep = KeepConfig {
                max_age: max_age_s.map(Duration::from_secs),
                max_size: max_size.and_then(ByteSize::read),
            };
            let gone = too_much(&files, &keep, 200_000);
            let ends = gone
                .iter()
                .map(|(file, reason)| (file.record.content.end_wall_ms, reason.as_str()));
            ends.collect::<Vec<_>>()
        };
        assert_eq!(gone(None, None), []);
        assert_eq!(
            gone(Some(100), None),
            [(10_000, "age")],
            "100 s are not more than 100"
        );
        assert_eq!(gone(Some(99), None), [(10_000, "age"), (100_000, "age")]);
        assert_eq!(gone(None, Some("19MB")), []);
        assert_eq!(gone(None, Some("15MB")), [(10_000, "size")]);
        assert_eq!(
            gone(Some(150), Some("12MB")),
            [(10_000, "age"), (100_000, "size")]
        );
        assert_eq!(gone(None, Some("1MB")).len(), 3, "the open one stays");
    }

    #[test]
    fn files_of_others_are_not_touched_and_what_is_deleted_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        let (connection, run) = fixture::begin(data, "yard");
        let video = data.join("runs").join(run.as_str()).join("video");
        std::fs::create_dir_all(video.join("deeper")).expect("made");
        for name in ["old.mp4", "new.mp4", "foreign.mp4", "deeper/old.mp4"] {
            std::fs::write(video.join(name), vec![0; 10]).expect("written");
        }
        let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
        let now = clock::wall_ms();
        for (path, end_wall_ms) in [
            ("video/old.mp4", 1000),
            ("video/taken-away.mp4", 1000),
            ("video/deeper/old.mp4", 1000),
            ("video/new.mp4", now),
        ] {
            let record = record(path, FileState::Closed, end_wall_ms, 10);
            writer.handle().offer(Row::File {
                incarnation: 0,
                record,
            });
        }
        let _ = writer.finish();
        let connection = crate::store::open_existing(data).expect("there");
        let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
        let mut round = Round {
            data: data.to_owned(),
            run: run.clone(),
            store: Arc::new(Mutex::new(Some(writer.handle()))),
            name: "yard".to_owned(),
            kept: BTreeMap::from([(
                PathBuf::from("video"),
                KeepConfig {
                    max_age: Some(Duration::from_secs(3600)),
                    max_size: None,
                },
            )]),
            died: HashMap::new(),
            looked_at: None,
        };
        round.once().expect("looked after");
        drop(round);
        let _ = writer.finish();
        let there = |name: &str| video.join(name).exists();
        assert!(!there("old.mp4"));
        assert!(there("new.mp4") && there("foreign.mp4") && there("deeper/old.mp4"));
        let reader = Reader::open(data).expect("readable");
        let files = reader.files(run.as_str()).expect("read");
        let state = |path: &str| {
            let file = files.iter().find(|file| file.path == Path::new(path));
            file.expect("it has a row").state.clone()
        };
        assert_eq!(state("video/old.mp4"), "deleted");
        assert_eq!(state("video/taken-away.mp4"), "missing");
        assert_eq!(state("video/new.mp4"), "closed");
        assert_eq!(state("video/deeper/old.mp4"), "closed");
    }
}
