//! ONNX Runtime: where its library is found, and sessions of one model.
//!
//! A session runs on the thread that calls it and on no other. On a CPU several such
//! sessions side by side give more frames a second than one session with as many threads
//! (`NanoDet` 416 in `f32` on two cores: 91 against 71), and a bigger batch gains nothing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorElementType, TensorRef, ValueType};

use crate::family::{Port, ShapeError};

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
    /// A model of another shape than its family's.
    #[error("{}: {source}", path.display())]
    Shape {
        /// The path as configured.
        path: PathBuf,
        /// What was found and what was expected.
        source: ShapeError,
    },
    /// The model ran and failed.
    #[error("the model failed: {0}")]
    Run(String),
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

/// A model loaded once; runs on the calling thread only.
#[derive(Debug)]
pub struct ModelSession {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl ModelSession {
    /// Loads a model file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a model this library can run.
    pub fn load(environment: &Environment, file: &Path) -> Result<Self, RuntimeError> {
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
        let session = build(environment, file).map_err(|error| RuntimeError::Model {
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

    /// What the model gives.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the model on one `[1, 3, side, side]` tensor and hands its outputs, in their
    /// declared order, to `read`; the tensor is not copied and neither are the outputs.
    ///
    /// # Errors
    /// When the model fails, or gives something other than tensors of `f32`.
    pub fn run<R>(
        &mut self,
        tensor: &[f32],
        side: usize,
        read: impl FnOnce(&[&[f32]]) -> R,
    ) -> Result<R, RuntimeError> {
        let failed = |error: ort::Error| RuntimeError::Run(error.message().trim().to_owned());
        let input = TensorRef::from_array_view(([1, 3, side, side], tensor)).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![input]).map_err(failed)?;
        let slices = (0..outputs.len()).map(|index| {
            let tensor = outputs[index].try_extract_tensor::<f32>();
            tensor.map(|(_, values)| values).map_err(failed)
        });
        let slices = slices.collect::<Result<Vec<_>, _>>()?;
        Ok(read(&slices))
    }
}

fn build(environment: &Environment, file: &Path) -> Result<Session, ort::Error> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(true)?
        .with_log_level(LogLevel::Warning)?
        .commit_from_file(file)
}

fn port(outlet: &ort::value::Outlet) -> Port {
    let (is_f32, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (*ty == TensorElementType::Float32, shape.to_vec()),
        _ => (false, Vec::new()),
    };
    Port {
        name: outlet.name().to_owned(),
        is_f32,
        shape,
    }
}
