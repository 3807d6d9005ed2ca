//! The supervisor's one loop: takes what happened, asks the fleet what to do, does it.
//!
//! Everything that can happen is a [`RunEvent`]. The loop never waits for a
//! worker, the disk or a terminal: processes are started on the spawner's thread,
//! dead nodes cleaned up on a blocking one, texts are read and checked on the
//! loader's, rows and pictures of the state go into bounded queues.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::control::{FileRecord, RecordingGap, ToWorker};
use contract::name::{RunId, StreamName, WorkerId};
use contract::spec::{BusSpec, Role};
use frame_bus::{Bus, BusError, PoolKeeper};
use sandbox::{Child, Signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::screen::{Screen, Severity};
use super::signals::{self, Terminal};
use super::state::StreamState;
use super::{Directories, RunError};
use crate::books::{Books, NewBooks};
use crate::recordings::keeper::Keeper;
use crate::reload::Edition;
use crate::reload::loader::{Environment, Loader, Report as LoaderReport};
use crate::store::{AskedBy, Committed, WriterHandle};
use crate::supervision::fleet::{Duty, Fleet, FleetAction, FleetEvent};
use crate::supervision::life::{End, LifeEvent};
use crate::supervision::process::{Process, Report};
use crate::supervision::spawner::Spawner;
use accepting::Accepting;
use reloading::Reloading;

mod accepting;
mod demand;
mod messages;
mod processes;
mod reloading;
mod sampling;

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
    /// SIGHUP: the text shall be read again, or the terminal is gone.
    Hangup,
    /// A text was read.
    Loader(LoaderReport),
    /// What a change needs is there, or not.
    Prepared(Result<NewBooks, String>),
    /// Time has passed.
    Tick,
}

/// The queue into the loop.
pub(super) fn channel() -> (mpsc::Sender<RunEvent>, mpsc::Receiver<RunEvent>) {
    mpsc::channel(EVENTS_MAX)
}

/// What the loop works with.
pub(super) struct Setting {
    /// The text in force, and what it comes to.
    pub(super) edition: Edition,
    /// The config file as it was named: problems are shown with this name.
    pub(super) file: PathBuf,
    pub(super) environment: Environment,
    pub(super) run: RunId,
    pub(super) programs: PathBuf,
    pub(super) directories: Directories,
    /// The supervisor's own root.
    pub(super) root: PathBuf,
    pub(super) books_directory: PathBuf,
    pub(super) cpus: usize,
    pub(super) bus_spec: BusSpec,
    pub(super) bus: Bus,
    /// Holds the pools of frames in the memory of GPUs.
    pub(super) pools: PoolKeeper,
    pub(super) books: Books,
    pub(super) store: WriterHandle,
    pub(super) keeper: Keeper,
    pub(super) screen: Screen,
    pub(super) duration: Option<Duration>,
}

/// What is left when the loop has ended.
pub(super) struct Outcome {
    pub(super) run: RunId,
    pub(super) directories: Directories,
    pub(super) books: Books,
    pub(super) store: WriterHandle,
    pub(super) screen: Screen,
    pub(super) fleet: Fleet,
    pub(super) streams: Vec<StreamState>,
    pub(super) stopped_by: Option<StopReason>,
    /// What each worker said last about a failure, by index.
    pub(super) last_words: Vec<String>,
    /// The last recording of each stream.
    pub(super) recordings: Vec<FileRecord>,
    pub(super) elapsed: Duration,
}

/// What is known of one member of the fleet.
#[derive(Debug, Default)]
struct Seat {
    /// The living process.
    process: Option<Process>,
    /// A signal for a process that is still being started.
    pending_signal: Option<Signal>,
    /// What it said last about a failure.
    last_words: String,
    /// What it says it is doing.
    text: String,
    last_end: Option<End>,
}

pub(super) struct Dispatcher {
    setting: Setting,
    fleet: Fleet,
    /// By index of the member.
    seats: Vec<Seat>,
    /// What each worker is started with.
    roles: HashMap<WorkerId, Role>,
    /// The same for those on standby.
    standby_roles: HashMap<WorkerId, Role>,
    streams: Vec<StreamState>,
    /// The streams that somebody asks for, as the gateway says.
    wanted: BTreeSet<StreamName>,
    accepting: Accepting,
    reloading: Reloading,
    loader: Loader,
    terminal: Terminal,
    spawner: Spawner,
    recordings: Vec<FileRecord>,
    /// Streams that are to be recorded and are not.
    recording_gaps: HashMap<StreamName, RecordingGap>,
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
        mut setting: Setting,
        events: mpsc::Sender<RunEvent>,
        incoming: mpsc::Receiver<RunEvent>,
    ) -> Result<Self, RunError> {
        let Edition { config, plan } = &setting.edition;
        let fleet = Fleet::new(&plan.worker_ids(), plan.topology.clone());
        let workers = plan.workers.iter();
        let roles = workers.map(|planned| (planned.worker.clone(), planned.role.clone()));
        let roles = roles.collect();
        let names = config.streams.keys();
        let streams = names
            .map(|name| StreamState::new(name.clone(), plan))
            .collect();
        let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        signals::listen(&events).map_err(RunError::io("listen for signals"))?;
        let environment = std::mem::replace(&mut setting.environment, Box::new(|_| None));
        let news = events.clone();
        let deliver = move |report| {
            // Without a receiver the run is over.
            let _ = news.blocking_send(RunEvent::Loader(report));
        };
        let file = setting.file.clone();
        let loader = Loader::start(file, &config.files, environment, deliver)
            .map_err(RunError::io("start the thread that reloads"))?;
        Ok(Self {
            spawner: Spawner::start().map_err(RunError::io("start the spawner's thread"))?,
            seats: fleet.members().iter().map(|_| Seat::default()).collect(),
            fleet,
            roles,
            standby_roles: HashMap::new(),
            streams,
            wanted: BTreeSet::new(),
            accepting: Accepting::default(),
            reloading: Reloading::default(),
            loader,
            terminal: Terminal::now(),
            recordings: Vec::new(),
            recording_gaps: HashMap::new(),
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
                self.seats.len()
            ),
        );
        self.step(FleetEvent::Begin);
        while !self.fleet.is_over() {
            let event = self.next().await;
            self.take(event);
        }
        self.abort_reload();
        self.sample();
        // The loader may be waiting for room in the queue: that must be gone before it is
        // waited for.
        drop(self.incoming);
        drop(self.loader);
        self.setting.keeper.finish();
        let last_words = self.seats.into_iter().map(|seat| seat.last_words);
        Outcome {
            elapsed: self.begin.elapsed(),
            run: self.setting.run,
            directories: self.setting.directories,
            books: self.setting.books,
            store: self.setting.store,
            screen: self.setting.screen,
            fleet: self.fleet,
            streams: self.streams,
            stopped_by: self.stopped_by,
            last_words: last_words.collect(),
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
            RunEvent::Hangup => self.hangup(),
            RunEvent::Loader(report) => self.loader_says(report),
            RunEvent::Prepared(result) => self.prepared(result),
            RunEvent::Tick => self.tick(),
        }
        self.carry_on_reload();
    }

    fn tick(&mut self) {
        let members = self.fleet.members().iter();
        let progress = members.map(|member| {
            let progress = self.setting.books.progress(&member.worker);
            // Who keeps no book cannot be seen to hang.
            progress.unwrap_or(self.ticks)
        });
        let progress = progress.collect();
        self.step(FleetEvent::Tick { progress });
        self.ticks += 1;
        if self.fleet.has_begun() && self.flowing_since.is_none() {
            self.flowing_since = Some(self.begin.elapsed());
        }
        if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
            self.sample();
            self.look_at_senders();
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
        self.abort_reload();
        self.step(FleetEvent::Stop);
    }

    /// A terminal that closes ends what was started on it; else the text is read again.
    fn hangup(&mut self) {
        if self.terminal.is_gone() {
            self.stop(StopReason::Person);
            return;
        }
        let asked_by = if signals::take_note(&self.setting.root) {
            AskedBy::Command
        } else {
            AskedBy::Signal
        };
        self.loader.ask(asked_by);
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
        let members = self.fleet.members().len();
        self.seats.resize_with(members, Seat::default);
        for action in actions {
            match action {
                FleetAction::Start { member } => self.start(member),
                FleetAction::Worker { member, action } => self.act(member, action),
            }
        }
    }

    /// An ingest worker shall publish, or a model take over.
    fn start(&mut self, member: usize) {
        let worker = self.worker(member).clone();
        if let Some(role) = self.standby_roles.remove(&worker) {
            self.roles.insert(worker, role);
        }
        self.send(member, &ToWorker::Start);
    }

    /// What a member is started with.
    fn role(&self, member: usize) -> Option<&Role> {
        let member = &self.fleet.members()[member];
        match member.duty() {
            Duty::Standby => self.standby_roles.get(&member.worker),
            Duty::Serving | Duty::Leaving { .. } => self.roles.get(&member.worker),
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
