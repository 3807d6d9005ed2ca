//! Model families: how the input of a kind of model is made and its output read.
//!
//! A family is a value of [`Family`], made by [`bind`] only after the model's declared
//! inputs and outputs were compared with what the family needs. A new family is one
//! more file here and one more line in [`bind`].

mod nanodet;
mod suppression;

use std::fmt;
use std::sync::Arc;

use contract::detection::Detection;
use contract::spec::{InferSpec, ModelFamily};

use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

pub use suppression::suppress;

/// One input or output as the model file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// It is a tensor of 32-bit floats.
    pub is_f32: bool,
    /// Its dimensions; -1 where the file leaves one open.
    pub shape: Vec<i64>,
}

/// `images f32[?,3,416,416]`
impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = if self.is_f32 { "f32" } else { "not f32 " };
        let dimensions = self.shape.iter().map(|dimension| match dimension {
            -1 => "?".to_owned(),
            known => known.to_string(),
        });
        let dimensions = dimensions.collect::<Vec<_>>().join(",");
        write!(formatter, "{} {element}[{dimensions}]", self.name)
    }
}

/// A model that is not of the family it is configured as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {family} model: expected {expected}; found {found}")]
pub struct ShapeError {
    /// The family.
    pub family: &'static str,
    /// What the family needs.
    pub expected: String,
    /// What the file declares.
    pub found: String,
}

/// What is kept of what a model says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Detections of a lower score are dropped.
    pub score_min: f32,
    /// Of two boxes of one class with a larger IoU, the better stays.
    pub nms_iou: f32,
}

impl Thresholds {
    /// Those of a spec.
    #[must_use]
    pub fn of(spec: &InferSpec) -> Self {
        Self {
            score_min: spec.score_min,
            nms_iou: spec.nms_iou,
        }
    }
}

/// A kind of model, bound to the shapes of one file. Holds no state between frames.
pub trait Family: fmt::Debug + Send + Sync {
    /// The family in one word.
    fn name(&self) -> &'static str;

    /// Pixels of one side of the square input.
    fn side(&self) -> usize;

    /// How pixels become input values.
    fn normalisation(&self) -> Normalisation;

    /// Reads the outputs, in the model's declared order, into detections in pixels of the
    /// picture: best score first, suppressed class by class, clipped,
    /// [`contract::detection::DETECTIONS_MAX`] at most.
    ///
    /// # Errors
    /// When an output has another length than the model declared.
    fn decode(
        &self,
        outputs: &[&[f32]],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError>;
}

/// An output that is not as long as its shape says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output {index} of the model has {found} values instead of {expected}")]
pub struct OutputError {
    /// Which output, in declared order.
    pub index: usize,
    /// Values it should have.
    pub expected: usize,
    /// Values it has.
    pub found: usize,
}

/// Compares a model's inputs and outputs with what its family needs; `classes` is how many
/// labels are configured.
///
/// # Errors
/// [`ShapeError`] naming what was found and what was expected.
pub fn bind(
    family: ModelFamily,
    inputs: &[Port],
    outputs: &[Port],
    classes: usize,
) -> Result<Arc<dyn Family>, ShapeError> {
    match family {
        ModelFamily::Nanodet => Ok(Arc::new(nanodet::NanoDet::bind(inputs, outputs, classes)?)),
    }
}

/// All ports in one line, for a message.
fn list(ports: &[Port]) -> String {
    let ports = ports.iter().map(ToString::to_string);
    ports.collect::<Vec<_>>().join(", ")
}
