//! A small run for tests.

use std::path::Path;
use std::sync::Arc;

use contract::control::{FrameRecord, ObjectRecord};
use contract::event::Event;
use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::Cells;
use contract::name::{RunId, StreamName};
use contract::spec::RenderModelSpec;
use rusqlite::Connection;

use super::{NewRun, NewStream, Row, Writer, begin_run, open_or_create};

pub(crate) const SIZE: PixelSize = PixelSize {
    width: 1280,
    height: 720,
};

pub(crate) fn yard() -> StreamName {
    "yard".parse().expect("a name")
}

pub(crate) fn models() -> Arc<[RenderModelSpec]> {
    let model = |name: &str, labels: &[&str]| RenderModelSpec {
        model: name.parse().expect("a name"),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    [
        model("people", &["cat", "person, standing"]),
        model("cars", &["car", "truck", "bus"]),
    ]
    .into()
}

/// A run of one stream.
pub(crate) fn begin(directory: &Path, name: &str) -> (Connection, RunId) {
    let mut connection = open_or_create(directory).expect("a database");
    let new = NewRun {
        name,
        config_path: Path::new("/configs/yard.yaml"),
        files: Vec::new(),
        pid: 1,
        root: Path::new("/nowhere/sluice-1-0"),
        runs_directory: &directory.join("runs"),
        wall_ms: 1_000,
        streams: vec![NewStream {
            name: yard(),
            source: "rtsp://user:***@cam/1".to_owned(),
        }],
    };
    let run = begin_run(&mut connection, &new).expect("begun");
    (connection, run)
}

/// Writes frames of a run that is then over.
pub(crate) fn store(directory: &Path, records: Vec<FrameRecord>) -> RunId {
    let (connection, run) = begin(directory, "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
    writer.handle().offer(frames(records));
    assert_eq!(writer.finish().rows_given_up, 0);
    run
}

pub(crate) fn frames(records: Vec<FrameRecord>) -> Row {
    Row::Frames {
        stream: yard(),
        incarnation: 0,
        models: models(),
        records,
    }
}

/// A frame in which nothing was seen, at ten a second.
pub(crate) fn frame(sequence_number: u64) -> FrameRecord {
    FrameRecord {
        sequence_number,
        pts_ns: sequence_number * 100_000_000,
        wall_ms: 1_000 + i64::try_from(sequence_number).expect("small") * 100,
        size: SIZE,
        motion: 0.0,
        moved: Cells::default(),
        skip: None,
        objects: Vec::new(),
        attributes: Vec::new(),
    }
}

pub(crate) fn object() -> ObjectRecord {
    ObjectRecord {
        track: Some(7),
        model: 0,
        class: 1,
        score: Some(0.5),
        bounds: BoundingBox {
            x1: 1.0,
            y1: 2.0,
            x2: 3.0,
            y2: 4.5,
        },
        quality: None,
        landmarks: 0,
        depth: None,
    }
}

pub(crate) fn event(number: u64) -> Event {
    Event {
        id: format!("yard/crossing/{number}"),
        stream: yard(),
        rule: "crossing".to_owned(),
        generation: 0,
        track: Some(number),
        label: Some("person".to_owned()),
        sequence_number: number,
        begin_pts_ns: number * 1_000,
        end_pts_ns: None,
        begin_wall_ms: 1_000,
        score: Some(0.512_3),
        bounds: Some(BoundingBox {
            x1: 0.1,
            y1: 2.0,
            x2: 3.3,
            y2: 4.5,
        }),
        message: format!("person {number} crossed"),
        labels: [("severity".to_owned(), "low".to_owned())].into(),
        snapshot: None,
        clip: None,
        deliveries: Vec::new(),
    }
}
