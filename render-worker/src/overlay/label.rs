//! Where the label of a box goes.

use super::canvas::Area;

/// Finds a place for a `width` x `height` label of `object`: above it if that is
/// inside the picture and free, else the place that hides least of other labels
/// and of other boxes. The result is inside `picture` unless the label is larger.
#[must_use]
pub fn place(
    (width, height): (i32, i32),
    object: Area,
    picture: &Area,
    labels: &[Area],
    objects: &[Area],
) -> Area {
    let at = |left: i32, top: i32| {
        let label = Area {
            left,
            top,
            right: left.saturating_add(width),
            bottom: top.saturating_add(height),
        };
        label.moved_inside(picture)
    };
    let right_aligned = object.right.saturating_sub(width);
    let above = object.top.saturating_sub(height);
    let candidates = [
        at(object.left, above),
        at(right_aligned, above),
        at(object.left, object.bottom),
        at(right_aligned, object.bottom),
        // In a crowd labels are stacked.
        at(object.left, above.saturating_sub(height)),
        at(object.left, object.bottom.saturating_add(height)),
        at(object.left, object.top),
        at(right_aligned, object.top),
    ];
    let cost = |label: &Area| {
        let hidden_labels: i64 = labels
            .iter()
            .map(|other| label.intersection(other).pixels())
            .sum();
        let hidden_objects: i64 = objects
            .iter()
            .filter(|other| **other != object)
            .map(|other| label.intersection(other).pixels())
            .sum();
        // A hidden label is lost, a box hidden in part is still seen; a label over
        // its own box hides what was detected.
        hidden_labels * 8 + hidden_objects * 2 + label.intersection(&object).pixels()
    };
    let free = cost(&candidates[0]) <= label_pixels(width, height) / 4;
    if free {
        // A little overlap is better than a label that jumps from side to side.
        return candidates[0];
    }
    candidates
        .into_iter()
        .min_by_key(cost)
        .unwrap_or(candidates[0])
}

fn label_pixels(width: i32, height: i32) -> i64 {
    i64::from(width) * i64::from(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PICTURE: Area = Area {
        left: 0,
        top: 0,
        right: 640,
        bottom: 360,
    };

    fn area(left: i32, top: i32, width: i32, height: i32) -> Area {
        Area {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }

    #[test]
    fn above_is_preferred() {
        let object = area(100, 100, 50, 80);
        let label = place((60, 15), object, &PICTURE, &[], &[object]);
        assert_eq!(label, area(100, 85, 60, 15));
    }

    #[test]
    fn a_neighbour_is_not_hidden_where_there_is_room() {
        let object = area(100, 100, 50, 80);
        let neighbour = area(90, 40, 80, 60);
        let label = place((60, 15), object, &PICTURE, &[], &[object, neighbour]);
        assert_eq!(label.intersection(&neighbour).pixels(), 0);
        let taken = [area(95, 85, 60, 15)];
        let label = place((60, 15), object, &PICTURE, &taken, &[object]);
        assert_eq!(label.intersection(&taken[0]).pixels(), 0);
    }

    #[test]
    fn at_the_top_it_goes_below_the_box() {
        let object = area(100, 2, 50, 80);
        let label = place((60, 15), object, &PICTURE, &[], &[object]);
        assert_eq!(label, area(100, 82, 60, 15));
    }

    proptest! {
        #[test]
        fn it_stays_inside_the_picture(
            left in -1000_i32..2000,
            top in -1000_i32..2000,
            width in 0_i32..2000,
            height in 0_i32..2000,
        ) {
            let object = area(left, top, width, height);
            let label = place((60, 15), object, &PICTURE, &[], &[object]);
            prop_assert_eq!(label.intersection(&PICTURE), label);
            prop_assert_eq!((label.width(), label.height()), (60, 15));
        }
    }
}
