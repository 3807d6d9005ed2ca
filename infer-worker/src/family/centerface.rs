//! `CenterFace` (Xu et al. 2019): faces as the peaks of a heat map, with five landmarks.
//!
//! Four outputs over a grid of `h x w` cells of 4 pixels: heat `[N, 1, h, w]`, after the
//! sigmoid; scale `[N, 2, h, w]`; offset `[N, 2, h, w]`, declared after it; landmarks
//! `[N, 10, h, w]`. All but the heat give y before x. For the cell in column `i` and row `j`:
//! size `(4 exp(scale x), 4 exp(scale y))`, centre
//! `(4 (i + offset x + 0.5), 4 (j + offset y + 0.5))`; landmarks are fractions of the box from
//! its left upper corner: right eye, left eye, nose, right and left corner of the mouth, as
//! the person has them.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};
use pulp::Arch;

use super::input::Convention;
use super::objects::to_objects;
use super::scan::rows_over;
use super::{BindError, Detector, Element, Output, OutputError, Port, Thresholds};
use super::{cells, known, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// Pixels of a cell.
const CELL: u32 = 4;
const LANDMARKS: usize = 5;

/// Pixels as they are.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 640,
        height: 480,
    },
    stride: 32,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::NONE,
    padding: 0.0,
};

/// A `CenterFace` file: its outputs by their place in the model's declared order.
#[derive(Debug)]
pub(super) struct CenterFace {
    size: PixelSize,
    heat: usize,
    scale: usize,
    offset: usize,
    landmarks: usize,
    arch: Arch,
}

impl CenterFace {
    pub(super) fn bind(size: PixelSize, outputs: &[Port]) -> Result<Self, BindError> {
        let [across, down] = cells(size, CELL);
        let of_channels = |channels: i64| {
            let places = outputs
                .iter()
                .enumerate()
                .filter_map(move |(index, output)| {
                    let [1, count, height, width] = output.shape[..] else {
                        return None;
                    };
                    let fits = output.element == Element::F32
                        && count == channels
                        && (known(height), known(width)) == (Some(down), Some(across));
                    fits.then_some(index)
                });
            places.collect::<Vec<_>>()
        };
        match (
            &of_channels(1)[..],
            &of_channels(2)[..],
            &of_channels(10)[..],
        ) {
            (&[heat], &[scale, offset], &[landmarks]) if outputs.len() == 4 => Ok(Self {
                size,
                heat,
                scale,
                offset,
                landmarks,
                arch: Arch::new(),
            }),
            _ => {
                let expected = [1, 2, 2, 10].map(|n| format!("f32[1,{n},{down},{across}]"));
                let expected = format!(
                    "for an input of {size}, the outputs {}",
                    expected.join(", ")
                );
                Err(mismatch(ModelFamily::Centerface, expected, outputs))
            }
        }
    }
}

impl Detector for CenterFace {
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
        let [across, down] = cells(self.size, CELL);
        let cells = across * down;
        let heat = values(outputs, self.heat, cells)?;
        let scale = values(outputs, self.scale, 2 * cells)?;
        let offset = values(outputs, self.offset, 2 * cells)?;
        let fractions = values(outputs, self.landmarks, 2 * LANDMARKS * cells)?;
        let mut found = Vec::new();
        rows_over(self.arch, heat, 1, thresholds.score_min, &mut found);
        let length = CELL as f32;
        let detections = found.into_iter().map(|cell| {
            let [height, width] = [scale[cell], scale[cells + cell]].map(|s| s.exp() * length);
            let x = ((cell % across) as f32 + offset[cells + cell] + 0.5) * length;
            let y = ((cell / across) as f32 + offset[cell] + 0.5) * length;
            let (x1, y1) = (x - width / 2.0, y - height / 2.0);
            let points: [[f32; 2]; LANDMARKS] = std::array::from_fn(|point| {
                let down = fractions[2 * point * cells + cell];
                let along = fractions[(2 * point + 1) * cells + cell];
                [x1 + along * width, y1 + down * height]
            });
            Detection {
                bounds: BoundingBox {
                    x1,
                    y1,
                    x2: x1 + width,
                    y2: y1 + height,
                },
                score: heat[cell],
                class: 0,
                landmarks: Landmarks::new(&points).unwrap_or(Landmarks::NONE),
            }
        });
        Ok(to_objects(
            detections.collect(),
            Some(thresholds.nms_iou),
            letterbox,
        ))
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
    const CELLS: usize = 24 * 16;

    fn ports() -> [Port; 4] {
        [1, 2, 2, 10].map(|channels| port(&format!("out{channels}"), &[1, channels, 16, 24]))
    }

    #[test]
    fn a_peak_is_a_face_with_its_landmarks() {
        let ports = ports();
        let family = CenterFace::bind(SIZE, &ports).expect("these are its shapes");
        let mut outputs = zeros(&ports);
        // Column 10, row 5: a face of 16 x 24 pixels.
        let cell = 5 * 24 + 10;
        outputs[0][cell] = 0.75;
        outputs[1][cell] = 6_f32.ln();
        outputs[1][CELLS + cell] = 4_f32.ln();
        outputs[2][cell] = 0.25;
        outputs[2][CELLS + cell] = -0.5;
        for point in 0..LANDMARKS {
            outputs[3][2 * point * CELLS + cell] = 0.125 * point as f32;
            outputs[3][(2 * point + 1) * CELLS + cell] = 0.5;
        }
        let found = decode(&family, &ports, &outputs, SIZE).expect("the lengths fit");
        assert_eq!(found.len(), 1);
        // Centre (40, 23).
        assert_box(&found[0], [32.0, 11.0, 48.0, 35.0]);
        assert_eq!((found[0].score, found[0].class), (0.75, 0));
        let wanted = [
            [40.0, 11.0],
            [40.0, 14.0],
            [40.0, 17.0],
            [40.0, 20.0],
            [40.0, 23.0],
        ];
        assert_landmarks(&found[0], &wanted);
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let error = CenterFace::bind(SIZE, &ports()[1..]).expect_err("no heat");
        assert_eq!(
            error.to_string(),
            "not a centerface model: expected for an input of 96x64, the outputs f32[1,1,16,24], \
             f32[1,2,16,24], f32[1,2,16,24], f32[1,10,16,24]; found out2 f32[1,2,16,24], \
             out2 f32[1,2,16,24], out10 f32[1,10,16,24]"
        );
        let other = PixelSize {
            width: 64,
            height: 96,
        };
        assert!(CenterFace::bind(other, &ports()).is_err());
    }
}
