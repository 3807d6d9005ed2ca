//! The syntax tree: what `syntax` reads, `check` gives types to, and `format` writes.
//!
//! Every node knows the bytes of its text. Two trees are the same program when they
//! are equal but for those spans ([`Spanned`] compares without them).

use std::ops::Range;

/// Something, and the bytes of the text it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// Places do not matter: `a and b` is the same program on one line and on two.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A name, or the content of a string.
pub(crate) type Word = Spanned<String>;

/// What stands behind `when:`: steps in their order; of a plain condition one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sequence {
    /// One or more.
    pub(crate) steps: Vec<Step>,
    /// `within T` behind it all, in nanoseconds: from the first step to the last. Only
    /// where there is more than one step; behind a lone condition it is [`Expression::Within`].
    pub(crate) within: Option<Spanned<u64>>,
}

/// A step of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) condition: Spanned<Expression>,
    /// `not CONDITION for T`: the step is done when the condition has not held for so many
    /// nanoseconds. `condition` is then what must not hold, without the `not`.
    pub(crate) absent_for: Option<Spanned<u64>>,
}

/// A condition, or a value that stands where a condition is expected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// Two or more.
    Or(Vec<Spanned<Self>>),
    /// Two or more.
    And(Vec<Spanned<Self>>),
    Not(Box<Spanned<Self>>),
    Compare {
        left: Spanned<Operand>,
        comparison: Comparison,
        right: Spanned<Operand>,
    },
    /// `label in ["car", "truck"]`, `hour in 8..18`, `clock("UTC").weekday in [..]`
    In {
        left: Spanned<Operand>,
        set: Spanned<Set>,
    },
    /// `attribute("plate") matches "^B-"`
    Matches {
        left: Spanned<Operand>,
        pattern: Word,
    },
    /// `count(crossed(gate)) > 1 within 2s`; nanoseconds.
    Within {
        condition: Box<Spanned<Self>>,
        window: Spanned<u64>,
    },
    Operand(Operand),
}

impl Sequence {
    /// Each operand, also those in the arguments of calls, in the order of the text.
    pub(crate) fn each_operand(&self, visit: &mut impl FnMut(&Operand)) {
        for step in &self.steps {
            step.condition.value.each_operand(visit);
        }
    }
}

impl Expression {
    fn each_operand(&self, visit: &mut impl FnMut(&Operand)) {
        match self {
            Self::Or(terms) | Self::And(terms) => {
                for term in terms {
                    term.value.each_operand(visit);
                }
            }
            Self::Not(inner)
            | Self::Within {
                condition: inner, ..
            } => inner.value.each_operand(visit),
            Self::Compare { left, right, .. } => {
                left.value.each_operand(visit);
                right.value.each_operand(visit);
            }
            // The literals of sets and patterns name nothing.
            Self::In { left, .. } | Self::Matches { left, .. } => left.value.each_operand(visit),
            Self::Operand(operand) => operand.each_operand(visit),
        }
    }
}

impl Operand {
    fn each_operand(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        if let Self::Call(call) = self {
            for argument in &call.arguments {
                argument.value.value.each_operand(visit);
            }
        }
    }
}

/// What `in` looks into.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Set {
    /// Literals.
    List(Vec<Spanned<Operand>>),
    /// `LOW..HIGH`, both ends included.
    Range(Box<Spanned<Operand>>, Box<Spanned<Operand>>),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Boolean(bool),
    /// `0.6`
    Number(f64),
    /// `60%`, held as it is written: 60.
    Percent(f64),
    /// Nanoseconds.
    Duration(u64),
    String(String),
    /// `track.age`; also the name of a zone or line, or a bare word, as an argument.
    Field(String),
    Call(Call),
}

/// `count(label == "person")`, `clock("Europe/Berlin").hour`, `record(before: 5s, after: 10s)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: Word,
    pub(crate) arguments: Vec<Argument>,
    /// The word behind the dot.
    pub(crate) member: Option<Word>,
}

/// An argument of a call: a condition, or a value as [`Expression::Operand`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    /// `before` in `before: 5s`.
    pub(crate) name: Option<Word>,
    pub(crate) value: Spanned<Expression>,
}

/// `==` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
