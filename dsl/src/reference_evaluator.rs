//! A slow and obvious evaluator: what the fast one is tested against.
//!
//! It keeps the whole past and answers each question from it, by the definition in the
//! reference page, walking the typed tree. It shares nothing with the flat program but the
//! readings of fields.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{ONSETS_MAX, WINDOW_TRACKS_MAX, per_minute};
use crate::scene::Scene;
use crate::typed::{Condition, Home, Number, Sequence, Slot, Step, Value};
use crate::visit::{Node, each_node};
use crate::walk::{Remembered, Walk};
use crate::when::When;

/// Evaluates one condition for all keys of one stream.
#[derive(Debug)]
pub struct ReferenceEvaluator {
    sequence: Sequence,
    shared: Past,
    keys: BTreeMap<Option<u64>, Past>,
}

impl ReferenceEvaluator {
    /// An evaluator that has seen nothing yet.
    #[must_use]
    pub fn new(when: &When) -> Self {
        Self {
            sequence: when.sequence().clone(),
            shared: Past::default(),
            keys: BTreeMap::new(),
        }
    }

    /// As [`When::begin_frame`].
    pub fn begin_frame(&mut self, scene: &Scene<'_>) {
        let said = Said {
            shared: &Past::default(),
            own: &Past::default(),
            own_id: None,
        };
        let walk = Walk {
            scene,
            own: None,
            remembered: &said,
        };
        let mut frame = Frame::at(scene.pts_ns);
        for slot in slots(&self.sequence) {
            if let Remembering::Tracks { condition } = slot.what
                && slot.slot.home == Home::Shared
            {
                frame.seen.insert(slot.slot.index, seen(&walk, condition));
            }
        }
        self.shared.push(frame);
    }

    /// As [`When::evaluate`]; the key is the id of the track.
    pub fn evaluate(&mut self, scene: &Scene<'_>, subject: Option<usize>) -> bool {
        let own_id = subject.map(|own| scene.tracks[own].id);
        let past = self.keys.entry(own_id).or_default();
        past.push(Frame::at(scene.pts_ns));
        // Inner slots come first, so what they say now is known to the outer ones.
        for slot in slots(&self.sequence) {
            if slot.slot.home == Home::Shared {
                continue;
            }
            let said = Said {
                shared: &self.shared,
                own: past,
                own_id,
            };
            let walk = Walk {
                scene,
                own: subject,
                remembered: &said,
            };
            let index = slot.slot.index;
            match slot.what {
                Remembering::Every { interval_ns } => {
                    let flag = every(&past.frames, interval_ns);
                    past.now().flags.insert(index, flag);
                }
                Remembering::Changed { value } => {
                    let value = known(&walk, value, subject);
                    past.now().values.insert(index, value);
                    let flag = changed(&past.frames, index);
                    past.now().flags.insert(index, flag);
                }
                Remembering::Tracks { condition } => {
                    let seen = seen(&walk, condition);
                    past.now().seen.insert(index, seen);
                }
            }
        }
        let said = Said {
            shared: &self.shared,
            own: past,
            own_id,
        };
        let walk = Walk {
            scene,
            own: subject,
            remembered: &said,
        };
        let steps = &self.sequence.steps;
        let conditions = steps
            .iter()
            .map(|step| walk.holds(&step.value.condition.value, subject))
            .collect();
        past.now().conditions = conditions;
        sequence_holds(&self.sequence, &past.frames)
    }
}

/// Something that remembers.
struct Slotted<'t> {
    slot: Slot,
    what: Remembering<'t>,
}

enum Remembering<'t> {
    Every { interval_ns: u64 },
    Changed { value: &'t Value },
    Tracks { condition: &'t Condition },
}

/// All that remembers, in an order in which what is asked stands before who asks.
fn slots(sequence: &Sequence) -> Vec<Slotted<'_>> {
    let mut found = Vec::new();
    for step in &sequence.steps {
        each_node(&step.value.condition.value, &mut |node| {
            let (slot, what) = match node {
                Node::Condition(Condition::Every { interval_ns, slot }) => {
                    let interval_ns = *interval_ns;
                    (slot, Remembering::Every { interval_ns })
                }
                Node::Condition(Condition::Changed { value, slot }) => {
                    let value = &value.value;
                    (slot, Remembering::Changed { value })
                }
                Node::Number(
                    Number::CountWithin {
                        condition, slot, ..
                    }
                    | Number::Rate {
                        condition, slot, ..
                    },
                ) => {
                    let condition = &condition.value;
                    (slot, Remembering::Tracks { condition })
                }
                _ => return,
            };
            found.push(Slotted { slot: *slot, what });
        });
    }
    found.sort_by_key(|slotted| slotted.slot.index);
    found
}

/// All frames since event time went back last.
#[derive(Debug, Default)]
struct Past {
    frames: Vec<Frame>,
}

impl Past {
    fn push(&mut self, frame: Frame) {
        if self
            .frames
            .last()
            .is_some_and(|last| frame.at_ns < last.at_ns)
        {
            self.frames.clear();
        }
        self.frames.push(frame);
    }

    fn now(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a frame was pushed")
    }
}

/// What was seen and said in one frame, by slot.
#[derive(Debug, Default)]
struct Frame {
    at_ns: u64,
    /// Whether the condition held, for each track there was.
    seen: BTreeMap<u8, BTreeMap<u64, bool>>,
    values: BTreeMap<u8, Known>,
    flags: BTreeMap<u8, bool>,
    /// Whether the condition of each step held.
    conditions: Vec<bool>,
}

impl Frame {
    fn at(at_ns: u64) -> Self {
        Self {
            at_ns,
            ..Self::default()
        }
    }
}

/// A value that may change.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Flag(bool),
    Number(Option<f64>),
    Text(String),
}

fn known(walk: &Walk<'_>, value: &Value, track: Option<usize>) -> Known {
    match value {
        Value::Condition(condition) => Known::Flag(walk.holds(condition, track)),
        Value::Number(number) => {
            Known::Number(walk.number(number, track).filter(|number| !number.is_nan()))
        }
        Value::Text(text) => Known::Text(walk.text(text, track)),
    }
}

/// For each other track, whether the condition holds.
fn seen(walk: &Walk<'_>, condition: &Condition) -> BTreeMap<u64, bool> {
    (0..walk.scene.tracks.len())
        .filter(|index| Some(*index) != walk.own)
        .map(|index| {
            let id = walk.scene.tracks[index].id;
            (id, walk.holds(condition, Some(index)))
        })
        .collect()
}

/// True in the first frame, and then whenever the interval has passed since it was true.
fn every(frames: &[Frame], interval_ns: u64) -> bool {
    let mut last_ns = None;
    let mut now = false;
    for frame in frames {
        now = last_ns.is_none_or(|last_ns| frame.at_ns - last_ns >= interval_ns);
        if now {
            last_ns = Some(frame.at_ns);
        }
    }
    now
}

/// The value of the last frame is another than that of the one before.
fn changed(frames: &[Frame], index: u8) -> bool {
    match frames {
        [.., before, now] => before.values.get(&index) != now.values.get(&index),
        _ => false,
    }
}

/// Different tracks for which the condition held in some frame of the window.
#[expect(clippy::cast_precision_loss, reason = "a few tracks")]
fn count_within(frames: &[Frame], index: u8, window_ns: u64, own: Option<u64>) -> f64 {
    let Some(now) = frames.last() else { return 0.0 };
    let mut ids = BTreeSet::new();
    for frame in frames {
        if now.at_ns - frame.at_ns <= window_ns {
            let seen = frame.seen.get(&index).into_iter().flatten();
            ids.extend(seen.filter(|(_, holds)| **holds).map(|(id, _)| *id));
        }
    }
    ids.retain(|id| Some(*id) != own);
    ids.len().min(WINDOW_TRACKS_MAX as usize) as f64
}

/// Beginnings in the window, a minute. The condition begins to hold for a track in a frame
/// where it holds, and where it did not hold when the track was seen before, or the track was
/// not seen before, or so long ago that the window has forgotten it.
#[expect(clippy::cast_precision_loss, reason = "a few tracks")]
fn rate(frames: &[Frame], index: u8, window_ns: u64, own: Option<u64>) -> f64 {
    let Some(now) = frames.last() else { return 0.0 };
    let mut onsets = 0_usize;
    for (place, frame) in frames.iter().enumerate() {
        if now.at_ns - frame.at_ns > window_ns {
            continue;
        }
        for (id, holds) in frame.seen.get(&index).into_iter().flatten() {
            let before = frames[..place].iter().rev().find_map(|earlier| {
                let held = earlier.seen.get(&index)?.get(id)?;
                Some(*held && frame.at_ns - earlier.at_ns <= window_ns)
            });
            if *holds && before != Some(true) && Some(*id) != own {
                onsets += 1;
            }
        }
    }
    per_minute(onsets.min(ONSETS_MAX) as f64, window_ns)
}

/// A partial match of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    /// The last step it has come to.
    step: usize,
    start_ns: u64,
    reached_ns: u64,
}

/// Plays all frames through all partial matches there can be.
fn sequence_holds(sequence: &Sequence, frames: &[Frame]) -> bool {
    let steps: Vec<&Step> = sequence.steps.iter().map(|step| &step.value).collect();
    let last = steps.len() - 1;
    let mut matches: Vec<Match> = Vec::new();
    let mut answer = false;
    for (place, frame) in frames.iter().enumerate() {
        let now_ns = frame.at_ns;
        // Whether a step holds by itself.
        let holds = |step: usize| match (steps[step].absent_for_ns, step) {
            (None, _) => frame.conditions[step],
            (Some(absent_for_ns), 0) => quiet_for(&frames[..=place], absent_for_ns),
            (Some(_), _) => !frame.conditions[step],
        };
        if last == 0 {
            answer = holds(0);
            continue;
        }
        matches.retain(|open| {
            sequence
                .within_ns
                .is_none_or(|within_ns| now_ns - open.start_ns <= within_ns)
        });
        let mut arriving = Vec::new();
        matches.retain(|open| {
            let next = open.step + 1;
            let arrives = Match {
                step: next,
                start_ns: open.start_ns,
                reached_ns: now_ns,
            };
            match steps[next].absent_for_ns {
                None => {
                    if frame.conditions[next] {
                        arriving.push(arrives);
                    }
                    true
                }
                Some(_) if frame.conditions[next] => false,
                Some(absent_for_ns) => {
                    let done = now_ns - open.reached_ns >= absent_for_ns;
                    if done {
                        arriving.push(arrives);
                    }
                    !done
                }
            }
        });
        if arriving.iter().any(|arrives| arrives.step == last) {
            matches.clear();
            answer = true;
            continue;
        }
        answer = answer && holds(last);
        if holds(0) {
            arriving.push(Match {
                step: 0,
                start_ns: now_ns,
                reached_ns: now_ns,
            });
        }
        // Of those that arrive together, the one that began last has most time left.
        arriving.sort_by_key(|arrives| std::cmp::Reverse(arrives.start_ns));
        for arrives in arriving {
            let waits = steps[arrives.step + 1].absent_for_ns.is_some();
            let is_waiting = matches.iter().any(|open| open.step == arrives.step);
            // The wait of an absence is not begun anew.
            if !(waits && is_waiting) {
                matches.push(arrives);
            }
        }
    }
    answer
}

/// The first step's condition has not held for so long: since it held last, or since the first
/// frame.
fn quiet_for(frames: &[Frame], absent_for_ns: u64) -> bool {
    let (Some(first), Some(now)) = (frames.first(), frames.last()) else {
        return false;
    };
    let disturbed = frames.iter().rev().find(|frame| frame.conditions[0]);
    let since_ns = disturbed.map_or(first.at_ns, |frame| frame.at_ns);
    !now.conditions[0] && now.at_ns - since_ns >= absent_for_ns
}

/// What remembers says what it said, or what the shared past says without the own track.
struct Said<'a> {
    shared: &'a Past,
    own: &'a Past,
    own_id: Option<u64>,
}

impl Remembered for Said<'_> {
    fn number(&self, number: &Number, slot: Slot) -> f64 {
        let (past, own) = match slot.home {
            Home::Shared => (self.shared, self.own_id),
            Home::Memory => (self.own, None),
        };
        match number {
            Number::CountWithin { window_ns, .. } => {
                count_within(&past.frames, slot.index, *window_ns, own)
            }
            Number::Rate { window_ns, .. } => rate(&past.frames, slot.index, *window_ns, own),
            _ => f64::NAN,
        }
    }

    fn flag(&self, slot: Slot) -> bool {
        let now = self.own.frames.last();
        now.and_then(|now| now.flags.get(&slot.index))
            .is_some_and(|flag| *flag)
    }
}
