//! Where in the file each part of a scalar's text was written.

use std::ops::Range;

use super::{Scalar, Style};

/// For each byte of the scalar's text, and its end, the byte of `source` it was made from.
///
/// A character that is not white is found exactly. White space is found to within
/// a run of it: line folding and indentation make runs of another length.
pub(super) fn source_offsets(source: &str, span: Range<usize>, scalar: &Scalar) -> Vec<usize> {
    let raw = source.get(span.clone()).unwrap_or_default();
    let quoted = matches!(scalar.style, Style::SingleQuoted | Style::DoubleQuoted);
    let mut at = usize::from(quoted).min(raw.len());
    let mut offsets = Vec::with_capacity(scalar.text.len() + 1);
    for character in scalar.text.chars() {
        if !character.is_whitespace() {
            at += white_bytes(&raw[at..], scalar.style);
        }
        offsets.extend(std::iter::repeat_n(span.start + at, character.len_utf8()));
        at += written_bytes(&raw[at..], scalar.style, character);
    }
    offsets.push(span.start + at);
    offsets
}

/// Bytes of white space that `rest` begins with, escaped line breaks included.
fn white_bytes(rest: &str, style: Style) -> usize {
    let mut bytes = 0;
    loop {
        let tail = &rest[bytes..];
        let white = tail.len() - tail.trim_start().len();
        let broken = style == Style::DoubleQuoted && tail[white..].starts_with("\\\n");
        bytes += white + if broken { 2 } else { 0 };
        if !broken {
            return bytes;
        }
    }
}

/// Bytes of `rest` that were written for `character`.
fn written_bytes(rest: &str, style: Style, character: char) -> usize {
    let Some(next) = rest.chars().next() else {
        return 0;
    };
    match (style, next) {
        (Style::DoubleQuoted, '\\') => escape_bytes(rest),
        (Style::SingleQuoted, '\'') if rest.starts_with("''") => 2,
        // The span of a block begins behind its first empty lines, which are in its text.
        _ if character.is_whitespace() && !next.is_whitespace() => 0,
        _ => next.len_utf8(),
    }
}

/// Bytes of the escape sequence that `rest` begins with.
fn escape_bytes(rest: &str) -> usize {
    let bytes = match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
    };
    bytes.min(rest.len())
}
