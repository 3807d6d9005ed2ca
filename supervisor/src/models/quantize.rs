//! An int8 model made from a model and clips of its user, and judged before it is handed out.
//!
//! Quantisation is onnxruntime's own; what is ours is what goes in and what is let out. The
//! calibration inputs are tensors that the engine made of the user's frames, and afterwards the
//! engine runs both models on other frames of the same clips: the new one must find what the
//! original finds, or it is set aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use contract::exit::Exit;
use contract::spec::{InferSpec, SourceSpec};
use contract::study::{AgreementAnswer, Answer, InputsAnswer, Question};
use serde::Serialize;

use super::Progress;
use super::fetch::Scratch;
use super::study::{self, StudyError};
use super::tool::{Tool, ToolError};

/// Frames kept of all clips: half of them calibrate, half of them judge. Ranges of activations
/// no longer change by much after some sixty frames.
const FRAMES_MAX: u32 = 120;

const PROGRAM: &str = include_str!("../../../tools/models/quantize_static.py");

/// Why there is no model to judge.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Python is missing or has failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The frames or the models cannot be had.
    #[error(transparent)]
    Study(#[from] StudyError),
    /// The output would overwrite the original.
    #[error("{} is the model itself: choose another --out", .0.display())]
    SameFile(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl QuantizeError {
    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Study(error) => error.exit(),
            Self::SameFile(_) => Exit::Usage,
            Self::Tool(ToolError::Failed { .. }) => Exit::Model,
            Self::Tool(_) | Self::Io { .. } => Exit::Environment,
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// What is to be made of what.
#[derive(Debug)]
pub struct Request<'a> {
    /// The original.
    pub model: InferSpec,
    /// Clips of what it will look at.
    pub clips: &'a [PathBuf],
    /// Where the int8 model goes.
    pub out: &'a Path,
    /// The least average precision against the original, 0 to 1.
    pub agreement_min: f64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Where the new model is: the place that was asked for or, with `rejected`, beside it.
    pub file: PathBuf,
    /// Why it is not in that place.
    pub rejected: Option<String>,
    /// The least agreement that was asked for.
    pub agreement_min: f64,
    /// Frames that it was calibrated on.
    pub calibration_frames: usize,
    /// Bytes of the original.
    pub original_bytes: u64,
    /// Bytes of the new model.
    pub bytes: u64,
    /// Speed and agreement, on frames that it was not calibrated on.
    pub agreement: AgreementAnswer,
}

impl Outcome {
    /// How many frames the new model does in the time of one of the original.
    #[must_use]
    pub fn speedup(&self) -> f64 {
        self.agreement.original_ms / self.agreement.candidate_ms.max(f64::MIN_POSITIVE)
    }
}

/// Quantises, judges, and puts the model where it belongs.
///
/// # Errors
/// [`QuantizeError`] when there is no model to judge; a model that is judged and rejected is
/// an [`Outcome`].
pub fn quantize(request: &Request<'_>, progress: Progress<'_>) -> Result<Outcome, QuantizeError> {
    let Request { model, out, .. } = request;
    let directory = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if is_same_file(&model.file, out) {
        return Err(QuantizeError::SameFile(out.to_path_buf()));
    }
    // Before clips are decoded for nothing.
    progress("looking for Python and onnxruntime");
    let python = Tool::quantizing_python()?;
    let shown = directory.display();
    fs::create_dir_all(directory).map_err(QuantizeError::io(format!("make {shown}")))?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let scratch = Scratch::make(directory, &name)
        .map_err(QuantizeError::io(format!("make a directory in {shown}")))?;
    let making = Making {
        request,
        python,
        scratch: &scratch.path,
        sources: request.clips.iter().map(|clip| study::clip(clip)).collect(),
    };
    let (made, inputs) = making.make(progress)?;
    let agreement = making.judge(&made, progress)?;
    let size = |path: &Path| {
        let metadata = fs::metadata(path);
        let failed = QuantizeError::io(format!("read {}", path.display()));
        metadata.map(|metadata| metadata.len()).map_err(failed)
    };
    let mut outcome = Outcome {
        file: out.to_path_buf(),
        rejected: reason_against(&agreement, request.agreement_min),
        agreement_min: request.agreement_min,
        calibration_frames: inputs.frames,
        original_bytes: size(&model.file)?,
        bytes: size(&made)?,
        agreement,
    };
    if outcome.rejected.is_some() {
        outcome.file = with_suffix(out, ".rejected");
        let text = serde_json::to_string_pretty(&outcome).map_err(io::Error::from);
        let note = with_suffix(out, ".rejected.json");
        text.and_then(|text| fs::write(&note, text + "\n"))
            .map_err(QuantizeError::io(format!("write {}", note.display())))?;
    }
    let placed = fs::rename(&made, &outcome.file);
    placed.map_err(QuantizeError::io(format!(
        "write {}",
        outcome.file.display()
    )))?;
    Ok(outcome)
}

struct Making<'a> {
    request: &'a Request<'a>,
    python: Tool,
    scratch: &'a Path,
    sources: Vec<SourceSpec>,
}

impl Making<'_> {
    fn make(&self, progress: Progress<'_>) -> Result<(PathBuf, InputsAnswer), QuantizeError> {
        let tensors = self.scratch.join("inputs.f32");
        let question = Question::Inputs {
            model: self.request.model.clone(),
            tensors: tensors.clone(),
        };
        let answer = study::ask(question, &self.sources, FRAMES_MAX, progress)?;
        let Answer::Inputs(inputs) = answer else {
            return Err(unasked().into());
        };
        let made = self.scratch.join("quantized.onnx");
        let program = self.scratch.join("quantize_static.py");
        fs::write(&program, PROGRAM)
            .map_err(QuantizeError::io(format!("write {}", program.display())))?;
        let source = std::path::absolute(&self.request.model.file)
            .map_err(QuantizeError::io("find the current directory"))?;
        let mut arguments = vec![
            program.into_os_string(),
            source.into(),
            made.clone().into(),
            "--tensors".into(),
            tensors.into(),
            "--shape".into(),
        ];
        arguments.extend(inputs.shape.iter().map(|side| side.to_string().into()));
        self.python
            .run("quantising", &arguments, self.scratch, progress)?;
        Ok((made, inputs))
    }

    fn judge(&self, made: &Path, progress: Progress<'_>) -> Result<AgreementAnswer, QuantizeError> {
        let original = self.request.model.clone();
        let candidate = InferSpec {
            file: made.to_owned(),
            ..original.clone()
        };
        let question = Question::Agreement {
            original: Box::new(original),
            candidate: Box::new(candidate),
        };
        match study::ask(question, &self.sources, FRAMES_MAX, progress)? {
            Answer::Agreement(agreement) => Ok(agreement),
            _ => Err(unasked().into()),
        }
    }
}

fn unasked() -> StudyError {
    StudyError::Died("the infer worker answered another question".to_owned())
}

/// Why a model is not handed out, if there is a reason.
fn reason_against(agreement: &AgreementAnswer, agreement_min: f64) -> Option<String> {
    let Some(precision) = agreement.average_precision else {
        let text = "the original finds nothing in the clips, so nothing says that the new model agrees with it: give clips with objects in them";
        return Some(text.to_owned());
    };
    (precision < agreement_min).then(|| {
        format!(
            "it agrees with the original by {precision:.4}, less than the {agreement_min} that are asked for: give more and more varied clips, or accept less with --agreement-min"
        )
    })
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        // One of them is not there yet.
        _ => false,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(average_precision: Option<f64>) -> AgreementAnswer {
        AgreementAnswer {
            frames: 60,
            truths: 300,
            average_precision,
            original_ms: 20.0,
            candidate_ms: 10.0,
        }
    }

    #[test]
    fn what_agrees_too_little_or_on_nothing_is_rejected() {
        assert_eq!(reason_against(&agreement(Some(0.97)), 0.97), None);
        let reason = reason_against(&agreement(Some(0.9699)), 0.97).expect("too little");
        assert!(reason.contains("0.9699, less than the 0.97"), "{reason}");
        let reason = reason_against(&agreement(None), 0.0).expect("nothing found");
        assert!(reason.contains("finds nothing"), "{reason}");
    }

    #[test]
    fn the_original_is_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.onnx");
        fs::write(&file, "a").expect("written");
        assert!(is_same_file(&file, &directory.path().join("./a.onnx")));
        assert!(!is_same_file(&file, &directory.path().join("b.onnx")));
    }
}
