//! From what a head says, in pixels of the input, to objects of the picture.

use contract::detection::{DETECTIONS_MAX, Detection};

use super::suppress;
use crate::letterbox::Letterbox;

/// Best first, suppressed class by class with `iou_max`, or as they are where the model has
/// done that itself; at most [`DETECTIONS_MAX`], in pixels of the picture, boxes clipped to it.
pub(super) fn to_objects(
    mut detections: Vec<Detection>,
    iou_max: Option<f32>,
    letterbox: &Letterbox,
) -> Vec<Detection> {
    // A model gone wrong may give NaN or a box inside out: those are no detections.
    detections.retain(|detection| {
        detection.bounds.is_valid() && detection.landmarks.is_valid() && detection.score >= 0.0
    });
    if let Some(iou_max) = iou_max {
        suppress(&mut detections, iou_max, DETECTIONS_MAX);
    } else {
        detections.sort_by(|one, other| other.score.total_cmp(&one.score));
        detections.truncate(DETECTIONS_MAX);
    }
    for detection in &mut detections {
        let bounds = letterbox.to_picture(&detection.bounds);
        detection.bounds = bounds.clipped(letterbox.picture);
        detection.landmarks = letterbox.landmarks_to_picture(detection.landmarks);
        detection.score = detection.score.min(1.0);
    }
    // What lies wholly in the padding shows nothing of the picture.
    detections.retain(|detection| detection.bounds.area() > 0.0);
    detections
}

#[cfg(test)]
mod tests {
    use contract::detection::Landmarks;
    use contract::geometry::{BoundingBox, PixelSize};

    use super::*;

    const PICTURE: PixelSize = PixelSize {
        width: 200,
        height: 100,
    };
    const INPUT: PixelSize = PixelSize {
        width: 100,
        height: 100,
    };

    fn detection(score: f32, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
        Detection {
            bounds: BoundingBox { x1, y1, x2, y2 },
            score,
            class: 0,
            landmarks: Landmarks::NONE,
        }
    }

    #[test]
    fn boxes_and_landmarks_are_taken_to_the_picture() {
        let mut found = detection(1.25, [10.0, 20.0, 60.0, 50.0]);
        found.landmarks = Landmarks::new(&[[0.0, 25.0], [-5.0, 75.0]]).expect("two");
        let letterbox = Letterbox::new(PICTURE, INPUT);
        let objects = to_objects(vec![found], Some(0.5), &letterbox);
        let [object] = objects[..] else {
            panic!("{objects:?}");
        };
        let wanted = detection(1.0, [20.0, 0.0, 120.0, 50.0]);
        assert_eq!((object.bounds, object.score), (wanted.bounds, 1.0));
        // Landmarks are not clipped: half a face outside of the picture has an eye there.
        assert_eq!(object.landmarks.points(), [[0.0, 0.0], [-10.0, 100.0]]);
    }

    #[test]
    fn suppression_is_left_out_where_the_model_has_done_it() {
        let pair = || {
            vec![
                detection(0.5, [10.0, 30.0, 60.0, 70.0]),
                detection(0.9, [10.0, 30.0, 60.0, 69.0]),
            ]
        };
        let letterbox = Letterbox::new(PICTURE, INPUT);
        assert_eq!(to_objects(pair(), Some(0.5), &letterbox).len(), 1);
        let both = to_objects(pair(), None, &letterbox);
        assert_eq!([both[0].score, both[1].score], [0.9, 0.5]);
        let many = vec![detection(0.5, [10.0, 30.0, 60.0, 70.0]); DETECTIONS_MAX + 1];
        assert_eq!(to_objects(many, None, &letterbox).len(), DETECTIONS_MAX);
    }

    #[test]
    fn nonsense_and_what_lies_in_the_padding_is_dropped() {
        let mut no_point = detection(0.9, [10.0, 30.0, 60.0, 70.0]);
        no_point.landmarks = Landmarks::new(&[[f32::NAN, 0.0]]).expect("one");
        let wrong = vec![
            detection(f32::NAN, [10.0, 30.0, 60.0, 70.0]),
            detection(0.9, [10.0, f32::INFINITY, 60.0, 70.0]),
            detection(0.9, [60.0, 30.0, 10.0, 70.0]),
            no_point,
            detection(0.9, [10.0, 5.0, 60.0, 20.0]),
        ];
        let letterbox = Letterbox::new(PICTURE, INPUT);
        assert_eq!(to_objects(wrong, Some(0.5), &letterbox), []);
    }
}
