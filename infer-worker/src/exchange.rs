//! Where the dispatcher leaves frames and free sessions take them.
//!
//! Nothing is handed to a session before it is free, so what it takes is the newest there
//! is at that moment.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::scheduler::{Scheduler, Turn};

/// Locks a mutex whose data stays whole when a holder panics: every change under the locks
/// of this crate is complete before anything that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The scheduler, shared between the dispatcher and the sessions.
#[derive(Debug)]
pub struct Exchange<T> {
    state: Mutex<State<T>>,
    /// Something waits, or the exchange is closed.
    offered: Condvar,
}

#[derive(Debug)]
struct State<T> {
    scheduler: Scheduler<T>,
    closed: bool,
}

impl<T> Exchange<T> {
    /// Shares a scheduler.
    #[must_use]
    pub fn new(scheduler: Scheduler<T>) -> Self {
        Self {
            state: Mutex::new(State {
                scheduler,
                closed: false,
            }),
            offered: Condvar::new(),
        }
    }

    /// Leaves a frame; returns the one whose place it took, or itself when closed.
    pub fn offer(&self, lane: usize, captured_ns: u64, frame: T) -> Option<T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Some(frame);
        }
        let displaced = state.scheduler.offer(lane, captured_ns, frame);
        drop(state);
        self.offered.notify_one();
        displaced
    }

    /// False while the lane is full.
    #[must_use]
    pub fn wants_more(&self, lane: usize) -> bool {
        lock(&self.state).scheduler.wants_more(lane)
    }

    /// Waits for a turn; `None` when the exchange is closed.
    pub fn take(&self, clock_ns: impl Fn() -> u64) -> Option<Turn<T>> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(turn) = state.scheduler.next_turn(clock_ns()) {
                return Some(turn);
            }
            state = self
                .offered
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends all waiting, now and later; returns what nobody took, by lane.
    pub fn close(&self) -> Vec<(usize, T)> {
        let mut state = lock(&self.state);
        state.closed = true;
        let left = state.scheduler.withdraw();
        drop(state);
        self.offered.notify_all();
        left
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::scheduler::LanePolicy;

    #[test]
    fn every_frame_is_taken_once_and_closing_frees_the_waiting() {
        let policy = LanePolicy::Lossless { pending_max: 1000 };
        let exchange = Exchange::new(Scheduler::new([(policy, 1)]));
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let session = || {
                while let Some(Turn::Run { frame, .. }) = exchange.take(|| 0) {
                    sum.fetch_add(frame, Ordering::Relaxed);
                }
            };
            let sessions = [scope.spawn(session), scope.spawn(session)];
            for frame in 1..=1000 {
                assert_eq!(exchange.offer(0, 0, frame), None);
            }
            while lock(&exchange.state).scheduler.pending() > 0 {
                std::thread::yield_now();
            }
            assert!(exchange.close().is_empty());
            for session in sessions {
                session.join().expect("no session panics");
            }
        });
        assert_eq!(sum.into_inner(), 500_500);
        assert_eq!(exchange.offer(0, 0, 7), Some(7));
    }
}
