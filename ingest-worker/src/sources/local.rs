//! What this machine itself gives: video devices and test patterns.

use std::path::Path;

use contract::geometry::PixelSize;
use contract::spec::{Pace, SourceSpec};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use super::{Site, decode, unlinked};
use crate::conversion::{Conversion, caps_of};
use crate::fault::Fault;
use crate::pipeline::{Plan, element, internal};

/// What webcams give; decoders are found for the coded ones.
const DEVICE_MEDIA: [&str; 3] = ["video/x-raw", "image/jpeg", "video/x-h264"];

/// A video device.
pub(super) fn add_device(
    site: &Site<'_>,
    conversion: Conversion,
    path: &Path,
    size: Option<PixelSize>,
    fps: Option<u32>,
) -> Result<(), Fault> {
    check_device(path)?;
    let source = element("v4l2src", "gstreamer1.0-plugins-good")?;
    let path = path.to_str();
    let path = path.ok_or_else(|| Fault::Unusable("its path is not UTF-8".to_owned()))?;
    source.set_property("device", path);
    let mut caps = gst::Caps::new_empty();
    for media in DEVICE_MEDIA {
        let mut structure = gst::Structure::new_empty(media);
        if let Some(size) = size {
            structure.set("width", i32::try_from(size.width).unwrap_or(i32::MAX));
            structure.set("height", i32::try_from(size.height).unwrap_or(i32::MAX));
        }
        if let Some(fps) = fps.and_then(|fps| i32::try_from(fps).ok()) {
            structure.set("framerate", gst::Fraction::new(fps, 1));
        }
        caps.make_mut().append_structure(structure);
    }
    let filter = element("capsfilter", "libgstreamer1.0-0")?;
    filter.set_property("caps", caps);
    site.pipeline.add(&source).map_err(|_| unlinked())?;
    decode(site, conversion, &filter)?;
    source.link(&filter).map_err(|_| unlinked())
}

/// A device may be plugged in, or its rights set, while the stream is being tried.
fn check_device(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::FileTypeExt;
    match path.metadata() {
        Ok(metadata) if metadata.file_type().is_char_device() => {}
        Ok(_) => {
            let text = "it is no device that gives pictures";
            return Err(Fault::Unusable(text.to_owned()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::Lost("there is no such device".to_owned()));
        }
        Err(error) => return Err(Fault::Lost(format!("it cannot be looked at: {error}"))),
    }
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let text = "it may not be opened: add this user to the group `video`";
            Err(Fault::Refused(text.to_owned()))
        }
        // Anything else its element says better.
        _ => Ok(()),
    }
}

/// A test pattern, which is not decoded.
pub(super) fn add_pattern(
    site: &Site<'_>,
    conversion: &Conversion,
    plan: &Plan,
) -> Result<(), Fault> {
    let SourceSpec::Test {
        pattern,
        size,
        fps,
        frames,
        pace,
    } = &plan.source
    else {
        return Err(internal("the source is no test pattern"));
    };
    let source = element("videotestsrc", "gstreamer1.0-plugins-base")?;
    check_pattern(&source, pattern)?;
    source.set_property_from_str("pattern", pattern);
    source.set_property("is-live", *pace == Pace::Live);
    if let Some(frames) = frames {
        let left = frames.saturating_sub(plan.resume_at);
        let left = i32::try_from(left).unwrap_or(i32::MAX);
        source.set_property("num-buffers", left);
    }
    let filter = element("capsfilter", "libgstreamer1.0-0")?;
    let mut caps = caps_of(*size);
    let rate = i32::try_from(*fps).unwrap_or(i32::MAX).max(1);
    caps.make_mut()
        .set("framerate", gst::Fraction::new(rate, 1));
    filter.set_property("caps", caps);
    site.pipeline
        .add_many([&source, &filter])
        .and_then(|()| gst::Element::link_many([&source, &filter, &conversion.first]))
        .map_err(|_| unlinked())
}

fn check_pattern(source: &gst::Element, pattern: &str) -> Result<(), Fault> {
    let class = source
        .find_property("pattern")
        .and_then(|property| glib::EnumClass::with_type(property.value_type()));
    let Some(class) = class else {
        return Ok(());
    };
    if class.value_by_nick(pattern).is_some() {
        return Ok(());
    }
    let names: Vec<_> = class.values().iter().map(glib::EnumValue::nick).collect();
    Err(Fault::Unusable(format!(
        "there is no test pattern `{pattern}`: choose one of {}",
        names.join(", ")
    )))
}
