//! What stands before the conversion: the elements of each kind of source.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::spec::{Pace, RtspTransport, SourceSpec};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use crate::conversion::{Conversion, caps_of};
use crate::decoder::{self, DecoderInfo};
use crate::fault::Fault;
use crate::location::Location;
use crate::pipeline::{Plan, Shared, element, internal, lock};

/// How long the jitter buffer waits for a packet that is missing. Packets in order are
/// handed on at once whatever this is, because the sink does not wait for the clock; over
/// TCP none is missing. 100 ms is the re-ordering of a bad Wi-Fi; `rtspsrc`'s own 2 s
/// would make each lost packet a pause of 2 s.
const JITTER_MS: u32 = 100;
/// How long a connection to a camera may take, and each of its answers.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// A file on a disk.
pub(crate) fn add_file(
    pipeline: &gst::Pipeline,
    conversion: Conversion,
    path: &Path,
    findings: &Shared,
) -> Result<(), Fault> {
    let metadata = path.metadata().map_err(|error| {
        Fault::Unusable(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("it cannot be opened: {error}"),
        })
    })?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its writer, for ever.
        return Err(Fault::Unusable("it is not a regular file".to_owned()));
    }
    let source = element("filesrc", "libgstreamer1.0-0")?;
    let path = path.to_str();
    let path = path.ok_or_else(|| Fault::Unusable("its path is not UTF-8".to_owned()))?;
    source.set_property("location", path);
    let decode = add_decoder(pipeline, conversion, findings)?;
    pipeline
        .add(&source)
        .and_then(|()| source.link(&decode))
        .map_err(|_| internal("the pipeline cannot be linked"))
}

/// An RTSP camera.
pub(crate) fn add_camera(
    pipeline: &gst::Pipeline,
    conversion: Conversion,
    location: &Location,
    transport: RtspTransport,
    findings: &Shared,
) -> Result<(), Fault> {
    let source = element("rtspsrc", "gstreamer1.0-plugins-good")?;
    source.set_property("location", location.address());
    if let Some((user, password)) = location.login() {
        source.set_property("user-id", user);
        source.set_property("user-pw", password);
    }
    let protocols = match transport {
        RtspTransport::Tcp => "tcp",
        RtspTransport::Udp => "udp",
    };
    source.set_property_from_str("protocols", protocols);
    source.set_property("latency", JITTER_MS);
    let timeout = u64::try_from(TCP_TIMEOUT.as_micros()).unwrap_or(u64::MAX);
    source.set_property("tcp-timeout", timeout);
    // Only the first video stream is asked for; the camera does not send the others.
    let chosen = Mutex::new(None);
    source.connect("select-stream", false, move |values| {
        let index = values.get(1)?.get::<u32>().ok()?;
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let media = caps.structure(0)?.get::<String>("media").ok();
        let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let take = media.as_deref() == Some("video") && chosen.is_none_or(|it| it == index);
        if take {
            *chosen = Some(index);
        }
        Some(take.to_value())
    });
    let decode = add_decoder(pipeline, conversion, findings)?;
    pipeline
        .add(&source)
        .map_err(|_| internal("the pipeline cannot be linked"))?;
    let found = Arc::clone(findings);
    source.connect_pad_added(move |_, pad| {
        let sink = decode.static_pad("sink").filter(|sink| !sink.is_linked());
        let linked = sink.map(|sink| pad.link(&sink));
        if let Some(Err(error)) = linked {
            lock(&found).fault = Some(internal(&format!("its stream cannot be taken: {error}")));
        }
    });
    let found = Arc::clone(findings);
    source.connect_no_more_pads(move |source| {
        if source.src_pads().is_empty() {
            lock(&found).fault = Some(Fault::Lost("it offers no video stream".to_owned()));
        }
    });
    Ok(())
}

/// A test pattern, which is not decoded.
pub(crate) fn add_pattern(
    pipeline: &gst::Pipeline,
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
    pipeline
        .add_many([&source, &filter])
        .and_then(|()| gst::Element::link_many([&source, &filter, &conversion.scale]))
        .map_err(|_| internal("the pipeline cannot be linked"))
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

/// Adds the element that finds demuxer, parser and decoder by itself.
fn add_decoder(
    pipeline: &gst::Pipeline,
    conversion: Conversion,
    findings: &Shared,
) -> Result<gst::Element, Fault> {
    let decode = element("decodebin", "gstreamer1.0-plugins-base")?;
    pipeline
        .add(&decode)
        .map_err(|_| internal("the pipeline cannot be linked"))?;

    // Streams that are no picture are exposed as they are, and lead nowhere.
    let found = Arc::clone(findings);
    decode.connect("autoplug-continue", false, move |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let structure = caps.structure(0)?;
        let name = structure.name().as_str();
        if name.starts_with("video/") || name.starts_with("image/") {
            let side = |field| structure.get::<i32>(field).ok()?.try_into().ok();
            if let (Some(width), Some(height)) = (side("width"), side("height")) {
                lock(&found).coded_size = Some(PixelSize { width, height });
            }
        }
        let other = [
            "audio/",
            "text/",
            "subtitle/",
            "subpicture/",
            "closedcaption/",
            "meta/",
        ];
        let other = other.iter().any(|prefix| name.starts_with(prefix));
        Some((!other).to_value())
    });
    let found = Arc::clone(findings);
    decode.connect("unknown-type", false, move |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        lock(&found).undecodable.push(caps.to_string());
        None
    });
    let found = Arc::clone(findings);
    pipeline.connect_deep_element_added(move |_, _, element| {
        if decoder::is_video_decoder(element) {
            let mut found = lock(&found);
            decoder::set_threads(element, found.coded_size);
            found.decoder = DecoderInfo {
                name: decoder::name_of(element),
                hardware: decoder::is_hardware(element),
            };
        }
    });
    let found = Arc::clone(findings);
    let linked = Arc::new(Mutex::new(false));
    let any_linked = Arc::clone(&linked);
    decode.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let raw = caps
            .structure(0)
            .is_some_and(|structure| structure.name() == "video/x-raw");
        let mut linked = linked.lock().unwrap_or_else(PoisonError::into_inner);
        if !raw || *linked {
            return;
        }
        match conversion.link(pad) {
            Ok(()) => *linked = true,
            Err(fault) => {
                let mut found = lock(&found);
                // Pictures that stay in the memory of a device are of no use here.
                found.fault = Some(if found.decoder.hardware {
                    Fault::HardwareDecoder(format!("`{}`: {fault}", found.decoder.name))
                } else {
                    fault
                });
            }
        }
    });
    let found = Arc::clone(findings);
    decode.connect_no_more_pads(move |_| {
        if !*any_linked.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut found = lock(&found);
            if found.fault.is_none() {
                found.fault = Some(Fault::no_video(&found.undecodable));
            }
        }
    });
    Ok(decode)
}
