//! The gateway's SRT, with GStreamer, ffmpeg and a caller of our own as viewers.

#[expect(dead_code, reason = "it has what tests of other protocols need too")]
mod rig;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use contract::exit::WorkerExit;
use contract::ledger::Counters;
use contract::spec::{Protocol, Secret};
use nix::sys::signal::Signal;
use srt::{Call, CallError, Connection, Driver, MESSAGE_BYTES_MAX, Passphrase, Refusal};
use testkit::process::{Launch, Process};
use testkit::wait_until;
use tokio::time::timeout;

use crate::rig::{Camera, Picture, Rig, Viewer};

const SECOND: Duration = Duration::from_secs(1);

fn start<const N: usize>(streams: [&str; N]) -> Rig {
    Rig::serving(&[Protocol::Srt], &streams)
}

/// Where a stream is; `more` as in `&passphrase=...`.
fn location(rig: &Rig, stream_id: &str, more: &str) -> String {
    let port = rig.port(Protocol::Srt);
    format!("srt://127.0.0.1:{port}?streamid={stream_id}&latency=60{more}")
}

fn viewer(rig: &Rig, stream_id: &str) -> Viewer {
    viewer_with(rig, stream_id, "")
}

fn viewer_with(rig: &Rig, stream_id: &str, more: &str) -> Viewer {
    viewer_at(&location(rig, stream_id, more))
}

/// A viewer for whom nothing comes too late, however busy the machine is.
fn patient_viewer(rig: &Rig, stream_id: &str) -> Viewer {
    viewer_at(&location(rig, stream_id, "").replace("latency=60", "latency=1000"))
}

fn viewer_at(location: &str) -> Viewer {
    Viewer::launch(&format!(
        "srtsrc uri=\"{location}\" auto-reconnect=false ! tsdemux name=depayloader"
    ))
}

fn ffmpeg(rig: &Rig, stream_id: &str, frames: &str) -> Process {
    let location = location(rig, stream_id, "");
    let decode = [
        "-nostdin",
        "-v",
        "error",
        "-nostats",
        "-progress",
        "-",
        "-i",
        &location,
    ];
    let count = [
        "-frames:v",
        frames,
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ];
    Launch::new(Path::new("ffmpeg"))
        .arguments(decode.into_iter().chain(count))
        .start()
}

/// A caller of our own.
async fn call(driver: &Driver, rig: &Rig, call: &Call) -> Result<Connection, CallError> {
    let port = rig.port(Protocol::Srt);
    srt::connect(driver, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), call).await
}

fn asking(stream_id: &str) -> Call {
    Call {
        stream_id: stream_id.to_owned(),
        ..Call::default()
    }
}

#[test]
fn every_frame_arrives_and_the_end_too() {
    let rig = start(["yard", "gate"]);
    let viewers = ["yard", "%23!::r=yard,m=request"].map(|id| patient_viewer(&rig, id));
    let at_gate = patient_viewer(&rig, "read:gate");
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 2));
    assert!(wait_until(5 * SECOND, || rig.book("gate").viewers == 1));
    let yard = Camera::start(&rig, "yard", Picture::Ball);
    let gate = Camera::start(&rig, "gate", Picture::LongGroups);
    for viewer in viewers.iter().chain([&at_gate]) {
        assert!(viewer.decodes(100), "{viewer:?}");
    }
    let published = yard.end();
    for viewer in &viewers {
        assert!(viewer.is_told_the_end(), "{viewer:?}");
        assert_eq!(viewer.decoded(), published);
    }
    assert!(!at_gate.has_ended());
    let published = gate.end();
    assert!(at_gate.is_told_the_end(), "{at_gate:?}");
    assert_eq!(at_gate.decoded(), published);

    assert_eq!(rig.drain(), Ok(()));
    let book = rig.book("yard");
    assert_eq!(book.check(), Ok(()));
    assert_eq!((book.viewers, book.viewers_total), (0, 2));
    assert_eq!(
        (book.forwarded, book.skipped_by_viewers),
        (book.received, 0)
    );
}

#[test]
fn ffmpeg_reads_it_too() {
    let rig = start(["yard"]);
    let mut ffmpeg = ffmpeg(&rig, "yard", "60");
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 1));
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    assert_eq!(ffmpeg.exit_code(9 * SECOND), 0);
    assert!(
        ffmpeg.stdout().contains("frame=60\n"),
        "{}",
        ffmpeg.stdout()
    );
    assert_eq!(ffmpeg.stderr(), "");
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 0));
}

#[test]
fn a_viewer_need_not_wait_for_the_next_key_frame() {
    let rig = start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::LongGroups);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 10));
    let viewer = viewer(&rig, "yard");
    assert!(viewer.decodes(1), "{viewer:?}");
    let book = rig.book("yard");
    assert!(
        book.received < 100,
        "the second key frame was number 100: {book:?}"
    );
}

#[test]
fn a_restarted_producer_keeps_its_viewers() {
    let rig = start(["yard"]);
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    let viewer = viewer(&rig, "yard");
    assert!(viewer.decodes(20), "{viewer:?}");
    // In the middle of a group; the next begins with another PTS, after a gap.
    let next = camera.kill();
    let camera = Camera::restart(&rig, "yard", next + 10, 7);
    assert!(viewer.decodes(viewer.decoded() + 40), "{viewer:?}");
    // And without one.
    let next = camera.end();
    let _camera = Camera::restart(&rig, "yard", next, 0);
    assert!(viewer.decodes(viewer.decoded() + 40), "{viewer:?}");
    assert!(!viewer.has_ended());
    assert_eq!(rig.book("yard").viewers_total, 1);
}

#[test]
fn a_frozen_viewer_harms_nobody() {
    let rig = start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::Noise);
    let frozen = ffmpeg(&rig, "yard", "100000");
    let other = viewer(&rig, "yard");
    assert!(other.decodes(20), "{other:?}");
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 2));
    frozen.signal(Signal::SIGSTOP);
    let (begun, before, received) = (Instant::now(), other.decoded(), rig.book("yard").received);
    // It is given up when it has shown no sign of life for five seconds.
    assert!(wait_until(9 * SECOND, || rig.book("yard").viewers == 1));
    assert!(begun.elapsed() > 3 * SECOND);
    let received = rig.book("yard").received - received;
    assert!(
        other.decodes(before + received - 10),
        "{other:?}, {received} came"
    );
    assert_eq!(rig.book("yard").check(), Ok(()));
}

#[test]
fn a_viewer_who_is_cut_off_for_a_while_goes_on_at_a_key_frame() {
    let rig = start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let relay = Relay::to(rig.port(Protocol::Srt));
    let location = format!("srt://127.0.0.1:{}?streamid=yard&latency=60", relay.port);
    let viewer = viewer_at(&location);
    assert!(viewer.decodes(20), "{viewer:?}");
    relay.cut.store(true, Ordering::Relaxed);
    // Less than the five seconds after which it would be given up.
    let received = rig.book("yard").received;
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > received + 125));
    relay.cut.store(false, Ordering::Relaxed);
    assert!(viewer.decodes(viewer.decoded() + 60), "{viewer:?}");
    assert!(!viewer.has_ended());
    let book = rig.book("yard");
    assert!(book.skipped_by_viewers > 0, "{book:?}");
    assert_eq!((book.viewers, book.viewers_total), (1, 1), "{book:?}");
    assert_eq!(book.check(), Ok(()));
}

#[tokio::test]
async fn who_may_not_watch_is_told_why() {
    let rig = start(["yard"]);
    let driver = Driver::start().expect("it starts");
    for (stream_id, refusal) in [
        ("nowhere", Refusal::NotFound),
        ("", Refusal::NotFound),
        ("publish:yard", Refusal::NotFound),
        ("#!::r=yard,m=publish", Refusal::NotFound),
        ("#!::m=request", Refusal::BadRequest),
    ] {
        let refused = call(&driver, &rig, &asking(stream_id)).await;
        let refused = refused.expect_err(stream_id);
        assert_eq!(refused, CallError::Refused(refusal), "{stream_id}");
    }
    assert_eq!(rig.book("yard").viewers_total, 0);
}

#[tokio::test]
async fn only_who_knows_the_passphrase_watches() {
    let rig = Rig::serving_with(&[Protocol::Srt], &["yard"], |spec| {
        spec.srt_passphrase = Some(Secret::new("correct horse".to_owned()));
    });
    let driver = Driver::start().expect("it starts");
    let wrong = Passphrase::new("wrong horse").expect("long enough");
    for passphrase in [None, Some(wrong)] {
        let asking = Call {
            passphrase,
            ..asking("yard")
        };
        let refused = call(&driver, &rig, &asking).await;
        assert_eq!(refused.expect_err("wrong"), CallError::Passphrase);
    }
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    for more in ["", "&pbkeylen=32"] {
        let viewer = viewer_with(&rig, "yard", &format!("&passphrase=correct horse{more}"));
        assert!(viewer.decodes(20), "{viewer:?}");
    }
    assert_eq!(rig.book("yard").viewers_total, 2);
}

#[tokio::test]
async fn twenty_viewers_share_one_encode() {
    let rig = start(["yard"]);
    let driver = Driver::start().expect("it starts");
    let mut viewers = Vec::new();
    for _ in 0..20 {
        viewers.push(call(&driver, &rig, &asking("yard")).await.expect("let in"));
    }
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 20));
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received >= 50));
    let published = camera.end();
    let mut bytes = Vec::new();
    for viewer in &viewers {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let mut received = Vec::new();
        while let Ok(count) = timeout(5 * SECOND, viewer.receive(&mut buffer))
            .await
            .expect("in time")
        {
            received.extend_from_slice(&buffer[..count]);
        }
        bytes.push(received);
    }
    // All have begun with the first access unit, so all have the very same packets.
    assert!(bytes[0].len() > 20_000 && bytes.iter().all(|other| *other == bytes[0]));
    let book = rig.book("yard");
    assert_eq!(
        (book.received, book.forwarded),
        (published, published),
        "{book:?}"
    );
    assert_eq!(book.skipped_by_viewers, 0);
}

#[test]
fn a_path_that_is_closed_sends_exactly_its_viewers_home() {
    let rig = start(["yard", "gate"]);
    let _yard = Camera::start(&rig, "yard", Picture::Ball);
    let _gate = Camera::start(&rig, "gate", Picture::Ball);
    let (stays, goes) = (viewer(&rig, "yard"), viewer(&rig, "gate"));
    assert!(stays.decodes(20) && goes.decodes(20));
    rig.reconfigure(|spec| {
        spec.streams.truncate(1);
    })
    .expect("it can be done");
    assert!(goes.is_told_the_end(), "{goes:?}");
    assert!(stays.decodes(stays.decoded() + 20), "{stays:?}");
    assert!(!stays.has_ended());
    assert_eq!(rig.book("yard").viewers_total, 1);

    rig.reconfigure(|spec| {
        let path = "north/yard".to_owned();
        spec.streams[0].paths.insert(Protocol::Srt, path);
    })
    .expect("it can be done");
    assert!(stays.is_told_the_end(), "{stays:?}");
    let moved = viewer(&rig, "north/yard");
    assert!(moved.decodes(20), "{moved:?}");
}

#[test]
fn a_port_in_use_is_a_bad_config() {
    let taken = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("bound").port();
    let failure = Rig::fails(Protocol::Srt, port);
    assert_eq!(failure.exit(), WorkerExit::BadConfig);
    let text = failure.to_string();
    assert!(
        text.contains(&format!("srt on 127.0.0.1:{port}: Address already in use")),
        "{text}"
    );
}

/// A network between a viewer and the gateway, which can be cut.
struct Relay {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Relay {
    fn to(gateway: u16) -> Self {
        let bind = || Arc::new(UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free"));
        let (outside, inside) = (bind(), bind());
        inside.connect(("127.0.0.1", gateway)).expect("an address");
        let port = outside.local_addr().expect("bound").port();
        let relay = Self {
            port,
            cut: Arc::default(),
        };
        let viewer = Arc::new(OnceLock::new());
        let (cut, to, from) = (
            Arc::clone(&relay.cut),
            Arc::clone(&inside),
            Arc::clone(&outside),
        );
        let known = Arc::clone(&viewer);
        // Both end with the process of the test.
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while let Ok((length, address)) = from.recv_from(&mut datagram) {
                known.get_or_init(|| address);
                if !cut.load(Ordering::Relaxed) {
                    let _ = to.send(&datagram[..length]);
                }
            }
        });
        let cut = Arc::clone(&relay.cut);
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            loop {
                let Ok(length) = inside.recv(&mut datagram) else {
                    continue;
                };
                if let Some(address) = viewer.get()
                    && !cut.load(Ordering::Relaxed)
                {
                    let _ = outside.send_to(&datagram[..length], address);
                }
            }
        });
        relay
    }
}
