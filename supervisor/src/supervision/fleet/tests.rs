use contract::exit::WorkerExit;
use sandbox::{ExitReport, Signal};

use super::*;

const INGEST_YARD: usize = 0;
const INGEST_GATE: usize = 1;
const INFER: usize = 2;
const RENDER_YARD: usize = 3;
const RENDER_GATE: usize = 4;
const GATEWAY: usize = 5;

/// Streams that one model looks at.
fn topology(streams: &[&str]) -> Topology {
    let uses = Uses {
        frames: vec!["people".parse().expect("a name")],
        crops: Vec::new(),
        tiles: Vec::new(),
    };
    let streams = streams.iter();
    Topology {
        streams: streams
            .map(|name| (name.parse().expect("a name"), uses.clone()))
            .collect(),
    }
}

struct Rig {
    fleet: Fleet,
    now: Duration,
}

impl Rig {
    fn new() -> Self {
        let stream = |name: &str| name.parse().expect("a name");
        let infer = WorkerId::Infer("people".parse().expect("a name"));
        let workers = [
            WorkerId::Ingest(stream("yard")),
            WorkerId::Ingest(stream("gate")),
            infer,
            WorkerId::Render(stream("yard")),
            WorkerId::Render(stream("gate")),
            WorkerId::Gateway,
        ];
        let mut rig = Self {
            fleet: Fleet::new(&workers, topology(&["yard", "gate"])),
            now: Duration::ZERO,
        };
        let spawned = rig.step(FleetEvent::Begin);
        assert_eq!(spawned.len(), workers.len());
        rig
    }

    fn step(&mut self, event: FleetEvent) -> Vec<FleetAction> {
        self.now += Duration::from_millis(10);
        self.fleet.step(event, self.now, || 0.5)
    }

    fn worker(&mut self, member: usize, event: LifeEvent) -> Vec<FleetAction> {
        self.step(FleetEvent::Worker { member, event })
    }

    fn ready(&mut self, member: usize) -> Vec<FleetAction> {
        self.worker(member, LifeEvent::Ready)
    }

    fn exit(&mut self, member: usize, exit: WorkerExit) -> Vec<FleetAction> {
        let report = ExitReport {
            code: Some(exit.code()),
            signal: None,
        };
        let mut actions = self.worker(member, LifeEvent::Exited(report));
        actions.extend(self.worker(member, LifeEvent::Cleaned));
        actions
    }

    fn tick(&mut self, pause: Duration) -> Vec<FleetAction> {
        self.now += pause;
        let members = self.fleet.members().len();
        let progress = vec![u64::try_from(self.now.as_nanos()).expect("short"); members];
        self.step(FleetEvent::Tick { progress })
    }
}

fn running() -> Rig {
    let mut rig = Rig::new();
    for member in [INGEST_YARD, INGEST_GATE, INFER, RENDER_YARD, RENDER_GATE] {
        assert!(rig.ready(member).is_empty(), "frames wait for everybody");
    }
    let started = rig.ready(GATEWAY);
    assert_eq!(
        started,
        [INGEST_YARD, INGEST_GATE].map(|member| FleetAction::Start { member })
    );
    rig
}

fn drained(actions: &[FleetAction]) -> Vec<usize> {
    let drained = |action: &FleetAction| match action {
        FleetAction::Worker {
            member,
            action: LifeAction::Drain,
        } => Some(*member),
        _ => None,
    };
    actions.iter().filter_map(drained).collect()
}

fn signalled(actions: &[FleetAction], wanted: Signal) -> Vec<usize> {
    let signalled = |action: &FleetAction| match action {
        FleetAction::Worker {
            member,
            action: LifeAction::Signal(signal),
        } if *signal == wanted => Some(*member),
        _ => None,
    };
    actions.iter().filter_map(signalled).collect()
}

#[test]
fn finite_sources_end_the_run_from_the_source_down() {
    let mut rig = running();
    let actions = rig.exit(INGEST_YARD, WorkerExit::Drained);
    assert_eq!(
        drained(&actions),
        [RENDER_YARD],
        "the model still has the gate"
    );
    let actions = rig.exit(INGEST_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [INFER, RENDER_GATE]);
    rig.exit(INFER, WorkerExit::Drained);
    rig.exit(RENDER_YARD, WorkerExit::Drained);
    assert!(!rig.fleet.is_over());
    let actions = rig.exit(RENDER_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [GATEWAY]);
    rig.exit(GATEWAY, WorkerExit::Drained);
    assert!(rig.fleet.is_over());
}

#[test]
fn a_dead_ingest_comes_back_and_publishes_when_its_consumers_are_ready() {
    let mut rig = running();
    rig.exit(INGEST_YARD, WorkerExit::Failed);
    rig.exit(INFER, WorkerExit::Failed);
    assert!(!rig.fleet.is_stopping());
    rig.tick(Duration::from_secs(1));
    assert!(rig.worker(INGEST_YARD, LifeEvent::Warming).is_empty());
    rig.worker(INFER, LifeEvent::Warming);
    assert!(
        rig.ready(INGEST_YARD).is_empty(),
        "the model is not there yet"
    );
    let started = rig.ready(INFER);
    assert_eq!(
        started,
        [FleetAction::Start {
            member: INGEST_YARD
        }]
    );
    assert!(rig.ready(INFER).is_empty(), "once a process is enough");
}

#[test]
fn an_ingest_that_is_still_opening_its_source_is_not_told_to_publish() {
    let mut rig = running();
    rig.exit(INGEST_YARD, WorkerExit::Failed);
    rig.tick(Duration::from_secs(1));
    assert!(rig.worker(INGEST_YARD, LifeEvent::Warming).is_empty());
    let started = rig.ready(INGEST_YARD);
    assert_eq!(
        started,
        [FleetAction::Start {
            member: INGEST_YARD
        }]
    );
}

#[test]
fn a_bad_spec_at_the_start_ends_the_whole_run() {
    let mut rig = Rig::new();
    rig.ready(RENDER_YARD);
    let actions = rig.exit(INFER, WorkerExit::BadConfig);
    assert_eq!(rig.fleet.failed(), Some(INFER));
    assert_eq!(
        signalled(&actions, Signal::SIGTERM),
        [INGEST_YARD, INGEST_GATE, RENDER_YARD, RENDER_GATE, GATEWAY]
    );
    for member in [INGEST_YARD, INGEST_GATE, RENDER_YARD, RENDER_GATE, GATEWAY] {
        rig.exit(member, WorkerExit::Drained);
    }
    assert!(rig.fleet.is_over());
}

#[test]
fn a_bad_spec_later_ends_its_stream_only() {
    let mut rig = running();
    let actions = rig.exit(INGEST_YARD, WorkerExit::BadConfig);
    assert_eq!(rig.fleet.failed(), None);
    assert_eq!(drained(&actions), [RENDER_YARD]);

    // A source that nobody renders ends too.
    let actions = rig.exit(RENDER_GATE, WorkerExit::BadConfig);
    assert_eq!(drained(&actions), [INGEST_GATE]);

    // A model that is gone takes no stream with it.
    let mut rig = running();
    let actions = rig.exit(INFER, WorkerExit::BadConfig);
    assert!(drained(&actions).is_empty());
    assert!(!rig.fleet.is_stopping());
}

#[test]
fn stopping_drains_then_terminates_then_kills() {
    let mut rig = running();
    let actions = rig.step(FleetEvent::Stop);
    assert_eq!(drained(&actions), [INGEST_YARD, INGEST_GATE]);
    let actions = rig.exit(INGEST_YARD, WorkerExit::Drained);
    assert_eq!(drained(&actions), [RENDER_YARD]);
    assert!(rig.tick(STOP_TIMEOUT / 2).is_empty());
    let actions = rig.tick(STOP_TIMEOUT);
    assert_eq!(
        signalled(&actions, Signal::SIGTERM),
        [INGEST_GATE, INFER, RENDER_YARD, RENDER_GATE, GATEWAY]
    );
    let actions = rig.tick(super::super::life::TERMINATE_TIMEOUT);
    assert_eq!(signalled(&actions, Signal::SIGKILL).len(), 5);
}

#[test]
fn a_second_stop_is_faster_and_a_third_at_once() {
    let mut rig = running();
    rig.step(FleetEvent::Stop);
    let actions = rig.step(FleetEvent::Stop);
    assert_eq!(signalled(&actions, Signal::SIGTERM).len(), 6);
    let actions = rig.step(FleetEvent::Stop);
    assert_eq!(signalled(&actions, Signal::SIGKILL).len(), 6);
}

#[test]
fn a_stop_while_a_worker_waits_for_its_restart_ends_the_run() {
    let mut rig = running();
    for member in [
        INGEST_YARD,
        INGEST_GATE,
        INFER,
        RENDER_YARD,
        RENDER_GATE,
        GATEWAY,
    ] {
        rig.exit(member, WorkerExit::Failed);
    }
    assert!(!rig.fleet.is_over());
    rig.step(FleetEvent::Stop);
    assert!(rig.fleet.is_over());
}

#[test]
fn a_model_in_quarantine_does_not_hold_up_the_video() {
    let mut rig = Rig::new();
    for member in [INGEST_YARD, INGEST_GATE, RENDER_YARD, RENDER_GATE, GATEWAY] {
        rig.ready(member);
    }
    let mut started = Vec::new();
    for _ in 0..5 {
        started.extend(rig.exit(INFER, WorkerExit::Failed));
        rig.tick(Duration::from_secs(2));
    }
    let starts = |action: &&FleetAction| matches!(action, FleetAction::Start { .. });
    assert_eq!(started.iter().filter(starts).count(), 2);
}

fn names(workers: &[&str]) -> Vec<WorkerId> {
    let worker = |name: &&str| match name.split_once('-') {
        Some(("ingest", stream)) => WorkerId::Ingest(stream.parse().expect("a name")),
        Some(("infer", model)) => WorkerId::Infer(model.parse().expect("a name")),
        Some(("render", stream)) => WorkerId::Render(stream.parse().expect("a name")),
        _ => WorkerId::Gateway,
    };
    workers.iter().map(worker).collect()
}

fn spawned(actions: &[FleetAction]) -> Vec<(usize, u32)> {
    let spawned = |action: &FleetAction| match action {
        FleetAction::Worker {
            member,
            action: LifeAction::Spawn { incarnation },
        } => Some((*member, *incarnation)),
        _ => None,
    };
    actions.iter().filter_map(spawned).collect()
}

impl Rig {
    fn reshape(&mut self, reshape: Reshape) -> Vec<FleetAction> {
        self.step(FleetEvent::Reshape(reshape))
    }
}

#[test]
fn an_ingest_that_comes_back_ends_nobody() {
    let mut rig = running();
    let actions = rig.reshape(Reshape {
        retire: names(&["ingest-yard"]),
        ..Reshape::default()
    });
    assert_eq!(drained(&actions), [INGEST_YARD]);
    let actions = rig.exit(INGEST_YARD, WorkerExit::Drained);
    assert_eq!(actions.len(), 2, "gone and cleaned up: {actions:?}");
    let actions = rig.reshape(Reshape {
        settle: true,
        add: names(&["ingest-yard"]),
        ..Reshape::default()
    });
    assert_eq!(
        spawned(&actions),
        [(INGEST_YARD, 1)],
        "its place, the next number"
    );
    let started = FleetAction::Start {
        member: INGEST_YARD,
    };
    assert_eq!(rig.ready(INGEST_YARD), [started]);
}

#[test]
fn a_stream_leaves_from_its_source_down_and_the_others_go_on() {
    let mut rig = running();
    let actions = rig.reshape(Reshape {
        retire: names(&["ingest-yard", "render-yard"]),
        ..Reshape::default()
    });
    assert_eq!(
        drained(&actions),
        [INGEST_YARD],
        "render has frames to come"
    );
    let actions = rig.exit(INGEST_YARD, WorkerExit::Drained);
    assert_eq!(drained(&actions), [RENDER_YARD]);
    rig.exit(RENDER_YARD, WorkerExit::Drained);
    let actions = rig.reshape(Reshape {
        topology: Some(topology(&["gate"])),
        settle: true,
        ..Reshape::default()
    });
    assert!(actions.is_empty(), "{actions:?}");
    assert!(rig.fleet.members()[RENDER_YARD].is_leaving());

    // The other stream ends the run.
    let actions = rig.exit(INGEST_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [INFER, RENDER_GATE]);
    rig.exit(INFER, WorkerExit::Drained);
    let actions = rig.exit(RENDER_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [GATEWAY]);
    rig.exit(GATEWAY, WorkerExit::Drained);
    assert!(rig.fleet.is_over());
}

#[test]
fn all_streams_may_leave_when_others_come() {
    let mut rig = running();
    rig.reshape(Reshape {
        retire: names(&["ingest-yard", "render-yard", "ingest-gate", "render-gate"]),
        ..Reshape::default()
    });
    for member in [INGEST_YARD, INGEST_GATE, RENDER_YARD, RENDER_GATE] {
        let actions = rig.exit(member, WorkerExit::Drained);
        assert!(!drained(&actions).contains(&INFER), "it is still needed");
        assert!(!drained(&actions).contains(&GATEWAY));
    }
    let actions = rig.reshape(Reshape {
        topology: Some(topology(&["dock"])),
        settle: true,
        add: names(&["render-dock", "ingest-dock"]),
        ..Reshape::default()
    });
    let dock = rig
        .fleet
        .index_of(&names(&["ingest-dock"])[0])
        .expect("added");
    assert_eq!(spawned(&actions), [(6, 0), (dock, 0)]);
    assert!(rig.ready(dock).is_empty(), "its render worker is not ready");
    assert_eq!(rig.ready(6), [FleetAction::Start { member: dock }]);
    let actions = rig.exit(dock, WorkerExit::Drained);
    assert_eq!(drained(&actions), [INFER, 6]);
}

#[test]
fn a_successor_is_warmed_takes_over_and_the_old_one_drains() {
    let mut rig = running();
    let people = names(&["infer-people"]);
    let actions = rig.reshape(Reshape {
        stand_by: people.clone(),
        ..Reshape::default()
    });
    let standby = rig.fleet.standby_of(&people[0]).expect("there");
    assert_eq!(spawned(&actions), [(standby, 1)]);
    assert_eq!(
        rig.fleet.index_of(&people[0]),
        Some(INFER),
        "the old one serves"
    );
    // The old one dies meanwhile and comes back with a number of its own.
    rig.exit(INFER, WorkerExit::Failed);
    let actions = rig.tick(Duration::from_secs(1));
    assert_eq!(spawned(&actions), [(INFER, 2)]);
    rig.ready(INFER);
    assert!(rig.ready(standby).is_empty(), "it waits for its order");
    // It touches no stream, and does not hang for that.
    let still = vec![0; 7];
    for _ in 0..60 {
        rig.now += Duration::from_secs(1);
        let progress = still.clone();
        let actions = rig.step(FleetEvent::Tick { progress });
        assert!(!signalled(&actions, Signal::SIGKILL).contains(&standby));
    }

    let mut rig = running();
    rig.reshape(Reshape {
        stand_by: people.clone(),
        ..Reshape::default()
    });
    rig.ready(standby);
    let actions = rig.reshape(Reshape {
        promote: people.clone(),
        ..Reshape::default()
    });
    assert_eq!(drained(&actions), [INFER]);
    assert!(actions.contains(&FleetAction::Start { member: standby }));
    assert_eq!(rig.fleet.index_of(&people[0]), Some(standby));
    rig.exit(INFER, WorkerExit::Drained);
    // The next one takes the place that has become free.
    rig.exit(standby, WorkerExit::Failed);
    assert_eq!(spawned(&rig.tick(Duration::from_secs(1))), [(standby, 2)]);
    rig.ready(standby);
    let actions = rig.reshape(Reshape {
        stand_by: people,
        ..Reshape::default()
    });
    assert_eq!(spawned(&actions), [(INFER, 3)]);
}

#[test]
fn a_successor_that_cannot_work_is_not_tried_again_and_ends_no_run() {
    let mut rig = running();
    let people = names(&["infer-people"]);
    for (attempt, exit) in [(1, WorkerExit::BadConfig), (2, WorkerExit::Failed)] {
        let actions = rig.reshape(Reshape {
            stand_by: people.clone(),
            ..Reshape::default()
        });
        let standby = rig.fleet.standby_of(&people[0]).expect("there");
        assert_eq!(spawned(&actions), [(standby, attempt)]);
        rig.exit(standby, exit);
        assert!(rig.fleet.members()[standby].life.end().is_some());
        rig.reshape(Reshape {
            dismiss: people.clone(),
            ..Reshape::default()
        });
        assert_eq!(rig.fleet.standby_of(&people[0]), None);
    }
    assert!(!rig.fleet.is_stopping());
    assert_eq!(
        rig.fleet.members().len(),
        7,
        "the second took the first one's place"
    );
}

#[test]
fn a_bad_spec_that_came_later_does_not_end_the_run() {
    let mut rig = running();
    rig.reshape(Reshape {
        topology: Some(topology(&["yard", "gate", "dock"])),
        settle: true,
        add: names(&["render-dock", "ingest-dock"]),
        ..Reshape::default()
    });
    let dock = rig
        .fleet
        .index_of(&names(&["ingest-dock"])[0])
        .expect("added");
    let actions = rig.exit(dock, WorkerExit::BadConfig);
    assert_eq!(rig.fleet.failed(), None);
    assert!(!rig.fleet.is_stopping());
    assert_eq!(
        signalled(&actions, Signal::SIGTERM),
        [6],
        "its render worker ends"
    );
}

#[test]
fn a_stop_in_the_middle_of_it_all_ends_everything() {
    let mut rig = running();
    rig.reshape(Reshape {
        retire: names(&["ingest-yard", "render-yard"]),
        stand_by: names(&["infer-people"]),
        ..Reshape::default()
    });
    rig.exit(INGEST_YARD, WorkerExit::Drained);
    let actions = rig.step(FleetEvent::Stop);
    assert_eq!(drained(&actions), [INGEST_GATE]);
    let standby = 6;
    assert_eq!(signalled(&actions, Signal::SIGTERM), [standby]);
    assert!(
        rig.reshape(Reshape {
            add: names(&["ingest-yard"]),
            ..Reshape::default()
        })
        .is_empty(),
        "nobody is added any more"
    );
    for member in [
        INGEST_GATE,
        RENDER_YARD,
        RENDER_GATE,
        INFER,
        GATEWAY,
        standby,
    ] {
        rig.exit(member, WorkerExit::Drained);
    }
    assert!(rig.fleet.is_over());
}

#[test]
fn a_model_that_is_asked_about_crops_drains_after_those_who_ask() {
    let mut rig = Rig::new();
    for member in [
        INGEST_YARD,
        INGEST_GATE,
        INFER,
        RENDER_YARD,
        RENDER_GATE,
        GATEWAY,
    ] {
        rig.ready(member);
    }
    let mut topology = topology(&["yard"]);
    let people = "people".parse().expect("a name");
    let gate = Uses {
        frames: Vec::new(),
        crops: vec![people],
        tiles: Vec::new(),
    };
    topology
        .streams
        .insert("gate".parse().expect("a name"), gate);
    rig.step(FleetEvent::Reshape(Reshape {
        topology: Some(topology),
        ..Reshape::default()
    }));
    rig.exit(INGEST_YARD, WorkerExit::Drained);
    let actions = rig.exit(INGEST_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [RENDER_GATE], "it may still ask");
    let actions = rig.exit(RENDER_GATE, WorkerExit::Drained);
    assert_eq!(drained(&actions), [INFER]);
}

#[test]
fn a_mosaic_ends_when_all_its_members_have() {
    let name = |name: &str| -> StreamName { name.parse().expect("a name") };
    let workers = ["yard", "gate", "wall"].map(name);
    let ingest = workers.clone().map(WorkerId::Ingest);
    let render = workers.map(WorkerId::Render);
    let mut topology = Topology::default();
    for stream in ["yard", "gate", "wall"] {
        topology.streams.insert(name(stream), Uses::default());
    }
    let wall = topology.streams.get_mut(&name("wall")).expect("there");
    wall.tiles = ["yard", "gate"].map(name).into();
    let all: Vec<WorkerId> = ingest.into_iter().chain(render).collect();
    let mut rig = Rig {
        fleet: Fleet::new(&all, topology),
        now: Duration::ZERO,
    };
    rig.step(FleetEvent::Begin);
    let (yard, gate, wall) = (0, 1, 2);
    let render_of = |stream: usize| stream + 3;
    (0..6).for_each(|member| drop(rig.ready(member)));

    assert_eq!(
        drained(&rig.exit(yard, WorkerExit::Drained)),
        [render_of(yard)]
    );
    assert!(drained(&rig.exit(render_of(yard), WorkerExit::Drained)).is_empty());
    // A member that was killed is no member that has ended.
    rig.exit(render_of(gate), WorkerExit::Failed);
    assert!(rig.fleet.members()[wall].life.end().is_none());
    // It has nothing to drain, and is not started for that.
    assert_eq!(drained(&rig.exit(gate, WorkerExit::Drained)), [wall]);
    assert_eq!(
        drained(&rig.exit(wall, WorkerExit::Drained)),
        [render_of(wall)]
    );
    rig.exit(render_of(wall), WorkerExit::Drained);
    assert!(rig.fleet.is_over());
}
