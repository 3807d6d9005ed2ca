use std::path::Path;

use contract::event::{Delivery, DeliveryKind};
use contract::latency::Histogram;

use super::*;
use crate::store::fixture::{begin, event, frame, frames, object, yard};
use crate::store::{
    AskedBy, FoundBook, GenerationBegun, GenerationDone, GenerationFile, GenerationFileKind,
    Latency, NewStream, Outcome, Reader, RunEnd, RunState, StoreError, StreamRowState,
    mark_interrupted, open_or_create, running_runs,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Writes rows and ends the writer.
fn write(directory: &Path, rows: Vec<Row>) -> (Reader, RunId, Health) {
    let (connection, run) = begin(directory, "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
    let store = writer.handle();
    for row in rows {
        store.offer(row);
    }
    drop(store);
    let health = writer.finish();
    (Reader::open(directory).expect("readable"), run, health)
}

#[test]
fn what_is_written_is_read_back_and_events_are_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run) = begin(directory.path(), "yard");
    let (acknowledge, acknowledged) = sync_channel(16);
    let writer = Writer::start(connection, run.clone(), move |committed| {
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
    let records = (0..4).map(|number| {
        let mut record = frame(number);
        record.objects = vec![object(); usize::try_from(number % 3).expect("small")];
        record
    });
    store.offer(frames(records.collect()));
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
    let stored = reader.frames(run.as_str(), "yard").expect("read");
    let stored: Vec<_> = stored.collect::<Result<_, _>>().expect("read");
    let counts: Vec<_> = stored.iter().map(|it| it.record.objects.len()).collect();
    assert_eq!(counts, [0, 1, 2, 0]);
    let seen = &stored[2].record.objects[1];
    let names = stored[2].segment.names_of(seen);
    assert_eq!(names, Some(("people", "person, standing")));
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
    let (connection, run) = begin(directory.path(), "yard");
    connection
        .busy_timeout(Duration::from_millis(1))
        .expect("set");
    let (acknowledge, acknowledged) = sync_channel(16);
    let writer = Writer::start(connection, run, move |committed| {
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
        store.offer(frames(vec![frame(0)]));
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
    let (connection, run) = begin(directory.path(), "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
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
    let (mut connection, run) = begin(directory.path(), "yard");
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

#[test]
fn an_event_has_each_delivery_once_and_comes_back_as_it_was() {
    let mut crossing = event(7);
    crossing.generation = 3;
    crossing.clip = Some("clips/7.mp4".to_owned());
    let to = |kind, target: &str| Delivery {
        kind,
        target: target.to_owned(),
    };
    crossing.deliveries = vec![
        to(DeliveryKind::Publish, "gate"),
        to(DeliveryKind::Webhook, "http://10.0.0.9/hook"),
    ];
    let mut ended = crossing.clone();
    ended.end_pts_ns = Some(9_000);
    let row = |event: &contract::event::Event| Row::Event(Box::new(event.clone()));
    let directory = tempfile::tempdir().expect("a directory");
    let rows = vec![row(&crossing), row(&crossing), row(&ended)];
    let (reader, run, health) = write(directory.path(), rows);
    assert_eq!(health, Health::default());

    let events = reader.events(run.as_str()).expect("read");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].to_event().expect("ours"), ended);
    assert!(events[0].deliveries.iter().all(|it| it.state == "pending"));
    let connection = open_or_create(directory.path()).expect("opened");
    let payload: String = connection
        .query_row(
            "SELECT payload FROM deliveries WHERE kind = 'publish'",
            [],
            |row| row.get(0),
        )
        .expect("one");
    let payload: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!(payload["run"], run.as_str());
    assert_eq!(payload["message"], "person 7 crossed");
    assert!(payload["end_pts_ns"].is_null(), "it is of the begin");
    assert!(payload.get("deliveries").is_none());
}

fn rules_file(text: &str) -> GenerationFile {
    GenerationFile {
        path: "/configs/rules.yaml".to_owned(),
        kind: GenerationFileKind::Rules,
        text: text.to_owned(),
    }
}

fn begun(generation: u64, text: &str) -> Row {
    Row::GenerationBegun(GenerationBegun {
        generation,
        asked_by: AskedBy::File,
        wall_ms: 2_000,
        files: vec![rules_file(text)],
        plan: vec!["render-yard: rules".to_owned()],
    })
}

fn done(generation: u64, outcome: Outcome, diagnostics: &[&str]) -> Row {
    Row::GenerationDone(GenerationDone {
        generation,
        wall_ms: 2_100,
        outcome,
        notes: vec!["rule crossing: state kept".to_owned()],
        diagnostics: diagnostics.iter().map(|&line| line.to_owned()).collect(),
    })
}

#[test]
fn a_refused_text_is_shown_until_a_good_one_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = "rules.yaml:3:5: unknown zone `dok`";
    let rows = vec![
        begun(1, "one"),
        done(1, Outcome::Applied, &[]),
        begun(2, "two"),
        done(2, Outcome::Refused, &[wrong, "did you mean `dock`?"]),
    ];
    let (reader, run, health) = write(directory.path(), rows);
    assert_eq!(health, Health::default());
    let row = reader.run("last").expect("there");
    assert_eq!(row.generation, 1, "what was refused is not in force");
    assert_eq!(row.reload_error.as_deref(), Some(wrong));
    let generations = reader.generations(run.as_str()).expect("read");
    let seen: Vec<_> = generations
        .iter()
        .map(|it| (it.generation, it.outcome.as_str(), it.applied_wall_ms))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "applied", Some(1_000)),
            (1, "applied", Some(2_100)),
            (2, "refused", None)
        ]
    );
    assert_eq!(generations[2].diagnostics.len(), 2);
    assert_eq!(generations[1].notes, ["rule crossing: state kept"]);
    let files = reader.generation_files(run.as_str(), 1).expect("read");
    assert_eq!(files[0].text, "one");
    assert_eq!(files[0].hash.len(), 64);
    assert_eq!(reader.generation_files(run.as_str(), 9).expect("read"), []);

    // A good text, also one that changes nothing, takes the error away.
    let connection = open_or_create(directory.path()).expect("opened");
    let writer = Writer::start(connection, run, |_| {}).expect("started");
    writer.handle().offer(begun(3, "one"));
    writer.handle().offer(done(3, Outcome::Unchanged, &[]));
    assert_eq!(writer.finish(), Health::default());
    let row = reader.run("last").expect("there");
    assert_eq!((row.generation, row.reload_error), (1, None));
}

#[test]
fn a_stream_may_join_late_and_come_back() {
    let gate: StreamName = "gate".parse().expect("a name");
    let added = |source: &str| {
        Row::StreamAdded(NewStream {
            name: gate.clone(),
            source: source.to_owned(),
        })
    };
    let state = |state| {
        Row::Stream(StreamRowState {
            stream: gate.clone(),
            state,
            detail: "said so".to_owned(),
        })
    };
    let directory = tempfile::tempdir().expect("a directory");
    // Before it has joined nothing of it can be written.
    let rows = vec![
        state("live"),
        added("test:ball"),
        state("removed"),
        added("test:smpte"),
    ];
    let (reader, run, health) = write(directory.path(), rows);
    assert_eq!(health.rows_given_up, 1);
    let streams = reader.streams(run.as_str()).expect("read");
    assert_eq!(streams.len(), 2);
    let seen = (streams[0].source.as_str(), streams[0].state.as_str());
    assert_eq!(seen, ("test:smpte", "waiting"));
}

#[test]
fn a_row_is_written_whole_or_not_at_all() {
    let mut beyond = frame(1);
    beyond.objects = vec![object(), object()];
    beyond.objects[1].track = Some(u64::MAX);
    let mut strange = frame(2);
    strange.objects = vec![object()];
    strange.objects[0].class = 99;
    let rows = vec![
        frames(vec![frame(0)]),
        frames(vec![beyond]),
        frames(vec![strange]),
        frames(vec![frame(3)]),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let (reader, run, health) = write(directory.path(), rows);
    assert_eq!((health.trouble, health.rows_given_up), (None, 5));
    let stored = reader.frames(run.as_str(), "yard").expect("read");
    let numbers: Vec<_> = stored
        .map(|it| it.expect("read").record.sequence_number)
        .collect();
    assert_eq!(numbers, [0, 3]);
}
