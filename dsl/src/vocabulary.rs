//! Every field and function an expression can name: one table each, which the
//! checker, the suggestions and the reference page read.

use std::fmt;

/// What kind of thing an expression is evaluated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A frame, before any model has run on it.
    Gate,
    /// A track in a frame.
    Track,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// 0 or more.
    Integer,
    /// 0 to 1; percent may be written for it.
    Fraction,
    /// A ratio of two lengths.
    Ratio,
    /// A span of event time.
    Duration,
    /// The name of a class.
    Label,
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Integer => "a whole number",
            Self::Fraction => "a fraction from 0 to 1",
            Self::Ratio => "a number",
            Self::Duration => "a duration",
            Self::Label => "a label",
        })
    }
}

/// A field that holds a number; durations are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Score,
    RawScore,
    TrackAge,
    TrackHits,
    BoxX,
    BoxY,
    BoxWidth,
    BoxHeight,
    BoxArea,
    BoxAspect,
    Motion,
}

/// One row of [`FIELDS`].
#[derive(Debug)]
pub struct FieldSpec {
    /// As it is written.
    pub name: &'static str,
    /// What it can be compared with.
    pub kind: Type,
    /// Where it can be used.
    pub scopes: &'static [Scope],
    /// What it is, in one sentence.
    pub meaning: &'static str,
    /// `None` for the one field that is not a number, `label`.
    pub(crate) field: Option<Field>,
}

/// One row of [`FUNCTIONS`].
#[derive(Debug)]
pub struct FunctionSpec {
    /// As it is written.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// Where it can be used.
    pub scopes: &'static [Scope],
    /// What it says, in one sentence.
    pub meaning: &'static str,
    pub(crate) function: Function,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    InZone,
    Every,
}

const TRACK: &[Scope] = &[Scope::Track];
const GATE: &[Scope] = &[Scope::Gate];
const BOTH: &[Scope] = &[Scope::Gate, Scope::Track];

/// All fields.
pub const FIELDS: &[FieldSpec] = &[
    FieldSpec {
        name: "label",
        kind: Type::Label,
        scopes: TRACK,
        meaning: "the class of the track, by the model's name for it",
        field: None,
    },
    FieldSpec {
        name: "score",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "the median of the track's recent scores",
        field: Some(Field::Score),
    },
    FieldSpec {
        name: "raw_score",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "the score in this frame; 0 where the box is predicted, not seen",
        field: Some(Field::RawScore),
    },
    FieldSpec {
        name: "track.age",
        kind: Type::Duration,
        scopes: TRACK,
        meaning: "event time since the track was first seen",
        field: Some(Field::TrackAge),
    },
    FieldSpec {
        name: "track.hits",
        kind: Type::Integer,
        scopes: TRACK,
        meaning: "frames in which the track was seen",
        field: Some(Field::TrackHits),
    },
    FieldSpec {
        name: "box.x",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "left edge of the box, in widths of the picture",
        field: Some(Field::BoxX),
    },
    FieldSpec {
        name: "box.y",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "top edge of the box, in heights of the picture",
        field: Some(Field::BoxY),
    },
    FieldSpec {
        name: "box.width",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "width of the box, in widths of the picture",
        field: Some(Field::BoxWidth),
    },
    FieldSpec {
        name: "box.height",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "height of the box, in heights of the picture",
        field: Some(Field::BoxHeight),
    },
    FieldSpec {
        name: "box.area",
        kind: Type::Fraction,
        scopes: TRACK,
        meaning: "area of the box, in areas of the picture",
        field: Some(Field::BoxArea),
    },
    FieldSpec {
        name: "box.aspect",
        kind: Type::Ratio,
        scopes: TRACK,
        meaning: "width of the box over its height, both in pixels",
        field: Some(Field::BoxAspect),
    },
    FieldSpec {
        name: "motion",
        kind: Type::Fraction,
        scopes: BOTH,
        meaning: "the part of the picture that moved since the frame before",
        field: Some(Field::Motion),
    },
];

/// All functions.
pub const FUNCTIONS: &[FunctionSpec] = &[
    FunctionSpec {
        name: "in_zone",
        usage: "in_zone(NAME)",
        scopes: TRACK,
        meaning: "the anchor of the track's box lies inside the zone",
        function: Function::InZone,
    },
    FunctionSpec {
        name: "every",
        usage: "every(DURATION)",
        scopes: GATE,
        meaning: "so much event time has passed since the last frame that was let through",
        function: Function::Every,
    },
];
