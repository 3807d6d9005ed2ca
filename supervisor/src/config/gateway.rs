//! Where encoded streams are served.

use std::collections::BTreeMap;
use std::net::IpAddr;

use contract::spec::Protocol;

use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// The keys of `gateway`.
pub(super) const GATEWAY: Section = Section {
    name: "gateway",
    doc: "Where encoded streams are served.",
    keys: &[
        Key {
            name: "address",
            doc: "Address to listen on: `127.0.0.1` for this machine only, `0.0.0.0` for every network.",
            kind: Kind::Address,
            absent: Absent::Default("127.0.0.1"),
        },
        port("rtsp_port", "TCP port of RTSP.", "8554"),
        port("hls_port", "TCP port of HLS.", "8888"),
        port(
            "webrtc_port",
            "TCP port of WHEP, and UDP port of WebRTC's media.",
            "8889",
        ),
        port("srt_port", "UDP port of SRT.", "8890"),
    ],
};

const fn port(name: &'static str, doc: &'static str, usual: &'static str) -> Key {
    Key {
        name,
        doc,
        kind: Kind::Integer(1, 65_535),
        absent: Absent::Default(usual),
    }
}

/// Gateway settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Address the servers listen on.
    pub address: IpAddr,
    /// The port of each protocol.
    pub ports: BTreeMap<Protocol, u16>,
}

impl GatewayConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let address = fields.address("address");
        let port = |protocol: Protocol| {
            let port = fields.integer(port_key(protocol))?;
            Some((protocol, port))
        };
        let ports: Vec<_> = Protocol::ALL.into_iter().map(port).collect();
        Some(Self {
            address: address?,
            ports: ports.into_iter().collect::<Option<_>>()?,
        })
    }
}

/// The key of `gateway` that sets a protocol's port.
#[must_use]
pub fn port_key(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Rtsp => "rtsp_port",
        Protocol::Hls => "hls_port",
        Protocol::Webrtc => "webrtc_port",
        Protocol::Srt => "srt_port",
    }
}
