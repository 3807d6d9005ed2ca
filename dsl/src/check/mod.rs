//! Syntax tree to typed tree: names, scopes, types and ranges. All mistakes of an
//! expression are collected, not only the first.

mod calls;
mod compare;
mod names;

pub(crate) use compare::WEEKDAYS;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::code;
use crate::cost::{COST_MAX, Cost, TRACKS_ASSUMED};
use crate::gate::GateProgram;
use crate::problem::Problem;
use crate::rule_file::Subject;
use crate::tree::{self, Expression, Operand, Spanned};
use crate::typed::{Condition, Home, Number, Slot, Value};
use crate::value::ValueProgram;
use crate::vocabulary::{Scope, Type};
use crate::when::When;

/// What an expression may name beside the language's own words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// Zones of the rule file, by index.
    pub(crate) zones: &'a [String],
    /// Lines of the rule file, by index.
    pub(crate) lines: &'a [String],
    /// Labels of the run's models; `None`: any label is taken.
    pub(crate) labels: Option<&'a BTreeSet<String>>,
    /// Some model of the run gives landmarks; `None`: that is not known.
    pub(crate) landmarks: Option<bool>,
    /// Some model of the run gives depth; `None`: that is not known.
    pub(crate) depth: Option<bool>,
}

/// Most things of one expression that remember.
pub const SLOTS_MAX: u8 = 32;

/// Longest `within` and longest window of a rate, an hour: what they remember grows with it.
pub const WINDOW_NS_MAX: u64 = 3600 * 1_000_000_000;

/// Checks and compiles what stands behind `when:`. `text` is what `tree` was read from.
pub(crate) fn compile_when(
    text: &str,
    tree: &tree::Sequence,
    subject: Subject,
    names: &Names<'_>,
) -> Result<When, Vec<Problem>> {
    let mut checker = Checker::new(Place::Rule(subject), names);
    let sequence = checker.sequence(tree);
    if let Some(sequence) = &sequence {
        let span = match (tree.steps.first(), tree.steps.last()) {
            (Some(first), Some(last)) => first.condition.span.start..last.condition.span.end,
            _ => 0..text.len(),
        };
        checker.affordable(Cost::of_sequence(sequence, subject), span);
    }
    checker.finish(sequence.map(|sequence| When::new(text, subject, sequence)))
}

/// Checks and compiles a gate. `text` is what `tree` was read from.
pub(crate) fn compile_gate(
    text: &str,
    tree: &Spanned<Expression>,
    names: &Names<'_>,
) -> Result<GateProgram, Vec<Problem>> {
    let mut checker = Checker::new(Place::Gate, names);
    let condition = checker.condition(tree);
    if let Some(condition) = &condition {
        checker.affordable(
            Cost::of_condition(&condition.value, None),
            tree.span.clone(),
        );
    }
    checker.finish(condition.map(|condition| GateProgram::new(text, condition)))
}

/// Checks and compiles what stands between the braces of a message.
pub(crate) fn compile_value(
    tree: &Spanned<Expression>,
    subject: Subject,
    names: &Names<'_>,
) -> Result<ValueProgram, Vec<Problem>> {
    let mut checker = Checker::new(Place::Message(subject), names);
    let value = checker.value_or_condition(tree);
    if let Some(Value::Condition(condition)) = &value {
        checker.affordable(
            Cost::of_condition(condition, Some(subject)),
            tree.span.clone(),
        );
    }
    checker.finish(value.map(ValueProgram::new))
}

/// What an expression belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Gate,
    Rule(Subject),
    Message(Subject),
}

/// Methods return `None` when they have reported a problem.
struct Checker<'a> {
    place: Place,
    /// Inside of an aggregate.
    counted: bool,
    /// `within T` that the next `count` takes.
    window: Option<Spanned<u64>>,
    memory_slots: u8,
    shared_slots: u8,
    names: &'a Names<'a>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn new(place: Place, names: &'a Names<'a>) -> Self {
        Self {
            place,
            counted: false,
            window: None,
            memory_slots: 0,
            shared_slots: 0,
            names,
            problems: Vec::new(),
        }
    }

    fn finish<T>(self, compiled: Option<T>) -> Result<T, Vec<Problem>> {
        match compiled {
            Some(compiled) if self.problems.is_empty() => Ok(compiled),
            _ => Err(self.problems),
        }
    }
}

impl Checker<'_> {
    fn sequence(&mut self, tree: &tree::Sequence) -> Option<crate::typed::Sequence> {
        let steps: Vec<_> = tree.steps.iter().map(|step| self.step(step)).collect();
        let within_ns = match &tree.within {
            Some(window) => Some(self.window(window)?),
            None => None,
        };
        Some(crate::typed::Sequence {
            steps: steps.into_iter().collect::<Option<_>>()?,
            within_ns,
        })
    }

    fn step(&mut self, step: &tree::Step) -> Option<Spanned<crate::typed::Step>> {
        let condition = self.condition(&step.condition);
        let absent_for_ns = match &step.absent_for {
            Some(duration) if duration.value == 0 => {
                return self.report(
                    Problem::new(
                        code::OUT_OF_RANGE,
                        duration.span.clone(),
                        "an absence lasts longer than 0",
                    )
                    .helped("write `not ...` alone for what does not hold now"),
                );
            }
            Some(duration) => Some(duration.value),
            None => None,
        };
        let condition = condition?;
        Some(Spanned {
            span: condition.span.clone(),
            value: crate::typed::Step {
                condition,
                absent_for_ns,
            },
        })
    }

    fn condition(&mut self, tree: &Spanned<Expression>) -> Option<Spanned<Condition>> {
        let value = match &tree.value {
            Expression::Or(terms) => Condition::Or(self.conditions(terms)?),
            Expression::And(terms) => Condition::And(self.conditions(terms)?),
            Expression::Not(term) => Condition::Not(Box::new(self.condition(term)?)),
            Expression::Compare {
                left,
                comparison,
                right,
            } => self.compare(left, *comparison, right)?,
            Expression::In { left, set } => self.member(left, set)?,
            Expression::Matches { left, pattern } => self.matches(left, pattern)?,
            Expression::Within { condition, window } => self.within(condition, window)?,
            Expression::Operand(operand) => self.bare(operand, &tree.span)?,
        };
        Some(Spanned {
            value,
            span: tree.span.clone(),
        })
    }

    /// Checks every term, also behind a wrong one.
    fn conditions(&mut self, terms: &[Spanned<Expression>]) -> Option<Vec<Spanned<Condition>>> {
        let terms: Vec<_> = terms.iter().map(|term| self.condition(term)).collect();
        terms.into_iter().collect()
    }

    /// `count(...) > N within T`
    fn within(&mut self, tree: &Spanned<Expression>, window: &Spanned<u64>) -> Option<Condition> {
        let window_ns = self.window(window);
        if let Expression::Compare { left, right, .. } = &tree.value
            && is_count(left) != is_count(right)
        {
            self.window = Some(Spanned {
                value: window_ns?,
                span: window.span.clone(),
            });
            let condition = self.condition(tree);
            self.window = None;
            return Some(condition?.value);
        }
        self.condition(tree);
        self.report(
            Problem::new(
                code::MISPLACED,
                window.span.clone(),
                "`within` stands only behind one comparison of `count(...)`, or behind a sequence",
            )
            .helped("write `count(...) > 1 within 2s`, or `... -> ... within 8s`"),
        )
    }

    fn window(&mut self, window: &Spanned<u64>) -> Option<u64> {
        if (1..=WINDOW_NS_MAX).contains(&window.value) {
            return Some(window.value);
        }
        self.report(
            Problem::new(
                code::OUT_OF_RANGE,
                window.span.clone(),
                "a window is longer than 0 and at most 1h",
            )
            .helped("what happened meanwhile is remembered, so it has a limit"),
        )
    }

    /// An operand that stands alone must be true or false by itself.
    fn bare(&mut self, operand: &Operand, span: &Range<usize>) -> Option<Condition> {
        if let Operand::Boolean(value) = operand {
            return Some(Condition::Constant(*value));
        }
        if is_literal(operand) {
            return self.report(
                Problem::new(
                    code::NO_CONDITION,
                    span.clone(),
                    format!("this is {}, not a condition", kind_of(operand)),
                )
                .helped("a condition compares it with a field"),
            );
        }
        let value = self.value(operand, span)?;
        let example = match (&value, value.kind()) {
            (Value::Condition(_), _) => {
                let Value::Condition(condition) = value else {
                    return None;
                };
                return Some(condition);
            }
            (_, Type::Label) => "== \"person\"",
            (_, Type::Duration) => "> 10s",
            (_, Type::Integer) => "> 5",
            (_, Type::Fraction) => "> 50%",
            (_, Type::String) => "== \"...\"",
            _ => "> 1.5",
        };
        let name = name_of(operand);
        self.report(
            Problem::new(
                code::NO_CONDITION,
                span.clone(),
                format!("`{name}` is {}, not a condition", value.kind()),
            )
            .helped(format!("compare it, as in `{name} {example}`")),
        )
    }

    /// A value where one is wanted; whatever is true or false is one too.
    fn value_or_condition(&mut self, tree: &Spanned<Expression>) -> Option<Value> {
        match &tree.value {
            Expression::Operand(operand) if !is_literal(operand) => self.value(operand, &tree.span),
            Expression::Operand(literal) => self.report(
                Problem::new(
                    code::ARGUMENTS,
                    tree.span.clone(),
                    format!("{} is always the same", kind_of(literal)),
                )
                .helped("name a field or a function"),
            ),
            _ => Some(Value::Condition(self.condition(tree)?.value)),
        }
    }

    /// What a field or a function gives.
    fn value(&mut self, operand: &Operand, span: &Range<usize>) -> Option<Value> {
        match operand {
            Operand::Field(name) => self.field(name, span),
            Operand::Call(call) => self.call(call, span),
            literal => self.report(Problem::new(
                code::TYPES,
                span.clone(),
                format!("{} is no field", kind_of(literal)),
            )),
        }
    }

    fn number(&mut self, value: Value, name: &str, span: &Range<usize>) -> Option<Number> {
        match value {
            Value::Number(number) => Some(number),
            other => self.report(
                Problem::new(
                    code::TYPES,
                    span.clone(),
                    format!("`{name}` is {} and has no order", other.kind()),
                )
                .helped("name a number or a duration, like `score` or `track.age`"),
            ),
        }
    }

    fn scope(&self) -> Scope {
        match self.place {
            Place::Gate => Scope::Gate,
            Place::Rule(Subject::Track) | Place::Message(Subject::Track) => Scope::Track,
            _ if self.counted => Scope::Track,
            _ => Scope::Frame,
        }
    }

    /// The subject of the rule.
    fn subject(&self) -> Option<Subject> {
        match self.place {
            Place::Gate => None,
            Place::Rule(subject) | Place::Message(subject) => Some(subject),
        }
    }

    /// A place for what `name` remembers. What stands inside of `name` has its own before.
    fn slot(&mut self, name: &str, home: Home, span: &Range<usize>) -> Option<Slot> {
        if self.counted {
            return self.report(
                Problem::new(
                    code::NESTED,
                    span.clone(),
                    format!("`{name}` remembers, and cannot do so for each track that is counted"),
                )
                .helped("write it outside of the aggregate, or in a rule `on: track`"),
            );
        }
        if matches!(self.place, Place::Message(_)) {
            return self.report(
                Problem::new(
                    code::WRONG_SCOPE,
                    span.clone(),
                    format!("`{name}` remembers, and a message does not"),
                )
                .helped("a message shows what is known in the frame in which the rule fires"),
            );
        }
        if self.memory_slots + self.shared_slots >= SLOTS_MAX {
            return self.report(
                Problem::new(
                    code::TOO_COSTLY,
                    span.clone(),
                    format!("more than {SLOTS_MAX} things of one expression remember"),
                )
                .helped("split it into several rules"),
            );
        }
        let count = match home {
            Home::Memory => &mut self.memory_slots,
            Home::Shared => &mut self.shared_slots,
        };
        let index = *count;
        *count += 1;
        Some(Slot { index, home })
    }

    fn affordable(&mut self, cost: Cost, span: Range<usize>) {
        if cost.assumed() > COST_MAX {
            self.report::<()>(
                Problem::new(
                    code::TOO_COSTLY,
                    span,
                    format!(
                        "this makes {} tests an evaluation and {} more for each track: with \
                         {TRACKS_ASSUMED} tracks over the limit of {COST_MAX}",
                        cost.per_evaluation, cost.per_track
                    ),
                )
                .helped("split it into several rules, or count fewer times"),
            );
        }
    }

    /// Keeps a problem; always `None`, so that callers can return it.
    fn report<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }
}

fn is_count(operand: &Spanned<Operand>) -> bool {
    matches!(&operand.value, Operand::Call(call) if call.name.value == "count")
}

fn is_literal(operand: &Operand) -> bool {
    !matches!(operand, Operand::Field(_) | Operand::Call(_))
}

/// How a diagnostic calls a field or a function.
fn name_of(operand: &Operand) -> String {
    match operand {
        Operand::Field(name) => name.clone(),
        Operand::Call(call) => match &call.member {
            Some(member) => format!("{}(...).{}", call.name.value, member.value),
            None => format!("{}(...)", call.name.value),
        },
        literal => kind_of(literal).to_owned(),
    }
}

fn kind_of(literal: &Operand) -> &'static str {
    match literal {
        Operand::Boolean(_) => "true or false",
        Operand::Number(_) => "a number",
        Operand::Percent(_) => "a percentage",
        Operand::Duration(_) => "a duration",
        Operand::String(_) => "a string",
        Operand::Field(_) => "a field",
        Operand::Call(_) => "a function",
    }
}
