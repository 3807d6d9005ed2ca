//! Which encode of its stream a viewer is sent. Pure.
//!
//! Down at once, up with care: a picture that stands still is worse than a small one, and who has
//! gone up in vain waits longer before it tries again.

use std::time::Duration;

/// A bandwidth below the bit rate of what is sent must last so long to count: estimates dip when
/// a key frame goes out.
const SCARCE_FOR: Duration = Duration::from_secs(1);

/// A larger encode needs so much of its bit rate, in percent: key frames and packets sent again
/// come on top.
const ROOM_PERCENT: u64 = 130;

/// There must be room for so long before a viewer goes up.
const ROOM_FOR_MIN: Duration = Duration::from_secs(4);

/// The same for who comes down from each try.
const ROOM_FOR_MAX: Duration = Duration::from_secs(64);

/// Who has to come down so soon after it went up has gone up in vain.
const IN_VAIN_WITHIN: Duration = Duration::from_secs(20);

/// What is known of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look<'a> {
    /// Since it has begun.
    pub(super) now: Duration,
    /// The estimate of its bandwidth, in bit/s, once there is one.
    pub(super) bandwidth: Option<u64>,
    /// It is so late that pictures are passed over.
    pub(super) late: bool,
    /// Bit rates of the encodes, the largest first, in bit/s; 0 is one that cannot be sent now.
    pub(super) rates: &'a [u64],
}

/// The choice for one viewer.
#[derive(Debug)]
pub(super) struct Choice {
    /// What it is sent, or is to be sent as soon as there is a key frame.
    rung: usize,
    scarce_since: Option<Duration>,
    roomy_since: Option<Duration>,
    up_at: Option<Duration>,
    room_for: Duration,
}

impl Choice {
    /// It begins with the first.
    pub(super) fn new() -> Self {
        Self {
            rung: 0,
            scarce_since: None,
            roomy_since: None,
            up_at: None,
            room_for: ROOM_FOR_MIN,
        }
    }

    /// The encode that it is to be sent.
    pub(super) fn rung(&self) -> usize {
        self.rung
    }

    /// Looks how the viewer fares, and changes the choice if need be.
    pub(super) fn look(&mut self, look: Look<'_>) {
        let rate = look.rates.get(self.rung).copied().unwrap_or(0);
        let short = look.bandwidth.is_some_and(|bandwidth| bandwidth < rate);
        let scarce_since = short.then(|| self.scarce_since.unwrap_or(look.now));
        self.scarce_since = scarce_since;
        let scarce = scarce_since.is_some_and(|since| look.now >= since + SCARCE_FOR);
        if look.late || scarce {
            self.roomy_since = None;
            self.go_down(look);
            return;
        }
        let Some(larger) = self.fitting_above(look).filter(|_| !short) else {
            self.roomy_since = None;
            return;
        };
        let since = *self.roomy_since.get_or_insert(look.now);
        if look.now >= since + self.room_for {
            self.rung = larger;
            self.up_at = Some(look.now);
            self.roomy_since = None;
        }
    }

    /// To the largest below that fits, or to the smallest.
    fn go_down(&mut self, look: Look<'_>) {
        let below = look.rates.iter().enumerate().skip(self.rung + 1);
        let mut below = below.filter(|(_, rate)| **rate > 0);
        let fits = |rate: u64| look.bandwidth.is_some_and(|bandwidth| bandwidth >= rate);
        let fitting = below.clone().find(|(_, rate)| fits(**rate));
        let Some((rung, _)) = fitting.or_else(|| below.next_back()) else {
            return;
        };
        self.rung = rung;
        self.scarce_since = None;
        let up_at = self.up_at.take();
        let in_vain = up_at.is_some_and(|up_at| look.now < up_at + IN_VAIN_WITHIN);
        self.room_for = if in_vain {
            (self.room_for * 2).min(ROOM_FOR_MAX)
        } else {
            ROOM_FOR_MIN
        };
    }

    /// The largest encode above that the bandwidth has room for.
    fn fitting_above(&self, look: Look<'_>) -> Option<usize> {
        let bandwidth = look.bandwidth?;
        let above = look.rates.get(..self.rung)?.iter();
        let fits = |rate: &u64| *rate > 0 && bandwidth >= rate.saturating_mul(ROOM_PERCENT) / 100;
        above.clone().position(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u64; 3] = [3_000_000, 1_000_000, 400_000];

    /// Looks each tenth of a second from `from` on, and returns the rung and when it changed last.
    fn run(choice: &mut Choice, seconds: std::ops::Range<u32>, kbps: u64) -> (usize, u32) {
        let mut changed = 0;
        for tenths in seconds.start * 10..seconds.end * 10 {
            let before = choice.rung();
            choice.look(Look {
                now: Duration::from_millis(100) * tenths,
                bandwidth: Some(kbps * 1000),
                late: false,
                rates: &RATES,
            });
            if choice.rung() != before {
                changed = tenths;
            }
        }
        (choice.rung(), changed)
    }

    #[test]
    fn a_slow_network_has_the_largest_that_fits() {
        let mut choice = Choice::new();
        assert_eq!(run(&mut choice, 0..10, 4000), (0, 0));
        assert_eq!(run(&mut choice, 10..20, 1200), (1, 110));
        assert_eq!(run(&mut choice, 20..30, 500), (2, 210));
        // Nothing is smaller.
        assert_eq!(run(&mut choice, 30..40, 100), (2, 0));
    }

    #[test]
    fn a_dip_is_no_reason_to_change() {
        let mut choice = Choice::new();
        for second in 0..20 {
            let dip = u64::from(second % 2) * 3000 + 1000;
            run(&mut choice, second..second + 1, dip);
            assert_eq!(choice.rung(), 0, "in second {second}");
        }
    }

    #[test]
    fn who_is_late_goes_down_at_once_whatever_the_estimate_says() {
        let look = |now_ms, late| Look {
            now: Duration::from_millis(now_ms),
            bandwidth: Some(10_000_000),
            late,
            rates: &RATES,
        };
        let mut choice = Choice::new();
        choice.look(look(1000, true));
        assert_eq!(choice.rung(), 1);
        choice.look(look(1100, false));
        assert_eq!(choice.rung(), 1);
        choice.look(look(1200, true));
        assert_eq!(choice.rung(), 2);
        let unknown = Look {
            bandwidth: None,
            ..look(60_000, false)
        };
        choice.look(unknown);
        assert_eq!(choice.rung(), 2);
    }

    #[test]
    fn up_needs_room_for_a_while() {
        let mut choice = Choice::new();
        run(&mut choice, 0..5, 500);
        assert_eq!(choice.rung(), 2);
        // Over the bit rate, but not by enough.
        assert_eq!(run(&mut choice, 10..30, 1200), (2, 0));
        assert_eq!(run(&mut choice, 30..40, 1400), (1, 340));
        assert_eq!(run(&mut choice, 40..50, 9000), (0, 440));
    }

    #[test]
    fn who_goes_up_in_vain_waits_longer_each_time() {
        let mut choice = Choice::new();
        run(&mut choice, 0..5, 500);
        let mut waits = Vec::new();
        let mut second = 5;
        for _ in 0..6 {
            let begun = second;
            while choice.rung() == 2 {
                run(&mut choice, second..second + 1, 1500);
                second += 1;
            }
            waits.push(second - begun);
            while choice.rung() < 2 {
                run(&mut choice, second..second + 1, 500);
                second += 1;
            }
        }
        assert_eq!(waits, [5, 9, 17, 33, 65, 65]);
    }

    #[test]
    fn what_cannot_be_sent_is_left_out() {
        let mut choice = Choice::new();
        let rates = [3_000_000, 0, 400_000];
        let look = |now, bandwidth, late| Look {
            now: Duration::from_secs(now),
            bandwidth: Some(bandwidth),
            late,
            rates: &rates,
        };
        choice.look(look(1, 2_000_000, true));
        assert_eq!(choice.rung(), 2);
        choice.look(look(2, 2_000_000, false));
        choice.look(look(9, 2_000_000, false));
        assert_eq!(choice.rung(), 2);
        choice.look(look(10, 5_000_000, false));
        choice.look(look(15, 5_000_000, false));
        assert_eq!(choice.rung(), 0);
    }
}
