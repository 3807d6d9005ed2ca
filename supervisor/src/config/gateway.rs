//! Where encoded streams are served.

use std::collections::{BTreeMap, BTreeSet};
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
        Key {
            name: "publish",
            doc: "By which protocols senders may publish: `webrtc` is WHIP. Without it by SRT only.",
            kind: Kind::List(&Kind::Choice(&["srt", "webrtc"])),
            absent: Absent::Optional,
        },
        Key {
            name: "publish_token",
            doc: "What senders by WebRTC must have, 10 to 128 characters: a bearer token of HTTP. Better `${NAME}` than in plain text.",
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
    /// By which protocols senders may publish, at least one.
    pub publish: BTreeSet<Protocol>,
    /// What senders by WebRTC must have.
    pub publish_token: Option<Secret>,
}

/// Fewest and most bytes of a passphrase of SRT.
const PASSPHRASE_BYTES: RangeInclusive<usize> = 10..=79;

/// Fewest and most characters of a token.
const TOKEN_CHARACTERS: RangeInclusive<usize> = 10..=128;

impl GatewayConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let address = fields.address("address");
        let port = |protocol: Protocol| {
            let port = fields.integer(port_key(protocol))?;
            Some((protocol, port))
        };
        let ports: Vec<_> = Protocol::ALL.into_iter().map(port).collect();
        // What is wrong with each is told, whatever is wrong with the others.
        let srt_passphrase = read_passphrase(fields);
        let (publish, publish_token) = (read_publish(fields), read_token(fields));
        Some(Self {
            address: address?,
            ports: ports.into_iter().collect::<Option<_>>()?,
            webrtc_hosts: read_hosts(fields)?,
            srt_passphrase: srt_passphrase?,
            publish: publish?,
            publish_token: publish_token?,
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

/// `Some(None)` where there is none.
fn read_token(fields: &Fields<'_>) -> Option<Option<Secret>> {
    let Some(text) = fields.text("publish_token") else {
        return Some(None);
    };
    // What stands in a header as it is (RFC 6750, section 2.1).
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-._~+/=".contains(sign);
    if TOKEN_CHARACTERS.contains(&text.text.len()) && text.text.chars().all(plain) {
        return Some(Some(Secret::new(text.text.to_owned())));
    }
    let reader = fields.reader;
    let (least, most) = (TOKEN_CHARACTERS.start(), TOKEN_CHARACTERS.end());
    let message = format!("a token has {least} to {most} letters, digits and signs of `-._~+/=`");
    let problem = reader.problem(code::WRONG_VALUE, &text.node.span, message);
    reader.report(problem.helped("make one: `openssl rand -hex 16`"));
    None
}

/// Those by which senders can publish.
const PUBLISHING: [Protocol; 2] = [Protocol::Srt, Protocol::Webrtc];

/// SRT where nothing is said: a port that was never asked for is not opened to senders.
fn read_publish(fields: &Fields<'_>) -> Option<BTreeSet<Protocol>> {
    if fields.node("publish").is_none() {
        return Some(BTreeSet::from([Protocol::Srt]));
    }
    let items = fields.list("publish");
    let protocol = |item: &Node| {
        let text = &item.as_scalar()?.text;
        let mut known = PUBLISHING.into_iter();
        known.find(|protocol| protocol.as_str() == text)
    };
    let protocols: Option<BTreeSet<_>> = items.iter().map(protocol).collect();
    if let Some(protocols) = protocols.filter(|protocols| !protocols.is_empty()) {
        return Some(protocols);
    }
    let known = PUBLISHING.map(|protocol| format!("`{protocol}`"));
    let message = format!("`publish` is a list of {}", known.join(", "));
    let wrong = items.iter().find(|item| protocol(item).is_none());
    if let Some(node) = wrong.or(fields.node("publish")) {
        let reader = fields.reader;
        let problem = reader.problem(code::WRONG_VALUE, &node.span, message);
        reader.report(problem.helped("write `publish: [srt, webrtc]`; `webrtc` is WHIP"));
    }
    None
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
