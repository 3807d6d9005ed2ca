//! The functions.

use super::{ALL, Example, RULES, Scope, TRACK, Type, frame, track};

/// One row of [`FUNCTIONS`].
#[derive(Debug)]
pub struct FunctionSpec {
    /// As it is written.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it gives; of `min`, `max` and `avg`, which give what their field is, a number.
    pub kind: Type,
    /// What it counts in; empty for what has none.
    pub unit: &'static str,
    /// Where it can be used.
    pub scopes: &'static [Scope],
    /// What it says, in one sentence or two.
    pub meaning: &'static str,
    /// Conditions with it.
    pub examples: &'static [Example],
    pub(crate) function: Function,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    InZone,
    Entered,
    Left,
    Crossed,
    Dwell,
    Distance,
    Attribute,
    Exists,
    All,
    Count,
    Minimum,
    Maximum,
    Average,
    Rate,
    Clock,
    Motion,
    StreamLabel,
    Every,
    Changed,
}

/// All functions.
pub const FUNCTIONS: &[FunctionSpec] = &[
    FunctionSpec {
        name: "in_zone",
        usage: "in_zone(ZONE)",
        kind: Type::Boolean,
        unit: "",
        scopes: TRACK,
        meaning: "the anchor of the track's box lies inside the zone",
        examples: &[track(
            "in_zone(dock)",
            "track 1 from 5s to 20s; track 2 from 0s to 20s",
        )],
        function: Function::InZone,
    },
    FunctionSpec {
        name: "entered",
        usage: "entered(ZONE)",
        kind: Type::Boolean,
        unit: "",
        scopes: TRACK,
        meaning: "in this frame the track came into the zone; true in one frame",
        examples: &[track("entered(dock)", "track 1 at 5s")],
        function: Function::Entered,
    },
    FunctionSpec {
        name: "left",
        usage: "left(ZONE)",
        kind: Type::Boolean,
        unit: "",
        scopes: TRACK,
        meaning: "in this frame the track had gone out of the zone; true in one frame",
        examples: &[track("left(street)", "track 1 at 5s")],
        function: Function::Left,
    },
    FunctionSpec {
        name: "crossed",
        usage: "crossed(LINE) or crossed(LINE, left_to_right)",
        kind: Type::Boolean,
        unit: "",
        scopes: TRACK,
        meaning: "in this frame the track's foot crossed the line, either way or `left_to_right` or \
                  `right_to_left` as seen walking from the line's `from` to its `to`; true in one frame",
        examples: &[
            track("crossed(gate, left_to_right)", "track 1 at 5s"),
            track("crossed(gate, right_to_left)", "never"),
        ],
        function: Function::Crossed,
    },
    FunctionSpec {
        name: "dwell",
        usage: "dwell(ZONE)",
        kind: Type::Duration,
        unit: "",
        scopes: TRACK,
        meaning: "event time that the track has been in the zone without a break of over 500 ms; 0 outside",
        examples: &[track(
            "dwell(dock) >= 12s",
            "track 1 from 17s to 20s; track 2 from 12s to 20s",
        )],
        function: Function::Dwell,
    },
    FunctionSpec {
        name: "distance",
        usage: "distance(ZONE), distance(LINE) or distance(track)",
        kind: Type::Number,
        unit: "heights of the picture",
        scopes: TRACK,
        meaning: "from the track's foot to the nearest edge of the zone (0 inside) or to the line; \
                  inside of an aggregate of a rule `on: track`, `distance(track)` is from the foot of the \
                  counted track to that of the rule's own",
        examples: &[
            track(
                "distance(dock) < 0.1",
                "track 1 from 4s to 20s; track 2 from 0s to 20s",
            ),
            track(
                r#"label == "suitcase" and not exists(label == "person" and distance(track) < 0.5)"#,
                "track 2 from 0s to 5s",
            ),
        ],
        function: Function::Distance,
    },
    FunctionSpec {
        name: "attribute",
        usage: "attribute(\"NAME\")",
        kind: Type::String,
        unit: "",
        scopes: TRACK,
        meaning: "what a second model or a `tag` said of the track; \"\" where nobody said anything",
        examples: &[track(
            r#"attribute("color") == "red""#,
            "track 3 from 9s to 12s",
        )],
        function: Function::Attribute,
    },
    FunctionSpec {
        name: "exists",
        usage: "exists(CONDITION)",
        kind: Type::Boolean,
        unit: "",
        scopes: RULES,
        meaning: "the condition holds for some track; in a rule `on: track`, for some other track",
        examples: &[frame(r#"exists(label == "car")"#, "from 8s to 12s")],
        function: Function::Exists,
    },
    FunctionSpec {
        name: "all",
        usage: "all(CONDITION) or all(CONDITION, FILTER)",
        kind: Type::Boolean,
        unit: "",
        scopes: RULES,
        meaning: "the condition holds for every track, or for every one that the filter holds for; true \
                  where there is none. In a rule `on: track` the own track is left out",
        examples: &[frame(
            r#"all(in_zone(dock), label == "person")"#,
            "from 5s to 20s",
        )],
        function: Function::All,
    },
    FunctionSpec {
        name: "count",
        usage: "count(CONDITION)",
        kind: Type::Integer,
        unit: "tracks",
        scopes: RULES,
        meaning: "how many tracks the condition holds for; in a rule `on: track` the own track is left out. \
                  With `within T` behind the comparison: how many different tracks it held for in some frame of \
                  the last `T`, ended ones too, of which 256 at most are counted",
        examples: &[
            frame("count(in_zone(dock)) > 1", "from 5s to 20s"),
            frame("count(crossed(gate)) >= 1 within 2s", "from 5s to 7s"),
        ],
        function: Function::Count,
    },
    FunctionSpec {
        name: "min",
        usage: "min(VALUE) or min(VALUE, FILTER)",
        kind: Type::Number,
        unit: "",
        scopes: RULES,
        meaning: "the least value among the tracks, or among those that the filter holds for; where there is \
                  none, no comparison holds. In a rule `on: track` the own track is left out",
        examples: &[frame("min(score) < 0.6", "from 8s to 12s")],
        function: Function::Minimum,
    },
    FunctionSpec {
        name: "max",
        usage: "max(VALUE) or max(VALUE, FILTER)",
        kind: Type::Number,
        unit: "",
        scopes: RULES,
        meaning: "as `min`, the greatest",
        examples: &[frame(
            r#"max(dwell(dock), label == "person") > 10s"#,
            "from 15.5s to 20s",
        )],
        function: Function::Maximum,
    },
    FunctionSpec {
        name: "avg",
        usage: "avg(VALUE) or avg(VALUE, FILTER)",
        kind: Type::Number,
        unit: "",
        scopes: RULES,
        meaning: "as `min`, the mean",
        examples: &[frame("avg(score) < 75%", "from 8s to 12s")],
        function: Function::Average,
    },
    FunctionSpec {
        name: "rate",
        usage: "rate(CONDITION, WINDOW)",
        kind: Type::Number,
        unit: "beginnings a minute",
        scopes: RULES,
        meaning: "how often a minute the condition began to hold for a track, over the last window (at most \
                  1h, of whose beginnings the newest 4096 are counted). A track that is missing for a while and \
                  comes back begins nothing. In a rule `on: track` the own track is left out",
        examples: &[frame("rate(in_zone(street), 10s) > 10", "from 8s to 10s")],
        function: Function::Rate,
    },
    FunctionSpec {
        name: "clock",
        usage: "clock(\"ZONE/NAME\").hour, .minute, .weekday or .time",
        kind: Type::Integer,
        unit: "",
        scopes: ALL,
        meaning: "the time of day of the frame's capture in a named time zone: `hour` 0 to 23, `minute` 0 to 59, \
                  `weekday` \"monday\" to \"sunday\", `time` the duration since midnight",
        examples: &[
            frame(r#"clock("Europe/Berlin").hour in 8..17"#, "from 10s to 20s"),
            frame(r#"clock("UTC").weekday == "sunday""#, "never"),
            frame(r#"clock("America/New_York").time < 2h"#, "from 0s to 9.5s"),
        ],
        function: Function::Clock,
    },
    FunctionSpec {
        name: "motion",
        usage: "motion(ZONE)",
        kind: Type::Fraction,
        unit: "areas of the zone",
        scopes: ALL,
        meaning: "the part of the zone that moved since the frame before",
        examples: &[frame("motion(dock) > 2%", "from 5s to 9.5s")],
        function: Function::Motion,
    },
    FunctionSpec {
        name: "stream.label",
        usage: "stream.label(\"NAME\")",
        kind: Type::String,
        unit: "",
        scopes: ALL,
        meaning: "a label that the run gave the stream; \"\" where it has none of that name",
        examples: &[frame(
            r#"stream.label("site") == "north""#,
            "from 0s to 20s",
        )],
        function: Function::StreamLabel,
    },
    FunctionSpec {
        name: "every",
        usage: "every(DURATION)",
        kind: Type::Boolean,
        unit: "",
        scopes: ALL,
        meaning: "so much event time has passed since it was true last; true in the first frame. In a gate: since \
                  the last frame that was let through",
        examples: &[frame("every(10s)", "at 0s; at 10s; at 20s")],
        function: Function::Every,
    },
    FunctionSpec {
        name: "changed",
        usage: "changed(VALUE)",
        kind: Type::Boolean,
        unit: "",
        scopes: RULES,
        meaning: "the value, or the answer of the condition, is another than in the evaluation before; false in \
                  the first",
        examples: &[
            frame("changed(tracks)", "at 8s; at 12.5s"),
            track("changed(in_zone(dock))", "track 1 at 5s"),
        ],
        function: Function::Changed,
    },
];
