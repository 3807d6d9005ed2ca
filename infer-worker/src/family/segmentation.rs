//! The class of every place: semantic segmentation.
//!
//! One output over the whole input: `[N, C, H, W]` with a score a label, of which the greatest
//! counts; or `[N, H, W]` or `[N, 1, H, W]` with class indices, 255 for none. With one label the
//! values are probabilities or, when they leave 0 to 1, logits, and count from the least score
//! on. What lies in the padding is left out.

use contract::findings::{CellValues, Findings, NO_CLASS, PictureMap};
use contract::geometry::PixelSize;
use contract::spec::{ColourOrder, ModelFamily};

use super::grid::Window;
use super::input::Convention;
use super::scan::{best, sigmoid};
use super::{BindError, Element, Family, Output, OutputError, Port, Thresholds};
use super::{class_of, known, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// That of torchvision's.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 512,
        height: 512,
    },
    stride: 1,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::IMAGENET,
    padding: 0.0,
};

/// The index that data sets and exports give to places of no class.
const IGNORED: f32 = 255.0;

/// A segmentation model's file.
#[derive(Debug)]
pub(super) struct Segmentation {
    input: PixelSize,
    classes: usize,
    columns: usize,
    rows: usize,
    values: Values,
}

/// What a value of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Of a class at a place.
    Scores,
    /// A class.
    Indices,
}

impl Segmentation {
    pub(super) fn bind(
        input: PixelSize,
        outputs: &[Port],
        classes: usize,
    ) -> Result<Self, BindError> {
        let shape = |output: &Port| {
            let floats = output.element == Element::F32;
            let (planes, rows, columns) = match output.shape[..] {
                [1, planes, rows, columns] => (known(planes)?, rows, columns),
                [1, rows, columns] => (1, rows, columns),
                _ => return None,
            };
            let values = match (planes, floats) {
                (planes, true) if planes == classes => Values::Scores,
                (1, _) => Values::Indices,
                _ => return None,
            };
            Some((values, known(rows)?, known(columns)?))
        };
        let bound = match outputs {
            [output] if output.element != Element::Other => shape(output),
            _ => None,
        };
        let bound = bound.filter(|(_, rows, columns)| rows * columns > 0);
        let (values, rows, columns) = bound.ok_or_else(|| {
            let expected =
                format!("for {classes} labels one output f32[1,{classes},H,W], or classes [1,H,W]");
            mismatch(ModelFamily::Segmentation, expected, outputs)
        })?;
        Ok(Self {
            input,
            classes,
            columns,
            rows,
            values,
        })
    }

    fn class_at(&self, values: &[f32], place: usize) -> u16 {
        let scores = values.iter().skip(place).step_by(self.columns * self.rows);
        best(scores.copied()).0
    }
}

impl Family for Segmentation {
    fn decode(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Findings, OutputError> {
        let planes = match self.values {
            Values::Scores => self.classes,
            Values::Indices => 1,
        };
        let values = values(outputs, 0, planes * self.columns * self.rows)?;
        let window = Window::new(self.columns, self.rows, self.input, letterbox);
        let cells: Result<Vec<u16>, OutputError> = match self.values {
            Values::Scores if self.classes == 1 => {
                let probable = values.iter().all(|value| (0.0..=1.0).contains(value));
                let is_it = |place: usize| {
                    let value = values[place];
                    let score = if probable { value } else { sigmoid(value) };
                    score >= thresholds.score_min
                };
                let cell = |place| if is_it(place) { 0 } else { NO_CLASS };
                Ok(window.nearest().map(cell).collect())
            }
            Values::Scores => {
                let places = window.nearest();
                Ok(places.map(|place| self.class_at(values, place)).collect())
            }
            Values::Indices => {
                let cell = |place: usize| match values[place] {
                    IGNORED => Ok(NO_CLASS),
                    class => class_of(class, self.classes),
                };
                window.nearest().map(cell).collect()
            }
        };
        PictureMap::new(window.columns(), CellValues::Classes, cells?)
            .map(Findings::Map)
            .ok_or(OutputError::NoNumber { index: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{find, port, square};
    use super::*;

    fn cells(port: Port, classes: usize, values: Vec<f32>) -> Result<Vec<u16>, OutputError> {
        let ports = [port];
        let family = Segmentation::bind(square(64), &ports, classes).expect("it fits");
        let letterbox = Letterbox::new(square(64), square(64));
        match find(&family, &ports, &[values], &letterbox)? {
            Findings::Map(map) => Ok(map.cells().to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_class_of_the_greatest_score_wins() {
        // Three planes of one row of two places.
        let scores = vec![0.1, 5.0, 0.7, -2.0, 0.2, 4.9];
        let found = cells(port("logits", &[1, 3, 1, 2]), 3, scores);
        assert_eq!(found, Ok(vec![1, 0]));
    }

    #[test]
    fn of_one_class_probabilities_and_logits_give_the_same() {
        for values in [vec![0.9, 0.3], vec![2.2, -0.9]] {
            let found = cells(port("mask", &[1, 1, 1, 2]), 1, values);
            assert_eq!(found, Ok(vec![0, NO_CLASS]));
        }
    }

    #[test]
    fn indices_are_taken_as_they_are_and_unknown_ones_are_told() {
        let mut indices = port("classes", &[1, 1, 3]);
        indices.element = Element::I64;
        let found = cells(indices.clone(), 5, vec![4.0, 0.0, 255.0]);
        assert_eq!(found, Ok(vec![4, 0, NO_CLASS]));
        let unknown = cells(indices, 4, vec![4.0, 0.0, 1.0]);
        let (class, classes) = (4, 4);
        assert_eq!(unknown, Err(OutputError::Class { class, classes }));
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let error = Segmentation::bind(square(64), &[port("logits", &[1, 21, 64, 64])], 19);
        assert_eq!(
            error.expect_err("21 classes").to_string(),
            "not a segmentation model: expected for 19 labels one output f32[1,19,H,W], or classes [1,H,W]; found logits f32[1,21,64,64]"
        );
    }
}
