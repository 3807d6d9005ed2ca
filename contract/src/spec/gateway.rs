//! What the gateway serves, by which protocols, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::geometry::PixelSize;
use crate::name::StreamName;
use crate::spec::{RetrySpec, Secret};

/// For `gateway`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewaySpec {
    /// Address the servers listen on.
    pub address: String,
    /// The port of each protocol, which is listened on from the first stream served by it.
    pub ports: BTreeMap<Protocol, u16>,
    /// Addresses under which viewers by WebRTC find it that its machine does not have, such as
    /// that of a router which hands its ports on.
    pub webrtc_hosts: Vec<IpAddr>,
    /// What viewers and senders by SRT must have, 10 to 79 bytes; `None`: SRT is not encrypted.
    pub srt_passphrase: Option<Secret>,
    /// The streams it serves.
    pub streams: Vec<GatewayStreamSpec>,
    /// By which protocols senders may publish.
    pub publish: BTreeSet<Protocol>,
    /// What senders by WebRTC must have, 10 to 128 characters; `None`: all may publish.
    pub publish_token: Option<Secret>,
    /// The streams that senders publish to it.
    pub intakes: Vec<IntakeSpec>,
    /// The senders besides that it tells of, because they may become streams.
    pub accept: Vec<AcceptSpec>,
}

/// A path at which a stream is published to the gateway, by one sender at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeSpec {
    /// The stream.
    pub stream: StreamName,
    /// What senders name, without the leading `/`.
    pub path: String,
    /// The prefix of the rule that it was accepted by; `None`: somebody has written it.
    pub accepted_by: Option<StreamName>,
    /// The book of [`crate::ledger::IntakeCounters`].
    pub book: PathBuf,
}

/// Senders that may become streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptSpec {
    /// What their names begin with.
    pub prefix: StreamName,
    /// Most of them at once.
    pub max: usize,
}

/// One stream of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayStreamSpec {
    /// The stream.
    pub stream: StreamName,
    /// The size whose slot bounds access units.
    pub size: PixelSize,
    /// Its path in the URLs of each protocol that serves it, without the leading `/`.
    pub paths: BTreeMap<Protocol, String>,
    /// Heights of its smaller encodes, the largest first: rungs 1 and up. Each is also found at
    /// the stream's path, a `/` and [`quality_name`].
    pub qualities: Vec<u32>,
    /// To whom it is pushed, at most [`PushSpec::PER_STREAM_MAX`].
    pub pushes: Vec<PushSpec>,
    /// The book of [`crate::ledger::GatewayCounters`].
    pub book: PathBuf,
}

/// The name of a smaller encode by its height in pixels: `360p`.
#[must_use]
pub fn quality_name(height: u32) -> String {
    format!("{height}p")
}

/// Somebody a stream is pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSpec {
    /// The address, which [`crate::push::PushAddress`] takes apart.
    pub location: Secret,
    /// After a failure.
    pub retry: RetrySpec,
}

impl PushSpec {
    /// Most of one stream.
    pub const PER_STREAM_MAX: usize = 8;
}

/// How viewers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RTSP 1.0, RTP over TCP or UDP.
    Rtsp,
    /// HTTP Live Streaming, with the parts of its low-latency extension.
    Hls,
    /// WebRTC, begun by WHEP, and by WHIP for senders.
    Webrtc,
    /// MPEG-TS over SRT; the path is the stream id.
    Srt,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rtsp, Self::Hls, Self::Webrtc, Self::Srt];

    /// The protocol in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::Hls => "hls",
            Self::Webrtc => "webrtc",
            Self::Srt => "srt",
        }
    }

    /// The port that the field expects it at.
    #[must_use]
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Rtsp => 8554,
            Self::Hls => 8888,
            Self::Webrtc => 8889,
            Self::Srt => 8890,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
