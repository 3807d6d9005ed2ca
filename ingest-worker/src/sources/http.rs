//! Files, HLS and Motion JPEG by HTTP. `decodebin` tells them apart by their content.

use std::sync::Arc;

use contract::spec::TlsVerification;
use gstreamer as gst;
use gstreamer::prelude::*;

use super::{ANSWER_TIMEOUT_S, Site, decode};
use crate::conversion::Conversion;
use crate::decoder;
use crate::fault::Fault;
use crate::location::Location;
use crate::pipeline::element;

const FACTORY: &str = "souphttpsrc";

/// Pulls from a server.
///
/// HLS makes elements of the same kind for its segments and, outside of the pipeline, for its
/// playlists. The latter are seen by the message they post before their first request.
pub(super) fn add(
    site: &Site<'_>,
    conversion: Conversion,
    location: &Location,
    tls: TlsVerification,
) -> Result<(), Fault> {
    let source = element(FACTORY, "gstreamer1.0-plugins-good")?;
    source.set_property("location", location.address());
    let settings = Arc::new(Settings {
        login: location
            .login()
            .map(|(user, password)| (user.to_owned(), password.to_owned())),
        tls,
    });
    settings.apply(&source);
    let of_segments = Arc::clone(&settings);
    site.pipeline
        .connect_deep_element_added(move |_, _, element| of_segments.apply(element));
    if let Some(bus) = site.pipeline.bus() {
        bus.set_sync_handler(move |_, message| {
            let element = message
                .src()
                .and_then(|source| source.downcast_ref::<gst::Element>());
            if let (gst::MessageView::HaveContext(_), Some(element)) = (message.view(), element) {
                settings.apply(element);
            }
            gst::BusSyncReply::Pass
        });
    }
    decode(site, conversion, &source)
}

struct Settings {
    login: Option<(String, String)>,
    tls: TlsVerification,
}

impl Settings {
    /// To elements that pull by HTTP, and to no other.
    fn apply(&self, source: &gst::Element) {
        if decoder::name_of(source) != FACTORY {
            return;
        }
        if let Some((user, password)) = &self.login {
            source.set_property("user-id", user);
            source.set_property("user-pw", password);
        }
        source.set_property("timeout", ANSWER_TIMEOUT_S);
        source.set_property("ssl-strict", self.tls == TlsVerification::Verify);
        // A session that is lost is tried again by the rules of the stream, not by these.
        source.set_property("retries", 0);
    }
}
