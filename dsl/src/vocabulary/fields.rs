//! The fields.

use super::{ALL, Example, RULES, Scope, TRACK, Type, frame, track};

/// One row of [`FIELDS`].
#[derive(Debug, Clone, Copy)]
pub struct FieldSpec {
    /// As it is written.
    pub name: &'static str,
    /// What it can be compared with.
    pub kind: Type,
    /// What it counts in; empty for what has none.
    pub unit: &'static str,
    /// The largest value it can have, if there is one.
    pub maximum: Option<f64>,
    /// Where it can be used.
    pub scopes: &'static [Scope],
    /// What it is, in one sentence.
    pub meaning: &'static str,
    /// A condition with it.
    pub example: Example,
    pub(crate) reading: Reading,
}

/// How a field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Number(Field),
    Label,
    StreamName,
}

/// A field that is a number; durations are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Score,
    RawScore,
    BoxX,
    BoxY,
    BoxWidth,
    BoxHeight,
    BoxArea,
    BoxAspect,
    TrackId,
    TrackAge,
    TrackHits,
    TrackSpeed,
    TrackDirection,
    Sharpness,
    Brightness,
    Best,
    Landmarks,
    Depth,
    Motion,
    FramesPerSecond,
    Tracks,
    Events,
}

impl Field {
    /// Its row.
    pub(crate) fn spec(self) -> &'static FieldSpec {
        FIELDS
            .iter()
            .find(|spec| spec.reading == Reading::Number(self))
            .expect("each field has its row, which a test sees to")
    }
}

const fn number(
    name: &'static str,
    kind: Type,
    unit: &'static str,
    field: Field,
    meaning: &'static str,
    example: Example,
) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        unit,
        maximum: match kind {
            Type::Fraction => Some(1.0),
            _ => None,
        },
        scopes: TRACK,
        meaning,
        example,
        reading: Reading::Number(field),
    }
}

const fn in_scopes(scopes: &'static [Scope], spec: FieldSpec) -> FieldSpec {
    FieldSpec { scopes, ..spec }
}

/// All fields.
pub const FIELDS: &[FieldSpec] = &[
    FieldSpec {
        name: "label",
        kind: Type::Label,
        unit: "",
        maximum: None,
        scopes: TRACK,
        meaning: "the class of the track, by the model's name for it",
        example: track(r#"label in ["car", "truck"]"#, "track 3 from 8s to 12s"),
        reading: Reading::Label,
    },
    number(
        "score",
        Type::Fraction,
        "",
        Field::Score,
        "the median of the track's recent scores",
        track("score > 80%", "track 1 from 0s to 20s"),
    ),
    number(
        "raw_score",
        Type::Fraction,
        "",
        Field::RawScore,
        "the score in this frame; 0 where the box is predicted, not seen",
        track("raw_score == 0", "track 1 at 12s"),
    ),
    number(
        "box.x",
        Type::Fraction,
        "widths of the picture",
        Field::BoxX,
        "the left edge of the box",
        track("box.x > 0.7", "track 2 from 0s to 20s"),
    ),
    number(
        "box.y",
        Type::Fraction,
        "heights of the picture",
        Field::BoxY,
        "the top edge of the box",
        track("box.y < 0.5", "track 1 from 0s to 20s"),
    ),
    number(
        "box.width",
        Type::Fraction,
        "widths of the picture",
        Field::BoxWidth,
        "the width of the box",
        track("box.width > 15%", "track 3 from 8s to 12s"),
    ),
    number(
        "box.height",
        Type::Fraction,
        "heights of the picture",
        Field::BoxHeight,
        "the height of the box",
        track(
            "box.height < 0.3",
            "track 2 from 0s to 20s; track 3 from 8s to 12s",
        ),
    ),
    number(
        "box.area",
        Type::Fraction,
        "areas of the picture",
        Field::BoxArea,
        "the area of the box",
        track("box.area < 1%", "track 2 from 0s to 20s"),
    ),
    number(
        "box.aspect",
        Type::Number,
        "",
        Field::BoxAspect,
        "the width of the box over its height, both in pixels",
        track("box.aspect > 1", "track 3 from 8s to 12s"),
    ),
    number(
        "track.id",
        Type::Integer,
        "",
        Field::TrackId,
        "the number of the track, never given twice in a stream; for messages",
        track("track.id == 2", "track 2 from 0s to 20s"),
    ),
    number(
        "track.age",
        Type::Duration,
        "",
        Field::TrackAge,
        "event time since the track was first seen",
        track(
            "track.age < 2s",
            "track 1 from 0s to 1.5s; track 2 from 0s to 1.5s; track 3 from 8s to 9.5s",
        ),
    ),
    number(
        "track.hits",
        Type::Integer,
        "frames",
        Field::TrackHits,
        "frames in which the track was seen",
        track("track.hits >= 41", "track 2 at 20s"),
    ),
    number(
        "track.speed",
        Type::Number,
        "heights of the picture a second",
        Field::TrackSpeed,
        "how fast the track goes, over the last half second or so",
        track("track.speed > 0.3", "track 3 from 8s to 12s"),
    ),
    FieldSpec {
        maximum: Some(360.0),
        ..number(
            "track.direction",
            Type::Number,
            "degrees clockwise from up",
            Field::TrackDirection,
            "where the track goes; while it stands, no comparison holds",
            track("track.direction in 45..135", "track 1 from 0s to 9.5s"),
        )
    },
    number(
        "quality.sharpness",
        Type::Number,
        "",
        Field::Sharpness,
        "mean gradient of the box's luma over its brightness; where nobody measured, no comparison holds",
        track("quality.sharpness < 0.2", "track 1 from 0s to 9.5s"),
    ),
    number(
        "quality.brightness",
        Type::Fraction,
        "",
        Field::Brightness,
        "mean luma of the box; where nobody measured, no comparison holds",
        track("quality.brightness < 30%", "track 2 from 0s to 20s"),
    ),
    number(
        "quality.best",
        Type::Number,
        "",
        Field::Best,
        "the best `raw_score * 10 + sharpness` that the track has had; before the first, no comparison holds",
        track("quality.best > 9", "track 1 from 0s to 20s"),
    ),
    number(
        "landmarks",
        Type::Integer,
        "",
        Field::Landmarks,
        "landmarks found on the object in this frame; needs a model that gives them",
        track("landmarks >= 5", "track 1 from 10s to 20s"),
    ),
    number(
        "depth",
        Type::Number,
        "the unit of the depth model",
        Field::Depth,
        "depth in the middle of the box, as the depth model gives it: metres, or relative inverse depth, where more is nearer; where there is no map, no comparison holds",
        track("depth < 4", "track 1 from 5s to 20s"),
    ),
    in_scopes(
        ALL,
        number(
            "motion",
            Type::Fraction,
            "areas of the picture",
            Field::Motion,
            "the part of the picture that moved since the frame before",
            frame("motion > 0.5%", "from 0s to 12s"),
        ),
    ),
    in_scopes(
        RULES,
        number(
            "fps",
            Type::Number,
            "frames a second of event time",
            Field::FramesPerSecond,
            "how many frames come, over the last second or two",
            frame("fps < 5", "from 0s to 20s"),
        ),
    ),
    FieldSpec {
        name: "stream.name",
        kind: Type::String,
        unit: "",
        maximum: None,
        scopes: ALL,
        meaning: "the name of the stream",
        example: frame(r#"stream.name matches "^ya""#, "from 0s to 20s"),
        reading: Reading::StreamName,
    },
    in_scopes(
        ALL,
        number(
            "tracks",
            Type::Integer,
            "",
            Field::Tracks,
            "the tracks in the frame; in a gate, those of the last frame that was rendered",
            frame("tracks > 2", "from 8s to 12s"),
        ),
    ),
    in_scopes(
        ALL,
        number(
            "events",
            Type::Integer,
            "",
            Field::Events,
            "the events that last now, of all rules of the stream, before this frame",
            frame("events > 0", "from 15s to 20s"),
        ),
    ),
];
