//! From a decoded picture to a slot of the bus: the one copy of each frame.

use contract::geometry::{I420Layout, PixelSize};
use frame_bus::ColourMatrix;
use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// A decoded picture, readable in the decoder's own memory.
#[derive(Debug)]
pub struct Decoded<'a> {
    frame: gst_video::VideoFrameRef<&'a gst::BufferRef>,
    full_range: bool,
    matrix: ColourMatrix,
}

impl<'a> Decoded<'a> {
    /// Maps a picture of `size`; `None` when it is of another size or format, or cannot be read.
    #[must_use]
    pub fn map(sample: &'a gst::SampleRef, size: PixelSize) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
        let fits = info.format() == gst_video::VideoFormat::I420
            && (info.width(), info.height()) == (size.width, size.height);
        if !fits {
            return None;
        }
        let colorimetry = info.colorimetry();
        let matrix = match colorimetry.matrix() {
            gst_video::VideoColorMatrix::Bt709 | gst_video::VideoColorMatrix::Bt2020 => {
                // The bus knows no BT.2020; BT.709 is off by a few levels where BT.601 is off by many.
                ColourMatrix::Bt709
            }
            _ => ColourMatrix::Bt601,
        };
        let full_range = colorimetry.range() == gst_video::VideoColorRange::Range0_255;
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
        Some(Self {
            frame,
            full_range,
            matrix,
        })
    }

    /// How to make colours of it.
    #[must_use]
    pub fn matrix(&self) -> ColourMatrix {
        self.matrix
    }

    /// The luma plane and the bytes from one row to the next.
    #[must_use]
    pub fn luma(&self) -> Option<(&[u8], usize)> {
        self.plane(0)
    }

    fn plane(&self, index: usize) -> Option<(&[u8], usize)> {
        let plane = u32::try_from(index).ok()?;
        let stride = usize::try_from(*self.frame.plane_stride().get(index)?).ok()?;
        Some((self.frame.plane_data(plane).ok()?, stride))
    }

    /// Copies the picture into `payload`. The full range of values that JPEG and many cameras
    /// use is brought to the limited range that everything after the bus expects.
    ///
    /// False when the decoder's planes are smaller than they should be.
    #[must_use]
    pub fn copy_into(&self, payload: &mut [u8], layout: &I420Layout) -> bool {
        let widths = [
            layout.size.width as usize,
            layout.size.width.div_ceil(2) as usize,
            layout.size.width.div_ceil(2) as usize,
        ];
        for (index, width) in widths.into_iter().enumerate() {
            let Some((from, from_stride)) = self.plane(index) else {
                return false;
            };
            let to_stride = layout.strides[index];
            let begin = layout.offsets[index];
            let to = &mut payload[begin..begin + to_stride * layout.rows[index]];
            let area = Area {
                width,
                rows: layout.rows[index],
            };
            let copied = match (self.full_range, index) {
                (false, _) if from_stride == to_stride && from.len() >= to.len() => {
                    // Rows lie alike, as those of most decoders do at most sizes.
                    to.copy_from_slice(&from[..to.len()]);
                    true
                }
                (false, _) => copy_rows(area, (from, from_stride), (to, to_stride), |value| value),
                (true, 0) => copy_rows(area, (from, from_stride), (to, to_stride), limited_luma),
                (true, _) => copy_rows(area, (from, from_stride), (to, to_stride), limited_chroma),
            };
            if !copied {
                return false;
            }
        }
        true
    }
}

#[derive(Clone, Copy)]
struct Area {
    width: usize,
    rows: usize,
}

/// False when `from` is too short; a decoder need not pad its last row.
fn copy_rows(
    area: Area,
    (from, from_stride): (&[u8], usize),
    (to, to_stride): (&mut [u8], usize),
    value: impl Fn(u8) -> u8,
) -> bool {
    let needed = from_stride * area.rows.saturating_sub(1) + area.width;
    if from.len() < needed || from_stride < area.width {
        return false;
    }
    let rows = from.chunks(from_stride).zip(to.chunks_mut(to_stride));
    for (from, to) in rows.take(area.rows) {
        for (to, from) in to[..area.width].iter_mut().zip(&from[..area.width]) {
            *to = value(*from);
        }
    }
    true
}

/// 0..255 to 16..235, rounded (ITU-T H.273, section 8.3). 16 bits hold all of it, so that
/// the loop becomes vector instructions.
fn limited_luma(value: u8) -> u8 {
    narrow((u16::from(value) * 219 + 127) / 255 + 16)
}

/// 0..255 to 16..240 about 128, rounded: `(value - 128) * 224 / 255 + 128`.
fn limited_chroma(value: u8) -> u8 {
    narrow((u16::from(value) * 224 + 128 * 31 + 127) / 255)
}

#[expect(clippy::cast_possible_truncation, reason = "at most 240")]
fn narrow(value: u16) -> u8 {
    value as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_map_as_the_standard_says() {
        for value in 0..=255_u8 {
            let exact = f64::from(value);
            let luma = (exact * 219.0 / 255.0 + 16.0).round();
            let chroma = ((exact - 128.0) * 224.0 / 255.0 + 128.0).round();
            assert!(
                (f64::from(limited_luma(value)) - luma).abs() < 0.5,
                "luma {value}"
            );
            assert!(
                (f64::from(limited_chroma(value)) - chroma).abs() < 0.5,
                "chroma {value}"
            );
        }
    }

    #[test]
    fn rows_are_copied_whatever_their_strides() {
        let area = Area { width: 3, rows: 2 };
        let from = [1, 2, 3, 9, 9, 4, 5, 6];
        let mut to = [0; 8];
        assert!(copy_rows(area, (&from, 5), (&mut to, 4), |value| value));
        assert_eq!(to, [1, 2, 3, 0, 4, 5, 6, 0]);
        assert!(!copy_rows(area, (&from[..7], 5), (&mut to, 4), |value| {
            value
        }));
        assert!(!copy_rows(area, (&from, 2), (&mut to, 4), |value| value));
    }
}
