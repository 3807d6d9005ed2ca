//! Syntax errors in words: what stands there, what could, and advice for common slips.

use pest::error::{Error as PestError, ErrorVariant, InputLocation};

use super::Rule;
use crate::code;
use crate::problem::Problem;

/// Signs of more than one character.
const SIGNS: &[&str] = &["->", "==", "!=", "<=", ">=", "&&", "||", ".."];

/// A syntax error in words, in a text that was to be a `rule`.
pub(super) fn explain(rule: Rule, text: &str, error: &PestError<Rule>) -> Problem {
    let start = match error.location {
        InputLocation::Pos(place) => place,
        InputLocation::Span((start, _)) => start,
    };
    let what = if rule == Rule::action {
        "an action"
    } else {
        "an expression"
    };
    let rest = &text[start..];
    let found = found(rest);
    let shown = if found.chars().any(char::is_control) {
        found.escape_debug().to_string()
    } else {
        found.to_owned()
    };
    let message = if text.trim().is_empty() {
        format!("{what} is empty")
    } else if found.is_empty() {
        format!("{what} ends too early")
    } else {
        format!("unexpected `{shown}` in {what}")
    };
    let problem = Problem::new(code::SYNTAX, start..start + found.len(), message);
    let problem = match expected(error) {
        Some(expected) => problem.labelled(format!("expected {expected}")),
        None => problem,
    };
    let help = if rest.is_empty() && text.matches('(').count() > text.matches(')').count() {
        Some("a `(` is not closed")
    } else if rule == Rule::action && rest.starts_with('=') {
        Some("an argument is named by `:`, like `color: \"red\"`")
    } else {
        slip(rest)
    };
    match help {
        Some(help) => problem.helped(help),
        None => problem,
    }
}

/// The word, sign or character that a text begins with.
fn found(rest: &str) -> &str {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let word = rest
        .find(|character| !is_word(character))
        .unwrap_or(rest.len());
    if word > 0 {
        return &rest[..word];
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return sign;
    }
    let first = rest.chars().next().map_or(0, char::len_utf8);
    &rest[..first]
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
            Rule::arrow => "`->`",
            Rule::for_sign => "`for`",
            Rule::within | Rule::within_sign => "`within`",
            Rule::comparison_sign => "a comparison",
            Rule::in_sign => "`in`",
            Rule::matches_sign => "`matches`",
            Rule::list => "a list like [\"car\", \"truck\"]",
            Rule::range => "a range like 8..18",
            Rule::string => "a string in double quotes",
            Rule::duration => "a duration like 10s",
            Rule::step
            | Rule::disjunction
            | Rule::conjunction
            | Rule::condition
            | Rule::not_sign
            | Rule::group => "a condition",
            Rule::argument => "an argument",
            Rule::bare_action => "an action",
            Rule::member => "a name",
            Rule::EOI => "the end",
            Rule::test
            | Rule::boolean
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
    // What ends a whole condition is told only where nothing else could go on.
    if words.contains(&"`or`") {
        words.retain(|word| !["`for`", "`within`", "`->`"].contains(word));
    }
    // Where any value may stand, its kinds are not listed.
    for whole in ["an action", "a condition", "a value"] {
        if words.contains(&whole) {
            words.retain(|word| *word == whole || *word == "the end");
        }
    }
    match words.split_last() {
        None => None,
        Some((only, [])) => Some((*only).to_owned()),
        Some((last, others)) => Some(format!("{} or {last}", others.join(", "))),
    }
}

/// Advice for slips that habits of other languages cause.
fn slip(rest: &str) -> Option<&'static str> {
    if rest.starts_with('=') && !rest.starts_with("==") {
        Some("equality is written `==`")
    } else if rest.starts_with('\'') {
        Some("strings are written in double quotes")
    } else if rest.starts_with('&') || rest.starts_with("AND") {
        Some("write `and` or `&&`")
    } else if rest.starts_with('|') || rest.starts_with("OR") {
        Some("write `or` or `||`")
    } else if rest.starts_with(['<', '>']) || rest.starts_with("==") || rest.starts_with("!=") {
        Some("a comparison has two sides: join two of them by `and`")
    } else if let Some(string) = rest.strip_prefix('"') {
        slip_in_string(string)
    } else if rest.starts_with("->") {
        Some("steps are not nested: a sequence stands alone behind `when:`")
    } else if rest.starts_with(['+', '*', '/']) {
        Some("there is no arithmetic: compare with the result")
    } else if rest.starts_with('-') {
        Some("there is no subtraction, and no value is negative")
    } else {
        None
    }
}

/// What is wrong with a string, behind its first quote.
fn slip_in_string(rest: &str) -> Option<&'static str> {
    let mut characters = rest.chars();
    loop {
        match characters.next() {
            Some('"') => return None,
            Some('\\') => {
                if !matches!(characters.next(), Some('"' | '\\' | 'n')) {
                    return Some("the escapes of a string are `\\\"`, `\\\\` and `\\n`");
                }
            }
            None | Some('\n' | '\r') => {
                return Some("a string ends in its line: close it by `\"`");
            }
            Some(_) => {}
        }
    }
}
