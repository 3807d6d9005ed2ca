//! How detections become tracks.

use std::time::Duration;

use contract::spec::{TrackerAlgorithm, TrackerSpec};

use super::Fraction;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};
use super::units::millis;

/// The keys of `tracker`.
pub(super) const TRACKER: Section = Section {
    name: "tracker",
    doc: "How detections become tracks.",
    keys: &[
        Key {
            name: "algorithm",
            doc: "`sort` matches strong detections by overlap; `bytetrack` then also weak ones; \
                  `botsort` also goes by camera motion, size and time out of sight, and breaks \
                  the fewest tracks.",
            kind: Kind::Choice(&["botsort", "bytetrack", "sort"]),
            absent: Absent::Default("botsort"),
        },
        Key {
            name: "high_score",
            doc: "Detections from this score on take part in the first association, others in the \
                  second; `sort` has no second.",
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
            doc: "Smallest overlap (intersection over union) of a match. Default: 0.2, or 0.3 \
                  for `sort`.",
            kind: Kind::Fraction,
            absent: Absent::Optional,
        },
        Key {
            name: "lost_timeout",
            doc: "A track unseen for so long ends.",
            kind: Kind::Duration(100, 60_000),
            absent: Absent::Default("2s"),
        },
        Key {
            name: "camera_motion",
            doc: "Measure how the camera pans, tilts, rolls and zooms, and move tracks with the \
                  picture; for `botsort` only.",
            kind: Kind::Bool,
            absent: Absent::Default("true"),
        },
    ],
};

/// Tracker settings of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackerConfig {
    /// How detections are given to tracks.
    pub algorithm: TrackerAlgorithm,
    /// Detections from this score on take part in the first association.
    pub high_score: Fraction,
    /// Unmatched detections from this score on begin a track.
    pub new_track_score: Fraction,
    /// Smallest IoU of a match.
    pub iou: Fraction,
    /// A track unseen for so long ends.
    pub lost_timeout: Duration,
    /// Move tracks with the picture when the camera moves.
    pub camera_motion: bool,
}

impl TrackerConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let algorithm = fields.choice("algorithm").map(|word| match word {
            "sort" => TrackerAlgorithm::Sort,
            "bytetrack" => TrackerAlgorithm::Bytetrack,
            _ => TrackerAlgorithm::Botsort,
        });
        let high_score = fields.fraction("high_score");
        let new_track_score = fields.fraction("new_track_score");
        let iou = fields.fraction("iou");
        let lost_timeout = fields.duration("lost_timeout");
        let camera_motion = fields.boolean("camera_motion");
        let algorithm = algorithm?;
        Some(Self {
            algorithm,
            high_score: high_score?,
            new_track_score: new_track_score?,
            iou: match iou {
                Some(iou) => iou,
                None => Fraction::new(match algorithm {
                    TrackerAlgorithm::Sort => 0.3,
                    TrackerAlgorithm::Bytetrack | TrackerAlgorithm::Botsort => 0.2,
                })?,
            },
            lost_timeout: lost_timeout?,
            camera_motion: camera_motion?,
        })
    }

    /// The settings as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> TrackerSpec {
        TrackerSpec {
            algorithm: self.algorithm,
            high_score: self.high_score.get(),
            new_track_score: self.new_track_score.get(),
            iou_min: self.iou.get(),
            lost_timeout_ms: millis(self.lost_timeout),
            camera_motion: self.camera_motion,
        }
    }
}
