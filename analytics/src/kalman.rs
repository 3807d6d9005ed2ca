//! The motion model of one track: a Kalman filter with constant velocity.
//!
//! The state is that of BoT-SORT (Aharon et al. 2022, section 3.1): centre,
//! width and height, and their velocities; so are the noise weights, which are
//! relative to the box's size (`yolox/tracker/kalman_filter.py` of `ByteTrack`,
//! whence they come). Two things differ.
//!
//! Time is real. Theirs counts frames; here the step is the difference of two
//! PTS, so that frame rates may vary and frames may be missing. Velocities are
//! per second, and the variance of the process grows in proportion to time, so
//! that a step of 1/30 s is exactly theirs for one frame of 30 fps video.
//!
//! It is written as four filters of two states. No equation of the model couples
//! x, y, width and height, so the covariance is block diagonal for ever, and
//! four 2x2 filters compute what one 8x8 filter would.

use contract::geometry::BoundingBox;

/// Weights of `ByteTrack` and BoT-SORT, in sizes of the box.
const POSITION_WEIGHT: f64 = 1.0 / 20.0;
const VELOCITY_WEIGHT: f64 = 1.0 / 160.0;

/// The frame interval that the weights were tuned at.
const REFERENCE_INTERVAL_S: f64 = 1.0 / 30.0;

/// Smallest side of a box, in pixels: noise is relative to size and may not vanish.
const SIDE_MIN: f64 = 1.0;

/// Position, size and velocities of a box, with their uncertainty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BoxFilter {
    x: Axis,
    y: Axis,
    width: Axis,
    height: Axis,
}

impl BoxFilter {
    /// A box seen for the first time: at rest, with a velocity that is all but unknown.
    pub(crate) fn new(seen: &BoundingBox) -> Self {
        let [x, y, width, height] = measurement(seen);
        Self {
            x: Axis::new(x, width),
            y: Axis::new(y, height),
            width: Axis::new(width, width),
            height: Axis::new(height, height),
        }
    }

    /// Moves the state forward by `elapsed_s` seconds.
    pub(crate) fn predict(&mut self, elapsed_s: f64) {
        let (width, height) = (self.width.value, self.height.value);
        self.x.predict(elapsed_s, width);
        self.y.predict(elapsed_s, height);
        self.width.predict(elapsed_s, width);
        self.height.predict(elapsed_s, height);
        // A prediction may shrink a box below nothing.
        self.width.value = self.width.value.max(SIDE_MIN);
        self.height.value = self.height.value.max(SIDE_MIN);
    }

    /// Takes in what was seen now.
    pub(crate) fn correct(&mut self, seen: &BoundingBox) {
        let (width, height) = (self.width.value, self.height.value);
        let measured = measurement(seen);
        self.x.correct(measured[0], width);
        self.y.correct(measured[1], height);
        self.width.correct(measured[2], width);
        self.height.correct(measured[3], height);
    }

    /// Lets the size stand still: what is not seen should not grow or shrink
    /// without end (as `multi_predict` of BoT-SORT does for lost tracks).
    pub(crate) fn hold_size(&mut self) {
        self.width.velocity = 0.0;
        self.height.velocity = 0.0;
    }

    /// Where the box is now.
    pub(crate) fn bounds(&self) -> BoundingBox {
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a frame")]
        let edge = |center: f64, side: f64, half: f64| (center + side * half) as f32;
        BoundingBox {
            x1: edge(self.x.value, self.width.value, -0.5),
            y1: edge(self.y.value, self.height.value, -0.5),
            x2: edge(self.x.value, self.width.value, 0.5),
            y2: edge(self.y.value, self.height.value, 0.5),
        }
    }
}

/// One value, its velocity a second, and their covariance.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    value: f64,
    velocity: f64,
    /// Variance of the value, covariance, variance of the velocity.
    covariance: [f64; 3],
}

impl Axis {
    fn new(value: f64, size: f64) -> Self {
        let value_deviation = 2.0 * POSITION_WEIGHT * size;
        let velocity_deviation = 10.0 * VELOCITY_WEIGHT * size / REFERENCE_INTERVAL_S;
        Self {
            value,
            velocity: 0.0,
            covariance: [value_deviation.powi(2), 0.0, velocity_deviation.powi(2)],
        }
    }

    /// `x = F x`, `P = F P F' + Q` with `F = [1 t; 0 1]` and diagonal `Q`.
    fn predict(&mut self, elapsed_s: f64, size: f64) {
        let frames = elapsed_s / REFERENCE_INTERVAL_S;
        let value_noise = (POSITION_WEIGHT * size).powi(2) * frames;
        let velocity_noise = (VELOCITY_WEIGHT * size / REFERENCE_INTERVAL_S).powi(2) * frames;
        let [value, both, velocity] = self.covariance;
        self.value += self.velocity * elapsed_s;
        self.covariance = [
            value + elapsed_s * (2.0 * both + elapsed_s * velocity) + value_noise,
            both + elapsed_s * velocity,
            velocity + velocity_noise,
        ];
    }

    /// `K = P H' / (H P H' + R)`, `x += K (z - H x)`, `P = (I - K H) P` with `H = [1 0]`.
    fn correct(&mut self, measured: f64, size: f64) {
        let [value, both, velocity] = self.covariance;
        let innovation_variance = value + (POSITION_WEIGHT * size).powi(2);
        let gain = [value / innovation_variance, both / innovation_variance];
        let innovation = measured - self.value;
        self.value += gain[0] * innovation;
        self.velocity += gain[1] * innovation;
        self.covariance = [
            (1.0 - gain[0]) * value,
            (1.0 - gain[0]) * both,
            velocity - gain[1] * both,
        ];
    }
}

/// Centre x, centre y, width and height.
fn measurement(bounds: &BoundingBox) -> [f64; 4] {
    let [x1, y1, x2, y2] = [bounds.x1, bounds.y1, bounds.x2, bounds.y2].map(f64::from);
    [
        f64::midpoint(x1, x2),
        f64::midpoint(y1, y2),
        (x2 - x1).max(SIDE_MIN),
        (y2 - y1).max(SIDE_MIN),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, y: f32) -> BoundingBox {
        BoundingBox {
            x1: x - 20.0,
            y1: y - 40.0,
            x2: x + 20.0,
            y2: y + 40.0,
        }
    }

    #[test]
    fn it_converges_on_a_constant_velocity_at_any_frame_rate() {
        for intervals in [[0.04, 0.04], [0.1, 0.1], [0.02, 0.3]] {
            let mut filter = BoxFilter::new(&at(100.0, 200.0));
            let mut time = 0.0;
            for step in 0..80 {
                let elapsed = intervals[step % 2];
                time += elapsed;
                filter.predict(elapsed);
                #[expect(clippy::cast_possible_truncation, reason = "a test")]
                filter.correct(&at(100.0 + 60.0 * time as f32, 200.0 - 30.0 * time as f32));
            }
            assert!((filter.x.velocity - 60.0).abs() < 0.5, "{:?}", filter.x);
            assert!((filter.y.velocity + 30.0).abs() < 0.5, "{:?}", filter.y);
            assert!(filter.width.velocity.abs() < 1e-3);
            filter.predict(0.5);
            let expected = 100.0 + 60.0 * (time + 0.5);
            assert!((filter.x.value - expected).abs() < 1.0, "{intervals:?}");
        }
    }

    #[test]
    fn the_covariance_stays_positive() {
        let mut axis = Axis::new(0.0, 50.0);
        for step in 0..10_000 {
            axis.predict(if step % 7 == 0 { 1.0 } else { 0.001 }, 50.0);
            if step % 3 == 0 {
                axis.correct(f64::from(step % 11), 50.0);
            }
            let [value, both, velocity] = axis.covariance;
            assert!(value > 0.0 && velocity > 0.0 && value * velocity > both * both);
        }
    }

    #[test]
    fn one_step_equals_the_reference() {
        // By hand from ByteTrack's matrices, one frame of 30 fps, h = 80: the first variance
        // of y is (2/20 h)^2, of its velocity (10/160 h)^2, the noise of both models (h/20)^2.
        let mut filter = BoxFilter::new(&at(0.0, 0.0));
        filter.predict(1.0 / 30.0);
        filter.correct(&at(0.0, 8.0));
        let prior = 8.0_f64.powi(2) + 5.0_f64.powi(2) + 4.0_f64.powi(2);
        let gain = prior / (prior + 4.0_f64.powi(2));
        assert!((filter.y.value - 8.0 * gain).abs() < 1e-9);
        let velocity_a_frame = 5.0_f64.powi(2) / (prior + 4.0_f64.powi(2)) * 8.0;
        assert!((filter.y.velocity / 30.0 - velocity_a_frame).abs() < 1e-9);
    }
}
