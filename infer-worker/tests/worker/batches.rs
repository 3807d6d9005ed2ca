//! Batches of the frames of several streams, and the back end that runs them.

use contract::exit::WorkerExit;
use contract::geometry::I420Layout;
use contract::spec::{Backend, BatchSpec, InferSpec, ModelFamily, QueuePolicy};

use crate::support::{Outcomes, World, repository};
use crate::{INT8, SMALL, assert_closed, grey, inferred};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn batch(max: u32) -> BatchSpec {
    BatchSpec {
        max: Some(max),
        delay_us: 5000,
    }
}

fn spec(world: &World, max: u32) -> InferSpec {
    let mut spec = world.spec(&repository(INT8), Some(1));
    spec.batch = batch(max);
    spec
}

#[test]
fn frames_of_many_streams_share_runs_and_each_has_its_outcome() {
    const FRAMES: u64 = 40;
    let mut world = World::new(&NAMES, SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start_with(spec(&world, 8), 0);
    let ready = worker.wait_ready();
    assert!(
        ready.starts_with("nanodet 416x416, 1 session of 1 thread on cpu in batches of up to 8 ("),
        "{ready}"
    );
    let picture = grey(SMALL);
    let mut outcomes: [Outcomes; 4] = std::array::from_fn(|_| Outcomes::default());
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.produce(stream, 0);
        world.publish_first(stream, &picture, outcomes);
    }
    for stream in 0..4 {
        let counters = world.streams[stream].book.read();
        assert_eq!(counters.batch_frames, 1, "a lone frame runs alone");
    }
    for sequence_number in 1..FRAMES {
        for (stream, outcomes) in outcomes.iter_mut().enumerate() {
            world.publish(stream, sequence_number, &picture);
            world.take_results(stream, outcomes);
        }
    }
    let mut together = 0;
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.end(stream, FRAMES);
        world.wait_end(stream, outcomes);
        let counters = world.streams[stream].book.read();
        assert_closed(&counters, FRAMES, outcomes);
        assert_eq!(counters.inferred, FRAMES);
        assert!(counters.batch_frames <= 8 * FRAMES, "{counters:?}");
        together += counters.batch_frames;
    }
    worker.drain().expect("it ends well");
    // They come much quicker than one session takes them.
    let mean = together as f64 / (4 * FRAMES) as f64;
    assert!(mean > 3.0, "batches of {mean} on average");
}

#[test]
fn a_batch_that_fails_fails_all_its_frames_and_no_other() {
    let mut world = World::new(&["bright", "dark"], SMALL, QueuePolicy::Wait, |_| ());
    let file = repository("infer-worker/tests/data/classifier_fails_on_white.onnx");
    let mut spec = world.spec(&file, Some(1));
    spec.family = ModelFamily::Classifier;
    spec.labels.truncate(3);
    spec.batch = batch(4);
    let mut worker = world.start_with(spec, 0);
    worker.wait_ready();
    let dark = grey(SMALL);
    let mut white = dark.clone();
    white[..I420Layout::of(SMALL).offsets[1]].fill(235);
    let mut outcomes = [Outcomes::default(), Outcomes::default()];
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.produce(stream, 0);
        world.publish_first(stream, &dark, outcomes);
    }
    for sequence_number in 1..7 {
        world.publish(0, sequence_number, &white);
        world.publish(1, sequence_number, &dark);
    }
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.wait_results(stream, 7, outcomes);
    }
    world.publish(1, 7, &dark);
    world.end(0, 7);
    world.end(1, 8);
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.wait_end(stream, outcomes);
    }
    worker.drain().expect("six runs may fail");
    let [bright, dark] = [0, 1].map(|stream| world.streams[stream].book.read());
    assert_closed(&bright, 7, &outcomes[0]);
    assert_eq!((bright.inferred, bright.failed), (1, 6));
    // Frames that shared a run with a white one have failed, and are counted.
    assert_closed(&dark, 8, &outcomes[1]);
    assert_eq!(dark.inferred + dark.failed, 8, "{dark:?}");
    assert!(inferred(&outcomes[1].by_frame[&7]), "it goes on");
}

#[test]
fn batches_change_while_frames_flow_and_none_is_lost() {
    let mut world = World::new(&["a", "b"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start_with(spec(&world, 1), 0);
    worker.wait_ready();
    let picture = grey(SMALL);
    let mut outcomes = [Outcomes::default(), Outcomes::default()];
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.produce(stream, 0);
        world.publish_first(stream, &picture, outcomes);
    }
    let longer = BatchSpec {
        max: Some(4),
        delay_us: 20_000,
    };
    let mut next = 1;
    for (generation, wanted_batch, note) in [
        (1, batch(4), "batch: 1 in 5ms to 4 in 5ms"),
        (2, longer, "batch: 4 in 5ms to 4 in 20ms"),
        (3, batch(1), "batch: 4 in 20ms to 1 in 5ms"),
    ] {
        let mut wanted = spec(&world, 1);
        wanted.batch = wanted_batch;
        worker.ask(generation, wanted);
        let (mut answer, mut after) = (None, 0);
        while after < 20 {
            for (stream, outcomes) in outcomes.iter_mut().enumerate() {
                world.publish(stream, next, &picture);
                world.take_results(stream, outcomes);
            }
            next += 1;
            answer = answer.or_else(|| worker.try_answer());
            after += u32::from(answer.is_some());
            assert!(next < 100_000, "no answer comes");
        }
        let answer = answer.expect("it has come");
        assert_eq!(answer, Ok(vec![note.to_owned()]));
    }
    let before = world.streams[0].book.read();
    assert!(before.batch_frames > before.inferred, "{before:?}");
    for (stream, outcomes) in outcomes.iter_mut().enumerate() {
        world.end(stream, next);
        world.wait_end(stream, outcomes);
        let counters = world.streams[stream].book.read();
        assert_closed(&counters, next, outcomes);
        assert_eq!(counters.inferred, next, "{counters:?}");
    }
    worker.drain().expect("it ends well");
}

#[test]
fn a_batch_that_cannot_be_is_refused_and_the_old_one_goes_on() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let file = repository("infer-worker/tests/data/fails_on_white.onnx");
    let with_batch = |max| {
        let mut spec = world.spec(&file, Some(1));
        spec.batch = batch(max);
        spec
    };
    let failure = world.start_with(with_batch(2), 0).join();
    let failure = failure.expect_err("the file takes one picture");
    assert_eq!(failure.exit(), WorkerExit::BadConfig);
    let text = failure.to_string();
    assert!(
        text.contains("takes 1 of them at a time (images f32[1,3,32,32]): set it to 1"),
        "{text}"
    );

    let mut worker = world.start_with(with_batch(1), 0);
    worker.wait_ready();
    let wanted = with_batch(2);
    world.produce(0, 0);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &grey(SMALL), &mut outcomes);
    let refused = worker.reconfigure(1, wanted).expect_err("it cannot");
    assert!(refused.contains("set it to 1"), "{refused}");
    world.publish(0, 1, &grey(SMALL));
    world.end(0, 2);
    world.wait_end(0, &mut outcomes);
    worker.drain().expect("it ends well");
    assert_closed(&world.streams[0].book.read(), 2, &outcomes);
    assert_eq!(outcomes.count(inferred), 2);
}

#[test]
fn a_back_end_that_is_missing_is_an_error_and_auto_says_what_is() {
    let world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut cuda = spec(&world, 1);
    cuda.backend.backend = Some(Backend::Cuda);
    let failure = world.start_with(cuda, 0).join();
    let failure = failure.expect_err("this library has no CUDA");
    assert_eq!(failure.exit(), WorkerExit::BadConfig);
    let text = failure.to_string();
    assert!(
        text.contains(
            "`backend: cuda` cannot be used: the ONNX Runtime library has no such provider"
        ),
        "{text}"
    );

    let mut worker = world.start_with(spec(&world, 1), 0);
    let ready = worker.wait_ready();
    assert!(
        ready.contains("1 session of 1 thread on cpu, ")
            && ready
                .ends_with("; not tensorrt, cuda: the ONNX Runtime library has no such provider"),
        "{ready}"
    );
    worker.drain().expect("it ends well");
}
