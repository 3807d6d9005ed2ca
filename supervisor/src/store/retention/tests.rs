use super::*;
use crate::store::fixture::{self, begin, frame, object};
use crate::store::{Reader, Row, Writer, open_or_create};

const MINUTE: Duration = Duration::from_secs(60);

/// A run of frames that are a tenth of a second apart; the first is of second 1.
fn fill(directory: &std::path::Path, frames: u64) -> String {
    let records = (0..frames).map(|number| {
        let mut record = frame(number);
        record.objects = vec![object(); 3];
        record
    });
    fixture::store(directory, records.collect()).to_string()
}

/// Steps until a round is over; returns how many there were.
fn prune(directory: &std::path::Path, retention: Retention, wall_ms: i64) -> usize {
    let mut connection = open_or_create(directory).expect("opened");
    let now = Instant::now();
    let mut pruner = Pruner::new(now);
    for step in 1.. {
        pruner
            .step(&mut connection, retention, now, wall_ms)
            .expect("pruned");
        if matches!(pruner.work, Work::Nothing) {
            return step;
        }
    }
    unreachable!("a round ends")
}

fn numbers(directory: &std::path::Path, run: &str) -> Vec<u64> {
    let reader = Reader::open(directory).expect("readable");
    let frames = reader.frames(run, "yard").expect("read");
    frames
        .map(|it| it.expect("read").record.sequence_number)
        .collect()
}

#[test]
fn old_frames_go_and_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = fill(directory.path(), 2_000);
    let keep_all = Retention::default();
    prune(directory.path(), keep_all, 1_000_000_000);
    assert_eq!(numbers(directory.path(), &run).len(), 2_000);

    // At second 161 those before second 101 are too old: a thousand.
    let retention = Retention {
        max_age: Some(MINUTE),
        max_bytes: None,
    };
    let steps = prune(directory.path(), retention, 161_000);
    assert!(steps > 4, "{steps} steps are not small");
    let left = numbers(directory.path(), &run);
    let first = left[0];
    assert!((1_000..1_256).contains(&first), "{first}");
    assert!(left.iter().copied().eq(first..2_000));
    let connection = open_or_create(directory.path()).expect("opened");
    let count = |sql: &str| -> u64 {
        connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a number")
    };
    assert_eq!(
        count("SELECT count(*) FROM detections"),
        left.len() as u64 * 3
    );
    assert_eq!(count("SELECT frames_pruned FROM streams"), first);
    let reader = Reader::open(directory.path()).expect("readable");
    let completeness = reader.completeness(&run, "yard").expect("read");
    assert!(!completeness.expect("there").is_complete());
}

#[test]
fn a_large_database_loses_the_oldest_of_all_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = fill(directory.path(), 2_000);
    let second = fill(directory.path(), 2_000);
    let connection = open_or_create(directory.path()).expect("opened");
    // The second run is an hour younger.
    connection
        .execute_batch("UPDATE segments SET begin_wall_ms = begin_wall_ms + 3600000 WHERE id = 2")
        .expect("aged");
    let bytes_max = used_bytes(&connection).expect("read") * 3 / 4;
    drop(connection);
    let retention = Retention {
        max_age: None,
        max_bytes: Some(bytes_max),
    };
    prune(directory.path(), retention, 0);
    let connection = open_or_create(directory.path()).expect("opened");
    assert!(used_bytes(&connection).expect("read") <= bytes_max);
    assert!(numbers(directory.path(), &first).len() < 1_500);
    assert_eq!(numbers(directory.path(), &second).len(), 2_000);
    // What is no frame stays, whatever the size.
    let nothing = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    prune(directory.path(), nothing, 0);
    assert!(numbers(directory.path(), &second).is_empty());
    let reader = Reader::open(directory.path()).expect("readable");
    assert_eq!(reader.runs().expect("read").len(), 2);
}

#[test]
fn free_pages_are_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let connection = open_or_create(directory.path()).expect("opened");
    connection
        .execute_batch(
            "CREATE TABLE ballast (bytes BLOB);
             INSERT INTO ballast VALUES (zeroblob(24000000));
             DROP TABLE ballast",
        )
        .expect("filled");
    let pages = |name: &str| -> i64 {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .expect("a number")
    };
    assert!(pages("freelist_count") > FREE_PAGES_KEPT);
    prune(directory.path(), Retention::default(), 0);
    assert_eq!(pages("freelist_count"), FREE_PAGES_KEPT);
    assert!(pages("page_count") < FREE_PAGES_KEPT + 200);
}

#[test]
fn metric_samples_go_after_a_week() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, _) = begin(directory.path(), "yard");
    connection
        .execute_batch(
            "WITH RECURSIVE second (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM second WHERE n < 999)
             INSERT INTO metric_samples SELECT 1, n * 1000, 1, 1, 1, NULL, NULL, 0, 0 FROM second",
        )
        .expect("filled");
    drop(connection);
    let week_ms = milliseconds(METRIC_AGE_MAX);
    prune(directory.path(), Retention::default(), week_ms + 600_000);
    let connection = open_or_create(directory.path()).expect("opened");
    let oldest: i64 = connection
        .query_row("SELECT min(wall_ms) FROM metric_samples", [], |row| {
            row.get(0)
        })
        .expect("some");
    assert_eq!(oldest, 600_000);
}

#[test]
fn a_running_writer_prunes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (connection, run) = begin(directory.path(), "yard");
    let writer = Writer::start(connection, run.clone(), |_| {}).expect("started");
    let store = writer.handle();
    store.set_retention(Retention {
        max_age: Some(MINUTE),
        max_bytes: None,
    });
    // Their wall clock says 1970.
    store.offer(fixture::frames((0..100).map(frame).collect()));
    let deadline = Instant::now() + Duration::from_secs(20);
    let reader = Reader::open(directory.path()).expect("readable");
    let pruned = || {
        let completeness = reader.completeness(run.as_str(), "yard").expect("read");
        completeness.expect("there").pruned
    };
    let mut number = 100;
    while pruned() == 0 {
        assert!(Instant::now() < deadline, "nothing is pruned");
        store.offer(Row::Ledger {
            stream: fixture::yard(),
            book: "render".to_owned(),
            counters: vec![("rendered", number)],
        });
        number += 1;
    }
    drop(store);
    assert_eq!(writer.finish().rows_given_up, 0);
}
