//! A rule file in place: expressions, durations, actions and the placeholders of messages
//! become canonical; comments, order, indentation and every other byte stay.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::scalar;
use super::text;
use crate::code;
use crate::diagnostic::Diagnostic;
use crate::duration::{format_duration, parse_duration};
use crate::load::{self, Parsed, Reader};
use crate::message::{self, Piece};
use crate::problem::Problem;
use crate::syntax;
use crate::yaml::{Node, Style, Value};

/// Longest line of an expression in a block (`|` or `>`); a longer one gets a line for
/// each term of its outermost chain.
const LINE_CHARACTERS_MAX: usize = 80;

/// Rewrites every expression, duration and action of a rule file in canonical form.
///
/// Names and types are not looked at: what can be read can be formatted. What stands behind
/// an anchor (`&name`) stays as it is, for it may stand elsewhere as something else.
///
/// # Errors
/// What is no YAML or cannot be read, in the order of the text. The file of the diagnostics
/// is `rules.yaml`: whoever knows the true one puts it in.
pub fn format_rule_file(text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut reader = Reader {
        text,
        file: Path::new("rules.yaml"),
        diagnostics: Vec::new(),
    };
    let Parsed { document, items } = load::parse_document(&mut reader);
    let mut formatter = Formatter {
        reader,
        items,
        edits: BTreeMap::new(),
    };
    if let Some(root) = &document.root {
        formatter.rule_file(root);
    }
    let formatted = formatter.apply();
    load::finish(formatter.reader, Some(formatted))
}

struct Formatter<'t> {
    reader: Reader<'t>,
    /// Actions that are written without quotes.
    items: Vec<Range<usize>>,
    /// What is written instead of the bytes from a place to an end. An alias leads to the
    /// same place more than once.
    edits: BTreeMap<usize, (usize, String)>,
}

impl Formatter<'_> {
    fn rule_file(&mut self, root: &Node) {
        let in_flow = self.opens_flow(root);
        for (section, read) in [
            ("gates", Self::gate as fn(&mut Self, &Node, bool)),
            ("rules", Self::rule),
        ] {
            let Some(named) = root.get(section) else {
                continue;
            };
            let in_flow = in_flow || self.opens_flow(named);
            for entry in named.as_mapping().unwrap_or_default() {
                read(self, &entry.value, in_flow);
            }
        }
    }

    fn gate(&mut self, node: &Node, in_flow: bool) {
        self.scalar(node, in_flow, |text| {
            let tree = syntax::parse_expression(text)?;
            Ok(text::expression_pieces(&tree.value))
        });
    }

    fn rule(&mut self, rule: &Node, in_flow: bool) {
        let in_flow = in_flow || self.opens_flow(rule);
        for entry in rule.as_mapping().unwrap_or_default() {
            let node = &entry.value;
            match entry.key.text.as_str() {
                "when" => self.scalar(node, in_flow, |text| {
                    let tree = syntax::parse_sequence(text)?;
                    Ok(text::sequence_pieces(&tree))
                }),
                "for" | "gap" | "keep" => self.duration(node, in_flow),
                "limit" => {
                    let in_flow = in_flow || self.opens_flow(node);
                    if let Some(every) = node.get("every") {
                        self.duration(every, in_flow);
                    }
                }
                "message" => self.message(node, in_flow),
                "do" => {
                    let in_flow = in_flow || self.opens_flow(node);
                    for item in node.as_sequence().unwrap_or_default() {
                        self.scalar(item, in_flow, |text| {
                            let tree = syntax::parse_action(text)?;
                            Ok(vec![text::action(&tree)])
                        });
                    }
                }
                _ => {}
            }
        }
    }

    fn duration(&mut self, node: &Node, in_flow: bool) {
        self.scalar(node, in_flow, |text| {
            let nanoseconds = parse_duration(text).ok_or_else(|| {
                let message = format!("`{text}` is not a duration");
                Problem::new(code::BAD_DURATION, 0..text.len(), message)
            })?;
            Ok(vec![format_duration(nanoseconds)])
        });
    }

    /// A scalar that is one text of the language; anything else is for the checker to refuse.
    fn scalar(
        &mut self,
        node: &Node,
        in_flow: bool,
        canonical: impl FnOnce(&str) -> Result<Vec<String>, Problem>,
    ) {
        let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.is_null()) else {
            return;
        };
        let pieces = match canonical(&scalar.text) {
            Ok(pieces) => pieces,
            Err(problem) => {
                self.reader.problems::<()>(node, vec![problem]);
                return;
            }
        };
        let line = pieces.join(" ");
        match scalar.style {
            Style::Plain if self.is_item(node) => self.edit(node, node.span.clone(), line),
            Style::Literal | Style::Folded => self.block(node, &line, &pieces),
            style => self.edit(
                node,
                node.span.clone(),
                scalar::write(&line, style, in_flow),
            ),
        }
    }

    /// The lines of a block, at the indentation of its first.
    fn block(&mut self, node: &Node, line: &str, pieces: &[String]) {
        let source = self.reader.text;
        let written = &source[node.span.clone()];
        let start = node.span.start + written.len() - written.trim_start().len();
        let end = start + written.trim().len();
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let lines = if line.chars().count() > LINE_CHARACTERS_MAX {
            pieces.join(&format!("\n{}", " ".repeat(start - line_start)))
        } else {
            line.to_owned()
        };
        self.edit(node, start..end, lines);
    }

    fn message(&mut self, node: &Node, in_flow: bool) {
        let Some(scalar) = node.as_scalar() else {
            return;
        };
        let (pieces, problems) = message::pieces(&scalar.text);
        self.reader.problems::<()>(node, problems);
        for piece in pieces {
            let Piece::Placeholder(span) = piece else {
                continue;
            };
            let written = &scalar.text[span.clone()];
            match syntax::parse_expression(written) {
                Ok(tree) => {
                    let canonical = format!("{{{}}}", text::expression(&tree));
                    self.placeholder(node, span, &canonical, scalar.style, in_flow);
                }
                Err(mut problem) => {
                    problem.span = problem.span.start + span.start..problem.span.end + span.start;
                    self.reader.problems::<()>(node, vec![problem]);
                }
            }
        }
    }

    /// Writes a placeholder anew where its braces are found as such in the file.
    fn placeholder(
        &mut self,
        node: &Node,
        span: Range<usize>,
        canonical: &str,
        style: Style,
        in_flow: bool,
    ) {
        let source = self.reader.text;
        let open = node.span_within(source, span.start - 1..span.start).start;
        let close = node.span_within(source, span.end..span.end + 1).start;
        let found = source[open..].starts_with('{') && source[close..].starts_with('}');
        if found && let Some(inside) = scalar::inside(canonical, style, in_flow) {
            self.edit(node, open..close + 1, inside);
        }
    }

    /// Replaces a part of a scalar.
    fn edit(&mut self, node: &Node, span: Range<usize>, replacement: String) {
        let before = &self.reader.text[..node.span.start];
        let is_anchored = before
            .split_whitespace()
            .next_back()
            .is_some_and(|word| word.starts_with('&'));
        if !is_anchored {
            self.edits.insert(span.start, (span.end, replacement));
        }
    }

    fn apply(&self) -> String {
        let text = self.reader.text;
        let mut formatted = String::with_capacity(text.len());
        let mut place = 0;
        for (start, (end, replacement)) in &self.edits {
            formatted.push_str(&text[place..*start]);
            formatted.push_str(replacement);
            place = *end;
        }
        formatted.push_str(&text[place..]);
        formatted
    }

    fn is_item(&self, node: &Node) -> bool {
        let found = self
            .items
            .binary_search_by_key(&node.span.start, |item| item.start);
        found.is_ok_and(|index| self.items[index] == node.span)
    }

    /// Whether it is written in `[ ]` or `{ }`, where `,` ends a plain scalar.
    fn opens_flow(&self, node: &Node) -> bool {
        let is_collection = !matches!(node.value, Value::Scalar(_));
        is_collection && self.reader.text[node.span.start..].starts_with(['[', '{'])
    }
}
