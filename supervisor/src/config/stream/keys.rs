//! The keys of a stream, of a template and of `defaults`.

use crate::config::best_shots::BEST_SHOTS;
use crate::config::cascade::CASCADE;
use crate::config::encode::ENCODE;
use crate::config::motion::MOTION;
use crate::config::output::OUTPUT;
use crate::config::overlay::OVERLAY;
use crate::config::privacy::PRIVACY;
use crate::config::queue::QUEUE;
use crate::config::retry::RETRY;
use crate::config::source::mosaic::MOSAIC;
use crate::config::store::STORE;
use crate::config::table::{Absent, Key, Kind, Section};
use crate::config::tracker::TRACKER;

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
const MEMORY: Key = Key {
    name: "memory",
    doc: "Where frames lie on their way from process to process: `host` is shared memory of the machine, `cuda` the memory of the first NVIDIA GPU, which makes the models' tensors of them.",
    kind: Kind::Choice(&["host", "cuda"]),
    absent: Absent::Default("host"),
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
pub(in crate::config) const STREAM: Section = Section {
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
        MEMORY,
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
pub(in crate::config) const TEMPLATE: Section = Section {
    name: "template",
    doc: "What streams of `accept` are made from; `{name}` in its values is the name of the stream.",
    keys: &[
        SIZE,
        NO_FRAME_TIMEOUT,
        RETRY_KEY,
        DECODER,
        MEMORY,
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
pub(in crate::config) const DEFAULTS: Section = Section {
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
        MEMORY,
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
