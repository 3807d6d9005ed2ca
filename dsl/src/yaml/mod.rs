//! YAML as a tree in which everything knows its place.
//!
//! Run configs and rule files are read from this tree, not by `serde`: a
//! deserialiser stops at the first error, and users want all of them. The tree
//! keeps the style of each scalar, so that an error inside an expression can be
//! shown where it stands in the file ([`Node::span_within`]), however the
//! expression was quoted.

mod build;
mod within;

use std::ops::Range;
use std::path::Path;

use granit_parser::{Options, Parser};

use crate::Diagnostic;
use build::Builder;

/// Most nodes of a tree, aliases spelled out: stops an alias bomb.
pub const NODES_MAX: usize = 200_000;

/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its bytes in the text; of an alias, those of what it stands for.
    pub span: Range<usize>,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text, number, word or nothing at all.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order written; no key twice.
    Mapping(Vec<Entry>),
}

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, quotes and escapes resolved.
    pub text: String,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In `'`.
    SingleQuoted,
    /// In `"`.
    DoubleQuoted,
    /// After `|`.
    Literal,
    /// After `>`.
    Folded,
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// Its text.
    pub text: String,
}

/// Something wrong with the YAML itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// Under the caret.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
}

impl Fault {
    /// The fault as it is shown; `text` is the whole text of `file`.
    #[must_use]
    pub fn diagnostic(self, code: &'static str, file: &Path, text: &str) -> Diagnostic {
        Diagnostic {
            label: self.label,
            help: self.help,
            ..Diagnostic::new(code, file, text, self.span, self.message)
        }
    }
}

/// Kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The text is not YAML, or uses what these files do not need; there is no tree.
    Syntax,
    /// A key stands twice in one mapping; the first is kept.
    DuplicateKey,
}

/// What [`parse`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The tree; `None` when the text is empty or not YAML.
    pub root: Option<Node>,
    /// What is wrong. A text that is empty but for comments has no fault.
    pub faults: Vec<Fault>,
}

/// Reads a text of one YAML document.
///
/// Aliases are replaced by what they stand for, and merge keys (`<<`) by the
/// keys they bring, where the mapping does not have them itself.
#[must_use]
pub fn parse(text: &str) -> Document {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut builder = Builder::new(text);
    for step in Parser::new_from_str_with_options(text, options) {
        let outcome = match step {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(builder.scan_fault(&error)),
        };
        if let Err(fault) = outcome {
            builder.faults.push(fault);
            return Document {
                root: None,
                faults: builder.faults,
            };
        }
    }
    Document {
        root: builder.root,
        faults: builder.faults,
    }
}

impl Node {
    /// The text of a scalar.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            Value::Scalar(_) | Value::Mapping(_) => None,
        }
    }

    /// The entries of a mapping.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// The value of a key, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entry = self
            .as_mapping()?
            .iter()
            .find(|entry| entry.key.text == key)?;
        Some(&entry.value)
    }

    /// Whether nothing was written, or `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, for messages: `a text`, `a number`, `a list`, ...
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(scalar) if scalar.as_bool().is_some() => "a yes or no",
            Value::Scalar(scalar) if scalar.as_number().is_some() => "a number",
            Value::Scalar(_) => "a text",
        }
    }

    /// The bytes of `source` that `part` of this scalar's text was made from.
    ///
    /// `source` is the text given to [`parse`]. Exact, however the scalar is quoted,
    /// for a part that begins with a character that is not white. Gives the span of
    /// the whole node when it is no scalar.
    #[must_use]
    pub fn span_within(&self, source: &str, part: Range<usize>) -> Range<usize> {
        let Some(scalar) = self.as_scalar() else {
            return self.span.clone();
        };
        let offsets = within::source_offsets(source, self.span.clone(), scalar);
        let at = |offset: usize| offsets.get(offset).or(offsets.last()).copied();
        match (at(part.start), at(part.end)) {
            (Some(begin), Some(end)) => begin..end.max(begin),
            _ => self.span.clone(),
        }
    }
}

impl Scalar {
    /// Whether nothing was written, or `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// `true` or `false`, written without quotes.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match (self.style, self.text.as_str()) {
            (Style::Plain, "true" | "True" | "TRUE") => Some(true),
            (Style::Plain, "false" | "False" | "FALSE") => Some(false),
            _ => None,
        }
    }

    /// A finite number, written without quotes.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        let plain = self.style == Style::Plain
            && self
                .text
                .starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
        plain
            .then(|| self.text.parse::<f64>().ok())
            .flatten()
            .filter(|number| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let document = parse(text);
        assert_eq!(document.faults, [], "{text}");
        document.root.expect("not empty")
    }

    #[test]
    fn everything_knows_its_bytes() {
        let text = "# ä\na: {b: [1, 'zwei']}\nlist:\n  - x\n  - y\n\nc: 5\n";
        let root = tree(text);
        let written = |node: &Node| &text[node.span.clone()];
        let a = root.get("a").expect("a");
        assert_eq!(written(a), "{b: [1, 'zwei']}");
        let b = a.get("b").expect("b").as_sequence().expect("list");
        assert_eq!(written(&b[1]), "'zwei'");
        assert_eq!(b[1].as_scalar().expect("scalar").text, "zwei");
        assert_eq!(written(root.get("list").expect("list")), "- x\n  - y");
        let entry = &root.as_mapping().expect("mapping")[2];
        assert_eq!(&text[entry.key.span.clone()], "c");
        assert_eq!(written(&root), text.trim_start_matches("# ä\n").trim_end());
    }

    #[test]
    fn kinds_follow_the_quotes() {
        let root = tree("[5, '5', true, 'true', ~, '', .5, -1e3, 10s, nan, 0x10, {}, []]");
        let kinds: Vec<_> = root
            .as_sequence()
            .expect("list")
            .iter()
            .map(Node::kind)
            .collect();
        assert_eq!(
            kinds,
            [
                "a number",
                "a text",
                "a yes or no",
                "a text",
                "nothing",
                "a text",
                "a number",
                "a number",
                "a text",
                "a text",
                "a text",
                "a mapping",
                "a list"
            ]
        );
    }

    #[test]
    fn duplicate_keys_are_all_told_and_the_first_is_kept() {
        let document = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n");
        let labels: Vec<_> = document
            .faults
            .iter()
            .map(|fault| (fault.kind, fault.message.as_str(), fault.span.clone()))
            .collect();
        assert_eq!(
            labels,
            [
                (FaultKind::DuplicateKey, "the key `c` stands twice", 15..16),
                (FaultKind::DuplicateKey, "the key `a` stands twice", 21..22),
            ]
        );
        let root = document.root.expect("a tree all the same");
        assert_eq!(
            root.get("a").and_then(Node::as_scalar).expect("a").text,
            "1"
        );
    }

    #[test]
    fn aliases_and_merges_are_spelled_out() {
        let root = tree("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [*x, {r: 4}]}\n");
        let text = |path: [&str; 2]| {
            let node = root.get(path[0]).and_then(|node| node.get(path[1]));
            node.and_then(Node::as_scalar)
                .map(|scalar| scalar.text.as_str())
        };
        assert_eq!(text(["b", "p"]), Some("1"));
        assert_eq!(text(["b", "q"]), Some("3"), "its own wins");
        assert_eq!(text(["c", "r"]), Some("4"));
    }

    #[test]
    fn what_is_no_tree_is_one_fault() {
        let bomb = {
            let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
            for level in 1..8 {
                let alias = format!("*a{},", level - 1).repeat(10);
                text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
            }
            text
        };
        for (text, expected) in [
            ("a:\n\tb: 1\n", "tab"),
            ("a: [1, 2\nb: 3\n", "not valid YAML"),
            ("a: b: c\n", "mapping values are not allowed"),
            ("a: ['b", "not valid YAML: unclosed quote"),
            ("a: 1\n---\nb: 2\n", "a second YAML document"),
            ("{[1]: 2}", "a key must be a text"),
            ("a: !include x.yaml\n", "the tag `!include`"),
            ("a: *x\n", "unknown anchor"),
            ("a: &x [*x]\n", "inside what it stands for"),
            ("a: {<<: 5}\n", "only a mapping can be merged"),
            (&bomb, "more than 200000 values"),
            (&"[".repeat(1000), "recursion limit"),
        ] {
            let document = parse(text);
            assert_eq!(document.root, None, "{text}");
            let message = &document.faults[0].message;
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn an_empty_text_is_no_fault() {
        for text in ["", "\n", "# only a comment\n"] {
            assert_eq!(
                parse(text),
                Document {
                    root: None,
                    faults: Vec::new()
                },
                "{text:?}"
            );
        }
    }

    #[test]
    fn parts_of_a_scalar_are_found_however_it_is_written() {
        for text in [
            "when: score > scroe and x\n",
            "when: 'score > scroe and x'\n",
            "when: \"score > scroe and x\"\n",
            "when: \"\\x20\\u00e4 \\\"scroe\\\" x\"\n",
            "when: 'it''s ''a'' scroe'\n",
            "when: |\n  ä > 1 and\n\n    scroe > 2\n",
            "when: |\n\n  scroe\n",
            "when: |2-\n    ä > 1\n   scroe\n",
            "when: >\n  ä > 1\n  and scroe > 2\n",
            "when: >-\n  ä > 1\n\n  and\n  scroe > 2\n",
            "when: ä > 1\n  and\n  scroe > 2\n",
            "when: 'ä > 1\n\n  and ''\n  scroe > 2'\n",
            "when: \"ä > 1 \\\n  and\n  scroe\"\n",
            "when: {on: [1, a scroe b]}\n",
        ] {
            let root = tree(text);
            let mut node = root.get("when").expect("when");
            if let Some(inner) = node.get("on") {
                node = &inner.as_sequence().expect("list")[1];
            }
            let value = &node.as_scalar().expect("scalar").text;
            let at = value.find("scroe").expect("it is there");
            let span = node.span_within(text, at..at + 5);
            assert_eq!(&text[span], "scroe", "{text}");
            let end = node.span_within(text, value.len()..value.len());
            assert!(end.end <= text.len(), "{text}");
        }
    }
}
