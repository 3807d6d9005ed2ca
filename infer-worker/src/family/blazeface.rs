//! `BlazeFace` (Bazarevsky et al. 2019), short range and the 256-pixel model for back cameras,
//! as MediaPipe publishes them: faces with six key points.
//!
//! Whatever the size of the square input, its anchors are the middles of the cells of a grid
//! of 16 x 16, two each, and of one of 8 x 8, six each: 896. For each anchor there is a score
//! before the sigmoid and 16 values in pixels of the input: centre x and y from the anchor,
//! width, height, and x and y from the anchor of the right eye, left eye, tip of the nose,
//! mouth, right and left ear, as the person has them. Files have the grids in outputs of their
//! own (`[N, 512, ..]` and `[N, 384, ..]`) or behind each other (`[N, 896, ..]`).
//!
//! MediaPipe averages the boxes of one face; here the best of them stays.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};

use super::input::Convention;
use super::objects::to_objects;
use super::scan::sigmoid;
use super::{BindError, Detector, Output, OutputError, Port, Thresholds};
use super::{mismatch, rows_of, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// Cells of a side and anchors of a cell, of each grid.
const GRIDS: [(u16, usize); 2] = [(16, 2), (8, 6)];
const KEY_POINTS: usize = 6;
/// Centre, size and key points of one anchor.
const VALUES: usize = 4 + 2 * KEY_POINTS;

/// As MediaPipe prepares pictures: -1 to 1.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 128,
        height: 128,
    },
    stride: 16,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation {
        mean: [127.5; 3],
        deviation: [127.5; 3],
    },
    padding: 0.0,
};

/// A `BlazeFace` file.
#[derive(Debug)]
pub(super) struct BlazeFace {
    heads: Vec<Head>,
}

/// Some anchors, and their outputs by their place in the model's declared order.
#[derive(Debug)]
struct Head {
    scores: usize,
    boxes: usize,
    /// In pixels of the input.
    anchors: Vec<[f32; 2]>,
}

impl BlazeFace {
    pub(super) fn bind(size: PixelSize, outputs: &[Port]) -> Result<Self, BindError> {
        let head = |anchors: Vec<[f32; 2]>| {
            let of_values = |values: usize| {
                let mut outputs = outputs.iter();
                outputs.position(|output| rows_of(output) == Some((anchors.len(), values)))
            };
            Some(Head {
                scores: of_values(1)?,
                boxes: of_values(VALUES)?,
                anchors,
            })
        };
        let [fine, coarse] = GRIDS.map(|grid| anchors(size, grid));
        let heads: Option<Vec<_>> = match outputs.len() {
            2 => head([fine, coarse].concat()).map(|head| vec![head]),
            4 => [fine, coarse].into_iter().map(head).collect(),
            _ => None,
        };
        let heads = heads.filter(|_| size.width == size.height);
        heads.map(|heads| Self { heads }).ok_or_else(|| {
            let expected = "for a square input, the outputs f32[1,896,1], f32[1,896,16], or \
                            f32[1,512,1], f32[1,384,1], f32[1,512,16], f32[1,384,16]";
            mismatch(ModelFamily::Blazeface, expected.to_owned(), outputs)
        })
    }
}

impl Detector for BlazeFace {
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let mut detections = Vec::new();
        for head in &self.heads {
            let count = head.anchors.len();
            let logits = values(outputs, head.scores, count)?;
            let (boxes, _) = values(outputs, head.boxes, VALUES * count)?.as_chunks::<VALUES>();
            for ((anchor, values), logit) in head.anchors.iter().zip(boxes).zip(logits) {
                let score = sigmoid(*logit);
                if score >= thresholds.score_min {
                    detections.push(face(*anchor, values, score));
                }
            }
        }
        Ok(to_objects(detections, Some(thresholds.nms_iou), letterbox))
    }
}

fn face([anchor_x, anchor_y]: [f32; 2], values: &[f32; VALUES], score: f32) -> Detection {
    let (pairs, _) = values.as_chunks::<2>();
    let place = |pair: usize| {
        let [right, down] = pairs[pair];
        [anchor_x + right, anchor_y + down]
    };
    let ([x, y], [width, height]) = (place(0), pairs[1]);
    let points: [[f32; 2]; KEY_POINTS] = std::array::from_fn(|point| place(2 + point));
    Detection {
        bounds: BoundingBox {
            x1: x - width / 2.0,
            y1: y - height / 2.0,
            x2: x + width / 2.0,
            y2: y + height / 2.0,
        },
        score,
        class: 0,
        landmarks: Landmarks::new(&points).unwrap_or(Landmarks::NONE),
    }
}

/// The anchors of a grid, row by row.
#[expect(clippy::cast_precision_loss, reason = "a side is at most 4096")]
fn anchors(size: PixelSize, (side, each): (u16, usize)) -> Vec<[f32; 2]> {
    let cell = size.width as f32 / f32::from(side);
    let middle = |index: u16| (f32::from(index) + 0.5) * cell;
    let cells = (0..side).flat_map(|row| (0..side).map(move |column| [column, row]));
    let middles = cells.map(|place| place.map(middle));
    middles
        .flat_map(|middle| std::iter::repeat_n(middle, each))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, assert_landmarks, decode, port, square, zeros};
    use super::*;

    fn split() -> Vec<Port> {
        let shapes = [[1, 512, 1], [1, 384, 1], [1, 512, 16], [1, 384, 16]];
        shapes.iter().map(|shape| port("out", shape)).collect()
    }

    fn joined() -> Vec<Port> {
        vec![
            port("regressors", &[1, 896, 16]),
            port("classificators", &[1, 896, 1]),
        ]
    }

    /// All anchors are certain that nothing is there.
    fn empty(ports: &[Port]) -> Vec<Vec<f32>> {
        let mut outputs = zeros(ports);
        for (output, port) in outputs.iter_mut().zip(ports) {
            if port.shape[2] == 1 {
                output.fill(-100.0);
            }
        }
        outputs
    }

    const FACE: [f32; VALUES] = [
        1.0, -2.0, 20.0, 30.0, -5.0, -6.0, 5.0, -6.0, 0.0, 0.0, 0.0, 6.0, -9.0, 1.0, 9.0, 1.0,
    ];

    fn points([x, y]: [f32; 2]) -> [[f32; 2]; KEY_POINTS] {
        [
            [-5.0, -6.0],
            [5.0, -6.0],
            [0.0, 0.0],
            [0.0, 6.0],
            [-9.0, 1.0],
            [9.0, 1.0],
        ]
        .map(|[right, down]| [x + right, y + down])
    }

    #[test]
    fn a_face_lies_around_its_anchor_in_either_form() {
        // The coarse grid, column 3, row 2, last of its anchors: (56, 40) at 128 pixels.
        let row = (2 * 8 + 3) * 6 + 5;
        for (ports, scores, boxes, row) in [(split(), 1, 3, row), (joined(), 1, 0, 512 + row)] {
            let family = BlazeFace::bind(square(128), &ports).expect("these are its shapes");
            let mut outputs = empty(&ports);
            outputs[scores][row] = 2.0;
            outputs[boxes][VALUES * row..][..VALUES].copy_from_slice(&FACE);
            let found = decode(&family, &ports, &outputs, square(128)).expect("the lengths fit");
            assert_eq!(found.len(), 1);
            assert_box(&found[0], [47.0, 23.0, 67.0, 53.0]);
            assert!((found[0].score - 0.8808).abs() < 1e-4);
            assert_landmarks(&found[0], &points([56.0, 40.0]));
        }
    }

    #[test]
    fn anchors_go_with_the_size_of_the_input() {
        let ports = split();
        let family = BlazeFace::bind(square(256), &ports).expect("these are its shapes");
        let mut outputs = empty(&ports);
        // The fine grid, column 5, row 4, first anchor: (88, 72) at 256 pixels.
        let row = (4 * 16 + 5) * 2;
        outputs[0][row] = 0.0;
        outputs[2][VALUES * row..][..VALUES].copy_from_slice(&FACE);
        let found = decode(&family, &ports, &outputs, square(256)).expect("the lengths fit");
        assert_box(&found[0], [79.0, 55.0, 99.0, 85.0]);
        assert_eq!(found[0].score, 0.5);
        assert_landmarks(&found[0], &points([88.0, 72.0]));
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let text = |size, ports: &[Port]| {
            let error = BlazeFace::bind(size, ports).expect_err("another shape");
            error.to_string()
        };
        let wrong = text(square(128), &split()[..3]);
        assert!(
            wrong.starts_with("not a blazeface model: expected for a square"),
            "{wrong}"
        );
        let wide = PixelSize {
            width: 256,
            height: 128,
        };
        text(wide, &split());
        text(square(128), &[]);
    }
}
