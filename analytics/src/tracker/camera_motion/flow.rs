//! Where a point of one picture is in the next: pyramidal Lucas-Kanade (Lucas and Kanade 1981;
//! Bouguet 2001), from the coarsest level down.

use super::pyramid::{LEVELS, Plane, Pyramid};

/// Half the side of the window that is compared.
const REACH: usize = 3;
const SIDE: usize = 2 * REACH + 1;
const PIXELS: usize = SIDE * SIDE;

/// Steps a level; most points need two or three.
const STEPS_MAX: usize = 8;

/// A step this small, in pixels, is the last.
const STEP_MIN: f32 = 0.03;

/// Smallest eigenvalue of a window that can be followed, in squared grey levels a pixel.
const EIGENVALUE_MIN: f32 = 5.0;

/// Windows that differ more at the end, in mean grey levels, are not of the same thing.
const RESIDUAL_MAX: f32 = 12.0;

type Window = [f32; PIXELS];

/// The place in `to` of what is at `point` in `from`, both in pixels of level 0; `None` when it
/// cannot be told.
pub(super) fn follow(from: &Pyramid, to: &Pyramid, point: [f32; 2]) -> Option<[f32; 2]> {
    let mut shift = [0.0; 2];
    for level in (0..LEVELS).rev() {
        #[expect(clippy::cast_precision_loss, reason = "1, 2 or 4")]
        let scale = (1_usize << level) as f32;
        let at = point.map(|c| (c - (scale - 1.0) / 2.0) / scale);
        shift = shift.map(|c: f32| 2.0 * c);
        shift = follow_on_level(
            &from.levels[level],
            &to.levels[level],
            at,
            shift,
            level == 0,
        )?;
    }
    Some([point[0] + shift[0], point[1] + shift[1]])
}

/// Mean grey-level difference of the windows at the same point of two pictures; `None` when the
/// window is not inside.
pub(super) fn difference(from: &Pyramid, to: &Pyramid, point: [f32; 2]) -> Option<f32> {
    let one = window(&from.levels[0], point)?;
    let other = window(&to.levels[0], point)?;
    Some(mean_difference(&one, &other))
}

fn follow_on_level(
    from: &Plane,
    to: &Plane,
    at: [f32; 2],
    mut shift: [f32; 2],
    is_last: bool,
) -> Option<[f32; 2]> {
    let template = window(from, at)?;
    let (dx, dy) = slopes(from, at)?;
    let product = |a: &Window, b: &Window| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (xx, xy, yy) = (product(&dx, &dx), product(&dx, &dy), product(&dy, &dy));
    #[expect(clippy::cast_precision_loss, reason = "49")]
    let least = EIGENVALUE_MIN * PIXELS as f32;
    if 0.5 * (xx + yy - (xx - yy).hypot(2.0 * xy)) < least {
        // Nothing to hold on to here; a finer level may have it.
        return (!is_last).then_some(shift);
    }
    let determinant = xx * yy - xy * xy;
    let mut residual = f32::INFINITY;
    for _ in 0..STEPS_MAX {
        let seen = window(to, [at[0] + shift[0], at[1] + shift[1]])?;
        residual = mean_difference(&template, &seen);
        let (mut x, mut y) = (0.0, 0.0);
        for i in 0..PIXELS {
            let error = template[i] - seen[i];
            x += error * dx[i];
            y += error * dy[i];
        }
        let step = [
            (yy * x - xy * y) / determinant,
            (xx * y - xy * x) / determinant,
        ];
        shift = [shift[0] + step[0], shift[1] + step[1]];
        if step[0].hypot(step[1]) < STEP_MIN {
            break;
        }
    }
    (!is_last || residual <= RESIDUAL_MAX).then_some(shift)
}

/// The pixels around a point, between pixels bilinearly; `None` when not all are inside.
fn window(plane: &Plane, [x, y]: [f32; 2]) -> Option<Window> {
    let (left, top, [wx, wy]) = first_of(plane, [x, y])?;
    let mut window = [0.0; PIXELS];
    for (index, target) in window.chunks_exact_mut(SIDE).enumerate() {
        let begin = (top + index) * plane.width + left;
        let upper = plane.pixels.get(begin..=begin + SIDE)?;
        let lower = plane
            .pixels
            .get(begin + plane.width..=begin + plane.width + SIDE)?;
        for (i, pixel) in target.iter_mut().enumerate() {
            let [a, b, c, d] = [upper[i], upper[i + 1], lower[i], lower[i + 1]].map(f32::from);
            let (above, beneath) = (a + wx * (b - a), c + wx * (d - c));
            *pixel = above + wy * (beneath - above);
        }
    }
    Some(window)
}

/// Horizontal and vertical slopes around a point, by central differences.
fn slopes(plane: &Plane, [x, y]: [f32; 2]) -> Option<(Window, Window)> {
    let shifted = |dx: f32, dy: f32| window(plane, [x + dx, y + dy]);
    let halved = |ahead: Window, behind: Window| {
        let mut slope = ahead;
        for (slope, behind) in slope.iter_mut().zip(behind) {
            *slope = 0.5 * (*slope - behind);
        }
        slope
    };
    let horizontal = halved(shifted(1.0, 0.0)?, shifted(-1.0, 0.0)?);
    let vertical = halved(shifted(0.0, 1.0)?, shifted(0.0, -1.0)?);
    Some((horizontal, vertical))
}

/// The first pixel of the window around a point and the weights of its right and lower
/// neighbours; `None` when the window is not inside.
fn first_of(plane: &Plane, [x, y]: [f32; 2]) -> Option<(usize, usize, [f32; 2])> {
    #[expect(clippy::cast_precision_loss, reason = "pixels of a small picture")]
    let (reach, width, height) = (REACH as f32, plane.width as f32, plane.height as f32);
    let (left, top) = (x - reach, y - reach);
    // One more on the right and below, for interpolation. A point that is no number is not inside.
    let inside = left >= 0.0 && top >= 0.0 && x + reach + 1.0 < width && y + reach + 1.0 < height;
    if !inside {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "inside the picture"
    )]
    let whole = (left as usize, top as usize);
    Some((whole.0, whole.1, [left.fract(), top.fract()]))
}

fn mean_difference(one: &Window, other: &Window) -> f32 {
    let sum: f32 = one.iter().zip(other).map(|(a, b)| (a - b).abs()).sum();
    #[expect(clippy::cast_precision_loss, reason = "49")]
    let pixels = PIXELS as f32;
    sum / pixels
}
