//! The state machine with a clock of its own.

use contract::spec::Backoff;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A source with a clock of its own.
struct Fake {
    sessions: Sessions,
    now_ns: u64,
}

impl Fake {
    fn camera(attempts: Option<u32>, backoff: Backoff) -> Self {
        Self::new(Policy {
            retry: Some(RetrySpec {
                attempts,
                interval_ms: 5000,
                backoff,
                max_interval_ms: 60_000,
            }),
            no_frame_timeout: Some(Duration::from_secs(3)),
            waits_for_sender: false,
            linger: None,
            who: "yard".to_owned(),
        })
    }

    fn new(policy: Policy) -> Self {
        let mut fake = Self {
            sessions: Sessions::new(policy),
            now_ns: 100 * SECOND,
        };
        assert_eq!(fake.step(Event::Tick), []);
        let opened = fake.step(Event::Start);
        assert_eq!(
            opened,
            [
                Action::Report(SourceState::Connecting, "opening".to_owned()),
                Action::Open
            ]
        );
        fake
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.sessions.step(self.now_ns, event)
    }

    fn lose(&mut self) -> Vec<Action> {
        self.step(Event::Failed {
            state: SourceState::Lost,
            detail: "broken".to_owned(),
        })
    }

    /// Seconds, in steps of 10 ms, until time alone makes something happen.
    fn wait(&mut self) -> (f64, Vec<Action>) {
        let begin_ns = self.now_ns;
        for _ in 0..20_000 {
            self.now_ns += SECOND / 100;
            let actions = self.step(Event::Tick);
            if !actions.is_empty() {
                let waited = Duration::from_nanos(self.now_ns - begin_ns);
                return (waited.as_secs_f64(), actions);
            }
        }
        panic!("nothing happens in 200 s");
    }
}

fn states(actions: &[Action]) -> Vec<SourceState> {
    let reported = |action: &Action| match action {
        Action::Report(state, _) => Some(*state),
        _ => None,
    };
    actions.iter().filter_map(reported).collect()
}

#[test]
fn a_lost_camera_is_opened_again_after_the_interval() {
    let mut fake = Fake::camera(Some(5), Backoff::Fixed);
    fake.step(Event::Connected);
    assert_eq!(states(&fake.step(Event::Frame)), [SourceState::Live]);
    assert_eq!(fake.step(Event::Frame), []);
    let lost = fake.lose();
    assert_eq!(lost[0], Action::Close);
    assert_eq!(states(&lost), [SourceState::Lost]);
    let (waited, opened) = fake.wait();
    assert!((5.0..=6.01).contains(&waited), "{waited}");
    assert_eq!(opened[1], Action::Open);
}

#[test]
fn it_is_given_up_after_so_many_failures_in_a_row() {
    let mut fake = Fake::camera(Some(3), Backoff::Fixed);
    for _ in 0..2 {
        assert_eq!(states(&fake.lose()), [SourceState::Lost]);
        fake.wait();
    }
    // A frame forgives all that was.
    fake.step(Event::Frame);
    for _ in 0..2 {
        assert_eq!(states(&fake.lose()), [SourceState::Lost]);
        fake.wait();
    }
    let last = fake.lose();
    assert_eq!(states(&last), [SourceState::Lost, SourceState::Gone]);
    assert_eq!(
        last[3],
        Action::GiveUp(
            Reason::Lost,
            "broken; given up after 3 failures in a row".to_owned()
        )
    );
    fake.now_ns += 1000 * SECOND;
    assert_eq!(fake.step(Event::Tick), []);
    assert_eq!(fake.step(Event::Frame), []);
}

#[test]
fn without_a_limit_it_is_tried_for_ever() {
    let mut fake = Fake::camera(None, Backoff::Fixed);
    for _ in 0..100 {
        assert_eq!(fake.lose().len(), 2);
        fake.wait();
    }
}

#[test]
fn waits_double_up_to_a_minute() {
    let mut fake = Fake::camera(None, Backoff::Exponential);
    for expected in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0] {
        fake.lose();
        let (waited, _) = fake.wait();
        let range = expected..=expected * 1.2 + 0.01;
        assert!(range.contains(&waited), "{waited} is not in {range:?}");
    }
}

#[test]
fn streams_do_not_wait_alike() {
    let mut waits: Vec<_> = (0..20)
        .map(|seed| {
            let mut fake = Fake::camera(None, Backoff::Fixed);
            fake.sessions.policy.who = format!("cam-{seed}");
            fake.lose();
            format!("{:.2}", fake.wait().0)
        })
        .collect();
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 15, "{waits:?}");
}

#[test]
fn a_frozen_camera_is_stalled_and_opened_again() {
    let mut fake = Fake::camera(Some(5), Backoff::Fixed);
    fake.step(Event::Connected);
    fake.step(Event::Frame);
    fake.now_ns += 2 * SECOND;
    assert_eq!(fake.step(Event::Frame), []);
    let (waited, stalled) = fake.wait();
    assert!((3.0..3.1).contains(&waited), "{waited}");
    assert_eq!(stalled[0], Action::Close);
    assert_eq!(states(&stalled), [SourceState::Stalled]);
    assert_eq!(states(&fake.wait().1), [SourceState::Connecting]);
}

#[test]
fn a_camera_that_never_answers_is_lost_and_one_that_never_sends_is_stalled() {
    let mut silent = Fake::camera(Some(5), Backoff::Fixed);
    let (waited, actions) = silent.wait();
    assert!((10.0..10.1).contains(&waited), "{waited}");
    assert_eq!(states(&actions), [SourceState::Lost]);

    let mut blind = Fake::camera(Some(5), Backoff::Fixed);
    blind.step(Event::Connected);
    let (waited, actions) = blind.wait();
    assert!((15.0..15.1).contains(&waited), "{waited}");
    assert_eq!(states(&actions), [SourceState::Stalled]);
}

#[test]
fn a_refusal_is_told_as_such() {
    let mut fake = Fake::camera(Some(2), Backoff::Fixed);
    let refuse = || Event::Failed {
        state: SourceState::Refused,
        detail: "wrong password".to_owned(),
    };
    assert_eq!(states(&fake.step(refuse())), [SourceState::Refused]);
    fake.wait();
    assert_eq!(
        states(&fake.step(refuse())),
        [SourceState::Refused, SourceState::Gone]
    );
}

#[test]
fn what_can_never_work_is_not_tried_again() {
    let mut fake = Fake::camera(None, Backoff::Fixed);
    let actions = fake.step(Event::Unusable("no decoder".to_owned()));
    assert_eq!(states(&actions), [SourceState::Gone]);
    let given_up = Action::GiveUp(Reason::Unusable, "no decoder".to_owned());
    assert_eq!(actions.last(), Some(&given_up));
}

#[test]
fn a_file_ends_and_is_not_tried_again() {
    let file = || {
        Fake::new(Policy {
            retry: None,
            no_frame_timeout: None,
            waits_for_sender: false,
            linger: None,
            who: "yard".to_owned(),
        })
    };
    let mut ended = file();
    ended.step(Event::Frame);
    ended.now_ns += 1000 * SECOND;
    assert_eq!(ended.step(Event::Tick), []);
    let actions = ended.step(Event::Ended);
    assert_eq!(states(&actions), [SourceState::Gone]);
    assert_eq!(actions.last(), Some(&Action::Finish));

    let broken = file().lose();
    let given_up = Action::GiveUp(Reason::Lost, "broken".to_owned());
    assert_eq!(broken.last(), Some(&given_up));
}

fn refuse(fake: &mut Fake) -> Vec<Action> {
    fake.step(Event::Failed {
        state: SourceState::Refused,
        detail: "wrong password".to_owned(),
    })
}

#[test]
fn a_refusal_is_tried_again_at_the_longest_interval_only() {
    for backoff in [Backoff::Fixed, Backoff::Exponential] {
        let mut fake = Fake::camera(None, backoff);
        for _ in 0..3 {
            refuse(&mut fake);
            let (waited, _) = fake.wait();
            assert!((60.0..=72.01).contains(&waited), "{waited}");
        }
    }
}

/// A camera on demand, started and idle.
fn on_demand() -> Fake {
    let mut policy = Fake::camera(Some(5), Backoff::Fixed).sessions.policy;
    policy.linger = Some(Duration::from_secs(10));
    let mut fake = Fake {
        sessions: Sessions::new(policy),
        now_ns: 100 * SECOND,
    };
    assert_eq!(states(&fake.step(Event::Start)), [SourceState::Idle]);
    fake
}

#[test]
fn a_source_on_demand_is_open_only_while_it_is_wanted() {
    let mut fake = on_demand();
    // No time-out applies to what is not open.
    fake.now_ns += 10_000 * SECOND;
    assert_eq!(fake.step(Event::Tick), []);
    assert_eq!(fake.step(Event::Wanted(false)), []);

    let opened = fake.step(Event::Wanted(true));
    assert_eq!(opened[1], Action::Open);
    assert_eq!(fake.step(Event::Wanted(true)), []);
    fake.step(Event::Connected);
    assert_eq!(states(&fake.step(Event::Frame)), [SourceState::Live]);

    // It stays for those who come back within the linger time.
    fake.step(Event::Wanted(false));
    fake.now_ns += 9 * SECOND;
    fake.step(Event::Frame);
    assert_eq!(fake.step(Event::Wanted(true)), []);
    fake.now_ns += 2 * SECOND;
    fake.step(Event::Frame);
    assert_eq!(fake.step(Event::Tick), []);

    fake.step(Event::Wanted(false));
    for _ in 0..4 {
        fake.now_ns += 2 * SECOND;
        assert_eq!(fake.step(Event::Frame), []);
    }
    fake.now_ns += 2 * SECOND;
    let closed = fake.step(Event::Frame);
    assert_eq!(closed[0], Action::Close);
    assert_eq!(states(&closed), [SourceState::Idle]);
    assert_eq!(fake.step(Event::Wanted(true))[1], Action::Open);
}

#[test]
fn demand_before_the_start_counts_and_means_nothing_to_other_sources() {
    let mut policy = on_demand().sessions.policy;
    let mut early = Sessions::new(policy.clone());
    assert_eq!(early.step(0, Event::Wanted(true)), []);
    assert_eq!(early.step(0, Event::Start)[1], Action::Open);

    policy.linger = None;
    let mut always = Sessions::new(policy);
    assert_eq!(always.step(0, Event::Start)[1], Action::Open);
    assert_eq!(always.step(0, Event::Wanted(false)), []);
    always.step(0, Event::Frame);
    assert_eq!(always.step(2 * SECOND, Event::Tick), []);
}

#[test]
fn a_refused_source_on_demand_is_not_asked_again_by_each_viewer() {
    let mut fake = on_demand();
    fake.step(Event::Wanted(true));
    refuse(&mut fake);
    fake.step(Event::Wanted(false));
    let (_, actions) = fake.wait();
    assert_eq!(states(&actions), [SourceState::Idle]);
    let again = fake.step(Event::Wanted(true));
    assert_eq!(states(&again), [SourceState::Connecting]);
    assert_eq!(again.len(), 1, "it is not opened: {again:?}");
    let (waited, opened) = fake.wait();
    assert!((48.0..=62.01).contains(&waited), "{waited}");
    assert_eq!(opened[1], Action::Open);
}

#[test]
fn a_listener_waits_for_its_sender_for_ever() {
    let mut policy = Fake::camera(Some(2), Backoff::Fixed).sessions.policy;
    policy.waits_for_sender = true;
    let mut fake = Fake {
        sessions: Sessions::new(policy),
        now_ns: 0,
    };
    fake.step(Event::Start);
    fake.now_ns += 10_000 * SECOND;
    assert_eq!(fake.step(Event::Tick), []);
    // Who was turned away is told of, not each of those who knock, and the door stays open.
    let knock = || Event::TurnedAway("wrong passphrase".to_owned());
    assert_eq!(states(&fake.step(knock())), [SourceState::Refused]);
    assert_eq!(fake.step(knock()), []);
    fake.now_ns += 11 * SECOND;
    assert_eq!(states(&fake.step(knock())), [SourceState::Refused]);
    for _ in 0..3 {
        fake.step(Event::Connected);
        assert_eq!(states(&fake.step(Event::Frame)), [SourceState::Live]);
        assert_eq!(fake.step(knock()), []);
        assert_eq!(states(&fake.lose()), [SourceState::Lost]);
        let (waited, opened) = fake.wait();
        assert!((0.2..0.3).contains(&waited), "{waited}");
        assert_eq!(opened[1], Action::Open);
    }
    for _ in 0..10 {
        assert_eq!(states(&fake.lose()), [SourceState::Lost]);
        fake.wait();
    }
}
