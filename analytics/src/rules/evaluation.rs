//! One rule on one frame: for each key the condition, its interval, the limits, what is told.

use contract::control::FrameRecord;
use dsl::{Action, Rule, Scene, Subject};

use super::event::{self, Firing, Origin};
use super::interval::{Clauses, Step};
use super::limits::{Counted, Firings};
use super::state::{KeyState, RuleState, Told};
use crate::explain::{Moment, Sight, Watch};
use crate::known_tracks::KnownTracks;

/// One frame, while the rules are evaluated on it.
pub(crate) struct Frame<'a> {
    pub(crate) record: &'a FrameRecord,
    pub(crate) scene: Scene<'a>,
    pub(crate) tracks: &'a KnownTracks,
    pub(crate) origin: Origin<'a>,
    pub(crate) stream_max: usize,
    pub(crate) stream_firings: &'a mut Firings,
    pub(crate) told: Told<'a>,
    pub(crate) suppressed: &'a mut u64,
    pub(crate) tags: &'a mut Vec<(u64, usize, usize)>,
}

impl Frame<'_> {
    /// Evaluates a rule for each of its keys.
    pub(crate) fn evaluate(
        &mut self,
        index: usize,
        rule: &Rule,
        state: &mut RuleState,
        mut watch: Option<&mut Watch>,
    ) {
        let is_asked = rule.on != Subject::Frame || self.scene.inferred;
        if is_asked {
            rule.when.begin_frame(&self.scene, &mut state.shared);
        }
        match rule.on {
            Subject::Track => {
                for (subject, slot) in self.tracks.in_frame().iter().enumerate() {
                    let track = Some(self.tracks.id(*slot));
                    let watch = watch.as_deref_mut().filter(|watch| watch.track == track);
                    self.ask((index, rule), state, *slot, Some(subject), watch);
                }
                for slot in self.tracks.unseen() {
                    let track = Some(self.tracks.id(slot));
                    let watch = watch.as_deref_mut().filter(|watch| watch.track == track);
                    // Looked for and not found: whatever the condition is, it does not hold.
                    let key = &mut state.keys[slot];
                    if !key.interval.is_idle() || watch.is_some() {
                        self.pass(rule, key, Some(false), watch);
                    }
                }
            }
            Subject::Frame | Subject::Stream if is_asked => {
                self.ask((index, rule), state, 0, None, watch);
            }
            Subject::Frame | Subject::Stream => {
                if let Some(key) = state.keys.first_mut() {
                    self.pass(rule, key, None, watch);
                }
            }
        }
    }

    /// Asks the condition for one key.
    fn ask(
        &mut self,
        (index, rule): (usize, &Rule),
        state: &mut RuleState,
        slot: usize,
        subject: Option<usize>,
        watch: Option<&mut Watch>,
    ) {
        let RuleState {
            shared,
            firings,
            keys,
        } = state;
        let Some(key) = keys.get_mut(slot) else {
            return;
        };
        let mut explanation = None;
        let (scene, memory) = (&self.scene, &mut key.memory);
        let holds = if watch.is_some() {
            let explained = rule.when.explain(scene, subject, shared, memory);
            explanation.insert(explained).holds
        } else {
            rule.when.evaluate(scene, subject, shared, memory)
        };
        let pts_ns = self.scene.pts_ns;
        let Step { ended, fires } = key.interval.step(clauses(rule), pts_ns, Some(holds));
        if let Some(ended) = ended {
            self.told.end(ended);
        }
        let mut held_back = None;
        if fires {
            let mut counted = Counted {
                track: subject.is_some().then_some(&mut key.firings),
                rule: firings,
                stream: self.stream_firings,
            };
            held_back = counted.admit(rule, pts_ns, self.stream_max).err();
            let begun = held_back
                .is_none()
                .then(|| self.begin(index, rule, subject));
            key.interval.fire(begun.map(Box::new));
            *self.suppressed += u64::from(held_back.is_some());
        }
        if let Some(watch) = watch {
            watch.see(&Sight {
                moment: self.moment(),
                holds: Some(holds),
                explanation,
                span: key.interval.span(),
                fires,
                held_back,
            });
        }
    }

    /// A frame in which the condition is not asked for a key.
    fn pass(
        &mut self,
        rule: &Rule,
        key: &mut KeyState,
        holds: Option<bool>,
        watch: Option<&mut Watch>,
    ) {
        let Step { ended, .. } = key.interval.step(clauses(rule), self.scene.pts_ns, holds);
        if let Some(ended) = ended {
            self.told.end(ended);
        }
        if let Some(watch) = watch {
            watch.see(&Sight {
                moment: self.moment(),
                holds,
                explanation: None,
                span: key.interval.span(),
                fires: false,
                held_back: None,
            });
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            pts_ns: self.scene.pts_ns,
            sequence_number: self.record.sequence_number,
        }
    }

    /// A rule fires and is not held back.
    fn begin(&mut self, index: usize, rule: &Rule, subject: Option<usize>) -> Firing {
        let event = event::begin(
            rule,
            self.origin,
            self.record,
            &self.scene,
            subject,
            self.tracks,
        );
        if let Some(track) = event.track {
            let tags = rule.actions.iter().enumerate();
            let tags = tags.filter(|(_, action)| matches!(action, Action::Tag { .. }));
            self.tags
                .extend(tags.map(|(action, _)| (track, index, action)));
        }
        let begun = event::begun(rule, event);
        self.told.begin(&begun);
        begun
    }
}

fn clauses(rule: &Rule) -> Clauses {
    Clauses {
        for_ns: rule.for_ns,
        gap_ns: rule.gap_ns,
        keep_ns: rule.keep_ns,
    }
}
