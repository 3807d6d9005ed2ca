//! The render worker as a process of its own, between a producer, a model and a gateway that are this test.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::control::{FileKind, FileRecord, FrameRecord, FromWorker, ToWorker};
use contract::detection::{Detection, Skip};
use contract::event::Event;
use contract::geometry::{BoundingBox, PixelSize};
use contract::ledger::{Counters, RenderCounters};
use contract::name::{StreamName, WorkerId};
use contract::spec::{
    EncodeSpec, FrameServiceSpec, OverlaySpec, QueuePolicy, RecordSpec, RenderModelSpec,
    RenderSpec, Role, RuleSource, TrackerSpec, WorkerSpec,
};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{
    BookReader, Bus, ColourMatrix, FramePublisher, FrameStamp, IncomingPacket, Outcome,
    PacketSubscriber, ResultPublisher, Waker, book,
};
use nix::sys::signal::Signal;
use testkit::wait_until;
use testkit::worker::WorkerProcess;

const SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};
const SECONDS_10: Duration = Duration::from_secs(10);
const INTERVAL_NS: u64 = 40_000_000;

const RULES: &str = "\
zones:
  right: {polygon: [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]}
lines:
  door: {from: [0.1, 0.2], to: [0.1, 0.9]}
rules:
  arrived:
    on: track
    when: label == \"person\" and in_zone(right)
    message: \"{label} {track.id} has arrived\"
    do: [alert, snapshot]
";

/// A run's directory and bus with this test as everything but the render worker.
struct Bench {
    spec: WorkerSpec,
    book: BookReader<RenderCounters>,
    frames: FramePublisher,
    results: ResultPublisher,
    packets: PacketSubscriber,
    waker: Waker,
    bus: Bus,
    directory: tempfile::TempDir,
    // Last: it sweeps what the ports and a killed worker leave.
    _root: Root,
}

fn stream() -> StreamName {
    "yard".parse().expect("a name")
}

impl Bench {
    fn new(policy: QueuePolicy, max_latency_ms: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::create(Path::new(BASE), "a test").expect("a root");
        let spec = spec(directory.path(), &root, policy, max_latency_ms);
        let Role::Render(render) = &spec.role else {
            unreachable!("made below");
        };
        let book = BookReader::create(&render.book).expect("a new book");
        let bus = Bus::open(&spec.bus, "test").expect("a bus");
        let frames = FramePublisher::open(&bus, &render.frames, 0).expect("a producer");
        let model = &render.models[0].model;
        let results = ResultPublisher::open(&bus, &stream(), model).expect("a model");
        let packets = PacketSubscriber::open(&bus, &stream()).expect("a gateway");
        let waker = Waker::open(&bus, &spec.worker).expect("a waker");
        Self {
            directory,
            _root: root,
            book,
            frames,
            results,
            packets,
            waker,
            bus,
            spec,
        }
    }

    fn start(&self) -> WorkerProcess {
        let worker =
            WorkerProcess::start(Path::new(env!("CARGO_BIN_EXE_render-worker")), &self.spec);
        worker.expect_ready(SECONDS_10);
        worker
    }

    fn publish(&self, number: u64) {
        self.publish_sized(number, SIZE);
    }

    fn publish_sized(&self, number: u64, size: PixelSize) {
        let mut loan = None;
        let found = wait_until(SECONDS_10, || {
            loan = self.frames.loan(size).expect("fits");
            loan.is_some()
        });
        assert!(found, "no free slot for frame {number}");
        let mut loan = loan.expect("found");
        let layout = loan.layout();
        support::paint(&layout, number, loan.payload_mut());
        let stamp = FrameStamp {
            sequence_number: number,
            pts_ns: number * INTERVAL_NS,
            captured_ns: monotonic_ns(),
            motion: 0.1,
            colour: ColourMatrix::Bt601,
            discontinuity: false,
        };
        self.frames.publish(loan, &stamp).expect("published");
        self.waker.wake();
    }

    fn answer(&self, first: u64, last: u64, outcome: Outcome<'_>) {
        self.results
            .publish(first, last, outcome)
            .expect("published");
        self.waker.wake();
    }

    /// One person who walks from left to right.
    fn detect(&self, number: u64) {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let x = 20.0 + number as f32 * 4.0;
        let bounds = BoundingBox {
            x1: x,
            y1: 60.0,
            x2: x + 40.0,
            y2: 200.0,
        };
        let detection = Detection {
            bounds,
            score: 0.9,
            class: 0,
        };
        self.answer(number, number, Outcome::Detections(&[detection]));
    }

    fn end(&self, next_sequence: u64, worker: &mut WorkerProcess) {
        self.results
            .end_of_stream(next_sequence)
            .expect("published");
        self.frames
            .end_of_stream(next_sequence, || self.waker.wake())
            .expect("published");
        worker.send(&ToWorker::Drain);
    }

    /// Waits until the book says so.
    fn expect_book(&self, what: &str, holds: impl Fn(&RenderCounters) -> bool) {
        let came = wait_until(SECONDS_10, || {
            let counters = self.book.read();
            counters.check().expect("balanced at every moment");
            holds(&counters)
        });
        assert!(came, "{what}: {:#?}", self.book.read());
    }

    fn path(&self, record: &FileRecord) -> PathBuf {
        self.directory.path().join(&record.path)
    }
}

fn spec(directory: &Path, root: &Root, policy: QueuePolicy, max_latency_ms: u64) -> WorkerSpec {
    let render = RenderSpec {
        frames: FrameServiceSpec {
            stream: stream(),
            size: SIZE,
            policy,
            depth: 4,
            consumers_max: 1,
            held_max: 6,
        },
        models: vec![RenderModelSpec {
            model: "people".parse().expect("a name"),
            labels: vec!["person".to_owned()],
        }],
        max_latency_ms,
        tracker: TrackerSpec {
            high_score: 0.5,
            new_track_score: 0.6,
            iou_min: 0.1,
            lost_timeout_ms: 2000,
        },
        rules: Some(RuleSource {
            path: "rules/yard.yaml".into(),
            text: RULES.to_owned(),
        }),
        overlay: OverlaySpec {
            boxes: true,
            trails: true,
            zones: true,
            status: true,
        },
        encode: Some(EncodeSpec {
            preset: "ultrafast".to_owned(),
            bitrate_kbps: 500,
            keyframe_interval_ms: 1000,
            threads: 1,
        }),
        record: Some(RecordSpec {
            directory: "recordings".into(),
        }),
        restream: true,
        store_detections: true,
        book: root.books().join("render-yard"),
    };
    WorkerSpec {
        worker: WorkerId::Render(stream()),
        run: "yard-1".parse().expect("a name"),
        incarnation: 0,
        bus: root.bus(),
        directory: directory.to_owned(),
        role: Role::Render(render),
    }
}

fn files(worker: &WorkerProcess, kind: FileKind) -> Vec<FileRecord> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::File(record) if record.kind == kind => Some(record),
            _ => None,
        })
        .collect()
}

fn frame_records(worker: &WorkerProcess) -> Vec<FrameRecord> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::Frames(records) => Some(records),
            _ => None,
        })
        .flatten()
        .collect()
}

fn events(worker: &WorkerProcess) -> Vec<Event> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::Event(event) => Some(*event),
            _ => None,
        })
        .collect()
}

fn expect_exit(worker: &mut WorkerProcess, code: i32) {
    let status = worker.process.wait(SECONDS_10);
    let status = status.unwrap_or_else(|| panic!("it goes on: {}", worker.process.stderr()));
    assert_eq!(status.code(), Some(code), "{}", worker.process.stderr());
}

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
        encoded_bytes: counters.encoded_bytes,
        ..RenderCounters::default()
    };
    assert_eq!(counters, expected, "{}", worker.process.stderr());
    assert_eq!(counters.in_flight(), 0);
    assert_eq!(bench.book.histogram().total(), FRAMES);

    let recorded = files(&worker, FileKind::Recording);
    assert_eq!(recorded.len(), 2, "begun and finished");
    assert_eq!(
        (recorded[0].frames, recorded[1].frames),
        (None, Some(FRAMES))
    );
    assert!(
        recorded[0].path.starts_with("recordings/yard-"),
        "{recorded:?}"
    );
    let played = support::play(&bench.path(&recorded[1]));
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
    let png = fs::read(bench.path(&snapshots[0])).expect("a file");
    assert_eq!(png[1..4], *b"PNG");

    let sequence: Vec<u64> = (0..FRAMES).collect();
    assert_eq!(packets, sequence);
    assert_eq!(packets_end, Some(FRAMES));
}

fn take_packets(from: &mut PacketSubscriber, packets: &mut Vec<u64>, end: &mut Option<u64>) {
    while let Some(incoming) = from.receive().expect("a good port") {
        match incoming {
            IncomingPacket::Packet(packet) => {
                assert_eq!(packet.data()[..3], [0, 0, 0]);
                packets.push(packet.stamp().sequence_number);
            }
            IncomingPacket::EndOfStream { next_sequence, .. } => *end = Some(next_sequence),
            IncomingPacket::Invalid { reason } => panic!("{reason}"),
        }
    }
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
    let frames = support::play(&file).times_ns.len();
    // 1.6 seconds were rendered, of which the last whole second may have been collected still.
    assert!((15..=41).contains(&frames), "{frames} frames");

    let Role::Render(render) = &bench.spec.role else {
        unreachable!("made above");
    };
    let dead: RenderCounters = book::settle(&render.book).expect("its writer is dead");
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
    let frames = recorded
        .last()
        .and_then(|record| record.frames)
        .expect("closed");
    let played = support::play(&bench.path(&recorded[0])).times_ns.len();
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
    let finished = recorded.iter().filter(|record| record.frames.is_some());
    let played: Vec<(usize, usize)> = finished
        .map(|record| support::play(&bench.path(record)))
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
    let Role::Render(render) = &mut bench.spec.role else {
        unreachable!("made above");
    };
    let encode = render.encode.as_mut().expect("made above");
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
