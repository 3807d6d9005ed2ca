//! A syntax tree as text: words for `and`, `or` and `not`, single spaces, and no
//! parentheses but those that are needed. Reading it again gives the same tree.

use crate::duration::format_duration;
use crate::tree::{Argument, Call, Comparison, Expression, Operand, Sequence, Set, Spanned, Step};

/// What stands behind `when:`.
pub(crate) fn sequence(sequence: &Sequence) -> String {
    sequence_pieces(sequence).join(" ")
}

/// A gate, or what stands in the braces of a message.
pub(crate) fn expression(expression: &Spanned<Expression>) -> String {
    expression_pieces(&expression.value).join(" ")
}

/// An item of `do:`.
pub(crate) fn action(action: &Spanned<Operand>) -> String {
    operand_text(&action.value)
}

/// Where a long sequence may be broken into lines. White space joins them.
pub(super) fn sequence_pieces(sequence: &Sequence) -> Vec<String> {
    let mut pieces = match sequence.steps.as_slice() {
        [
            Step {
                condition,
                absent_for: None,
            },
        ] => chain_pieces(&condition.value),
        steps => steps
            .iter()
            .enumerate()
            .map(|(index, step)| {
                format!("{}{}", if index > 0 { "-> " } else { "" }, step_text(step))
            })
            .collect(),
    };
    if let (Some(window), Some(last)) = (&sequence.within, pieces.last_mut()) {
        last.push_str(&format!(" within {}", format_duration(window.value)));
    }
    pieces
}

/// Where a long expression may be broken into lines.
pub(super) fn expression_pieces(expression: &Expression) -> Vec<String> {
    match expression {
        // Only behind `when:` it needs no parentheses.
        Expression::Within { .. } => vec![condition_text(expression, Place::Alone)],
        _ => chain_pieces(expression),
    }
}

/// The terms of the outermost chain; `within` ends the last.
fn chain_pieces(expression: &Expression) -> Vec<String> {
    let chain = |word: &str, terms: &[Spanned<Expression>], place| {
        terms
            .iter()
            .enumerate()
            .map(|(index, term)| {
                let term = condition_text(&term.value, place);
                if index > 0 {
                    format!("{word} {term}")
                } else {
                    term
                }
            })
            .collect()
    };
    match expression {
        Expression::Or(terms) => chain("or", terms, Place::InOr),
        Expression::And(terms) => chain("and", terms, Place::InAnd),
        Expression::Within { condition, window } => {
            let mut pieces = expression_pieces(&condition.value);
            if let Some(last) = pieces.last_mut() {
                last.push_str(&format!(" within {}", format_duration(window.value)));
            }
            pieces
        }
        other => vec![condition_text(other, Place::Alone)],
    }
}

/// What a condition stands in: decides whether it needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    InOr,
    InAnd,
    InNot,
}

fn step_text(step: &Step) -> String {
    match &step.absent_for {
        Some(time) => format!(
            "not {} for {}",
            condition_text(&step.condition.value, Place::InNot),
            format_duration(time.value)
        ),
        None => condition_text(&step.condition.value, Place::Alone),
    }
}

fn condition_text(expression: &Expression, place: Place) -> String {
    let bare = match expression {
        Expression::Or(_) => place == Place::Alone,
        Expression::And(_) => matches!(place, Place::Alone | Place::InOr),
        Expression::Not(_) => place != Place::InNot,
        // Without parentheses it would belong to what stands around it.
        Expression::Within { .. } => false,
        _ => true,
    };
    let text = match expression {
        Expression::Not(term) => format!("not {}", condition_text(&term.value, Place::InNot)),
        Expression::Compare {
            left,
            comparison,
            right,
        } => format!(
            "{} {} {}",
            operand_text(&left.value),
            comparison_sign(*comparison),
            operand_text(&right.value)
        ),
        Expression::In { left, set } => {
            format!("{} in {}", operand_text(&left.value), set_text(&set.value))
        }
        Expression::Matches { left, pattern } => format!(
            "{} matches {}",
            operand_text(&left.value),
            string_text(&pattern.value)
        ),
        Expression::Operand(operand) => operand_text(operand),
        Expression::Or(_) | Expression::And(_) | Expression::Within { .. } => {
            chain_pieces(expression).join(" ")
        }
    };
    if bare { text } else { format!("({text})") }
}

fn set_text(set: &Set) -> String {
    match set {
        Set::List(items) => {
            let items: Vec<_> = items.iter().map(|item| operand_text(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Set::Range(low, high) => {
            format!(
                "{}..{}",
                operand_text(&low.value),
                operand_text(&high.value)
            )
        }
    }
}

fn operand_text(operand: &Operand) -> String {
    match operand {
        Operand::Boolean(value) => value.to_string(),
        // Never with an exponent, and the shortest that is read as the same number.
        Operand::Number(value) => value.to_string(),
        Operand::Percent(value) => format!("{value}%"),
        Operand::Duration(nanoseconds) => format_duration(*nanoseconds),
        Operand::String(content) => string_text(content),
        Operand::Field(name) => name.clone(),
        Operand::Call(call) => call_text(call),
    }
}

fn call_text(call: &Call) -> String {
    let arguments: Vec<_> = call.arguments.iter().map(argument_text).collect();
    let member = call
        .member
        .as_ref()
        .map_or(String::new(), |member| format!(".{}", member.value));
    format!("{}({}){member}", call.name.value, arguments.join(", "))
}

fn argument_text(argument: &Argument) -> String {
    let value = condition_text(&argument.value.value, Place::Alone);
    match &argument.name {
        Some(name) => format!("{}: {value}", name.value),
        None => value,
    }
}

fn string_text(content: &str) -> String {
    let mut text = String::with_capacity(content.len() + 2);
    text.push('"');
    for character in content.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

fn comparison_sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}
