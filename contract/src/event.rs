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
}
