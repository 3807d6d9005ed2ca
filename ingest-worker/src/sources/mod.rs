//! What stands before the conversion: the elements of each kind of source.

use std::sync::{Arc, Mutex, PoisonError};

use contract::geometry::PixelSize;
use contract::spec::{SourceSpec, TlsVerification};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::conversion::{Conversion, add_annex_b, link};
use crate::decoder::{self, DecoderInfo};
use crate::fault::{Fault, Kind};
use crate::location::Location;
use crate::pipeline::{Plan, Shared, element, internal, lock};

mod file;
mod http;
mod images;
mod local;
pub(crate) mod mosaic;
pub(crate) mod publish;
mod rtmp;
mod rtsp;
pub(crate) mod srt;
mod udp;
mod units;

/// How long a connection may take, and each answer of the other end.
pub(crate) const ANSWER_TIMEOUT_S: u32 = 5;

/// What H.264 is called in GStreamer.
const H264: &str = "video/x-h264";
/// Access units that may wait while a file is read up to its first picture: more than any decoder
/// holds back.
const BRANCH_UNITS_MAX: u32 = 64;
/// And bytes of those.
const BRANCH_BYTES_MAX: u32 = 32 << 20;

/// Where elements are added.
pub(crate) struct Site<'a> {
    pub(crate) pipeline: &'a gst::Pipeline,
    pub(crate) findings: &'a Shared,
    pub(crate) kind: Kind,
    pub(crate) units: Units<'a>,
}

/// What becomes of coded pictures.
#[derive(Clone, Copy)]
pub(crate) enum Units<'a> {
    /// They are decoded.
    Decoded,
    /// They are handed on.
    HandedOn,
    /// They are decoded, and handed on to this sink.
    Both(&'a gst_app::AppSink),
}

/// Where faults of a source come up.
pub(crate) fn kind(source: &SourceSpec) -> Kind {
    match source {
        SourceSpec::File { .. } | SourceSpec::Images { .. } => Kind::File,
        SourceSpec::Rtsp { .. } => Kind::Rtsp,
        SourceSpec::Srt(_) => Kind::Srt,
        SourceSpec::Rtmp { .. } => Kind::Rtmp,
        SourceSpec::Http { .. } => Kind::Http,
        SourceSpec::Udp { .. } => Kind::Udp,
        SourceSpec::Publish { .. } => Kind::Publish,
        SourceSpec::Device { .. } => Kind::Device,
        SourceSpec::Mosaic(_) => Kind::Mosaic,
        SourceSpec::Test { .. } => Kind::Pattern,
    }
}

/// Adds what a source needs, up to `conversion`; `location` is given for sources in a network.
pub(crate) fn add(
    site: &Site<'_>,
    conversion: Conversion,
    plan: &Plan,
    location: Option<&Location>,
) -> Result<(), Fault> {
    let located = || location.ok_or_else(|| internal("the source has no location"));
    match &plan.source {
        SourceSpec::File { path, .. } => file::add(site, conversion, path),
        SourceSpec::Images {
            directory,
            pattern,
            fps,
            ..
        } => images::add(site, &conversion, directory, pattern.as_deref(), *fps),
        SourceSpec::Rtsp {
            transport,
            latency_ms,
            tls,
            ..
        } => {
            let settings = rtsp::Settings {
                transport: *transport,
                latency_ms: *latency_ms,
                tls: *tls,
            };
            rtsp::add(site, conversion, located()?, &settings)
        }
        SourceSpec::Srt(spec) => srt::add(site, conversion, spec),
        SourceSpec::Rtmp { tls, .. } => rtmp::add(site, conversion, located()?, *tls),
        SourceSpec::Http { tls, .. } => http::add(site, conversion, located()?, *tls),
        SourceSpec::Udp {
            address,
            port,
            interface,
        } => udp::add(site, conversion, *address, *port, interface.as_deref()),
        SourceSpec::Publish { .. } => {
            let intake = plan.ports.intake.as_ref();
            let intake = intake.ok_or_else(|| internal("the source has no intake"))?;
            publish::add(site, conversion, intake)
        }
        SourceSpec::Device { path, size, fps } => {
            local::add_device(site, conversion, path, *size, *fps)
        }
        SourceSpec::Mosaic(spec) => {
            let tiles = plan.ports.tiles.as_ref();
            let tiles = tiles.ok_or_else(|| internal("the source has no tiles"))?;
            mosaic::add(site, &conversion, spec, tiles)
        }
        SourceSpec::Test { .. } => local::add_pattern(site, &conversion, plan),
    }
}

/// Adds a source with one pad that is there from the beginning, and decodes what comes out.
fn decode(site: &Site<'_>, conversion: Conversion, source: &gst::Element) -> Result<(), Fault> {
    let decode = add_decoder(site, conversion)?;
    site.pipeline
        .add(source)
        .and_then(|()| source.link(&decode))
        .map_err(|_| unlinked())?;
    if site.kind.is_live() {
        note_first_data(site, source);
    }
    Ok(())
}

/// What MPEG-TS is called in GStreamer.
fn transport_stream() -> gst::Caps {
    gst::Caps::builder("video/mpegts")
        .field("systemstream", true)
        .build()
}

/// The first data show that the other end has answered.
fn note_first_data(site: &Site<'_>, source: &gst::Element) {
    let Some(pad) = source.static_pad("src") else {
        return;
    };
    let found = Arc::clone(site.findings);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        lock(&found).connected = true;
        gst::PadProbeReturn::Remove
    });
}

/// Takes any certificate, where that is wished for.
fn set_tls(source: &gst::Element, tls: TlsVerification) {
    let property = source.find_property("tls-validation-flags");
    let class = property.and_then(|property| glib::FlagsClass::with_type(property.value_type()));
    let nothing = class.as_ref().and_then(|class| class.builder().build());
    if let (TlsVerification::Any, Some(nothing)) = (tls, nothing) {
        source.set_property_from_value("tls-validation-flags", &nothing);
    }
}

fn unlinked() -> Fault {
    internal("the pipeline cannot be linked")
}

/// Adds the element that finds demuxer, parser and decoder by itself, and what follows it up to
/// `conversion`.
fn add_decoder(site: &Site<'_>, conversion: Conversion) -> Result<gst::Element, Fault> {
    set_up_elements(site);
    let take = move |pad: &gst::Pad| conversion.link(pad);
    match site.units {
        Units::Decoded => add_decodebin(site, Media::Raw, take),
        Units::HandedOn => add_decodebin(site, Media::H264, take),
        Units::Both(branch) => {
            let decode = add_decodebin(site, Media::Raw, take)?;
            let first = add_branch(site, branch, &decode)?;
            add_decodebin(site, Media::H264, move |pad| link(pad, &first))
        }
    }
}

/// Adds what hands access units to `branch` and to `decode`; returns its first element.
fn add_branch(
    site: &Site<'_>,
    branch: &gst_app::AppSink,
    decode: &gst::Element,
) -> Result<gst::Element, Fault> {
    let core = "libgstreamer1.0-0";
    let [parser, filter] = add_annex_b(site.pipeline)?;
    let tee = element("tee", core)?;
    // A file is read up to its first picture before anything is handed on: decoders hold back some.
    let queue = element("queue", core)?;
    queue.set_property("max-size-buffers", BRANCH_UNITS_MAX);
    queue.set_property("max-size-bytes", BRANCH_BYTES_MAX);
    queue.set_property("max-size-time", 0_u64);
    site.pipeline
        .add_many([&tee, &queue, branch.upcast_ref()])
        .and_then(|()| gst::Element::link_many([&filter, &tee, &queue, branch.upcast_ref()]))
        .and_then(|()| tee.link(decode))
        .map_err(|_| unlinked())?;
    Ok(parser)
}

/// Watches the elements that are added by themselves.
fn set_up_elements(site: &Site<'_>) {
    let found = Arc::clone(site.findings);
    site.pipeline
        .connect_deep_element_added(move |_, _, element| {
            if decoder::name_of(element) == "multipartdemux" {
                // Motion JPEG has one stream; without this it is not known that no more come.
                element.set_property("single-stream", true);
            }
            if decoder::is_video_decoder(element) {
                let mut found = lock(&found);
                decoder::set_threads(element, found.coded_size);
                found.decoder = DecoderInfo {
                    name: decoder::name_of(element),
                    hardware: decoder::is_hardware(element),
                };
            }
        });
}

/// What a `decodebin` is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    /// Pictures.
    Raw,
    /// H.264, undecoded.
    H264,
}

/// Adds a `decodebin` whose first video stream is given to `take`.
fn add_decodebin(
    site: &Site<'_>,
    media: Media,
    take: impl Fn(&gst::Pad) -> Result<(), Fault> + Send + Sync + 'static,
) -> Result<gst::Element, Fault> {
    let Site {
        pipeline,
        findings,
        kind,
        ..
    } = *site;
    let decode = element("decodebin", "gstreamer1.0-plugins-base")?;
    pipeline.add(&decode).map_err(|_| unlinked())?;

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
        let is_parsed = structure.get::<bool>("parsed").unwrap_or(false);
        let is_wanted = media == Media::H264 && name == H264 && is_parsed;
        Some((!other && !is_wanted).to_value())
    });
    let found = Arc::clone(findings);
    decode.connect("unknown-type", false, move |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        lock(&found).undecodable.push(caps.to_string());
        None
    });
    let found = Arc::clone(findings);
    let linked = Arc::new(Mutex::new(false));
    let any_linked = Arc::clone(&linked);
    decode.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|structure| structure.name().as_str());
        let is_raw = name == Some("video/x-raw");
        let is_wanted = match media {
            Media::Raw => is_raw,
            Media::H264 => name == Some(H264),
        };
        let mut linked = linked.lock().unwrap_or_else(PoisonError::into_inner);
        if *linked || !(is_raw || is_wanted) {
            return;
        }
        let taken = is_wanted.then(|| take(pad));
        let mut found = lock(&found);
        match taken {
            Some(Ok(())) => *linked = true,
            None => found.fault = Some(not_h264(&found.decoder.name)),
            // Pictures that stay in the memory of a device are of no use here.
            Some(Err(fault)) if found.decoder.hardware => {
                let detail = format!("`{}`: {fault}", found.decoder.name);
                found.fault = Some(Fault::HardwareDecoder(detail));
            }
            Some(Err(fault)) => found.fault = Some(fault),
        }
    });
    let found = Arc::clone(findings);
    decode.connect_no_more_pads(move |_| {
        if !*any_linked.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut found = lock(&found);
            if found.fault.is_none() {
                found.fault = Some(Fault::no_video(kind, &found.undecodable));
            }
        }
    });
    Ok(decode)
}

/// What a decoder was found for is another codec.
fn not_h264(decoder: &str) -> Fault {
    let by = match decoder {
        "" => String::new(),
        decoder => format!(" (`{decoder}` would decode it)"),
    };
    Fault::Unusable(format!(
        "what it sends is not H.264{by}, and `passthrough` hands on nothing else: \
         remove `passthrough`, so that it is encoded"
    ))
}
