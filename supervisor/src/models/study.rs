//! Asks an infer worker about models, with frames of clips that ingest workers decode.
//!
//! The same processes as in a run, on a bus of their own, without a store: when one fails, or
//! Ctrl-C comes, all end and the command has failed. The infer worker loads its models first
//! and says that it is ready; then the clips are opened, and begin together.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use contract::control::{FromWorker, ToWorker};
use contract::exit::{Exit, WorkerExit};
use contract::geometry::PixelSize;
use contract::ledger::IngestCounters;
use contract::name::{ModelName, NameError, RunId, StreamName, WorkerId};
use contract::spec::{
    Backoff, BusSpec, FrameMemory, FrameServiceSpec, IngestSpec, MotionSpec, Pace, QueuePolicy,
    RetrySpec, Role, SourceSpec, WorkerSpec,
};
use contract::study::{Answer, Question, StudySpec};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{BookReader, BusError, budget};
use sandbox::{ExitReport, Launch, Limits, Signal};
use tokio::sync::mpsc;

use super::Progress;
use crate::supervision::process::{Process, ProcessEvent, Report};
use crate::supervision::spawner::{Spawner, worker_environment};

/// Largest picture of a clip; larger ones are scaled down, as in a run with default settings.
const SIZE_MAX: PixelSize = PixelSize {
    width: 1280,
    height: 720,
};
/// Most clips of one study: each is a process with slots in shared memory.
pub const CLIPS_MAX: usize = 16;
/// Reports of workers that may wait.
const REPORTS_MAX: usize = 256;
/// A killed worker is gone at once, unless the machine hangs.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Last bytes of a worker's log that are shown when it dies without a word.
const LOG_BYTES_SHOWN: usize = 2 << 10;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The bus cannot be made.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A process cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The model cannot be used.
    #[error("{0}")]
    Model(String),
    /// A clip cannot be used.
    #[error("{0}")]
    Clip(String),
    /// A worker died.
    #[error("{0}")]
    Died(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Something that every machine has.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl StudyError {
    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Bus(_) | Self::Start { .. } | Self::Io { .. } => Exit::Environment,
            Self::Model(_) => Exit::Model,
            Self::Clip(_) => Exit::Source,
            Self::Died(_) | Self::Interrupted => Exit::Failure,
        }
    }
}

/// The file at `path`, as quickly as it can be read.
#[must_use]
pub fn clip(path: &Path) -> SourceSpec {
    SourceSpec::File {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        pace: Pace::Fast,
        repeat: false,
    }
}

/// A moving test picture of so many frames, where there is no clip.
#[must_use]
pub fn pattern(frames: u64) -> SourceSpec {
    SourceSpec::Test {
        pattern: "ball".to_owned(),
        size: SIZE_MAX,
        fps: 30,
        frames: Some(frames),
        pace: Pace::Fast,
    }
}

/// Asks `question` about frames of `sources`, of which `frames_max` are kept.
///
/// # Errors
/// [`StudyError`]; no process is left then.
pub fn ask(
    question: Question,
    sources: &[SourceSpec],
    frames_max: u32,
    progress: Progress<'_>,
) -> Result<Answer, StudyError> {
    let failed = |what| move |source| StudyError::Io { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start a runtime"))?;
    let root = Root::create(Path::new(BASE), "a study of a model")?;
    let spawner = Spawner::start().map_err(failed("start a thread"))?;
    let log = root.path().join("study.log");
    let (sender, mut reports) = mpsc::channel(REPORTS_MAX);
    let mut study = Study {
        workers: workers(&root, question, sources, frames_max)?,
        bus: root.bus(),
        directory: root.path().to_owned(),
        log,
        spawner,
        sender,
        processes: Vec::new(),
        books: Vec::new(),
        last_words: vec![None; 1 + sources.len()],
        answer: None,
    };
    runtime.block_on(async {
        let answered = tokio::select! {
            answered = study.run(&mut reports, progress) => answered,
            _ = tokio::signal::ctrl_c() => Err(StudyError::Interrupted),
        };
        study.end(&mut reports).await;
        answered
    })
}

/// Who takes part: first the infer worker, then an ingest worker a clip.
fn workers(
    root: &Root,
    question: Question,
    sources: &[SourceSpec],
    frames_max: u32,
) -> Result<Vec<(WorkerId, Role)>, StudyError> {
    let name = |error: NameError| StudyError::Model(error.to_string());
    let model: ModelName = "study".parse().map_err(name)?;
    let mut clips = Vec::new();
    for index in 0..sources.len() {
        clips.push(FrameServiceSpec {
            stream: format!("clip-{index}")
                .parse::<StreamName>()
                .map_err(name)?,
            crops: None,
            size: SIZE_MAX,
            policy: QueuePolicy::Wait,
            depth: 2,
            consumers_max: 1,
            held_max: 2,
            memory: FrameMemory::Host,
        });
    }
    budget::check_free(clips.iter().map(budget::frame_bytes).sum())?;
    let infer = WorkerId::Infer(model);
    let ingest = |(frames, source): (&FrameServiceSpec, &SourceSpec)| {
        let stream = frames.stream.clone();
        let spec = IngestSpec {
            stream: stream.clone(),
            source: source.clone(),
            retry: RetrySpec {
                attempts: Some(1),
                interval_ms: 1000,
                backoff: Backoff::Fixed,
                max_interval_ms: 1000,
            },
            no_frame_timeout_ms: 10_000,
            on_demand: None,
            motion: MotionSpec {
                threshold: 12,
                mask: Vec::new(),
            },
            hardware_decoder: false,
            passthrough: None,
            frames: frames.clone(),
            consumers: vec![infer.clone()],
            book: root.books().join(format!("{stream}.ingest")),
        };
        (WorkerId::Ingest(stream), Role::Ingest(spec))
    };
    let ingests: Vec<_> = clips.iter().zip(sources).map(ingest).collect();
    let study = StudySpec {
        question,
        clips,
        frames_max,
    };
    let mut workers = vec![(infer, Role::Study(study))];
    workers.extend(ingests);
    Ok(workers)
}

/// Index of the infer worker among the workers.
const INFER: usize = 0;

struct Study {
    workers: Vec<(WorkerId, Role)>,
    bus: BusSpec,
    directory: PathBuf,
    log: PathBuf,
    spawner: Spawner,
    sender: mpsc::Sender<Report>,
    /// The processes that have been started; `None` for those that have ended.
    processes: Vec<Option<Process>>,
    /// Ingest workers write their counters there; nobody reads them.
    books: Vec<BookReader<IngestCounters>>,
    /// What each worker said of its own end.
    last_words: Vec<Option<String>>,
    answer: Option<Answer>,
}

impl Study {
    async fn run(
        &mut self,
        reports: &mut mpsc::Receiver<Report>,
        progress: Progress<'_>,
    ) -> Result<Answer, StudyError> {
        progress("starting");
        self.start(INFER).await?;
        let mut infer_exit = None;
        loop {
            let patience = if infer_exit.is_some() {
                END_PATIENCE
            } else {
                Duration::MAX
            };
            let report = tokio::time::timeout(patience, reports.recv()).await;
            // The channel does not end: a sender is ours.
            let Ok(Some(report)) = report else {
                return Err(StudyError::Died("an ingest worker does not end".to_owned()));
            };
            match report.what {
                ProcessEvent::Message(message) => {
                    self.said(report.member, *message, progress).await?;
                }
                ProcessEvent::Deaf(why) => return Err(self.died(report.member, &why)),
                ProcessEvent::Exited(exit) => {
                    self.processes[report.member] = None;
                    match exit.code.map(WorkerExit::from_code) {
                        Some(WorkerExit::Drained) => {}
                        // Without frames: the clip's own worker knows better why.
                        Some(WorkerExit::SourceGone) if report.member == INFER => {}
                        _ => return Err(self.ended(report.member, exit)),
                    }
                    if report.member == INFER {
                        infer_exit = Some(exit);
                    }
                }
            }
            // A clip that broke off ends like any other on the bus. So an answer is good only
            // when its worker has said that it was the end.
            if let Some(exit) = infer_exit
                && self.processes.iter().all(Option::is_none)
            {
                return self.answer.take().ok_or_else(|| self.ended(INFER, exit));
            }
        }
    }

    async fn said(
        &mut self,
        member: usize,
        message: FromWorker,
        progress: Progress<'_>,
    ) -> Result<(), StudyError> {
        match message {
            FromWorker::Warming(text) if member == INFER => progress(&text),
            FromWorker::Ready(_) if member == INFER => {
                for ingest in 1..self.workers.len() {
                    self.start(ingest).await?;
                }
            }
            FromWorker::Ready(_) => self.send(member, &ToWorker::Start),
            FromWorker::Studied(answer) => self.answer = Some(*answer),
            FromWorker::Failing(text) => self.last_words[member] = Some(text),
            // What a source says of itself, and what only a run's workers say.
            _ => {}
        }
        Ok(())
    }

    async fn start(&mut self, member: usize) -> Result<(), StudyError> {
        let (worker, role) = self.workers[member].clone();
        let own = std::env::current_exe().unwrap_or_default();
        let program = own.with_file_name(worker.program());
        let failed = |source| StudyError::Start {
            program: program.clone(),
            source,
        };
        if let Role::Ingest(ingest) = &role {
            self.books.push(BookReader::create(&ingest.book)?);
        }
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let log = File::options().create(true).append(true).open(&self.log);
        let launch = Launch {
            program: program.clone(),
            environment: worker_environment(),
            control: theirs.into(),
            log: log.map_err(failed)?,
            limits: Limits::default(),
        };
        let gone = |_| failed(io::Error::other("the spawner's thread is gone"));
        let child = self.spawner.spawn(launch).await.map_err(gone)?;
        let child = child.map_err(failed)?;
        let sender = self.sender.clone();
        let process = Process::watch(child, ours, member, 0, sender).map_err(failed)?;
        self.processes.push(Some(process));
        let spec = WorkerSpec {
            worker,
            run: RunId::from_str("study").map_err(|error| StudyError::Died(error.to_string()))?,
            incarnation: 0,
            bus: self.bus.clone(),
            directory: self.directory.clone(),
            role,
        };
        self.send(member, &ToWorker::Configure(Box::new(spec)));
        Ok(())
    }

    fn send(&self, member: usize, message: &ToWorker) {
        if let Some(Some(process)) = self.processes.get(member)
            && !process.send(message)
        {
            // It is dead, or will be reported as deaf.
            tracing::debug!(member, "a worker takes no message");
        }
    }

    /// Why a worker ended that should not have.
    fn ended(&mut self, member: usize, exit: ExitReport) -> StudyError {
        let code = exit.code.map(WorkerExit::from_code);
        match (member, code, self.last_words[member].take()) {
            (INFER, Some(WorkerExit::SourceGone), Some(text)) => StudyError::Clip(text),
            (INFER, _, Some(text)) => StudyError::Model(text),
            (_, _, Some(text)) => StudyError::Clip(text),
            (_, _, None) => {
                let how = match (exit.code, exit.signal) {
                    (Some(code), _) => format!("with code {code}"),
                    (None, Some(signal)) => format!("by signal {signal}"),
                    (None, None) => "in an unknown way".to_owned(),
                };
                self.died(member, &format!("it ended {how}"))
            }
        }
    }

    fn died(&self, member: usize, why: &str) -> StudyError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_BYTES_SHOWN);
        let from = (from..=log.len()).find(|at| log.is_char_boundary(*at));
        let last = &log[from.unwrap_or(0)..];
        StudyError::Died(format!(
            "{} gave no answer: {why}; it said:\n{last}",
            self.workers[member].0
        ))
    }

    /// Ends what still runs, and waits for it: the bus is removed then.
    async fn end(&mut self, reports: &mut mpsc::Receiver<Report>) {
        for process in self.processes.iter().flatten() {
            if !process.signal(Signal::SIGKILL) {
                tracing::warn!("pid {} takes no signal", process.pid());
            }
        }
        while self.processes.iter().any(Option::is_some) {
            let Ok(Some(report)) = tokio::time::timeout(END_PATIENCE, reports.recv()).await else {
                tracing::warn!("a worker of the study does not end");
                return;
            };
            if matches!(report.what, ProcessEvent::Exited(_)) {
                self.processes[report.member] = None;
            }
        }
    }
}
