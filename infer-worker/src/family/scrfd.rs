//! `SCRFD` (Guo et al. 2021), as InsightFace exports it: faces, with five landmarks in the
//! `kps` files.
//!
//! For each of the strides 8, 16 and 32, with `k` anchors a cell (2 in the published files):
//! scores `[A, 1]` after the sigmoid, boxes `[A, 4]` and landmarks `[A, 10]`, where `A` is the
//! number of cells times `k`. Anchor `a` is at `((a div k mod n) s, (a div k div n) s)`: the
//! corner of its cell, not the middle. Boxes are distances to the left, top, right and bottom
//! from there, landmarks are x and y from there, all in strides: right eye, left eye, nose,
//! right and left corner of the mouth, as the person has them.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};
use pulp::Arch;

use super::input::Convention;
use super::objects::to_objects;
use super::scan::rows_over;
use super::{BindError, Detector, Output, OutputError, Port, Thresholds};
use super::{cells, mismatch, rows_of, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

const STRIDES: [u32; 3] = [8, 16, 32];
/// Anchors a cell that a file may have.
const ANCHORS_MAX: usize = 4;
const LANDMARKS: usize = 5;

/// As InsightFace prepares pictures.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 640,
        height: 640,
    },
    stride: 32,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation {
        mean: [127.5; 3],
        deviation: [128.0; 3],
    },
    padding: 0.0,
};

/// An `SCRFD` file: where among its outputs each stride's are.
#[derive(Debug)]
pub(super) struct Scrfd {
    size: PixelSize,
    /// A cell.
    anchors: usize,
    heads: [Head; 3],
    arch: Arch,
}

/// The outputs of one stride, by their place in the model's declared order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Head {
    stride: u32,
    scores: usize,
    distances: usize,
    landmarks: Option<usize>,
}

impl Scrfd {
    pub(super) fn bind(size: PixelSize, outputs: &[Port]) -> Result<Self, BindError> {
        (1..=ANCHORS_MAX)
            .find_map(|anchors| Self::with_anchors(size, outputs, anchors))
            .ok_or_else(|| {
                let rows = STRIDES.map(|stride| 2 * cells(size, stride).iter().product::<usize>());
                let rows = rows.map(|rows| format!("f32[{rows},1], f32[{rows},4], f32[{rows},10]"));
                let expected = format!("for an input of {size}, the outputs {}", rows.join(", "));
                mismatch(ModelFamily::Scrfd, expected, outputs)
            })
    }

    fn with_anchors(size: PixelSize, outputs: &[Port], anchors: usize) -> Option<Self> {
        let head = |stride: u32| {
            let rows = anchors * cells(size, stride).iter().product::<usize>();
            let of_values = |values: usize| {
                let mut outputs = outputs.iter();
                outputs.position(|output| rows_of(output) == Some((rows, values)))
            };
            Some(Head {
                stride,
                scores: of_values(1)?,
                distances: of_values(4)?,
                landmarks: of_values(2 * LANDMARKS),
            })
        };
        let [first, second, third] = STRIDES.map(head);
        let heads = [first?, second?, third?];
        let with_landmarks = heads.iter().filter(|head| head.landmarks.is_some()).count();
        let known = 6 + with_landmarks;
        (outputs.len() == known && matches!(with_landmarks, 0 | 3)).then_some(Self {
            size,
            anchors,
            heads,
            arch: Arch::new(),
        })
    }
}

impl Detector for Scrfd {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a cell's place is at most the side of the input"
    )]
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let mut detections = Vec::new();
        let mut found = Vec::new();
        for head in self.heads {
            let [across, down] = cells(self.size, head.stride);
            let rows = across * down * self.anchors;
            let scores = values(outputs, head.scores, rows)?;
            let distances = values(outputs, head.distances, 4 * rows)?;
            let landmarks = match head.landmarks {
                Some(index) => Some(values(outputs, index, 2 * LANDMARKS * rows)?),
                None => None,
            };
            rows_over(self.arch, scores, 1, thresholds.score_min, &mut found);
            let length = head.stride as f32;
            for &row in &found {
                let cell = row / self.anchors;
                let x = (cell % across) as f32 * length;
                let y = (cell / across) as f32 * length;
                let edge = |edge: usize| distances[4 * row + edge] * length;
                let points = landmarks.map(|landmarks| {
                    let (points, _) = landmarks[2 * LANDMARKS * row..].as_chunks::<2>();
                    let place = |point: usize| {
                        let [right, down] = points[point];
                        [x + right * length, y + down * length]
                    };
                    std::array::from_fn::<_, LANDMARKS, _>(place)
                });
                detections.push(Detection {
                    bounds: BoundingBox {
                        x1: x - edge(0),
                        y1: y - edge(1),
                        x2: x + edge(2),
                        y2: y + edge(3),
                    },
                    score: scores[row],
                    class: 0,
                    landmarks: points
                        .and_then(|points| Landmarks::new(&points))
                        .unwrap_or(Landmarks::NONE),
                });
            }
        }
        Ok(to_objects(detections, Some(thresholds.nms_iou), letterbox))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, assert_landmarks, decode, port, zeros};
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 96,
        height: 64,
    };

    /// In the order of InsightFace's files: all scores, all boxes, all landmarks.
    fn ports(batched: bool) -> Vec<Port> {
        let kinds = [1_i64, 4, 10];
        let shapes = kinds.into_iter().flat_map(|values| {
            [192_i64, 48, 12].map(|rows| match batched {
                true => vec![1, rows, values],
                false => vec![rows, values],
            })
        });
        (400..)
            .zip(shapes)
            .map(|(name, shape)| port(&format!("{name}"), &shape))
            .collect()
    }

    #[test]
    fn distances_are_from_the_corner_of_the_cell() {
        for batched in [false, true] {
            let ports = ports(batched);
            let family = Scrfd::bind(SIZE, &ports).expect("these are its shapes");
            let mut outputs = zeros(&ports);
            // Stride 16, column 3, row 2, second anchor.
            let row = (2 * 6 + 3) * 2 + 1;
            outputs[1][row] = 0.875;
            outputs[4][4 * row..][..4].copy_from_slice(&[1.0, 0.5, 2.0, 1.5]);
            outputs[7][10 * row..][..10]
                .copy_from_slice(&[0.0, 0.0, 0.5, 0.0, 0.25, 0.5, 0.0, 1.0, -0.5, 1.0]);
            let found = decode(&family, &ports, &outputs, SIZE).expect("the lengths fit");
            assert_eq!(found.len(), 1);
            assert_box(&found[0], [32.0, 24.0, 80.0, 56.0]);
            let wanted = [
                [48.0, 32.0],
                [56.0, 32.0],
                [52.0, 40.0],
                [48.0, 48.0],
                [40.0, 48.0],
            ];
            assert_landmarks(&found[0], &wanted);
        }
    }

    #[test]
    fn a_file_without_landmarks_gives_none() {
        let ports = &ports(false)[..6];
        let family = Scrfd::bind(SIZE, ports).expect("these are its shapes");
        let mut outputs = zeros(ports);
        outputs[2][0] = 0.5;
        outputs[5][..4].copy_from_slice(&[0.0, 0.0, 1.0, 1.0]);
        let found = decode(&family, ports, &outputs, SIZE).expect("the lengths fit");
        assert_box(&found[0], [0.0, 0.0, 32.0, 32.0]);
        assert_landmarks(&found[0], &[]);
    }

    #[test]
    fn the_number_of_anchors_is_seen_from_the_shapes() {
        let one_each: Vec<_> = ports(false)
            .into_iter()
            .map(|mut port| {
                port.shape[0] /= 2;
                port
            })
            .collect();
        assert_eq!(Scrfd::bind(SIZE, &one_each).expect("one a cell").anchors, 1);
        assert_eq!(
            Scrfd::bind(SIZE, &ports(true)).expect("two a cell").anchors,
            2
        );
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let error = Scrfd::bind(SIZE, &ports(false)[..8]).expect_err("one is missing");
        let text = error.to_string();
        assert!(
            text.starts_with("not a scrfd model: expected for an input of 96x64"),
            "{text}"
        );
        assert!(
            text.contains("f32[192,1], f32[192,4], f32[192,10], f32[48,1]"),
            "{text}"
        );
    }
}
