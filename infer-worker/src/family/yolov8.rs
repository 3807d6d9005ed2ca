//! The head that `YOLOv8` brought and v9, v11 and v12 kept, as the Ultralytics exporter writes
//! it, and its end-to-end form.
//!
//! Without suppression: one output `[N, 4 + classes, A]` over the `A` anchor points of all
//! strides. Its first four rows are centre x, centre y, width and height in pixels of the
//! input, the others scores after the sigmoid; a point is of its best class only.
//!
//! With suppression built in (`YOLOv10`, `YOLO26`, `nms=True`): one output `[N, K, 6]`, each row
//! left, top, right, bottom, score, class; rows that are not used have score 0.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};
use pulp::Arch;

use super::input::Convention;
use super::objects::to_objects;
use super::scan::{best, column_maxima};
use super::{BindError, Detector, Output, OutputError, Port, Thresholds};
use super::{class_of, mismatch, rows_of, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// Centre x, centre y, width, height.
const BOX_ROWS: usize = 4;
/// Left, top, right, bottom, score, class.
const FINAL_VALUES: usize = 6;

/// As the Ultralytics package prepares pictures.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 640,
        height: 640,
    },
    stride: 32,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::UNIT,
    padding: 114.0,
};

/// A file with this head.
#[derive(Debug)]
pub(super) struct YoloV8 {
    classes: usize,
    head: Head,
    arch: Arch,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    /// All points, to be suppressed.
    Points(usize),
    /// So many rows that are final.
    Final(usize),
}

impl YoloV8 {
    pub(super) fn bind(outputs: &[Port], classes: usize) -> Result<Self, BindError> {
        let head = match outputs {
            [output] => match rows_of(output) {
                Some((rows, FINAL_VALUES)) => Some(Head::Final(rows)),
                Some((rows, points)) if rows == BOX_ROWS + classes => Some(Head::Points(points)),
                _ => None,
            },
            _ => None,
        };
        let head = head.ok_or_else(|| {
            let rows = BOX_ROWS + classes;
            let expected = format!(
                "for {classes} labels one output f32[1,{rows},A], or f32[1,K,6] with suppression built in"
            );
            mismatch(ModelFamily::Yolov8, expected, outputs)
        })?;
        Ok(Self {
            classes,
            head,
            arch: Arch::new(),
        })
    }

    fn decode_points(&self, values: &[f32], points: usize, score_min: f32) -> Vec<Detection> {
        let (boxes, scores) = values.split_at(BOX_ROWS * points);
        let mut largest = Vec::new();
        column_maxima(self.arch, scores, points, &mut largest);
        let over = largest.iter().enumerate();
        let over = over.filter(|(_, score)| **score >= score_min);
        over.map(|(point, _)| {
            let column = scores.iter().skip(point).step_by(points);
            let (class, score) = best(column.copied());
            let [x, y, width, height] = std::array::from_fn(|row| boxes[row * points + point]);
            Detection {
                bounds: BoundingBox {
                    x1: x - width / 2.0,
                    y1: y - height / 2.0,
                    x2: x + width / 2.0,
                    y2: y + height / 2.0,
                },
                score,
                class,
                landmarks: Landmarks::NONE,
            }
        })
        .collect()
    }

    fn decode_final(&self, values: &[f32], score_min: f32) -> Result<Vec<Detection>, OutputError> {
        let (rows, _) = values.as_chunks::<FINAL_VALUES>();
        let over = rows.iter().filter(|[.., score, _]| *score >= score_min);
        over.map(|&[x1, y1, x2, y2, score, class]| {
            Ok(Detection {
                bounds: BoundingBox { x1, y1, x2, y2 },
                score,
                class: class_of(class, self.classes)?,
                landmarks: Landmarks::NONE,
            })
        })
        .collect()
    }
}

impl Detector for YoloV8 {
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let score_min = thresholds.score_min;
        match self.head {
            Head::Points(points) => {
                let values = values(outputs, 0, (BOX_ROWS + self.classes) * points)?;
                let detections = self.decode_points(values, points, score_min);
                Ok(to_objects(detections, Some(thresholds.nms_iou), letterbox))
            }
            Head::Final(rows) => {
                let values = values(outputs, 0, rows * FINAL_VALUES)?;
                let detections = self.decode_final(values, score_min)?;
                Ok(to_objects(detections, None, letterbox))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, decode, port, square, zeros};
    use super::*;

    const CLASSES: usize = 3;
    const POINTS: usize = 84;

    fn put(values: &mut [f32], point: usize, bounds: [f32; 4], class: usize, score: f32) {
        for (row, value) in bounds.into_iter().enumerate() {
            values[row * POINTS + point] = value;
        }
        values[(BOX_ROWS + class) * POINTS + point] = score;
    }

    #[test]
    fn points_are_boxes_around_a_centre() {
        let ports = [port("output0", &[1, 7, 84])];
        let family = YoloV8::bind(&ports, CLASSES).expect("these are its shapes");
        let mut outputs = zeros(&ports);
        put(&mut outputs[0], 5, [20.0, 30.0, 10.0, 40.0], 2, 0.9);
        put(&mut outputs[0], 6, [21.0, 30.0, 10.0, 40.0], 2, 0.8);
        put(&mut outputs[0], 7, [21.0, 30.0, 10.0, 40.0], 1, 0.7);
        put(&mut outputs[0], 83, [50.0, 50.0, 8.0, 8.0], 0, 0.39);
        let found = decode(&family, &ports, &outputs, square(64)).expect("the lengths fit");
        let classes: Vec<_> = found
            .iter()
            .map(|found| (found.class, found.score))
            .collect();
        assert_eq!(classes, [(2, 0.9), (1, 0.7)]);
        assert_box(&found[0], [15.0, 10.0, 25.0, 50.0]);
    }

    #[test]
    fn final_rows_are_taken_as_they_are() {
        let ports = [port("output0", &[1, 4, 6])];
        let family = YoloV8::bind(&ports, CLASSES).expect("these are its shapes");
        let rows = [
            [10.0, 20.0, 30.0, 40.0, 0.5, 1.0],
            [10.0, 20.0, 30.0, 41.0, 0.8, 1.0],
            [1.0, 2.0, 3.0, 4.0, 0.3, 0.0],
            [0.0; 6],
        ];
        let outputs = [rows.as_flattened().to_vec()];
        let found = decode(&family, &ports, &outputs, square(64)).expect("the lengths fit");
        // They overlap, but the model has let both stand.
        assert_eq!(found.len(), 2);
        assert_box(&found[0], [10.0, 20.0, 30.0, 41.0]);
        assert_eq!((found[0].class, found[0].score), (1, 0.8));
    }

    #[test]
    fn a_class_without_a_label_is_an_error() {
        let ports = [port("output0", &[1, 1, 6])];
        let family = YoloV8::bind(&ports, CLASSES).expect("these are its shapes");
        for class in [3.0, -1.0, f32::NAN] {
            let outputs = [vec![1.0, 2.0, 3.0, 4.0, 0.9, class]];
            let error = decode(&family, &ports, &outputs, square(64));
            let text = error.expect_err("no such class").to_string();
            assert!(text.ends_with("but 3 labels are configured"), "{text}");
        }
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let text = |ports: &[Port]| {
            let error = YoloV8::bind(ports, CLASSES).expect_err("another shape");
            error.to_string()
        };
        assert_eq!(
            text(&[port("output0", &[1, 84, 8400])]),
            "not a yolov8 model: expected for 3 labels one output f32[1,7,A], or f32[1,K,6] with \
             suppression built in; found output0 f32[1,84,8400]"
        );
        text(&[]);
        text(&[port("a", &[1, 7, 84]), port("b", &[1, 7, 84])]);
        text(&[port("a", &[2, 7, 84])]);
    }
}
