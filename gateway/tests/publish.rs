//! Senders that publish by SRT, with ffmpeg and a caller of our own.

#[expect(dead_code, reason = "it has what tests of other protocols need too")]
mod rig;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use contract::ledger::Counters;
use contract::spec::{AcceptSpec, Protocol, Secret};
use frame_bus::{ChunkSubscriber, IncomingChunk};
use srt::{Call, CallError, Connection, Driver, MESSAGE_BYTES_MAX, Passphrase, Refusal};
use testkit::process::{Launch, Process};
use testkit::wait_until;

use crate::rig::Rig;

const SECOND: Duration = Duration::from_secs(1);

/// A gateway at which streams may be published that are named as their paths.
fn start(paths: &[&str]) -> Rig {
    let rig = Rig::serving(&[Protocol::Srt], &["yard"]);
    let answer = rig.reconfigure(|spec| {
        let intakes = paths.iter().map(|path| rig.intake_spec(path, path));
        spec.intakes = intakes.collect();
    });
    answer.expect("it can be done");
    rig
}

async fn call(driver: &Driver, rig: &Rig, stream_id: &str) -> Result<Connection, CallError> {
    let call = Call {
        stream_id: stream_id.to_owned(),
        ..Call::default()
    };
    call_with(driver, rig, &call).await
}

async fn call_with(driver: &Driver, rig: &Rig, call: &Call) -> Result<Connection, CallError> {
    let port = rig.port(Protocol::Srt);
    srt::connect(driver, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), call).await
}

/// What has come: of which senders, and their bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    begun: Vec<u64>,
    ended: Vec<u64>,
    bytes: Vec<u8>,
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
                    assert_eq!(self.begun.last(), Some(&chunk.stamp().session));
                    self.bytes.extend_from_slice(chunk.data());
                    *chunk.stamp()
                }
                IncomingChunk::Invalid { reason } => panic!("{reason}"),
            };
            assert_eq!(stamp.sequence_number, self.next_sequence, "{self:?}");
            self.next_sequence += 1;
        }
    }
}

fn ffmpeg(rig: &Rig, stream_id: &str) -> Process {
    let location = format!("srt://127.0.0.1:{}?pkt_size=1316", rig.port(Protocol::Srt));
    let source = "testsrc=size=320x240:rate=25";
    Launch::new(Path::new("ffmpeg"))
        .arguments([
            "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", source,
        ])
        .arguments(["-t", "2", "-c:v", "libx264", "-preset", "ultrafast"])
        .arguments(["-f", "mpegts", "-srt_streamid", stream_id, &location])
        .start()
}

#[test]
fn what_a_sender_sends_is_handed_on_byte_by_byte() {
    let rig = start(&["cam"]);
    let mut chunks = rig.chunks("cam");
    let mut taken = Taken::default();
    for (session, stream_id) in [(1, "publish:cam"), (2, "#!::r=cam,m=publish")] {
        let mut sender = ffmpeg(&rig, stream_id);
        let ended = wait_until(9 * SECOND, || {
            taken.take(&mut chunks);
            taken.ended.len() == session
        });
        assert!(ended, "{:?} {}", rig.intake("cam"), sender.stderr());
        assert_eq!(sender.exit_code(5 * SECOND), 0);
    }
    assert_eq!(
        (&taken.begun[..], &taken.ended[..]),
        (&[1, 2][..], &[1, 2][..])
    );
    assert!(taken.bytes.len().is_multiple_of(188), "whole packets");
    assert!(taken.bytes.chunks(188).all(|packet| packet[0] == 0x47));
    let book = rig.intake("cam");
    assert_eq!(book.check(), Ok(()));
    assert_eq!((book.in_flight(), book.missed), (0, 0));
    assert_eq!(book.published, taken.next_sequence);
    assert_eq!(book.bytes, taken.bytes.len() as u64);
    assert_eq!((book.senders, book.senders_total), (0, 2));
    assert_eq!(rig.drain(), Ok(()));
}

#[tokio::test]
async fn one_at_a_time_and_nobody_at_paths_there_are_not() {
    let rig = start(&["cam"]);
    let driver = Driver::start().expect("the library starts");
    let refused = |result: Result<Connection, CallError>| result.expect_err("it is refused");
    let unknown = refused(call(&driver, &rig, "publish:other").await);
    assert_eq!(unknown, CallError::Refused(Refusal::NotFound));
    // What is served is not what may be published.
    let served = refused(call(&driver, &rig, "publish:yard").await);
    assert_eq!(served, CallError::Refused(Refusal::NotFound));
    let first = call(&driver, &rig, "publish:cam").await.expect("let in");
    assert!(wait_until(5 * SECOND, || rig.intake("cam").senders == 1));
    let second = refused(call(&driver, &rig, "#!::r=cam,m=publish").await);
    assert_eq!(second, CallError::Refused(Refusal::Conflict));
    drop(first);
    assert!(wait_until(5 * SECOND, || rig.intake("cam").senders == 0));
    let _third = call(&driver, &rig, "publish:cam").await.expect("let in");
    assert!(wait_until(5 * SECOND, || rig.intake("cam").senders_total == 2));
}

#[tokio::test]
async fn a_path_that_is_taken_away_sends_its_sender_away() {
    let rig = start(&["cam", "other"]);
    let driver = Driver::start().expect("the library starts");
    let cam = call(&driver, &rig, "publish:cam").await.expect("let in");
    let other = call(&driver, &rig, "publish:other").await.expect("let in");
    let message = [0x47; MESSAGE_BYTES_MAX];
    for sender in [&cam, &other] {
        sender.send(&message).expect("there is room");
    }
    assert!(wait_until(5 * SECOND, || rig.intake("cam").messages == 1));
    let answer = rig.reconfigure(|spec| {
        // The same stream at another path goes on in the same book.
        spec.intakes = vec![
            rig.intake_spec("cam", "moved"),
            rig.intake_spec("other", "other"),
        ];
    });
    let notes = answer.expect("it can be done");
    assert_eq!(
        notes,
        [
            "stream cam: no more published as `cam`",
            "stream cam: may be published as `moved`"
        ]
    );
    tokio::time::timeout(5 * SECOND, cam.broken())
        .await
        .expect("it is sent away");
    assert!(!other.is_broken());
    let _moved = call(&driver, &rig, "publish:moved").await.expect("let in");
    assert!(wait_until(5 * SECOND, || rig.intake("cam").senders_total == 2));
    let book = rig.intake("cam");
    assert_eq!((book.check(), book.senders), (Ok(()), 1));
}

#[tokio::test]
async fn senders_need_the_passphrase_too() {
    let secret = "correct horse";
    let rig = Rig::serving_with(&[Protocol::Srt], &["yard"], |spec| {
        spec.srt_passphrase = Some(Secret::new(secret.to_owned()));
    });
    let answer = rig.reconfigure(|spec| spec.intakes = vec![rig.intake_spec("cam", "cam")]);
    answer.expect("it can be done");
    let driver = Driver::start().expect("the library starts");
    let without = call(&driver, &rig, "publish:cam").await;
    assert_eq!(without.err(), Some(CallError::Passphrase));
    assert_eq!(rig.intake("cam").senders_total, 0);
    let call = Call {
        stream_id: "publish:cam".to_owned(),
        passphrase: Some(Passphrase::new(secret).expect("a passphrase")),
        ..Call::default()
    };
    let _sender = call_with(&driver, &rig, &call).await.expect("let in");
    assert!(wait_until(5 * SECOND, || rig.intake("cam").senders == 1));
}

#[tokio::test]
async fn who_is_accepted_waits_for_its_stream_and_loses_nothing() {
    let rule = AcceptSpec {
        prefix: "cam-".parse().expect("a name"),
        max: 1,
    };
    let rig = Rig::serving_with(&[Protocol::Srt], &["yard"], |spec| spec.accept = vec![rule]);
    let driver = Driver::start().expect("the library starts");
    for stream_id in ["publish:other", "publish:cam-A", "publish:cam-../x"] {
        let refused = call(&driver, &rig, stream_id).await;
        assert_eq!(
            refused.err(),
            Some(CallError::Refused(Refusal::NotFound)),
            "{stream_id}"
        );
    }
    let sender = call(&driver, &rig, "publish:cam-7").await.expect("let in");
    for number in 0..50 {
        sender
            .send(&[number; MESSAGE_BYTES_MAX])
            .expect("there is room");
    }
    assert_eq!(rig.knock(), ("cam-7".to_owned(), false));
    let second = call(&driver, &rig, "publish:cam-7").await;
    assert_eq!(second.err(), Some(CallError::Refused(Refusal::Conflict)));
    // The place is taken by one who waits as by one who sends.
    let full = Some(CallError::Refused(Refusal::Overload));
    assert_eq!(call(&driver, &rig, "publish:cam-8").await.err(), full);
    assert_eq!(rig.knock(), ("cam-8".to_owned(), true));

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
        taken.bytes.len() == 50 * MESSAGE_BYTES_MAX
    });
    assert!(came, "{:?}", rig.intake("cam-7"));
    assert!(
        taken.bytes.is_sorted(),
        "in the order in which they were sent"
    );
    assert_eq!(call(&driver, &rig, "publish:cam-8").await.err(), full);
    assert_eq!(rig.intake("cam-7").missed, 0);
}
