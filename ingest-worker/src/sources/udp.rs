//! An MPEG transport stream in UDP packets.

use std::net::IpAddr;

use gstreamer::prelude::*;

use super::{Site, decode, transport_stream};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::pipeline::element;

/// Room in the kernel for a key frame of 4K that comes in one burst; Linux gives what it allows.
const KERNEL_BUFFER_BYTES: i32 = 2 << 20;

/// Listens to packets, of a multicast group where the address is one.
pub(super) fn add(
    site: &Site<'_>,
    conversion: Conversion,
    address: Option<IpAddr>,
    port: u16,
    interface: Option<&str>,
) -> Result<(), Fault> {
    let source = element("udpsrc", "gstreamer1.0-plugins-good")?;
    if let Some(address) = address {
        source.set_property("address", address.to_string());
    }
    source.set_property("port", i32::from(port));
    if let Some(interface) = interface {
        source.set_property("multicast-iface", interface);
    }
    // Several may join a group; but of two that listen to one port only one gets its packets.
    let is_group = address.is_some_and(|address| address.is_multicast());
    source.set_property("reuse", is_group);
    source.set_property("buffer-size", KERNEL_BUFFER_BYTES);
    source.set_property("caps", transport_stream());
    decode(site, conversion, &source)
}
