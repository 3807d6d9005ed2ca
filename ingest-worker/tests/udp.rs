//! MPEG transport streams in UDP packets, with `ffmpeg` at the other end.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use contract::control::SourceState::{Connecting, Live, Lost, Stalled};
use contract::geometry::PixelSize;
use contract::spec::{QueuePolicy, SourceSpec};
use support::{
    LIVE_RED, PATIENCE, Stream, assert_rate, assert_red, drain, expect_state, expect_states, ffmpeg,
};
use testkit::free_port;
use testkit::process::Process;
use testkit::wait_until;

fn source(port: u16) -> SourceSpec {
    SourceSpec::Udp {
        address: None,
        port,
        interface: None,
    }
}

fn sender(port: u16, encoding: &str) -> Process {
    ffmpeg(&format!(
        "{encoding} -f mpegts udp://127.0.0.1:{port}?pkt_size=1316"
    ))
}

#[test]
fn packets_are_waited_for_taken_and_waited_for_again() {
    let port = free_port();
    let mut stream = Stream::new(source(port), QueuePolicy::DropOldest);
    let worker = stream.started();
    expect_states(&worker, &[Connecting]);
    let mut camera = sender(port, LIVE_RED);
    let seen = stream.take(40);
    assert_red(&seen[39]);
    assert_rate(&seen[10..]);
    camera.kill();
    expect_state(&worker, 1, Stalled);
    let told = worker.source_states().len();
    let _camera = sender(port, LIVE_RED);
    expect_state(&worker, told, Live);
    assert!(stream.rest_until_discontinuity().discontinuity);
    drain(worker, &mut stream);
}

/// A sender that is started anew with another size, as a camera does that is set up anew: the
/// packets go on, and the stream keeps its size.
#[test]
fn another_size_in_the_same_session_is_a_discontinuity_of_the_same_size() {
    let port = free_port();
    let mut stream = Stream::with(source(port), QueuePolicy::DropOldest, |spec| {
        spec.no_frame_timeout_ms = 20_000;
    });
    let worker = stream.started();
    let mut camera = sender(port, LIVE_RED);
    stream.take(10);
    camera.kill();
    let large = LIVE_RED
        .replace("320x240", "640x480")
        .replace("color=red", "color=blue");
    let _camera = sender(port, &large);
    let changed = || stream.book.read().size_changes == 1;
    assert!(
        wait_until(PATIENCE, changed),
        "{:?}",
        worker.source_states()
    );
    let seen = stream.rest_until_discontinuity();
    let size = PixelSize {
        width: 320,
        height: 240,
    };
    assert_eq!(seen.size, size);
    let seen = stream.take(5);
    assert_eq!(seen[4].size, size);
    drain(worker, &mut stream);
}

/// The 33 bits of the clock wrap within a second of the begin, or the clock jumps by hours:
/// event time does neither.
#[test]
fn a_clock_that_wraps_or_jumps_does_not_move_event_time() {
    let port = free_port();
    let mut stream = Stream::with(source(port), QueuePolicy::DropOldest, |spec| {
        spec.no_frame_timeout_ms = 20_000;
    });
    let worker = stream.started();
    let encoding = |offset_s: &str| format!("{LIVE_RED} -output_ts_offset {offset_s}");
    // 2^33 / 90 kHz = 95443.7 s
    let mut camera = sender(port, &encoding("95442"));
    let seen = stream.take(60);
    assert_rate(&seen[10..]);
    camera.kill();
    let mut last = seen[59].pts_ms;
    for offset_s in ["20000", "100", "70000"] {
        let mut camera = sender(port, &encoding(offset_s));
        let seen = stream.take(30);
        assert!(seen[0].pts_ms > last, "{} after {last}", seen[0].pts_ms);
        assert_rate(&seen[15..]);
        last = seen[29].pts_ms;
        camera.kill();
    }
    drain(worker, &mut stream);
}

#[test]
fn a_port_that_is_taken_and_sound_without_pictures_are_told() {
    let taken = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut stream = Stream::new(source(port), QueuePolicy::DropOldest);
    let worker = stream.started();
    let text = expect_state(&worker, 0, Lost);
    assert!(text.contains("listen"), "{text}");
    drain(worker, &mut stream);

    let port = free_port();
    let mut stream = Stream::new(source(port), QueuePolicy::DropOldest);
    let worker = stream.started();
    let _radio = sender(port, "-re -f lavfi -i sine -c:a aac");
    let text = expect_state(&worker, 0, Lost);
    assert!(text.contains("no video stream"), "{text}");
    drain(worker, &mut stream);
}
