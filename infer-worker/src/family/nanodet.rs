//! `NanoDet` (anchor-free, one stage): three strides, a score a class and a distance
//! distribution an edge.
//!
//! For stride `s` the input of `W x H` pixels is divided into `n x m` cells, `n = W / s`,
//! `m = H / s`; cell `i` is centred on `((i mod n + 0.5) s, (i div n + 0.5) s)`. The class
//! output, `[N, n*m, classes]`, holds scores after the sigmoid; a cell is of its best class
//! only. The box output, `[N, n*m, 4 * bins]`, holds for left, top, right and bottom the logits of a distribution
//! over the distances `0..bins`, in strides; the expectation of each is the distance of that
//! edge from the centre (the integral of "Generalized Focal Loss", Li et al. 2020, eq. 6).

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};
use pulp::Arch;

use super::input::Convention;
use super::objects::to_objects;
use super::scan::{best, rows_over};
use super::{BindError, Detector, Output, OutputError, Port, Thresholds};
use super::{cells, mismatch, rows_of, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

const STRIDES: [u32; 3] = [8, 16, 32];
/// Edges of a box: left, top, right, bottom.
const EDGES: usize = 4;
/// Distances an edge may have; `NanoDet` ships with 8 (m) and 11 (plus).
const BINS_MAX: usize = 64;

/// Pixels as OpenCV gives them, with ImageNet's statistics.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 416,
        height: 416,
    },
    stride: 32,
    colour: ColourOrder::Bgr,
    normalisation: Normalisation {
        mean: [103.53, 116.28, 123.675],
        deviation: [57.375, 57.12, 58.395],
    },
    padding: 0.0,
};

/// A `NanoDet` file: where among its outputs each stride's are.
#[derive(Debug)]
pub(super) struct NanoDet {
    size: PixelSize,
    classes: usize,
    bins: usize,
    heads: [Head; 3],
    arch: Arch,
}

/// The two outputs of one stride, by their place in the model's declared order.
#[derive(Debug, Clone, Copy)]
struct Head {
    stride: u32,
    scores: usize,
    distances: usize,
}

impl NanoDet {
    pub(super) fn bind(
        size: PixelSize,
        outputs: &[Port],
        classes: usize,
    ) -> Result<Self, BindError> {
        let mut bins = None;
        let mut head = |stride: u32| {
            let [across, down] = cells(size, stride);
            let of_stride = outputs.iter().enumerate().filter_map(|(index, output)| {
                let (rows, values) = rows_of(output)?;
                (rows == across * down).then_some((index, values))
            });
            let [(one, one_values), (other, other_values)] =
                <[_; 2]>::try_from(of_stride.collect::<Vec<_>>()).ok()?;
            // Exporters write the scores first; names differ from one to the next.
            let (scores, distances, values) = if one_values == classes {
                (one, other, other_values)
            } else if other_values == classes {
                (other, one, one_values)
            } else {
                return None;
            };
            let known = *bins.get_or_insert(values / EDGES);
            let fits = values == EDGES * known && (2..=BINS_MAX).contains(&known);
            fits.then_some(Head {
                stride,
                scores,
                distances,
            })
        };
        let heads = STRIDES.map(&mut head);
        let [Some(first), Some(second), Some(third)] = heads else {
            let pairs = STRIDES.map(|stride| {
                let [across, down] = cells(size, stride);
                let rows = across * down;
                format!("f32[1,{rows},{classes}] and f32[1,{rows},44]")
            });
            let expected = format!(
                "for {classes} labels and an input of {size}, the outputs {}",
                pairs.join(", ")
            );
            return Err(mismatch(ModelFamily::Nanodet, expected, outputs));
        };
        Ok(Self {
            size,
            classes,
            bins: bins.unwrap_or(0),
            heads: [first, second, third],
            arch: Arch::new(),
        })
    }

    /// The expected distance of each edge, in strides.
    fn distances(&self, logits: &[f32]) -> [f32; EDGES] {
        let mut edges = [0.0; EDGES];
        for (edge, logits) in edges.iter_mut().zip(logits.chunks_exact(self.bins)) {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (mut sum, mut weighted, mut distance) = (0.0, 0.0, 0.0);
            for logit in logits {
                let weight = (logit - largest).exp();
                sum += weight;
                weighted += weight * distance;
                distance += 1.0;
            }
            *edge = weighted / sum;
        }
        edges
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a cell's centre is at most the side of the input"
    )]
    fn bounds(&self, stride: u32, cell: usize, logits: &[f32]) -> BoundingBox {
        let [across, _] = cells(self.size, stride);
        let length = stride as f32;
        let x = ((cell % across) as f32 + 0.5) * length;
        let y = ((cell / across) as f32 + 0.5) * length;
        let [left, top, right, bottom] = self.distances(logits);
        BoundingBox {
            x1: x - left * length,
            y1: y - top * length,
            x2: x + right * length,
            y2: y + bottom * length,
        }
    }
}

impl Detector for NanoDet {
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let row = EDGES * self.bins;
        let mut detections = Vec::new();
        let mut found = Vec::new();
        for head in self.heads {
            let [across, down] = cells(self.size, head.stride);
            let scores = values(outputs, head.scores, across * down * self.classes)?;
            let distances = values(outputs, head.distances, across * down * row)?;
            let score_min = thresholds.score_min;
            rows_over(self.arch, scores, self.classes, score_min, &mut found);
            for &cell in &found {
                let scores = &scores[cell * self.classes..][..self.classes];
                let (class, score) = best(scores.iter().copied());
                detections.push(Detection {
                    bounds: self.bounds(head.stride, cell, &distances[cell * row..][..row]),
                    score,
                    class,
                    landmarks: Landmarks::NONE,
                });
            }
        }
        Ok(to_objects(detections, Some(thresholds.nms_iou), letterbox))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::super::testing::{assert_box, decode_picture, port, square};
    use super::*;

    const SIDE: u32 = 416;
    const CLASSES: usize = 80;
    const BINS: usize = 11;

    fn ports() -> Vec<Port> {
        vec![
            port("cls8", &[1, 2704, 80]),
            port("cls16", &[1, 676, 80]),
            port("cls32", &[1, 169, 80]),
            port("reg8", &[1, 2704, 44]),
            port("reg16", &[1, 676, 44]),
            port("reg32", &[1, 169, 44]),
        ]
    }

    fn nanodet() -> NanoDet {
        NanoDet::bind(square(SIDE), &ports(), CLASSES).expect("these are its shapes")
    }

    /// Outputs with nothing in them, in the order of [`ports`].
    struct Outputs(Vec<Vec<f32>>);

    impl Outputs {
        fn empty() -> Self {
            let cells = STRIDES.map(|stride| (SIDE / stride).pow(2) as usize);
            let scores = cells.map(|cells| vec![0.01; cells * CLASSES]);
            let distances = cells.map(|cells| vec![0.0; cells * EDGES * BINS]);
            Self([scores, distances].concat())
        }

        /// Puts an object into a cell; distances are whole strides, certain.
        fn put(&mut self, head: usize, cell: usize, class: usize, score: f32, edges: [usize; 4]) {
            self.0[head][cell * CLASSES + class] = score;
            for (edge, distance) in edges.into_iter().enumerate() {
                self.0[3 + head][(cell * EDGES + edge) * BINS + distance] = 60.0;
            }
        }

        fn try_decode(&self, picture: PixelSize) -> Result<Vec<Detection>, OutputError> {
            let letterbox = Letterbox::new(picture, square(SIDE));
            decode_picture(&nanodet(), &ports(), &self.0, &letterbox)
        }

        fn decode(&self, picture: PixelSize) -> Vec<Detection> {
            self.try_decode(picture).expect("the lengths fit")
        }
    }

    #[test]
    fn boxes_lie_where_the_cells_and_distances_say() {
        let mut outputs = Outputs::empty();
        // Stride 32, 13 cells a row: cell 30 is column 4, row 2, centred on (144, 80).
        outputs.put(2, 30, 7, 0.75, [1, 2, 3, 0]);
        // Stride 8, 52 cells a row: cell 2703 is the last, centred on (412, 412).
        outputs.put(0, 2703, 0, 0.5, [10, 5, 10, 10]);
        let found = outputs.decode(square(SIDE));
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].class, found[0].score), (7, 0.75));
        assert_box(&found[0], [112.0, 16.0, 240.0, 80.0]);
        assert_eq!((found[1].class, found[1].score), (0, 0.5));
        assert_box(&found[1], [332.0, 372.0, 416.0, 416.0]);
    }

    #[test]
    fn boxes_are_mapped_back_to_the_picture() {
        let mut outputs = Outputs::empty();
        outputs.put(1, 338, 0, 0.9, [2, 4, 2, 4]);
        // Stride 16, 26 a row: column 0, row 13: centre (8, 216); 416x312 content from row 52.
        let found = outputs.decode(PixelSize {
            width: 832,
            height: 624,
        });
        assert_box(&found[0], [0.0, 200.0, 80.0, 456.0]);
    }

    #[test]
    fn a_spread_distribution_gives_its_mean() {
        let mut outputs = Outputs::empty();
        outputs.put(2, 84, 0, 0.9, [2, 2, 2, 2]);
        for edge in 0..EDGES {
            // Bins 2 and 4 equally likely: 3 strides. Cell 84 is the middle, (208, 208).
            outputs.0[5][(84 * EDGES + edge) * BINS + 4] = 60.0;
        }
        let found = outputs.decode(square(SIDE));
        assert_box(&found[0], [112.0, 112.0, 304.0, 304.0]);
    }

    #[test]
    fn a_cell_has_its_best_class_only_and_neighbours_are_suppressed() {
        let mut outputs = Outputs::empty();
        outputs.put(2, 84, 3, 0.6, [3, 3, 3, 3]);
        outputs.put(2, 84, 5, 0.8, [3, 3, 3, 3]);
        outputs.put(2, 85, 5, 0.7, [4, 3, 2, 3]);
        let found = outputs.decode(square(SIDE));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].class, found[0].score), (5, 0.8));
    }

    #[test]
    fn weak_and_senseless_cells_are_not_detections() {
        let mut outputs = Outputs::empty();
        outputs.put(0, 10, 0, 0.399, [1, 1, 1, 1]);
        outputs.put(0, 700, 0, f32::NAN, [1, 1, 1, 1]);
        outputs.put(1, 300, 0, 0.9, [1, 1, 1, 1]);
        outputs.0[4][300 * EDGES * BINS] = f32::NAN;
        assert!(outputs.decode(square(SIDE)).is_empty());
        // Wholly inside the padding above a wide picture.
        outputs.put(0, 5, 0, 0.9, [1, 0, 1, 1]);
        let wide = PixelSize {
            width: 640,
            height: 272,
        };
        assert!(outputs.decode(wide).is_empty());
    }

    #[test]
    fn outputs_of_another_length_are_refused() {
        let mut outputs = Outputs::empty();
        outputs.0[4].pop();
        let error = outputs.try_decode(square(SIDE));
        assert_eq!(
            error.expect_err("one is short").to_string(),
            "output 4 of the model has 29743 values instead of 29744"
        );
    }

    #[test]
    fn any_order_of_outputs_is_recognised() {
        let mut ports = ports();
        ports.reverse();
        let bound = NanoDet::bind(square(SIDE), &ports, CLASSES).expect("only the order differs");
        assert_eq!(bound.heads.map(|head| head.scores), [5, 4, 3]);
        assert_eq!(bound.heads.map(|head| head.distances), [2, 1, 0]);
        assert_eq!(bound.bins, 11);
    }

    #[test]
    fn a_wide_input_has_more_columns_than_rows() {
        let size = PixelSize {
            width: 64,
            height: 32,
        };
        let rows = [32, 8, 2];
        let scores = rows.map(|rows| port("cls", &[1, rows, 2]));
        let distances = rows.map(|rows| port("reg", &[1, rows, 32]));
        let ports = [scores, distances].concat();
        let family = NanoDet::bind(size, &ports, 2).expect("these are its shapes");
        let mut outputs = super::super::testing::zeros(&ports);
        // Stride 16, 4 cells a row: cell 6 is column 2, row 1, centred on (40, 24).
        outputs[1][6 * 2] = 0.5;
        for edge in 0..EDGES {
            outputs[4][(6 * EDGES + edge) * 8] = 60.0;
        }
        outputs[4][(6 * EDGES + 2) * 8 + 1] = 60.0;
        outputs[4][(6 * EDGES + 3) * 8 + 1] = 60.0;
        let letterbox = Letterbox::new(size, size);
        let found = decode_picture(&family, &ports, &outputs, &letterbox);
        // Half a stride to the right and below, for either distance is as likely.
        assert_box(
            &found.expect("the lengths fit")[0],
            [40.0, 24.0, 48.0, 32.0],
        );
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let text = |outputs: &[Port], classes| {
            let error = NanoDet::bind(square(SIDE), outputs, classes);
            error.expect_err("the shapes differ").to_string()
        };
        let labels = text(&ports(), 2);
        assert!(labels.contains("for 2 labels"), "{labels}");
        assert!(labels.contains("f32[1,2704,2]"), "{labels}");
        assert!(labels.contains("cls8 f32[1,2704,80]"), "{labels}");
        let missing = text(&ports()[..5], CLASSES);
        assert!(missing.contains("found cls8"), "{missing}");
        let mut other_type = ports();
        other_type[0].element = Element::Other;
        let text = text(&other_type, CLASSES);
        assert!(text.contains("of another type [1,2704,80]"), "{text}");
    }
}
