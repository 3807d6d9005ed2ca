//! What conditions are evaluated on: one frame, and the tracks that are seen in it.
//!
//! Made anew for each frame out of buffers that stay, so that nothing is allocated.

use std::collections::BTreeMap;

use crate::rule_file::{Line, Zone};

/// One frame.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Event time.
    pub pts_ns: u64,
    /// Wall clock of its capture, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Some model ran on it; rules `on: frame` are evaluated on such frames only.
    pub inferred: bool,
    /// Width of the picture over its height, both in pixels.
    pub aspect: f32,
    /// Part of the picture that moved, 0 to 1.
    pub motion: f32,
    /// Part of each zone that moved, 0 to 1, in the order of the zones.
    pub zone_motion: &'a [f32],
    /// Frames a second of event time, over the last second or two.
    pub fps: f32,
    /// Events that last now, of all rules, before this frame.
    pub events: u32,
    /// The stream's name.
    pub stream: &'a str,
    /// The stream's labels.
    pub stream_labels: &'a BTreeMap<String, String>,
    /// Zones of the rule file.
    pub zones: &'a [Zone],
    /// Lines of the rule file.
    pub lines: &'a [Line],
    /// The tracks that are seen or predicted in this frame, those with a box.
    pub tracks: &'a [TrackFacts],
    /// Class names: [`TrackFacts::label`] points into it.
    pub labels: &'a [String],
    /// Time each track has been in each zone: `dwell_ns[track * zones.len() + zone]`; 0 outside.
    pub dwell_ns: &'a [u64],
    /// Attributes of all tracks; those of one lie together: [`TrackFacts::attributes`].
    pub attributes: &'a [Attribute],
}

/// An attribute of a track: what a tag or a second model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What is known of a track in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackFacts {
    /// Its id.
    pub id: u64,
    /// Its class: an index into [`Scene::labels`].
    pub label: u16,
    /// Median over the recent scores, 0 to 1.
    pub score: f32,
    /// This frame's score; `None` where the box is predicted.
    pub raw_score: Option<f32>,
    /// Event time since the track was first seen.
    pub age_ns: u64,
    /// Frames in which it was seen.
    pub hits: u32,
    /// Left edge, 0 to 1 of the picture's width.
    pub x: f32,
    /// Top edge, 0 to 1 of the picture's height.
    pub y: f32,
    /// Width, 0 to 1 of the picture's.
    pub width: f32,
    /// Height, 0 to 1 of the picture's.
    pub height: f32,
    /// Width over height, both in pixels.
    pub aspect: f32,
    /// The middle of the bottom edge, both coordinates in heights of the picture, so that
    /// distances are true in all directions.
    pub foot: [f32; 2],
    /// Heights of the picture a second of event time, over the last half second or so.
    pub speed: f32,
    /// Where it goes, degrees clockwise from up, 0 to 360; `None` while it stands.
    pub direction: Option<f32>,
    /// Bit `i` is set when it is in zone `i`.
    pub zones: u64,
    /// Bit `i` is set in the one frame in which it came into zone `i`.
    pub entered: u64,
    /// Bit `i` is set in the one frame in which it had gone out of zone `i`.
    pub left: u64,
    /// Bit `i` is set in the one frame in which it had crossed line `i` from left to right.
    pub crossed_right: u64,
    /// As `crossed_right`, from right to left.
    pub crossed_left: u64,
    /// Mean gradient of its luma, brightness-normalised; `None` where nobody measured.
    pub sharpness: Option<f32>,
    /// Mean luma, 0 to 1.
    pub brightness: Option<f32>,
    /// The best `raw_score * 10 + sharpness` so far.
    pub best: Option<f32>,
    /// Landmarks found on it in this frame.
    pub landmarks: u8,
    /// Depth in the middle of its box, in the depth model's unit; `None` without a map.
    pub depth: Option<f32>,
    /// First of its attributes in [`Scene::attributes`], and how many.
    pub attributes: (u32, u32),
}
