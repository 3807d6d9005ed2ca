//! One object followed through time.

use std::ops::Range;

use contract::detection::Detection;
use contract::geometry::{BoundingBox, PixelSize};

use super::appearance::Appearance;
use super::camera_motion::CameraMotion;
use super::kalman::BoxFilter;
use crate::scores::Scores;

/// Points kept of a track's way.
pub const TRAIL_POINTS_MAX: usize = 32;

/// Time between two points of the trail: 32 of them show the last three seconds at any frame rate.
const TRAIL_INTERVAL_NS: u64 = 100_000_000;

/// A box unseen moves on for so long, then stands still. Constant velocity holds
/// for about a second; beyond, a guess is worse than the last place.
const EXTRAPOLATION_NS_MAX: u64 = 1_000_000_000;

/// A box that ends so near the picture's edge, in pixels, is cut by it.
const CUT_MARGIN: f32 = 1.5;

/// How a track stands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackState {
    /// Matched with a detection of this frame.
    Seen,
    /// Nobody looked: inference did not answer for this frame, and the last answer had it.
    Coasting,
    /// Looked for and not found, in this frame or the last that inference answered for.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Track {
    /// 0 until confirmed.
    pub(crate) id: u64,
    pub(crate) class: u16,
    pub(crate) state: TrackState,
    pub(crate) hits: u32,
    pub(crate) first_pts_ns: u64,
    pub(crate) seen_pts_ns: u64,
    /// Index of the detection matched in this frame.
    pub(crate) detection: Option<usize>,
    /// Score of that detection.
    pub(crate) score: Option<f32>,
    /// The detection's box when matched, else the predicted one inside the picture.
    pub(crate) bounds: BoundingBox,
    pub(crate) trail: Vec<[f32; 2]>,
    pub(crate) appearance: Appearance,
    /// Where it was seen last.
    seen_bounds: BoundingBox,
    /// When it was lost last: from the last frame before to the first after.
    absence_pts_ns: Range<u64>,
    filter: BoxFilter,
    pts_ns: u64,
    trail_pts_ns: u64,
    scores: Scores,
}

impl Track {
    pub(crate) fn new(pts_ns: u64, index: usize, detection: &Detection) -> Self {
        let mut track = Self {
            id: 0,
            class: detection.class,
            state: TrackState::Seen,
            hits: 0,
            first_pts_ns: pts_ns,
            seen_pts_ns: pts_ns,
            detection: None,
            score: None,
            bounds: detection.bounds,
            trail: Vec::with_capacity(TRAIL_POINTS_MAX),
            appearance: Appearance::default(),
            seen_bounds: detection.bounds,
            absence_pts_ns: 0..0,
            filter: BoxFilter::new(&detection.bounds),
            pts_ns,
            trail_pts_ns: pts_ns,
            scores: Scores::default(),
        };
        track.note(pts_ns, index, detection);
        track
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.id > 0
    }

    /// Moves to the time of a frame, before it is known what is in it.
    pub(crate) fn predict(&mut self, pts_ns: u64, size: PixelSize) {
        let horizon_ns = self.seen_pts_ns.saturating_add(EXTRAPOLATION_NS_MAX);
        let elapsed_ns = pts_ns
            .min(horizon_ns)
            .saturating_sub(self.pts_ns.min(horizon_ns));
        if self.state == TrackState::Lost {
            let [x, y] = visible_edges(&self.seen_bounds, size);
            self.filter.follow_edges(x, y);
            self.filter.hold_size();
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a second")]
        self.filter.predict(elapsed_ns as f64 / 1e9);
        self.pts_ns = pts_ns;
        self.bounds = self.filter.bounds().clipped(size);
        self.detection = None;
        self.score = None;
    }

    /// Moves with the picture when the camera moves.
    pub(crate) fn compensate(&mut self, motion: &CameraMotion) {
        self.filter.compensate(motion);
        for point in &mut self.trail {
            *point = motion.apply(*point);
        }
    }

    /// How long it has not been seen, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "seconds, to a fraction")]
    pub(crate) fn unseen_s(&self, pts_ns: u64) -> f32 {
        pts_ns.saturating_sub(self.seen_pts_ns) as f32 / 1e9
    }

    /// Takes in the detection it was matched with.
    pub(crate) fn see(&mut self, pts_ns: u64, index: usize, detection: &Detection) {
        if self.state == TrackState::Lost {
            self.absence_pts_ns = self.seen_pts_ns..pts_ns;
        }
        self.filter.correct(&detection.bounds);
        self.note(pts_ns, index, detection);
    }

    /// Nobody looked in this frame.
    pub(crate) fn coast(&mut self) {
        if self.state == TrackState::Seen {
            self.state = TrackState::Coasting;
        }
    }

    /// Whether all that `younger` was ever seen falls into one absence of this track:
    /// the two were never seen side by side.
    pub(crate) fn was_away_for(&self, younger: &Self) -> bool {
        let absence = if self.state == TrackState::Lost {
            self.seen_pts_ns..u64::MAX
        } else {
            self.absence_pts_ns.clone()
        };
        younger.first_pts_ns > absence.start && younger.seen_pts_ns < absence.end
    }

    /// Adds the place of this frame to the trail.
    pub(crate) fn extend_trail(&mut self) {
        let due = self.trail.is_empty() || self.pts_ns >= self.trail_pts_ns + TRAIL_INTERVAL_NS;
        if !due || self.state == TrackState::Lost {
            return;
        }
        if self.trail.len() == TRAIL_POINTS_MAX {
            self.trail.remove(0);
        }
        let (x, y) = self.bounds.bottom_center();
        self.trail.push([x, y]);
        self.trail_pts_ns = self.pts_ns;
    }

    /// Median of the recent scores.
    pub(crate) fn median_score(&self) -> f32 {
        self.scores.median()
    }

    fn note(&mut self, pts_ns: u64, index: usize, detection: &Detection) {
        self.scores.add(detection.score);
        self.hits = self.scores.count();
        self.state = TrackState::Seen;
        self.seen_pts_ns = pts_ns;
        self.detection = Some(index);
        self.score = Some(detection.score);
        self.bounds = detection.bounds;
        self.seen_bounds = detection.bounds;
    }
}

/// For [`BoxFilter::follow_edges`]: on each axis, which edge is inside the picture where the
/// picture cuts the other.
#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn visible_edges(bounds: &BoundingBox, size: PixelSize) -> [f64; 2] {
    let visible = |first: f32, second: f32, side: u32| {
        let cut = (first < CUT_MARGIN, second > side as f32 - CUT_MARGIN);
        match cut {
            (true, false) => 1.0,
            (false, true) => -1.0,
            (true, true) | (false, false) => 0.0,
        }
    };
    [
        visible(bounds.x1, bounds.x2, size.width),
        visible(bounds.y1, bounds.y2, size.height),
    ]
}
