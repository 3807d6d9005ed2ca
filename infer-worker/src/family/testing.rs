//! What the golden tests of all families need.

use std::borrow::Cow;

use contract::detection::Detection;
use contract::findings::Findings;
use contract::geometry::PixelSize;

use super::{Detector, Element, Family, Output, OutputError, Port, Thresholds};
use crate::letterbox::Letterbox;

pub(super) const LOOSE: Thresholds = Thresholds {
    score_min: 0.4,
    nms_iou: 0.6,
};

pub(super) fn square(side: u32) -> PixelSize {
    PixelSize {
        width: side,
        height: side,
    }
}

/// An input or output of floats.
pub(super) fn port(name: &str, shape: &[i64]) -> Port {
    Port {
        name: name.to_owned(),
        element: Element::F32,
        shape: shape.to_vec(),
    }
}

/// Outputs of zeros in the shapes of some ports, to be written into.
pub(super) fn zeros(ports: &[Port]) -> Vec<Vec<f32>> {
    let count = |port: &Port| port.shape.iter().map(|side| *side as usize).product();
    ports.iter().map(|port| vec![0.0; count(port)]).collect()
}

/// Decodes as if the picture had the size of the input: nothing is moved.
pub(super) fn decode(
    family: &dyn Detector,
    ports: &[Port],
    values: &[Vec<f32>],
    size: PixelSize,
) -> Result<Vec<Detection>, OutputError> {
    decode_picture(family, ports, values, &Letterbox::new(size, size))
}

pub(super) fn decode_picture(
    family: &dyn Detector,
    ports: &[Port],
    values: &[Vec<f32>],
    letterbox: &Letterbox,
) -> Result<Vec<Detection>, OutputError> {
    with_outputs(ports, values, |outputs| {
        family.detect(outputs, letterbox, &LOOSE)
    })
}

/// What any family says of a picture.
pub(super) fn find(
    family: &dyn Family,
    ports: &[Port],
    values: &[Vec<f32>],
    letterbox: &Letterbox,
) -> Result<Findings, OutputError> {
    with_outputs(ports, values, |outputs| {
        family.decode(outputs, letterbox, &LOOSE)
    })
}

fn with_outputs<R>(
    ports: &[Port],
    values: &[Vec<f32>],
    read: impl FnOnce(&[Output<'_>]) -> R,
) -> R {
    let outputs = ports.iter().zip(values).map(|(port, values)| Output {
        shape: &port.shape,
        values: Cow::Borrowed(values),
    });
    read(&outputs.collect::<Vec<_>>())
}

/// Asserts that a box is where it should be, to a hundredth of a pixel.
pub(super) fn assert_box(detection: &Detection, [x1, y1, x2, y2]: [f32; 4]) {
    let bounds = detection.bounds;
    let pairs = [
        (bounds.x1, x1),
        (bounds.y1, y1),
        (bounds.x2, x2),
        (bounds.y2, y2),
    ];
    let near = pairs
        .iter()
        .all(|(got, wanted)| (got - wanted).abs() < 0.01);
    assert!(near, "{bounds:?} is not {:?}", [x1, y1, x2, y2]);
}

/// Asserts that landmarks are where they should be, to a hundredth of a pixel.
pub(super) fn assert_landmarks(detection: &Detection, wanted: &[[f32; 2]]) {
    let found = detection.landmarks.points();
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (got, wanted) in found.iter().zip(wanted) {
        let near = (got[0] - wanted[0]).abs() < 0.01 && (got[1] - wanted[1]).abs() < 0.01;
        assert!(near, "{found:?} instead of {wanted:?}");
    }
}
