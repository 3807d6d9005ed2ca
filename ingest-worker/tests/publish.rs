//! What a sender publishes, with the test as the gateway and chunks of a real transport stream.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::SourceState::{Connecting, Live, Lost, Stalled};
use contract::name::WorkerId;
use contract::spec::{QueuePolicy, SourceSpec};
use frame_bus::{Bus, ChunkPublisher, ChunkStamp, Waker};
use support::{
    LIVE_RED, PATIENCE, Stream, assert_rate, assert_red, drain, expect_state, ffmpeg_done,
};
use testkit::wait_until;

fn source() -> SourceSpec {
    SourceSpec::Publish {
        path: "cam".to_owned(),
    }
}

/// Three seconds of red.
fn transport_stream(stream: &Stream) -> Vec<u8> {
    let path = stream.directory.path().join("red.ts");
    let encoding = LIVE_RED.replace("-re ", "");
    ffmpeg_done(&format!("{encoding} -t 3 -f mpegts {}", path.display()));
    std::fs::read(path).unwrap()
}

/// A gateway with one sender after the other.
struct Gateway {
    publisher: Arc<ChunkPublisher>,
    waker: Waker,
    next: Arc<AtomicU64>,
    session: u64,
}

impl Gateway {
    fn open(stream: &Stream, next: u64, epoch: u32) -> Self {
        let bus = Bus::open(&stream.spec.bus, "gateway").unwrap();
        let name = "yard".parse().unwrap();
        Self {
            publisher: Arc::new(ChunkPublisher::open(&bus, &name, epoch).unwrap()),
            waker: Waker::open(&bus, &WorkerId::Ingest(name)).unwrap(),
            next: Arc::new(AtomicU64::new(next)),
            session: 0,
        }
    }

    /// A sender that sends `bytes` at their rate.
    fn sender(&mut self, bytes: &[u8]) -> Sender {
        self.session += 1;
        let stop = Arc::new(AtomicBool::new(false));
        let (publisher, waker, next) = (
            Arc::clone(&self.publisher),
            self.waker.clone(),
            Arc::clone(&self.next),
        );
        let (bytes, session, stopped) = (bytes.to_vec(), self.session, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let stamp = || ChunkStamp {
                sequence_number: next.fetch_add(1, Ordering::Relaxed),
                session,
                arrived_ns: monotonic_ns(),
            };
            publisher.begin(&stamp()).unwrap();
            // Three seconds in chunks of 20 ms.
            let chunk = (bytes.len() / 150).next_multiple_of(188);
            let mut due = Instant::now();
            for part in bytes.chunks(chunk) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                publisher.publish(&stamp(), part).unwrap();
                waker.wake();
                due += Duration::from_millis(20);
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
            publisher.end(&stamp()).unwrap();
            waker.wake();
        });
        Sender { stop, thread }
    }
}

struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// Its gateway is killed: nothing more comes, no end either.
    fn kill(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_sender_comes_goes_and_comes_again() {
    let mut stream = Stream::new(source(), QueuePolicy::DropOldest);
    let bytes = transport_stream(&stream);
    let mut gateway = Gateway::open(&stream, 0, 0);
    let worker = stream.started();
    expect_state(&worker, 0, Connecting);
    let first = gateway.sender(&bytes);
    let seen = stream.take(40);
    assert_red(&seen[39]);
    assert_rate(&seen[10..]);
    first.thread.join().unwrap();
    let text = expect_state(&worker, 0, Lost);
    assert!(
        text.contains("the other end has closed the connection"),
        "{text}"
    );
    let told = worker.source_states().len();
    let second = gateway.sender(&bytes);
    expect_state(&worker, told, Live);
    assert!(stream.rest_until_discontinuity().discontinuity);
    second.thread.join().unwrap();
    let published = gateway.next.load(Ordering::Relaxed);
    assert!(wait_until(PATIENCE, || stream.book.read().chunks_next == published));
    let book = drain(worker, &mut stream);
    assert_eq!(
        (book.chunks_received, book.chunks_overflowed),
        (published, 0)
    );
    assert_eq!(book.chunks_passed_over, 0);
}

#[test]
fn a_gateway_that_dies_and_a_worker_that_dies_are_gone_on_from() {
    let mut stream = Stream::new(source(), QueuePolicy::DropOldest);
    let bytes = transport_stream(&stream);
    let mut gateway = Gateway::open(&stream, 0, 0);
    // What came before the worker was there is not lost.
    let first = gateway.sender(&bytes);
    let worker = stream.started();
    stream.take(10);
    first.kill();
    expect_state(&worker, 0, Stalled);
    let published = gateway.next.load(Ordering::Relaxed);
    drop(gateway);
    // The gateway had numbered three more when it was killed.
    let mut gateway = Gateway::open(&stream, published + 3, 1);
    let told = worker.source_states().len();
    let _second = gateway.sender(&bytes);
    expect_state(&worker, told, Live);
    assert_eq!(stream.book.read().chunks_passed_over, 3);

    let mut worker = worker;
    worker.process.kill();
    stream.clean_up();
    let worker = stream.started();
    expect_state(&worker, 0, Live);
    assert!(stream.rest_until_discontinuity().discontinuity);
    let book = drain(worker, &mut stream);
    let taken = book.chunks_received + book.chunks_overflowed + book.chunks_passed_over;
    assert_eq!(book.chunks_next, taken);
}
