//! `YOLOX` (Ge et al. 2021), as its `tools/export_onnx.py` writes it: without the decoding of
//! boxes in the graph.
//!
//! One output `[N, A, 5 + classes]` over the cells of strides 8, 16 and 32, one stride after
//! the other, row by row. For the cell in column `i` and row `j` of stride `s`: centre
//! `((i + x) s, (j + y) s)`, size `(exp(w) s, exp(h) s)`, then objectness and class scores, both
//! after the sigmoid; the score of a cell is their product for its best class.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};

use super::input::Convention;
use super::objects::to_objects;
use super::scan::best;
use super::{BindError, Detector, Output, OutputError, Port, Thresholds};
use super::{cells, mismatch, rows_of, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

const STRIDES: [u32; 3] = [8, 16, 32];
/// x, y, width, height and objectness stand before the classes.
const CLASSES_AT: usize = 5;

/// As releases from 0.1.1 on prepare pictures; before, they were normalised.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 640,
        height: 640,
    },
    stride: 32,
    colour: ColourOrder::Bgr,
    normalisation: Normalisation::NONE,
    padding: 114.0,
};

/// A `YOLOX` file.
#[derive(Debug)]
pub(super) struct Yolox {
    size: PixelSize,
    classes: usize,
}

impl Yolox {
    pub(super) fn bind(
        size: PixelSize,
        outputs: &[Port],
        classes: usize,
    ) -> Result<Self, BindError> {
        let rows = cell_count(size);
        let columns = CLASSES_AT + classes;
        match outputs {
            [output] if rows_of(output) == Some((rows, columns)) => Ok(Self { size, classes }),
            _ => {
                let expected = format!(
                    "for {classes} labels and an input of {size}, one output f32[1,{rows},{columns}]"
                );
                Err(mismatch(ModelFamily::Yolox, expected, outputs))
            }
        }
    }
}

impl Detector for Yolox {
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
        let columns = CLASSES_AT + self.classes;
        let values = values(outputs, 0, cell_count(self.size) * columns)?;
        let mut rows = values.chunks_exact(columns);
        let mut detections = Vec::new();
        for stride in STRIDES {
            let [across, down] = cells(self.size, stride);
            for (cell, row) in (0..across * down).zip(&mut rows) {
                let (place, classes) = row.split_at(CLASSES_AT);
                let objectness = place[4];
                // No class has a score above 1, so most cells end here.
                if objectness < thresholds.score_min {
                    continue;
                }
                let (class, score) = best(classes.iter().copied());
                let score = objectness * score;
                if score < thresholds.score_min {
                    continue;
                }
                let length = stride as f32;
                let x = ((cell % across) as f32 + place[0]) * length;
                let y = ((cell / across) as f32 + place[1]) * length;
                let width = place[2].exp() * length;
                let height = place[3].exp() * length;
                detections.push(Detection {
                    bounds: BoundingBox {
                        x1: x - width / 2.0,
                        y1: y - height / 2.0,
                        x2: x + width / 2.0,
                        y2: y + height / 2.0,
                    },
                    score,
                    class,
                    landmarks: Landmarks::NONE,
                });
            }
        }
        Ok(to_objects(detections, Some(thresholds.nms_iou), letterbox))
    }
}

/// Cells of all strides.
fn cell_count(size: PixelSize) -> usize {
    let of_stride = |stride| cells(size, stride).into_iter().product::<usize>();
    STRIDES.into_iter().map(of_stride).sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, decode, port, zeros};
    use super::*;

    const CLASSES: usize = 2;
    const SIZE: PixelSize = PixelSize {
        width: 96,
        height: 64,
    };
    /// 12 x 8, 6 x 4 and 3 x 2 cells.
    const CELLS: i64 = 96 + 24 + 6;

    #[test]
    fn cells_of_every_stride_lie_where_they_should() {
        let ports = [port("output", &[1, CELLS, 7])];
        let family = Yolox::bind(SIZE, &ports, CLASSES).expect("these are its shapes");
        let mut outputs = zeros(&ports);
        let mut put = |cell: usize, row: [f32; 7]| {
            outputs[0][cell * 7..][..7].copy_from_slice(&row);
        };
        // Stride 8, column 3, row 1.
        put(15, [0.5, 0.25, 0.0, 2_f32.ln(), 0.8, 0.1, 0.9]);
        // Stride 16, column 4, row 2.
        put(96 + 16, [0.5, 0.5, 0.0, 0.0, 0.9, 0.6, 0.0]);
        // Stride 32, column 1, row 1: sure of an object, but of no class.
        put(96 + 24 + 4, [0.0, 0.0, 0.0, 0.0, 1.0, 0.39, 0.39]);
        let found = decode(&family, &ports, &outputs, SIZE).expect("the lengths fit");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_box(&found[0], [24.0, 2.0, 32.0, 18.0]);
        assert_eq!(found[0].class, 1);
        assert!((found[0].score - 0.72).abs() < 1e-6);
        assert_box(&found[1], [64.0, 32.0, 80.0, 48.0]);
        assert!((found[1].score - 0.54).abs() < 1e-6);
    }

    #[test]
    fn a_size_that_is_infinite_is_no_detection() {
        let ports = [port("output", &[1, CELLS, 7])];
        let family = Yolox::bind(SIZE, &ports, CLASSES).expect("these are its shapes");
        let mut outputs = zeros(&ports);
        outputs[0][..7].copy_from_slice(&[0.0, 0.0, 1e9, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(decode(&family, &ports, &outputs, SIZE), Ok(Vec::new()));
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let ports = [port("output", &[1, 8400, 85])];
        let error = Yolox::bind(SIZE, &ports, CLASSES).expect_err("another shape");
        assert_eq!(
            error.to_string(),
            "not a yolox model: expected for 2 labels and an input of 96x64, one output \
             f32[1,126,7]; found output f32[1,8400,85]"
        );
    }
}
