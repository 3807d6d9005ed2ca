//! Streams that the gateway pushes to others: ffmpeg by RTMP, a server of GStreamer's by RTSP, a
//! listener of our own by SRT.

#[expect(dead_code, reason = "it has what tests of other protocols need too")]
mod rig;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::ledger::Counters;
use contract::spec::{Backoff, PushSpec, RetrySpec, Secret};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_rtsp_server::prelude::*;
use gstreamer_rtsp_server::{RTSPMediaFactory, RTSPServer, RTSPTransportMode};
use nix::sys::signal::Signal;
use srt::{Admission, Connection, Driver, Listener, MESSAGE_BYTES_MAX, Passphrase, Refusal};
use testkit::free_port;
use testkit::process::{Launch, Process};
use testkit::wait_until;
use tokio::time::timeout;

use crate::rig::{Camera, Picture, Rig};

const SECOND: Duration = Duration::from_secs(1);

fn push(location: &str) -> PushSpec {
    PushSpec {
        location: Secret::new(location.to_owned()),
        retry: RetrySpec {
            attempts: None,
            interval_ms: 200,
            backoff: Backoff::Fixed,
            max_interval_ms: 60_000,
        },
    }
}

/// A gateway that serves nobody and pushes `yard`.
fn pushing(locations: &[&str]) -> Rig {
    let pushes = locations.iter().map(|location| push(location)).collect();
    Rig::serving_with(&[], &["yard"], |spec| spec.streams[0].pushes = pushes)
}

/// Somebody who waits for a push by RTMP and decodes it.
fn ffmpeg(port: u16) -> Process {
    let location = format!("rtmp://127.0.0.1:{port}/live/key");
    let listen = ["-nostdin", "-v", "error", "-nostats", "-progress", "-"];
    // It would look at five seconds of the stream before it begins.
    let decode = [
        "-analyzeduration",
        "100000",
        "-listen",
        "1",
        "-i",
        &location,
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ];
    Launch::new(Path::new("ffmpeg"))
        .arguments(listen.into_iter().chain(decode))
        .start()
}

/// Pictures that an ffmpeg has decoded, as it says each half second.
fn decoded(ffmpeg: &Process) -> u64 {
    let printed = ffmpeg.stdout();
    let last = printed
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("frame="));
    last.map_or(0, |frames| frames.trim().parse().expect("a number"))
}

fn is_pushed_to(rig: &Rig, receivers: u64) -> bool {
    wait_until(9 * SECOND, || rig.book("yard").pushes == receivers)
}

#[test]
fn rtmp_is_pushed_and_taken_up_again() {
    let port = free_port();
    let rig = pushing(&[&format!("rtmp://127.0.0.1:{port}/live/key")]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    // Nobody is there yet.
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 20));
    assert_eq!(
        (rig.book("yard").forwarded, rig.book("yard").pushes_total),
        (0, 0)
    );
    let mut receiver = ffmpeg(port);
    assert!(is_pushed_to(&rig, 1));
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) > 50),
        "{receiver:?}"
    );
    receiver.kill();
    assert!(is_pushed_to(&rig, 0));
    let receiver = ffmpeg(port);
    assert!(is_pushed_to(&rig, 1));
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) > 50),
        "{receiver:?}"
    );
    let book = rig.book("yard");
    assert_eq!((book.pushes_total, book.viewers_total), (2, 0));
    assert_eq!(book.check(), Ok(()));
}

#[test]
fn the_end_of_a_stream_ends_its_pushes_and_a_new_one_begins_them() {
    let port = free_port();
    let rig = pushing(&[&format!("rtmp://127.0.0.1:{port}/live/key")]);
    let mut receiver = ffmpeg(port);
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    assert!(is_pushed_to(&rig, 1));
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) > 50),
        "{receiver:?}"
    );
    let published = camera.end();
    assert_eq!(receiver.exit_code(5 * SECOND), 0, "{}", receiver.stderr());
    // It was all it has, from the newest key frame at its connection on.
    assert!(
        decoded(&receiver) + 50 >= published,
        "{published} {receiver:?}"
    );
    assert!(is_pushed_to(&rig, 0));
    let receiver = ffmpeg(port);
    let _camera = Camera::restart(&rig, "yard", published, 0);
    assert!(is_pushed_to(&rig, 1));
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) > 20),
        "{receiver:?}"
    );
}

#[test]
fn a_frozen_receiver_harms_nobody() {
    let (port, other) = (free_port(), free_port());
    let address = |port| format!("rtmp://127.0.0.1:{port}/live/key");
    let rig = pushing(&[&address(port), &address(other)]);
    let (frozen, receiver) = (ffmpeg(port), ffmpeg(other));
    let _camera = Camera::start(&rig, "yard", Picture::Noise);
    assert!(is_pushed_to(&rig, 2));
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) > 20),
        "{receiver:?}"
    );
    frozen.signal(Signal::SIGSTOP);
    let (before, received) = (decoded(&receiver), rig.book("yard").received);
    // Its queue is full, so it goes without.
    assert!(wait_until(9 * SECOND, || rig.book("yard").received > received + 250));
    let slack = 40;
    assert!(
        wait_until(5 * SECOND, || decoded(&receiver) + slack > before + 250),
        "{receiver:?}"
    );
    frozen.signal(Signal::SIGCONT);
    assert!(wait_until(9 * SECOND, || rig
        .book("yard")
        .skipped_by_viewers
        > 0));
    assert_eq!(rig.book("yard").check(), Ok(()));
}

/// Somebody who waits for pushes by SRT.
struct Receiver {
    listener: Listener,
}

impl Receiver {
    fn new(driver: &Driver) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let passphrase = Passphrase::new("correct horse").expect("long enough");
        let listener = Listener::bind(driver, address, move |request| {
            match request.stream_id.as_str() {
                "#!::r=yard,m=publish" => Admission::Accept(Some(passphrase.clone())),
                _ => Admission::Refuse(Refusal::Forbidden),
            }
        });
        Self {
            listener: listener.expect("a port is free"),
        }
    }

    fn address(&self, stream_id: &str, passphrase: &str) -> String {
        let port = self.listener.local_address().port();
        format!("srt://127.0.0.1:{port}?streamid={stream_id}&passphrase={passphrase}&latency=20")
    }

    async fn accept(&self) -> Connection {
        let accepted = timeout(9 * SECOND, self.listener.accept()).await;
        accepted.expect("in time").expect("it listens").0
    }
}

async fn receives(connection: &Connection, bytes: usize) {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let mut sum = 0;
    while sum < bytes {
        let message = timeout(5 * SECOND, connection.receive(&mut buffer)).await;
        let count = message.expect("in time").expect("connected");
        // Whole packets of MPEG-TS.
        assert_eq!((count % 188, buffer[0]), (0, 0x47));
        sum += count;
    }
}

#[tokio::test]
async fn srt_is_pushed_and_taken_up_again() {
    let driver = Driver::start().expect("it starts");
    let receiver = Receiver::new(&driver);
    let right = receiver.address("%23!::r=yard,m=publish", "correct%20horse");
    let refused = [
        receiver.address("%23!::r=gate,m=publish", "correct%20horse"),
        receiver.address("%23!::r=yard,m=publish", "wrong%20horse"),
    ];
    let rig = pushing(&[&right, &refused[0], &refused[1]]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let connection = receiver.accept().await;
    receives(&connection, 50_000).await;
    // The two others are refused, again and again.
    assert_eq!(rig.book("yard").pushes_total, 1);
    drop(connection);
    let connection = receiver.accept().await;
    receives(&connection, 50_000).await;
    let book = rig.book("yard");
    assert_eq!((book.pushes, book.pushes_total), (1, 2), "{book:?}");
    assert_eq!(book.check(), Ok(()));
}

#[tokio::test]
async fn a_reload_adds_and_removes_one_and_the_others_notice_nothing() {
    let driver = Driver::start().expect("it starts");
    let receivers = [Receiver::new(&driver), Receiver::new(&driver)];
    let [stays, goes] = receivers
        .each_ref()
        .map(|receiver| receiver.address("%23!::r=yard,m=publish", "correct%20horse"));
    let rig = pushing(&[&stays]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let staying = receivers[0].accept().await;
    receives(&staying, 20_000).await;
    let notes = rig.reconfigure(|spec| spec.streams[0].pushes.push(push(&goes)));
    assert_eq!(
        notes,
        Ok(vec![
            "stream yard: pushes changed, 1 before and 2 now".to_owned()
        ])
    );
    let going = receivers[1].accept().await;
    receives(&going, 20_000).await;
    rig.reconfigure(|spec| spec.streams[0].pushes.truncate(1))
        .expect("it can be done");
    timeout(5 * SECOND, going.broken()).await.expect("it ends");
    receives(&staying, 20_000).await;
    assert_eq!(
        (rig.book("yard").pushes, rig.book("yard").pushes_total),
        (1, 2)
    );
    rig.reconfigure(|spec| spec.streams[0].pushes.clear())
        .expect("it can be done");
    timeout(5 * SECOND, staying.broken())
        .await
        .expect("it ends");
    assert_eq!(
        (rig.book("yard").pushes, rig.book("yard").pushes_total),
        (0, 2)
    );
    let bad = rig.reconfigure(|spec| {
        spec.streams[0]
            .pushes
            .push(push("srt://h?streamid=hunter2"));
    });
    let reason = bad.expect_err("it has no port");
    assert!(
        reason.contains("names no port") && !reason.contains("hunter2"),
        "{reason}"
    );
}

#[test]
fn rtsp_is_pushed() {
    gst::init().expect("GStreamer starts");
    let received = Arc::new(AtomicU64::new(0));
    let (port, server) = recording_server(&received);
    let rig = pushing(&[&format!("rtsp://127.0.0.1:{port}/live/yard")]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    assert!(is_pushed_to(&rig, 1));
    assert!(wait_until(5 * SECOND, || received.load(Ordering::Relaxed) > 50));
    drop(server);
}

/// A server that decodes what is pushed to it and counts the pictures.
fn recording_server(received: &Arc<AtomicU64>) -> (u16, RTSPServer) {
    let server = RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service("0");
    let factory = RTSPMediaFactory::new();
    factory.set_transport_mode(RTSPTransportMode::RECORD);
    factory.set_launch(
        "( rtph264depay name=depay0 ! h264parse ! avdec_h264 ! fakesink name=sink sync=false )",
    );
    let counted = Arc::clone(received);
    factory.connect_media_configure(move |_, media| {
        let bin = media.element().downcast::<gst::Bin>().expect("a bin");
        let pad = bin.by_name("sink").and_then(|sink| sink.static_pad("sink"));
        let counted = Arc::clone(&counted);
        pad.expect("a pad")
            .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counted.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
    });
    let mounts = server.mount_points().expect("mount points");
    mounts.add_factory("/live/yard", factory);
    let context = glib::MainContext::new();
    server.attach(Some(&context)).expect("a port is free");
    let port = u16::try_from(server.bound_port()).expect("a port");
    let main_loop = glib::MainLoop::new(Some(&context), false);
    std::thread::spawn(move || {
        context
            .with_thread_default(|| main_loop.run())
            .expect("its own context");
    });
    (port, server)
}
