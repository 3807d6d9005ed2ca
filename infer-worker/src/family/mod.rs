//! Model families: how the input of a kind of model is made and its output read.
//!
//! A family is a value of [`Family`], made by [`bind`] only after the model's outputs were
//! compared with what the family needs. A new family is one more file here and one more line
//! in [`bind`] and in [`input()`]. A family decodes in pixels of the input; what is the same for
//! all of them, suppression and the way to pixels of the picture, is done in one place.

mod blazeface;
mod centerface;
mod classifier;
mod depth;
mod embedding;
mod grid;
mod input;
mod nanodet;
mod objects;
mod scan;
mod scrfd;
mod segmentation;
mod ssd;
mod suppression;
#[cfg(test)]
mod testing;
mod yolov8;
mod yolox;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use contract::detection::Detection;
use contract::findings::Findings;
use contract::geometry::PixelSize;
use contract::spec::{InferSpec, ModelFamily};

use crate::letterbox::Letterbox;
use crate::tensor::TensorFormat;

pub use input::input;
pub use suppression::suppress;

/// What the values of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// Bytes.
    U8,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
    /// Anything else; no family takes or gives such.
    Other,
}

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// What its values are.
    pub element: Element,
    /// Its dimensions; -1 where the file leaves one open.
    pub shape: Vec<i64>,
}

/// `images f32[?,3,416,416]`
impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = match self.element {
            Element::F32 => "f32",
            Element::U8 => "u8",
            Element::I32 => "i32",
            Element::I64 => "i64",
            Element::Other => "of another type ",
        };
        let dimensions = self.shape.iter().map(|dimension| match dimension {
            -1 => "?".to_owned(),
            known => known.to_string(),
        });
        let dimensions = dimensions.collect::<Vec<_>>().join(",");
        write!(formatter, "{} {element}[{dimensions}]", self.name)
    }
}

/// A model that cannot be run as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// It is not of its family.
    #[error("not a {family} model: expected {expected}; found {found}")]
    Shape {
        /// The family.
        family: &'static str,
        /// What the family needs.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The config asks for a size, and the file has its own.
    #[error("`input.size` asks for {asked}, but the model takes {fixed} only: leave it out")]
    FixedSize {
        /// The size in the config.
        asked: PixelSize,
        /// The size in the file.
        fixed: PixelSize,
    },
    /// The network halves its input so often that other sizes do not come out even.
    #[error(
        "a {family} model cannot run at {size}: width and height must be multiples of {stride}; \
         set `input.size` to {nearest}"
    )]
    Stride {
        /// The family.
        family: &'static str,
        /// The size that was asked for.
        size: PixelSize,
        /// What its sides must be multiples of.
        stride: u32,
        /// The nearest size that is possible.
        nearest: PixelSize,
    },
    /// The config normalises what the model takes as it is.
    #[error("`input.mean` and `input.std` are for models that take floats: this one takes bytes")]
    NormalisedBytes,
}

/// One output of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Output<'a> {
    /// Its dimensions.
    pub shape: &'a [i64],
    /// Its values, the last dimension the innermost; integers converted.
    pub values: Cow<'a, [f32]>,
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
    /// Reads the outputs, in the model's declared order, into what is said of the picture.
    ///
    /// # Errors
    /// When an output is not as it was when the family was bound.
    fn decode(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Findings, OutputError>;
}

/// A family that finds objects.
trait Detector: fmt::Debug + Send + Sync {
    /// Reads the outputs into detections in pixels of the picture: best score first, suppressed
    /// class by class where the model does not do that itself, clipped,
    /// [`contract::detection::DETECTIONS_MAX`] at most.
    ///
    /// # Errors
    /// When an output is not as it was when the family was bound.
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError>;
}

impl<D: Detector> Family for D {
    fn decode(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Findings, OutputError> {
        self.detect(outputs, letterbox, thresholds)
            .map(Findings::Detections)
    }
}

/// An output that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// It is not as long as its shape says.
    #[error("output {index} of the model has {found} values instead of {expected}")]
    Length {
        /// Which output, in declared order.
        index: usize,
        /// Values it should have.
        expected: usize,
        /// Values it has.
        found: usize,
    },
    /// It speaks of a class that has no label.
    #[error("the model found class {class}, but {classes} labels are configured")]
    Class {
        /// The class, counted from 0.
        class: i64,
        /// How many labels there are.
        classes: usize,
    },
    /// Its values are no numbers, or say nothing.
    #[error("output {index} of the model has no usable number in it")]
    NoNumber {
        /// Which output, in declared order.
        index: usize,
    },
}

/// Compares a model's outputs, as they are for an input of `format`, with what its family
/// needs; `classes` is how many labels are configured.
///
/// # Errors
/// [`BindError::Shape`] naming what was found and what was expected.
pub fn bind(
    family: ModelFamily,
    format: &TensorFormat,
    outputs: &[Port],
    classes: usize,
) -> Result<Arc<dyn Family>, BindError> {
    let size = format.size;
    Ok(match family {
        ModelFamily::Nanodet => Arc::new(nanodet::NanoDet::bind(size, outputs, classes)?),
        ModelFamily::Yolov8 => Arc::new(yolov8::YoloV8::bind(outputs, classes)?),
        ModelFamily::Yolox => Arc::new(yolox::Yolox::bind(size, outputs, classes)?),
        ModelFamily::Centerface => Arc::new(centerface::CenterFace::bind(size, outputs)?),
        ModelFamily::Scrfd => Arc::new(scrfd::Scrfd::bind(size, outputs)?),
        ModelFamily::Blazeface => Arc::new(blazeface::BlazeFace::bind(size, outputs)?),
        ModelFamily::Ssd => Arc::new(ssd::Ssd::bind(size, outputs, classes)?),
        ModelFamily::Classifier => Arc::new(classifier::Classifier::bind(outputs, classes)?),
        ModelFamily::Embedding => Arc::new(embedding::Embedding::bind(outputs)?),
        ModelFamily::Depth => Arc::new(depth::Depth::bind(size, outputs)?),
        ModelFamily::Segmentation => {
            Arc::new(segmentation::Segmentation::bind(size, outputs, classes)?)
        }
    })
}

/// Outputs that do not fit a family.
fn mismatch(family: ModelFamily, expected: String, outputs: &[Port]) -> BindError {
    BindError::Shape {
        family: family.as_str(),
        expected,
        found: list(outputs),
    }
}

/// All ports in one line, for a message.
fn list(ports: &[Port]) -> String {
    let ports = ports.iter().map(ToString::to_string);
    ports.collect::<Vec<_>>().join(", ")
}

/// The values of an output, which must be so many.
fn values<'o>(
    outputs: &'o [Output<'_>],
    index: usize,
    expected: usize,
) -> Result<&'o [f32], OutputError> {
    let found = outputs.get(index).map_or(&[][..], |output| &output.values);
    if found.len() == expected {
        return Ok(found);
    }
    Err(OutputError::Length {
        index,
        expected,
        found: found.len(),
    })
}

/// A class, given as a float, that has one of so many labels.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and the result is checked"
)]
fn class_of(class: f32, classes: usize) -> Result<u16, OutputError> {
    let index = u16::try_from(class as i64).ok();
    index
        .filter(|index| usize::from(*index) < classes && !class.is_nan())
        .ok_or(OutputError::Class {
            class: class as i64,
            classes,
        })
}

/// A dimension that is known.
fn known(dimension: i64) -> Option<usize> {
    usize::try_from(dimension).ok()
}

/// The shape of an `f32` output as rows of values, with or without a first dimension for the
/// one picture.
fn rows_of(output: &Port) -> Option<(usize, usize)> {
    let (rows, values) = match output.shape[..] {
        [rows, values] | [1, rows, values] => (rows, values),
        _ => return None,
    };
    let rows_and_values = (known(rows)?, known(values)?);
    (output.element == Element::F32).then_some(rows_and_values)
}

/// How many cells of `stride` pixels an input of `size` has across and down.
fn cells(size: PixelSize, stride: u32) -> [usize; 2] {
    [size.width / stride, size.height / stride].map(|cells| cells as usize)
}
