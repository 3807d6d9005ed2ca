//! Makes a drawn picture small: aspect kept, and in the colours that all tiles have.

use contract::geometry::{I420Layout, PixelSize};
use contract::mosaic::fitted;
use frame_bus::ColourMatrix;
use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::encode::PictureFormat;

/// Scales pictures of one format to one size. The colours of a tile are those of BT.709: pictures
/// of several streams lie side by side in one that has one matrix.
pub(super) struct Scaler {
    format: PictureFormat,
    from: gst_video::VideoInfo,
    to: gst_video::VideoInfo,
    converter: gst_video::VideoConverter,
    /// What was scaled last.
    scaled: gst::Buffer,
    layout: I420Layout,
}

impl Scaler {
    /// For pictures of `format` in a tile of at most `bound`; `None`, with a word in the log, when
    /// it cannot be made.
    pub(super) fn new(format: &PictureFormat, bound: PixelSize) -> Option<Self> {
        let layout = I420Layout::of(fitted(format.layout.size, bound));
        let made = Self::try_new(format, layout);
        if let Err(error) = &made {
            let size = format.layout.size;
            tracing::error!("no tiles can be made of pictures of {size}: {error}");
        }
        made.ok()
    }

    fn try_new(format: &PictureFormat, layout: I420Layout) -> Result<Self, gst::glib::BoolError> {
        let from = info(&format.layout, format.matrix)?;
        let to = info(&layout, ColourMatrix::Bt709)?;
        let mut config = gst_video::VideoConverterConfig::new();
        // As many taps as the ratio asks for, so that no pixel is left out.
        config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
        Ok(Self {
            format: *format,
            converter: gst_video::VideoConverter::new(&from, &to, Some(config))?,
            from,
            to,
            scaled: gst::Buffer::with_size(layout.bytes)?,
            layout,
        })
    }

    /// What it scales.
    pub(super) fn format(&self) -> &PictureFormat {
        &self.format
    }

    /// Scales a picture; `None` when it cannot be read.
    pub(super) fn scale(&mut self, picture: &gst::BufferRef) -> Option<Scaled<'_>> {
        let from = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, &self.from);
        let to = self.scaled.make_mut();
        let to = gst_video::VideoFrameRef::from_buffer_ref_writable(to, &self.to);
        let (Ok(from), Ok(mut to)) = (from, to) else {
            return None;
        };
        self.converter.frame_ref(&from, &mut to);
        drop(to);
        Some(Scaled {
            bytes: self.scaled.map_readable().ok()?,
            layout: self.layout,
        })
    }
}

/// A picture that was made small.
pub(super) struct Scaled<'a> {
    bytes: gst::BufferMap<'a, gst::buffer::Readable>,
    layout: I420Layout,
}

impl Scaled<'_> {
    /// Its size.
    pub(super) fn size(&self) -> PixelSize {
        self.layout.size
    }

    /// Copies it into a slot of that size.
    pub(super) fn copy_into(&self, slot: &mut [u8]) {
        slot.copy_from_slice(&self.bytes);
    }
}

/// As GStreamer says it. It lays pictures out as the bus does.
fn info(
    layout: &I420Layout,
    matrix: ColourMatrix,
) -> Result<gst_video::VideoInfo, gst::glib::BoolError> {
    let size = layout.size;
    let colorimetry = match matrix {
        ColourMatrix::Bt601 => "bt601",
        ColourMatrix::Bt709 => "bt709",
    };
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, size.width, size.height)
        .colorimetry(&colorimetry.parse()?)
        .build()?;
    if info.size() != layout.bytes {
        return Err(gst::glib::bool_error!("{size} is laid out otherwise"));
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(width: u32, height: u32, matrix: ColourMatrix) -> PictureFormat {
        PictureFormat {
            layout: I420Layout::of(PixelSize { width, height }),
            matrix,
        }
    }

    /// Left half of one colour, right half of another.
    fn picture(format: &PictureFormat, left: [u8; 3], right: [u8; 3]) -> gst::Buffer {
        let layout = &format.layout;
        let mut bytes = vec![0; layout.bytes];
        for plane in 0..3 {
            let stride = layout.strides[plane];
            let begin = layout.offsets[plane];
            for row in bytes[begin..begin + stride * layout.rows[plane]].chunks_mut(stride) {
                row[..stride / 2].fill(left[plane]);
                row[stride / 2..].fill(right[plane]);
            }
        }
        gst::Buffer::from_mut_slice(bytes)
    }

    fn tile(format: &PictureFormat, picture: &gst::BufferRef) -> (I420Layout, Vec<u8>) {
        let bound = PixelSize {
            width: 320,
            height: 320,
        };
        let mut scaler = Scaler::new(format, bound).expect("scales");
        let scaled = scaler.scale(picture).expect("readable");
        let mut bytes = vec![0; scaled.layout.bytes];
        scaled.copy_into(&mut bytes);
        (scaled.layout, bytes)
    }

    /// Y, U and V at a part of the width, in the middle.
    fn at((layout, bytes): &(I420Layout, Vec<u8>), part: f64) -> [u8; 3] {
        [0, 1, 2].map(|plane| {
            let row = layout.rows[plane] / 2;
            let width = layout.size.width as f64 * if plane == 0 { 1.0 } else { 0.5 };
            let column = (width * part) as usize;
            bytes[layout.offsets[plane] + row * layout.strides[plane] + column]
        })
    }

    #[test]
    fn a_picture_is_made_small_and_keeps_its_colours() {
        gst::init().expect("GStreamer");
        let format = format(1280, 720, ColourMatrix::Bt709);
        let picture = picture(&format, [40, 100, 200], [180, 60, 90]);
        let tile = tile(&format, &picture);
        let size = tile.0.size;
        assert_eq!((size.width, size.height), (320, 180));
        assert_eq!(at(&tile, 0.25), [40, 100, 200]);
        assert_eq!(at(&tile, 0.75), [180, 60, 90]);
    }

    #[test]
    fn another_matrix_is_converted() {
        gst::init().expect("GStreamer");
        let format = format(320, 240, ColourMatrix::Bt601);
        // Red and blue by BT.601, and what they are by BT.709 (ITU-R BT.601-7 and BT.709-6).
        let picture = picture(&format, [81, 90, 240], [41, 240, 110]);
        let tile = tile(&format, &picture);
        for (part, wanted) in [(0.25, [63, 102, 240]), (0.75, [32, 240, 118])] {
            let found = at(&tile, part);
            let near = found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 2);
            assert!(near, "{found:?} is not {wanted:?}");
        }
    }
}
