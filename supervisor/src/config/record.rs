//! The recording of a stream: where, in files of what length, and how much is kept.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use contract::name::StreamName;
use contract::spec::RecordSpec;

use super::expand::WrittenStream;
use super::reader::{Fields, Reader, Text};
use super::table::{Absent, Key, Kind, Section};
use super::units::{ByteSize, millis};
use super::{StreamConfig, code};

/// The keys of the `record` output.
pub(super) const RECORD: Section = Section {
    name: "record",
    doc: "Record fragmented MP4: a file after the other, without a gap between them.",
    keys: &[
        Key {
            name: "directory",
            doc: "Where the files go. A relative path begins at the run's own directory.",
            kind: Kind::Path,
            absent: Absent::Required,
        },
        Key {
            name: "segment",
            doc: "After so long another file begins, with a key frame.",
            kind: Kind::Duration(1000, 24 * 3_600_000),
            absent: Absent::Default("10m"),
        },
        Key {
            name: "segment_size",
            doc: "The same when a file has grown to this size.",
            kind: Kind::Bytes,
            absent: Absent::Default("1GB"),
        },
        Key {
            name: "keep",
            doc: "How much is kept. When absent: all.",
            kind: Kind::Section(&KEEP),
            absent: Absent::Optional,
        },
    ],
};

/// The keys of `keep`.
const KEEP: Section = Section {
    name: "keep",
    doc: "How much is kept of the recordings in a directory, whichever run they are of.",
    keys: &[
        Key {
            name: "max_age",
            doc: "A file whose last frame is older is deleted.",
            kind: Kind::Duration(60_000, 87_600 * 3_600_000),
            absent: Absent::Optional,
        },
        Key {
            name: "max_size",
            doc: "While the files together are larger, the oldest is deleted.",
            kind: Kind::Bytes,
            absent: Absent::Optional,
        },
    ],
};

/// A recording, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordConfig {
    /// Absolute, or relative to the run's own directory.
    pub directory: PathBuf,
    /// After so long another file begins.
    pub segment: Duration,
    /// The same when it has grown to this.
    pub segment_size: ByteSize,
    /// How much is kept.
    pub keep: KeepConfig,
}

/// How much is kept of recordings; without a bound all is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepConfig {
    /// What is older is deleted.
    pub max_age: Option<Duration>,
    /// While there is more, the oldest is deleted.
    pub max_size: Option<ByteSize>,
}

impl RecordConfig {
    /// `fields` are those of the output: a path, or a mapping.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let is_mapping = fields.node("record")?.as_mapping().is_some();
        let (directory, keys) = if is_mapping {
            let keys = fields.section("record")?;
            (keys.text("directory"), keys)
        } else {
            (fields.text("record"), fields.absent_section("record"))
        };
        let directory = directory.and_then(|path| inside(fields.reader, &path));
        let segment = keys.duration("segment");
        let segment_size = keys.bytes("segment_size");
        let keep = keys.section("keep").map(|keep| KeepConfig {
            max_age: keep.duration("max_age"),
            max_size: keep.bytes("max_size"),
        });
        Some(Self {
            directory: directory?,
            segment: segment?,
            segment_size: segment_size?,
            keep: keep?,
        })
    }

    /// The settings as the render worker is told; what is kept is the supervisor's business.
    #[must_use]
    pub fn spec(&self) -> RecordSpec {
        RecordSpec {
            directory: self.directory.clone(),
            segment_ms: millis(self.segment),
            segment_bytes: self.segment_size.bytes(),
        }
    }
}

/// Reports streams that record into one directory and keep different amounts of it.
pub(super) fn check_kept(
    reader: &Reader<'_>,
    written: &[WrittenStream],
    streams: &BTreeMap<StreamName, StreamConfig>,
) {
    let mut kept: BTreeMap<&Path, (&StreamName, KeepConfig)> = BTreeMap::new();
    for (name, stream) in streams {
        let Some(record) = &stream.outputs.record else {
            continue;
        };
        let (first, keep) = *kept.entry(&record.directory).or_insert((name, record.keep));
        if keep == record.keep {
            continue;
        }
        let place = written.iter().find(|stream| stream.name == name.as_str());
        let span = place.map_or(0..0, |stream| stream.key.span.clone());
        let message = format!(
            "the streams `{first}` and `{name}` record into `{}` and keep different amounts of it",
            record.directory.display()
        );
        reader.report(
            reader
                .problem(code::CONTRADICTION, &span, message)
                .helped("give both the same `keep`, or each a directory of its own"),
        );
    }
}

fn inside(reader: &Reader<'_>, path: &Text<'_>) -> Option<PathBuf> {
    let directory = Path::new(path.text);
    let climbs = directory
        .components()
        .any(|part| part == Component::ParentDir);
    if climbs {
        reader.report(
            reader
                .problem(
                    code::WRONG_VALUE,
                    &path.node.span,
                    "a directory of recordings cannot contain `..`",
                )
                .helped("relative paths begin at the run's own directory; give an absolute path for any other place"),
        );
        return None;
    }
    // `a/` and `./a` are `a`: one directory has one name.
    Some(
        directory
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect(),
    )
}
