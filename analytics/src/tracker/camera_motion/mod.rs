//! How the picture moves because the camera does (BoT-SORT, section 3.2: sparse optical flow
//! and a robust fit), on a small copy of the luma plane.
//!
//! Each picture is compared with a *reference*, which stays while the picture stands still: a
//! fixed camera costs no more than the small copy and a look at its corners, and a motion too
//! slow to be seen from one frame to the next adds up until it is seen.

mod corners;
mod fit;
mod flow;
mod pyramid;

use contract::geometry::PixelSize;

use self::corners::CORNERS_MAX;
use self::fit::Match;
use self::pyramid::{Pyramid, shrink_factor};

/// The picture stands still where windows differ no more, in mean grey levels: the noise of
/// cameras and of video at low bit rates.
const NOISE: f32 = 4.0;

/// A motion that takes no corner of the picture further, in pixels of the small picture, is
/// none: as much is the error of the flow.
const MOTION_MIN: f32 = 0.25;

/// Largest change of scale, up or down, and of angle, in radians, from one picture to the
/// next. What is beyond is a wrong answer.
const SCALE_MAX: f32 = 1.5;
const ANGLE_MAX: f32 = 0.5;

/// Where the things of one picture are in the next: `x' = cos x - sin y + x0`,
/// `y' = sin x + cos y + y0`, in pixels of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraMotion {
    /// Cosine of the angle, times the scale.
    pub cos: f32,
    /// Sine of the angle, times the scale.
    pub sin: f32,
    /// Shift to the right.
    pub x: f32,
    /// Shift downwards.
    pub y: f32,
}

impl CameraMotion {
    /// The picture stands still.
    pub const IDENTITY: Self = Self {
        cos: 1.0,
        sin: 0.0,
        x: 0.0,
        y: 0.0,
    };

    /// Where a point of the last picture is now.
    #[must_use]
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [
            self.cos * x - self.sin * y + self.x,
            self.sin * x + self.cos * y + self.y,
        ]
    }

    /// The picture stands still.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }

    fn is_plausible(&self) -> bool {
        let scale = self.cos.hypot(self.sin);
        let angle = self.sin.atan2(self.cos).abs();
        (1.0 / SCALE_MAX..=SCALE_MAX).contains(&scale) && angle <= ANGLE_MAX
    }
}

/// Measures the motion of one stream's picture, frame by frame.
#[derive(Debug, Default)]
pub struct CameraMotionEstimator {
    size: Option<PixelSize>,
    reference: Pyramid,
    /// Of the reference.
    corners: Vec<[f32; 2]>,
    current: Pyramid,
    matches: Vec<Match>,
    agreeing: Vec<Match>,
}

impl CameraMotionEstimator {
    /// An estimator that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            corners: Vec::with_capacity(CORNERS_MAX),
            matches: Vec::with_capacity(CORNERS_MAX),
            agreeing: Vec::with_capacity(CORNERS_MAX),
            ..Self::default()
        }
    }

    /// Takes in the luma plane of the next frame, with `stride` bytes a row; how the picture
    /// moved since the last motion that was reported. Identity where that cannot be told: at
    /// the first frame, at a scene cut, in the dark.
    pub fn observe(&mut self, luma: &[u8], stride: usize, size: PixelSize) -> CameraMotion {
        if !self.current.fill(luma, stride, size) {
            return CameraMotion::IDENTITY;
        }
        let is_first = self.size.replace(size) != Some(size);
        if !is_first && self.stands_still() {
            return CameraMotion::IDENTITY;
        }
        let motion = (!is_first).then(|| self.measure()).flatten();
        if motion.is_some_and(|motion| self.is_too_small(&motion)) {
            return CameraMotion::IDENTITY;
        }
        std::mem::swap(&mut self.reference, &mut self.current);
        corners::find(&self.reference, &mut self.corners);
        motion.map_or(CameraMotion::IDENTITY, |motion| in_frame(&motion, size))
    }

    /// At most corners, nothing has changed.
    fn stands_still(&self) -> bool {
        let differences = self
            .corners
            .iter()
            .filter_map(|&corner| flow::difference(&self.reference, &self.current, corner));
        let still = differences
            .filter(|difference| *difference <= NOISE)
            .count();
        !self.corners.is_empty() && 2 * still > self.corners.len()
    }

    /// In pixels of the small picture.
    fn measure(&mut self) -> Option<CameraMotion> {
        self.matches.clear();
        for &corner in &self.corners {
            if let Some(place) = flow::follow(&self.reference, &self.current, corner) {
                self.matches.push((corner, place));
            }
        }
        let stays = |(from, to): &&Match| (from[0] - to[0]).hypot(from[1] - to[1]) < MOTION_MIN;
        if fit::is_agreement(
            self.matches.iter().filter(stays).count(),
            self.matches.len(),
        ) {
            // A camera that moves leaves nothing in its place.
            return Some(CameraMotion::IDENTITY);
        }
        fit::similarity(&self.matches, &mut self.agreeing).filter(CameraMotion::is_plausible)
    }

    #[expect(clippy::cast_precision_loss, reason = "pixels of a small picture")]
    fn is_too_small(&self, motion: &CameraMotion) -> bool {
        let [small, ..] = &self.reference.levels;
        let (right, bottom) = (small.width as f32, small.height as f32);
        [[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]]
            .iter()
            .all(|corner| {
                let [x, y] = motion.apply(*corner);
                (x - corner[0]).hypot(y - corner[1]) < MOTION_MIN
            })
    }
}

/// The same motion in pixels of the frame. Pixel centres are whole numbers in the small picture
/// and edges are in a frame, so its point `p` is the frame's `factor (p + 1/2)`.
#[expect(clippy::cast_precision_loss, reason = "at most 26")]
fn in_frame(motion: &CameraMotion, size: PixelSize) -> CameraMotion {
    let factor = shrink_factor(size) as f32;
    let CameraMotion { cos, sin, x, y } = *motion;
    let half = factor / 2.0;
    CameraMotion {
        cos,
        sin,
        x: factor * x + half * (1.0 - cos + sin),
        y: factor * y + half * (1.0 - sin - cos),
    }
}

#[cfg(test)]
mod tests;
