//! A worker in this process, with a supervisor, producers and a consumer played by the test.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::{Decoder, FromWorker, ToWorker, encode};
use contract::geometry::{I420Layout, PixelSize};
use contract::ledger::InferCounters;
use contract::motion::Cells;
use contract::name::{ModelName, StreamName, WorkerId};
use contract::spec::{
    BackendSpec, BatchSpec, FrameMemory, FrameServiceSpec, InferSpec, InferStreamSpec, InputSpec,
    ModelFamily, QueuePolicy, Role, RuleSource, WorkerSpec,
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

fn consumer() -> WorkerId {
    WorkerId::Render("all".parse().expect("a name"))
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
        let mut world = Self {
            streams: Vec::new(),
            consumer: Listener::open(&bus, &consumer()).expect("a listener"),
            wake: Waker::open(&bus, &worker).expect("a waker"),
            worker,
            bus,
            directory,
            root,
        };
        for name in streams {
            world.add(name, size, policy, &change);
        }
        world
    }

    /// One more stream.
    pub(crate) fn add(
        &mut self,
        name: &str,
        size: PixelSize,
        policy: QueuePolicy,
        change: impl Fn(&mut InferStreamSpec),
    ) {
        let stream: StreamName = name.parse().expect("a name");
        let mut spec = InferStreamSpec {
            frames: FrameServiceSpec {
                stream: stream.clone(),
                crops: None,
                size,
                policy,
                depth: 2,
                consumers_max: 2,
                held_max: 4,
                memory: FrameMemory::Host,
            },
            rules: None,
            labels: BTreeMap::new(),
            feedback: self.directory.path().join(format!("{name}.render")),
            max_staleness_ms: 60_000,
            priority: 1,
            consumer: consumer(),
            book: self.directory.path().join(format!("{name}.book")),
        };
        change(&mut spec);
        let results = ResultSubscriber::open(&self.bus, &spec.frames, &model_name());
        self.streams.push(TestStream {
            results: results.expect("results"),
            book: BookReader::create(&spec.book).expect("a book"),
            publisher: None,
            spec,
        });
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
            input: InputSpec::default(),
            labels: labels(),
            score_min: 0.4,
            nms_iou: 0.6,
            sessions,
            batch: BatchSpec::default(),
            backend: BackendSpec::default(),
            library: None,
            standby: false,
            streams: self
                .streams
                .iter()
                .map(|stream| stream.spec.clone())
                .collect(),
        }
    }

    /// The spec for a change: what [`World::start`] would use now.
    pub(crate) fn wanted(&self, model: &str, sessions: u32) -> InferSpec {
        self.spec(&repository(model), Some(sessions))
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

    /// A producer's end.
    pub(crate) fn leave(&mut self, stream: usize) {
        self.streams[stream].publisher = None;
    }

    /// Waits until a worker's main loop says in the stream's book that it is alive.
    pub(crate) fn wait_progress(&self, stream: usize) {
        let book = &self.streams[stream].book;
        let before = book.progress();
        let alive = testkit::wait_until(PATIENCE, || book.progress() > before);
        assert!(alive, "nobody serves the stream");
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
        moved: Cells::default(),
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

/// The first frames of the walking people, as I420.
pub(crate) fn clip(size: PixelSize, frames: usize) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let raw = directory.path().join("walking.i420");
    testkit::clip::write(
        &raw,
        &format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! identity eos-after={} \
             ! videoconvert ! video/x-raw,format=I420 ! filesink name=file",
            repository(".deps/clips/walking.mp4").display(),
            frames + 1,
        ),
    );
    let raw = std::fs::read(raw).expect("the clip is decoded");
    let pictures = raw.chunks_exact(I420Layout::of(size).bytes);
    let pictures: Vec<Vec<u8>> = pictures.map(<[u8]>::to_vec).collect();
    assert!(pictures.len() >= frames, "{} frames", pictures.len());
    pictures
}

/// What was done, or why nothing was.
pub(crate) type Answer = Result<Vec<String>, String>;

/// A rule file with one zone, the left half of the picture, and a gate for the model.
pub(crate) fn rules(gate: &str) -> RuleSource {
    RuleSource {
        generation: 0,
        path: PathBuf::from("yard.yaml"),
        text: format!(
            "zones:\n  left: {{polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}}\n\
             gates:\n  people: {gate}\n"
        ),
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

    /// Gives it another spec and waits for its answer, which must be to this generation.
    pub(crate) fn reconfigure(&mut self, generation: u64, wanted: InferSpec) -> Answer {
        self.ask(generation, wanted);
        self.answer(generation)
    }

    pub(crate) fn ask(&mut self, generation: u64, wanted: InferSpec) {
        self.send(&ToWorker::Reconfigure {
            generation,
            role: Box::new(Role::Infer(wanted)),
        });
    }

    pub(crate) fn answer(&mut self, generation: u64) -> Answer {
        self.limit_reading(PATIENCE);
        match self.next_message() {
            FromWorker::Reconfigured {
                generation: answered,
                result,
            } => {
                assert_eq!(answered, generation);
                result
            }
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// The answer, if it has come.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        self.limit_reading(Duration::from_millis(1));
        let mut chunk = [0; 4096];
        if let Ok(count) = self.supervisor.read(&mut chunk) {
            self.decoder.extend(&chunk[..count]);
        }
        match self.decoder.next_message().expect("a message")? {
            FromWorker::Reconfigured { result, .. } => Some(result),
            other => panic!("{other:?} instead of an answer"),
        }
    }

    fn limit_reading(&self, timeout: Duration) {
        let limited = self.supervisor.set_read_timeout(Some(timeout));
        limited.expect("a timeout");
    }

    pub(crate) fn wait_ready(&mut self) -> String {
        self.limit_reading(PATIENCE);
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
