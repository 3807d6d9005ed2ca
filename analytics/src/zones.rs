//! Which zones an object is in.

use contract::geometry::{BoundingBox, PixelSize};
use dsl::{Anchor, Zone};

/// The zones that hold the anchor of a box in pixels of a picture of `size`: bit `i` for zone `i`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
pub fn membership(zones: &[Zone], bounds: &BoundingBox, size: PixelSize) -> u64 {
    let (width, height) = (size.width.max(1) as f32, size.height.max(1) as f32);
    let mut bits = 0;
    for (index, zone) in zones.iter().take(dsl::ZONES_MAX).enumerate() {
        let (x, bottom) = bounds.bottom_center();
        let y = match zone.anchor {
            Anchor::BottomCenter => bottom,
            Anchor::Center => f32::midpoint(bounds.y1, bounds.y2),
        };
        if contains(&zone.polygon, [x / width, y / height]) {
            bits |= 1 << index;
        }
    }
    bits
}

/// Whether a point lies in a polygon: an odd number of edges is crossed on the way
/// out to the right (W. R. Franklin's PNPOLY).
///
/// Of a point on an edge, the left and upper edges count as inside. An object cut
/// off by the picture stands on its very border, so what lies on the right or
/// lower border of the picture is moved inside by a hair.
#[must_use]
pub fn contains(polygon: &[[f32; 2]], point: [f32; 2]) -> bool {
    const INSIDE: f32 = 1.0 - f32::EPSILON;
    let [x, y] = point.map(|coordinate| coordinate.min(INSIDE));
    let mut inside = false;
    let mut previous = polygon.last();
    for corner in polygon {
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
    fn an_object_cut_off_by_the_picture_is_in_the_zone_at_its_border() {
        let size = PixelSize {
            width: 200,
            height: 100,
        };
        let zone = |anchor| Zone {
            name: "z".to_owned(),
            polygon: vec![[0.5, 0.5], [1.0, 0.5], [1.0, 1.0], [0.5, 1.0]],
            anchor,
        };
        let zones = [zone(Anchor::Center), zone(Anchor::BottomCenter)];
        let bounds = |x1, y1, x2, y2| BoundingBox { x1, y1, x2, y2 };
        assert_eq!(
            membership(&zones, &bounds(150.0, 0.0, 190.0, 100.0), size),
            0b11
        );
        assert_eq!(
            membership(&zones, &bounds(150.0, 0.0, 190.0, 80.0), size),
            0b10
        );
        assert_eq!(membership(&zones, &bounds(0.0, 0.0, 90.0, 100.0), size), 0);
    }
}
