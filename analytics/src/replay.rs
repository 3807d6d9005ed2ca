//! The rules on a stored run: what would have fired, and how that differs from what did.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use contract::control::FrameRecord;
use contract::event::Event;

use crate::rules::{Phase, RuleEngine};

/// The events of a run, computed from its records: all of them have their end.
///
/// Events that fire and are no alerts are left out, as they are from the run's own.
pub fn replay<R: Borrow<FrameRecord>>(
    records: impl IntoIterator<Item = R>,
    engine: &mut RuleEngine,
) -> Vec<Event> {
    let mut events = Vec::new();
    let mut keep = |firings: Vec<crate::Firing>| {
        let ends = firings.into_iter().filter(|firing| firing.alerts);
        let ends = ends.filter(|firing| firing.phase == Phase::End);
        events.extend(ends.map(|firing| firing.event));
    };
    for record in records {
        keep(engine.observe(record.borrow()));
    }
    keep(engine.finish());
    events.sort_by_key(|event| event.begin_pts_ns);
    events
}

/// How the events of a replay differ from those of the run, each list in the order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// The same rule and key, and the same begin and end.
    pub same: Vec<Event>,
    /// The same rule and key at the same time, but begun or ended at another moment.
    pub changed: Vec<Changed>,
    /// In the run, not in the replay.
    pub missing: Vec<Event>,
    /// In the replay, not in the run.
    pub new: Vec<Event>,
}

/// An event that the run and the replay have, with other times.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// As it was in the run.
    pub run: Event,
    /// As it is in the replay.
    pub replay: Event,
}

impl Difference {
    /// Nothing differs.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.changed.is_empty() && self.missing.is_empty() && self.new.is_empty()
    }
}

/// Compares the events of a run with those of a replay.
///
/// Events are the same firing when rule, track and begin are the same; of those that are left,
/// when rule and track are the same and they overlap in time, first with first.
#[must_use]
pub fn difference(run: Vec<Event>, replay: Vec<Event>) -> Difference {
    let mut by_key: BTreeMap<(String, Option<u64>), [Vec<Event>; 2]> = BTreeMap::new();
    for (side, events) in [run, replay].into_iter().enumerate() {
        for event in events {
            let key = (event.rule.clone(), event.track);
            by_key.entry(key).or_default()[side].push(event);
        }
    }
    let mut difference = Difference::default();
    for [mut run, mut replay] in by_key.into_values() {
        run.sort_by_key(|event| event.begin_pts_ns);
        replay.sort_by_key(|event| event.begin_pts_ns);
        difference.pair(&mut run, &mut replay, |old, new| {
            old.begin_pts_ns == new.begin_pts_ns
        });
        difference.pair(&mut run, &mut replay, overlap);
        difference.missing.append(&mut run);
        difference.new.append(&mut replay);
    }
    difference.same.sort_by_key(|event| event.begin_pts_ns);
    difference.missing.sort_by_key(|event| event.begin_pts_ns);
    difference.new.sort_by_key(|event| event.begin_pts_ns);
    difference
        .changed
        .sort_by_key(|changed| changed.run.begin_pts_ns);
    difference
}

impl Difference {
    /// Takes the pairs that match out of both lists; both are in the order of time.
    fn pair(
        &mut self,
        run: &mut Vec<Event>,
        replay: &mut Vec<Event>,
        matches: impl Fn(&Event, &Event) -> bool,
    ) {
        let mut left = Vec::new();
        for old in run.drain(..) {
            // Both are in the order of time, and few overlap: the first match is near the front.
            match replay.iter().position(|new| matches(&old, new)) {
                None => left.push(old),
                Some(place) => {
                    let new = replay.remove(place);
                    let is_same =
                        old.begin_pts_ns == new.begin_pts_ns && old.end_pts_ns == new.end_pts_ns;
                    if is_same {
                        self.same.push(new);
                    } else {
                        self.changed.push(Changed {
                            run: old,
                            replay: new,
                        });
                    }
                }
            }
        }
        *run = left;
    }
}

/// An event without an end lasts for ever.
fn overlap(one: &Event, other: &Event) -> bool {
    let end = |event: &Event| event.end_pts_ns.unwrap_or(u64::MAX);
    one.begin_pts_ns <= end(other) && other.begin_pts_ns <= end(one)
}
