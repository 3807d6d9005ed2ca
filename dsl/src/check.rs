//! Syntax tree to program: names, scopes, types and ranges. All mistakes of an
//! expression are collected, not only the first.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::code;
use crate::diagnostic::suggest;
use crate::problem::Problem;
use crate::program::{Node, Value};
use crate::syntax::{self, Comparison, Expression, Operand, OperandKind, Word};
use crate::vocabulary::{FIELDS, FUNCTIONS, FieldSpec, Function, FunctionSpec, Scope, Type};

/// What an expression may name beside the language's own words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// Zones of the rule file, by index.
    pub(crate) zones: &'a [String],
    /// Labels of the run's models; `None`: any label is taken.
    pub(crate) labels: Option<&'a BTreeSet<String>>,
}

/// Parses, checks and compiles an expression.
pub(crate) fn compile(text: &str, scope: Scope, names: &Names<'_>) -> Result<Node, Vec<Problem>> {
    let tree = syntax::parse(text).map_err(|problem| vec![problem])?;
    let mut checker = Checker {
        scope,
        names,
        problems: Vec::new(),
    };
    let node = checker.condition(&tree);
    match node {
        Some(node) if checker.problems.is_empty() => Ok(node),
        _ => Err(checker.problems),
    }
}

/// Methods return `None` when they have reported a problem.
struct Checker<'a> {
    scope: Scope,
    names: &'a Names<'a>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn condition(&mut self, expression: &Expression) -> Option<Node> {
        match expression {
            Expression::Or(terms) => Some(Node::Any(self.conditions(terms)?)),
            Expression::And(terms) => Some(Node::All(self.conditions(terms)?)),
            Expression::Not(term) => Some(Node::Not(Box::new(self.condition(term)?))),
            Expression::Compare {
                left,
                comparison,
                right,
            } => self.compare(left, *comparison, right),
            Expression::In { left, list } => self.member(left, list),
            Expression::Operand(operand) => self.bare(operand),
        }
    }

    /// Checks every term, also behind a wrong one.
    fn conditions(&mut self, terms: &[Expression]) -> Option<Box<[Node]>> {
        let nodes: Vec<_> = terms.iter().map(|term| self.condition(term)).collect();
        nodes.into_iter().collect()
    }

    /// An operand that stands alone must be true or false by itself.
    fn bare(&mut self, operand: &Operand) -> Option<Node> {
        let (what, help) = match &operand.kind {
            OperandKind::Boolean(value) => return Some(Node::Constant(*value)),
            OperandKind::Call { name, arguments } => {
                return self.call(name, arguments, &operand.span);
            }
            OperandKind::Field(name) => {
                let spec = self.field(name, &operand.span)?;
                let example = match spec.kind {
                    Type::Label => "== \"person\"",
                    Type::Duration => "> 10s",
                    Type::Integer => "> 5",
                    Type::Fraction => "> 50%",
                    Type::Ratio => "> 1.5",
                };
                (
                    format!("`{name}` is {}", spec.kind),
                    format!("compare it, as in `{name} {example}`"),
                )
            }
            literal => (
                format!("this is {}", kind_of(literal)),
                "a condition compares it with a field".to_owned(),
            ),
        };
        self.report(
            Problem::new(
                code::NO_CONDITION,
                operand.span.clone(),
                format!("{what}, not a condition"),
            )
            .helped(help),
        )
    }

    fn compare(&mut self, left: &Operand, comparison: Comparison, right: &Operand) -> Option<Node> {
        let (field, comparison, other) = match (&left.kind, &right.kind) {
            (OperandKind::Field(_), _) => (left, comparison, right),
            (_, OperandKind::Field(_)) => (right, comparison.flipped(), left),
            _ => return self.no_field(left, right),
        };
        let OperandKind::Field(name) = &field.kind else {
            return None;
        };
        let spec = self.field(name, &field.span);
        if let OperandKind::Field(other_name) = &other.kind {
            let other_spec = self.field(other_name, &other.span);
            return self.compare_fields(spec?, comparison, other_spec?, &other.span);
        }
        if let OperandKind::Call { name, .. } = &other.kind {
            return self.compared_call(name, &other.span);
        }
        let spec = spec?;
        match spec.field {
            None => self.compare_label(spec, comparison, other),
            Some(field) => {
                let constant = self.constant(spec, other)?;
                Some(Node::Compare {
                    field,
                    comparison,
                    value: Value::Constant(constant),
                })
            }
        }
    }

    fn no_field(&mut self, left: &Operand, right: &Operand) -> Option<Node> {
        for operand in [left, right] {
            if let OperandKind::Call { name, .. } = &operand.kind {
                return self.compared_call(name, &operand.span);
            }
        }
        self.report(
            Problem::new(
                code::TYPES,
                left.span.start..right.span.end,
                "a comparison of two constants is always the same",
            )
            .helped("one side must be a field; write `true` or `false` for a constant"),
        )
    }

    fn compared_call(&mut self, name: &Word, span: &Range<usize>) -> Option<Node> {
        let usage = self.function(name)?.usage;
        self.report(
            Problem::new(
                code::TYPES,
                span.clone(),
                format!(
                    "`{}` is true or false by itself and cannot be compared",
                    name.text
                ),
            )
            .helped(format!(
                "write `{usage}` or `not {usage}` without a comparison"
            )),
        )
    }

    fn compare_fields(
        &mut self,
        left: &FieldSpec,
        comparison: Comparison,
        right: &FieldSpec,
        span: &Range<usize>,
    ) -> Option<Node> {
        let same = left.kind == right.kind;
        match (left.field, right.field) {
            (Some(field), Some(other)) if same => Some(Node::Compare {
                field,
                comparison,
                value: Value::Field(other),
            }),
            _ => self.report(
                Problem::new(
                    code::TYPES,
                    span.clone(),
                    format!("`{}` cannot be compared with `{}`", left.name, right.name),
                )
                .labelled(format!(
                    "{}, but `{}` is {}",
                    right.kind, left.name, left.kind
                )),
            ),
        }
    }

    fn compare_label(
        &mut self,
        spec: &FieldSpec,
        comparison: Comparison,
        other: &Operand,
    ) -> Option<Node> {
        let OperandKind::String(label) = &other.kind else {
            return self.mismatch(spec, other, "write it like `label == \"person\"`");
        };
        if !comparison.is_equality() {
            return self.report(
                Problem::new(code::TYPES, other.span.clone(), "labels have no order")
                    .helped("compare them by `==`, `!=` or `in`"),
            );
        }
        self.known_label(label, &other.span)?;
        let equal = Node::LabelIn(Box::new([label.as_str().into()]));
        Some(if comparison == Comparison::NotEqual {
            Node::Not(Box::new(equal))
        } else {
            equal
        })
    }

    fn member(&mut self, left: &Operand, list: &[Word]) -> Option<Node> {
        let is_label = match &left.kind {
            OperandKind::Field(name) => self.field(name, &left.span)?.field.is_none(),
            _ => false,
        };
        if !is_label {
            return self.report(
                Problem::new(
                    code::TYPES,
                    left.span.clone(),
                    "only `label` can be looked up in a list of strings",
                )
                .helped("write it like `label in [\"car\", \"truck\"]`"),
            );
        }
        let known: Vec<_> = list
            .iter()
            .map(|word| self.known_label(&word.text, &word.span))
            .collect();
        known.into_iter().collect::<Option<Vec<()>>>()?;
        Some(Node::LabelIn(
            list.iter().map(|word| word.text.as_str().into()).collect(),
        ))
    }

    /// A literal as the number its field is compared with.
    fn constant(&mut self, spec: &FieldSpec, literal: &Operand) -> Option<f64> {
        let value = match (spec.kind, &literal.kind) {
            (Type::Integer | Type::Ratio | Type::Fraction, OperandKind::Number(value))
            | (Type::Fraction, OperandKind::Percent(value)) => *value,
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact below 104 days; no track is compared with more"
            )]
            (Type::Duration, OperandKind::Duration(nanoseconds)) => *nanoseconds as f64,
            (Type::Duration, _) => {
                return self.mismatch(spec, literal, "write a duration, like `10s` or `500ms`");
            }
            (Type::Fraction, _) => {
                return self.mismatch(spec, literal, "write a number, like `0.6` or `60%`");
            }
            _ => return self.mismatch(spec, literal, "write a number"),
        };
        if spec.kind == Type::Fraction && value > 1.0 {
            return self.report(
                Problem::new(
                    code::OUT_OF_RANGE,
                    literal.span.clone(),
                    format!("`{}` is never above 1", spec.name),
                )
                .helped(match literal.kind {
                    OperandKind::Number(_) if value <= 100.0 => {
                        format!("did you mean `{value}%`?")
                    }
                    _ => "write a number from 0 to 1, or up to 100%".to_owned(),
                }),
            );
        }
        // Scores and boxes are f32. The constant is rounded the same way, or else
        // a score of 0.6 would be greater than 0.6.
        #[expect(clippy::cast_possible_truncation, reason = "that is the rounding")]
        Some(match spec.kind {
            Type::Fraction | Type::Ratio => f64::from(value as f32),
            _ => value,
        })
    }

    fn mismatch<T>(&mut self, spec: &FieldSpec, literal: &Operand, help: &str) -> Option<T> {
        self.report(
            Problem::new(
                code::TYPES,
                literal.span.clone(),
                format!(
                    "`{}` is {} and cannot be compared with {}",
                    spec.name,
                    spec.kind,
                    kind_of(&literal.kind)
                ),
            )
            .helped(help),
        )
    }

    fn call(&mut self, name: &Word, arguments: &[Operand], span: &Range<usize>) -> Option<Node> {
        let spec = self.function(name)?;
        match (spec.function, arguments) {
            (Function::InZone, [argument]) => match &argument.kind {
                OperandKind::Field(zone) => self.zone(zone, &argument.span),
                OperandKind::String(zone) => self.arguments(
                    &argument.span,
                    "a zone is named without quotes",
                    &format!("write `in_zone({zone})`"),
                ),
                _ => self.arguments(
                    &argument.span,
                    "`in_zone` takes the name of a zone",
                    spec.usage,
                ),
            },
            (Function::Every, [argument]) => match argument.kind {
                OperandKind::Duration(interval_ns) if interval_ns > 0 => {
                    Some(Node::Every { interval_ns })
                }
                _ => self.arguments(
                    &argument.span,
                    "`every` takes a duration above 0",
                    "write it like `every(2s)` or `every(500ms)`",
                ),
            },
            _ => self.arguments(
                span,
                &format!(
                    "`{}` takes one argument, not {}",
                    spec.name,
                    arguments.len()
                ),
                &format!("write `{}`", spec.usage),
            ),
        }
    }

    fn arguments(&mut self, span: &Range<usize>, message: &str, help: &str) -> Option<Node> {
        self.report(Problem::new(code::ARGUMENTS, span.clone(), message).helped(help))
    }

    fn zone(&mut self, zone: &str, span: &Range<usize>) -> Option<Node> {
        let zones = self.names.zones;
        let index = zones.iter().position(|known| known == zone);
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
            return Some(Node::InZone(index));
        }
        self.report(
            Problem::new(
                code::UNKNOWN_ZONE,
                span.clone(),
                format!("unknown zone `{zone}`"),
            )
            .suggesting(
                suggest(zone, zones.iter().map(String::as_str)),
                choices("the file has the zones", zones.iter().map(String::as_str))
                    .unwrap_or_else(|| "the file has no zones: add one under `zones`".to_owned()),
            ),
        )
    }

    fn known_label(&mut self, label: &str, span: &Range<usize>) -> Option<()> {
        let Some(labels) = self.names.labels else {
            return Some(());
        };
        if labels.contains(label) {
            return Some(());
        }
        let known = || labels.iter().map(String::as_str);
        self.report(
            Problem::new(
                code::UNKNOWN_LABEL,
                span.clone(),
                format!("no model of this run knows the label \"{label}\""),
            )
            .suggesting(
                suggest(label, known()),
                choices("the models know", known())
                    .unwrap_or_else(|| "the run has no models".to_owned()),
            ),
        )
    }

    fn function(&mut self, name: &Word) -> Option<&'static FunctionSpec> {
        let Some(spec) = FUNCTIONS.iter().find(|spec| spec.name == name.text) else {
            let here = FUNCTIONS
                .iter()
                .filter(|spec| spec.scopes.contains(&self.scope));
            let usages: Vec<_> = here.clone().map(|spec| spec.usage).collect();
            return self.report(
                Problem::new(
                    code::UNKNOWN_FUNCTION,
                    name.span.clone(),
                    format!("unknown function `{}`", name.text),
                )
                .suggesting(
                    suggest(&name.text, here.map(|spec| spec.name)),
                    format!("there is {}", usages.join(", ")),
                ),
            );
        };
        self.in_scope(spec.name, spec.scopes, &name.span)?;
        Some(spec)
    }

    fn field(&mut self, name: &str, span: &Range<usize>) -> Option<&'static FieldSpec> {
        if let Some(spec) = FIELDS.iter().find(|spec| spec.name == name) {
            self.in_scope(name, spec.scopes, span)?;
            return Some(spec);
        }
        let here = FIELDS
            .iter()
            .filter(|spec| spec.scopes.contains(&self.scope));
        let problem = Problem::new(
            code::UNKNOWN_FIELD,
            span.clone(),
            format!("unknown name `{name}`"),
        );
        let problem = if let Some(function) = FUNCTIONS.iter().find(|spec| spec.name == name) {
            problem.helped(format!("call it: `{}`", function.usage))
        } else if self.scope == Scope::Track && self.names.zones.iter().any(|zone| zone == name) {
            problem.helped(format!("it is a zone: write `in_zone({name})`"))
        } else if self
            .names
            .labels
            .is_some_and(|labels| labels.contains(name))
        {
            problem.helped(format!("it is a label: write \"{name}\" in quotes"))
        } else {
            let names: Vec<_> = here.clone().map(|spec| spec.name).collect();
            problem.suggesting(
                suggest(name, here.map(|spec| spec.name)),
                format!("there is {}", names.join(", ")),
            )
        };
        self.report(problem)
    }

    fn in_scope(&mut self, name: &str, scopes: &[Scope], span: &Range<usize>) -> Option<()> {
        if scopes.contains(&self.scope) {
            return Some(());
        }
        let (message, help) = match self.scope {
            Scope::Gate => (
                format!("`{name}` belongs to a track, and a gate is asked before there are any"),
                "a gate may use `motion` and `every(...)`",
            ),
            Scope::Track => (
                format!("`{name}` belongs to a gate, not to a rule"),
                "a rule says how long its condition must hold by `for`",
            ),
        };
        self.report(Problem::new(code::WRONG_SCOPE, span.clone(), message).helped(help))
    }

    /// Keeps a problem; always `None`, so that callers can return it.
    fn report<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }
}

/// `the models know a, b, c and 77 more`, or `None` for an empty list.
fn choices<'a>(what: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 8;
    let known: Vec<_> = known.collect();
    let shown = known
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match known.len() {
        0 => None,
        1..=SHOWN => Some(format!("{what} {shown}")),
        all => Some(format!("{what} {shown} and {} more", all - SHOWN)),
    }
}

fn kind_of(literal: &OperandKind) -> &'static str {
    match literal {
        OperandKind::Boolean(_) => "true or false",
        OperandKind::Number(_) => "a number",
        OperandKind::Percent(_) => "a percentage",
        OperandKind::Duration(_) => "a duration",
        OperandKind::String(_) => "a string",
        OperandKind::Field(_) => "a field",
        OperandKind::Call { .. } => "a function",
    }
}
