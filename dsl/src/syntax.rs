//! Text of an expression to syntax tree. Every node knows the bytes it came from.

use std::ops::Range;

use pest::Parser as _;
use pest::error::{Error as PestError, ErrorVariant, InputLocation};
use pest::iterators::Pair;
use pest_derive::Parser;

use crate::code;
use crate::problem::Problem;

/// Longest expression, in bytes. A page of text; what is longer is generated, not written.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// Deepest parentheses. The parser, the checker and the evaluator recurse once a
/// level, so this bounds their stacks.
pub const NESTING_MAX: usize = 32;

/// An expression of type boolean, or something that the checker will refuse as one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
    In {
        left: Operand,
        list: Vec<Word>,
    },
    Operand(Operand),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operand {
    pub(crate) kind: OperandKind,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OperandKind {
    Boolean(bool),
    /// `0.6`
    Number(f64),
    /// `60%`, held as the fraction 0.6.
    Percent(f64),
    /// Nanoseconds.
    Duration(u64),
    String(String),
    /// `track.age`; also the name of a zone as an argument.
    Field(String),
    Call {
        name: Word,
        arguments: Vec<Operand>,
    },
}

/// A name or a string's content, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same comparison read from right to left.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    /// `==` and `!=`: fit for values without an order.
    pub(crate) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expression, Problem> {
    check_bounds(text)?;
    let mut pairs =
        Grammar::parse(Rule::expression, text).map_err(|error| explain(text, &error))?;
    let disjunction = pairs
        .next()
        .and_then(|expression| expression.into_inner().next())
        .ok_or_else(|| Problem::new(code::SYNTAX, 0..text.len(), "an expression is empty"))?;
    build_disjunction(disjunction)
}

/// Nanoseconds of a duration, `10s`, `500ms`, `1.5m`, `2h`; `None` for any other text.
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(number_end);
    let unit_ns = match unit {
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let nanoseconds = (number.parse::<f64>().ok()? * unit_ns).round();
    // A century: beyond it nobody means what is written, and sums could overflow.
    if nanoseconds > 100.0 * 365.25 * 24.0 * 3600e9 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative and under a century"
    )]
    Some(nanoseconds as u64)
}

#[derive(Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Refuses what could exhaust the parser's stack or time, before it runs.
fn check_bounds(text: &str) -> Result<(), Problem> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Problem::new(
            code::TOO_LONG,
            0..0,
            format!(
                "an expression of {} bytes is over the limit of {EXPRESSION_BYTES_MAX}",
                text.len()
            ),
        )
        .helped("split it into several rules"));
    }
    let mut depth = 0_usize;
    let mut in_string = false;
    for (place, character) in text.char_indices() {
        match character {
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(Problem::new(
                code::TOO_DEEP,
                place..place + 1,
                format!("parentheses are nested deeper than {NESTING_MAX}"),
            )
            .helped("take out the parentheses that change nothing, or split the rule"));
        }
    }
    Ok(())
}

fn build_disjunction(pair: Pair<'_, Rule>) -> Result<Expression, Problem> {
    let terms = operands_of(pair, Rule::conjunction)
        .map(build_conjunction)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(one_or(terms, Expression::Or))
}

fn build_conjunction(pair: Pair<'_, Rule>) -> Result<Expression, Problem> {
    let terms = operands_of(pair, Rule::condition)
        .map(build_condition)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(one_or(terms, Expression::And))
}

/// The operands of a chain, without the signs between them.
fn operands_of<'i>(pair: Pair<'i, Rule>, rule: Rule) -> impl Iterator<Item = Pair<'i, Rule>> {
    pair.into_inner()
        .filter(move |inner| inner.as_rule() == rule)
}

fn one_or(mut terms: Vec<Expression>, chain: fn(Vec<Expression>) -> Expression) -> Expression {
    match terms.len() {
        1 => terms.swap_remove(0),
        _ => chain(terms),
    }
}

fn build_condition(pair: Pair<'_, Rule>) -> Result<Expression, Problem> {
    let span = span_of(&pair);
    let mut negated = false;
    for inner in pair.into_inner() {
        let expression = match inner.as_rule() {
            Rule::not_sign => {
                negated = !negated;
                continue;
            }
            Rule::disjunction => build_disjunction(inner)?,
            _ => build_test(inner)?,
        };
        return Ok(if negated {
            Expression::Not(Box::new(expression))
        } else {
            expression
        });
    }
    Err(unexpected(span))
}

fn build_test(pair: Pair<'_, Rule>) -> Result<Expression, Problem> {
    let span = span_of(&pair);
    let mut inner = pair.into_inner();
    let left = build_operand(inner.next().ok_or_else(|| unexpected(span.clone()))?)?;
    let Some(sign) = inner.next() else {
        return Ok(Expression::Operand(left));
    };
    let right = inner.next().ok_or_else(|| unexpected(span))?;
    if right.as_rule() == Rule::list {
        let list = right.into_inner().map(|item| build_string(&item)).collect();
        return Ok(Expression::In { left, list });
    }
    let comparison = match sign.as_str() {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    };
    Ok(Expression::Compare {
        left,
        comparison,
        right: build_operand(right)?,
    })
}

fn build_operand(pair: Pair<'_, Rule>) -> Result<Operand, Problem> {
    let span = span_of(&pair);
    let text = pair.as_str();
    let kind = match pair.as_rule() {
        Rule::boolean => OperandKind::Boolean(text == "true"),
        Rule::number => OperandKind::Number(decimal(text, &span)?),
        Rule::percent => OperandKind::Percent(decimal(text.trim_end_matches('%'), &span)? / 100.0),
        Rule::duration => OperandKind::Duration(parse_duration(text).ok_or_else(|| {
            Problem::new(
                code::BAD_DURATION,
                span.clone(),
                format!("`{text}` is longer than a century"),
            )
        })?),
        Rule::string => OperandKind::String(build_string(&pair).text),
        Rule::field => OperandKind::Field(text.to_owned()),
        Rule::call => {
            let mut inner = pair.into_inner();
            let name = inner.next().ok_or_else(|| unexpected(span.clone()))?;
            OperandKind::Call {
                name: Word {
                    text: name.as_str().to_owned(),
                    span: span_of(&name),
                },
                arguments: inner.map(build_operand).collect::<Result<_, _>>()?,
            }
        }
        _ => return Err(unexpected(span)),
    };
    Ok(Operand { kind, span })
}

fn build_string(pair: &Pair<'_, Rule>) -> Word {
    let span = span_of(pair);
    let text = pair.as_str().trim_matches('"').to_owned();
    Word { text, span }
}

fn decimal(text: &str, span: &Range<usize>) -> Result<f64, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            code::SYNTAX,
            span.clone(),
            format!("`{text}` is not a number"),
        )
    })
}

fn span_of(pair: &Pair<'_, Rule>) -> Range<usize> {
    let span = pair.as_span();
    span.start()..span.end()
}

/// The grammar and this module disagree; reported like a user's error so that nothing panics.
fn unexpected(span: Range<usize>) -> Problem {
    Problem::new(code::SYNTAX, span, "an expression cannot be read here")
}

/// A syntax error in words.
fn explain(text: &str, error: &PestError<Rule>) -> Problem {
    let start = match error.location {
        InputLocation::Pos(place) => place,
        InputLocation::Span((start, _)) => start,
    };
    let rest = &text[start..];
    let found = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|end| *end > 0)
        .or_else(|| {
            rest.chars()
                .next()
                .filter(|c| !c.is_alphanumeric() && *c != '_')
                .map(char::len_utf8)
        })
        .map_or(rest, |end| &rest[..end]);
    let shown = if found.chars().any(char::is_control) {
        found.escape_debug().to_string()
    } else {
        found.to_owned()
    };
    let message = if text.trim().is_empty() {
        "an expression is empty".to_owned()
    } else if found.is_empty() {
        "an expression ends too early".to_owned()
    } else {
        format!("unexpected `{shown}` in an expression")
    };
    let problem = Problem::new(code::SYNTAX, start..start + found.len(), message);
    let problem = match expected(error) {
        Some(expected) => problem.labelled(format!("expected {expected}")),
        None => problem,
    };
    let help = if rest.is_empty() && text.matches('(').count() > text.matches(')').count() {
        Some("a `(` is not closed")
    } else {
        slip(rest)
    };
    match help {
        Some(help) => problem.helped(help),
        None => problem,
    }
}

/// What could stand where the parser stopped.
fn expected(error: &PestError<Rule>) -> Option<String> {
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else {
        return None;
    };
    let mut words: Vec<&str> = Vec::new();
    for rule in positives {
        let word = match rule {
            Rule::and_sign => "`and`",
            Rule::or_sign => "`or`",
            Rule::comparison_sign => "a comparison",
            Rule::in_sign => "`in`",
            Rule::list => "a list like [\"car\", \"truck\"]",
            Rule::string => "a string in double quotes",
            Rule::not_sign => "a condition",
            Rule::EOI => "the end",
            Rule::boolean
            | Rule::duration
            | Rule::percent
            | Rule::number
            | Rule::field
            | Rule::call
            | Rule::name
            | Rule::decimal => "a value",
            _ => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.contains(&"a condition") {
        words.retain(|word| *word == "a condition");
    }
    match words.split_last() {
        None => None,
        Some((only, [])) => Some((*only).to_owned()),
        Some((last, others)) => Some(format!("{} or {last}", others.join(", "))),
    }
}

/// Advice for slips that habits of other languages cause.
fn slip(rest: &str) -> Option<&'static str> {
    if rest.starts_with('=') {
        Some("equality is written `==`")
    } else if rest.starts_with('\'') {
        Some("strings are written in double quotes")
    } else if rest.starts_with('&') || rest.starts_with("AND") {
        Some("write `and` or `&&`")
    } else if rest.starts_with('|') || rest.starts_with("OR") {
        Some("write `or` or `||`")
    } else if rest.starts_with(['<', '>']) || rest.starts_with("==") || rest.starts_with("!=") {
        Some("a comparison has two sides: join two of them by `and`")
    } else if rest.starts_with('-') {
        Some("there is no subtraction, and no value is negative")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        fn operand(value: &Operand) -> String {
            match &value.kind {
                OperandKind::Boolean(value) => value.to_string(),
                OperandKind::Number(value) => value.to_string(),
                OperandKind::Percent(value) => format!("{value}"),
                OperandKind::Duration(value) => format!("{value}ns"),
                OperandKind::String(value) => format!("{value:?}"),
                OperandKind::Field(name) => name.clone(),
                OperandKind::Call { name, arguments } => {
                    let arguments: Vec<_> = arguments.iter().map(operand).collect();
                    format!("{}({})", name.text, arguments.join(","))
                }
            }
        }
        fn chain(name: &str, terms: &[Expression]) -> String {
            let terms: Vec<_> = terms.iter().map(walk).collect();
            format!("({name} {})", terms.join(" "))
        }
        fn walk(expression: &Expression) -> String {
            match expression {
                Expression::Or(terms) => chain("or", terms),
                Expression::And(terms) => chain("and", terms),
                Expression::Not(inner) => format!("(not {})", walk(inner)),
                Expression::Compare {
                    left,
                    comparison,
                    right,
                } => format!("({comparison:?} {} {})", operand(left), operand(right)),
                Expression::In { left, list } => {
                    let list: Vec<_> = list.iter().map(|word| word.text.as_str()).collect();
                    format!("(in {} {})", operand(left), list.join(","))
                }
                Expression::Operand(value) => operand(value),
            }
        }
        parse(text).map_or_else(|problem| format!("{problem:?}"), |tree| walk(&tree))
    }

    #[test]
    fn precedence_and_spelling() {
        for (text, tree) in [
            ("a or b and not c", "(or a (and b (not c)))"),
            ("a || b && !c", "(or a (and b (not c)))"),
            ("(a or b) and c", "(and (or a b) c)"),
            ("not not a", "a"),
            ("!a == 1", "(not (Equal a 1))"),
            ("a != 0.5%", "(NotEqual a 0.005)"),
            ("t.age>=1.5s", "(GreaterOrEqual t.age 1500000000ns)"),
            (
                "label in [\"car\", \"big truck\",]",
                "(in label car,big truck)",
            ),
            (
                "in_zone( dock )\n and every(2m)",
                "(and in_zone(dock) every(120000000000ns))",
            ),
            ("android or notable", "(or android notable)"),
            ("true and false", "(and true false)"),
        ] {
            assert_eq!(shape(text), tree, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanoseconds) in [
            ("0s", 0),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "1 s",
            "-1s",
            "1.s",
            ".5s",
            "1.2.3s",
            "1d",
            "99999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_deepest_allowed_nesting_parses_on_a_small_stack() {
        let deep = |depth: usize| format!("{}a == 1{}", "(".repeat(depth), ")".repeat(depth));
        let parsed = std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || parse(&deep(NESTING_MAX)).map(|_| ()))
            .expect("a thread")
            .join()
            .expect("no overflow");
        assert_eq!(parsed, Ok(()));
        let problem = parse(&deep(NESTING_MAX + 1)).expect_err("too deep");
        assert_eq!((problem.code, problem.span), (code::TOO_DEEP, 32..33));
        let parentheses_in_a_string = format!("label == \"{}\"", "(".repeat(99));
        assert!(parse(&parentheses_in_a_string).is_ok());
    }
}
