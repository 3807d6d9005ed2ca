//! Every word of the language: clauses, fields, functions, operators and actions, one
//! table each. The checker, the suggestions and the reference page read them.

mod clauses;
mod fields;
mod functions;
mod operators;

use std::fmt;

pub use clauses::{ACTIONS, ActionSpec, CLAUSES, ClauseSpec};
pub use fields::{FIELDS, FieldSpec};
pub use functions::{FUNCTIONS, FunctionSpec};
pub use operators::{OPERATORS, OperatorSpec};

pub(crate) use fields::{Field, Reading};
pub(crate) use functions::Function;

use crate::rule_file::Subject;

/// Where an expression stands, and with it what it can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A gate: a frame, before any model has run on it.
    Gate,
    /// A rule `on: frame` or `on: stream`: a frame and all its tracks.
    Frame,
    /// A rule `on: track`, or the inside of an aggregate: one track.
    Track,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Boolean,
    /// 0, 1, 2, ...
    Integer,
    /// 0 to 1; percent may be written for it.
    Fraction,
    /// 0 or more.
    Number,
    /// A span of event time.
    Duration,
    /// The name of a class.
    Label,
    /// A text.
    String,
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Fraction => "a fraction from 0 to 1",
            Self::Number => "a number",
            Self::Duration => "a duration",
            Self::Label => "a label",
            Self::String => "a string",
        })
    }
}

/// A condition, and when it holds in the film of the reference page.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What the rule is about.
    pub on: Subject,
    /// The condition.
    pub when: &'static str,
    /// When it holds: `track 1 from 5s to 20s`, `at 5s`, `never`.
    pub holds: &'static str,
}

const fn track(when: &'static str, holds: &'static str) -> Example {
    Example {
        on: Subject::Track,
        when,
        holds,
    }
}

const fn frame(when: &'static str, holds: &'static str) -> Example {
    Example {
        on: Subject::Frame,
        when,
        holds,
    }
}

const TRACK: &[Scope] = &[Scope::Track];
const RULES: &[Scope] = &[Scope::Frame, Scope::Track];
const ALL: &[Scope] = &[Scope::Gate, Scope::Frame, Scope::Track];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_row_and_no_name_stands_twice() {
        let mut names: Vec<_> = FIELDS.iter().map(|spec| spec.name).collect();
        for spec in FIELDS {
            if let Reading::Number(field) = spec.reading {
                assert_eq!(field.spec().name, spec.name);
            }
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len());
        let rows = [
            Field::Score,
            Field::RawScore,
            Field::BoxX,
            Field::BoxY,
            Field::BoxWidth,
            Field::BoxHeight,
            Field::BoxArea,
            Field::BoxAspect,
            Field::TrackId,
            Field::TrackAge,
            Field::TrackHits,
            Field::TrackSpeed,
            Field::TrackDirection,
            Field::Sharpness,
            Field::Brightness,
            Field::Best,
            Field::Landmarks,
            Field::Depth,
            Field::Motion,
            Field::FramesPerSecond,
            Field::Tracks,
            Field::Events,
        ];
        for field in rows {
            assert_eq!(field.spec().reading, Reading::Number(field));
        }
    }
}
