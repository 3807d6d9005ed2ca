//! What gates see: motion of zones, what tracks feed back, and the time they opened last.

use contract::detection::Skip;
use contract::ledger::RenderCounters;
use contract::motion::Cells;
use contract::spec::QueuePolicy;
use frame_bus::{BookReader, BookWriter, FrameStamp, ResultBody};

use crate::support::{Outcomes, World, rules, stamp};
use crate::{INT8, SMALL, assert_closed, grey};

const GATED: ResultBody = ResultBody::Skipped(Skip::Gated);

/// A worker with one stream, asked about one frame after the other.
struct Asked {
    world: World,
    outcomes: Outcomes,
    picture: Vec<u8>,
    next: u64,
}

impl Asked {
    fn new(gate: &str) -> Self {
        let change = |spec: &mut contract::spec::InferStreamSpec| spec.rules = Some(rules(gate));
        Self {
            world: World::new(&["a"], SMALL, QueuePolicy::DropLatest, change),
            outcomes: Outcomes::default(),
            picture: grey(SMALL),
            next: 0,
        }
    }

    /// Whether the model ran on a frame that is stamped like this.
    fn admits(&mut self, change: impl FnOnce(&mut FrameStamp)) -> bool {
        let mut stamp = stamp(self.next);
        change(&mut stamp);
        self.world.publish_stamped(0, &self.picture, &stamp);
        self.world
            .wait_results(0, self.next + 1, &mut self.outcomes);
        let body = &self.outcomes.by_frame[&self.next];
        self.next += 1;
        *body != GATED
    }

    fn end(mut self) {
        self.world.end(0, self.next);
        self.world.wait_end(0, &mut self.outcomes);
        assert_closed(
            &self.world.streams[0].book.read(),
            self.next,
            &self.outcomes,
        );
    }
}

#[test]
fn motion_in_a_zone_opens_a_gate_and_motion_elsewhere_does_not() {
    let mut asked = Asked::new("motion(left) > 50%");
    let mut worker = asked.world.start(INT8, Some(1), 0);
    asked.world.produce(0, 0);
    let in_the = |side: fn(f32) -> bool| Cells::of(|[x, _]| side(x));
    let moved = |moved: Cells| {
        move |stamp: &mut FrameStamp| {
            stamp.motion = 0.5;
            stamp.moved = moved;
        }
    };
    assert!(!asked.admits(moved(in_the(|x| x > 0.5))));
    assert!(asked.admits(moved(in_the(|x| x < 0.5))));
    assert!(
        !asked.admits(moved(in_the(|x| x < 0.25))),
        "half is not more than half"
    );
    assert!(asked.admits(moved(in_the(|x| x < 0.28))));
    asked.end();
    worker.drain().expect("it ends well");
}

#[test]
fn tracks_feed_back_through_the_book_of_the_render_worker() {
    let mut asked = Asked::new("tracks > 0");
    let mut worker = asked.world.start(INT8, Some(1), 0);
    asked.world.produce(0, 0);
    assert!(!asked.admits(|_| ()), "without a book there are no tracks");
    let path = asked.world.streams[0].spec.feedback.clone();
    BookReader::<RenderCounters>::create(&path).expect("a book");
    assert!(!asked.admits(|_| ()));
    let mut book = BookWriter::<RenderCounters>::open(&path).expect("a writer");
    for (tracks, admitted) in [(2, true), (0, false), (1, true)] {
        book.update(|counters| counters.tracks_now = tracks);
        assert_eq!(asked.admits(|_| ()), admitted, "{tracks} tracks");
    }
    asked.end();
    worker.drain().expect("it ends well");
}

#[test]
fn a_gate_knows_its_stream_and_the_events_that_last() {
    let gate = r#"'stream.name == "a" and stream.label("site") == "north" and events > 0'"#;
    let mut asked = Asked::new(gate);
    let path = asked.world.streams[0].spec.feedback.clone();
    BookReader::<RenderCounters>::create(&path).expect("a book");
    let mut book = BookWriter::<RenderCounters>::open(&path).expect("a writer");
    book.update(|counters| counters.events_now = 1);
    let mut worker = asked.world.start(INT8, Some(1), 0);
    asked.world.produce(0, 0);
    assert!(!asked.admits(|_| ()), "the stream has no label");

    let labels = &mut asked.world.streams[0].spec.labels;
    labels.insert("site".to_owned(), "north".to_owned());
    let wanted = asked.world.wanted(INT8, 1);
    let notes = worker.reconfigure(1, wanted).expect("it can be done");
    assert_eq!(notes, ["stream a: labels"]);
    assert!(asked.admits(|_| ()));
    book.update(|counters| counters.events_now = 0);
    assert!(!asked.admits(|_| ()));
    asked.end();
    worker.drain().expect("it ends well");
}

#[test]
fn a_gate_that_is_replaced_knows_when_it_opened_last() {
    let mut asked = Asked::new("every(10s)");
    let mut worker = asked.world.start(INT8, Some(1), 0);
    asked.world.produce(0, 0);
    let at = |seconds: f64| {
        let pts_ns = std::time::Duration::from_secs_f64(seconds).as_nanos();
        let pts_ns = u64::try_from(pts_ns).expect("a short time");
        move |stamp: &mut FrameStamp| stamp.pts_ns = pts_ns
    };
    assert!(asked.admits(at(0.0)));
    assert!(!asked.admits(at(9.0)));

    asked.world.streams[0].spec.rules = Some(rules("every(12s)"));
    let wanted = asked.world.wanted(INT8, 1);
    let notes = worker.reconfigure(1, wanted).expect("it can be done");
    assert_eq!(notes, ["stream a: rules"]);
    assert!(!asked.admits(at(11.0)), "the last was at 0");
    assert!(asked.admits(at(12.0)));

    // Without rules every frame is let through, and a new gate begins anew.
    asked.world.streams[0].spec.rules = None;
    let wanted = asked.world.wanted(INT8, 1);
    worker.reconfigure(2, wanted).expect("it can be done");
    assert!(asked.admits(at(13.0)));
    asked.world.streams[0].spec.rules = Some(rules("every(12s)"));
    let wanted = asked.world.wanted(INT8, 1);
    worker.reconfigure(3, wanted).expect("it can be done");
    assert!(asked.admits(at(14.0)));
    assert!(!asked.admits(at(15.0)));

    // What is no gate changes nothing.
    asked.world.streams[0].spec.rules = Some(rules("every(soon)"));
    let wanted = asked.world.wanted(INT8, 1);
    let reason = worker.reconfigure(4, wanted).expect_err("it is no gate");
    assert!(reason.contains("yard.yaml:4:"), "{reason}");
    assert!(!asked.admits(at(16.0)));
    asked.end();
    worker.drain().expect("it ends well");
}
