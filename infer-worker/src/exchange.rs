//! Where the dispatcher leaves frames and free sessions take them, in batches ([`crate::batch`]).
//!
//! Nothing is handed to a session before it is free, so what it takes is the newest there
//! is at that moment.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::{Batcher, Next};
use crate::scheduler::{LaneId, LanePolicy, Turn};

/// Locks a mutex whose data stays whole when a holder panics: every change under the locks
/// of this crate is complete before anything that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The batcher, shared between the dispatcher and the sessions.
#[derive(Debug)]
pub struct Exchange<T> {
    state: Mutex<State<T>>,
    /// Something waits, or the exchange is closed.
    offered: Condvar,
}

#[derive(Debug)]
struct State<T> {
    batcher: Batcher<T>,
    closed: bool,
}

impl<T> Default for Exchange<T> {
    /// Without any lane.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                batcher: Batcher::default(),
                closed: false,
            }),
            offered: Condvar::new(),
        }
    }
}

impl<T> Exchange<T> {
    /// As [`Batcher::add`].
    pub fn add(&self, policy: LanePolicy, weight: u32) -> LaneId {
        lock(&self.state).batcher.add(policy, weight)
    }

    /// As [`Batcher::change`].
    pub fn change(&self, lane: LaneId, policy: LanePolicy, weight: u32) {
        lock(&self.state).batcher.change(lane, policy, weight);
    }

    /// As [`Batcher::remove`].
    pub fn remove(&self, lane: LaneId) -> Vec<T> {
        lock(&self.state).batcher.remove(lane)
    }

    /// As [`Batcher::set_delay`].
    pub fn set_delay(&self, delay: Duration) {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        lock(&self.state).batcher.set_delay(delay_ns);
    }

    /// Leaves a frame at `now_ns`; returns the one whose place it took, or itself when the exchange
    /// is closed or there is no such lane.
    pub fn offer(&self, lane: LaneId, captured_ns: u64, frame: T, now_ns: u64) -> Option<T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Some(frame);
        }
        let displaced = state.batcher.offer(lane, captured_ns, frame, now_ns);
        drop(state);
        self.offered.notify_one();
        displaced
    }

    /// False while the lane is full.
    #[must_use]
    pub fn wants_more(&self, lane: LaneId) -> bool {
        lock(&self.state).batcher.wants_more(lane)
    }

    /// Waits for a batch of `max` frames at most, and puts it into `batch`; false when the exchange
    /// is closed, or when who waits is `retired` and has been told so by [`Exchange::rouse`].
    pub fn take(
        &self,
        max: usize,
        clock_ns: impl Fn() -> u64,
        retired: impl Fn() -> bool,
        batch: &mut Vec<Turn<T>>,
    ) -> bool {
        let mut state = lock(&self.state);
        let mut stay = state.batcher.come();
        let given = loop {
            if state.closed {
                break false;
            }
            if retired() {
                // It may have been woken for a frame: somebody else must take that.
                self.offered.notify_one();
                break false;
            }
            let now_ns = clock_ns();
            state = match state.batcher.next(&mut stay, max, now_ns, batch) {
                Next::Run => break true,
                Next::Wait => self
                    .offered
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Next::WaitUntil(until_ns) => {
                    let timeout = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                    let waited = self.offered.wait_timeout(state, timeout);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        state.batcher.go(stay);
        given
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
        let left = state.batcher.withdraw();
        drop(state);
        self.offered.notify_all();
        left
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const LOSSLESS: LanePolicy = LanePolicy::Lossless { pending_max: 1000 };

    fn wait_until_empty(exchange: &Exchange<usize>) {
        while lock(&exchange.state).batcher.pending() > 0 {
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
                let mut batch = Vec::new();
                while exchange.take(3, || 0, || false, &mut batch) {
                    assert!(batch.len() <= 3, "{batch:?}");
                    for turn in batch.drain(..) {
                        let Turn::Run { frame, .. } = turn else {
                            panic!("{turn:?}");
                        };
                        sum.fetch_add(frame, Ordering::Relaxed);
                    }
                }
            };
            let sessions = [scope.spawn(session), scope.spawn(session)];
            for frame in 1..=1000 {
                assert_eq!(exchange.offer(lane, 0, frame, 0), None);
            }
            wait_until_empty(&exchange);
            assert!(exchange.close().is_empty());
            for session in sessions {
                session.join().expect("no session panics");
            }
        });
        assert_eq!(sum.into_inner(), 500_500);
        assert_eq!(exchange.offer(lane, 0, 7, 0), Some(7));
    }

    #[test]
    fn a_session_that_waits_for_company_is_woken_when_its_batch_is_full() {
        let exchange = Exchange::default();
        exchange.set_delay(Duration::from_secs(60));
        let lane = exchange.add(LOSSLESS, 1);
        // A frame a millisecond, by a clock that stands still from then on.
        for frame in 0..2 {
            exchange.offer(lane, 0, frame, frame as u64 * 1_000_000);
        }
        std::thread::scope(|scope| {
            let session = scope.spawn(|| {
                let mut batch = Vec::new();
                assert!(exchange.take(3, || 1_000_000, || false, &mut batch));
                batch.len()
            });
            assert_eq!(exchange.offer(lane, 0, 2, 1_000_000), None);
            assert_eq!(session.join().expect("it does not panic"), 3);
        });
    }

    #[test]
    fn a_session_that_waits_for_company_goes_when_none_is_to_be_expected() {
        let exchange = Exchange::default();
        exchange.set_delay(Duration::from_millis(20));
        let lane = exchange.add(LOSSLESS, 1);
        let begin = Instant::now();
        let clock = || u64::try_from(begin.elapsed().as_nanos()).expect("not for centuries");
        exchange.offer(lane, 0, 0, 0);
        exchange.offer(lane, 0, 1, 0);
        let mut batch = Vec::new();
        assert!(exchange.take(3, clock, || false, &mut batch));
        assert_eq!(batch.len(), 2);
        assert!(
            begin.elapsed() >= Duration::from_millis(20),
            "it has waited"
        );
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
                let mut batch = Vec::new();
                while exchange.take(1, || 0, || retired.load(Ordering::Relaxed), &mut batch) {
                    taken.fetch_add(batch.drain(..).count(), Ordering::Relaxed);
                }
            };
            let sessions = retired
                .iter()
                .map(|retired| scope.spawn(move || session(retired)));
            let sessions: Vec<_> = sessions.collect();
            // Seven retire while frames come; every frame finds somebody still.
            for (frame, retired) in retired.iter().skip(1).enumerate() {
                assert_eq!(exchange.offer(lane, 0, frame, 0), None);
                retired.store(true, Ordering::Relaxed);
                exchange.rouse();
                assert_eq!(exchange.offer(lane, 0, frame, 0), None);
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
