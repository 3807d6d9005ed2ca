//! Access units on their way to a thread that writes them: a queue bounded by bytes.
//!
//! The encoder's thread puts them in and never waits; what has no room is for the one who
//! offers it to account for. The bytes are the encoder's own buffers, shared and not copied.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Encoded;
use crate::shared::lock;

/// What comes out.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The next access unit.
    Unit(Encoded),
    /// What comes next does not continue what came before: another encoder, or a hole.
    Cut,
    /// Nothing has come in the time given.
    Nothing,
    /// Nothing will come any more.
    End,
}

#[derive(Debug)]
enum Item {
    Unit(Encoded),
    Cut,
}

/// The queue, and whether its writer is done.
#[derive(Debug)]
pub(crate) struct Lane {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    bytes_max: usize,
    closed: bool,
    written: bool,
}

impl Lane {
    /// An empty queue that holds so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                bytes_max,
                closed: false,
                written: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Puts an access unit in; false when there is no room for it.
    pub(crate) fn offer(&self, encoded: &Encoded) -> bool {
        let mut state = lock(&self.state);
        let bytes = state.bytes.saturating_add(encoded.unit.buffer.size());
        if state.closed || bytes > state.bytes_max {
            return false;
        }
        state.bytes = bytes;
        state.items.push_back(Item::Unit(encoded.clone()));
        self.changed.notify_all();
        true
    }

    /// Lets so many bytes more wait: those that are handed over at once at the begin.
    pub(crate) fn allow_more(&self, bytes: usize) {
        lock(&self.state).bytes_max += bytes;
    }

    /// The writer has caught up with half of what may wait.
    pub(crate) fn has_caught_up(&self) -> bool {
        let state = lock(&self.state);
        state.bytes <= state.bytes_max / 2
    }

    /// What comes from now on does not continue what came before.
    pub(crate) fn cut(&self) {
        let mut state = lock(&self.state);
        if !matches!(state.items.back(), Some(Item::Cut)) {
            state.items.push_back(Item::Cut);
            self.changed.notify_all();
        }
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// For the writer: what comes next, waited for.
    pub(crate) fn take(&self, timeout: Duration) -> Taken {
        let state = lock(&self.state);
        let waits = |state: &mut State| state.items.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(state, timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.items.pop_front() {
            Some(Item::Unit(encoded)) => {
                state.bytes -= encoded.unit.buffer.size();
                Taken::Unit(encoded)
            }
            Some(Item::Cut) => Taken::Cut,
            None if state.closed => Taken::End,
            None => Taken::Nothing,
        }
    }

    /// For the writer: all is written, or nothing more will be.
    pub(crate) fn is_written(&self) {
        lock(&self.state).written = true;
        self.changed.notify_all();
    }

    /// Whether the writer is done, waiting for it `timeout` at most.
    pub(crate) fn wait_written(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while !state.written {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::encoded;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn it_is_bounded_by_bytes_and_keeps_the_order() {
        let lane = Lane::new(100);
        assert!(matches!(lane.take(NOW), Taken::Nothing));
        assert!(lane.offer(&encoded(0, true, 60)));
        assert!(!lane.offer(&encoded(1, false, 60)), "no room");
        assert!(!lane.has_caught_up());
        lane.cut();
        lane.cut();
        assert!(lane.offer(&encoded(2, true, 40)));
        assert!(matches!(lane.take(NOW), Taken::Unit(encoded) if encoded.unit.keyframe));
        assert!(lane.has_caught_up());
        assert!(matches!(lane.take(NOW), Taken::Cut));
        lane.close();
        assert!(!lane.offer(&encoded(3, true, 1)), "closed");
        assert!(matches!(lane.take(NOW), Taken::Unit(_)));
        assert!(matches!(lane.take(NOW), Taken::End));
        assert!(!lane.wait_written(NOW));
        lane.is_written();
        assert!(lane.wait_written(NOW));
    }
}
