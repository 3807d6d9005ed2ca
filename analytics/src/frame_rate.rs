//! How many frames a second the stream has, by its timestamps.

use std::collections::VecDeque;

/// Frames no older than this count, and at least one interval.
const WINDOW_NS: u64 = 2_000_000_000;

/// Timestamps kept: at 60 frames a second they reach back more than a second.
const FRAMES_MAX: usize = 64;

/// The timestamps of the last second or two.
#[derive(Debug)]
pub(crate) struct FrameRate {
    pts_ns: VecDeque<u64>,
}

impl FrameRate {
    pub(crate) fn new() -> Self {
        Self {
            pts_ns: VecDeque::with_capacity(FRAMES_MAX),
        }
    }

    /// Takes in a frame; the rate, 0 while only one is known.
    #[expect(clippy::cast_precision_loss, reason = "a few frames, seconds apart")]
    pub(crate) fn observe(&mut self, pts_ns: u64) -> f32 {
        if self.pts_ns.len() == FRAMES_MAX {
            self.pts_ns.pop_front();
        }
        self.pts_ns.push_back(pts_ns);
        let is_old = |oldest: &u64| pts_ns.saturating_sub(*oldest) > WINDOW_NS;
        while self.pts_ns.len() > 2 && self.pts_ns.front().is_some_and(is_old) {
            self.pts_ns.pop_front();
        }
        let oldest = self.pts_ns.front().copied().unwrap_or(pts_ns);
        match pts_ns.saturating_sub(oldest) {
            0 => 0.0,
            span_ns => (self.pts_ns.len() - 1) as f32 / (span_ns as f32 / 1e9),
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.pts_ns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_from_slow_to_fast() {
        for (interval_ms, expected) in [(4_000, 0.25), (1_000, 1.0), (40, 25.0), (8, 125.0)] {
            let mut rate = FrameRate::new();
            assert!(rate.observe(0).abs() < f32::EPSILON);
            let last = (1..500)
                .map(|frame| rate.observe(frame * interval_ms * 1_000_000))
                .last();
            let last = last.expect("many");
            assert!(
                (last / expected - 1.0).abs() < 1e-3,
                "{interval_ms} ms: {last}"
            );
            assert!(rate.pts_ns.len() <= FRAMES_MAX);
        }
    }
}
