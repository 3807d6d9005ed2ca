//! Where a stream's encoded picture goes.

use std::collections::BTreeMap;
use std::fmt;

use contract::spec::Protocol;
use dsl::yaml::Node;

use super::code;
use super::reader::{Fields, Reader};
use super::record::{RECORD, RecordConfig};
use super::table::{Absent, Key, Kind, Section};

/// The keys of one item of `outputs`.
pub(super) const OUTPUT: Section = Section {
    name: "output",
    doc: "One output of a stream: exactly one of these keys.",
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

/// Outputs of a stream, at most one of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputsConfig {
    /// The protocols by which the gateway serves it, and under which paths.
    pub served: BTreeMap<Protocol, Mount>,
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
            if let [entry] = item.as_mapping().unwrap_or_default() {
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

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.served.is_empty() && self.record.is_none()
    }
}

/// Path of a stream in the gateway's URLs, without the leading `/`; unique in a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mount(String);

impl Mount {
    /// Longest mount, in bytes.
    pub const BYTES_MAX: usize = 128;

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
        reader.report(reader.problem(code::WRONG_VALUE, span, message).helped(format!(
            "use letters, digits, `-`, `_` and `.`, `/` between parts but not in front, at most {} characters",
            Mount::BYTES_MAX
        )));
    }
    mount
}
