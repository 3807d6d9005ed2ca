//! Whether a list of corners encloses an area, and what lies inside.

/// Whether a point lies in a polygon: an odd number of edges is crossed on the way
/// out to the right (W. R. Franklin's PNPOLY).
///
/// What lies on the right or lower border of the picture is moved inside by a hair.
pub(crate) fn contains(corners: &[[f32; 2]], point: [f32; 2]) -> bool {
    const INSIDE: f32 = 1.0 - f32::EPSILON;
    let [x, y] = point.map(|coordinate| coordinate.min(INSIDE));
    let mut inside = false;
    let mut previous = corners.last();
    for corner in corners {
        if let Some(&[x1, y1]) = previous {
            let [x2, y2] = *corner;
            if (y1 > y) != (y2 > y) && x < (x1 - x2) * (y - y2) / (y1 - y2) + x2 {
                inside = !inside;
            }
        }
        previous = Some(corner);
    }
    inside
}

/// Two edges that meet where they should not, by their first corners.
///
/// Neighbours may share their corner and nothing else; all others may not touch.
/// Each pair is tried, which is cheap for as few corners as are allowed.
pub(crate) fn crossing_edges(corners: &[[f32; 2]]) -> Option<(usize, usize)> {
    let count = corners.len();
    let edge = |index: usize| (corners[index], corners[(index + 1) % count]);
    for first in 0..count {
        for second in first + 1..count {
            let (a, b) = edge(first);
            let (c, d) = edge(second);
            let wrong = if (first + 1) % count == second {
                folds_back(a, b, d)
            } else if (second + 1) % count == first {
                folds_back(c, d, b)
            } else {
                meet(a, b, c, d)
            };
            if wrong {
                return Some((first, second));
            }
        }
    }
    None
}

/// Twice the signed area of a triangle: its sign says on which side of a line `c` lies.
fn side(a: [f32; 2], b: [f32; 2], c: [f32; 2]) -> f64 {
    let [ax, ay] = a.map(f64::from);
    let [bx, by] = b.map(f64::from);
    let [cx, cy] = c.map(f64::from);
    (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

/// Segments `ab` and `cd` share a point (the orientation test of Cormen et al., 33.1).
fn meet(a: [f32; 2], b: [f32; 2], c: [f32; 2], d: [f32; 2]) -> bool {
    let straddles = |one: f64, other: f64| (one > 0.0 && other < 0.0) || (one < 0.0 && other > 0.0);
    let (side_c, side_d) = (side(a, b, c), side(a, b, d));
    let (side_a, side_b) = (side(c, d, a), side(c, d, b));
    (straddles(side_c, side_d) && straddles(side_a, side_b))
        || (side_c == 0.0 && within(a, b, c))
        || (side_d == 0.0 && within(a, b, d))
        || (side_a == 0.0 && within(c, d, a))
        || (side_b == 0.0 && within(c, d, b))
}

/// Point `p`, known to be on the line through `a` and `b`, lies between them.
fn within(a: [f32; 2], b: [f32; 2], p: [f32; 2]) -> bool {
    (0..2).all(|axis| a[axis].min(b[axis]) <= p[axis] && p[axis] <= a[axis].max(b[axis]))
}

/// After `a` to `b`, the way to `c` lies on the way back, or a step has no length.
fn folds_back(a: [f32; 2], b: [f32; 2], c: [f32; 2]) -> bool {
    let [ax, ay] = a.map(f64::from);
    let [bx, by] = b.map(f64::from);
    let [cx, cy] = c.map(f64::from);
    let forward = (bx - ax) * (cx - bx) + (by - ay) * (cy - by);
    side(a, b, c) == 0.0 && forward <= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_a_concave_polygon() {
        let polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.5, 0.3], [0.1, 0.9]];
        for (point, inside) in [
            ([0.2, 0.2], true),
            ([0.5, 0.2], true),
            ([0.5, 0.4], false),
            ([0.85, 0.8], true),
            ([0.05, 0.2], false),
            ([0.95, 0.2], false),
            ([0.5, 0.05], false),
        ] {
            assert_eq!(contains(&polygon, point), inside, "{point:?}");
        }
    }

    #[test]
    fn the_border_of_the_picture_is_inside() {
        let whole = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        for point in [[0.0, 0.0], [1.0, 0.5], [0.5, 1.0], [1.0, 1.0]] {
            assert!(contains(&whole, point), "{point:?}");
        }
    }

    #[test]
    fn simple_polygons_pass_and_others_name_their_edges() {
        let square = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        let extra_corner = [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [1.0, 1.0]];
        let concave = [[0.0, 0.0], [1.0, 0.0], [0.4, 0.4], [0.0, 1.0]];
        for good in [&square, &extra_corner, &concave] {
            assert_eq!(crossing_edges(good), None, "{good:?}");
        }
        let bow_tie = [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]];
        assert_eq!(crossing_edges(&bow_tie), Some((0, 2)));
        let flat = [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]];
        let repeated = [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]];
        let touching = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.0], [0.0, 1.0]];
        assert!(crossing_edges(&flat).is_some());
        assert!(crossing_edges(&repeated).is_some());
        assert!(crossing_edges(&touching).is_some());
    }
}
