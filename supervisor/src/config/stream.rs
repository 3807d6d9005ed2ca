//! One stream: a source, what is done with its frames, and where they go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::findings::Finds;
use contract::geometry::PixelSize;
use contract::name::ModelName;
use contract::spec::OverlaySpec;
use dsl::yaml::Node;

use super::encode::ENCODE;
use super::motion::MOTION;
use super::output::OUTPUT;
use super::overlay::OVERLAY;
use super::queue::QUEUE;
use super::reader::{Fields, Reader};
use super::retry::RETRY;
use super::rules::RuleFiles;
use super::store::STORE;
use super::table::{Absent, Key, Kind, Section, list_text};
use super::tracker::TRACKER;
use super::{
    EncodeConfig, MotionConfig, OutputsConfig, QueueConfig, RetryConfig, RulesConfig, SourceConfig,
    TrackerConfig,
};
use super::{code, labels, overlay};

const SOURCE: Key = Key {
    name: "source",
    doc: "A video file, an `rtsp://` address, or a pattern like `test:ball?size=640x360&fps=25&frames=100`.",
    kind: Kind::Text,
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
    doc: "RTSP: `tcp` passes firewalls and loses nothing, `udp` has less delay on a bad network.",
    kind: Kind::Choice(&["tcp", "udp"]),
    absent: Absent::Default("tcp"),
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
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MOTION_KEY,
        QUEUE_KEY,
        INFER,
        PRIORITY,
        TRACKER_KEY,
        LABELS,
        RULES,
        OVERLAY_KEY,
        ENCODE_KEY,
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
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MOTION_KEY,
        QUEUE_KEY,
        INFER,
        PRIORITY,
        TRACKER_KEY,
        LABELS,
        OVERLAY_KEY,
        ENCODE_KEY,
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
    /// Weight when demand exceeds capacity, 1 or more.
    pub priority: u32,
    /// How detections become tracks.
    pub tracker: TrackerConfig,
    /// Words that rules and gates may ask for.
    pub labels: BTreeMap<String, String>,
    /// Zones, lines, gates and rules; shared by the streams that name the same file.
    pub rules: Option<Arc<RulesConfig>>,
    /// What is drawn.
    pub overlay: OverlaySpec,
    /// Encoder settings; `None` when no output and no rule needs them: nothing is drawn or encoded.
    pub encode: Option<EncodeConfig>,
    /// Where the encoded picture goes.
    pub outputs: OutputsConfig,
    /// Store what was detected in each frame.
    pub store_detections: bool,
}

/// What a stream is read against.
pub(super) struct Around<'a, 'r> {
    /// The models there are, and what they find as far as that can be read.
    pub(super) models: Vec<(&'a str, Option<Finds>)>,
    /// The run's rules.
    pub(super) rules: Option<Arc<RulesConfig>>,
    /// Reads rule files of streams.
    pub(super) rule_files: &'a mut RuleFiles<'r>,
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
        let labels = labels::read(fields);
        let rules = match fields.text("rules") {
            None => around.rules.clone(),
            Some(word) if word.text == "off" => None,
            Some(path) => around.rule_files.get(&path),
        };
        let overlay = fields
            .section("overlay")
            .and_then(|layers| overlay::read(&layers));
        let outputs = OutputsConfig::read(reader, fields.list("outputs"));
        let encode = if fields.is_word("encode") {
            None
        } else {
            fields
                .section("encode")
                .and_then(|encode| EncodeConfig::read(&encode))
        };
        let store = fields
            .section("store")
            .and_then(|store| store.boolean("detections"));
        if let Some(source) = &source {
            check_source(fields, own, source);
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
        Some(Self {
            source: source?,
            size: size?,
            no_frame_timeout: no_frame_timeout?,
            retry: retry?,
            hardware_decoder: decoder? == "auto",
            motion: motion?,
            queue: queue?,
            infer: infer?,
            priority: priority?,
            tracker: tracker?,
            labels: labels?,
            rules,
            overlay: overlay?,
            encode: encode.filter(|_| clips || !outputs.is_empty()),
            outputs,
            store_detections: store?,
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
    let message = format!("{} is a camera, which cannot wait", fields.title);
    let queue = fields.section("queue");
    let waits = queue.filter(|queue| queue.choice("policy") == Some("wait"));
    if let (SourceConfig::Rtsp { .. }, Some(queue)) = (source, waits) {
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

fn read_infer(
    reader: &Reader<'_>,
    items: &[Node],
    models: &[(&str, Option<Finds>)],
) -> Option<Vec<ModelName>> {
    let mut names: Vec<ModelName> = Vec::new();
    let mut maps = HashMap::new();
    let mut right = true;
    for item in items {
        let Some(name) = reader.text(item, "a model's name") else {
            right = false;
            continue;
        };
        let written = reader.as_written(&item.span);
        let Some((_, finds)) = models.iter().find(|(known, _)| *known == name.text) else {
            right = false;
            report_unknown(reader, item, name.text, models);
            continue;
        };
        match finds {
            Some(Finds::Embedding) => {
                let message = format!(
                    "the model `{written}` makes an embedding of an object, not of a whole frame"
                );
                let help =
                    "take it out of `infer`; a rule asks it about a track with `infer(MODEL)`";
                reader.report(
                    reader
                        .problem(code::CONTRADICTION, &item.span, message)
                        .helped(help),
                );
            }
            Some(finds @ (Finds::Depth | Finds::Classes)) => {
                if let Some(other) = maps.insert(*finds, name.text) {
                    let message =
                        format!("`{other}` and `{written}` both make a map of the same kind");
                    let help =
                        "leave one of them to the stream: rules and the overlay know one such map";
                    reader.report(
                        reader
                            .problem(code::CONTRADICTION, &item.span, message)
                            .helped(help),
                    );
                }
            }
            Some(Finds::Objects) | None => {}
        }
        if let Ok(name) = name.text.parse() {
            if names.contains(&name) {
                let message = format!("the model `{written}` is named twice");
                reader.report(reader.problem(code::TWICE, &item.span, message));
            }
            names.push(name);
        }
    }
    right.then_some(names)
}

fn report_unknown(reader: &Reader<'_>, item: &Node, name: &str, models: &[(&str, Option<Finds>)]) {
    let models: Vec<_> = models.iter().map(|(name, _)| *name).collect();
    let written = reader.as_written(&item.span);
    let known = match &models[..] {
        [] => "there are none: add `models:`".to_owned(),
        models => format!("the models are {}", list_text(models)),
    };
    let problem = reader.problem(
        code::UNKNOWN_MODEL,
        &item.span,
        format!("there is no model `{written}`"),
    );
    reader.report(problem.suggesting(dsl::suggest(name, models.iter().copied()), known));
}
