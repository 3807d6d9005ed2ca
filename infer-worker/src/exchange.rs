//! Where the dispatcher leaves frames and free sessions take them.
//!
//! Nothing is handed to a session before it is free, so what it takes is the newest there
//! is at that moment.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::scheduler::{LaneId, LanePolicy, Scheduler, Turn};

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

impl<T> Default for Exchange<T> {
    /// Without any lane.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                scheduler: Scheduler::default(),
                closed: false,
            }),
            offered: Condvar::new(),
        }
    }
}

impl<T> Exchange<T> {
    /// As [`Scheduler::add`].
    pub fn add(&self, policy: LanePolicy, weight: u32) -> LaneId {
        lock(&self.state).scheduler.add(policy, weight)
    }

    /// As [`Scheduler::change`].
    pub fn change(&self, lane: LaneId, policy: LanePolicy, weight: u32) {
        lock(&self.state).scheduler.change(lane, policy, weight);
    }

    /// As [`Scheduler::remove`].
    pub fn remove(&self, lane: LaneId) -> Vec<T> {
        lock(&self.state).scheduler.remove(lane)
    }

    /// Leaves a frame; returns the one whose place it took, or itself when the exchange is
    /// closed or there is no such lane.
    pub fn offer(&self, lane: LaneId, captured_ns: u64, frame: T) -> Option<T> {
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
    pub fn wants_more(&self, lane: LaneId) -> bool {
        lock(&self.state).scheduler.wants_more(lane)
    }

    /// Waits for a turn; `None` when the exchange is closed, or when who waits is `retired`
    /// and has been told so by [`Exchange::rouse`].
    pub fn take(&self, clock_ns: impl Fn() -> u64, retired: impl Fn() -> bool) -> Option<Turn<T>> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if retired() {
                // It may have been woken for a frame: somebody else must take that.
                self.offered.notify_one();
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

    /// Wakes everybody who waits, to see whether they are retired.
    pub fn rouse(&self) {
        // Whoever has looked just before now waits, and is not overlooked.
        drop(lock(&self.state));
        self.offered.notify_all();
    }

    /// Ends all waiting, now and later; returns what nobody took.
    pub fn close(&self) -> Vec<T> {
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    const LOSSLESS: LanePolicy = LanePolicy::Lossless { pending_max: 1000 };

    fn wait_until_empty(exchange: &Exchange<usize>) {
        while lock(&exchange.state).scheduler.pending() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn every_frame_is_taken_once_and_closing_frees_the_waiting() {
        let exchange = Exchange::default();
        let lane = exchange.add(LOSSLESS, 1);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let session = || {
                while let Some(Turn::Run { frame, .. }) = exchange.take(|| 0, || false) {
                    sum.fetch_add(frame, Ordering::Relaxed);
                }
            };
            let sessions = [scope.spawn(session), scope.spawn(session)];
            for frame in 1..=1000 {
                assert_eq!(exchange.offer(lane, 0, frame), None);
            }
            wait_until_empty(&exchange);
            assert!(exchange.close().is_empty());
            for session in sessions {
                session.join().expect("no session panics");
            }
        });
        assert_eq!(sum.into_inner(), 500_500);
        assert_eq!(exchange.offer(lane, 0, 7), Some(7));
    }

    #[test]
    fn sessions_that_retire_leave_no_frame_behind() {
        let exchange = Exchange::default();
        let lane = exchange.add(LOSSLESS, 1);
        let taken = AtomicUsize::new(0);
        let retired: [AtomicBool; 8] = std::array::from_fn(|_| AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (exchange, taken) = (&exchange, &taken);
            let session = |retired: &'_ AtomicBool| {
                while exchange
                    .take(|| 0, || retired.load(Ordering::Relaxed))
                    .is_some()
                {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            };
            let sessions = retired
                .iter()
                .map(|retired| scope.spawn(move || session(retired)));
            let sessions: Vec<_> = sessions.collect();
            // Seven retire while frames come; every frame finds somebody still.
            for (frame, retired) in retired.iter().skip(1).enumerate() {
                assert_eq!(exchange.offer(lane, 0, frame), None);
                retired.store(true, Ordering::Relaxed);
                exchange.rouse();
                assert_eq!(exchange.offer(lane, 0, frame), None);
            }
            wait_until_empty(exchange);
            exchange.close();
            for session in sessions {
                session.join().expect("no session panics");
            }
        });
        assert_eq!(taken.into_inner(), 14);
    }
}
