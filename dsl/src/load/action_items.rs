//! Items of `do:`, kept from YAML.
//!
//! `record(before: 5s, after: 10s)` and `draw(color: "red")` are written without quotes,
//! and YAML would split the one at its comma and stop at the colon of both. So before the
//! text is parsed, each item is covered by as many letters as it has bytes, and YAML sees
//! a list of words, everything in its place; then the words are given their texts back.
//!
//! The items are found by a scan that knows comments, quotes, blocks and indentation, but
//! is no YAML parser. It need not be trusted: when something was covered that is no scalar
//! of the tree, the text is parsed as it is.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::yaml::{self, Document, Node, Style, Value};

/// A YAML document, and which of its scalars were kept from YAML.
pub(crate) struct Parsed {
    pub(crate) document: Document,
    /// In the order of the text.
    pub(crate) items: Vec<Range<usize>>,
}

/// As [`yaml::parse`], with the items of `do:` as plain scalars.
pub(crate) fn parse(text: &str) -> Parsed {
    let items = find(text);
    let mut document = yaml::parse(&covered(text, &items));
    let mut uncovered = BTreeSet::new();
    if let Some(root) = &mut document.root {
        uncover(root, text, &items, &mut uncovered);
    }
    // A text with faults is refused, whatever its tree looks like.
    if document.faults.is_empty() && uncovered.len() < items.len() {
        return Parsed {
            document: yaml::parse(text),
            items: Vec::new(),
        };
    }
    Parsed { document, items }
}

/// The text with letters in place of the items; white space stays, and so do all places.
fn covered(text: &str, items: &[Range<usize>]) -> String {
    let mut covered = String::with_capacity(text.len());
    let mut end = 0;
    for item in items {
        covered.push_str(&text[end..item.start]);
        for character in text[item.clone()].chars() {
            if character.is_ascii_whitespace() {
                covered.push(character);
            } else {
                covered.extend(std::iter::repeat_n('x', character.len_utf8()));
            }
        }
        end = item.end;
    }
    covered.push_str(&text[end..]);
    covered
}

fn uncover(node: &mut Node, text: &str, items: &[Range<usize>], uncovered: &mut BTreeSet<usize>) {
    match &mut node.value {
        Value::Scalar(scalar) => {
            let found = items.binary_search_by_key(&node.span.start, |item| item.start);
            if let Ok(index) = found
                && scalar.style == Style::Plain
                && items[index] == node.span
            {
                scalar.text = text[node.span.clone()].to_owned();
                uncovered.insert(index);
            }
        }
        Value::Sequence(nodes) => {
            for node in nodes {
                uncover(node, text, items, uncovered);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                uncover(&mut entry.value, text, items, uncovered);
            }
        }
    }
}

/// The items in the order of the text.
fn find(text: &str) -> Vec<Range<usize>> {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
        line_start: 0,
        flow_depth: 0,
        parent: None,
        items: Vec::new(),
    };
    scan.run();
    scan.items
}

/// Each step of it moves on by a byte or more, so it takes time by the length of the text.
struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
    line_start: usize,
    /// How many `[` and `{` are open.
    flow_depth: usize,
    /// Column of the key or `-` that the next value belongs to; none at the very beginning.
    parent: Option<usize>,
    items: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn run(&mut self) {
        loop {
            self.skip_white();
            let Some(byte) = self.peek(0) else {
                return;
            };
            let in_flow = self.flow_depth > 0;
            match byte {
                b'[' | b'{' => {
                    self.flow_depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    self.flow_depth = self.flow_depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' if in_flow => self.at += 1,
                b'-' | b'?' | b':' if !in_flow && self.is_white(1) => {
                    self.parent = Some(self.column());
                    self.at += 1;
                }
                b'&' | b'*' | b'!' => self.skip_word(),
                b'|' | b'>' if !in_flow => {
                    self.skip_line();
                    self.skip_deeper(self.parent);
                }
                b'"' | b'\'' => self.quoted_token(),
                _ => self.plain_token(),
            }
        }
    }

    fn quoted_token(&mut self) {
        let (start, column) = (self.at, self.column());
        self.skip_quoted();
        let inside = self.bytes.get(start + 1..self.at.saturating_sub(1));
        let is_do = inside == Some(b"do");
        self.skip_spaces();
        if self.peek(0) == Some(b':') && (self.flow_depth > 0 || self.is_white(1)) {
            self.key(is_do, column);
        }
    }

    fn plain_token(&mut self) {
        let (start, column) = (self.at, self.column());
        while let Some(byte) = self.peek(0) {
            let ends = match byte {
                b'\n' => true,
                b':' => self.is_white(1) || (self.flow_depth > 0 && self.is_flow_sign(1)),
                b'#' => self.at > start && self.bytes[self.at - 1].is_ascii_whitespace(),
                _ => self.flow_depth > 0 && self.is_flow_sign(0),
            };
            if ends {
                break;
            }
            self.at += 1;
        }
        if self.peek(0) == Some(b':') {
            let is_do = self.bytes[start..self.at].trim_ascii() == b"do";
            self.key(is_do, column);
        } else if self.flow_depth == 0 {
            self.skip_deeper(self.parent);
        } else if self.at == start {
            // Nothing that a scalar could begin with: the parser will say so.
            self.at += 1;
        }
    }

    /// Stands at the `:` behind a key.
    fn key(&mut self, is_do: bool, column: usize) {
        self.at += 1;
        if self.flow_depth == 0 {
            self.parent = Some(column);
        }
        if is_do {
            self.actions(column);
        }
    }

    /// Stands behind `do:`.
    fn actions(&mut self, column: usize) {
        let line = self.line_start;
        self.skip_white();
        while matches!(self.peek(0), Some(b'&' | b'!')) {
            self.skip_word();
            self.skip_white();
        }
        match self.peek(0) {
            Some(b'[') => {
                self.at += 1;
                let outside = (self.flow_depth == 0).then_some(column);
                self.flow_list(outside);
            }
            Some(b'-') if self.flow_depth == 0 && self.is_white(1) && self.column() >= column => {
                self.block_list();
            }
            // No list: read all the same, so that it is called what it is.
            Some(first)
                if self.flow_depth == 0 && line == self.line_start && !b"{|>".contains(&first) =>
            {
                self.block_item(column);
            }
            _ => {}
        }
    }

    /// Items up to the `]`; of a list in a block, up to a line that is not deeper than its key.
    fn flow_list(&mut self, outside: Option<usize>) {
        loop {
            self.skip_white();
            match self.peek(0) {
                None | Some(b'}') => return,
                Some(b']') => {
                    self.at += 1;
                    return;
                }
                Some(b',') => self.at += 1,
                _ if outside.is_some_and(|key| self.column() <= key) => return,
                Some(b'"' | b'\'') => {
                    self.skip_quoted();
                    self.item(true, outside);
                }
                Some(b'&' | b'*' | b'!') => {
                    self.item(true, outside);
                }
                Some(_) => {
                    let start = self.at;
                    let end = self.item(true, outside);
                    self.items.push(start..end);
                }
            }
        }
    }

    /// Items each behind a `-` in one column.
    fn block_list(&mut self) {
        let column = self.column();
        while self.peek(0) == Some(b'-') && self.is_white(1) && self.column() == column {
            self.at += 1;
            self.parent = Some(column);
            self.skip_spaces();
            self.block_item(column);
            self.skip_white();
        }
    }

    fn block_item(&mut self, column: usize) {
        match self.peek(0) {
            None | Some(b'\n' | b'\r' | b'#') => {}
            Some(b'"' | b'\'') => self.skip_quoted(),
            Some(b'&' | b'*' | b'!') => self.skip_line(),
            Some(b'|' | b'>') => {
                self.skip_line();
                self.skip_deeper(Some(column));
            }
            Some(_) => {
                let start = self.at;
                let end = self.item(false, Some(column));
                self.items.push(start..end);
            }
        }
    }

    /// Passes an item and gives its end: `,` and `]` outside of parentheses in a flow list,
    /// a comment, or a line that is not deeper than `outside`.
    fn item(&mut self, in_flow: bool, outside: Option<usize>) -> usize {
        let mut open = 0_usize;
        let mut open_brackets = 0_usize;
        let mut end = self.at;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'"' => {
                    if let Some(length) = string_bytes(&self.bytes[self.at..]) {
                        self.at += length - 1;
                    }
                }
                b'(' => open += 1,
                b')' => open = open.saturating_sub(1),
                b'[' | b'{' => open_brackets += 1,
                b']' | b'}' if in_flow && open_brackets == 0 => return end,
                b']' | b'}' => open_brackets = open_brackets.saturating_sub(1),
                b',' if in_flow && open + open_brackets == 0 => return end,
                b'#' if open == 0 && self.at > end => return end,
                b'\n' => {
                    self.skip_blank_lines();
                    let deeper = outside.is_none_or(|column| self.column() > column);
                    if self.peek(0).is_none() || !deeper {
                        return end;
                    }
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if !byte.is_ascii_whitespace() {
                end = self.at;
            }
        }
        end
    }

    fn skip_quoted(&mut self) {
        let Some(quote) = self.peek(0) else {
            return;
        };
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.step(byte);
            match byte {
                b'\\' if quote == b'"' => {
                    if let Some(escaped) = self.peek(0) {
                        self.step(escaped);
                    }
                }
                _ if byte != quote => {}
                b'\'' if self.peek(0) == Some(b'\'') => self.at += 1,
                _ => return,
            }
        }
    }

    /// White space, line ends and comments.
    fn skip_white(&mut self) {
        while let Some(byte) = self.peek(0) {
            let begins =
                self.at == self.line_start || self.bytes[self.at - 1].is_ascii_whitespace();
            match byte {
                b'#' if begins => self.skip_line(),
                _ if byte.is_ascii_whitespace() => self.step(byte),
                _ => return,
            }
        }
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// What is left of the line, and its end.
    fn skip_line(&mut self) {
        while let Some(byte) = self.peek(0) {
            self.step(byte);
            if byte == b'\n' {
                return;
            }
        }
    }

    /// To the first line with something in it, and to the first byte of that.
    fn skip_blank_lines(&mut self) {
        while let Some(byte) = self.peek(0).filter(u8::is_ascii_whitespace) {
            self.step(byte);
        }
    }

    /// Lines that are empty or deeper than a column, as the lines of a block.
    /// Nothing where there is no column: `---` stands above all.
    fn skip_deeper(&mut self, column: Option<usize>) {
        let Some(column) = column else {
            return;
        };
        if self.at != self.line_start {
            self.skip_line();
        }
        loop {
            self.skip_blank_lines();
            if self.peek(0).is_none() || self.column() <= column {
                return;
            }
            self.skip_line();
        }
    }

    /// An anchor, alias or tag.
    fn skip_word(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            if byte.is_ascii_whitespace() || (self.flow_depth > 0 && self.is_flow_sign(0)) {
                return;
            }
            self.at += 1;
        }
    }

    fn step(&mut self, byte: u8) {
        self.at += 1;
        if byte == b'\n' {
            self.line_start = self.at;
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn column(&self) -> usize {
        self.at - self.line_start
    }

    /// White space or the end of the text.
    fn is_white(&self, ahead: usize) -> bool {
        self.peek(ahead)
            .is_none_or(|byte| byte.is_ascii_whitespace())
    }

    fn is_flow_sign(&self, ahead: usize) -> bool {
        self.peek(ahead)
            .is_some_and(|byte| b",[]{}".contains(&byte))
    }
}

/// Bytes of the string that `rest` begins with; `None` when it does not end in its line.
fn string_bytes(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}
