//! Text of the rule language to syntax tree. Every node knows the bytes it came from.

mod explain;

use std::ops::Range;

use pest::Parser as _;
use pest::iterators::{Pair, Pairs};
use pest_derive::Parser;

use crate::code;
use crate::duration::parse_duration;
use crate::problem::Problem;
use crate::tree::{
    Argument, Call, Comparison, Expression, Operand, Sequence, Set, Spanned, Step, Word,
};

/// Longest expression, in bytes. A page of text; what is longer is generated, not written.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// Deepest parentheses. The parser, the checker and the evaluator recurse once a
/// level, so this bounds their stacks.
pub const NESTING_MAX: usize = 32;

/// Most steps of a sequence; each remembers a time.
pub const STEPS_MAX: usize = 8;

/// Words that cannot be names.
pub(crate) const KEYWORDS: &[&str] = &[
    "and", "or", "not", "in", "matches", "for", "within", "true", "false",
];

/// Reads what stands behind `when:`.
pub(crate) fn parse_sequence(text: &str) -> Result<Sequence, Problem> {
    let mut steps = Vec::new();
    let mut within = None;
    for pair in read(Rule::sequence, text)? {
        match pair.as_rule() {
            Rule::step => steps.push(build_step(pair)?),
            Rule::within => within = Some(build_within(pair)?),
            _ => {}
        }
    }
    if let Some(over) = steps.get(STEPS_MAX) {
        return Err(Problem::new(
            code::TOO_LONG,
            over.condition.span.clone(),
            format!(
                "a sequence of {} steps is over the limit of {STEPS_MAX}",
                steps.len()
            ),
        )
        .helped("split it into several rules"));
    }
    let [
        Step {
            condition,
            absent_for,
        },
    ] = steps.as_mut_slice()
    else {
        return Ok(Sequence { steps, within });
    };
    if let Some(window) = within {
        if absent_for.is_some() {
            return Err(Problem::new(
                code::MISPLACED,
                window.span,
                "`within` limits a sequence, and this is one step only",
            )
            .helped("`not ... for T` already says how long"));
        }
        let span = condition.span.start..window.span.end;
        let placeholder = spanned(Expression::Operand(Operand::Boolean(true)), 0..0);
        let inner = std::mem::replace(condition, placeholder);
        *condition = spanned(
            Expression::Within {
                condition: Box::new(inner),
                window,
            },
            span,
        );
    }
    Ok(Sequence {
        steps,
        within: None,
    })
}

/// Reads a gate, or what stands in the braces of a message.
pub(crate) fn parse_expression(text: &str) -> Result<Spanned<Expression>, Problem> {
    let disjunction = read(Rule::expression, text)?
        .next()
        .ok_or_else(|| unexpected(0..text.len()))?;
    build_disjunction(disjunction)
}

/// Reads an item of `do:`. A word alone is a [`Operand::Field`].
pub(crate) fn parse_action(text: &str) -> Result<Spanned<Operand>, Problem> {
    let pair = read(Rule::action, text)?
        .next()
        .ok_or_else(|| unexpected(0..text.len()))?;
    if pair.as_rule() == Rule::bare_action {
        let span = span_of(&pair);
        return Ok(spanned(Operand::Field(pair.as_str().to_owned()), span));
    }
    build_operand(pair)
}

#[derive(Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Runs the parser; what is inside of `rule`.
fn read(rule: Rule, text: &str) -> Result<Pairs<'_, Rule>, Problem> {
    check_bounds(text)?;
    let mut pairs =
        Grammar::parse(rule, text).map_err(|error| explain::explain(rule, text, &error))?;
    pairs
        .next()
        .map(Pair::into_inner)
        .ok_or_else(|| unexpected(0..text.len()))
}

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
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth = depth.saturating_sub(1),
            // The parser ends strings at the end of the line.
            '\n' => in_string = false,
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

fn build_step(pair: Pair<'_, Rule>) -> Result<Step, Problem> {
    let span = span_of(&pair);
    let mut inner = pair.into_inner();
    let disjunction = inner.next().ok_or_else(|| unexpected(span))?;
    let Some(for_sign) = inner.next() else {
        return Ok(Step {
            condition: build_disjunction(disjunction)?,
            absent_for: None,
        });
    };
    let absent_for = build_duration(inner.next(), span_of(&for_sign))?;
    let Some(condition) = only_condition(disjunction) else {
        return Err(misplaced_for(&for_sign));
    };
    let mut terms = condition.into_inner();
    if terms
        .next()
        .is_none_or(|first| first.as_rule() != Rule::not_sign)
    {
        return Err(misplaced_for(&for_sign));
    }
    Ok(Step {
        condition: build_terms(terms, span_of(&for_sign))?,
        absent_for: Some(absent_for),
    })
}

/// The condition of a disjunction that is nothing more than one.
fn only_condition(disjunction: Pair<'_, Rule>) -> Option<Pair<'_, Rule>> {
    let mut conjunctions = disjunction.into_inner();
    let mut conditions = conjunctions.next()?.into_inner();
    let only = conditions.next()?;
    (conjunctions.next().is_none() && conditions.next().is_none()).then_some(only)
}

fn misplaced_for(sign: &Pair<'_, Rule>) -> Problem {
    Problem::new(
        code::MISPLACED,
        span_of(sign),
        "`for` stands only behind one `not CONDITION`",
    )
    .helped("write `not (a or b) for 5s`, or give the whole rule the key `for`")
}

fn build_within(pair: Pair<'_, Rule>) -> Result<Spanned<u64>, Problem> {
    let span = span_of(&pair);
    build_duration(pair.into_inner().nth(1), span)
}

fn build_duration(pair: Option<Pair<'_, Rule>>, at: Range<usize>) -> Result<Spanned<u64>, Problem> {
    let pair = pair.ok_or_else(|| unexpected(at))?;
    let span = span_of(&pair);
    Ok(spanned(duration(pair.as_str(), &span)?, span))
}

fn build_disjunction(pair: Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem> {
    build_chain(pair, Rule::conjunction, build_conjunction, Expression::Or)
}

fn build_conjunction(pair: Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem> {
    build_chain(pair, Rule::condition, build_condition, Expression::And)
}

/// The terms of a chain, without the signs between them; one alone stands for itself.
fn build_chain(
    pair: Pair<'_, Rule>,
    term: Rule,
    build: fn(Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem>,
    chain: fn(Vec<Spanned<Expression>>) -> Expression,
) -> Result<Spanned<Expression>, Problem> {
    let mut terms = pair
        .into_inner()
        .filter(|inner| inner.as_rule() == term)
        .map(build)
        .collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(last)) = (terms.first(), terms.last()) else {
        return Err(unexpected(0..0));
    };
    let span = first.span.start..last.span.end;
    Ok(match terms.len() {
        1 => terms.swap_remove(0),
        _ => spanned(chain(terms), span),
    })
}

fn build_condition(pair: Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem> {
    let span = span_of(&pair);
    build_terms(pair.into_inner(), span)
}

/// What a condition is made of: any number of `not`, two of which are none, and a term.
fn build_terms(terms: Pairs<'_, Rule>, at: Range<usize>) -> Result<Spanned<Expression>, Problem> {
    let mut first_not = None;
    let mut negated = false;
    for inner in terms {
        let expression = match inner.as_rule() {
            Rule::not_sign => {
                first_not.get_or_insert(inner.as_span().start());
                negated = !negated;
                continue;
            }
            Rule::group => build_group(inner)?,
            _ => build_test(inner)?,
        };
        return Ok(match first_not {
            Some(start) if negated => {
                let span = start..expression.span.end;
                spanned(Expression::Not(Box::new(expression)), span)
            }
            _ => expression,
        });
    }
    Err(unexpected(at))
}

fn build_group(pair: Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem> {
    let span = span_of(&pair);
    let mut inner = pair.into_inner();
    let mut condition = build_disjunction(inner.next().ok_or_else(|| unexpected(span.clone()))?)?;
    let Some(within) = inner.next() else {
        // The parentheses are part of the text of what stands in them.
        condition.span = span;
        return Ok(condition);
    };
    Ok(spanned(
        Expression::Within {
            condition: Box::new(condition),
            window: build_within(within)?,
        },
        span,
    ))
}

fn build_test(pair: Pair<'_, Rule>) -> Result<Spanned<Expression>, Problem> {
    let span = span_of(&pair);
    let mut inner = pair.into_inner();
    let mut next = || inner.next().ok_or_else(|| unexpected(span.clone()));
    let left = build_operand(next()?)?;
    let Ok(sign) = next() else {
        let span = left.span.clone();
        return Ok(spanned(Expression::Operand(left.value), span));
    };
    let right = next()?;
    let span = left.span.start..span_of(&right).end;
    let test = match sign.as_rule() {
        Rule::in_sign => Expression::In {
            left,
            set: build_set(right)?,
        },
        Rule::matches_sign => Expression::Matches {
            left,
            pattern: build_string(&right),
        },
        _ => Expression::Compare {
            left,
            comparison: build_comparison(sign.as_str()),
            right: build_operand(right)?,
        },
    };
    Ok(spanned(test, span))
}

fn build_comparison(sign: &str) -> Comparison {
    match sign {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        _ => Comparison::GreaterOrEqual,
    }
}

fn build_set(pair: Pair<'_, Rule>) -> Result<Spanned<Set>, Problem> {
    let span = span_of(&pair);
    let is_range = pair.as_rule() == Rule::range;
    let mut items = pair
        .into_inner()
        .map(build_operand)
        .collect::<Result<Vec<_>, _>>()?;
    let set = if is_range {
        let (Some(high), Some(low)) = (items.pop(), items.pop()) else {
            return Err(unexpected(span));
        };
        Set::Range(Box::new(low), Box::new(high))
    } else {
        Set::List(items)
    };
    Ok(spanned(set, span))
}

fn build_operand(pair: Pair<'_, Rule>) -> Result<Spanned<Operand>, Problem> {
    let span = span_of(&pair);
    let text = pair.as_str();
    let operand = match pair.as_rule() {
        Rule::boolean => Operand::Boolean(text == "true"),
        Rule::number => Operand::Number(decimal(text, &span)?),
        Rule::percent => Operand::Percent(decimal(text.trim_end_matches('%'), &span)?),
        Rule::duration => Operand::Duration(duration(text, &span)?),
        Rule::string => Operand::String(build_string(&pair).value),
        Rule::field => Operand::Field(text.to_owned()),
        Rule::call => Operand::Call(build_call(pair)?),
        _ => return Err(unexpected(span)),
    };
    Ok(spanned(operand, span))
}

fn build_call(pair: Pair<'_, Rule>) -> Result<Call, Problem> {
    let span = span_of(&pair);
    let mut name = None;
    let mut arguments = Vec::new();
    let mut member = None;
    for inner in pair.into_inner() {
        match inner.as_rule() {
            Rule::argument => arguments.push(build_argument(inner)?),
            Rule::member => member = Some(word(&inner)),
            _ => name = Some(word(&inner)),
        }
    }
    Ok(Call {
        name: name.ok_or_else(|| unexpected(span))?,
        arguments,
        member,
    })
}

fn build_argument(pair: Pair<'_, Rule>) -> Result<Argument, Problem> {
    let span = span_of(&pair);
    let mut name = None;
    for inner in pair.into_inner() {
        match inner.as_rule() {
            Rule::argument_name => name = Some(word(&inner)),
            _ => {
                let value = build_disjunction(inner)?;
                return Ok(Argument { name, value });
            }
        }
    }
    Err(unexpected(span))
}

fn word(pair: &Pair<'_, Rule>) -> Word {
    spanned(pair.as_str().to_owned(), span_of(pair))
}

/// The content of a string, with its escapes resolved.
fn build_string(pair: &Pair<'_, Rule>) -> Word {
    let written = pair.as_str();
    let written = &written[1..written.len().saturating_sub(1).max(1)];
    let mut content = String::with_capacity(written.len());
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        content.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    spanned(content, span_of(pair))
}

fn duration(text: &str, span: &Range<usize>) -> Result<u64, Problem> {
    parse_duration(text).ok_or_else(|| {
        Problem::new(
            code::BAD_DURATION,
            span.clone(),
            format!("`{text}` is longer than a century"),
        )
    })
}

fn decimal(text: &str, span: &Range<usize>) -> Result<f64, Problem> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| {
        Problem::new(
            code::SYNTAX,
            span.clone(),
            format!("`{text}` is too large a number"),
        )
    })
}

fn spanned<T>(value: T, span: Range<usize>) -> Spanned<T> {
    Spanned { value, span }
}

/// The bytes of a pair, without the white space that its rule has skipped behind it.
fn span_of(pair: &Pair<'_, Rule>) -> Range<usize> {
    let start = pair.as_span().start();
    start..start + pair.as_str().trim_end().len()
}

/// The grammar and this module disagree; reported like a user's error so that nothing panics.
fn unexpected(span: Range<usize>) -> Problem {
    Problem::new(code::SYNTAX, span, "an expression cannot be read here")
}

#[cfg(test)]
mod tests;
