//! Which streams one protocol serves, and at which paths.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ladder::Ladder;

/// The streams of one protocol by path, without the leading `/`. Cloning is cheap; all clones
/// are one. The main thread changes it, servers look into it.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<BTreeMap<String, Ladder>>>);

impl Directory {
    /// What is served at `path`: all encodes of a stream, or below its path one of them.
    pub(crate) fn find(&self, path: &str) -> Option<Ladder> {
        let entries = self.entries();
        let whole = entries.get(path).cloned();
        whole.or_else(|| {
            let (path, name) = path.rsplit_once('/')?;
            entries.get(path)?.only(name)
        })
    }

    /// The path of the stream of which something is found at `path`, and all its encodes.
    pub(crate) fn whole(&self, path: &str) -> Option<(String, Ladder)> {
        let entries = self.entries();
        if let Some(ladder) = entries.get(path) {
            return Some((path.to_owned(), ladder.clone()));
        }
        let (path, name) = path.rsplit_once('/')?;
        let ladder = entries.get(path)?;
        ladder.only(name)?;
        Some((path.to_owned(), ladder.clone()))
    }

    /// All paths of streams.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    /// From now on this is found at `path`, in place of what was.
    pub(crate) fn insert(&self, path: String, ladder: Ladder) {
        self.entries().insert(path, ladder);
    }

    /// Nothing is found there any more. Who watches is sent home by
    /// [`crate::channel::Channel::end`].
    pub(crate) fn remove(&self, path: &str) {
        self.entries().remove(path);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Ladder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;

    #[test]
    fn a_quality_is_found_below_its_stream() {
        let directory = Directory::default();
        let ladder = Ladder::new(&[360], |_| Channel::new(|| ()));
        directory.insert("north/yard".to_owned(), ladder);
        let rungs = |path: &str| {
            let ladder = directory.find(path)?;
            Some(ladder.rungs().map(|rung| rung.height).collect::<Vec<_>>())
        };
        assert_eq!(rungs("north/yard"), Some(vec![None, Some(360)]));
        assert_eq!(rungs("north/yard/360p"), Some(vec![Some(360)]));
        for nothing in [
            "north/yard/720p",
            "north",
            "yard",
            "north/yard/360p/360p",
            "",
        ] {
            assert_eq!(rungs(nothing), None, "{nothing}");
        }
        assert_eq!(directory.paths(), ["north/yard"]);
    }
}
