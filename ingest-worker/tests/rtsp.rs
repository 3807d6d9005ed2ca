//! A real camera that dies, freezes, refuses the password, and comes back.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::{FromWorker, SourceState, ToWorker};
use contract::exit::WorkerExit;
use contract::spec::{QueuePolicy, RtspTransport, Secret, SourceSpec, TlsVerification};
use support::{PATIENCE, Stream, drain, expect_states};
use testkit::camera::{Authentication, CameraOptions, Media, RtspCamera};
use testkit::link::{Impairment, RtspLink};
use testkit::process::Launch;
use testkit::wait_until;
use testkit::worker::WorkerProcess;

const PASSWORD: &str = "s3cret-Pa55";

fn source(location: String) -> SourceSpec {
    SourceSpec::Rtsp {
        location: Secret::new(location),
        transport: RtspTransport::Tcp,
        latency_ms: 100,
        tls: TlsVerification::Verify,
    }
}

fn with_password(authentication: Authentication) -> CameraOptions {
    CameraOptions {
        login: Some(("admin".to_owned(), PASSWORD.to_owned(), authentication)),
        ..CameraOptions::default()
    }
}

#[test]
fn frames_come_and_are_dated_by_the_monotonic_clock() {
    for transport in [RtspTransport::Tcp, RtspTransport::Udp] {
        let camera = RtspCamera::start(CameraOptions::default());
        let source = SourceSpec::Rtsp {
            location: Secret::new(camera.location()),
            transport,
            latency_ms: 100,
            tls: TlsVerification::Verify,
        };
        let mut stream = Stream::new(source, QueuePolicy::DropOldest);
        let worker = stream.started();
        let seen = stream.take(30);
        let now_ms = monotonic_ns() / 1_000_000;
        let last = seen.last().unwrap();
        let age_ms = now_ms.abs_diff(last.pts_ms);
        assert!(age_ms < 2000, "event time is {age_ms} ms off the clock");
        let gaps = seen.windows(2).map(|pair| pair[1].pts_ms - pair[0].pts_ms);
        let numbers = last.sequence_number - seen[0].sequence_number;
        let mean = gaps.sum::<u64>() as f64 / numbers as f64;
        assert!((mean - 40.0).abs() < 4.0, "{mean} ms between frames");
        let decoder = worker.expect(PATIENCE, |message| match message {
            FromWorker::Source(info) => Some(info.decoder.clone()),
            _ => None,
        });
        assert_eq!(decoder, "avdec_h264");
        expect_states(&worker, &[SourceState::Connecting, SourceState::Live]);
        drain(worker, &mut stream);
    }
}

#[test]
fn a_camera_that_dies_is_lost_and_found_again() {
    use SourceState::{Connecting, Live, Lost};
    let mut camera = RtspCamera::start(CameraOptions::default());
    let mut stream = Stream::new(source(camera.location()), QueuePolicy::DropOldest);
    let worker = stream.started();
    let before = stream.take(10);
    camera.kill();
    // While it is away it cannot be connected to, and is tried again and again.
    let states = expect_states(&worker, &[Connecting, Live, Lost, Connecting, Lost]);
    assert!(states[2].1.contains("closed the connection"), "{states:?}");
    assert!(states[4].1.contains("check host and port"), "{states:?}");
    assert!(states[4].1.contains("failure 2 of 5"), "{states:?}");
    camera.restart();

    let back = || worker.source_states().last().unwrap().0 == Live;
    assert!(wait_until(PATIENCE, back));
    let gap = stream.rest_until_discontinuity();
    let after = stream.take(10);
    assert!(gap.discontinuity && !after[0].discontinuity);
    assert!(
        gap.pts_ms > before[9].pts_ms + 100,
        "event time went on meanwhile"
    );
    assert!(
        gap.motion.abs() < f32::EPSILON,
        "what changed meanwhile did not move"
    );
    let book = stream.book.read();
    assert!(book.sessions >= 3 && book.source_errors >= 1, "{book:?}");
    drain(worker, &mut stream);
}

#[test]
fn a_camera_that_freezes_is_stalled_and_goes_on_when_it_thaws() {
    use SourceState::{Connecting, Live, Stalled};
    let camera = RtspCamera::start(CameraOptions::default());
    let mut stream = Stream::with(source(camera.location()), QueuePolicy::DropOldest, |spec| {
        spec.no_frame_timeout_ms = 1000;
    });
    let worker = stream.started();
    stream.take(10);
    camera.freeze();
    let begin = Instant::now();
    let progress = stream.book.progress();
    let states = expect_states(&worker, &[Connecting, Live, Stalled]);
    let noticed = begin.elapsed();
    assert!(noticed > Duration::from_millis(800), "{noticed:?}");
    assert!(noticed < Duration::from_millis(2500), "{noticed:?}");
    assert!(states[2].1.contains("no frame for 1.0 s"), "{states:?}");
    // The kernel still accepts connections for a frozen camera, but nothing answers them.
    let trying = || worker.source_states().last().unwrap().0 == Connecting;
    assert!(wait_until(PATIENCE, trying));
    let turns = stream.book.progress() - progress;
    let waited = begin.elapsed();
    assert!(turns >= 4 * waited.as_secs(), "{turns} turns in {waited:?}");
    camera.thaw();
    assert!(stream.rest_until_discontinuity().discontinuity);
    drain(worker, &mut stream);
}

#[test]
fn the_right_password_opens_and_a_wrong_one_is_refused() {
    use SourceState::{Connecting, Gone, Refused};
    for authentication in [Authentication::Basic, Authentication::Digest] {
        let camera = RtspCamera::start(with_password(authentication));
        let location = camera.location_as("admin", PASSWORD);
        let mut stream = Stream::new(source(location), QueuePolicy::DropOldest);
        let worker = stream.started();
        stream.take(5);
        drain(worker, &mut stream);

        let location = camera.location_as("admin", "wr0ng-Pa55");
        let mut stream = Stream::with(source(location), QueuePolicy::DropOldest, |spec| {
            spec.retry.attempts = Some(2);
        });
        let mut worker = stream.started();
        assert!(stream.next().is_none(), "consumers are told the end");
        assert_eq!(
            worker.process.exit_code(PATIENCE),
            WorkerExit::SourceGone.code()
        );
        let states = expect_states(&worker, &[Connecting, Refused, Connecting, Refused, Gone]);
        assert!(states[1].1.contains("(401)"), "{states:?}");
        let told = format!("{:?}{}", worker.received(), worker.process.stderr());
        assert!(!told.contains("wr0ng"), "the password is shown: {told}");
        assert!(told.contains("refused"), "{told}");
    }
}

#[test]
fn a_path_that_is_not_there_and_a_port_nobody_serves_are_told_apart() {
    use SourceState::{Connecting, Gone, Lost, Refused};
    let camera = RtspCamera::start(CameraOptions::default());
    let elsewhere = camera.location().replace("/stream", "/elsewhere");
    let nobody = format!("rtsp://127.0.0.1:{}/stream", testkit::free_port());
    for (location, state, word) in [
        (elsewhere, Refused, "(404)"),
        (nobody, Lost, "no connection"),
    ] {
        let mut stream = Stream::with(source(location), QueuePolicy::DropOldest, |spec| {
            spec.retry.attempts = Some(1);
        });
        let mut worker = stream.started();
        assert_eq!(
            worker.process.exit_code(PATIENCE),
            WorkerExit::SourceGone.code()
        );
        let states = expect_states(&worker, &[Connecting, state, Gone]);
        assert!(states[1].1.contains(word), "{states:?}");
    }
}

#[test]
fn a_worker_leaves_at_once_while_its_camera_is_frozen() {
    let camera = RtspCamera::start(CameraOptions::default());
    let mut stream = Stream::new(source(camera.location()), QueuePolicy::DropOldest);
    let mut worker = stream.started();
    stream.take(5);
    camera.freeze();
    worker.send(&ToWorker::Drain);
    let begin = Instant::now();
    stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[test]
fn a_network_that_loses_and_delays_costs_frames_and_nothing_else() {
    let camera = RtspCamera::start(CameraOptions::default());
    let link = RtspLink::start(
        camera.port(),
        Impairment {
            loss: 0.02,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(30),
            seed: 7,
        },
    );
    let source = SourceSpec::Rtsp {
        location: Secret::new(format!("rtsp://127.0.0.1:{}/stream", link.port())),
        transport: RtspTransport::Udp,
        latency_ms: 100,
        tls: TlsVerification::Verify,
    };
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let worker = stream.started();
    let seen = stream.take(120);
    let (come, lost) = link.counts();
    assert!(lost > 0 && come > 120, "{lost} lost of {come}");
    let rising = seen.windows(2).all(|pair| pair[1].pts_ms > pair[0].pts_ms);
    assert!(rising, "event time rises");
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let possible = (last.pts_ms - first.pts_ms) / 40 + 1;
    let share = seen.len() as f64 / possible as f64;
    assert!(share > 0.5, "{} frames of {possible}", seen.len());
    assert!(seen.iter().all(|seen| !seen.discontinuity));
    expect_states(&worker, &[SourceState::Connecting, SourceState::Live]);
    let book = drain(worker, &mut stream);
    assert_eq!((book.sessions, book.lost), (1, 0), "{book:?}");
}

fn automatic(location: String, tls: TlsVerification) -> SourceSpec {
    SourceSpec::Rtsp {
        location: Secret::new(location),
        transport: RtspTransport::Auto,
        latency_ms: 100,
        tls,
    }
}

fn transport_of(worker: &WorkerProcess) -> String {
    worker.expect(PATIENCE, |message| match message {
        FromWorker::Source(info) => Some(info.transport.clone()),
        _ => None,
    })
}

#[test]
fn a_camera_that_refuses_tcp_is_asked_for_udp_at_once() {
    for udp_only in [false, true] {
        let camera = RtspCamera::start(CameraOptions {
            udp_only,
            ..CameraOptions::default()
        });
        let source = automatic(camera.location(), TlsVerification::Verify);
        let mut stream = Stream::new(source, QueuePolicy::DropOldest);
        let worker = stream.started();
        stream.take(5);
        let expected = if udp_only { "udp" } else { "tcp" };
        assert_eq!(transport_of(&worker), expected);
        expect_states(&worker, &[SourceState::Connecting, SourceState::Live]);
        drain(worker, &mut stream);
    }
}

#[test]
fn a_certificate_that_nobody_signed_is_refused_unless_any_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (key, certificate, both) = (at("key.pem"), at("certificate.pem"), at("both.pem"));
    let mut openssl = Launch::new(std::path::Path::new("/usr/bin/openssl"))
        .arguments("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1".split(' '))
        .arguments(["-keyout", &key, "-out", &certificate])
        .start();
    assert_eq!(openssl.exit_code(PATIENCE), 0, "{}", openssl.stderr());
    let pem = [&key, &certificate].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();
    let camera = RtspCamera::start(CameraOptions {
        certificate: Some(both.into()),
        ..CameraOptions::default()
    });

    let source = automatic(camera.location(), TlsVerification::Verify);
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let worker = stream.started();
    let text = support::expect_state(&worker, 0, SourceState::Refused);
    assert!(
        text.contains("certificate") && text.contains("tls: any"),
        "{text}"
    );
    drain(worker, &mut stream);

    let source = automatic(camera.location(), TlsVerification::Any);
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let worker = stream.started();
    stream.take(5);
    drain(worker, &mut stream);
}

#[test]
fn a_camera_that_comes_back_with_another_size_and_codec_goes_on_at_the_first_size() {
    let mut camera = RtspCamera::start(CameraOptions::default());
    let source = automatic(camera.location(), TlsVerification::Verify);
    let mut stream = Stream::with(source, QueuePolicy::DropOldest, |spec| {
        spec.retry.attempts = None;
    });
    let worker = stream.started();
    let size = stream.take(5)[4].size;
    for (media, width, decoder) in [
        (Media::H265, 640, "avdec_h265"),
        (Media::Jpeg, 320, "jpegdec"),
    ] {
        camera.kill();
        camera.change(|options| {
            options.media = media;
            options.size.width = width;
        });
        camera.restart();
        let first = stream.rest_until_discontinuity();
        assert_eq!(first.size, size);
        let decoders = || {
            let told = worker.received().into_iter();
            told.filter_map(|message| match message {
                FromWorker::Source(info) => Some(info.decoder),
                _ => None,
            })
            .next_back()
        };
        assert!(
            wait_until(PATIENCE, || decoders().as_deref() == Some(decoder)),
            "{:?}",
            decoders()
        );
    }
    assert_eq!(stream.book.read().size_changes, 2);
    drain(worker, &mut stream);
}

#[test]
fn a_camera_without_pictures_is_told() {
    let camera = RtspCamera::start(CameraOptions {
        media: Media::Sound,
        ..CameraOptions::default()
    });
    let source = automatic(camera.location(), TlsVerification::Verify);
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let worker = stream.started();
    let text = support::expect_state(&worker, 0, SourceState::Lost);
    assert!(text.contains("no video stream"), "{text}");
    drain(worker, &mut stream);
}
