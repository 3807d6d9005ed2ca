//! Maps the PTS of a stream to the running time of one media.

/// How far behind the clock an access unit may be stamped before the timeline is anchored anew.
///
/// Longer than any jitter of encoder and bus, shorter than a viewer's patience.
const LATE_MAX_NS: u64 = 1_000_000_000;

/// Least distance of two timestamps: a group of pictures sent at once is this dense.
const STEP_NS: u64 = 1_000_000;

/// Maps the PTS of a stream to the running time of one media.
///
/// The distances of the PTS are kept, so that viewers see the rhythm of the
/// camera and not that of the encoder. The offset is that of the access unit
/// which came quickest: a stamp never lies in the future (the sink would hold it
/// back for ever after) and at most [`LATE_MAX_NS`] in the past. A producer that
/// starts again with another PTS therefore needs no special care.
///
/// Stamps always grow: the RTSP server *aborts the process* when a stamp in the
/// backlog of a slow viewer lies before the one at its head.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    /// Running time of PTS 0, modulo 2^64.
    offset_ns: Option<u64>,
    last_ns: Option<u64>,
}

impl Timeline {
    /// The stamp of a live access unit that is handed over at running time `now_ns`.
    pub(crate) fn live(&mut self, pts_ns: u64, now_ns: u64) -> u64 {
        let stamp = self.offset_ns.map(|offset| pts_ns.wrapping_add(offset));
        // Unsigned distance: what lies in the future wraps round and is huge.
        let fitting = stamp.filter(|stamp| now_ns.wrapping_sub(*stamp) <= LATE_MAX_NS);
        if fitting.is_none() {
            self.offset_ns = Some(now_ns.wrapping_sub(pts_ns));
        }
        self.growing(fitting.unwrap_or(now_ns))
    }

    /// The stamp of an access unit that is older than live: as early as may be, so that
    /// viewers run through it and are live at once.
    pub(crate) fn catching_up(&mut self) -> u64 {
        self.growing(0)
    }

    fn growing(&mut self, stamp_ns: u64) -> u64 {
        let least = self.last_ns.map_or(0, |last| last.saturating_add(STEP_NS));
        let stamp_ns = stamp_ns.max(least);
        self.last_ns = Some(stamp_ns);
        stamp_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn distances_are_kept_and_jitter_is_not() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.live(5000 * MS, 100 * MS), 100 * MS);
        // 30 ms late, on time, 200 ms late.
        assert_eq!(timeline.live(5040 * MS, 170 * MS), 140 * MS);
        assert_eq!(timeline.live(5080 * MS, 180 * MS), 180 * MS);
        assert_eq!(timeline.live(5120 * MS, 420 * MS), 220 * MS);
    }

    #[test]
    fn no_stamp_lies_in_the_future() {
        let mut timeline = Timeline::default();
        timeline.live(0, 500 * MS);
        assert_eq!(timeline.live(40 * MS, 510 * MS), 510 * MS);
        assert_eq!(timeline.live(80 * MS, 560 * MS), 550 * MS);
    }

    #[test]
    fn a_jump_of_the_pts_anchors_anew() {
        let mut timeline = Timeline::default();
        timeline.live(90_000 * MS, 100 * MS);
        assert_eq!(timeline.live(0, 5000 * MS), 5000 * MS);
        assert_eq!(timeline.live(40 * MS, 5041 * MS), 5040 * MS);
        assert_eq!(timeline.live(u64::MAX / 2, 5080 * MS), 5080 * MS);
        // The source stood still for three seconds.
        assert_eq!(timeline.live(0, 8080 * MS), 8080 * MS);
    }

    #[test]
    fn stamps_grow_whatever_comes() {
        let mut timeline = Timeline::default();
        let mut last = None;
        let clock = [0, 0, 900, 900, 100, 5000, 5001, 5001, 0, 7000];
        for (index, now) in clock.into_iter().enumerate() {
            let pts = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for stamp in [timeline.catching_up(), timeline.live(pts, now * MS)] {
                assert!(
                    last.is_none_or(|last| stamp > last),
                    "{stamp} after {last:?}"
                );
                last = Some(stamp);
            }
        }
    }

    #[test]
    fn what_is_old_is_run_through() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.catching_up(), 0);
        assert_eq!(timeline.catching_up(), MS);
        assert_eq!(timeline.live(77, 1000 * MS), 1000 * MS);
        assert_eq!(timeline.catching_up(), 1001 * MS);
        assert_eq!(timeline.live(77, 1000 * MS), 1002 * MS);
    }
}
