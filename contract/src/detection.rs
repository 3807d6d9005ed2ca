//! What a model says of a frame, and what a tracker makes of it.

use serde::{Deserialize, Serialize};

use crate::geometry::BoundingBox;

/// Most detections kept of one frame, the best scores first.
pub const DETECTIONS_MAX: usize = 256;

/// One object found by a model in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where, in pixels of the frame.
    pub bounds: BoundingBox,
    /// How sure, 0 to 1.
    pub score: f32,
    /// Index into the model's labels.
    pub class: u16,
}

/// Why a frame that inference received has no detections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// The stream's gate said the frame is not worth it.
    Gated,
    /// Older than `max_staleness` when its turn came.
    Stale,
    /// A newer frame of the same stream took its place while all sessions were busy.
    Shed,
    /// Overwritten on the bus before it was received.
    Overflowed,
    /// The model failed on it.
    Failed,
}
