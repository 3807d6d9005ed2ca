//! What runs a model: which back end is taken, why not a better one, and how it is set up.
//!
//! A back end is an execution provider of ONNX Runtime. The library that is loaded has some
//! compiled in, and each needs more that may be missing: drivers, libraries, a GPU. So the only
//! proof that one can be used is a session that has run. [`select`] decides what to try, in
//! which order, and what a failure means; it is pure but for the attempts themselves.
//!
//! A back end that the config names is used, or the model is not run at all. With `auto` the
//! first of [`ORDER`] that works is taken, and for each before it there is a reason.

mod cache;
mod options;

use std::path::Path;

use contract::spec::{Backend, BackendSpec, Precision};
use contract::study::BackendState;
use ort::environment::Environment;
use ort::ep::{
    ArbitrarilyConfigurableExecutionProvider, CPU, CUDA, ExecutionProvider,
    ExecutionProviderDispatch, OpenVINO, TensorRT,
};
use ort::session::Session;

use crate::family::{BindError, Port};
use crate::runtime::{ModelSession, RuntimeError};
use crate::tensor::TensorFormat;

use cache::EngineCache;

/// Best first: an engine built for the very GPU, kernels for any GPU, the CPU. `OpenVINO` comes
/// last, for a precision that the CPU's own kernels lack: in that which they have it was measured
/// to be no quicker, and with quantised files slower (`docs/models.md`).
pub const ORDER: [Backend; 4] = [
    Backend::Tensorrt,
    Backend::Cuda,
    Backend::Cpu,
    Backend::Openvino,
];

/// Why nothing can run a model as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The library was built without it.
    #[error(
        "`backend: {name}` cannot be used: the ONNX Runtime library has no such provider, it has \
         {has}; {advice}",
        name = backend.as_str()
    )]
    Missing {
        /// As configured.
        backend: Backend,
        /// The back ends that it has.
        has: String,
        /// Where a library with it comes from.
        advice: &'static str,
    },
    /// It is there, but a session cannot be had.
    #[error(
        "`backend: {name}` cannot be used: {reason}; name another back end, or `auto`, or repair \
         this one (`sluice doctor` says what is missing)",
        name = backend.as_str()
    )]
    Failed {
        /// As configured.
        backend: Backend,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// It cannot be told to calculate in that.
    #[error(
        "`precision: {asked}` has no meaning for `backend: {name}`: {possible}",
        asked = precision.as_str(),
        name = backend.as_str()
    )]
    Precision {
        /// As configured.
        backend: Backend,
        /// As configured.
        precision: Precision,
        /// What could be written instead.
        possible: String,
    },
    /// With `auto`, nothing worked.
    #[error("no back end can be used: {}", list(reasons))]
    None {
        /// Each, and why not.
        reasons: Vec<PassedOver>,
    },
}

/// A back end that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which one.
    pub backend: Backend,
    /// Why not.
    pub reason: String,
}

/// What was taken.
#[derive(Debug)]
pub struct Selected<T> {
    /// The back end.
    pub backend: Backend,
    /// What was loaded for it.
    pub loaded: T,
    /// Those that would have been better.
    pub passed_over: Vec<PassedOver>,
}

/// Takes the back end that `spec` names or, where it names none, the first of [`ORDER`] that is
/// among `available` and for which `load` gives something.
///
/// # Errors
/// When the one that is named cannot be used. With `auto`, when none can; and at once when what
/// `load` says against it is a matter of the model or its config.
pub fn select<T>(
    spec: &BackendSpec,
    available: &[Backend],
    mut load: impl FnMut(Backend) -> Result<T, RuntimeError>,
) -> Result<Selected<T>, RuntimeError> {
    if let Some(backend) = spec.backend {
        check(backend, spec.precision, available)?;
        let loaded = load(backend).map_err(|error| match (backend, error) {
            // Every library has it: it is the file that is wrong.
            (Backend::Cpu, error) => error,
            (backend, RuntimeError::Model { reason, .. } | RuntimeError::Run(reason)) => {
                BackendError::Failed { backend, reason }.into()
            }
            (_, error) => error,
        })?;
        return Ok(Selected {
            backend,
            loaded,
            passed_over: Vec::new(),
        });
    }
    let mut passed_over = Vec::new();
    let mut pass_over = |backend, reason: String| passed_over.push(PassedOver { backend, reason });
    for backend in ORDER {
        if !available.contains(&backend) {
            let reason = "the ONNX Runtime library has no such provider";
            pass_over(backend, reason.to_owned());
            continue;
        }
        if let Some(precision) = spec
            .precision
            .filter(|asked| !backend.precisions().contains(asked))
        {
            pass_over(
                backend,
                format!("it cannot be told to use {}", precision.as_str()),
            );
            continue;
        }
        match load(backend) {
            Ok(loaded) => {
                return Ok(Selected {
                    backend,
                    loaded,
                    passed_over,
                });
            }
            Err(RuntimeError::Model { reason, .. } | RuntimeError::Run(reason))
                if backend != Backend::Cpu =>
            {
                pass_over(backend, reason);
            }
            Err(RuntimeError::Backend(error)) => pass_over(backend, error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let reasons = passed_over;
    Err(BackendError::None { reasons }.into())
}

/// Whether a back end that a config names is worth an attempt.
fn check(
    backend: Backend,
    precision: Option<Precision>,
    available: &[Backend],
) -> Result<(), BackendError> {
    if !available.contains(&backend) {
        let has = ORDER.into_iter().filter(|has| available.contains(has));
        let has: Vec<_> = has.map(Backend::as_str).collect();
        return Err(BackendError::Missing {
            backend,
            has: has.join(", "),
            advice: advice(backend),
        });
    }
    let Some(precision) = precision.filter(|asked| !backend.precisions().contains(asked)) else {
        return Ok(());
    };
    let possible = backend
        .precisions()
        .iter()
        .map(|precision| precision.as_str());
    let possible: Vec<_> = possible.collect();
    let possible = format!("leave it out, or write {}", possible.join(" or "));
    Err(BackendError::Precision {
        backend,
        precision,
        possible,
    })
}

/// Where a library with a back end comes from.
#[must_use]
pub fn advice(backend: Backend) -> &'static str {
    match backend {
        Backend::Cpu => "every library has it",
        Backend::Openvino => {
            "the Python package onnxruntime-openvino has a library that has it: name that with \
             `onnxruntime` in the config or with ORT_DYLIB_PATH"
        }
        Backend::Cuda | Backend::Tensorrt => {
            "the Python package onnxruntime-gpu has a library that has it: name that with \
             `onnxruntime` in the config or with ORT_DYLIB_PATH"
        }
    }
}

/// `tensorrt: ..., cuda: ...`, those with one reason together.
#[must_use]
pub fn list(passed_over: &[PassedOver]) -> String {
    let mut texts: Vec<(Vec<&str>, &str)> = Vec::new();
    for PassedOver { backend, reason } in passed_over {
        match texts.last_mut() {
            Some((names, known)) if known == reason => names.push(backend.as_str()),
            _ => texts.push((vec![backend.as_str()], reason)),
        }
    }
    let texts = texts
        .into_iter()
        .map(|(names, reason)| format!("{}: {reason}", names.join(", ")));
    texts.collect::<Vec<_>>().join("; ")
}

/// The back ends that the loaded library was built with.
#[must_use]
pub fn available() -> Vec<Backend> {
    let has = |backend: &Backend| match backend {
        Backend::Cpu => CPU::is_available(),
        Backend::Openvino => OpenVINO::is_available(),
        Backend::Cuda => CUDA::is_available(),
        Backend::Tensorrt => TensorRT::is_available(),
    };
    let has = |backend: &Backend| {
        has(backend).unwrap_or_else(|error| {
            tracing::warn!(%error, "ONNX Runtime does not say which providers it has");
            *backend == Backend::Cpu
        })
    };
    ORDER.into_iter().filter(has).collect()
}

/// Whether each back end could be used, as far as that can be said without a model.
#[must_use]
pub fn examine(environment: &Environment) -> Vec<BackendState> {
    let available = available();
    let missing = |backend: Backend| {
        if !available.contains(&backend) {
            let advice = advice(backend);
            return Some(format!(
                "the ONNX Runtime library has no such provider; {advice}"
            ));
        }
        if backend.is_gpu() && cache::gpus().is_empty() {
            return Some("the kernel knows no NVIDIA driver with a GPU".to_owned());
        }
        // Loads what it is linked to.
        let provider = match backend {
            Backend::Cpu => return None,
            Backend::Openvino => OpenVINO::default().build(),
            Backend::Cuda => CUDA::default().build(),
            Backend::Tensorrt => TensorRT::default().build(),
        };
        let builder = Session::builder(environment).map_err(|error| error.to_string());
        let loaded = builder.and_then(|mut builder| {
            let registered = provider.register(&mut builder);
            registered.map_err(|error| error.message().trim().to_owned())
        });
        loaded.err()
    };
    let state = |backend| BackendState {
        backend,
        missing: missing(backend),
    };
    ORDER.into_iter().map(state).collect()
}

/// What the NVIDIA driver calls its GPUs.
#[must_use]
pub fn gpus() -> Vec<String> {
    cache::gpus()
}

/// What a session is to be made for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// What runs it.
    pub backend: Backend,
    /// How.
    pub spec: &'a BackendSpec,
    /// The model.
    pub file: &'a Path,
    /// Threads of a run, where it runs on the CPU.
    pub threads: usize,
    /// Most pictures of a run.
    pub batch_max: usize,
}

/// The execution providers of a session, in the order in which they may take operators; what
/// none of them takes is left to the CPU. `format_of` says what a file with such inputs is given.
///
/// # Errors
/// When one cannot be had, or the file cannot be read.
pub fn providers(
    environment: &Environment,
    target: &Target<'_>,
    format_of: impl Fn(&[Port]) -> Result<TensorFormat, BindError>,
) -> Result<Vec<ExecutionProviderDispatch>, RuntimeError> {
    let cuda = || with(CUDA::default(), options::cuda(target)).build();
    let providers = match target.backend {
        Backend::Cpu => Vec::new(),
        Backend::Openvino => {
            vec![with(OpenVINO::default(), options::openvino(target)).build()]
        }
        Backend::Cuda => vec![cuda()],
        Backend::Tensorrt => {
            let session = ModelSession::load(environment, target.file, 1, &[])?;
            let inputs = session.inputs();
            let format = format_of(inputs).map_err(|source| RuntimeError::Family {
                path: target.file.to_owned(),
                source,
            })?;
            let profile = inputs
                .first()
                .and_then(|input| options::Profile::of(input, &format, target.batch_max));
            let cache = EngineCache::open(environment, target);
            let chosen = options::tensorrt(target, profile.as_ref(), cache.as_ref());
            // What TensorRT does not take goes to CUDA before it goes to the CPU.
            vec![with(TensorRT::default(), chosen).build(), cuda()]
        }
    };
    // Without this a provider that cannot be had is passed over without a word.
    let providers = providers.into_iter();
    Ok(providers
        .map(ExecutionProviderDispatch::error_on_failure)
        .collect())
}

fn with<P: ArbitrarilyConfigurableExecutionProvider>(
    provider: P,
    options: Vec<(&'static str, String)>,
) -> P {
    let set =
        |provider: P, (key, value): (&str, String)| provider.with_arbitrary_config(key, value);
    options.into_iter().fold(provider, set)
}

#[cfg(test)]
mod tests;
