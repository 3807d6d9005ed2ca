//! How alike a track's predicted box and a detection's box are.
//!
//! BoT-SORT compares them by `IoU`. Two things are added, because here a track may have been
//! out of sight for a while, behind something or because nobody looked, and is to be found again.
//!
//! - Both boxes are widened, the more the longer the track was not seen: the place of a
//!   walker is known less well after a second than after a frame. (C-BIoU, Yang et al. 2023,
//!   widens boxes by fixed shares.)
//! - The overlap is weighted by the ratio of the heights: what grows uncertain is the place,
//!   while people keep their size. (Hybrid-SORT, Yang et al. 2024, weights by the `IoU` of the
//!   vertical extents; there, too, height is what tells people apart who overlap.)

use contract::geometry::BoundingBox;

use super::kalman::REFERENCE_INTERVAL_S;

/// Margin added at each side of a box, in sizes of the box, for each second without sight.
/// Both numbers were chosen among a few round ones by what `make eval` prints, outages included.
const WIDENING_PER_S: f32 = 1.0;

/// Widest margin, reached after a quarter of a second. C-BIoU uses 0.3 in its first association
/// and 0.5 in its second; with 0.3 here, people were taken for others who came where they had been.
const WIDENING_MAX: f32 = 0.25;

/// From 0 to 1; `unseen_s` is the time since the track was seen.
pub(crate) fn similarity(predicted: &BoundingBox, unseen_s: f32, seen: &BoundingBox) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    let beyond_s = unseen_s - REFERENCE_INTERVAL_S as f32;
    let margin = (WIDENING_PER_S * beyond_s).clamp(0.0, WIDENING_MAX);
    let overlap = widened(predicted, margin).iou(&widened(seen, margin));
    if overlap > 0.0 {
        overlap * height_ratio(predicted, seen)
    } else {
        0.0
    }
}

fn widened(bounds: &BoundingBox, margin: f32) -> BoundingBox {
    let (x, y) = (margin * bounds.width(), margin * bounds.height());
    BoundingBox {
        x1: bounds.x1 - x,
        y1: bounds.y1 - y,
        x2: bounds.x2 + x,
        y2: bounds.y2 + y,
    }
}

/// The smaller height over the larger; 0 when there is none.
fn height_ratio(one: &BoundingBox, other: &BoundingBox) -> f32 {
    let (one, other) = (one.height(), other.height());
    let larger = one.max(other);
    if larger > 0.0 {
        (one.min(other) / larger).max(0.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, height: f32) -> BoundingBox {
        BoundingBox {
            x1: x,
            y1: 100.0,
            x2: x + 40.0,
            y2: 100.0 + height,
        }
    }

    #[test]
    fn of_a_track_seen_a_moment_ago_it_is_iou_weighted_by_height() {
        let (one, other) = (at(0.0, 100.0), at(20.0, 100.0));
        assert!((similarity(&one, 1.0 / 30.0, &other) - one.iou(&other)).abs() < 1e-6);
        let half = at(0.0, 50.0);
        assert!((similarity(&one, 0.0, &half) - 0.5 * 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_longer_unseen_the_further_off_it_may_be() {
        let (lost, seen) = (at(0.0, 100.0), at(50.0, 100.0));
        let after = |unseen_s| similarity(&lost, unseen_s, &seen);
        assert!(after(0.1).abs() < f32::EPSILON);
        assert!(after(0.2) > 0.0 && after(0.25) > after(0.2));
        // By hand: boxes of 60 x 150 that are 50 apart share 10 of 110 columns.
        assert!((after(5.0) - 10.0 / 110.0).abs() < 1e-6);
        assert!((after(5.0) - after(f32::MAX)).abs() < f32::EPSILON);
    }

    #[test]
    fn boxes_without_extent_are_like_nothing() {
        let nothing = BoundingBox::default();
        assert!(similarity(&nothing, 1.0, &nothing).abs() < f32::EPSILON);
        assert!(similarity(&nothing, 1.0, &at(0.0, 100.0)).abs() < f32::EPSILON);
    }
}
