//! The supervisor's one loop: takes what happened, asks the fleet what to do, does it.
//!
//! Everything that can happen is a [`RunEvent`]. The loop never waits for a
//! worker, the disk or a terminal: processes are started on the spawner's thread,
//! dead nodes cleaned up on a blocking one, rows and pictures of the state go
//! into bounded queues.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::clock;
use contract::control::{FileRecord, ToWorker};
use contract::name::{RunId, StreamName, WorkerId};
use contract::spec::{BusSpec, Role};
use frame_bus::{Bus, BusError};
use sandbox::{Child, Launch, Limits, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::board::{Board, WorkerLine};
use super::meter::Reading;
use super::screen::{Screen, Severity};
use super::state::StreamState;
use super::{Directories, RunError};
use crate::books::{BookId, Books, Part};
use crate::config::RunConfig;
use crate::plan::Plan;
use crate::store::{Committed, MetricSample, Row, WriterHandle};
use crate::supervision::fleet::{Fleet, FleetAction, FleetEvent};
use crate::supervision::life::{End, LifeAction, LifeEvent, Phase};
use crate::supervision::process::{Process, ProcessEvent, Report};
use crate::supervision::spawner::Spawner;

mod messages;

/// Events that may wait; those who send more wait for the loop.
const EVENTS_MAX: usize = 1024;
/// How often progress is looked at and deadlines are checked.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between two samples of the books: a second.
const TICKS_PER_SAMPLE: u64 = 5;
/// Ticks between two storings of all counters.
const TICKS_PER_LEDGER: u64 = 25;

/// Why a run is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// A person or a service manager said so.
    Person,
    /// Its time is over.
    Duration,
}

/// Everything that can happen.
#[derive(Debug)]
pub(super) enum RunEvent {
    /// A process was started, or could not be.
    Spawned {
        member: usize,
        incarnation: u32,
        result: io::Result<(Child, std::os::unix::net::UnixStream)>,
    },
    /// A process did something.
    Process(Report),
    /// A dead worker's node was cleaned up and its book settled.
    Cleaned {
        member: usize,
        result: Result<(), BusError>,
    },
    /// An event is safely on the disk.
    Committed(Committed),
    /// The run shall end.
    Stop(StopReason),
    /// Time has passed.
    Tick,
}

/// The queue into the loop.
pub(super) fn channel() -> (mpsc::Sender<RunEvent>, mpsc::Receiver<RunEvent>) {
    mpsc::channel(EVENTS_MAX)
}

/// What the loop works with.
pub(super) struct Setting {
    pub(super) config: RunConfig,
    pub(super) plan: Plan,
    pub(super) run: RunId,
    pub(super) programs: PathBuf,
    pub(super) directories: Directories,
    pub(super) bus_spec: BusSpec,
    pub(super) bus: Bus,
    pub(super) books: Books,
    pub(super) store: WriterHandle,
    pub(super) screen: Screen,
    pub(super) duration: Option<Duration>,
}

/// What is left when the loop has ended.
pub(super) struct Outcome {
    pub(super) setting: Setting,
    pub(super) fleet: Fleet,
    pub(super) streams: Vec<StreamState>,
    pub(super) stopped_by: Option<StopReason>,
    /// What each worker said last about a failure, by index.
    pub(super) last_words: Vec<String>,
    /// The last recording of each stream.
    pub(super) recordings: Vec<FileRecord>,
    pub(super) elapsed: Duration,
}

pub(super) struct Dispatcher {
    setting: Setting,
    fleet: Fleet,
    streams: Vec<StreamState>,
    spawner: Spawner,
    /// The living processes, by index.
    processes: Vec<Option<Process>>,
    /// A signal for a process that is still being started.
    pending_signals: Vec<Option<Signal>>,
    last_words: Vec<String>,
    /// What each worker says it is doing.
    worker_texts: Vec<String>,
    last_ends: Vec<Option<End>>,
    recordings: Vec<FileRecord>,
    events: mpsc::Sender<RunEvent>,
    incoming: mpsc::Receiver<RunEvent>,
    report_sender: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    timer: Interval,
    ticks: u64,
    begin: Instant,
    /// When frames began to flow.
    flowing_since: Option<Duration>,
    stopped_by: Option<StopReason>,
    random: RandomState,
    store_trouble: Option<String>,
}

impl Dispatcher {
    /// Prepares the loop; must be called inside the runtime.
    pub(super) fn new(
        setting: Setting,
        events: mpsc::Sender<RunEvent>,
        incoming: mpsc::Receiver<RunEvent>,
    ) -> Result<Self, RunError> {
        let ids = setting.plan.worker_ids();
        let config = &setting.config;
        let models_of = |worker: &WorkerId| {
            let stream = worker.stream().and_then(|name| config.streams.get(name));
            let models = stream.map(|stream| stream.infer.clone());
            let models = models.unwrap_or_default().into_iter();
            models.map(WorkerId::Infer).collect()
        };
        let fleet = Fleet::new(&ids, models_of);
        let streams = config.streams.iter().map(|(name, stream)| {
            let render = WorkerId::Render(name.clone());
            let planned = setting.plan.workers.iter();
            let render_models = planned.filter(|planned| planned.worker == render).find_map(
                |planned| match &planned.role {
                    Role::Render(spec) => Some(spec.models.clone()),
                    _ => None,
                },
            );
            StreamState::new(
                name.clone(),
                stream.infer.clone(),
                Arc::from(render_models.unwrap_or_default()),
            )
        });
        let streams = streams.collect();
        let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        listen_for_signals(&events).map_err(RunError::io("listen for signals"))?;
        let count = ids.len();
        Ok(Self {
            spawner: Spawner::start().map_err(RunError::io("start the spawner's thread"))?,
            fleet,
            streams,
            processes: (0..count).map(|_| None).collect(),
            pending_signals: vec![None; count],
            last_words: vec![String::new(); count],
            worker_texts: vec![String::new(); count],
            last_ends: vec![None; count],
            recordings: Vec::new(),
            events,
            incoming,
            report_sender,
            reports,
            timer,
            ticks: 0,
            begin: Instant::now(),
            flowing_since: None,
            stopped_by: None,
            random: RandomState::new(),
            store_trouble: None,
            setting,
        })
    }

    /// Runs until every worker has ended for good.
    pub(super) async fn run(mut self) -> Outcome {
        self.notice(
            Severity::Info,
            format!(
                "run {} begins: streams {}, workers {}",
                self.setting.run,
                self.streams.len(),
                self.processes.len()
            ),
        );
        self.step(FleetEvent::Begin);
        while !self.fleet.is_over() {
            let event = self.next().await;
            self.take(event);
        }
        self.sample();
        Outcome {
            elapsed: self.begin.elapsed(),
            setting: self.setting,
            fleet: self.fleet,
            streams: self.streams,
            stopped_by: self.stopped_by,
            last_words: self.last_words,
            recordings: self.recordings,
        }
    }

    async fn next(&mut self) -> RunEvent {
        tokio::select! {
            // Time first: a flood of messages must not hide a hang or a deadline.
            biased;
            _ = self.timer.tick() => RunEvent::Tick,
            Some(event) = self.incoming.recv() => event,
            Some(report) = self.reports.recv() => RunEvent::Process(report),
        }
    }

    fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Spawned {
                member,
                incarnation,
                result,
            } => self.spawned(member, incarnation, result),
            RunEvent::Process(report) => self.process_did(report),
            RunEvent::Cleaned { member, result } => {
                if let Err(error) = result {
                    let worker = self.worker(member).to_string();
                    self.notice(
                        Severity::Warning,
                        format!("the book of {worker} cannot be settled: {error}"),
                    );
                }
                self.tell(member, LifeEvent::Cleaned);
            }
            RunEvent::Committed(committed) => self.acknowledge(&committed),
            RunEvent::Stop(reason) => self.stop(reason),
            RunEvent::Tick => self.tick(),
        }
    }

    fn tick(&mut self) {
        let members = self.fleet.members().iter();
        let progress = members.map(|member| self.setting.books.progress(&member.worker));
        let progress = progress.collect();
        self.step(FleetEvent::Tick { progress });
        self.ticks += 1;
        if self.fleet.has_begun() && self.flowing_since.is_none() {
            self.flowing_since = Some(self.begin.elapsed());
        }
        if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
            self.sample();
        }
        if self.ticks.is_multiple_of(TICKS_PER_LEDGER) {
            self.store_ledger();
        }
        let flowing = self.flowing_since;
        let over = |duration| {
            flowing.is_some_and(|since| self.begin.elapsed().saturating_sub(since) >= duration)
        };
        if self.stopped_by.is_none() && self.setting.duration.is_some_and(over) {
            self.stop(StopReason::Duration);
        }
    }

    fn stop(&mut self, reason: StopReason) {
        let text = match (self.stopped_by, reason) {
            (None, StopReason::Person) => "stopping: draining; once more to hurry",
            (None, StopReason::Duration) => "the time is over: draining",
            (Some(_), _) => "stopping at once",
        };
        self.notice(Severity::Info, text.to_owned());
        self.stopped_by.get_or_insert(reason);
        self.step(FleetEvent::Stop);
    }

    fn tell(&mut self, member: usize, event: LifeEvent) {
        self.step(FleetEvent::Worker { member, event });
    }

    fn step(&mut self, event: FleetEvent) {
        let now = self.begin.elapsed();
        let random = &self.random;
        let mut drawn = 0_u32;
        let actions = self.fleet.step(event, now, || {
            drawn += 1;
            f64::from(u32::try_from(random.hash_one((now, drawn)) >> 32).unwrap_or(0))
                / f64::from(u32::MAX)
        });
        for action in actions {
            match action {
                FleetAction::Start { member } => self.send(member, &ToWorker::Start),
                FleetAction::Worker { member, action } => self.act(member, action),
            }
        }
    }

    fn act(&mut self, member: usize, action: LifeAction) {
        match action {
            LifeAction::Spawn { incarnation } => self.spawn(member, incarnation),
            LifeAction::Drain => self.send(member, &ToWorker::Drain),
            LifeAction::Signal(signal) => match &self.processes[member] {
                Some(process) if process.signal(signal) => {}
                Some(process) => {
                    let pid = process.pid();
                    self.notice(Severity::Warning, format!("pid {pid} takes no {signal}"));
                }
                None => self.pending_signals[member] = Some(signal),
            },
            LifeAction::Clean => self.clean(member),
            LifeAction::Gone(gone) => self.gone(member, &gone),
        }
    }

    fn spawn(&mut self, member: usize, incarnation: u32) {
        let worker = self.worker(member).clone();
        self.pending_signals[member] = None;
        self.worker_texts[member].clear();
        self.last_words[member].clear();
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

    fn launch(&self, worker: &WorkerId) -> io::Result<(Launch, std::os::unix::net::UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
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

    fn spawned(
        &mut self,
        member: usize,
        incarnation: u32,
        result: io::Result<(Child, std::os::unix::net::UnixStream)>,
    ) {
        let reports = self.report_sender.clone();
        let process = result.and_then(|(child, channel)| {
            Process::watch(child, channel, member, incarnation, reports)
        });
        let worker = self.worker(member).clone();
        self.setting.store.offer(Row::WorkerBegun {
            worker,
            incarnation,
            pid: process.as_ref().ok().map(Process::pid),
            wall_ms: clock::wall_ms(),
        });
        match process {
            Ok(process) => {
                let spec = self.setting.plan.workers[member].spec(
                    &self.setting.run,
                    incarnation,
                    &self.setting.bus_spec,
                    &self.setting.directories.run,
                );
                self.processes[member] = Some(process);
                self.send(member, &ToWorker::Configure(Box::new(spec)));
                if let Some(signal) = self.pending_signals[member].take() {
                    self.act(member, LifeAction::Signal(signal));
                }
            }
            Err(error) => {
                self.last_words[member] = error.to_string();
                self.tell(member, LifeEvent::NotStarted);
            }
        }
    }

    fn send(&mut self, member: usize, message: &ToWorker) {
        let sent = self.processes[member]
            .as_ref()
            .is_none_or(|process| process.send(message));
        if !sent {
            self.tell(member, LifeEvent::Deaf);
        }
    }

    fn process_did(&mut self, report: Report) {
        let member = report.member;
        if self.fleet.members()[member].life.incarnation() != report.incarnation {
            return;
        }
        match report.what {
            ProcessEvent::Message(message) => self.said(member, *message),
            ProcessEvent::Deaf(why) => {
                self.last_words[member] = why;
                self.tell(member, LifeEvent::Deaf);
            }
            ProcessEvent::Exited(exit) => {
                self.processes[member] = None;
                self.tell(member, LifeEvent::Exited(exit));
            }
        }
    }

    /// Removes what a dead worker left on the bus and closes its account. One that drained
    /// has closed it itself; if it has not, the ledger shall show it.
    fn clean(&mut self, member: usize) {
        let bus = self.setting.bus.clone();
        let closer = self.setting.books.closer(self.worker(member));
        let drained = self.last_ends[member] == Some(End::Drained);
        let events = self.events.clone();
        tokio::spawn(async move {
            let cleaning = tokio::task::spawn_blocking(move || {
                let nodes = bus.clean_dead_nodes();
                tracing::debug!("cleaned up {nodes} dead nodes");
                if drained { Ok(()) } else { closer.settle() }
            });
            let result = cleaning.await.unwrap_or_else(|error| {
                tracing::error!("cleaning up panicked: {error}");
                Ok(())
            });
            let _ = events.send(RunEvent::Cleaned { member, result }).await;
        });
    }

    fn acknowledge(&mut self, committed: &Committed) {
        let render = WorkerId::Render(committed.stream.clone());
        if let Some(member) = self.fleet.index_of(&render) {
            self.send(member, &ToWorker::EventCommitted(committed.event.clone()));
        }
    }

    /// Reads all books: for the table, the metrics and the rates.
    fn sample(&mut self) {
        let at = self.begin.elapsed();
        let wall_ms = clock::wall_ms();
        for stream in &mut self.streams {
            let latency = self.setting.books.histogram(&BookId {
                stream: stream.name.clone(),
                part: Part::Render,
            });
            let books = self.setting.books.read(&stream.name);
            stream.meter.push(Reading { at, books, latency });
            let (rates, dropped, lost) = stream.meter.last_interval();
            self.setting.store.offer(Row::Metric(MetricSample {
                stream: stream.name.clone(),
                wall_ms,
                captured_fps: rates.captured_fps,
                inferred_fps: rates.inferred_fps,
                rendered_fps: rates.rendered_fps,
                latency_p50_us: rates.latency_p50_us,
                latency_p99_us: rates.latency_p99_us,
                dropped,
                lost,
            }));
        }
        let health = self.setting.store.health();
        let trouble = health.trouble.map(|trouble| {
            let lost = health.rows_given_up;
            format!("the store cannot write: {trouble} ({lost} rows given up)")
        });
        if trouble.is_some() != self.store_trouble.is_some() {
            match &trouble {
                Some(trouble) => self.notice(Severity::Error, trouble.clone()),
                None => self.notice(Severity::Info, "the store can write again".to_owned()),
            }
        }
        self.store_trouble = trouble;
        self.setting.screen.board(self.board());
    }

    fn store_ledger(&self) {
        for found in self.setting.books.content() {
            self.setting.store.offer(Row::Ledger {
                stream: found.stream,
                book: found.book,
                counters: found.counters,
            });
        }
    }

    fn board(&self) -> Board {
        let restarts = |worker: WorkerId| {
            let member = self.fleet.index_of(&worker);
            member.map_or(0, |member| self.fleet.members()[member].life.incarnation())
        };
        let line = |stream: &StreamState| {
            let own = restarts(WorkerId::Ingest(stream.name.clone()))
                + restarts(WorkerId::Render(stream.name.clone()));
            let models = stream.models.iter().cloned().map(WorkerId::Infer);
            stream.line(own + models.map(restarts).sum::<u32>())
        };
        let needs_attention = |phase: &Phase| {
            !matches!(
                phase,
                Phase::Ready | Phase::Draining | Phase::Over(End::Drained)
            )
        };
        let members = self.fleet.members().iter().enumerate();
        let workers = members.filter(|(_, member)| needs_attention(member.life.phase()));
        Board {
            run: self.setting.run.clone(),
            elapsed: self.begin.elapsed(),
            streams: self.streams.iter().map(line).collect(),
            workers: workers
                .map(|(index, member)| WorkerLine {
                    name: member.worker.to_string(),
                    phase: member.life.phase().as_str(),
                    grave: member.life.is_quarantined() || member.life.end().is_some(),
                    text: if self.last_words[index].is_empty() {
                        self.worker_texts[index].clone()
                    } else {
                        self.last_words[index].clone()
                    },
                })
                .collect(),
            trouble: self.store_trouble.clone(),
        }
    }

    fn worker(&self, member: usize) -> &WorkerId {
        &self.fleet.members()[member].worker
    }

    fn stream_mut(&mut self, name: &StreamName) -> Option<&mut StreamState> {
        self.streams.iter_mut().find(|stream| stream.name == *name)
    }

    fn notice(&self, severity: Severity, text: String) {
        self.setting.screen.notice(severity, text);
    }
}

/// Ctrl-C, `sluice stop`, a service manager, a terminal that closes: all mean the same.
fn listen_for_signals(events: &mpsc::Sender<RunEvent>) -> io::Result<()> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    for kind in kinds {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if events
                    .send(RunEvent::Stop(StopReason::Person))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        });
    }
    Ok(())
}

/// What of our own environment a worker needs: to find programs, libraries, plug-ins and
/// devices, and to log. Passwords that a config names are in the environment, too.
fn worker_environment() -> Vec<(String, String)> {
    const NAMES: [&str; 8] = [
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "PATH",
        "RUST_BACKTRACE",
        "SLUICE_LOG",
        "TMPDIR",
        "TZ",
    ];
    const PREFIXES: [&str; 7] = ["CUDA_", "GST_", "LC_", "LIBVA_", "NVIDIA_", "ORT_", "XDG_"];
    let needed = |name: &str| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        needed(&name).then_some((name, value))
    });
    variables.collect()
}
