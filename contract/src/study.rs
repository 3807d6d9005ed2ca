//! Studies of a model outside of any run: how quickly it runs on this machine, what it is
//! calibrated with, how far a changed one agrees with the original.
//!
//! An infer worker makes them, because it is the process that loads models, with the code
//! that a run uses. Frames come to it over the bus as ever, from ingest workers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{Backend, FrameServiceSpec, InferSpec};

/// What an infer worker is to find out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudySpec {
    /// The question.
    pub question: Question,
    /// The clips that frames are taken from; each ends.
    pub clips: Vec<FrameServiceSpec>,
    /// Frames kept, of all clips together; of each clip the same number, evenly spaced.
    pub frames_max: u32,
}

/// A question about models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// What do the inputs look like? They are written into a file.
    Inputs {
        /// The model.
        model: InferSpec,
        /// Where the tensors go: one after the other, little-endian `f32`.
        tensors: PathBuf,
    },
    /// How quickly does it run, in which configuration?
    Speed {
        /// The model.
        model: InferSpec,
        /// Most sessions, and most threads of one.
        cores: u32,
    },
    /// What could run a model on this machine?
    Backends {
        /// `libonnxruntime.so`; `None`: the places set-up puts it.
        library: Option<PathBuf>,
    },
    /// Does a changed model find what the original finds, and how much sooner?
    Agreement {
        /// The original: its detections are the truth.
        original: Box<InferSpec>,
        /// The changed one.
        candidate: Box<InferSpec>,
    },
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::Inputs`].
    Inputs(InputsAnswer),
    /// To [`Question::Speed`].
    Speed(SpeedAnswer),
    /// To [`Question::Backends`].
    Backends(BackendsAnswer),
    /// To [`Question::Agreement`].
    Agreement(AgreementAnswer),
}

/// What could run a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendsAnswer {
    /// What the library says of itself.
    pub library: String,
    /// What the NVIDIA driver calls its GPUs.
    pub gpus: Vec<String>,
    /// All back ends, best first.
    pub backends: Vec<BackendState>,
}

/// Whether a back end could be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendState {
    /// Which one.
    pub backend: Backend,
    /// What is missing, and what to do; `None`: it is there.
    pub missing: Option<String>,
}

/// What was written for calibration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputsAnswer {
    /// Shape of one tensor, the batch of one included.
    pub shape: Vec<usize>,
    /// Tensors in the file.
    pub frames: usize,
}

/// How quickly a model runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeedAnswer {
    /// `nanodet 416x416`
    pub model: String,
    /// What ran it.
    pub backend: Backend,
    /// Better back ends, and why they were not taken; empty when there are none.
    pub passed_over: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Frames that were measured on, again and again.
    pub frames: usize,
    /// Whole frames, from picture to detections, by sessions and threads.
    pub configurations: Vec<ConfigurationSpeed>,
    /// Whole frames by the size of batches, in as many sessions of one thread as give the most
    /// frames a second.
    pub batches: Vec<BatchSpeed>,
    /// Why there is no larger batch, where the file stands in the way.
    pub batch_limit: Option<String>,
}

/// Speed of whole frames in one configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationSpeed {
    /// Sessions side by side.
    pub sessions: usize,
    /// Threads of each.
    pub threads: usize,
    /// Frames a second of all sessions together.
    pub frames_per_second: f64,
    /// Processor time had, of what the sessions' threads could have used, 0 to 1. Much below 1
    /// with threads that do not wait for each other, other programs were busy.
    pub processor_share: f64,
    /// Milliseconds of a frame in one session, median, all sessions running.
    pub frame_ms: f64,
    /// Milliseconds of it from picture to tensor, median.
    pub preprocess_ms: f64,
    /// Milliseconds of it in the model, median.
    pub model_ms: f64,
    /// Milliseconds of it from outputs to detections, median.
    pub decode_ms: f64,
}

/// Speed of whole frames in batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSpeed {
    /// Frames of a batch.
    pub batch: usize,
    /// Sessions side by side.
    pub sessions: usize,
    /// Frames a second of all sessions together.
    pub frames_per_second: f64,
    /// Milliseconds of a batch in one session, median, all sessions running: none of its frames is
    /// done sooner.
    pub batch_ms: f64,
    /// Milliseconds of one frame in the model, its share, median.
    pub model_ms: f64,
    /// Milliseconds of processor time of one frame, its share, mean: on a CPU what compares batches
    /// when other programs are busy.
    pub processor_ms: f64,
}

/// How far a candidate agrees with the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgreementAnswer {
    /// Frames that both were run on.
    pub frames: usize,
    /// Detections of the original.
    pub truths: usize,
    /// Average precision of the candidate's detections at IoU 0.5; `None` without any truth.
    pub average_precision: Option<f64>,
    /// Milliseconds of processor time of one frame, tensor to detections, in the original; median.
    pub original_ms: f64,
    /// The same in the candidate.
    pub candidate_ms: f64,
}
