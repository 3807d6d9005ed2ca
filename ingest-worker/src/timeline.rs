//! Event time: one axis of strictly increasing timestamps for a whole stream,
//! over the ends of files, lost cameras and clocks that jump.

/// A step back by less is jitter: the frame follows the last one closely. A longer
/// one is a new beginning: all that comes after is moved.
const JITTER_NS: u64 = 1_000_000_000;
/// How closely.
const STEP_NS: u64 = 1_000_000;
/// A live source whose time is further ahead of the clock has jumped. Transport streams date
/// pictures up to 1.4 s ahead of the moment they are sent.
const LEAD_MAX_NS: u64 = 10_000_000_000;
/// And further behind: no network holds frames back so long without having been given up.
const LAG_MAX_NS: u64 = 30_000_000_000;

/// Makes presentation times of a source's own times.
#[derive(Debug)]
pub struct Timeline {
    /// Added to the source's time; negative after it has jumped ahead.
    offset_ns: i128,
    last_ns: Option<u64>,
    interval_ns: u64,
}

impl Timeline {
    /// An axis on which the source's time 0 is `begin_ns`.
    #[must_use]
    pub fn new(begin_ns: u64) -> Self {
        Self {
            offset_ns: begin_ns.into(),
            last_ns: None,
            interval_ns: 40_000_000,
        }
    }

    /// Sets the distance of two frames, for places where the source does not give it.
    pub fn set_interval(&mut self, interval_ns: u64) {
        self.interval_ns = interval_ns.max(STEP_NS);
    }

    /// The source begins again at its time 0, one frame after the last.
    pub fn begin_again(&mut self) {
        if let Some(last_ns) = self.last_ns {
            self.offset_ns = last_ns.saturating_add(self.interval_ns).into();
        }
    }

    /// The presentation time of a frame that the source dates `time_ns`, or not at all.
    ///
    /// `clock_ns` is given for a live source, whose event time follows that clock: a frame
    /// without a date is of now, and a date far off the clock is a jump, after which frames go
    /// on in their own rhythm from now on.
    pub fn stamp(&mut self, time_ns: Option<u64>, clock_ns: Option<u64>) -> u64 {
        let pts_ns = self.place(time_ns, clock_ns);
        self.last_ns = Some(pts_ns);
        pts_ns
    }

    fn place(&mut self, time_ns: Option<u64>, clock_ns: Option<u64>) -> u64 {
        let next_ns = self
            .last_ns
            .map(|last_ns| last_ns.saturating_add(self.interval_ns));
        let Some(time_ns) = time_ns else {
            let closest_ns = self.last_ns.map_or(0, |last_ns| last_ns + STEP_NS);
            return match clock_ns {
                Some(clock_ns) => clock_ns.max(closest_ns),
                None => next_ns.unwrap_or_else(|| narrow(self.offset_ns)),
            };
        };
        let wanted_ns = narrow(self.offset_ns + i128::from(time_ns));
        let jumped = match (self.last_ns, clock_ns) {
            (Some(last_ns), _) if wanted_ns <= last_ns => {
                if last_ns - wanted_ns < JITTER_NS {
                    return last_ns + STEP_NS;
                }
                true
            }
            (_, Some(clock_ns)) => {
                wanted_ns > clock_ns.saturating_add(LEAD_MAX_NS)
                    || wanted_ns.saturating_add(LAG_MAX_NS) < clock_ns
            }
            (_, None) => false,
        };
        if !jumped {
            return wanted_ns;
        }
        let pts_ns = next_ns.unwrap_or(0).max(clock_ns.unwrap_or(0));
        self.offset_ns = i128::from(pts_ns) - i128::from(time_ns);
        pts_ns
    }
}

/// Within what a presentation time can be.
fn narrow(time_ns: i128) -> u64 {
    u64::try_from(time_ns.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stamps(timeline: &mut Timeline, times_ms: &[u64]) -> Vec<u64> {
        let stamp = |time_ms: &u64| timeline.stamp(Some(time_ms * MS), None) / MS;
        times_ms.iter().map(stamp).collect()
    }

    #[test]
    fn good_times_are_kept() {
        let mut timeline = Timeline::new(5 * MS);
        assert_eq!(stamps(&mut timeline, &[0, 40, 90, 5000]), [5, 45, 95, 5005]);
    }

    #[test]
    fn a_repeated_file_goes_on_one_frame_later() {
        let mut timeline = Timeline::new(0);
        timeline.set_interval(100 * MS);
        assert_eq!(stamps(&mut timeline, &[0, 100, 200]), [0, 100, 200]);
        timeline.begin_again();
        assert_eq!(stamps(&mut timeline, &[0, 100, 200]), [300, 400, 500]);
        timeline.begin_again();
        assert_eq!(stamps(&mut timeline, &[0]), [600]);
    }

    #[test]
    fn times_never_stand_still_or_go_back() {
        let mut timeline = Timeline::new(0);
        assert_eq!(
            stamps(&mut timeline, &[100, 100, 60, 140]),
            [100, 101, 102, 140]
        );
        // A clock set back by an hour: the frames go on in their own rhythm.
        assert_eq!(
            stamps(&mut timeline, &[3_600_000, 0, 40, 80]),
            [3_600_000, 3_600_040, 3_600_080, 3_600_120]
        );
    }

    #[test]
    fn frames_without_a_time_follow_at_the_interval() {
        let mut timeline = Timeline::new(0);
        timeline.set_interval(50 * MS);
        assert_eq!(timeline.stamp(None, None), 0);
        assert_eq!(timeline.stamp(None, None), 50 * MS);
        assert_eq!(timeline.stamp(Some(70 * MS), None), 70 * MS);
        assert_eq!(timeline.stamp(None, None), 120 * MS);
    }

    /// Event times of frames that come every 40 ms and are dated by `date`, in ms.
    fn live(count: u64, date: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        const BEGIN_MS: u64 = 1_000_000;
        let mut timeline = Timeline::new(0);
        let stamp = |index: u64| {
            let clock_ms = BEGIN_MS + 40 * index + 100;
            let time_ns = date(BEGIN_MS + 40 * index).map(|time_ms| time_ms * MS);
            timeline.stamp(time_ns, Some(clock_ms * MS)) / MS
        };
        (0..count).map(stamp).collect()
    }

    #[test]
    fn a_live_source_whose_clock_jumps_goes_on_at_its_rate() {
        const HOUR_MS: u64 = 3_600_000;
        let from = 1_000_000 + 40 * 10;
        let jumps: [&dyn Fn(u64) -> u64; 4] = [
            &|time_ms| time_ms,
            &|time_ms| time_ms + if time_ms >= from { 5 * HOUR_MS } else { 0 },
            &|time_ms| time_ms - if time_ms >= from { 900_000 } else { 0 },
            // The 33 bits of a transport stream's clock at 90 kHz have wrapped.
            &|time_ms| (time_ms + 94_443_000 + 443) % 95_443_717,
        ];
        for date in jumps {
            let times = live(20, |time_ms| Some(date(time_ms)));
            let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let jumps = gaps.iter().filter(|gap| **gap != 40).count();
            assert!(jumps <= 1 && gaps.iter().all(|gap| *gap <= 140), "{gaps:?}");
            assert!(times[19].abs_diff(1_000_000 + 40 * 19) <= 140, "{times:?}");
        }
    }

    #[test]
    fn a_live_source_without_dates_is_dated_by_the_clock() {
        let times = live(3, |_| None);
        assert_eq!(times, [1_000_100, 1_000_140, 1_000_180]);
        let mut timeline = Timeline::new(0);
        assert_eq!(timeline.stamp(None, Some(5 * MS)), 5 * MS);
        assert_eq!(timeline.stamp(None, Some(5 * MS)), 6 * MS);
    }

    #[test]
    fn a_source_that_catches_up_after_a_pause_keeps_its_dates() {
        let mut timeline = Timeline::new(0);
        timeline.stamp(Some(1000 * MS), Some(1000 * MS));
        for index in 1..100 {
            let time_ms = 1000 + 40 * index;
            let stamped = timeline.stamp(Some(time_ms * MS), Some((5000 + index) * MS));
            assert_eq!(stamped, time_ms * MS);
        }
    }
}
