//! Studies of a model outside of any run: how quickly it runs on this machine, what it is
//! calibrated with, how far a changed one agrees with the original.
//!
//! An infer worker makes them, because it is the process that loads models, with the code
//! that a run uses. Frames come to it over the bus as ever, from ingest workers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{FrameServiceSpec, InferSpec};

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
    /// Does a changed model find what the original finds, and how much sooner?
    Agreement {
        /// The original: its detections are the truth.
        original: InferSpec,
        /// The changed one.
        candidate: InferSpec,
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
    /// To [`Question::Agreement`].
    Agreement(AgreementAnswer),
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
    /// Cores that the process may use.
    pub cores: usize,
    /// Frames that were measured on, again and again.
    pub frames: usize,
    /// Whole frames, from picture to detections, by sessions and threads.
    pub configurations: Vec<ConfigurationSpeed>,
    /// The model alone by batch size, on one thread; only of one when the file fixes it.
    pub batches: Vec<BatchSpeed>,
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

/// Speed of the model alone on a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSpeed {
    /// Frames of a batch.
    pub batch: usize,
    /// Milliseconds of one frame, median over batches.
    pub model_ms: f64,
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
