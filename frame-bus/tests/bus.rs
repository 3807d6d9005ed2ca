//! The bus between ports of one process: policies, gaps, ends, forged slots.

use std::path::Path;
use std::thread;
use std::time::Duration;

use contract::detection::{Detection, Landmarks, Skip};
use contract::findings::{Findings, Finds};
use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::{FrameMemory, FrameServiceSpec, QueuePolicy};
use frame_bus::supervision::Root;
use frame_bus::{
    Arrivals, Bus, BusError, CHUNK_BYTES_MAX, ChunkContents, ChunkPublisher, ChunkStamp,
    ChunkSubscriber, ColourMatrix, Frame, FramePublisher, FrameStamp, FrameSubscriber, Incoming,
    IncomingChunk, IncomingPacket, IncomingTile, Listener, Outcome, PacketPublisher, PacketStamp,
    PacketSubscriber, ResultBody, ResultPublisher, ResultSubscriber, TilePublisher, TileStamp,
    TileSubscriber, Waker,
};

const SIZE: PixelSize = PixelSize {
    width: 64,
    height: 48,
};

struct Fixture {
    // Dropped last: everything on the bus must be gone before its root.
    bus: Bus,
    root: Root,
}

fn fixture() -> Fixture {
    let root = Root::create(Path::new("/tmp"), "test").expect("a root");
    let bus = Bus::open(&root.bus(), "test").expect("a bus");
    Fixture { bus, root }
}

fn spec(policy: QueuePolicy, depth: u32) -> FrameServiceSpec {
    FrameServiceSpec {
        stream: "yard".parse().expect("a name"),
        crops: None,
        size: SIZE,
        policy,
        depth,
        consumers_max: 2,
        held_max: 3,
        memory: FrameMemory::Host,
    }
}

fn stamp(sequence_number: u64) -> FrameStamp {
    FrameStamp {
        sequence_number,
        pts_ns: sequence_number * 40_000_000,
        captured_ns: 1,
        motion: 0.5,
        moved: Cells::of(|[x, _]| x < 0.25),
        colour: ColourMatrix::Bt601,
        discontinuity: false,
    }
}

fn publish(publisher: &FramePublisher, sequence_number: u64) -> usize {
    let mut loan = publisher.loan(SIZE).expect("sized").expect("a free slot");
    loan.payload_mut().fill(sequence_number.to_le_bytes()[0]);
    publisher
        .publish(loan, &stamp(sequence_number))
        .expect("published")
}

fn take(subscriber: &mut FrameSubscriber) -> Option<Frame> {
    match subscriber.receive().expect("received")? {
        Incoming::Frame(frame) => Some(frame),
        other => panic!("{other:?} is no frame"),
    }
}

fn numbers(subscriber: &mut FrameSubscriber) -> Vec<u64> {
    std::iter::from_fn(|| take(subscriber))
        .map(|frame| {
            let number = frame.stamp().sequence_number;
            assert!(
                frame
                    .payload()
                    .iter()
                    .all(|byte| u64::from(*byte) == number)
            );
            number
        })
        .collect()
}

#[test]
fn drop_oldest_keeps_the_newest_and_the_gap_says_how_many() {
    let fixture = fixture();
    let spec = spec(QueuePolicy::DropOldest, 2);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 0).expect("a producer");
    let mut subscriber = FrameSubscriber::open(&fixture.bus, &spec).expect("a consumer");
    (0..10).for_each(|number| assert_eq!(publish(&publisher, number), 1));
    let seen = numbers(&mut subscriber);
    assert_eq!(seen, [8, 9]);
    let mut arrivals = Arrivals::new(0, 0);
    assert_eq!(arrivals.arrive(seen[0], 0).overflowed, 8);
}

#[test]
fn drop_latest_keeps_what_is_queued() {
    let fixture = fixture();
    let spec = spec(QueuePolicy::DropLatest, 2);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 0).expect("a producer");
    let mut subscriber = FrameSubscriber::open(&fixture.bus, &spec).expect("a consumer");
    (0..5).for_each(|number| {
        publish(&publisher, number);
    });
    assert_eq!(numbers(&mut subscriber), [0, 1]);
    publish(&publisher, 5);
    assert_eq!(numbers(&mut subscriber), [5]);
}

#[test]
fn wait_loses_nothing_and_the_end_is_seen_by_all() {
    let fixture = fixture();
    let spec = spec(QueuePolicy::Wait, 2);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 3).expect("a producer");
    let listener_id = WorkerId::Gateway;
    let listener = Listener::open(&fixture.bus, &listener_id).expect("a listener");
    let waker = Waker::open(&fixture.bus, &listener_id).expect("a waker");
    let consumers: Vec<_> = (0..2)
        .map(|_| FrameSubscriber::open(&fixture.bus, &spec).expect("a consumer"))
        .collect();
    assert_eq!(publisher.consumers(), 2);
    let readers: Vec<_> = consumers
        .into_iter()
        .map(|mut subscriber| {
            thread::spawn(move || {
                let mut seen = Vec::new();
                loop {
                    match subscriber.receive().expect("received") {
                        Some(Incoming::Frame(frame)) => seen.push(frame.stamp().sequence_number),
                        Some(Incoming::EndOfStream {
                            next_sequence,
                            epoch,
                        }) => return (seen, next_sequence, epoch),
                        Some(Incoming::Invalid { reason, .. }) => panic!("{reason}"),
                        None => thread::park_timeout(Duration::from_millis(1)),
                    }
                }
            })
        })
        .collect();
    publisher.begin_of_stream(|| ()).expect("begun");
    for number in 0..200 {
        assert_eq!(publish(&publisher, number), 2);
        waker.wake();
    }
    assert!(listener.wait(Duration::from_secs(1)).expect("woken"));
    publisher.end_of_stream(200, || ()).expect("ended");
    for reader in readers {
        let (seen, next_sequence, epoch) = reader.join().expect("no panic");
        assert_eq!(seen, (0..200).collect::<Vec<u64>>());
        assert_eq!((next_sequence, epoch), (200, 3));
    }
}

#[test]
fn waiting_can_be_interrupted() {
    let fixture = fixture();
    let spec = spec(QueuePolicy::Wait, 1);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 0).expect("a producer");
    let mut subscriber = FrameSubscriber::open(&fixture.bus, &spec).expect("a consumer");
    publish(&publisher, 0);
    publisher.interrupter().interrupt();
    assert_eq!(publish(&publisher, 1), 0);
    assert_eq!(numbers(&mut subscriber), [0]);
}

#[test]
fn slots_end_and_come_back() {
    let fixture = fixture();
    let spec = spec(QueuePolicy::DropOldest, 1);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 0).expect("a producer");
    let mut subscriber = FrameSubscriber::open(&fixture.bus, &spec).expect("a consumer");
    let mut held = Vec::new();
    let refused = (0..10).find_map(|number| {
        publish(&publisher, number);
        match subscriber.receive() {
            Ok(Some(Incoming::Frame(frame))) => {
                held.push(frame);
                None
            }
            Ok(_) => None,
            Err(error) => Some(error),
        }
    });
    assert!(matches!(refused, Some(BusError::HeldTooMany)));
    assert_eq!(held.len(), 4, "what may be held, and one more");
    held.clear();
    assert!(take(&mut subscriber).is_some());
    let large = PixelSize {
        width: 640,
        height: 480,
    };
    assert!(matches!(
        publisher.loan(large),
        Err(BusError::TooLarge { .. })
    ));
}

#[test]
fn a_stream_of_another_size_is_refused() {
    let fixture = fixture();
    let _publisher = FramePublisher::open(&fixture.bus, &spec(QueuePolicy::Wait, 2), 0);
    let other = spec(QueuePolicy::DropOldest, 2);
    let error = FrameSubscriber::open(&fixture.bus, &other).expect_err("another policy");
    assert!(error.to_string().contains("frames/yard"), "{error}");
}

#[test]
fn results_and_packets_read_back() {
    let fixture = fixture();
    let frames = spec(QueuePolicy::Wait, 2);
    let (stream, model) = (frames.stream.clone(), "people".parse().expect("a name"));
    let publisher =
        ResultPublisher::open(&fixture.bus, &frames, &model, Finds::Objects).expect("a publisher");
    let mut subscriber = ResultSubscriber::open(&fixture.bus, &frames, &model).expect("a reader");
    let found = Detection {
        bounds: BoundingBox {
            x1: 1.0,
            y1: 2.0,
            x2: 3.0,
            y2: 4.5,
        },
        score: 0.75,
        class: 7,
        landmarks: Landmarks::new(&[[1.5, 2.5], [2.0, -1.0]]).expect("two"),
    };
    publisher
        .publish(
            5,
            5,
            Outcome::Found(&Findings::Detections(vec![found, found])),
        )
        .expect("published");
    publisher
        .publish(6, 9, Outcome::Skipped(Skip::Overflowed))
        .expect("published");
    let wild = Detection {
        score: f32::NAN,
        ..found
    };
    publisher
        .publish(10, 10, Outcome::Found(&Findings::Detections(vec![wild])))
        .expect("published");
    let wild = Detection {
        landmarks: Landmarks::new(&[[1.0, f32::INFINITY]]).expect("one"),
        ..found
    };
    publisher
        .publish(11, 11, Outcome::Found(&Findings::Detections(vec![wild])))
        .expect("published");
    publisher.end_of_stream(12).expect("published");
    let result = subscriber.receive().expect("valid").expect("one");
    assert_eq!(
        result.body,
        ResultBody::Found(Findings::Detections(vec![found, found]))
    );
    let result = subscriber.receive().expect("valid").expect("one");
    assert_eq!((result.first_sequence, result.last_sequence), (6, 9));
    assert_eq!(result.body, ResultBody::Skipped(Skip::Overflowed));
    assert!(subscriber.receive().is_err(), "not a number is no score");
    assert!(subscriber.receive().is_err(), "infinity is no coordinate");
    let result = subscriber.receive().expect("valid").expect("one");
    assert_eq!(result.body, ResultBody::EndOfStream);
    assert!(subscriber.receive().expect("empty").is_none());

    let mut encoder = PacketPublisher::open(&fixture.bus, &stream, SIZE, 2, 1).expect("an encoder");
    let mut viewer = PacketSubscriber::open(&fixture.bus, &stream, 2).expect("a viewer");
    let stamp = PacketStamp {
        sequence_number: 4,
        pts_ns: 5,
        captured_ns: 6,
        keyframe: true,
        rung: 1,
    };
    encoder.publish(&stamp, b"unit").expect("published");
    assert!(matches!(
        encoder.publish(&stamp, &vec![0; 1 << 20]),
        Err(BusError::TooLarge { .. })
    ));
    encoder.end_of_stream(5).expect("ended");
    match viewer.receive().expect("received") {
        Some(IncomingPacket::Packet(packet)) => {
            assert_eq!((*packet.stamp(), packet.epoch()), (stamp, 1));
            assert_eq!(packet.data(), b"unit");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        viewer.receive().expect("received"),
        Some(IncomingPacket::EndOfStream {
            next_sequence: 5,
            epoch: 1
        })
    ));
}

/// The numbers of what is queued, `b` and `e` behind those of marks.
fn chunks(subscriber: &mut ChunkSubscriber) -> Vec<String> {
    std::iter::from_fn(|| subscriber.receive().expect("whole"))
        .map(|incoming| match incoming {
            IncomingChunk::Begin { stamp, .. } => format!("{}b", stamp.sequence_number),
            IncomingChunk::End { stamp, .. } => format!("{}e", stamp.sequence_number),
            IncomingChunk::Data(chunk) => {
                let number = chunk.stamp().sequence_number;
                assert_eq!(chunk.data(), vec![number as u8; CHUNK_BYTES_MAX]);
                number.to_string()
            }
            IncomingChunk::Invalid { reason } => panic!("{reason}"),
        })
        .collect()
}

#[test]
fn chunks_wait_for_who_comes_late_and_the_oldest_go() {
    let fixture = fixture();
    let stream = "yard".parse().expect("a name");
    let publisher = ChunkPublisher::open(&fixture.bus, &stream, 3).expect("a publisher");
    let stamp = |sequence_number| ChunkStamp {
        sequence_number,
        session: 1,
        arrived_ns: 7,
    };
    let publish = |number: u64| {
        let data = vec![number as u8; CHUNK_BYTES_MAX];
        publisher
            .publish(&stamp(number), ChunkContents::TransportStream, &data)
            .expect("published");
    };
    publisher.begin(&stamp(0)).expect("published");
    publish(1);
    let mut late = ChunkSubscriber::open(&fixture.bus, &stream).expect("a subscriber");
    publish(2);
    publisher.end(&stamp(3)).expect("published");
    assert_eq!(chunks(&mut late), ["0b", "1", "2", "3e"]);
    (4..204).for_each(publish);
    let kept = chunks(&mut late);
    assert_eq!((kept.len(), &kept[0][..]), (128, "76"));
    let too_large = vec![0; CHUNK_BYTES_MAX + 1];
    let refused = publisher.publish(&stamp(204), ChunkContents::TransportStream, &too_large);
    assert!(matches!(refused, Err(BusError::TooLarge { .. })));
}

/// The numbers of the tiles that have come; each is filled with its own.
fn tiles(subscriber: &mut TileSubscriber) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.receive().expect("received"))
        .map(|incoming| {
            let IncomingTile::Tile(tile) = incoming else {
                panic!("{incoming:?}");
            };
            let number = tile.stamp().sequence_number;
            assert_eq!((tile.epoch(), tile.stamp().captured_ns), (3, number * 7));
            assert_eq!(tile.payload().len(), tile.layout().bytes);
            assert!(tile.payload().iter().all(|byte| u64::from(*byte) == number));
            number
        })
        .collect()
}

#[test]
fn of_tiles_the_newest_stay_and_nobody_is_waited_for() {
    let fixture = fixture();
    let [mosaic, member] = ["wall", "yard"].map(|name| name.parse().expect("a name"));
    let publisher = TilePublisher::open(&fixture.bus, &mosaic, &member, SIZE, 3);
    let publisher = publisher.expect("a publisher");
    let publish = |number: u64, size: PixelSize| {
        let mut loan = publisher.loan(size).expect("sized").expect("a free slot");
        loan.payload_mut().fill(number.to_le_bytes()[0]);
        let stamp = TileStamp {
            sequence_number: number,
            captured_ns: number * 7,
        };
        publisher.publish(loan, &stamp).expect("published");
    };
    publish(0, SIZE);
    let mut mosaic = TileSubscriber::open(&fixture.bus, &mosaic, &member).expect("a mosaic");
    assert!(
        tiles(&mut mosaic).is_empty(),
        "what was before it is not kept"
    );
    let smaller = PixelSize {
        width: 16,
        height: 10,
    };
    publish(1, smaller);
    assert_eq!(tiles(&mut mosaic), [1]);
    (2..50).for_each(|number| publish(number, SIZE));
    assert_eq!(tiles(&mut mosaic), [48, 49]);
    let larger = PixelSize {
        width: 66,
        height: 48,
    };
    let refused = publisher.loan(larger);
    assert!(matches!(refused, Err(BusError::TooLarge { .. })));
}

#[test]
fn nothing_is_left_in_shared_memory() {
    let fixture = fixture();
    let prefix = fixture.root.bus().prefix;
    let files = || {
        std::fs::read_dir("/dev/shm")
            .expect("shared memory")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count()
    };
    let spec = spec(QueuePolicy::DropOldest, 2);
    let publisher = FramePublisher::open(&fixture.bus, &spec, 0).expect("a producer");
    publish(&publisher, 0);
    assert!(files() > 0, "the bus lies under the root's prefix");
    drop(publisher);
    drop(fixture.bus);
    drop(fixture.root);
    assert_eq!(files(), 0);
}
