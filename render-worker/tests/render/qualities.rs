//! Smaller encodes of the same pictures.

use std::sync::mpsc::sync_channel;

use contract::geometry::{I420Layout, PixelSize};
use contract::ledger::Counters;
use contract::spec::{EncodeSpec, QualitySpec, QueuePolicy};
use fmp4::ParameterSets;
use frame_bus::{ColourMatrix, IncomingPacket, PacketSubscriber};
use gstreamer::ClockTime;
use render_worker::encode::ladder::Ladder;
use render_worker::encode::{AccessUnit, EncoderElement, PictureFormat, check};
use testkit::wait_until;

use crate::bench::{Bench, SECONDS_10, expect_exit, stream};
use crate::video;

const MS: u64 = 1_000_000;

fn quality(height: u32, bitrate_kbps: u32) -> QualitySpec {
    QualitySpec {
        height,
        bitrate_kbps,
    }
}

fn size_of(data: &[u8]) -> (u16, u16) {
    let sets = ParameterSets::of(data).expect("readable");
    let sets = sets.expect("a key frame has parameter sets");
    (sets.width(), sets.height())
}

#[test]
fn key_frames_of_all_encodes_are_of_the_same_pictures() {
    let spec = EncodeSpec {
        hardware: false,
        // Of those that make key frames where a scene changes.
        preset: "veryfast".to_owned(),
        bitrate_kbps: 1000,
        keyframe_interval_ms: 2000,
        threads: 1,
        // The first is not smaller than the picture.
        qualities: vec![quality(480, 800), quality(240, 300), quality(120, 100)],
    };
    check(&spec).expect("installed");
    let format = PictureFormat {
        layout: I420Layout::of(PixelSize {
            width: 640,
            height: 480,
        }),
        matrix: ColourMatrix::Bt709,
    };
    let (sender, units) = sync_channel(1024);
    let output = move |unit| sender.send(unit).expect("received below");
    let mut ladder = Ladder::new(&spec, EncoderElement::X264, format, output).expect("encoders");
    for number in 0..120 {
        let mut picture = ladder.picture().expect("free");
        picture
            .with_bytes(|bytes| {
                video::paint(&format.layout, number, bytes);
                if number / 33 % 2 == 1 {
                    // Another scene.
                    bytes.iter_mut().for_each(|byte| *byte = 255 - *byte);
                }
            })
            .expect("memory");
        if number == 70 {
            ladder.ask_for_keyframe();
        }
        ladder.push(picture, number * 40 * MS).expect("taken");
    }
    ladder.finish(ClockTime::from_seconds(5)).expect("ends");
    let units: Vec<AccessUnit> = units.try_iter().collect();
    for (rung, size) in [(0, (640, 480)), (2, (320, 240)), (3, (160, 120))] {
        let own: Vec<&AccessUnit> = units.iter().filter(|unit| unit.rung == rung).collect();
        let times: Vec<u64> = own.iter().map(|unit| unit.pts_ns / MS).collect();
        assert_eq!(
            times,
            (0..120).map(|number| number * 40).collect::<Vec<_>>()
        );
        let keyframes: Vec<_> = own.iter().filter(|unit| unit.keyframe).collect();
        let times: Vec<u64> = keyframes.iter().map(|unit| unit.pts_ns / MS).collect();
        assert_eq!(times, [0, 2000, 2800], "rung {rung}");
        for unit in keyframes {
            let map = unit.buffer.map_readable().expect("memory");
            assert_eq!(size_of(&map), size);
        }
    }
    assert!(units.iter().all(|unit| unit.rung != 1));
}

/// The rungs of what has come, in order.
fn rungs(packets: &mut PacketSubscriber, sequence: &mut Vec<u64>) -> Vec<u8> {
    let mut rungs = Vec::new();
    while let Some(incoming) = packets.receive().expect("a good port") {
        if let IncomingPacket::Packet(packet) = incoming {
            sequence.push(packet.stamp().sequence_number);
            rungs.push(packet.stamp().rung);
        }
    }
    rungs
}

#[test]
fn all_encodes_are_handed_out_and_counted_and_one_is_recorded() {
    const FRAMES: u64 = 60;
    let mut bench = Bench::with(QueuePolicy::Wait, |render| {
        let encode = render.encode.as_mut().expect("it encodes");
        encode.qualities = vec![quality(120, 100)];
    });
    let mut worker = bench.start();
    let (mut sequence, mut all) = (Vec::new(), Vec::new());
    for number in 0..FRAMES {
        bench.walk(number..number + 1);
        all.extend(rungs(&mut bench.packets, &mut sequence));
    }
    // Without the smaller one all goes on, on a service of another shape.
    let mut alone = PacketSubscriber::open(&bench.bus, &stream(), 1).expect("a gateway");
    bench
        .reconfigure(&mut worker, 2, |render| {
            let encode = render.encode.as_mut().expect("it encodes");
            encode.qualities.clear();
        })
        .expect("it can");
    all.extend(rungs(&mut bench.packets, &mut sequence));
    let (mut rest, mut after) = (Vec::new(), Vec::new());
    bench.walk(FRAMES..FRAMES + 20);
    let came = wait_until(SECONDS_10, || {
        rest.extend(rungs(&mut alone, &mut after));
        rest.len() == 20
    });
    assert!(came, "{rest:?}");
    bench.end(FRAMES + 20, &mut worker);
    expect_exit(&mut worker, 0);

    let counters = bench.book.read();
    counters.check().expect("balanced");
    assert_eq!(counters.rendered, FRAMES + 20);
    assert_eq!(counters.encoded, 2 * FRAMES + 20);
    assert_eq!(counters.recorded, FRAMES + 20, "{counters:?}");
    assert_eq!(counters.unrecorded_off, FRAMES);
    // What it was told to change to began with the 20th picture before the end.
    assert_eq!(rest, [0; 20]);
    assert_eq!(after, (2 * FRAMES..2 * FRAMES + 20).collect::<Vec<_>>());
    // The last of the old encoders may have gone with their service.
    let of = |rung| all.iter().filter(|of| **of == rung).count() as u64;
    assert!(of(0) >= FRAMES - 3 && of(1) >= FRAMES - 3, "{all:?}");
    assert!(sequence.is_sorted_by(|a, b| a + 1 == *b), "{sequence:?}");
}
