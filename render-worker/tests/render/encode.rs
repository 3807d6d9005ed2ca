//! The encoder, on the real GStreamer.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::EncodeSpec;
use frame_bus::ColourMatrix;
use gstreamer as gst;
use render_worker::encode::{
    AccessUnit, Encoder, EncoderElement, INSIDE_MAX, PictureFormat, check,
};

use crate::video;

const MS: u64 = 1_000_000;
const TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(5);
const SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};

fn spec() -> EncodeSpec {
    EncodeSpec {
        hardware: false,
        preset: "ultrafast".to_owned(),
        bitrate_kbps: 500,
        keyframe_interval_ms: 2000,
        threads: 1,
        qualities: Vec::new(),
    }
}

/// An encoder whose access units come out of the receiver.
fn encoder(size: PixelSize, matrix: ColourMatrix) -> (Encoder, Receiver<AccessUnit>) {
    check(&spec()).expect("installed");
    let (sender, units) = sync_channel(1024);
    let format = PictureFormat {
        layout: I420Layout::of(size),
        matrix,
    };
    let output = move |unit| sender.send(unit).expect("received below");
    let encoder = Encoder::new(&spec(), EncoderElement::X264, format, output).expect("an encoder");
    (encoder, units)
}

fn push(encoder: &mut Encoder, number: u64, pts_ms: u64) {
    let layout = encoder.format().layout;
    let mut picture = encoder.picture().expect("free");
    picture
        .with_bytes(|bytes| video::paint(&layout, number, bytes))
        .expect("memory");
    encoder.push(picture, pts_ms * MS).expect("taken");
}

#[test]
fn every_picture_becomes_an_access_unit_with_its_own_time() {
    let (mut encoder, units) = encoder(SIZE, ColourMatrix::Bt709);
    // 10 frames a second with some missing, then twice as many.
    let times: Vec<u64> = (0..60)
        .filter(|index| index % 7 != 3)
        .map(|index| index * 100)
        .chain((0..60).map(|index| 6000 + index * 50))
        .collect();
    for (number, pts_ms) in times.iter().enumerate() {
        push(&mut encoder, number as u64, *pts_ms);
    }
    encoder.finish(TIMEOUT).expect("ends");
    let units: Vec<AccessUnit> = units.try_iter().collect();
    let seen: Vec<u64> = units.iter().map(|unit| unit.pts_ns / MS).collect();
    assert_eq!(seen, times);
    let keyframes: Vec<u64> = units
        .iter()
        .filter(|unit| unit.keyframe)
        .map(|unit| unit.pts_ns / MS)
        .collect();
    assert_eq!(keyframes[0], 0);
    for pair in keyframes.windows(2) {
        let apart = pair[1] - pair[0];
        // A frame that should have been the key frame may be one of the missing.
        assert!(
            (1800..=2100).contains(&apart),
            "{apart} ms apart: {keyframes:?}"
        );
    }
    for unit in &units {
        let map = unit.buffer.map_readable().expect("memory");
        assert_eq!(map[..4], [0, 0, 0, 1], "a byte stream");
        // A key frame brings its sequence parameter set (NAL unit type 7) along.
        let mut units = map.windows(4).filter(|bytes| bytes[..3] == [0, 0, 1]);
        assert_eq!(unit.keyframe, units.any(|bytes| bytes[3] & 31 == 7));
    }
}

#[test]
fn one_picture_alone_is_encoded_too_and_none_is_no_error() {
    let (mut one, units) = encoder(SIZE, ColourMatrix::Bt601);
    push(&mut one, 0, 0);
    one.finish(TIMEOUT).expect("ends");
    assert_eq!(units.try_iter().count(), 1);
    let (none, units) = encoder(SIZE, ColourMatrix::Bt601);
    none.finish(TIMEOUT).expect("ends");
    assert_eq!(units.try_iter().count(), 0);
}

#[test]
fn a_slow_taker_holds_the_pictures_back() {
    check(&spec()).expect("installed");
    let format = PictureFormat {
        layout: I420Layout::of(SIZE),
        matrix: ColourMatrix::Bt601,
    };
    let (release, released) = sync_channel::<()>(0);
    let output = move |_| {
        // Fails once the test has let go of its end: then nothing is held back.
        let _ = released.recv();
    };
    let mut encoder =
        Encoder::new(&spec(), EncoderElement::X264, format, output).expect("an encoder");
    let (pushed, pushes) = sync_channel(100);
    let pusher = std::thread::spawn(move || {
        for number in 0..20 {
            push(&mut encoder, number, number * 40);
            pushed.send(number).expect("counted below");
        }
        encoder.finish(TIMEOUT).expect("ends");
    });
    let mut count = 0;
    while pushes.recv_timeout(Duration::from_millis(300)).is_ok() {
        count += 1;
    }
    // One is with its taker.
    assert_eq!(count, INSIDE_MAX + 1);
    drop(release);
    pusher.join().expect("the encoder goes on");
    assert_eq!(count + pushes.iter().count(), 20);
}
