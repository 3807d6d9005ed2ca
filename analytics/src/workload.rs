//! A busy stream without end, for measurements: made-up tracks and five typical rules.
//!
//! What is measured on it, here and in the crate `bench`, is the same in all places.

use std::path::Path;

use contract::control::{FrameRecord, ObjectRecord};
use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::Cells;
use contract::name::NameError;
use dsl::{Diagnostic, RuleFile};

use crate::rules::{EngineSpec, RuleEngine};

/// One rule of each sort: a dwell, a crossing, a sequence, something left behind (which looks
/// at all other tracks) and a crowd. All are asked in each frame, and none ever fires.
pub const RULES: &str = r#"
zones:
  dock: {polygon: [[0.1, 0.5], [0.6, 0.5], [0.6, 1.0], [0.1, 1.0]]}
  drive: {polygon: [[0.7, 0.0], [1.0, 0.0], [1.0, 0.3], [0.7, 0.3]]}
lines:
  gate: {from: [0.4, 0.0], to: [0.4, 1.0]}
rules:
  loitering:
    on: track
    when: label == "person" and score > 0.6 and in_zone(dock)
    for: 10m
    message: "person {track.id} in the dock for {dwell(dock)}"
  wrong_way:
    on: track
    when: crossed(gate, right_to_left) and track.speed > 50
  shortcut:
    on: track
    when: in_zone(dock) -> in_zone(drive) within 8s
  abandoned:
    on: track
    when: label == "suitcase" and not exists(label == "person" and distance(track) < 0.5)
    for: 10m
  crowd:
    on: frame
    when: count(label == "person" and in_zone(dock)) > 400
"#;

/// Frames a second of the stream.
pub const FPS: u64 = 25;

const SIZE: PixelSize = PixelSize {
    width: 1280,
    height: 720,
};

/// Why there is no engine: a defect of [`RULES`], or of the rule language.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The rules are not accepted.
    #[error("the rules of the workload are not accepted: {0:?}")]
    Rules(Vec<Diagnostic>),
    /// The name of the stream is not accepted.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// An engine with [`RULES`].
///
/// # Errors
/// [`WorkloadError`] when the rule language has come to refuse them.
pub fn engine() -> Result<RuleEngine, WorkloadError> {
    let file =
        RuleFile::parse_checked(RULES, Path::new("workload.yaml")).map_err(WorkloadError::Rules)?;
    let spec = EngineSpec {
        generation: 0,
        stream: "yard".parse()?,
        stream_labels: [("site".to_owned(), "north".to_owned())].into(),
        class_names: vec![["person", "suitcase"].map(str::to_owned).to_vec()],
        forget_after_ns: 2_000_000_000,
    };
    Ok(RuleEngine::new(file, &spec))
}

/// The frame with this number: so many tracks, of which each fifth is a suitcase and stands,
/// and the others walk to and fro across the lower part of the picture.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "pixels and seconds")]
pub fn record(number: u64, tracks: u64) -> FrameRecord {
    let (width, height) = (SIZE.width as f32, SIZE.height as f32);
    let object = |track: u64| {
        let is_suitcase = track.is_multiple_of(5);
        // Each walks at its own pace: 8 to 14 s from one side to the other.
        let period = (8 + track % 7) * FPS;
        let phase = if is_suitcase {
            track * 40
        } else {
            track * 40 + number
        } % (2 * period);
        let way = phase.min(2 * period - phase) as f32 / period as f32;
        let x = 40.0 + way * (width - 80.0);
        let y = height * (0.55 + 0.02 * (track % 20) as f32);
        let side = if is_suitcase { 40.0 } else { 120.0 };
        ObjectRecord {
            track: Some(track + 1),
            model: 0,
            class: u16::from(is_suitcase),
            score: Some(0.5 + 0.02 * ((track + number) % 20) as f32),
            bounds: BoundingBox {
                x1: x - side / 4.0,
                y1: y - side,
                x2: x + side / 4.0,
                y2: y,
            },
            quality: None,
            landmarks: 0,
            depth: None,
        }
    };
    let mut record = FrameRecord {
        sequence_number: number,
        pts_ns: number * 1_000_000_000 / FPS,
        wall_ms: i64::try_from(number * 1000 / FPS).unwrap_or(i64::MAX),
        size: SIZE,
        motion: 0.05,
        moved: Cells::of(|[_, y]| y > 0.5),
        skip: None,
        objects: (0..tracks).map(object).collect(),
        attributes: Vec::new(),
    };
    record.round();
    record
}
