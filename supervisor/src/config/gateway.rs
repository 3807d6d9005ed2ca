//! Where encoded streams are served.

use std::net::IpAddr;
use std::num::NonZeroU16;

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
        Key {
            name: "rtsp_port",
            doc: "TCP port of RTSP.",
            kind: Kind::Integer(1, 65_535),
            absent: Absent::Default("8554"),
        },
    ],
};

/// Gateway settings of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Address the servers listen on.
    pub address: IpAddr,
    /// TCP port of RTSP.
    pub rtsp_port: NonZeroU16,
}

impl GatewayConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let address = fields.address("address");
        let rtsp_port = fields.integer("rtsp_port").and_then(NonZeroU16::new);
        Some(Self {
            address: address?,
            rtsp_port: rtsp_port?,
        })
    }
}
