//! A text as a YAML scalar of one line.

use crate::yaml::Style;

/// The scalar in a style; what cannot be plain is put in single quotes.
pub(super) fn write(text: &str, style: Style, in_flow: bool) -> String {
    match style {
        Style::DoubleQuoted => format!("\"{}\"", escaped(text)),
        Style::Plain if is_plain(text, in_flow) => text.to_owned(),
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

/// What stands for `text` inside of a scalar; `None` where it would end it.
pub(super) fn inside(text: &str, style: Style, in_flow: bool) -> Option<String> {
    match style {
        Style::DoubleQuoted => Some(escaped(text)),
        Style::SingleQuoted => Some(text.replace('\'', "''")),
        Style::Literal | Style::Folded => Some(text.to_owned()),
        Style::Plain => stays_plain(text, in_flow).then(|| text.to_owned()),
    }
}

/// Canonical text has no control characters but those that its strings were written with.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            other if other.is_control() || other == '\u{feff}' => {
                escaped.push_str(&format!("\\U{:08x}", u32::from(other)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// YAML reads the text as it is, without quotes.
fn is_plain(text: &str, in_flow: bool) -> bool {
    let begins = |first: char| first.is_alphanumeric() || first == '(';
    text.starts_with(begins) && stays_plain(text, in_flow)
}

fn stays_plain(text: &str, in_flow: bool) -> bool {
    let flow_signs = [',', '[', ']', '{', '}'];
    let breaks = text.contains(": ")
        || text.contains(" #")
        || text.ends_with(':')
        || text.contains(char::is_control)
        || (in_flow && text.contains(flow_signs));
    !breaks
}
