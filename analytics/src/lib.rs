//! What is made of detections: tracks, what is known of them, and the state of rules.
//!
//! Pure: no clock, no file, no thread. Frames and times are passed in, so that
//! the render worker and a replay compute the same from the same. All times are
//! event time, PTS in nanoseconds. Each value belongs to one stream.
//!
//! [`Tracker`] makes tracks of detections, and [`CameraMotionEstimator`] tells it how the picture moves. [`RuleEngine`] evaluates rules, and knows of tracks
//! only what stands in [`contract::control::FrameRecord`]s: `known_tracks`, with `zones`,
//! `lines`, `movement` and `scores`. [`replay()`] and [`explain`] play stored records through it.

mod class_names;
pub mod explain;
mod frame_rate;
mod known_tracks;
mod lines;
mod movement;
mod replay;
mod rules;
mod scores;
mod tracker;
pub mod workload;
mod zones;

pub use known_tracks::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX};
pub use lines::HYSTERESIS;
pub use movement::STANDING_SPEED;
pub use replay::{Changed, Difference, difference, replay};
pub use rules::{
    DRAW_COLOR, EngineSpec, FLOOD_WINDOW_NS, Fate, Firing, HeldBack, Phase, RULE_FIRINGS_MAX,
    Reloaded, RuleEngine, RuleNote, STEP_BACK_NS_MAX, STREAM_FIRINGS_MAX, TRACK_FIRINGS_MAX,
};
pub use scores::SCORES_MAX;
pub use tracker::{
    COAST_NS_MAX, CameraMotion, CameraMotionEstimator, EMBEDDING_DIMENSIONS_MAX, Embeddings,
    EndedTrack, TRACKS_MAX, TRAIL_POINTS_MAX, TrackState, TrackedObject, Tracker, Tracks,
};
pub use zones::FLICKER_NS;
