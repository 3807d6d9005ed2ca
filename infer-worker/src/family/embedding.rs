//! A vector for the whole picture: near to those of pictures of the same thing, far from others.
//!
//! One output `[N, D]`, or `[N, D, 1, 1]`. It is scaled to length 1, so that the cosine of two
//! vectors is their dot product.

use contract::findings::{EMBEDDING_MAX, Findings};
use contract::geometry::PixelSize;
use contract::spec::{ColourOrder, ModelFamily};

use super::input::Convention;
use super::{BindError, Element, Family, Output, OutputError, Port, Thresholds};
use super::{known, mismatch, values};
use crate::letterbox::Letterbox;
use crate::tensor::Normalisation;

/// That of `ArcFace` and most models of faces since (`InsightFace`, `arcface_torch`).
pub(super) const CONVENTION: Convention = Convention {
    size: PixelSize {
        width: 112,
        height: 112,
    },
    stride: 1,
    colour: ColourOrder::Rgb,
    normalisation: Normalisation {
        mean: [127.5; 3],
        deviation: [127.5; 3],
    },
    padding: 0.0,
};

/// The file of a model that embeds.
#[derive(Debug)]
pub(super) struct Embedding {
    length: usize,
}

impl Embedding {
    pub(super) fn bind(outputs: &[Port]) -> Result<Self, BindError> {
        let length = |output: &Port| match output.shape[..] {
            [1, length] | [1, length, 1, 1] if output.element == Element::F32 => known(length),
            _ => None,
        };
        let bound = match outputs {
            [output] => length(output).filter(|length| (2..=EMBEDDING_MAX).contains(length)),
            _ => None,
        };
        bound.map(|length| Self { length }).ok_or_else(|| {
            let expected = format!("one output f32[1,D] with D from 2 to {EMBEDDING_MAX}");
            mismatch(ModelFamily::Embedding, expected, outputs)
        })
    }
}

impl Family for Embedding {
    fn decode(
        &self,
        outputs: &[Output<'_>],
        _: &Letterbox,
        _: &Thresholds,
    ) -> Result<Findings, OutputError> {
        let values = values(outputs, 0, self.length)?;
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(OutputError::NoNumber { index: 0 });
        }
        let scaled = values.iter().map(|value| value / length);
        Ok(Findings::Embedding(scaled.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{find, port, square};
    use super::*;

    fn embed(values: [f32; 2]) -> Result<Findings, OutputError> {
        let ports = [port("embedding", &[1, 2])];
        let family = Embedding::bind(&ports).expect("it fits");
        let letterbox = Letterbox::new(square(112), square(112));
        find(&family, &ports, &[values.to_vec()], &letterbox)
    }

    #[test]
    fn the_vector_has_length_one() {
        assert_eq!(embed([3.0, -4.0]), Ok(Findings::Embedding(vec![0.6, -0.8])));
    }

    #[test]
    fn what_has_no_direction_is_no_vector() {
        let nothing = Err(OutputError::NoNumber { index: 0 });
        for values in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert_eq!(embed(values), nothing, "{values:?}");
        }
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        assert!(Embedding::bind(&[port("pooled", &[1, 256, 1, 1])]).is_ok());
        let error = Embedding::bind(&[port("map", &[1, 64, 7, 7])]).expect_err("a map");
        assert_eq!(
            error.to_string(),
            "not a embedding model: expected one output f32[1,D] with D from 2 to 1024; found map f32[1,64,7,7]"
        );
        assert!(Embedding::bind(&[port("long", &[1, 1025])]).is_err());
    }
}
