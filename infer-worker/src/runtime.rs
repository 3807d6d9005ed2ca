//! ONNX Runtime: where its library is found, and sessions of one model.
//!
//! A session runs on the thread that calls it and, on a CPU, on no other. There several such
//! sessions side by side give more frames a second than one session with as many threads
//! (`NanoDet` 416 in `f32` on two cores: 91 against 71), and a bigger batch gains nothing.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, TensorElementType, TensorRef, ValueType};

use crate::backend::BackendError;
use crate::family::{BindError, Element, Output, Port};
use crate::tensor::TensorValues;

/// Where set-up puts the library, under the repository's root or beside installed programs.
const LIBRARY_PLACE: &str = ".deps/onnxruntime/lib/libonnxruntime.so";
/// What the system's loader is asked for when nothing else is found.
const LIBRARY_NAME: &str = "libonnxruntime.so";
/// Names the library, ahead of all places but the config.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No library anywhere.
    #[error(
        "libonnxruntime.so is not found; looked at {looked_at}; run scripts/setup, or name it with `library` in the config or with {LIBRARY_VARIABLE}"
    )]
    NoLibrary {
        /// Every place, in order.
        looked_at: String,
    },
    /// A library that cannot be used.
    #[error("the ONNX Runtime library cannot be used: {0}")]
    Library(String),
    /// No such model file.
    #[error("model file {} cannot be read: {reason}", path.display())]
    NoModel {
        /// The path as configured.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A file that is no model, or one that this library cannot run.
    #[error(
        "{} is not a model that ONNX Runtime can load: {reason}; export it to ONNX anew, or fetch it again", path.display()
    )]
    Model {
        /// The path as configured.
        path: PathBuf,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// A model that is not of its family, or cannot be run as it is configured.
    #[error("{}: {source}", path.display())]
    Family {
        /// The path as configured.
        path: PathBuf,
        /// What was found and what was expected.
        source: BindError,
    },
    /// A model that cannot be run on batches as it is configured.
    #[error("{}: {source}", path.display())]
    Batch {
        /// The path as configured.
        path: PathBuf,
        /// What stands in the way.
        source: BatchError,
    },
    /// Nothing that could run it as it is configured.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The model ran and failed.
    #[error("the model failed: {0}")]
    Run(String),
}

/// Why a model cannot be run on batches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The file fixes how many pictures it takes.
    #[error(
        "`batch.max` is {asked}, but the file takes {fixed} of them at a time ({input}): set it to \
         {fixed}, or export the file with its first dimension left open"
    )]
    Fixed {
        /// In the config.
        asked: usize,
        /// In the file.
        fixed: usize,
        /// The file's input.
        input: String,
    },
    /// An output is the same whatever the number of pictures.
    #[error(
        "the file takes {asked} pictures at a time, but {output} is no output of {asked}: export it \
         so that the first dimension of each output counts pictures, or, where the file leaves \
         their number open, set `batch.max` to 1"
    )]
    Output {
        /// Pictures of the run.
        asked: usize,
        /// The output, in the shape of that run.
        output: String,
    },
    /// It fails when there is more than one.
    #[error(
        "the file says that it takes any number of pictures, but fails on {asked}: {reason}; set \
         `batch.max` to 1, or export it so that it does not build on their number"
    )]
    Run {
        /// Pictures of the run.
        asked: usize,
        /// What ONNX Runtime says.
        reason: String,
    },
}

/// The one environment that ONNX Runtime allows a process; made by the first [`open`].
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the library and starts ONNX Runtime, or returns what an earlier call started.
///
/// The library is, in this order: `configured`, `$ORT_DYLIB_PATH`, the place set-up puts
/// it, searched upwards from the executable and from the current directory, and
/// whatever the system's loader knows.
///
/// # Errors
/// When there is no library, or one that is too old for this binding.
pub fn open(configured: Option<&Path>) -> Result<Environment, RuntimeError> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let unusable = |reason: &dyn std::fmt::Display| RuntimeError::Library(reason.to_string());
    let variable = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
    let named = configured.map(Path::to_owned).or(variable);
    let (builder, path) = match named {
        Some(path) => (
            ort::init_from(&path).map_err(|error| unusable(&error))?,
            path,
        ),
        None => search_library()?,
    };
    let started = builder
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(&error))?;
    started.set_log_level(LogLevel::Warning);
    tracing::info!(library = %path.display(), build = ort::info(), "ONNX Runtime is loaded");
    Ok(environment.insert(started).clone())
}

fn search_library() -> Result<(ort::environment::EnvironmentBuilder, PathBuf), RuntimeError> {
    let mut looked_at = Vec::new();
    let executable = std::env::current_exe().unwrap_or_default();
    let current = std::env::current_dir().unwrap_or_default();
    for start in [executable.parent().unwrap_or(&executable), &current] {
        for directory in start.ancestors() {
            let path = directory.join(LIBRARY_PLACE);
            if path.is_file() {
                let builder = ort::init_from(&path)
                    .map_err(|error| RuntimeError::Library(error.to_string()))?;
                return Ok((builder, path));
            }
        }
        looked_at.push(format!(
            "{LIBRARY_PLACE} in {} and every directory above it",
            start.display()
        ));
    }
    looked_at.push(format!("{LIBRARY_NAME} by the system's loader"));
    let name = PathBuf::from(LIBRARY_NAME);
    match ort::init_from(&name) {
        Ok(builder) => Ok((builder, name)),
        Err(error) => {
            tracing::debug!(%error, "the system's loader has no ONNX Runtime");
            Err(RuntimeError::NoLibrary {
                looked_at: looked_at.join(", "),
            })
        }
    }
}

/// A model loaded once.
#[derive(Debug)]
pub struct ModelSession {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl ModelSession {
    /// Loads a model file into a session that takes `threads` threads for one run, the calling
    /// one among them, and runs on the first of `providers` that can, operator by operator, and else
    /// on the CPU.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a model this library can run, or a provider
    /// cannot be had.
    pub fn load(
        environment: &Environment,
        file: &Path,
        threads: usize,
        providers: &[ExecutionProviderDispatch],
    ) -> Result<Self, RuntimeError> {
        // ONNX Runtime's own message for a missing file says less than the system's.
        std::fs::File::open(file)
            .and_then(|opened| opened.metadata())
            .and_then(|metadata| {
                if metadata.is_file() {
                    return Ok(());
                }
                Err(std::io::Error::other("it is not a file"))
            })
            .map_err(|reason| RuntimeError::NoModel {
                path: file.to_owned(),
                reason,
            })?;
        let session = build(environment, file, threads, providers);
        let session = session.map_err(|error| RuntimeError::Model {
            path: file.to_owned(),
            reason: error.message().trim().to_owned(),
        })?;
        let ports = |outlets: &[ort::value::Outlet]| outlets.iter().map(port).collect();
        Ok(Self {
            inputs: ports(session.inputs()),
            outputs: ports(session.outputs()),
            session,
        })
    }

    /// What the model takes.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the model gives for a tensor. A file may leave dimensions of its outputs open, so they
    /// are taken from a run.
    ///
    /// # Errors
    /// When the model fails, or gives something other than tensors of numbers.
    pub fn outputs(
        &mut self,
        tensor: TensorValues<'_>,
        dimensions: &[usize],
    ) -> Result<Vec<Port>, RuntimeError> {
        let shapes = self.run(tensor, dimensions, |outputs| {
            let shapes = outputs.iter().map(|output| output.shape.to_vec());
            shapes.collect::<Vec<_>>()
        })?;
        let outputs = self.outputs.iter().zip(shapes);
        let outputs = outputs.map(|(port, shape)| Port {
            shape,
            ..port.clone()
        });
        Ok(outputs.collect())
    }

    /// Runs the model on one tensor and hands its outputs, in their declared order, to `read`; the
    /// tensor is not copied, and neither are outputs of `f32`.
    ///
    /// # Errors
    /// When the model fails, or gives something other than tensors of numbers.
    pub fn run<R>(
        &mut self,
        tensor: TensorValues<'_>,
        dimensions: &[usize],
        read: impl FnOnce(&[Output<'_>]) -> R,
    ) -> Result<R, RuntimeError> {
        let failed = |error: ort::Error| RuntimeError::Run(error.message().trim().to_owned());
        let outputs = match tensor {
            TensorValues::Floats(values) => {
                let input = TensorRef::from_array_view((dimensions, values)).map_err(failed)?;
                self.session.run(ort::inputs![input])
            }
            TensorValues::Bytes(values) => {
                let input = TensorRef::from_array_view((dimensions, values)).map_err(failed)?;
                self.session.run(ort::inputs![input])
            }
        };
        let outputs = outputs.map_err(failed)?;
        let read_one = |(index, port): (usize, &Port)| output(&outputs[index], port.element);
        let read_all = self.outputs.iter().enumerate().map(read_one);
        let read_all = read_all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(read(&read_all))
    }
}

/// One output as floats. Integers are classes and counts, far below 2^24.
fn output(value: &DynValue, element: Element) -> Result<Output<'_>, ort::Error> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "classes and counts are far below 2^24"
    )]
    let (shape, values) = match element {
        Element::I32 => {
            let (shape, values) = value.try_extract_tensor::<i32>()?;
            let values = values.iter().map(|value| *value as f32).collect();
            (shape, Cow::Owned(values))
        }
        Element::I64 => {
            let (shape, values) = value.try_extract_tensor::<i64>()?;
            let values = values.iter().map(|value| *value as f32).collect();
            (shape, Cow::Owned(values))
        }
        Element::U8 => {
            let (shape, values) = value.try_extract_tensor::<u8>()?;
            let values = values.iter().map(|value| f32::from(*value)).collect();
            (shape, Cow::Owned(values))
        }
        Element::F32 | Element::Other => {
            let (shape, values) = value.try_extract_tensor::<f32>()?;
            (shape, Cow::Borrowed(values))
        }
    };
    Ok(Output { shape, values })
}

fn build(
    environment: &Environment,
    file: &Path,
    threads: usize,
    providers: &[ExecutionProviderDispatch],
) -> Result<Session, ort::Error> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(true)?
        .with_log_level(LogLevel::Warning)?
        .with_execution_providers(providers)?
        .commit_from_file(file)
}

fn port(outlet: &ort::value::Outlet) -> Port {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (element(*ty), shape.to_vec()),
        _ => (Element::Other, Vec::new()),
    };
    Port {
        name: outlet.name().to_owned(),
        element,
        shape,
    }
}

fn element(of: TensorElementType) -> Element {
    match of {
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Uint8 => Element::U8,
        TensorElementType::Int32 => Element::I32,
        TensorElementType::Int64 => Element::I64,
        _ => Element::Other,
    }
}
