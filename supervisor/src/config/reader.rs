//! Typed access to the YAML tree that collects what is wrong instead of stopping.
//!
//! A getter gives `None` when the value is wrong, which it has then reported,
//! or absent and optional. A type is read by calling all its getters first and
//! putting the answers together after, so that no problem hides another.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::name::NameError;
use dsl::Diagnostic;
use dsl::yaml::{Entry, Node, Value};

use super::QualityConfig;
use super::code;
use super::files::{FileKind, SourceFile};
use super::redact::redact;
use super::table::{Absent, Key, Kind, Section};
use super::units::{self, Bitrate, ByteSize, Fraction};

/// What all readers of one file share.
pub(super) struct Reader<'a> {
    /// Name of the file, as shown.
    pub(super) file: &'a Path,
    /// Its text.
    pub(super) text: &'a str,
    /// The directory that relative paths begin at.
    pub(super) directory: &'a Path,
    found: RefCell<Found>,
}

/// Problems so far. A stream made from a range, or read with the defaults, is
/// read more than once: only the first report of a kind at a place is kept.
#[derive(Default)]
struct Found {
    diagnostics: Vec<Diagnostic>,
    places: HashSet<(PathBuf, &'static str, Range<usize>)>,
    /// Values in which an interpolation failed: what else is said of them is an after-effect.
    unknown: HashSet<Range<usize>>,
    /// Files that were read, or should have been there.
    files: Vec<SourceFile>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, directory: &'a Path) -> Self {
        Self {
            file,
            text,
            directory,
            found: RefCell::default(),
        }
    }

    /// A problem at a place of the file, to be completed and given to [`Self::report`].
    pub(super) fn problem(
        &self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(code, self.file, self.text, span.clone(), message)
    }

    pub(super) fn report(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        let is_value = diagnostic.file == self.file && diagnostic.code != code::INTERPOLATION;
        if is_value && found.unknown.contains(&diagnostic.span) {
            return;
        }
        let place = (
            diagnostic.file.clone(),
            diagnostic.code,
            diagnostic.span.clone(),
        );
        if found.places.insert(place) {
            found.diagnostics.push(diagnostic);
        }
    }

    /// Marks a value as not known: nothing more is reported of it as a whole.
    pub(super) fn mark_unknown(&self, span: &Range<usize>) {
        self.found.borrow_mut().unknown.insert(span.clone());
    }

    /// What was found wrong, and the files that were looked at.
    pub(super) fn into_found(self) -> (Vec<Diagnostic>, Vec<SourceFile>) {
        let found = self.found.into_inner();
        (found.diagnostics, found.files)
    }

    /// Remembers a file that the config is made from, once.
    pub(super) fn note(&self, file: SourceFile) {
        let mut found = self.found.borrow_mut();
        match found.files.iter_mut().find(|known| known.path == file.path) {
            Some(known) if known.digest.is_none() => *known = file,
            Some(_) => {}
            None => found.files.push(file),
        }
    }

    /// As [`Self::file`], for a file that is read whole: a reload looks out for it.
    pub(super) fn text_file(&self, kind: FileKind, what: &str, path: &Text<'_>) -> Option<PathBuf> {
        self.note(SourceFile::missing(kind, &self.directory.join(path.text)));
        self.file(what, path)
    }

    /// A value as the user wrote it, for messages: interpolated secrets do not show.
    pub(super) fn as_written(&self, span: &Range<usize>) -> String {
        const CHARACTERS_MAX: usize = 60;
        let written = redact(self.text.get(span.clone()).unwrap_or_default());
        let line = written.lines().next().unwrap_or_default();
        let line = line.trim_matches(['"', '\'']);
        if line.chars().count() <= CHARACTERS_MAX {
            return line.to_owned();
        }
        let short: String = line.chars().take(CHARACTERS_MAX).collect();
        format!("{short}...")
    }

    /// Place of a part of a value as it was written; of the whole value if it is not there.
    pub(super) fn part(&self, span: &Range<usize>, part: &str) -> Range<usize> {
        let written = self.text.get(span.clone()).unwrap_or_default();
        written.find(part).map_or_else(
            || span.clone(),
            |at| span.start + at..span.start + at + part.len(),
        )
    }

    /// A file the config names, made absolute; reported when it is not there.
    pub(super) fn file(&self, what: &str, path: &Text<'_>) -> Option<PathBuf> {
        let span = &path.node.span;
        let written = self.as_written(span);
        let found = self.directory.join(path.text);
        let report = |message: String, help: &str| {
            self.report(self.problem(code::NO_FILE, span, message).helped(help));
            None
        };
        match found.metadata() {
            Ok(metadata) if metadata.is_dir() => report(
                format!("the {what} `{written}` is a directory"),
                "name a file in it",
            ),
            Ok(_) => match found.canonicalize() {
                Ok(absolute) => Some(absolute),
                Err(error) => report(
                    format!("the {what} `{written}` cannot be resolved: {error}"),
                    "check the directories on its way",
                ),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => report(
                format!("there is no {what} `{written}`"),
                "relative paths begin at the directory of this file",
            ),
            Err(error) => report(
                format!("the {what} `{written}` cannot be looked at: {error}"),
                "check the permissions",
            ),
        }
    }

    /// `node` as a text, if it is one and not empty.
    pub(super) fn text<'n>(&self, node: &'n Node, what: &str) -> Option<Text<'n>> {
        match node.as_scalar() {
            Some(scalar) if !scalar.text.trim().is_empty() && !node.is_null() => Some(Text {
                text: &scalar.text,
                node,
            }),
            _ => {
                let message = format!("{what} must be a text, not {}", node.kind());
                self.report(self.problem(code::WRONG_TYPE, &node.span, message));
                None
            }
        }
    }

    /// Reports that `what` is not of this kind.
    pub(super) fn report_wrong(&self, kind: &Kind, what: &str, node: &Node, code: &'static str) {
        let expected = kind.expected();
        let written = self.as_written(&node.span);
        let found = match &node.value {
            Value::Scalar(_) => format!("`{written}`"),
            Value::Sequence(_) | Value::Mapping(_) => node.kind().to_owned(),
        };
        let message = format!("{what} must be {expected}, not {found}");
        let problem = self.problem(code, &node.span, message);
        let meant = node.as_scalar().and_then(|_| kind.meant(&written));
        self.report(match meant {
            Some(text) => problem.helped(format!("did you mean `{text}`?")),
            None => problem,
        });
    }

    /// A text as a name.
    pub(super) fn name<T>(&self, text: &str, span: &Range<usize>, bytes_max: usize) -> Option<T>
    where
        T: FromStr<Err = NameError>,
    {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let written = self.as_written(span);
                let fault = match error {
                    NameError::TooLong(_) => "too long for a name",
                    NameError::Empty | NameError::Character(_) => "not a name",
                };
                let message = format!("`{written}` is {fault}");
                self.report(
                    self.problem(code::WRONG_NAME, span, message)
                        .helped(format!(
                            "use a-z, 0-9, `-` and `_`, begin with a letter or digit, at most {bytes_max} characters"
                        )),
                );
                None
            }
        }
    }
}

/// A text value and its node.
#[derive(Clone, Copy)]
pub(super) struct Text<'n> {
    pub(super) text: &'n str,
    pub(super) node: &'n Node,
}

/// A mapping with known keys, being read.
pub(super) struct Fields<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// What it is in words: `the stream `yard``.
    pub(super) title: String,
    section: &'static Section,
    entries: &'a [Entry],
    /// Place to report a missing key at.
    span: Range<usize>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping and reports the keys it should not have.
    ///
    /// `title` is the place of what names it, and what it is in words.
    pub(super) fn open(
        reader: &'a Reader<'a>,
        section: &'static Section,
        node: &'a Node,
        title: (&Range<usize>, &str),
    ) -> Option<Self> {
        let entries: &[Entry] = match &node.value {
            Value::Mapping(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                let expected = Kind::Section(section).expected();
                let message = format!("{} must be {expected}, not {}", title.1, node.kind());
                reader.report(reader.problem(code::WRONG_TYPE, &node.span, message));
                return None;
            }
        };
        for entry in entries {
            if section.key(&entry.key.text).is_none() {
                report_unknown(reader, section, entry, title.1);
            }
        }
        let fields = Self {
            reader,
            title: title.1.to_owned(),
            section,
            entries,
            span: title.0.clone(),
        };
        for key in section.keys {
            let entry = entries.iter().find(|entry| entry.key.text == key.name);
            let missing = entry.is_none_or(|entry| entry.value.is_null());
            if missing && matches!(key.absent, Absent::Required) {
                fields.report_missing(key.name);
            }
        }
        Some(fields)
    }

    /// Reports that a key is not there which, as things are, must be.
    pub(super) fn report_missing(&self, name: &str) {
        let (reader, key) = (self.reader, self.key(name));
        let problem = reader.problem(
            code::MISSING_KEY,
            &self.span(name),
            format!("{} has no `{name}`", self.title),
        );
        reader.report(problem.helped(format!("add `{name}:`. {}", key.doc)));
    }

    /// The value written for a key; `None` when absent or `null`.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key.text == name)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    /// Place of a key, or of the whole when it is absent.
    pub(super) fn span(&self, name: &str) -> Range<usize> {
        let entry = self.entries.iter().find(|entry| entry.key.text == name);
        entry.map_or_else(|| self.span.clone(), |entry| entry.key.span.clone())
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section
            .key(name)
            .unwrap_or_else(|| panic!("the table `{}` has no key `{name}`", self.section.name))
    }

    /// The value of a key, read by `read`; else its default, read the same way.
    fn value<T>(&self, name: &str, read: impl Fn(&str, &Key) -> Option<T>) -> Option<T> {
        let key = self.key(name);
        let Some(node) = self.node(name) else {
            return match key.absent {
                Absent::Default(text) => read(text, key),
                Absent::Optional | Absent::Required => None,
            };
        };
        let Some(scalar) = node.as_scalar() else {
            self.report_wrong(key, node, code::WRONG_TYPE);
            return None;
        };
        let value = read(&scalar.text, key);
        if value.is_none() {
            self.report_wrong(key, node, code::WRONG_VALUE);
        }
        value
    }

    fn report_wrong(&self, key: &Key, node: &Node, code: &'static str) {
        let what = format!("`{}`", key.name);
        self.reader.report_wrong(&key.kind, &what, node, code);
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<Text<'a>> {
        let node = self.node(name)?;
        self.reader.text(node, &format!("`{name}`"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.value(name, |text, _| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A whole number in the range of the table.
    pub(super) fn integer<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        self.value(name, |text, key| match key.kind {
            Kind::Integer(least, most) => integer_in(text, least, most),
            _ => None,
        })
    }

    /// A whole number in the range of the table, or `Some(None)` for the word of the table.
    pub(super) fn integer_or_word<T: TryFrom<u64>>(&self, name: &str) -> Option<Option<T>> {
        self.value(name, |text, key| match key.kind {
            Kind::IntegerOr(_, _, word) if text == word => Some(None),
            Kind::IntegerOr(least, most, _) => integer_in(text, least, most).map(Some),
            _ => None,
        })
    }

    /// 0 to 1.
    pub(super) fn fraction(&self, name: &str) -> Option<Fraction> {
        self.value(name, |text, _| Fraction::read(text))
    }

    /// A duration in the range of the table.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.value(name, |text, key| match key.kind {
            Kind::Duration(least, most) => units::read_duration(text)
                .filter(|duration| (least..=most).contains(&units::millis(*duration))),
            _ => None,
        })
    }

    /// A size in pixels.
    pub(super) fn size(&self, name: &str) -> Option<PixelSize> {
        self.value(name, |text, _| text.parse().ok())
    }

    /// The height of a picture, in pixels.
    pub(super) fn height(&self, name: &str) -> Option<u32> {
        self.value(name, |text, _| QualityConfig::read_height(text))
    }

    /// Bits a second.
    pub(super) fn bitrate(&self, name: &str) -> Option<Bitrate> {
        self.value(name, |text, _| Bitrate::read(text))
    }

    /// A size of stored data.
    pub(super) fn bytes(&self, name: &str) -> Option<ByteSize> {
        self.value(name, |text, _| ByteSize::read(text))
    }

    /// An IP address.
    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        self.value(name, |text, _| text.parse().ok())
    }

    /// One of the words of the table.
    pub(super) fn choice(&self, name: &str) -> Option<&'static str> {
        self.value(name, |text, key| match key.kind {
            Kind::Choice(words) => words.iter().find(|word| **word == text).copied(),
            _ => None,
        })
    }

    /// Three numbers in the range of the table.
    pub(super) fn channels(&self, name: &str) -> Option<[f32; 3]> {
        let node = self.node(name)?;
        let key = self.key(name);
        let Kind::Channels(least, most) = key.kind else {
            panic!("`{name}` of `{}` is no list of channels", self.section.name)
        };
        let number = |item: &Node| {
            let number = item.as_scalar()?.text.parse().ok()?;
            (least..=most).contains(&number).then_some(number)
        };
        let Some(items) = node.as_sequence() else {
            self.report_wrong(key, node, code::WRONG_TYPE);
            return None;
        };
        let numbers: Option<Vec<f32>> = items.iter().map(number).collect();
        let channels = numbers.and_then(|numbers| numbers.try_into().ok());
        if channels.is_none() {
            let (reader, expected) = (self.reader, key.kind.expected());
            let written = reader.as_written(&node.span);
            let message = format!("`{name}` must be {expected}, not `{written}`");
            reader.report(reader.problem(code::WRONG_VALUE, &node.span, message));
        }
        channels
    }

    /// A section; one that is absent reads as one with no keys.
    pub(super) fn section(&self, name: &str) -> Option<Fields<'a>> {
        let Some(node) = self.node(name) else {
            return Some(self.absent_section(name));
        };
        let title = format!("`{name}`");
        Fields::open(
            self.reader,
            self.section_of(name),
            node,
            (&self.span(name), &title),
        )
    }

    /// A section as if it were absent: all keys have their defaults.
    pub(super) fn absent_section(&self, name: &str) -> Fields<'a> {
        Self {
            reader: self.reader,
            title: format!("`{name}`"),
            section: self.section_of(name),
            entries: &[],
            span: self.span(name),
        }
    }

    fn section_of(&self, name: &str) -> &'static Section {
        match self.key(name).kind {
            Kind::Section(section)
            | Kind::SectionOr(section, _)
            | Kind::TextOr(section)
            | Kind::PathOr(section) => section,
            _ => panic!("`{name}` of `{}` is no section", self.section.name),
        }
    }

    /// Whether the word that may stand in place of a section does.
    pub(super) fn is_word(&self, name: &str) -> bool {
        let word = match self.key(name).kind {
            Kind::SectionOr(_, word) => word,
            _ => return false,
        };
        let scalar = self.node(name).and_then(Node::as_scalar);
        scalar.is_some_and(|scalar| scalar.text == word)
    }

    /// Reads every value for its problems only.
    ///
    /// For `defaults`: a wrong value in it is told even where each stream has its own.
    pub(super) fn check(&self) {
        for entry in self.entries {
            let Some(key) = self.section.key(&entry.key.text) else {
                continue;
            };
            match key.kind {
                Kind::Text | Kind::Path | Kind::Name(_) => drop(self.text(key.name)),
                Kind::Bool => drop(self.boolean(key.name)),
                Kind::Integer(..) => drop(self.integer::<u64>(key.name)),
                Kind::IntegerOr(..) => drop(self.integer_or_word::<u64>(key.name)),
                Kind::Fraction => drop(self.fraction(key.name)),
                Kind::Duration(..) => drop(self.duration(key.name)),
                Kind::Size => drop(self.size(key.name)),
                Kind::Height => drop(self.height(key.name)),
                Kind::Bitrate => drop(self.bitrate(key.name)),
                Kind::Bytes => drop(self.bytes(key.name)),
                Kind::Address => drop(self.address(key.name)),
                Kind::Choice(_) => drop(self.choice(key.name)),
                Kind::SectionOr(..) if self.is_word(key.name) => {}
                Kind::TextOr(_) | Kind::PathOr(_)
                    if self.node(key.name).and_then(Node::as_mapping).is_none() =>
                {
                    let _ = self.text(key.name);
                }
                Kind::Section(_) | Kind::SectionOr(..) | Kind::TextOr(_) | Kind::PathOr(_) => {
                    if let Some(section) = self.section(key.name) {
                        section.check();
                    }
                }
                Kind::Map(_) => drop(self.map(key.name)),
                // Only in lists, whose items are read by who knows them.
                Kind::HeightOr(_) => {}
                Kind::List(_) | Kind::Polygons => drop(self.list(key.name)),
                Kind::Channels(..) => drop(self.channels(key.name)),
                Kind::TextOrList => {}
            }
        }
    }

    /// The items of a list; none when it is absent.
    pub(super) fn list(&self, name: &str) -> &'a [Node] {
        let Some(node) = self.node(name) else {
            return &[];
        };
        node.as_sequence().unwrap_or_else(|| {
            self.report_wrong(self.key(name), node, code::WRONG_TYPE);
            &[]
        })
    }

    /// The entries of a mapping; none when it is absent.
    pub(super) fn map(&self, name: &str) -> &'a [Entry] {
        let Some(node) = self.node(name) else {
            return &[];
        };
        node.as_mapping().unwrap_or_else(|| {
            self.report_wrong(self.key(name), node, code::WRONG_TYPE);
            &[]
        })
    }
}

fn integer_in<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Option<T> {
    let number = text.parse::<u64>().ok()?;
    (least..=most)
        .contains(&number)
        .then(|| T::try_from(number).ok())
        .flatten()
}

fn report_unknown(reader: &Reader<'_>, section: &'static Section, entry: &Entry, title: &str) {
    let names = || section.keys.iter().map(|key| key.name);
    let known: Vec<String> = names().map(|name| format!("`{name}`")).collect();
    reader.report(
        reader
            .problem(
                code::UNKNOWN_KEY,
                &entry.key.span,
                format!("{title} has no key `{}`", entry.key.text),
            )
            .labelled("unknown key")
            .suggesting(
                dsl::suggest(&entry.key.text, names()),
                format!("the keys are {}", known.join(", ")),
            ),
    );
}
