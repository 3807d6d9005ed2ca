//! Carrying out a plan, phase by phase. Pure: it looks at the fleet and says what is next.
//!
//! ```text
//! warm -> leave -> release -> join -> enter -> done
//! ```
//!
//! - *warm*: new models are loaded in processes on standby. If one fails, it all ends here and
//!   nothing has been touched.
//! - *leave*: streams that leave, or begin anew, drain: ingest first, then render.
//! - *release*: models let go of those streams, and of all when a successor takes over; a model
//!   that nobody uses any more drains, unless rules of streams that stay run it on crops.
//! - *join*: everybody gets the final spec; successors take over.
//! - *enter*: new streams and the gateway are started; who is not needed any more drains.
//!
//! A phase begins when all that the one before waits for has happened. Every wait ends: lives
//! of workers have their own time-outs, answers have `ANSWER_TIMEOUT`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::name::{ModelName, StreamName, WorkerId};
use contract::spec::Role;

use super::plan::{Edition, ReloadPlan, Step};
use crate::supervision::fleet::{Duty, Fleet, Member, Reshape, Topology};
use crate::supervision::life::{End, Phase as LifePhase};

/// A worker that is told its new spec has so long to answer: it does so between two frames.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeAction {
    /// From now on this is what a worker is started with.
    Enforce {
        /// Which.
        worker: WorkerId,
        /// What it is told.
        role: Box<Role>,
        /// Meant for the one on standby.
        standby: bool,
    },
    /// Tell a worker the spec in force; afterwards call [`Change::told`].
    Reconfigure {
        /// Which.
        worker: WorkerId,
    },
    /// The streams, models and outputs are those of the new text from here on.
    Adopt,
    /// Change the fleet.
    Reshape(Reshape),
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What the workers said, a line each.
    pub notes: Vec<String>,
    /// What went wrong, a line each.
    pub faults: Vec<String>,
    /// The new text is in force. If not, nothing has changed.
    pub in_force: bool,
    /// Workers that did not take what is in force.
    pub behind: BTreeSet<WorkerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Planned,
    Warm,
    Leave,
    Release,
    Join,
    Enter,
    Done,
}

/// Something that must happen before the next phase.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wait {
    /// One on standby is warm.
    Warm(WorkerId),
    /// A worker that leaves is over.
    Over(WorkerId),
    /// A worker that was started is ready.
    Ready(WorkerId),
    /// A worker has said that it goes on.
    Answer {
        worker: WorkerId,
        incarnation: u32,
        until: Duration,
    },
}

/// A plan being carried out.
#[derive(Debug, Clone)]
pub struct Change {
    generation: u64,
    old: BTreeMap<WorkerId, Role>,
    new: BTreeMap<WorkerId, Role>,
    topology: Topology,
    steps: Vec<Step>,
    phase: Phase,
    waits: Vec<Wait>,
    /// A model did not become warm: nothing is done.
    abandoned: bool,
    /// Models that were told their final spec when they let go of streams.
    released: BTreeSet<WorkerId>,
    notes: Vec<String>,
    faults: Vec<String>,
    behind: BTreeSet<WorkerId>,
}

impl Change {
    /// Begins to carry out `plan`, which leads from `old` to `new`.
    #[must_use]
    pub fn new(generation: u64, plan: ReloadPlan, old: &Edition, new: &Edition) -> Self {
        let roles = |edition: &Edition| {
            let workers = edition.plan.workers.iter();
            let roles = workers.map(|planned| (planned.worker.clone(), planned.role.clone()));
            roles.collect()
        };
        Self {
            generation,
            old: roles(old),
            new: roles(new),
            topology: new.plan.topology.clone(),
            steps: plan.steps,
            phase: Phase::Planned,
            waits: Vec::new(),
            abandoned: false,
            released: BTreeSet::new(),
            notes: Vec::new(),
            faults: Vec::new(),
            behind: BTreeSet::new(),
        }
    }

    /// The number of the text.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Looks at the fleet and says what to do, in this order; call it again after that, until
    /// it says nothing. `words` gives what a member said last.
    pub fn step(
        &mut self,
        fleet: &Fleet,
        now: Duration,
        words: &dyn Fn(usize) -> String,
    ) -> Vec<ChangeAction> {
        self.look(fleet, now, words);
        while self.waits.is_empty() && self.phase != Phase::Done {
            let actions = self.next_phase(fleet);
            if !actions.is_empty() {
                return actions;
            }
        }
        Vec::new()
    }

    /// A worker was told its new spec, or there is no process to tell: one that starts later
    /// starts with it.
    pub fn told(&mut self, worker: &WorkerId, incarnation: Option<u32>, now: Duration) {
        if let Some(incarnation) = incarnation {
            self.waits.push(Wait::Answer {
                worker: worker.clone(),
                incarnation,
                until: now + ANSWER_TIMEOUT,
            });
        }
    }

    /// A worker has answered.
    pub fn answered(
        &mut self,
        worker: &WorkerId,
        generation: u64,
        result: Result<Vec<String>, String>,
    ) {
        let waited = self.waits.len();
        self.waits
            .retain(|wait| !matches!(wait, Wait::Answer { worker: of, .. } if of == worker));
        if generation != self.generation || self.waits.len() == waited {
            return;
        }
        match result {
            Ok(notes) => {
                let notes = notes.into_iter().map(|note| format!("{worker}: {note}"));
                self.notes.extend(notes);
            }
            Err(reason) => {
                self.behind.insert(worker.clone());
                self.faults
                    .push(format!("{worker} goes on as before: {reason}"));
            }
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        (self.phase == Phase::Done).then(|| self.end())
    }

    /// It cannot be carried on: the run ends.
    #[must_use]
    pub fn abort(mut self) -> Ended {
        self.faults.push("the run was ended meanwhile".to_owned());
        self.end()
    }

    fn end(&self) -> Ended {
        Ended {
            notes: self.notes.clone(),
            faults: self.faults.clone(),
            in_force: self.phase >= Phase::Join && !self.abandoned,
            behind: self.behind.clone(),
        }
    }

    /// Takes out what needs not be waited for any more.
    fn look(&mut self, fleet: &Fleet, now: Duration, words: &dyn Fn(usize) -> String) {
        let mut faults = Vec::new();
        let mut behind = BTreeSet::new();
        self.waits.retain(|wait| match verdict(wait, fleet, now) {
            Verdict::Waits => true,
            Verdict::Happened => false,
            Verdict::Failed { what, member } => {
                let said = member.map(words).unwrap_or_default();
                let said = if said.is_empty() {
                    said
                } else {
                    format!(": {said}")
                };
                faults.push(format!("{} {what}{said}", wait.worker()));
                if let Wait::Answer { worker, .. } = wait
                    && member.is_none()
                {
                    behind.insert(worker.clone());
                }
                false
            }
        });
        self.faults.extend(faults);
        self.behind.extend(behind);
        if self.phase == Phase::Warm && !self.faults.is_empty() {
            self.abandoned = true;
            self.waits.clear();
        }
    }

    fn next_phase(&mut self, fleet: &Fleet) -> Vec<ChangeAction> {
        if self.abandoned {
            let dismiss = self.standing_by();
            self.phase = Phase::Done;
            return vec![ChangeAction::Reshape(Reshape {
                dismiss,
                ..Reshape::default()
            })];
        }
        let (phase, actions) = match self.phase {
            Phase::Planned => (Phase::Warm, self.warm()),
            Phase::Warm => (Phase::Leave, self.leave(fleet)),
            Phase::Leave => (Phase::Release, self.release()),
            Phase::Release => (Phase::Join, self.join()),
            Phase::Join => (Phase::Enter, self.enter()),
            Phase::Enter | Phase::Done => (Phase::Done, Vec::new()),
        };
        self.phase = phase;
        actions
    }

    fn warm(&mut self) -> Vec<ChangeAction> {
        let stand_by = self.standing_by();
        if stand_by.is_empty() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for worker in &stand_by {
            if let Some(role) = self.new.get(worker) {
                let mut role = role.clone();
                if let Role::Infer(spec) = &mut role {
                    spec.standby = true;
                }
                actions.push(enforce(worker, role, true));
            }
            self.waits.push(Wait::Warm(worker.clone()));
        }
        actions.push(ChangeAction::Reshape(Reshape {
            stand_by,
            ..Reshape::default()
        }));
        actions
    }

    fn leave(&mut self, fleet: &Fleet) -> Vec<ChangeAction> {
        let ingest = self.streams(|step| {
            matches!(
                step,
                Step::RemoveStream { .. } | Step::RebuildStream { .. } | Step::ReplaceIngest { .. }
            )
        });
        let render = self.leaving_streams();
        let ingest = ingest.into_iter().map(WorkerId::Ingest);
        let render = render.into_iter().map(WorkerId::Render);
        let retire: Vec<WorkerId> = ingest
            .chain(render)
            .filter(|worker| fleet.index_of(worker).is_some())
            .collect();
        if retire.is_empty() {
            return Vec::new();
        }
        self.waits.extend(retire.iter().cloned().map(Wait::Over));
        vec![ChangeAction::Reshape(Reshape {
            retire,
            ..Reshape::default()
        })]
    }

    /// Models must let go of frames before a service of another shape can be made, and before
    /// a successor can take its place among the consumers.
    fn release(&mut self) -> Vec<ChangeAction> {
        let leaving = self.leaving_streams();
        let mut actions = Vec::new();
        let retire: Vec<WorkerId> = self.removed(|asked| !asked);
        if !retire.is_empty() {
            // Its streams have ended, so there is nothing it waits for.
            self.waits.extend(retire.iter().cloned().map(Wait::Over));
            actions.push(ChangeAction::Reshape(Reshape {
                retire,
                ..Reshape::default()
            }));
        }
        for (worker, role) in &self.old {
            let Role::Infer(old) = role else { continue };
            let successor = self.new.get(worker);
            let succeeded = self.steps.iter().any(|step| {
                matches!((step, worker), (Step::Succeed { model, .. }, WorkerId::Infer(of)) if model == of)
            });
            let mut released = old.clone();
            released.streams.retain(|stream| {
                let stays = match successor {
                    Some(Role::Infer(new)) => new.streams.contains(stream),
                    _ => false,
                };
                !succeeded && (stays || !leaving.contains(&stream.frames.stream))
            });
            let goes_on = successor.is_some() || !released.streams.is_empty();
            if goes_on && released.streams.len() < old.streams.len() {
                let released = Role::Infer(released);
                if !succeeded && successor == Some(&released) {
                    self.released.insert(worker.clone());
                }
                actions.push(enforce(worker, released, false));
                actions.push(ChangeAction::Reconfigure {
                    worker: worker.clone(),
                });
            }
        }
        actions
    }

    fn join(&mut self) -> Vec<ChangeAction> {
        let mut actions = vec![ChangeAction::Adopt];
        let promote = self.standing_by();
        let mut told = BTreeSet::new();
        for step in &self.steps {
            if let Step::Reconfigure { worker, .. } = step
                && !self.released.contains(worker)
            {
                told.insert(worker.clone());
            }
        }
        for (worker, role) in &self.new {
            // What differs in the names of files only is not worth a message.
            if !promote.contains(worker) && self.old.contains_key(worker) {
                actions.push(enforce(worker, role.clone(), false));
            }
        }
        for worker in told {
            actions.push(ChangeAction::Reconfigure { worker });
        }
        for worker in &promote {
            if let Some(role) = self.new.get(worker) {
                actions.push(enforce(worker, role.clone(), true));
            }
        }
        if !promote.is_empty() {
            actions.push(ChangeAction::Reshape(Reshape {
                promote,
                ..Reshape::default()
            }));
        }
        actions
    }

    fn enter(&mut self) -> Vec<ChangeAction> {
        let mut reshape = Reshape {
            topology: Some(self.topology.clone()),
            settle: true,
            ..Reshape::default()
        };
        let mut succeeded = Vec::new();
        for step in &self.steps {
            match step {
                Step::AddStream { stream } | Step::RebuildStream { stream, .. } => {
                    // Who takes frames is started before who makes them.
                    reshape.add.insert(0, WorkerId::Render(stream.clone()));
                    reshape.add.push(WorkerId::Ingest(stream.clone()));
                }
                Step::ReplaceIngest { stream, .. } => {
                    reshape.add.push(WorkerId::Ingest(stream.clone()));
                }
                Step::StartGateway => reshape.add.insert(0, WorkerId::Gateway),
                Step::EndGateway => reshape.retire.push(WorkerId::Gateway),
                Step::Succeed { model, .. } => succeeded.push(WorkerId::Infer(model.clone())),
                Step::AddModel { .. }
                | Step::RemoveModel { .. }
                | Step::RemoveStream { .. }
                | Step::Reconfigure { .. }
                | Step::Retain
                | Step::KeepRecordings => {}
            }
        }
        let mut actions = Vec::new();
        for worker in &reshape.add {
            if let Some(role) = self.new.get(worker) {
                actions.push(enforce(worker, role.clone(), false));
            }
        }
        // Nobody cuts crops for these any more.
        reshape.retire.extend(self.removed(|asked| asked));
        let over = reshape.retire.iter().chain(&succeeded);
        self.waits.extend(over.cloned().map(Wait::Over));
        self.waits
            .extend(reshape.add.iter().cloned().map(Wait::Ready));
        actions.push(ChangeAction::Reshape(reshape));
        actions
    }

    /// Models that nobody uses any more, by whether streams that go on ask them about crops
    /// until they are told not to.
    fn removed(&self, wanted: impl Fn(bool) -> bool) -> Vec<WorkerId> {
        let leaving = self.leaving_streams();
        let is_asked = |worker: &WorkerId| {
            let role = self.old.get(worker);
            matches!(role, Some(Role::Infer(spec)) if spec.streams.iter().any(|stream| {
                !leaving.contains(&stream.frames.stream)
            }))
        };
        let removed = self.steps.iter().filter_map(|step| match step {
            Step::RemoveModel { model } => Some(WorkerId::Infer(model.clone())),
            _ => None,
        });
        removed.filter(|worker| wanted(is_asked(worker))).collect()
    }

    /// Models that are warmed in a new process.
    fn standing_by(&self) -> Vec<WorkerId> {
        let models = self.steps.iter().filter_map(|step| match step {
            Step::Succeed { model, .. } | Step::AddModel { model } => Some(model.clone()),
            _ => None,
        });
        models
            .map(|model: ModelName| WorkerId::Infer(model))
            .collect()
    }

    /// Streams whose frames end: they leave, or begin anew.
    fn leaving_streams(&self) -> BTreeSet<StreamName> {
        self.streams(|step| matches!(step, Step::RemoveStream { .. } | Step::RebuildStream { .. }))
    }

    fn streams(&self, wanted: impl Fn(&Step) -> bool) -> BTreeSet<StreamName> {
        let steps = self.steps.iter().filter(|step| wanted(step));
        let names = steps.filter_map(|step| match step {
            Step::AddStream { stream }
            | Step::RemoveStream { stream }
            | Step::ReplaceIngest { stream, .. }
            | Step::RebuildStream { stream, .. } => Some(stream.clone()),
            _ => None,
        });
        names.collect()
    }
}

impl Wait {
    fn worker(&self) -> &WorkerId {
        match self {
            Self::Warm(worker) | Self::Over(worker) | Self::Ready(worker) => worker,
            Self::Answer { worker, .. } => worker,
        }
    }
}

enum Verdict {
    Waits,
    Happened,
    Failed {
        what: &'static str,
        /// Who died.
        member: Option<usize>,
    },
}

fn verdict(wait: &Wait, fleet: &Fleet, now: Duration) -> Verdict {
    let found = |index: Option<usize>| index.map(|index| (index, &fleet.members()[index]));
    match wait {
        Wait::Warm(worker) => match found(fleet.standby_of(worker)) {
            Some((_, member)) if *member.life.phase() == LifePhase::Ready => Verdict::Happened,
            Some((_, member)) if member.life.phase().is_alive() => Verdict::Waits,
            Some((index, _)) => Verdict::Failed {
                what: "cannot take over",
                member: Some(index),
            },
            None => Verdict::Failed {
                what: "was not started",
                member: None,
            },
        },
        Wait::Over(worker) => {
            let leaves = |member: &&Member| member.worker == *worker && member.is_leaving();
            let mut leaving = fleet.members().iter().filter(leaves);
            if leaving.all(|member| member.life.end().is_some()) {
                Verdict::Happened
            } else {
                Verdict::Waits
            }
        }
        Wait::Ready(worker) => match found(fleet.index_of(worker)) {
            Some((_, member)) if member.duty() != Duty::Serving => Verdict::Happened,
            Some((index, member)) => match member.life.phase() {
                LifePhase::Starting
                | LifePhase::Warming
                | LifePhase::Idle
                | LifePhase::Cleaning => Verdict::Waits,
                LifePhase::Ready
                | LifePhase::Draining
                | LifePhase::Ending
                | LifePhase::Over(End::Drained | End::Stopped) => Verdict::Happened,
                LifePhase::Waiting { .. } | LifePhase::Over(_) => Verdict::Failed {
                    what: "died at its start",
                    member: Some(index),
                },
            },
            None => Verdict::Failed {
                what: "was not started",
                member: None,
            },
        },
        Wait::Answer {
            worker,
            incarnation,
            until,
        } => match found(fleet.index_of(worker)) {
            Some((_, member)) if member.life.end() == Some(End::Drained) => Verdict::Happened,
            Some((index, member))
                if matches!(
                    member.life.phase(),
                    LifePhase::Waiting { .. } | LifePhase::Over(_)
                ) || member.life.incarnation() != *incarnation =>
            {
                Verdict::Failed {
                    what: "died while it was told its new spec, which it is started with again",
                    member: Some(index),
                }
            }
            Some(_) if now < *until => Verdict::Waits,
            _ => Verdict::Failed {
                what: "did not say whether it goes on",
                member: None,
            },
        },
    }
}

fn enforce(worker: &WorkerId, role: Role, standby: bool) -> ChangeAction {
    ChangeAction::Enforce {
        worker: worker.clone(),
        role: Box::new(role),
        standby,
    }
}

#[cfg(test)]
mod tests;
