use std::path::Path;

use contract::control::{FrameRecord, ObjectRecord};
use contract::detection::Skip;
use contract::event::Event;
use contract::geometry::BoundingBox;
use contract::latency::Histogram;
use contract::spec::RenderModelSpec;

use super::*;
use crate::store::{
    FoundBook, Latency, NewRun, NewStream, Reader, RunEnd, RunState, StoreError, begin_run,
    mark_interrupted, open_or_create, running_runs,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn yard() -> StreamName {
    "yard".parse().expect("a name")
}

fn begin(directory: &Path, name: &str) -> (Connection, RunId, HashMap<StreamName, i64>) {
    let mut connection = open_or_create(directory).expect("a database");
    let new = NewRun {
        name,
        config_path: Path::new("/configs/yard.yaml"),
        config_text: "run: yard",
        config_hash: "00".to_owned(),
        pid: 1,
        root: Path::new("/nowhere/sluice-1-0"),
        runs_directory: &directory.join("runs"),
        wall_ms: 1_000,
        streams: vec![NewStream {
            name: yard(),
            source: "rtsp://user:***@cam/1".to_owned(),
        }],
    };
    let (run, stream_ids) = begin_run(&mut connection, &new).expect("begun");
    (connection, run, stream_ids)
}

fn event(number: u64) -> Event {
    Event {
        id: format!("yard/crossing/{number}"),
        stream: yard(),
        rule: "crossing".to_owned(),
        track: Some(number),
        label: Some("person".to_owned()),
        sequence_number: number,
        begin_pts_ns: number * 1_000,
        end_pts_ns: None,
        begin_wall_ms: 1_000,
        score: Some(0.5),
        bounds: None,
        message: "person 7 crossed".to_owned(),
        labels: [("severity".to_owned(), "low".to_owned())].into(),
        snapshot: None,
    }
}

fn frames(numbers: std::ops::Range<u64>) -> Row {
    let object = ObjectRecord {
        track: Some(7),
        model: 0,
        class: 1,
        score: None,
        bounds: BoundingBox {
            x1: 1.0,
            y1: 2.0,
            x2: 3.0,
            y2: 4.5,
        },
    };
    let record = |sequence_number| FrameRecord {
        sequence_number,
        pts_ns: sequence_number * 40_000_000,
        skip: (sequence_number % 2 == 1).then_some(Skip::Gated),
        objects: vec![object.clone(); usize::try_from(sequence_number % 3).expect("small")],
    };
    Row::Frames {
        stream: yard(),
        models: [RenderModelSpec {
            model: "people".parse().expect("a name"),
            labels: vec!["cat".to_owned(), "person".to_owned()],
        }]
        .into(),
        records: numbers.map(record).collect(),
    }
}

#[test]
fn what_is_written_is_read_back_and_events_are_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run, stream_ids) = begin(directory.path(), "yard");
    let (acknowledge, acknowledged) = sync_channel(16);
    let writer = Writer::start(connection, run.clone(), stream_ids, move |committed| {
        acknowledge.send(committed).expect("the test listens");
    })
    .expect("started");
    let store = writer.handle();
    store.offer(Row::Event(Box::new(event(7))));
    let committed = acknowledged.recv_timeout(PATIENCE).expect("acknowledged");
    assert_eq!(committed.event, "yard/crossing/7");

    // An acknowledged event is there for any reader, while the writer goes on.
    let reader = Reader::open(directory.path()).expect("readable");
    assert_eq!(reader.events(run.as_str()).expect("read").len(), 1);

    let mut ended = event(7);
    ended.end_pts_ns = Some(9_000);
    store.offer(Row::Event(Box::new(ended)));
    store.offer(frames(0..4));
    store.offer(Row::Ledger {
        stream: yard(),
        book: "ingest".to_owned(),
        counters: vec![("captured", 3), ("published", 4)],
    });
    store.offer(Row::Ledger {
        stream: yard(),
        book: "ingest".to_owned(),
        counters: vec![("captured", 5)],
    });
    let mut histogram = Histogram::default();
    (1..=100).for_each(|value| histogram.record(value));
    store.offer(Row::Latency(Latency {
        stream: yard(),
        book: "render".to_owned(),
        histogram,
    }));
    store.offer(Row::RunEnded(RunEnd {
        state: RunState::Finished,
        exit_code: 0,
        detail: None,
        wall_ms: 2_000,
    }));
    drop(store);
    assert_eq!(writer.finish(), Health::default());

    let events = reader.events(run.as_str()).expect("read");
    assert_eq!(events.len(), 1, "the end of an event is no second event");
    assert_eq!(events[0].end_pts_ns, Some(9_000));
    assert_eq!(events[0].labels["severity"], "low");
    let mut seen = Vec::new();
    reader
        .for_each_frame(run.as_str(), "yard", |frame, objects| {
            seen.push((frame.sequence_number, frame.skip.clone(), objects.to_vec()));
            Ok::<_, StoreError>(())
        })
        .expect("read");
    let counts: Vec<_> = seen.iter().map(|(.., objects)| objects.len()).collect();
    assert_eq!(counts, [0, 1, 2, 0]);
    assert_eq!(seen[1].1.as_deref(), Some("gated"));
    assert_eq!(seen[2].2[1].label, "person");
    assert_eq!(seen[2].2[1].score, None);
    let counters = reader.counters(run.as_str()).expect("read");
    assert_eq!(counters.iter().map(|row| row.value).sum::<u64>(), 9);
    let latency = &reader.latencies(run.as_str()).expect("read")[0];
    assert_eq!((latency.frames, latency.p50_us), (100, 50));
    let row = reader.run("last").expect("there");
    assert_eq!((row.state.as_str(), row.exit_code), ("finished", Some(0)));
}

#[test]
fn runs_are_numbered_and_found_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["yard", "yard", "gate"] {
        drop(begin(directory.path(), name));
    }
    let reader = Reader::open(directory.path()).expect("readable");
    let id = |word: &str| reader.run(word).map(|run| run.id);
    assert_eq!(id("yard").expect("there"), "yard-2");
    assert_eq!(id("yard-1").expect("there"), "yard-1");
    assert_eq!(id("last").expect("there"), "gate-1");
    assert!(matches!(id("street"), Err(StoreError::NoRun(_))));
}

#[test]
fn a_locked_database_is_reported_then_caught_up_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run, stream_ids) = begin(directory.path(), "yard");
    connection
        .busy_timeout(Duration::from_millis(1))
        .expect("set");
    let (acknowledge, acknowledged) = sync_channel(16);
    let writer = Writer::start(connection, run, stream_ids, move |committed| {
        acknowledge.send(committed).expect("the test listens");
    })
    .expect("started");
    let store = writer.handle();

    let other = open_or_create(directory.path()).expect("a second connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    store.offer(Row::Event(Box::new(event(1))));
    let deadline = Instant::now() + PATIENCE;
    while store.health().trouble.is_none() {
        assert!(Instant::now() < deadline, "the trouble is never said");
        std::thread::yield_now();
    }
    // Masses are given up first, and nobody waits.
    let begin = Instant::now();
    for _ in 0..QUEUE_ROWS_MAX {
        store.offer(frames(0..1));
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(store.health().rows_given_up > 0);
    store.offer(Row::Event(Box::new(event(2))));
    assert!(acknowledged.try_recv().is_err());

    other.execute_batch("COMMIT").expect("unlocked");
    for number in [1, 2] {
        let committed = acknowledged.recv_timeout(PATIENCE).expect("caught up");
        assert_eq!(committed.event, event(number).id);
    }
    drop(store);
    assert_eq!(writer.finish().trouble, None);
}

#[test]
fn a_row_that_can_never_be_written_does_not_hold_up_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run, stream_ids) = begin(directory.path(), "yard");
    let writer = Writer::start(connection, run.clone(), stream_ids, |_| {}).expect("started");
    let store = writer.handle();
    let mut beyond = event(1);
    beyond.begin_pts_ns = u64::MAX;
    store.offer(Row::Event(Box::new(beyond)));
    store.offer(Row::Event(Box::new(event(2))));
    drop(store);
    let health = writer.finish();
    assert_eq!((health.trouble, health.rows_given_up), (None, 1));
    let reader = Reader::open(directory.path()).expect("readable");
    assert_eq!(reader.events(run.as_str()).expect("read").len(), 1);
    assert_eq!(reader.run("last").expect("there").rows_given_up, 1);
}

#[test]
fn an_interrupted_run_keeps_its_last_books() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut connection, run, _) = begin(directory.path(), "yard");
    let found = running_runs(&connection).expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].root, Path::new("/nowhere/sluice-1-0"));
    let book = FoundBook {
        stream: yard(),
        book: "ingest".to_owned(),
        counters: vec![("captured", 10), ("published", 9), ("lost", 1)],
        histogram: Histogram::default(),
    };
    let mut mark = || mark_interrupted(&mut connection, &run, std::slice::from_ref(&book), 5_000);
    assert!(mark().expect("marked"));
    assert!(!mark().expect("nothing to do"));
    let in_flight: i64 = connection
        .query_row("SELECT in_flight FROM v_ledger", [], |row| row.get(0))
        .expect("one equation");
    assert_eq!(in_flight, 0);
    let reader = Reader::open(directory.path()).expect("readable");
    assert_eq!(reader.run("yard").expect("there").state, "interrupted");
}
