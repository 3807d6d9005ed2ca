//! How detections become tracks.

use std::time::Duration;

use contract::spec::TrackerSpec;

use super::Fraction;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};
use super::units::millis;

/// The keys of `tracker`.
pub(super) const TRACKER: Section = Section {
    name: "tracker",
    doc: "How detections become tracks (ByteTrack's two associations).",
    keys: &[
        Key {
            name: "high_score",
            doc: "Detections from this score on take part in the first association, others in the second.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.5"),
        },
        Key {
            name: "new_track_score",
            doc: "Unmatched detections from this score on begin a track.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.5"),
        },
        Key {
            name: "iou",
            doc: "Smallest overlap (intersection over union) of a match.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.2"),
        },
        Key {
            name: "lost_timeout",
            doc: "A track unseen for so long ends.",
            kind: Kind::Duration(100, 60_000),
            absent: Absent::Default("2s"),
        },
    ],
};

/// Tracker settings of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackerConfig {
    /// Detections from this score on take part in the first association.
    pub high_score: Fraction,
    /// Unmatched detections from this score on begin a track.
    pub new_track_score: Fraction,
    /// Smallest IoU of a match.
    pub iou: Fraction,
    /// A track unseen for so long ends.
    pub lost_timeout: Duration,
}

impl TrackerConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let high_score = fields.fraction("high_score");
        let new_track_score = fields.fraction("new_track_score");
        let iou = fields.fraction("iou");
        let lost_timeout = fields.duration("lost_timeout");
        Some(Self {
            high_score: high_score?,
            new_track_score: new_track_score?,
            iou: iou?,
            lost_timeout: lost_timeout?,
        })
    }

    /// The settings as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> TrackerSpec {
        TrackerSpec {
            high_score: self.high_score.get(),
            new_track_score: self.new_track_score.get(),
            iou_min: self.iou.get(),
            lost_timeout_ms: millis(self.lost_timeout),
        }
    }
}
