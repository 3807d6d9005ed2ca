//! SRT with `ffmpeg` at the other end.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use contract::control::SourceState::{Connecting, Live, Lost, Refused, Stalled};
use contract::spec::{QueuePolicy, Secret, SourceSpec, SrtMode, SrtSpec};
use support::{
    LIVE_RED, Stream, assert_rate, assert_red, drain, expect_state, expect_states, ffmpeg,
};
use testkit::free_port;
use testkit::process::Process;

const PASSPHRASE: &str = "correct-horse-battery";

fn source(mode: SrtMode, port: u16, passphrase: Option<&str>) -> SourceSpec {
    SourceSpec::Srt(SrtSpec {
        mode,
        host: match mode {
            SrtMode::Caller => "127.0.0.1".to_owned(),
            SrtMode::Listener => String::new(),
        },
        port,
        stream_id: None,
        passphrase: passphrase.map(|text| Secret::new(text.to_owned())),
        key_bytes: None,
        latency_ms: 20,
    })
}

fn sender(port: u16, options: &str) -> Process {
    ffmpeg(&format!(
        "{LIVE_RED} -f mpegts srt://127.0.0.1:{port}?{options}"
    ))
}

#[test]
fn a_caller_pulls_loses_and_finds_its_sender() {
    let port = free_port();
    let options = format!("mode=listener&passphrase={PASSPHRASE}&pbkeylen=32");
    let mut camera = sender(port, &options);
    let spec = source(SrtMode::Caller, port, Some(PASSPHRASE));
    let mut stream = Stream::new(spec, QueuePolicy::DropOldest);
    let worker = stream.started();
    let seen = stream.take(40);
    assert_red(&seen[39]);
    assert_rate(&seen[10..]);
    camera.kill();
    let told = worker.source_states().len();
    expect_state(&worker, told - 1, Stalled);
    let _camera = sender(port, &options);
    assert!(stream.rest_until_discontinuity().discontinuity);
    expect_state(&worker, told, Live);
    drain(worker, &mut stream);
}

#[test]
fn a_wrong_passphrase_is_refused_and_is_not_shown() {
    let port = free_port();
    let _camera = sender(port, &format!("mode=listener&passphrase={PASSPHRASE}"));
    for wrong in [Some("wrong-horse-battery"), None] {
        let spec = source(SrtMode::Caller, port, wrong);
        let stream = Stream::new(spec, QueuePolicy::DropOldest);
        let mut stream = stream;
        let worker = stream.started();
        let text = expect_state(&worker, 0, Refused);
        assert!(text.contains("passphrase"), "{text}");
        let told = format!("{:?}{}", worker.received(), worker.process.stderr());
        assert!(
            !told.contains("wrong-horse"),
            "the passphrase is shown: {told}"
        );
        drain(worker, &mut stream);
    }
}

#[test]
fn a_listener_turns_the_wrong_away_and_takes_the_right_again_and_again() {
    let port = free_port();
    let mut spec = source(SrtMode::Listener, port, Some(PASSPHRASE));
    if let SourceSpec::Srt(srt) = &mut spec {
        srt.stream_id = Some(Secret::new("cam-1".to_owned()));
    }
    let mut stream = Stream::new(spec, QueuePolicy::DropOldest);
    let worker = stream.started();
    let states = expect_states(&worker, &[Connecting]);
    assert!(states[0].1.contains("waiting"), "{states:?}");

    let wrong = "streamid=cam-1&passphrase=wrong-horse-battery";
    let _stranger = sender(port, wrong);
    let text = expect_state(&worker, 0, Refused);
    assert!(text.contains("passphrase"), "{text}");

    let right = format!("streamid=cam-1&passphrase={PASSPHRASE}");
    for _ in 0..2 {
        let told = worker.source_states().len();
        let mut camera = sender(port, &right);
        // `ffmpeg` gives up after 3 s; libsrt keeps a port about as long after its peer has died.
        let live = testkit::wait_until(support::PATIENCE, || {
            if camera.wait(std::time::Duration::ZERO).is_some() {
                camera = sender(port, &right);
            }
            let states = worker.source_states();
            states
                .iter()
                .skip(told - 1)
                .any(|(state, _)| *state == Live)
        });
        assert!(live, "{:?}", worker.source_states());
        assert_red(&stream.take(20)[19]);
        camera.kill();
        let ended = testkit::wait_until(support::PATIENCE, || {
            let states = worker.source_states();
            states
                .iter()
                .skip(told)
                .any(|(state, _)| matches!(state, Lost | Stalled))
        });
        assert!(ended, "{:?}", worker.source_states());
    }
    drain(worker, &mut stream);
}
