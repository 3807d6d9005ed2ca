//! What is wrong with a text, and where: the one shape of every error a user
//! can make in YAML or in the rule language.
//!
//! A diagnostic owns no source text. Whoever shows it reads the file's text
//! once and hands it to [`Diagnostic::render`], or to a fancier printer.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable number of this kind of mistake, `R0101`.
    pub code: &'static str,
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// Bytes in the file's text.
    pub span: Range<usize>,
    /// Text under the caret; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at `span` of `text`, the whole text of `file`.
    ///
    /// A span outside the text, or off a character's border, is moved inside.
    #[must_use]
    pub fn new(
        code: &'static str,
        file: &Path,
        text: &str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end).max(start);
        let (line, column) = place(text, start);
        Self {
            code,
            message: message.into(),
            file: file.to_owned(),
            line,
            column,
            span: start..end,
            label: String::new(),
            help: None,
        }
    }

    /// With a text under the caret.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With advice.
    #[must_use]
    pub fn helped(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice to write `suggestion`, if there is one; else with `otherwise`.
    #[must_use]
    pub fn suggesting(self, suggestion: Option<String>, otherwise: impl Into<String>) -> Self {
        match suggestion {
            Some(word) => self.helped(format!("did you mean `{word}`?")),
            None => self.helped(otherwise),
        }
    }

    /// The diagnostic with the line it speaks of and a caret under the place.
    ///
    /// ```text
    /// rules/yard.yaml:7:11: error[R0201]: unknown name `scroe`
    ///   |
    /// 7 |     when: scroe > 0.6
    ///   |           ^^^^^ not a field of a track
    ///   = help: did you mean `score`?
    /// ```
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let line_start = text[..text.floor_char_boundary(self.span.start)]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands under its place in any terminal.
        let indent: String = line
            .chars()
            .take(self.column.saturating_sub(1) as usize)
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        let end_of_line = line_start + line.len();
        let marked = text
            .get(self.span.start..self.span.end.min(end_of_line))
            .map_or(0, |part| part.chars().count());
        let carets = "^".repeat(marked.max(1));
        let label = if self.label.is_empty() {
            String::new()
        } else {
            format!(" {}", self.label)
        };
        let mut rendered =
            format!("{self}\n{margin} |\n{number} | {line}\n{margin} | {indent}{carets}{label}\n");
        if let Some(help) = &self.help {
            rendered.push_str(&format!("{margin} = help: {help}\n"));
        }
        rendered
    }
}

/// `file:line:column: error[code]: message`, the form that editors jump to.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}:{}: error[{}]: {}",
            self.file.display(),
            self.line,
            self.column,
            self.code,
            self.message
        )
    }
}

impl std::error::Error for Diagnostic {}

/// The candidate that `word` is most likely a slip of, if any is near enough.
///
/// Near enough is a Damerau-Levenshtein distance (letters swapped count one) of at
/// most a third of the word's length, and at least one.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *candidate != word)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Line and column, from 1, of a byte that begins a character.
fn place(text: &str, byte: usize) -> (u32, u32) {
    let before = &text[..byte];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    let fit = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (fit(line), fit(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["score", "raw_score", "label", "motion"];
        let of = |word| suggest(word, known.into_iter());
        assert_eq!(of("scroe").as_deref(), Some("score"));
        assert_eq!(of("lable").as_deref(), Some("label"));
        assert_eq!(of("rawscore").as_deref(), Some("raw_score"));
        assert_eq!(of("zebra"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn places_count_characters_not_bytes() {
        let text = "a: 1\nstraße: x > 1\n";
        let start = text.find('x').expect("it is there");
        let diagnostic = Diagnostic::new("R0000", Path::new("f.yaml"), text, start..start + 1, "m")
            .labelled("here");
        assert_eq!((diagnostic.line, diagnostic.column), (2, 9));
        assert_eq!(
            diagnostic.render(text),
            "f.yaml:2:9: error[R0000]: m\n  |\n2 | straße: x > 1\n  |         ^ here\n"
        );
    }

    #[test]
    fn spans_outside_the_text_are_moved_inside() {
        for span in [0..0, 1..2, 3..99, 50..60] {
            let diagnostic = Diagnostic::new("R0000", Path::new("f"), "ä\n", span, "m");
            assert!(!diagnostic.render("ä\n").is_empty());
            assert!(!diagnostic.render("").is_empty(), "even with another text");
        }
    }
}
