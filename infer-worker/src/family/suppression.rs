//! Greedy non-maximum suppression, class by class.

use contract::detection::Detection;

/// Keeps, best first, every detection that overlaps no kept one of its class by more than
/// `iou_max`, and stops at `keep_max`.
///
/// Detections of equal score keep their order, so the result depends on nothing but the
/// input. The cost is at most `detections.len() * keep_max` overlaps.
pub fn suppress(detections: &mut Vec<Detection>, iou_max: f32, keep_max: usize) {
    detections.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut kept = 0;
    for index in 0..detections.len() {
        if kept == keep_max {
            break;
        }
        let candidate = detections[index];
        let covered = detections[..kept].iter().any(|better| {
            better.class == candidate.class && better.bounds.iou(&candidate.bounds) > iou_max
        });
        if !covered {
            detections[kept] = candidate;
            kept += 1;
        }
    }
    detections.truncate(kept);
}

#[cfg(test)]
mod tests {
    use contract::detection::Landmarks;
    use contract::geometry::BoundingBox;
    use proptest::prelude::*;

    use super::*;

    fn detection(class: u16, score: f32, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
        Detection {
            bounds: BoundingBox { x1, y1, x2, y2 },
            score,
            class,
            landmarks: Landmarks::NONE,
        }
    }

    fn suppressed(mut detections: Vec<Detection>, iou_max: f32, keep_max: usize) -> Vec<Detection> {
        suppress(&mut detections, iou_max, keep_max);
        detections
    }

    /// The definition, read off the page: repeat taking the best, strike what it covers.
    fn naive(mut rest: Vec<Detection>, iou_max: f32) -> Vec<Detection> {
        let mut kept = Vec::new();
        while let Some(best) = rest
            .iter()
            .copied()
            .reduce(|one, other| if other.score > one.score { other } else { one })
        {
            kept.push(best);
            let first = rest
                .iter()
                .position(|other| *other == best)
                .expect("is in it");
            rest.remove(first);
            rest.retain(|other| {
                other.class != best.class || best.bounds.iou(&other.bounds) <= iou_max
            });
        }
        kept
    }

    #[test]
    fn the_better_of_two_stays_and_other_classes_are_left_alone() {
        let better = detection(0, 0.9, [0.0, 0.0, 10.0, 10.0]);
        let worse = detection(0, 0.5, [1.0, 0.0, 11.0, 10.0]);
        let other_class = detection(1, 0.4, [1.0, 0.0, 11.0, 10.0]);
        let far = detection(0, 0.3, [50.0, 50.0, 60.0, 60.0]);
        assert_eq!(
            suppressed(vec![far, worse, other_class, better], 0.6, 10),
            [better, other_class, far]
        );
    }

    #[test]
    fn an_overlap_equal_to_the_limit_is_not_over_it() {
        let one = detection(0, 0.9, [0.0, 0.0, 10.0, 10.0]);
        let half = detection(0, 0.5, [0.0, 0.0, 5.0, 10.0]);
        assert_eq!(suppressed(vec![one, half], 0.5, 10).len(), 2);
        assert_eq!(suppressed(vec![one, half], 0.49, 10).len(), 1);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        let first = detection(0, 0.9, [0.0, 0.0, 10.0, 10.0]);
        let second = detection(0, 0.8, [2.0, 0.0, 12.0, 10.0]);
        let third = detection(0, 0.7, [4.0, 0.0, 14.0, 10.0]);
        assert_eq!(
            suppressed(vec![first, second, third], 0.6, 10),
            [first, third]
        );
    }

    #[test]
    fn it_stops_at_the_limit() {
        let apart =
            (0..9).map(|i| detection(0, 0.5, [i as f32 * 20.0, 0.0, i as f32 * 20.0 + 10.0, 10.0]));
        assert_eq!(suppressed(apart.collect(), 0.6, 4).len(), 4);
        assert!(suppressed(Vec::new(), 0.6, 4).is_empty());
    }

    fn any_detection() -> impl Strategy<Value = Detection> {
        // Few distinct values, so that ties, nested and equal boxes come often.
        (0_u16..3, 1_u8..8, 0_u8..6, 0_u8..6, 1_u8..6, 1_u8..6).prop_map(
            |(class, score, x, y, width, height)| {
                let (x, y) = (f32::from(x), f32::from(y));
                let corner = (x + f32::from(width), y + f32::from(height));
                detection(class, f32::from(score) / 8.0, [x, y, corner.0, corner.1])
            },
        )
    }

    proptest! {
        #[test]
        fn it_keeps_what_the_definition_keeps(
            detections in prop::collection::vec(any_detection(), 0..60),
            iou_max in 0.0_f32..1.0,
        ) {
            let fast = suppressed(detections.clone(), iou_max, usize::MAX);
            prop_assert_eq!(fast, naive(detections, iou_max));
        }
    }
}
