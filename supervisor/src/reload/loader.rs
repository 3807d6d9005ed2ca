//! The thread that sees a text change, reads it and checks it.
//!
//! It watches the directories of everything a config is made from, waits until
//! whoever writes has finished, loads, and hands over what came of it if it is
//! another text than before, or if somebody asked. It holds no state of the run.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::links::{Entries, entries};
use crate::config::{self, Problems, RunConfig, SourceFile};
use crate::store::AskedBy;

/// After a file was closed or renamed: editors do several things at once.
const QUIET: Duration = Duration::from_millis(40);
/// Somebody writes and has not closed the file, or has removed it and will make it anew.
const UNFINISHED_WAIT: Duration = Duration::from_millis(500);
/// A file that never comes to rest is read after this all the same.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// What may wait for the thread. When it is full, it is awake anyway.
const MESSAGES_MAX: usize = 64;

/// A text that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Who asked for it.
    pub asked_by: AskedBy,
    /// When it was read, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// The checked config, or all that is wrong with it.
    pub result: Result<Box<RunConfig>, Problems>,
}

/// What the thread hands over.
#[derive(Debug)]
pub enum Report {
    /// A text was read.
    Loaded(Loaded),
    /// Files are not watched; why.
    Blind(String),
}

/// The variables of the environment, as configs may name them.
pub type Environment = Box<dyn Fn(&str) -> Option<String> + Send>;

enum Message {
    /// An entry has changed; whoever changed it has finished.
    Touched {
        finished: bool,
    },
    /// Load, and answer also when nothing has changed.
    Ask(AskedBy),
    End,
}

/// The thread. Dropping this ends it.
#[derive(Debug)]
pub struct Loader {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts the thread for the config at `path`, which was made from `files` when it was
    /// last read. `deliver` is called on the thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        path: PathBuf,
        files: &[SourceFile],
        environment: Environment,
        deliver: impl Fn(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        let mut desk = Desk {
            path,
            environment,
            deliver: Box::new(deliver),
            seen: fingerprint(files),
            looked_again: false,
            watch: Watch::new(sender.clone()),
        };
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let thread = std::thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                desk.watch(&paths);
                desk.serve(&receiver);
            })?;
        Ok(Self {
            sender,
            thread: Some(thread),
        })
    }

    /// Loads the text and hands it over, whether or not it has changed.
    pub fn ask(&self, asked_by: AskedBy) {
        // When the queue is full a load is due anyway, and another ask of the same before it.
        let _ = self.sender.try_send(Message::Ask(asked_by));
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.sender.send(Message::End);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed already.
            let _ = thread.join();
        }
    }
}

/// When to load: pure, the clock is passed in.
#[derive(Debug, Default)]
struct Rest {
    first: Option<Instant>,
    due: Option<Instant>,
    asked_by: Option<AskedBy>,
}

impl Rest {
    fn touched(&mut self, finished: bool, now: Instant) {
        let wait = if finished { QUIET } else { UNFINISHED_WAIT };
        let latest = *self.first.get_or_insert(now) + WAIT_MAX;
        if self.asked_by.is_none() {
            self.due = Some((now + wait).min(latest));
        }
    }

    fn asked(&mut self, asked_by: AskedBy, now: Instant) {
        let command = self.asked_by == Some(AskedBy::Command);
        self.asked_by = Some(if command { AskedBy::Command } else { asked_by });
        self.due = Some(now);
    }
}

struct Desk {
    path: PathBuf,
    environment: Environment,
    deliver: Box<dyn Fn(Report) + Send>,
    /// What was read last.
    seen: Fingerprint,
    /// A file was gone when it was last looked at, and nothing was said of it yet.
    looked_again: bool,
    watch: Result<Watch, notify::Error>,
}

impl Desk {
    fn serve(&mut self, messages: &Receiver<Message>) {
        let mut rest = Rest::default();
        // What was saved between the start of the run and the start of the watch.
        rest.touched(true, Instant::now());
        loop {
            let message = match rest.due {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let now = Instant::now();
            match message {
                Ok(Message::Touched { finished }) => rest.touched(finished, now),
                Ok(Message::Ask(asked_by)) => rest.asked(asked_by, now),
                Err(RecvTimeoutError::Timeout) => {
                    let asked_by = std::mem::take(&mut rest).asked_by;
                    if self.load(asked_by) {
                        rest.touched(false, now);
                    }
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads, and hands over what is news. True when a file has gone that was there: it is
    /// looked for once more before anything is said.
    fn load(&mut self, asked_by: Option<AskedBy>) -> bool {
        let mut wall_ms = clock::wall_ms();
        let mut result = config::load(&self.path, &self.environment);
        // What the new text names was not watched while it was read.
        if self.watch(&paths(files(&result))) {
            wall_ms = clock::wall_ms();
            result = config::load(&self.path, &self.environment);
        }
        let found = fingerprint(files(&result));
        if asked_by.is_none() && !self.looked_again && self.seen.has_lost(&found) {
            self.looked_again = true;
            return true;
        }
        self.looked_again = false;
        let is_news = found != self.seen;
        self.seen = found;
        if is_news || asked_by.is_some() {
            (self.deliver)(Report::Loaded(Loaded {
                asked_by: asked_by.unwrap_or(AskedBy::File),
                wall_ms,
                result: result.map(Box::new),
            }));
        }
        false
    }

    /// Watches what these files hang on; says whether something was not watched before.
    fn watch(&mut self, paths: &[PathBuf]) -> bool {
        let trouble = match &mut self.watch {
            Ok(watch) => match watch.set(paths) {
                Ok(more) => return more,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        (self.deliver)(Report::Blind(trouble));
        false
    }
}

fn files(result: &Result<RunConfig, Problems>) -> &[SourceFile] {
    match result {
        Ok(config) => &config.files,
        Err(problems) => &problems.files,
    }
}

fn paths(files: &[SourceFile]) -> Vec<PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}

/// Tells one text from another: each file and the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint(Vec<(PathBuf, Option<[u8; 32]>)>);

fn fingerprint(files: &[SourceFile]) -> Fingerprint {
    let digest = |file: &SourceFile| (file.path.clone(), file.digest);
    Fingerprint(files.iter().map(digest).collect())
}

impl Fingerprint {
    /// A file that was there is gone.
    fn has_lost(&self, now: &Self) -> bool {
        let gone = |path: &Path| {
            let mut files = now.0.iter();
            files.any(|(known, digest)| known == path && digest.is_none())
        };
        let mut files = self.0.iter();
        files.any(|(path, digest)| digest.is_some() && gone(path))
    }
}

/// The watch on directories.
struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    entries: Arc<Mutex<Entries>>,
}

impl Watch {
    fn new(sender: SyncSender<Message>) -> Result<Self, notify::Error> {
        let entries = Arc::new(Mutex::new(Entries::new()));
        let known = Arc::clone(&entries);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let touched = match &event {
                Ok(event) => touched(event, &lock(&known)),
                // Something was missed.
                Err(_) => Some(true),
            };
            if let Some(finished) = touched {
                // A full queue is about to be looked at.
                let _ = sender.try_send(Message::Touched { finished });
            }
        })?;
        Ok(Self {
            watcher,
            directories: BTreeSet::new(),
            entries,
        })
    }

    /// Watches what `paths` hang on and nothing else; says whether something is new. A
    /// directory that was replaced is watched anew.
    fn set(&mut self, paths: &[PathBuf]) -> Result<bool, notify::Error> {
        let wanted = entries(paths.iter().map(PathBuf::as_path));
        let is_new = *lock(&self.entries) != wanted;
        let directories: BTreeSet<PathBuf> = wanted.keys().cloned().collect();
        *lock(&self.entries) = wanted;
        for directory in self.directories.difference(&directories) {
            // One that is gone has lost its watch already.
            let _ = self.watcher.unwatch(directory);
        }
        let mut refused = None;
        self.directories.clear();
        for directory in directories {
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.directories.insert(directory);
                }
                // Gone, or not ours to look into: nothing there can change the text unseen
                // but by a change further up.
                Err(error) if is_out_of_reach(&error) => {}
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(is_new),
        }
    }
}

fn is_out_of_reach(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

/// Whether an event may mean another text; and then, whether whoever wrote has finished.
fn touched(event: &Event, entries: &Entries) -> Option<bool> {
    if event.need_rescan() {
        return Some(true);
    }
    let finished = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        // We read them ourselves.
        EventKind::Access(_) => return None,
        EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_)) => true,
        // A link is made in one step; a file is written and closed after it was made.
        EventKind::Create(_) => event.paths.iter().any(|path| path.is_symlink()),
        _ => false,
    };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let directory = path.parent().unwrap_or(Path::new("/"));
        let known = entries.get(directory);
        known.is_some_and(|names| names.contains(name)) || entries.contains_key(path)
    };
    event.paths.iter().any(is_ours).then_some(finished)
}

/// What another thread left is whole, also after a panic: it is replaced in one step.
fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
