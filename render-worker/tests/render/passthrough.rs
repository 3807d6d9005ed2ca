//! What the source has coded, in the place of what an encoder gives.

use contract::clock::monotonic_ns;
use contract::spec::{PassthroughSpec, QueuePolicy};
use frame_bus::{IncomingPacket, PacketPublisher, PacketStamp, Waker};
use testkit::wait_until;

use crate::bench::{Bench, INTERVAL_NS, SECONDS_10, SIZE, expect_exit, stream};

/// The source of a bench.
struct Source {
    packets: PacketPublisher,
    waker: Waker,
}

impl Source {
    fn open(bench: &Bench, epoch: u32) -> Self {
        let packets = PacketPublisher::open_source(&bench.bus, &stream(), SIZE, epoch);
        Self {
            packets: packets.expect("a source"),
            waker: Waker::open(&bench.bus, &bench.spec.worker).expect("a waker"),
        }
    }

    /// Each is a byte, its number.
    fn send(&mut self, sequence_number: u64, keyframe: bool) {
        let stamp = PacketStamp {
            sequence_number,
            pts_ns: sequence_number * INTERVAL_NS,
            captured_ns: monotonic_ns(),
            keyframe,
            rung: 0,
        };
        let byte = u8::try_from(sequence_number).expect("few");
        self.packets.publish(&stamp, &[byte]).expect("published");
        self.waker.wake();
    }
}

/// What the gateway gets: its number, and the number that the source gave it.
fn take(bench: &mut Bench, taken: &mut Vec<(u64, u8)>, end: &mut Option<u64>) {
    while let Some(incoming) = bench.packets.receive().expect("a good port") {
        match incoming {
            IncomingPacket::Packet(packet) => {
                taken.push((packet.stamp().sequence_number, packet.data()[0]));
            }
            IncomingPacket::EndOfStream { next_sequence, .. } => *end = Some(next_sequence),
            IncomingPacket::Invalid { reason } => panic!("{reason}"),
        }
    }
}

#[test]
fn what_follows_a_gap_is_passed_over_up_to_the_next_key_frame() {
    let mut bench = Bench::with(QueuePolicy::DropOldest, |render| {
        render.encode = None;
        render.record = None;
        render.passthrough = Some(PassthroughSpec {
            size: SIZE,
            decoded: true,
        });
    });
    let mut worker = bench.start();
    let mut source = Source::open(&bench, 0);
    // A camera is joined in the middle of a group of pictures.
    for (number, keyframe) in [(0, false), (1, true), (2, false)] {
        source.send(number, keyframe);
    }
    // The third was overwritten on the bus.
    for (number, keyframe) in [(4, false), (5, true)] {
        source.send(number, keyframe);
    }
    bench.expect_book("handed on", |book| book.units_next == 6);
    drop(source);
    // Another process goes on with the numbers, in a session of its own.
    let mut source = Source::open(&bench, 1);
    for (number, keyframe) in [(6, false), (7, true), (8, false)] {
        source.send(number, keyframe);
    }
    bench.expect_book("handed on", |book| book.units_next == 9);
    let mut taken = Vec::new();
    let mut end = None;
    // While its producer lives: what a dead one has published is gone with it.
    take(&mut bench, &mut taken, &mut end);
    source.packets.end_of_stream(9).expect("told");
    bench.end(0, &mut worker);
    let ended = wait_until(SECONDS_10, || {
        take(&mut bench, &mut taken, &mut end);
        end.is_some()
    });
    assert!(ended, "{taken:?}");
    expect_exit(&mut worker, 0);
    // The gateway sees no gap.
    assert_eq!(taken, [(0, 1), (1, 2), (2, 5), (3, 7), (4, 8)]);
    assert_eq!(end, Some(5));
    let book = bench.book.read();
    assert_eq!((book.units_received, book.units_overflowed), (8, 1));
    assert_eq!((book.units_passed, book.units_resync), (5, 3));
    assert_eq!((book.encoded, book.units_lost), (5, 0));
}
