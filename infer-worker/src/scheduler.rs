//! Which frame the model runs on next. Pure: the clock is passed in.
//!
//! Each stream has a lane. A *newest-first* lane holds one frame, the newest; an older one
//! is displaced. A *lossless* lane is a bounded queue that, when full, asks for no more.
//!
//! Among lanes that have something, turns are given by start-time fair queueing (Goyal,
//! Vin, Cheng 1996): a lane's turn costs `1 / weight` of virtual time, the lane whose next
//! turn starts earliest is served, and virtual time is the start of the turn being served.
//! When demand exceeds capacity this is weighted max-min fair. A lane that was idle
//! begins at the present virtual time, so that idleness earns no credit.

use std::collections::VecDeque;

/// Virtual time of one turn of a lane of weight 1. Heavier lanes divide it, so it bounds the
/// weight; 2^20 a turn fills 64 bits after 2^44 turns, millennia of any model.
const TURN: u64 = 1 << 20;

/// How a lane holds frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePolicy {
    /// One frame, the newest; too old a frame is not run on.
    NewestFirst {
        /// Frames captured longer ago are stale.
        staleness_max_ns: u64,
    },
    /// Every frame, in order.
    Lossless {
        /// Frames held; 1 or more.
        pending_max: usize,
    },
}

/// What a free session is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<T> {
    /// Run the model on the frame.
    Run {
        /// The frame's lane.
        lane: usize,
        /// The frame.
        frame: T,
    },
    /// The frame is too old: account for it and take the next turn.
    Stale {
        /// The frame's lane.
        lane: usize,
        /// The frame.
        frame: T,
    },
}

/// The frames waiting for a session, and whose turn is next.
#[derive(Debug)]
pub struct Scheduler<T> {
    lanes: Vec<Lane<T>>,
    virtual_time: u64,
}

#[derive(Debug)]
struct Lane<T> {
    policy: LanePolicy,
    turn_cost: u64,
    /// Where its next turn starts if it has a frame by then.
    next_start: u64,
    pending: VecDeque<Pending<T>>,
}

#[derive(Debug)]
struct Pending<T> {
    captured_ns: u64,
    frame: T,
}

impl<T> Scheduler<T> {
    /// A lane for each stream, by policy and weight (1 or more); lanes are known by their index.
    #[must_use]
    pub fn new(lanes: impl IntoIterator<Item = (LanePolicy, u32)>) -> Self {
        let lane = |(policy, weight): (LanePolicy, u32)| Lane {
            policy,
            turn_cost: (TURN / u64::from(weight.max(1))).max(1),
            next_start: 0,
            pending: VecDeque::new(),
        };
        Self {
            lanes: lanes.into_iter().map(lane).collect(),
            virtual_time: 0,
        }
    }

    /// Gives a frame to its lane; returns the frame whose place it took.
    ///
    /// # Panics
    /// When there is no such lane.
    pub fn offer(&mut self, lane: usize, captured_ns: u64, frame: T) -> Option<T> {
        let lane = &mut self.lanes[lane];
        let displaced = match lane.policy {
            LanePolicy::NewestFirst { .. } => lane.pending.pop_front(),
            LanePolicy::Lossless { .. } => None,
        };
        if displaced.is_none() && lane.pending.is_empty() {
            lane.next_start = lane.next_start.max(self.virtual_time);
        }
        lane.pending.push_back(Pending { captured_ns, frame });
        displaced.map(|pending| pending.frame)
    }

    /// False while a lossless lane is full: its producer is to wait.
    ///
    /// # Panics
    /// When there is no such lane.
    #[must_use]
    pub fn wants_more(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        match lane.policy {
            LanePolicy::NewestFirst { .. } => true,
            LanePolicy::Lossless { pending_max } => lane.pending.len() < pending_max.max(1),
        }
    }

    /// Frames waiting.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lanes.iter().map(|lane| lane.pending.len()).sum()
    }

    /// The next turn at `now_ns`; `None` when nothing waits.
    pub fn next_turn(&mut self, now_ns: u64) -> Option<Turn<T>> {
        let stale = self.lanes.iter().position(|lane| lane.is_stale(now_ns));
        if let Some(lane) = stale {
            // It costs no session any time, so it costs its lane none either.
            let pending = self.lanes[lane].pending.pop_front()?;
            let frame = pending.frame;
            return Some(Turn::Stale { lane, frame });
        }
        // Of equals the one that has waited longest.
        let waiting = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let oldest = lane.pending.front()?;
            Some((lane.next_start, oldest.captured_ns, index))
        });
        let (start, _, index) = waiting.min()?;
        let lane = &mut self.lanes[index];
        let pending = lane.pending.pop_front()?;
        self.virtual_time = start;
        lane.next_start = start + lane.turn_cost;
        Some(Turn::Run {
            lane: index,
            frame: pending.frame,
        })
    }

    /// Takes out everything that waits, oldest first in each lane.
    pub fn withdraw(&mut self) -> Vec<(usize, T)> {
        let lanes = self.lanes.iter_mut().enumerate();
        lanes
            .flat_map(|(index, lane)| {
                let pending = lane.pending.drain(..);
                pending.map(move |pending| (index, pending.frame))
            })
            .collect()
    }
}

impl<T> Lane<T> {
    fn is_stale(&self, now_ns: u64) -> bool {
        let LanePolicy::NewestFirst { staleness_max_ns } = self.policy else {
            return false;
        };
        self.pending
            .front()
            .is_some_and(|oldest| now_ns.saturating_sub(oldest.captured_ns) > staleness_max_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEWEST: LanePolicy = LanePolicy::NewestFirst {
        staleness_max_ns: 500,
    };

    fn run<T>(lane: usize, frame: T) -> Turn<T> {
        Turn::Run { lane, frame }
    }

    #[test]
    fn newest_first_holds_one_and_the_older_is_displaced() {
        let mut scheduler = Scheduler::new([(NEWEST, 1)]);
        assert_eq!(scheduler.offer(0, 10, 'a'), None);
        assert_eq!(scheduler.offer(0, 20, 'b'), Some('a'));
        assert!(scheduler.wants_more(0));
        assert_eq!(scheduler.next_turn(30), Some(run(0, 'b')));
        assert_eq!(scheduler.next_turn(30), None);
    }

    #[test]
    fn a_frame_is_stale_when_older_than_the_limit_and_not_before() {
        let mut scheduler = Scheduler::new([(NEWEST, 1), (NEWEST, 1)]);
        scheduler.offer(0, 100, 'a');
        scheduler.offer(1, 101, 'b');
        let frame = 'a';
        assert_eq!(
            scheduler.next_turn(601),
            Some(Turn::Stale { lane: 0, frame })
        );
        assert_eq!(scheduler.next_turn(601), Some(run(1, 'b')));
    }

    #[test]
    fn lossless_keeps_order_and_asks_for_no_more_when_full() {
        let policy = LanePolicy::Lossless { pending_max: 2 };
        let mut scheduler = Scheduler::new([(policy, 1)]);
        assert_eq!(scheduler.offer(0, 1, 'a'), None);
        assert!(scheduler.wants_more(0));
        assert_eq!(scheduler.offer(0, 2, 'b'), None);
        assert!(!scheduler.wants_more(0));
        assert_eq!(scheduler.next_turn(1_000_000), Some(run(0, 'a')));
        assert!(scheduler.wants_more(0));
        assert_eq!(scheduler.withdraw(), [(0, 'b')]);
        assert_eq!(scheduler.pending(), 0);
    }

    /// Serves `turns` frames while every lane always has one; returns how many each got.
    fn saturate<const LANES: usize>(
        scheduler: &mut Scheduler<()>,
        lanes: [bool; LANES],
        turns: usize,
    ) -> [u32; LANES] {
        let mut served = [0; LANES];
        for _ in 0..turns {
            for (lane, busy) in lanes.into_iter().enumerate() {
                if busy {
                    scheduler.offer(lane, 0, ());
                }
            }
            if let Some(Turn::Run { lane, .. }) = scheduler.next_turn(0) {
                served[lane] += 1;
            }
        }
        served
    }

    #[test]
    fn equal_weights_share_equally_and_double_weight_gets_double() {
        let mut equal = Scheduler::new([(NEWEST, 1); 5]);
        assert_eq!(saturate(&mut equal, [true; 5], 500), [100; 5]);
        let mut weighted = Scheduler::new([(NEWEST, 2), (NEWEST, 1), (NEWEST, 1)]);
        assert_eq!(saturate(&mut weighted, [true; 3], 400), [200, 100, 100]);
    }

    #[test]
    fn idleness_earns_no_credit() {
        let mut scheduler = Scheduler::new([(NEWEST, 1); 2]);
        assert_eq!(saturate(&mut scheduler, [true, false], 1000), [1000, 0]);
        let [first, second] = saturate(&mut scheduler, [true, true], 100);
        assert!(first.abs_diff(second) <= 1, "{first} and {second}");
    }

    #[test]
    fn capacity_is_shared_max_min() {
        // Frames come every 40 ticks on two lanes, every 400 on a third; a turn takes 25.
        // Capacity is 16 turns in 400 ticks, demand 21: the modest lane gets all it asks for.
        let mut scheduler = Scheduler::new([(NEWEST, 1); 3]);
        let mut served = [0_u32; 3];
        for now in 0_u64..40_000 {
            for (lane, interval) in [40, 40, 400].into_iter().enumerate() {
                if now % interval == 0 {
                    scheduler.offer(lane, now, ());
                }
            }
            if now % 25 == 0
                && let Some(Turn::Run { lane, .. }) = scheduler.next_turn(now)
            {
                served[lane] += 1;
            }
        }
        assert_eq!(served[2], 100);
        assert!(served[0].abs_diff(served[1]) <= 2, "{served:?}");
        assert_eq!(served.iter().sum::<u32>(), 1600);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Offer(usize),
        Turn,
        Wait(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0_usize..4).prop_map(Step::Offer),
            3 => Just(Step::Turn),
            1 => (0_u64..400).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn no_frame_is_lost_or_doubled(steps in prop::collection::vec(any_step(), 0..400)) {
            let lossless = LanePolicy::Lossless { pending_max: 3 };
            let lanes = [(NEWEST, 1), (NEWEST, 3), (lossless, 1), (lossless, 2)];
            let mut scheduler = Scheduler::new(lanes);
            let (mut now, mut offered) = (0, 0_u64);
            let mut out = Vec::new();
            let mut lossless_out = [Vec::new(), Vec::new()];
            for step in steps {
                match step {
                    Step::Offer(lane) if scheduler.wants_more(lane) => {
                        out.extend(scheduler.offer(lane, now, offered));
                        offered += 1;
                    }
                    Step::Offer(lane) => prop_assert!(lane >= 2, "newest-first always takes"),
                    Step::Turn => match scheduler.next_turn(now) {
                        Some(Turn::Run { lane, frame }) => {
                            out.push(frame);
                            if lane >= 2 {
                                lossless_out[lane - 2].push(frame);
                            }
                        }
                        Some(Turn::Stale { lane, frame }) => {
                            prop_assert!(lane < 2, "lossless lanes know no staleness");
                            out.push(frame);
                        }
                        None => prop_assert_eq!(scheduler.pending(), 0),
                    },
                    Step::Wait(ticks) => now += ticks,
                }
                prop_assert_eq!(out.len() + scheduler.pending(), offered as usize);
            }
            for lane in lossless_out {
                prop_assert!(lane.is_sorted(), "lossless lanes keep their order");
            }
            out.extend(scheduler.withdraw().into_iter().map(|(_, frame)| frame));
            out.sort_unstable();
            prop_assert_eq!(out, (0..offered).collect::<Vec<_>>());
        }

        #[test]
        fn saturated_lanes_share_by_weight(
            weights in prop::collection::vec(1_u32..8, 2..12),
            warm_up in prop::collection::vec(0_usize..12, 0..50),
        ) {
            let mut scheduler = Scheduler::new(weights.iter().map(|weight| (NEWEST, *weight)));
            // Any history of single lanes comes first.
            for lane in warm_up {
                scheduler.offer(lane % weights.len(), 0, ());
                scheduler.next_turn(0);
            }
            let total: u32 = weights.iter().sum();
            let rounds = 50;
            let mut served = vec![0_u32; weights.len()];
            for _ in 0..total * rounds {
                for lane in 0..weights.len() {
                    scheduler.offer(lane, 0, ());
                }
                if let Some(Turn::Run { lane, .. }) = scheduler.next_turn(0) {
                    served[lane] += 1;
                }
            }
            let shares = served.iter().zip(&weights).map(|(served, weight)| f64::from(*served) / f64::from(*weight));
            let shares: Vec<f64> = shares.collect();
            // Jain's index: 1 when all shares are equal.
            let sum: f64 = shares.iter().sum();
            let squares: f64 = shares.iter().map(|share| share * share).sum();
            let jain = sum * sum / (shares.len() as f64 * squares);
            prop_assert!(jain > 0.999, "Jain's index {jain} for {served:?} by {weights:?}");
        }
    }
}
