//! The walk over a typed tree: the plain reading of a condition, node by node.
//!
//! It allocates and repeats itself, so no stream runs on it. It explains conditions, fills
//! messages, and is what the flat program is tested against.

use crate::facts;
use crate::scene::{Scene, TrackFacts};
use crate::tree::{Comparison, Spanned};
use crate::typed::{Condition, Fold, Number, Slot, Text, Value};
use crate::vocabulary::Type;

/// What the things of a condition that remember say now.
pub(crate) trait Remembered {
    /// What `number`, a window or a rate, says; it remembers in `slot`.
    fn number(&self, number: &Number, slot: Slot) -> f64;
    /// What `every` or `changed` says.
    fn flag(&self, slot: Slot) -> bool;
}

/// Where nothing remembers: in messages.
pub(crate) struct Forgetful;

impl Remembered for Forgetful {
    fn number(&self, _number: &Number, _slot: Slot) -> f64 {
        f64::NAN
    }

    fn flag(&self, _slot: Slot) -> bool {
        false
    }
}

/// A scene, looked at for one track, or for none.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) scene: &'a Scene<'a>,
    /// The track that the rule is evaluated for.
    pub(crate) own: Option<usize>,
    pub(crate) remembered: &'a dyn Remembered,
}

impl<'a> Walk<'a> {
    /// Whether a condition holds. `track` is the one that fields are about.
    pub(crate) fn holds(&self, condition: &Condition, track: Option<usize>) -> bool {
        let facts = self.facts(track);
        let is_in = |set: fn(&TrackFacts) -> u64, index: u8| {
            facts.is_some_and(|facts| facts::contains(set(facts), index))
        };
        match condition {
            Condition::Constant(value) => *value,
            Condition::Or(terms) => terms.iter().any(|term| self.holds(&term.value, track)),
            Condition::And(terms) => terms.iter().all(|term| self.holds(&term.value, track)),
            Condition::Not(term) => !self.holds(&term.value, track),
            Condition::Compare {
                left,
                comparison,
                right,
            } => {
                let left = self.number(&left.value, track);
                let right = self.number(&right.value, track);
                left.zip(right)
                    .and_then(|(left, right)| left.partial_cmp(&right))
                    .is_some_and(|ordering| match comparison {
                        Comparison::Equal => ordering.is_eq(),
                        Comparison::NotEqual => ordering.is_ne(),
                        Comparison::Less => ordering.is_lt(),
                        Comparison::LessOrEqual => ordering.is_le(),
                        Comparison::Greater => ordering.is_gt(),
                        Comparison::GreaterOrEqual => ordering.is_ge(),
                    })
            }
            Condition::Between { value, low, high } => self
                .number(&value.value, track)
                .is_some_and(|number| *low <= number && number <= *high),
            Condition::OneOf { value, numbers } => self
                .number(&value.value, track)
                .is_some_and(|number| numbers.contains(&number)),
            Condition::CompareText { left, equal, right } => {
                (self.text(&left.value, track) == self.text(&right.value, track)) == *equal
            }
            Condition::TextOneOf { value, texts } => {
                let text = self.text(&value.value, track);
                texts.contains(&text)
            }
            Condition::Matches { value, pattern } => {
                pattern.is_match(&self.text(&value.value, track))
            }
            Condition::InZone(zone) => is_in(|facts| facts.zones, *zone),
            Condition::Entered(zone) => is_in(|facts| facts.entered, *zone),
            Condition::Left(zone) => is_in(|facts| facts.left, *zone),
            Condition::Crossed { line, right, left } => {
                (*right && is_in(|facts| facts.crossed_right, *line))
                    || (*left && is_in(|facts| facts.crossed_left, *line))
            }
            Condition::Exists(condition) => !self.counted(condition).is_empty(),
            Condition::All { condition, filter } => self
                .filtered(filter.as_deref())
                .into_iter()
                .all(|index| self.holds(&condition.value, Some(index))),
            Condition::Every { slot, .. } | Condition::Changed { slot, .. } => {
                self.remembered.flag(*slot)
            }
        }
    }

    /// A number; `None` where it is not known.
    pub(crate) fn number(&self, number: &Number, track: Option<usize>) -> Option<f64> {
        let scene = self.scene;
        let facts = self.facts(track);
        match number {
            Number::Constant(constant) => Some(*constant),
            Number::Field(field) => facts::field(*field, scene, facts),
            Number::Dwell(zone) => facts::dwell(*zone, scene, track?),
            Number::DistanceToOwn => Some(facts::distance(facts?, self.facts(self.own)?)),
            Number::DistanceToZone(zone) => facts::distance_to_zone(*zone, scene, facts?),
            Number::DistanceToLine(line) => facts::distance_to_line(*line, scene, facts?),
            Number::ZoneMotion(zone) => facts::zone_motion(*zone, scene),
            Number::Clock { zone, part } => facts::clock(zone, *part, scene),
            #[expect(clippy::cast_precision_loss, reason = "a few hundred tracks")]
            Number::Count(condition) => Some(self.counted(condition).len() as f64),
            Number::CountWithin { slot, .. } | Number::Rate { slot, .. } => {
                Some(self.remembered.number(number, *slot))
            }
            Number::Fold {
                fold,
                value,
                filter,
            } => {
                let values: Vec<f64> = self
                    .filtered(filter.as_deref())
                    .into_iter()
                    .filter_map(|index| self.number(&value.value, Some(index)))
                    .collect();
                match fold {
                    Fold::Minimum => values.into_iter().reduce(f64::min),
                    Fold::Maximum => values.into_iter().reduce(f64::max),
                    Fold::Average if values.is_empty() => None,
                    #[expect(clippy::cast_precision_loss, reason = "a few hundred tracks")]
                    Fold::Average => Some(values.iter().sum::<f64>() / values.len() as f64),
                }
            }
        }
    }

    pub(crate) fn text(&self, text: &Text, track: Option<usize>) -> String {
        let scene = self.scene;
        match text {
            Text::Constant(text) => text,
            Text::Label => facts::label(scene, self.facts(track)),
            Text::Attribute(name) => facts::attribute(name, scene, self.facts(track)),
            Text::StreamName => scene.stream,
            Text::StreamLabel(name) => facts::stream_label(name, scene),
            Text::Weekday(zone) => facts::weekday(zone, scene),
        }
        .to_owned()
    }

    /// The other tracks that a condition holds for, by index.
    pub(crate) fn counted(&self, condition: &Spanned<Condition>) -> Vec<usize> {
        self.filtered(Some(condition))
    }

    /// A value as it is shown to people.
    pub(crate) fn show(&self, value: &Value, track: Option<usize>) -> String {
        match value {
            Value::Condition(condition) => self.holds(condition, track).to_string(),
            Value::Text(text) => self.text(text, track),
            Value::Number(number) => self.show_number(number, track),
        }
    }

    /// A number as it is shown to people: `7`, `0.52`, `12.3s`; `-` where it is not known.
    pub(crate) fn show_number(&self, number: &Number, track: Option<usize>) -> String {
        let Some(value) = self.number(number, track) else {
            return "-".to_owned();
        };
        match number.kind() {
            Type::Integer => format!("{value:.0}"),
            Type::Duration => format!("{:.1}s", value / 1e9),
            _ => format!("{value:.2}"),
        }
    }

    fn facts(&self, track: Option<usize>) -> Option<&'a TrackFacts> {
        self.scene.tracks.get(track?)
    }

    fn filtered(&self, filter: Option<&Spanned<Condition>>) -> Vec<usize> {
        (0..self.scene.tracks.len())
            .filter(|index| Some(*index) != self.own)
            .filter(|index| filter.is_none_or(|filter| self.holds(&filter.value, Some(*index))))
            .collect()
    }
}
