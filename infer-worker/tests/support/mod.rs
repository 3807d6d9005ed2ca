//! A worker in this process, with a supervisor, producers and a consumer played by the test.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::{Decoder, FromWorker, ToWorker, encode};
use contract::geometry::PixelSize;
use contract::ledger::InferCounters;
use contract::name::{ModelName, StreamName, WorkerId};
use contract::spec::{
    FrameServiceSpec, InferSpec, InferStreamSpec, ModelFamily, QueuePolicy, Role, WorkerSpec,
};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{
    BookReader, Bus, ColourMatrix, FramePublisher, FrameResult, FrameStamp, Listener, ResultBody,
    ResultSubscriber, Waker,
};
use tempfile::TempDir;
use worker::{Control, Failure};

/// Everything a test waits for comes much sooner on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file of the repository, or of what set-up has put there.
pub(crate) fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let file = root.expect("the crate lies in the repository").join(path);
    assert!(file.exists(), "{path} is missing: run scripts/setup");
    file
}

pub(crate) fn model_name() -> ModelName {
    "people".parse().expect("a name")
}

pub(crate) fn labels() -> Vec<String> {
    let text = std::fs::read_to_string(repository("assets/models/coco80.txt"));
    text.expect("the labels can be read")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// One stream of a test: its services and its book.
pub(crate) struct TestStream {
    pub(crate) spec: InferStreamSpec,
    pub(crate) results: ResultSubscriber,
    pub(crate) book: BookReader<InferCounters>,
    publisher: Option<FramePublisher>,
}

/// The bus of one test and what lies on it.
pub(crate) struct World {
    pub(crate) streams: Vec<TestStream>,
    bus: Bus,
    consumer: Listener,
    worker: WorkerId,
    wake: Waker,
    directory: TempDir,
    /// Last, so that nothing is on the bus any more when it is removed.
    root: Root,
}

impl World {
    /// A bus with streams of one policy; `change` completes each stream's spec.
    pub(crate) fn new(
        streams: &[&str],
        size: PixelSize,
        policy: QueuePolicy,
        change: impl Fn(&mut InferStreamSpec),
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = Root::create(Path::new(BASE), "a test").expect("a root");
        let bus = Bus::open(&root.bus(), "test").expect("the bus opens");
        let worker = WorkerId::Infer(model_name());
        let consumer = WorkerId::Render("all".parse().expect("a name"));
        let streams = streams.iter().map(|name| {
            let stream: StreamName = name.parse().expect("a name");
            let mut spec = InferStreamSpec {
                frames: FrameServiceSpec {
                    stream: stream.clone(),
                    size,
                    policy,
                    depth: 2,
                    consumers_max: 2,
                    held_max: 4,
                },
                gate: None,
                max_staleness_ms: 60_000,
                priority: 1,
                consumer: consumer.clone(),
                book: directory.path().join(format!("{name}.book")),
            };
            change(&mut spec);
            TestStream {
                results: ResultSubscriber::open(&bus, &stream, &model_name()).expect("results"),
                book: BookReader::create(&spec.book).expect("a book"),
                publisher: None,
                spec,
            }
        });
        Self {
            streams: streams.collect(),
            consumer: Listener::open(&bus, &consumer).expect("a listener"),
            wake: Waker::open(&bus, &worker).expect("a waker"),
            worker,
            bus,
            directory,
            root,
        }
    }

    /// Starts the worker and waits until it is ready.
    pub(crate) fn start(&self, model: &str, sessions: Option<u32>, incarnation: u32) -> Worker {
        let mut worker = self.start_with(self.spec(&repository(model), sessions), incarnation);
        worker.ready = worker.wait_ready();
        worker
    }

    pub(crate) fn spec(&self, file: &Path, sessions: Option<u32>) -> InferSpec {
        InferSpec {
            model: model_name(),
            file: file.to_owned(),
            family: ModelFamily::Nanodet,
            labels: labels(),
            score_min: 0.4,
            nms_iou: 0.6,
            sessions,
            library: None,
            streams: self
                .streams
                .iter()
                .map(|stream| stream.spec.clone())
                .collect(),
        }
    }

    pub(crate) fn start_with(&self, infer: InferSpec, incarnation: u32) -> Worker {
        let spec = WorkerSpec {
            worker: self.worker.clone(),
            run: "test-1".parse().expect("a name"),
            incarnation,
            bus: self.root.bus(),
            directory: self.directory.path().to_owned(),
            role: Role::Infer(infer),
        };
        let (supervisor, worker_end) = UnixStream::pair().expect("a socket pair");
        let thread = std::thread::spawn(move || {
            let (spec, control) = Control::over(worker_end).expect("the spec comes first");
            let result = infer_worker::run(spec, control);
            eprintln!("the worker has ended: {result:?}");
            result
        });
        let mut worker = Worker {
            supervisor,
            decoder: Decoder::default(),
            thread: Some(thread),
            ready: String::new(),
            warming: Vec::new(),
        };
        worker.send(&ToWorker::Configure(Box::new(spec)));
        worker
    }

    /// A producer's start: frames of an older epoch come no more.
    pub(crate) fn produce(&mut self, stream: usize, epoch: u32) {
        let stream = &mut self.streams[stream];
        stream.publisher = None;
        let publisher = FramePublisher::open(&self.bus, &stream.spec.frames, epoch);
        stream.publisher = Some(publisher.expect("a publisher"));
    }

    /// Publishes one I420 picture, captured now.
    pub(crate) fn publish(&self, stream: usize, sequence_number: u64, picture: &[u8]) {
        self.publish_stamped(stream, picture, &stamp(sequence_number));
    }

    pub(crate) fn publish_stamped(&self, stream: usize, picture: &[u8], stamp: &FrameStamp) {
        let stream = &self.streams[stream];
        let publisher = stream.publisher.as_ref().expect("produce was called");
        let loan = publisher
            .loan(stream.spec.frames.size)
            .expect("the size fits");
        let mut loan = loan.expect("a slot is free");
        loan.payload_mut().copy_from_slice(picture);
        publisher.publish(loan, stamp).expect("the port works");
        self.wake.wake();
    }

    pub(crate) fn end(&self, stream: usize, next_sequence: u64) {
        let publisher = self.streams[stream].publisher.as_ref();
        publisher
            .expect("produce was called")
            .end_of_stream(next_sequence, || self.wake.wake())
            .expect("the port works");
    }

    /// Takes the results that have come so far.
    pub(crate) fn take_results(&mut self, stream: usize, outcomes: &mut Outcomes) {
        let results = &mut self.streams[stream].results;
        while let Some(result) = results.receive().expect("results are sound") {
            outcomes.add(result);
        }
    }

    /// Publishes frame 0 and waits for its result: from then on the worker is connected to this
    /// producer. Before, a full queue is no reason for the bus to wait, even under `wait`.
    pub(crate) fn publish_first(&mut self, stream: usize, picture: &[u8], outcomes: &mut Outcomes) {
        self.publish(stream, 0, picture);
        self.wait_results(stream, 1, outcomes);
    }

    /// Waits until results have come for all frames below `next_sequence`.
    pub(crate) fn wait_results(
        &mut self,
        stream: usize,
        next_sequence: u64,
        outcomes: &mut Outcomes,
    ) {
        self.wait(stream, outcomes, |outcomes| {
            outcomes.by_frame.len() as u64 >= next_sequence
        });
    }

    /// Waits until the end of the results has come.
    pub(crate) fn wait_end(&mut self, stream: usize, outcomes: &mut Outcomes) {
        self.wait(stream, outcomes, |outcomes| outcomes.ends > 0);
    }

    fn wait(&mut self, stream: usize, outcomes: &mut Outcomes, done: impl Fn(&Outcomes) -> bool) {
        let begin = Instant::now();
        loop {
            self.take_results(stream, outcomes);
            if done(outcomes) {
                return;
            }
            let counters = self.streams[stream].book.read();
            assert!(
                begin.elapsed() < PATIENCE,
                "results are missing: {counters:?}"
            );
            let woken = self.consumer.wait(Duration::from_millis(100));
            woken.expect("the listener works");
        }
    }
}

pub(crate) fn stamp(sequence_number: u64) -> FrameStamp {
    FrameStamp {
        sequence_number,
        pts_ns: sequence_number * 40_000_000,
        captured_ns: monotonic_ns(),
        motion: 0.0,
        colour: ColourMatrix::Bt601,
        discontinuity: false,
    }
}

/// What has been said of each frame of a stream.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) by_frame: BTreeMap<u64, ResultBody>,
    pub(crate) ends: u32,
}

impl Outcomes {
    fn add(&mut self, result: FrameResult) {
        let FrameResult {
            first_sequence,
            last_sequence,
            body,
        } = result;
        if body == ResultBody::EndOfStream {
            assert_eq!(
                first_sequence,
                self.by_frame.len() as u64,
                "the end comes last"
            );
            self.ends += 1;
            return;
        }
        assert_eq!(self.ends, 0, "nothing comes after the end");
        for sequence_number in first_sequence..=last_sequence {
            let earlier = self.by_frame.insert(sequence_number, body.clone());
            assert_eq!(earlier, None, "frame {sequence_number} has two outcomes");
        }
    }

    /// How many frames ended like this.
    pub(crate) fn count(&self, is: impl Fn(&ResultBody) -> bool) -> u64 {
        self.by_frame.values().filter(|body| is(body)).count() as u64
    }
}

/// The worker under test.
pub(crate) struct Worker {
    pub(crate) ready: String,
    pub(crate) warming: Vec<String>,
    supervisor: UnixStream,
    decoder: Decoder,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Worker {
    pub(crate) fn send(&mut self, message: &ToWorker) {
        let bytes = encode(message).expect("a short message");
        self.supervisor.write_all(&bytes).expect("the worker reads");
    }

    fn wait_ready(&mut self) -> String {
        self.supervisor
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        loop {
            match self.next_message() {
                FromWorker::Warming(text) => self.warming.push(text),
                FromWorker::Ready(text) => return text,
                other => panic!("{other:?} instead of being ready"),
            }
        }
    }

    fn next_message(&mut self) -> FromWorker {
        let mut chunk = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message().expect("a message") {
                return message;
            }
            let count = self.supervisor.read(&mut chunk).expect("the worker writes");
            assert!(count > 0, "the worker ended: {:?}", self.join());
            self.decoder.extend(&chunk[..count]);
        }
    }

    /// Waits for the worker's end.
    pub(crate) fn join(&mut self) -> Result<(), Failure> {
        let thread = self.thread.take().expect("it is joined once");
        let begin = Instant::now();
        while !thread.is_finished() {
            assert!(begin.elapsed() < PATIENCE, "the worker does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        thread.join().expect("the worker does not panic")
    }

    /// Orders it to drain and waits for its end.
    pub(crate) fn drain(&mut self) -> Result<(), Failure> {
        self.send(&ToWorker::Drain);
        self.join()
    }
}

impl Drop for Worker {
    /// To the worker's threads a closed channel means that the supervisor is gone, and that
    /// ends the process: here, the test. So the channel outlives the worker.
    fn drop(&mut self) {
        let open = self.supervisor.try_clone().expect("a descriptor");
        std::mem::forget(open);
    }
}
