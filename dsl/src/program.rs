//! What a checked expression is compiled to, and its evaluation: a walk over a
//! small tree that allocates nothing.

use crate::syntax::Comparison;
use crate::vocabulary::Field;

/// Most zones of a rule file: membership of all of them fits one word.
pub const ZONES_MAX: usize = 64;

/// What is known of a track in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackFacts<'a> {
    /// The class name.
    pub label: &'a str,
    /// Median over the recent scores, 0 to 1.
    pub score: f32,
    /// This frame's score; `None` where the box is predicted.
    pub raw_score: Option<f32>,
    /// Event time since the track was first seen.
    pub age_ns: u64,
    /// Frames in which it was seen.
    pub hits: u32,
    /// Left edge, 0 to 1 of the picture's width.
    pub x: f32,
    /// Top edge, 0 to 1 of the picture's height.
    pub y: f32,
    /// Width, 0 to 1 of the picture's.
    pub width: f32,
    /// Height, 0 to 1 of the picture's.
    pub height: f32,
    /// Width over height, both in pixels.
    pub aspect: f32,
    /// Part of the picture that moved, 0 to 1.
    pub motion: f32,
    /// Bit `i` is set when the track is in zone `i` of [`crate::RuleFile::zones`].
    pub zones: u64,
}

/// The condition of a rule, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub(crate) root: Node,
}

impl Program {
    /// Whether the condition holds. Allocates nothing.
    #[must_use]
    pub fn evaluate(&self, facts: &TrackFacts<'_>) -> bool {
        self.root.holds(facts)
    }
}

/// A condition. Depth is bounded by [`crate::NESTING_MAX`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Constant(bool),
    Any(Box<[Self]>),
    All(Box<[Self]>),
    Not(Box<Self>),
    Compare {
        field: Field,
        comparison: Comparison,
        value: Value,
    },
    LabelIn(Box<[Box<str>]>),
    InZone(u8),
    Every {
        interval_ns: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Constant(f64),
    Field(Field),
}

impl Node {
    pub(crate) fn holds<F: Facts>(&self, facts: &F) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::Any(terms) => terms.iter().any(|term| term.holds(facts)),
            Self::All(terms) => terms.iter().all(|term| term.holds(facts)),
            Self::Not(term) => !term.holds(facts),
            Self::Compare {
                field,
                comparison,
                value,
            } => {
                let right = match value {
                    Value::Constant(constant) => *constant,
                    Value::Field(field) => facts.number(*field),
                };
                comparison.holds(facts.number(*field), right)
            }
            Self::LabelIn(list) => list.iter().any(|label| **label == *facts.label()),
            Self::InZone(zone) => facts.in_zone(*zone),
            Self::Every { interval_ns } => facts.passed(*interval_ns),
        }
    }
}

impl Comparison {
    #[expect(
        clippy::float_cmp,
        reason = "`==` means equality; counts are exact and constants are rounded as fields are"
    )]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Where a tree reads its values. The checker has made sure that a tree asks
/// only for what its scope has, so what a scope lacks may answer anything.
pub(crate) trait Facts {
    fn number(&self, field: Field) -> f64;

    fn label(&self) -> &str {
        ""
    }

    fn in_zone(&self, _zone: u8) -> bool {
        false
    }

    fn passed(&self, _interval_ns: u64) -> bool {
        false
    }
}

impl Facts for TrackFacts<'_> {
    fn number(&self, field: Field) -> f64 {
        f64::from(match field {
            // Exact in f64 for 104 days of track.
            #[expect(clippy::cast_precision_loss, reason = "see the line above")]
            Field::TrackAge => return self.age_ns as f64,
            Field::TrackHits => return f64::from(self.hits),
            Field::Score => self.score,
            Field::RawScore => self.raw_score.unwrap_or(0.0),
            Field::BoxX => self.x,
            Field::BoxY => self.y,
            Field::BoxWidth => self.width,
            Field::BoxHeight => self.height,
            Field::BoxArea => self.width * self.height,
            Field::BoxAspect => self.aspect,
            Field::Motion => self.motion,
        })
    }

    fn label(&self) -> &str {
        self.label
    }

    fn in_zone(&self, zone: u8) -> bool {
        self.zones
            .checked_shr(u32::from(zone))
            .is_some_and(|bits| bits & 1 == 1)
    }
}
