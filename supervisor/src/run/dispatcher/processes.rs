//! Processes: started, told, signalled, cleaned up after.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;

use contract::clock;
use contract::control::ToWorker;
use contract::name::WorkerId;
use sandbox::{Child, Launch, Limits};

use super::{Dispatcher, RunEvent, Seat};
use crate::plan::PlannedWorker;
use crate::run::screen::Severity;
use crate::store::{Committed, Row};
use crate::supervision::life::{End, LifeAction, LifeEvent};
use crate::supervision::process::{Process, ProcessEvent, Report};
use crate::supervision::spawner::worker_environment;

impl Dispatcher {
    pub(super) fn act(&mut self, member: usize, action: LifeAction) {
        match action {
            LifeAction::Spawn { incarnation } => self.spawn(member, incarnation),
            LifeAction::Drain => self.send(member, &ToWorker::Drain),
            LifeAction::Signal(signal) => match &self.seats[member].process {
                Some(process) if process.signal(signal) => {}
                Some(process) => {
                    let pid = process.pid();
                    self.notice(Severity::Warning, format!("pid {pid} takes no {signal}"));
                }
                None => self.seats[member].pending_signal = Some(signal),
            },
            LifeAction::Clean => self.clean(member),
            LifeAction::Gone(gone) => self.gone(member, &gone),
        }
    }

    fn spawn(&mut self, member: usize, incarnation: u32) {
        let worker = self.worker(member).clone();
        self.seats[member] = Seat::default();
        let launch = self.launch(&worker);
        let events = self.events.clone();
        let answer = launch.map(|(launch, channel)| (self.spawner.spawn(launch), channel));
        tokio::spawn(async move {
            let result = match answer {
                Ok((answer, channel)) => match answer.await {
                    Ok(result) => result.map(|child| (child, channel)),
                    Err(_) => Err(io::Error::other("the spawner's thread is gone")),
                },
                Err(error) => Err(error),
            };
            let spawned = RunEvent::Spawned {
                member,
                incarnation,
                result,
            };
            // Without a receiver the run is over; the spawner's end kills the child.
            let _ = events.send(spawned).await;
        });
    }

    fn launch(&self, worker: &WorkerId) -> io::Result<(Launch, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let log = self.setting.directories.logs.join(format!("{worker}.log"));
        let log: File = OpenOptions::new().create(true).append(true).open(log)?;
        let launch = Launch {
            program: self.setting.programs.join(worker.program()),
            environment: worker_environment(),
            control: theirs.into(),
            log,
            limits: Limits::default(),
        };
        Ok((launch, ours))
    }

    pub(super) fn spawned(
        &mut self,
        member: usize,
        incarnation: u32,
        result: io::Result<(Child, UnixStream)>,
    ) {
        let reports = self.report_sender.clone();
        let process = result.and_then(|(child, channel)| {
            Process::watch(child, channel, member, incarnation, reports)
        });
        let worker = self.worker(member).clone();
        self.setting.store.offer(Row::WorkerBegun {
            worker: worker.clone(),
            incarnation,
            pid: process.as_ref().ok().map(Process::pid),
            wall_ms: clock::wall_ms(),
        });
        let role = self.role(member).cloned();
        let role = role.ok_or_else(|| io::Error::other("there is no spec for it"));
        match process.and_then(|process| Ok((process, role?))) {
            Ok((process, role)) => {
                let spec = PlannedWorker { worker, role }.spec(
                    &self.setting.run,
                    incarnation,
                    &self.setting.bus_spec,
                    &self.setting.directories.run,
                );
                self.seats[member].process = Some(process);
                self.send(member, &ToWorker::Configure(Box::new(spec)));
                self.remind_of_demand(member);
                if let Some(signal) = self.seats[member].pending_signal.take() {
                    self.act(member, LifeAction::Signal(signal));
                }
            }
            Err(error) => {
                self.seats[member].last_words = error.to_string();
                self.tell(member, LifeEvent::NotStarted);
            }
        }
    }

    pub(super) fn send(&mut self, member: usize, message: &ToWorker) {
        let sent = self.seats[member]
            .process
            .as_ref()
            .is_none_or(|process| process.send(message));
        if !sent {
            self.tell(member, LifeEvent::Deaf);
        }
    }

    pub(super) fn process_did(&mut self, report: Report) {
        let member = report.member;
        if self.fleet.members()[member].life.incarnation() != report.incarnation {
            return;
        }
        match report.what {
            ProcessEvent::Message(message) => self.said(member, *message),
            ProcessEvent::Deaf(why) => {
                self.seats[member].last_words = why;
                self.tell(member, LifeEvent::Deaf);
            }
            ProcessEvent::Exited(exit) => {
                self.seats[member].process = None;
                self.tell(member, LifeEvent::Exited(exit));
            }
        }
    }

    /// Removes what a dead worker left on the bus and closes its account. One that drained
    /// has closed it itself; if it has not, the ledger shall show it.
    fn clean(&mut self, member: usize) {
        let bus = self.setting.bus.clone();
        let closer = self.setting.books.closer(self.worker(member));
        let drained = self.seats[member].last_end == Some(End::Drained);
        let is_account = self.fleet.index_of(self.worker(member)) == Some(member);
        let events = self.events.clone();
        tokio::spawn(async move {
            let cleaning = tokio::task::spawn_blocking(move || {
                let nodes = bus.clean_dead_nodes();
                tracing::debug!("cleaned up {nodes} dead nodes");
                if drained {
                    return Ok(());
                }
                match closer.settle() {
                    // Its books are held by the one that serves.
                    Err(_) if !is_account => Ok(()),
                    settled => settled,
                }
            });
            let result = cleaning.await.unwrap_or_else(|error| {
                tracing::error!("cleaning up panicked: {error}");
                Ok(())
            });
            let _ = events.send(RunEvent::Cleaned { member, result }).await;
        });
    }

    pub(super) fn acknowledge(&mut self, committed: &Committed) {
        let render = WorkerId::Render(committed.stream.clone());
        if let Some(member) = self.fleet.index_of(&render) {
            self.send(member, &ToWorker::EventCommitted(committed.event.clone()));
        }
    }
}
