//! The gateway on a real bus, with real H.264 and real RTSP viewers.

#[expect(dead_code, reason = "it has what tests of other protocols need too")]
mod rig;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use contract::exit::WorkerExit;
use contract::ledger::{Counters, GatewayCounters};
use contract::spec::Protocol;
use testkit::{free_port, wait_until};

use crate::rig::{Camera, Picture, Rig, Viewer};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn many_viewers_share_one_encode() {
    let rig = Rig::start(["yard", "gate"]);
    let yard = Camera::start(&rig, "yard", Picture::Ball);
    assert!(wait_until(5 * SECOND, || rig.book("yard").unwatched > 20));
    assert_eq!(rig.book("yard").forwarded, 0);

    let first = Viewer::tcp(&rig, "yard");
    let second = Viewer::udp(&rig, "yard");
    assert!(first.decodes(30), "{first:?}");
    assert!(second.decodes(30), "{second:?}");
    let late = Viewer::tcp(&rig, "yard");
    assert!(late.decodes(30), "{late:?}");
    let book = rig.book("yard");
    assert_eq!((book.viewers, book.viewers_total), (3, 3));
    late.leave();
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 2));

    // One encode: three viewers make no more access units than one.
    let published = yard.end();
    assert!(first.is_told_the_end(), "{first:?}");
    assert!(second.is_told_the_end(), "{second:?}");
    assert_eq!((first.torn(), second.torn()), (0, 0));
    rig.end("gate");
    assert_eq!(rig.drain(), Ok(()));

    let book = rig.book("yard");
    assert_eq!(book.check(), Ok(()));
    assert_eq!(book.in_flight(), 0);
    assert_eq!(book.next_sequence, published);
    assert_eq!(book.received, book.forwarded + book.unwatched, "{book:?}");
    assert!(book.forwarded >= 30, "{book:?}");
    assert_eq!((book.viewers, book.viewers_total), (0, 3));
    let book = rig.book("gate");
    assert_eq!((book.received, book.viewers_total), (0, 0));
}

#[test]
fn a_viewer_need_not_wait_for_the_next_key_frame() {
    let rig = Rig::start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::LongGroups);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 10));
    let viewer = Viewer::tcp(&rig, "yard");
    assert!(viewer.decodes(1), "{viewer:?}");
    let book = rig.book("yard");
    assert!(
        book.received < 100,
        "the second key frame was number 100: {book:?}"
    );
    assert!(viewer.decodes(40), "{viewer:?}");
    assert_eq!(rig.book("yard").dropped_resync, 0);
}

#[test]
fn a_restarted_producer_keeps_its_viewers() {
    let rig = Rig::start(["yard"]);
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    let viewer = Viewer::tcp(&rig, "yard");
    assert!(viewer.decodes(20), "{viewer:?}");

    // Killed in the middle of a group; the next begins with another PTS, after a gap.
    let next = camera.kill();
    let camera = Camera::restart(&rig, "yard", next + 10, 7);
    let before = viewer.decoded();
    assert!(viewer.decodes(before + 40), "{viewer:?}");
    assert!(!viewer.has_ended());
    let book = rig.book("yard");
    assert_eq!(book.lost_in_transit, 10);
    assert_eq!(book.dropped_resync, 7);

    // Ended and started anew at once, as by a reload of the config.
    let next = camera.end();
    let _camera = Camera::restart(&rig, "yard", next, 0);
    let before = viewer.decoded();
    assert!(viewer.decodes(before + 40), "{viewer:?}");
    assert!(!viewer.has_ended());
    let book = rig.book("yard");
    assert_eq!(book.viewers_total, 1);
    assert_eq!(book.check(), Ok(()));
}

#[test]
fn a_frozen_viewer_harms_nobody() {
    let rig = Rig::start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::Noise);

    // Alone, until every buffer between is full: what does not fit is dropped and counted.
    let alone = play_and_read_nothing(&rig, "yard");
    assert!(wait_until(8 * SECOND, || rig.book("yard").dropped_slow > 0));
    // Whoever comes then begins with what is live, at once.
    let come = rig.book("yard").received;
    let viewer = Viewer::tcp(&rig, "yard");
    assert!(viewer.decodes(30), "{viewer:?}");
    let book = rig.book("yard");
    assert!(book.received < come + 100, "it took two seconds: {book:?}");
    // The other one is gone for good.
    assert!(wait_until(2 * SECOND, || rig.book("yard").viewers == 1));

    // In company the backlog is the frozen viewer's own.
    let in_company = play_and_read_nothing(&rig, "yard");
    let slow = rig.book("yard").dropped_slow;
    let before = viewer.decoded();
    assert!(viewer.decodes(before + 150), "{viewer:?}");
    let book = rig.book("yard");
    assert_eq!((book.dropped_slow, book.viewers), (slow, 2), "{book:?}");
    assert_eq!(book.check(), Ok(()));
    drop((alone, in_company));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let rig = Rig::start(["yard", "gate"]);
    rig.end("gate");
    assert!(request(&rig, "DESCRIBE", "nowhere").starts_with("RTSP/1.0 404"));
    assert!(request(&rig, "DESCRIBE", "gate").starts_with("RTSP/1.0 503"));
    // The refusal is not for ever, and a DESCRIBE before the first key frame waits for it.
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| request(&rig, "DESCRIBE", "yard"));
        let camera = Camera::start(&rig, "yard", Picture::Ball);
        let answer = asked.join().expect("a thread");
        drop(camera);
        answer
    });
    assert!(asked.starts_with("RTSP/1.0 200"), "{asked}");
    assert!(asked.contains("sprop-parameter-sets"), "{asked}");
}

#[test]
fn streams_come_and_go_while_another_is_watched() {
    let rig = Rig::start(["yard"]);
    let yard = Camera::start(&rig, "yard", Picture::Ball);
    let stays = Viewer::tcp(&rig, "yard");
    assert!(stays.decodes(20), "{stays:?}");
    assert!(request(&rig, "DESCRIBE", "gate").starts_with("RTSP/1.0 404"));

    let gate = rig.stream_spec("gate");
    let added = rig.reconfigure(|spec| spec.streams.push(gate));
    assert_eq!(
        added,
        Ok(vec!["stream gate: added at rtsp `gate`".to_owned()])
    );
    let camera = Camera::start(&rig, "gate", Picture::Ball);
    let goes = Viewer::tcp(&rig, "gate");
    assert!(goes.decodes(20), "{goes:?}");

    let removed = rig.reconfigure(|spec| spec.streams.truncate(1));
    assert_eq!(removed, Ok(vec!["stream gate: removed".to_owned()]));
    assert!(goes.is_told_the_end(), "{goes:?}");
    assert!(request(&rig, "DESCRIBE", "gate").starts_with("RTSP/1.0 404"));
    let book = rig.book("gate");
    assert_eq!(book.check(), Ok(()));
    assert_eq!(
        (book.in_flight(), book.viewers, book.viewers_total),
        (0, 0, 1)
    );
    camera.end();

    // It may come back, and its book goes on.
    let again = rig.stream_spec("gate");
    rig.reconfigure(|spec| spec.streams.push(again))
        .expect("it can be done");
    let camera = Camera::restart(&rig, "gate", book.next_sequence, 0);
    let back = Viewer::tcp(&rig, "gate");
    assert!(back.decodes(20), "{back:?}");
    let book = rig.book("gate");
    assert_eq!((book.viewers, book.viewers_total), (1, 2));
    drop(camera);

    // Who watched the other stream has seen nothing of all this.
    let before = stays.decoded();
    assert!(stays.decodes(before + 20), "{stays:?}");
    assert!(!stays.has_ended());
    yard.end();
    assert!(stays.is_told_the_end(), "{stays:?}");
    let book = rig.book("yard");
    assert_eq!(book.check(), Ok(()));
    assert_eq!(book.viewers_total, 1);
}

#[test]
fn a_stream_moves_to_another_mount_and_nothing_else_changes_live() {
    let rig = Rig::start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let viewer = Viewer::tcp(&rig, "yard");
    assert!(viewer.decodes(20), "{viewer:?}");
    let refused = rig.reconfigure(|spec| {
        spec.ports.insert(Protocol::Rtsp, 1);
    });
    let reason = refused.expect_err("it listens");
    assert!(reason.contains("the ports"), "{reason}");

    let moved = rig.reconfigure(|spec| {
        let paths = &mut spec.streams[0].paths;
        paths.insert(Protocol::Rtsp, "court".to_owned());
    });
    let note = "stream yard: moved from rtsp `yard` to `court`".to_owned();
    assert_eq!(moved, Ok(vec![note]));
    assert!(viewer.is_told_the_end(), "{viewer:?}");
    assert!(request(&rig, "DESCRIBE", "yard").starts_with("RTSP/1.0 404"));
    let viewer = Viewer::tcp(&rig, "court");
    assert!(viewer.decodes(20), "{viewer:?}");
    let book = rig.book("yard");
    assert_eq!((book.viewers, book.viewers_total), (1, 2));
    assert_eq!(book.check(), Ok(()));
}

#[test]
fn who_waits_for_a_picture_of_a_stream_that_goes_is_refused() {
    let rig = Rig::start(["yard", "gate"]);
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| request(&rig, "DESCRIBE", "gate"));
        // Either it waits for the first key frame by now, or it comes when the mount is gone.
        std::thread::park_timeout(Duration::from_millis(200));
        rig.reconfigure(|spec| spec.streams.truncate(1))
            .expect("it can be done");
        asked.join().expect("a thread")
    });
    assert!(
        asked.starts_with("RTSP/1.0 503") || asked.starts_with("RTSP/1.0 404"),
        "{asked}"
    );
}

#[test]
fn a_port_in_use_is_a_bad_config() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("bound").port();
    let failure = Rig::fails(Protocol::Rtsp, port);
    assert_eq!(failure.exit(), WorkerExit::BadConfig);
    let text = failure.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(text.contains("Address already in use"), "{text}");
}

/// The requests of players built on live555, as VLC is: VLC of Debian is built without it.
#[test]
fn who_asks_as_live555_does_is_served() {
    let rig = Rig::start(["yard"]);
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 5));
    let [media, control] = udp_pair();
    let [first, second] = [&media, &control].map(|socket| {
        let address = socket.local_addr().expect("bound");
        address.port()
    });
    let mut stream =
        TcpStream::connect(("127.0.0.1", rig.port(Protocol::Rtsp))).expect("the server listens");
    let url = rig.location("yard");
    let mut ask = |method: &str, url: &str, headers: &str| {
        let agent = "User-Agent: LibVLC/3.0.24 (LIVE555 Streaming Media v2016.11.28)\r\n";
        let answer = exchange(&mut stream, method, url, &format!("{agent}{headers}"));
        assert!(answer.starts_with("RTSP/1.0 200"), "{method}: {answer}");
        answer
    };
    let public = header(&ask("OPTIONS", &url, ""), "Public").expect("what it can");
    for method in ["DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN"] {
        assert!(public.contains(method), "{public}");
    }
    let described = ask("DESCRIBE", &url, "Accept: application/sdp\r\n");
    assert!(described.contains("m=video 0 RTP/AVP 96"), "{described}");
    let base = header(&described, "Content-Base").expect("what tracks are relative to");
    let track = described
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("a=control:"));
    let track = format!("{base}{}", track.expect("a track"));
    let transport = format!("Transport: RTP/AVP;unicast;client_port={first}-{second}\r\n");
    let set_up = ask("SETUP", &track, &transport);
    assert!(
        header(&set_up, "Transport").is_some_and(|given| given.contains("server_port=")),
        "{set_up}"
    );
    let session = header(&set_up, "Session").expect("a session");
    let session = session.split(';').next().expect("an id");
    let session = format!("Session: {session}\r\n");
    ask("PLAY", &base, &format!("{session}Range: npt=0.000-\r\n"));
    let mut packet = [0; 2048];
    for _ in 0..100 {
        let length = media.recv(&mut packet).expect("media");
        // RTP version 2, and the payload type of the description.
        assert!(length > 12 && packet[0] >> 6 == 2 && packet[1] & 0x7f == 96);
    }
    let length = control.recv(&mut packet).expect("a report");
    // A sender report (RFC 3550, section 6.4.1).
    assert!(length >= 28 && packet[1] == 200);
    ask("GET_PARAMETER", &base, &session);
    assert_eq!(rig.book("yard").viewers, 1);
    ask("TEARDOWN", &base, &session);
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 0));
}

/// Sockets of an even port and the next.
fn udp_pair() -> [UdpSocket; 2] {
    let bind = |port: u16| UdpSocket::bind(("127.0.0.1", port)).ok();
    let pair = std::iter::repeat_with(free_port).find_map(|port| {
        let even = port + port % 2;
        Some([bind(even)?, bind(even + 1)?])
    });
    let pair = pair.expect("ports are free");
    for socket in &pair {
        let limited = socket.set_read_timeout(Some(9 * SECOND));
        limited.expect("not zero");
    }
    pair
}

/// The answer to one request.
fn request(rig: &Rig, method: &str, mount: &str) -> String {
    let mut stream =
        TcpStream::connect(("127.0.0.1", rig.port(Protocol::Rtsp))).expect("the server listens");
    exchange(&mut stream, method, &rig.location(mount), "")
}

fn exchange(stream: &mut TcpStream, method: &str, url: &str, headers: &str) -> String {
    stream.set_read_timeout(Some(5 * SECOND)).expect("not zero");
    write!(
        stream,
        "{method} {url} RTSP/1.0\r\nCSeq: 1\r\n{headers}\r\n"
    )
    .expect("connected");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no answer to {method} {url}: {error}"),
        }
    }
    let mut answer = String::from_utf8(answer).expect("a text");
    let body = header(&answer, "Content-Length").map_or(0, |length| length.parse().expect("bytes"));
    let mut rest = vec![0; body];
    stream.read_exact(&mut rest).expect("a whole body");
    answer.push_str(&String::from_utf8(rest).expect("a text"));
    answer
}

fn header(answer: &str, name: &str) -> Option<String> {
    let lines = answer.lines().filter_map(|line| line.split_once(": "));
    let found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned()).next()
}

/// A viewer by TCP who is as good as stopped by SIGSTOP: plays, then never reads.
fn play_and_read_nothing(rig: &Rig, mount: &str) -> TcpStream {
    let mut stream =
        TcpStream::connect(("127.0.0.1", rig.port(Protocol::Rtsp))).expect("the server listens");
    let url = rig.location(mount);
    let described = exchange(&mut stream, "DESCRIBE", &url, "Accept: application/sdp\r\n");
    assert!(described.starts_with("RTSP/1.0 200"), "{described}");
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let set_up = exchange(&mut stream, "SETUP", &format!("{url}/stream=0"), transport);
    let session = header(&set_up, "Session").expect("a session");
    let session = session.split(';').next().expect("an id");
    let played = exchange(
        &mut stream,
        "PLAY",
        &url,
        &format!("Session: {session}\r\n"),
    );
    assert!(played.starts_with("RTSP/1.0 200"), "{played}");
    stream
}

#[test]
fn qualities_come_and_go_and_who_watches_the_full_size_stays() {
    let rig = Rig::start(["yard"]);
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    let viewer = Viewer::tcp(&rig, "yard");
    assert!(viewer.decodes(20), "{viewer:?}");
    let next = camera.kill();
    let done = rig.reconfigure(|spec| spec.streams[0].qualities = vec![240]);
    assert_eq!(
        done,
        Ok(vec!["stream yard: its qualities are [240p]".to_owned()])
    );
    let camera = Camera::ladder(&rig, "yard", &[Picture::Ball, Picture::Bars], next);
    let small = Viewer::tcp(&rig, "yard/240p");
    assert!(small.decodes(20), "{small:?}");
    let before = viewer.decoded();
    assert!(viewer.decodes(before + 50), "{viewer:?}");
    assert_eq!(rig.book("yard").viewers, 2);

    let next = camera.kill();
    rig.reconfigure(|spec| spec.streams[0].qualities.clear())
        .expect("it can");
    let camera = Camera::ladder(&rig, "yard", &[Picture::Ball], next);
    assert!(small.is_told_the_end(), "{small:?}");
    let before = viewer.decoded();
    assert!(viewer.decodes(before + 20), "{viewer:?}");
    let next = camera.end();
    let all = |counters: &GatewayCounters| {
        counters.received + counters.overflowed + counters.lost_in_transit
    };
    assert!(wait_until(5 * SECOND, || all(&rig.book("yard")) == next));
}
