//! From its first frame to its last, and what happens when it is killed, told to leave or left alone.

use std::path::Path;
use std::time::Duration;

use contract::control::{FileKind, FileState, FromWorker, ToWorker};
use contract::detection::Skip;
use contract::geometry::PixelSize;
use contract::ledger::{Counters, RenderCounters};
use contract::motion::Cells;
use contract::spec::QueuePolicy;
use frame_bus::{Outcome, book};
use nix::sys::signal::Signal;
use testkit::worker::WorkerProcess;

use crate::bench::{
    Bench, INTERVAL_NS, SECONDS_10, SIZE, events, expect_exit, files, frame_records, take_packets,
};
use crate::video;

#[test]
fn a_lossless_stream_is_rendered_recorded_reported_and_restreamed_to_the_last_frame() {
    const FRAMES: u64 = 50;
    let mut bench = Bench::new(QueuePolicy::Wait, 60_000);
    let mut worker = bench.start();
    let mut packets = Vec::new();
    let mut packets_end = None;
    for number in 0..FRAMES {
        bench.publish(number);
        match number {
            7 => bench.answer(7, 7, Outcome::Skipped(Skip::Gated)),
            // The answer for both comes with the second.
            20 => {}
            21 => bench.answer(20, 21, Outcome::Skipped(Skip::Shed)),
            _ => bench.detect(number),
        }
        take_packets(&mut bench.packets, &mut packets, &mut packets_end);
    }
    bench.end(FRAMES, &mut worker);
    expect_exit(&mut worker, 0);
    take_packets(&mut bench.packets, &mut packets, &mut packets_end);

    let counters = bench.book.read();
    let expected = RenderCounters {
        next_sequence: FRAMES,
        received: FRAMES,
        rendered: FRAMES,
        with_results: FRAMES - 3,
        coasted: 3,
        tracks: 1,
        events: 1,
        encoded: FRAMES,
        recorded: FRAMES,
        encoded_bytes: counters.encoded_bytes,
        ..RenderCounters::default()
    };
    assert_eq!(counters, expected, "{}", worker.process.stderr());
    assert_eq!(counters.in_flight(), 0);
    assert_eq!(bench.book.histogram().total(), FRAMES);

    let recorded = files(&worker, FileKind::Recording);
    assert_eq!(recorded.len(), 2, "begun and finished");
    let states = [recorded[0].state, recorded[1].state];
    assert_eq!(states, [FileState::Open, FileState::Closed]);
    let content = recorded[1].content;
    assert_eq!((content.frames, content.size), (FRAMES, Some(SIZE)));
    assert_eq!(content.duration_ns, FRAMES * INTERVAL_NS);
    let path = bench.path(&recorded[1]);
    assert_eq!(content.bytes, path.metadata().expect("a file").len());
    assert!(
        recorded[0].path.starts_with("recordings/yard-"),
        "{recorded:?}"
    );
    let played = video::play(&bench.path(&recorded[1]));
    let times: Vec<u64> = (0..FRAMES).map(|number| number * INTERVAL_NS).collect();
    assert_eq!(played.times_ns, times);

    let records = frame_records(&worker);
    let numbers: Vec<u64> = records
        .iter()
        .map(|record| record.sequence_number)
        .collect();
    assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    assert_eq!(records[7].skip, Some(Skip::Gated));
    assert_eq!(records[30].skip, None);
    assert_eq!(records[30].objects[0].score, Some(0.9));
    assert_eq!(records[30].objects[0].track, records[29].objects[0].track);
    assert_eq!(records[21].objects[0].score, None, "predicted");
    let stamped = &records[30];
    assert_eq!((stamped.size, stamped.motion), (SIZE, 0.1));
    assert_eq!(stamped.moved, Cells::of(|[x, _]| x < 0.1));

    // The person's feet pass the middle, x = 160, with frame 30; the stream ends with him in the zone.
    let events = events(&worker);
    assert_eq!(events.len(), 2);
    assert_eq!(
        (events[0].sequence_number, events[0].end_pts_ns),
        (30, None)
    );
    assert_eq!(events[1].end_pts_ns, Some((FRAMES - 1) * INTERVAL_NS));
    assert_eq!(events[0].id, events[1].id);
    let snapshots = files(&worker, FileKind::Snapshot);
    assert_eq!(snapshots.len(), 1);
    assert_eq!(events[0].snapshot.as_ref(), Some(&snapshots[0].path));
    assert_eq!(events[1].snapshot, events[0].snapshot);
    let picture = video::decode(&bench.path(&snapshots[0]));
    assert_eq!((picture.width, picture.height), (320, 240));

    let sequence: Vec<u64> = (0..FRAMES).collect();
    assert_eq!(packets, sequence);
    assert_eq!(packets_end, Some(FRAMES));
}

#[test]
fn video_goes_on_when_inference_is_silent_and_says_so() {
    const FRAMES: u64 = 20;
    let bench = Bench::new(QueuePolicy::DropOldest, 100);
    let mut worker = bench.start();
    for number in 0..FRAMES {
        bench.publish(number);
        let rendered = if number == 0 { 1 } else { number };
        bench.expect_book("goes on", |counters| counters.rendered >= rendered);
    }
    bench.answer(19, 19, Outcome::Skipped(Skip::Stale));
    bench.expect_book("all", |counters| counters.rendered == FRAMES);
    let counters = bench.book.read();
    assert!(counters.without_results >= FRAMES - 1, "{counters:?}");
    assert_eq!(counters.coasted, FRAMES);
    bench.end(FRAMES, &mut worker);
    expect_exit(&mut worker, 0);
    // One frame has waited its 100 ms; behind a silent model no other does.
    let p90_us = bench.book.histogram().quantile_us(0.9).expect("counted");
    assert!(p90_us < 95_000, "{p90_us} us");
}

#[test]
fn a_killed_worker_leaves_a_file_that_plays_and_books_that_its_successor_goes_on_with() {
    let mut bench = Bench::new(QueuePolicy::DropOldest, 100);
    let worker = bench.start();
    for number in 0..40 {
        bench.publish(number);
        bench.detect(number);
        bench.expect_book("rendered", |counters| counters.rendered > number);
    }
    // One is inside the worker, unanswered, when it dies.
    bench.publish(40);
    bench.expect_book("received", |counters| counters.received == 41);
    worker.process.signal(Signal::SIGKILL);
    let mut worker = worker;
    assert!(worker.process.wait(SECONDS_10).is_some());
    let file = bench.path(&files(&worker, FileKind::Recording)[0]);
    let frames = video::play(&file).times_ns.len();
    // 1.6 seconds were rendered, of which the last whole second may have been collected still.
    assert!((15..=41).contains(&frames), "{frames} frames");

    let dead: RenderCounters = book::settle(&bench.render().book).expect("its writer is dead");
    assert_eq!(dead.in_flight(), 0);
    assert_eq!(dead.rendered + dead.lost_in_worker, 41);
    assert!(bench.bus.clean_dead_nodes() > 0);
    for number in 41..43 {
        bench.publish(number);
    }
    bench.spec.incarnation = 1;
    let mut worker = bench.start();
    for number in 43..60 {
        bench.publish(number);
        bench.detect(number);
        bench.expect_book("rendered again", |counters| {
            counters.rendered >= dead.rendered + number - 42
        });
    }
    bench.end(60, &mut worker);
    expect_exit(&mut worker, 0);
    let counters = bench.book.read();
    assert_eq!((counters.next_sequence, counters.lost_in_transit), (60, 2));
    assert_eq!(counters.in_flight(), 0);
    assert_ne!(bench.path(&files(&worker, FileKind::Recording)[0]), file);
}

#[test]
fn told_to_leave_it_closes_its_file_and_is_quick_about_it() {
    let bench = Bench::new(QueuePolicy::Wait, 1000);
    let mut worker = bench.start();
    for number in 0..10 {
        bench.publish(number);
        bench.detect(number);
    }
    bench.expect_book("some", |counters| counters.encoded >= 5);
    worker.process.signal(Signal::SIGTERM);
    let status = worker.process.wait(Duration::from_millis(900));
    assert!(status.is_some(), "{}", worker.process.stderr());
    let recorded = files(&worker, FileKind::Recording);
    let last = recorded.last().expect("one");
    assert_eq!(last.state, FileState::Closed);
    let frames = last.content.frames;
    let played = video::play(&bench.path(&recorded[0])).times_ns.len();
    assert_eq!(played as u64, frames);
}

#[test]
fn a_picture_of_another_size_goes_on_in_another_file() {
    let bench = Bench::new(QueuePolicy::Wait, 60_000);
    let mut worker = bench.start();
    let smaller = PixelSize {
        width: 160,
        height: 120,
    };
    for number in 0..20 {
        bench.publish_sized(number, if number < 12 { SIZE } else { smaller });
        bench.detect(number);
    }
    bench.end(20, &mut worker);
    expect_exit(&mut worker, 0);
    assert_eq!(bench.book.read().encoded, 20);
    let recorded = files(&worker, FileKind::Recording);
    let finished = recorded
        .iter()
        .filter(|record| record.state == FileState::Closed);
    let played: Vec<(usize, usize)> = finished
        .map(|record| video::play(&bench.path(record)))
        .map(|played| (played.times_ns.len(), played.first_row.len()))
        .collect();
    assert_eq!(played, [(12, 320), (8, 160)]);
}

#[test]
fn a_drain_without_an_end_does_not_wait_for_ever() {
    let bench = Bench::new(QueuePolicy::DropOldest, 60_000);
    let mut worker = bench.start();
    bench.publish(0);
    bench.expect_book("received", |counters| counters.received == 1);
    worker.send(&ToWorker::Drain);
    expect_exit(&mut worker, 0);
    let counters = bench.book.read();
    assert_eq!((counters.rendered, counters.without_results), (1, 1));
}

#[test]
fn what_can_never_work_is_said_and_not_tried_again() {
    let mut bench = Bench::new(QueuePolicy::DropOldest, 100);
    let encode = bench.render().encode.as_mut().expect("made above");
    encode.preset = "quick".to_owned();
    let program = Path::new(env!("CARGO_BIN_EXE_render-worker"));
    let mut worker = WorkerProcess::start(program, &bench.spec);
    expect_exit(&mut worker, 64);
    let said = worker.expect(SECONDS_10, |message| match message {
        FromWorker::Failing(text) => Some(text.clone()),
        _ => None,
    });
    assert!(said.contains("`quick` is no x264 preset"), "{said}");
}
