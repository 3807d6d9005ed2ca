//! Frames as records, and rules as text.

use std::path::Path;
use std::sync::Arc;

use analytics::{EngineSpec, Firing, Phase, RuleEngine};
use contract::control::{AttributeRecord, FrameRecord, ObjectRecord};
use contract::detection::Skip;
use contract::event::Event;
use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::Cells;
use dsl::RuleFile;

pub(crate) const MS_NS: u64 = 1_000_000;

/// A track that no record has had for so long is forgotten.
pub(crate) const FORGET_MS: u64 = 1000;

pub(crate) const PERSON: u16 = 0;
pub(crate) const SUITCASE: u16 = 1;

/// `left` and `right` are the halves of the picture; `middle` runs down between them, so that
/// walking from left to right is `right_to_left`, for who walks down has the left on the right.
pub(crate) const PLACES: &str = "
zones:
  left: {polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
  right: {polygon: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}
lines:
  middle: {from: [0.5, 0], to: [0.5, 1]}
";

/// A rule file: [`PLACES`] and these rules, each `name: {...}` on a line.
pub(crate) fn file(rules: &[&str]) -> Arc<RuleFile> {
    let mut text = format!("{PLACES}rules:\n");
    for rule in rules {
        text.push_str(&format!("  {rule}\n"));
    }
    parse(&text)
}

pub(crate) fn parse(text: &str) -> Arc<RuleFile> {
    let file = RuleFile::parse_checked(text, Path::new("rules.yaml"));
    Arc::new(file.unwrap_or_else(|faults| panic!("{}\n{text}", faults[0].render(text))))
}

pub(crate) fn spec() -> EngineSpec {
    EngineSpec {
        generation: 3,
        stream: "yard".parse().expect("a name"),
        stream_labels: [("site".to_owned(), "north".to_owned())].into(),
        class_names: vec![["person", "suitcase"].map(str::to_owned).to_vec()],
        forget_after_ns: FORGET_MS * MS_NS,
    }
}

pub(crate) fn engine(rules: &[&str]) -> RuleEngine {
    RuleEngine::new(file(rules), &spec())
}

/// A track whose foot stands at `x` of 200.
pub(crate) fn seen(track: u64, x: f32) -> ObjectRecord {
    ObjectRecord {
        track: Some(track),
        model: 0,
        class: PERSON,
        score: Some(0.75),
        bounds: BoundingBox {
            x1: x - 10.0,
            y1: 20.0,
            x2: x + 10.0,
            y2: 90.0,
        },
        quality: None,
        landmarks: 0,
        depth: None,
    }
}

pub(crate) fn frame(pts_ms: u64, objects: Vec<ObjectRecord>) -> FrameRecord {
    let mut record = FrameRecord {
        sequence_number: pts_ms / 100,
        pts_ns: pts_ms * MS_NS,
        wall_ms: 1_000_000 + i64::try_from(pts_ms).expect("small"),
        size: PixelSize {
            width: 200,
            height: 100,
        },
        motion: 0.0,
        moved: Cells::default(),
        skip: None,
        objects,
        attributes: Vec::new(),
    };
    record.round();
    record
}

pub(crate) fn skipped(pts_ms: u64, objects: Vec<ObjectRecord>) -> FrameRecord {
    FrameRecord {
        skip: Some(Skip::Gated),
        ..frame(pts_ms, objects)
    }
}

pub(crate) fn knowing(mut record: FrameRecord, track: u64, name: &str, value: &str) -> FrameRecord {
    record.attributes.push(AttributeRecord {
        track,
        name: name.to_owned(),
        value: value.to_owned(),
        asked_sequence: record.sequence_number,
        found: None,
        embedding: None,
    });
    record
}

/// Plays frames of 10 fps for track 1: `+` in `left`, `-` in `right`, `c` predicted in `left`,
/// ` ` a frame without the track, `.` no frame at all.
pub(crate) fn records(frames: &str) -> Vec<FrameRecord> {
    let record = |(index, what): (u64, char)| {
        let objects = match what {
            '+' => vec![seen(1, 50.0)],
            '-' => vec![seen(1, 150.0)],
            'c' => vec![ObjectRecord {
                score: None,
                ..seen(1, 50.0)
            }],
            ' ' => Vec::new(),
            _ => return None,
        };
        let pts_ms = index * 100;
        Some(match what {
            'c' => skipped(pts_ms, objects),
            _ => frame(pts_ms, objects),
        })
    };
    (0..).zip(frames.chars()).filter_map(record).collect()
}

/// What is told, in short: `rule B300` for a begin at 300 ms, `rule E500` for an end.
pub(crate) fn short(firings: &[Firing]) -> Vec<String> {
    firings
        .iter()
        .map(|firing| {
            let event = &firing.event;
            match (firing.phase, event.end_pts_ns) {
                (Phase::Begin, None) => format!("{} B{}", event.rule, event.begin_pts_ns / MS_NS),
                (Phase::End, Some(end)) => format!("{} E{}", event.rule, end / MS_NS),
                wrong => panic!("{wrong:?}"),
            }
        })
        .collect()
}

/// All that is told of these records, the end of the stream included.
pub(crate) fn told(engine: &mut RuleEngine, records: &[FrameRecord]) -> Vec<String> {
    let mut all = Vec::new();
    for record in records {
        all.extend(short(&engine.observe(record)));
    }
    all.extend(short(&engine.finish()));
    all
}

/// The begins of all events, in milliseconds, of a rule named `rule`.
pub(crate) fn begins(rule: &str, records: &[FrameRecord]) -> Vec<u64> {
    let mut engine = engine(&[rule]);
    let mut all = Vec::new();
    for record in records {
        let firings = engine.observe(record);
        let begins = firings.iter().filter(|firing| firing.phase == Phase::Begin);
        all.extend(begins.map(|firing| firing.event.begin_pts_ns / MS_NS));
    }
    all
}

/// The one event that a run of these records begins.
pub(crate) fn first_event(rule: &str, records: &[FrameRecord]) -> Event {
    let mut engine = engine(&[rule]);
    let firings = records.iter().flat_map(|record| engine.observe(record));
    let mut firings: Vec<_> = firings.collect();
    assert!(!firings.is_empty(), "`{rule}` never fired");
    firings.swap_remove(0).event
}
