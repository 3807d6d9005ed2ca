//! A supervisor's own root: made at start, held by a lock, swept when its owner is dead.
//!
//! A root is a directory `sluice-<pid>-<n>` with the bus (`bus/`), the books (`books/`) and
//! `lock`, a file whose first line is the owner's pid and whose rest is the owner's own note.
//! The lock on that file ends with its owner, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use contract::clock;
use contract::spec::BusSpec;
use nix::fcntl::{Flock, FlockArg};

use crate::budget::SHARED_MEMORY;
use crate::error::BusError;

/// Where roots are made: short, because socket paths below it may have 108 bytes.
pub const BASE: &str = "/tmp";
const NAME_PREFIX: &str = "sluice-";
const ATTEMPTS_MAX: u32 = 100;

/// A root that this process owns. Dropping it removes it.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Root {
    /// Makes a root under `base`; `note` is kept for whoever sweeps it, should we die.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn create(base: &Path, note: &str) -> Result<Self, BusError> {
        let pid = std::process::id();
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for attempt in 0..ATTEMPTS_MAX {
            let path = base.join(format!("{NAME_PREFIX}{pid}-{attempt}"));
            match builder.create(&path) {
                Ok(()) => return Self::fill(path, note),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BusError::file(&path, &error)),
            }
        }
        Err(BusError::file(
            base,
            &"every name for a run's own directory is taken; remove old `sluice-*` directories",
        ))
    }

    fn fill(path: PathBuf, note: &str) -> Result<Self, BusError> {
        let make = || -> std::io::Result<File> {
            fs::create_dir(path.join("bus"))?;
            fs::create_dir(path.join("books"))?;
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path.join("lock"))
        };
        let file = make().map_err(|error| BusError::file(&path, &error))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| BusError::file(&path, &error.desc()))?;
        write!(&*lock, "{}\n{note}", std::process::id())
            .map_err(|error| BusError::file(&path, &error))?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the books lie.
    #[must_use]
    pub fn books(&self) -> PathBuf {
        books_of(&self.path)
    }

    /// Where the bus lies.
    #[must_use]
    pub fn bus(&self) -> BusSpec {
        BusSpec {
            root: self.path.join("bus"),
            prefix: shared_memory_prefix(&self.path),
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A root whose owner is dead.
#[derive(Debug)]
pub struct Leftover {
    path: PathBuf,
    /// What its owner wrote down for whoever finds it.
    pub note: String,
    _lock: Flock<File>,
}

impl Leftover {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its books lie.
    #[must_use]
    pub fn books(&self) -> PathBuf {
        books_of(&self.path)
    }

    /// Removes it: shared memory, sockets, books.
    pub fn sweep(self) {
        remove(&self.path);
    }
}

/// Finds the roots under `base` that belong to this user and whose owners are dead.
///
/// # Errors
/// When `base` cannot be listed.
pub fn leftovers(base: &Path) -> Result<Vec<Leftover>, BusError> {
    let entries = fs::read_dir(base).map_err(|error| BusError::file(base, &error))?;
    let roots = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        name.starts_with(NAME_PREFIX).then(|| entry.path())
    });
    Ok(roots.filter_map(leftover).collect())
}

/// Says whether the owner of the root at `path` lives.
#[must_use]
pub fn owner_lives(path: &Path) -> bool {
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join("lock"))
    {
        Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err(),
        Err(_) => false,
    }
}

fn leftover(path: PathBuf) -> Option<Leftover> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join("lock"))
        .ok()?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    // Without a first line its owner is just being born, or was killed in that moment.
    let (_, note) = text.split_once('\n')?;
    Some(Leftover {
        path,
        note: note.to_owned(),
        _lock: lock,
    })
}

fn books_of(root: &Path) -> PathBuf {
    root.join("books")
}

/// The prefix of everything a root has in shared memory: its directory's name, which is
/// unique while it exists. The trailing sign keeps `sluice-1-1` and `sluice-1-10` apart.
fn shared_memory_prefix(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}_")
}

fn remove(root: &Path) {
    let prefix = shared_memory_prefix(root);
    let begin = clock::monotonic_ns();
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix))
    });
    let mut removed = 0;
    for entry in ours {
        if fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    if let Err(error) = fs::remove_dir_all(root) {
        tracing::warn!(root = %root.display(), %error, "a run's own directory was not removed");
    }
    let took_us = (clock::monotonic_ns() - begin) / 1000;
    tracing::debug!(root = %root.display(), removed, took_us, "swept");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_owned_until_it_is_dropped() {
        let base = tempfile::tempdir().expect("a directory");
        let root = Root::create(base.path(), "note\nof two lines").expect("a root");
        let second = Root::create(base.path(), "").expect("another");
        assert_ne!(root.bus().prefix, second.bus().prefix);
        assert!(owner_lives(root.path()));
        assert!(leftovers(base.path()).expect("a list").is_empty());

        // What a killed owner leaves: everything but the lock.
        let dead = base.path().join("sluice-1-0");
        for directory in ["bus", "books"] {
            fs::create_dir_all(dead.join(directory)).expect("a directory");
        }
        fs::write(dead.join("lock"), "1\ndata/runs.db").expect("a file");
        let shm = Path::new(SHARED_MEMORY).join(format!("sluice-1-0_{}", std::process::id()));
        fs::write(&shm, "x").expect("a file");
        let mut found = leftovers(base.path()).expect("a list");
        assert_eq!(found.len(), 1);
        let leftover = found.remove(0);
        assert_eq!(leftover.note, "data/runs.db");
        leftover.sweep();
        assert!(!dead.exists() && !shm.exists());

        let path = root.path().to_owned();
        drop(root);
        assert!(!path.exists() && !owner_lives(&path));
    }
}
