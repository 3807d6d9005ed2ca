//! One session with all it needs to go from pictures to what the model says of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::findings::Findings;
use contract::geometry::PixelSize;
use contract::spec::{Backend, InferSpec};
use cuda::Device;
use ort::environment::Environment;

use crate::backend;
use crate::family::{self, BindError, Family, Output, Port, Thresholds};
use crate::letterbox::Letterbox;
use crate::runtime::{BatchError, ModelSession, RuntimeError};
use crate::tensor::{
    BatchDimension, DevicePicture, DeviceTensors, Picture, TensorFormat, TensorMaker, TensorValues,
};

/// Most pictures of a run on a GPU where neither config nor file say it: from there on `NanoDet`s
/// and their like gain little, and a picture waits for all of its batch.
const BATCH_USUAL_ON_GPU: usize = 8;

/// What an engine made of a picture, and how long each part took.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// What was found.
    pub findings: Findings,
    /// Its share of the time that the model took for all pictures of the run.
    pub model: Duration,
    /// Time making its tensor and reading its outputs.
    pub conversion: Duration,
    /// Pictures of the run, this one among them.
    pub batch: usize,
}

/// One session of a model, the tensor it reads and the family that reads its outputs.
#[derive(Debug)]
pub struct Engine {
    session: ModelSession,
    backend: Backend,
    family: Arc<dyn Family>,
    thresholds: Thresholds,
    tensor: TensorMaker,
    /// Makes tensors of pictures that lie on a GPU, once there was one.
    device_tensors: Option<DeviceTensors>,
    /// Most pictures of a run.
    batch_max: usize,
    /// What has been added for the next run.
    pictures: Vec<Added>,
    /// Of the tensor of the next run.
    dimensions: Vec<usize>,
    description: String,
}

/// A picture whose tensor has been made.
#[derive(Debug, Clone, Copy)]
struct Added {
    letterbox: Letterbox,
    tensor_time: Duration,
}

impl Engine {
    /// Loads the model of a spec for the best back end that it allows, runs it on empty
    /// pictures and compares what it takes and gives with its family's.
    ///
    /// # Errors
    /// When the file cannot be loaded, is not of its family or cannot be run as configured.
    pub fn load(environment: &Environment, spec: &InferSpec) -> Result<Self, RuntimeError> {
        let load = |backend| Self::load_for(environment, spec, backend, 1);
        let available = backend::available();
        backend::select(&spec.backend, &available, load).map(|selected| selected.loaded)
    }

    /// The same for one back end, in a session that takes `threads` threads for one run.
    ///
    /// # Errors
    /// When the file cannot be loaded, is not of its family or cannot be run as configured.
    pub fn load_for(
        environment: &Environment,
        spec: &InferSpec,
        backend: Backend,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let asked = spec.batch.max.map(|max| (max as usize).max(1));
        if asked.is_some() || !backend.is_gpu() {
            return Self::load_with_batch(environment, spec, backend, threads, asked.unwrap_or(1));
        }
        // Nobody asked for batches, so a file that cannot be run on them is no mistake.
        match Self::load_with_batch(environment, spec, backend, threads, BATCH_USUAL_ON_GPU) {
            Err(RuntimeError::Batch { source, .. }) => {
                tracing::info!(%source, "one picture at a time");
                Self::load_with_batch(environment, spec, backend, threads, 1)
            }
            loaded => loaded,
        }
    }

    fn load_with_batch(
        environment: &Environment,
        spec: &InferSpec,
        backend: Backend,
        threads: usize,
        batch_max: usize,
    ) -> Result<Self, RuntimeError> {
        let file: &Path = &spec.file;
        let unfit = |source: BindError| RuntimeError::Family {
            path: file.to_owned(),
            source,
        };
        let unbatched = |source: BatchError| RuntimeError::Batch {
            path: file.to_owned(),
            source,
        };
        let target = backend::Target {
            backend,
            spec: &spec.backend,
            file,
            threads,
            batch_max,
        };
        let format_of = |inputs: &[Port]| family::input(spec.family, inputs, &spec.input);
        let providers = backend::providers(environment, &target, format_of)?;
        let mut session = ModelSession::load(environment, file, threads, &providers)?;
        let format = format_of(session.inputs()).map_err(unfit)?;
        let is_default = spec.batch.max.is_none();
        let batch_max = batch_of(&format, batch_max, is_default, &session).map_err(unbatched)?;
        let places = match format.batch {
            BatchDimension::Fixed(pictures) => pictures,
            BatchDimension::Absent | BatchDimension::Open => batch_max,
        };
        let tensor = TensorMaker::new(format, places);
        let outputs = outputs_of_one(&mut session, &tensor, file)?;
        let classes = spec.labels.len();
        let family = family::bind(spec.family, &format, &outputs, classes).map_err(unfit)?;
        Ok(Self {
            description: format!("{} {}", spec.family.as_str(), format.size),
            dimensions: format.dimensions(places),
            pictures: Vec::with_capacity(batch_max),
            thresholds: Thresholds::of(spec),
            session,
            backend,
            family,
            tensor,
            device_tensors: None,
            batch_max,
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

    /// What runs the model.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Size of the model's input.
    #[must_use]
    pub fn size(&self) -> PixelSize {
        self.tensor.format().size
    }

    /// Most pictures of a run.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        self.batch_max
    }

    /// The tensor of the first picture of the last run, or of the next, and its dimensions.
    #[must_use]
    pub fn tensor(&self) -> (TensorValues<'_>, Vec<usize>) {
        let dimensions = self.tensor.format().dimensions(1);
        (self.tensor.tensor(1), dimensions)
    }

    /// Makes the tensor of one more picture for the next run; the picture is not needed after
    /// this. Of [`Engine::batch_max`] pictures there is room for no more.
    ///
    /// # Panics
    /// When there is no room.
    pub fn add(&mut self, picture: &Picture<'_>) {
        assert!(self.pictures.len() < self.batch_max, "the batch is full");
        let begin = Instant::now();
        let letterbox = self.tensor.make(self.pictures.len(), picture);
        self.pictures.push(Added {
            letterbox,
            tensor_time: begin.elapsed(),
        });
    }

    /// The same of pictures that lie on the GPU of this number, all at once.
    ///
    /// # Errors
    /// When the GPU fails: none was added then.
    ///
    /// # Panics
    /// When there is no room.
    pub fn add_on_device(
        &mut self,
        ordinal: usize,
        pictures: &[DevicePicture<'_>],
    ) -> Result<(), RuntimeError> {
        let first = self.pictures.len();
        assert!(
            first + pictures.len() <= self.batch_max,
            "the batch is full"
        );
        let begin = Instant::now();
        let failed = |error: &dyn std::fmt::Display| RuntimeError::Run(error.to_string());
        let known = self.device_tensors.take();
        let mut tensors = match known.filter(|known| known.device().ordinal() == ordinal) {
            Some(known) => known,
            None => Device::open(ordinal)
                .and_then(|gpu| DeviceTensors::new(&gpu, self.tensor.format(), self.batch_max))
                .map_err(|error| failed(&error))?,
        };
        let made = self.tensor.make_on_device(first, &mut tensors, pictures);
        self.device_tensors = Some(tensors);
        let letterboxes = made.map_err(|error| failed(&error))?;
        let share = u32::try_from(pictures.len()).unwrap_or(u32::MAX).max(1);
        let tensor_time = begin.elapsed() / share;
        let added = letterboxes.into_iter().map(|letterbox| Added {
            letterbox,
            tensor_time,
        });
        self.pictures.extend(added);
        Ok(())
    }

    /// Runs the model once on all pictures that were added, at least one, and hands what became
    /// of each, by the order in which they were added, to `each`: what was found, or why its part
    /// of the outputs cannot be read.
    ///
    /// # Errors
    /// When the model fails, or its outputs are not as they were when it was loaded: then nothing
    /// was handed to `each`.
    pub fn run(
        &mut self,
        mut each: impl FnMut(usize, Result<Inference, RuntimeError>),
    ) -> Result<(), RuntimeError> {
        let Self {
            session,
            family,
            thresholds,
            tensor,
            pictures,
            dimensions,
            ..
        } = self;
        let batch = pictures.len();
        let places = match tensor.format().batch {
            BatchDimension::Open => {
                dimensions[0] = batch;
                batch
            }
            BatchDimension::Absent | BatchDimension::Fixed(_) => tensor.places(),
        };
        for place in batch..places {
            tensor.clear(place);
        }
        let begin = Instant::now();
        let decode = |outputs: &[Output<'_>]| {
            let model = begin.elapsed() / u32::try_from(batch.max(1)).unwrap_or(u32::MAX);
            let shapes = ShapesOfOne::of(outputs, places)?;
            let mut own = Vec::new();
            for (index, added) in pictures.iter().enumerate() {
                let begin = Instant::now();
                let part = shapes.part(outputs, index, &mut own);
                let findings = family.decode(part, &added.letterbox, thresholds);
                let inference = findings.map(|findings| Inference {
                    findings,
                    model,
                    conversion: added.tensor_time + begin.elapsed(),
                    batch,
                });
                each(
                    index,
                    inference.map_err(|error| RuntimeError::Run(error.to_string())),
                );
            }
            Ok(())
        };
        let ran = session.run(tensor.tensor(places), dimensions, decode);
        pictures.clear();
        ran.flatten()
    }

    /// Makes the tensor of one picture, in place of whatever was added.
    pub fn prepare(&mut self, picture: &Picture<'_>) {
        self.pictures.clear();
        self.add(picture);
    }

    /// Runs the model on the picture last prepared alone.
    ///
    /// # Errors
    /// When the model fails, or its outputs cannot be read.
    pub fn infer(&mut self) -> Result<Inference, RuntimeError> {
        let mut inferred = None;
        self.run(|_, inference| inferred = Some(inference))?;
        inferred.unwrap_or_else(|| Err(RuntimeError::Run("no picture was prepared".to_owned())))
    }

    /// Runs on padding alone, as if of so many pictures of the least size.
    ///
    /// # Errors
    /// When the model fails.
    pub fn run_empty(&mut self, pictures: usize) -> Result<(), RuntimeError> {
        let size = PixelSize {
            width: 16,
            height: 16,
        };
        let empty = Added {
            letterbox: Letterbox::new(size, self.size()),
            tensor_time: Duration::ZERO,
        };
        self.pictures.clear();
        self.pictures
            .resize(pictures.clamp(1, self.batch_max), empty);
        let mut read = Ok(());
        self.run(|_, inference| {
            if let Err(error) = inference {
                read = Err(error);
            }
        })?;
        read
    }
}

/// Most pictures of a run of a file: `asked`, or what it fixes where that is only a default.
fn batch_of(
    format: &TensorFormat,
    asked: usize,
    is_default: bool,
    session: &ModelSession,
) -> Result<usize, BatchError> {
    let fixed = match format.batch {
        BatchDimension::Open => return Ok(asked),
        BatchDimension::Absent => 1,
        BatchDimension::Fixed(pictures) => pictures,
    };
    if is_default {
        return Ok(fixed);
    }
    if asked <= fixed {
        return Ok(asked);
    }
    let input = session.inputs().iter().map(ToString::to_string);
    Err(BatchError::Fixed {
        asked,
        fixed,
        input: input.collect(),
    })
}

/// The outputs of one picture, found by runs on padding of one picture and of as many as there are
/// places: a file may declare what it cannot do.
fn outputs_of_one(
    session: &mut ModelSession,
    tensor: &TensorMaker,
    file: &Path,
) -> Result<Vec<Port>, RuntimeError> {
    let (format, places) = (tensor.format(), tensor.places());
    let unbatched = |source: BatchError| RuntimeError::Batch {
        path: file.to_owned(),
        source,
    };
    let mut outputs =
        |places: usize| session.outputs(tensor.tensor(places), &format.dimensions(places));
    if places == 1 {
        return outputs(1);
    }
    if format.batch == BatchDimension::Open {
        outputs(1)?;
    }
    let mut ports = outputs(places).map_err(|error| match error {
        RuntimeError::Run(reason) if format.batch == BatchDimension::Open => {
            unbatched(BatchError::Run {
                asked: places,
                reason,
            })
        }
        error => error,
    })?;
    for port in &mut ports {
        let counted = port
            .shape
            .first()
            .and_then(|count| usize::try_from(*count).ok());
        if counted != Some(places) {
            return Err(unbatched(BatchError::Output {
                asked: places,
                output: port.to_string(),
            }));
        }
        port.shape[0] = 1;
    }
    Ok(ports)
}

/// The shapes of one picture's part of each output of a run, one behind the other.
struct ShapesOfOne {
    /// `None`: the run was of one picture, and its outputs are that part.
    shapes: Option<Vec<i64>>,
    places: usize,
}

impl ShapesOfOne {
    /// Of the outputs of a run of so many places.
    fn of(outputs: &[Output<'_>], places: usize) -> Result<Self, RuntimeError> {
        if places == 1 {
            let shapes = None;
            return Ok(Self { shapes, places });
        }
        let mut shapes = Vec::with_capacity(outputs.iter().map(|output| output.shape.len()).sum());
        for (index, output) in outputs.iter().enumerate() {
            let count = output
                .shape
                .first()
                .and_then(|count| usize::try_from(*count).ok());
            if count != Some(places) || !output.values.len().is_multiple_of(places) {
                let shape = output.shape;
                let text = format!("output {index} has the shape {shape:?} for {places} pictures");
                return Err(RuntimeError::Run(text));
            }
            shapes.push(1);
            shapes.extend_from_slice(&output.shape[1..]);
        }
        Ok(Self {
            shapes: Some(shapes),
            places,
        })
    }

    /// The part of the picture in one place, written into `own` where it is not the whole.
    fn part<'p, 'o: 'p>(
        &'o self,
        outputs: &'o [Output<'o>],
        place: usize,
        own: &'p mut Vec<Output<'o>>,
    ) -> &'p [Output<'o>] {
        let Some(shapes) = &self.shapes else {
            return outputs;
        };
        own.clear();
        let mut rest = &shapes[..];
        for output in outputs {
            let (shape, others) = rest.split_at(output.shape.len());
            rest = others;
            let values = output.values.len() / self.places;
            own.push(Output {
                shape,
                values: (&output.values[place * values..][..values]).into(),
            });
        }
        own
    }
}
