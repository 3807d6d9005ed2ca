//! Flash video pulled from an RTMP server.

use contract::spec::TlsVerification;
use gstreamer::prelude::*;

use super::{ANSWER_TIMEOUT_S, Site, decode, set_tls};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::location::Location;
use crate::pipeline::element;

/// Pulls a stream from a server.
pub(super) fn add(
    site: &Site<'_>,
    conversion: Conversion,
    location: &Location,
    tls: TlsVerification,
) -> Result<(), Fault> {
    let source = element("rtmp2src", "gstreamer1.0-plugins-bad")?;
    source.set_property("location", location.address());
    if let Some((user, password)) = location.login() {
        source.set_property("username", user);
        source.set_property("password", password);
    }
    source.set_property("timeout", ANSWER_TIMEOUT_S);
    set_tls(&source, tls);
    decode(site, conversion, &source)
}
