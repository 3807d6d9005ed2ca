//! `NanoDet` (anchor-free, one stage): three strides, a score a class and a distance
//! distribution an edge.
//!
//! For stride `s` the input of side `S` is divided into `n x n` cells, `n = S / s`; cell `i`
//! is centred on `((i mod n + 0.5) s, (i div n + 0.5) s)`. The class output, `[N, n*n, classes]`,
//! holds scores after the sigmoid; a cell is of its best class only. The box output,
//! `[N, n*n, 4 * bins]`, holds for left, top, right and bottom the logits of a distribution
//! over the distances `0..bins`, in strides; the expectation of each is the distance of that
//! edge from the centre (the integral of "Generalized Focal Loss", Li et al. 2020, eq. 6).

use contract::detection::{DETECTIONS_MAX, Detection};
use contract::geometry::BoundingBox;
use pulp::{Arch, Simd, WithSimd};

use super::{Family, OutputError, Port, ShapeError, Thresholds, list, suppress};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

const NAME: &str = "nanodet";
const STRIDES: [usize; 3] = [8, 16, 32];
/// Edges of a box: left, top, right, bottom.
const EDGES: usize = 4;
/// Distances an edge may have; `NanoDet` ships with 8 (m) and 11 (plus).
const BINS_MAX: usize = 64;

/// Pixels as OpenCV gives them (blue, green, red), with ImageNet's statistics on 0..255.
const NORMALISATION: Normalisation = Normalisation {
    mean: [103.53, 116.28, 123.675],
    deviation: [57.375, 57.12, 58.395],
};

/// A `NanoDet` file: where among its outputs each stride's are.
#[derive(Debug)]
pub(super) struct NanoDet {
    side: usize,
    classes: usize,
    bins: usize,
    heads: [Head; 3],
    arch: Arch,
}

/// The two outputs of one stride, by their place in the model's declared order.
#[derive(Debug, Clone, Copy)]
struct Head {
    stride: usize,
    scores: usize,
    distances: usize,
}

impl NanoDet {
    pub(super) fn bind(
        inputs: &[Port],
        outputs: &[Port],
        classes: usize,
    ) -> Result<Self, ShapeError> {
        let side = side_of(inputs).ok_or_else(|| ShapeError {
            family: NAME,
            expected: "one input f32[?,3,S,S] with S a multiple of 32".to_owned(),
            found: list(inputs),
        })?;
        let mut bins = None;
        let mut head = |stride: usize| {
            let cells = (side / stride).pow(2);
            let of_stride = outputs.iter().enumerate().filter_map(|(index, output)| {
                let [-1 | 1, rows, values] = output.shape[..] else {
                    return None;
                };
                let values = usize::try_from(values).ok()?;
                (output.is_f32 && rows == i64::try_from(cells).ok()?).then_some((index, values))
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
                let cells = (side / stride).pow(2);
                format!("f32[?,{cells},{classes}] and f32[?,{cells},44]")
            });
            return Err(ShapeError {
                family: NAME,
                expected: format!(
                    "for {classes} labels and an input of {side}x{side}, the outputs {}",
                    pairs.join(", ")
                ),
                found: list(outputs),
            });
        };
        Ok(Self {
            side,
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
    fn bounds(&self, stride: usize, cell: usize, logits: &[f32]) -> BoundingBox {
        let cells = self.side / stride;
        let length = stride as f32;
        let x = ((cell % cells) as f32 + 0.5) * length;
        let y = ((cell / cells) as f32 + 0.5) * length;
        let [left, top, right, bottom] = self.distances(logits);
        BoundingBox {
            x1: x - left * length,
            y1: y - top * length,
            x2: x + right * length,
            y2: y + bottom * length,
        }
    }
}

impl Family for NanoDet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn side(&self) -> usize {
        self.side
    }

    fn normalisation(&self) -> Normalisation {
        NORMALISATION
    }

    fn decode(
        &self,
        outputs: &[&[f32]],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let output = |index: usize, expected: usize| {
            let found = outputs.get(index).copied().unwrap_or_default();
            if found.len() == expected {
                return Ok(found);
            }
            Err(OutputError {
                index,
                expected,
                found: found.len(),
            })
        };
        let mut detections = Vec::new();
        let mut cells_over = Vec::new();
        for head in self.heads {
            let cells = (self.side / head.stride).pow(2);
            let scores = output(head.scores, cells * self.classes)?;
            let distances = output(head.distances, cells * EDGES * self.bins)?;
            cells_over.clear();
            self.arch.dispatch(CellsOver {
                scores,
                classes: self.classes,
                score_min: thresholds.score_min,
                cells: &mut cells_over,
            });
            for &cell in &cells_over {
                let (class, score) = best(&scores[cell * self.classes..][..self.classes]);
                let row = EDGES * self.bins;
                let bounds = self.bounds(head.stride, cell, &distances[cell * row..][..row]);
                // A model gone wrong may give NaN distances; such a box is no detection.
                if bounds.is_valid() {
                    detections.push(Detection {
                        bounds,
                        score: score.min(1.0),
                        class,
                    });
                }
            }
        }
        suppress(&mut detections, thresholds.nms_iou, DETECTIONS_MAX);
        for detection in &mut detections {
            let bounds = letterbox.to_picture(&detection.bounds);
            detection.bounds = bounds.clipped(letterbox.picture);
        }
        // What lies wholly in the padding shows nothing of the picture.
        detections.retain(|detection| detection.bounds.area() > 0.0);
        Ok(detections)
    }
}

fn side_of(inputs: &[Port]) -> Option<usize> {
    let [input] = inputs else { return None };
    let [-1 | 1, 3, height, width] = input.shape[..] else {
        return None;
    };
    let side = usize::try_from(width).ok()?;
    let fits = input.is_f32 && height == width && (32..=4096).contains(&side);
    (fits && side.is_multiple_of(32)).then_some(side)
}

/// The best class of a cell and its score; the lower class on a tie.
fn best(scores: &[f32]) -> (u16, f32) {
    let numbered = (0_u16..).zip(scores.iter().copied());
    numbered.fold((0, f32::NEG_INFINITY), |best, (class, score)| {
        if score > best.1 { (class, score) } else { best }
    })
}

/// Finds the cells of which any class reaches the least score: nearly all of decoding is
/// this one comparison over all cells and classes.
struct CellsOver<'a> {
    scores: &'a [f32],
    classes: usize,
    score_min: f32,
    cells: &'a mut Vec<usize>,
}

impl WithSimd for CellsOver<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.scores.chunks_exact(self.classes);
        for (cell, row) in rows.enumerate() {
            let over = row
                .iter()
                .fold(false, |over, score| over | (*score >= self.score_min));
            if over {
                self.cells.push(cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;

    use super::*;

    const SIDE: usize = 416;
    const CLASSES: usize = 80;
    const BINS: usize = 11;
    const LOOSE: Thresholds = Thresholds {
        score_min: 0.4,
        nms_iou: 0.6,
    };

    fn port(name: &str, shape: &[i64]) -> Port {
        Port {
            name: name.to_owned(),
            is_f32: true,
            shape: shape.to_vec(),
        }
    }

    fn ports() -> (Vec<Port>, Vec<Port>) {
        let outputs = [
            port("cls8", &[-1, 2704, 80]),
            port("cls16", &[-1, 676, 80]),
            port("cls32", &[-1, 169, 80]),
            port("reg8", &[-1, 2704, 44]),
            port("reg16", &[-1, 676, 44]),
            port("reg32", &[-1, 169, 44]),
        ];
        (vec![port("images", &[-1, 3, 416, 416])], outputs.to_vec())
    }

    fn nanodet() -> NanoDet {
        let (inputs, outputs) = ports();
        NanoDet::bind(&inputs, &outputs, CLASSES).expect("these are its shapes")
    }

    /// Outputs with nothing in them, in the order of [`ports`].
    struct Outputs([Vec<f32>; 6]);

    impl Outputs {
        fn empty() -> Self {
            let cells = STRIDES.map(|stride| (SIDE / stride).pow(2));
            let scores = cells.map(|cells| vec![0.01; cells * CLASSES]);
            let distances = cells.map(|cells| vec![0.0; cells * EDGES * BINS]);
            let [a, b, c] = scores;
            let [d, e, f] = distances;
            Self([a, b, c, d, e, f])
        }

        /// Puts an object into a cell; distances are whole strides, certain.
        fn put(&mut self, head: usize, cell: usize, class: usize, score: f32, edges: [usize; 4]) {
            self.0[head][cell * CLASSES + class] = score;
            for (edge, distance) in edges.into_iter().enumerate() {
                self.0[3 + head][(cell * EDGES + edge) * BINS + distance] = 60.0;
            }
        }

        fn decode(&self, picture: PixelSize) -> Vec<Detection> {
            let slices = self.0.each_ref().map(Vec::as_slice);
            let letterbox = Letterbox::new(picture, SIDE);
            nanodet()
                .decode(&slices, &letterbox, &LOOSE)
                .expect("the lengths fit")
        }
    }

    const SQUARE: PixelSize = PixelSize {
        width: 416,
        height: 416,
    };

    fn assert_bounds(got: &BoundingBox, want: [f32; 4]) {
        for (got, want) in [got.x1, got.y1, got.x2, got.y2].into_iter().zip(want) {
            assert!((got - want).abs() < 1e-2, "{got} is not {want}");
        }
    }

    #[test]
    fn boxes_lie_where_the_cells_and_distances_say() {
        let mut outputs = Outputs::empty();
        // Stride 32, 13 cells a row: cell 30 is column 4, row 2, centred on (144, 80).
        outputs.put(2, 30, 7, 0.75, [1, 2, 3, 0]);
        // Stride 8, 52 cells a row: cell 2703 is the last, centred on (412, 412).
        outputs.put(0, 2703, 0, 0.5, [10, 5, 10, 10]);
        let found = outputs.decode(SQUARE);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].class, found[0].score), (7, 0.75));
        assert_bounds(&found[0].bounds, [112.0, 16.0, 240.0, 80.0]);
        assert_eq!((found[1].class, found[1].score), (0, 0.5));
        assert_bounds(&found[1].bounds, [332.0, 372.0, 416.0, 416.0]);
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
        assert_bounds(&found[0].bounds, [0.0, 200.0, 80.0, 456.0]);
    }

    #[test]
    fn a_spread_distribution_gives_its_mean() {
        let mut outputs = Outputs::empty();
        outputs.put(2, 84, 0, 0.9, [2, 2, 2, 2]);
        for edge in 0..EDGES {
            // Bins 2 and 4 equally likely: 3 strides. Cell 84 is the middle, (208, 208).
            outputs.0[5][(84 * EDGES + edge) * BINS + 4] = 60.0;
        }
        assert_bounds(
            &outputs.decode(SQUARE)[0].bounds,
            [112.0, 112.0, 304.0, 304.0],
        );
    }

    #[test]
    fn a_cell_has_its_best_class_only_and_neighbours_are_suppressed() {
        let mut outputs = Outputs::empty();
        outputs.put(2, 84, 3, 0.6, [3, 3, 3, 3]);
        outputs.put(2, 84, 5, 0.8, [3, 3, 3, 3]);
        outputs.put(2, 85, 5, 0.7, [4, 3, 2, 3]);
        let found = outputs.decode(SQUARE);
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
        assert!(outputs.decode(SQUARE).is_empty());
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
        let outputs = Outputs::empty();
        let mut slices = outputs.0.each_ref().map(Vec::as_slice);
        slices[4] = &slices[4][1..];
        let letterbox = Letterbox::new(SQUARE, SIDE);
        let error = nanodet().decode(&slices, &letterbox, &LOOSE);
        assert_eq!(
            error.expect_err("one is short").to_string(),
            "output 4 of the model has 29743 values instead of 29744"
        );
    }

    #[test]
    fn any_order_of_outputs_is_recognised() {
        let (inputs, mut outputs) = ports();
        outputs.reverse();
        let bound = NanoDet::bind(&inputs, &outputs, CLASSES).expect("only the order differs");
        assert_eq!(bound.heads.map(|head| head.scores), [5, 4, 3]);
        assert_eq!(bound.heads.map(|head| head.distances), [2, 1, 0]);
        assert_eq!((bound.side, bound.bins), (416, 11));
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let (inputs, outputs) = ports();
        let text = |inputs: &[Port], outputs: &[Port], classes| {
            let error = NanoDet::bind(inputs, outputs, classes);
            error.expect_err("the shapes differ").to_string()
        };
        assert_eq!(
            text(&[port("x", &[1, 3, 640, 480])], &outputs, CLASSES),
            "not a nanodet model: expected one input f32[?,3,S,S] with S a multiple of 32; found x f32[1,3,640,480]"
        );
        let labels = text(&inputs, &outputs, 2);
        assert!(labels.contains("for 2 labels"), "{labels}");
        assert!(labels.contains("f32[?,2704,2]"), "{labels}");
        assert!(labels.contains("cls8 f32[?,2704,80]"), "{labels}");
        let missing = text(&inputs, &outputs[..5], CLASSES);
        assert!(missing.contains("found cls8"), "{missing}");
        let mut other_type = inputs.clone();
        other_type[0].is_f32 = false;
        assert!(text(&other_type, &outputs, CLASSES).contains("not f32 [?,3,416,416]"));
    }
}
