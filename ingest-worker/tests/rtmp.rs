//! RTMP pulled from a server.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use contract::control::SourceState::{Live, Lost, Refused};
use contract::spec::{QueuePolicy, Secret, SourceSpec, TlsVerification};
use support::{Stream, assert_rate, assert_red, drain, expect_state, ffmpeg_done};
use testkit::rtmp::RtmpServer;

fn source(address: String) -> SourceSpec {
    SourceSpec::Rtmp {
        location: Secret::new(address),
        tls: TlsVerification::Verify,
    }
}

#[test]
fn a_stream_is_pulled_lost_and_pulled_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("red.flv");
    ffmpeg_done(&format!(
        "-f lavfi -i color=red:size=320x240:rate=25 -frames:v 60 -pix_fmt yuv420p -c:v libx264 \
         -preset ultrafast -tune zerolatency -g 25 {}",
        path.display()
    ));
    let server = RtmpServer::start(&path, "yard");
    let mut stream = Stream::new(source(server.address("yard")), QueuePolicy::DropOldest);
    let worker = stream.started();
    let seen = stream.take(50);
    assert_red(&seen[49]);
    assert_rate(&seen[10..]);
    expect_state(&worker, 0, Lost);
    let told = worker.source_states().len();
    expect_state(&worker, told, Live);
    assert!(stream.rest_until_discontinuity().discontinuity);
    drain(worker, &mut stream);

    for (address, state, words) in [
        (server.address("attic"), Refused, "no such stream"),
        (
            format!("rtmp://127.0.0.1:{}/live/yard", testkit::free_port()),
            Lost,
            "no connection",
        ),
    ] {
        let mut stream = Stream::new(source(address), QueuePolicy::DropOldest);
        let worker = stream.started();
        let text = expect_state(&worker, 0, state);
        assert!(text.contains(words), "{text}");
        drain(worker, &mut stream);
    }
}
