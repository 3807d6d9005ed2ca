//! The clauses of a rule and the actions behind `do`.

/// One row of [`CLAUSES`].
#[derive(Debug)]
pub struct ClauseSpec {
    /// The key.
    pub name: &'static str,
    /// What stands behind it.
    pub usage: &'static str,
    /// What is taken where it is left out; empty for what must be written.
    pub default: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// A rule with it, as YAML under `rules:`.
    pub example: &'static str,
}

/// One row of [`ACTIONS`].
#[derive(Debug)]
pub struct ActionSpec {
    /// As it is written.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// Needs a track: rules `on: track` only.
    pub on_track: bool,
    /// What it does.
    pub meaning: &'static str,
    /// An item of `do`.
    pub example: &'static str,
}

/// All clauses of a rule.
pub const CLAUSES: &[ClauseSpec] = &[
    ClauseSpec {
        name: "on",
        usage: "`track`, `frame` or `stream`",
        default: "",
        meaning: "what the rule is evaluated for: each track that is seen or predicted in a frame; each frame that a \
                  model ran on; or every frame of the stream",
        example: "parked: {on: track, when: 'label == \"car\" and track.speed < 0.01', for: 1m}",
    },
    ClauseSpec {
        name: "when",
        usage: "a condition or a sequence",
        default: "",
        meaning: "what must hold",
        example: "crowd: {on: frame, when: 'count(label == \"person\" and in_zone(dock)) > 20'}",
    },
    ClauseSpec {
        name: "for",
        usage: "a duration",
        default: "0s",
        meaning: "the condition must hold so long, in event time, before the rule fires",
        example: "loitering: {on: track, when: in_zone(dock), for: 10s}",
    },
    ClauseSpec {
        name: "gap",
        usage: "a duration",
        default: "1s",
        meaning: "interruptions of the condition up to so long are overlooked. Frames that are missing are none: \
                  an interruption begins with a frame that says no",
        example: "loitering: {on: track, when: in_zone(dock), for: 10s, gap: 2s}",
    },
    ClauseSpec {
        name: "keep",
        usage: "a duration",
        default: "0s",
        meaning: "the event stays open so long after the condition has ceased to hold; if it holds again meanwhile, \
                  the same event goes on. The end that is reported is when it held last",
        example: "queue: {on: frame, when: count(in_zone(dock)) > 4, keep: 30s}",
    },
    ClauseSpec {
        name: "limit",
        usage: "`{per: track, every: DURATION, max: N}`",
        default: "no limit but those against floods",
        meaning: "at most `max` firings (default 1) inside of `every`, `per: track`, `per: rule` \
                  on a stream, or `per: stream`, which counts all its rules together. What is held back is counted",
        example: "seen: {on: track, when: 'label == \"person\"', limit: {per: rule, every: 1m, max: 5}}",
    },
    ClauseSpec {
        name: "labels",
        usage: "texts by name",
        default: "none",
        meaning: "what the rule's events carry, for whoever sorts them",
        example: "dark: {on: stream, when: motion < 0.1%, for: 10m, labels: {severity: warning}}",
    },
    ClauseSpec {
        name: "message",
        usage: "a text with `{VALUE}` in it",
        default: "the name of the rule",
        meaning: "what the rule's events say. Between braces stands any value of the rule's scope, but nothing that \
                  remembers; `{{` and `}}` are braces",
        example: "loitering: {on: track, when: dwell(dock) > 10s, message: \"person {track.id} in the dock for {dwell(dock)}\"}",
    },
    ClauseSpec {
        name: "do",
        usage: "a list of actions",
        default: "`[alert]`",
        meaning: "what is done when the rule fires",
        example: "loitering: {on: track, when: dwell(dock) > 10s, do: [snapshot, 'record(before: 5s, after: 10s)']}",
    },
];

/// All actions.
pub const ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        name: "alert",
        usage: "alert",
        on_track: false,
        meaning: "records the event, with its begin and its end. Every rule does, unless all it does is `draw`, `tag` \
                  or `infer`",
        example: "alert",
    },
    ActionSpec {
        name: "draw",
        usage: "draw or draw(color: \"red\")",
        on_track: true,
        meaning: "draws the track in that color while the event lasts: red, orange, yellow, green, cyan, blue, \
                  magenta, white or \"#rrggbb\"",
        example: "draw(color: \"#ff8000\")",
    },
    ActionSpec {
        name: "snapshot",
        usage: "snapshot, snapshot(best) or snapshot(frame)",
        on_track: false,
        meaning: "keeps a picture with the event: the best shot of the track, or the whole frame. Without a word, the \
                  best shot in rules `on: track`, else the frame",
        example: "snapshot(frame)",
    },
    ActionSpec {
        name: "record",
        usage: "record(before: DURATION, after: DURATION)",
        on_track: false,
        meaning: "keeps the video around the event; 5s before it and 10s after it unless written otherwise, at most 30s \
                  and 5m",
        example: "record(before: 10s, after: 30s)",
    },
    ActionSpec {
        name: "tag",
        usage: "tag(\"NAME\") or tag(\"NAME\", \"VALUE\")",
        on_track: true,
        meaning: "sets an attribute of the track, which rules read by `attribute(\"NAME\")` from the next frame on; \
                  without a value, \"true\"",
        example: "tag(\"suspicious\")",
    },
    ActionSpec {
        name: "publish",
        usage: "publish(\"TOPIC\")",
        on_track: false,
        meaning: "delivers the event to a topic of the message broker",
        example: "publish(\"gate-events\")",
    },
    ActionSpec {
        name: "webhook",
        usage: "webhook(\"URL\")",
        on_track: false,
        meaning: "delivers the event by an HTTP request; the URL names no user and no password",
        example: "webhook(\"https://example.org/hook\")",
    },
    ActionSpec {
        name: "infer",
        usage: "infer(MODEL)",
        on_track: true,
        meaning: "runs a second model on the crop of the track, once each time the rule fires; the label of the best thing it finds there (\"\" when it finds nothing) becomes the attribute of the model's name, a frame or more later",
        example: "infer(plates)",
    },
];
