//! Books across a border: one writer, consistent readers, settling after a death.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use contract::ledger::{Counters, InferCounters};
use frame_bus::{BookReader, BookWriter, book};

#[test]
fn a_group_is_committed_as_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("infer-people-yard");
    let reader = BookReader::<InferCounters>::create(&path).expect("a book");
    let mut writer = BookWriter::<InferCounters>::open(&path).expect("its writer");
    assert!(
        BookWriter::<InferCounters>::open(&path).is_err(),
        "a book has one writer"
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200_000 {
                writer.update(|counters| {
                    counters.next_sequence += 2;
                    counters.received += 1;
                    counters.overflowed += 1;
                    counters.inferred += 1;
                });
            }
            writer.tick();
            writer.record_latency_us(1500);
            done.store(true, Ordering::Release);
        });
        let mut reads = 0_u64;
        while !done.load(Ordering::Acquire) {
            let counters = reader.read();
            assert_eq!(counters.check(), Ok(()), "{counters:?}");
            assert_eq!(counters.received, counters.inferred);
            reads += 1;
        }
        assert!(reads > 0);
    });
    assert_eq!(reader.read().received, 200_000);
    assert_eq!(reader.progress(), 1);
    assert_eq!(reader.histogram().total(), 1);
}

#[test]
fn a_dead_workers_frames_are_lost_and_its_successor_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("book");
    let reader = BookReader::<InferCounters>::create(&path).expect("a book");
    let mut writer = BookWriter::<InferCounters>::open(&path).expect("its writer");
    writer.update(|counters| {
        counters.next_sequence = 5;
        counters.received = 5;
        counters.inferred = 3;
    });
    assert!(
        book::settle::<InferCounters>(&path).is_err(),
        "its writer lives"
    );
    drop(writer);
    let settled = book::settle::<InferCounters>(&path).expect("settled");
    assert_eq!(settled.lost_in_worker, 2);
    assert_eq!(reader.read(), settled);
    let successor = BookWriter::<InferCounters>::open(&path).expect("its successor");
    assert_eq!(successor.counters().next_sequence, 5);
}

#[test]
fn what_is_no_book_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("junk");
    assert!(BookReader::<InferCounters>::open(&path).is_err());
    std::fs::write(&path, "short").expect("written");
    let error = BookReader::<InferCounters>::open(&path).expect_err("too short");
    assert!(error.to_string().contains("junk"), "{error}");
    std::fs::write(&path, vec![0; book::BOOK_BYTES]).expect("written");
    assert!(BookWriter::<InferCounters>::open(&path).is_err());
}
