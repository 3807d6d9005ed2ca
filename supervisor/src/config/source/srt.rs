//! SRT sources.

use std::time::Duration;

use contract::spec::{Secret, SrtMode, SrtSpec};

use super::super::reader::{Fields, Text};
use super::super::units;
use super::address::{self, NO_HOST, WRONG_PORT};
use super::narrow;

const HELP: &str = "write `srt://host:9000?streamid=cam-1` to call a sender, or `srt://:9000?mode=listener` to wait for \
                    one; options are mode, streamid, latency, passphrase and pbkeylen (16, 24 or 32)";
const PASSPHRASE_HELP: &str =
    "use 10 to 79 characters, the same as at the sender: `passphrase: ${SRT_PASSPHRASE}`";

/// Either end of an SRT connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtConfig {
    /// Who calls whom.
    pub mode: SrtMode,
    /// The sender's host, or the address to listen on; empty: all.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// The stream that is asked for, or that senders must name.
    pub stream_id: Option<Secret>,
    /// Encrypts the connection, 10 to 79 characters.
    pub passphrase: Option<Secret>,
    /// Bytes of the key; `None`: as the other end has it.
    pub key_bytes: Option<u8>,
    /// How long a packet that is missing is waited for.
    pub latency: Duration,
}

impl SrtConfig {
    /// Reads `host:port?options` and the key `passphrase`. No message shows what was written:
    /// it may be secret.
    pub(super) fn read(
        fields: &Fields<'_>,
        source: &Text<'_>,
        text: &str,
        latency: Duration,
    ) -> Option<Self> {
        let reader = fields.reader;
        let (authority, options) = text.split_once('?').unwrap_or((text, ""));
        let (host, port) = address::split_port(authority.trim_end_matches('/'));
        let Some(port) = port.and_then(address::port_of) else {
            address::report(reader, source, WRONG_PORT, HELP);
            return None;
        };
        let mut srt = Self {
            mode: if host.is_empty() {
                SrtMode::Listener
            } else {
                SrtMode::Caller
            },
            host: host.to_owned(),
            port,
            stream_id: None,
            passphrase: None,
            key_bytes: None,
            latency,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if srt.take(key, value).is_none() {
                let message = match key {
                    "mode" | "streamid" | "latency" | "passphrase" | "pbkeylen" => {
                        format!("`{key}` of this address is wrong")
                    }
                    _ => "this address has an option that SRT sources do not know".to_owned(),
                };
                let help = if key == "passphrase" {
                    PASSPHRASE_HELP
                } else {
                    HELP
                };
                address::report(reader, source, &message, help);
                return None;
            }
        }
        if let Some(passphrase) = fields.text("passphrase")
            && srt.take("passphrase", passphrase.text).is_none()
        {
            let message = "`passphrase` is wrong";
            address::report(reader, &passphrase, message, PASSPHRASE_HELP);
            return None;
        }
        if srt.mode == SrtMode::Caller && srt.host.is_empty() {
            address::report(reader, source, NO_HOST, HELP);
            return None;
        }
        Some(srt)
    }

    /// Takes one option; `None` when it is wrong.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        let secret = || Some(Secret::new(value.to_owned()));
        match key {
            "mode" => {
                self.mode = match value {
                    "caller" => SrtMode::Caller,
                    "listener" => SrtMode::Listener,
                    _ => return None,
                }
            }
            "streamid" if (1..=512).contains(&value.len()) => self.stream_id = secret(),
            "passphrase" if (10..=79).contains(&value.len()) => self.passphrase = secret(),
            "pbkeylen" => {
                let bytes = value.parse().ok();
                self.key_bytes = Some(bytes.filter(|bytes| [16, 24, 32].contains(bytes))?);
            }
            // A number alone is of milliseconds, as everywhere else in addresses of SRT.
            "latency" => {
                let plain = value.parse().ok().map(Duration::from_millis);
                let latency = plain.or_else(|| units::read_duration(value))?;
                self.latency = Some(latency).filter(|it| *it <= Duration::from_secs(60))?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The source as the ingest worker is told.
    pub(super) fn spec(self) -> SrtSpec {
        SrtSpec {
            mode: self.mode,
            host: self.host,
            port: self.port,
            stream_id: self.stream_id,
            passphrase: self.passphrase,
            key_bytes: self.key_bytes,
            latency_ms: narrow(self.latency),
        }
    }
}
