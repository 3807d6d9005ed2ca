//! Whence frames come, and what is done when they stop coming.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{MosaicSpec, Secret};
use crate::geometry::PixelSize;

/// Whence frames come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// A video file in any container the decoder stack reads.
    File {
        /// Absolute path.
        path: PathBuf,
        /// As quickly as the consumers take it, or at the file's own rate.
        pace: Pace,
        /// Begin again at the end, for ever.
        repeat: bool,
    },
    /// Pictures of a directory, one a frame, in the natural order of their names.
    Images {
        /// Absolute path of the directory.
        directory: PathBuf,
        /// Only names that fit, with `*` for any part; `None`: all JPEG and PNG pictures.
        pattern: Option<String>,
        /// Frames a second.
        fps: u32,
        /// As quickly as the consumers take them, or at `fps`.
        pace: Pace,
        /// Begin again at the end, for ever.
        repeat: bool,
    },
    /// An RTSP camera.
    Rtsp {
        /// `rtsp://user:password@host:port/path`, or `rtsps`
        location: Secret,
        /// Transport of the media.
        transport: RtspTransport,
        /// How long the jitter buffer waits for a packet that is missing.
        latency_ms: u32,
        /// For `rtsps`.
        tls: TlsVerification,
    },
    /// An MPEG transport stream by SRT.
    Srt(SrtSpec),
    /// Flash video pulled from an RTMP server.
    Rtmp {
        /// `rtmp://user:password@host:port/application/stream`, or `rtmps`
        location: Secret,
        /// For `rtmps`.
        tls: TlsVerification,
    },
    /// A file, HLS, or Motion JPEG by HTTP; which, its content says.
    Http {
        /// `http://user:password@host:port/path`, or `https`
        location: Secret,
        /// For `https`.
        tls: TlsVerification,
    },
    /// An MPEG transport stream in UDP packets.
    Udp {
        /// A multicast group to join, or the address of this machine to listen on; `None`: all.
        address: Option<IpAddr>,
        /// Where packets arrive.
        port: u16,
        /// Network interface that the group is joined on; `None`: the system's choice.
        interface: Option<String>,
    },
    /// An MPEG transport stream that a sender publishes at the gateway, which hands it on by the
    /// bus as it comes.
    Publish {
        /// What senders name.
        path: String,
    },
    /// A video device of this machine.
    Device {
        /// `/dev/video0`
        path: PathBuf,
        /// Picture size to ask for; `None`: the driver's choice.
        size: Option<PixelSize>,
        /// Frames a second to ask for; `None`: the driver's choice.
        fps: Option<u32>,
    },
    /// Other streams of the run, as they are drawn, in one picture.
    Mosaic(MosaicSpec),
    /// A generated picture, for trying things out.
    Test {
        /// A pattern of `videotestsrc`: `ball`, `smpte`, `snow`, ...
        pattern: String,
        /// Picture size.
        size: PixelSize,
        /// Frames a second.
        fps: u32,
        /// Stop after so many frames; for ever when absent.
        frames: Option<u64>,
        /// As quickly as the consumers take it, or at `fps`.
        pace: Pace,
    },
}

/// How quickly a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At the rate of its timestamps, as if it were a camera.
    Live,
    /// As quickly as the consumers take it.
    Fast,
}

/// Lower transport of RTSP media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RtspTransport {
    /// TCP; UDP for a camera that refuses TCP.
    Auto,
    /// Interleaved in the control connection: passes firewalls, loses nothing.
    Tcp,
    /// RTP over UDP.
    Udp,
}

/// Whether the certificate of a server must be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsVerification {
    /// Signed by an authority this machine trusts, for this host, and not expired.
    Verify,
    /// Any, as cameras sign their own: the connection is secret, but to whom is not known.
    Any,
}

/// One end of an SRT connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtSpec {
    /// Who calls whom.
    pub mode: SrtMode,
    /// The sender's host; for a listener the address of this machine to listen on, empty: all.
    pub host: String,
    /// UDP port of the sender, or to listen on.
    pub port: u16,
    /// The stream that is asked for; a listener takes only senders that name it.
    pub stream_id: Option<Secret>,
    /// Encrypts the connection, 10 to 79 characters; `None`: it is not encrypted.
    pub passphrase: Option<Secret>,
    /// Bytes of the key: 16, 24 or 32; `None`: as the other end has it.
    pub key_bytes: Option<u8>,
    /// How long a packet that is missing is waited for.
    pub latency_ms: u32,
}

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtMode {
    /// This end connects to the sender.
    Caller,
    /// This end waits for the sender.
    Listener,
}
