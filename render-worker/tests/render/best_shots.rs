//! The best picture of a track, written when it ends, and when a rule wants it.

use std::fs;

use contract::best_shot::{BestShot, ShotCause};
use contract::control::FromWorker;
use contract::findings::Findings;
use contract::ledger::RenderCounters;
use contract::spec::{BestShotsSpec, QueuePolicy};
use frame_bus::Outcome;
use nix::sys::signal::Signal;
use testkit::worker::WorkerProcess;

use crate::bench::{Bench, INTERVAL_NS, SECONDS_10, SIZE, expect_exit, rules};
use crate::video;

fn spec() -> Option<BestShotsSpec> {
    Some(BestShotsSpec {
        labels: vec!["person".to_owned()],
        score_min: 0.5,
        side_min: 32,
    })
}

fn bench() -> Bench {
    Bench::with(QueuePolicy::Wait, |render| render.best_shots = spec())
}

fn shots(worker: &WorkerProcess) -> Vec<BestShot> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::BestShot(shot) => Some(*shot),
            _ => None,
        })
        .collect()
}

/// He stands there; in frame `best` the model is surest, and only there is the picture blue.
fn stand(bench: &Bench, numbers: std::ops::Range<u64>, best: u64) {
    for number in numbers {
        let (score, blue) = if number == best {
            (0.95, 220)
        } else {
            (0.8, 128)
        };
        bench.publish_painted(number, SIZE, |layout, pixels| {
            video::paint(layout, number, pixels);
            pixels[layout.offsets[1]..layout.offsets[2]].fill(blue);
        });
        bench.detect_at(number, 101.0, score);
        bench.expect_book("rendered", |counters| counters.rendered > number);
    }
}

/// Nobody is there.
fn leave(bench: &Bench, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bench.publish(number);
        bench.answer(
            number,
            number,
            Outcome::Found(&Findings::Detections(Vec::new())),
        );
        bench.expect_book("rendered", |counters| counters.rendered > number);
    }
}

fn finish(bench: &Bench, worker: &mut WorkerProcess, next_sequence: u64) -> RenderCounters {
    bench.end(next_sequence, worker);
    expect_exit(worker, 0);
    bench.book.read()
}

#[test]
fn it_is_written_when_the_track_has_been_out_of_sight_for_long_enough() {
    let bench = bench();
    let mut worker = bench.start();
    stand(&bench, 0..20, 12);
    // Two seconds are 50 frames.
    leave(&bench, 20..65);
    assert_eq!(shots(&worker), []);
    assert_eq!(bench.book.read().shots_ended, 0);
    leave(&bench, 65..75);
    bench.expect_book("written", |counters| counters.shots_written == 1);
    // Another, who is there when the stream ends.
    stand(&bench, 75..90, 80);
    let counters = finish(&bench, &mut worker, 90);
    assert_eq!((counters.shots_ended, counters.shots_written), (2, 2));

    let shots = shots(&worker);
    assert_eq!(shots.len(), 2, "{shots:#?}");
    for (shot, (best, began, ended)) in shots.iter().zip([(12, 0, 19), (80, 75, 89)]) {
        assert_eq!(
            (shot.label.as_str(), &shot.cause),
            ("person", &ShotCause::Ended)
        );
        assert_eq!(shot.moment.sequence_number, best);
        assert_eq!(shot.moment.pts_ns, best * INTERVAL_NS);
        assert_eq!(shot.began_pts_ns, began * INTERVAL_NS);
        assert_eq!(shot.ended_pts_ns, Some(ended * INTERVAL_NS));
        assert!((shot.moment.score - 0.95).abs() < 1e-3, "{shot:?}");
        let path = format!("shots/yard-person-{}-{best}.jpg", shot.track);
        assert_eq!(shot.path, path);
        let picture = video::decode(&bench.directory().join(&shot.path));
        // 40 by 140, and a tenth on each side.
        assert_eq!((picture.width, picture.height), (48, 168));
        assert_eq!((shot.picture.width, shot.picture.height), (48, 168));
        let [red, _, blue] = picture.rgb(25, 80);
        assert!(blue > red.saturating_add(60), "{:?}", picture.rgb(25, 80));
    }
}

#[test]
fn a_rule_that_wants_it_gets_it_and_the_track_goes_on() {
    let bench = Bench::with(QueuePolicy::Wait, |render| {
        render.best_shots = spec();
        render.rules = rules(
            "rules: {seen: {on: track, when: 'label == \"person\"', for: 1s, do: [alert, snapshot(best)]}}",
        );
    });
    let mut worker = bench.start();
    // Surest after the rule has fired, in frame 25.
    stand(&bench, 0..40, 30);
    let counters = finish(&bench, &mut worker, 40);
    assert_eq!((counters.shots_ended, counters.shots_written), (1, 1));
    let mut shots = shots(&worker);
    shots.sort_by_key(|shot| shot.moment.sequence_number);
    let [wanted, ended] = &shots[..] else {
        panic!("{shots:#?}");
    };
    let event = wanted.cause.event().expect("an event");
    assert!(event.starts_with("yard/seen/"), "{event}");
    assert!(
        wanted.path.starts_with("snapshots/yard-seen-"),
        "{wanted:?}"
    );
    assert_eq!(wanted.ended_pts_ns, None);
    assert_eq!(
        (&ended.cause, ended.track),
        (&ShotCause::Ended, wanted.track)
    );
    assert_eq!(ended.moment.sequence_number, 30);
    assert!(bench.directory().join(&wanted.path).exists());
}

#[test]
fn a_disk_that_refuses_is_counted_and_harms_no_frame() {
    let bench = bench();
    fs::write(bench.directory().join("shots"), "no directory").expect("a file");
    let mut worker = bench.start();
    stand(&bench, 0..10, 5);
    let counters = finish(&bench, &mut worker, 10);
    assert_eq!((counters.rendered, counters.shots_failed), (10, 1));
    assert_eq!(shots(&worker), []);
}

#[test]
fn poor_tracks_and_other_wishes_between_two_frames() {
    let mut bench = bench();
    let mut worker = bench.start();
    stand(&bench, 0..10, 5);
    let strict = |score_min| spec().map(|spec| BestShotsSpec { score_min, ..spec });
    let said = bench
        .reconfigure(&mut worker, 1, |render| render.best_shots = strict(0.99))
        .expect("it can");
    assert_eq!(said, ["best shots: of [person]"]);
    stand(&bench, 10..20, 15);
    leave(&bench, 20..75);
    bench.expect_book("none good enough", |counters| counters.shots_poor == 1);
    let said = bench.reconfigure(&mut worker, 2, |render| render.best_shots = None);
    assert_eq!(said.expect("it can"), ["best shots: no more"]);
    stand(&bench, 75..85, 80);
    let counters = finish(&bench, &mut worker, 85);
    assert_eq!((counters.rendered, counters.shots_ended), (85, 1));
    assert_eq!(shots(&worker), []);
}

#[test]
fn a_kill_loses_those_of_living_tracks_and_counts_none_as_ended() {
    let bench = bench();
    let mut worker = bench.start();
    stand(&bench, 0..20, 12);
    leave(&bench, 20..75);
    bench.expect_book("written", |counters| counters.shots_written == 1);
    stand(&bench, 75..85, 80);
    worker.process.signal(Signal::SIGKILL);
    let status = worker.process.wait(SECONDS_10).expect("it is dead");
    assert_eq!(status.code(), None);
    let counters = bench.book.read();
    assert_eq!((counters.shots_ended, counters.shots_in_flight()), (1, 0));
    let shots = shots(&worker);
    assert_eq!(shots.len(), 1, "{shots:#?}");
    assert!(bench.directory().join(&shots[0].path).exists());
}
