//! How fast a track moves, and where to.
//!
//! Velocity is the slope of the straight line through the recent places of the track's foot
//! (least squares over time, each axis for itself): a box trembles by a pixel or two from frame
//! to frame, and the difference of two frames would show little else.

/// Places within so much event time of the last one count.
const WINDOW_NS: u64 = 500_000_000;

/// Where frames are rarer than that, the place before the last counts when it is no older.
const RARE_NS_MAX: u64 = 2_000_000_000;

/// Places that span less time say nothing yet: the track counts as standing.
const SPAN_NS_MIN: u64 = 200_000_000;

/// Below this speed, in heights of the picture a second, a track stands and has no direction.
/// It is half of what a person far off, a twentieth of the picture high, walks at, and several
/// times of what a box trembles by.
pub const STANDING_SPEED: f32 = 0.02;

/// Places kept.
const PLACES_MAX: usize = 16;

/// Least time from one kept place to the next: all of them fill the window at any frame rate.
const STEP_NS: u64 = WINDOW_NS / PLACES_MAX as u64;

/// Speed and direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Velocity {
    /// Heights of the picture a second.
    pub(crate) speed: f32,
    /// Degrees clockwise from up, 0 to 360; `None` below [`STANDING_SPEED`].
    pub(crate) direction: Option<f32>,
}

/// The recent places of a track.
#[derive(Debug, Clone, Default)]
pub(crate) struct Movement {
    /// A ring; the newest is at `newest`.
    places: [Place; PLACES_MAX],
    newest: usize,
    count: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    pts_ns: u64,
    foot: [f32; 2],
}

impl Movement {
    /// Takes in where the foot is now, in heights of the picture.
    pub(crate) fn observe(&mut self, pts_ns: u64, foot: [f32; 2]) -> Velocity {
        let newest_ns = self.back(0).map_or(0, |place| place.pts_ns);
        let is_near = self
            .back(1)
            .is_some_and(|before| newest_ns.saturating_sub(before.pts_ns) < STEP_NS);
        // The newest place is always that of this frame; all others stand a step apart.
        if !is_near {
            self.newest = (self.newest + 1) % PLACES_MAX;
            self.count = (self.count + 1).min(PLACES_MAX);
        }
        self.places[self.newest] = Place { pts_ns, foot };
        self.velocity()
    }

    /// The place kept so many before the newest.
    fn back(&self, places: usize) -> Option<&Place> {
        (places < self.count)
            .then(|| &self.places[(self.newest + PLACES_MAX - places) % PLACES_MAX])
    }

    #[expect(clippy::cast_precision_loss, reason = "a few places, seconds apart")]
    fn velocity(&self) -> Velocity {
        let Some(newest) = self.back(0) else {
            return Velocity::default();
        };
        let age_ns = |place: &Place| newest.pts_ns.saturating_sub(place.pts_ns);
        let counts = |back: usize, place: &Place| {
            age_ns(place) <= if back == 1 { RARE_NS_MAX } else { WINDOW_NS }
        };
        let recent = || {
            (0..self.count)
                .map_while(|back| self.back(back).map(|place| (back, place)))
                .take_while(|(back, place)| counts(*back, place))
                .map(|(_, place)| place)
        };
        let span_ns = recent().last().map_or(0, age_ns);
        if span_ns < SPAN_NS_MIN {
            return Velocity::default();
        }
        // Seconds before the newest and heights from it: small numbers, so that nothing is lost.
        let mut count = 0.0;
        let (mut t_sum, mut tt_sum) = (0.0, 0.0);
        let (mut sums, mut t_sums) = ([0.0; 2], [0.0; 2]);
        for place in recent() {
            let t = -(age_ns(place) as f32 / 1e9);
            count += 1.0;
            t_sum += t;
            tt_sum += t * t;
            for axis in 0..2 {
                let value = place.foot[axis] - newest.foot[axis];
                sums[axis] += value;
                t_sums[axis] += t * value;
            }
        }
        let spread = count * tt_sum - t_sum * t_sum;
        let slope = |axis: usize| (count * t_sums[axis] - t_sum * sums[axis]) / spread;
        let (right, down) = (slope(0), slope(1));
        let speed = right.hypot(down);
        // From up, clockwise: up is towards smaller y.
        let degrees = right.atan2(-down).to_degrees();
        Velocity {
            speed,
            direction: (speed >= STANDING_SPEED).then(|| degrees.rem_euclid(360.0) % 360.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(interval_ms: u64, frames: u64, per_second: [f32; 2], tremble: f32) -> Velocity {
        let mut movement = Movement::default();
        let mut last = Velocity::default();
        for frame in 0..frames {
            let pts_ns = frame * interval_ms * 1_000_000;
            #[expect(clippy::cast_precision_loss, reason = "a test")]
            let seconds = pts_ns as f32 / 1e9;
            let sign =
                [tremble, -tremble, -tremble, tremble][usize::try_from(frame % 4).expect("small")];
            let foot = [
                0.3 + per_second[0] * seconds + sign,
                0.4 + per_second[1] * seconds - sign,
            ];
            last = movement.observe(pts_ns, foot);
        }
        last
    }

    #[test]
    fn speed_and_direction_at_any_frame_rate() {
        for interval_ms in [8, 16, 33, 40, 100, 250, 500, 1000] {
            for (per_second, degrees) in [
                ([0.0, -0.2], 0.0),
                ([0.2, 0.0], 90.0),
                ([0.0, 0.2], 180.0),
                ([-0.2, 0.0], 270.0),
                ([0.141_421, -0.141_421], 45.0),
            ] {
                let velocity = walk(interval_ms, 2000 / interval_ms + 2, per_second, 0.0);
                assert!(
                    (velocity.speed - 0.2).abs() < 1e-3,
                    "{interval_ms}: {velocity:?}"
                );
                let direction = velocity.direction.expect("it moves");
                let off = (direction - degrees + 180.0).rem_euclid(360.0) - 180.0;
                assert!(off.abs() < 0.5, "{interval_ms}: {velocity:?}");
                assert!((0.0..360.0).contains(&direction));
            }
        }
    }

    #[test]
    fn what_trembles_stands() {
        // Two pixels of 576 either way.
        let velocity = walk(40, 50, [0.0, 0.0], 2.0 / 576.0);
        assert!(
            velocity.speed < STANDING_SPEED && velocity.direction.is_none(),
            "{velocity:?}"
        );
    }

    #[test]
    fn too_little_is_known_at_first_and_after_long_absence() {
        assert_eq!(walk(40, 5, [1.0, 0.0], 0.0), Velocity::default());
        assert!(walk(40, 6, [1.0, 0.0], 0.0).direction.is_some());
        assert_eq!(walk(2001, 4, [1.0, 0.0], 0.0), Velocity::default());
    }

    #[test]
    fn a_turn_shows_within_the_window() {
        let mut movement = Movement::default();
        let mut x = 0.0;
        let mut directions = Vec::new();
        for frame in 0..50_u64 {
            x += if frame < 25 { 0.01 } else { -0.01 };
            let velocity = movement.observe(frame * 40_000_000, [x, 0.5]);
            directions.push(velocity.direction);
        }
        assert_eq!(directions[24].map(f32::round), Some(90.0));
        assert_eq!(
            directions[37].map(f32::round),
            Some(270.0),
            "half a second later"
        );
    }
}
