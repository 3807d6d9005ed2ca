//! Addresses that streams are pushed to, taken apart: what connects, and what may be shown.
//!
//! Such an address is nearly always a secret: its path or query has the key of an
//! account. So it is taken apart once, by the same code for who checks a config and
//! who connects, and only [`PushAddress::public`] is ever printed.

use std::fmt;
use std::time::Duration;

use crate::secrets::{Secrets, percent_decode};
use crate::spec::Secret;

/// How a stream is pushed to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushScheme {
    /// RTMP, with FLV.
    Rtmp,
    /// The same over TLS.
    Rtmps,
    /// RTSP 1.0, by ANNOUNCE and RECORD.
    Rtsp,
    /// The same over TLS.
    Rtsps,
    /// SRT, as the caller, with MPEG-TS.
    Srt,
}

impl PushScheme {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rtmp, Self::Rtmps, Self::Rtsp, Self::Rtsps, Self::Srt];

    /// As it is written in front of `://`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
            Self::Rtsp => "rtsp",
            Self::Rtsps => "rtsps",
            Self::Srt => "srt",
        }
    }

    const fn usual_port(self) -> Option<u16> {
        match self {
            Self::Rtmp => Some(1935),
            Self::Rtmps => Some(443),
            Self::Rtsp => Some(554),
            Self::Rtsps => Some(322),
            // There is none.
            Self::Srt => None,
        }
    }
}

/// An address that a stream is pushed to.
#[derive(Clone, PartialEq, Eq)]
pub struct PushAddress {
    /// How.
    pub scheme: PushScheme,
    /// A name or an IP address, that of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// User and password.
    pub login: Option<(String, String)>,
    /// RTMP: the application, and the stream with its query. RTSP: empty, and path and query.
    pub path: (String, String),
    /// What the query of an SRT address says.
    pub srt: SrtOptions,
    secrets: Secrets,
}

/// What the query of an SRT address says, by the names that the field uses.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SrtOptions {
    /// `streamid`
    pub stream_id: String,
    /// `passphrase`, 10 to 79 bytes
    pub passphrase: Option<String>,
    /// `pbkeylen`: 16, 24 or 32
    pub key_bytes: Option<u32>,
    /// `latency`, in milliseconds
    pub latency: Option<Duration>,
}

/// Longest stream id of SRT, in bytes.
const STREAM_ID_BYTES_MAX: usize = 512;

/// Longest latency of SRT that makes sense.
const LATENCY_MS_MAX: u64 = 60_000;

impl fmt::Debug for PushAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.public())
    }
}

impl PushAddress {
    /// Takes an address apart.
    ///
    /// # Errors
    /// A text that says what is wrong, with nothing of the address in it.
    pub fn parse(address: &Secret) -> Result<Self, String> {
        let (scheme, rest) = address
            .expose()
            .split_once("://")
            .ok_or("it has no `://`: write `rtmp://`, `rtmps://`, `srt://` or `rtsp://`")?;
        let mut schemes = PushScheme::ALL.into_iter();
        let scheme = schemes.find(|known| known.as_str() == scheme).ok_or(
            "a stream is pushed by `rtmp://`, `rtmps://`, `srt://`, `rtsp://` or `rtsps://`",
        )?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let encoded = login.and_then(|login| login.split_once(':'));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (percent_decode(user), percent_decode(password))
        });
        let (host, port) = split_port(place)?;
        let port = port
            .or(scheme.usual_port())
            .ok_or("it names no port: write `srt://HOST:PORT`")?;
        let mut address = Self {
            scheme,
            host: host.to_owned(),
            port,
            login,
            path: (String::new(), String::new()),
            srt: SrtOptions::default(),
            secrets: Secrets::default(),
        };
        match scheme {
            PushScheme::Rtmp | PushScheme::Rtmps => {
                let path = tail.strip_prefix('/').unwrap_or(tail);
                let slash = path.split('?').next().and_then(|path| path.rfind('/'));
                let (application, stream) = slash
                    .map(|at| (&path[..at], &path[at + 1..]))
                    .filter(|(application, stream)| !application.is_empty() && !stream.is_empty())
                    .ok_or("it must end with the application and the stream's key: `/live/KEY`")?;
                address.path = (application.to_owned(), stream.to_owned());
            }
            PushScheme::Rtsp | PushScheme::Rtsps => {
                if tail.trim_start_matches('/').is_empty() {
                    return Err("it has no path: write `rtsp://HOST/PATH`".to_owned());
                }
                address.path.1 = tail.to_owned();
            }
            PushScheme::Srt => {
                let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
                if !path.trim_start_matches('/').is_empty() {
                    return Err(
                        "an SRT address has no path: the stream is named by `?streamid=`"
                            .to_owned(),
                    );
                }
                address.srt = SrtOptions::parse(query)?;
            }
        }
        let key = match scheme {
            PushScheme::Rtmp | PushScheme::Rtmps => Some(address.path.1.as_str()),
            PushScheme::Rtsp | PushScheme::Rtsps | PushScheme::Srt => None,
        };
        address.secrets = Secrets::of(&[
            key,
            tail.split_once('?').map(|(_, query)| query),
            encoded.map(|(_, password)| password),
            address
                .login
                .as_ref()
                .map(|(_, password)| password.as_str()),
            address.srt.passphrase.as_deref(),
            Some(address.srt.stream_id.as_str()),
        ]);
        Ok(address)
    }

    /// What may be shown: no user, password, key, stream id or query.
    #[must_use]
    pub fn public(&self) -> String {
        let Self { host, port, .. } = self;
        let scheme = self.scheme.as_str();
        let place = match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        match self.scheme {
            PushScheme::Rtmp | PushScheme::Rtmps => format!("{place}/{}", self.path.0),
            PushScheme::Rtsp | PushScheme::Rtsps => {
                let path = self.path.1.split(['?', '#']).next().unwrap_or_default();
                format!("{place}{path}")
            }
            PushScheme::Srt => place,
        }
    }

    /// A text of somebody else's, without what must not be shown.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        self.secrets.scrub(text)
    }
}

impl SrtOptions {
    fn parse(query: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value);
            match key {
                "streamid" if value.len() <= STREAM_ID_BYTES_MAX => options.stream_id = value,
                "streamid" => {
                    return Err(format!(
                        "`streamid` has at most {STREAM_ID_BYTES_MAX} bytes"
                    ));
                }
                "passphrase" if (10..=79).contains(&value.len()) => {
                    options.passphrase = Some(value);
                }
                "passphrase" => return Err("`passphrase` has 10 to 79 bytes".to_owned()),
                "pbkeylen" => {
                    let bytes = value
                        .parse()
                        .ok()
                        .filter(|bytes| [16, 24, 32].contains(bytes));
                    options.key_bytes = Some(bytes.ok_or("`pbkeylen` is 16, 24 or 32")?);
                }
                "latency" => {
                    let milliseconds = value.parse().ok().filter(|most| *most <= LATENCY_MS_MAX);
                    let milliseconds = milliseconds.ok_or_else(|| {
                        format!("`latency` is 0 to {LATENCY_MS_MAX} milliseconds")
                    })?;
                    options.latency = Some(Duration::from_millis(milliseconds));
                }
                "mode" if value == "caller" => {}
                "mode" => return Err("a push calls: `mode` is `caller`".to_owned()),
                _ => {
                    return Err(
                        "its query may have `streamid`, `passphrase`, `pbkeylen` and `latency`"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(options)
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
    match port.map(number) {
        Some(None) => Err("its port is no number from 1 to 65535".to_owned()),
        Some(port) => Ok((host, port)),
        None => Ok((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PushAddress, String> {
        PushAddress::parse(&Secret::new(text.to_owned()))
    }

    #[test]
    fn addresses_are_taken_apart() {
        let rtmp = parse("rtmp://me:p%40ss@live.example/app/inst/key-1?auth=a/b").unwrap();
        assert_eq!((rtmp.host.as_str(), rtmp.port), ("live.example", 1935));
        assert_eq!(rtmp.login, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(
            rtmp.path,
            ("app/inst".to_owned(), "key-1?auth=a/b".to_owned())
        );
        assert_eq!(parse("rtmps://h/a/k").unwrap().port, 443);

        let srt = parse("srt://[::1]:9000?streamid=%23!::r=x,m=publish&passphrase=hunter2hunter2&pbkeylen=32&latency=200&mode=caller").unwrap();
        assert_eq!((srt.host.as_str(), srt.port), ("::1", 9000));
        assert_eq!(srt.srt.stream_id, "#!::r=x,m=publish");
        assert_eq!(srt.srt.passphrase.as_deref(), Some("hunter2hunter2"));
        assert_eq!(srt.srt.key_bytes, Some(32));
        assert_eq!(srt.srt.latency, Some(Duration::from_millis(200)));
        assert!(parse("srt://h:1").unwrap().srt == SrtOptions::default());

        let rtsp = parse("rtsp://u:p@h:8554/live/yard?token=t").unwrap();
        assert_eq!(rtsp.path.1, "/live/yard?token=t");
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        for (text, public) in [
            (
                "rtmp://me:hunter2@h/live/hunter2?x=hunter2",
                "rtmp://h:1935/live",
            ),
            (
                "srt://h:9000?streamid=hunter2&passphrase=hunter2hunter2",
                "srt://h:9000",
            ),
            ("srt://[::1]:9000", "srt://[::1]:9000"),
            ("rtsp://u:%68unter2hunter2@h/live", "rtsp://h:554/live"),
            ("rtsp://u:hunter2@h/live?token=hunter2", "rtsp://h:554/live"),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.public(), public);
            assert_eq!(format!("{address:?}"), public);
            let scrubbed = address.scrub(&format!("cannot open {text}"));
            assert!(!scrubbed.contains("hunter2"), "{scrubbed}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_address() {
        for (text, wrong) in [
            ("hunter2", "no `://`"),
            ("http://hunter2/", "is pushed by"),
            ("rtmp://h/hunter2", "application and the stream's key"),
            ("rtmp:///live/hunter2", "names no host"),
            ("rtmp://h:port/live/hunter2", "its port"),
            ("rtmp://h:0/live/hunter2", "its port"),
            ("rtsp://a:hunter2@h/", "no path"),
            ("srt://h?streamid=hunter2", "names no port"),
            ("srt://h:1/hunter2", "no path"),
            ("srt://h:1?passphrase=hunter2", "10 to 79"),
            ("srt://h:1?pbkeylen=20", "pbkeylen"),
            ("srt://h:1?latency=hunter2", "latency"),
            ("srt://h:1?mode=listener", "`mode`"),
            ("srt://h:1?hunter2=1", "its query"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(wrong), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
