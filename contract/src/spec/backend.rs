//! What runs a model, and on how many pictures at a time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many pictures share a run of a model, and how long one waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchSpec {
    /// Most pictures of one run, from 1; `None`: what the file fixes, else what is usual for what
    /// runs it.
    pub max: Option<u32>,
    /// Longest that a picture waits for company while a session is free, in microseconds.
    pub delay_us: u64,
}

/// What runs a model: an execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// ONNX Runtime's own kernels; every library has them.
    Cpu,
    /// Intel's `OpenVINO`, on the CPU.
    Openvino,
    /// CUDA and cuDNN, on an NVIDIA GPU.
    Cuda,
    /// An engine that `TensorRT` builds for one NVIDIA GPU.
    Tensorrt,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Openvino, Self::Cuda, Self::Tensorrt];

    /// The back end in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Openvino => "openvino",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        }
    }

    /// Whether it runs on a GPU.
    #[must_use]
    pub const fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda | Self::Tensorrt)
    }

    /// The precisions it can be told to calculate in, whatever the file's values are. A file that
    /// has been quantised is calculated in `int8` by all of them.
    #[must_use]
    pub const fn precisions(self) -> &'static [Precision] {
        match self {
            // It calculates in what the file says, and a file of floats says this.
            Self::Cpu => &[Precision::Fp32],
            Self::Openvino => &[Precision::Fp32, Precision::Fp16, Precision::Bf16],
            // Convolutions in TensorFloat-32, or in full.
            Self::Cuda => &[Precision::Fp32],
            Self::Tensorrt => &Precision::ALL,
        }
    }
}

/// What a back end calculates in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats, without any shortcut.
    Fp32,
    /// 16-bit floats where they serve.
    Fp16,
    /// 16-bit floats with the range of 32-bit ones, where they serve.
    Bf16,
    /// 8-bit integers where the file has been quantised, 16-bit floats elsewhere.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Bf16, Self::Int8];

    /// The precision in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// What is to run a model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackendSpec {
    /// `None`: the best that is there.
    pub backend: Option<Backend>,
    /// Which GPU, from 0, as CUDA counts them.
    pub device: u32,
    /// What it calculates in; `None`: what is usual for it.
    pub precision: Option<Precision>,
    /// Where engines that took minutes to build are kept; `None`: nowhere.
    pub cache: Option<PathBuf>,
}
