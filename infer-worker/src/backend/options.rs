//! The options of each execution provider, as ONNX Runtime names them. Pure.

use contract::spec::{Backend, Precision};

use super::Target;
use super::cache::EngineCache;
use crate::family::Port;
use crate::tensor::TensorFormat;

/// Options by name.
pub(super) type Options = Vec<(&'static str, String)>;

/// The shapes that a `TensorRT` engine is built for, where the file leaves its input open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    min: String,
    max: String,
}

impl Profile {
    /// From one picture to a full batch, at the size that is run; `None` where the file fixes it all.
    pub(super) fn of(input: &Port, format: &TensorFormat, batch_max: usize) -> Option<Self> {
        let shape = |pictures: usize| {
            let dimensions = format.dimensions(pictures).into_iter();
            let dimensions = dimensions.map(|dimension| dimension.to_string());
            format!(
                "{}:{}",
                input.name,
                dimensions.collect::<Vec<_>>().join("x")
            )
        };
        input.shape.contains(&-1).then(|| Self {
            min: shape(1),
            max: shape(batch_max),
        })
    }
}

/// `backend: cuda`, and what `TensorRT` leaves.
pub(super) fn cuda(target: &Target<'_>) -> Options {
    // Exhaustive search tries every algorithm, for each new shape again: with batches of any
    // number of pictures that would be a stall in the middle of a run for each number.
    let search = if target.batch_max > 1 {
        "HEURISTIC"
    } else {
        "EXHAUSTIVE"
    };
    let is_exact =
        target.backend == Backend::Cuda && target.spec.precision == Some(Precision::Fp32);
    vec![
        ("device_id", target.spec.device.to_string()),
        ("cudnn_conv_algo_search", search.to_owned()),
        ("use_tf32", flag(!is_exact)),
        // A captured graph is for one shape and one buffer.
        ("enable_cuda_graph", flag(false)),
    ]
}

/// `backend: tensorrt`.
pub(super) fn tensorrt(
    target: &Target<'_>,
    profile: Option<&Profile>,
    cache: Option<&EngineCache>,
) -> Options {
    // Half precision is what an engine is built for; who wants other numbers says so.
    let precision = target.spec.precision.unwrap_or(Precision::Fp16);
    let half = matches!(precision, Precision::Fp16 | Precision::Int8);
    let mut options = vec![
        ("device_id", target.spec.device.to_string()),
        ("trt_fp16_enable", flag(half)),
        ("trt_bf16_enable", flag(precision == Precision::Bf16)),
        ("trt_int8_enable", flag(precision == Precision::Int8)),
        ("trt_cuda_graph_enable", flag(false)),
    ];
    if let Some(profile) = profile {
        options.extend([
            ("trt_profile_min_shapes", profile.min.clone()),
            // Under load batches are full, and then it matters most.
            ("trt_profile_opt_shapes", profile.max.clone()),
            ("trt_profile_max_shapes", profile.max.clone()),
        ]);
    }
    if let Some(cache) = cache {
        options.extend([
            ("trt_engine_cache_enable", flag(true)),
            ("trt_engine_cache_path", cache.engines()),
            ("trt_timing_cache_enable", flag(true)),
            ("trt_timing_cache_path", cache.timings()),
        ]);
    }
    options
}

/// `backend: openvino`.
pub(super) fn openvino(target: &Target<'_>) -> Options {
    let mut options = vec![
        ("device_type", "CPU".to_owned()),
        ("num_of_threads", target.threads.to_string()),
        ("num_streams", "1".to_owned()),
    ];
    let hint = match target.spec.precision {
        Some(Precision::Fp32) => Some("f32"),
        Some(Precision::Fp16) => Some("f16"),
        Some(Precision::Bf16) => Some("bf16"),
        Some(Precision::Int8) | None => None,
    };
    if let Some(hint) = hint {
        let configuration = format!(r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "{hint}"}}}}"#);
        options.push(("load_config", configuration));
    }
    options
}

fn flag(is_set: bool) -> String {
    u8::from(is_set).to_string()
}
