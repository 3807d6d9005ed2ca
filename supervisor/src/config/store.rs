//! What is kept in the database, and for how long.

use std::time::Duration;

use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};
use super::units::ByteSize;

/// The keys of a stream's `store`.
pub(super) const STORE: Section = Section {
    name: "store",
    doc: "What of the stream is kept in the database.",
    keys: &[Key {
        name: "detections",
        doc: "What was detected in each frame, for export and replay.",
        kind: Kind::Bool,
        absent: Absent::Default("true"),
    }],
};

/// The keys of the run's `retention`.
pub(super) const RETENTION: Section = Section {
    name: "retention",
    doc: "How much of what was detected is kept in the database, whichever run it is of.",
    keys: &[
        Key {
            name: "max_age",
            doc: "What is older is removed.",
            kind: Kind::Duration(60_000, 87_600 * 3_600_000),
            absent: Absent::Default("720h"),
        },
        Key {
            name: "max_size",
            doc: "While the database is larger, the oldest is removed.",
            kind: Kind::Bytes,
            absent: Absent::Default("20GB"),
        },
    ],
};

/// How much is kept, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// What is older is removed.
    pub max_age: Duration,
    /// While the database is larger, the oldest is removed.
    pub max_size: ByteSize,
}

impl RetentionConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let max_age = fields.duration("max_age");
        let max_size = fields.bytes("max_size");
        Some(Self {
            max_age: max_age?,
            max_size: max_size?,
        })
    }
}
