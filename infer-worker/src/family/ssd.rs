//! Models whose outputs are final: boxes, classes and scores after suppression, as the `SSD`
//! and other detectors of two collections are exported.
//!
//! The TensorFlow Object Detection API: `detection_boxes [1, K, 4]` as top, left, bottom, right
//! from 0 to 1, `detection_classes [1, K]`, `detection_scores [1, K]` and `num_detections [1]`,
//! all `f32`; outputs besides are not read. torchvision: `boxes [K, 4]` as left, top, right,
//! bottom in pixels of the input, `labels [K]` as integers, `scores [K]`, where `K` differs
//! from picture to picture.
//!
//! In both, class 0 is the background, so the first label is that of class 1.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};

use super::input::Convention;
use super::objects::to_objects;
use super::{BindError, Detector, Element, Output, OutputError, Port, Thresholds};
use super::{class_of, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// For files that take floats; most of TensorFlow's take bytes.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 320,
        height: 320,
    },
    stride: 1,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::UNIT,
    padding: 0.0,
};

/// A file with final outputs, by their place in the model's declared order.
#[derive(Debug, PartialEq)]
pub(super) struct Ssd {
    size: PixelSize,
    classes: usize,
    boxes: usize,
    labels: usize,
    scores: usize,
    /// How many rows are used, where the file says so: TensorFlow's.
    count: Option<usize>,
}

impl Ssd {
    pub(super) fn bind(
        size: PixelSize,
        outputs: &[Port],
        classes: usize,
    ) -> Result<Self, BindError> {
        let tensorflow = || {
            let named = |name: &str, rank: usize| {
                outputs.iter().position(|output| {
                    let stem = output.name.split(':').next().unwrap_or_default();
                    stem == name && output.shape.len() == rank && output.element == Element::F32
                })
            };
            let boxes = named("detection_boxes", 3)?;
            (outputs[boxes].shape[2] == 4).then_some(Self {
                size,
                classes,
                boxes,
                labels: named("detection_classes", 2)?,
                scores: named("detection_scores", 2)?,
                count: Some(named("num_detections", 1)?),
            })
        };
        let torchvision = || {
            // Exporters number the outputs, so types and ranks must do.
            let of = |is: fn(&Port) -> bool| {
                let mut places = (0..outputs.len()).filter(|index| is(&outputs[*index]));
                places.next().filter(|_| places.next().is_none())
            };
            let found = Self {
                size,
                classes,
                boxes: of(|port| matches!(port.shape[..], [_, 4]) && port.element == Element::F32)?,
                labels: of(|port| {
                    let whole = matches!(port.element, Element::I64 | Element::I32);
                    port.shape.len() == 1 && whole
                })?,
                scores: of(|port| port.shape.len() == 1 && port.element == Element::F32)?,
                count: None,
            };
            (outputs.len() == 3).then_some(found)
        };
        tensorflow().or_else(torchvision).ok_or_else(|| {
            let expected = "detection_boxes f32[1,K,4], detection_classes f32[1,K], \
                            detection_scores f32[1,K] and num_detections f32[1], or \
                            f32[K,4], i64[K] and f32[K]";
            mismatch(ModelFamily::Ssd, expected.to_owned(), outputs)
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "sides of an input are far below 2^24"
    )]
    fn bounds(&self, [first, second, third, fourth]: [f32; 4]) -> BoundingBox {
        if self.count.is_none() {
            return BoundingBox {
                x1: first,
                y1: second,
                x2: third,
                y2: fourth,
            };
        }
        let (width, height) = (self.size.width as f32, self.size.height as f32);
        BoundingBox {
            x1: second * width,
            y1: first * height,
            x2: fourth * width,
            y2: third * height,
        }
    }
}

impl Detector for Ssd {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and what there is limits the count"
    )]
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        // How many there are is only known now.
        let rows = outputs
            .get(self.scores)
            .map_or(0, |scores| scores.values.len());
        let scores = values(outputs, self.scores, rows)?;
        let labels = values(outputs, self.labels, rows)?;
        let (boxes, _) = values(outputs, self.boxes, 4 * rows)?.as_chunks::<4>();
        let used = match self.count {
            Some(count) => values(outputs, count, 1)?[0] as usize,
            None => rows,
        };
        let rows = boxes.iter().zip(labels).zip(scores).take(used);
        let over = rows.filter(|(_, score)| **score >= thresholds.score_min);
        let detections = over.map(|((edges, label), score)| {
            Ok(Detection {
                bounds: self.bounds(*edges),
                score: *score,
                class: class_of(label - 1.0, self.classes)?,
                landmarks: Landmarks::NONE,
            })
        });
        let detections = detections.collect::<Result<_, _>>()?;
        Ok(to_objects(detections, None, letterbox))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, decode, port};
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 100,
        height: 200,
    };

    fn tensorflow() -> [Port; 5] {
        [
            port("detection_anchor_indices:0", &[1, 3]),
            port("detection_boxes:0", &[1, 3, 4]),
            port("detection_classes:0", &[1, 3]),
            port("detection_scores:0", &[1, 3]),
            port("num_detections:0", &[1]),
        ]
    }

    fn torchvision() -> [Port; 3] {
        let mut labels = port("2113", &[-1]);
        labels.element = Element::I64;
        [port("2211", &[-1, 4]), port("2214", &[-1]), labels]
    }

    #[test]
    fn boxes_of_tensorflow_are_parts_of_the_input_and_only_so_many_count() {
        let ports = tensorflow();
        let family = Ssd::bind(SIZE, &ports, 90).expect("these are its shapes");
        let boxes = [
            [0.1, 0.2, 0.5, 0.6],
            [0.0, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0],
        ];
        let outputs = [
            vec![7.0, 8.0, 9.0],
            boxes.as_flattened().to_vec(),
            vec![1.0, 90.0, 1.0],
            vec![0.9, 0.3, 0.8],
            vec![2.0],
        ];
        let found = decode(&family, &ports, &outputs, SIZE).expect("the lengths fit");
        assert_eq!(
            found.len(),
            1,
            "one has a low score, one is not counted: {found:?}"
        );
        assert_box(&found[0], [20.0, 20.0, 60.0, 100.0]);
        assert_eq!((found[0].class, found[0].score), (0, 0.9));
    }

    #[test]
    fn boxes_of_torchvision_are_pixels_and_may_be_any_number() {
        let mut ports = torchvision();
        let family = Ssd::bind(SIZE, &ports, 90).expect("these are its shapes");
        for port in &mut ports {
            port.shape[0] = 2;
        }
        let boxes = [[1.0, 2.0, 30.0, 40.0], [1.0, 2.0, 30.0, 41.0]];
        let outputs = [
            boxes.as_flattened().to_vec(),
            vec![0.5, 0.7],
            vec![3.0, 3.0],
        ];
        let found = decode(&family, &ports, &outputs, SIZE).expect("the lengths fit");
        assert_eq!(found.len(), 2, "suppression is the model's");
        assert_box(&found[0], [1.0, 2.0, 30.0, 41.0]);
        assert_eq!(found[0].class, 2);
        let none = [vec![], vec![], vec![]];
        assert_eq!(decode(&family, &ports, &none, SIZE), Ok(Vec::new()));
    }

    #[test]
    fn the_background_and_classes_without_a_label_are_errors() {
        let ports = torchvision();
        let family = Ssd::bind(SIZE, &ports, 2).expect("these are its shapes");
        for (label, class) in [(0.0, -1), (3.0, 2)] {
            let outputs = [vec![0.0, 0.0, 9.0, 9.0], vec![0.9], vec![label]];
            let error = decode(&family, &ports, &outputs, SIZE);
            assert_eq!(error, Err(OutputError::Class { class, classes: 2 }));
        }
        let outputs = [vec![0.0; 4], vec![0.9], vec![]];
        let error = decode(&family, &ports, &outputs, SIZE);
        assert!(
            matches!(error, Err(OutputError::Length { index: 2, .. })),
            "{error:?}"
        );
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let text = |ports: &[Port]| {
            let error = Ssd::bind(SIZE, ports, 90).expect_err("another shape");
            error.to_string()
        };
        let wrong = text(&tensorflow()[..4]);
        assert!(
            wrong.starts_with("not a ssd model: expected detection_boxes"),
            "{wrong}"
        );
        text(&torchvision()[..2]);
        let all_floats = [port("a", &[5, 4]), port("b", &[5]), port("c", &[5])];
        text(&all_floats);
    }
}
