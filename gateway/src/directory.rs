//! Which streams one protocol serves, and at which paths.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channel::Channel;

/// The streams of one protocol by path, without the leading `/`. Cloning is cheap; all clones
/// are one. The main thread changes it, servers look into it.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<BTreeMap<String, Channel>>>);

impl Directory {
    /// What is served at `path`.
    pub(crate) fn find(&self, path: &str) -> Option<Channel> {
        self.entries().get(path).cloned()
    }

    /// All paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    pub(crate) fn insert(&self, path: String, channel: Channel) {
        self.entries().insert(path, channel);
    }

    /// Nothing is found there any more. Who watches is sent home by [`Channel::end`].
    pub(crate) fn remove(&self, path: &str) {
        self.entries().remove(path);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
