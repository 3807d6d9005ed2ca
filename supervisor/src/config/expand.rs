//! Spells out streams: ranges in their names, and the defaults of all.

use std::ops::Range;

use contract::spec::Protocol;
use dsl::yaml::{Entry, Key, Node, Value};

use super::code;
use super::reader::Reader;

/// Most streams of a run.
pub(super) const STREAMS_MAX: usize = 256;

/// A stream as written for one name.
pub(super) struct WrittenStream {
    /// Its name, a range spelled out.
    pub(super) name: String,
    /// The key it was written under.
    pub(super) key: Key,
    /// What was written, with the defaults put in.
    pub(super) node: Node,
    /// What was written for this stream itself.
    pub(super) own: Node,
}

impl WrittenStream {
    /// Puts the defaults in.
    pub(super) fn new(name: String, key: Key, own: Node, defaults: Option<&Node>) -> Self {
        let node = defaults.map_or_else(|| own.clone(), |defaults| merge(&own, defaults));
        Self {
            name,
            key,
            node,
            own,
        }
    }

    /// The source, where a sender publishes it, and its path.
    pub(super) fn published(&self) -> Option<(&Node, &str)> {
        let node = self.node.get("source")?;
        let path = node.as_scalar()?.text.strip_prefix("publish:")?;
        Some((node, path))
    }

    /// The paths it is to be served at, and by which protocols.
    pub(super) fn mounts(&self) -> impl Iterator<Item = (Protocol, &Node)> {
        let outputs = self.node.get("outputs").and_then(Node::as_sequence);
        let items = outputs.unwrap_or_default().iter();
        items.flat_map(|item| {
            let served = |protocol: Protocol| Some((protocol, item.get(protocol.as_str())?));
            Protocol::ALL.into_iter().filter_map(served)
        })
    }
}

/// The streams of the `streams:` mapping, each on its own; at most one more than [`STREAMS_MAX`].
pub(super) fn streams(
    reader: &Reader<'_>,
    entries: &[Entry],
    defaults: Option<&Node>,
) -> Vec<WrittenStream> {
    let mut streams = Vec::new();
    for entry in entries {
        let names = match Numbering::of(&entry.key.text) {
            Ok(None) => vec![(entry.key.text.clone(), None)],
            Ok(Some(numbering)) => numbering.names(),
            Err((message, help)) => {
                reader.report(
                    reader
                        .problem(code::WRONG_RANGE, &entry.key.span, message)
                        .helped(help),
                );
                continue;
            }
        };
        for (name, digits) in names {
            if streams.len() > STREAMS_MAX {
                return streams;
            }
            let mut own = entry.value.clone();
            if let Some(digits) = digits {
                put_in(&mut own, "{n}", &digits);
            }
            streams.push(WrittenStream::new(name, entry.key.clone(), own, defaults));
        }
    }
    streams
}

/// What was written, and where nothing was, the default: mappings key by key.
fn merge(own: &Node, default: &Node) -> Node {
    if own.is_null() {
        return default.clone();
    }
    let (Value::Mapping(own_entries), Value::Mapping(default_entries)) =
        (&own.value, &default.value)
    else {
        return own.clone();
    };
    let mut entries: Vec<Entry> = own_entries
        .iter()
        .map(|entry| Entry {
            key: entry.key.clone(),
            value: default.get(&entry.key.text).map_or_else(
                || entry.value.clone(),
                |default| merge(&entry.value, default),
            ),
        })
        .collect();
    let missing = default_entries
        .iter()
        .filter(|entry| own.get(&entry.key.text).is_none());
    entries.extend(missing.cloned());
    Node {
        span: own.span.clone(),
        value: Value::Mapping(entries),
    }
}

/// Puts a text in place of `{n}`, say, wherever it is written.
pub(super) fn put_in(node: &mut Node, place: &str, text: &str) {
    match &mut node.value {
        Value::Scalar(scalar) => scalar.text = scalar.text.replace(place, text),
        Value::Sequence(items) => items.iter_mut().for_each(|item| put_in(item, place, text)),
        Value::Mapping(entries) => entries
            .iter_mut()
            .for_each(|entry| put_in(&mut entry.value, place, text)),
    }
}

/// `gate-{01..99}`: a name with a range of numbers in it.
struct Numbering<'a> {
    before: &'a str,
    numbers: Range<usize>,
    /// Digits of each number, leading zeros included.
    width: usize,
    after: &'a str,
}

impl<'a> Numbering<'a> {
    /// `None` when there is no range in the name; else the range, or what is wrong and what to do.
    fn of(name: &'a str) -> Result<Option<Self>, (String, String)> {
        if !name.contains(['{', '}']) {
            return Ok(None);
        }
        let wrong =
            |message: String| Err((message, "write a range like `gate-{01..24}`".to_owned()));
        let parts = name.split_once('{').and_then(|(before, rest)| {
            let (range, after) = rest.split_once('}')?;
            let (first, last) = range.split_once("..")?;
            (!after.contains(['{', '}'])).then_some((before, first, last, after))
        });
        let Some((before, first, last, after)) = parts else {
            return wrong(format!("the range in `{name}` cannot be read"));
        };
        let number = |text: &str| {
            let digits = !text.is_empty()
                && text.len() <= 9
                && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (Some(low), Some(high)) = (number(first), number(last)) else {
            return wrong(format!(
                "the ends of the range in `{name}` must be whole numbers"
            ));
        };
        if low > high {
            return wrong(format!("the range in `{name}` goes backwards"));
        }
        if high - low >= STREAMS_MAX {
            return wrong(format!(
                "the range in `{name}` makes more than {STREAMS_MAX} streams"
            ));
        }
        let padded = first.len() > 1 && first.starts_with('0');
        Ok(Some(Self {
            before,
            numbers: low..high + 1,
            width: if padded { first.len() } else { 0 },
            after,
        }))
    }

    /// Each name, and the digits in it.
    fn names(&self) -> Vec<(String, Option<String>)> {
        let name = |number: usize| {
            let digits = format!("{number:0width$}", width = self.width);
            (
                format!("{}{digits}{}", self.before, self.after),
                Some(digits),
            )
        };
        self.numbers.clone().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        match Numbering::of(text) {
            Ok(None) => Ok(vec![text.to_owned()]),
            Ok(Some(numbering)) => Ok(numbering
                .names()
                .into_iter()
                .map(|(name, _)| name)
                .collect()),
            Err((message, _)) => Err(message),
        }
    }

    #[test]
    fn ranges_keep_their_digits() {
        assert_eq!(names("yard"), Ok(vec!["yard".to_owned()]));
        assert_eq!(
            names("gate-{08..11}-in").expect("right"),
            ["gate-08-in", "gate-09-in", "gate-10-in", "gate-11-in"]
        );
        assert_eq!(names("c{9..10}").expect("right"), ["c9", "c10"]);
        assert_eq!(names("{0..0}").expect("right"), ["0"]);
        for bad in [
            "g{1..",
            "g}",
            "g{1}",
            "g{1..2}{3..4}",
            "g{2..1}",
            "g{a..b}",
            "g{..}",
            "g{-1..2}",
            "g{0..256}",
            "g{1..99999999999999999999}",
        ] {
            assert!(names(bad).is_err(), "{bad}");
        }
        assert_eq!(names("g{0..255}").expect("right").len(), STREAMS_MAX);
    }

    #[test]
    fn a_stream_wins_key_by_key() {
        let parse = |text: &str| dsl::yaml::parse(text).root.expect("right");
        let merged = merge(
            &parse("{a: {x: 1}, l: [1], n: ~, w: off}"),
            &parse("{a: {x: 2, y: 2}, l: [2, 3], n: {z: 4}, w: {v: 5}, d: 6}"),
        );
        let at = |path: &[&str]| {
            let node = path.iter().try_fold(&merged, |node, key| node.get(key));
            node.and_then(Node::as_scalar)
                .map(|scalar| scalar.text.as_str())
        };
        assert_eq!(at(&["a", "x"]), Some("1"));
        assert_eq!(at(&["a", "y"]), Some("2"));
        assert_eq!(at(&["n", "z"]), Some("4"));
        assert_eq!(at(&["w"]), Some("off"));
        assert_eq!(at(&["d"]), Some("6"));
        let list = merged.get("l").and_then(Node::as_sequence).expect("a list");
        assert_eq!(list.len(), 1, "lists are not joined");
    }
}
