//! Where the landmarks of a face have to be for a model that embeds it.

/// Side of an aligned face, in pixels.
pub const FACE_SIDE: u32 = 112;

/// Where `ArcFace` and most models of faces since have the right and left eye, the nose, the
/// right and left corner of the mouth, in pixels of a face of [`FACE_SIDE`] (`InsightFace`,
/// `face_align.py`). Right and left are the person's own.
pub const FACE_LANDMARKS: [[f32; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

/// A scaling and rotation, and then a shift: shapes stay as they are, and are not mirrored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Scale times cosine and scale times sine of the angle.
    turn: [f32; 2],
    shift: [f32; 2],
}

impl Similarity {
    /// The one that takes `from` nearest to `to`, by the sum of squared distances: Umeyama's
    /// least squares (1991), which in the plane is a quotient of complex numbers. `None` for
    /// fewer than two points, or when all of either are in one place.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a few points")]
    pub fn fit(from: &[[f32; 2]], to: &[[f32; 2]]) -> Option<Self> {
        let count = from.len().min(to.len());
        let mean = |points: &[[f32; 2]]| {
            let sum = points[..count].iter().fold([0.0, 0.0], |sum, point| {
                [sum[0] + point[0], sum[1] + point[1]]
            });
            sum.map(|side| side / count.max(1) as f32)
        };
        let (from_mean, to_mean) = (mean(from), mean(to));
        let (mut cosine, mut sine, mut spread) = (0.0, 0.0, 0.0);
        for (from, to) in from.iter().zip(to) {
            let [x, y] = [from[0] - from_mean[0], from[1] - from_mean[1]];
            let [u, v] = [to[0] - to_mean[0], to[1] - to_mean[1]];
            cosine += x * u + y * v;
            sine += x * v - y * u;
            spread += x * x + y * y;
        }
        let turn = [cosine / spread, sine / spread];
        let turned = Self {
            turn,
            shift: [0.0, 0.0],
        };
        let [x, y] = turned.apply(from_mean);
        let shift = [to_mean[0] - x, to_mean[1] - y];
        let is_one = turn.iter().chain(&shift).all(|part| part.is_finite());
        (is_one && turn != [0.0, 0.0]).then_some(Self { turn, shift })
    }

    /// Where a point goes.
    #[must_use]
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [cosine, sine] = self.turn;
        [
            cosine * x - sine * y + self.shift[0],
            sine * x + cosine * y + self.shift[1],
        ]
    }

    /// Lengths become so many times longer.
    #[must_use]
    pub fn scale(&self) -> f32 {
        f32::hypot(self.turn[0], self.turn[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: [f32; 2], other: [f32; 2]) -> bool {
        (one[0] - other[0]).abs() < 1e-3 && (one[1] - other[1]).abs() < 1e-3
    }

    #[test]
    fn a_turned_scaled_and_shifted_face_is_found_again() {
        // Twice as large, turned by a quarter: x to the right becomes y downwards.
        let seen = FACE_LANDMARKS.map(|[x, y]| [-2.0 * y + 300.0, 2.0 * x + 40.0]);
        let similarity = Similarity::fit(&FACE_LANDMARKS, &seen).expect("five points");
        assert!((similarity.scale() - 2.0).abs() < 1e-4);
        for (point, seen) in FACE_LANDMARKS.into_iter().zip(seen) {
            let got = similarity.apply(point);
            assert!(near(got, seen), "{got:?} instead of {seen:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_as_near_as_can_be() {
        // Of two points that are pulled apart alike the middle stays.
        let from = [[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]];
        let to = [[-1.0, 0.0], [3.0, 0.0], [1.0, 1.0]];
        let similarity = Similarity::fit(&from, &to).expect("three points");
        let [x, _] = similarity.apply([1.0, 0.0]);
        assert!((x - 1.0).abs() < 1e-4, "{x}");
        let scale = similarity.scale();
        assert!((1.0..2.0).contains(&scale), "{scale}");
    }

    #[test]
    fn points_in_one_place_say_nothing() {
        let place = [[3.0, 4.0]; 5];
        assert_eq!(Similarity::fit(&place, &FACE_LANDMARKS), None);
        assert_eq!(Similarity::fit(&FACE_LANDMARKS, &place), None);
        assert_eq!(Similarity::fit(&[], &[]), None);
        assert_eq!(Similarity::fit(&[[1.0, 1.0]], &[[2.0, 2.0]]), None);
    }
}
