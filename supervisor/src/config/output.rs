//! Where a stream's encoded picture goes.

use std::collections::BTreeMap;
use std::fmt;

use contract::push::PushAddress;
use contract::spec::{Protocol, PushSpec, Secret};
use dsl::yaml::Node;

use super::RetryConfig;
use super::code;
use super::reader::{Fields, Reader};
use super::record::{RECORD, RecordConfig};
use super::retry::PUSH_RETRY;
use super::table::{Absent, Key, Kind, Section};

/// The keys of one item of `outputs`.
pub(super) const OUTPUT: Section = Section {
    name: "output",
    doc: "One output of a stream: exactly one of these keys, and with `push` maybe `retry`.",
    keys: &[
        served(
            Protocol::Rtsp,
            "Serve the stream at `rtsp://ADDRESS:PORT/` and this path.",
        ),
        served(
            Protocol::Hls,
            "Serve the stream at `http://ADDRESS:PORT/`, this path and `/index.m3u8`, with low-latency parts.",
        ),
        served(
            Protocol::Webrtc,
            "Serve the stream by WebRTC: players open `http://ADDRESS:PORT/`, this path and `/whep`, browsers the page without `/whep`.",
        ),
        served(
            Protocol::Srt,
            "Serve the stream at `srt://ADDRESS:PORT`, with this path as the stream id.",
        ),
        Key {
            name: "push",
            doc: "Push the stream to this address: `rtmp://HOST/APP/KEY`, `rtmps://`, `srt://HOST:PORT?streamid=ID&passphrase=TEXT` or `rtsp://HOST/PATH`. A stream may have several.",
            kind: Kind::Text,
            absent: Absent::Optional,
        },
        Key {
            name: "retry",
            doc: "With `push`: when and how often it is tried again.",
            kind: Kind::Section(&PUSH_RETRY),
            absent: Absent::Optional,
        },
        Key {
            name: "record",
            doc: "Record fragmented MP4 into this directory. A relative path begins at the run's own directory.",
            kind: Kind::PathOr(&RECORD),
            absent: Absent::Optional,
        },
    ],
};

const fn served(protocol: Protocol, doc: &'static str) -> Key {
    Key {
        name: protocol.as_str(),
        doc,
        kind: Kind::Text,
        absent: Absent::Optional,
    }
}

/// Outputs of a stream, at most one of each kind but pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputsConfig {
    /// The protocols by which the gateway serves it, and under which paths.
    pub served: BTreeMap<Protocol, Mount>,
    /// To whom it is pushed.
    pub pushes: Vec<PushSpec>,
    /// Recorded.
    pub record: Option<RecordConfig>,
}

impl OutputsConfig {
    pub(super) fn read(reader: &Reader<'_>, items: &[Node]) -> Self {
        let mut outputs = Self::default();
        for item in items {
            let title = (&item.span, "an output");
            let Some(fields) = Fields::open(reader, &OUTPUT, item, title) else {
                continue;
            };
            let entries = item.as_mapping().unwrap_or_default();
            if entries.iter().any(|entry| entry.key.text == "push")
                && entries
                    .iter()
                    .all(|entry| ["push", "retry"].contains(&entry.key.text.as_str()))
            {
                outputs.add_push(&fields);
            } else if let [entry] = entries
                && entry.key.text != "retry"
            {
                let key = entry.key.text.as_str();
                let mut protocols = Protocol::ALL.into_iter();
                let protocol = protocols.find(|protocol| protocol.as_str() == key);
                let twice = match (protocol, key) {
                    (Some(protocol), _) => read_mount(&fields, key)
                        .is_some_and(|mount| outputs.served.insert(protocol, mount).is_some()),
                    (None, "record") => put(&mut outputs.record, RecordConfig::read(&fields)),
                    (None, _) => false,
                };
                if twice {
                    let message = format!("a stream has one `{}` output at most", entry.key.text);
                    reader.report(reader.problem(code::TWICE, &entry.key.span, message));
                }
            } else {
                reader.report(
                    reader
                        .problem(
                            code::CONTRADICTION,
                            &item.span,
                            "an output has exactly one key, such as `rtsp` or `record`",
                        )
                        .helped("write a list: `[{rtsp: yard}, {record: recordings}]`"),
                );
            }
        }
        outputs
    }

    fn add_push(&mut self, fields: &Fields<'_>) {
        let retry = fields.section("retry");
        let retry = retry.and_then(|retry| RetryConfig::read(&retry));
        let (Some(address), Some(retry)) = (fields.text("push"), retry) else {
            return;
        };
        let location = Secret::new(address.text.to_owned());
        let wrong = if let Err(reason) = PushAddress::parse(&location) {
            Some((
                code::WRONG_VALUE,
                format!("the address of a push does not fit: {reason}"),
            ))
        } else if self.pushes.iter().any(|push| push.location == location) {
            Some((
                code::TWICE,
                "the stream is pushed to this address already".to_owned(),
            ))
        } else if self.pushes.len() == PushSpec::PER_STREAM_MAX {
            let most = PushSpec::PER_STREAM_MAX;
            Some((
                code::CONTRADICTION,
                format!("a stream is pushed to {most} addresses at most"),
            ))
        } else {
            None
        };
        match wrong {
            Some((code, message)) => {
                let reader = fields.reader;
                reader.report(reader.problem(code, &address.node.span, message));
            }
            None => self.pushes.push(PushSpec {
                location,
                retry: retry.spec(),
            }),
        }
    }

    /// Whether the gateway has something to do.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        !self.served.is_empty() || !self.pushes.is_empty()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_streamed() && self.record.is_none()
    }
}

/// Path of a stream in the gateway's URLs, without the leading `/`; unique in a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mount(String);

impl Mount {
    /// Longest mount, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// What it is made of, for people.
    pub(super) const HELP: &str = "use letters, digits, `-`, `_` and `.`, `/` between parts but not in front, at most 128 characters";

    /// `None` unless `text` is made of parts of `a-z A-Z 0-9 - _ .` with `/` between them.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let part_fits = |part: &str| {
            !part.is_empty() && !part.bytes().all(|byte| byte == b'.') && part.bytes().all(fits)
        };
        (text.len() <= Self::BYTES_MAX && text.split('/').all(part_fits))
            .then(|| Self(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether there was one before.
fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    value.is_some_and(|value| place.replace(value).is_some())
}

fn read_mount(fields: &Fields<'_>, key: &str) -> Option<Mount> {
    let path = fields.text(key)?;
    let mount = Mount::new(path.text);
    if mount.is_none() {
        let reader = fields.reader;
        let span = &path.node.span;
        let message = format!("`{}` is not a path for viewers", reader.as_written(span));
        let problem = reader.problem(code::WRONG_VALUE, span, message);
        reader.report(problem.helped(Mount::HELP));
    }
    mount
}
