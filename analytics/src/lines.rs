//! Which lines a track crosses, and which way.

use contract::geometry::PixelSize;
use dsl::Line;

/// A track is on a side of a line once its foot is farther from it than this, in heights of
/// the picture: a foot that trembles on the line crosses nothing.
pub const HYSTERESIS: f32 = 0.005;

/// A line in heights of the picture, both ways, so that distances and angles are true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    from: [f32; 2],
    along: [f32; 2],
    length: f32,
}

impl Segment {
    /// A line of a rule file on a picture of `size`.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub(crate) fn new(line: &Line, size: PixelSize) -> Self {
        let aspect = size.width.max(1) as f32 / size.height.max(1) as f32;
        let from = [line.from[0] * aspect, line.from[1]];
        let along = [line.to[0] * aspect - from[0], line.to[1] - from[1]];
        Self {
            from,
            along,
            length: along[0].hypot(along[1]),
        }
    }

    /// Distance of a point from the line without ends; positive on the right, as seen walking
    /// from `from` to `to` in a picture whose y grows downwards.
    fn offset(&self, [x, y]: [f32; 2]) -> f32 {
        (self.along[0] * (y - self.from[1]) - self.along[1] * (x - self.from[0])) / self.length
    }

    /// Whether a point on the line lies between its ends.
    fn spans(&self, [x, y]: [f32; 2]) -> bool {
        let along = (x - self.from[0]) * self.along[0] + (y - self.from[1]) * self.along[1];
        (0.0..=self.length * self.length).contains(&along)
    }
}

/// Which way a line is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `left_to_right`
    LeftToRight,
    /// `right_to_left`
    RightToLeft,
}

/// Where one track was when it was last clearly on one side of one line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crossing(Option<Place>);

#[derive(Debug, Clone, Copy)]
struct Place {
    foot: [f32; 2],
    offset: f32,
}

impl Crossing {
    /// Takes in where the track is now. It has crossed when it is on another side than it was
    /// last, and the way between these two places passes between the ends of the line.
    pub(crate) fn observe(&mut self, line: &Segment, foot: [f32; 2]) -> Option<Way> {
        let offset = line.offset(foot);
        // A line without a length, or a place that is not a number, has no side.
        if !offset.is_finite() || offset.abs() <= HYSTERESIS {
            return None;
        }
        let before = self.0.replace(Place { foot, offset })?;
        if (before.offset > 0.0) == (offset > 0.0) {
            return None;
        }
        let part = before.offset / (before.offset - offset);
        let between = |axis: usize| before.foot[axis] + part * (foot[axis] - before.foot[axis]);
        line.spans([between(0), between(1)])
            .then_some(if offset > 0.0 {
                Way::LeftToRight
            } else {
                Way::RightToLeft
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 200,
        height: 100,
    };

    /// Crossings of a line from (0.2, 0.6) to (0.8, 0.6) on the way through `feet`, both 0 to 1
    /// of the picture.
    fn walk(feet: &[[f32; 2]]) -> Vec<(usize, Way)> {
        let line = Line {
            name: "gate".to_owned(),
            from: [0.2, 0.6],
            to: [0.8, 0.6],
        };
        let segment = Segment::new(&line, SIZE);
        let mut crossing = Crossing::default();
        let step = |(index, [x, y]): (usize, &[f32; 2])| {
            crossing
                .observe(&segment, [x * 2.0, *y])
                .map(|way| (index, way))
        };
        feet.iter().enumerate().filter_map(step).collect()
    }

    #[test]
    fn from_above_to_below_is_left_to_right() {
        let down = walk(&[[0.5, 0.4], [0.5, 0.5], [0.5, 0.7], [0.5, 0.8]]);
        assert_eq!(down, [(2, Way::LeftToRight)]);
        let there_and_back = walk(&[[0.5, 0.5], [0.5, 0.7], [0.5, 0.5]]);
        assert_eq!(
            there_and_back,
            [(1, Way::LeftToRight), (2, Way::RightToLeft)]
        );
    }

    #[test]
    fn a_foot_that_trembles_on_the_line_crosses_once() {
        let feet = [0.58, 0.602, 0.598, 0.604, 0.597, 0.61, 0.603, 0.596, 0.62];
        assert_eq!(walk(&feet.map(|y| [0.5, y])), [(5, Way::LeftToRight)]);
        assert_eq!(walk(&[[0.5, 0.601], [0.5, 0.599]]), [], "on no side yet");
    }

    #[test]
    fn a_way_past_the_ends_crosses_nothing() {
        assert_eq!(walk(&[[0.1, 0.5], [0.1, 0.7]]), []);
        assert_eq!(walk(&[[0.9, 0.7], [0.9, 0.5]]), []);
        // Round the end: on the other side, but not across.
        assert_eq!(walk(&[[0.5, 0.5], [0.9, 0.5], [0.9, 0.7], [0.5, 0.7]]), []);
        // Slantwise through the very middle, in one step.
        assert_eq!(walk(&[[0.1, 0.2], [0.9, 1.0]]), [(1, Way::LeftToRight)]);
    }

    #[test]
    fn sides_turn_with_the_line() {
        let line = Line {
            name: "up".to_owned(),
            from: [0.5, 1.0],
            to: [0.5, 0.0],
        };
        let segment = Segment::new(&line, SIZE);
        assert!(
            segment.offset([1.2, 0.5]) > 0.0,
            "walking up, right is right"
        );
        assert!((segment.offset([0.8, 0.1]) + 0.2).abs() < 1e-6);
    }
}
