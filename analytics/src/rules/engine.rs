//! One frame after the other: what is known of its tracks, each rule on it, what is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::control::FrameRecord;
use contract::geometry::PixelSize;
use contract::motion::Cells;
use contract::name::StreamName;
use dsl::{Action, Needs, RuleFile, Scene, Subject, When};

use super::conditions::AskedCondition;
use super::evaluation::Frame;
use super::event::{Firing, Origin};
use super::limits::{Firings, stream_max};
use super::state::{RuleState, Told};
use crate::class_names::ClassNames;
use crate::explain::Watch;
use crate::frame_rate::FrameRate;
use crate::known_tracks::{KnownTracks, Surroundings};
use crate::zones;

/// When PTS goes back by more than this, the source has begun anew, and so do the rules. By
/// less, frames come out of order, and time stands still for those that are late.
pub const STEP_BACK_NS_MAX: u64 = 1_000_000_000;

/// The colour of a plain `draw`: red.
pub const DRAW_COLOR: [u8; 3] = [255, 0, 0];

/// What an engine is told besides the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// The generation of the rules: events name it.
    pub generation: u64,
    /// The stream.
    pub stream: StreamName,
    /// Its labels, which rules may ask for.
    pub stream_labels: BTreeMap<String, String>,
    /// The class names of its models, in their order, each by class index.
    pub class_names: Vec<Vec<String>>,
    /// A track that no record has had for so long is forgotten, and its events end: the
    /// tracker's time-out for lost tracks.
    pub forget_after_ns: u64,
}

/// The rules of one stream, and all they remember.
///
/// Its only input is [`FrameRecord`]s, rounded as they are stored, so that a replay of stored
/// records says exactly what was said live. A frame in which nothing fires allocates nothing
/// once as many tracks were there as are now.
#[derive(Debug)]
pub struct RuleEngine {
    pub(super) file: Arc<RuleFile>,
    pub(super) generation: u64,
    stream: StreamName,
    stream_labels: BTreeMap<String, String>,
    forget_after_ns: u64,
    classes: ClassNames,
    /// The cells of each zone.
    pub(super) zone_cells: Vec<Cells>,
    zone_motion: Vec<f32>,
    pub(super) tracks: KnownTracks,
    /// By the index of the rule.
    pub(super) states: Vec<RuleState>,
    pub(super) conditions: Vec<AskedCondition>,
    /// When any rule fired.
    firings: Firings,
    pub(super) stream_max: usize,
    frame_rate: FrameRate,
    pts_ns: Option<u64>,
    pub(super) events_now: u32,
    suppressed: u64,
    /// Tags of this frame, which tracks have from the next frame on: track, rule and action.
    tags: Vec<(u64, usize, usize)>,
}

impl RuleEngine {
    /// The rules of a file for one stream, with nothing remembered.
    #[must_use]
    pub fn new(file: impl Into<Arc<RuleFile>>, spec: &EngineSpec) -> Self {
        let file = file.into();
        Self {
            generation: spec.generation,
            stream: spec.stream.clone(),
            stream_labels: spec.stream_labels.clone(),
            forget_after_ns: spec.forget_after_ns,
            classes: ClassNames::new(&spec.class_names),
            zone_cells: file.zones.iter().map(zones::cells).collect(),
            zone_motion: Vec::with_capacity(file.zones.len()),
            tracks: KnownTracks::new(),
            states: file
                .rules
                .iter()
                .map(|rule| RuleState::new(rule, 0))
                .collect(),
            conditions: Vec::new(),
            firings: Firings::default(),
            stream_max: stream_max(&file.rules),
            frame_rate: FrameRate::new(),
            pts_ns: None,
            events_now: 0,
            suppressed: 0,
            tags: Vec::new(),
            file,
        }
    }

    /// Takes in the next frame; what begins and ends with it.
    ///
    /// Objects without a track take no part.
    pub fn observe(&mut self, record: &FrameRecord) -> Vec<Firing> {
        self.observe_watched(record, None)
    }

    /// As [`RuleEngine::observe`], and one rule is watched for one key.
    pub(crate) fn observe_watched(
        &mut self,
        record: &FrameRecord,
        mut watch: Option<&mut Watch>,
    ) -> Vec<Firing> {
        let mut firings = Vec::new();
        let pts_ns = self.advance(record.pts_ns, &mut firings);
        self.look(record, pts_ns, &mut firings);

        let file = Arc::clone(&self.file);
        let scene = Scene {
            pts_ns,
            wall_ms: record.wall_ms,
            inferred: record.skip.is_none(),
            aspect: aspect(record.size),
            motion: record.motion,
            zone_motion: &self.zone_motion,
            fps: self.frame_rate.observe(pts_ns),
            events: self.events_now,
            stream: self.stream.as_str(),
            stream_labels: &self.stream_labels,
            zones: &file.zones,
            lines: &file.lines,
            tracks: self.tracks.facts(),
            labels: self.classes.all(),
            dwell_ns: self.tracks.dwell_ns(),
            attributes: self.tracks.attributes(),
        };
        let mut frame = Frame {
            record,
            scene,
            tracks: &self.tracks,
            origin: Origin {
                stream: &self.stream,
                generation: self.generation,
                classes: &self.classes,
            },
            stream_max: self.stream_max,
            stream_firings: &mut self.firings,
            told: Told {
                firings: &mut firings,
                events_now: &mut self.events_now,
            },
            suppressed: &mut self.suppressed,
            tags: &mut self.tags,
        };
        for (index, (rule, state)) in file.rules.iter().zip(&mut self.states).enumerate() {
            let watch = watch.as_deref_mut().filter(|watch| watch.rule == index);
            frame.evaluate(index, rule, state, watch);
        }
        for condition in &mut self.conditions {
            condition.observe(&frame.scene, &self.tracks);
        }
        self.learn(record);
        firings
    }

    /// Ends all that fires, and forgets everything, as when the stream has ended.
    pub fn finish(&mut self) -> Vec<Firing> {
        let mut firings = Vec::new();
        self.reset(&mut firings);
        firings
    }

    /// Events that last now, of rules that alert.
    #[must_use]
    pub fn events_now(&self) -> u32 {
        self.events_now
    }

    /// Firings that were held back so far, by a rule's `limit` or a flood limit.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Asks these of each track beside the rules, from the next frame on, with nothing
    /// remembered. They were read with the zones and lines of the rules in force: after a
    /// reload they are to be given anew.
    pub fn set_conditions(&mut self, conditions: impl IntoIterator<Item = When>) {
        let conditions = conditions.into_iter().map(AskedCondition::new);
        self.conditions = conditions.collect();
    }

    /// Whether a condition, by its index in what [`RuleEngine::set_conditions`] was given, held
    /// for a track in the last frame; not for one that was not in it.
    #[must_use]
    pub fn condition_holds(&self, condition: usize, track: u64) -> bool {
        let slot = self.tracks.slot_of(track);
        let condition = self.conditions.get(condition);
        condition
            .zip(slot)
            .is_some_and(|(condition, slot)| condition.holds(slot))
    }

    /// The rules in force.
    #[must_use]
    pub fn file(&self) -> &Arc<RuleFile> {
        &self.file
    }

    /// What must be measured for these rules and conditions.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let rules = self.file.rules.iter().map(dsl::Rule::needs);
        let conditions = self.conditions.iter().map(|asked| asked.when().needs());
        rules.chain(conditions).fold(Needs::default(), Needs::or)
    }

    /// The colour a track is to be drawn in, red, green and blue, where a rule that fires for it
    /// draws: of several the first in the file.
    #[must_use]
    pub fn color_of(&self, track: u64) -> Option<[u8; 3]> {
        let slot = self.tracks.slot_of(track)?;
        let rules = self.file.rules.iter().zip(&self.states);
        let firing = rules.filter(|(rule, state)| {
            rule.on == Subject::Track
                && state
                    .keys
                    .get(slot)
                    .is_some_and(|key| key.interval.is_told())
        });
        firing
            .flat_map(|(rule, _)| &rule.actions)
            .find_map(|action| match action {
                Action::Draw { color } => Some(color.unwrap_or(DRAW_COLOR)),
                _ => None,
            })
    }

    /// Other labels of the stream from the next frame on.
    pub fn set_stream_labels(&mut self, labels: BTreeMap<String, String>) {
        self.stream_labels = labels;
    }

    /// Another time-out for tracks from the next frame on.
    pub fn set_forget_after_ns(&mut self, forget_after_ns: u64) {
        self.forget_after_ns = forget_after_ns;
    }

    /// The time of a frame for the rules, which never goes back a little, and starts anew when
    /// it goes back a lot.
    fn advance(&mut self, pts_ns: u64, firings: &mut Vec<Firing>) -> u64 {
        if let Some(last) = self.pts_ns
            && pts_ns.saturating_add(STEP_BACK_NS_MAX) < last
        {
            self.reset(firings);
        }
        let pts_ns = self.pts_ns.map_or(pts_ns, |last| pts_ns.max(last));
        self.pts_ns = Some(pts_ns);
        pts_ns
    }

    /// What is known of the frame before any rule is asked.
    fn look(&mut self, record: &FrameRecord, pts_ns: u64, firings: &mut Vec<Firing>) {
        let around = Surroundings {
            zones: &self.file.zones,
            lines: &self.file.lines,
            classes: &self.classes,
            forget_after_ns: self.forget_after_ns,
        };
        self.tracks.observe(record, pts_ns, around);
        let mut told = Told {
            firings,
            events_now: &mut self.events_now,
        };
        for (rule, state) in self.file.rules.iter().zip(&mut self.states) {
            if rule.on == Subject::Track {
                for slot in self.tracks.forgotten() {
                    state.end_key(rule, *slot, &mut told);
                }
                state.reserve(rule, self.tracks.slots());
            }
        }
        // Always, for a message may ask as well; it costs a few words a zone.
        self.zone_motion.clear();
        let shares = self.zone_cells.iter();
        self.zone_motion
            .extend(shares.map(|cells| cells.share_in(&record.moved)));
    }

    /// Attributes that became known with this frame.
    fn learn(&mut self, record: &FrameRecord) {
        for attribute in &record.attributes {
            self.tracks
                .set_attribute(attribute.track, &attribute.name, &attribute.value);
        }
        for (track, rule, action) in self.tags.drain(..) {
            if let Action::Tag { name, value } = &self.file.rules[rule].actions[action] {
                self.tracks.set_attribute(track, name, value);
            }
        }
    }

    fn reset(&mut self, firings: &mut Vec<Firing>) {
        let mut told = Told {
            firings,
            events_now: &mut self.events_now,
        };
        for (rule, state) in self.file.rules.iter().zip(&mut self.states) {
            state.end_all(rule, &mut told);
        }
        for condition in &mut self.conditions {
            condition.clear();
        }
        self.tracks.clear();
        self.firings.clear();
        self.frame_rate.clear();
        self.pts_ns = None;
    }
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn aspect(size: PixelSize) -> f32 {
    size.width.max(1) as f32 / size.height.max(1) as f32
}
