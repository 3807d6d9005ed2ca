//! The objects that one model sees in a stream, and their tracks.

use analytics::{TrackState, TrackedObject, Tracker};
use contract::detection::{Detection, Landmarks};
use contract::geometry::PixelSize;
use contract::spec::TrackerSpec;

use crate::best_shot::Living;
use crate::join::Answer;

/// The objects that one model sees.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) labels: Vec<String>,
    pub(super) tracker: Tracker,
    /// Of this frame, copied for their lifetime.
    pub(super) objects: Vec<TrackedObject>,
    /// What was found on each of them in this frame.
    pub(super) landmarks: Vec<Landmarks>,
    /// Detections of this frame that belong to no confirmed track.
    pub(super) untracked: Vec<Detection>,
    newest_id: u64,
}

impl Model {
    /// Model number `index` of `count`, after `begun` tracks of the stream.
    pub(super) fn new(
        labels: Vec<String>,
        spec: &TrackerSpec,
        (index, count): (u16, u16),
        begun: u64,
    ) -> Self {
        Self {
            labels,
            tracker: Tracker::interleaved(spec, index, count, begun),
            objects: Vec::new(),
            landmarks: Vec::new(),
            untracked: Vec::new(),
            newest_id: u64::from(index) + begun * u64::from(count),
        }
    }

    /// Takes in a frame; returns how many tracks have begun.
    pub(super) fn observe(&mut self, pts_ns: u64, size: PixelSize, answer: Option<&Answer>) -> u64 {
        self.untracked.clear();
        let tracks = match answer {
            Some(Answer::Found(findings)) => {
                let detections = findings.detections();
                let tracks = self.tracker.update(pts_ns, size, detections);
                let taken = |index| tracks.objects.iter().any(|o| o.detection == Some(index));
                let free = detections
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| !taken(*index));
                self.untracked.extend(free.map(|(_, detection)| *detection));
                tracks
            }
            Some(Answer::Skipped(_)) | None => self.tracker.coast(pts_ns, size),
        };
        self.objects.clear();
        self.objects.extend_from_slice(tracks.objects);
        self.landmarks.clear();
        let detections = match answer {
            Some(Answer::Found(findings)) => findings.detections(),
            Some(Answer::Skipped(_)) | None => &[],
        };
        let found = |object: &TrackedObject| {
            let detection = object.detection.and_then(|index| detections.get(index));
            detection.map_or(Landmarks::NONE, |detection| detection.landmarks)
        };
        self.landmarks.extend(self.objects.iter().map(found));
        let newest_id = self.newest_id;
        let begun = self.objects.iter().filter(|object| object.id > newest_id);
        let count = begun.count() as u64;
        let ids = self.objects.iter().map(|object| object.id);
        self.newest_id = ids.fold(newest_id, u64::max);
        count
    }

    /// What is to be seen, and the landmarks on it: not the tracks that were looked for and not
    /// found.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&TrackedObject, &Landmarks)> + Clone {
        let objects = self.objects.iter().zip(&self.landmarks);
        objects.filter(|(object, _)| object.state != TrackState::Lost)
    }

    /// It follows this track, which may be out of sight.
    pub(super) fn has(&self, track: u64) -> bool {
        self.objects.iter().any(|object| object.id == track)
    }

    /// What is known of a track that it follows.
    pub(super) fn living(&self, track: u64, pts_ns: u64) -> Option<Living<'_>> {
        let mut objects = self.objects.iter().zip(&self.landmarks);
        let (object, landmarks) = objects.find(|(object, _)| object.id == track)?;
        Some(Living {
            label: self.label(object.class),
            began_pts_ns: pts_ns.saturating_sub(object.age_ns),
            landmarks: *landmarks,
        })
    }

    pub(super) fn label(&self, class: u16) -> &str {
        self.labels
            .get(usize::from(class))
            .map_or("object", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::detection::Skip;
    use contract::findings::Findings;
    use contract::geometry::BoundingBox;
    use contract::spec::TrackerAlgorithm;

    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 640,
        height: 360,
    };

    fn model() -> Model {
        let spec = TrackerSpec {
            algorithm: TrackerAlgorithm::Botsort,
            high_score: 0.5,
            new_track_score: 0.5,
            iou_min: 0.1,
            lost_timeout_ms: 1000,
            camera_motion: true,
        };
        Model::new(vec!["person".to_owned()], &spec, (0, 1), 0)
    }

    fn detection(x: f32, score: f32) -> Detection {
        Detection {
            bounds: BoundingBox {
                x1: x,
                y1: 100.0,
                x2: x + 40.0,
                y2: 200.0,
            },
            score,
            class: 0,
            landmarks: Landmarks::NONE,
        }
    }

    fn found(detections: Vec<Detection>) -> Answer {
        Answer::Found(Arc::new(Findings::Detections(detections)))
    }

    #[test]
    fn tracks_are_counted_once_and_no_detection_is_forgotten() {
        let mut model = model();
        let mut begun = 0;
        for frame in 0..10_u8 {
            let x = f32::from(frame);
            let seen = vec![
                detection(x, 0.9),
                detection(300.0 + x, 0.8),
                detection(500.0, 0.2),
            ];
            let answer = found(seen);
            begun += model.observe(u64::from(frame) * 40_000_000, SIZE, Some(&answer));
            let tracked = model
                .objects
                .iter()
                .filter(|o| o.detection.is_some())
                .count();
            assert_eq!(tracked + model.untracked.len(), 3, "frame {frame}");
        }
        assert_eq!(begun, 2);
        assert_eq!(model.visible().count(), 2);
    }

    #[test]
    fn landmarks_go_with_the_object_they_were_found_on() {
        let marked = |x: f32, points: &[[f32; 2]]| Detection {
            landmarks: Landmarks::new(points).expect("few"),
            ..detection(x, 0.9)
        };
        let mut model = model();
        for frame in 0..4 {
            let seen = found(vec![
                marked(300.0, &[[310.0, 110.0]]),
                marked(100.0, &[[110.0, 110.0], [130.0, 110.0]]),
            ]);
            model.observe(frame * 40_000_000, SIZE, Some(&seen));
        }
        let mut counts: Vec<_> = model
            .visible()
            .map(|(object, landmarks)| (object.bounds.x1 > 200.0, landmarks.count()))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [(false, 2), (true, 1)]);
        // A predicted box has none.
        model.observe(160_000_000, SIZE, None);
        assert!(
            model
                .visible()
                .all(|(_, landmarks)| *landmarks == Landmarks::NONE)
        );
    }

    #[test]
    fn a_skipped_frame_shows_predicted_boxes_and_a_missed_object_is_hidden() {
        let mut model = model();
        let seen = found(vec![detection(100.0, 0.9)]);
        for frame in 0..5 {
            model.observe(frame * 40_000_000, SIZE, Some(&seen));
        }
        model.observe(200_000_000, SIZE, Some(&Answer::Skipped(Skip::Shed)));
        let states: Vec<TrackState> = model.visible().map(|(object, _)| object.state).collect();
        assert_eq!(states, [TrackState::Coasting]);
        model.observe(240_000_000, SIZE, Some(&found(Vec::new())));
        assert_eq!(model.visible().count(), 0);
    }
}
