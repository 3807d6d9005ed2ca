//! What of a sender can be decoded, and when it is asked for a key frame. Pure.
//!
//! A browser makes a key frame at the beginning and then only when it is asked for one. So it is
//! asked
//! - at once when packets were lost for good, and until a key frame has come;
//! - when none has come for two seconds: whoever begins in the middle, as an ingest worker does that
//!   was started anew or has missed chunks, waits no longer than that, and nobody has to tell
//!   the gateway of it.

use std::time::{Duration, Instant};

/// While a key frame is waited for, it is asked for so often.
const AGAIN: Duration = Duration::from_millis(500);

/// Key frames of a sender that sends without losses are so far apart at most, if it does as asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// The access units of one sender.
#[derive(Debug)]
pub(super) struct Continuity {
    /// Nothing is missing since a key frame.
    linked: bool,
    /// When it was asked for a key frame last, or one came.
    since: Option<Instant>,
}

impl Continuity {
    pub(super) fn new() -> Self {
        Self {
            linked: false,
            since: None,
        }
    }

    /// An access unit has come; `contiguous`: and nothing before it is missing. Says whether it can
    /// be decoded.
    pub(super) fn take(&mut self, keyframe: bool, contiguous: bool, now: Instant) -> bool {
        if keyframe {
            self.since = Some(now);
        } else if self.linked && !contiguous {
            // It is asked at once.
            self.since = None;
        }
        self.linked = keyframe || (self.linked && contiguous);
        self.linked
    }

    /// Whether a key frame is to be asked for; if so that is not said again at once.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        let wait = if self.linked { INTERVAL } else { AGAIN };
        let asks = self.since.is_none_or(|since| since + wait <= now);
        if asks {
            self.since = Some(now);
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_goes_on_before_a_key_frame_or_behind_a_loss() {
        let (mut continuity, now) = (Continuity::new(), Instant::now());
        assert!(!continuity.take(false, true, now));
        assert!(continuity.take(true, false, now));
        assert!(continuity.take(false, true, now));
        assert!(!continuity.take(false, false, now));
        assert!(
            !continuity.take(false, true, now),
            "it refers to what was lost"
        );
        assert!(continuity.take(true, true, now));
        assert!(continuity.take(false, true, now));
    }

    #[test]
    fn a_key_frame_is_asked_for_until_one_comes() {
        let (mut continuity, now) = (Continuity::new(), Instant::now());
        assert!(continuity.asks(now), "at the beginning");
        assert!(!continuity.asks(now + 499 * MS));
        assert!(continuity.asks(now + 500 * MS));
        continuity.take(true, true, now + 600 * MS);
        assert!(!continuity.asks(now + 2599 * MS));
        assert!(continuity.asks(now + 2600 * MS), "none for two seconds");
        assert!(!continuity.asks(now + 4599 * MS), "one that does not obey");
        assert!(continuity.asks(now + 4600 * MS));
    }

    #[test]
    fn after_a_loss_it_is_asked_at_once_and_not_with_every_picture() {
        let (mut continuity, now) = (Continuity::new(), Instant::now());
        continuity.take(true, true, now);
        continuity.take(false, false, now + 10 * MS);
        assert!(continuity.asks(now + 10 * MS));
        continuity.take(false, false, now + 20 * MS);
        assert!(!continuity.asks(now + 20 * MS));
        assert!(continuity.asks(now + 510 * MS));
    }
}
