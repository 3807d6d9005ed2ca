//! Events: what a rule reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::geometry::BoundingBox;
use crate::name::StreamName;

/// One firing of a rule. Sent when it begins and again, with `end_pts_ns`, when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique in the run: stream, rule, key and begin make it, so that a repeat is recognised.
    pub id: String,
    /// The stream it was seen in.
    pub stream: StreamName,
    /// The rule that fired.
    pub rule: String,
    /// The generation of the rules in force; see [`crate::spec::RuleSource`].
    pub generation: u64,
    /// The track it is about, for rules `on: track`.
    pub track: Option<u64>,
    /// The class name of that track.
    pub label: Option<String>,
    /// Sequence number of the frame at which it fired.
    pub sequence_number: u64,
    /// Event time at which it fired, in nanoseconds of PTS.
    pub begin_pts_ns: u64,
    /// Event time at which it ended; `None` while it lasts.
    pub end_pts_ns: Option<u64>,
    /// Wall clock at which it fired, milliseconds since the Unix epoch.
    pub begin_wall_ms: i64,
    /// Median score of the track over its recent frames, 0 to 1.
    pub score: Option<f32>,
    /// Where, in pixels of the frame.
    pub bounds: Option<BoundingBox>,
    /// The rule's message, filled in.
    pub message: String,
    /// The rule's labels.
    pub labels: BTreeMap<String, String>,
    /// File name of the snapshot, inside the run's directory.
    pub snapshot: Option<String>,
    /// File name of the clip that is recorded of it, inside the run's directory.
    pub clip: Option<String>,
    /// To whom it is to be delivered; stored with the event, carried out later.
    pub deliveries: Vec<Delivery>,
}

/// One delivery of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// By what means.
    pub kind: DeliveryKind,
    /// The topic, or the address.
    pub target: String,
}

/// By what means an event is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// Published to a topic of the message broker.
    Publish,
    /// Posted to a web address.
    Webhook,
}

impl DeliveryKind {
    /// The kind in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Webhook => "webhook",
        }
    }
}
