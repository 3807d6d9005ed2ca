//! Reading of a YAML tree with every mistake collected: shapes, keys, names,
//! words and durations. What a rule file is made of is known only to `load`.

use std::ops::Range;
use std::path::Path;

use crate::code;
use crate::diagnostic::{Diagnostic, suggest};
use crate::duration::parse_duration;
use crate::problem::Problem;
use crate::yaml::{Entry, Key, Node, Scalar, Value};

/// Most diagnostics that are kept to be put in order. To say of a place in which line it
/// stands takes a look at all before it, so their number bounds the time.
const DIAGNOSTICS_KEPT_MAX: usize = 1000;

/// Methods return `None` when they have reported a mistake.
pub(crate) struct Reader<'a> {
    pub(crate) text: &'a str,
    pub(crate) file: &'a Path,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A mapping all of whose keys are known.
pub(super) struct Section<'n> {
    owner: String,
    span: Range<usize>,
    entries: Vec<&'n Entry>,
}

impl<'n> Section<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|entry| entry.key.text == name)
            .map(|entry| &entry.value)
    }
}

impl Reader<'_> {
    /// A mapping with a fixed set of keys. `owner` names it, `at` is where it is named.
    pub(super) fn section<'n>(
        &mut self,
        node: &'n Node,
        owner: &str,
        at: Range<usize>,
        known: &[&str],
    ) -> Option<Section<'n>> {
        let all = known.join(", ");
        let entries = self.entries(node, &format!("{owner} has the keys {all}"))?;
        let (entries, strangers): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| known.contains(&entry.key.text.as_str()));
        for Entry { key, .. } in strangers {
            let message = format!("{owner} has no key `{}`", key.text);
            self.report::<()>(
                self.diagnostic(code::UNKNOWN_KEY, key.span.clone(), message)
                    .suggesting(
                        suggest(&key.text, known.iter().copied()),
                        format!("its keys are {all}"),
                    ),
            );
        }
        Some(Section {
            owner: owner.to_owned(),
            span: at,
            entries,
        })
    }

    pub(super) fn required<'n>(&mut self, section: &Section<'n>, name: &str) -> Option<&'n Node> {
        let found = section.get(name);
        if found.is_none() {
            let message = format!("{} needs the key `{name}`", section.owner);
            self.report::<()>(self.diagnostic(code::MISSING_KEY, section.span.clone(), message));
        }
        found
    }

    /// A mapping of things by their names; badly named ones are reported and kept.
    pub(super) fn named<'n>(
        &mut self,
        node: Option<&'n Node>,
        what: &str,
        entries_max: usize,
        check: fn(&str) -> Result<(), &'static str>,
    ) -> &'n [Entry] {
        let help = format!("`{what}` is a mapping by name");
        let entries = node
            .and_then(|node| self.entries(node, &help))
            .unwrap_or_default();
        if let Some(first_over) = entries.get(entries_max) {
            let message = format!(
                "`{what}` has {} entries, over the limit of {entries_max}",
                entries.len()
            );
            self.report::<()>(
                self.diagnostic(code::TOO_LARGE, first_over.key.span.clone(), message)
                    .helped("split the file into several, each for some of the streams"),
            );
        }
        let entries = &entries[..entries.len().min(entries_max)];
        for Entry { key, .. } in entries {
            if let Err(help) = check(&key.text) {
                let message = format!("`{}` cannot be a name in `{what}`", key.text);
                self.report::<()>(
                    self.diagnostic(code::BAD_NAME, key.span.clone(), message)
                        .helped(help),
                );
            }
        }
        entries
    }

    /// Builds each entry, also behind a wrong one.
    pub(super) fn each<T>(
        &mut self,
        entries: &[Entry],
        mut build: impl FnMut(&mut Self, &Key, &Node) -> Option<T>,
    ) -> Vec<T> {
        entries
            .iter()
            .filter_map(|entry| build(self, &entry.key, &entry.value))
            .collect()
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n [Node]> {
        let items = node.as_sequence();
        if items.is_none() {
            return self.wrong_shape(node, "a list", help);
        }
        items
    }

    /// The text of a scalar, as it is written where YAML might read a number.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n str> {
        match node.as_scalar() {
            Some(scalar) if !scalar.is_null() => Some(&scalar.text),
            _ => self.wrong_shape(node, "a text", help),
        }
    }

    /// Nanoseconds.
    pub(super) fn duration(&mut self, node: &Node) -> Option<u64> {
        let text = self.scalar(node, "a duration is written like `10s` or `500ms`")?;
        let parsed = parse_duration(text);
        if parsed.is_some() {
            return parsed;
        }
        let help = if text.parse::<f64>().is_ok() {
            format!("it needs a unit: did you mean `{text}s`?")
        } else {
            "write a number and one of ms, s, m, h: `500ms`, `10s`, `1.5m`".to_owned()
        };
        let message = format!("`{text}` is not a duration");
        self.report(
            self.diagnostic(code::BAD_DURATION, node.span.clone(), message)
                .helped(help),
        )
    }

    /// A whole number inside of a range.
    pub(super) fn integer(&mut self, node: &Node, low: u32, high: u32) -> Option<u32> {
        let help = format!("write a whole number from {low} to {high}");
        let text = self.scalar(node, &help)?;
        let number = text.parse::<u32>().ok();
        number
            .filter(|number| (low..=high).contains(number))
            .or_else(|| {
                let (code, message) = match node.as_scalar().and_then(Scalar::as_number) {
                    Some(_) => (code::OUT_OF_RANGE, format!("{text} cannot stand here")),
                    None => (code::WRONG_SHAPE, format!("`{text}` is not a whole number")),
                };
                let span = node.span.clone();
                self.report(self.diagnostic(code, span, message).helped(help))
            })
    }

    /// One word of several.
    pub(super) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let quoted: Vec<_> = words().map(|word| format!("`{word}`")).collect();
        let help = format!("write {}", quoted.join(" or "));
        let text = self.scalar(node, &help)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let message = format!("`{text}` is not {what}");
        self.report(
            self.diagnostic(code::BAD_CHOICE, node.span.clone(), message)
                .suggesting(suggest(text, words()), help),
        )
    }

    pub(super) fn wrong_shape<T>(&mut self, node: &Node, wanted: &str, help: &str) -> Option<T> {
        let message = format!("expected {wanted}, found {}", node.kind());
        self.report(
            self.diagnostic(code::WRONG_SHAPE, node.span.clone(), message)
                .helped(help),
        )
    }

    /// Reports problems inside a scalar at their places in the file.
    pub(crate) fn problems<T>(&mut self, node: &Node, problems: Vec<Problem>) -> Option<T> {
        for problem in problems {
            if self.is_full() {
                break;
            }
            let diagnostic = problem.in_text(self.file, self.text, |span| {
                node.span_within(self.text, span)
            });
            self.diagnostics.push(diagnostic);
        }
        None
    }

    /// Reports a problem whose span counts bytes of the file.
    pub(super) fn problem_at(&mut self, problem: Problem) {
        self.report::<()>(problem.in_text(self.file, self.text, |span| span));
    }

    /// The line of a byte, from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.text[..byte].matches('\n').count() + 1
    }

    pub(super) fn diagnostic(
        &self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        // What will not be kept needs no place.
        let span = if self.is_full() { 0..0 } else { span };
        Diagnostic::new(code, self.file, self.text, span, message)
    }

    /// Keeps a diagnostic; always `None`, so that callers can return it.
    pub(super) fn report<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        if !self.is_full() {
            self.diagnostics.push(diagnostic);
        }
        None
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= DIAGNOSTICS_KEPT_MAX
    }

    /// The entries of a mapping; nothing written is an empty one.
    fn entries<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar(scalar) if scalar.is_null() => Some(&[]),
            _ => self.wrong_shape(node, "a mapping", help),
        }
    }
}
