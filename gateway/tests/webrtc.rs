//! The gateway on a real bus, with real H.264 and viewers by WHEP.

#[expect(dead_code, reason = "the tests of other protocols use more of it")]
mod rig;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use contract::spec::Protocol;
use testkit::browser::Browser;
use testkit::wait_until;
use testkit::whep::{Whep, ask, offer};

use crate::rig::{Camera, Picture, Rig, access_units, canonical};

const SECOND: Duration = Duration::from_secs(1);

fn start<const N: usize>(streams: [&str; N]) -> (Rig, u16) {
    let rig = Rig::serving(&[Protocol::Webrtc], &streams);
    let port = rig.port(Protocol::Webrtc);
    (rig, port)
}

/// Starts a camera and waits for its first key frame.
fn camera(rig: &Rig, name: &str, picture: Picture) -> Camera {
    let camera = Camera::start(rig, name, picture);
    assert!(wait_until(5 * SECOND, || rig.book(name).received > 5));
    camera
}

/// The viewer has exactly what the camera has made, one after the other from a key frame on.
fn assert_all_are_right(viewer: &Whep, picture: Picture) {
    let made: Vec<_> = access_units(picture).map(canonical).collect();
    let seen = viewer.pictures();
    assert!(!seen.is_empty());
    let first = canonical(&seen[0].data);
    let begin = made.iter().position(|unit| *unit == first);
    let begin = begin.expect("the first picture is one of the camera's");
    assert_eq!(begin % 25, 0, "it begins with a key frame");
    for (index, one) in seen.iter().enumerate() {
        let made = &made[(begin + index) % made.len()];
        assert_eq!(canonical(&one.data), *made, "picture {index}");
        assert!(one.undelayed);
    }
    assert!(seen.is_sorted_by(|a, b| a.ticks < b.ticks), "time goes on");
}

#[test]
fn a_viewer_receives_what_the_camera_makes() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let viewer = Whep::watch(port, "yard");
    assert_eq!(viewer.answer.status, 201, "{viewer:?}");
    let answer = &viewer.answer.body;
    assert!(answer.contains("a=ice-lite"), "{answer}");
    // What x264 makes is constrained baseline, and the viewer has that.
    assert!(answer.contains("profile-level-id=42e0"), "{answer}");
    assert!(viewer.receives(120), "{viewer:?}");
    assert_all_are_right(&viewer, Picture::Ball);

    let book = rig.book("yard");
    assert_eq!((book.viewers, book.viewers_total), (1, 1));
    assert_eq!(book.skipped_by_viewers, 0);
    assert!(book.forwarded > 100);
    assert_eq!(viewer.leave().status, 200);
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 0));
    yard.end();
}

#[test]
fn pictures_have_the_rhythm_of_the_camera() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::LongGroups);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(100), "{viewer:?}");
    let times: Vec<_> = viewer.pictures().iter().map(|one| one.ticks).collect();
    // Behind the group that it began with: 20 ms of 90 kHz each.
    let rhythm = times[60..]
        .windows(2)
        .filter(|pair| pair[1] - pair[0] == 1800);
    assert!(rhythm.count() > 35, "{times:?}");
    yard.end();
}

#[test]
fn who_loses_packets_is_sent_them_again() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(10), "{viewer:?}");
    viewer.lose_one_of(20);
    assert!(viewer.receives(200), "{viewer:?}");
    assert_all_are_right(&viewer, Picture::Ball);
    yard.end();
}

#[test]
fn who_asks_for_a_key_frame_is_sent_the_newest_group_again() {
    let (rig, port) = start(["yard"]);
    // Its next key frame is two seconds away.
    let yard = camera(&rig, "yard", Picture::LongGroups);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(20), "{viewer:?}");
    let keyframe = viewer.pictures()[0].data.clone();
    let before = viewer.count();
    let asked = Instant::now();
    viewer.ask_for_keyframe();
    let again = wait_until(5 * SECOND, || {
        let seen = viewer.pictures();
        seen[before..].iter().any(|one| one.data == keyframe)
    });
    assert!(again, "{viewer:?}");
    assert!(asked.elapsed() < SECOND, "it does not wait for the next");
    assert!(viewer.receives(before + 60), "it goes on");
    let seen = viewer.pictures();
    assert!(
        seen.is_sorted_by(|a, b| a.ticks < b.ticks),
        "time does not go back"
    );
    yard.end();
}

#[test]
fn a_frozen_viewer_harms_nobody_and_is_let_go() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let (frozen, viewer) = (Whep::watch(port, "yard"), Whep::watch(port, "yard"));
    assert!(frozen.receives(5) && viewer.receives(5));
    frozen.freeze();
    let before = viewer.count();
    assert!(viewer.receives(before + 150), "{viewer:?}");
    assert_all_are_right(&viewer, Picture::Ball);
    let gone = wait_until(12 * SECOND, || rig.book("yard").viewers == 1);
    assert!(gone, "{:?}", rig.book("yard"));
    yard.end();
}

#[test]
fn fifty_viewers_are_sent_every_picture() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let viewers: Vec<_> = (0..50).map(|_| Whep::watch(port, "yard")).collect();
    for viewer in &viewers {
        assert!(viewer.receives(50), "{viewer:?}");
    }
    assert_eq!(rig.book("yard").viewers, 50);
    yard.end();
    for viewer in &viewers {
        assert_all_are_right(viewer, Picture::Ball);
        assert!(viewer.is_sent_home(), "{viewer:?}");
    }
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 0));
    assert_eq!(rig.book("yard").skipped_by_viewers, 0);
}

#[test]
fn a_path_that_is_closed_sends_exactly_its_viewers_home() {
    let (rig, port) = start(["yard", "gate"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let gate = camera(&rig, "gate", Picture::Ball);
    let (stays, goes) = (Whep::watch(port, "gate"), Whep::watch(port, "yard"));
    assert!(stays.receives(10) && goes.receives(10));
    let notes = rig.reconfigure(|spec| {
        spec.streams
            .retain(|stream| stream.stream.as_str() != "yard");
    });
    assert_eq!(notes, Ok(vec!["stream yard: removed".to_owned()]));
    assert!(goes.is_sent_home(), "{goes:?}");
    let before = stays.count();
    assert!(stays.receives(before + 50), "{stays:?}");
    assert_eq!(Whep::watch(port, "yard").answer.status, 404);
    yard.kill();
    gate.end();
    assert!(stays.is_sent_home(), "{stays:?}");
}

#[test]
fn a_producer_that_starts_again_keeps_its_viewers() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(20), "{viewer:?}");
    let next = yard.kill();
    let before = viewer.count();
    let yard = Camera::restart(&rig, "yard", next, 10);
    assert!(viewer.receives(before + 50), "{viewer:?}");
    let seen = viewer.pictures();
    assert!(seen.is_sorted_by(|a, b| a.ticks < b.ticks), "time goes on");
    yard.end();
}

#[test]
fn what_cannot_be_done_says_why() {
    let (rig, port) = start(["yard"]);
    let local = "127.0.0.1:9".parse().expect("an address");
    let (_, sdp, ..) = offer(local, |config| config);
    let post = |target: &str, kind: &str, body: &str| ask(port, "POST", target, Some((kind, body)));
    let early = post("/yard/whep", "application/sdp", &sdp);
    assert_eq!(early.status, 503, "no picture yet: {early:?}");
    assert_eq!(early.header("retry-after"), Some("2"));

    let yard = camera(&rig, "yard", Picture::Ball);
    let lost = post("/barn/whep", "application/sdp", &sdp);
    assert_eq!(lost.status, 404);
    assert_eq!(
        lost.header("content-type"),
        Some("application/problem+json")
    );
    assert!(
        lost.body.contains("no stream is served at this path"),
        "{lost:?}"
    );
    assert_eq!(post("/yard/whep", "text/plain", &sdp).status, 415);
    assert_eq!(post("/yard/whep", "application/sdp", "v=0").status, 400);
    assert_eq!(
        post("/yard/whep", "application/sdp", &"x".repeat(1 << 20)).status,
        413
    );
    let (_, without, ..) = offer(local, |config| config.enable_h264(false));
    let refused = post("/yard/whep", "application/sdp", &without);
    assert_eq!(refused.status, 406);
    assert!(
        refused.body.contains("profile-level-id 42c0"),
        "{refused:?}"
    );
    assert_eq!(ask(port, "GET", "/yard/whep", None).status, 405);
    assert_eq!(ask(port, "OPTIONS", "/yard/whep", None).status, 204);
    assert_eq!(ask(port, "GET", "/barn", None).status, 404);
    let page = ask(port, "GET", "/yard", None);
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(ask(port, "DELETE", "/yard/whep/0123", None).status, 404);

    let viewer = Whep::watch(port, "yard");
    let patch = |body: &str| {
        let body = Some(("application/trickle-ice-sdpfrag", body));
        ask(port, "PATCH", viewer.session(), body).status
    };
    assert_eq!(
        patch("m=video 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n"),
        204
    );
    assert_eq!(patch("a=ice-ufrag:another\r\na=ice-pwd:another\r\n"), 501);
    yard.end();
}

#[test]
fn junk_and_dawdlers_keep_nobody_out() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(5), "{viewer:?}");

    // Half a request each, on more connections than are served at once.
    let dawdlers: Vec<_> = (0..200)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream
                .write_all(b"POST /yard/whep HTTP/1.1\r\nHost:")
                .ok()?;
            Some(stream)
        })
        .collect();
    let junk = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut seed = 7_u32;
    for round in 0..20_000_usize {
        let mut datagram = [0; 300];
        for byte in &mut datagram {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        // All kinds: STUN with its cookie, DTLS, RTP, and nothing known.
        datagram[0] = [0, 1, 22, 128, 200][round % 5];
        datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        junk.send_to(&datagram[..round % 300], ("127.0.0.1", port))
            .expect("sent");
    }
    let before = viewer.count();
    assert!(viewer.receives(before + 50), "{viewer:?}");
    // The dawdlers are given up, and then others are served.
    let late = Whep::watch(port, "yard");
    assert!(late.receives(20), "{late:?}");
    assert_all_are_right(&viewer, Picture::Ball);
    drop(dawdlers);
    yard.end();
}

#[test]
fn there_are_so_many_viewers_and_no_more() {
    let (rig, port) = start(["yard"]);
    let yard = camera(&rig, "yard", Picture::Ball);
    let local = "127.0.0.1:9".parse().expect("an address");
    let (_, sdp, ..) = offer(local, |config| config);
    let mut sessions = BTreeSet::new();
    let full = loop {
        let answer = ask(port, "POST", "/yard/whep", Some(("application/sdp", &sdp)));
        match answer.header("location") {
            Some(session) => assert!(sessions.insert(session.to_owned()), "all have names"),
            None => break answer,
        }
    };
    assert_eq!((sessions.len(), full.status), (256, 503), "{full:?}");
    let session = sessions.pop_first().expect("many");
    assert_eq!(ask(port, "DELETE", &session, None).status, 200);
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(5), "{viewer:?}");
    yard.end();
}

#[test]
fn a_browser_shows_the_picture() {
    // Browsers do not look for others on the loopback interface.
    let rig = Rig::serving_at("0.0.0.0", &[Protocol::Webrtc], &["yard"]);
    let port = rig.port(Protocol::Webrtc);
    let yard = camera(&rig, "yard", Picture::Bars);
    let mut browser = Browser::open(&format!("http://127.0.0.1:{port}/yard"), 640, 520);
    let text = |browser: &mut Browser, id: &str| {
        browser.evaluate(&format!("document.getElementById('{id}')?.textContent"))
    };
    let live = wait_until(20 * SECOND, || text(&mut browser, "state") == "live");
    assert!(live, "{}", text(&mut browser, "state"));
    assert_eq!(browser.evaluate("video.videoWidth"), "320");
    assert_eq!(rig.book("yard").viewers, 1);

    // Where the picture is, in the unit of the screenshot.
    let place = "(() => { const box = video.getBoundingClientRect();
        const scale = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
        const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
        return [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height]
            .map((value, index) => value / (index % 2 ? innerHeight : innerWidth)).join(' ');
    })()";
    let place = browser.evaluate(place);
    let place: Vec<f64> = place
        .split(' ')
        .filter_map(|part| part.parse().ok())
        .collect();
    let [x, y, width, height] = place[..] else {
        panic!("{place:?}");
    };
    let picture = browser.screenshot();
    // The bars of SMPTE at three quarters: white, yellow, cyan, green, magenta, red, blue.
    for bar in 0..7_u8 {
        let across = (f64::from(bar) + 0.5) / 7.0;
        let seen = picture.at(x + across * width, y + height / 3.0);
        let wanted = [bar & 2 == 0, bar < 4, bar & 1 == 0];
        let right = seen.iter().zip(wanted);
        let right = right.fold(true, |all, (seen, high)| all && (*seen > 110) == high);
        assert!(right, "bar {bar} is {seen:?}");
    }
    let frames = "video.getVideoPlaybackQuality().totalVideoFrames";
    let before: u64 = browser.evaluate(frames).parse().expect("a number");
    let goes_on = wait_until(5 * SECOND, || {
        browser
            .evaluate(frames)
            .parse()
            .is_ok_and(|now: u64| now > before + 50)
    });
    assert!(goes_on);
    assert!(text(&mut browser, "size").starts_with("320\u{d7}240 at "));
    assert!(text(&mut browser, "latency").ends_with(" ms"));

    // The page comes back by itself after its stream has gone and come again.
    let next = yard.kill();
    let yard = Camera::restart(&rig, "yard", next, 10);
    let before: u64 = browser.evaluate(frames).parse().expect("a number");
    let goes_on = wait_until(10 * SECOND, || {
        browser
            .evaluate(frames)
            .parse()
            .is_ok_and(|now: u64| now > before + 50)
    });
    assert!(goes_on, "{}", text(&mut browser, "state"));
    yard.end();
    assert!(wait_until(10 * SECOND, || text(&mut browser, "state")
        .contains("again")));
    drop(browser);
    assert!(wait_until(15 * SECOND, || rig.book("yard").viewers == 0));
}

/// The encodes that a stream is shown in.
const LADDER: [Picture; 2] = [Picture::Large, Picture::Small];

fn ladder() -> (Rig, u16, Camera) {
    let rig = Rig::serving_with(&[Protocol::Webrtc], &["yard"], |spec| {
        spec.streams[0].qualities = vec![240];
    });
    let camera = Camera::ladder(&rig, "yard", &LADDER, 0);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 60));
    let port = rig.port(Protocol::Webrtc);
    (rig, port, camera)
}

/// What it has seen lately is of this encode and no other.
fn sees(viewer: &Whep, picture: Picture) -> bool {
    let made: BTreeSet<_> = access_units(picture).map(canonical).collect();
    let seen = viewer.pictures();
    let newest = seen.iter().rev().take(15);
    seen.len() >= 15
        && newest
            .map(|one| canonical(&one.data))
            .all(|one| made.contains(&one))
}

#[test]
fn who_has_a_slow_network_is_sent_less_and_more_again_when_it_is_fast() {
    let (rig, port, camera) = ladder();
    let slow = Whep::watch(port, "yard");
    let quick = Whep::watch(port, "yard");
    assert!(wait_until(5 * SECOND, || sees(&slow, Picture::Large)));
    assert!(wait_until(5 * SECOND, || sees(&quick, Picture::Large)));

    slow.limit(600);
    let begun = Instant::now();
    assert!(
        wait_until(8 * SECOND, || sees(&slow, Picture::Small)),
        "{slow:?}"
    );
    println!("down after {:?}", begun.elapsed());
    // It fits, so it comes as it is made.
    let before = slow.count();
    assert!(wait_until(5 * SECOND, || slow.count() >= before + 50));
    assert!(sees(&slow, Picture::Small));
    assert!(
        sees(&quick, Picture::Large),
        "the other has its own network"
    );

    slow.limit(0);
    let begun = Instant::now();
    assert!(
        wait_until(60 * SECOND, || sees(&slow, Picture::Large)),
        "{slow:?}"
    );
    println!("up after {:?}", begun.elapsed());

    let seen = slow.pictures();
    assert!(seen.is_sorted_by(|a, b| a.ticks < b.ticks), "time goes on");
    let small: BTreeSet<_> = access_units(Picture::Small).map(canonical).collect();
    let kinds = seen.iter().map(|one| {
        let one = canonical(&one.data);
        (small.contains(&one), one)
    });
    let kinds: Vec<_> = kinds.collect();
    for (index, pair) in kinds.windows(2).enumerate() {
        // The first byte of a NAL unit behind its start code: a sequence parameter set.
        let begins = pair[1].1[4] & 31 == 7;
        assert!(pair[0].0 == pair[1].0 || begins, "picture {index}");
    }
    let book = rig.book("yard");
    assert_eq!((book.viewers, book.viewers_total), (2, 2));
    camera.end();
}

#[test]
fn who_names_a_quality_has_it_and_no_other() {
    let (rig, port, camera) = ladder();
    let named = Whep::watch(port, "yard/240p");
    assert!(
        wait_until(5 * SECOND, || sees(&named, Picture::Small)),
        "{named:?}"
    );
    let (_, offer, ..) = offer("127.0.0.1:9".parse().expect("an address"), |config| config);
    let body = Some(("application/sdp", &offer[..]));
    let answer = ask(port, "POST", "/yard/whep?quality=240p", body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = ask(port, "POST", "/yard/whep?quality=360p", body);
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("there are 240p"), "{answer:?}");
    assert!(wait_until(5 * SECOND, || rig.book("yard").viewers == 2));
    camera.end();
}
