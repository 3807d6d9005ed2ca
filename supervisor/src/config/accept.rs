//! Senders that nobody has written a stream for: which become streams, and how these look.
//!
//! A template is read and checked once, as the stream of a name that stands in for all. A stream
//! of its own is that with the names exchanged, so nothing is read again when a sender comes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use contract::name::{NAME_BYTES_MAX, StreamName};
use contract::spec::Secret;
use dsl::yaml::{Entry, Node, Scalar, Style, Value};

use super::code;
use super::expand::{WrittenStream, put_in};
use super::output::Mount;
use super::reader::{Fields, Reader};
use super::source::SourceConfig;
use super::stream::{Around, STREAM};
use super::table::{Absent, Key, Kind, Section};
use super::{RunConfig, StreamConfig};

/// The longest name there is: what holds for it holds for all others.
const STAND_IN: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
const _: () = assert!(STAND_IN.len() == NAME_BYTES_MAX);

/// Most rules of a run.
const RULES_MAX: usize = 16;
/// Most streams at once of one rule.
const STREAMS_MAX: u64 = 64;

/// The keys of one item of `accept`.
pub(super) const ACCEPT: Section = Section {
    name: "accept",
    doc: "Senders that publish what no stream has as its source, and that become streams.",
    keys: &[
        Key {
            name: "prefix",
            doc: "What the names of such streams begin with: `cam-` takes who publishes `cam-7`.",
            kind: Kind::Name(NAME_BYTES_MAX),
            absent: Absent::Required,
        },
        Key {
            name: "template",
            doc: "Which of the `templates` they are made from.",
            kind: Kind::Text,
            absent: Absent::Required,
        },
        Key {
            name: "max",
            doc: "Most of them at once; other senders are refused.",
            kind: Kind::Integer(1, STREAMS_MAX),
            absent: Absent::Required,
        },
        Key {
            name: "linger",
            doc: "So long after its sender has gone the stream leaves the run.",
            kind: Kind::Duration(5_000, 86_400_000),
            absent: Absent::Default("30s"),
        },
    ],
};

/// A rule of which senders become streams.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptConfig {
    /// What their names begin with; no two rules have the same.
    pub prefix: StreamName,
    /// Most of them at once.
    pub max: usize,
    /// So long after its sender has gone a stream leaves.
    pub linger: Duration,
    /// Their like, of a name that stands in for all.
    template: StreamConfig,
}

impl AcceptConfig {
    /// Whether a stream of this name is made by this rule.
    #[must_use]
    pub fn takes(&self, name: &StreamName) -> bool {
        name.as_str().starts_with(self.prefix.as_str())
    }

    /// The stream of a sender.
    fn stream(&self, name: &StreamName) -> StreamConfig {
        let named = |text: &str| text.replace(STAND_IN, name.as_str());
        let mut stream = self.template.clone();
        stream.accepted_by = Some(self.prefix.clone());
        if let Some(path) = Mount::new(name.as_str()) {
            stream.source = SourceConfig::Publish(path);
        }
        for mount in stream.outputs.served.values_mut() {
            // No longer than with the name that stands in.
            if let Some(path) = Mount::new(&named(mount.as_str())) {
                *mount = path;
            }
        }
        for push in &mut stream.outputs.pushes {
            push.location = Secret::new(named(push.location.expose()));
        }
        if let Some(record) = &mut stream.outputs.record {
            record.directory = PathBuf::from(named(&record.directory.to_string_lossy()));
        }
        for text in stream.labels.values_mut() {
            *text = named(text);
        }
        stream
    }
}

impl RunConfig {
    /// The run with exactly those of `names` as accepted streams that a rule takes, in their order
    /// up to its `max`, and that need no path another stream has. Written streams stay.
    #[must_use]
    pub fn with_accepted<'n>(mut self, names: impl IntoIterator<Item = &'n StreamName>) -> Self {
        self.streams
            .retain(|_, stream| stream.accepted_by.is_none());
        let mut taken: BTreeSet<_> = self.streams.values().flat_map(mounts).collect();
        let mut counts: BTreeMap<StreamName, usize> = BTreeMap::new();
        for name in names {
            let mut rules = self.accept.iter();
            let Some(rule) = rules.find(|rule| rule.takes(name)) else {
                continue;
            };
            let count = counts.entry(rule.prefix.clone()).or_default();
            let stream = rule.stream(name);
            let wanted = mounts(&stream);
            let is_free = wanted.iter().all(|mount| !taken.contains(mount));
            if *count < rule.max && is_free && !self.streams.contains_key(name) {
                *count += 1;
                taken.extend(wanted);
                self.streams.insert(name.clone(), stream);
            }
        }
        self
    }
}

/// The places in the gateway's URLs that a stream needs for itself: by protocol, and as a source.
fn mounts(stream: &StreamConfig) -> Vec<(&'static str, String)> {
    let served = stream.outputs.served.iter();
    let served = served.map(|(protocol, mount)| (protocol.as_str(), mount.to_string()));
    let published = match &stream.source {
        SourceConfig::Publish(path) => Some(("publish", path.to_string())),
        _ => None,
    };
    served.chain(published).collect()
}

/// The rules that are right; the problems of the others are reported.
pub(super) fn read_all(
    fields: &Fields<'_>,
    defaults: Option<&Node>,
    around: &mut Around<'_, '_>,
) -> Vec<AcceptConfig> {
    let reader = fields.reader;
    let mut templates = BTreeMap::new();
    for Entry { key, value } in fields.map("templates") {
        if let Some(template) = read_template(reader, (key, value), defaults, around) {
            templates.insert(key.text.as_str(), template);
        }
    }
    let items = fields.list("accept");
    if let Some(item) = items.get(RULES_MAX) {
        let message = format!("`accept` has {RULES_MAX} rules at most");
        reader.report(reader.problem(code::WRONG_VALUE, &item.span, message));
    }
    let mut rules: Vec<AcceptConfig> = Vec::new();
    for item in items.iter().take(RULES_MAX) {
        let title = (&item.span, "a rule of `accept`");
        let Some(own) = Fields::open(reader, &ACCEPT, item, title) else {
            continue;
        };
        let prefix = own.text("prefix").and_then(|prefix| {
            let name = reader.name::<StreamName>(prefix.text, &prefix.node.span, NAME_BYTES_MAX)?;
            let mut known = rules.iter();
            let overlaps = |rule: &&AcceptConfig| {
                rule.takes(&name) || { rule.prefix.as_str().starts_with(name.as_str()) }
            };
            let Some(other) = known.find(overlaps) else {
                return Some(name);
            };
            let message = format!("`{name}` and `{}` take the same names", other.prefix);
            reader.report(reader.problem(code::TWICE, &prefix.node.span, message));
            None
        });
        let template = own.text("template").and_then(|name| {
            let written = fields
                .map("templates")
                .iter()
                .map(|entry| &entry.key.text[..]);
            if !written.clone().any(|known| known == name.text) {
                let message = format!("there is no template `{}`", name.text);
                let problem = reader.problem(code::WRONG_VALUE, &name.node.span, message);
                let near = dsl::suggest(name.text, written);
                let help = "write it under `templates`: `templates: {yard: {infer: [people]}}`";
                reader.report(problem.suggesting(near, help.to_owned()));
            }
            templates.get(name.text).cloned()
        });
        let (max, linger) = (own.integer("max"), own.duration("linger"));
        if let (Some(prefix), Some(template), Some(max), Some(linger)) =
            (prefix, template, max, linger)
        {
            rules.push(AcceptConfig {
                prefix,
                max,
                linger,
                template,
            });
        }
    }
    rules
}

fn read_template(
    reader: &Reader<'_>,
    (key, value): (&dsl::yaml::Key, &Node),
    defaults: Option<&Node>,
    around: &mut Around<'_, '_>,
) -> Option<StreamConfig> {
    let mut own = value.clone();
    put_in(&mut own, "{name}", STAND_IN);
    let written = WrittenStream::new(key.text.clone(), key.clone(), own, defaults);
    for (protocol, mount) in written.mounts() {
        let path = mount.as_scalar().map(|scalar| scalar.text.as_str());
        if !path.is_some_and(|path| path.contains(STAND_IN)) {
            let message = format!("all streams of a template cannot be served by {protocol} here");
            let problem = reader.problem(code::TWICE, &mount.span, message);
            reader.report(problem.helped("put `{name}` into it: the name of the stream"));
        }
    }
    if let Some(source) = value.get("source") {
        let message = "a template has no `source`: it is what the sender publishes";
        reader.report(reader.problem(code::CONTRADICTION, &source.span, message));
        return None;
    }
    let node = with_source(written.node, key);
    let title = format!("the template `{}`", key.text);
    let fields = Fields::open(reader, &STREAM, &node, (&key.span, &title))?;
    let template = StreamConfig::read(&fields, &written.own, around)?;
    let record = template.outputs.record.as_ref();
    let shared = record.filter(|record| record.keep != super::KeepConfig::default());
    if shared.is_some_and(|record| !record.directory.to_string_lossy().contains(STAND_IN)) {
        let message = "what is kept of recordings is counted for each directory";
        let span = value.get("outputs").map_or(&key.span, |node| &node.span);
        let problem = reader.problem(code::CONTRADICTION, span, message);
        reader.report(problem.helped("put `{name}` into the directory"));
    }
    Some(template)
}

/// A template is the stream of a sender of the name that stands in.
fn with_source(mut node: Node, key: &dsl::yaml::Key) -> Node {
    let source = Entry {
        key: dsl::yaml::Key {
            text: "source".to_owned(),
            span: key.span.clone(),
        },
        value: Node {
            span: key.span.clone(),
            value: Value::Scalar(Scalar {
                text: format!("publish:{STAND_IN}"),
                style: Style::Plain,
            }),
        },
    };
    // Of what is no mapping is said what is wrong with it when it is opened.
    if let Value::Mapping(entries) = &mut node.value {
        entries.push(source);
    }
    node
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use contract::spec::Protocol;

    use super::*;

    fn config(max: usize) -> RunConfig {
        let text = format!(
            r#"
run: yard
streams:
  yard: {{source: "test:ball", outputs: [{{rtsp: taken}}, {{hls: cams/cam-9}}]}}
  cam-0: {{source: "test:ball"}}
templates:
  camera:
    labels: {{who: "{{name}}"}}
    outputs: [{{hls: "cams/{{name}}"}}, {{record: "{{name}}/files"}}, {{push: "rtmp://h/live/{{name}}"}}]
accept: [{{prefix: cam-, template: camera, max: {max}}}]
"#
        );
        crate::config::parse(&text, Path::new("/run.yaml"), &|_| None).expect("right")
    }

    fn names<const N: usize>(names: [&str; N]) -> Vec<StreamName> {
        names.map(|name| name.parse().expect("a name")).to_vec()
    }

    #[test]
    fn a_sender_becomes_a_stream_of_its_name() {
        let config = config(2).with_accepted(&names(["cam-7"]));
        let stream = &config.streams[&names(["cam-7"])[0]];
        assert_eq!(stream.accepted_by, Some("cam-".parse().expect("a name")));
        let path = Mount::new("cam-7").expect("a path");
        assert_eq!(stream.source, SourceConfig::Publish(path));
        let outputs = &stream.outputs;
        assert_eq!(outputs.served[&Protocol::Hls].as_str(), "cams/cam-7");
        assert_eq!(outputs.pushes[0].location.expose(), "rtmp://h/live/cam-7");
        let record = outputs.record.as_ref().expect("recorded");
        assert_eq!(record.directory, Path::new("cam-7/files"));
        assert_eq!(stream.labels["who"], "cam-7");
        assert!(!format!("{stream:?}").contains(STAND_IN));
    }

    #[test]
    fn rules_have_a_limit_and_what_is_written_has_precedence() {
        let accepted = |max: usize, wanted: &[StreamName]| -> Vec<String> {
            let config = config(max).with_accepted(wanted);
            let streams = config.streams.into_iter();
            let accepted = streams.filter(|(_, stream)| stream.accepted_by.is_some());
            accepted.map(|(name, _)| name.to_string()).collect()
        };
        let wanted = names(["cam-1", "cam-2", "cam-3"]);
        assert_eq!(accepted(2, &wanted), ["cam-1", "cam-2"]);
        // Another name, a written stream, and a path of a written stream.
        let wanted = names(["door-1", "cam-0", "cam-9", "cam-4"]);
        assert_eq!(accepted(8, &wanted), ["cam-4"]);
        let config = config(8).with_accepted(&wanted).with_accepted(&[]);
        assert_eq!(config.streams.len(), 2, "who is not wanted any more leaves");
    }
}
