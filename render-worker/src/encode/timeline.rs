//! The timestamps an encoder is given: from zero, always growing.
//!
//! A source's PTS jumps back when a file begins again and anywhere when a camera
//! reconnects; muxers and players take neither. Within one uninterrupted piece
//! the distances of the source are kept exactly.

/// A jump further ahead than this is no pause but another clock.
const JUMP_MAX_NS: u64 = 10_000_000_000;
/// Distance used until one is known: 25 frames a second.
const FIRST_GAP_NS: u64 = 40_000_000;

#[derive(Debug, Clone, Copy)]
struct Last {
    source_ns: u64,
    captured_ns: u64,
    placed_ns: u64,
}

/// Places frames on one growing time line.
#[derive(Debug, Clone)]
pub struct Timeline {
    last: Option<Last>,
    gap_ns: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            last: None,
            gap_ns: FIRST_GAP_NS,
        }
    }
}

impl Timeline {
    /// Where the next frame goes. After an interruption it follows at the distance at which
    /// it was captured, so that a live stream stays as long as the time it shows; a file that
    /// is read faster than it plays goes on at its usual distance.
    pub fn place(&mut self, source_ns: u64, captured_ns: u64, discontinuity: bool) -> u64 {
        let placed_ns = match self.last {
            None => 0,
            Some(last) => {
                let gap_ns = source_ns
                    .checked_sub(last.source_ns)
                    .filter(|gap| (1..=JUMP_MAX_NS).contains(gap) && !discontinuity);
                let step_ns = if let Some(gap_ns) = gap_ns {
                    self.gap_ns = gap_ns;
                    gap_ns
                } else {
                    let waited_ns = captured_ns.saturating_sub(last.captured_ns);
                    waited_ns.max(self.gap_ns)
                };
                last.placed_ns + step_ns
            }
        };
        self.last = Some(Last {
            source_ns,
            captured_ns,
            placed_ns,
        });
        placed_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn distances_are_kept_and_jumps_are_bridged() {
        let mut timeline = Timeline::default();
        let mut place =
            |source: u64, captured: u64, cut| timeline.place(source * MS, captured * MS, cut) / MS;
        assert_eq!(place(5000, 0, false), 0);
        assert_eq!(place(5100, 100, false), 100);
        assert_eq!(place(5300, 300, false), 300);
        // A clip begins again, played live: it follows as it was captured.
        assert_eq!(place(0, 520, false), 520);
        assert_eq!(place(100, 600, false), 620);
        // Read quickly: at the usual distance.
        assert_eq!(place(0, 601, false), 720);
        // A camera is back after four seconds, on another clock.
        assert_eq!(place(90_000, 4601, true), 4720);
        assert_eq!(place(900_000, 4611, false), 10 + 4720 + 90);
    }

    proptest! {
        #[test]
        fn it_always_grows(frames in prop::collection::vec(any::<(u32, u32, bool)>(), 1..50)) {
            let mut timeline = Timeline::default();
            let mut last = None;
            for (source, captured, cut) in frames {
                let placed = timeline.place(u64::from(source) * MS, u64::from(captured) * MS, cut);
                prop_assert!(last.is_none_or(|last| last < placed));
                last = Some(placed);
            }
        }
    }
}
