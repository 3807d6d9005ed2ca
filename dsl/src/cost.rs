//! How much work a condition can be, known before it ever runs.

use crate::rule_file::Subject;
use crate::tree::Spanned;
use crate::typed::{Condition, Number, Sequence, Value};

/// Largest cost of an expression, in tests an evaluation with 32 tracks in the frame: some
/// 20 microseconds.
pub const COST_MAX: u32 = 4096;

/// Tracks in the frame for which [`COST_MAX`] is meant: a busy street.
pub(crate) const TRACKS_ASSUMED: u32 = 32;

/// An upper bound of the work of one evaluation, in elementary tests (a comparison, a
/// membership, ...): `per_evaluation + per_track * T` with `T` tracks in the frame.
///
/// What a rule `on: track` computes once a frame for all its evaluations is shared out
/// among them, as there are as many evaluations as tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tests of the evaluation itself.
    pub per_evaluation: u32,
    /// Tests for each track in the frame: those inside of aggregates.
    pub per_track: u32,
}

/// A pattern runs over a text, byte by byte.
const PATTERN_TESTS: u32 = 8;
/// The edges of a zone, most of which have a handful.
const EDGES_TESTS: u32 = 8;
/// From a time to the calendar of a zone.
const CLOCK_TESTS: u32 = 8;
/// To look for one track among those that a window remembers.
const WINDOW_TESTS: u32 = 32;

impl Cost {
    pub(crate) fn of_sequence(sequence: &Sequence, subject: Subject) -> Self {
        sequence
            .steps
            .iter()
            .map(|step| Self::of_condition(&step.value.condition.value, Some(subject)))
            .fold(Self::default(), Self::and)
    }

    /// `subject` is `None` for a gate.
    pub(crate) fn of_condition(condition: &Condition, subject: Option<Subject>) -> Self {
        let of = |term: &Spanned<Condition>| Self::of_condition(&term.value, subject);
        match condition {
            Condition::Or(terms) | Condition::And(terms) => {
                terms.iter().map(of).fold(Self::default(), Self::and)
            }
            Condition::Not(term) => of(term),
            Condition::Compare { left, right, .. } => Self::of_number(&left.value, subject)
                .and(Self::of_number(&right.value, subject))
                .and(Self::once(1)),
            Condition::Between { value, .. } => {
                Self::of_number(&value.value, subject).and(Self::once(1))
            }
            Condition::OneOf { value, numbers } => {
                Self::of_number(&value.value, subject).and(Self::many(numbers.len()))
            }
            Condition::TextOneOf { texts, .. } => Self::many(texts.len()),
            Condition::Matches { .. } => Self::once(PATTERN_TESTS),
            Condition::Exists(inner) => of(inner).of_all_tracks(inner, subject).and(Self::once(1)),
            Condition::All { condition, filter } => {
                let filtered = filter.as_ref().map(|filter| of(filter));
                of(condition)
                    .and(filtered.unwrap_or_default())
                    .of_all_tracks(condition, subject)
                    .and(Self::once(1))
            }
            Condition::Changed { value, .. } => match &value.value {
                Value::Condition(condition) => Self::of_condition(condition, subject),
                Value::Number(number) => Self::of_number(number, subject),
                Value::Text(_) => Self::default(),
            }
            .and(Self::once(1)),
            Condition::Constant(_)
            | Condition::CompareText { .. }
            | Condition::InZone(_)
            | Condition::Entered(_)
            | Condition::Left(_)
            | Condition::Crossed { .. }
            | Condition::Every { .. } => Self::once(1),
        }
    }

    fn of_number(number: &Number, subject: Option<Subject>) -> Self {
        let of = |condition: &Spanned<Condition>| Self::of_condition(&condition.value, subject);
        match number {
            Number::Count(condition) => of(condition).of_all_tracks(condition, subject),
            Number::CountWithin { condition, .. } | Number::Rate { condition, .. } => of(condition)
                .of_all_tracks(condition, subject)
                .and(Self::once(WINDOW_TESTS)),
            Number::Fold { value, filter, .. } => {
                let filtered = filter.as_ref().map(|filter| of(filter));
                let once = Self::of_number(&value.value, subject)
                    .and(filtered.unwrap_or_default())
                    .and(Self::once(1));
                Self {
                    per_evaluation: 0,
                    per_track: once.per_evaluation,
                }
            }
            Number::DistanceToZone(_) => Self::once(EDGES_TESTS),
            Number::Clock { .. } => Self::once(CLOCK_TESTS),
            _ => Self::default(),
        }
    }

    /// Tests with as many tracks as [`COST_MAX`] is meant for.
    pub(crate) fn assumed(self) -> u32 {
        self.per_evaluation
            .saturating_add(self.per_track.saturating_mul(TRACKS_ASSUMED))
    }

    /// The cost of asking every track what costs `self`.
    fn of_all_tracks(self, condition: &Spanned<Condition>, subject: Option<Subject>) -> Self {
        let asked = self.per_evaluation.max(1);
        if subject == Some(Subject::Track) && !condition.value.depends_on_own() {
            // Once a frame for all, and once to leave out the own track.
            return Self::once(asked.saturating_mul(2));
        }
        Self {
            per_evaluation: 0,
            per_track: asked,
        }
    }

    fn once(tests: u32) -> Self {
        Self {
            per_evaluation: tests,
            per_track: 0,
        }
    }

    fn many(tests: usize) -> Self {
        Self::once(u32::try_from(tests).unwrap_or(u32::MAX))
    }

    fn and(self, other: Self) -> Self {
        Self {
            per_evaluation: self.per_evaluation.saturating_add(other.per_evaluation),
            per_track: self.per_track.saturating_add(other.per_track),
        }
    }
}
