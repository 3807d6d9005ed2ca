//! What rules report.

use contract::control::FrameRecord;
use contract::event::{Delivery, DeliveryKind, Event};
use contract::name::StreamName;
use dsl::{Action, Rule, Scene};

use crate::class_names::ClassNames;
use crate::known_tracks::KnownTracks;

/// A rule has begun or ceased to fire: one of each for every firing.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// Which of the two.
    pub phase: Phase,
    /// The event; at its end with `end_pts_ns`, else as at its begin.
    pub event: Event,
    /// What the rule wants done; at the end the same as at the begin.
    pub actions: Vec<Action>,
    /// The event is to be sent and stored. It is not when all that the rule does is to draw,
    /// to tag or to ask another model.
    pub alerts: bool,
}

/// Begin or end of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The condition has held long enough.
    Begin,
    /// The condition has not held for longer than the rule's `gap` and `keep`, or there is
    /// nothing any more that it could hold for.
    End,
}

/// The stream that events are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) stream: &'a StreamName,
    pub(crate) generation: u64,
    pub(crate) classes: &'a ClassNames,
}

/// The event of a rule that fires in this frame; `subject` is the index of its track.
pub(crate) fn begin(
    rule: &Rule,
    origin: Origin<'_>,
    record: &FrameRecord,
    scene: &Scene<'_>,
    subject: Option<usize>,
    tracks: &KnownTracks,
) -> Event {
    let facts = subject.map(|index| &scene.tracks[index]);
    let track = facts.map(|facts| facts.id);
    let key = track.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let begin_pts_ms = scene.pts_ns / 1_000_000;
    Event {
        id: format!("{}/{}/{key}/{begin_pts_ms}", origin.stream, rule.name),
        stream: origin.stream.clone(),
        rule: rule.name.clone(),
        generation: origin.generation,
        track,
        label: facts.map(|facts| origin.classes.name(facts.label).to_owned()),
        sequence_number: record.sequence_number,
        begin_pts_ns: scene.pts_ns,
        end_pts_ns: None,
        begin_wall_ms: record.wall_ms,
        score: facts.map(|facts| facts.score),
        bounds: subject.map(|index| tracks.bounds(tracks.in_frame()[index])),
        message: rule.message.fill(scene, subject),
        labels: rule.labels.clone(),
        snapshot: None,
        clip: None,
        deliveries: rule.actions.iter().filter_map(delivery).collect(),
    }
}

/// What is told at the begin of an event.
pub(crate) fn begun(rule: &Rule, event: Event) -> Firing {
    Firing {
        phase: Phase::Begin,
        event,
        actions: rule.actions.clone(),
        alerts: rule.alerts(),
    }
}

impl Firing {
    /// What is told at the end, made of what was told at the begin: a rule that has changed
    /// meanwhile changes nothing of it.
    pub(crate) fn ended(mut self, held_pts_ns: u64) -> Self {
        self.phase = Phase::End;
        self.event.end_pts_ns = Some(held_pts_ns);
        self
    }
}

fn delivery(action: &Action) -> Option<Delivery> {
    let (kind, target) = match action {
        Action::Publish { topic } => (DeliveryKind::Publish, topic),
        Action::Webhook { url } => (DeliveryKind::Webhook, url),
        _ => return None,
    };
    Some(Delivery {
        kind,
        target: target.clone(),
    })
}
