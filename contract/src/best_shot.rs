//! The best picture of a track: what is told of it once its file is there.

use serde::{Deserialize, Serialize};

use crate::control::Quality;
use crate::detection::Landmarks;
use crate::geometry::{BoundingBox, PixelSize};
use crate::name::StreamName;

/// Weight of a score, 0 to 1, beside sharpness in what makes a picture the best.
pub const SCORE_WEIGHT: f32 = 10.0;

/// A JPEG file with the best picture of a track, and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestShot {
    /// The stream.
    pub stream: StreamName,
    /// The track.
    pub track: u64,
    /// Class name of the track.
    pub label: String,
    /// Why it was written.
    pub cause: ShotCause,
    /// Path of the file, inside the run's directory.
    pub path: String,
    /// Size of the picture in the file: the box with a margin, scaled down where it is large.
    pub picture: PixelSize,
    /// The frame it was cut from.
    pub moment: ShotMoment,
    /// Event time at which the track was first seen.
    pub began_pts_ns: u64,
    /// Event time at which the track was last seen before it ended; `None` while it lives.
    pub ended_pts_ns: Option<u64>,
}

/// Why a best shot was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShotCause {
    /// The track has ended.
    Ended,
    /// The event with this id wants it; the track may go on, and a better one may come.
    Event(String),
}

impl ShotCause {
    /// The cause in one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Event(_) => "event",
        }
    }

    /// The event that wants it.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Ended => None,
            Self::Event(id) => Some(id),
        }
    }
}

/// A track in one frame, as it was when its picture was taken; rounded as frame records are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShotMoment {
    /// Sequence number of the frame.
    pub sequence_number: u64,
    /// Event time of the frame.
    pub pts_ns: u64,
    /// Wall clock of its capture, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// How sure the model was, 0 to 1.
    pub score: f32,
    /// How sharp and how bright it is.
    pub quality: Quality,
    /// Where it was, in pixels of the frame.
    pub bounds: BoundingBox,
    /// What the model found on it, in pixels of the frame.
    pub landmarks: Landmarks,
}

impl ShotMoment {
    /// How good the picture is: [`shot_value`] of its score and sharpness.
    #[must_use]
    pub fn value(&self) -> f32 {
        shot_value(self.score, self.quality)
    }
}

/// How good a picture is: ten times the score and the sharpness together, so that among
/// detections of about the same score the sharpest wins. `quality.best` of the rule language
/// is the greatest of them so far.
#[must_use]
pub fn shot_value(score: f32, quality: Quality) -> f32 {
    score * SCORE_WEIGHT + f32::from(quality.sharpness) / 100.0
}
