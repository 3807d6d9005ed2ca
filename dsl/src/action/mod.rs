//! What a rule does when it fires: the items of `do:`.

mod check;

pub(crate) use check::{check, unknown_model};

/// Longest stretch before an event that is kept: access units of so long stay in memory.
pub const RECORD_BEFORE_NS_MAX: u64 = 30_000_000_000;

/// Longest recording after the begin of an event.
pub const RECORD_AFTER_NS_MAX: u64 = 300_000_000_000;

/// Something that is done when a rule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// An event is recorded and delivered.
    Alert,
    /// The track's box is drawn in a colour, red, green, blue; `None`: the overlay's own for alarms.
    Draw {
        /// The colour.
        color: Option<[u8; 3]>,
    },
    /// A picture is kept with the event.
    Snapshot(SnapshotOf),
    /// The encoded stream around the event is kept.
    Record {
        /// From so long before its begin,
        before_ns: u64,
        /// to so long after.
        after_ns: u64,
    },
    /// An attribute of the track is set, from the next frame on.
    Tag {
        /// The name of the attribute.
        name: String,
        /// Its value.
        value: String,
    },
    /// The event is sent to a topic.
    Publish {
        /// The name of the topic.
        topic: String,
    },
    /// The event is posted to a URL.
    Webhook {
        /// `http` or `https`, without user and password.
        url: String,
    },
    /// Another model is run on the track's box.
    Infer {
        /// The model.
        model: String,
    },
}

/// Of what a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOf {
    /// The best shot of the track so far.
    Best,
    /// The frame in which the rule fires.
    Frame,
}

impl Action {
    /// Whether it needs an event.
    pub(crate) fn alerts(&self) -> bool {
        !matches!(
            self,
            Self::Draw { .. } | Self::Tag { .. } | Self::Infer { .. }
        )
    }

    /// Whether both do the same thing to the same thing, so that one is too many.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tag { name, .. }, Self::Tag { name: before, .. }) => name == before,
            (Self::Draw { .. }, Self::Draw { .. })
            | (Self::Snapshot(_), Self::Snapshot(_))
            | (Self::Record { .. }, Self::Record { .. }) => true,
            _ => self == other,
        }
    }
}

#[cfg(test)]
mod tests;
