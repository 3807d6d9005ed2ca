//! Why a condition held or did not: each of its parts, with its value.

use std::ops::Range;

use crate::memory::{Memory, Shared};
use crate::scene::Scene;
use crate::tree::Spanned;
use crate::typed::{Condition, Home, Number, Slot, Step};
use crate::walk::{Remembered, Walk};
use crate::when::When;

/// What a condition said in one frame, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`When::evaluate`] would have answered.
    pub holds: bool,
    /// The parts, each before those it is made of.
    pub parts: Vec<Part>,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How deep it stands; the whole condition is at 0.
    pub depth: u32,
    /// Its text, as it was written.
    pub text: String,
    /// Whether it holds, if it is a condition.
    pub holds: Option<bool>,
    /// Its value, as in `0.52` or `12.3s`, if it is more than that.
    pub value: Option<String>,
}

/// Most tracks that are named as those that an aggregate holds for.
const NAMED_MAX: usize = 8;

/// Takes apart an evaluation that has just been made and was answered by `holds`.
pub(crate) fn explain(
    when: &When,
    holds: bool,
    scene: &Scene<'_>,
    own: Option<usize>,
    shared: &Shared,
    memory: &Memory,
) -> Explanation {
    let said = Said {
        memory,
        shared,
        own_id: own
            .and_then(|own| scene.tracks.get(own))
            .map(|track| track.id),
    };
    let walk = Walk {
        scene,
        own,
        remembered: &said,
    };
    let mut explainer = Explainer {
        text: when.text(),
        walk,
        track: own,
        parts: Vec::new(),
    };
    match when.sequence().steps.as_slice() {
        [only] if only.value.absent_for_ns.is_none() => {
            explainer.condition(0, &only.value.condition);
        }
        steps => {
            explainer.part(0, 0..when.text().len(), Some(holds), None);
            for (index, step) in steps.iter().enumerate() {
                let reached = memory.sequence.reached.get(index).copied().flatten();
                let ago_ns = reached.map(|reached| scene.pts_ns.saturating_sub(reached.at_ns));
                explainer.step(&step.value, ago_ns);
            }
        }
    }
    Explanation {
        holds,
        parts: explainer.parts,
    }
}

/// What the evaluation left behind.
struct Said<'a> {
    memory: &'a Memory,
    shared: &'a Shared,
    own_id: Option<u64>,
}

impl Remembered for Said<'_> {
    fn number(&self, _number: &Number, slot: Slot) -> f64 {
        let index = usize::from(slot.index);
        match slot.home {
            Home::Memory => self.memory.results.get(index).copied(),
            Home::Shared => self
                .shared
                .slots
                .get(index)
                .map(|state| state.number(self.own_id)),
        }
        .unwrap_or(f64::NAN)
    }

    fn flag(&self, slot: Slot) -> bool {
        let result = self.memory.results.get(usize::from(slot.index));
        result.is_some_and(|result| *result > 0.0)
    }
}

struct Explainer<'a> {
    text: &'a str,
    walk: Walk<'a>,
    track: Option<usize>,
    parts: Vec<Part>,
}

impl Explainer<'_> {
    /// A step of a sequence, or an absence. What it is made of speaks of this frame; its value
    /// says how long ago a match that is still open came to it.
    fn step(&mut self, step: &Step, reached_ago_ns: Option<u64>) {
        let condition = &step.condition;
        let holds = self.walk.holds(&condition.value, self.track);
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let value = reached_ago_ns.map(|ago_ns| format!("reached {:.1}s ago", ago_ns as f64 / 1e9));
        if step.absent_for_ns.is_some() {
            let absent = Part {
                depth: 1,
                text: format!("not {}", self.text_of(&condition.span)),
                holds: Some(!holds),
                value,
            };
            self.parts.push(absent);
            self.condition(2, condition);
        } else {
            let place = self.parts.len();
            self.condition(1, condition);
            if let Some(part) = self.parts.get_mut(place)
                && let Some(value) = value
            {
                part.value = Some(match part.value.take() {
                    Some(own) => format!("{own}, {value}"),
                    None => value,
                });
            }
        }
    }

    fn condition(&mut self, depth: u32, condition: &Spanned<Condition>) {
        let holds = self.walk.holds(&condition.value, self.track);
        let value = self.value(&condition.value);
        self.part(depth, condition.span.clone(), Some(holds), value);
        match &condition.value {
            Condition::Or(terms) | Condition::And(terms) => {
                for term in terms {
                    self.condition(depth + 1, term);
                }
            }
            Condition::Not(term) => self.condition(depth + 1, term),
            _ => {}
        }
    }

    /// What a test looked at.
    fn value(&self, condition: &Condition) -> Option<String> {
        let number = |number: &Number| self.walk.show_number(number, self.track);
        let quoted = |text| format!("\"{}\"", self.walk.text(text, self.track));
        match condition {
            Condition::Compare { left, right, .. } => Some(match &right.value {
                Number::Constant(_) => self.counted_number(&left.value),
                right => format!("{} and {}", number(&left.value), number(right)),
            }),
            Condition::Between { value, .. } | Condition::OneOf { value, .. } => {
                Some(self.counted_number(&value.value))
            }
            Condition::CompareText { left, .. } => Some(quoted(&left.value)),
            Condition::TextOneOf { value, .. } | Condition::Matches { value, .. } => {
                Some(quoted(&value.value))
            }
            Condition::Exists(condition) => {
                let counted = self.walk.counted(condition);
                Some(self.tracks(&counted))
            }
            Condition::All { condition, filter } => {
                let refuting: Vec<usize> = (0..self.walk.scene.tracks.len())
                    .filter(|index| Some(*index) != self.walk.own)
                    .filter(|index| {
                        let holds = |inner: &Condition| self.walk.holds(inner, Some(*index));
                        filter.as_ref().is_none_or(|filter| holds(&filter.value))
                            && !holds(&condition.value)
                    })
                    .collect();
                (!refuting.is_empty()).then(|| format!("not for {}", self.tracks(&refuting)))
            }
            Condition::Changed { value, .. } => Some(self.walk.show(&value.value, self.track)),
            _ => None,
        }
    }

    /// A number, and where it counts tracks, which.
    fn counted_number(&self, number: &Number) -> String {
        let shown = self.walk.show_number(number, self.track);
        match number {
            Number::Count(condition) => match self.walk.counted(condition) {
                counted if counted.is_empty() => shown,
                counted => format!("{shown} ({})", self.tracks(&counted)),
            },
            _ => shown,
        }
    }

    /// `track 3`, `tracks 3, 7`, or `none`.
    fn tracks(&self, indices: &[usize]) -> String {
        let ids: Vec<_> = indices
            .iter()
            .take(NAMED_MAX)
            .map(|index| self.walk.scene.tracks[*index].id.to_string())
            .collect();
        let ids = ids.join(", ");
        match indices.len() {
            0 => "none".to_owned(),
            1 => format!("track {ids}"),
            2..=NAMED_MAX => format!("tracks {ids}"),
            all => format!("tracks {ids} and {} more", all - NAMED_MAX),
        }
    }

    fn part(&mut self, depth: u32, span: Range<usize>, holds: Option<bool>, value: Option<String>) {
        let text = self.text_of(&span).to_owned();
        self.parts.push(Part {
            depth,
            text,
            holds,
            value,
        });
    }

    fn text_of(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or(self.text).trim()
    }
}
