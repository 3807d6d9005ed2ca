use proptest::prelude::*;

use super::*;

const MIDDLE: f64 = 0.5;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn exited(code: i32) -> LifeEvent {
    LifeEvent::Exited(ExitReport {
        code: Some(code),
        signal: None,
    })
}

fn killed() -> LifeEvent {
    LifeEvent::Exited(ExitReport {
        code: None,
        signal: Some(9),
    })
}

/// A worker that became ready at `now`.
fn ready(now: Duration) -> Life {
    let mut life = Life::default();
    let spawn = life.step(LifeEvent::Begin, now, MIDDLE);
    assert_eq!(spawn, [LifeAction::Spawn { incarnation: 0 }]);
    life.step(LifeEvent::Warming, now, MIDDLE);
    life.step(LifeEvent::Ready, now, MIDDLE);
    assert_eq!(*life.phase(), Phase::Ready);
    life
}

fn gone(actions: &[LifeAction]) -> &Gone {
    match actions {
        [LifeAction::Gone(gone), LifeAction::Clean] => gone,
        other => panic!("it is not gone: {other:?}"),
    }
}

/// Lets a worker die, be cleaned up and come back as soon as it may; returns the delay.
fn die_and_return(life: &mut Life, now: &mut Duration) -> Duration {
    let actions = life.step(killed(), *now, MIDDLE);
    let delay = gone(&actions).restart_in.expect("it is restarted");
    life.step(LifeEvent::Cleaned, *now, MIDDLE);
    *now += delay;
    let actions = life.step(LifeEvent::Tick { progress: 0 }, *now, MIDDLE);
    assert!(
        matches!(actions[..], [LifeAction::Spawn { .. }]),
        "{actions:?}"
    );
    delay
}

#[test]
fn a_stable_worker_is_restarted_at_once_with_the_next_number() {
    let mut life = ready(Duration::ZERO);
    let now = STABLE_AFTER;
    let actions = life.step(killed(), now, MIDDLE);
    let gone = gone(&actions);
    assert_eq!(
        (gone.end, gone.restart_in),
        (End::Killed, Some(Duration::ZERO))
    );
    // Not before its node is cleaned up.
    assert!(
        life.step(LifeEvent::Tick { progress: 0 }, now, MIDDLE)
            .is_empty()
    );
    life.step(LifeEvent::Cleaned, now, MIDDLE);
    let spawn = life.step(LifeEvent::Tick { progress: 0 }, now, MIDDLE);
    assert_eq!(spawn, [LifeAction::Spawn { incarnation: 1 }]);
    assert_eq!(life.restarts(), 1);
}

#[test]
fn delays_double_and_five_deaths_are_quarantine() {
    let mut now = Duration::ZERO;
    let mut life = ready(now);
    let delays: Vec<_> = (0..4)
        .map(|_| die_and_return(&mut life, &mut now))
        .collect();
    assert_eq!(delays, [0.1, 0.2, 0.4, 0.8].map(seconds));
    assert!(!life.is_quarantined());
    assert_eq!(die_and_return(&mut life, &mut now), QUARANTINE_RETRY);
    assert!(life.is_quarantined());

    // One failed try later it is in quarantine again.
    now += seconds(1.0);
    assert!(die_and_return(&mut life, &mut now) >= QUARANTINE_RETRY);

    // A good one ends it.
    life.step(LifeEvent::Ready, now, MIDDLE);
    now += STABLE_AFTER;
    life.step(LifeEvent::Tick { progress: 1 }, now, MIDDLE);
    assert!(!life.is_quarantined());
    assert_eq!(die_and_return(&mut life, &mut now), Duration::ZERO);
}

#[test]
fn slow_deaths_are_backed_off_but_never_longer_than_the_limit() {
    let mut now = Duration::ZERO;
    let mut life = ready(now);
    let mut delay = Duration::ZERO;
    for _ in 0..12 {
        now += STABLE_AFTER - seconds(1.0);
        delay = die_and_return(&mut life, &mut now);
    }
    assert_eq!(delay, RESTART_DELAY_MAX);
}

#[test]
fn what_can_never_work_is_not_retried() {
    for (code, end) in [
        (WorkerExit::BadConfig, End::BadConfig),
        (WorkerExit::SourceGone, End::SourceGone),
        (WorkerExit::Drained, End::Drained),
    ] {
        let mut life = ready(Duration::ZERO);
        let actions = life.step(exited(code.code()), seconds(1.0), MIDDLE);
        assert_eq!(gone(&actions).restart_in, None);
        life.step(LifeEvent::Cleaned, seconds(1.0), MIDDLE);
        assert_eq!(life.end(), Some(end));
    }
}

#[test]
fn a_worker_that_stands_still_is_killed_and_restarted() {
    let mut life = ready(Duration::ZERO);
    let mut now = Duration::ZERO;
    for progress in 1..30 {
        now += seconds(1.0);
        assert!(
            life.step(LifeEvent::Tick { progress }, now, MIDDLE)
                .is_empty()
        );
    }
    let still = LifeEvent::Tick { progress: 29 };
    for _ in 0..9 {
        now += seconds(1.0);
        assert!(life.step(still, now, MIDDLE).is_empty());
    }
    now += seconds(1.0);
    let actions = life.step(still, now, MIDDLE);
    assert_eq!(actions, [LifeAction::Signal(Signal::SIGKILL)]);
    assert!(life.step(still, now, MIDDLE).is_empty(), "once is enough");
    let actions = life.step(killed(), now, MIDDLE);
    assert_eq!(gone(&actions).end, End::Hung);
    assert!(gone(&actions).restart_in.is_some());
}

#[test]
fn a_pause_of_the_supervisor_is_no_hang_of_its_workers() {
    let mut life = ready(Duration::ZERO);
    let still = LifeEvent::Tick { progress: 0 };
    assert!(life.step(still, seconds(0.2), MIDDLE).is_empty());
    assert!(life.step(still, seconds(3600.0), MIDDLE).is_empty());
}

#[test]
fn warming_up_has_a_limit() {
    let mut life = Life::default();
    life.step(LifeEvent::Begin, Duration::ZERO, MIDDLE);
    life.step(LifeEvent::Warming, Duration::ZERO, MIDDLE);
    let tick = LifeEvent::Tick { progress: 0 };
    assert!(
        life.step(tick, WARM_TIMEOUT - seconds(1.0), MIDDLE)
            .is_empty()
    );
    let actions = life.step(tick, WARM_TIMEOUT, MIDDLE);
    assert_eq!(actions, [LifeAction::Signal(Signal::SIGKILL)]);
}

#[test]
fn draining_ends_in_the_order_drain_term_kill() {
    let mut life = ready(Duration::ZERO);
    let mut now = seconds(1.0);
    assert_eq!(
        life.step(LifeEvent::Drain, now, MIDDLE),
        [LifeAction::Drain]
    );
    let mut signals = Vec::new();
    for progress in 1..100 {
        now += seconds(1.0);
        signals.extend(life.step(LifeEvent::Tick { progress }, now, MIDDLE));
    }
    assert_eq!(
        signals,
        [Signal::SIGTERM, Signal::SIGKILL].map(LifeAction::Signal)
    );
    let actions = life.step(killed(), now, MIDDLE);
    assert_eq!(
        (gone(&actions).end, gone(&actions).restart_in),
        (End::Stopped, None)
    );
}

#[test]
fn a_worker_that_crashes_while_draining_is_not_brought_back() {
    let mut life = ready(Duration::ZERO);
    life.step(LifeEvent::Drain, seconds(1.0), MIDDLE);
    let actions = life.step(killed(), seconds(2.0), MIDDLE);
    assert_eq!(
        (gone(&actions).end, gone(&actions).restart_in),
        (End::Killed, None)
    );
}

#[test]
fn draining_before_ready_and_between_lives_ends_it() {
    let mut life = Life::default();
    life.step(LifeEvent::Begin, Duration::ZERO, MIDDLE);
    let actions = life.step(LifeEvent::Drain, Duration::ZERO, MIDDLE);
    assert_eq!(actions, [LifeAction::Signal(Signal::SIGTERM)]);

    let mut life = ready(Duration::ZERO);
    life.step(killed(), seconds(1.0), MIDDLE);
    life.step(LifeEvent::Drain, seconds(1.0), MIDDLE);
    life.step(LifeEvent::Cleaned, seconds(1.0), MIDDLE);
    assert_eq!(life.end(), Some(End::Stopped));
}

fn any_event() -> impl Strategy<Value = LifeEvent> {
    prop_oneof![
        Just(LifeEvent::Begin),
        Just(LifeEvent::NotStarted),
        Just(LifeEvent::Warming),
        Just(LifeEvent::Ready),
        (0_u64..4).prop_map(|progress| LifeEvent::Tick { progress }),
        Just(LifeEvent::Deaf),
        Just(LifeEvent::Cleaned),
        Just(killed()),
        (0_i32..70).prop_map(exited),
    ]
}

proptest! {
    /// Whatever happens in whatever order: numbers of processes only grow, one process at a
    /// time, delays are bounded, and once the run is killed it ends.
    #[test]
    fn any_history_is_survived(
        history in prop::collection::vec((any_event(), 0_u64..20_000, 0.0..=1.0_f64), 0..200)
    ) {
        let mut life = Life::default();
        let mut now = Duration::ZERO;
        let mut next_incarnation = 0;
        let mut alive = false;
        for (event, pause_ms, random) in history {
            now += Duration::from_millis(pause_ms);
            for action in life.step(event, now, random) {
                match action {
                    LifeAction::Spawn { incarnation } => {
                        prop_assert!(!alive);
                        prop_assert_eq!(incarnation, next_incarnation);
                        next_incarnation += 1;
                        alive = true;
                    }
                    LifeAction::Gone(gone) => {
                        prop_assert!(alive);
                        alive = false;
                        prop_assert!(gone.restart_in.is_none_or(|delay| delay <= QUARANTINE_RETRY));
                        prop_assert!(gone.quarantined == (gone.restart_in == Some(QUARANTINE_RETRY))
                            || gone.restart_in.is_none());
                    }
                    LifeAction::Clean => prop_assert!(!alive),
                    LifeAction::Drain | LifeAction::Signal(_) => prop_assert!(alive),
                }
            }
            prop_assert_eq!(alive, life.phase().is_alive());
        }
        life.step(LifeEvent::Kill, now, 0.0);
        life.step(killed(), now, 0.0);
        life.step(LifeEvent::Cleaned, now, 0.0);
        prop_assert!(life.end().is_some());
    }
}
