use contract::exit::WorkerExit;
use sandbox::ExitReport;

use super::*;
use crate::supervision::fleet::{FleetEvent, Topology, Uses};
use crate::supervision::life::LifeEvent;

const INGEST: usize = 0;
const INFER: usize = 1;
const RENDER: usize = 2;

/// A run of one stream and one model whose workers are all ready.
fn running() -> Fleet {
    let mut fleet = starting();
    for member in [INGEST, INFER, RENDER] {
        tell(&mut fleet, member, LifeEvent::Ready);
    }
    fleet
}

fn starting() -> Fleet {
    let stream: StreamName = "yard".parse().expect("a name");
    let infer = WorkerId::Infer("people".parse().expect("a name"));
    let workers = [
        WorkerId::Ingest(stream.clone()),
        infer,
        WorkerId::Render(stream),
    ];
    let uses = Uses {
        frames: vec!["people".parse().expect("a name")],
        crops: Vec::new(),
        tiles: Vec::new(),
    };
    let topology = Topology {
        streams: [("yard".parse().expect("a name"), uses)].into(),
    };
    let mut fleet = Fleet::new(&workers, topology);
    fleet.step(FleetEvent::Begin, Duration::ZERO, || 0.5);
    fleet
}

fn tell(fleet: &mut Fleet, member: usize, event: LifeEvent) {
    fleet.step(FleetEvent::Worker { member, event }, Duration::ZERO, || 0.5);
}

fn exit(fleet: &mut Fleet, member: usize, exit: WorkerExit) {
    let report = ExitReport {
        code: Some(exit.code()),
        signal: None,
    };
    tell(fleet, member, LifeEvent::Exited(report));
    tell(fleet, member, LifeEvent::Cleaned);
}

fn drained() -> Fleet {
    let mut fleet = running();
    for member in [INGEST, INFER, RENDER] {
        exit(&mut fleet, member, WorkerExit::Drained);
    }
    assert!(fleet.is_over());
    fleet
}

fn verdict_of(fleet: &Fleet, stopped_by: Option<StopReason>) -> (RunState, Exit) {
    let verdict = verdict(fleet, &[const { String::new() }; 3], stopped_by, &[]);
    assert_eq!(verdict.detail.is_some(), verdict.exit != Exit::Success);
    (verdict.state, verdict.exit)
}

fn book(part: Part) -> BookId {
    BookId {
        stream: "yard".parse().expect("a name"),
        part,
    }
}

#[test]
fn a_run_that_drained_is_a_success_however_it_was_ended() {
    let fleet = drained();
    for (stopped_by, state) in [
        (None, RunState::Finished),
        (Some(StopReason::Duration), RunState::Finished),
        (Some(StopReason::Person), RunState::Stopped),
    ] {
        assert_eq!(verdict_of(&fleet, stopped_by), (state, Exit::Success));
    }
    let unbalanced = ["1 is not 2".to_owned()];
    let verdict = verdict(&fleet, &[], None, &unbalanced);
    assert_eq!(verdict.exit, Exit::Unbalanced);
}

#[test]
fn what_cannot_work_gives_the_exit_code_of_its_kind() {
    for (member, expected) in [
        (INGEST, Exit::Source),
        (INFER, Exit::Model),
        (RENDER, Exit::Environment),
    ] {
        let mut fleet = starting();
        exit(&mut fleet, member, WorkerExit::BadConfig);
        assert_eq!(verdict_of(&fleet, None), (RunState::Failed, expected));
    }
    let mut fleet = running();
    exit(&mut fleet, INGEST, WorkerExit::SourceGone);
    exit(&mut fleet, INFER, WorkerExit::Drained);
    exit(&mut fleet, RENDER, WorkerExit::Drained);
    assert_eq!(verdict_of(&fleet, None), (RunState::Failed, Exit::Source));
}

#[test]
fn a_worker_that_dies_too_often_or_while_draining_is_said() {
    let mut fleet = running();
    for _ in 0..5 {
        exit(&mut fleet, INFER, WorkerExit::Failed);
        let progress = vec![0; 3];
        fleet.step(
            FleetEvent::Tick { progress },
            Duration::from_secs(9),
            || 0.5,
        );
    }
    let stopped_by = Some(StopReason::Person);
    assert_eq!(verdict_of(&fleet, stopped_by).1, Exit::Quarantined);

    let mut fleet = running();
    exit(&mut fleet, INGEST, WorkerExit::Drained);
    exit(&mut fleet, INFER, WorkerExit::Drained);
    exit(&mut fleet, RENDER, WorkerExit::Failed);
    assert!(fleet.is_over());
    assert_eq!(verdict_of(&fleet, None).1, Exit::Failure);
}

#[test]
fn frames_are_missing_only_where_somebody_did_not_drain() {
    let fleet = drained();
    assert!(
        !is_lost(&fleet, &book(Part::Render)),
        "a gap there is a defect"
    );
    assert!(
        is_lost(&fleet, &book(Part::Ingest)),
        "senders do not end with who takes their chunks"
    );
    let mut fleet = running();
    exit(&mut fleet, INGEST, WorkerExit::Drained);
    exit(&mut fleet, RENDER, WorkerExit::Drained);
    exit(&mut fleet, INFER, WorkerExit::Failed);
    assert!(!is_lost(&fleet, &book(Part::Render)));
    let people = "people".parse().expect("a name");
    assert!(is_lost(&fleet, &book(Part::Infer(people))));
}
