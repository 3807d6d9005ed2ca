//! Which frame the model runs on next. Pure: the clock is passed in.
//!
//! Each stream has a lane; lanes come and go while frames flow. A *newest-first* lane holds one frame, the newest; an older one
//! is displaced. A *lossless* lane is a bounded queue that, when full, asks for no more; so is a
//! *queued* one, in which what waits for too long is not run on: crops, of which a newer one is
//! of another object and replaces nothing.
//!
//! Among lanes that have something, turns are given by start-time fair queueing (Goyal,
//! Vin, Cheng 1996): a lane's turn costs `1 / weight` of virtual time, the lane whose next
//! turn starts earliest is served, and virtual time is the start of the turn being served.
//! When demand exceeds capacity this is weighted max-min fair. A lane that was idle
//! begins at the present virtual time, so that idleness earns no credit; so does a new one.

use std::collections::{BTreeMap, VecDeque};

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
    /// Every frame, in order; too old a frame is not run on.
    Queued {
        /// Frames held; 1 or more.
        pending_max: usize,
        /// Frames captured longer ago are stale.
        staleness_max_ns: u64,
    },
}

/// Which lane; never used again after the lane is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneId(u64);

/// What a free session is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<T> {
    /// Run the model on the frame.
    Run {
        /// The frame's lane.
        lane: LaneId,
        /// The frame.
        frame: T,
    },
    /// The frame is too old: account for it and take the next turn.
    Stale {
        /// The frame's lane.
        lane: LaneId,
        /// The frame.
        frame: T,
    },
}

/// The frames waiting for a session, and whose turn is next.
#[derive(Debug)]
pub struct Scheduler<T> {
    lanes: BTreeMap<LaneId, Lane<T>>,
    lanes_ever: u64,
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

impl<T> Default for Scheduler<T> {
    /// Without any lane.
    fn default() -> Self {
        Self {
            lanes: BTreeMap::new(),
            lanes_ever: 0,
            virtual_time: 0,
        }
    }
}

impl<T> Scheduler<T> {
    /// Opens a lane of a weight of 1 or more.
    pub fn add(&mut self, policy: LanePolicy, weight: u32) -> LaneId {
        let id = LaneId(self.lanes_ever);
        self.lanes_ever += 1;
        let lane = Lane {
            policy,
            turn_cost: turn_cost(weight),
            next_start: self.virtual_time,
            pending: VecDeque::new(),
        };
        self.lanes.insert(id, lane);
        id
    }

    /// Gives a lane another policy and weight. What waits in it stays.
    pub fn change(&mut self, lane: LaneId, policy: LanePolicy, weight: u32) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.policy = policy;
            lane.turn_cost = turn_cost(weight);
        }
    }

    /// Closes a lane; returns what waited in it, oldest first.
    pub fn remove(&mut self, lane: LaneId) -> Vec<T> {
        let pending = self.lanes.remove(&lane).map(|lane| lane.pending);
        pending
            .into_iter()
            .flatten()
            .map(|pending| pending.frame)
            .collect()
    }

    /// Gives a frame to its lane; returns the frame whose place it took, or the frame itself
    /// when there is no such lane.
    pub fn offer(&mut self, lane: LaneId, captured_ns: u64, frame: T) -> Option<T> {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return Some(frame);
        };
        let displaced = match lane.policy {
            LanePolicy::NewestFirst { .. } => lane.pending.pop_front(),
            LanePolicy::Lossless { .. } | LanePolicy::Queued { .. } => None,
        };
        if displaced.is_none() && lane.pending.is_empty() {
            lane.next_start = lane.next_start.max(self.virtual_time);
        }
        lane.pending.push_back(Pending { captured_ns, frame });
        displaced.map(|pending| pending.frame)
    }

    /// False while a lossless or queued lane is full, for then what comes stays on the bus, and
    /// where there is no such lane.
    #[must_use]
    pub fn wants_more(&self, lane: LaneId) -> bool {
        let Some(lane) = self.lanes.get(&lane) else {
            return false;
        };
        matches!(lane.policy, LanePolicy::NewestFirst { .. }) || lane.has_room()
    }

    /// Whether one more frame could wait, in any lane, without displacing another.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lanes.values().any(Lane::has_room)
    }

    /// Until when everything that waits can be run on; `None`: for ever.
    #[must_use]
    pub fn fresh_until_ns(&self) -> Option<u64> {
        self.lanes.values().filter_map(Lane::fresh_until_ns).min()
    }

    /// Frames waiting.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lanes.values().map(|lane| lane.pending.len()).sum()
    }

    /// The next turn at `now_ns`; `None` when nothing waits.
    pub fn next_turn(&mut self, now_ns: u64) -> Option<Turn<T>> {
        let mut lanes = self.lanes.iter_mut();
        if let Some((id, lane)) = lanes.find(|(_, lane)| lane.is_stale(now_ns)) {
            // It costs no session any time, so it costs its lane none either.
            let frame = lane.pending.pop_front()?.frame;
            return Some(Turn::Stale { lane: *id, frame });
        }
        // Of equals the one that has waited longest.
        let waiting = self.lanes.iter().filter_map(|(id, lane)| {
            let oldest = lane.pending.front()?;
            Some((lane.next_start, oldest.captured_ns, *id))
        });
        let (start, _, id) = waiting.min()?;
        let lane = self.lanes.get_mut(&id)?;
        let pending = lane.pending.pop_front()?;
        self.virtual_time = start;
        lane.next_start = start + lane.turn_cost;
        Some(Turn::Run {
            lane: id,
            frame: pending.frame,
        })
    }

    /// Takes out everything that waits, oldest first in each lane.
    pub fn withdraw(&mut self) -> Vec<T> {
        let lanes = self.lanes.values_mut();
        lanes
            .flat_map(|lane| lane.pending.drain(..).map(|pending| pending.frame))
            .collect()
    }
}

fn turn_cost(weight: u32) -> u64 {
    (TURN / u64::from(weight.max(1))).max(1)
}

impl<T> Lane<T> {
    fn has_room(&self) -> bool {
        let pending_max = match self.policy {
            LanePolicy::NewestFirst { .. } => 1,
            LanePolicy::Lossless { pending_max } | LanePolicy::Queued { pending_max, .. } => {
                pending_max.max(1)
            }
        };
        self.pending.len() < pending_max
    }

    /// Until when the oldest frame that waits can be run on.
    fn fresh_until_ns(&self) -> Option<u64> {
        let staleness_max_ns = match self.policy {
            LanePolicy::NewestFirst { staleness_max_ns }
            | LanePolicy::Queued {
                staleness_max_ns, ..
            } => staleness_max_ns,
            LanePolicy::Lossless { .. } => return None,
        };
        let oldest = self.pending.front()?;
        Some(oldest.captured_ns.saturating_add(staleness_max_ns))
    }

    fn is_stale(&self, now_ns: u64) -> bool {
        self.fresh_until_ns()
            .is_some_and(|until_ns| now_ns > until_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEWEST: LanePolicy = LanePolicy::NewestFirst {
        staleness_max_ns: 500,
    };

    fn scheduler<T>(
        lanes: impl IntoIterator<Item = (LanePolicy, u32)>,
    ) -> (Scheduler<T>, Vec<LaneId>) {
        let mut scheduler = Scheduler::default();
        let lanes = lanes.into_iter();
        let ids = lanes.map(|(policy, weight)| scheduler.add(policy, weight));
        let ids = ids.collect();
        (scheduler, ids)
    }

    fn run<T>(lane: LaneId, frame: T) -> Turn<T> {
        Turn::Run { lane, frame }
    }

    #[test]
    fn newest_first_holds_one_and_the_older_is_displaced() {
        let (mut scheduler, lanes) = scheduler([(NEWEST, 1)]);
        assert_eq!(scheduler.offer(lanes[0], 10, 'a'), None);
        assert_eq!(scheduler.offer(lanes[0], 20, 'b'), Some('a'));
        assert!(scheduler.wants_more(lanes[0]));
        assert_eq!(scheduler.next_turn(30), Some(run(lanes[0], 'b')));
        assert_eq!(scheduler.next_turn(30), None);
    }

    #[test]
    fn a_frame_is_stale_when_older_than_the_limit_and_not_before() {
        let (mut scheduler, lanes) = scheduler([(NEWEST, 1), (NEWEST, 1)]);
        scheduler.offer(lanes[0], 100, 'a');
        scheduler.offer(lanes[1], 101, 'b');
        let (lane, frame) = (lanes[0], 'a');
        assert_eq!(scheduler.next_turn(601), Some(Turn::Stale { lane, frame }));
        assert_eq!(scheduler.next_turn(601), Some(run(lanes[1], 'b')));
    }

    #[test]
    fn lossless_keeps_order_and_asks_for_no_more_when_full() {
        let policy = LanePolicy::Lossless { pending_max: 2 };
        let (mut scheduler, lanes) = scheduler([(policy, 1)]);
        let lane = lanes[0];
        assert_eq!(scheduler.offer(lane, 1, 'a'), None);
        assert!(scheduler.wants_more(lane));
        assert_eq!(scheduler.offer(lane, 2, 'b'), None);
        assert!(!scheduler.wants_more(lane));
        assert_eq!(scheduler.next_turn(1_000_000), Some(run(lane, 'a')));
        assert!(scheduler.wants_more(lane));
        assert_eq!(scheduler.withdraw(), ['b']);
        assert_eq!(scheduler.pending(), 0);
    }

    #[test]
    fn a_queued_lane_keeps_order_and_passes_over_what_is_stale() {
        let policy = LanePolicy::Queued {
            pending_max: 2,
            staleness_max_ns: 500,
        };
        let (mut scheduler, lanes) = scheduler([(policy, 1)]);
        let lane = lanes[0];
        assert_eq!(scheduler.offer(lane, 100, 'a'), None);
        assert_eq!(scheduler.offer(lane, 200, 'b'), None);
        assert!(!scheduler.wants_more(lane));
        let stale = Turn::Stale { lane, frame: 'a' };
        assert_eq!(scheduler.next_turn(601), Some(stale));
        assert!(scheduler.wants_more(lane));
        assert_eq!(scheduler.next_turn(601), Some(run(lane, 'b')));
    }

    #[test]
    fn a_lane_that_is_gone_takes_nothing_and_gives_back_what_it_had() {
        let policy = LanePolicy::Lossless { pending_max: 8 };
        let (mut scheduler, lanes) = scheduler([(policy, 1), (NEWEST, 1)]);
        scheduler.offer(lanes[0], 1, 'a');
        scheduler.offer(lanes[0], 2, 'b');
        scheduler.offer(lanes[1], 3, 'c');
        assert_eq!(scheduler.remove(lanes[0]), ['a', 'b']);
        assert_eq!(scheduler.remove(lanes[0]), []);
        assert_eq!(scheduler.offer(lanes[0], 4, 'd'), Some('d'));
        assert!(!scheduler.wants_more(lanes[0]));
        let lane = scheduler.add(NEWEST, 1);
        assert!(
            !lanes.contains(&lane),
            "no lane is taken for one that is gone"
        );
        assert_eq!(scheduler.next_turn(4), Some(run(lanes[1], 'c')));
    }

    #[test]
    fn a_changed_limit_holds_for_what_waits_already() {
        let (mut scheduler, lanes) = scheduler([(NEWEST, 1)]);
        scheduler.offer(lanes[0], 100, 'a');
        let policy = LanePolicy::NewestFirst {
            staleness_max_ns: 50,
        };
        scheduler.change(lanes[0], policy, 1);
        let (lane, frame) = (lanes[0], 'a');
        assert_eq!(scheduler.next_turn(151), Some(Turn::Stale { lane, frame }));
    }

    /// Serves `turns` frames while every busy lane always has one; returns how many each got.
    fn saturate(scheduler: &mut Scheduler<()>, busy: &[LaneId], turns: usize) -> Vec<u32> {
        let mut served = vec![0; busy.len()];
        for _ in 0..turns {
            for lane in busy {
                scheduler.offer(*lane, 0, ());
            }
            if let Some(Turn::Run { lane, .. }) = scheduler.next_turn(0) {
                let index = busy.iter().position(|busy| *busy == lane);
                served[index.expect("a busy lane")] += 1;
            }
        }
        served
    }

    #[test]
    fn equal_weights_share_equally_and_double_weight_gets_double() {
        let (mut equal, lanes) = scheduler([(NEWEST, 1); 5]);
        assert_eq!(saturate(&mut equal, &lanes, 500), [100; 5]);
        let (mut weighted, lanes) = scheduler([(NEWEST, 2), (NEWEST, 1), (NEWEST, 1)]);
        assert_eq!(saturate(&mut weighted, &lanes, 400), [200, 100, 100]);
        weighted.change(lanes[0], NEWEST, 1);
        weighted.change(lanes[1], NEWEST, 2);
        let served = saturate(&mut weighted, &lanes, 400);
        for (served, share) in served.iter().zip([100_u32, 200, 100]) {
            assert!(served.abs_diff(share) <= 1, "{served} of {share}");
        }
    }

    #[test]
    fn idleness_earns_no_credit_and_neither_does_coming_late() {
        let (mut scheduler, mut lanes) = scheduler([(NEWEST, 1); 2]);
        assert_eq!(saturate(&mut scheduler, &lanes[..1], 1000), [1000]);
        lanes.push(scheduler.add(NEWEST, 1));
        let served = saturate(&mut scheduler, &lanes, 150);
        for served in &served {
            assert!(served.abs_diff(50) <= 1, "{served:?} of 50");
        }
    }

    #[test]
    fn capacity_is_shared_max_min() {
        // Frames come every 40 ticks on two lanes, every 400 on a third; a turn takes 25.
        // Capacity is 16 turns in 400 ticks, demand 21: the modest lane gets all it asks for.
        let (mut scheduler, lanes) = scheduler([(NEWEST, 1); 3]);
        let mut served = [0_u32; 3];
        for now in 0_u64..40_000 {
            for (lane, interval) in lanes.iter().zip([40, 40, 400]) {
                if now % interval == 0 {
                    scheduler.offer(*lane, now, ());
                }
            }
            if now % 25 == 0
                && let Some(Turn::Run { lane, .. }) = scheduler.next_turn(now)
                && let Some(index) = lanes.iter().position(|known| *known == lane)
            {
                served[index] += 1;
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
        Add { lossless: bool, weight: u32 },
        Change { lane: usize, weight: u32 },
        Remove(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => (0_usize..8).prop_map(Step::Offer),
            6 => Just(Step::Turn),
            2 => (0_u64..400).prop_map(Step::Wait),
            1 => (any::<bool>(), 1_u32..4)
                .prop_map(|(lossless, weight)| Step::Add { lossless, weight }),
            1 => (0_usize..8, 1_u32..4).prop_map(|(lane, weight)| Step::Change { lane, weight }),
            1 => (0_usize..8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn no_frame_is_lost_or_doubled(steps in prop::collection::vec(any_step(), 0..400)) {
            let lossless = LanePolicy::Lossless { pending_max: 3 };
            let (mut scheduler, lanes) =
                scheduler([(NEWEST, 1), (NEWEST, 3), (lossless, 1), (lossless, 2)]);
            let policies = [NEWEST, NEWEST, lossless, lossless];
            let mut lanes: Vec<_> = lanes.into_iter().zip(policies).collect();
            let (mut now, mut offered) = (0, 0_u64);
            let mut out = Vec::new();
            let mut last_of_lossless = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Offer(lane) if lane < lanes.len() => {
                        let (lane, policy) = lanes[lane];
                        if scheduler.wants_more(lane) {
                            out.extend(scheduler.offer(lane, now, offered));
                            offered += 1;
                        } else {
                            prop_assert_eq!(policy, lossless, "newest-first always takes");
                        }
                    }
                    Step::Turn => match scheduler.next_turn(now) {
                        Some(Turn::Run { lane, frame }) => {
                            out.push(frame);
                            let known = lanes.iter().find(|(known, _)| *known == lane);
                            let (_, policy) = known.expect("a lane that is there");
                            if *policy == lossless {
                                let last = last_of_lossless.insert(lane, frame);
                                prop_assert!(last < Some(frame), "lossless lanes keep their order");
                            }
                        }
                        Some(Turn::Stale { lane, frame }) => {
                            prop_assert!(lanes.contains(&(lane, NEWEST)));
                            out.push(frame);
                        }
                        None => prop_assert_eq!(scheduler.pending(), 0),
                    },
                    Step::Wait(ticks) => now += ticks,
                    Step::Add { lossless: true, weight } if lanes.len() < 8 => {
                        lanes.push((scheduler.add(lossless, weight), lossless));
                    }
                    Step::Add { lossless: false, weight } if lanes.len() < 8 => {
                        lanes.push((scheduler.add(NEWEST, weight), NEWEST));
                    }
                    Step::Change { lane, weight } if lane < lanes.len() => {
                        let (lane, policy) = lanes[lane];
                        scheduler.change(lane, policy, weight);
                    }
                    Step::Remove(lane) if lane < lanes.len() => {
                        let (lane, _) = lanes.swap_remove(lane);
                        let left = scheduler.remove(lane);
                        prop_assert!(left.is_sorted(), "what waited comes back in order");
                        out.extend(left);
                        prop_assert_eq!(scheduler.offer(lane, now, u64::MAX), Some(u64::MAX));
                    }
                    Step::Offer(_) | Step::Add { .. } | Step::Change { .. } | Step::Remove(_) => {}
                }
                prop_assert_eq!(out.len() + scheduler.pending(), offered as usize);
            }
            out.extend(scheduler.withdraw());
            out.sort_unstable();
            prop_assert_eq!(out, (0..offered).collect::<Vec<_>>());
        }

        #[test]
        fn saturated_lanes_share_by_weight_whatever_was_before(
            weights in prop::collection::vec(1_u32..8, 2..12),
            warm_up in prop::collection::vec(0_usize..12, 0..50),
            late in prop::collection::vec(1_u32..8, 0..4),
            gone in 0_usize..3,
        ) {
            let lanes = weights.iter().map(|weight| (NEWEST, *weight));
            let (mut scheduler, mut lanes) = scheduler(lanes);
            // Any history of single lanes comes first; then some lanes come and others go.
            for lane in warm_up {
                scheduler.offer(lanes[lane % lanes.len()], 0, ());
                scheduler.next_turn(0);
            }
            let mut weights = weights;
            for weight in late {
                lanes.push(scheduler.add(NEWEST, weight));
                weights.push(weight);
            }
            let gone = gone.min(lanes.len() - 2);
            for lane in lanes.drain(..gone) {
                scheduler.remove(lane);
            }
            weights.drain(..gone);
            let rounds = 50;
            let turns = weights.iter().sum::<u32>() * rounds;
            let served = saturate(&mut scheduler, &lanes, turns as usize);
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
