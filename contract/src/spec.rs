//! What a worker is told when it is started: everything it needs and nothing more.
//!
//! Specs are made by the supervisor from a checked run config, so values are
//! already resolved: paths are absolute, defaults are filled in, names exist.

mod backend;
mod family;
mod gateway;
mod mosaic;
mod overlay;
mod privacy;
mod retry;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::geometry::PixelSize;
use crate::name::{ModelName, RunId, StreamName, WorkerId};
use crate::study::StudySpec;

pub use backend::{Backend, BackendSpec, BatchSpec, Precision};
pub use family::{ColourOrder, InputSpec, ModelFamily};
pub use gateway::{
    AcceptSpec, GatewaySpec, GatewayStreamSpec, IntakeSpec, Protocol, PushSpec, quality_name,
};
pub use mosaic::{CaptionSpec, MosaicMemberSpec, MosaicSpec, TileSpec};
pub use overlay::{ColourBy, DepthView, NearValues, OverlaySpec};
pub use privacy::{Hiding, PrivacySpec};
pub use retry::{Backoff, RetrySpec};
pub use source::{Pace, RtspTransport, SourceSpec, SrtMode, SrtSpec, TlsVerification};

/// A text that never prints: an address with a password, a pass phrase.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

/// First message to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// Who it is.
    pub worker: WorkerId,
    /// The run it belongs to.
    pub run: RunId,
    /// Counts the starts of this worker in this run, from 0.
    pub incarnation: u32,
    /// Where the frame bus lies.
    pub bus: BusSpec,
    /// The run's own directory, for snapshots and recordings.
    pub directory: PathBuf,
    /// What it does.
    pub role: Role,
}

/// One spec a kind of worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// For `ingest-worker`.
    Ingest(IngestSpec),
    /// For `infer-worker`.
    Infer(InferSpec),
    /// For `render-worker`.
    Render(RenderSpec),
    /// For `gateway`.
    Gateway(GatewaySpec),
    /// For an `infer-worker` that serves no run.
    Study(StudySpec),
}

/// Where one supervisor's bus lies; no two supervisors share these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusSpec {
    /// Directory of sockets and service files; short, because socket paths are.
    pub root: PathBuf,
    /// Prefix of everything in `/dev/shm`.
    pub prefix: String,
}

/// What happens when a consumer is slower than its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuePolicy {
    /// The queue is a ring: the newest frames stay.
    DropOldest,
    /// What is queued stays: the newest frame is discarded.
    DropLatest,
    /// The producer waits: nothing is lost while the consumer lives.
    Wait,
}

/// One stream's frames on the bus, or the crops of one model. Every process that opens the
/// service passes the same values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameServiceSpec {
    /// The stream.
    pub stream: StreamName,
    /// `None`: its frames. Else what its rules cut out of them for this model; then the render
    /// worker is the producer and the model's worker the one consumer.
    pub crops: Option<ModelName>,
    /// Largest picture that may travel: the slot size.
    pub size: PixelSize,
    /// What happens at a full queue.
    pub policy: QueuePolicy,
    /// Frames queued for each consumer.
    pub depth: u32,
    /// Consumers: the render worker and one infer worker a model.
    pub consumers_max: u32,
    /// Frames each consumer may hold after taking them.
    pub held_max: u32,
    /// Where the pixels lie.
    pub memory: FrameMemory,
}

/// Where the pixels of a stream's frames lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameMemory {
    /// In shared memory of the machine.
    #[default]
    Host,
    /// In the memory of the GPU of this number, as CUDA counts them.
    Cuda(u32),
}

impl FrameServiceSpec {
    /// The service's name, `frames/yard` or `crops/yard/faces`; no two services share one.
    #[must_use]
    pub fn topic(&self) -> String {
        match &self.crops {
            None => Self::frames_of(&self.stream),
            Some(model) => format!("crops/{}/{model}", self.stream),
        }
    }

    /// The name of the service of a stream's frames.
    #[must_use]
    pub fn frames_of(stream: &StreamName) -> String {
        format!("frames/{stream}")
    }

    /// What travels, in words: `stream yard`, `crops of yard`.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.crops {
            None => format!("stream {}", self.stream),
            Some(_) => format!("crops of {}", self.stream),
        }
    }
}

/// The access units of a source are handed on as they are: nothing is drawn, nothing encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassthroughSpec {
    /// What their slots on the bus are measured for.
    pub size: PixelSize,
    /// Frames are decoded beside, for models or rules.
    pub decoded: bool,
}

/// How motion is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MotionSpec {
    /// A cell has moved when its mean luma changed by more than this, 1 to 255.
    pub threshold: u8,
    /// Polygons, normalised 0 to 1, inside which motion is not looked at.
    pub mask: Vec<Vec<[f32; 2]>>,
}

/// A source that is connected only while somebody asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandSpec {
    /// It stays connected so long after the last has left.
    pub linger_ms: u64,
}

/// For `ingest-worker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngestSpec {
    /// The stream it decodes.
    pub stream: StreamName,
    /// Whence.
    pub source: SourceSpec,
    /// After a failure.
    pub retry: RetrySpec,
    /// A live source that gives no frame for so long is stalled: its session is rebuilt.
    pub no_frame_timeout_ms: u64,
    /// Connect only while [`crate::control::ToWorker::Wanted`] says so; `None`: always.
    pub on_demand: Option<OnDemandSpec>,
    /// Motion measurement.
    pub motion: MotionSpec,
    /// Use a hardware decoder where one is found.
    pub hardware_decoder: bool,
    /// Hand the source's own access units on; `None`: frames only.
    pub passthrough: Option<PassthroughSpec>,
    /// Where frames go. `frames.size` bounds the picture: larger ones are scaled down, aspect kept.
    pub frames: FrameServiceSpec,
    /// Whom to wake after each frame.
    pub consumers: Vec<WorkerId>,
    /// The book of [`crate::ledger::IngestCounters`].
    pub book: PathBuf,
}

/// For `infer-worker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferSpec {
    /// The model it runs.
    pub model: ModelName,
    /// The ONNX file.
    pub file: PathBuf,
    /// How to talk to it.
    pub family: ModelFamily,
    /// What the config says of its input.
    pub input: InputSpec,
    /// Class names, by class index.
    pub labels: Vec<String>,
    /// Detections below are not reported, 0 to 1.
    pub score_min: f32,
    /// Class-wise non-maximum suppression: of two boxes overlapping more, the better stays.
    pub nms_iou: f32,
    /// One-thread sessions run in parallel; `None`: as many as measured best at start.
    pub sessions: Option<u32>,
    /// How many pictures share a run of the model.
    pub batch: BatchSpec,
    /// What runs it.
    pub backend: BackendSpec,
    /// `libonnxruntime.so`; `None`: the places set-up puts it.
    pub library: Option<PathBuf>,
    /// The streams it serves.
    pub streams: Vec<InferStreamSpec>,
    /// Load and warm, say so, and touch no stream before [`crate::control::ToWorker::Start`]:
    /// a predecessor still serves them.
    pub standby: bool,
}

/// One stream of an infer worker, or the crops of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferStreamSpec {
    /// Where frames come from.
    pub frames: FrameServiceSpec,
    /// Its gates say when a frame is worth running the model on; without one for this model: always.
    pub rules: Option<RuleSource>,
    /// Labels of the stream, which gates may ask for.
    pub labels: BTreeMap<String, String>,
    /// The book of [`crate::ledger::RenderCounters`] of this stream: what tracks and rules feed back.
    pub feedback: PathBuf,
    /// Older frames are not run on; not applied under [`QueuePolicy::Wait`].
    pub max_staleness_ms: u64,
    /// Weight of this stream when demand exceeds capacity, 1 or more.
    pub priority: u32,
    /// Whom to wake with results.
    pub consumer: WorkerId,
    /// The book of [`crate::ledger::InferCounters`].
    pub book: PathBuf,
}

/// For `render-worker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderSpec {
    /// Where frames come from.
    pub frames: FrameServiceSpec,
    /// The models whose results are joined.
    pub models: Vec<RenderModelSpec>,
    /// The models that rules and cascades run on the crops of tracks.
    pub crops: Vec<RenderCropsSpec>,
    /// Which tracks are shown to them without a rule.
    pub cascades: Vec<CascadeSpec>,
    /// A frame waits so long for results.
    pub max_latency_ms: u64,
    /// Tracker settings.
    pub tracker: TrackerSpec,
    /// Of which tracks the best picture is written when they end; `None`: of none.
    pub best_shots: Option<BestShotsSpec>,
    /// Zones, lines and rules.
    pub rules: Option<RuleSource>,
    /// Labels of the stream, which rules may ask for.
    pub labels: BTreeMap<String, String>,
    /// What is hidden in all pictures; `None`: nothing.
    pub privacy: Option<PrivacySpec>,
    /// What is drawn.
    pub overlay: OverlaySpec,
    /// The names of the tiles, where the stream is a mosaic.
    pub captions: Vec<CaptionSpec>,
    /// The mosaics that the stream is in.
    pub tiles: Vec<TileSpec>,
    /// Encoder settings; `None`: nothing is drawn or encoded.
    pub encode: Option<EncodeSpec>,
    /// Outputs get the source's own access units, and `encode` is `None`.
    pub passthrough: Option<PassthroughSpec>,
    /// Where to record; relative paths are inside the run's directory.
    pub record: Option<RecordSpec>,
    /// Hand encoded access units to the gateway.
    pub restream: bool,
    /// Store what was detected in each frame.
    pub store_detections: bool,
    /// The book of [`crate::ledger::RenderCounters`].
    pub book: PathBuf,
}

/// One model of a render worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderModelSpec {
    /// The model.
    pub model: ModelName,
    /// Class names, by class index.
    pub labels: Vec<String>,
}

/// One model that a render worker asks about crops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderCropsSpec {
    /// The model.
    pub model: ModelName,
    /// Class names, by class index.
    pub labels: Vec<String>,
    /// Where crops go.
    pub frames: FrameServiceSpec,
    /// A track with the five landmarks of a face is cut out upright, as models that embed faces
    /// want it.
    pub upright_faces: bool,
    /// Crops that may be unanswered at the same time; 1 or more.
    pub unanswered_max: u32,
    /// The book of [`crate::ledger::CropCounters`].
    pub book: PathBuf,
}

/// Tracks that are shown to a second model again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CascadeSpec {
    /// The model; one of [`RenderSpec::crops`].
    pub model: ModelName,
    /// Labels of the tracks. No two cascades of one model have a label in common.
    pub of: Vec<String>,
    /// A track is shown at most so often, in event time.
    pub every_ms: u64,
    /// Only while this condition of the rule language holds for it, already checked; `None`:
    /// whenever it is seen.
    pub when: Option<String>,
    /// No more once the model has found something on it.
    pub until_found: bool,
}

/// A rule file: its text, so that the worker needs no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSource {
    /// The run's generation that brought this text: events name it.
    pub generation: u64,
    /// Name shown in messages.
    pub path: PathBuf,
    /// The YAML text, already checked.
    pub text: String,
}

/// Tracker settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackerSpec {
    /// How detections are given to tracks.
    pub algorithm: TrackerAlgorithm,
    /// Detections from this score on take part in the first association.
    pub high_score: f32,
    /// Unmatched detections from this score on begin a track.
    pub new_track_score: f32,
    /// Smallest IoU of a match.
    pub iou_min: f32,
    /// A track unseen for so long ends.
    pub lost_timeout_ms: u64,
    /// Measure how the camera moves, and let tracks move with the picture; BoT-SORT only.
    pub camera_motion: bool,
}

/// Of which tracks the best picture is written, and what picture is good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestShotsSpec {
    /// Labels of these tracks; empty: of all.
    pub labels: Vec<String>,
    /// A detection of a lower score gives no picture.
    pub score_min: f32,
    /// A box whose longer side is shorter gives no picture, in pixels of the frame.
    pub side_min: u32,
}

/// How detections are given to tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackerAlgorithm {
    /// One association by IoU (Bewley et al. 2016).
    Sort,
    /// Strong detections, then weak ones (Zhang et al. 2022).
    Bytetrack,
    /// The same with camera motion and appearance (Aharon et al. 2022).
    Botsort,
}

/// H.264 encoder settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeSpec {
    /// Use a hardware encoder where one works; `preset` and `threads` are x264's.
    pub hardware: bool,
    /// A preset of x264: `ultrafast` to `placebo`.
    pub preset: String,
    /// Target bit rate.
    pub bitrate_kbps: u32,
    /// Most milliseconds between key frames.
    pub keyframe_interval_ms: u32,
    /// Encoder threads.
    pub threads: u32,
    /// Smaller encodes of the same picture, the largest first, at most [`QualitySpec::MAX`]. That
    /// of full size is always there and is the first rung; these are rungs 1 and up.
    pub qualities: Vec<QualitySpec>,
}

/// One smaller encode of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualitySpec {
    /// Its height in pixels, by which it is named; the width follows from the picture.
    pub height: u32,
    /// Target bit rate.
    pub bitrate_kbps: u32,
}

impl QualitySpec {
    /// Most of one stream: with the encode of full size four rungs.
    pub const MAX: usize = 3;
}

/// Where to record, and in files of what length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSpec {
    /// Directory of the files; made when missing.
    pub directory: PathBuf,
    /// With the first frame after so long another file begins, in milliseconds.
    pub segment_ms: u64,
    /// With the first key frame after so many bytes another file begins.
    pub segment_bytes: u64,
}
