//! A stream with the test at both ends: supervisor of the worker and consumer of its frames.

#![expect(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use contract::control::ToWorker;
use contract::geometry::PixelSize;
use contract::ledger::{Counters, IngestCounters};
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::{
    Backoff, BusSpec, FrameServiceSpec, IngestSpec, MotionSpec, QueuePolicy, RetrySpec, Role,
    SourceSpec, WorkerSpec,
};
use frame_bus::{Arrivals, BookReader, Bus, Frame, FrameSubscriber, Incoming, Listener};
use tempfile::TempDir;
use testkit::leftovers;
use testkit::worker::WorkerProcess;

/// No step of a test takes longer, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Everything around one ingest worker.
pub(crate) struct Stream {
    pub(crate) directory: TempDir,
    pub(crate) spec: WorkerSpec,
    pub(crate) book: BookReader<IngestCounters>,
    pub(crate) frames: FrameSubscriber,
    listener: Listener,
    arrivals: Arrivals,
    bus: Bus,
    /// Last, so that it is dropped when all else is.
    _sweep: Sweep,
}

/// Removes what is left in shared memory: iceoryx2 keeps some files of a service that was used.
struct Sweep {
    prefix: String,
}

impl Drop for Sweep {
    fn drop(&mut self) {
        for name in leftovers::shared_memory(&self.prefix) {
            // Another may have been quicker.
            let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

impl Stream {
    pub(crate) fn new(source: SourceSpec, policy: QueuePolicy) -> Self {
        Self::with(source, policy, |_| ())
    }

    /// A stream of at most 1280 x 720 with room for two frames, changed as the test likes.
    pub(crate) fn with(
        source: SourceSpec,
        policy: QueuePolicy,
        change: impl FnOnce(&mut IngestSpec),
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, because the paths of sockets must be.
        let directory = tempfile::Builder::new().prefix("in").tempdir().unwrap();
        let bus = BusSpec {
            root: directory.path().to_owned(),
            prefix: format!("sluice_ingest_{}_{count}_", std::process::id()),
        };
        let sweep = Sweep {
            prefix: bus.prefix.clone(),
        };
        let consumer = WorkerId::Render("yard".parse().unwrap());
        let mut ingest = IngestSpec {
            stream: "yard".parse().unwrap(),
            source,
            retry: RetrySpec {
                attempts: Some(5),
                interval_ms: 300,
                backoff: Backoff::Fixed,
            },
            no_frame_timeout_ms: 1500,
            motion: MotionSpec {
                threshold: 12,
                mask: Vec::new(),
            },
            hardware_decoder: true,
            frames: FrameServiceSpec {
                stream: "yard".parse().unwrap(),
                crops: None,
                size: PixelSize {
                    width: 1280,
                    height: 720,
                },
                policy,
                depth: 2,
                consumers_max: 2,
                held_max: 4,
            },
            consumers: vec![consumer.clone()],
            book: directory.path().join("ingest.book"),
        };
        change(&mut ingest);
        let book = BookReader::create(&ingest.book).unwrap();
        let node = Bus::open(&bus, "test").unwrap();
        let frames = FrameSubscriber::open(&node, &ingest.frames).unwrap();
        let listener = Listener::open(&node, &consumer).unwrap();
        let spec = WorkerSpec {
            worker: WorkerId::Ingest("yard".parse().unwrap()),
            run: "test-1".parse().unwrap(),
            incarnation: 0,
            bus,
            directory: directory.path().to_owned(),
            role: Role::Ingest(ingest),
        };
        Self {
            directory,
            spec,
            book,
            frames,
            listener,
            arrivals: Arrivals::new(0, 0),
            bus: node,
            _sweep: sweep,
        }
    }

    /// Starts the worker, and counts the start.
    pub(crate) fn worker(&mut self) -> WorkerProcess {
        let program = Path::new(env!("CARGO_BIN_EXE_ingest-worker"));
        let worker = WorkerProcess::start(program, &self.spec);
        self.spec.incarnation += 1;
        worker
    }

    /// Starts the worker, waits until it is ready, and lets it begin.
    pub(crate) fn started(&mut self) -> WorkerProcess {
        let mut worker = self.worker();
        worker.expect_ready(PATIENCE);
        worker.send(&ToWorker::Start);
        worker
    }

    /// What the supervisor does after it has reaped a worker that was killed.
    pub(crate) fn clean_up(&self) {
        assert_eq!(self.bus.clean_dead_nodes(), 1);
    }

    /// The next frame; `None` at the end of the stream, whose `next_sequence` must be `seen`.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.frames.receive().unwrap() {
                Some(Incoming::Frame(frame)) => {
                    let number = frame.stamp().sequence_number;
                    if self.arrivals.arrive(number, frame.epoch()).fresh {
                        return Some(frame);
                    }
                }
                Some(Incoming::EndOfStream { next_sequence, .. }) => {
                    assert_eq!(next_sequence, self.book.read().published);
                    return None;
                }
                Some(Incoming::Invalid { reason, .. }) => panic!("{reason}"),
                None => {
                    assert!(Instant::now() < deadline, "no frame comes");
                    self.listener.wait(Duration::from_millis(500)).unwrap();
                }
            }
        }
    }

    /// All frames up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(frame) = self.next() {
            seen.push(Seen::of(&frame));
        }
        seen
    }

    /// The first frame that does not follow the one before without a gap.
    pub(crate) fn rest_until_discontinuity(&mut self) -> Seen {
        loop {
            let seen = Seen::of(&self.next().expect("the stream goes on"));
            if seen.discontinuity {
                return seen;
            }
        }
    }

    /// So many frames.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let frame = self.next().expect("the stream goes on");
            seen.push(Seen::of(&frame));
        }
        seen
    }

    /// The counters, which must balance with nothing in flight.
    pub(crate) fn closed_book(&self) -> IngestCounters {
        let book = self.book.read();
        book.check().unwrap();
        assert_eq!(book.in_flight(), 0, "{book:?}");
        book
    }
}

/// What is kept of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sequence_number: u64,
    pub(crate) epoch: u32,
    pub(crate) pts_ms: u64,
    pub(crate) discontinuity: bool,
    pub(crate) motion: f32,
    pub(crate) moved: Cells,
    pub(crate) size: PixelSize,
    /// The three planes without the padding of their rows.
    pub(crate) pixels: Vec<u8>,
}

impl Seen {
    pub(crate) fn of(frame: &Frame) -> Self {
        let stamp = frame.stamp();
        let layout = frame.layout();
        let mut pixels = Vec::new();
        for plane in 0..3 {
            let width = layout.size.width as usize;
            let width = if plane == 0 { width } else { width.div_ceil(2) };
            for row in frame.plane(plane).chunks(layout.strides[plane]) {
                pixels.extend_from_slice(&row[..width]);
            }
        }
        Self {
            sequence_number: stamp.sequence_number,
            epoch: frame.epoch(),
            pts_ms: (stamp.pts_ns + 500_000) / 1_000_000,
            discontinuity: stamp.discontinuity,
            motion: stamp.motion,
            moved: stamp.moved,
            size: layout.size,
            pixels,
        }
    }
}
