//! An RTSP camera.

use std::sync::{Arc, Mutex, PoisonError};

use contract::spec::{RtspTransport, TlsVerification};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::{ANSWER_TIMEOUT_S, Site, add_decoder, set_tls, unlinked};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::location::Location;
use crate::pipeline::{element, internal, lock};

/// How a camera is talked to.
pub(super) struct Settings {
    pub(super) transport: RtspTransport,
    /// Packets in order are handed on at once whatever this is, because the sink does not wait
    /// for the clock; over TCP none is missing.
    pub(super) latency_ms: u32,
    pub(super) tls: TlsVerification,
}

/// An RTSP camera.
pub(super) fn add(
    site: &Site<'_>,
    conversion: Conversion,
    location: &Location,
    settings: &Settings,
) -> Result<(), Fault> {
    let source = element("rtspsrc", "gstreamer1.0-plugins-good")?;
    source.set_property("location", location.address());
    if let Some((user, password)) = location.login() {
        source.set_property("user-id", user);
        source.set_property("user-pw", password);
    }
    let protocols = match settings.transport {
        RtspTransport::Auto | RtspTransport::Tcp => "tcp",
        RtspTransport::Udp => "udp",
    };
    source.set_property_from_str("protocols", protocols);
    source.set_property("latency", settings.latency_ms);
    source.set_property("tcp-timeout", u64::from(ANSWER_TIMEOUT_S) * 1_000_000);
    set_tls(&source, settings.tls);
    take_first_video(site, &source);
    let decode = add_decoder(site, conversion)?;
    site.pipeline.add(&source).map_err(|_| unlinked())?;
    let found = Arc::clone(site.findings);
    source.connect_pad_added(move |_, pad| {
        let sink = decode.static_pad("sink").filter(|sink| !sink.is_linked());
        let linked = sink.map(|sink| pad.link(&sink));
        if let Some(Err(error)) = linked {
            lock(&found).fault = Some(internal(&format!("its stream cannot be taken: {error}")));
        }
    });
    let found = Arc::clone(site.findings);
    source.connect_no_more_pads(move |source| {
        if source.src_pads().is_empty() {
            lock(&found).fault = Some(Fault::Lost("it offers no video stream".to_owned()));
        }
    });
    Ok(())
}

/// Asks for the first video stream only; the camera does not send the others.
fn take_first_video(site: &Site<'_>, source: &gst::Element) {
    let chosen = Mutex::new(None);
    let found = Arc::clone(site.findings);
    source.connect("select-stream", false, move |values| {
        let index = values.get(1)?.get::<u32>().ok()?;
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let media = caps.structure(0)?.get::<String>("media").ok();
        let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let take = media.as_deref() == Some("video") && chosen.is_none_or(|it| it == index);
        if take {
            *chosen = Some(index);
            lock(&found).offers_video = true;
        }
        Some(take.to_value())
    });
}
