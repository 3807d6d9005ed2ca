use proptest::prelude::*;

use super::*;

const NEWEST: LanePolicy = LanePolicy::NewestFirst {
    staleness_max_ns: u64::MAX,
};
const MILLISECOND: u64 = 1_000_000;
const DELAY: u64 = 5 * MILLISECOND;

fn batcher(lanes: usize) -> (Batcher<u64>, Vec<LaneId>) {
    let mut batcher = Batcher::default();
    batcher.set_delay(DELAY);
    let lanes = (0..lanes).map(|_| batcher.add(NEWEST, 1)).collect();
    (batcher, lanes)
}

/// What a stay comes to at `now`, and the frames of its batch.
fn ask(batcher: &mut Batcher<u64>, stay: &mut Stay, max: usize, now: u64) -> (Next, Vec<u64>) {
    let mut batch = Vec::new();
    let next = batcher.next(stay, max, now, &mut batch);
    let frame = |turn| match turn {
        Turn::Run { frame, .. } | Turn::Stale { frame, .. } => frame,
    };
    (next, batch.into_iter().map(frame).collect())
}

/// A batcher of eight lanes to which a frame a millisecond has come, lane after lane, at the
/// milliseconds 0 to 2, while the one session was busy.
fn under_load() -> (Batcher<u64>, Vec<LaneId>, Stay) {
    let (mut batcher, lanes) = batcher(8);
    for (now, lane) in lanes.iter().enumerate().take(3) {
        let now = now as u64 * MILLISECOND;
        batcher.offer(*lane, now, now, now);
    }
    let stay = batcher.come();
    (batcher, lanes, stay)
}

#[test]
fn a_lone_frame_after_idleness_runs_at_once() {
    let (mut batcher, lanes, mut stay) = under_load();
    let far = 100 * MILLISECOND;
    assert_eq!(ask(&mut batcher, &mut stay, 8, far).0, Next::Run);
    batcher.go(stay);
    let mut stay = batcher.come();
    assert_eq!(ask(&mut batcher, &mut stay, 8, far), (Next::Wait, vec![]));
    batcher.offer(lanes[5], far, 7, far);
    assert_eq!(ask(&mut batcher, &mut stay, 8, far), (Next::Run, vec![7]));
}

#[test]
fn under_load_it_waits_as_long_as_another_frame_is_expected_in_time() {
    let (mut batcher, lanes, mut stay) = under_load();
    // The oldest came at 0 and may wait until 5; a frame comes each millisecond.
    let wait = Next::WaitUntil(4 * MILLISECOND);
    let now = 2 * MILLISECOND + 1;
    assert_eq!(ask(&mut batcher, &mut stay, 8, now), (wait, vec![]));
    batcher.offer(lanes[3], now, 3, 3 * MILLISECOND);
    let (next, _) = ask(&mut batcher, &mut stay, 8, 3 * MILLISECOND);
    assert_eq!(next, wait);
    let (next, batch) = ask(&mut batcher, &mut stay, 8, 4 * MILLISECOND);
    assert_eq!((next, batch.len()), (Next::Run, 4));
}

#[test]
fn a_full_batch_does_not_wait_and_leaves_the_rest() {
    let (mut batcher, _, mut stay) = under_load();
    let (next, batch) = ask(&mut batcher, &mut stay, 2, 3 * MILLISECOND);
    assert_eq!((next, batch), (Next::Run, vec![0, MILLISECOND]));
    assert_eq!(batcher.pending(), 1);
}

#[test]
fn nothing_waits_where_there_is_no_company_to_come() {
    let now = 3 * MILLISECOND;
    let at_once = |change: &dyn Fn(&mut Batcher<u64>, &[LaneId])| {
        let (mut batcher, lanes, mut stay) = under_load();
        change(&mut batcher, &lanes);
        let (next, _) = ask(&mut batcher, &mut stay, 8, now);
        assert_eq!(next, Next::Run);
    };
    // No other lane is left that could take a frame.
    at_once(&|batcher, lanes| {
        for lane in &lanes[3..] {
            batcher.remove(*lane);
        }
    });
    at_once(&|batcher, _| batcher.set_delay(0));
    // The frame captured at 0 would be stale soon after.
    at_once(&|batcher, lanes| {
        let staleness_max_ns = 2 * DELAY - 1;
        batcher.change(lanes[0], LanePolicy::NewestFirst { staleness_max_ns }, 1);
    });
    // The gap is too long for another to be in time.
    at_once(&|batcher, _| batcher.set_delay(3 * MILLISECOND));
    // Another session is free: there is no want of capacity.
    at_once(&|batcher, _| {
        batcher.come();
    });
}

#[test]
fn the_newest_frame_is_taken_and_its_place_has_waited_since_the_first() {
    let (mut batcher, lanes, mut stay) = under_load();
    let now = 3 * MILLISECOND;
    assert_eq!(batcher.offer(lanes[0], now, 9, now), Some(0));
    let (next, _) = ask(&mut batcher, &mut stay, 8, now);
    assert_eq!(next, Next::WaitUntil(4 * MILLISECOND));
    let (next, batch) = ask(&mut batcher, &mut stay, 8, 4 * MILLISECOND);
    assert_eq!(next, Next::Run);
    assert!(batch.contains(&9) && !batch.contains(&0), "{batch:?}");
}

#[test]
fn a_long_pause_is_not_taken_for_the_usual_gap() {
    let (mut batcher, lanes) = batcher(8);
    let mut now = 0;
    for round in 0..5 {
        // A camera was off for an hour.
        now += if round == 1 {
            3600 * 1000 * MILLISECOND
        } else {
            0
        };
        for lane in &lanes[..4] {
            now += MILLISECOND;
            batcher.offer(*lane, now, 0, now);
        }
        let mut stay = batcher.come();
        let waits = matches!(ask(&mut batcher, &mut stay, 8, now).0, Next::WaitUntil(_));
        assert!(waits, "in round {round}");
        assert_eq!(ask(&mut batcher, &mut stay, 4, now).0, Next::Run);
        batcher.go(stay);
    }
}

#[test]
fn what_is_stale_goes_with_the_batch_and_takes_no_place_in_it() {
    let policy = LanePolicy::NewestFirst {
        staleness_max_ns: 10,
    };
    let mut batcher = Batcher::default();
    for captured in [0, 100, 101] {
        let lane = batcher.add(policy, 1);
        batcher.offer(lane, captured, captured, 100);
    }
    let (mut stay, mut batch) = (batcher.come(), Vec::new());
    assert_eq!(batcher.next(&mut stay, 1, 105, &mut batch), Next::Run);
    assert!(
        matches!(
            batch[..],
            [Turn::Stale { frame: 0, .. }, Turn::Run { frame: 100, .. }]
        ),
        "{batch:?}"
    );
}

/// Sessions that run for `fixed + each * batch`, and frames that come whenever they come.
struct Simulation {
    batcher: Batcher<u64>,
    max: usize,
    /// For each session: its stay, or until when it runs.
    sessions: Vec<Result<Stay, u64>>,
    /// For each lane: since when its place is taken.
    places: Vec<Option<u64>>,
    lanes: Vec<LaneId>,
}

impl Simulation {
    fn new(sessions: usize, max: usize) -> Self {
        let (batcher, lanes) = batcher(8);
        Self {
            sessions: (0..sessions).map(|_| Err(0)).collect(),
            places: vec![None; lanes.len()],
            lanes,
            batcher,
            max,
        }
    }

    fn offer(&mut self, lane: usize, now: u64) {
        self.batcher.offer(self.lanes[lane], now, lane as u64, now);
        self.places[lane].get_or_insert(now);
    }

    /// Lets all sessions do what there is to do at `now`; a run takes `time(frames)`.
    fn serve(&mut self, now: u64, time: impl Fn(usize) -> u64) {
        for index in 0..self.sessions.len() {
            let free_before = self.sessions.iter().filter(|other| other.is_ok()).count();
            let mut stay = match std::mem::replace(&mut self.sessions[index], Err(0)) {
                Err(until) if until > now => {
                    self.sessions[index] = Err(until);
                    continue;
                }
                Err(_) => self.batcher.come(),
                Ok(stay) => stay,
            };
            let was_idle = !stay.is_loaded;
            let (next, batch) = ask(&mut self.batcher, &mut stay, self.max, now);
            assert!(batch.len() <= self.max, "{batch:?}");
            match next {
                Next::Run => {
                    self.batcher.go(stay);
                    for lane in &batch {
                        self.places[*lane as usize] = None;
                    }
                    self.sessions[index] = Err(now + time(batch.len()));
                    continue;
                }
                Next::WaitUntil(until) => {
                    assert!(!was_idle, "nothing waits on an idle session");
                    assert!(free_before <= 1, "nothing waits while another is free");
                    let oldest = self.places.iter().flatten().min();
                    let oldest = oldest.expect("something waits");
                    assert!(now < until && until <= oldest + DELAY, "{oldest} at {now}");
                }
                Next::Wait => assert!(self.places.iter().all(Option::is_none)),
            }
            self.sessions[index] = Ok(stay);
        }
    }
}

proptest! {
    #[test]
    fn no_frame_waits_longer_than_the_delay_for_company(
        sessions in 1_usize..4,
        max in 1_usize..9,
        gaps in prop::collection::vec((0_usize..8, 0_u64..4_000_000), 1..300),
        fixed in 0_u64..20_000_000,
        each in 0_u64..2_000_000,
    ) {
        let mut simulation = Simulation::new(sessions, max);
        let mut now = 0;
        let time = |frames: usize| 1 + fixed + each * frames as u64;
        for (lane, gap) in gaps {
            // Between two frames sessions look each tenth of a millisecond.
            let next = now + gap;
            while now + 100_000 < next {
                now += 100_000;
                simulation.serve(now, time);
            }
            now = next;
            simulation.offer(lane, now);
            simulation.serve(now, time);
        }
    }

    #[test]
    fn shares_are_fair_whatever_the_batches(
        max in 1_usize..9,
        weights in prop::collection::vec(1_u32..8, 2..12),
    ) {
        let mut batcher = Batcher::default();
        batcher.set_delay(DELAY);
        let policy = LanePolicy::Lossless { pending_max: 64 };
        let lanes: Vec<_> = weights.iter().map(|weight| batcher.add(policy, *weight)).collect();
        let mut served = vec![0_u32; weights.len()];
        for now in 0..2000 {
            for (index, lane) in (0..).zip(&lanes) {
                while batcher.wants_more(*lane) {
                    batcher.offer(*lane, now, index, now);
                }
            }
            let mut stay = batcher.come();
            let (next, batch) = ask(&mut batcher, &mut stay, max, now);
            prop_assert_eq!((next, batch.len()), (Next::Run, max), "batches are full under load");
            batcher.go(stay);
            for index in batch {
                served[usize::try_from(index).expect("a lane")] += 1;
            }
        }
        let shares = served.iter().zip(&weights);
        let shares = shares.map(|(served, weight)| f64::from(*served) / f64::from(*weight));
        let shares: Vec<f64> = shares.collect();
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        let jain = sum * sum / (shares.len() as f64 * squares);
        prop_assert!(jain > 0.999, "Jain's index {jain} for {served:?} by {weights:?}");
    }
}
