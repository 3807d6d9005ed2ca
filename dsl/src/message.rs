//! Messages of events: text with placeholders, `person {track.id} in the yard`.

use crate::code;
use crate::diagnostic::suggest;
use crate::problem::Problem;

/// A message, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    parts: Vec<Part>,
}

/// What placeholders are filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MessageFacts<'a> {
    /// `{track.id}`
    pub track_id: u64,
    /// `{label}`
    pub label: &'a str,
    /// `{score}`, with two decimals
    pub score: f32,
    /// `{stream}`
    pub stream: &'a str,
}

impl Message {
    /// A message without placeholders.
    pub(crate) fn plain(text: &str) -> Self {
        Self {
            parts: vec![Part::Text(text.to_owned())],
        }
    }

    /// Parses a template; `{{` and `}}` stand for single braces.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut parts = Vec::new();
        let mut problems = Vec::new();
        let mut plain = String::new();
        let mut place = 0;
        while let Some(character) = text[place..].chars().next() {
            let rest = &text[place..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(character);
                place += 2;
            } else if character == '{' {
                let end = rest.find('}').map(|end| end + 1);
                let name = rest[1..end.map_or(rest.len(), |end| end - 1)].trim();
                let placeholder = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
                let end = end.unwrap_or(rest.len());
                let span = place..place + end;
                match placeholder {
                    Some((_, placeholder)) if rest[..end].ends_with('}') => {
                        if !plain.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut plain)));
                        }
                        parts.push(Part::Placeholder(*placeholder));
                    }
                    Some(_) => problems.push(unclosed(span)),
                    None if !rest[..end].ends_with('}') => problems.push(unclosed(span)),
                    None => problems.push(unknown(name, span)),
                }
                place += end;
            } else {
                plain.push(character);
                place += character.len_utf8();
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if problems.is_empty() {
            Ok(Self { parts })
        } else {
            Err(problems)
        }
    }

    /// The message with its placeholders filled in.
    #[must_use]
    pub fn fill(&self, facts: &MessageFacts<'_>) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Placeholder(Placeholder::TrackId) => {
                    filled.push_str(&facts.track_id.to_string());
                }
                Part::Placeholder(Placeholder::Label) => filled.push_str(facts.label),
                Part::Placeholder(Placeholder::Score) => {
                    filled.push_str(&format!("{:.2}", facts.score));
                }
                Part::Placeholder(Placeholder::Stream) => filled.push_str(facts.stream),
            }
        }
        filled
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    TrackId,
    Label,
    Score,
    Stream,
}

const PLACEHOLDERS: &[(&str, Placeholder)] = &[
    ("track.id", Placeholder::TrackId),
    ("label", Placeholder::Label),
    ("score", Placeholder::Score),
    ("stream", Placeholder::Stream),
];

fn unclosed(span: std::ops::Range<usize>) -> Problem {
    Problem::new(
        code::BAD_PLACEHOLDER,
        span,
        "a placeholder is not closed by `}`",
    )
    .helped("a brace itself is written `{{`")
}

fn unknown(name: &str, span: std::ops::Range<usize>) -> Problem {
    let known = || PLACEHOLDERS.iter().map(|(known, _)| *known);
    let all: Vec<_> = known().map(|name| format!("{{{name}}}")).collect();
    Problem::new(
        code::BAD_PLACEHOLDER,
        span,
        format!("unknown placeholder `{{{name}}}`"),
    )
    .suggesting(
        suggest(name, known()).map(|name| format!("{{{name}}}")),
        format!("there is {}", all.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_braces_kept() {
        let message = Message::parse("{{{label}}} {track.id}/{ score } on {stream}").expect("good");
        let facts = MessageFacts {
            track_id: 7,
            label: "person",
            score: 0.666,
            stream: "yard",
        };
        assert_eq!(message.fill(&facts), "{person} 7/0.67 on yard");
    }
}
