//! The render worker as a process of its own, between a producer, a model and a gateway that are this test.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::control::{FileKind, FileRecord, FrameRecord, FromWorker, ToWorker};
use contract::detection::{Detection, Landmarks};
use contract::event::Event;
use contract::findings::{Findings, Finds};
use contract::geometry::{BoundingBox, I420Layout, PixelSize};
use contract::ledger::{Counters, RenderCounters};
use contract::motion::Cells;
use contract::name::{StreamName, WorkerId};
use contract::spec::{
    ColourBy, DepthView, EncodeSpec, FrameMemory, FrameServiceSpec, NearValues, OverlaySpec,
    QueuePolicy, RecordSpec, RenderModelSpec, RenderSpec, Role, RuleSource, TrackerAlgorithm,
    TrackerSpec, WorkerSpec,
};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{
    BookReader, Bus, ColourMatrix, FramePublisher, FrameStamp, IncomingPacket, Outcome,
    PacketSubscriber, ResultPublisher, Waker,
};
use testkit::wait_until;
use testkit::worker::WorkerProcess;

use crate::video;

pub(crate) const SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};
pub(crate) const SECONDS_10: Duration = Duration::from_secs(10);
pub(crate) const INTERVAL_NS: u64 = 40_000_000;

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
    do: [alert, snapshot(frame)]
";

/// A run's directory and bus with this test as everything but the render worker.
pub(crate) struct Bench {
    pub(crate) spec: WorkerSpec,
    pub(crate) book: BookReader<RenderCounters>,
    frames: FramePublisher,
    results: ResultPublisher,
    pub(crate) packets: PacketSubscriber,
    waker: Waker,
    pub(crate) bus: Bus,
    directory: tempfile::TempDir,
    // Last: it sweeps what the ports and a killed worker leave.
    _root: Root,
}

pub(crate) fn stream() -> StreamName {
    "yard".parse().expect("a name")
}

impl Bench {
    pub(crate) fn new(policy: QueuePolicy, max_latency_ms: u64) -> Self {
        Self::with(policy, |render| render.max_latency_ms = max_latency_ms)
    }

    /// As `change` makes the spec.
    pub(crate) fn with(policy: QueuePolicy, change: impl FnOnce(&mut RenderSpec)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::create(Path::new(BASE), "a test").expect("a root");
        let mut render = render_spec(&root, policy);
        change(&mut render);
        let spec = WorkerSpec {
            worker: WorkerId::Render(stream()),
            run: "yard-1".parse().expect("a name"),
            incarnation: 0,
            bus: root.bus(),
            directory: directory.path().to_owned(),
            role: Role::Render(render.clone()),
        };
        let book = BookReader::create(&render.book).expect("a new book");
        let bus = Bus::open(&spec.bus, "test").expect("a bus");
        let frames = FramePublisher::open(&bus, &render.frames, 0).expect("a producer");
        let model = &render.models[0].model;
        let results =
            ResultPublisher::open(&bus, &render.frames, model, Finds::Objects).expect("a model");
        let qualities = render.encode.iter().map(|encode| encode.qualities.len());
        let rungs = 1 + qualities.sum::<usize>();
        let packets = PacketSubscriber::open(&bus, &stream(), rungs).expect("a gateway");
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

    pub(crate) fn start(&self) -> WorkerProcess {
        let worker =
            WorkerProcess::start(Path::new(env!("CARGO_BIN_EXE_render-worker")), &self.spec);
        worker.expect_ready(SECONDS_10);
        worker
    }

    pub(crate) fn publish(&self, number: u64) {
        self.publish_sized(number, SIZE);
    }

    pub(crate) fn publish_sized(&self, number: u64, size: PixelSize) {
        self.publish_painted(number, size, |layout, pixels| {
            video::paint(layout, number, pixels);
        });
    }

    pub(crate) fn publish_painted(
        &self,
        number: u64,
        size: PixelSize,
        paint: impl FnOnce(&I420Layout, &mut [u8]),
    ) {
        let mut loan = None;
        let found = wait_until(SECONDS_10, || {
            loan = self.frames.loan(size).expect("fits");
            loan.is_some()
        });
        assert!(found, "no free slot for frame {number}");
        let mut loan = loan.expect("found");
        let layout = loan.layout();
        paint(&layout, loan.payload_mut());
        let stamp = FrameStamp {
            sequence_number: number,
            pts_ns: number * INTERVAL_NS,
            captured_ns: monotonic_ns(),
            motion: 0.1,
            moved: Cells::of(|[x, _]| x < 0.1),
            colour: ColourMatrix::Bt601,
            discontinuity: false,
        };
        self.frames.publish(loan, &stamp).expect("published");
        self.waker.wake();
    }

    /// Publishes frames and detections, each once the one before is rendered.
    pub(crate) fn walk(&self, numbers: Range<u64>) {
        for number in numbers {
            self.publish(number);
            self.detect(number);
            self.expect_book("rendered", |counters| counters.rendered > number);
        }
    }

    /// The spec of the worker.
    pub(crate) fn render(&mut self) -> &mut RenderSpec {
        match &mut self.spec.role {
            Role::Render(render) => render,
            other => unreachable!("made above: {other:?}"),
        }
    }

    /// Has the worker go over to the spec as `change` makes it, and gives its answer.
    pub(crate) fn reconfigure(
        &mut self,
        worker: &mut WorkerProcess,
        generation: u64,
        change: impl FnOnce(&mut RenderSpec),
    ) -> Result<Vec<String>, String> {
        let mut render = self.render().clone();
        change(&mut render);
        // It is the generation that brought this text.
        let new_rules = render.rules != self.render().rules;
        if let Some(rules) = render.rules.as_mut().filter(|_| new_rules) {
            rules.generation = generation;
        }
        worker.send(&ToWorker::Reconfigure {
            generation,
            role: Box::new(Role::Render(render.clone())),
        });
        let answer = worker.expect(SECONDS_10, |message| match message {
            FromWorker::Reconfigured {
                generation: of,
                result,
            } if *of == generation => Some(result.clone()),
            _ => None,
        });
        if answer.is_ok() {
            *self.render() = render;
        }
        answer
    }

    pub(crate) fn answer(&self, first: u64, last: u64, outcome: Outcome<'_>) {
        self.results
            .publish(first, last, outcome)
            .expect("published");
        self.waker.wake();
    }

    /// One person, 40 by 140 pixels, who walks from left to right: his feet stand in column
    /// `40 + 4 * number`.
    pub(crate) fn detect(&self, number: u64) {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let x = 20.0 + number as f32 * 4.0;
        self.detect_at(number, x, 0.9);
    }

    /// One person with his left edge at `x`.
    pub(crate) fn detect_at(&self, number: u64, x: f32, score: f32) {
        let detection = Detection {
            bounds: BoundingBox {
                x1: x,
                y1: 60.0,
                x2: x + 40.0,
                y2: 200.0,
            },
            score,
            class: 0,
            landmarks: Landmarks::NONE,
        };
        let found = Findings::Detections(vec![detection]);
        self.answer(number, number, Outcome::Found(&found));
    }

    pub(crate) fn end(&self, next_sequence: u64, worker: &mut WorkerProcess) {
        self.results
            .end_of_stream(next_sequence)
            .expect("published");
        self.frames
            .end_of_stream(next_sequence, || self.waker.wake())
            .expect("published");
        worker.send(&ToWorker::Drain);
    }

    /// Waits until the book says so.
    pub(crate) fn expect_book(&self, what: &str, holds: impl Fn(&RenderCounters) -> bool) {
        let came = wait_until(SECONDS_10, || {
            let counters = self.book.read();
            counters.check().expect("balanced at every moment");
            holds(&counters)
        });
        assert!(came, "{what}: {:#?}", self.book.read());
    }

    /// The run's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, record: &FileRecord) -> PathBuf {
        self.directory().join(&record.path)
    }
}

fn render_spec(root: &Root, policy: QueuePolicy) -> RenderSpec {
    RenderSpec {
        frames: FrameServiceSpec {
            stream: stream(),
            crops: None,
            size: SIZE,
            policy,
            depth: 4,
            consumers_max: 1,
            held_max: 6,
            memory: FrameMemory::Host,
        },
        models: vec![RenderModelSpec {
            model: "people".parse().expect("a name"),
            labels: vec!["person".to_owned()],
        }],
        crops: Vec::new(),
        cascades: Vec::new(),
        max_latency_ms: 60_000,
        tracker: TrackerSpec {
            algorithm: TrackerAlgorithm::Botsort,
            high_score: 0.5,
            new_track_score: 0.6,
            iou_min: 0.1,
            lost_timeout_ms: 2000,
            camera_motion: true,
        },
        best_shots: None,
        privacy: None,
        rules: rules(RULES),
        labels: BTreeMap::new(),
        overlay: OverlaySpec {
            boxes: true,
            trails: true,
            zones: true,
            status: true,
            classes: true,
            heat: false,
            colours: ColourBy::Track,
            depth: DepthView::Off,
            near: NearValues::Large,
        },
        passthrough: None,
        captions: Vec::new(),
        tiles: Vec::new(),
        encode: Some(EncodeSpec {
            hardware: false,
            preset: "ultrafast".to_owned(),
            bitrate_kbps: 500,
            keyframe_interval_ms: 1000,
            threads: 1,
            qualities: Vec::new(),
        }),
        record: Some(RecordSpec {
            directory: "recordings".into(),
            segment_ms: 600_000,
            segment_bytes: 1_000_000_000,
        }),
        restream: true,
        store_detections: true,
        book: root.books().join("render-yard"),
    }
}

/// These rules, of generation 0.
pub(crate) fn rules(text: &str) -> Option<RuleSource> {
    Some(RuleSource {
        generation: 0,
        path: "rules/yard.yaml".into(),
        text: text.to_owned(),
    })
}

pub(crate) fn files(worker: &WorkerProcess, kind: FileKind) -> Vec<FileRecord> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::File(record) if record.kind == kind => Some(*record),
            _ => None,
        })
        .collect()
}

pub(crate) fn frame_records(worker: &WorkerProcess) -> Vec<FrameRecord> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::Frames(records) => Some(records),
            _ => None,
        })
        .flatten()
        .collect()
}

pub(crate) fn events(worker: &WorkerProcess) -> Vec<Event> {
    let messages = worker.received().into_iter();
    messages
        .filter_map(|message| match message {
            FromWorker::Event(event) => Some(*event),
            _ => None,
        })
        .collect()
}

pub(crate) fn expect_exit(worker: &mut WorkerProcess, code: i32) {
    let status = worker.process.wait(SECONDS_10);
    let status = status.unwrap_or_else(|| panic!("it goes on: {}", worker.process.stderr()));
    assert_eq!(status.code(), Some(code), "{}", worker.process.stderr());
}

pub(crate) fn take_packets(
    from: &mut PacketSubscriber,
    packets: &mut Vec<u64>,
    end: &mut Option<u64>,
) {
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
