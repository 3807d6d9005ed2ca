//! Another spec between two frames: nothing is lost, and what is the same goes on.

use contract::control::{FileKind, FileRecord, FileState};
use contract::ledger::{Counters, RenderCounters};
use contract::spec::{QueuePolicy, RenderSpec};
use testkit::worker::WorkerProcess;

use crate::bench::{
    Bench, INTERVAL_NS, events, expect_exit, files, frame_records, rules, take_packets,
};
use crate::video;

const BEFORE: &str = "\
zones:
  yard: {polygon: [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]}
rules:
  loiters: {on: track, when: in_zone(yard), for: 800ms, message: before}
  changed: {on: track, when: in_zone(yard), for: 800ms}
  removed: {on: track, when: in_zone(yard)}
";

const AFTER: &str = "\
zones:
  yard: {polygon: [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]}
rules:
  added: {on: track, when: in_zone(yard)}
  loiters: {on: track, when: in_zone(yard), for: 800ms, message: after}
  changed: {on: track, when: in_zone(yard), for: 400ms}
";

/// Each of `frames` was rendered and reported, and nothing is open.
fn expect_whole(bench: &Bench, worker: &WorkerProcess, frames: u64) -> RenderCounters {
    let counters = bench.book.read();
    assert_eq!((counters.received, counters.rendered), (frames, frames));
    assert_eq!((counters.overflowed, counters.in_flight()), (0, 0));
    let reported: Vec<u64> = frame_records(worker)
        .iter()
        .map(|record| record.sequence_number)
        .collect();
    assert_eq!(reported, (0..frames).collect::<Vec<_>>());
    counters
}

fn played(bench: &Bench, worker: &WorkerProcess) -> Vec<usize> {
    let records = files(worker, FileKind::Recording).into_iter();
    let finished: Vec<FileRecord> = records
        .filter(|record| record.state == FileState::Closed)
        .collect();
    let frames = finished.iter().map(|record| {
        let frames = video::play(&bench.path(record)).times_ns.len();
        assert_eq!(record.content.frames, frames as u64, "{record:?}");
        frames
    });
    frames.collect()
}

fn set_rules(text: &str) -> impl FnOnce(&mut RenderSpec) {
    let rules = rules(text);
    |render| render.rules = rules
}

#[test]
fn rules_change_between_two_frames_and_a_dwell_goes_on() {
    let mut bench = Bench::with(QueuePolicy::Wait, set_rules(BEFORE));
    let mut worker = bench.start();
    bench.walk(0..10);
    let done = bench.reconfigure(&mut worker, 7, set_rules(AFTER));
    let done = done.expect("rules can be changed");
    assert_eq!(
        done,
        [
            "rule added: new",
            "rule loiters: state kept",
            "rule changed: state reset, `for` changed from 800ms to 400ms",
            "rule removed: removed",
        ]
    );
    bench.walk(10..50);
    bench.end(50, &mut worker);
    expect_exit(&mut worker, 0);
    let counters = expect_whole(&bench, &worker, 50);
    assert_eq!(counters.tracks, 1);
    assert_eq!(played(&bench, &worker), [50], "the recording goes on");

    let events = events(&worker);
    let begins: Vec<(&str, u64, u64)> = events
        .iter()
        .filter(|event| event.end_pts_ns.is_none())
        .map(|event| (event.rule.as_str(), event.sequence_number, event.generation))
        .collect();
    // 800 ms are 20 frames, counted from frame 0; 400 ms are 10, counted from frame 10.
    assert_eq!(
        begins,
        [
            ("removed", 0, 0),
            ("added", 10, 7),
            ("loiters", 20, 7),
            ("changed", 20, 7),
        ]
    );
    let of = |rule: &str| events.iter().find(|event| event.rule == rule);
    assert_eq!(of("loiters").expect("it fired").message, "after");
    let mut removed = events.iter().filter(|event| event.rule == "removed");
    let end = removed.next_back().expect("it fired").end_pts_ns;
    assert_eq!(end, Some(9 * INTERVAL_NS), "it ends with its rule");
}

#[test]
fn what_cannot_be_changed_is_refused_and_changes_nothing() {
    let mut bench = Bench::with(QueuePolicy::Wait, set_rules(BEFORE));
    let mut worker = bench.start();
    bench.walk(0..10);
    let mut refused = |generation, change: &dyn Fn(&mut RenderSpec)| {
        let answer = bench.reconfigure(&mut worker, generation, |render| {
            // Would be possible by itself.
            render.rules = rules(AFTER);
            render.record = None;
            change(render);
        });
        answer.expect_err("it cannot be done")
    };
    let said = refused(1, &|render| render.models.clear());
    assert!(said.contains("the models of stream `yard`"), "{said}");
    let said = refused(2, &|render| render.frames.depth += 1);
    assert!(said.contains("where frames come from"), "{said}");
    let said = refused(3, &|render| {
        render.rules = rules("rules: {a: {on: nothing}}");
    });
    assert!(said.contains("rules/yard.yaml:1:"), "{said}");
    let said = refused(4, &|render| {
        render.encode.as_mut().expect("set").preset = "quick".to_owned();
    });
    assert!(said.contains("`quick` is no x264 preset"), "{said}");
    bench.walk(10..30);
    bench.end(30, &mut worker);
    expect_exit(&mut worker, 0);
    expect_whole(&bench, &worker, 30);
    assert_eq!(played(&bench, &worker), [30]);
    let fired = events(&worker);
    assert!(fired.iter().all(|event| event.generation == 0));
    let loiters = fired.iter().find(|event| event.rule == "loiters");
    assert_eq!(loiters.map(|event| event.message.as_str()), Some("before"));
}

#[test]
fn outputs_are_opened_and_closed_without_losing_a_frame() {
    let mut bench = Bench::with(QueuePolicy::Wait, |render| {
        render.encode = None;
        render.record = None;
        render.restream = false;
    });
    let all = {
        let other = Bench::with(QueuePolicy::Wait, |_| ()).render().clone();
        (other.encode, other.record)
    };
    let (encode, record) = all;
    let (mut packets, mut end) = (Vec::new(), None);
    let mut worker = bench.start();
    bench.walk(0..10);
    let mut set = |bench: &mut Bench, generation, change: &dyn Fn(&mut RenderSpec)| {
        let done = bench.reconfigure(&mut worker, generation, |render| change(render));
        done.expect("outputs can be changed")
    };

    let done = set(&mut bench, 1, &|render| {
        render.encode.clone_from(&encode);
        render.restream = true;
    });
    assert_eq!(done, ["encoder: 500 kbit/s", "restream: begun"]);
    bench.walk(10..20);
    set(&mut bench, 2, &|render| render.record.clone_from(&record));
    bench.walk(20..50);
    set(&mut bench, 3, &|render| render.overlay.boxes = false);
    bench.walk(50..55);
    // Another encoder begins with a key frame, in another file.
    set(&mut bench, 4, &|render| {
        render.encode.as_mut().expect("set").bitrate_kbps = 300;
    });
    take_packets(&mut bench.packets, &mut packets, &mut end);
    bench.walk(55..70);
    take_packets(&mut bench.packets, &mut packets, &mut end);
    assert_eq!(end, None);
    set(&mut bench, 5, &|render| render.restream = false);
    bench.walk(70..75);
    set(&mut bench, 6, &|render| render.record = None);
    bench.walk(75..80);
    let done = set(&mut bench, 7, &|render| render.encode = None);
    assert_eq!(done, ["encoder: ended"]);
    bench.walk(80..85);
    bench.end(85, &mut worker);
    expect_exit(&mut worker, 0);

    let counters = expect_whole(&bench, &worker, 85);
    assert_eq!(counters.encoded, 70);
    let files = played(&bench, &worker);
    assert_eq!(files, [35, 20], "frames 20 to 54, and 55 to 74");
    take_packets(&mut bench.packets, &mut packets, &mut end);
    let sent = end.expect("the gateway is told");
    let until_told: Vec<u64> = (packets[0]..sent).collect();
    assert_eq!(packets, until_told, "no access unit is missing");
    // Up to two pictures were inside the encoder when the gateway was told.
    assert!((58..=60).contains(&sent), "{sent}");
}

#[test]
fn limits_and_labels_change_and_tracks_go_on() {
    let mut bench = Bench::new(QueuePolicy::Wait, 60_000);
    let mut worker = bench.start();
    bench.walk(0..10);
    let done = bench.reconfigure(&mut worker, 1, |render| {
        render.tracker.lost_timeout_ms = 500;
        render.tracker.new_track_score = 0.7;
        render.max_latency_ms = 30_000;
        render.store_detections = false;
        render.labels.insert("site".to_owned(), "north".to_owned());
    });
    assert_eq!(
        done.expect("they can be changed"),
        [
            "labels: changed",
            "tracker: thresholds changed, tracks kept",
            "max_latency: 30000 ms",
            "detections: not stored",
        ]
    );
    bench.walk(10..40);
    bench.end(40, &mut worker);
    expect_exit(&mut worker, 0);
    let counters = bench.book.read();
    assert_eq!((counters.rendered, counters.tracks), (40, 1));
    assert_eq!(frame_records(&worker).len(), 10);
    // The rule that was not touched fires where it does without all this.
    assert_eq!(events(&worker)[0].sequence_number, 30);
}

#[test]
fn many_changes_in_a_row_lose_nothing() {
    let mut bench = Bench::with(QueuePolicy::Wait, set_rules(BEFORE));
    let mut worker = bench.start();
    for number in 0..60 {
        bench.walk(number..number + 1);
        let text = if number % 2 == 0 { AFTER } else { BEFORE };
        let done = bench.reconfigure(&mut worker, number + 1, set_rules(text));
        assert!(done.is_ok(), "{done:?}");
    }
    bench.end(60, &mut worker);
    expect_exit(&mut worker, 0);
    expect_whole(&bench, &worker, 60);
    assert_eq!(played(&bench, &worker), [60]);
    let begins = events(&worker);
    let loiters = begins.iter().filter(|event| event.rule == "loiters");
    let at: Vec<(u64, Option<u64>)> = loiters
        .map(|event| (event.sequence_number, event.end_pts_ns))
        .collect();
    assert_eq!(
        at,
        [(20, None), (20, Some(59 * INTERVAL_NS))],
        "state kept 60 times"
    );
}
