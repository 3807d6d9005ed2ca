//! The typed tree: what `check` makes of a syntax tree. Names are resolved, types are
//! right and constants are in range; `program` compiles it, `explain` and the reference
//! evaluator walk it.

use jiff::tz::TimeZone;

use crate::memory::WINDOW_TRACKS_MAX;
use crate::tree::{Comparison, Spanned};
use crate::vocabulary::{Field, Type};

/// A condition behind `when:`.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// One or more.
    pub(crate) steps: Vec<Spanned<Step>>,
    /// From the first step to the last.
    pub(crate) within_ns: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) condition: Spanned<Condition>,
    /// The condition must not hold for so long.
    pub(crate) absent_for_ns: Option<u64>,
}

/// True or false.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Constant(bool),
    Or(Vec<Spanned<Self>>),
    And(Vec<Spanned<Self>>),
    Not(Box<Spanned<Self>>),
    Compare {
        left: Spanned<Number>,
        comparison: Comparison,
        right: Spanned<Number>,
    },
    Between {
        value: Spanned<Number>,
        low: f64,
        high: f64,
    },
    OneOf {
        value: Spanned<Number>,
        numbers: Vec<f64>,
    },
    CompareText {
        left: Spanned<Text>,
        equal: bool,
        right: Spanned<Text>,
    },
    TextOneOf {
        value: Spanned<Text>,
        texts: Vec<String>,
    },
    Matches {
        value: Spanned<Text>,
        pattern: Pattern,
    },
    InZone(u8),
    Entered(u8),
    Left(u8),
    Crossed {
        line: u8,
        right: bool,
        left: bool,
    },
    Exists(Box<Spanned<Self>>),
    All {
        condition: Box<Spanned<Self>>,
        filter: Option<Box<Spanned<Self>>>,
    },
    Every {
        interval_ns: u64,
        slot: Slot,
    },
    Changed {
        value: Box<Spanned<Value>>,
        slot: Slot,
    },
}

/// A number; durations are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) enum Number {
    Constant(f64),
    Field(Field),
    Dwell(u8),
    /// From the counted track to the rule's own.
    DistanceToOwn,
    DistanceToZone(u8),
    DistanceToLine(u8),
    ZoneMotion(u8),
    Clock {
        zone: TimeZone,
        part: ClockPart,
    },
    Count(Box<Spanned<Condition>>),
    /// `count(...)` of `count(...) > N within T`.
    CountWithin {
        condition: Box<Spanned<Condition>>,
        window_ns: u64,
        slot: Slot,
    },
    Rate {
        condition: Box<Spanned<Condition>>,
        window_ns: u64,
        slot: Slot,
    },
    Fold {
        fold: Fold,
        value: Box<Spanned<Self>>,
        filter: Option<Box<Spanned<Condition>>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockPart {
    Hour,
    Minute,
    /// Since midnight.
    Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    Minimum,
    Maximum,
    Average,
}

#[derive(Debug, Clone)]
pub(crate) enum Text {
    Constant(String),
    Label,
    Attribute(String),
    StreamName,
    StreamLabel(String),
    Weekday(TimeZone),
}

/// What `changed` and a message look at.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Condition(Condition),
    Number(Number),
    Text(Text),
}

/// Where the remembering thing of this node keeps what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Counted in each home for itself, so that what a slot reads has a smaller index.
    pub(crate) index: u8,
    pub(crate) home: Home,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// Each key has its own.
    Memory,
    /// It does not depend on the track that the rule is evaluated for, so all share one.
    Shared,
}

/// A regular expression as a deterministic automaton: its time is linear in the text and it
/// needs no memory when it runs.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Box<regex_automata::dfa::dense::DFA<Vec<u32>>>);

impl Pattern {
    /// Largest automaton, in bytes: hundreds of states, for patterns of a line.
    const BYTES_MAX: usize = 32 << 10;

    /// Compiles a pattern; its error in words.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        use regex_automata::dfa::{StartKind, dense};
        use regex_automata::nfa::thompson;
        use regex_automata::util::syntax;

        const TOO_LARGE: &str =
            "it has too many states: repeat less than `{...}` says, or leave out alternatives";
        let nfa = thompson::Compiler::new()
            // Classes of ASCII keep automata small; texts are labels, plates and the like.
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(4 * Self::BYTES_MAX)),
            )
            .build(text)
            .map_err(|error| match error.size_limit() {
                Some(_) => TOO_LARGE.to_owned(),
                None => root_cause(&error),
            })?;
        dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(Self::BYTES_MAX))
                    .determinize_size_limit(Some(16 * Self::BYTES_MAX)),
            )
            .build_from_nfa(&nfa)
            .map(|automaton| Self(Box::new(automaton)))
            .map_err(|error| match error.is_size_limit_exceeded() {
                true => TOO_LARGE.to_owned(),
                false => root_cause(&error),
            })
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        use regex_automata::Input;
        use regex_automata::dfa::Automaton as _;

        // The only error is a byte that an automaton gives up on; without Unicode there is none.
        let input = Input::new(text).earliest(true);
        matches!(self.0.try_search_fwd(&input), Ok(Some(_)))
    }
}

/// What lies at the bottom of an error. A syntax error draws the pattern with carets; its last
/// line says what it is.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl Condition {
    /// Says something about the rule's own track by `distance(track)`.
    pub(crate) fn depends_on_own(&self) -> bool {
        let any = |terms: &[Spanned<Self>]| terms.iter().any(|term| term.value.depends_on_own());
        match self {
            Self::Or(terms) | Self::And(terms) => any(terms),
            Self::Not(term) | Self::Exists(term) => term.value.depends_on_own(),
            Self::All { condition, filter } => {
                condition.value.depends_on_own()
                    || filter
                        .as_ref()
                        .is_some_and(|filter| filter.value.depends_on_own())
            }
            Self::Compare { left, right, .. } => {
                left.value.depends_on_own() || right.value.depends_on_own()
            }
            Self::Between { value, .. } | Self::OneOf { value, .. } => value.value.depends_on_own(),
            Self::Constant(_)
            | Self::CompareText { .. }
            | Self::TextOneOf { .. }
            | Self::Matches { .. }
            | Self::InZone(_)
            | Self::Entered(_)
            | Self::Left(_)
            | Self::Crossed { .. }
            | Self::Every { .. }
            | Self::Changed { .. } => false,
        }
    }
}

impl Number {
    /// As [`Condition::depends_on_own`]. Aggregates stand in no aggregate, so they are not asked.
    fn depends_on_own(&self) -> bool {
        matches!(self, Self::DistanceToOwn)
    }
}

impl Number {
    /// Its type.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Field(field) => field.spec().kind,
            Self::Dwell(_) => Type::Duration,
            Self::ZoneMotion(_) => Type::Fraction,
            Self::Clock { part, .. } => match part {
                ClockPart::Hour | ClockPart::Minute => Type::Integer,
                ClockPart::Time => Type::Duration,
            },
            Self::Count(_) | Self::CountWithin { .. } => Type::Integer,
            Self::Fold { fold, value, .. } => match (fold, value.value.kind()) {
                (Fold::Average, Type::Integer) => Type::Number,
                (_, kind) => kind,
            },
            Self::Constant(_)
            | Self::DistanceToOwn
            | Self::DistanceToZone(_)
            | Self::DistanceToLine(_)
            | Self::Rate { .. } => Type::Number,
        }
    }

    /// The largest value it can have, if there is one.
    pub(crate) fn maximum(&self) -> Option<f64> {
        match self {
            Self::Field(field) => field.spec().maximum,
            Self::ZoneMotion(_) => Some(1.0),
            Self::Clock { part, .. } => Some(match part {
                ClockPart::Hour => 23.0,
                ClockPart::Minute => 59.0,
                ClockPart::Time => 24.0 * 3600e9,
            }),
            Self::CountWithin { .. } => Some(f64::from(WINDOW_TRACKS_MAX)),
            Self::Fold { value, .. } => value.value.maximum(),
            _ => None,
        }
    }
}

impl Text {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Label => Type::Label,
            _ => Type::String,
        }
    }
}

impl Value {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Condition(_) => Type::Boolean,
            Self::Number(number) => number.kind(),
            Self::Text(text) => text.kind(),
        }
    }
}
