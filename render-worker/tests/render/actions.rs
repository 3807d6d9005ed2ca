//! What the worker does when a rule fires.

use contract::control::{FileKind, FileRecord, FileState};
use contract::ledger::RenderCounters;
use contract::spec::QueuePolicy;
use testkit::wait_until;
use testkit::worker::WorkerProcess;

use crate::bench::{
    Bench, INTERVAL_NS, SECONDS_10, SIZE, events, expect_exit, files, frame_records, rules,
};
use crate::video;

fn bench(text: &str) -> Bench {
    Bench::with(QueuePolicy::Wait, |render| render.rules = rules(text))
}

/// Publishes what is left and waits for the end.
fn finish(bench: &Bench, worker: &mut WorkerProcess, next_sequence: u64) -> RenderCounters {
    bench.end(next_sequence, worker);
    expect_exit(worker, 0);
    bench.book.read()
}

fn finished(worker: &WorkerProcess, kind: FileKind) -> Vec<FileRecord> {
    let records = files(worker, kind).into_iter();
    records
        .filter(|record| record.state == FileState::Closed)
        .collect()
}

/// His feet are inside, columns 240 to 280, in the frames 50 to 59.
const PASSES: &str = "\
zones:
  gate: {polygon: [[0.75, 0.0], [0.875, 0.0], [0.875, 1.0], [0.75, 1.0]]}
rules:
  passes: {on: track, when: in_zone(gate), gap: 0s, do: [record(before: 500ms, after: 400ms)]}
";

#[test]
fn a_clip_shows_what_was_before_its_event_and_what_came_after() {
    let bench = bench(PASSES);
    let mut worker = bench.start();
    bench.walk(0..75);
    // It is closed while the stream goes on.
    let closed = wait_until(SECONDS_10, || !finished(&worker, FileKind::Clip).is_empty());
    assert!(closed, "{:#?}", files(&worker, FileKind::Clip));
    finish(&bench, &mut worker, 75);

    // A key frame a second, 25 frames: that of frame 25 is the last not after 50 - 12.5.
    // The last frame in the zone is 59, and 400 ms are 10 more.
    let records = files(&worker, FileKind::Clip);
    let [begun, closed] = &records[..] else {
        panic!("{records:#?}");
    };
    assert_eq!((begun.state, begun.content.frames), (FileState::Open, 0));
    assert_eq!(
        (closed.state, closed.content.frames),
        (FileState::Closed, 45)
    );
    assert_eq!(begun.begin_pts_ns, 25 * INTERVAL_NS);
    assert_eq!(closed.begin_pts_ns, begun.begin_pts_ns);
    assert_eq!(closed.begin_wall_ms, begun.begin_wall_ms);
    assert!(begun.path.starts_with("clips/yard-passes-"), "{begun:?}");
    let played = video::play(&bench.path(closed));
    let times: Vec<u64> = (0..45).map(|number| number * INTERVAL_NS).collect();
    assert_eq!(played.times_ns, times);

    let events = events(&worker);
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event.clip.as_ref(), Some(&begun.path));
    }
    assert_eq!(events[0].sequence_number, 50);
    assert_eq!(events[1].end_pts_ns, Some(59 * INTERVAL_NS));
}

#[test]
fn events_that_overlap_have_clips_of_their_own_and_the_end_of_the_stream_closes_them() {
    let bench = bench(
        "\
rules:
  from_the_start: {on: track, when: box.x >= 0, do: [record(before: 0s, after: 5m)]}
  later: {on: track, when: box.x > 0.35, do: [record(before: 30s, after: 1s)]}
",
    );
    let mut worker = bench.start();
    bench.walk(0..40);
    finish(&bench, &mut worker, 40);
    let clips = finished(&worker, FileKind::Clip);
    let frames: Vec<(u64, usize)> = clips
        .iter()
        .map(|clip| {
            (
                clip.content.frames,
                video::play(&bench.path(clip)).times_ns.len(),
            )
        })
        .collect();
    assert_eq!(frames, [(40, 40), (40, 40)], "{clips:#?}");
    assert_ne!(clips[0].path, clips[1].path);
}

#[test]
fn without_an_encoder_there_is_an_event_and_no_clip() {
    let bench = Bench::with(QueuePolicy::Wait, |render| {
        render.rules = rules(PASSES);
        render.encode = None;
    });
    let mut worker = bench.start();
    bench.walk(0..75);
    let counters = finish(&bench, &mut worker, 75);
    assert_eq!(
        (counters.rendered, counters.encoded, counters.events),
        (75, 0, 1)
    );
    assert!(events(&worker).iter().all(|event| event.clip.is_none()));
    assert!(files(&worker, FileKind::Clip).is_empty());
}

#[test]
fn the_best_shot_is_the_object_in_its_best_frame() {
    let bench = bench(
        "rules: {seen: {on: track, when: 'label == \"person\"', for: 1s, do: [snapshot(best)]}}",
    );
    let mut worker = bench.start();
    for number in 0..40 {
        // In frame 12 the model is surest, and only there is the picture blue.
        let (score, blue) = if number == 12 {
            (0.95, 220)
        } else {
            (0.8, 128)
        };
        bench.publish_painted(number, SIZE, |layout, pixels| {
            video::paint(layout, number, pixels);
            pixels[layout.offsets[1]..layout.offsets[2]].fill(blue);
        });
        bench.detect_at(number, 101.0, score);
    }
    finish(&bench, &mut worker, 40);
    let snapshots = files(&worker, FileKind::Snapshot);
    assert_eq!(snapshots.len(), 1);
    let picture = video::decode(&bench.path(&snapshots[0]));
    // 40 by 140, and a tenth on each side.
    assert_eq!((picture.width, picture.height), (48, 168));
    let [red, _, blue] = picture.rgb(25, 80);
    assert!(blue > red.saturating_add(60), "{:?}", picture.rgb(25, 80));
    let records = frame_records(&worker);
    assert!(records[12].objects[0].quality.is_some(), "a rule wants it");
}

#[test]
fn nobody_measures_what_no_rule_wants() {
    let bench = bench("rules: {seen: {on: track, when: 'score > 0.5', do: [alert]}}");
    let mut worker = bench.start();
    bench.walk(0..5);
    finish(&bench, &mut worker, 5);
    let records = frame_records(&worker);
    assert!(
        records
            .iter()
            .all(|record| record.objects[0].quality.is_none())
    );
}

#[test]
fn a_rule_draws_what_it_fires_for_in_its_colour() {
    let text = "\
rules:
  marked: {on: track, when: 'score > 0.5', do: [draw(color: \"#0000ff\"), snapshot(frame)]}
";
    let bench = Bench::with(QueuePolicy::Wait, |render| {
        render.rules = rules(text);
        render.overlay.boxes = false;
        render.overlay.trails = false;
        render.overlay.zones = false;
        render.overlay.status = false;
    });
    let mut worker = bench.start();
    for number in 0..5 {
        bench.publish_painted(number, SIZE, |_, pixels| pixels.fill(128));
        bench.detect_at(number, 100.0, 0.9);
    }
    finish(&bench, &mut worker, 5);
    let snapshots = files(&worker, FileKind::Snapshot);
    let picture = video::decode(&bench.path(&snapshots[0]));
    let [red, green, blue] = picture.rgb(98, 130);
    assert!(
        blue > 180 && red < 80 && green < 80,
        "left edge: {:?}",
        [red, green, blue]
    );
    let [red, green, blue] = picture.rgb(120, 130);
    assert!(
        blue.abs_diff(red) < 20 && blue.abs_diff(green) < 20,
        "inside"
    );
}

#[test]
fn a_limit_holds_firings_back_and_the_book_says_so() {
    let bench = bench(
        "\
rules:
  blinks:
    on: stream
    when: every(200ms)
    gap: 0s
    limit: {per: rule, every: 1m, max: 2}
  stays: {on: track, when: 'score > 0.5', do: [alert]}
  looks: {on: track, when: 'score > 0.5', do: [draw]}
",
    );
    let mut worker = bench.start();
    bench.walk(0..25);
    let now = bench.book.read();
    assert_eq!((now.tracks_now, now.events_now), (1, 1));
    let counters = finish(&bench, &mut worker, 25);
    // `blinks` in the frames 0, 5, 10, 15 and 20; `looks` makes no event.
    assert_eq!((counters.events, counters.events_suppressed), (3, 3));
    assert_eq!((counters.tracks_now, counters.events_now), (0, 0));
    assert_eq!(events(&worker).len(), 6, "each with begin and end");
}
