//! Messages of events: text with values in it, `person {track.id} in the yard`.

use std::ops::Range;

use crate::check::{self, Names};
use crate::code;
use crate::needs::Needs;
use crate::problem::Problem;
use crate::rule_file::Subject;
use crate::scene::Scene;
use crate::syntax;
use crate::value::ValueProgram;

/// Longest template, in bytes: an event's message is a line or two.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A message, checked and compiled.
#[derive(Debug, Clone)]
pub struct Message {
    text: String,
    parts: Vec<Part>,
}

/// Messages of the same template. Zones are part of the rule file that they stand in.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(Box<ValueProgram>),
}

impl Message {
    /// A message without placeholders.
    pub(crate) fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            parts: vec![Part::Text(text.to_owned())],
        }
    }

    /// Parses a template of a rule about `subject`.
    pub(crate) fn parse(
        text: &str,
        subject: Subject,
        names: &Names<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut parts = Vec::new();
        let (pieces, mut problems) = pieces(text);
        for piece in pieces {
            match piece {
                Piece::Text(text) => parts.push(Part::Text(text)),
                Piece::Placeholder(span) => {
                    match compile(&text[span.clone()], span.start, subject, names) {
                        Ok(value) => parts.push(Part::Value(Box::new(value))),
                        Err(found) => problems.extend(found),
                    }
                }
            }
        }
        if problems.is_empty() {
            Ok(Self {
                text: text.to_owned(),
                parts,
            })
        } else {
            Err(problems)
        }
    }

    /// The template it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn needs(&self) -> Needs {
        let needs = self.parts.iter().map(|part| match part {
            Part::Text(_) => Needs::default(),
            Part::Value(value) => value.needs(),
        });
        needs.fold(Needs::default(), Needs::or)
    }

    /// The message with the values of a frame filled in; `subject` is the index of the
    /// rule's track in [`Scene::tracks`].
    #[must_use]
    pub fn fill(&self, scene: &Scene<'_>, subject: Option<usize>) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Value(value) => filled.push_str(&value.text(scene, subject)),
            }
        }
        filled
    }
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// With its braces single.
    Text(String),
    /// The bytes between two braces.
    Placeholder(Range<usize>),
}

/// Takes a template apart; `{{` and `}}` stand for single braces. Also tells what is wrong
/// with its braces.
pub(crate) fn pieces(text: &str) -> (Vec<Piece>, Vec<Problem>) {
    if text.len() > MESSAGE_BYTES_MAX {
        let message = format!(
            "a message of {} bytes is over the limit of {MESSAGE_BYTES_MAX}",
            text.len()
        );
        return (
            Vec::new(),
            vec![Problem::new(code::TOO_LONG, 0..0, message)],
        );
    }
    let mut pieces = Vec::new();
    let mut problems = Vec::new();
    let mut plain = String::new();
    let mut place = 0;
    while let Some(character) = text[place..].chars().next() {
        let rest = &text[place..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push(character);
            place += 2;
        } else if character == '{' {
            let Some(length) = placeholder_bytes(&rest[1..]) else {
                problems.push(
                    Problem::new(
                        code::BAD_PLACEHOLDER,
                        place..text.len(),
                        "a placeholder is not closed by `}`",
                    )
                    .helped("a brace itself is written `{{`"),
                );
                break;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            let span = place + 1..place + 1 + length;
            place = span.end + 1;
            if text[span.clone()].trim().is_empty() {
                problems.push(
                    Problem::new(
                        code::BAD_PLACEHOLDER,
                        span.start - 1..place,
                        "a placeholder is empty",
                    )
                    .helped(
                        "name a value, like `{track.id}`; braces themselves are written `{{}}`",
                    ),
                );
            } else {
                pieces.push(Piece::Placeholder(span));
            }
        } else if character == '}' {
            problems.push(
                Problem::new(
                    code::BAD_PLACEHOLDER,
                    place..place + 1,
                    "a `}` closes nothing",
                )
                .helped("a brace itself is written `}}`"),
            );
            place += 1;
        } else {
            plain.push(character);
            place += character.len_utf8();
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    (pieces, problems)
}

/// Bytes before the `}` that closes a placeholder; those in strings close nothing.
fn placeholder_bytes(rest: &str) -> Option<usize> {
    let mut in_string = false;
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'}' if !in_string => return Some(index),
            _ => {}
        }
    }
    None
}

/// `{stream}` was the name of the stream before streams had labels, and still is.
pub(crate) fn spelled_out(placeholder: &str) -> &str {
    match placeholder.trim() {
        "stream" => "stream.name",
        _ => placeholder,
    }
}

fn compile(
    placeholder: &str,
    start: usize,
    subject: Subject,
    names: &Names<'_>,
) -> Result<ValueProgram, Vec<Problem>> {
    let compiled = syntax::parse_expression(spelled_out(placeholder))
        .map_err(|problem| vec![problem])
        .and_then(|tree| check::compile_value(&tree, subject, names));
    compiled.map_err(|mut problems| {
        for problem in &mut problems {
            problem.span = problem.span.start + start..problem.span.end + start;
        }
        problems
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_taken_apart() {
        let text = "{{{ label }}} {f(\"}\\\"}\")}{a}é{{}}";
        let (pieces, problems) = pieces(text);
        assert_eq!(problems, []);
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("={text}"),
                Piece::Placeholder(span) => text[span.clone()].to_owned(),
            })
            .collect();
        assert_eq!(
            shown,
            ["={", " label ", "=} ", "f(\"}\\\"}\")", "a", "=é{}"]
        );
    }

    #[test]
    fn braces_that_do_not_match_are_told() {
        for (text, count) in [
            ("a {label", 1),
            ("a } b", 1),
            ("} {}", 2),
            ("{ }", 1),
            ("{f(\"}", 1),
            ("{label}}", 1),
        ] {
            let (_, problems) = pieces(text);
            assert_eq!(problems.len(), count, "{text}: {problems:?}");
            assert!(problems.iter().all(|problem| problem.code == "R0505"));
        }
    }
}
