//! Points that can be recognised: corners by the smaller eigenvalue of the structure tensor
//! (Shi and Tomasi 1994), the best of each cell of a grid, so that they cover the picture.

use super::pyramid::{LEVELS, Plane, Pyramid};

/// Cells of the grid, and with it the most corners. A similarity has four unknowns; ten
/// cells in one direction leave enough of them beside those that moving objects cover.
const CELLS_ACROSS: usize = 12;
const CELLS_DOWN: usize = 8;

/// Corners in all.
pub(super) const CORNERS_MAX: usize = CELLS_ACROSS * CELLS_DOWN;

/// The level at which corners are looked for: one pixel of four is enough to choose among.
const LEVEL: usize = 1;

/// Smallest eigenvalue of a corner, in squared grey levels a pixel: weaker ones are noise.
const EIGENVALUE_MIN: f32 = 20.0;

/// Half the side of the square over which the tensor is summed.
const REACH: usize = 1;

/// Pixels at the border where no corner is looked for, so that its surroundings can be compared
/// on each level.
const BORDER: usize = 5 << (LEVELS - 1 - LEVEL);

/// The corners of a picture, in pixels of its level 0.
pub(super) fn find(pyramid: &Pyramid, corners: &mut Vec<[f32; 2]>) {
    corners.clear();
    let plane = &pyramid.levels[LEVEL];
    if plane.width <= 2 * BORDER || plane.height <= 2 * BORDER {
        return;
    }
    let (width, height) = (plane.width - 2 * BORDER, plane.height - 2 * BORDER);
    for row in 0..CELLS_DOWN {
        let rows = BORDER + row * height / CELLS_DOWN..BORDER + (row + 1) * height / CELLS_DOWN;
        for column in 0..CELLS_ACROSS {
            let columns = BORDER + column * width / CELLS_ACROSS
                ..BORDER + (column + 1) * width / CELLS_ACROSS;
            let mut best = (EIGENVALUE_MIN, None);
            // Each second pixel: a corner is wider than one.
            for y in rows.clone().step_by(2) {
                for x in columns.clone().step_by(2) {
                    let value = smaller_eigenvalue(plane, x, y);
                    if value > best.0 {
                        best = (value, Some((x, y)));
                    }
                }
            }
            if let Some((x, y)) = best.1 {
                corners.push([x, y].map(to_level_0));
            }
        }
    }
}

/// Pixel centres are whole numbers, so pixel 0 of a level covers 0 to 1 of the level below.
#[expect(clippy::cast_precision_loss, reason = "pixels of a small picture")]
fn to_level_0(at: usize) -> f32 {
    let scale = (1_usize << LEVEL) as f32;
    at as f32 * scale + (scale - 1.0) / 2.0
}

/// Of the mean structure tensor around a pixel, with central differences.
fn smaller_eigenvalue(plane: &Plane, x: usize, y: usize) -> f32 {
    let (mut xx, mut xy, mut yy) = (0_i32, 0_i32, 0_i32);
    for row in y - REACH..=y + REACH {
        let begin = row * plane.width + x - REACH;
        let above = &plane.pixels[begin - plane.width..];
        let here = &plane.pixels[begin - 1..];
        let below = &plane.pixels[begin + plane.width..];
        for i in 0..=2 * REACH {
            let dx = i32::from(here[i + 2]) - i32::from(here[i]);
            let dy = i32::from(below[i]) - i32::from(above[i]);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
    }
    // Central differences are twice the slope, so its square is four times.
    #[expect(clippy::cast_precision_loss, reason = "at most 9 * 255 squared")]
    let [xx, xy, yy] = [xx, xy, yy].map(|sum| {
        let pixels = (2 * REACH + 1) * (2 * REACH + 1);
        sum as f32 / (4 * pixels) as f32
    });
    0.5 * (xx + yy - (xx - yy).hypot(2.0 * xy))
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;

    use super::*;

    fn corners(paint: impl Fn(usize, usize) -> u8) -> Vec<[f32; 2]> {
        let size = PixelSize {
            width: 240,
            height: 160,
        };
        let luma: Vec<u8> = (0..160)
            .flat_map(|y| (0..240).map(move |x| (x, y)))
            .map(|(x, y)| paint(x, y))
            .collect();
        let mut pyramid = Pyramid::default();
        assert!(pyramid.fill(&luma, 240, size));
        let mut corners = Vec::new();
        find(&pyramid, &mut corners);
        corners
    }

    #[test]
    fn a_corner_is_found_and_an_edge_is_none() {
        let found = corners(|x, y| if x >= 110 && y >= 70 { 200 } else { 20 });
        assert!(!found.is_empty());
        for [x, y] in found {
            assert!((x - 110.0).abs() < 6.0 && (y - 70.0).abs() < 6.0, "{x} {y}");
        }
        assert_eq!(
            corners(|x, _| if x >= 110 { 200 } else { 20 }),
            [[0.0; 2]; 0]
        );
        assert_eq!(corners(|_, _| 90), [[0.0; 2]; 0]);
    }

    #[test]
    fn a_busy_picture_is_covered() {
        let found = corners(|x, y| if (x / 6 + y / 6) % 2 == 0 { 200 } else { 20 });
        assert_eq!(found.len(), CORNERS_MAX);
    }
}
