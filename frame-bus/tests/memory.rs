//! What holds for frames wherever they lie: the same suite over memory of this machine and memory
//! of a GPU (here the fake one).

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::motion::Cells;
use contract::spec::{FrameMemory, FrameServiceSpec, QueuePolicy};
use cuda::{Device, Stream};
use frame_bus::supervision::Root;
use frame_bus::{
    Bus, BusError, ColourMatrix, Frame, FramePublisher, FrameStamp, FrameSubscriber, Incoming,
    Pixels, PixelsMut, PoolKeeper, budget,
};

const SIZE: PixelSize = PixelSize {
    width: 64,
    height: 48,
};
const CUDA: FrameMemory = FrameMemory::Cuda(0);

/// A run's bus, and a GPU to read and write with.
struct Run {
    bus: Bus,
    keeper: PoolKeeper,
    stream: Stream,
    root: Root,
}

impl Run {
    fn new() -> Self {
        static LOADED: Once = Once::new();
        LOADED.call_once(|| {
            cuda::load_driver(&testkit::process::fake_cuda()).expect("it loads");
        });
        let root = Root::create(Path::new("/tmp"), "test").expect("a root");
        let device = Device::open(0).expect("a GPU");
        Self {
            bus: Bus::open(&root.bus(), "test").expect("a bus"),
            keeper: PoolKeeper::start(&root).expect("a keeper"),
            stream: Stream::new(&device).expect("a stream"),
            root,
        }
    }

    fn publisher(&self, spec: &FrameServiceSpec, epoch: u32) -> FramePublisher {
        FramePublisher::open(&self.bus, spec, epoch).expect("a producer")
    }

    fn subscriber(&self, spec: &FrameServiceSpec) -> FrameSubscriber {
        FrameSubscriber::open(&self.bus, spec).expect("a consumer")
    }

    /// Publishes a picture full of the number's lowest byte; false when no slot is free.
    fn publish(&mut self, publisher: &FramePublisher, number: u64) -> bool {
        let Some(mut loan) = publisher.loan(SIZE).expect("it fits") else {
            return false;
        };
        let picture = vec![number.to_le_bytes()[0]; loan.layout().bytes];
        match loan.pixels_mut() {
            PixelsMut::Host(bytes) => bytes.copy_from_slice(&picture),
            PixelsMut::Cuda(slot) => {
                let written = self.stream.run(|work| work.upload(&picture, slot));
                written.expect("it is written");
            }
        }
        let stamp = FrameStamp {
            sequence_number: number,
            pts_ns: number,
            captured_ns: 1,
            motion: 0.0,
            moved: Cells::default(),
            colour: ColourMatrix::Bt709,
            discontinuity: false,
        };
        publisher.publish(loan, &stamp).expect("it is published");
        true
    }

    /// The number of a frame, all of whose bytes say it.
    fn number(&mut self, frame: &Frame) -> u64 {
        let mut picture = vec![0; frame.layout().bytes];
        match frame.pixels() {
            Pixels::Host(bytes) => picture.copy_from_slice(bytes),
            Pixels::Cuda(slot) => {
                let read = self.stream.run(|work| work.download(slot, &mut picture));
                read.expect("it is read");
            }
        }
        let number = frame.stamp().sequence_number;
        let expected = number.to_le_bytes()[0];
        assert!(
            picture.iter().all(|byte| *byte == expected),
            "frame {number} is {:?}",
            &picture[..8]
        );
        number
    }

    fn numbers(&mut self, subscriber: &mut FrameSubscriber) -> Vec<u64> {
        let frames: Vec<_> = std::iter::from_fn(|| take(subscriber)).collect();
        frames.iter().map(|frame| self.number(frame)).collect()
    }
}

fn spec(memory: FrameMemory, policy: QueuePolicy) -> FrameServiceSpec {
    FrameServiceSpec {
        stream: "yard".parse().expect("a name"),
        crops: None,
        size: SIZE,
        policy,
        depth: 2,
        consumers_max: 2,
        held_max: 3,
        memory,
    }
}

fn take(subscriber: &mut FrameSubscriber) -> Option<Frame> {
    match subscriber.receive().expect("received")? {
        Incoming::Frame(frame) => Some(frame),
        other => panic!("{other:?} is no frame"),
    }
}

/// What holds of both kinds.
macro_rules! conforms {
    ($($name:ident),*) => {
        mod host {
            $(#[test] fn $name() { super::$name(super::FrameMemory::Host); })*
        }
        mod cuda_memory {
            $(#[test] fn $name() { super::$name(super::CUDA); })*
        }
    };
}

conforms!(
    frames_arrive_whole,
    what_is_held_is_not_written_to,
    a_full_queue_costs_the_oldest,
    who_holds_all_slots_has_all_there_are,
    a_producer_waits_for_room,
    each_consumer_sees_all,
    who_comes_late_sees_what_comes_then,
    a_producers_successor_harms_no_frame_of_its_own,
    smaller_pictures_fit
);

fn frames_arrive_whole(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let mut subscriber = run.subscriber(&spec);
    for number in 0..300 {
        assert!(run.publish(&publisher, number));
        assert_eq!(run.numbers(&mut subscriber), [number]);
    }
}

fn what_is_held_is_not_written_to(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let mut subscriber = run.subscriber(&spec);
    let mut held = Vec::new();
    for number in [1, 2, 3] {
        assert!(run.publish(&publisher, number));
        held.extend(take(&mut subscriber));
    }
    for number in 4..200 {
        assert!(run.publish(&publisher, number));
    }
    let numbers: Vec<_> = held.iter().map(|frame| run.number(frame)).collect();
    assert_eq!(numbers, [1, 2, 3]);
    // The fourth may only be an end.
    drop(held.remove(1));
    assert_eq!(run.number(&take(&mut subscriber).expect("a frame")), 198);
}

fn a_full_queue_costs_the_oldest(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let mut subscriber = run.subscriber(&spec);
    for number in 0..10 {
        assert!(run.publish(&publisher, number));
    }
    assert_eq!(run.numbers(&mut subscriber), [8, 9]);
}

fn who_holds_all_slots_has_all_there_are(memory: FrameMemory) {
    let run = Run::new();
    let spec = spec(memory, QueuePolicy::DropLatest);
    let publisher = run.publisher(&spec, 0);
    let first = publisher.loan(SIZE).expect("it fits").expect("a slot");
    let second = publisher.loan(SIZE).expect("it fits").expect("a slot");
    assert!(publisher.loan(SIZE).expect("it fits").is_none());
    drop((first, second));
    assert!(publisher.loan(SIZE).expect("it fits").is_some());
    let large = PixelSize {
        width: 66,
        height: 48,
    };
    assert!(matches!(
        publisher.loan(large),
        Err(BusError::TooLarge { .. })
    ));
}

fn a_producer_waits_for_room(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::Wait);
    let mut subscriber = run.subscriber(&spec);
    let (bus, wanted) = (run.bus.clone(), spec.clone());
    let producer = std::thread::spawn(move || {
        let mut run = Run::new();
        let publisher = FramePublisher::open(&bus, &wanted, 0).expect("a producer");
        publisher
            .begin_of_stream(|| {})
            .expect("the consumer is there");
        for number in 0..50 {
            assert!(run.publish(&publisher, number));
        }
        publisher.end_of_stream(50, || {}).expect("it ends");
    });
    let mut numbers = Vec::new();
    loop {
        match subscriber.receive().expect("received") {
            Some(Incoming::Frame(frame)) => numbers.push(run.number(&frame)),
            Some(Incoming::EndOfStream { next_sequence, .. }) => {
                assert_eq!(next_sequence, 50);
                break;
            }
            Some(other) => panic!("{other:?} is no frame"),
            None => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
    producer.join().expect("it has ended well");
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

fn each_consumer_sees_all(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let mut consumers = [run.subscriber(&spec), run.subscriber(&spec)];
    for number in 0..20 {
        assert!(run.publish(&publisher, number));
        for consumer in &mut consumers {
            assert_eq!(run.numbers(consumer), [number]);
        }
    }
}

fn who_comes_late_sees_what_comes_then(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    assert!(run.publish(&publisher, 1));
    let mut subscriber = run.subscriber(&spec);
    assert_eq!(run.numbers(&mut subscriber), [0; 0]);
    assert!(run.publish(&publisher, 2));
    assert_eq!(run.numbers(&mut subscriber), [2]);
    drop(subscriber);
    assert!(run.publish(&publisher, 3));
    let mut subscriber = run.subscriber(&spec);
    assert!(run.publish(&publisher, 4));
    assert_eq!(run.numbers(&mut subscriber), [4]);
}

fn a_producers_successor_harms_no_frame_of_its_own(memory: FrameMemory) {
    let mut run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let mut subscriber = run.subscriber(&spec);
    let mut held = Vec::new();
    for epoch in 0..3 {
        let publisher = run.publisher(&spec, epoch);
        for number in 0..20 {
            assert!(run.publish(&publisher, u64::from(epoch) * 20 + number));
            let frame = take(&mut subscriber).expect("a frame");
            assert_eq!(frame.epoch(), epoch);
            run.number(&frame);
            if number == 7 {
                held.push(frame);
            }
        }
    }
    // The pools of two dead producers are still there for who reads them.
    let numbers: Vec<_> = held.iter().map(|frame| run.number(frame)).collect();
    assert_eq!(numbers, [7, 27, 47]);
}

fn smaller_pictures_fit(memory: FrameMemory) {
    let run = Run::new();
    let spec = spec(memory, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let small = PixelSize {
        width: 32,
        height: 24,
    };
    let loan = publisher.loan(small).expect("it fits").expect("a slot");
    assert_eq!(loan.layout().bytes, 32 * 24 * 3 / 2);
}

#[test]
fn a_pool_is_let_go_with_the_last_who_has_it() {
    let mut run = Run::new();
    let spec = spec(CUDA, QueuePolicy::DropOldest);
    assert_eq!(run.keeper.pools(), 0);
    let publisher = run.publisher(&spec, 0);
    assert_eq!(run.keeper.pools(), 1);
    let mut subscriber = run.subscriber(&spec);
    assert!(run.publish(&publisher, 1));
    let frame = take(&mut subscriber).expect("a frame");
    drop(publisher);
    // A consumer that comes now finds the pool: the keeper has it.
    for epoch in 1..4 {
        drop(run.publisher(&spec, epoch));
        assert_eq!(run.keeper.pools(), 2);
    }
    run.keeper.forget(&spec.stream);
    assert_eq!(run.keeper.pools(), 0);
    assert_eq!(run.number(&frame), 1);
}

#[test]
fn what_is_not_of_the_streams_memory_is_not_read() {
    let mut run = Run::new();
    let on_device = spec(CUDA, QueuePolicy::DropOldest);
    let on_host = spec(FrameMemory::Host, QueuePolicy::DropOldest);
    let publisher = run.publisher(&on_device, 0);
    let mut subscriber = run.subscriber(&on_host);
    assert!(run.publish(&publisher, 1));
    let Some(Incoming::Invalid { reason, .. }) = subscriber.receive().expect("received") else {
        panic!("it cannot be read");
    };
    assert!(matches!(reason, BusError::Memory("CUDA")), "{reason}");
}

#[test]
fn a_frame_of_a_pool_that_nobody_has_is_not_read() {
    let mut run = Run::new();
    let spec = spec(CUDA, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let mut subscriber = run.subscriber(&spec);
    run.keeper.forget(&spec.stream);
    assert!(run.publish(&publisher, 1));
    let Some(Incoming::Invalid { reason, .. }) = subscriber.receive().expect("received") else {
        panic!("it cannot be read");
    };
    let text = reason.to_string();
    assert!(
        text.starts_with("the pool of a frame in shared memory is wrong"),
        "{text}"
    );
}

#[test]
fn without_keeper_or_gpu_there_is_no_producer() {
    let run = Run::new();
    let mut wanted = spec(CUDA, QueuePolicy::DropOldest);
    let keeper = run.root.path().join("pools");
    std::fs::remove_file(&keeper).expect("it was there");
    let error = FramePublisher::open(&run.bus, &wanted, 0).expect_err("nobody keeps its pool");
    assert!(error.to_string().contains("pools: "), "{error}");
    wanted.memory = FrameMemory::Cuda(9);
    let error = FramePublisher::open(&run.bus, &wanted, 0).expect_err("there is no such GPU");
    assert_eq!(
        error.to_string(),
        "frames on a GPU: there is no GPU 9: the driver has 1, counted from 0"
    );
}

#[test]
fn the_shared_memory_of_a_device_stream_is_that_of_its_handles() {
    let on_device = budget::frame_bytes(&spec(CUDA, QueuePolicy::DropOldest));
    let mut large = spec(CUDA, QueuePolicy::DropOldest);
    large.size = PixelSize {
        width: 3840,
        height: 2160,
    };
    assert_eq!(budget::frame_bytes(&large), on_device);
}

#[test]
fn strangers_at_the_keepers_door_change_nothing() {
    use std::io::Write;
    let mut run = Run::new();
    let spec = spec(CUDA, QueuePolicy::DropOldest);
    let publisher = run.publisher(&spec, 0);
    let path = run.root.path().join("pools");
    // Of another kind of socket, so it cannot even connect.
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
    for junk in [&b""[..], b"hello", &[0xff; 4096]] {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::SeqPacket,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        let address = nix::sys::socket::UnixAddr::new(&path).expect("a path");
        let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
        nix::sys::socket::connect(raw, &address).expect("it listens");
        let _ = std::fs::File::from(socket).write_all(junk);
    }
    let mut subscriber = run.subscriber(&spec);
    assert!(run.publish(&publisher, 5));
    assert_eq!(run.numbers(&mut subscriber), [5]);
}
