//! Lines of any direction, box outlines and arrow heads.

use super::canvas::{Area, Canvas};
use super::colour::Yuv;

/// A point in pixels of the picture; the middle of the first pixel is at 0.5, 0.5.
pub type Point = [f32; 2];

/// Coordinates beyond this are nonsense; cutting them keeps sums in range.
const FAR: f32 = 65_536.0;

/// A line with round ends that may grow thicker or thinner on its way.
#[derive(Debug, Clone, Copy)]
pub struct Stroke {
    from: Point,
    to: Point,
    from_radius: f32,
    to_radius: f32,
}

impl Stroke {
    /// A line of one width; `None` when an end is not a number.
    #[must_use]
    pub fn new(from: Point, to: Point, width: f32) -> Option<Self> {
        Self::tapered(from, to, width, width)
    }

    /// A line whose width changes evenly.
    #[must_use]
    pub fn tapered(from: Point, to: Point, from_width: f32, to_width: f32) -> Option<Self> {
        let known = from.iter().chain(&to).all(|value| value.is_finite());
        known.then(|| Self {
            from: from.map(|value| value.clamp(-FAR, FAR)),
            to: to.map(|value| value.clamp(-FAR, FAR)),
            from_radius: from_width / 2.0,
            to_radius: to_width / 2.0,
        })
    }

    /// How much of a pixel it covers: its distance from the line, eased over one pixel.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pixel coordinates are small and the value is clamped to a byte"
    )]
    pub fn coverage(&self, column: i32, row: i32) -> u8 {
        let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
        let along = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        let offset = [x - self.from[0], y - self.from[1]];
        let length_squared = along[0] * along[0] + along[1] * along[1];
        let part = if length_squared > 0.0 {
            ((offset[0] * along[0] + offset[1] * along[1]) / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let away = [offset[0] - part * along[0], offset[1] - part * along[1]];
        // Not `hypot`: its care for overflow costs ten times this, and FAR makes it needless.
        let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
        let radius = self.from_radius + (self.to_radius - self.from_radius) * part;
        ((radius + 0.5 - distance).clamp(0.0, 1.0) * 255.0).round() as u8
    }

    /// Calls `visit` with areas, two rows high, that together hold every pixel it covers.
    ///
    /// A long diagonal is narrow in each of them, so that its cost goes with its
    /// length and not with the rectangle around it.
    pub fn strips(&self, bound: &Area, mut visit: impl FnMut(Area)) {
        let reach = self.from_radius.max(self.to_radius) + 1.0;
        let rows = span(self.from[1], self.to[1], reach);
        let (top, bottom) = (rows.0.max(bound.top), rows.1.min(bound.bottom));
        let mut row = top;
        while row < bottom {
            let next = (row / 2 * 2 + 2).min(bottom);
            let (left, right) = self.columns(row, next, reach);
            let strip = Area {
                left,
                top: row,
                right,
                bottom: next,
            };
            let strip = strip.intersection(bound);
            if !strip.is_empty() {
                visit(strip);
            }
            row = next;
        }
    }

    /// The columns that the part of the line near rows `top..bottom` may touch.
    #[expect(clippy::cast_precision_loss, reason = "rows of a picture")]
    fn columns(&self, top: i32, bottom: i32, reach: f32) -> (i32, i32) {
        let rise = self.to[1] - self.from[1];
        if rise.abs() < 1e-3 {
            return span(self.from[0], self.to[0], reach);
        }
        let at = |y: f32| {
            let part = ((y - self.from[1]) / rise).clamp(0.0, 1.0);
            self.from[0] + part * (self.to[0] - self.from[0])
        };
        span(at(top as f32 - reach), at(bottom as f32 + reach), reach)
    }

    /// Draws it.
    pub fn draw(&self, canvas: &mut Canvas<'_>, colour: Yuv) {
        let bound = canvas.area();
        self.strips(&bound, |strip| {
            canvas.blend(strip, colour, |column, row| self.coverage(column, row));
        });
    }
}

/// The two barbs of an arrow that ends at `tip`, coming along `direction` (of any length).
#[must_use]
pub fn arrow_head(tip: Point, direction: Point, size: f32) -> [[Point; 2]; 2] {
    let length = f32::hypot(direction[0], direction[1]).max(1e-6);
    let (x, y) = (direction[0] / length * size, direction[1] / length * size);
    // The barbs point back at 35 degrees to the shaft.
    let (sine, cosine) = 35_f32.to_radians().sin_cos();
    let barb = |sine: f32| {
        [
            tip[0] - x * cosine + y * sine,
            tip[1] - y * cosine - x * sine,
        ]
    };
    [[tip, barb(sine)], [tip, barb(-sine)]]
}

/// A box outline of `width` pixels inside `area`; `dash` is the length of dashes and gaps, if it has any.
pub fn outline(
    canvas: &mut Canvas<'_>,
    area: Area,
    width: i32,
    colour: Yuv,
    alpha: u8,
    dash: Option<i32>,
) {
    for side in sides(area, width) {
        match dash {
            None => canvas.fill(side, colour, alpha),
            Some(dash) => dashed(canvas, side, dash.max(1), colour, alpha),
        }
    }
}

fn dashed(canvas: &mut Canvas<'_>, side: Area, dash: i32, colour: Yuv, alpha: u8) {
    let upright = side.height() > side.width();
    // Coordinates are cut to the picture first, so that a huge box costs no huge loop.
    let shown = side.intersection(&canvas.area());
    canvas.blend(shown, colour, |column, row| {
        let along = if upright {
            row - side.top
        } else {
            column - side.left
        };
        if along / dash % 2 == 0 { alpha } else { 0 }
    });
}

/// The four sides; none shares a pixel with another, so that translucent ones have no dark corners.
fn sides(area: Area, width: i32) -> [Area; 4] {
    let inner = area.grown(-width);
    let top = Area {
        bottom: inner.top.min(area.bottom),
        ..area
    };
    let bottom = Area {
        top: inner.bottom.max(top.bottom),
        ..area
    };
    let middle = Area {
        top: top.bottom,
        bottom: bottom.top,
        ..area
    };
    let left = Area {
        right: inner.left.min(area.right),
        ..middle
    };
    let right = Area {
        left: inner.right.max(left.right),
        ..middle
    };
    [top, left, right, bottom]
}

/// From the lower to the upper of two coordinates, wider by `reach`, in whole pixels.
#[expect(
    clippy::cast_possible_truncation,
    reason = "coordinates are cut to FAR before"
)]
fn span(first: f32, second: f32, reach: f32) -> (i32, i32) {
    let low = (first.min(second) - reach).floor() as i32;
    let high = (first.max(second) + reach).ceil() as i32;
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::geometry::{I420Layout, PixelSize};
    use proptest::prelude::*;

    const RED: Yuv = Yuv {
        y: 81,
        u: 90,
        v: 240,
    };
    const SIZE: PixelSize = PixelSize {
        width: 64,
        height: 48,
    };

    fn drawn(draw: impl FnOnce(&mut Canvas<'_>)) -> Vec<u8> {
        let layout = I420Layout::of(SIZE);
        let mut bytes = vec![128; layout.bytes];
        draw(&mut Canvas::new(&layout, &mut bytes).expect("whole"));
        bytes
    }

    fn touched(bytes: &[u8]) -> usize {
        bytes[..64 * 48].iter().filter(|luma| **luma != 128).count()
    }

    proptest! {
        #[test]
        fn strips_hold_every_covered_pixel(
            from in prop::array::uniform2(-80.0_f32..140.0),
            to in prop::array::uniform2(-80.0_f32..140.0),
            widths in (0.5_f32..9.0, 0.5_f32..9.0),
        ) {
            let stroke = Stroke::tapered(from, to, widths.0, widths.1).expect("finite");
            let strips = drawn(|canvas| stroke.draw(canvas, RED));
            let whole = drawn(|canvas| {
                let area = canvas.area();
                canvas.blend(area, RED, |column, row| stroke.coverage(column, row));
            });
            prop_assert_eq!(strips, whole);
        }
    }

    #[test]
    fn nonsense_is_not_drawn() {
        assert!(Stroke::new([f32::NAN, 0.0], [1.0, 1.0], 2.0).is_none());
        assert!(Stroke::new([0.0, 0.0], [f32::INFINITY, 1.0], 2.0).is_none());
        let far = Stroke::new([-1e30, -1e30], [-1e29, 1e30], 2.0).expect("finite");
        assert_eq!(touched(&drawn(|canvas| far.draw(canvas, RED))), 0);
        let point = Stroke::new([10.0, 10.0], [10.0, 10.0], 4.0).expect("finite");
        assert!(touched(&drawn(|canvas| point.draw(canvas, RED))) > 8);
    }

    #[test]
    fn an_outline_is_hollow_and_no_pixel_is_covered_twice() {
        let area = Area {
            left: 10,
            top: 10,
            right: 30,
            bottom: 26,
        };
        let count = |dash| touched(&drawn(|c| outline(c, area, 2, RED, 255, dash)));
        assert_eq!(count(None), 20 * 16 - 16 * 12);
        let dashes = count(Some(4));
        assert!(dashes > 50 && dashes < 100, "{dashes}");
        let half = drawn(|canvas| outline(canvas, area, 2, RED, 128, None));
        let mixed = half[10 * 64 + 10];
        assert!((half.iter().take(64 * 48)).all(|luma| *luma == 128 || *luma == mixed));
    }

    #[test]
    fn a_box_thinner_than_its_outline_is_filled() {
        let thin = Area {
            left: 10,
            top: 10,
            right: 13,
            bottom: 11,
        };
        let pixels = drawn(|canvas| outline(canvas, thin, 4, RED, 255, None));
        assert_eq!(touched(&pixels), 3);
    }

    #[test]
    fn barbs_lie_behind_the_tip() {
        for barb in arrow_head([10.0, 10.0], [3.0, 0.0], 6.0) {
            assert!(barb[1][0] < 10.0);
            assert!((f32::hypot(barb[1][0] - 10.0, barb[1][1] - 10.0) - 6.0).abs() < 1e-3);
        }
    }
}
