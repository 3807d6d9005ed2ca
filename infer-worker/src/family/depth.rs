//! Depth of every place, as `MiDaS`, `DPT` and `Depth Anything` give it.
//!
//! One output `[N, H, W]` or `[N, 1, H, W]` over the whole input, in the model's own unit:
//! relative inverse depth, where more is nearer, or metres, where more is farther. What lies in
//! the padding is left out.

use contract::findings::{CellValues, Findings, PictureMap};
use contract::geometry::PixelSize;
use contract::spec::{ColourOrder, ModelFamily};

use super::grid::Window;
use super::input::Convention;
use super::{BindError, Element, Family, Output, OutputError, Port, Thresholds};
use super::{known, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// That of `MiDaS` small; its network halves the input five times.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 256,
        height: 256,
    },
    stride: 1,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::IMAGENET,
    padding: 0.0,
};

/// A depth model's file.
#[derive(Debug)]
pub(super) struct Depth {
    input: PixelSize,
    columns: usize,
    rows: usize,
}

impl Depth {
    pub(super) fn bind(input: PixelSize, outputs: &[Port]) -> Result<Self, BindError> {
        let sides = |output: &Port| match output.shape[..] {
            [1, rows, columns] | [1, 1, rows, columns] if output.element == Element::F32 => {
                Some((known(rows)?, known(columns)?))
            }
            _ => None,
        };
        let bound = match outputs {
            [output] => sides(output).filter(|(rows, columns)| rows * columns > 0),
            _ => None,
        };
        let (rows, columns) = bound.ok_or_else(|| {
            let expected = "one output f32[1,H,W] or f32[1,1,H,W]".to_owned();
            mismatch(ModelFamily::Depth, expected, outputs)
        })?;
        Ok(Self {
            input,
            columns,
            rows,
        })
    }
}

impl Family for Depth {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and what is no number becomes the least"
    )]
    fn decode(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        _: &Thresholds,
    ) -> Result<Findings, OutputError> {
        let values = values(outputs, 0, self.columns * self.rows)?;
        let window = Window::new(self.columns, self.rows, self.input, letterbox);
        let depths: Vec<f32> = window.blended(values).collect();
        let finite = || depths.iter().copied().filter(|depth| depth.is_finite());
        let (first, last) = (finite().reduce(f32::min), finite().reduce(f32::max));
        let (Some(first), Some(last)) = (first, last) else {
            return Err(OutputError::NoNumber { index: 0 });
        };
        let steps = f32::from(u16::MAX) / (last - first).max(f32::MIN_POSITIVE);
        let cell = |depth: &f32| ((depth - first) * steps + 0.5) as u16;
        let cells = depths.iter().map(cell).collect();
        let values = CellValues::Depth { first, last };
        PictureMap::new(window.columns(), values, cells)
            .map(Findings::Map)
            .ok_or(OutputError::NoNumber { index: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{find, port, square};
    use super::*;

    fn map(shape: &[i64], values: Vec<f32>, picture: PixelSize) -> Result<PictureMap, OutputError> {
        let ports = [port("depth", shape)];
        let family = Depth::bind(square(64), &ports).expect("it fits");
        let letterbox = Letterbox::new(picture, square(64));
        match find(&family, &ports, &[values], &letterbox)? {
            Findings::Map(map) => Ok(map),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_map_is_of_the_picture_and_in_the_models_unit() {
        let rows = [9.0, 2.0, 4.0, 9.0].map(|depth| [depth; 2]);
        let wide = PixelSize {
            width: 64,
            height: 32,
        };
        for shape in [&[1, 4, 2][..], &[1, 1, 4, 2]] {
            let map = map(shape, rows.as_flattened().to_vec(), wide).expect("numbers");
            assert_eq!((map.columns(), map.rows()), (2, 2));
            assert_eq!(map.cells(), [0, 0, u16::MAX, u16::MAX]);
            let values = CellValues::Depth {
                first: 2.0,
                last: 4.0,
            };
            assert_eq!(map.values(), values);
        }
    }

    #[test]
    fn a_flat_map_is_a_map_and_one_without_numbers_is_none() {
        let flat = map(&[1, 2, 2], vec![5.0; 4], square(64)).expect("numbers");
        assert_eq!(flat.cells(), [0; 4]);
        let nothing = map(&[1, 2, 2], vec![f32::NAN; 4], square(64));
        assert_eq!(nothing, Err(OutputError::NoNumber { index: 0 }));
        let one = map(&[1, 1, 2], vec![f32::INFINITY, 7.0], square(64));
        assert!(one.is_ok(), "{one:?}");
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let error = Depth::bind(square(64), &[port("logits", &[1, 21, 64, 64])]);
        assert_eq!(
            error.expect_err("21 values a place").to_string(),
            "not a depth model: expected one output f32[1,H,W] or f32[1,1,H,W]; found logits f32[1,21,64,64]"
        );
    }
}
