//! Where encoded streams are served.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use contract::spec::{Protocol, Secret};
use dsl::yaml::Node;

use super::code;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// Most addresses in `webrtc_hosts`: each is one more that every viewer tries.
const HOSTS_MAX: usize = 8;

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
        Key {
            name: "webrtc_hosts",
            doc: "IP addresses under which viewers by WebRTC find this machine besides its own, such as that of a router which hands the port on.",
            kind: Kind::List(&Kind::Address),
            absent: Absent::Optional,
        },
        port("srt_port", "UDP port of SRT.", "8890"),
        Key {
            name: "srt_passphrase",
            doc: "What viewers and senders by SRT must have, 10 to 79 bytes; SRT is not encrypted without. Better `${NAME}` than in plain text.",
            kind: Kind::Text,
            absent: Absent::Optional,
        },
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
    /// Where viewers by WebRTC find this machine, besides its own addresses.
    pub webrtc_hosts: Vec<IpAddr>,
    /// What viewers and senders by SRT must have.
    pub srt_passphrase: Option<Secret>,
}

/// Fewest and most bytes of a passphrase of SRT.
const PASSPHRASE_BYTES: RangeInclusive<usize> = 10..=79;

impl GatewayConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let address = fields.address("address");
        let port = |protocol: Protocol| {
            let port = fields.integer(port_key(protocol))?;
            Some((protocol, port))
        };
        let ports: Vec<_> = Protocol::ALL.into_iter().map(port).collect();
        let srt_passphrase = read_passphrase(fields);
        Some(Self {
            address: address?,
            ports: ports.into_iter().collect::<Option<_>>()?,
            webrtc_hosts: read_hosts(fields)?,
            srt_passphrase: srt_passphrase?,
        })
    }
}

fn read_hosts(fields: &Fields<'_>) -> Option<Vec<IpAddr>> {
    let items = fields.list("webrtc_hosts");
    let address = |item: &Node| -> Option<IpAddr> { item.as_scalar()?.text.parse().ok() };
    let addresses: Option<Vec<_>> = items.iter().map(address).collect();
    let wrong = items.iter().find(|item| address(item).is_none());
    if let Some(node) = wrong.or(items.get(HOSTS_MAX)) {
        let message = format!("`webrtc_hosts` are {HOSTS_MAX} IP addresses at most");
        let problem = fields
            .reader
            .problem(code::WRONG_VALUE, &node.span, message);
        fields
            .reader
            .report(problem.helped("write addresses and no names: `[203.0.113.9]`"));
        return None;
    }
    addresses
}

/// `Some(None)` where there is none.
fn read_passphrase(fields: &Fields<'_>) -> Option<Option<Secret>> {
    let Some(text) = fields.text("srt_passphrase") else {
        return Some(None);
    };
    if !PASSPHRASE_BYTES.contains(&text.text.len()) {
        let reader = fields.reader;
        let (least, most) = (PASSPHRASE_BYTES.start(), PASSPHRASE_BYTES.end());
        let message = format!("a passphrase of SRT has {least} to {most} bytes");
        reader.report(reader.problem(code::WRONG_VALUE, &text.node.span, message));
        return None;
    }
    Some(Some(Secret::new(text.text.to_owned())))
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
