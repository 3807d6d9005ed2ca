use std::path::PathBuf;

use contract::geometry::PixelSize;
use contract::spec::ColourOrder;

use super::options::Profile;
use super::*;
use crate::family::Element;
use crate::runtime::BatchError;
use crate::tensor::{BatchDimension, ChannelLayout, Normalisation};

const GPU_LIBRARY: [Backend; 3] = [Backend::Tensorrt, Backend::Cuda, Backend::Cpu];
const PLAIN: [Backend; 1] = [Backend::Cpu];

fn wish(backend: Option<Backend>, precision: Option<Precision>) -> BackendSpec {
    BackendSpec {
        backend,
        precision,
        ..BackendSpec::default()
    }
}

fn broken(reason: &str) -> RuntimeError {
    RuntimeError::Model {
        path: PathBuf::from("model.onnx"),
        reason: reason.to_owned(),
    }
}

/// Selects where all of `broken` fail; returns what is taken, and the reasons or the error.
fn choose(
    spec: &BackendSpec,
    available: &[Backend],
    failing: &[Backend],
) -> Result<(Backend, String), String> {
    let load = |backend: Backend| match failing.contains(&backend) {
        true => Err(broken(&format!("no device for {}", backend.as_str()))),
        false => Ok(backend),
    };
    let selected = select(spec, available, load).map_err(|error| error.to_string())?;
    assert_eq!(selected.backend, selected.loaded);
    Ok((selected.backend, list(&selected.passed_over)))
}

#[test]
fn auto_takes_the_best_that_works_and_says_why_no_better_one() {
    let auto = wish(None, None);
    let chosen = choose(&auto, &GPU_LIBRARY, &[]);
    assert_eq!(chosen, Ok((Backend::Tensorrt, String::new())));
    let chosen = choose(&auto, &GPU_LIBRARY, &[Backend::Tensorrt]);
    let reason = "tensorrt: no device for tensorrt";
    assert_eq!(chosen, Ok((Backend::Cuda, reason.to_owned())));
    let chosen = choose(&auto, &GPU_LIBRARY, &[Backend::Tensorrt, Backend::Cuda]);
    let reason = "tensorrt: no device for tensorrt; cuda: no device for cuda";
    assert_eq!(chosen, Ok((Backend::Cpu, reason.to_owned())));
    let chosen = choose(&auto, &PLAIN, &[]);
    let reason = "tensorrt, cuda: the ONNX Runtime library has no such provider";
    assert_eq!(chosen, Ok((Backend::Cpu, reason.to_owned())));
    // It is no better, so it needs no reason.
    let openvino = [Backend::Cpu, Backend::Openvino];
    assert_eq!(
        choose(&auto, &openvino, &[]).map(|(backend, _)| backend),
        Ok(Backend::Cpu)
    );
}

#[test]
fn auto_takes_what_can_calculate_as_asked_or_nothing() {
    let openvino = [Backend::Cpu, Backend::Openvino];
    let (backend, reasons) =
        choose(&wish(None, Some(Precision::Bf16)), &openvino, &[]).expect("openvino can");
    assert_eq!(backend, Backend::Openvino);
    assert!(
        reasons.ends_with("cpu: it cannot be told to use bf16"),
        "{reasons}"
    );
    let error = choose(&wish(None, Some(Precision::Int8)), &openvino, &[]);
    let error = error.expect_err("nothing can");
    assert!(
        error.starts_with("no back end can be used: tensorrt, cuda: the ONNX Runtime library")
            && error.contains("cpu, openvino: it cannot be told to use int8"),
        "{error}"
    );
    let chosen = choose(&wish(None, Some(Precision::Fp32)), &PLAIN, &[]);
    assert_eq!(chosen.map(|(backend, _)| backend), Ok(Backend::Cpu));
}

#[test]
fn what_a_config_names_is_taken_or_is_an_error() {
    for backend in Backend::ALL {
        let named = wish(Some(backend), None);
        let chosen = choose(&named, &Backend::ALL, &[]);
        assert_eq!(chosen, Ok((backend, String::new())));
    }
    let cuda = wish(Some(Backend::Cuda), None);
    assert_eq!(
        choose(&cuda, &PLAIN, &[]).expect_err("it is not there"),
        "`backend: cuda` cannot be used: the ONNX Runtime library has no such provider, it has \
         cpu; the Python package onnxruntime-gpu has a library that has it: name that with \
         `onnxruntime` in the config or with ORT_DYLIB_PATH"
    );
    let error = choose(&cuda, &GPU_LIBRARY, &[Backend::Cuda]).expect_err("it fails");
    assert!(
        error.starts_with("`backend: cuda` cannot be used: no device for cuda; "),
        "{error}"
    );
    let half = wish(Some(Backend::Cuda), Some(Precision::Fp16));
    assert_eq!(
        choose(&half, &GPU_LIBRARY, &[]).expect_err("no such option"),
        "`precision: fp16` has no meaning for `backend: cuda`: leave it out, or write fp32"
    );
}

#[test]
fn what_is_wrong_with_the_model_is_no_reason_to_try_another() {
    let mut tried = Vec::new();
    let load = |backend| -> Result<(), RuntimeError> {
        tried.push(backend);
        Err(RuntimeError::Batch {
            path: PathBuf::from("model.onnx"),
            source: BatchError::Fixed {
                asked: 8,
                fixed: 1,
                input: "images f32[1,3,416,416]".to_owned(),
            },
        })
    };
    let error = select(&wish(None, None), &GPU_LIBRARY, load).expect_err("a fixed batch");
    assert!(matches!(error, RuntimeError::Batch { .. }), "{error}");
    assert_eq!(tried, [Backend::Tensorrt]);
    // A file that the CPU cannot load either is what it is.
    let error = choose(&wish(None, None), &GPU_LIBRARY, &Backend::ALL).expect_err("corrupt");
    assert!(error.starts_with("model.onnx is not a model"), "{error}");
}

fn target<'a>(spec: &'a BackendSpec, batch_max: usize) -> Target<'a> {
    Target {
        backend: spec.backend.expect("named"),
        spec,
        file: Path::new("model.onnx"),
        threads: 1,
        batch_max,
    }
}

fn option<'a>(options: &'a options::Options, name: &str) -> Option<&'a str> {
    let mut options = options.iter();
    let found = options.find(|(known, _)| *known == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn an_engine_is_built_for_one_picture_to_a_full_batch_at_the_size_that_is_run() {
    let format = TensorFormat {
        size: PixelSize {
            width: 640,
            height: 384,
        },
        layout: ChannelLayout::Planar,
        colour: ColourOrder::Rgb,
        normalisation: Normalisation::UNIT,
        padding: 0.0,
        bytes: false,
        batch: BatchDimension::Open,
    };
    let mut input = Port {
        name: "images".to_owned(),
        element: Element::F32,
        shape: vec![-1, 3, -1, -1],
    };
    let spec = wish(Some(Backend::Tensorrt), None);
    let profile = Profile::of(&input, &format, 8).expect("it is open");
    let options = options::tensorrt(&target(&spec, 8), Some(&profile), None);
    let shape = |name| option(&options, name);
    assert_eq!(shape("trt_profile_min_shapes"), Some("images:1x3x384x640"));
    assert_eq!(shape("trt_profile_opt_shapes"), Some("images:8x3x384x640"));
    assert_eq!(shape("trt_profile_max_shapes"), Some("images:8x3x384x640"));
    assert_eq!(shape("trt_engine_cache_enable"), None);
    input.shape = vec![1, 3, 384, 640];
    assert_eq!(Profile::of(&input, &format, 1), None);
}

#[test]
fn precision_is_told_to_each_in_its_own_words() {
    let tensorrt = |precision| {
        let spec = wish(Some(Backend::Tensorrt), precision);
        let options = options::tensorrt(&target(&spec, 1), None, None);
        ["trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"]
            .map(|name| option(&options, name) == Some("1"))
    };
    assert_eq!(tensorrt(None), [true, false, false]);
    assert_eq!(tensorrt(Some(Precision::Fp32)), [false; 3]);
    assert_eq!(tensorrt(Some(Precision::Bf16)), [false, true, false]);
    assert_eq!(tensorrt(Some(Precision::Int8)), [true, false, true]);

    let cuda = |precision, batch_max| {
        let spec = wish(Some(Backend::Cuda), precision);
        let options = options::cuda(&target(&spec, batch_max));
        let values = ["use_tf32", "cudnn_conv_algo_search"].map(|name| option(&options, name));
        values.map(|value| value.expect("set").to_owned())
    };
    assert_eq!(cuda(None, 1), ["1", "EXHAUSTIVE"]);
    assert_eq!(cuda(Some(Precision::Fp32), 8), ["0", "HEURISTIC"]);

    let openvino = |precision| {
        let spec = wish(Some(Backend::Openvino), precision);
        let options = options::openvino(&target(&spec, 1));
        option(&options, "load_config").map(str::to_owned)
    };
    assert_eq!(openvino(None), None);
    let bf16 = openvino(Some(Precision::Bf16)).expect("a configuration");
    assert!(
        bf16.contains(r#""INFERENCE_PRECISION_HINT": "bf16""#),
        "{bf16}"
    );
}
