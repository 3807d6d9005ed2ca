//! One stream: a source, what is done with its frames, and where they go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::findings::Finds;
use contract::geometry::PixelSize;
use contract::name::{ModelName, StreamName};
use contract::spec::{FrameMemory, OverlaySpec};
use dsl::yaml::Node;

use super::classes::Classes;
use super::reader::{Fields, Reader};
use super::rules::RuleFiles;
use super::table::list_text;
use super::{
    BestShotsConfig, CascadeConfig, EncodeConfig, ModelConfig, MotionConfig, OutputsConfig,
    PrivacyConfig, QueueConfig, RetryConfig, RulesConfig, SourceConfig, TrackerConfig,
};
use super::{code, labels, overlay};

mod keys;

pub(super) use keys::{DEFAULTS, STREAM, TEMPLATE};

/// A checked stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamConfig {
    /// Whence frames come.
    pub source: SourceConfig,
    /// Bound of the processing size: larger pictures are scaled down, aspect kept.
    pub size: PixelSize,
    /// A live source that gives no frame for so long is stalled: its session is rebuilt.
    pub no_frame_timeout: Duration,
    /// It is connected only while somebody asks for it, and so long after; `None`: always.
    pub on_demand: Option<Duration>,
    /// After a failure of the source.
    pub retry: RetryConfig,
    /// Use a hardware decoder where one is found.
    pub hardware_decoder: bool,
    /// Where its frames lie between the processes.
    pub memory: FrameMemory,
    /// How motion is measured.
    pub motion: MotionConfig,
    /// What happens when consumers are slower than the source.
    pub queue: QueueConfig,
    /// The models that look at it, in the order written, none twice.
    pub infer: Vec<ModelName>,
    /// Tracks that are shown to second models.
    pub cascades: Vec<CascadeConfig>,
    /// Weight when demand exceeds capacity, 1 or more.
    pub priority: u32,
    /// How detections become tracks.
    pub tracker: TrackerConfig,
    /// Of which tracks the best picture is written when they end; `None`: of none.
    pub best_shots: Option<BestShotsConfig>,
    /// Words that rules and gates may ask for.
    pub labels: BTreeMap<String, String>,
    /// Zones, lines, gates and rules; shared by the streams that name the same file.
    pub rules: Option<Arc<RulesConfig>>,
    /// What is hidden in every picture that leaves; `None`: nothing.
    pub privacy: Option<PrivacyConfig>,
    /// What is drawn.
    pub overlay: OverlaySpec,
    /// Encoder settings; `None` when no output and no rule needs them: nothing is drawn or encoded.
    pub encode: Option<EncodeConfig>,
    /// Outputs get the source's own access units; `encode` is `None` then. False when no output
    /// and no rule needs them.
    pub passthrough: bool,
    /// Where the encoded picture goes.
    pub outputs: OutputsConfig,
    /// Store what was detected in each frame.
    pub store_detections: bool,
    /// The prefix of the rule of `accept` that made it; `None`: it was written.
    pub accepted_by: Option<StreamName>,
}

/// A model as it was written: its name, and what it finds as far as that could be read.
pub(super) type WrittenModel<'a> = (&'a str, Option<Finds>);

/// What a stream is read against.
pub(super) struct Around<'a, 'r> {
    /// The models that were written.
    pub(super) models: Vec<WrittenModel<'a>>,
    /// The models; `None` when some could not be read.
    pub(super) read_models: Option<&'a BTreeMap<ModelName, ModelConfig>>,
    /// The run's rules.
    pub(super) rules: StreamRules,
    /// Reads rule files of streams.
    pub(super) rule_files: &'a mut RuleFiles<'r>,
}

impl Around<'_, '_> {
    /// The class names of some models; `None`: it is not known of which.
    pub(super) fn classes(&self, models: Option<&[ModelName]>) -> Classes<'_> {
        let known = self.read_models.zip(models);
        known.map_or_else(Classes::unknown, |(known, models)| {
            Classes::of(known.iter().filter(|(name, _)| models.contains(name)))
        })
    }
}

/// The rules of a stream.
#[derive(Debug, Clone)]
pub(super) enum StreamRules {
    /// It has none.
    None,
    /// Their file is wrong, which was reported.
    Wrong,
    /// These.
    Read(Arc<RulesConfig>),
}

impl StreamRules {
    /// Of what was read from a file that was named.
    pub(super) fn of(read: Option<Arc<RulesConfig>>) -> Self {
        read.map_or(Self::Wrong, Self::Read)
    }

    /// Their zones, lines and rules; `None` when these are not known.
    pub(super) fn file(&self) -> Option<&dsl::RuleFile> {
        static EMPTY: std::sync::LazyLock<dsl::RuleFile> =
            std::sync::LazyLock::new(dsl::RuleFile::default);
        match self {
            Self::None => Some(&EMPTY),
            Self::Wrong => None,
            Self::Read(rules) => Some(&rules.file),
        }
    }

    fn into_config(self) -> Option<Arc<RulesConfig>> {
        match self {
            Self::Read(rules) => Some(rules),
            Self::None | Self::Wrong => None,
        }
    }
}

impl StreamConfig {
    /// Reads a stream; `own` is what was written for it without the defaults.
    pub(super) fn read(
        fields: &Fields<'_>,
        own: &Node,
        around: &mut Around<'_, '_>,
    ) -> Option<Self> {
        let reader = fields.reader;
        let source = SourceConfig::read(fields);
        let size = fields.size("size");
        let no_frame_timeout = fields.duration("no_frame_timeout");
        let on_demand = fields.boolean("on_demand");
        let linger = fields.duration("on_demand_linger");
        let retry = fields
            .section("retry")
            .and_then(|retry| RetryConfig::read(&retry));
        let decoder = fields.choice("decoder");
        let memory = fields.choice("memory");
        let motion = fields
            .section("motion")
            .and_then(|motion| MotionConfig::read(&motion));
        let fast = fields.choice("pace") == Some("fast");
        let queue = fields
            .section("queue")
            .and_then(|queue| QueueConfig::read(&queue, fast));
        let infer = read_infer(reader, fields.list("infer"), &around.models);
        let priority = fields.integer("priority");
        let tracker = fields
            .section("tracker")
            .and_then(|tracker| TrackerConfig::read(&tracker));
        let best_shots = read_unless_off(fields, around, "best_shots", BestShotsConfig::read);
        let privacy = read_unless_off(fields, around, "privacy", PrivacyConfig::read);
        let labels = labels::read(fields);
        let rules = match fields.text("rules") {
            None => around.rules.clone(),
            Some(word) if word.text == "off" => StreamRules::None,
            Some(path) => StreamRules::of(around.rule_files.get(&path)),
        };
        let cascades = CascadeConfig::read_all(fields, infer.as_deref(), &rules, around);
        let rules = rules.into_config();
        let overlay = fields
            .section("overlay")
            .and_then(|layers| overlay::read(&layers));
        let outputs = OutputsConfig::read(reader, fields.list("outputs"));
        let encode = if fields.is_word("encode") {
            None
        } else {
            fields
                .section("encode")
                .and_then(|encode| EncodeConfig::read(&encode, size, !outputs.served.is_empty()))
        };
        let store = fields
            .section("store")
            .and_then(|store| store.boolean("detections"));
        if let Some(source) = &source {
            check_source(fields, own, source);
        }
        // In `defaults` it is meant for cameras.
        let is_camera =
            { source.as_ref() }.is_some_and(|it| it.is_camera() && it.mosaic().is_none());
        let on_demand = linger.filter(|_| on_demand == Some(true) && is_camera);
        if on_demand.is_some() {
            check_on_demand(fields, rules.is_some(), best_shots.as_ref(), &outputs);
        }
        // In `defaults` it is meant for sources that may send H.264.
        let is_coded = source.as_ref().is_none_or(SourceConfig::may_send_h264);
        let passthrough = fields.boolean("passthrough");
        let passthrough = passthrough.map(|it| it && (is_coded || has_key(own, "passthrough")));
        if passthrough == Some(true) {
            let hides = !matches!(&privacy, Some(None));
            check_passthrough(fields, own, (is_coded, hides));
        }
        let clips = rules.as_ref().is_some_and(|rules| rules.records_clips());
        if fields.is_word("encode") && (clips || !outputs.is_empty()) {
            let (what, help) = if outputs.is_empty() {
                ("whose rules `record`", "the rules' `record`")
            } else {
                ("with outputs", "the outputs")
            };
            let message = format!("a stream {what} must be encoded");
            reader.report(
                reader
                    .problem(code::CONTRADICTION, &fields.span("encode"), message)
                    .helped(format!("remove `encode: off` or {help}")),
            );
        }
        let is_needed = clips || !outputs.is_empty();
        let passthrough = passthrough?;
        Some(Self {
            source: source?,
            size: size?,
            no_frame_timeout: no_frame_timeout?,
            on_demand,
            retry: retry?,
            hardware_decoder: decoder? == "auto",
            memory: match memory? {
                "cuda" => FrameMemory::Cuda(0),
                _ => FrameMemory::Host,
            },
            motion: motion?,
            queue: queue?,
            infer: infer?,
            cascades: cascades?,
            priority: priority?,
            tracker: tracker?,
            best_shots: best_shots?,
            labels: labels?,
            rules,
            privacy: privacy?,
            overlay: overlay?,
            encode: encode.filter(|_| is_needed && !passthrough),
            passthrough: is_needed && passthrough,
            outputs,
            store_detections: store?,
            accepted_by: None,
        })
    }
}

/// Reports settings that the source cannot follow.
fn check_source(fields: &Fields<'_>, own: &Node, source: &SourceConfig) {
    let reader = fields.reader;
    let (what, foreign) = source.foreign_keys();
    // In `defaults` they are meant for other streams.
    let written = own.as_mapping().unwrap_or_default().iter();
    for entry in written.filter(|entry| foreign.contains(&entry.key.text.as_str())) {
        reader.report(
            reader
                .problem(
                    code::CONTRADICTION,
                    &entry.key.span,
                    format!("`{}` means nothing to {what}", entry.key.text),
                )
                .helped("remove it"),
        );
    }
    let kind = match source.mosaic() {
        Some(_) => "mosaic",
        None => "camera",
    };
    let message = format!("{} is a {kind}, which cannot wait", fields.title);
    let queue = fields.section("queue");
    let waits = queue.filter(|queue| queue.choice("policy") == Some("wait"));
    if let (true, Some(queue)) = (source.is_camera(), waits) {
        let span = queue.node("policy").map_or(0..0, |node| node.span.clone());
        reader.report(
            reader
                .problem(code::CONTRADICTION, &span, message)
                .labelled("pictures come whether or not there is room")
                .helped(
                    "use `drop_oldest` (the newest stay) or `drop_latest`; `wait` is for files",
                ),
        );
    }
}

/// Whether a key stands in what was written for a stream itself.
fn has_key(own: &Node, key: &str) -> bool {
    let written = own.as_mapping().unwrap_or_default();
    written.iter().any(|entry| entry.key.text == key)
}

/// Reports what contradicts that pictures are handed on as they are.
fn check_passthrough(fields: &Fields<'_>, own: &Node, (is_coded, hides): (bool, bool)) {
    let reader = fields.reader;
    let report = |message: &str, help: &str| {
        let span = fields.span("passthrough");
        let problem = reader.problem(code::CONTRADICTION, &span, message);
        reader.report(problem.helped(help));
    };
    if !is_coded {
        report(
            "what this source gives is not H.264, and must be encoded",
            "remove `passthrough`: it is for files and for what comes over a network",
        );
    }
    if hides {
        report(
            "`privacy` hides nothing in pictures that are handed on as they came",
            "remove `passthrough`, or set `privacy: off` where everything may be seen",
        );
    }
    // In `defaults` they are meant for other streams.
    let written = own.as_mapping().unwrap_or_default().iter();
    if let Some(entry) = { written }.find(|entry| entry.key.text == "encode") {
        let message = "with `passthrough` nothing is encoded";
        let problem = reader.problem(code::CONTRADICTION, &entry.key.span, message);
        reader.report(problem.helped("remove `encode`, or `passthrough`"));
    }
}

/// Reports what needs a stream also while nobody looks at it.
fn check_on_demand(
    fields: &Fields<'_>,
    rules: bool,
    best_shots: Option<&Option<BestShotsConfig>>,
    outputs: &OutputsConfig,
) {
    let best_shots = best_shots.is_some_and(Option::is_some);
    let needs = [
        (outputs.record.is_some(), "a recording"),
        (rules, "rules"),
        (best_shots, "best shots"),
    ];
    let Some((_, what)) = needs.into_iter().find(|(needed, _)| *needed) else {
        return;
    };
    let reader = fields.reader;
    let message = format!("a stream with {what} is needed always, not on demand");
    let span = fields.span("on_demand");
    let help = format!("remove `on_demand`, or move {what} to a stream of its own");
    reader.report(
        reader
            .problem(code::CONTRADICTION, &span, message)
            .helped(help),
    );
}

/// A section that speaks of labels; `Some(None)` where it is not wanted.
fn read_unless_off<T>(
    fields: &Fields<'_>,
    around: &Around<'_, '_>,
    key: &str,
    read: impl FnOnce(&Fields<'_>, &Classes<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if fields.node(key).is_none() || fields.is_word(key) {
        return Some(None);
    }
    // Of all models of the run: what stands in `defaults` is meant for streams of several.
    let classes = around
        .read_models
        .map_or_else(Classes::unknown, Classes::of);
    let section = fields.section(key)?;
    read(&section, &classes).map(Some)
}

fn read_infer(
    reader: &Reader<'_>,
    items: &[Node],
    models: &[WrittenModel<'_>],
) -> Option<Vec<ModelName>> {
    let mut names: Vec<ModelName> = Vec::new();
    let mut maps: HashMap<Finds, ModelName> = HashMap::new();
    let mut right = true;
    for item in items {
        let Some((name, finds)) = read_model(reader, item, models) else {
            right = false;
            continue;
        };
        let contradiction = |message: String, help: &str| {
            let problem = reader.problem(code::CONTRADICTION, &item.span, message);
            reader.report(problem.helped(help));
        };
        if names.contains(&name) {
            let message = format!("the model `{name}` is named twice");
            reader.report(reader.problem(code::TWICE, &item.span, message));
        } else if finds == Some(Finds::Embedding) {
            contradiction(
                format!("the model `{name}` makes an embedding of an object, not of a whole frame"),
                "take it out of `infer`: `cascades` show it tracks, and so does a rule's `infer(MODEL)`",
            );
        } else if let Some(finds) = finds.filter(|finds| finds.is_map())
            && let Some(other) = maps.insert(finds, name.clone())
        {
            contradiction(
                format!("`{other}` and `{name}` both make a map of the same kind"),
                "leave one of them to the stream: rules and the overlay know one such map",
            );
        }
        names.push(name);
    }
    right.then_some(names)
}

/// The name of one of `models`, and what it finds. One that is there but has no right name was
/// reported where it stands.
pub(super) fn read_model(
    reader: &Reader<'_>,
    item: &Node,
    models: &[WrittenModel<'_>],
) -> Option<(ModelName, Option<Finds>)> {
    let name = reader.text(item, "a model's name")?;
    if let Some((_, finds)) = models.iter().find(|(known, _)| *known == name.text) {
        return Some((name.text.parse().ok()?, *finds));
    }
    let known: Vec<_> = models.iter().map(|(name, _)| *name).collect();
    let written = reader.as_written(&item.span);
    let text = match &known[..] {
        [] => "there are none: add `models:`".to_owned(),
        known => format!("the models are {}", list_text(known)),
    };
    reader.report(
        reader
            .problem(
                code::UNKNOWN_MODEL,
                &item.span,
                format!("there is no model `{written}`"),
            )
            .suggesting(dsl::suggest(name.text, known.into_iter()), text),
    );
    None
}
