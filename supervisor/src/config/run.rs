//! The whole of a run config.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contract::name::{ModelName, NameError, RunId, StreamName};

use dsl::yaml::{Entry, Node};

use super::accept::{self, ACCEPT};
use super::expand::WrittenStream;
use super::gateway::GATEWAY;
use super::model::MODEL;
use super::qualities;
use super::reader::{Fields, Reader};
use super::record;
use super::redact::redact;
use super::rules::RuleFiles;
use super::source::mosaic;
use super::store::RETENTION;
use super::stream::{Around, DEFAULTS, STREAM, StreamRules, TEMPLATE};
use super::table::{Absent, Key, Kind, Section};
use super::{
    AcceptConfig, GatewayConfig, KeepConfig, ModelConfig, RetentionConfig, SourceFile,
    StreamConfig, code, expand,
};

/// Most models of a run.
const MODELS_MAX: usize = 16;

/// The keys of a run config.
pub(super) const RUN: Section = Section {
    name: "run",
    doc: "A run of Sluice: streams, the models that look at them, and rules.",
    keys: &[
        Key {
            name: "run",
            doc: "Name of the run.",
            kind: Kind::Name(RunName::BYTES_MAX),
            absent: Absent::Required,
        },
        Key {
            name: "models",
            doc: "Models by name.",
            kind: Kind::Map(&Kind::Section(&MODEL)),
            absent: Absent::Optional,
        },
        Key {
            name: "onnxruntime",
            doc: "`libonnxruntime.so`. Default: where set-up puts it.",
            kind: Kind::Path,
            absent: Absent::Optional,
        },
        Key {
            name: "defaults",
            doc: DEFAULTS.doc,
            kind: Kind::Section(&DEFAULTS),
            absent: Absent::Optional,
        },
        Key {
            name: "streams",
            doc: "Streams by name. `gate-{01..24}` is 24 streams; `{n}` in its values is the number.",
            kind: Kind::Map(&Kind::Section(&STREAM)),
            absent: Absent::Required,
        },
        Key {
            name: "templates",
            doc: "What streams of `accept` are made from, by name.",
            kind: Kind::Map(&Kind::Section(&TEMPLATE)),
            absent: Absent::Optional,
        },
        Key {
            name: "accept",
            doc: "Which senders become streams that nobody has written a stream for.",
            kind: Kind::List(&Kind::Section(&ACCEPT)),
            absent: Absent::Optional,
        },
        Key {
            name: "rules",
            doc: "Rule file of every stream that names no other: zones, lines, gates and rules.",
            kind: Kind::Path,
            absent: Absent::Optional,
        },
        Key {
            name: "gateway",
            doc: GATEWAY.doc,
            kind: Kind::Section(&GATEWAY),
            absent: Absent::Optional,
        },
        Key {
            name: "retention",
            doc: RETENTION.doc,
            kind: Kind::Section(&RETENTION),
            absent: Absent::Optional,
        },
    ],
};

/// A checked run config.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The run's name.
    pub run: RunName,
    /// Absolute path of the file.
    pub path: PathBuf,
    /// The file's text with every password in an address blanked, fit to be stored and shown.
    pub text: String,
    /// The files it was made from, the run config first.
    pub files: Vec<SourceFile>,
    /// The models, each run by one infer worker.
    pub models: BTreeMap<ModelName, ModelConfig>,
    /// `libonnxruntime.so`, absolute; `None`: the places set-up puts it.
    pub onnxruntime: Option<PathBuf>,
    /// Where engines that took minutes to build are kept; `None`: nowhere.
    pub engine_cache: Option<PathBuf>,
    /// The streams; at least one.
    pub streams: BTreeMap<StreamName, StreamConfig>,
    /// Which senders become streams too.
    pub accept: Vec<AcceptConfig>,
    /// Where encoded streams are served.
    pub gateway: GatewayConfig,
    /// How much is kept in the database.
    pub retention: RetentionConfig,
}

/// Name of a run; leaves room for the count that makes it a [`RunId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(String);

impl RunName {
    /// Longest name, in bytes: `-` and seven digits still fit into a [`RunId`].
    pub const BYTES_MAX: usize = contract::name::NAME_BYTES_MAX - 8;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong(text.to_owned()));
        }
        text.parse::<RunId>().map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl RunConfig {
    /// How much is kept of the recordings in each directory that has a bound.
    #[must_use]
    pub fn kept_recordings(&self) -> BTreeMap<PathBuf, KeepConfig> {
        let outputs = self.streams.values().map(|stream| &stream.outputs);
        let records = outputs.filter_map(|outputs| outputs.record.as_ref());
        let bounded = records.filter(|record| record.keep != KeepConfig::default());
        let kept = bounded.map(|record| (record.directory.clone(), record.keep));
        kept.collect()
    }

    pub(super) fn read(
        reader: &Reader<'_>,
        root: &Node,
        path: &Path,
        texts: &mut BTreeMap<PathBuf, String>,
    ) -> Option<Self> {
        let fields = Fields::open(reader, &RUN, root, (&(0..0), "the run config"))?;
        let run = fields
            .text("run")
            .and_then(|name| reader.name(name.text, &name.node.span, RunName::BYTES_MAX));
        let models = read_models(&fields);
        let onnxruntime = fields
            .text("onnxruntime")
            .map(|library| reader.file("ONNX Runtime library", &library));
        let all_read = models.len() == fields.map("models").len();
        let mut rule_files = RuleFiles::new(reader, all_read.then_some(&models));
        let (streams, accept) = read_streams(&fields, &models, all_read, &mut rule_files);
        texts.append(&mut rule_files.into_texts());
        let gateway = fields
            .section("gateway")
            .and_then(|gateway| GatewayConfig::read(&gateway));
        let retention = fields
            .section("retention")
            .and_then(|retention| RetentionConfig::read(&retention));
        Some(Self {
            run: run?,
            path: path.to_owned(),
            text: redact(reader.text),
            files: Vec::new(),
            models,
            onnxruntime: onnxruntime.flatten(),
            engine_cache: None,
            streams,
            accept,
            gateway: gateway?,
            retention: retention?,
        })
    }
}

/// The models that are right; the problems of the others are reported.
fn read_models(fields: &Fields<'_>) -> BTreeMap<ModelName, ModelConfig> {
    let reader = fields.reader;
    let entries = fields.map("models");
    if let Some(entry) = entries.get(MODELS_MAX) {
        let message = format!("a run has {MODELS_MAX} models at most");
        reader.report(reader.problem(code::WRONG_VALUE, &entry.key.span, message));
    }
    let mut models = BTreeMap::new();
    for Entry { key, value } in entries {
        let name = reader.name(&key.text, &key.span, contract::name::NAME_BYTES_MAX);
        let title = format!("the model `{}`", key.text);
        let model = Fields::open(reader, &MODEL, value, (&key.span, &title))
            .and_then(|fields| ModelConfig::read(&fields));
        if let (Some(name), Some(model)) = (name, model) {
            models.insert(name, model);
        }
    }
    models
}

/// The streams, and the rules for more of them, that are right; the problems of the others are
/// reported.
fn read_streams(
    fields: &Fields<'_>,
    read: &BTreeMap<ModelName, ModelConfig>,
    all_read: bool,
    rule_files: &mut RuleFiles<'_>,
) -> (BTreeMap<StreamName, StreamConfig>, Vec<AcceptConfig>) {
    let reader = fields.reader;
    if let Some(defaults) = fields.section("defaults") {
        defaults.check();
    }
    let rules = fields.text("rules");
    let models = fields.map("models").iter().map(|entry| {
        let name = entry.key.text.as_str();
        let known = read.iter().find(|(known, _)| known.as_str() == name);
        (name, known.map(|(_, model)| model.family.finds()))
    });
    let mut around = Around {
        models: models.collect(),
        read_models: all_read.then_some(read),
        rules: rules.map_or(StreamRules::None, |rules| {
            StreamRules::of(rule_files.get(&rules))
        }),
        rule_files,
    };
    let entries = fields.map("streams");
    let is_mapping = fields
        .node("streams")
        .is_some_and(|node| node.as_mapping().is_some());
    if is_mapping && entries.is_empty() {
        let problem = reader.problem(
            code::NOTHING,
            &fields.span("streams"),
            "there are no streams",
        );
        reader.report(problem.helped("add one: `streams: {yard: {source: FILE}}`"));
    }
    let written = expand::streams(reader, entries, fields.node("defaults"));
    if let Some(stream) = written.get(expand::STREAMS_MAX) {
        let message = format!("a run has {} streams at most", expand::STREAMS_MAX);
        reader.report(reader.problem(code::WRONG_VALUE, &stream.key.span, message));
    }
    check_unique(reader, &written);
    let mut streams = BTreeMap::new();
    for stream in &written {
        let span = &stream.key.span;
        let name = reader.name(&stream.name, span, contract::name::NAME_BYTES_MAX);
        let title = format!("the stream `{}`", stream.name);
        let config = Fields::open(reader, &STREAM, &stream.node, (span, &title))
            .and_then(|fields| StreamConfig::read(&fields, &stream.own, &mut around));
        if let (Some(name), Some(config)) = (name, config) {
            streams.insert(name, config);
        }
    }
    record::check_kept(reader, &written, &streams);
    qualities::check_paths(reader, &written, &streams);
    mosaic::check_members(reader, &written, &streams);
    let accept = accept::read_all(fields, fields.node("defaults"), &mut around);
    (streams, accept)
}

const OWN_PATH: &str = "give each its own path; in a range, put `{n}` into it";

/// Reports names and mounts that two streams share.
fn check_unique(reader: &Reader<'_>, streams: &[WrittenStream]) {
    let mut names = HashSet::new();
    let mut mounts = HashMap::new();
    let mut published = HashMap::new();
    for stream in streams {
        let name = stream.name.as_str();
        if !names.insert(name) {
            let message = format!("there are two streams `{name}`");
            let problem = reader.problem(code::TWICE, &stream.key.span, message);
            reader.report(problem.helped("check the ranges of the stream names"));
            continue;
        }
        if let Some((node, path)) = stream.published()
            && let Some(other) = published.insert(path, name)
        {
            let message = format!("the streams `{other}` and `{name}` are both published here");
            let problem = reader.problem(code::TWICE, &node.span, message);
            reader.report(problem.helped(OWN_PATH));
        }
        for (protocol, mount) in stream.mounts() {
            let path = mount.as_scalar().map(|scalar| scalar.text.as_str());
            let place = (protocol, path);
            if let Some(other) = mounts.insert(place, name).filter(|other| *other != name) {
                let path = reader.as_written(&mount.span);
                let message = format!(
                    "the streams `{other}` and `{name}` are both served by {protocol} at `{path}`"
                );
                reader.report(
                    reader
                        .problem(code::TWICE, &mount.span, message)
                        .helped(OWN_PATH),
                );
            }
        }
    }
}
