//! What a running supervisor writes. How it is written is in `pen`.

use std::sync::Arc;

use contract::best_shot::BestShot;
use contract::control::{FileRecord, FrameRecord, RecordingGap, SourceInfo};
use contract::event::Event;
use contract::latency::Histogram;
use contract::name::{StreamName, WorkerId};
use contract::spec::RenderModelSpec;

use super::files::GoneReason;
use super::generations::{GenerationBegun, GenerationDone};
use super::{NewStream, RunState};

/// One thing to be written.
#[derive(Debug, Clone)]
pub enum Row {
    /// The run was given another text.
    GenerationBegun(GenerationBegun),
    /// It is known what became of that text.
    GenerationDone(GenerationDone),
    /// A stream has joined the run, or has come back to it.
    StreamAdded(NewStream),
    /// A stream's state has changed.
    Stream(StreamRowState),
    /// A stream's source is known.
    Source {
        /// The stream.
        stream: StreamName,
        /// What is known.
        info: SourceInfo,
    },
    /// A worker process was started, or could not be.
    WorkerBegun {
        /// Which.
        worker: WorkerId,
        /// Its start, from 0.
        incarnation: u32,
        /// Its process; `None` when it could not be started.
        pid: Option<u32>,
        /// When.
        wall_ms: i64,
    },
    /// A worker takes frames.
    WorkerReady {
        /// Which.
        worker: WorkerId,
        /// Its start, from 0.
        incarnation: u32,
        /// What it said it works with.
        text: String,
        /// When.
        wall_ms: i64,
    },
    /// A worker process is gone.
    WorkerEnded(WorkerEnd),
    /// A rule began or ended to fire.
    Event(Box<Event>),
    /// What was seen in some frames.
    Frames {
        /// The stream.
        stream: StreamName,
        /// The start of its render worker that saw it, from 0.
        incarnation: u32,
        /// Names of its models and labels.
        models: Arc<[RenderModelSpec]>,
        /// The frames.
        records: Vec<FrameRecord>,
    },
    /// A file was begun, has grown, or was finished.
    File {
        /// The start of the render worker that writes it, from 0.
        incarnation: u32,
        /// What is known of it.
        record: FileRecord,
    },
    /// A recording is no more.
    FileGone(FileGone),
    /// A recording has stopped, or goes on.
    RecordingGap(RecordingGap),
    /// The best picture of a track was written.
    BestShot(Box<BestShot>),
    /// All counters of one book.
    Ledger {
        /// The stream it speaks of.
        stream: StreamName,
        /// `ingest`, `infer:MODEL`, `render`, `gateway`.
        book: String,
        /// Each counter's name and value.
        counters: Vec<(&'static str, u64)>,
    },
    /// The latencies of one book.
    Latency(Latency),
    /// One stream over the last second.
    Metric(MetricSample),
    /// The run is over.
    RunEnded(RunEnd),
}

/// A stream's state, for people.
#[derive(Debug, Clone)]
pub struct StreamRowState {
    /// The stream.
    pub stream: StreamName,
    /// The state in one word.
    pub state: &'static str,
    /// What happened.
    pub detail: String,
}

/// A recording that is no more.
#[derive(Debug, Clone)]
pub struct FileGone {
    /// Its run, which may be over for long.
    pub run: String,
    /// Its path as it is stored.
    pub path: String,
    /// Why it was deleted; `None`: it was not there.
    pub reason: Option<GoneReason>,
    /// When.
    pub wall_ms: i64,
}

/// How a worker process ended.
#[derive(Debug, Clone)]
pub struct WorkerEnd {
    /// Which.
    pub worker: WorkerId,
    /// Its start, from 0.
    pub incarnation: u32,
    /// When.
    pub wall_ms: i64,
    /// What it exited with.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
    /// Why, in one word.
    pub reason: &'static str,
    /// Its last words.
    pub text: String,
}

/// The latencies of one book.
#[derive(Debug, Clone)]
pub struct Latency {
    /// The stream it speaks of.
    pub stream: StreamName,
    /// `ingest`, `infer:MODEL`, `render`, `gateway`.
    pub book: String,
    /// All that was measured.
    pub histogram: Histogram,
}

/// One stream over the last second.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    /// The stream.
    pub stream: StreamName,
    /// When the second ended.
    pub wall_ms: i64,
    /// Frames captured, a second.
    pub captured_fps: f64,
    /// Frames its first model ran on, a second.
    pub inferred_fps: f64,
    /// Frames rendered, a second.
    pub rendered_fps: f64,
    /// Median of capture to rendered.
    pub latency_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub latency_p99_us: Option<u64>,
    /// Frames dropped in this interval, gates aside.
    pub dropped: u64,
    /// Frames lost in this interval.
    pub lost: u64,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// Its last state.
    pub state: RunState,
    /// What `sluice run` exits with.
    pub exit_code: u8,
    /// Why it failed.
    pub detail: Option<String>,
    /// When.
    pub wall_ms: i64,
}

impl Row {
    /// Whether it is one of many: given up first when the disk cannot follow.
    pub(super) fn is_bulk(&self) -> bool {
        matches!(self, Self::Frames { .. } | Self::Metric(_))
    }

    /// Rows of the database that it becomes.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Frames { records, .. } => records
                .iter()
                .map(|record| 1 + (record.objects.len() + record.attributes.len()) as u64)
                .sum(),
            Self::Ledger { counters, .. } => counters.len() as u64,
            _ => 1,
        }
    }
}
