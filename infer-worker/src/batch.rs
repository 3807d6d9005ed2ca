//! How many frames a session takes for one run, and whether it waits for more. Pure: the clock
//! is passed in.
//!
//! A session that is free takes what waits at once, by the turns of the fair scheduler, `max`
//! frames at most. Frames gather while models run, so batches fill by themselves under load,
//! and fairness is that of frames, whatever batch they end up in.
//!
//! It waits for company only where a fuller batch is likely and costs nothing that matters:
//!
//! - frames waited already when it came from its last run, and no other session was or is
//!   free: demand is near capacity. After idleness nothing waits, however short the pause;
//! - fewer than `max` frames wait, and some lane can take one more;
//! - the next frame is expected in time: at the mean gap between frames of late, before the
//!   oldest that waits has waited `delay`;
//! - that brings none of them near to being stale: it has at least as long again.
//!
//! So no frame waits longer than `delay` for company, and the wait ends as soon as company is not
//! to be expected. Meanwhile all stay in the scheduler: newer frames displace older ones, and
//! another session that comes free takes them.

use crate::scheduler::{LaneId, LanePolicy, Scheduler, Turn};

/// One of so many parts of a new gap enters the mean: as round-trip times are smoothed (RFC
/// 6298, section 2).
const GAP_WEIGHT: u64 = 8;
/// A pause counts as a gap of so many times `delay`: it says that nothing comes soon, and is
/// forgotten after some frames.
const GAP_DELAYS_MAX: u64 = 2;

/// The scheduler, and how sessions take batches from it.
#[derive(Debug)]
pub struct Batcher<T> {
    scheduler: Scheduler<T>,
    /// Longest wait for company; 0: none.
    delay_ns: u64,
    /// Sessions that have come and not left.
    free: usize,
    /// No frame has waited longer than since then; `None` while none waits.
    waiting_since_ns: Option<u64>,
    /// When a frame last joined those that wait.
    joined_ns: Option<u64>,
    /// Mean time from one that joined to the next.
    gap_ns: Option<u64>,
}

/// A session's stay, from one run to the next.
#[derive(Debug)]
pub struct Stay {
    /// Frames waited when it came and nobody else was free, and it has not been idle since.
    is_loaded: bool,
}

/// What a free session is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run on what it was given.
    Run,
    /// Ask again when a frame has come, and not later than then.
    WaitUntil(u64),
    /// Ask again when a frame has come.
    Wait,
}

impl<T> Default for Batcher<T> {
    /// Without any lane, and without waiting for company.
    fn default() -> Self {
        Self {
            scheduler: Scheduler::default(),
            delay_ns: 0,
            free: 0,
            waiting_since_ns: None,
            joined_ns: None,
            gap_ns: None,
        }
    }
}

impl<T> Batcher<T> {
    /// From now on frames wait for company so long at most.
    pub fn set_delay(&mut self, delay_ns: u64) {
        self.delay_ns = delay_ns;
    }

    /// A session comes from a run, or for the first time.
    pub fn come(&mut self) -> Stay {
        let is_loaded = self.free == 0 && self.scheduler.pending() > 0;
        self.free += 1;
        Stay { is_loaded }
    }

    /// A session goes, with a batch or without.
    pub fn go(&mut self, _stay: Stay) {
        self.free -= 1;
    }

    /// Gives a free session its batch: the frames to run on, `max` at most, and those that have
    /// become stale.
    pub fn next(
        &mut self,
        stay: &mut Stay,
        max: usize,
        now_ns: u64,
        batch: &mut Vec<Turn<T>>,
    ) -> Next {
        if self.scheduler.pending() == 0 {
            stay.is_loaded = false;
            return Next::Wait;
        }
        if let Some(until_ns) = self.company_until(stay, max)
            && now_ns < until_ns
        {
            return Next::WaitUntil(until_ns);
        }
        let mut to_run = 0;
        while to_run < max.max(1)
            && let Some(turn) = self.scheduler.next_turn(now_ns)
        {
            to_run += usize::from(matches!(turn, Turn::Run { .. }));
            batch.push(turn);
        }
        self.forget_if_empty();
        Next::Run
    }

    /// Until when it is worth waiting for company, if it is.
    fn company_until(&self, stay: &Stay, max: usize) -> Option<u64> {
        let is_busy = stay.is_loaded && self.free == 1 && self.delay_ns > 0;
        if !is_busy || self.scheduler.pending() >= max || !self.scheduler.has_room() {
            return None;
        }
        let patience_ns = self.waiting_since_ns?.saturating_add(self.delay_ns);
        let safe_until_ns = patience_ns.saturating_add(self.delay_ns);
        let fresh_until_ns = self.scheduler.fresh_until_ns();
        if fresh_until_ns.is_some_and(|fresh_until_ns| fresh_until_ns < safe_until_ns) {
            return None;
        }
        patience_ns.checked_sub(self.gap_ns?)
    }

    /// As [`Scheduler::offer`], at `now_ns`.
    pub fn offer(&mut self, lane: LaneId, captured_ns: u64, frame: T, now_ns: u64) -> Option<T> {
        let before = self.scheduler.pending();
        let displaced = self.scheduler.offer(lane, captured_ns, frame);
        if self.scheduler.pending() > before {
            self.waiting_since_ns.get_or_insert(now_ns);
            self.note_gap(now_ns);
        }
        displaced
    }

    fn note_gap(&mut self, now_ns: u64) {
        let Some(last_ns) = self.joined_ns.replace(now_ns) else {
            return;
        };
        let longest = self.delay_ns.saturating_mul(GAP_DELAYS_MAX);
        let gap_ns = now_ns.saturating_sub(last_ns).min(longest);
        self.gap_ns = Some(match self.gap_ns {
            None => gap_ns,
            Some(mean) => mean - mean / GAP_WEIGHT + gap_ns / GAP_WEIGHT,
        });
    }

    /// As [`Scheduler::add`].
    pub fn add(&mut self, policy: LanePolicy, weight: u32) -> LaneId {
        self.scheduler.add(policy, weight)
    }

    /// As [`Scheduler::change`].
    pub fn change(&mut self, lane: LaneId, policy: LanePolicy, weight: u32) {
        self.scheduler.change(lane, policy, weight);
    }

    /// As [`Scheduler::remove`].
    pub fn remove(&mut self, lane: LaneId) -> Vec<T> {
        let left = self.scheduler.remove(lane);
        self.forget_if_empty();
        left
    }

    /// As [`Scheduler::wants_more`].
    #[must_use]
    pub fn wants_more(&self, lane: LaneId) -> bool {
        self.scheduler.wants_more(lane)
    }

    /// Frames waiting.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.scheduler.pending()
    }

    /// As [`Scheduler::withdraw`].
    pub fn withdraw(&mut self) -> Vec<T> {
        let left = self.scheduler.withdraw();
        self.forget_if_empty();
        left
    }

    fn forget_if_empty(&mut self) {
        // What a full batch has left keeps its time: it has waited no longer than those that went.
        if self.scheduler.pending() == 0 {
            self.waiting_since_ns = None;
        }
    }
}

#[cfg(test)]
mod tests;
