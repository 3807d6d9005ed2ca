//! Senders that publish by WHIP: an engine of our own, and what comes out on the bus.

#[expect(dead_code, reason = "it has what tests of other protocols need too")]
mod rig;

use std::net::UdpSocket;
use std::time::Duration;

use contract::ledger::Counters;
use contract::spec::{AcceptSpec, Protocol, Secret};
use frame_bus::{ChunkContents, ChunkSubscriber, IncomingChunk};
use testkit::wait_until;
use testkit::whep::{Whep, ask};
use testkit::whip::{Whip, offer};

use crate::rig::{Camera, Picture, Rig, access_units, canonical};

const SECOND: Duration = Duration::from_secs(1);
const SDP: &str = "application/sdp";

/// A gateway at which streams may be published that are named as their paths.
fn start(paths: &[&str]) -> (Rig, u16) {
    let rig = Rig::serving_with(&[Protocol::Webrtc], &["yard"], |spec| {
        spec.publish = [Protocol::Webrtc].into();
    });
    let answer = rig.reconfigure(|spec| {
        let intakes = paths.iter().map(|path| rig.intake_spec(path, path));
        spec.intakes = intakes.collect();
    });
    answer.expect("it can be done");
    let port = rig.port(Protocol::Webrtc);
    (rig, port)
}

fn units(picture: Picture) -> Vec<Vec<u8>> {
    access_units(picture).map(<[u8]>::to_vec).collect()
}

/// What has come: of which senders, and their access units.
#[derive(Debug, Default)]
struct Taken {
    begun: Vec<u64>,
    ended: Vec<u64>,
    /// Byte stream, PTS, and whether it is a key frame.
    units: Vec<(Vec<u8>, u64, bool)>,
    /// Of the access unit that has not ended.
    open: Vec<u8>,
    /// Parts of the access unit of most.
    parts_max: usize,
    parts: usize,
    next_sequence: u64,
}

impl Taken {
    fn take(&mut self, chunks: &mut ChunkSubscriber) {
        while let Some(incoming) = chunks.receive().expect("the port is whole") {
            let stamp = match incoming {
                IncomingChunk::Begin { stamp, .. } => {
                    self.begun.push(stamp.session);
                    stamp
                }
                IncomingChunk::End { stamp, .. } => {
                    self.ended.push(stamp.session);
                    stamp
                }
                IncomingChunk::Data(chunk) => {
                    let ChunkContents::Unit(part) = chunk.contents() else {
                        panic!("{:?}", chunk.contents());
                    };
                    assert_eq!(part.first, self.open.is_empty());
                    self.open.extend_from_slice(chunk.data());
                    self.parts += 1;
                    self.parts_max = self.parts_max.max(self.parts);
                    // Those that come at once are a millisecond apart.
                    let latest_ns = chunk.stamp().arrived_ns + 100_000_000;
                    assert!(part.pts_ns <= latest_ns, "{part:?} {:?}", chunk.stamp());
                    if part.last {
                        let data = std::mem::take(&mut self.open);
                        self.units.push((data, part.pts_ns, part.keyframe));
                        self.parts = 0;
                    }
                    *chunk.stamp()
                }
                IncomingChunk::Invalid { reason } => panic!("{reason}"),
            };
            assert_eq!(stamp.sequence_number, self.next_sequence, "{stamp:?}");
            self.next_sequence += 1;
        }
    }

    /// They are those that were sent, one after the other, from a key frame on.
    fn assert_are(&self, picture: Picture) {
        let made: Vec<_> = access_units(picture).map(canonical).collect();
        let first = canonical(&self.units[0].0);
        let begin = made.iter().position(|unit| *unit == first);
        let begin = begin.expect("the first is one of the sender's");
        assert!(self.units[0].2, "it begins with a key frame");
        for (index, (data, _, _)) in self.units.iter().enumerate() {
            let made = &made[(begin + index) % made.len()];
            assert!(canonical(data) == *made, "access unit {index}");
        }
    }
}

#[test]
fn what_a_sender_sends_is_handed_on_picture_by_picture() {
    let (rig, port) = start(&["cam"]);
    let mut chunks = rig.chunks("cam");
    let mut taken = Taken::default();
    let sender = Whip::publish(port, "cam", units(Picture::Noise));
    assert_eq!(sender.answer.status, 201, "{sender:?}");
    assert!(sender.session().starts_with("/cam/whip/"), "{sender:?}");
    let answer = &sender.answer.body;
    let (audio, video) = answer.split_once("m=video 9").expect("video is taken");
    assert!(audio.contains("m=audio 0"), "{answer}");
    assert!(
        !audio.contains("candidate") && video.contains("a=candidate:"),
        "{answer}"
    );
    let came = wait_until(8 * SECOND, || {
        taken.take(&mut chunks);
        taken.units.len() >= 60
    });
    assert!(came, "{:?} {sender:?}", rig.intake("cam"));
    taken.assert_are(Picture::Noise);
    assert!(taken.parts_max > 1, "some are larger than a chunk");
    assert!(taken.units.is_sorted_by(|a, b| a.1 < b.1), "time goes on");
    assert_eq!(sender.leave().status, 200);
    let ended = wait_until(5 * SECOND, || {
        taken.take(&mut chunks);
        taken.ended == [1]
    });
    assert!(ended, "{:?}", rig.intake("cam"));
    let book = rig.intake("cam");
    assert_eq!(book.check(), Ok(()));
    assert_eq!((book.in_flight(), book.missed), (0, 0));
    assert_eq!(book.published, taken.next_sequence);
    assert_eq!(book.messages, taken.units.len() as u64);
    assert_eq!((book.senders, book.senders_total), (0, 1));
    assert_eq!(rig.drain(), Ok(()));
}

#[test]
fn pictures_have_the_rhythm_of_the_sender() {
    let (rig, port) = start(&["cam"]);
    let mut chunks = rig.chunks("cam");
    let mut taken = Taken::default();
    let sender = Whip::publish(port, "cam", units(Picture::Ball));
    let came = wait_until(8 * SECOND, || {
        taken.take(&mut chunks);
        taken.units.len() >= 100
    });
    assert!(came, "{sender:?}");
    // 20 ms each, to the microsecond, but where one came quicker than all before it.
    let even = taken.units.windows(2).filter(|pair| {
        let step = pair[1].1 - pair[0].1;
        step.abs_diff(20_000_000) < 20_000
    });
    let even = even.count();
    assert!(even > 60, "{even} of 99");
}

#[test]
fn who_may_not_publish_is_told_why() {
    let (rig, port) = start(&["cam"]);
    let post = |path: &str, kind: &str, body: &str| {
        let answer = ask(port, "POST", path, Some((kind, body)));
        (answer.status, answer.body)
    };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (_, good, _, _) = offer(socket.local_addr().expect("bound"));
    // What is served is not what may be published.
    for path in ["/other/whip", "/yard/whip"] {
        let (status, text) = post(path, SDP, &good);
        assert_eq!(status, 404, "{text}");
        assert!(text.contains("source: publish:PATH"), "{text}");
    }
    assert_eq!(post("/cam/whip", "text/plain", &good).0, 415);
    assert_eq!(post("/cam/whip", SDP, "v=0").0, 400);
    let (status, text) = post("/cam/whip", SDP, &good.replace("H264", "H265"));
    assert_eq!(status, 406, "{text}");
    assert!(text.contains("packetization-mode=1"), "{text}");
    let mute = good.replace("a=sendonly", "a=recvonly");
    let (status, text) = post("/cam/whip", SDP, &mute);
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("no m=video section that sends"), "{text}");
    let options = ask(port, "OPTIONS", "/cam/whip", None);
    assert_eq!(options.status, 204);
    assert_eq!(options.header("accept-post"), Some(SDP));
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    assert_eq!(ask(port, "GET", "/cam/whip", None).status, 405);
    assert_eq!(rig.intake("cam").senders_total, 0, "nobody had the path");

    let first = Whip::publish(port, "cam", units(Picture::Ball));
    assert_eq!(first.answer.status, 201);
    let (status, text) = post("/cam/whip", SDP, &good);
    assert_eq!(status, 409, "{text}");
    // Neither is a viewer's session a sender's, nor the session of one path that of another.
    let session = first.session().to_owned();
    for other in [
        session.replace("whip", "whep"),
        session.replace("cam", "yard"),
    ] {
        assert_eq!(ask(port, "DELETE", &other, None).status, 404);
    }
    let candidate = Some(("application/trickle-ice-sdpfrag", "a=end-of-candidates\r\n"));
    assert_eq!(ask(port, "PATCH", &session, candidate).status, 204);
    assert_eq!(first.leave().status, 200);
    assert_eq!(ask(port, "DELETE", &session, None).status, 404);
    let again = wait_until(5 * SECOND, || post("/cam/whip", SDP, &good).0 == 201);
    assert!(again, "the path is free again");
}

#[test]
fn senders_need_the_token_and_viewers_do_not() {
    let rig = Rig::serving_with(&[Protocol::Webrtc], &["yard"], |spec| {
        spec.publish = [Protocol::Webrtc].into();
        spec.publish_token = Some(Secret::new("correct-horse".to_owned()));
    });
    let answer = rig.reconfigure(|spec| spec.intakes = vec![rig.intake_spec("cam", "cam")]);
    answer.expect("it can be done");
    let port = rig.port(Protocol::Webrtc);
    let without = Whip::publish(port, "cam", units(Picture::Ball));
    assert_eq!(without.answer.status, 401, "{without:?}");
    assert_eq!(without.answer.header("www-authenticate"), Some("Bearer"));
    // Nor is one without it told which paths there are.
    let unknown = Whip::publish(port, "other", units(Picture::Ball));
    assert_eq!(unknown.answer.status, 401);
    for (token, status) in [("correct-horsf", 401), ("correct-horse", 201)] {
        let sender = Whip::publish_with(port, "cam", token, units(Picture::Ball));
        assert_eq!(sender.answer.status, status, "{sender:?}");
    }
    let yard = Camera::start(&rig, "yard", Picture::Ball);
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 5));
    assert!(Whep::watch(port, "yard").receives(5));
    yard.end();
}

#[test]
fn nobody_publishes_by_a_protocol_that_is_not_for_it() {
    let rig = Rig::serving(&[Protocol::Webrtc], &["yard"]);
    let answer = rig.reconfigure(|spec| spec.intakes = vec![rig.intake_spec("cam", "cam")]);
    answer.expect("it can be done");
    let sender = Whip::publish(rig.port(Protocol::Webrtc), "cam", units(Picture::Ball));
    assert_eq!(sender.answer.status, 404, "{sender:?}");
    assert!(sender.answer.body.contains("publish: [webrtc]"));
}

#[test]
fn what_is_lost_is_sent_again_and_nothing_torn_is_handed_on() {
    let (rig, port) = start(&["cam"]);
    let mut chunks = rig.chunks("cam");
    let mut taken = Taken::default();
    let sender = Whip::publish(port, "cam", units(Picture::Ball));
    let mut take = |count: usize| {
        wait_until(8 * SECOND, || {
            taken.take(&mut chunks);
            taken.units.len() >= count
        })
    };
    assert!(take(10), "{sender:?}");
    sender.lose_one_of(20);
    assert!(take(150), "{:?} {sender:?}", rig.intake("cam"));
    taken.assert_are(Picture::Ball);
    assert_eq!(rig.intake("cam").missed, 0);
}

#[test]
fn who_makes_no_key_frame_is_asked_for_one() {
    let (_rig, port) = start(&["cam"]);
    // Its next key frame is two seconds away, and then again.
    let sender = Whip::publish(port, "cam", units(Picture::LongGroups)[1..].to_vec());
    let asked = wait_until(5 * SECOND, || sender.asked() >= 3);
    assert!(asked, "{sender:?}");
}

#[test]
fn a_sender_leaves_with_its_path_or_when_it_sends_nothing() {
    let (rig, port) = start(&["cam", "mute"]);
    let mute = Whip::publish(port, "mute", units(Picture::Ball));
    assert!(wait_until(5 * SECOND, || rig.intake("mute").messages > 5));
    mute.mute();
    let cam = Whip::publish(port, "cam", units(Picture::Ball));
    assert!(wait_until(5 * SECOND, || rig.intake("cam").messages > 5));
    let answer = rig.reconfigure(|spec| {
        spec.intakes = vec![rig.intake_spec("mute", "mute")];
    });
    answer.expect("it can be done");
    assert!(cam.is_sent_home(5 * SECOND), "{cam:?}");
    let book = rig.intake("cam");
    assert_eq!((book.check(), book.in_flight()), (Ok(()), 0));
    assert!(mute.is_sent_home(9 * SECOND), "{mute:?}");
    assert!(wait_until(5 * SECOND, || rig.intake("mute").senders == 0));
}

#[test]
fn who_is_accepted_waits_for_its_stream_and_loses_nothing() {
    let rule = AcceptSpec {
        prefix: "cam-".parse().expect("a name"),
        max: 1,
    };
    let rig = Rig::serving_with(&[Protocol::Webrtc], &["yard"], |spec| {
        spec.publish = [Protocol::Webrtc].into();
        spec.accept = vec![rule];
    });
    let port = rig.port(Protocol::Webrtc);
    let sender = Whip::publish(port, "cam-7", units(Picture::Ball));
    assert_eq!(sender.answer.status, 201, "{sender:?}");
    assert_eq!(rig.knock(), ("cam-7".to_owned(), false));
    let full = Whip::publish(port, "cam-8", units(Picture::Ball));
    assert_eq!(full.answer.status, 503, "{full:?}");
    assert_eq!(full.answer.header("retry-after"), Some("2"));
    assert!(wait_until(5 * SECOND, || sender.sent() > 20));
    let mut chunks = rig.chunks("cam-7");
    let answer = rig.reconfigure(|spec| {
        let mut intake = rig.intake_spec("cam-7", "cam-7");
        intake.accepted_by = Some("cam-".parse().expect("a name"));
        spec.intakes = vec![intake];
    });
    answer.expect("it can be done");
    let mut taken = Taken::default();
    let came = wait_until(5 * SECOND, || {
        taken.take(&mut chunks);
        taken.units.len() > 40
    });
    assert!(came, "{:?}", rig.intake("cam-7"));
    taken.assert_are(Picture::Ball);
    let first = canonical(&units(Picture::Ball)[0]);
    assert_eq!(canonical(&taken.units[0].0), first, "the very first of all");
    assert_eq!(rig.intake("cam-7").missed, 0);
}

#[test]
fn a_stream_is_watched_where_another_is_published() {
    let (rig, port) = start(&["yard"]);
    let yard = Camera::start(&rig, "yard", Picture::Bars);
    let sender = Whip::publish(port, "yard", units(Picture::Ball));
    assert_eq!(sender.answer.status, 201, "{sender:?}");
    assert!(wait_until(5 * SECOND, || rig.book("yard").received > 5));
    let viewer = Whep::watch(port, "yard");
    assert!(viewer.receives(20), "{viewer:?}");
    assert!(wait_until(5 * SECOND, || rig.intake("yard").messages > 20));
    yard.end();
}
