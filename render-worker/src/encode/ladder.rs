//! All encodes of one stream: that of full size, and smaller ones of the same pictures.
//!
//! Each rung is an [`Encoder`] of its own. All are given the same pictures, in the same buffers,
//! and are asked for key frames together, so that the key frames of all rungs are of the same
//! pictures: a viewer goes from one rung to another at any of them.

use std::time::Instant;

use contract::geometry::{PixelSize, SIDE_MAX};
use contract::spec::{EncodeSpec, QualitySpec};
use gstreamer::ClockTime;

use super::{AccessUnit, EncodeError, Encoder, EncoderElement, Picture, PictureFormat, Smaller};

/// The encoders of one stream, that of full size first.
#[derive(Debug)]
pub struct Ladder {
    full: Encoder,
    smaller: Vec<Encoder>,
}

impl Ladder {
    /// Makes the encoders; `output` is called for each access unit, on the thread of its encoder.
    /// A quality that is not smaller than the picture is left out, with a word in the log.
    ///
    /// # Errors
    /// When an element is missing or refuses its settings.
    pub fn new(
        spec: &EncodeSpec,
        element: EncoderElement,
        format: PictureFormat,
        output: impl FnMut(AccessUnit) + Clone + Send + 'static,
    ) -> Result<Self, EncodeError> {
        let whole = format.layout.size;
        let mut smaller = Vec::with_capacity(spec.qualities.len());
        for (rung, quality) in (1..).zip(&spec.qualities) {
            let Some(size) = size_of(quality, whole) else {
                tracing::warn!(
                    "there is no quality of {}p: the picture is {whole}",
                    quality.height
                );
                continue;
            };
            let of = Smaller {
                rung,
                size,
                bitrate_kbps: quality.bitrate_kbps,
            };
            smaller.push(Encoder::build(
                (spec, element),
                Some(of),
                format,
                output.clone(),
            )?);
        }
        Ok(Self {
            full: Encoder::new(spec, element, format, output)?,
            smaller,
        })
    }

    /// The format of the pictures that it is given.
    #[must_use]
    pub fn format(&self) -> &PictureFormat {
        self.full.format()
    }

    /// A picture to be filled, with whatever an earlier one left in it.
    ///
    /// # Errors
    /// When there is no memory for one.
    pub fn picture(&self) -> Result<Picture, EncodeError> {
        self.full.picture()
    }

    /// Hands a picture to all encoders; `pts_ns` grows from picture to picture. Waits for the
    /// slowest of them, see [`Encoder::push`].
    ///
    /// # Errors
    /// When a pipeline has failed or hangs.
    pub fn push(&mut self, mut picture: Picture, pts_ns: u64) -> Result<(), EncodeError> {
        // Nobody can write into what is shared.
        picture.stamp(pts_ns);
        let shared: Vec<Picture> = self.smaller.iter().map(|_| picture.share()).collect();
        self.full.push(picture, pts_ns)?;
        for (encoder, picture) in self.smaller.iter_mut().zip(shared) {
            encoder.push(picture, pts_ns)?;
        }
        Ok(())
    }

    /// The next picture shall be decodable without any other, in every rung.
    pub fn ask_for_keyframe(&mut self) {
        self.all_mut().for_each(Encoder::ask_for_keyframe);
    }

    /// What a pipeline has reported since, if one has failed.
    #[must_use]
    pub fn error(&self) -> Option<EncodeError> {
        let mut all = std::iter::once(&self.full).chain(&self.smaller);
        all.find_map(Encoder::error)
    }

    /// Encodes what is still inside, hands it out, and stops.
    ///
    /// # Errors
    /// The first, when that failed or took longer than `timeout` in all.
    pub fn finish(self, timeout: ClockTime) -> Result<(), EncodeError> {
        let begun = Instant::now();
        let mut result = Ok(());
        for encoder in std::iter::once(self.full).chain(self.smaller) {
            let taken = ClockTime::try_from(begun.elapsed()).unwrap_or(timeout);
            let finished = encoder.finish(timeout.saturating_sub(taken));
            result = result.and(finished);
        }
        result
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Encoder> {
        std::iter::once(&mut self.full).chain(&mut self.smaller)
    }
}

/// The even size of this height, and of the aspect ratio of `whole`; `None` when `whole` is not
/// larger.
fn size_of(quality: &QualitySpec, whole: PixelSize) -> Option<PixelSize> {
    let bound = PixelSize {
        width: SIDE_MAX,
        height: quality.height,
    };
    (quality.height < whole.height).then(|| whole.fit_inside(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_has_the_aspect_of_the_picture_and_is_smaller() {
        let size = |width, height| PixelSize { width, height };
        let of = |height, whole| {
            let quality = QualitySpec {
                height,
                bitrate_kbps: 100,
            };
            size_of(&quality, whole)
        };
        assert_eq!(of(360, size(1280, 720)), Some(size(640, 360)));
        assert_eq!(of(360, size(768, 576)), Some(size(480, 360)));
        assert_eq!(of(240, size(854, 480)), Some(size(428, 240)));
        assert_eq!(of(720, size(1280, 720)), None);
        assert_eq!(of(1080, size(1280, 720)), None);
    }
}
