//! Which element encodes: one that uses special hardware where one works, else x264.
//!
//! An element that is installed need not work: its driver is missing, its device is another
//! user's, or all its sessions are taken. So each is tried on some pictures of a small size, as
//! the worker will use it, before it is relied on. The settings are those of GStreamer 1.22 and
//! later; one that an element does not have, or does not know the value of, is left out.

use std::sync::{Arc, Mutex, PoisonError};

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::EncodeSpec;
use frame_bus::ColourMatrix;
use gstreamer as gst;
use gstreamer::prelude::*;

use super::{EncodeError, Encoder, PictureFormat, make};

/// Key frames are asked for by time, not counted, so that the encoder's own count must not matter.
const KEYFRAME_COUNT_MAX: u32 = 1 << 20;
/// Pictures that an element is tried with, 40 ms from one to the next.
const TRIED: u64 = 8;
const TRIED_GAP_NS: u64 = 40_000_000;
/// Size of these: elements have a least size, and this is above those.
const TRIED_SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};
/// A device that has not encoded them by then does not work.
const TRIAL_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// An element that encodes H.264.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderElement {
    factory: &'static str,
    /// Its settings that are not of the config: low delay, no B frames, constant bit rate.
    settings: &'static [(&'static str, &'static str)],
    /// The setting of the bit rate, and in how many bits a second it counts.
    bitrate: (&'static str, u32),
}

/// What the encoders by VA-API have in common.
const VA_API: &[(&str, &str)] = &[
    ("rate-control", "cbr"),
    ("b-frames", "0"),
    ("key-int-max", "1024"),
    ("aud", "false"),
];

/// Those that use special hardware, in the order in which they are tried.
const HARDWARE: [EncoderElement; 4] = [
    // NVENC. Settings without a value between are the encoder's, whatever its generation.
    EncoderElement {
        factory: "nvh264enc",
        settings: &[
            ("preset", "low-latency-hq"),
            ("rc-mode", "cbr"),
            ("zerolatency", "true"),
            ("bframes", "0"),
            ("b-frames", "0"),
            ("gop-size", "-1"),
            ("aud", "false"),
        ],
        bitrate: ("bitrate", 1000),
    },
    // Intel by oneVPL.
    EncoderElement {
        factory: "qsvh264enc",
        settings: &[
            ("rate-control", "cbr"),
            ("low-latency", "true"),
            ("b-frames", "0"),
            ("gop-size", "0"),
        ],
        bitrate: ("bitrate", 1000),
    },
    // Intel and AMD by VA-API.
    EncoderElement {
        factory: "vah264enc",
        settings: VA_API,
        bitrate: ("bitrate", 1000),
    },
    // Intel's low-power unit, where it is all there is.
    EncoderElement {
        factory: "vah264lpenc",
        settings: VA_API,
        bitrate: ("bitrate", 1000),
    },
];

impl EncoderElement {
    /// x264, which is everywhere.
    pub const X264: Self = Self {
        factory: "x264enc",
        settings: &[
            ("tune", "zerolatency"),
            ("bframes", "0"),
            // Containers and RTP mark the borders of access units themselves.
            ("aud", "false"),
        ],
        bitrate: ("bitrate", 1000),
    };

    /// The element for these settings: the first that uses hardware and works, where that is
    /// wished for, else x264.
    #[must_use]
    pub fn choose(spec: &EncodeSpec) -> Self {
        if !spec.hardware {
            return Self::X264;
        }
        first_working(&HARDWARE, spec).unwrap_or(Self::X264)
    }

    /// What it is, in words: `x264 ultrafast`, `hardware encoder nvh264enc`.
    #[must_use]
    pub fn described(&self, spec: &EncodeSpec) -> String {
        if self.is_hardware() {
            format!("hardware encoder {}", self.factory)
        } else {
            format!("x264 {}", spec.preset)
        }
    }

    /// It uses special hardware.
    #[must_use]
    pub fn is_hardware(&self) -> bool {
        *self != Self::X264
    }

    /// The elements from pictures to H.264, with their settings; a converter where the encoder
    /// may not take I420.
    pub(super) fn build(
        &self,
        spec: &EncodeSpec,
        bitrate_kbps: u32,
    ) -> Result<Vec<gst::Element>, EncodeError> {
        let encoder = make(self.factory)?;
        for (name, value) in self.settings {
            set(&encoder, name, value);
        }
        let (name, unit) = self.bitrate;
        let bitrate = u64::from(bitrate_kbps.clamp(1, 2_048_000)) * 1000 / u64::from(unit);
        set(&encoder, name, &bitrate.to_string());
        if self.is_hardware() {
            return Ok(vec![make("videoconvert")?, encoder]);
        }
        set_x264(&encoder, spec)?;
        Ok(vec![encoder])
    }

    /// Whether it encodes pictures as this worker needs it.
    fn works(&self, spec: &EncodeSpec) -> Result<(), EncodeError> {
        let format = PictureFormat {
            layout: I420Layout::of(TRIED_SIZE),
            matrix: ColourMatrix::Bt601,
        };
        let spec = EncodeSpec {
            // All pictures are between two key frames.
            keyframe_interval_ms: 60_000,
            qualities: Vec::new(),
            ..spec.clone()
        };
        let given = Arc::new(Mutex::new(Vec::new()));
        let units = Arc::clone(&given);
        let take = move |unit: super::AccessUnit| {
            let unit = (unit.pts_ns, unit.keyframe);
            units
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(unit);
        };
        let mut encoder = Encoder::new(&spec, *self, format, take)?;
        let expected: Vec<_> = (0..TRIED).map(|i| (i * TRIED_GAP_NS, i == 0)).collect();
        for (pts_ns, _) in &expected {
            let mut picture = encoder.picture()?;
            picture.with_bytes(|bytes| bytes.fill(128))?;
            encoder.push(picture, *pts_ns)?;
        }
        encoder.finish(TRIAL_TIMEOUT)?;
        let given = given.lock().unwrap_or_else(PoisonError::into_inner);
        if *given == expected {
            return Ok(());
        }
        let reason = format!("of {TRIED} pictures it made {given:?}");
        Err(EncodeError::pipeline(
            "it does not encode in order",
            &reason,
        ))
    }
}

/// The first that is installed and works.
fn first_working(elements: &[EncoderElement], spec: &EncodeSpec) -> Option<EncoderElement> {
    let installed =
        |element: &&EncoderElement| gst::ElementFactory::find(element.factory).is_some();
    let works = |element: &&EncoderElement| match element.works(spec) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(%error, "encoder {} does not work here", element.factory);
            false
        }
    };
    elements.iter().filter(installed).find(works).copied()
}

/// What only x264 has.
fn set_x264(encoder: &gst::Element, spec: &EncodeSpec) -> Result<(), EncodeError> {
    if spec.preset == "None" || !set(encoder, "speed-preset", &spec.preset) {
        return Err(EncodeError::Preset(spec.preset.clone()));
    }
    encoder.set_property("threads", spec.threads.min(64));
    encoder.set_property("key-int-max", KEYFRAME_COUNT_MAX);
    if !spec.qualities.is_empty() {
        // Key frames of its own choice would not be those of the other encodes.
        encoder.set_property("option-string", "scenecut=0");
    }
    Ok(())
}

/// Sets what an element has; false when it has it not, or not with this value.
fn set(element: &gst::Element, name: &str, value: &str) -> bool {
    let Some(property) = element.find_property(name) else {
        return false;
    };
    match gst::glib::Value::deserialize_with_pspec(value, &property) {
        Ok(value) => {
            element.set_property_from_value(name, &value);
            true
        }
        Err(error) => {
            tracing::debug!(%error, name, value, "a setting is left out");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X264: EncoderElement = EncoderElement::X264;

    /// Another encoder than x264, as hardware would be one.
    const OPEN_H264: EncoderElement = EncoderElement {
        factory: "openh264enc",
        settings: &[("gop-size", "0"), ("rate-control", "bitrate")],
        bitrate: ("bitrate", 1),
    };
    const NOT_INSTALLED: EncoderElement = EncoderElement {
        factory: "h264enc-of-nobody",
        ..OPEN_H264
    };
    /// What is installed and gives no H.264, as an encoder without its device.
    const BROKEN: EncoderElement = EncoderElement {
        factory: "identity",
        ..OPEN_H264
    };

    fn spec() -> EncodeSpec {
        EncodeSpec {
            hardware: true,
            preset: "ultrafast".to_owned(),
            bitrate_kbps: 1000,
            keyframe_interval_ms: 2000,
            threads: 1,
            qualities: Vec::new(),
        }
    }

    #[test]
    fn the_first_that_works_is_taken() {
        gst::init().expect("GStreamer");
        let chosen = |elements: &[EncoderElement]| first_working(elements, &spec());
        assert_eq!(
            chosen(&[NOT_INSTALLED, BROKEN, OPEN_H264, X264]),
            Some(OPEN_H264)
        );
        assert_eq!(chosen(&[NOT_INSTALLED, BROKEN]), None);
        assert_eq!(X264.works(&spec()), Ok(()));
    }

    #[test]
    fn an_encoder_that_holds_pictures_back_does_not_work() {
        gst::init().expect("GStreamer");
        // It waits for more pictures than the worker gives before it takes one.
        let late = EncoderElement {
            settings: &[("rc-lookahead", "40"), ("bframes", "3")],
            ..X264
        };
        let error = late.works(&spec()).expect_err("it gives nothing");
        assert!(error.to_string().contains("it hangs"), "{error}");
    }

    #[test]
    fn a_setting_that_an_element_does_not_have_is_left_out() {
        gst::init().expect("GStreamer");
        let encoder = make("x264enc").expect("x264");
        assert!(set(&encoder, "bitrate", "700"));
        assert_eq!(encoder.property::<u32>("bitrate"), 700);
        assert!(!set(&encoder, "low-latency", "true"));
        assert!(!set(&encoder, "speed-preset", "quick"));
    }

    #[test]
    fn x264_is_taken_where_no_hardware_is_wished_for() {
        let software = EncodeSpec {
            hardware: false,
            ..spec()
        };
        assert_eq!(EncoderElement::choose(&software), X264);
    }
}
