//! The shape of a run config as data: which keys there are, of what kind, and
//! what they default to.
//!
//! Each config type has one such table beside its reader. The reader, "did you
//! mean" and the JSON Schema all go by it, so they cannot disagree.

use super::units;

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Section {
    /// Name in the JSON Schema; no two sections share one.
    pub(super) name: &'static str,
    /// What it describes, a sentence.
    pub(super) doc: &'static str,
    /// Its keys, in the order of the reference.
    pub(super) keys: &'static [Key],
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// As written in YAML.
    pub(super) name: &'static str,
    /// What it sets, a sentence.
    pub(super) doc: &'static str,
    /// What its value must be.
    pub(super) kind: Kind,
    /// When it is not written.
    pub(super) absent: Absent,
}

/// What holds when a key is not written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    /// It must be written.
    Required,
    /// As if this had been written.
    Default(&'static str),
    /// What its `doc` says.
    Optional,
}

/// What a value must be.
#[derive(Debug)]
pub(super) enum Kind {
    /// Any text but an empty one.
    Text,
    /// The same, or a mapping with known keys.
    TextOr(&'static Section),
    /// A path of a file or directory.
    Path,
    /// The same, or a mapping with known keys.
    PathOr(&'static Section),
    /// A name as `contract` defines it, of at most so many bytes.
    Name(usize),
    /// `true` or `false`.
    Bool,
    /// A whole number in a range, both ends included.
    Integer(u64, u64),
    /// A whole number in a range, or a word.
    IntegerOr(u64, u64, &'static str),
    /// 0 to 1, or a percentage.
    Fraction,
    /// A duration in a range, in milliseconds, both ends included.
    Duration(u64, u64),
    /// A size in pixels.
    Size,
    /// The height of a picture.
    Height,
    /// The same, or a mapping with known keys.
    HeightOr(&'static Section),
    /// Bits a second.
    Bitrate,
    /// A size of stored data.
    Bytes,
    /// An IP address.
    Address,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A mapping with known keys.
    Section(&'static Section),
    /// A mapping with known keys, or a word.
    SectionOr(&'static Section, &'static str),
    /// A mapping from names to values of one kind.
    Map(&'static Self),
    /// A list of values of one kind.
    List(&'static Self),
    /// A text, or a list of texts.
    TextOrList,
    /// Polygons of normalised points.
    Polygons,
    /// Three numbers in a range, one for each channel of a colour picture.
    Channels(f32, f32),
}

impl Kind {
    /// What the value must be, to complete "`depth` must be ...".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::TextOr(_) => "a text, or a mapping (`key: value`)".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::PathOr(_) => "a path, or a mapping (`key: value`)".to_owned(),
            Self::Name(_) => "a name".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::IntegerOr(least, most, word) => {
                format!("a whole number from {least} to {most}, or `{word}`")
            }
            Self::Fraction => "a number from 0 to 1, or a percentage like `40%`".to_owned(),
            Self::Duration(least, most) => format!(
                "a duration like `10s` or `500ms`, from {} to {}",
                duration_text(*least),
                duration_text(*most)
            ),
            Self::Size => format!(
                "a size in pixels like `768x576`, each side from 16 to {}",
                contract::geometry::SIDE_MAX
            ),
            Self::Height => "a height like `360p`, an even number of pixels from 64".to_owned(),
            Self::HeightOr(_) => {
                "a height like `360p`, an even number of pixels from 64, or a mapping (`key: value`)"
                    .to_owned()
            }
            Self::Bitrate => "a bit rate like `800k` or `3M`, from 50k to 100M".to_owned(),
            Self::Bytes => "a size like `500MB` or `10GB`, from 1MB to 100TB".to_owned(),
            Self::Address => "an IP address like `127.0.0.1` or `0.0.0.0`".to_owned(),
            Self::Choice([word]) => format!("`{word}`"),
            Self::Choice(words) => format!("one of {}", list_text(words)),
            Self::Section(_) | Self::Map(_) => "a mapping (`key: value`)".to_owned(),
            Self::SectionOr(_, word) => format!("a mapping (`key: value`), or `{word}`"),
            Self::List(_) => "a list (`[a, b]`)".to_owned(),
            Self::TextOrList => "a text or a list of texts".to_owned(),
            Self::Polygons => {
                "a list of polygons, each of 3 or more points `[x, y]` from 0 to 1".to_owned()
            }
            Self::Channels(least, most) => {
                format!("three numbers, one a channel, each from {least} to {most}")
            }
        }
    }

    /// What a wrong value was probably meant to be.
    pub(super) fn meant(&self, written: &str) -> Option<String> {
        let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Choice(words) => dsl::suggest(written, words.iter().copied()),
            Self::IntegerOr(_, _, word) => dsl::suggest(written, std::iter::once(*word)),
            Self::SectionOr(_, word) => dsl::suggest(written, std::iter::once(*word)),
            Self::Duration(..) if is_number => Some(format!("{written}s")),
            Self::Height | Self::HeightOr(_) if is_number => Some(format!("{written}p")),
            Self::Bitrate if is_number => Some(format!("{written}k")),
            Self::Bytes => written
                .strip_suffix(['M', 'G', 'T'])
                .map(|_| format!("{written}B"))
                .filter(|text| units::ByteSize::read(text).is_some()),
            Self::Size => Some(written.replace(['*', 'X', ' ', ','], "x"))
                .filter(|text| text.parse::<contract::geometry::PixelSize>().is_ok()),
            _ => None,
        }
    }
}

/// `500ms`, `10s`, `2m` or `1h`: the largest unit that divides it.
pub(super) fn duration_text(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".to_owned(),
        hours if hours % 3_600_000 == 0 => format!("{}h", hours / 3_600_000),
        minutes if minutes % 60_000 == 0 => format!("{}m", minutes / 60_000),
        seconds if seconds % 1000 == 0 => format!("{}s", seconds / 1000),
        rest => format!("{rest}ms"),
    }
}

/// `` `a`, `b`, `c` ``
pub(super) fn list_text(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
