//! All workers of a run: who is started when, told what, and when the run is over.
//!
//! Everything is started at once, but frames flow only when everybody who takes
//! them is ready. A stream ends at its source: when an ingest worker is over,
//! whoever has no other source is told to drain, and so on down to the gateway.
//! Like [`super::life`] this is pure.

use std::time::Duration;

use contract::name::WorkerId;

use super::life::{End, Life, LifeAction, LifeEvent, Phase};

/// Time that a run which was told to stop has for draining.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// One worker of a run.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who it is.
    pub worker: WorkerId,
    /// Its life.
    pub life: Life,
    /// Members it gets its input from: when all are over, it drains.
    upstream: Vec<usize>,
    /// For ingest: members that must be ready before it may publish.
    consumers: Vec<usize>,
    /// The process that was told to publish.
    started_incarnation: Option<u32>,
    was_ready: bool,
    drained: bool,
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
    /// Tell an ingest worker to publish.
    Start {
        /// Its index.
        member: usize,
    },
}

/// All workers of a run.
#[derive(Debug, Clone)]
pub struct Fleet {
    members: Vec<Member>,
    /// Every consumer was ready once: frames flow.
    begun: bool,
    stops: u32,
    stop_deadline: Option<Duration>,
    failed: Option<usize>,
}

impl Fleet {
    /// The workers of a run. `models_of` says which infer workers look at a stream.
    #[must_use]
    pub fn new(workers: &[WorkerId], models_of: impl Fn(&WorkerId) -> Vec<WorkerId>) -> Self {
        let index_of = |worker: &WorkerId| workers.iter().position(|known| known == worker);
        let all = |kind: &'static str| {
            workers
                .iter()
                .enumerate()
                .filter(move |(_, worker)| worker.kind() == kind)
        };
        let member = |worker: &WorkerId| {
            let (upstream, consumers) = match worker {
                WorkerId::Ingest(stream) => {
                    let models = models_of(worker);
                    let render = WorkerId::Render(stream.clone());
                    let consumers = models.iter().chain([&render]).filter_map(index_of);
                    (Vec::new(), consumers.collect())
                }
                WorkerId::Infer(_) => {
                    let upstream = all("ingest")
                        .filter(|(_, ingest)| models_of(ingest).contains(worker))
                        .map(|(index, _)| index);
                    (upstream.collect(), Vec::new())
                }
                WorkerId::Render(stream) => {
                    let ingest = index_of(&WorkerId::Ingest(stream.clone()));
                    (ingest.into_iter().collect(), Vec::new())
                }
                WorkerId::Gateway => (all("render").map(|(index, _)| index).collect(), Vec::new()),
            };
            Member {
                worker: worker.clone(),
                life: Life::default(),
                upstream,
                consumers,
                started_incarnation: None,
                was_ready: false,
                drained: false,
            }
        };
        Self {
            members: workers.iter().map(member).collect(),
            begun: false,
            stops: 0,
            stop_deadline: None,
            failed: None,
        }
    }

    /// The workers, by index.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of a worker.
    #[must_use]
    pub fn index_of(&self, worker: &WorkerId) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.worker == *worker)
    }

    /// Every worker has ended for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.life.end().is_some())
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
                    let event = LifeEvent::Tick { progress };
                    self.tell(member, event, now, random(), &mut actions);
                }
                if self.stop_deadline.is_some_and(|deadline| now >= deadline) {
                    self.stop_deadline = None;
                    self.tell_all(LifeEvent::Terminate, now, &mut actions);
                }
            }
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

    fn stop(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        self.stops += 1;
        match self.stops {
            1 => {
                self.stop_deadline = Some(now + STOP_TIMEOUT);
                for index in 0..self.members.len() {
                    if self.members[index].upstream.is_empty() {
                        self.drain(index, now, actions);
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

    /// A spec that can never work ends a run that has not begun: nothing is lost yet, and
    /// a person is still looking at the terminal.
    fn fail_early(&mut self, now: Duration, actions: &mut Vec<FleetAction>) {
        if self.failed.is_some() || self.members.iter().all(|member| member.was_ready) {
            return;
        }
        let bad = |member: &Member| member.life.end() == Some(End::BadConfig);
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
        let is_over = |index: &usize| self.members[*index].life.end().is_some();
        let render_is_over = |index: &&usize| {
            matches!(self.members[**index].worker, WorkerId::Render(_)) && is_over(index)
        };
        if member.upstream.is_empty() {
            return member.consumers.iter().any(|index| render_is_over(&index));
        }
        member.upstream.iter().all(is_over)
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
                .filter(|member| !member.upstream.is_empty());
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
            if member.upstream.is_empty() && takes_orders && !told && consumers.all(not_waited_for)
            {
                self.members[index].started_incarnation = Some(incarnation);
                actions.push(FleetAction::Start { member: index });
            }
        }
    }
}

#[cfg(test)]
mod tests;
