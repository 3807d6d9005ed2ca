//! The control channel as a worker sees it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use contract::control::{Decoder, FromWorker, ToWorker, encode};
use contract::name::WorkerId;
use contract::spec::{BusSpec, GatewaySpec, Role, WorkerSpec};
use worker::Control;

fn spec() -> WorkerSpec {
    WorkerSpec {
        worker: WorkerId::Gateway,
        run: "yard-1".parse().expect("a name"),
        incarnation: 2,
        bus: BusSpec {
            root: PathBuf::from("/tmp/x"),
            prefix: "x_".to_owned(),
        },
        directory: PathBuf::from("/tmp/x"),
        role: Role::Gateway(GatewaySpec {
            address: "127.0.0.1".to_owned(),
            ports: [].into(),
            webrtc_hosts: Vec::new(),
            srt_passphrase: None,
            publish: [].into(),
            publish_token: None,
            streams: Vec::new(),
            intakes: Vec::new(),
            accept: Vec::new(),
        }),
    }
}

fn write(stream: &mut UnixStream, message: &ToWorker) {
    let bytes = encode(message).expect("short");
    stream.write_all(&bytes).expect("written");
}

#[test]
fn messages_pass_both_ways_and_the_end_stops_the_worker() {
    let (mut supervisor, theirs) = UnixStream::pair().expect("a pair");
    write(&mut supervisor, &ToWorker::Configure(Box::new(spec())));
    write(&mut supervisor, &ToWorker::Start);
    let (spec, control) = Control::over(theirs).expect("configured");
    assert_eq!(spec.incarnation, 2);
    let (woken, hook) = sync_channel(8);
    control.on_message(move || {
        let _ = woken.try_send(());
    });

    let second = Duration::from_secs(1);
    assert!(matches!(
        control.receive_timeout(second),
        Some(ToWorker::Start)
    ));
    assert!(control.try_receive().is_none());
    assert!(!control.draining());
    write(&mut supervisor, &ToWorker::Drain);
    hook.recv_timeout(second).expect("the hook is called");
    assert!(matches!(
        control.receive_timeout(second),
        Some(ToWorker::Drain)
    ));
    assert!(control.draining());

    control.send(FromWorker::Ready("here".to_owned()));
    assert!(control.try_send(FromWorker::Warming("there".to_owned())));
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let mut chunk = [0; 256];
        let count = supervisor.read(&mut chunk).expect("read");
        decoder.extend(&chunk[..count]);
        while let Some(message) = decoder.next_message::<FromWorker>().expect("whole") {
            seen.push(message);
        }
    }
    assert!(matches!(&seen[0], FromWorker::Ready(text) if text == "here"));
    assert!(matches!(&seen[1], FromWorker::Warming(text) if text == "there"));

    // The process would be ended by force after 0.9 s; this test is over before.
    assert!(!control.stopping());
    supervisor.shutdown(Shutdown::Both).expect("shut");
    // A call for an earlier message may still be waiting in the queue: the end is called once more.
    while !control.stopping() {
        hook.recv_timeout(second).expect("the hook is called");
    }
}

#[test]
fn a_channel_that_begins_otherwise_is_refused() {
    let (mut supervisor, theirs) = UnixStream::pair().expect("a pair");
    write(&mut supervisor, &ToWorker::Drain);
    assert!(Control::over(theirs).is_err());
}
