//! Makes the tree from the events of the parser.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Marker, ScalarStyle, ScanError, Span, Tag};

use super::{Entry, Fault, FaultKind, Key, NODES_MAX, Node, Scalar, Style, Value};

/// Most faults of one text. Who has more reads the first and mends those.
const FAULTS_MAX: usize = 100;

/// A collection whose end has not come yet.
struct Open {
    begin: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        /// Where each key begins.
        places: HashMap<String, usize>,
        merges: Vec<Node>,
        key: Option<Key>,
    },
}

pub(super) struct Builder<'t> {
    text: &'t str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
    pub(super) root: Option<Node>,
    pub(super) faults: Vec<Fault>,
}

impl<'t> Builder<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            documents: 0,
            root: None,
            faults: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(syntax(
                        bytes(span),
                        "a second YAML document begins here",
                        "only one document a file is read",
                        Some("put it into a file of its own"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                };
                let node = Node {
                    span: bytes(span),
                    value: Value::Scalar(Scalar {
                        text: text.into_owned(),
                        style,
                    }),
                };
                self.complete(node, anchor, span)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                self.begin(span, anchor, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                let content = Content::Mapping {
                    entries: Vec::new(),
                    places: HashMap::new(),
                    merges: Vec::new(),
                    key: None,
                };
                self.begin(span, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let (begin, anchor) = (open.begin, open.anchor);
                    let node = self.finish(open, span)?;
                    self.complete(node, anchor, begin)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax(
                        bytes(span),
                        "this alias stands inside what it stands for",
                        "would go on for ever",
                        None,
                    ));
                };
                self.nodes += count(&node);
                self.complete(node, 0, span)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), Fault> {
        if let Some(Open {
            content: Content::Mapping { key: None, .. },
            ..
        }) = self.open.last()
        {
            return Err(key_fault(bytes(span)));
        }
        self.open.push(Open {
            begin: span,
            anchor,
            content,
        });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(syntax(
                bytes(span),
                &format!("the text has more than {NODES_MAX} values"),
                "the limit is passed here",
                Some("aliases count as often as they are used"),
            ));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping {
                entries,
                places,
                merges,
                key,
            } => match key.take() {
                None => match node.value {
                    Value::Scalar(scalar) => {
                        *key = Some(Key {
                            span: node.span,
                            text: scalar.text,
                        });
                    }
                    Value::Sequence(_) | Value::Mapping(_) => return Err(key_fault(bytes(span))),
                },
                Some(key) if key.text == "<<" => merges.push(node),
                Some(key) => {
                    if let Some(first) = places.get(&key.text) {
                        // Finding the line of each of very many would take the square of them.
                        if self.faults.len() < FAULTS_MAX {
                            let line = line_of(self.text, *first);
                            self.faults.push(Fault {
                                kind: FaultKind::DuplicateKey,
                                message: format!("the key `{}` stands twice", key.text),
                                label: format!("first given in line {line}"),
                                help: Some("keep one of the two".to_owned()),
                                span: key.span,
                            });
                        }
                    } else {
                        places.insert(key.text.clone(), key.span.start);
                        entries.push(Entry { key, value: node });
                    }
                }
            },
        }
        Ok(())
    }

    /// Ends a collection at `end`.
    fn finish(&mut self, open: Open, end: Span) -> Result<Node, Fault> {
        let begin = offset(open.begin.start);
        let written = self.text.get(begin..offset(end.end).max(begin));
        let span = begin..begin + written.unwrap_or_default().trim_end().len();
        let value = match open.content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping {
                mut entries,
                places,
                merges,
                ..
            } => {
                let mut merge = Merge {
                    known: places.into_keys().collect(),
                    entries: &mut entries,
                };
                for merged in merges {
                    merge.bring(merged)?;
                }
                Value::Mapping(entries)
            }
        };
        Ok(Node { span, value })
    }

    pub(super) fn scan_fault(&self, error: &ScanError) -> Fault {
        let at = offset(*error.marker()).min(self.text.len());
        // A parser notices some errors only at the end of the text: show the last line written.
        let at = if at == self.text.len() {
            self.text.trim_end().len()
        } else {
            at
        };
        let length = self.text[self.text.floor_char_boundary(at)..]
            .chars()
            .next()
            .filter(|character| *character != '\n')
            .map_or(0, char::len_utf8);
        let (label, help) = explain(error.kind());
        Fault {
            kind: FaultKind::Syntax,
            message: format!("not valid YAML: {}", error.info()),
            label: label.to_owned(),
            help: help.map(str::to_owned),
            span: at..at + length,
        }
    }
}

/// A mapping that merge keys bring entries to.
struct Merge<'e> {
    entries: &'e mut Vec<Entry>,
    /// Keys of the entries.
    known: HashSet<String>,
}

impl Merge<'_> {
    fn bring(&mut self, node: Node) -> Result<(), Fault> {
        match node.value {
            Value::Mapping(merged) => {
                for entry in merged {
                    if self.known.insert(entry.key.text.clone()) {
                        self.entries.push(entry);
                    }
                }
                Ok(())
            }
            Value::Sequence(items) => items.into_iter().try_for_each(|item| self.bring(item)),
            Value::Scalar(_) => Err(syntax(
                node.span,
                "only a mapping can be merged with `<<`",
                "not a mapping",
                Some("write `<<: *name` with the anchor of a mapping"),
            )),
        }
    }
}

fn refuse_tag(tag: Option<&Tag>, span: Span) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(syntax(
            bytes(span),
            &format!("the tag `{}` means nothing here", tag.original()),
            "a tag of YAML stands in front of this",
            Some("put a text that begins with `!` into quotes"),
        )),
        _ => Ok(()),
    }
}

fn key_fault(span: Range<usize>) -> Fault {
    syntax(
        span,
        "a key must be a text",
        "a list or mapping cannot be a key",
        Some("put a text that begins with `{` or `[` into quotes"),
    )
}

fn syntax(span: Range<usize>, message: &str, label: &str, help: Option<&str>) -> Fault {
    Fault {
        kind: FaultKind::Syntax,
        message: message.to_owned(),
        label: label.to_owned(),
        help: help.map(str::to_owned),
        span,
    }
}

/// Label and help for the mistakes that are often made.
fn explain(kind: &ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => ("a tab", Some("indent with spaces")),
        ErrorKind::MappingValueNotAllowed => (
            "this `:` is one too many",
            Some("put a text that contains `: ` into quotes, or check the indentation"),
        ),
        ErrorKind::SimpleKeyExpected => ("no `:` after the key", Some("write `key: value`")),
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => (
            "not in line with what stands above",
            Some("keys of one mapping begin in the same column"),
        ),
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => (
            "noticed here",
            Some("close every `{` with `}` and every `[` with `]`, and put `,` between items"),
        ),
        ErrorKind::UnclosedQuotedScalar => ("noticed here", Some("close the quotation mark")),
        ErrorKind::UnknownQuotedScalarEscape => (
            "not an escape",
            Some("use single quotes, in which `\\` means itself"),
        ),
        ErrorKind::UnexpectedCharacter { .. } => (
            "cannot begin a value",
            Some("put a text that begins with this character into quotes"),
        ),
        ErrorKind::UnknownAnchor => ("no such anchor above", Some("write `&name` before `*name`")),
        ErrorKind::RecursionLimitExceeded => ("too deep", None),
        _ => ("here", None),
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::Sequence(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|entry| 1 + count(&entry.value))
                .sum::<usize>()
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn bytes(span: Span) -> Range<usize> {
    offset(span.start)..offset(span.end)
}

fn offset(marker: Marker) -> usize {
    marker
        .byte_offset()
        .expect("a parser over a borrowed text gives byte offsets")
}
