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

use super::camera_motion::CameraMotion;

/// Weights of `ByteTrack` and BoT-SORT, in sizes of the box.
const POSITION_WEIGHT: f64 = 1.0 / 20.0;
const VELOCITY_WEIGHT: f64 = 1.0 / 160.0;

/// The frame interval that the weights were tuned at.
pub(crate) const REFERENCE_INTERVAL_S: f64 = 1.0 / 30.0;

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

    /// Follows the visible edge of a box that the picture's edge cuts.
    ///
    /// Of such a box the centre moves at half the speed of the object, and the size shrinks
    /// with it. `x` and `y` say which of its edges is inside the picture on that axis: -1 the
    /// first, 1 the second, 0 both. The centre takes on the velocity of that edge.
    pub(crate) fn follow_edges(&mut self, x: f64, y: f64) {
        self.x.velocity += 0.5 * x * self.width.velocity;
        self.y.velocity += 0.5 * y * self.height.velocity;
    }

    /// Moves with the picture when the camera moves (BoT-SORT, section 3.2).
    ///
    /// The box stays upright, so its size takes on the scale and not the rotation, and the
    /// covariance that a rotation brings between x and y is left out: for the few degrees
    /// between two frames it is small.
    pub(crate) fn compensate(&mut self, motion: &CameraMotion) {
        let (cos, sin) = (f64::from(motion.cos), f64::from(motion.sin));
        let turned = |x: f64, y: f64| (cos * x - sin * y, sin * x + cos * y);
        let (x, y) = turned(self.x.value, self.y.value);
        (self.x.value, self.y.value) = (x + f64::from(motion.x), y + f64::from(motion.y));
        (self.x.velocity, self.y.velocity) = turned(self.x.velocity, self.y.velocity);
        for index in 0..3 {
            let (x, y) = (self.x.covariance[index], self.y.covariance[index]);
            self.x.covariance[index] = cos * cos * x + sin * sin * y;
            self.y.covariance[index] = sin * sin * x + cos * cos * y;
        }
        let scale = cos.hypot(sin);
        for side in [&mut self.width, &mut self.height] {
            side.value *= scale;
            side.velocity *= scale;
            side.covariance = side.covariance.map(|variance| variance * scale * scale);
        }
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
    fn a_cut_box_goes_on_at_the_speed_of_its_visible_edge() {
        let mut filter = BoxFilter::new(&at(100.0, 200.0));
        filter.x.velocity = 30.0;
        filter.width.velocity = -60.0;
        filter.height.velocity = -10.0;
        // Cut on the right: the left edge moves at 30 + 60 / 2.
        filter.follow_edges(-1.0, 0.0);
        assert!((filter.x.velocity - 60.0).abs() < 1e-9);
        assert!(filter.y.velocity.abs() < 1e-9);
    }

    #[test]
    fn the_camera_moves_place_and_velocity() {
        let mut filter = BoxFilter::new(&at(100.0, 200.0));
        filter.x.velocity = 50.0;
        // A quarter turn and twice as near.
        filter.compensate(&CameraMotion {
            cos: 0.0,
            sin: 2.0,
            x: 500.0,
            y: 7.0,
        });
        let values = [&filter.x, &filter.y, &filter.width, &filter.height].map(|axis| axis.value);
        for (value, expected) in values.into_iter().zip([100.0, 207.0, 80.0, 160.0]) {
            assert!((value - expected).abs() < 1e-4, "{values:?}");
        }
        assert!((filter.y.velocity - 100.0).abs() < 1e-4 && filter.x.velocity.abs() < 1e-4);
        // The variance of x was that of a width of 40, that of y of a height of 80.
        let expected = (2.0 * 2.0 * POSITION_WEIGHT * 40.0).powi(2);
        assert!((filter.y.covariance[0] - expected).abs() < 1e-3);
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

    type Matrix = [[f64; 8]; 8];

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..8).map(|k| a[i][k] * b[k][j]).sum::<f64>())
        })
    }

    fn transposed(a: &Matrix) -> Matrix {
        std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
    }

    fn diagonal(values: [f64; 8]) -> Matrix {
        std::array::from_fn(|i| std::array::from_fn(|j| if i == j { values[i] } else { 0.0 }))
    }

    /// BoT-SORT's filter with whole matrices, one frame of 30 fps a step; velocities a frame.
    struct WholeFilter {
        mean: [f64; 8],
        covariance: Matrix,
    }

    impl WholeFilter {
        fn deviations(&self, position: f64, velocity: f64) -> [f64; 8] {
            std::array::from_fn(|i| {
                let size = self.mean[2 + i % 2];
                size * if i < 4 {
                    position / 20.0
                } else {
                    velocity / 160.0
                }
            })
        }

        fn new(seen: [f64; 4]) -> Self {
            let mut filter = Self {
                mean: std::array::from_fn(|i| seen.get(i).copied().unwrap_or_default()),
                covariance: [[0.0; 8]; 8],
            };
            let deviations = filter.deviations(2.0, 10.0);
            filter.covariance = diagonal(deviations.map(|deviation| deviation.powi(2)));
            filter
        }

        fn predict(&mut self) {
            let noise = diagonal(self.deviations(1.0, 1.0).map(|deviation| deviation.powi(2)));
            let mut step = diagonal([1.0; 8]);
            for i in 0..4 {
                step[i][i + 4] = 1.0;
                self.mean[i] += self.mean[i + 4];
            }
            let moved = product(&product(&step, &self.covariance), &transposed(&step));
            self.covariance =
                std::array::from_fn(|i| std::array::from_fn(|j| moved[i][j] + noise[i][j]));
        }

        /// One measured value after the other: their noises are independent, so that is the
        /// same as all at once, and needs no inverse.
        fn correct(&mut self, seen: [f64; 4]) {
            let noise = self.deviations(1.0, 1.0);
            for (i, seen) in seen.into_iter().enumerate() {
                let variance = self.covariance[i][i] + noise[i].powi(2);
                let gain: [f64; 8] = std::array::from_fn(|k| self.covariance[k][i] / variance);
                let error = seen - self.mean[i];
                let row = self.covariance[i];
                for (k, gain) in gain.into_iter().enumerate() {
                    self.mean[k] += gain * error;
                    for (value, row) in self.covariance[k].iter_mut().zip(row) {
                        *value -= gain * row;
                    }
                }
            }
        }
    }

    #[test]
    fn four_small_filters_are_the_one_of_the_paper() {
        let boxes = |step: u16| {
            let t = f64::from(step);
            [
                100.0 + 3.0 * t,
                200.0 + 9.0 * (t / 5.0).sin(),
                40.0 + t,
                90.0 - t / 2.0,
            ]
        };
        let as_box = |[x, y, width, height]: [f64; 4]| {
            #[expect(clippy::cast_possible_truncation, reason = "a test")]
            let [x1, y1, x2, y2] = [
                x - width / 2.0,
                y - height / 2.0,
                x + width / 2.0,
                y + height / 2.0,
            ]
            .map(|edge| edge as f32);
            BoundingBox { x1, y1, x2, y2 }
        };
        let mut whole = WholeFilter::new(boxes(0));
        let mut filter = BoxFilter::new(&as_box(boxes(0)));
        for step in 1..60 {
            whole.predict();
            filter.predict(1.0 / 30.0);
            // Missed now and then.
            if step % 5 != 0 {
                whole.correct(boxes(step));
                filter.correct(&as_box(boxes(step)));
            }
            let axes = [&filter.x, &filter.y, &filter.width, &filter.height];
            for (i, axis) in axes.into_iter().enumerate() {
                let velocity = axis.velocity / 30.0;
                assert!(
                    (axis.value - whole.mean[i]).abs() < 1e-3,
                    "step {step}, {i}"
                );
                assert!(
                    (velocity - whole.mean[i + 4]).abs() < 1e-3,
                    "step {step}, {i}"
                );
                assert!((axis.covariance[0] / whole.covariance[i][i] - 1.0).abs() < 1e-3);
            }
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
