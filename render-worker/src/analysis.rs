//! Tracks and rules of one stream: the crate `analytics`, fed with answers and asked for boxes.

use analytics::{Firing, FrameContext, RuleEngine, TrackState, TrackedObject, Tracker};
use contract::control::ObjectRecord;
use contract::detection::Detection;
use contract::geometry::PixelSize;
use contract::spec::{RenderSpec, RuleSource};
use dsl::RuleFile;
use worker::Failure;

use crate::join::Answer;
use crate::overlay::{Mark, Object};

/// The objects that one model sees.
#[derive(Debug)]
struct Model {
    labels: Vec<String>,
    tracker: Tracker,
    /// Of this frame, copied for their lifetime.
    objects: Vec<TrackedObject>,
    /// Detections of this frame that belong to no confirmed track.
    untracked: Vec<Detection>,
    newest_id: u64,
}

impl Model {
    /// Takes in a frame; returns how many tracks have begun.
    fn observe(&mut self, pts_ns: u64, size: PixelSize, answer: Option<&Answer>) -> u64 {
        self.untracked.clear();
        let tracks = match answer {
            Some(Answer::Detections(detections)) => {
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
        let newest_id = self.newest_id;
        let begun = self.objects.iter().filter(|object| object.id > newest_id);
        let count = begun.count() as u64;
        let ids = self.objects.iter().map(|object| object.id);
        self.newest_id = ids.fold(newest_id, u64::max);
        count
    }

    /// What is to be seen: not the tracks that were looked for and not found.
    fn visible(&self) -> impl Iterator<Item = &TrackedObject> + Clone {
        let objects = self.objects.iter();
        objects.filter(|object| object.state != TrackState::Lost)
    }

    fn label(&self, class: u16) -> &str {
        self.labels
            .get(usize::from(class))
            .map_or("object", String::as_str)
    }
}

/// The tracks and rules of one stream.
#[derive(Debug)]
pub(crate) struct Analysis {
    models: Vec<Model>,
    rules: RuleEngine,
    file: RuleFile,
}

impl Analysis {
    /// Trackers for all models, and the rules. `begun` tracks have begun in the stream before
    /// this worker was started; their ids are not given again.
    ///
    /// # Errors
    /// When the rules cannot be read; the supervisor has checked them, so this is a defect.
    pub(crate) fn new(spec: &RenderSpec, begun: u64) -> Result<Self, Failure> {
        let count = u16::try_from(spec.models.len()).unwrap_or(u16::MAX);
        let models = (0..count).zip(&spec.models).map(|(index, model)| Model {
            labels: model.labels.clone(),
            tracker: Tracker::interleaved(&spec.tracker, index, count, begun),
            objects: Vec::new(),
            untracked: Vec::new(),
            newest_id: u64::from(index) + begun * u64::from(count),
        });
        let file = spec
            .rules
            .as_ref()
            .map_or_else(|| Ok(RuleFile::default()), read)?;
        Ok(Self {
            models: models.collect(),
            rules: RuleEngine::new(&file, spec.frames.stream.clone()),
            file,
        })
    }

    /// Takes in a frame. Returns how many tracks have begun, and what the rules report.
    pub(crate) fn observe(
        &mut self,
        frame: &FrameContext,
        answers: &[Option<Answer>],
    ) -> (u64, Vec<Firing>) {
        let models = self.models.iter_mut().zip(answers);
        let begun = models
            .map(|(model, answer)| model.observe(frame.pts_ns, frame.size, answer.as_ref()))
            .sum();
        let tracks = self.models.iter().flat_map(|model| {
            let objects = model.objects.iter();
            objects.map(|object| (object, model.label(object.class)))
        });
        (begun, self.rules.evaluate(frame, tracks))
    }

    /// The stream has ended, and all events with it.
    pub(crate) fn finish(&mut self) -> Vec<Firing> {
        self.rules.finish()
    }

    /// Zones and lines, in pixels of a picture of `size`.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub(crate) fn marks(&self, size: PixelSize) -> Vec<Mark> {
        let pixels = |[x, y]: [f32; 2]| [x * size.width as f32, y * size.height as f32];
        let zones = self.file.zones.iter().map(|zone| Mark::Zone {
            name: zone.name.clone(),
            corners: zone.polygon.iter().copied().map(pixels).collect(),
        });
        let lines = self.file.lines.iter().map(|line| Mark::Line {
            name: line.name.clone(),
            from: pixels(line.from),
            to: pixels(line.to),
            forward: None,
        });
        zones.chain(lines).collect()
    }

    /// The boxes of this frame, in the order of their tracks.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Object<'_>> + Clone {
        self.models.iter().flat_map(|model| {
            model.visible().map(|object| Object {
                bounds: object.bounds,
                label: model.label(object.class),
                score: object.score,
                track: Some(object.id),
                trail: model.tracker.trail(object.id),
                predicted: object.state == TrackState::Coasting,
            })
        })
    }

    /// What was seen in this frame, tracked or not, and what was predicted.
    pub(crate) fn records(&self) -> Vec<ObjectRecord> {
        let mut records = Vec::new();
        for (index, model) in (0..).zip(&self.models) {
            records.extend(model.visible().map(|object| ObjectRecord {
                track: Some(object.id),
                model: index,
                class: object.class,
                score: object.score,
                bounds: object.bounds,
            }));
            records.extend(model.untracked.iter().map(|detection| ObjectRecord {
                track: None,
                model: index,
                class: detection.class,
                score: Some(detection.score),
                bounds: detection.bounds,
            }));
        }
        records
    }
}

fn read(source: &RuleSource) -> Result<RuleFile, Failure> {
    RuleFile::parse_checked(&source.text, &source.path).map_err(|problems| {
        let first = problems.first();
        let what = first.map_or_else(String::new, |problem| {
            format!(":{}:{}: {}", problem.line, problem.column, problem.message)
        });
        Failure::bad_config(format!(
            "the rules cannot be read: {}{what}",
            source.path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::detection::Skip;
    use contract::geometry::BoundingBox;
    use contract::spec::TrackerSpec;

    const SIZE: PixelSize = PixelSize {
        width: 640,
        height: 360,
    };

    fn model() -> Model {
        let spec = TrackerSpec {
            high_score: 0.5,
            new_track_score: 0.5,
            iou_min: 0.1,
            lost_timeout_ms: 1000,
        };
        Model {
            labels: vec!["person".to_owned()],
            tracker: Tracker::new(&spec),
            objects: Vec::new(),
            untracked: Vec::new(),
            newest_id: 0,
        }
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
        }
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
            let answer = Answer::Detections(seen);
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
    fn a_skipped_frame_shows_predicted_boxes_and_a_missed_object_is_hidden() {
        let mut model = model();
        let seen = Answer::Detections(vec![detection(100.0, 0.9)]);
        for frame in 0..5 {
            model.observe(frame * 40_000_000, SIZE, Some(&seen));
        }
        model.observe(200_000_000, SIZE, Some(&Answer::Skipped(Skip::Shed)));
        let states: Vec<TrackState> = model.visible().map(|object| object.state).collect();
        assert_eq!(states, [TrackState::Coasting]);
        model.observe(240_000_000, SIZE, Some(&Answer::Detections(Vec::new())));
        assert_eq!(model.visible().count(), 0);
    }
}
