//! Rules over tracks and time: which fire, and which end.
//!
//! For each rule and track there is one small state machine, `Interval`:
//!
//! ```text
//!          holds                 has held for `for`
//!   idle ─────────▶ holding ───────────────────────▶ firing
//!    ▲                 │ does not hold for over `gap`   │
//!    └─────────────────┴────────────────────────────────┘
//! ```
//!
//! A condition holds in a frame when its expression is true and the track is not
//! lost. A coasting track's predicted box is believed: nobody has looked.

use std::collections::{BTreeMap, BTreeSet};

use contract::event::Event;
use contract::geometry::PixelSize;
use contract::name::StreamName;
use dsl::{Action, MessageFacts, Rule, RuleFile, TrackFacts, Zone};

use crate::track::TrackState;
use crate::tracker::TrackedObject;
use crate::zones;

/// The frame that rules are evaluated on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameContext {
    /// Its sequence number.
    pub sequence_number: u64,
    /// Its event time.
    pub pts_ns: u64,
    /// Wall clock, milliseconds since the Unix epoch: only written into events.
    pub wall_ms: i64,
    /// Its size.
    pub size: PixelSize,
    /// The part of it that moved, 0 to 1.
    pub motion: f32,
}

/// A rule has begun or ceased to fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// Which of the two.
    pub phase: Phase,
    /// The event; at its end with `end_pts_ns`, else as at its begin.
    pub event: Event,
    /// What the rule wants done when it begins.
    pub actions: BTreeSet<Action>,
}

/// Begin or end of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The condition has held long enough.
    Begin,
    /// The condition has not held for longer than the rule's gap, or the track has ended.
    End,
}

/// The rules of a stream and all they remember.
#[derive(Debug)]
pub struct RuleEngine {
    stream: StreamName,
    rules: Vec<Rule>,
    zones: Vec<Zone>,
    /// By track, one interval a rule: never more than tracks times rules.
    intervals: BTreeMap<u64, TrackIntervals>,
    evaluations: u64,
}

#[derive(Debug)]
struct TrackIntervals {
    /// The evaluation that last had this track.
    evaluation: u64,
    by_rule: Box<[Interval]>,
}

#[derive(Debug, Default)]
enum Interval {
    #[default]
    Idle,
    Active(Active),
}

#[derive(Debug)]
struct Active {
    since_pts_ns: u64,
    held_pts_ns: u64,
    /// There was a frame since `held_pts_ns` in which the condition did not hold.
    interrupted: bool,
    /// Set while firing.
    event: Option<Box<Event>>,
}

impl RuleEngine {
    /// The rules of a file for one stream, with nothing remembered.
    #[must_use]
    pub fn new(file: &RuleFile, stream: StreamName) -> Self {
        Self {
            stream,
            rules: file.rules.clone(),
            zones: file.zones.clone(),
            intervals: BTreeMap::new(),
            evaluations: 0,
        }
    }

    /// Evaluates all rules on a frame: for each confirmed track of the stream, from
    /// all of its trackers, the track and the name of its class.
    ///
    /// A track that is not among them has ended; its events end, its state goes.
    pub fn evaluate<'t>(
        &mut self,
        frame: &FrameContext,
        tracks: impl IntoIterator<Item = (&'t TrackedObject, &'t str)>,
    ) -> Vec<Firing> {
        let mut firings = Vec::new();
        if self.rules.is_empty() {
            return firings;
        }
        self.evaluations += 1;
        for (track, label) in tracks {
            let intervals = self
                .intervals
                .entry(track.id)
                .or_insert_with(|| TrackIntervals {
                    evaluation: 0,
                    by_rule: self.rules.iter().map(|_| Interval::Idle).collect(),
                });
            intervals.evaluation = self.evaluations;
            let facts = facts(frame, track, label, &self.zones);
            for (rule, interval) in self.rules.iter().zip(&mut intervals.by_rule) {
                let holds = track.state != TrackState::Lost && rule.when.evaluate(&facts);
                let step = interval.step(rule, frame.pts_ns, holds);
                if let Some(event) = step.ended {
                    firings.push(end(rule, event));
                }
                if step.begins {
                    let event = begin(rule, &self.stream, frame, track, &facts);
                    if let Interval::Active(active) = interval {
                        active.event = Some(Box::new(event.clone()));
                    }
                    firings.push(Firing {
                        phase: Phase::Begin,
                        event,
                        actions: rule.actions.clone(),
                    });
                }
            }
        }
        let current = self.evaluations;
        self.end_intervals(|intervals| intervals.evaluation != current, &mut firings);
        firings
    }

    /// Ends everything, as when the stream has ended.
    pub fn finish(&mut self) -> Vec<Firing> {
        let mut firings = Vec::new();
        self.end_intervals(|_| true, &mut firings);
        firings
    }

    fn end_intervals(&mut self, ends: impl Fn(&TrackIntervals) -> bool, firings: &mut Vec<Firing>) {
        let rules = &self.rules;
        self.intervals.retain(|_, intervals| {
            if !ends(intervals) {
                return true;
            }
            for (rule, interval) in rules.iter().zip(&mut intervals.by_rule) {
                if let Some(event) = interval.end() {
                    firings.push(end(rule, event));
                }
            }
            false
        });
    }
}

/// What a frame does to an interval.
#[derive(Debug, Default)]
struct Step {
    ended: Option<Event>,
    begins: bool,
}

impl Interval {
    fn step(&mut self, rule: &Rule, pts_ns: u64, holds: bool) -> Step {
        let mut step = Step::default();
        if let Self::Active(active) = self {
            let unheld_ns = pts_ns.saturating_sub(active.held_pts_ns);
            active.interrupted |= !holds;
            // Frames that are missing are no interruption; only one that says no begins it.
            if active.interrupted && unheld_ns > rule.gap_ns {
                step.ended = self.end();
            }
        }
        if !holds {
            return step;
        }
        match self {
            Self::Idle => {
                *self = Self::Active(Active {
                    since_pts_ns: pts_ns,
                    held_pts_ns: pts_ns,
                    interrupted: false,
                    event: None,
                });
                step.begins = rule.for_ns == 0;
            }
            Self::Active(active) => {
                active.held_pts_ns = pts_ns;
                active.interrupted = false;
                let held_ns = pts_ns.saturating_sub(active.since_pts_ns);
                step.begins = active.event.is_none() && held_ns >= rule.for_ns;
            }
        }
        step
    }

    /// Back to idle; the event, with its end, when one was firing.
    fn end(&mut self) -> Option<Event> {
        match std::mem::take(self) {
            Self::Idle => None,
            Self::Active(active) => active.event.map(|event| Event {
                end_pts_ns: Some(active.held_pts_ns),
                ..*event
            }),
        }
    }
}

fn begin(
    rule: &Rule,
    stream: &StreamName,
    frame: &FrameContext,
    track: &TrackedObject,
    facts: &TrackFacts<'_>,
) -> Event {
    let begin_pts_ms = frame.pts_ns / 1_000_000;
    Event {
        id: format!("{stream}/{}/{}/{begin_pts_ms}", rule.name, track.id),
        stream: stream.clone(),
        rule: rule.name.clone(),
        track: Some(track.id),
        label: Some(facts.label.to_owned()),
        sequence_number: frame.sequence_number,
        begin_pts_ns: frame.pts_ns,
        end_pts_ns: None,
        begin_wall_ms: frame.wall_ms,
        score: Some(track.median_score),
        bounds: Some(track.bounds),
        message: rule.message.fill(&MessageFacts {
            track_id: track.id,
            label: facts.label,
            score: track.median_score,
            stream: stream.as_str(),
        }),
        labels: rule.labels.clone(),
        snapshot: None,
    }
}

fn end(rule: &Rule, event: Event) -> Firing {
    Firing {
        phase: Phase::End,
        event,
        actions: rule.actions.clone(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn facts<'a>(
    frame: &FrameContext,
    track: &TrackedObject,
    label: &'a str,
    zones: &[Zone],
) -> TrackFacts<'a> {
    let (width, height) = (
        frame.size.width.max(1) as f32,
        frame.size.height.max(1) as f32,
    );
    let bounds = &track.bounds;
    TrackFacts {
        label,
        score: track.median_score,
        raw_score: track.score,
        age_ns: track.age_ns,
        hits: track.hits,
        x: bounds.x1 / width,
        y: bounds.y1 / height,
        width: bounds.width() / width,
        height: bounds.height() / height,
        aspect: if bounds.height() > 0.0 {
            bounds.width() / bounds.height()
        } else {
            0.0
        },
        motion: frame.motion,
        zones: zones::membership(zones, bounds, frame.size),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use contract::geometry::BoundingBox;

    use super::*;

    #[test]
    fn what_is_remembered_goes_with_the_tracks() {
        let text = "rules: {a: {on: track, when: 'true'}, b: {on: track, when: 'false'}}";
        let file = RuleFile::parse_checked(text, Path::new("rules.yaml")).expect("right");
        let mut engine = RuleEngine::new(&file, "yard".parse().expect("a name"));
        for frame in 0..100_u64 {
            let context = FrameContext {
                sequence_number: frame,
                pts_ns: frame,
                wall_ms: 0,
                size: PixelSize {
                    width: 64,
                    height: 64,
                },
                motion: 0.0,
            };
            let tracks: Vec<_> = (frame..frame + 3)
                .map(|id| TrackedObject {
                    id: id + 1,
                    class: 0,
                    bounds: BoundingBox::default(),
                    state: TrackState::Seen,
                    detection: None,
                    score: None,
                    median_score: 0.5,
                    age_ns: 0,
                    hits: 1,
                })
                .collect();
            engine.evaluate(&context, tracks.iter().map(|track| (track, "person")));
            assert_eq!(engine.intervals.len(), 3);
        }
        assert_eq!(engine.finish().len(), 3, "one rule fires for each track");
        assert!(engine.intervals.is_empty());
    }
}
