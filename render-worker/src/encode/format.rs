//! What pictures for an encoder are: their size, colours and rate, and the buffers they come in.

use contract::geometry::I420Layout;
use frame_bus::ColourMatrix;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::EncodeError;

/// Frames a second until two frames are known.
const FPS_UNKNOWN: f64 = 30.0;

/// The size and colours of the pictures to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureFormat {
    /// How they lie in memory.
    pub layout: I420Layout,
    /// How to make colours of them.
    pub matrix: ColourMatrix,
}

pub(super) fn picture_caps(format: &PictureFormat, rate: gst::Fraction) -> gst::Caps {
    let size = format.layout.size;
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", side(size.width))
        .field("height", side(size.height))
        .field("framerate", rate)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("interlace-mode", "progressive")
        .field(
            "colorimetry",
            match format.matrix {
                ColourMatrix::Bt601 => "bt601",
                ColourMatrix::Bt709 => "bt709",
            },
        )
        .build()
}

/// Buffers are recycled: at 1080p a fresh one a frame would be 3 MB of page faults each.
pub(super) fn picture_pool(format: &PictureFormat) -> Result<gst::BufferPool, EncodeError> {
    let caps = picture_caps(format, gst::Fraction::new(0, 1));
    let size = u32::try_from(format.layout.bytes).unwrap_or(u32::MAX);
    let info = gst_video::VideoInfo::from_caps(&caps)
        .map_err(|error| EncodeError::pipeline("its picture format", &error))?;
    if info.size() != format.layout.bytes {
        let reason = format!(
            "GStreamer lays {} out in {} bytes, the bus in {}",
            format.layout.size,
            info.size(),
            format.layout.bytes
        );
        return Err(EncodeError::pipeline("its picture format", &reason));
    }
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    // No bound of its own: `Inside` and the probe bound what exists.
    config.set_params(Some(&caps), size, 0, 0);
    pool.set_config(config)
        .and_then(|()| pool.set_active(true))
        .map_err(|error| EncodeError::pipeline("its picture pool", &error))?;
    Ok(pool)
}

/// x264's rate control counts frames, so it must know how many make a second. The shortest
/// distance is the nominal one: frames may be missing, but none come between two others.
pub(super) fn nominal_rate(times_ns: &[u64]) -> gst::Fraction {
    let gaps = times_ns
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]));
    #[expect(clippy::cast_precision_loss, reason = "a gap of a few milliseconds")]
    let fps = gaps
        .filter(|gap| *gap > 0)
        .min()
        .map_or(FPS_UNKNOWN, |gap| 1e9 / gap as f64)
        .clamp(1.0, 240.0);
    // Timestamps in whole milliseconds make 33 of 33.3.
    let whole = fps.round();
    let fps = if (fps - whole).abs() < 0.02 * whole {
        whole
    } else {
        fps
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 240 000")]
    let thousandths = (fps * 1000.0).round() as i32;
    gst::Fraction::new(thousandths, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_rate_is_that_of_the_closest_frames() {
        let rate =
            |times: &[u64]| nominal_rate(&times.iter().map(|ms| ms * MS).collect::<Vec<_>>());
        assert_eq!(rate(&[]), gst::Fraction::new(30, 1));
        assert_eq!(rate(&[7]), gst::Fraction::new(30, 1));
        assert_eq!(rate(&[0, 33, 67]), gst::Fraction::new(30, 1));
        assert_eq!(rate(&[0, 200, 300]), gst::Fraction::new(10, 1));
        assert_eq!(rate(&[0, 400, 800]), gst::Fraction::new(5, 2));
        assert_eq!(rate(&[0, 100_000]), gst::Fraction::new(1, 1));
    }
}
