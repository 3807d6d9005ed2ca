//! Typed access to the YAML tree of a test file that collects what is wrong.
//!
//! Methods give `None` when they have reported a mistake.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use dsl::yaml::{Entry, Node};
use dsl::{Diagnostic, suggest};

use super::{LIST_MAX, code};
use crate::config::Fraction;

pub(super) struct Reader<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A mapping all of whose keys are known.
pub(super) struct Section<'n> {
    owner: String,
    span: Range<usize>,
    entries: Vec<&'n Entry>,
}

impl<'n> Section<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.key.text == name)?;
        Some(&entry.value)
    }
}

impl Reader<'_> {
    /// A mapping with a fixed set of keys. `owner` names it, `at` is where it is named.
    pub(super) fn section<'n>(
        &mut self,
        node: &'n Node,
        owner: &str,
        at: &Range<usize>,
        known: &[&str],
    ) -> Option<Section<'n>> {
        let all = known.join(", ");
        let entries = self.entries(node, &format!("{owner} has the keys {all}"))?;
        let is_known = |entry: &&Entry| known.contains(&entry.key.text.as_str());
        let (entries, strangers): (Vec<_>, Vec<_>) = entries.iter().partition(is_known);
        for Entry { key, .. } in strangers {
            let message = format!("{owner} has no key `{}`", key.text);
            let suggestion = suggest(&key.text, known.iter().copied());
            self.diagnostics.push(
                self.problem(code::UNKNOWN_KEY, &key.span, message)
                    .suggesting(suggestion, format!("its keys are {all}")),
            );
        }
        Some(Section {
            owner: owner.to_owned(),
            span: at.clone(),
            entries,
        })
    }

    pub(super) fn required<'n>(
        &mut self,
        section: &Section<'n>,
        name: &str,
        help: &str,
    ) -> Option<&'n Node> {
        let found = section.get(name);
        if found.is_none() {
            let message = format!("{} needs the key `{name}`", section.owner);
            let problem = self.problem(code::MISSING_KEY, &section.span, message);
            self.diagnostics.push(problem.helped(help));
        }
        found
    }

    /// `Some(None)` for what is not written, `None` for what is written and wrong.
    #[expect(clippy::option_option, reason = "wrong, or right and perhaps absent")]
    pub(super) fn optional<'n, T>(
        &mut self,
        node: Option<&'n Node>,
        read: impl FnOnce(&mut Self, &'n Node) -> Option<T>,
    ) -> Option<Option<T>> {
        match node {
            Some(node) => read(self, node).map(Some),
            None => Some(None),
        }
    }

    /// The entries of a mapping, at most `most`; nothing written is an empty one.
    pub(super) fn map<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        most: usize,
    ) -> Option<&'n [Entry]> {
        let entries = self.entries(node, &format!("{what} is a mapping"))?;
        self.bounded(entries, |entry| &entry.key.span, what, most)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n [Node]> {
        if node.is_null() {
            return Some(&[]);
        }
        match node.as_sequence() {
            Some(items) => self.bounded(items, |item| &item.span, "the list", LIST_MAX),
            None => self.wrong_shape(node, "a list", help),
        }
    }

    /// The text of a scalar, as it is written where YAML might read a number.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n str> {
        match node.as_scalar() {
            Some(scalar) if !scalar.is_null() => Some(&scalar.text),
            _ => self.wrong_shape(node, "a text", help),
        }
    }

    /// What `read` makes of a scalar.
    pub(super) fn value<T>(
        &mut self,
        node: &Node,
        what: &str,
        help: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.scalar(node, help)?;
        let value = read(text);
        if value.is_none() {
            return self.wrong_value(&node.span, format!("`{text}` is not {what}"), help);
        }
        value
    }

    /// Nanoseconds.
    pub(super) fn duration(&mut self, node: &Node) -> Option<u64> {
        let help = "write a number and one of ms, s, m, h: `500ms`, `10s`, `1.5m`";
        self.value(node, "a duration", help, read_duration)
    }

    /// 0 to 1.
    pub(super) fn fraction(&mut self, node: &Node, what: &str) -> Option<f32> {
        let help = "write a number from 0 to 1, like `0.4`, or a percentage, like `40%`";
        self.value(node, what, help, Fraction::read)
            .map(Fraction::get)
    }

    /// So many fractions in a list.
    pub(super) fn fractions<const N: usize>(
        &mut self,
        node: &Node,
        help: &str,
    ) -> Option<[f32; N]> {
        let items = match node.as_sequence() {
            Some(items) => items,
            None => return self.wrong_shape(node, "a list", help),
        };
        if items.len() != N {
            let message = format!("it has {N} numbers, not {}", items.len());
            return self.wrong_value(&node.span, message, help);
        }
        let read = |item: &Node| self.fraction(item, "a part of the picture");
        let numbers: Vec<_> = items.iter().map(read).collect();
        let numbers: Option<Vec<_>> = numbers.into_iter().collect();
        numbers?.try_into().ok()
    }

    /// Times from and to, `[3s..4s, 10s..11s]`.
    pub(super) fn ranges(&mut self, node: Option<&Node>) -> Option<Vec<Range<u64>>> {
        let help = "write a list of times from and to, like [3s..4s, 10s..11s]";
        let Some(node) = node else {
            return Some(Vec::new());
        };
        let items = self.list(node, help)?;
        let ranges: Vec<_> = items.iter().map(|item| self.range(item)).collect();
        ranges.into_iter().collect()
    }

    /// A time from and to, `3s..4s`.
    pub(super) fn range(&mut self, node: &Node) -> Option<Range<u64>> {
        let help = "write from and to, like 3s..4s";
        self.value(node, "a time from and to", help, |text| {
            let (from, to) = text.split_once("..")?;
            let (from, to) = (read_duration(from.trim())?, read_duration(to.trim())?);
            (from < to).then_some(from..to)
        })
    }

    /// Texts by name.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Option<BTreeMap<String, String>> {
        let entries = self.map(node, what, LIST_MAX)?;
        let help = format!("a value of {what} is a text");
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = self.scalar(&entry.value, &help)?;
                Some((entry.key.text.clone(), value.to_owned()))
            })
            .collect();
        texts.into_iter().collect()
    }

    pub(super) fn problem(
        &self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(code, self.file, self.text, span.clone(), message)
    }

    pub(super) fn wrong_value<T>(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: &str,
    ) -> Option<T> {
        let problem = self.problem(code::WRONG_VALUE, span, message).helped(help);
        self.diagnostics.push(problem);
        None
    }

    fn wrong_shape<T>(&mut self, node: &Node, wanted: &str, help: &str) -> Option<T> {
        let message = format!("expected {wanted}, found {}", node.kind());
        let problem = self.problem(code::WRONG_SHAPE, &node.span, message);
        self.diagnostics.push(problem.helped(help));
        None
    }

    fn entries<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n [Entry]> {
        match node.as_mapping() {
            Some(entries) => Some(entries),
            None if node.is_null() => Some(&[]),
            None => self.wrong_shape(node, "a mapping", help),
        }
    }

    fn bounded<'n, T>(
        &mut self,
        items: &'n [T],
        span: impl Fn(&T) -> &Range<usize>,
        what: &str,
        most: usize,
    ) -> Option<&'n [T]> {
        let Some(first_over) = items.get(most) else {
            return Some(items);
        };
        let message = format!(
            "{what} has {} entries, over the limit of {most}",
            items.len()
        );
        let problem = self.problem(code::TOO_LARGE, span(first_over), message);
        self.diagnostics
            .push(problem.helped("split the test file into several"));
        None
    }
}

/// Nanoseconds of `500ms`, `10s`, `1.5m` or `2h`.
pub(crate) fn read_duration(text: &str) -> Option<u64> {
    /// Ten days: beyond it a time is a slip, and sums stay far from any border.
    const MOST_S: f64 = 864_000.0;
    let unit = text.find(|sign: char| sign.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let unit_s = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    if !number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit_s;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "digits only, and bounded"
    )]
    (seconds <= MOST_S).then(|| (seconds * 1e9).round() as u64)
}
