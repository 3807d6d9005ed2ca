//! One session with all it needs to go from a picture to detections.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::detection::Detection;
use contract::spec::InferSpec;
use ort::environment::Environment;

use crate::family::{self, Family, Thresholds};
use crate::letterbox::Letterbox;
use crate::runtime::{ModelSession, RuntimeError};
use crate::tensor::{Picture, TensorMaker};

/// What an engine made of a picture, and how long each part took.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// What was found.
    pub detections: Vec<Detection>,
    /// Time in the model.
    pub model: Duration,
    /// Time making the tensor and reading the outputs.
    pub conversion: Duration,
}

/// One session of a model, the tensor it reads and the family that reads its outputs.
#[derive(Debug)]
pub struct Engine {
    session: ModelSession,
    family: Arc<dyn Family>,
    thresholds: Thresholds,
    tensor: TensorMaker,
    tensor_time: Duration,
}

impl Engine {
    /// Loads the model of a spec and compares its shapes with its family's.
    ///
    /// # Errors
    /// When the file cannot be loaded or is of another shape.
    pub fn load(environment: &Environment, spec: &InferSpec) -> Result<Self, RuntimeError> {
        let file: &Path = &spec.file;
        let session = ModelSession::load(environment, file)?;
        let (inputs, outputs) = (session.inputs(), session.outputs());
        let family =
            family::bind(spec.family, inputs, outputs, spec.labels.len()).map_err(|source| {
                RuntimeError::Shape {
                    path: file.to_owned(),
                    source,
                }
            })?;
        Ok(Self {
            tensor: TensorMaker::new(family.side(), family.normalisation()),
            session,
            family,
            thresholds: Thresholds::of(spec),
            tensor_time: Duration::ZERO,
        })
    }

    /// Keeps other detections from the next picture on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// `nanodet 416x416`
    #[must_use]
    pub fn description(&self) -> String {
        let side = self.family.side();
        format!("{} {side}x{side}", self.family.name())
    }

    /// Pixels of one side of the model's square input.
    #[must_use]
    pub fn side(&self) -> usize {
        self.family.side()
    }

    /// Makes the tensor of a picture, which is not needed after this.
    pub fn prepare(&mut self, picture: &Picture<'_>) -> Letterbox {
        let begin = Instant::now();
        let letterbox = self.tensor.make(picture);
        self.tensor_time = begin.elapsed();
        letterbox
    }

    /// Runs the model on the tensor last made, of the picture that `letterbox` places.
    ///
    /// # Errors
    /// When the model fails, or its outputs are not as long as it declared.
    pub fn infer(&mut self, letterbox: &Letterbox) -> Result<Inference, RuntimeError> {
        let begin = Instant::now();
        let (family, thresholds) = (&self.family, &self.thresholds);
        let read = |outputs: &[&[f32]]| {
            let model = begin.elapsed();
            (model, family.decode(outputs, letterbox, thresholds))
        };
        let (model, detections) = self
            .session
            .run(self.tensor.tensor(), family.side(), read)?;
        let detections = detections.map_err(|error| RuntimeError::Run(error.to_string()))?;
        Ok(Inference {
            detections,
            model,
            conversion: self.tensor_time + begin.elapsed().saturating_sub(model),
        })
    }
}
