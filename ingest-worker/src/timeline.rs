//! Event time: one axis of strictly increasing timestamps for a whole stream,
//! over the ends of files, lost cameras and clocks that jump.

/// A step back by less is jitter: the frame follows the last one closely. A longer
/// one is a new beginning: all that comes after is moved.
const JITTER_NS: u64 = 1_000_000_000;
/// How closely.
const STEP_NS: u64 = 1_000_000;

/// Makes presentation times of a source's own times.
#[derive(Debug)]
pub struct Timeline {
    offset_ns: u64,
    last_ns: Option<u64>,
    interval_ns: u64,
}

impl Timeline {
    /// An axis on which the source's time 0 is `begin_ns`.
    #[must_use]
    pub fn new(begin_ns: u64) -> Self {
        Self {
            offset_ns: begin_ns,
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
            self.offset_ns = last_ns.saturating_add(self.interval_ns);
        }
    }

    /// The presentation time of a frame that the source dates `time_ns`, or not at all.
    pub fn stamp(&mut self, time_ns: Option<u64>) -> u64 {
        let wanted_ns = match (time_ns, self.last_ns) {
            (Some(time_ns), _) => self.offset_ns.saturating_add(time_ns),
            (None, Some(last_ns)) => last_ns.saturating_add(self.interval_ns),
            (None, None) => self.offset_ns,
        };
        let pts_ns = match self.last_ns {
            Some(last_ns) if wanted_ns <= last_ns => {
                let back_ns = last_ns - wanted_ns;
                if back_ns < JITTER_NS {
                    last_ns + STEP_NS
                } else {
                    self.offset_ns += back_ns + self.interval_ns;
                    last_ns + self.interval_ns
                }
            }
            _ => wanted_ns,
        };
        self.last_ns = Some(pts_ns);
        pts_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stamps(timeline: &mut Timeline, times_ms: &[u64]) -> Vec<u64> {
        let stamp = |time_ms: &u64| timeline.stamp(Some(time_ms * MS)) / MS;
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
        assert_eq!(timeline.stamp(None), 0);
        assert_eq!(timeline.stamp(None), 50 * MS);
        assert_eq!(timeline.stamp(Some(70 * MS)), 70 * MS);
        assert_eq!(timeline.stamp(None), 120 * MS);
    }
}
