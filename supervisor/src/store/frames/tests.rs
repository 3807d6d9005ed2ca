use std::path::Path;

use contract::control::{AttributeRecord, FoundRecord, ObjectRecord, Quality};
use contract::geometry::BoundingBox;
use contract::motion::{COLUMNS, ROWS, WORDS};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::store::fixture::{self, SIZE, begin, frame, models, object, yard};
use crate::store::{Reader, Row, Writer, open_or_create};

fn objects() -> impl Strategy<Value = ObjectRecord> {
    let edge = || -64.0_f32..8192.0;
    let class = prop_oneof![(Just(0_u16), 0..2_u16), (Just(1_u16), 0..3_u16)];
    let quality = (any::<u16>(), any::<u8>()).prop_map(|(sharpness, brightness)| Quality {
        sharpness,
        brightness,
    });
    (
        option::of(0..1_u64 << 40),
        class,
        option::of(0.0_f32..=1.0),
        [edge(), edge(), edge(), edge()],
        option::of(quality),
        any::<u8>(),
        option::of(-1e6_f32..1e6),
    )
        .prop_map(
            |(track, (model, class), score, [x1, y1, x2, y2], quality, landmarks, depth)| {
                ObjectRecord {
                    track,
                    model,
                    class,
                    score,
                    bounds: BoundingBox { x1, y1, x2, y2 },
                    quality,
                    landmarks,
                    depth,
                }
            },
        )
}

fn records() -> impl Strategy<Value = FrameRecord> {
    let cells = prop_oneof![
        Just(Cells::default()),
        any::<[u64; WORDS]>().prop_map(Cells::from_words),
        vec((0..COLUMNS, 0..ROWS), 1..6).prop_map(|chosen| {
            let mut cells = Cells::default();
            chosen.iter().for_each(|&(x, y)| cells.insert(x, y));
            cells
        }),
    ];
    let skip = option::of((0..5_u8).prop_map(|number| skip_of(number).expect("five")));
    let edge = || -64.0_f32..8192.0;
    let found = (
        1..9_u16,
        0.0_f32..=1.0,
        [edge(), edge(), edge(), edge()],
        any::<u8>(),
    );
    let found = found.prop_map(|(count, score, [x1, y1, x2, y2], landmarks)| FoundRecord {
        count,
        score,
        bounds: BoundingBox { x1, y1, x2, y2 },
        landmarks,
    });
    let attribute = (
        any::<u32>(),
        "[a-z]{1,9}",
        ".{0,9}",
        0..1_u64 << 40,
        option::of(found),
        option::of(vec(-1.0_f32..1.0, 2..6)),
    );
    let attribute = attribute.prop_map(|(track, name, value, asked_sequence, found, embedding)| {
        AttributeRecord {
            track: track.into(),
            name,
            value,
            asked_sequence,
            found,
            embedding,
        }
    });
    (
        0..1_u64 << 62,
        0..1_i64 << 42,
        0.0_f32..=1.0,
        cells,
        skip,
        vec(objects(), 0..6),
        vec(attribute, 0..3),
        any::<bool>(),
    )
        .prop_map(
            |(pts_ns, wall_ms, motion, moved, skip, objects, attributes, is_small)| FrameRecord {
                pts_ns,
                wall_ms,
                motion,
                moved,
                skip,
                objects,
                attributes,
                size: if is_small {
                    "640x360".parse().expect("a size")
                } else {
                    SIZE
                },
                sequence_number: 0,
            },
        )
}

fn read(directory: &Path) -> Vec<StoredFrame> {
    let reader = Reader::open(directory).expect("readable");
    let run = reader.run("last").expect("there").id;
    let frames = reader.frames(&run, "yard").expect("read");
    frames.map(|it| it.expect("read")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_seen_comes_back_exactly(mut written in vec(records(), 0..24), gap in 1..1000_u64) {
        for (index, record) in written.iter_mut().enumerate() {
            record.sequence_number = 5 + index as u64 * gap;
            record.round();
        }
        let directory = tempfile::tempdir().expect("a directory");
        fixture::store(directory.path(), written.clone());
        let stored = read(directory.path());
        prop_assert!(stored.iter().all(|it| it.segment.models[..] == models()[..]));
        let stored: Vec<_> = stored.into_iter().map(|it| it.record).collect();
        prop_assert_eq!(stored, written);
    }
}

#[test]
fn more_than_a_page_is_read_in_order() {
    let numbers = 0..1300;
    let records = numbers.clone().map(|number| {
        let mut record = frame(number);
        record.objects = vec![object(); usize::try_from(number % 2).expect("small")];
        record
    });
    let directory = tempfile::tempdir().expect("a directory");
    fixture::store(directory.path(), records.collect());
    let stored = read(directory.path());
    assert!(
        stored
            .iter()
            .map(|it| it.record.sequence_number)
            .eq(numbers)
    );
    let objects: usize = stored.iter().map(|it| it.record.objects.len()).sum();
    assert_eq!(objects, 650);
}

#[test]
fn a_segment_ends_with_its_worker_its_size_and_its_models() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run) = begin(directory.path(), "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
    let mut smaller = frame(2);
    smaller.size = "640x360".parse().expect("a size");
    let only_cars: std::sync::Arc<[_]> = models()[1..].into();
    let mut truck = frame(4);
    truck.objects = vec![ObjectRecord {
        model: 0,
        ..object()
    }];
    for (incarnation, models, record) in [
        (0, models(), frame(0)),
        (0, models(), frame(1)),
        (0, models(), smaller.clone()),
        (
            1,
            models(),
            FrameRecord {
                sequence_number: 3,
                ..smaller.clone()
            },
        ),
        (
            1,
            only_cars,
            FrameRecord {
                size: smaller.size,
                ..truck
            },
        ),
    ] {
        writer.handle().offer(Row::Frames {
            stream: yard(),
            incarnation,
            models,
            records: vec![record],
        });
    }
    assert_eq!(writer.finish().rows_given_up, 0);
    let reader = Reader::open(directory.path()).expect("readable");
    let segments = reader.segments(run.as_str(), "yard").expect("read");
    let seen: Vec<_> = segments
        .iter()
        .map(|it| {
            (
                it.first_sequence,
                it.incarnation,
                it.size.width,
                it.models.len(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0, 0, 1280, 2),
            (2, 0, 640, 2),
            (3, 1, 640, 2),
            (4, 1, 640, 1)
        ]
    );
    let last = read(directory.path()).pop().expect("some");
    let names = last.segment.names_of(&last.record.objects[0]);
    assert_eq!(names, Some(("cars", "truck")));
}

#[test]
fn views_show_pixels_scores_and_words() {
    let mut record = frame(7);
    record.skip = Some(Skip::Shed);
    record.motion = 0.25;
    record.objects = vec![ObjectRecord {
        quality: Some(Quality {
            sharpness: 250,
            brightness: 99,
        }),
        bounds: BoundingBox {
            x1: 10.125,
            y1: 20.0,
            x2: 30.5,
            y2: 40.0,
        },
        ..object()
    }];
    let directory = tempfile::tempdir().expect("a directory");
    fixture::store(directory.path(), vec![frame(6), record]);
    let connection = open_or_create(directory.path()).expect("opened");
    let text = |sql: &str| -> String {
        connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a row")
    };
    assert_eq!(
        text(
            "SELECT json_array(stream, sequence_number, pts_s, model, label, track, score, x1, x2,
              sharpness, brightness) FROM v_detections"
        ),
        r#"["yard",7,0.7,"people","person, standing",7,0.5,10.125,30.5,2.5,99]"#
    );
    assert_eq!(
        text(
            "SELECT json_array(incarnation, pts_ns, wall_ms, width, height, motion, skip)
              FROM v_frames WHERE sequence_number = 7"
        ),
        r#"[0,700000000,1700,1280,720,0.25,"shed"]"#
    );
}

#[test]
fn what_is_missing_is_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run) = begin(directory.path(), "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
    writer
        .handle()
        .offer(fixture::frames(vec![frame(0), frame(1)]));
    writer.handle().offer(Row::Ledger {
        stream: yard(),
        book: "render".to_owned(),
        counters: vec![("rendered", 5)],
    });
    assert_eq!(writer.finish().rows_given_up, 0);
    let reader = Reader::open(directory.path()).expect("readable");
    let completeness = |stream| reader.completeness(run.as_str(), stream).expect("read");
    let yard = completeness("yard").expect("there");
    assert_eq!((yard.stored, yard.missing()), (2, 3));
    assert!(!yard.is_complete());
    assert_eq!(completeness("street"), None);
}

/// Two people who walk, ten frames a second, and what the camera itself flickers.
fn walking(sequence_number: u64, people: u64) -> FrameRecord {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let fraction =
        |modulus: u64, factor: u64| (sequence_number * factor % modulus) as f32 / modulus as f32;
    let mut record = frame(sequence_number);
    record.sequence_number += 100_000;
    record.pts_ns += sequence_number * 7_919 % 3_000_000;
    record.wall_ms += i64::try_from(sequence_number % 3).expect("small");
    record.motion = fraction(997, 31) * if people == 0 { 0.0005 } else { 0.05 };
    for person in 0..people {
        let [x, y] = [fraction(1200, 3 + person), fraction(1700, 1 + person)];
        let bounds = BoundingBox {
            x1: x * 1100.0,
            y1: y * 500.0,
            x2: x * 1100.0 + 80.0,
            y2: y * 500.0 + 200.0,
        };
        record.objects.push(ObjectRecord {
            track: Some(1000 + person + sequence_number / 600),
            score: Some(0.4 + fraction(501, 7) / 2.0),
            bounds,
            ..object()
        });
        // As large as a box of that size is on the grid.
        let moved = Cells::of(|[u, v]| {
            let inside = |value: f32, low: f32, high: f32| low <= value && value <= high;
            inside(u * 1280.0, bounds.x1, bounds.x2) && inside(v * 720.0, bounds.y1, bounds.y2)
        });
        let words = std::array::from_fn(|word| record.moved.words()[word] | moved.words()[word]);
        record.moved = Cells::from_words(words);
    }
    record.round();
    record
}

/// What a camera costs, measured on a database of its own: see the decision record on storage.
///
/// `cargo test -p supervisor a_camera_day -- --nocapture` prints it.
#[test]
fn a_camera_day_is_small() {
    const FRAMES: u64 = 6_000;
    const DAY: u64 = 24 * 3600 * 10;
    for (people, bytes_max) in [(0, 32), (2, 150), (5, 290)] {
        let directory = tempfile::tempdir().expect("a directory");
        let (connection, run) = begin(directory.path(), "yard");
        let before = super::super::retention::used_bytes(&connection).expect("read");
        let writer = Writer::start(connection, run, |_| {}).expect("started");
        for from in (0..FRAMES).step_by(10) {
            let records = (from..from + 10).map(|number| walking(number, people));
            // As in a run: each batch after the one before it.
            writer.handle().offer(fixture::frames(records.collect()));
        }
        assert_eq!(writer.finish().rows_given_up, 0);
        let connection = open_or_create(directory.path()).expect("opened");
        let used = super::super::retention::used_bytes(&connection).expect("read") - before;
        let bytes = used / FRAMES;
        println!(
            "{people} objects: {bytes} bytes a frame, {} MB a camera-day at 10 fps",
            bytes * DAY / 1_000_000
        );
        assert!(
            bytes <= bytes_max,
            "{people} objects: {bytes} bytes a frame"
        );
    }
}
