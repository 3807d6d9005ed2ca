//! All workers of a run: who is started when, told what, and when the run is over.
//!
//! Everything is started at once, but frames flow only when everybody who takes
//! them is ready. A stream ends at its source: when an ingest worker is over,
//! whoever has no other source is told to drain, and so on down to the gateway.
//!
//! A run can change its shape while it lives ([`Reshape`]): workers are added,
//! leave, come back with another spec, or are succeeded by one that was warmed
//! on standby. Like [`super::life`] this is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::name::{ModelName, StreamName, WorkerId};

use super::life::{End, Life, LifeAction, LifeEvent, Phase};

/// Time that a run which was told to stop has for draining.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The streams of a run, and who works on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// What each stream uses.
    pub streams: BTreeMap<StreamName, Uses>,
}

/// The models that one stream uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// They look at its frames: none is published before they are ready.
    pub frames: Vec<ModelName>,
    /// Its rules run them on what was found: they live as long as its render worker.
    pub crops: Vec<ModelName>,
    /// Of a mosaic: the streams that are in it. It ends when all of them have.
    pub tiles: Vec<StreamName>,
}

/// How a worker stands to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// It works.
    Serving,
    /// It is warm, or warming, to take over from another of its name; it touches no stream.
    Standby,
    /// It drains though the run goes on.
    Leaving {
        /// Until the next [`Reshape`] nobody ends because this one has: it may come back.
        held: bool,
    },
}

/// One worker of a run.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who it is. Only one on standby has the same name as another.
    pub worker: WorkerId,
    /// Its life.
    pub life: Life,
    duty: Duty,
    /// Members it gets its input from: when all are over, it drains. Of ingest workers only a
    /// mosaic's has some.
    upstream: Vec<usize>,
    /// For ingest: members that must be ready before it may publish.
    consumers: Vec<usize>,
    /// The process that was told to publish.
    started_incarnation: Option<u32>,
    was_ready: bool,
    drained: bool,
    /// It was there when the run began.
    is_first: bool,
}

impl Member {
    fn new(worker: WorkerId, duty: Duty, life: Life, is_first: bool) -> Self {
        Self {
            worker,
            life,
            duty,
            upstream: Vec::new(),
            consumers: Vec::new(),
            started_incarnation: None,
            was_ready: false,
            drained: false,
            is_first,
        }
    }

    /// How it stands to the run.
    #[must_use]
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// It was told to leave while the run goes on: how it ends says nothing of the run.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self.duty, Duty::Leaving { .. })
    }

    fn is_ingest(&self) -> bool {
        matches!(self.worker, WorkerId::Ingest(_))
    }
}

/// A change of who works in the run, made at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reshape {
    /// Who takes from whom from now on; `None`: as before.
    pub topology: Option<Topology>,
    /// These drain. A render worker does when its ingest worker is over.
    pub retire: Vec<WorkerId>,
    /// Those that leave, now or earlier, will not come back.
    pub settle: bool,
    /// These are started.
    pub add: Vec<WorkerId>,
    /// These are started to take over later.
    pub stand_by: Vec<WorkerId>,
    /// These take over; whom they succeed drains.
    pub promote: Vec<WorkerId>,
    /// These do not take over: they are ended.
    pub dismiss: Vec<WorkerId>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetEvent {
    /// The run begins.
    Begin,
    /// Something happened to one worker.
    Worker {
        /// Its index.
        member: usize,
        /// What.
        event: LifeEvent,
    },
    /// Time has passed.
    Tick {
        /// The progress counter of each worker, by index.
        progress: Vec<u64>,
    },
    /// Workers are added, leave, take over. Ignored once the run is to stop.
    Reshape(Reshape),
    /// The run shall end; again: faster.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetAction {
    /// Something about one worker.
    Worker {
        /// Its index.
        member: usize,
        /// What.
        action: LifeAction,
    },
    /// Tell an ingest worker to publish, or one on standby to take over.
    Start {
        /// Its index.
        member: usize,
    },
}

/// All workers of a run.
#[derive(Debug, Clone)]
pub struct Fleet {
    members: Vec<Member>,
    topology: Topology,
    /// Every consumer was ready once: frames flow.
    begun: bool,
    stops: u32,
    stop_deadline: Option<Duration>,
    failed: Option<usize>,
}

impl Fleet {
    /// The workers of a run.
    #[must_use]
    pub fn new(workers: &[WorkerId], topology: Topology) -> Self {
        let member =
            |worker: &WorkerId| Member::new(worker.clone(), Duty::Serving, Life::default(), true);
        let mut fleet = Self {
            members: workers.iter().map(member).collect(),
            topology,
            begun: false,
            stops: 0,
            stop_deadline: None,
            failed: None,
        };
        fleet.link();
        fleet
    }

    /// The workers, by index. Indices stay; one that is over may be taken by a later worker
    /// of the same name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of a worker that serves, or else of one that is leaving.
    #[must_use]
    pub fn index_of(&self, worker: &WorkerId) -> Option<usize> {
        let find = |serving: bool| {
            self.members.iter().position(|member| {
                let wanted = match member.duty {
                    Duty::Serving => serving,
                    Duty::Leaving { .. } => !serving,
                    Duty::Standby => false,
                };
                wanted && member.worker == *worker
            })
        };
        find(true).or_else(|| find(false))
    }

    /// The index of a worker on standby.
    #[must_use]
    pub fn standby_of(&self, worker: &WorkerId) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.duty == Duty::Standby && member.worker == *worker)
    }

    /// Every worker has ended for good, and none is to come back.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.members.iter().all(|member| {
            let held = member.duty == Duty::Leaving { held: true };
            member.life.end().is_some() && (!held || self.is_stopping())
        })
    }

    /// The worker whose spec can never work, if that ended the run before it had begun.
    #[must_use]
    pub fn failed(&self) -> Option<usize> {
        self.failed
    }

    /// The run was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stops > 0 || self.failed.is_some()
    }

    /// Frames may flow: every consumer was ready once.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes what happened at `now` and says what is to be done, in this order.
    /// `random` gives numbers from 0 to 1.
    pub fn step(
        &mut self,
        event: FleetEvent,
        now: Duration,
        mut random: impl FnMut() -> f64,
    ) -> Vec<FleetAction> {
        let mut actions = Vec::new();
        match event {
            FleetEvent::Begin => self.tell_all(LifeEvent::Begin, now, &mut actions),
            FleetEvent::Worker { member, event } => {
                self.tell(member, event, now, random(), &mut actions);
            }
            FleetEvent::Tick { progress } => {
                for (member, progress) in progress.into_iter().enumerate() {
                    let progress = self.progress_of(member, progress, now);
                    let event = LifeEvent::Tick { progress };
                    self.tell(member, event, now, random(), &mut actions);
                }
                if self.stop_deadline.is_some_and(|deadline| now >= deadline) {
                    self.stop_deadline = None;
                    self.tell_all(LifeEvent::Terminate, now, &mut actions);
                }
            }
            FleetEvent::Reshape(reshape) if !self.is_stopping() => {
                self.reshape(reshape, now, &mut actions);
            }
            FleetEvent::Reshape(_) => {}
            FleetEvent::Stop => self.stop(now, &mut actions),
        }
        self.fail_early(now, &mut actions);
        self.drain_downstream(now, &mut actions);
        self.start_ingest(&mut actions);
        actions
    }

    fn tell(
        &mut self,
        index: usize,
        event: LifeEvent,
        now: Duration,
        random: f64,
        actions: &mut Vec<FleetAction>,
    ) {
        let Some(member) = self.members.get_mut(index) else {
            return;
        };
        // Whom it should succeed still serves: a second try is for whoever asked for it.
        if member.duty == Duty::Standby {
            member.life.restart(false);
        }
        let step = member.life.step(event, now, random);
        member.was_ready |= *member.life.phase() == Phase::Ready;
        let of_worker = |action| FleetAction::Worker {
            member: index,
            action,
        };
        actions.extend(step.into_iter().map(of_worker));
    }

    fn tell_all(&mut self, event: LifeEvent, now: Duration, actions: &mut Vec<FleetAction>) {
        for index in 0..self.members.len() {
            self.tell(index, event, now, 0.5, actions);
        }
    }

    /// One on standby touches no stream, so its books stand still.
    fn progress_of(&self, member: usize, progress: u64, now: Duration) -> u64 {
        match self.members.get(member).map(Member::duty) {
            Some(Duty::Standby) => u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            _ => progress,
        }
    }

    fn stop(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        self.stops += 1;
        match self.stops {
            1 => {
                self.stop_deadline = Some(now + STOP_TIMEOUT);
                for index in 0..self.members.len() {
                    let member = &self.members[index];
                    if member.is_ingest() && !member.drained {
                        self.drain(index, now, actions);
                    }
                    if self.members[index].duty == Duty::Standby {
                        self.tell(index, LifeEvent::Terminate, now, 0.5, actions);
                    }
                }
            }
            2 => self.tell_all(LifeEvent::Terminate, now, actions),
            _ => self.tell_all(LifeEvent::Kill, now, actions),
        }
    }

    fn drain(&mut self, index: usize, now: Duration, actions: &mut Vec<FleetAction>) {
        self.members[index].drained = true;
        self.tell(index, LifeEvent::Drain, now, 0.5, actions);
    }

    fn reshape(&mut self, reshape: Reshape, now: Duration, actions: &mut Vec<FleetAction>) {
        let held = !reshape.settle;
        for worker in &reshape.retire {
            if let Some(index) = self.index_of(worker) {
                self.retire(index, held, now, actions);
            }
        }
        if reshape.settle {
            for member in self.members.iter_mut().filter(|member| member.is_leaving()) {
                member.duty = Duty::Leaving { held: false };
            }
        }
        for worker in &reshape.dismiss {
            if let Some(index) = self.standby_of(worker) {
                self.members[index].duty = Duty::Leaving { held: false };
                self.tell(index, LifeEvent::Terminate, now, 0.5, actions);
            }
        }
        let mut added = Vec::new();
        for worker in &reshape.promote {
            let Some(index) = self.standby_of(worker) else {
                continue;
            };
            if let Some(predecessor) = self.index_of(worker) {
                self.retire(predecessor, false, now, actions);
            }
            let next = self.next_incarnation(worker);
            let member = &mut self.members[index];
            member.duty = Duty::Serving;
            member.life.skip_to(next);
            member.life.restart(true);
            actions.push(FleetAction::Start { member: index });
        }
        let serving = reshape.add.iter().map(|worker| (worker, Duty::Serving));
        let standing_by = reshape.stand_by.iter();
        let standing_by = standing_by.map(|worker| (worker, Duty::Standby));
        for (worker, duty) in serving.chain(standing_by) {
            added.extend(self.add(worker, duty));
        }
        if let Some(topology) = reshape.topology {
            self.topology = topology;
        }
        self.link();
        for index in added {
            self.tell(index, LifeEvent::Begin, now, 0.5, actions);
        }
    }

    fn retire(&mut self, index: usize, held: bool, now: Duration, actions: &mut Vec<FleetAction>) {
        self.members[index].duty = Duty::Leaving { held };
        let awaits_ingest = matches!(self.members[index].worker, WorkerId::Render(_));
        if !awaits_ingest && !self.members[index].drained {
            self.drain(index, now, actions);
        }
    }

    /// A place for another worker of this name; `None` when there is one with this duty.
    fn add(&mut self, worker: &WorkerId, duty: Duty) -> Option<usize> {
        let same = |member: &&Member| member.worker == *worker;
        if self
            .members
            .iter()
            .filter(same)
            .any(|member| member.duty == duty)
        {
            return None;
        }
        let incarnation = self.next_incarnation(worker);
        let known = self.members.iter().filter(same);
        let restarts = known.map(|member| member.life.restarts()).max();
        for member in &mut self.members {
            if member.worker == *worker {
                member.life.skip_to(incarnation.saturating_add(1));
            }
        }
        let life = Life::beginning_at(incarnation, restarts.unwrap_or(0));
        let member = Member::new(worker.clone(), duty, life, false);
        let free = self.members.iter().position(|known| {
            known.worker == *worker && known.is_leaving() && known.life.end().is_some()
        });
        match free {
            Some(index) => {
                self.members[index] = member;
                Some(index)
            }
            None => {
                self.members.push(member);
                Some(self.members.len() - 1)
            }
        }
    }

    /// A number that no process of this name has or had.
    fn next_incarnation(&self, worker: &WorkerId) -> u32 {
        let same = self
            .members
            .iter()
            .filter(|member| member.worker == *worker);
        same.map(|member| member.life.next_incarnation())
            .max()
            .unwrap_or(0)
    }

    /// Finds out anew who takes from whom.
    fn link(&mut self) {
        let ingest = |stream: &StreamName| self.index_of(&WorkerId::Ingest(stream.clone()));
        let render = |stream: &StreamName| self.index_of(&WorkerId::Render(stream.clone()));
        let all = |wanted: fn(&Member) -> bool| -> Vec<usize> {
            let members = self.members.iter().enumerate();
            let wanted = members.filter(|(_, member)| {
                wanted(member) && member.duty != Duty::Leaving { held: false }
            });
            wanted.map(|(index, _)| index).collect()
        };
        let links = self.members.iter().map(|member| match &member.worker {
            // It may be needed by whatever stream is left.
            _ if member.duty == Duty::Standby => (all(Member::is_ingest), Vec::new()),
            WorkerId::Ingest(stream) => {
                let uses = || self.topology.streams.get(stream).into_iter();
                let models = uses().flat_map(|uses| &uses.frames);
                let models = models.cloned().map(WorkerId::Infer);
                let consumers = models.chain([WorkerId::Render(stream.clone())]);
                let consumers = consumers.filter_map(|worker| self.index_of(&worker));
                // A mosaic takes what the render workers of its members give.
                let members = uses().flat_map(|uses| &uses.tiles);
                (members.filter_map(render).collect(), consumers.collect())
            }
            WorkerId::Infer(model) => {
                let streams = self.topology.streams.iter();
                // Frames come from ingest workers, crops from render workers.
                let upstream = streams.flat_map(|(stream, uses)| {
                    let frames = uses.frames.contains(model).then(|| ingest(stream));
                    let crops = uses.crops.contains(model).then(|| render(stream));
                    [frames.flatten(), crops.flatten()]
                });
                let upstream: Vec<usize> = upstream.flatten().collect();
                // One that has just taken over: its streams are about to come.
                if upstream.is_empty() {
                    (all(Member::is_ingest), Vec::new())
                } else {
                    (upstream, Vec::new())
                }
            }
            WorkerId::Render(stream) => (ingest(stream).into_iter().collect(), Vec::new()),
            WorkerId::Gateway => {
                let is_render = |member: &Member| matches!(member.worker, WorkerId::Render(_));
                (all(is_render), Vec::new())
            }
        });
        let links: Vec<_> = links.collect();
        for (member, (upstream, consumers)) in self.members.iter_mut().zip(links) {
            member.upstream = upstream;
            member.consumers = consumers;
        }
    }

    /// A spec that can never work ends a run that has not begun: nothing is lost yet, and
    /// a person is still looking at the terminal.
    fn fail_early(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        let first = || self.members.iter().filter(|member| member.is_first);
        if self.failed.is_some() || first().all(|member| member.was_ready) {
            return;
        }
        let bad = |member: &Member| member.is_first && member.life.end() == Some(End::BadConfig);
        if let Some(index) = self.members.iter().position(bad) {
            self.failed = Some(index);
            self.tell_all(LifeEvent::Terminate, now, actions);
        }
    }

    /// Whoever has no source any more drains; a source that nobody renders ends.
    fn drain_downstream(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        // Each turn drains at least one member, so there are at most as many as members.
        while let Some(index) = (0..self.members.len()).find(|index| self.must_drain(*index)) {
            self.drain(index, now, actions);
        }
    }

    fn must_drain(&self, index: usize) -> bool {
        let member = &self.members[index];
        if member.drained {
            return false;
        }
        let ended = |index: usize| self.members[index].life.end().is_some();
        let is_over = |index: usize| {
            let held = self.members[index].duty == Duty::Leaving { held: true };
            ended(index) && (!held || self.is_stopping())
        };
        if member.is_ingest() {
            let mut consumers = member.consumers.iter();
            let unrendered = consumers.any(|consumer| {
                matches!(self.members[*consumer].worker, WorkerId::Render(_)) && is_over(*consumer)
            });
            let members = &member.upstream;
            let all_ended = !members.is_empty() && members.iter().all(|member| is_over(*member));
            return unrendered || all_ended;
        }
        let mut upstream = member.upstream.iter();
        upstream.all(|source| is_over(*source) || member.is_leaving() && ended(*source))
    }

    fn start_ingest(&mut self, actions: &mut Vec<FleetAction>) {
        // A consumer that may never come does not hold up the others.
        let not_waited_for = |member: &Member| {
            let waiting = matches!(
                member.life.phase(),
                Phase::Ready | Phase::Draining | Phase::Over(_)
            );
            waiting || member.life.is_quarantined()
        };
        if !self.begun {
            let mut consumers = self
                .members
                .iter()
                .filter(|member| member.is_first && !member.is_ingest());
            self.begun = consumers.all(not_waited_for);
        }
        if !self.begun || self.is_stopping() {
            return;
        }
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let incarnation = member.life.incarnation();
            // Not earlier: a worker that is still opening its source listens for `Drain` only.
            let takes_orders = *member.life.phase() == Phase::Ready;
            let told = member.started_incarnation == Some(incarnation);
            let mut consumers = member.consumers.iter().map(|index| &self.members[*index]);
            if member.is_ingest() && takes_orders && !told && consumers.all(not_waited_for) {
                self.members[index].started_incarnation = Some(incarnation);
                actions.push(FleetAction::Start { member: index });
            }
        }
    }
}

#[cfg(test)]
mod tests;
