//! One stream: a source, what is done with its frames, and where they go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::findings::Finds;
use contract::geometry::PixelSize;
use contract::name::{ModelName, StreamName};
use contract::spec::OverlaySpec;
use dsl::yaml::Node;

use super::best_shots::BEST_SHOTS;
use super::cascade::CASCADE;
use super::classes::Classes;
use super::encode::ENCODE;
use super::motion::MOTION;
use super::output::OUTPUT;
use super::overlay::OVERLAY;
use super::privacy::PRIVACY;
use super::queue::QUEUE;
use super::reader::{Fields, Reader};
use super::retry::RETRY;
use super::rules::RuleFiles;
use super::source::mosaic::MOSAIC;
use super::store::STORE;
use super::table::{Absent, Key, Kind, Section, list_text};
use super::tracker::TRACKER;
use super::{
    BestShotsConfig, CascadeConfig, EncodeConfig, ModelConfig, MotionConfig, OutputsConfig,
    PrivacyConfig, QueueConfig, RetryConfig, RulesConfig, SourceConfig, TrackerConfig,
};
use super::{code, labels, overlay};

const SOURCE: Key = Key {
    name: "source",
    doc: "A video file; an address (`rtsp`, `rtsps`, `srt`, `rtmp`, `rtmps`, `http`, `https`, `udp`); `publish:PATH` for what a sender publishes; `images:DIRECTORY`; `v4l2:/dev/video0`; a pattern like `test:ball?size=640x360&fps=25&frames=100`; or `{mosaic: [yard, gate]}`, other streams in one picture. See docs/sources.md.",
    kind: Kind::TextOr(&MOSAIC),
    absent: Absent::Required,
};
const PACE: Key = Key {
    name: "pace",
    doc: "Files and patterns: `live` at their own rate, as if they were cameras, or `fast` as quickly as frames are taken.",
    kind: Kind::Choice(&["live", "fast"]),
    absent: Absent::Default("live"),
};
const LOOP: Key = Key {
    name: "loop",
    doc: "Files: begin again at the end, for ever.",
    kind: Kind::Bool,
    absent: Absent::Default("false"),
};
const TRANSPORT: Key = Key {
    name: "transport",
    doc: "RTSP: `tcp` passes firewalls and loses nothing, `udp` has less delay on a bad network, `auto` is TCP and, for a camera that refuses it, UDP.",
    kind: Kind::Choice(&["auto", "tcp", "udp"]),
    absent: Absent::Default("auto"),
};
const LATENCY: Key = Key {
    name: "latency",
    doc: "RTSP over UDP, SRT: how long a packet that is missing is waited for. Default: 100ms for RTSP, 125ms for SRT.",
    kind: Kind::Duration(0, 60_000),
    absent: Absent::Optional,
};
const TLS: Key = Key {
    name: "tls",
    doc: "`rtsps`, `rtmps`, `https`: `verify` the server's certificate, or take `any`, as of cameras that sign their own.",
    kind: Kind::Choice(&["verify", "any"]),
    absent: Absent::Default("verify"),
};
const PASSPHRASE: Key = Key {
    name: "passphrase",
    doc: "SRT: encrypts the connection, 10 to 79 characters, the same at the sender.",
    kind: Kind::Text,
    absent: Absent::Optional,
};
const ON_DEMAND: Key = Key {
    name: "on_demand",
    doc: "Cameras: connect only while a viewer asks for the stream.",
    kind: Kind::Bool,
    absent: Absent::Default("false"),
};
const ON_DEMAND_LINGER: Key = Key {
    name: "on_demand_linger",
    doc: "A source on demand stays connected so long after its last viewer has gone.",
    kind: Kind::Duration(0, 3_600_000),
    absent: Absent::Default("10s"),
};
const SIZE: Key = Key {
    name: "size",
    doc: "Larger pictures are scaled down to fit, their aspect kept.",
    kind: Kind::Size,
    absent: Absent::Default("1280x720"),
};
const NO_FRAME_TIMEOUT: Key = Key {
    name: "no_frame_timeout",
    doc: "A live source that gives no frame for so long is connected anew.",
    kind: Kind::Duration(1000, 3_600_000),
    absent: Absent::Default("10s"),
};
const RETRY_KEY: Key = Key {
    name: "retry",
    doc: RETRY.doc,
    kind: Kind::Section(&RETRY),
    absent: Absent::Optional,
};
const DECODER: Key = Key {
    name: "decoder",
    doc: "`auto` takes a hardware decoder where there is one.",
    kind: Kind::Choice(&["auto", "software"]),
    absent: Absent::Default("auto"),
};
const MOTION_KEY: Key = Key {
    name: "motion",
    doc: MOTION.doc,
    kind: Kind::Section(&MOTION),
    absent: Absent::Optional,
};
const QUEUE_KEY: Key = Key {
    name: "queue",
    doc: QUEUE.doc,
    kind: Kind::Section(&QUEUE),
    absent: Absent::Optional,
};
const INFER: Key = Key {
    name: "infer",
    doc: "The models that look at each frame.",
    kind: Kind::List(&Kind::Name(contract::name::NAME_BYTES_MAX)),
    absent: Absent::Optional,
};
const CASCADES: Key = Key {
    name: "cascades",
    doc: "Second models that look at tracks again and again.",
    kind: Kind::List(&Kind::Section(&CASCADE)),
    absent: Absent::Optional,
};
const PRIORITY: Key = Key {
    name: "priority",
    doc: "Weight of this stream when models cannot keep up with all.",
    kind: Kind::Integer(1, 100),
    absent: Absent::Default("1"),
};
const TRACKER_KEY: Key = Key {
    name: "tracker",
    doc: TRACKER.doc,
    kind: Kind::Section(&TRACKER),
    absent: Absent::Optional,
};
const BEST_SHOTS_KEY: Key = Key {
    name: "best_shots",
    doc: "Write the best picture of each track when it ends. `off`, or absent: none is written.",
    kind: Kind::SectionOr(&BEST_SHOTS, "off"),
    absent: Absent::Optional,
};
const PRIVACY_KEY: Key = Key {
    name: "privacy",
    doc: "Hide objects in every picture that leaves. `off`, or absent: nothing is hidden.",
    kind: Kind::SectionOr(&PRIVACY, "off"),
    absent: Absent::Optional,
};
const OVERLAY_KEY: Key = Key {
    name: "overlay",
    doc: OVERLAY.doc,
    kind: Kind::Section(&OVERLAY),
    absent: Absent::Optional,
};
const ENCODE_KEY: Key = Key {
    name: "encode",
    doc: "H.264 encoder settings, or `off`. A stream without outputs and without rules that `record` is not encoded.",
    kind: Kind::SectionOr(&ENCODE, "off"),
    absent: Absent::Optional,
};
const PASSTHROUGH: Key = Key {
    name: "passthrough",
    doc: "Outputs get the source's own H.264 as it is: nothing is drawn or encoded, and without models and rules nothing is decoded.",
    kind: Kind::Bool,
    absent: Absent::Default("false"),
};
const OUTPUTS: Key = Key {
    name: "outputs",
    doc: "Where the annotated picture goes.",
    kind: Kind::List(&Kind::Section(&OUTPUT)),
    absent: Absent::Optional,
};
const RULES: Key = Key {
    name: "rules",
    doc: "Rule file of this stream in place of the run's, or `off`. Zones belong to what one camera sees.",
    kind: Kind::Path,
    absent: Absent::Optional,
};
const LABELS: Key = Key {
    name: "labels",
    doc: "Words about the stream that rules and gates may ask for: `labels: {site: harbour}`, `stream.label(\"site\")`.",
    kind: Kind::Map(&Kind::Text),
    absent: Absent::Optional,
};
const STORE_KEY: Key = Key {
    name: "store",
    doc: STORE.doc,
    kind: Kind::Section(&STORE),
    absent: Absent::Optional,
};

/// The keys of a stream.
pub(super) const STREAM: Section = Section {
    name: "stream",
    doc: "One source, what is done with its frames, and where they go.",
    keys: &[
        SOURCE,
        PACE,
        LOOP,
        TRANSPORT,
        LATENCY,
        TLS,
        PASSPHRASE,
        ON_DEMAND,
        ON_DEMAND_LINGER,
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MOTION_KEY,
        QUEUE_KEY,
        INFER,
        CASCADES,
        PRIORITY,
        TRACKER_KEY,
        BEST_SHOTS_KEY,
        LABELS,
        RULES,
        PRIVACY_KEY,
        OVERLAY_KEY,
        ENCODE_KEY,
        PASSTHROUGH,
        OUTPUTS,
        STORE_KEY,
    ],
};

/// The keys of a template: those of a stream whose source is what a sender publishes.
pub(super) const TEMPLATE: Section = Section {
    name: "template",
    doc: "What streams of `accept` are made from; `{name}` in its values is the name of the stream.",
    keys: &[
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MOTION_KEY,
        QUEUE_KEY,
        INFER,
        CASCADES,
        PRIORITY,
        TRACKER_KEY,
        BEST_SHOTS_KEY,
        LABELS,
        RULES,
        PRIVACY_KEY,
        OVERLAY_KEY,
        ENCODE_KEY,
        PASSTHROUGH,
        OUTPUTS,
        STORE_KEY,
    ],
};

/// The keys of `defaults`: those of a stream that several can share.
pub(super) const DEFAULTS: Section = Section {
    name: "defaults",
    doc: "Settings of every stream that does not say otherwise.",
    keys: &[
        PACE,
        LOOP,
        TRANSPORT,
        LATENCY,
        TLS,
        ON_DEMAND,
        ON_DEMAND_LINGER,
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MOTION_KEY,
        QUEUE_KEY,
        INFER,
        CASCADES,
        PRIORITY,
        TRACKER_KEY,
        BEST_SHOTS_KEY,
        LABELS,
        PRIVACY_KEY,
        OVERLAY_KEY,
        ENCODE_KEY,
        PASSTHROUGH,
        STORE_KEY,
    ],
};

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
