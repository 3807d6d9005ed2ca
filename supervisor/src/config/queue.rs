//! What happens when consumers are slower than the source.

use std::time::Duration;

use contract::spec::QueuePolicy;

use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// The keys of `queue`.
pub(super) const QUEUE: Section = Section {
    name: "queue",
    doc: "What happens when models and outputs are slower than the source.",
    keys: &[
        Key {
            name: "policy",
            doc: "At a full queue: drop the oldest frame, drop the latest, or let the source wait \
                  and lose nothing. Default: `drop_oldest`, or `wait` for `pace: fast`.",
            kind: Kind::Choice(&["drop_oldest", "drop_latest", "wait"]),
            absent: Absent::Optional,
        },
        Key {
            name: "depth",
            doc: "Frames queued for each consumer. Default: 2, or 4 for `pace: fast`.",
            kind: Kind::Integer(1, 64),
            absent: Absent::Optional,
        },
        Key {
            name: "max_staleness",
            doc: "Models are not run on older frames. Not applied under `policy: wait`.",
            kind: Kind::Duration(10, 60_000),
            absent: Absent::Default("500ms"),
        },
        Key {
            name: "max_latency",
            doc: "A frame waits so long for the results of its models, then it is shown without. \
                  Default: 250ms, or 10s for `pace: fast`.",
            kind: Kind::Duration(10, 60_000),
            absent: Absent::Optional,
        },
    ],
};

/// Queue settings of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// What happens at a full queue.
    pub policy: QueuePolicy,
    /// Frames queued for each consumer, 1 to 64.
    pub depth: u32,
    /// Models are not run on older frames; not applied under [`QueuePolicy::Wait`].
    pub max_staleness: Duration,
    /// A frame waits so long for the results of its models.
    pub max_latency: Duration,
}

impl QueueConfig {
    /// `fast`: the source gives frames as quickly as they are taken.
    pub(super) fn read(fields: &Fields<'_>, fast: bool) -> Option<Self> {
        let policy = match fields.choice("policy") {
            Some("drop_latest") => QueuePolicy::DropLatest,
            Some("wait") => QueuePolicy::Wait,
            None if fast => QueuePolicy::Wait,
            _ => QueuePolicy::DropOldest,
        };
        let depth = fields.integer("depth");
        let max_latency = fields.duration("max_latency");
        Some(Self {
            policy,
            depth: depth.unwrap_or(if fast { 4 } else { 2 }),
            max_staleness: fields.duration("max_staleness")?,
            max_latency: max_latency.unwrap_or(if fast {
                Duration::from_secs(10)
            } else {
                Duration::from_millis(250)
            }),
        })
    }
}
