//! Which access unit a viewer is sent next, and when. Pure.
//!
//! Packets leave at the rate that the bandwidth estimate allows. What does not fit in time is
//! not queued: it stays in the ring, and when a viewer is late by more than [`LATE_MAX`] it is
//! sent nothing until there is a newer key frame to go on with.

use std::time::Duration;

/// An access unit is held back while an earlier one waits for its packets to leave for so long.
///
/// A key frame of ordinary size is through by then.
const BACKLOG_MAX: Duration = Duration::from_millis(100);

/// A viewer who is further behind than this is better served with the next key frame.
const LATE_MAX: Duration = Duration::from_millis(500);

/// Least time from one beginning at a key frame on request to the next: what is sent again is
/// paid for by what is new.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// How a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long the oldest access unit waits whose packets have not all left.
    pub(super) backlog: Duration,
    /// From the access unit that is read next to the newest.
    pub(super) late: Duration,
    /// There is a key frame after the access unit that is read next.
    pub(super) keyframe_ahead: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the next access unit.
    Send,
    /// Send nothing yet.
    Hold,
    /// Pass over all before the newest key frame.
    Skip,
}

/// The pace of one viewer.
#[derive(Debug)]
pub(super) struct Pace {
    /// From a key frame until nothing is unread: it may be late so long.
    catching_up: bool,
    /// Something new was sent since it was last sent a group again.
    fresh: bool,
    again_at: Option<Duration>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            catching_up: true,
            fresh: false,
            again_at: None,
        }
    }

    pub(super) fn step(&self, standing: Standing) -> Step {
        let late = self.is_late(standing.late);
        if late && standing.keyframe_ahead {
            Step::Skip
        } else if standing.backlog > BACKLOG_MAX || (late && !self.catching_up) {
            Step::Hold
        } else {
            Step::Send
        }
    }

    /// It goes on at a key frame.
    pub(super) fn begin(&mut self) {
        self.catching_up = true;
    }

    /// It is sent the newest there is.
    pub(super) fn live(&mut self) {
        self.catching_up = false;
        self.fresh = true;
    }

    /// A viewer who is so late is not sent all any more.
    pub(super) fn is_late(&self, by: Duration) -> bool {
        by > LATE_MAX
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    /// Whether a viewer who has lost a picture at `now` is sent the newest group again. Not while
    /// one is on its way, and not for ever when nothing new comes.
    pub(super) fn again(&mut self, now: Duration) -> bool {
        let recent = self.again_at.is_some_and(|at| now < at + AGAIN_MIN);
        if recent || self.catching_up || !self.fresh {
            return false;
        }
        self.again_at = Some(now);
        self.fresh = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(backlog: u32, late: u32, keyframe_ahead: bool) -> Standing {
        Standing {
            backlog: backlog * MS,
            late: late * MS,
            keyframe_ahead,
        }
    }

    #[test]
    fn nothing_is_queued_that_the_network_does_not_take() {
        let mut pace = Pace::new();
        assert_eq!(pace.step(at(0, 0, false)), Step::Send);
        assert_eq!(pace.step(at(101, 0, false)), Step::Hold);
        pace.live();
        assert_eq!(pace.step(at(100, 200, false)), Step::Send);
        assert_eq!(pace.step(at(101, 200, true)), Step::Hold);
    }

    #[test]
    fn who_is_late_goes_on_with_the_next_key_frame() {
        let mut pace = Pace::new();
        pace.live();
        assert_eq!(
            pace.step(at(0, 501, false)),
            Step::Hold,
            "there is none yet"
        );
        assert_eq!(pace.step(at(0, 501, true)), Step::Skip);
        assert_eq!(pace.step(at(200, 501, true)), Step::Skip);
        pace.begin();
        assert_eq!(pace.step(at(0, 40, false)), Step::Send);
    }

    #[test]
    fn who_begins_may_be_as_late_as_the_group_is_long() {
        let pace = Pace::new();
        assert_eq!(pace.step(at(0, 1900, false)), Step::Send);
        assert_eq!(
            pace.step(at(0, 1900, true)),
            Step::Skip,
            "what follows is better"
        );
    }

    #[test]
    fn a_group_is_sent_again_when_it_helps() {
        let mut pace = Pace::new();
        assert!(!pace.again(Duration::ZERO), "it is on its way");
        pace.live();
        assert!(pace.again(100 * MS));
        pace.begin();
        assert!(!pace.again(5000 * MS), "nothing new has come");
        pace.live();
        assert!(!pace.again(900 * MS), "too soon");
        assert!(pace.again(1100 * MS));
    }
}
