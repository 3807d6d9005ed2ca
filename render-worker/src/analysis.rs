//! Tracks and rules of one stream: the crate `analytics`, fed with answers and asked for boxes.

mod model;

use std::collections::BTreeMap;

use analytics::{CameraMotionEstimator, EngineSpec, Firing, Reloaded, RuleEngine, TrackState};
use contract::control::{FrameRecord, ObjectRecord};
use contract::detection::{Landmarks, Skip};
use contract::findings::PictureMap;
use contract::geometry::{I420Layout, PixelSize};
use contract::name::ModelName;
use contract::spec::{BestShotsSpec, RenderSpec, RuleSource, TrackerAlgorithm, TrackerSpec};
use dsl::{Action, RuleFile, SnapshotOf};
use worker::Failure;

use crate::best_shot::{BestShots, Ended, Picture};
use crate::cascade::{Candidate, Conditions};
use crate::crops::{Learned, Subject};
use crate::join::Answer;
use crate::maps::Maps;
use crate::overlay::colour::Rgb;
use crate::overlay::finding::Finding;
use crate::overlay::{Classes, Mark, Object};
use crate::parts::Parts;
use crate::privacy::{self, Hidden, Privacy, Sight};
use crate::quality;
use crate::shared::Header;
use model::Model;

/// What the rules in force need beside tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The quality of each object's picture.
    quality: bool,
    /// The best picture of a track.
    best_shots: bool,
    /// So much of what was encoded before an event; `None`: no rule records.
    pub(crate) before_ns: Option<u64>,
}

impl Needs {
    fn of(rules: &RuleEngine) -> Self {
        let file = rules.file();
        let actions = || file.rules.iter().flat_map(|rule| &rule.actions);
        let best_shots = actions().any(|action| *action == Action::Snapshot(SnapshotOf::Best));
        let before = |action: &Action| match action {
            Action::Record { before_ns, .. } => Some(*before_ns),
            _ => None,
        };
        Self {
            quality: rules.needs().quality,
            best_shots,
            before_ns: actions().filter_map(before).max(),
        }
    }
}

/// What is made of a frame.
#[derive(Debug)]
pub(crate) struct Observed {
    /// What was seen, as the rules were told it.
    pub(crate) record: FrameRecord,
    /// Tracks that have begun.
    pub(crate) begun: u64,
    /// What the rules report.
    pub(crate) firings: Vec<Firing>,
    /// Tracks that have ended, with their best pictures.
    pub(crate) ended: Ended,
}

/// The tracks and rules of one stream.
#[derive(Debug)]
pub(crate) struct Analysis {
    models: Vec<Model>,
    /// Where the trackers go by it.
    camera: Option<CameraMotionEstimator>,
    rules: RuleEngine,
    needs: Needs,
    shots: BestShots,
    maps: Maps,
    cascades: Conditions,
    parts: Parts,
    privacy: Privacy,
    /// Class names of the models that look at crops.
    crop_labels: BTreeMap<ModelName, Vec<String>>,
}

impl Analysis {
    /// Trackers for all models, and the rules. `begun` tracks have begun in the stream before
    /// this worker was started; their ids are not given again.
    ///
    /// # Errors
    /// When the rules cannot be read; the supervisor has checked them, so this is a defect.
    pub(crate) fn new(spec: &RenderSpec, begun: u64) -> Result<Self, Failure> {
        let count = u16::try_from(spec.models.len()).unwrap_or(u16::MAX);
        let models = (0..count).zip(&spec.models).map(|(index, model)| {
            let labels = model.labels.clone();
            Model::new(labels, &spec.tracker, (index, count), begun)
        });
        let file = read_rules(spec.rules.as_ref()).map_err(Failure::bad_config)?;
        let cascades = Conditions::read(&spec.cascades, &file).map_err(Failure::bad_config)?;
        let class_names = spec.models.iter().map(|model| model.labels.clone());
        let rules = RuleEngine::new(
            file,
            &EngineSpec {
                generation: generation(spec.rules.as_ref()),
                stream: spec.frames.stream.clone(),
                stream_labels: spec.labels.clone(),
                class_names: class_names.collect(),
                forget_after_ns: forget_after_ns(&spec.tracker),
            },
        );
        let mut analysis = Self {
            models: models.collect(),
            camera: follows_camera(&spec.tracker).then(CameraMotionEstimator::new),
            needs: Needs::default(),
            rules,
            shots: BestShots::default(),
            maps: Maps::default(),
            cascades: Conditions::default(),
            parts: Parts::default(),
            privacy: Privacy::default(),
            crop_labels: BTreeMap::new(),
        };
        analysis.set_wishes(spec.best_shots.as_ref(), Some(cascades));
        analysis.set_privacy(spec);
        Ok(analysis)
    }

    /// Takes in a frame, undrawn, and what other models have said of tracks before it.
    pub(crate) fn observe(
        &mut self,
        header: &Header,
        pixels: &[u8],
        answers: &[Option<Answer>],
        learned: Vec<Learned>,
    ) -> Observed {
        let format = &header.format;
        let (pts_ns, size) = (header.stamp.pts_ns, format.layout.size);
        self.follow_camera(&format.layout, pixels);
        self.maps.observe(pts_ns, answers);
        let models = self.models.iter_mut().zip(answers);
        let begun = models
            .map(|(model, answer)| model.observe(pts_ns, size, answer.as_ref()))
            .sum();
        let mut record = self.record(header, skip_of(answers));
        for Learned { attribute, finding } in learned {
            record.attributes.push(attribute);
            if let Some(finding) = finding {
                self.parts.learn(pts_ns, finding);
            }
        }
        let models = &self.models;
        let lives = |track| models.iter().any(|model| model.has(track));
        self.parts.advance(pts_ns, lives);
        self.find_hidden(pts_ns, size, &record, answers);
        // From here on nobody sees other values than those that are stored.
        record.round();
        if let Some(map) = self.maps.depth() {
            for object in &mut record.objects {
                object.depth = map.depth_under(&object.bounds, size);
            }
        }
        if self.needs.quality || self.shots.is_needed() {
            let seen =
                |object: &&mut ObjectRecord| object.track.is_some() && object.score.is_some();
            for object in record.objects.iter_mut().filter(seen) {
                object.quality = quality::measure(&format.layout, pixels, &object.bounds);
            }
        }
        let mut ended = Ended::default();
        if self.shots.is_needed() {
            let models = self.models.iter();
            let living = |track| models.clone().find_map(|model| model.living(track, pts_ns));
            let hidden = self.privacy.hidden();
            ended = self.shots.observe(&record, format, pixels, hidden, living);
        }
        let firings = self.rules.observe(&record);
        Observed {
            record,
            begun,
            firings,
            ended,
        }
    }

    /// Other rules from the next frame on; the ends of the events that ended with the old
    /// ones, and what became of each rule.
    pub(crate) fn reload(&mut self, file: RuleFile, generation: u64) -> Reloaded {
        let reloaded = self.rules.reload(file, generation);
        self.needs = Needs::of(&self.rules);
        reloaded
    }

    /// What is wanted beside the rules, from the next frame on; to be told after every reload
    /// of these, too. `cascades`: their conditions, where they or the rules are others.
    pub(crate) fn set_wishes(
        &mut self,
        best_shots: Option<&BestShotsSpec>,
        cascades: Option<Conditions>,
    ) {
        if let Some(cascades) = cascades {
            self.rules.set_conditions(cascades.all());
            self.cascades = cascades;
        }
        self.needs = Needs::of(&self.rules);
        self.shots.configure(best_shots, self.needs.best_shots);
    }

    /// What is hidden from the next frame on.
    pub(crate) fn set_privacy(&mut self, spec: &RenderSpec) {
        self.privacy.configure(spec.privacy.as_ref());
        let models = spec.crops.iter();
        let labels = models.map(|crops| (crops.model.clone(), crops.labels.clone()));
        self.crop_labels = labels.collect();
    }

    /// What is hidden in this frame.
    pub(crate) fn hidden(&self) -> Hidden<'_> {
        self.privacy.hidden()
    }

    /// Other labels of the stream from the next frame on.
    pub(crate) fn set_stream_labels(&mut self, labels: BTreeMap<String, String>) {
        self.rules.set_stream_labels(labels);
    }

    /// Other thresholds from the next frame on; tracks go on.
    pub(crate) fn set_tracker(&mut self, spec: &TrackerSpec) {
        for model in &mut self.models {
            model.tracker.set_spec(spec);
        }
        if follows_camera(spec) {
            self.camera.get_or_insert_with(CameraMotionEstimator::new);
        } else {
            self.camera = None;
        }
        self.rules.set_forget_after_ns(forget_after_ns(spec));
    }

    /// The stream has ended, and all tracks and events with it.
    pub(crate) fn finish(&mut self) -> (Vec<Firing>, Ended) {
        (self.rules.finish(), self.shots.finish())
    }

    /// What the rules in force need.
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// Events that last now.
    pub(crate) fn events_now(&self) -> u32 {
        self.rules.events_now()
    }

    /// Firings held back so far.
    pub(crate) fn suppressed(&self) -> u64 {
        self.rules.suppressed()
    }

    /// Tracks that are seen or predicted now.
    pub(crate) fn tracks_now(&self) -> usize {
        self.models
            .iter()
            .map(|model| model.visible().count())
            .sum()
    }

    /// The best picture of a track so far, where a rule asks for such.
    pub(crate) fn best_shot(&self, track: u64) -> Option<Picture> {
        self.shots.of(track)
    }

    /// A track that there is, also one that is out of sight.
    pub(crate) fn lives(&self, track: u64) -> bool {
        self.models.iter().any(|model| model.has(track))
    }

    /// The tracks that were seen in this frame and for which the condition of a cascade, by its
    /// index in the spec, holds. A predicted box may be off: it is not shown to a model.
    pub(crate) fn candidates(&self, cascade: usize) -> impl Iterator<Item = Candidate<'_>> {
        let condition = self.cascades.place(cascade);
        let seen = self.models.iter().flat_map(|model| {
            let objects = model.objects.iter().zip(&model.landmarks);
            let seen = objects.filter(|(object, _)| object.detection.is_some());
            seen.map(|(object, landmarks)| Candidate {
                label: model.label(object.class),
                subject: Subject {
                    track: object.id,
                    bounds: object.bounds,
                    landmarks: *landmarks,
                },
            })
        });
        seen.filter(move |candidate| {
            condition.is_none_or(|index| self.rules.condition_holds(index, candidate.subject.track))
        })
    }

    /// What was found on a track in this frame.
    pub(crate) fn landmarks_of(&self, track: u64) -> Landmarks {
        let mut seen = self.models.iter().flat_map(Model::visible);
        let found = seen.find(|(object, _)| object.id == track);
        found.map_or(Landmarks::NONE, |(_, landmarks)| *landmarks)
    }

    /// Zones and lines, in pixels of a picture of `size`.
    #[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
    pub(crate) fn marks(&self, size: PixelSize) -> Vec<Mark> {
        let pixels = |[x, y]: [f32; 2]| [x * size.width as f32, y * size.height as f32];
        let file = self.rules.file();
        let zones = file.zones.iter().map(|zone| Mark::Zone {
            name: zone.name.clone(),
            corners: zone.polygon.iter().copied().map(pixels).collect(),
        });
        let lines = file.lines.iter().map(|line| Mark::Line {
            name: line.name.clone(),
            from: pixels(line.from),
            to: pixels(line.to),
            forward: None,
        });
        zones.chain(lines).collect()
    }

    /// Depth of every place, once there is a map of it.
    pub(crate) fn depth(&self) -> Option<&PictureMap> {
        self.maps.depth()
    }

    /// The class of every place, once there is a map of them.
    pub(crate) fn classes(&self) -> Option<Classes<'_>> {
        let (map, model) = self.maps.classes()?;
        let labels = self
            .models
            .get(model)
            .map_or(&[][..], |model| &model.labels);
        Some(Classes { map, labels })
    }

    /// The boxes of this frame, as the trackers have them, in the order of their tracks.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Object<'_>> + Clone {
        self.models.iter().flat_map(|model| {
            model.visible().map(|(object, landmarks)| Object {
                bounds: object.bounds,
                landmarks: landmarks.points(),
                label: model.label(object.class),
                score: object.score,
                track: Some(object.id),
                trail: model.tracker.trail(object.id),
                predicted: object.state == TrackState::Coasting,
                colour: self.colour_of(object.id),
            })
        })
    }

    /// What second models have found on the tracks of this frame, where it is by now.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        self.models.iter().flat_map(move |model| {
            model.visible().flat_map(move |(object, _)| {
                let parts = self.parts.on(object.id);
                parts.map(|(_, part)| {
                    let (bounds, landmarks) = part.on(&object.bounds);
                    Finding {
                        bounds,
                        landmarks,
                        track: object.id,
                        label: model.label(object.class),
                        colour: self.colour_of(object.id),
                    }
                })
            })
        })
    }

    /// The colour that a rule wants a track in.
    fn colour_of(&self, track: u64) -> Option<Rgb> {
        let colour = self.rules.color_of(track);
        colour.map(|[red, green, blue]| Rgb(red, green, blue))
    }

    /// What of this frame is hidden: what its models found or follow, and what others have
    /// found on tracks.
    fn find_hidden(
        &mut self,
        pts_ns: u64,
        size: PixelSize,
        record: &FrameRecord,
        answers: &[Option<Answer>],
    ) {
        // Where it is found on crops, those who find what is cut out must look.
        let mut crops = self.crop_labels.values();
        let on_crops = crops.any(|labels| self.privacy.hides_one_of(labels));
        let looks = |model: &Model| on_crops || self.privacy.hides_one_of(&model.labels);
        let models = self.models.iter().zip(answers);
        let looking = models.filter(|(model, _)| looks(model));
        let skip = privacy::unseen(looking.map(|(_, answer)| answer.as_ref()));
        let found = record.objects.iter().filter_map(|object| {
            let model = self.models.get(usize::from(object.model))?;
            Some(Sight {
                place: object.track.map(|track| (track, 0)),
                label: model.label(object.class),
                bounds: object.bounds,
            })
        });
        let visible = self.models.iter().flat_map(Model::visible);
        let parts = visible.flat_map(|(object, _)| {
            let parts = self.parts.on(object.id).zip(1..);
            parts.filter_map(|((model, part), number)| {
                let label = self.crop_labels.get(model)?.get(usize::from(part.class))?;
                let (bounds, _) = part.on(&object.bounds);
                Some(Sight {
                    place: Some((object.id, number)),
                    label,
                    bounds,
                })
            })
        });
        self.privacy.observe(pts_ns, size, skip, found.chain(parts));
    }

    /// Moves the tracks with the picture.
    fn follow_camera(&mut self, layout: &I420Layout, pixels: &[u8]) {
        let Some(camera) = self.camera.as_mut().filter(|_| !self.models.is_empty()) else {
            return;
        };
        let luma = pixels.get(layout.offsets[0]..).unwrap_or_default();
        let motion = camera.observe(luma, layout.strides[0], layout.size);
        for model in &mut self.models {
            model.tracker.compensate(&motion);
        }
    }

    /// What was seen in this frame, tracked or not, and what was predicted.
    fn record(&self, header: &Header, skip: Option<Skip>) -> FrameRecord {
        let mut objects = Vec::new();
        for (index, model) in (0..).zip(&self.models) {
            let tracked = model.visible().map(|(object, landmarks)| ObjectRecord {
                track: Some(object.id),
                model: index,
                class: object.class,
                score: object.score,
                bounds: object.bounds,
                quality: None,
                landmarks: landmarks.count(),
                depth: None,
            });
            objects.extend(tracked);
            let untracked = model.untracked.iter().map(|detection| ObjectRecord {
                track: None,
                model: index,
                class: detection.class,
                score: Some(detection.score),
                bounds: detection.bounds,
                quality: None,
                landmarks: detection.landmarks.count(),
                depth: None,
            });
            objects.extend(untracked);
        }
        let stamp = &header.stamp;
        FrameRecord {
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            wall_ms: header.wall_ms,
            size: header.format.layout.size,
            motion: stamp.motion,
            moved: stamp.moved,
            skip,
            objects,
            attributes: Vec::new(),
        }
    }
}

/// Reads a rule file; without one there are no rules.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn read_rules(source: Option<&RuleSource>) -> Result<RuleFile, String> {
    let Some(source) = source else {
        return Ok(RuleFile::default());
    };
    RuleFile::parse_checked(&source.text, &source.path).map_err(|problems| {
        let first = problems.first();
        let what = first.map_or_else(String::new, |problem| {
            format!(":{}:{}: {}", problem.line, problem.column, problem.message)
        });
        format!("the rules cannot be read: {}{what}", source.path.display())
    })
}

/// The generation of the rules in force.
pub(crate) fn generation(source: Option<&RuleSource>) -> u64 {
    source.map_or(0, |source| source.generation)
}

fn follows_camera(spec: &TrackerSpec) -> bool {
    spec.camera_motion && spec.algorithm == TrackerAlgorithm::Botsort
}

fn forget_after_ns(spec: &TrackerSpec) -> u64 {
    spec.lost_timeout_ms.saturating_mul(1_000_000)
}

/// Why no model ran on a frame: what the first says. No answer in time counts as a failure.
pub(crate) fn skip_of(answers: &[Option<Answer>]) -> Option<Skip> {
    let ran = |answer: &Option<Answer>| matches!(answer, Some(Answer::Found(_)));
    if answers.iter().any(ran) {
        return None;
    }
    answers.first().map(|answer| match answer {
        Some(Answer::Skipped(skip)) => *skip,
        Some(Answer::Found(_)) | None => Skip::Failed,
    })
}
