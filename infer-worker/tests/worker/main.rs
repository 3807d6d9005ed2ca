//! The whole worker on a real bus, with the real model and library: every frame gets an
//! outcome, the books balance, and what is found is what the reference finds.

mod batches;
mod gates;
mod reconfigure;
mod support;

use std::time::Duration;

use contract::control::ToWorker;
use contract::detection::{Detection, Skip};
use contract::exit::WorkerExit;
use contract::findings::Findings;
use contract::geometry::{I420Layout, PixelSize};
use contract::ledger::{Counters, InferCounters};
use contract::spec::QueuePolicy;
use frame_bus::{FrameStamp, ResultBody};

use support::{Outcomes, World, clip, labels, repository, rules, stamp};

const INT8: &str = "assets/models/nanodet-416-int8.onnx";
const FP32: &str = ".deps/models/nanodet-416-fp32.onnx";
const SMALL: PixelSize = PixelSize {
    width: 64,
    height: 48,
};

fn skipped(skip: Skip) -> impl Fn(&ResultBody) -> bool {
    move |body| *body == ResultBody::Skipped(skip)
}

fn inferred(body: &ResultBody) -> bool {
    matches!(body, ResultBody::Found(_))
}

fn grey(size: PixelSize) -> Vec<u8> {
    vec![128; I420Layout::of(size).bytes]
}

/// Checks that the book is closed over `published` frames and agrees with the results.
fn assert_closed(counters: &InferCounters, published: u64, outcomes: &Outcomes) {
    assert_eq!(counters.check(), Ok(()));
    assert_eq!(counters.in_flight(), 0, "{counters:?}");
    assert_eq!(counters.next_sequence, published, "{counters:?}");
    assert_eq!(outcomes.by_frame.len() as u64, published);
    let missed = counters.overflowed + counters.lost_in_transit;
    for (counted, seen) in [
        (counters.inferred, outcomes.count(inferred)),
        (counters.gated, outcomes.count(skipped(Skip::Gated))),
        (counters.stale, outcomes.count(skipped(Skip::Stale))),
        (counters.shed, outcomes.count(skipped(Skip::Shed))),
        (counters.failed, outcomes.count(skipped(Skip::Failed))),
        (missed, outcomes.count(skipped(Skip::Overflowed))),
    ] {
        assert_eq!(counted, seen, "{counters:?}");
    }
}

/// Asserts that both lists hold the same objects: boxes within 1 px, scores within 0.01.
fn assert_same_detections(found: &[Detection], frame: &serde_json::Value) {
    let labels = labels();
    let wanted = frame["detections"].as_array().expect("a list");
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for wanted in wanted {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let edges: Vec<f64> = wanted["box"]
            .as_array()
            .expect("a box")
            .iter()
            .map(number)
            .collect();
        let matches = |detection: &&Detection| {
            let bounds = detection.bounds;
            let got = [bounds.x1, bounds.y1, bounds.x2, bounds.y2];
            let near = |(got, wanted): (f32, &f64)| (f64::from(got) - wanted).abs() < 1.0;
            wanted["label"] == labels[usize::from(detection.class)]
                && (f64::from(detection.score) - number(&wanted["score"])).abs() < 0.01
                && got.into_iter().zip(&edges).all(near)
        };
        assert!(
            found.iter().any(|detection| matches(&detection)),
            "{wanted} is not in {found:#?}"
        );
    }
}

#[test]
fn real_frames_losslessly_and_as_the_reference_has_them() {
    let size = PixelSize {
        width: 768,
        height: 576,
    };
    let frames = clip(size, 51);
    let mut world = World::new(&["yard"], size, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(FP32, None, 0);
    assert!(
        worker.ready.starts_with("nanodet 416x416, "),
        "{}",
        worker.ready
    );
    assert!(worker.warming.len() >= 3, "{:?}", worker.warming);
    world.produce(0, 0);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &frames[0], &mut outcomes);
    for (sequence_number, frame) in (0..51).zip(&frames).skip(1) {
        world.publish(0, sequence_number, frame);
        world.take_results(0, &mut outcomes);
    }
    world.end(0, 51);
    world.wait_end(0, &mut outcomes);
    worker.drain().expect("it ends well");

    assert_eq!(outcomes.count(inferred), 51);
    let counters = world.streams[0].book.read();
    assert_closed(&counters, 51, &outcomes);
    let histogram = world.streams[0].book.histogram();
    assert_eq!(histogram.total(), 51);
    assert!(
        counters.model_us > 51 * 500 && counters.conversion_us > 0,
        "{counters:?}"
    );

    let reference = include_str!("../data/walking-fp32.json");
    let reference: serde_json::Value = serde_json::from_str(reference).expect("JSON");
    for frame in reference["frames"].as_array().expect("a list") {
        let sequence_number = frame["sequence_number"].as_u64().expect("a number");
        let ResultBody::Found(Findings::Detections(found)) = &outcomes.by_frame[&sequence_number]
        else {
            panic!("frame {sequence_number} was skipped");
        };
        assert_same_detections(found, frame);
    }
}

#[test]
fn overload_sheds_old_frames_fairly_and_accounts_for_each() {
    let mut world = World::new(&["a", "b"], SMALL, QueuePolicy::DropOldest, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    world.produce(1, 0);
    let picture = grey(SMALL);
    let mut outcomes = [Outcomes::default(), Outcomes::default()];
    for sequence_number in 0..300 {
        for (stream, outcomes) in outcomes.iter_mut().enumerate() {
            world.publish(stream, sequence_number, &picture);
            world.take_results(stream, outcomes);
        }
        // About 2000 frames a second: far more than any CPU infers.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.end(stream, 300);
        world.wait_end(stream, outcomes);
    }
    worker.drain().expect("it ends well");
    let counters = [0, 1].map(|stream| world.streams[stream].book.read());
    for (counters, outcomes) in counters.iter().zip(&outcomes) {
        assert_closed(counters, 300, outcomes);
        assert!(counters.inferred > 0 && counters.shed > 0, "{counters:?}");
        assert!(
            inferred(&outcomes.by_frame[&299]),
            "the newest frame is the one to run on"
        );
    }
    let [one, other] = counters.map(|counters| counters.inferred);
    assert!(one.abs_diff(other) <= 3, "{one} and {other}");
}

#[test]
fn gates_and_staleness_hold_frames_back() {
    let change = |spec: &mut contract::spec::InferStreamSpec| {
        spec.rules = Some(rules("motion > 50%"));
        spec.max_staleness_ms = 1000;
    };
    let mut world = World::new(&["a"], SMALL, QueuePolicy::DropLatest, change);
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    for sequence_number in 0..9 {
        let now = stamp(sequence_number);
        let stamp = match sequence_number % 3 {
            0 => FrameStamp {
                motion: 0.25,
                ..now
            },
            1 => FrameStamp {
                motion: 0.75,
                ..now
            },
            _ => FrameStamp {
                motion: 0.75,
                captured_ns: now.captured_ns.saturating_sub(1_001_000_000),
                ..now
            },
        };
        world.publish_stamped(0, &picture, &stamp);
        world.wait_results(0, sequence_number + 1, &mut outcomes);
    }
    world.end(0, 9);
    world.wait_end(0, &mut outcomes);
    worker.drain().expect("it ends well");
    let counters = world.streams[0].book.read();
    assert_closed(&counters, 9, &outcomes);
    assert_eq!(
        (counters.gated, counters.inferred, counters.stale),
        (3, 3, 3)
    );
}

#[test]
fn restarts_of_producer_and_worker_are_losses_not_overflows() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    world.publish(0, 0, &picture);
    world.wait_results(0, 1, &mut outcomes);
    // The producer dies with frames 1 and 2 on the bus; its successor goes on with 3.
    world.produce(0, 1);
    world.publish(0, 3, &picture);
    world.wait_results(0, 4, &mut outcomes);
    worker
        .drain()
        .expect("a stream that does not end is given up");
    let counters = world.streams[0].book.read();
    assert_eq!(
        (
            counters.received,
            counters.overflowed,
            counters.lost_in_transit
        ),
        (2, 0, 2)
    );

    // The next worker finds that frames 4 and 5 went by while there was none.
    let mut worker = world.start(INT8, Some(1), 1);
    world.publish(0, 6, &picture);
    world.wait_results(0, 7, &mut outcomes);
    world.end(0, 7);
    world.wait_end(0, &mut outcomes);
    worker.drain().expect("it ends well");
    let counters = world.streams[0].book.read();
    assert_closed(&counters, 7, &outcomes);
    assert_eq!(
        (
            counters.received,
            counters.overflowed,
            counters.lost_in_transit
        ),
        (3, 0, 4)
    );
    assert_eq!(
        outcomes.ends, 1,
        "the end is told once, however often it is announced"
    );
}

#[test]
fn the_order_to_drain_is_kept_though_a_stream_does_not_end() {
    let mut world = World::new(&["a", "silent"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &picture, &mut outcomes);
    worker.send(&ToWorker::Drain);
    for sequence_number in 1..20 {
        world.publish(0, sequence_number, &picture);
    }
    world.wait_results(0, 20, &mut outcomes);
    worker.join().expect("it ends well");
    assert_closed(&world.streams[0].book.read(), 20, &outcomes);
}

#[test]
fn frames_that_fail_are_results_too_until_there_are_ten_runs_in_a_row() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start("infer-worker/tests/data/fails_on_white.onnx", Some(1), 0);
    assert!(
        worker
            .ready
            .starts_with("nanodet 32x32, 1 session of 1 thread")
    );
    world.produce(0, 0);
    let grey = grey(SMALL);
    let mut white = grey.clone();
    white[..I420Layout::of(SMALL).offsets[1]].fill(235);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &grey, &mut outcomes);
    for sequence_number in 1..10 {
        world.publish(0, sequence_number, &white);
    }
    world.publish(0, 10, &grey);
    world.wait_results(0, 11, &mut outcomes);
    assert_closed(&world.streams[0].book.read(), 11, &outcomes);
    assert_eq!(outcomes.count(skipped(Skip::Failed)), 9);

    for sequence_number in 11..21 {
        world.publish(0, sequence_number, &white);
    }
    let failure = worker.join().expect_err("the model is broken");
    assert_eq!(failure.exit(), WorkerExit::Failed);
    let text = failure.to_string();
    assert!(
        text.contains("10 runs in a row failed: the model failed"),
        "{text}"
    );
    assert_eq!(world.streams[0].book.read().failed, 19);
}

#[test]
fn what_can_never_work_is_said_and_not_retried() {
    let world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fail = |change: &dyn Fn(&mut contract::spec::InferSpec)| {
        let mut spec = world.spec(&repository(INT8), Some(1));
        change(&mut spec);
        let failure = world
            .start_with(spec, 0)
            .join()
            .expect_err("it cannot work");
        assert_eq!(failure.exit(), WorkerExit::BadConfig, "{failure}");
        failure.to_string()
    };
    let missing = fail(&|spec| spec.file = "/nowhere/model.onnx".into());
    assert!(
        missing.contains("/nowhere/model.onnx cannot be read: No such file"),
        "{missing}"
    );
    let a_directory = fail(&|spec| spec.file = directory.path().to_owned());
    assert!(a_directory.contains("it is not a file"), "{a_directory}");

    let whole = std::fs::read(repository(INT8)).expect("the model can be read");
    let path = directory.path().join("corrupt.onnx");
    for corrupt in [&whole[..whole.len() / 2], b"not a model".as_slice(), b""] {
        std::fs::write(&path, corrupt).expect("written");
        let text = fail(&|spec| spec.file = path.clone());
        assert!(
            text.contains("corrupt.onnx is not a model that ONNX Runtime can load"),
            "{text}"
        );
    }

    let labels = fail(&|spec| spec.labels.truncate(3));
    assert!(
        labels.contains("for 3 labels and an input of 416x416"),
        "{labels}"
    );
    assert!(labels.contains("found cls8 f32[1,2704,80]"), "{labels}");
    let gate = fail(&|spec| spec.streams[0].rules = Some(rules("moton > 1%")));
    assert!(
        gate.contains("the rules of stream a: yard.yaml:4:11: error") && gate.contains("moton"),
        "{gate}"
    );
}
