//! A stream with the test at both ends: supervisor of the worker and consumer of its frames.

#![expect(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use contract::control::{SourceState, ToWorker};
use contract::exit::WorkerExit;
use contract::geometry::PixelSize;
use contract::ledger::{Counters, IngestCounters};
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::{
    Backoff, BusSpec, FrameMemory, FrameServiceSpec, IngestSpec, MotionSpec, QueuePolicy,
    RetrySpec, Role, SourceSpec, WorkerSpec,
};
use frame_bus::{Arrivals, BookReader, Bus, Frame, FrameSubscriber, Incoming, Listener};
use tempfile::TempDir;
use testkit::process::{Launch, Process};
use testkit::worker::WorkerProcess;
use testkit::{leftovers, wait_until};

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
                max_interval_ms: 300,
            },
            on_demand: None,
            no_frame_timeout_ms: 1500,
            motion: MotionSpec {
                threshold: 12,
                mask: Vec::new(),
            },
            hardware_decoder: true,
            passthrough: None,
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
                memory: FrameMemory::Host,
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
                    assert!(
                        Instant::now() < deadline,
                        "no frame comes: {:?}",
                        self.book.read()
                    );
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

/// The states reported, waited for until they are these.
pub(crate) fn expect_states(
    worker: &WorkerProcess,
    expected: &[SourceState],
) -> Vec<(SourceState, String)> {
    let states = || worker.source_states().into_iter().map(|(state, _)| state);
    wait_until(PATIENCE, || states().count() >= expected.len());
    assert_eq!(
        states().collect::<Vec<_>>(),
        expected,
        "{:#?}\n{}",
        worker.source_states(),
        worker.process.stderr()
    );
    worker.source_states()
}

/// Waits for a state that is reported after `begin` others, and gives its text.
pub(crate) fn expect_state(worker: &WorkerProcess, begin: usize, expected: SourceState) -> String {
    let find = || {
        let states = worker.source_states().into_iter().skip(begin);
        states
            .filter(|(state, _)| *state == expected)
            .map(|(_, text)| text)
            .next()
    };
    assert!(
        wait_until(PATIENCE, || find().is_some()),
        "{expected:?} does not come: {:#?}\n{}",
        worker.source_states(),
        worker.process.stderr()
    );
    find().unwrap()
}

pub(crate) fn drain(mut worker: WorkerProcess, stream: &mut Stream) -> IngestCounters {
    worker.send(&ToWorker::Drain);
    stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    stream.closed_book()
}

/// `ffmpeg` with these arguments, words apart from each other by spaces.
pub(crate) fn ffmpeg(arguments: &str) -> Process {
    Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-nostdin", "-v", "error", "-y"])
        .arguments(arguments.split_whitespace())
        .start()
}

/// Runs `ffmpeg` to its end.
pub(crate) fn ffmpeg_done(arguments: &str) {
    let mut process = ffmpeg(arguments);
    let code = process.exit_code(PATIENCE);
    assert_eq!(code, 0, "ffmpeg {arguments}: {}", process.stderr());
}

/// A red picture at 25 frames a second in real time, as H.264 with a key frame each half second.
pub(crate) const LIVE_RED: &str = "-re -f lavfi -i color=red:size=320x240:rate=25 -pix_fmt yuv420p \
     -c:v libx264 -preset ultrafast -tune zerolatency -g 12 -bf 0";

/// Mean of the luma and of both chroma planes of a picture.
pub(crate) fn means(seen: &Seen) -> [u8; 3] {
    let (luma, chroma) = (
        seen.size.width * seen.size.height,
        seen.size.width.div_ceil(2) * seen.size.height.div_ceil(2),
    );
    let (luma, chroma) = (luma as usize, chroma as usize);
    let mean = |plane: &[u8]| {
        let sum: u64 = plane.iter().map(|value| u64::from(*value)).sum();
        u8::try_from(sum / plane.len() as u64).unwrap()
    };
    let (y, rest) = seen.pixels.split_at(luma);
    [mean(y), mean(&rest[..chroma]), mean(&rest[chroma..])]
}

/// Red as ITU-R BT.601 or BT.709 code it.
pub(crate) fn assert_red(seen: &Seen) {
    let [y, u, v] = means(seen);
    let red = (50..=95).contains(&y) && (80..=115).contains(&u) && v > 220;
    assert!(red, "not red: {:?}", [y, u, v]);
}

/// Event time goes on at 25 frames a second, whatever was missed, and is near the clock.
pub(crate) fn assert_rate(seen: &[Seen]) {
    for pair in seen.windows(2) {
        assert!(pair[0].pts_ms < pair[1].pts_ms, "event time goes on");
    }
    let follows = |pair: &&[Seen]| pair[1].sequence_number == pair[0].sequence_number + 1;
    let gap = |pair: &[Seen]| pair[1].pts_ms - pair[0].pts_ms;
    let mut gaps: Vec<_> = seen.windows(2).filter(follows).map(gap).collect();
    gaps.sort_unstable();
    // Frames that a busy machine did not take leave gaps; the usual one is the camera's.
    let usual = gaps[gaps.len() / 2];
    assert!(
        usual.abs_diff(40) <= 4,
        "{usual} ms between frames: {gaps:?}"
    );
    let last = seen.last().unwrap();
    let now_ms = contract::clock::monotonic_ns() / 1_000_000;
    let off_ms = now_ms.abs_diff(last.pts_ms);
    assert!(off_ms < 4000, "event time is {off_ms} ms off the clock");
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
