//! What is made of detections: tracks, zone membership, and the state of rules.
//!
//! Pure: no clock, no file, no thread. Frames and times are passed in, so that
//! the render worker and a replay compute the same from the same. All times are
//! event time, PTS in nanoseconds. Each value belongs to one stream.

mod assignment;
mod kalman;
mod rules;
mod track;
mod tracker;
pub mod zones;

pub use rules::{Firing, FrameContext, Phase, RuleEngine};
pub use track::{SCORES_MAX, TRAIL_POINTS_MAX, TrackState};
pub use tracker::{COAST_NS_MAX, EndedTrack, TRACKS_MAX, TrackedObject, Tracker, Tracks};
