//! One score a class for the whole picture: the best becomes a detection of the whole picture.
//!
//! One output `[N, classes]`, or `[N, classes, 1, 1]`. Values from 0 to 1 that sum to 1 are
//! probabilities; others are logits, and their softmax is taken.

use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, ModelFamily};

use super::input::Convention;
use super::scan::best;
use super::{BindError, Detector, Element, Output, OutputError, Port, Thresholds};
use super::{known, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// Probabilities sum to 1 within this, also after half-precision arithmetic.
const SUM_TOLERANCE: f32 = 1e-2;

/// That of models trained on `ImageNet`.
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 224,
        height: 224,
    },
    stride: 1,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation::IMAGENET,
    padding: 0.0,
};

/// A classifier's file.
#[derive(Debug)]
pub(super) struct Classifier {
    classes: usize,
}

impl Classifier {
    pub(super) fn bind(outputs: &[Port], classes: usize) -> Result<Self, BindError> {
        let fits = |output: &Port| match output.shape[..] {
            [1, count] | [1, count, 1, 1] => {
                output.element == Element::F32 && known(count) == Some(classes)
            }
            _ => false,
        };
        match outputs {
            [output] if fits(output) => Ok(Self { classes }),
            _ => {
                let expected = format!("for {classes} labels one output f32[1,{classes}]");
                Err(mismatch(ModelFamily::Classifier, expected, outputs))
            }
        }
    }
}

impl Detector for Classifier {
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    fn detect(
        &self,
        outputs: &[Output<'_>],
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<Vec<Detection>, OutputError> {
        let values = values(outputs, 0, self.classes)?;
        let (class, value) = best(values.iter().copied());
        let score = if are_probabilities(values) {
            value
        } else {
            1.0 / values
                .iter()
                .map(|other| (other - value).exp())
                .sum::<f32>()
        };
        let picture = letterbox.picture;
        let whole = Detection {
            bounds: BoundingBox {
                x1: 0.0,
                y1: 0.0,
                x2: picture.width as f32,
                y2: picture.height as f32,
            },
            score,
            class,
            landmarks: Landmarks::NONE,
        };
        // A score that is no number is none.
        let sure = score >= thresholds.score_min;
        Ok(sure.then_some(whole).into_iter().collect())
    }
}

fn are_probabilities(values: &[f32]) -> bool {
    let sum: f32 = values.iter().sum();
    let within = values.iter().all(|value| (0.0..=1.0).contains(value));
    within && (sum - 1.0).abs() <= SUM_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_box, decode_picture, port, square};
    use super::*;

    fn classify(values: Vec<f32>) -> Vec<Detection> {
        let ports = [port("logits", &[1, 3])];
        let family = Classifier::bind(&ports, 3).expect("these are its shapes");
        let picture = PixelSize {
            width: 640,
            height: 360,
        };
        let letterbox = Letterbox::new(picture, square(224));
        decode_picture(&family, &ports, &[values], &letterbox).expect("the lengths fit")
    }

    #[test]
    fn logits_and_probabilities_give_the_same() {
        let probabilities = [0.1_f32, 0.7, 0.2];
        let logits = probabilities.map(|p| p.ln() + 3.0);
        for values in [probabilities, logits] {
            let found = classify(values.to_vec());
            assert_eq!(found.len(), 1);
            assert_box(&found[0], [0.0, 0.0, 640.0, 360.0]);
            assert_eq!(found[0].class, 1);
            assert!((found[0].score - 0.7).abs() < 1e-4, "{}", found[0].score);
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let found = classify(vec![-300.0, 500.0, 499.0]);
        assert!((found[0].score - 0.731).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn what_is_not_sure_or_no_number_is_nothing() {
        assert_eq!(classify(vec![0.34, 0.33, 0.33]), []);
        assert_eq!(classify(vec![f32::NAN; 3]), []);
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        assert!(Classifier::bind(&[port("pooled", &[1, 3, 1, 1])], 3).is_ok());
        let error = Classifier::bind(&[port("logits", &[1, 1000])], 3).expect_err("1000 classes");
        assert_eq!(
            error.to_string(),
            "not a classifier model: expected for 3 labels one output f32[1,3]; found logits f32[1,1000]"
        );
    }
}
