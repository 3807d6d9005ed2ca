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
use frame_bus::{Bus, ChunkContents, ChunkPublisher, ChunkStamp, UnitPart, Waker};
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

/// Three seconds of red in access units, as a byte stream each.
fn access_units(stream: &Stream) -> Vec<Vec<u8>> {
    const DELIMITER: [u8; 5] = [0, 0, 0, 1, 9];
    let path = stream.directory.path().join("red.h264");
    let encoding = LIVE_RED.replace("-re ", "");
    ffmpeg_done(&format!(
        "{encoding} -t 3 -bsf:v h264_metadata=aud=insert -f h264 {}",
        path.display()
    ));
    let bytes = std::fs::read(path).unwrap();
    let begins = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&DELIMITER));
    let mut begins: Vec<usize> = begins.collect();
    begins.push(bytes.len());
    begins
        .windows(2)
        .map(|unit| bytes[unit[0]..unit[1]].to_vec())
        .collect()
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
                publisher
                    .publish(&stamp(), ChunkContents::TransportStream, part)
                    .unwrap();
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

impl Gateway {
    /// A sender by WebRTC that sends `units` 40 ms apart, in parts of so many bytes; the chunk of
    /// this number, from 0, is lost.
    fn unit_sender(&mut self, units: &[Vec<u8>], part_bytes: usize, lost: Option<u64>) -> Sender {
        self.session += 1;
        let stop = Arc::new(AtomicBool::new(false));
        let (publisher, waker, next) = (
            Arc::clone(&self.publisher),
            self.waker.clone(),
            Arc::clone(&self.next),
        );
        let (units, session, stopped) = (units.to_vec(), self.session, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let stamp = || ChunkStamp {
                sequence_number: next.fetch_add(1, Ordering::Relaxed),
                session,
                arrived_ns: monotonic_ns(),
            };
            publisher.begin(&stamp()).unwrap();
            let (mut due, mut number) = (Instant::now(), 0);
            let mut pts_ns = monotonic_ns();
            for unit in &units {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let parts = unit.len().div_ceil(part_bytes);
                for (index, part) in unit.chunks(part_bytes).enumerate() {
                    let contents = ChunkContents::Unit(UnitPart {
                        pts_ns,
                        // Of x264, a key frame has parameter sets in it.
                        keyframe: unit
                            .windows(5)
                            .any(|bytes| bytes[..4] == [0, 0, 0, 1] && bytes[4] & 0x1f == 7),
                        first: index == 0,
                        last: index + 1 == parts,
                    });
                    let stamp = stamp();
                    if lost != Some(number) {
                        publisher.publish(&stamp, contents, part).unwrap();
                    }
                    number += 1;
                }
                waker.wake();
                due += Duration::from_millis(40);
                pts_ns += 40_000_000;
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

#[test]
fn senders_of_access_units_and_of_a_transport_stream_follow_one_another() {
    let mut stream = Stream::new(source(), QueuePolicy::DropOldest);
    let (bytes, units) = (transport_stream(&stream), access_units(&stream));
    assert_eq!(units.len(), 75);
    let mut gateway = Gateway::open(&stream, 0, 0);
    let first = gateway.unit_sender(&units, 200, None);
    // What came before the worker was there keeps its own time.
    let begun = wait_until(PATIENCE, || gateway.next.load(Ordering::Relaxed) > 10);
    assert!(begun);
    let worker = stream.started();
    let seen = stream.take(40);
    assert_red(&seen[39]);
    assert_rate(&seen);
    let times: Vec<_> = seen.iter().map(|seen| seen.pts_ms).collect();
    let even = |pair: &[u64]| pair[1] - pair[0] >= 38;
    assert!(times.windows(2).all(even), "{times:?}");
    first.thread.join().unwrap();
    expect_state(&worker, 0, Lost);
    let told = worker.source_states().len();
    let second = gateway.sender(&bytes);
    expect_state(&worker, told, Live);
    second.thread.join().unwrap();
    let told = worker.source_states().len();
    let _third = gateway.unit_sender(&units, 200, None);
    expect_state(&worker, told, Live);
    assert_red(&stream.take(10)[9]);
    drain(worker, &mut stream);
}

#[test]
fn behind_an_access_unit_that_is_torn_pictures_go_on_with_the_next_key_frame() {
    let mut stream = Stream::new(source(), QueuePolicy::DropOldest);
    let units = access_units(&stream);
    let mut gateway = Gateway::open(&stream, 0, 0);
    let worker = stream.started();
    // The end of a picture in the middle of the second group of twelve.
    let before: usize = units[..18].iter().map(|unit| unit.len().div_ceil(20)).sum();
    let sender = gateway.unit_sender(&units, 20, Some(before as u64 - 1));
    sender.thread.join().unwrap();
    expect_state(&worker, 0, Lost);
    // Seventeen before it, and five of it and behind it are not to be had.
    let mut published = 0;
    let all = wait_until(PATIENCE, || {
        published = stream.book.read().captured;
        published == 75 - 7
    });
    assert!(all, "{published} pictures");
    let book = drain(worker, &mut stream);
    assert_eq!((book.chunks_overflowed, book.chunks_passed_over), (1, 0));
}
