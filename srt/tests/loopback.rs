//! Listeners and callers on loopback.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use srt::{
    Admission, Call, CallError, Connection, Driver, KeyLength, Listener, MESSAGE_BYTES_MAX,
    Passphrase, ReceiveError, Refusal, Request, SEND_BUFFER_MESSAGES, SendError, connect,
};
use tokio::time::timeout;

const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const SOON: Duration = Duration::from_secs(5);

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).expect("of the right length")
}

/// `yard` is for everybody, `safe` for who knows the passphrase; `crash` panics.
fn admit(request: &Request) -> Admission {
    match request.stream_id.as_str() {
        "yard" => Admission::Accept(None),
        "safe" => Admission::Accept(Some(passphrase("correct horse"))),
        "busy" => Admission::Refuse(Refusal::Overload),
        "crash" => panic!("on purpose"),
        _ => Admission::Refuse(Refusal::NotFound),
    }
}

fn call(stream_id: &str) -> Call {
    Call {
        stream_id: stream_id.to_owned(),
        latency: Some(Duration::from_millis(20)),
        ..Call::default()
    }
}

async fn pair(driver: &Driver, listener: &Listener, call: &Call) -> (Connection, Connection) {
    let (caller, accepted) = tokio::join!(
        connect(driver, listener.local_address(), call),
        timeout(SOON, listener.accept())
    );
    let (accepted, request) = accepted.expect("in time").expect("it listens");
    assert_eq!(request.stream_id, call.stream_id);
    assert_eq!(request.peer, accepted.peer());
    (caller.expect("let in"), accepted)
}

#[tokio::test]
async fn messages_go_both_ways_and_stay_whole() {
    let driver = Driver::start().expect("it starts");
    for address in [FREE, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0)] {
        let listener = Listener::bind(&driver, address, admit).expect("a free port");
        assert_ne!(listener.local_address().port(), 0);
        let (caller, accepted) = pair(&driver, &listener, &call("yard")).await;
        assert_eq!(caller.peer(), listener.local_address());
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        for (from, to) in [(&accepted, &caller), (&caller, &accepted)] {
            for length in [1, 188, MESSAGE_BYTES_MAX] {
                let message = vec![length.to_le_bytes()[0]; length];
                assert_eq!(from.send(&message), Ok(()));
                let got = timeout(SOON, to.receive(&mut buffer))
                    .await
                    .expect("in time");
                assert_eq!(&buffer[..got.expect("connected")], message);
            }
        }
        assert_eq!(caller.send(&[]), Err(SendError::Length(0)));
        assert_eq!(caller.send(&[0; 1317]), Err(SendError::Length(1317)));
        let statistics = accepted.statistics().expect("connected");
        assert_eq!((statistics.sent, statistics.received), (3, 3));
        assert!(statistics.round_trip > Duration::ZERO, "{statistics:?}");
        assert_eq!(accepted.peer_latency(), Duration::from_millis(20));
    }
}

#[tokio::test]
async fn who_goes_is_missed_and_what_it_sent_is_not_lost() {
    let driver = Driver::start().expect("it starts");
    let listener = Listener::bind(&driver, FREE, admit).expect("a free port");
    let (caller, accepted) = pair(&driver, &listener, &call("yard")).await;
    assert!(!caller.is_broken());
    accepted.send(b"last words").expect("connected");
    drop(accepted);
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let got = timeout(SOON, caller.receive(&mut buffer))
        .await
        .expect("in time");
    assert_eq!(&buffer[..got.expect("it lingers")], b"last words");
    timeout(SOON, caller.broken()).await.expect("in time");
    let none = timeout(SOON, caller.receive(&mut buffer))
        .await
        .expect("in time");
    assert_eq!(none, Err(ReceiveError::Broken));
    assert_eq!(caller.send(b"hello?"), Err(SendError::Broken));
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why() {
    let driver = Driver::start().expect("it starts");
    let listener = Listener::bind(&driver, FREE, admit).expect("a free port");
    let address = listener.local_address();
    for (stream_id, refusal) in [
        ("", Refusal::NotFound),
        ("nowhere", Refusal::NotFound),
        ("busy", Refusal::Overload),
        ("crash", Refusal::Failed),
    ] {
        let error = connect(&driver, address, &call(stream_id)).await;
        assert_eq!(error.expect_err(stream_id), CallError::Refused(refusal));
    }
    assert_eq!(listener.take_failed(Duration::ZERO), []);
    // The listener has survived all this.
    pair(&driver, &listener, &call("yard")).await;

    let nobody = UdpSocket::bind(FREE).expect("a free port");
    let impatient = Call {
        timeout: Duration::from_millis(300),
        ..call("yard")
    };
    let silent = nobody.local_addr().expect("bound");
    let error = connect(&driver, silent, &impatient).await;
    assert_eq!(error.expect_err("nobody answers"), CallError::NoAnswer);
}

#[tokio::test]
async fn only_who_knows_the_passphrase_comes_in() {
    let driver = Driver::start().expect("it starts");
    let listener = Listener::bind(&driver, FREE, admit).expect("a free port");
    let with = |text: &str, key_length| Call {
        passphrase: Some(passphrase(text)),
        key_length,
        ..call("safe")
    };
    for wrong in [
        call("safe"),
        with("wrong horse", KeyLength::Aes128),
        Call {
            stream_id: "yard".to_owned(),
            ..with("correct horse", KeyLength::Aes128)
        },
    ] {
        let error = connect(&driver, listener.local_address(), &wrong).await;
        let error = error.expect_err("it is wrong");
        assert_eq!(error, CallError::Passphrase);
        assert!(!format!("{error} {wrong:?}").contains("horse"));
        let failed = listener.take_failed(Duration::ZERO);
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].stream_id, wrong.stream_id);
    }
    for key_length in [KeyLength::Aes128, KeyLength::Aes256] {
        let right = with("correct horse", key_length);
        let (caller, accepted) = pair(&driver, &listener, &right).await;
        accepted.send(b"secret").expect("connected");
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let got = timeout(SOON, caller.receive(&mut buffer))
            .await
            .expect("in time");
        assert_eq!(&buffer[..got.expect("connected")], b"secret");
    }
    assert_eq!(listener.take_failed(Duration::ZERO), []);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_fills_its_own_buffer_only() {
    let driver = Driver::start().expect("it starts");
    let listener = Listener::bind(&driver, FREE, admit).expect("a free port");
    let (frozen, to_frozen) = pair(&driver, &listener, &call("yard")).await;
    let (caller, accepted) = pair(&driver, &listener, &call("yard")).await;
    // Nobody receives, so the receiver's buffer fills, then the sender's.
    let message = [0; MESSAGE_BYTES_MAX];
    let begun = Instant::now();
    let mut sent = 0;
    loop {
        match to_frozen.send(&message) {
            Ok(()) => sent += 1,
            Err(SendError::Full) if to_frozen.backlog().messages >= SEND_BUFFER_MESSAGES => break,
            Err(SendError::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
        assert!(
            begun.elapsed() < SOON,
            "{sent} sent, {:?}",
            to_frozen.backlog()
        );
    }
    let backlog = to_frozen.backlog();
    assert_eq!(backlog.messages, SEND_BUFFER_MESSAGES);
    assert_eq!(backlog.bytes, SEND_BUFFER_MESSAGES * MESSAGE_BYTES_MAX);
    accepted.send(b"still here").expect("connected");
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let got = timeout(SOON, caller.receive(&mut buffer))
        .await
        .expect("in time");
    assert_eq!(&buffer[..got.expect("connected")], b"still here");
    drop(frozen);
    timeout(SOON, to_frozen.broken()).await.expect("in time");
}

#[tokio::test]
async fn a_port_is_one_listeners() {
    let driver = Driver::start().expect("it starts");
    let taken = UdpSocket::bind(FREE).expect("a free port");
    let address = taken.local_addr().expect("bound");
    let error = Listener::bind(&driver, address, admit).expect_err("it is taken");
    assert_eq!(error.to_string(), "Address already in use");

    let listener = Listener::bind(&driver, FREE, admit).expect("a free port");
    let address = listener.local_address();
    let error = Listener::bind(&driver, address, admit).expect_err("it is taken");
    assert_eq!(error.to_string(), "Address already in use");
    drop(listener);
    // Its port is free when the library has cleaned up.
    let again = || UdpSocket::bind(address).is_ok();
    let until = Instant::now() + SOON;
    while !again() {
        assert!(Instant::now() < until, "the port is never free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_driver_stops_at_once() {
    let begun = Instant::now();
    drop(Driver::start().expect("it starts"));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
