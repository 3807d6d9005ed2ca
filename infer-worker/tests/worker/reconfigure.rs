//! Streams, sessions and thresholds change while frames flow, and no frame is lost.

use contract::control::ToWorker;
use contract::detection::Skip;
use contract::findings::Findings;
use contract::geometry::PixelSize;
use contract::ledger::{Counters, InferCounters};
use contract::spec::{InferSpec, QueuePolicy};
use frame_bus::{BookWriter, ResultBody};

use crate::support::{Outcomes, Worker, World, clip, repository};
use crate::{FP32, INT8, SMALL, assert_closed, grey, inferred, skipped};

/// Publishes on stream 0 from `next` on until the worker has answered; returns the next
/// number and the answer.
fn publish_until_answered(
    world: &mut World,
    worker: &mut Worker,
    outcomes: &mut Outcomes,
    mut next: u64,
) -> (u64, Result<Vec<String>, String>) {
    let picture = grey(SMALL);
    loop {
        world.publish(0, next, &picture);
        world.take_results(0, outcomes);
        next += 1;
        if let Some(answer) = worker.try_answer() {
            return (next, answer);
        }
        assert!(next < 100_000, "no answer comes");
    }
}

fn assert_all_inferred(world: &mut World, stream: usize, published: u64, outcomes: &mut Outcomes) {
    world.end(stream, published);
    world.wait_end(stream, outcomes);
    let counters = world.streams[stream].book.read();
    assert_closed(&counters, published, outcomes);
    assert_eq!(counters.inferred, published, "{counters:?}");
}

#[test]
fn streams_come_and_go_while_another_loses_nothing() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    let alone = world.wanted(INT8, 1);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let (mut a, mut b) = (Outcomes::default(), Outcomes::default());
    world.publish_first(0, &picture, &mut a);

    world.add("b", SMALL, QueuePolicy::Wait, |_| ());
    worker.ask(1, world.wanted(INT8, 1));
    let (mut next, answer) = publish_until_answered(&mut world, &mut worker, &mut a, 1);
    assert_eq!(answer, Ok(vec!["stream b: added".to_owned()]));

    world.produce(1, 0);
    world.publish_first(1, &picture, &mut b);
    for sequence_number in 1..30 {
        world.publish(0, next, &picture);
        world.publish(1, sequence_number, &picture);
        world.take_results(0, &mut a);
        world.take_results(1, &mut b);
        next += 1;
    }

    // Removed in the middle: what was taken is answered, and the consumer is told the end.
    worker.ask(2, alone);
    let (next, answer) = publish_until_answered(&mut world, &mut worker, &mut a, next);
    assert_eq!(answer, Ok(vec!["stream b: removed".to_owned()]));
    world.wait_end(1, &mut b);
    let counters = world.streams[1].book.read();
    assert_closed(&counters, 30, &b);
    assert_eq!(counters.inferred, 30, "{counters:?}");
    drop(BookWriter::<InferCounters>::open(&world.streams[1].spec.book).expect("it is closed"));

    assert_all_inferred(&mut world, 0, next, &mut a);
    worker.drain().expect("it ends well");
}

#[test]
fn a_stream_that_ends_and_is_removed_gives_all_it_had() {
    let mut world = World::new(&["a", "b"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    let mut alone = world.wanted(INT8, 1);
    alone.streams.truncate(1);
    world.produce(1, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(1, &picture, &mut outcomes);
    for sequence_number in 1..7 {
        world.publish(1, sequence_number, &picture);
    }
    // The worker learns of the end and of the removal at the same time.
    world.end(1, 7);
    let notes = worker.reconfigure(1, alone).expect("it can be done");
    assert_eq!(notes, ["stream b: removed"]);
    world.wait_end(1, &mut outcomes);
    let counters = world.streams[1].book.read();
    assert_closed(&counters, 7, &outcomes);
    assert_eq!(counters.inferred, 7, "{counters:?}");
    worker
        .drain()
        .expect("a stream that never began is given up");
}

#[test]
fn a_live_stream_that_goes_on_is_left_in_the_middle() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::DropOldest, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    let mut none = world.wanted(INT8, 1);
    none.streams.clear();
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &picture, &mut outcomes);
    worker.ask(1, none);
    let (_, answer) = publish_until_answered(&mut world, &mut worker, &mut outcomes, 1);
    assert_eq!(answer, Ok(vec!["stream a: removed".to_owned()]));
    world.wait_end(0, &mut outcomes);
    let counters = world.streams[0].book.read();
    assert_closed(&counters, counters.next_sequence, &outcomes);
    worker.drain().expect("it ends well");
}

#[test]
fn a_stream_of_another_size_is_opened_anew_and_its_book_goes_on() {
    let mut world = World::new(&["other", "a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    world.produce(1, 0);
    let picture = grey(SMALL);
    let (mut other, mut outcomes) = (Outcomes::default(), Outcomes::default());
    world.publish_first(0, &picture, &mut other);
    world.publish_first(1, &picture, &mut outcomes);
    // Its producer leaves first, for a service has one size.
    world.end(1, 1);
    world.leave(1);
    let larger = PixelSize {
        width: 128,
        height: 96,
    };
    world.streams[1].spec.frames.size = larger;
    worker.ask(1, world.wanted(INT8, 1));
    let (next, answer) = publish_until_answered(&mut world, &mut worker, &mut other, 1);
    assert_eq!(answer, Ok(vec!["stream a: opened anew".to_owned()]));
    world.wait_end(1, &mut outcomes);
    outcomes.ends = 0;

    world.produce(1, 1);
    // Connected once a result has come.
    world.publish(1, 1, &grey(larger));
    world.wait_results(1, 2, &mut outcomes);
    for sequence_number in 2..10 {
        world.publish(1, sequence_number, &grey(larger));
        world.take_results(1, &mut outcomes);
    }
    assert_all_inferred(&mut world, 1, 10, &mut outcomes);
    assert_all_inferred(&mut world, 0, next, &mut other);
    worker.drain().expect("it ends well");
}

#[test]
fn sessions_come_and_go_and_no_frame_is_lost() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &grey(SMALL), &mut outcomes);
    let mut next = 1;
    for (generation, sessions, note) in [
        (1, Some(3), "sessions: 1 to 3"),
        (2, Some(1), "sessions: 3 to 1"),
        (3, Some(2), "sessions: 1 to 2"),
    ] {
        let mut wanted = world.wanted(INT8, 1);
        wanted.sessions = sessions;
        worker.ask(generation, wanted);
        let answer;
        (next, answer) = publish_until_answered(&mut world, &mut worker, &mut outcomes, next);
        assert_eq!(answer, Ok(vec![note.to_owned()]));
    }
    // Left to the worker, which has measured nothing: it keeps what it has.
    let mut wanted = world.wanted(INT8, 1);
    wanted.sessions = None;
    assert_eq!(worker.reconfigure(4, wanted), Ok(Vec::new()));
    assert_all_inferred(&mut world, 0, next, &mut outcomes);
    worker.drain().expect("it ends well");
}

#[test]
fn thresholds_change_between_two_frames() {
    let size = PixelSize {
        width: 768,
        height: 576,
    };
    let frames = clip(size, 30);
    let mut world = World::new(&["yard"], size, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(FP32, Some(1), 0);
    world.produce(0, 0);
    let mut outcomes = Outcomes::default();
    let mut found = Vec::new();
    for (sequence_number, score_min) in (0..).zip([0.4, 0.95, 0.4]) {
        let mut wanted = world.wanted(FP32, 1);
        wanted.score_min = score_min;
        worker.reconfigure(sequence_number, wanted).expect("it can");
        world.publish(0, sequence_number, &frames[29]);
        world.wait_results(0, sequence_number + 1, &mut outcomes);
        let ResultBody::Found(Findings::Detections(detections)) =
            &outcomes.by_frame[&sequence_number]
        else {
            panic!("frame {sequence_number} was skipped");
        };
        found.push(detections.clone());
    }
    assert!(!found[0].is_empty(), "somebody walks there");
    assert_eq!(found[1], []);
    assert_eq!(found[2], found[0]);
    world.end(0, 3);
    world.wait_end(0, &mut outcomes);
    worker.drain().expect("it ends well");
}

#[test]
fn changes_are_made_one_after_the_other() {
    let mut world = World::new(&["a", "b"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &picture, &mut outcomes);
    let both = world.wanted(INT8, 1);
    let mut alone = both.clone();
    alone.streams.truncate(1);
    // The second is asked for while the first is on its way.
    for generation in 0..20 {
        worker.ask(2 * generation, alone.clone());
        worker.ask(2 * generation + 1, both.clone());
        world.publish(0, generation + 1, &picture);
        let removed = worker.answer(2 * generation);
        assert_eq!(removed, Ok(vec!["stream b: removed".to_owned()]));
        let added = worker.answer(2 * generation + 1);
        assert_eq!(added, Ok(vec!["stream b: added".to_owned()]));
    }
    assert_all_inferred(&mut world, 0, 21, &mut outcomes);
    worker
        .drain()
        .expect("a stream that never began is given up");
}

#[test]
fn what_cannot_change_is_named_and_nothing_has_changed() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut worker = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &picture, &mut outcomes);
    let mut refuse = |generation, change: &dyn Fn(&mut InferSpec)| {
        let mut wanted = world.wanted(INT8, 1);
        wanted.streams[0].priority = 7;
        change(&mut wanted);
        worker
            .reconfigure(generation, wanted)
            .expect_err("it cannot")
    };
    let file = refuse(1, &|spec| spec.file = "/nowhere/model.onnx".into());
    assert!(file.contains("the model's file"), "{file}");
    let book = refuse(2, &|spec| {
        let mut stream = spec.streams[0].clone();
        stream.frames.stream = "b".parse().expect("a name");
        stream.book = "/nowhere/b.book".into();
        spec.streams.push(stream);
    });
    assert!(book.contains("/nowhere/b.book"), "{book}");

    // The priority is changed now, and was not before.
    let mut wanted = world.wanted(INT8, 1);
    wanted.streams[0].priority = 7;
    let notes = worker.reconfigure(3, wanted).expect("it can be done");
    assert_eq!(notes, ["stream a: priority"]);
    for sequence_number in 1..5 {
        world.publish(0, sequence_number, &picture);
    }
    assert_all_inferred(&mut world, 0, 5, &mut outcomes);
    worker.drain().expect("it ends well");
}

#[test]
fn a_worker_on_standby_takes_over_when_its_predecessor_is_gone() {
    let mut world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut first = world.start(INT8, Some(1), 0);
    world.produce(0, 0);
    let picture = grey(SMALL);
    let mut outcomes = Outcomes::default();
    world.publish_first(0, &picture, &mut outcomes);

    let mut spec = world.spec(&repository(FP32), Some(1));
    spec.standby = true;
    let mut second = world.start_with(spec.clone(), 1);
    let ready = second.wait_ready();
    assert!(ready.ends_with("on standby"), "{ready}");
    let refused = second.reconfigure(1, spec).expect_err("not now");
    assert!(refused.contains("standby"), "{refused}");
    // The first serves on, and has the book to itself.
    for sequence_number in 1..5 {
        world.publish(0, sequence_number, &picture);
    }
    world.wait_results(0, 5, &mut outcomes);
    first
        .drain()
        .expect("a stream that does not end is given up");

    // Nobody takes these two.
    world.publish(0, 5, &picture);
    world.publish(0, 6, &picture);
    second.send(&ToWorker::Start);
    world.wait_progress(0);
    for sequence_number in 7..12 {
        world.publish(0, sequence_number, &picture);
        world.wait_results(0, sequence_number + 1, &mut outcomes);
    }
    world.end(0, 12);
    world.wait_end(0, &mut outcomes);
    second.drain().expect("it ends well");
    let counters = world.streams[0].book.read();
    assert_closed(&counters, 12, &outcomes);
    assert_eq!(
        (counters.overflowed, counters.lost_in_transit),
        (2, 0),
        "nobody crashed: {counters:?}"
    );
    assert_eq!(outcomes.count(inferred), 10);
    assert_eq!(outcomes.count(skipped(Skip::Overflowed)), 2);
}

#[test]
fn a_worker_on_standby_leaves_when_it_is_not_needed() {
    let world = World::new(&["a"], SMALL, QueuePolicy::Wait, |_| ());
    let mut spec = world.spec(&repository(INT8), Some(1));
    spec.standby = true;
    let mut worker = world.start_with(spec, 0);
    worker.wait_ready();
    worker.drain().expect("it ends well");
    let counters = world.streams[0].book.read();
    assert_eq!((counters.in_flight(), counters.next_sequence), (0, 0));
}
