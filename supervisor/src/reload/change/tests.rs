//! A simulated run: the real fleet, workers that do what they are told in a random order,
//! and, where a test wants it, fail.

use contract::exit::WorkerExit;
use contract::spec::FrameServiceSpec;
use proptest::prelude::*;
use sandbox::ExitReport;

use super::super::testing::{BASE, directory, drawn, edition};
use super::super::{number_rules, plan};
use super::*;
use crate::plan::Plan;
use crate::supervision::fleet::{FleetAction, FleetEvent};
use crate::supervision::life::{LifeAction, LifeEvent};

/// More turns mean that a run is stuck.
const TURNS_MAX: usize = 20_000;

/// What a worker is about to do.
#[derive(Debug, Clone)]
enum Deed {
    Ready,
    Exit(ExitReport),
    Cleaned,
    Answer(WorkerId, u64),
}

struct Sim {
    fleet: Fleet,
    change: Option<Change>,
    ended: Option<Ended>,
    roles: BTreeMap<WorkerId, Role>,
    standby_roles: BTreeMap<WorkerId, Role>,
    /// The services of frames and crops that each living process has open, by member.
    open: BTreeMap<usize, BTreeMap<String, FrameServiceSpec>>,
    due: Vec<(usize, u32, Deed)>,
    random: Vec<u8>,
    drawn: usize,
    /// Of 256 deeds so many fail.
    failures: u8,
    /// Workers that did not do what they were told may stand in each other's way.
    tolerant: bool,
    now: Duration,
}

impl Sim {
    fn new(edition: &Edition, random: Vec<u8>) -> Self {
        let plan = &edition.plan;
        let workers = plan.workers.iter();
        let roles = workers.map(|planned| (planned.worker.clone(), planned.role.clone()));
        let mut sim = Self {
            fleet: Fleet::new(&plan.worker_ids(), plan.topology.clone()),
            change: None,
            ended: None,
            roles: roles.collect(),
            standby_roles: BTreeMap::new(),
            open: BTreeMap::new(),
            due: Vec::new(),
            random,
            drawn: 0,
            failures: 0,
            tolerant: false,
            now: Duration::ZERO,
        };
        sim.step(FleetEvent::Begin);
        sim.until(|sim| sim.due.is_empty());
        assert!(sim.fleet.has_begun());
        sim
    }

    fn draw(&mut self) -> u8 {
        self.drawn += 1;
        let byte = self.random[self.drawn % self.random.len()];
        // So that a second turn through the bytes is another one.
        byte.wrapping_add(u8::try_from(self.drawn / self.random.len() % 251).expect("small"))
    }

    fn fails(&mut self) -> bool {
        self.failures > 0 && self.draw() < self.failures
    }

    fn step(&mut self, event: FleetEvent) {
        for action in self.fleet.step(event, self.now, || 0.5) {
            match action {
                FleetAction::Start { member } => self.start(member),
                FleetAction::Worker { member, action } => self.act(member, &action),
            }
        }
    }

    fn start(&mut self, member: usize) {
        let worker = self.fleet.members()[member].worker.clone();
        if let Some(role) = self.standby_roles.remove(&worker) {
            self.opens(member, &role);
            self.roles.insert(worker, role);
        }
    }

    fn act(&mut self, member: usize, action: &LifeAction) {
        let worker = self.fleet.members()[member].worker.clone();
        let incarnation = self.fleet.members()[member].life.incarnation();
        let exit = |code, signal| Deed::Exit(ExitReport { code, signal });
        let deed = match action {
            LifeAction::Spawn { .. } => {
                match self.fleet.members()[member].duty() {
                    Duty::Standby => {
                        let role = self.standby_roles.get(&worker).expect("a spec");
                        assert!(matches!(role, Role::Infer(spec) if spec.standby));
                    }
                    _ => {
                        let role = self.roles.get(&worker).expect("a spec").clone();
                        self.opens(member, &role);
                    }
                }
                if self.fails() {
                    let code = [
                        WorkerExit::Failed,
                        WorkerExit::BadConfig,
                        WorkerExit::SourceGone,
                    ];
                    let code = code[usize::from(self.draw()) % 3].code();
                    exit(Some(code), None)
                } else {
                    Deed::Ready
                }
            }
            LifeAction::Drain if self.fails() => exit(None, Some(11)),
            LifeAction::Drain => {
                self.is_asked_no_more(member);
                exit(Some(WorkerExit::Drained.code()), None)
            }
            LifeAction::Signal(signal) => exit(None, Some(*signal as i32)),
            LifeAction::Clean => {
                self.open.remove(&member);
                Deed::Cleaned
            }
            LifeAction::Gone(_) => return,
        };
        self.due.push((member, incarnation, deed));
    }

    /// Whoever cuts crops for a model has ended, or has been told not to, before the last
    /// worker of the model is told to drain.
    fn is_asked_no_more(&self, member: usize) {
        let worker = &self.fleet.members()[member].worker;
        let is_last = self.fleet.index_of(worker) == Some(member);
        let (WorkerId::Infer(model), true, false) = (worker, is_last, self.tolerant) else {
            return;
        };
        for (other, open) in self.open.iter().filter(|(other, _)| **other != member) {
            let asks = open.values().any(|spec| spec.crops.as_ref() == Some(model));
            assert!(
                !asks,
                "{other} asks {worker}, which drains: {:?}",
                self.change
            );
        }
    }

    /// A process opens what its spec names: nobody may have the same open in another shape,
    /// and there must be room for it among the consumers.
    fn opens(&mut self, member: usize, role: &Role) {
        if self.tolerant {
            return;
        }
        for spec in services(role) {
            for (other, open) in self.open.iter().filter(|(other, _)| **other != member) {
                if let Some(theirs) = open.get(&spec.topic()) {
                    assert_eq!(theirs, &spec, "{member} and {other} at {:?}", self.change);
                }
            }
            let takes = |index: usize| {
                let worker = &self.fleet.members()[index].worker;
                match spec.crops {
                    None => !matches!(worker, WorkerId::Ingest(_)),
                    Some(_) => matches!(worker, WorkerId::Infer(_)),
                }
            };
            let topic = spec.topic();
            let others = self.open.iter().filter(|(other, open)| {
                **other != member && takes(**other) && open.contains_key(&topic)
            });
            if takes(member) {
                let consumers = others.count() + 1;
                assert!(consumers <= spec.consumers_max as usize, "{role:?}");
            }
            let own = self.open.entry(member).or_default();
            own.insert(topic, spec);
        }
    }

    fn turn(&mut self) {
        if self.due.is_empty() || self.draw() < 40 {
            self.now += Duration::from_millis(200);
            let ticks = u64::try_from(self.now.as_millis()).expect("short");
            let progress = vec![ticks; self.fleet.members().len()];
            self.step(FleetEvent::Tick { progress });
        } else {
            let chosen = usize::from(self.draw()) % self.due.len();
            let (member, incarnation, deed) = self.due.remove(chosen);
            self.perform(member, incarnation, deed);
        }
        self.carry_on();
    }

    fn perform(&mut self, member: usize, incarnation: u32, deed: Deed) {
        let life = &self.fleet.members()[member].life;
        if life.incarnation() != incarnation {
            return;
        }
        let event = match deed {
            Deed::Ready => LifeEvent::Ready,
            Deed::Cleaned => LifeEvent::Cleaned,
            Deed::Exit(report) if life.phase().is_alive() => LifeEvent::Exited(report),
            Deed::Exit(_) => return,
            Deed::Answer(worker, generation) => {
                if !life.phase().is_alive() {
                    return;
                }
                if self.fails() {
                    match self.draw() % 3 {
                        0 => return,
                        1 => {
                            let report = ExitReport {
                                code: None,
                                signal: Some(11),
                            };
                            return self.step(FleetEvent::Worker {
                                member,
                                event: LifeEvent::Exited(report),
                            });
                        }
                        _ => {}
                    }
                    if let Some(change) = &mut self.change {
                        change.answered(&worker, generation, Err("it does not want to".to_owned()));
                    }
                    return;
                }
                let role = self.roles.get(&worker).cloned().expect("a spec");
                let names: BTreeSet<_> = services(&role).map(|spec| spec.topic()).collect();
                if let Some(open) = self.open.get_mut(&member) {
                    open.retain(|topic, _| names.contains(topic));
                }
                if let Some(change) = &mut self.change {
                    change.answered(&worker, generation, Ok(vec!["done".to_owned()]));
                }
                return;
            }
        };
        self.step(FleetEvent::Worker { member, event });
    }

    fn carry_on(&mut self) {
        while let Some(mut change) = self.change.take() {
            let actions = change.step(&self.fleet, self.now, &|_| String::new());
            if actions.is_empty() {
                self.ended = change.ended();
                if self.ended.is_none() {
                    self.change = Some(change);
                }
                return;
            }
            for action in actions {
                self.obey(&mut change, action);
            }
            self.change = Some(change);
        }
    }

    fn obey(&mut self, change: &mut Change, action: ChangeAction) {
        match action {
            ChangeAction::Enforce {
                worker,
                role,
                standby: true,
            } => drop(self.standby_roles.insert(worker, *role)),
            ChangeAction::Enforce { worker, role, .. } => drop(self.roles.insert(worker, *role)),
            ChangeAction::Reconfigure { worker } => {
                let member = self.fleet.index_of(&worker).expect("it is there");
                let life = &self.fleet.members()[member].life;
                let told = life.phase().is_alive().then(|| life.incarnation());
                change.told(&worker, told, self.now);
                if let Some(incarnation) = told {
                    // One that lets go of a service has done so when it answers; one that
                    // opens one may do it at once.
                    let role = self.roles.get(&worker).cloned().expect("a spec");
                    self.opens(member, &role);
                    let answer = Deed::Answer(worker, change.generation());
                    self.due.push((member, incarnation, answer));
                }
            }
            ChangeAction::Adopt => {}
            ChangeAction::Reshape(reshape) => self.step(FleetEvent::Reshape(reshape)),
        }
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("stuck: {:?} {:?} {:#?}", self.change, self.due, self.fleet);
    }

    fn change(&mut self, old: &Edition, new: &Edition) -> Ended {
        let plan = plan(old, new, &BTreeSet::new()).expect("possible");
        self.change = Some(Change::new(7, plan, old, new));
        self.ended = None;
        self.carry_on();
        self.until(|sim| sim.ended.is_some());
        self.ended.take().expect("it has ended")
    }

    fn stop(&mut self) {
        if let Some(change) = self.change.take() {
            assert!(!change.abort().faults.is_empty());
        }
        self.step(FleetEvent::Stop);
        self.until(|sim| sim.fleet.is_over());
    }

    /// The workers that serve, with what they were told.
    fn serving(&self) -> BTreeMap<WorkerId, Role> {
        let serving = self
            .fleet
            .members()
            .iter()
            .filter(|member| member.duty() == Duty::Serving && member.life.end().is_none());
        let roles = serving.map(|member| {
            let role = self.roles.get(&member.worker).expect("a spec");
            (member.worker.clone(), role.clone())
        });
        roles.collect()
    }
}

fn services(role: &Role) -> impl Iterator<Item = FrameServiceSpec> {
    match role {
        Role::Ingest(spec) => vec![spec.frames.clone()],
        Role::Render(spec) => {
            let crops = spec.crops.iter().map(|crops| crops.frames.clone());
            [spec.frames.clone()].into_iter().chain(crops).collect()
        }
        Role::Infer(spec) => spec
            .streams
            .iter()
            .map(|stream| stream.frames.clone())
            .collect(),
        Role::Gateway(_) | Role::Study(_) => Vec::new(),
    }
    .into_iter()
}

fn planned(edition: &Edition) -> BTreeMap<WorkerId, Role> {
    let workers = edition.plan.workers.iter();
    workers
        .map(|planned| (planned.worker.clone(), planned.role.clone()))
        .collect()
}

fn pair(old: &str, new: &str) -> (Edition, Edition) {
    let directory = directory();
    let old = edition(directory.path(), old);
    let mut new = edition(directory.path(), new);
    number_rules(&mut new.config, &old.config, 7);
    new.plan = Plan::new(&new.config, std::path::Path::new("/root/books"), 2);
    (old, new)
}

#[test]
fn a_new_rule_is_one_message_and_touches_nothing_else() {
    let (old, new) = pair(BASE, &BASE.replacen("first.yaml", "second.yaml", 1));
    let sim = Sim::new(&old, vec![7; 16]);
    let plan = plan(&old, &new, &BTreeSet::new()).expect("possible");
    let mut change = Change::new(3, plan, &old, &new);
    let actions = change.step(&sim.fleet, sim.now, &|_| String::new());
    let told: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            ChangeAction::Reconfigure { worker } => Some(worker.to_string()),
            ChangeAction::Reshape(_) => panic!("{action:?}"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["render-yard"]);
    let render = WorkerId::Render("yard".parse().expect("a name"));
    change.told(&render, Some(0), sim.now);
    assert!(
        change
            .step(&sim.fleet, sim.now, &|_| String::new())
            .is_empty()
    );
    change.answered(
        &render,
        3,
        Ok(vec!["rule seen: its condition changed".to_owned()]),
    );
    let actions = change.step(&sim.fleet, sim.now, &|_| String::new());
    let nobody = Reshape {
        topology: Some(old.plan.topology.clone()),
        settle: true,
        ..Reshape::default()
    };
    assert_eq!(actions, [ChangeAction::Reshape(nobody)]);
    assert!(
        change
            .step(&sim.fleet, sim.now, &|_| String::new())
            .is_empty()
    );
    let ended = change.ended().expect("done");
    assert!(ended.in_force && ended.faults.is_empty());
    assert_eq!(
        ended.notes,
        ["render-yard: rule seen: its condition changed"]
    );
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_everything_as_it_was() {
    let text = BASE.replacen("people.onnx", "better.onnx", 1).replacen(
        "size: 320x240",
        "size: 640x480",
        1,
    );
    let (old, new) = pair(BASE, &text);
    let mut sim = Sim::new(&old, vec![99; 16]);
    let before = sim.serving();
    // The next process that is started fails.
    sim.failures = 255;
    let ended = sim.change(&old, &new);
    assert!(!ended.in_force);
    assert!(
        ended.faults[0].contains("infer-people cannot take over"),
        "{ended:?}"
    );
    sim.failures = 0;
    assert_eq!(sim.serving(), before);
    let ended = sim.change(&old, &new);
    assert!(ended.in_force && ended.faults.is_empty(), "{ended:?}");
    assert_eq!(sim.serving(), planned(&new));
    sim.stop();
}

#[test]
fn a_worker_that_says_nothing_is_not_waited_for_for_ever() {
    let (old, new) = pair(BASE, &BASE.replacen("first.yaml", "second.yaml", 1));
    let sim = Sim::new(&old, vec![7; 16]);
    let plan = plan(&old, &new, &BTreeSet::new()).expect("possible");
    let mut change = Change::new(3, plan, &old, &new);
    change.step(&sim.fleet, sim.now, &|_| String::new());
    let render = WorkerId::Render("yard".parse().expect("a name"));
    change.told(&render, Some(0), sim.now);
    let later = sim.now + ANSWER_TIMEOUT;
    while !change
        .step(&sim.fleet, later, &|_| String::new())
        .is_empty()
    {}
    let ended = change.ended().expect("done");
    assert!(ended.in_force);
    assert_eq!(ended.faults, ["render-yard did not say whether it goes on"]);
    assert_eq!(ended.behind, BTreeSet::from([render]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_change_of_a_healthy_run_is_in_force_at_the_end(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 64), 2..4),
        random in prop::collection::vec(any::<u8>(), 64),
    ) {
        let directory = directory();
        let mut old = edition(directory.path(), &drawn(&texts[0]));
        let mut sim = Sim::new(&old, random);
        for text in &texts[1..] {
            let mut new = edition(directory.path(), &drawn(text));
            number_rules(&mut new.config, &old.config, 7);
            new.plan = Plan::new(&new.config, std::path::Path::new("/root/books"), 2);
            let ended = sim.change(&old, &new);
            prop_assert!(ended.in_force, "{:?}", ended);
            prop_assert_eq!(ended.faults, [""; 0]);
            prop_assert_eq!(sim.serving(), planned(&new));
            let leaving = sim.fleet.members().iter().filter(|member| member.is_leaving());
            prop_assert!(leaving.clone().all(|member| member.life.end().is_some()));
            old = new;
        }
        sim.stop();
    }

    #[test]
    fn whatever_fails_a_change_ends_and_so_does_the_run(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 64), 2..4),
        random in prop::collection::vec(any::<u8>(), 64),
        failures in 1_u8..120,
        stop_after in prop::option::of(0_usize..200),
    ) {
        let directory = directory();
        let mut old = edition(directory.path(), &drawn(&texts[0]));
        let mut sim = Sim::new(&old, random);
        sim.failures = failures;
        sim.tolerant = true;
        for text in &texts[1..] {
            let mut new = edition(directory.path(), &drawn(text));
            number_rules(&mut new.config, &old.config, 7);
            new.plan = Plan::new(&new.config, std::path::Path::new("/root/books"), 2);
            if let Some(turns) = stop_after {
                let plan = plan(&old, &new, &BTreeSet::new()).expect("possible");
                sim.change = Some(Change::new(7, plan, &old, &new));
                sim.carry_on();
                for _ in 0..turns {
                    sim.turn();
                }
                break;
            }
            if sim.change(&old, &new).in_force {
                old = new;
            }
        }
        sim.stop();
    }
}
