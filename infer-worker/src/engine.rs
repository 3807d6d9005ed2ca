//! One session with all it needs to go from a picture to what the model says of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::findings::Findings;
use contract::geometry::PixelSize;
use contract::spec::InferSpec;
use ort::environment::Environment;

use crate::family::{self, BindError, Family, Thresholds};
use crate::letterbox::Letterbox;
use crate::runtime::{ModelSession, RuntimeError};
use crate::tensor::{Picture, TensorMaker, TensorValues};

/// What an engine made of a picture, and how long each part took.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// What was found.
    pub findings: Findings,
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
    description: String,
    tensor_time: Duration,
}

impl Engine {
    /// Loads the model of a spec, runs it once on an empty picture and compares what it takes
    /// and gives with its family's.
    ///
    /// # Errors
    /// When the file cannot be loaded, is not of its family or cannot be run as configured.
    pub fn load(environment: &Environment, spec: &InferSpec) -> Result<Self, RuntimeError> {
        Self::load_with_threads(environment, spec, 1)
    }

    /// The same, in a session that takes `threads` threads for one run.
    ///
    /// # Errors
    /// When the file cannot be loaded, is not of its family or cannot be run as configured.
    pub fn load_with_threads(
        environment: &Environment,
        spec: &InferSpec,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let file: &Path = &spec.file;
        let unfit = |source: BindError| RuntimeError::Family {
            path: file.to_owned(),
            source,
        };
        let mut session = ModelSession::load_with_threads(environment, file, threads)?;
        let format = family::input(spec.family, session.inputs(), &spec.input).map_err(unfit)?;
        let tensor = TensorMaker::new(format);
        let outputs = session.outputs(tensor.tensor(), &format)?;
        let classes = spec.labels.len();
        let family = family::bind(spec.family, &format, &outputs, classes).map_err(unfit)?;
        Ok(Self {
            description: format!("{} {}", spec.family.as_str(), format.size),
            tensor,
            session,
            family,
            thresholds: Thresholds::of(spec),
            tensor_time: Duration::ZERO,
        })
    }

    /// Keeps other findings from the next picture on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// `nanodet 416x416`
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Size of the model's input.
    #[must_use]
    pub fn size(&self) -> PixelSize {
        self.tensor.format().size
    }

    /// The tensor last made, and its dimensions.
    #[must_use]
    pub fn tensor(&self) -> (TensorValues<'_>, Vec<usize>) {
        (self.tensor.tensor(), self.tensor.format().dimensions())
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
        let read = |outputs: &[family::Output<'_>]| {
            let model = begin.elapsed();
            (model, family.decode(outputs, letterbox, thresholds))
        };
        let (model, findings) =
            self.session
                .run(self.tensor.tensor(), self.tensor.format(), read)?;
        let findings = findings.map_err(|error| RuntimeError::Run(error.to_string()))?;
        Ok(Inference {
            findings,
            model,
            conversion: self.tensor_time + begin.elapsed().saturating_sub(model),
        })
    }
}
