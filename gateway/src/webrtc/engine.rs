//! The engine of one session, of a viewer as of a sender: connecting, living and leaving. Without
//! I/O: datagrams go in and out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};

use super::socket::{Datagram, Outbox};

/// Who has not connected by then goes.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// Of whom nothing is heard for so long is gone. Browsers send something each second.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// What all sessions are given.
pub(super) struct House {
    pub(super) crypto: Arc<CryptoProvider>,
    /// One for all: what the other end trusts is the fingerprint in its own answer.
    pub(super) certificate: DtlsCert,
    pub(super) addresses: Vec<SocketAddr>,
}

impl House {
    /// What engines have in common.
    pub(super) fn config(&self) -> RtcConfig {
        RtcConfig::new()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            // We are where everybody finds us and need to look for nobody; nor can an offer make us
            // send anything to an address that has not asked for it.
            .set_ice_lite(true)
            .clear_codecs()
    }
}

/// Somebody that a session is with.
pub(super) trait Party: Send + 'static {
    /// The engine of its session.
    fn engine(&mut self) -> &mut Engine;

    /// Does what is to be done now: lets time go on, and sends what may be sent. Returns when it
    /// wants to be called again at the latest.
    fn turn(&mut self, outbox: &mut Outbox) -> Instant;

    /// Takes from the engine all that it has; returns when it wants to be called again.
    fn drain(&mut self, outbox: &mut Outbox) -> Instant;

    /// Waits until there may be something to do that no datagram tells of.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;

    /// Says in the log that it has gone from `path`.
    fn report(&self, path: &str);
}

/// Why somebody goes.
#[derive(Debug)]
pub(super) enum Leaving {
    /// The stream has ended, or is at this path no more.
    Ended,
    /// The other end said so.
    Closed,
    /// It did not connect in time.
    NotConnected,
    /// Nothing is heard of it any more, or nothing that counts.
    Silent,
    /// It is to become a stream, and there is none in time.
    NoStream,
    /// The engine cannot go on with it.
    Failed(RtcError),
}

impl fmt::Display for Leaving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => formatter.write_str("the stream has ended"),
            Self::Closed => formatter.write_str("it said so"),
            Self::NotConnected => formatter.write_str("it did not connect"),
            Self::Silent => formatter.write_str("nothing is heard of it"),
            Self::NoStream => formatter.write_str("it has not become a stream"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

/// What an engine has.
#[expect(
    clippy::large_enum_variant,
    reason = "each is taken apart where it comes out, and none is kept"
)]
pub(super) enum Polled {
    /// Nothing before this.
    Nothing(Instant),
    /// A datagram to send.
    Transmit(str0m::net::Transmit),
    /// Something has happened, and the engine has taken its own part of it.
    Event(Event),
}

/// An SDP offer, as text and understood.
pub(super) struct Offer<'a> {
    pub(super) text: &'a str,
    parsed: SdpOffer,
}

impl<'a> Offer<'a> {
    /// The error is what is wrong with it.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let parsed = SdpOffer::from_sdp_string(text).map_err(|error| error.to_string())?;
        Ok(Self { text, parsed })
    }
}

/// The engine of one session.
pub(super) struct Engine {
    pub(super) rtc: Rtc,
    /// The `ice-ufrag` of the offer.
    offered: String,
    began: Instant,
    heard: Instant,
    connected: bool,
    leaving: Option<Leaving>,
}

impl Engine {
    /// Answers an offer; the error is why that cannot be.
    pub(super) fn answer(
        config: RtcConfig,
        house: &House,
        offer: Offer<'_>,
        now: Instant,
    ) -> Result<(Self, String), String> {
        let mut rtc = config.build(now);
        for address in &house.addresses {
            // One that cannot be a candidate was not to be configured; the others serve.
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        let answer = rtc.sdp_api().accept_offer(offer.parsed);
        let answer = answer.map_err(|error| error.to_string())?;
        let engine = Self {
            rtc,
            offered: fragment(offer.text).unwrap_or_default().to_owned(),
            began: now,
            heard: now,
            connected: false,
            leaving: None,
        };
        Ok((engine, with_candidates(&answer.to_sdp_string())))
    }

    /// Takes a datagram; says whether it is from the other end of this session.
    pub(super) fn receive(&mut self, datagram: &Datagram) -> bool {
        let Datagram {
            at,
            source,
            destination,
            contents,
        } = datagram;
        let Ok(received) = Receive::new(Protocol::Udp, *source, *destination, contents) else {
            return false;
        };
        let input = Input::Receive(*at, received);
        if !self.rtc.accepts(&input) {
            return false;
        }
        self.heard = *at;
        let result = self.rtc.handle_input(input);
        self.note(result);
        true
    }

    /// Lets time go on, and looks whether the other end is still there.
    pub(super) fn tick(&mut self, now: Instant) {
        let result = self.rtc.handle_input(Input::Timeout(now));
        self.note(result);
        if !self.connected {
            if now > self.began + CONNECT_MAX {
                self.close(Leaving::NotConnected);
            }
        } else if now > self.heard + SILENCE_MAX {
            self.close(Leaving::Silent);
        }
    }

    /// The next thing that it has.
    pub(super) fn poll(&mut self) -> Polled {
        match self.rtc.poll_output() {
            Ok(Output::Timeout(deadline)) => Polled::Nothing(deadline),
            Ok(Output::Transmit(transmit)) => Polled::Transmit(transmit),
            Ok(Output::Event(event)) => {
                match &event {
                    Event::Connected => self.connected = true,
                    Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                        self.close(Leaving::Silent);
                    }
                    Event::Closed => self.close(Leaving::Closed),
                    _ => {}
                }
                Polled::Event(event)
            }
            Err(error) => {
                self.note(Err(error));
                Polled::Nothing(Instant::now())
            }
        }
    }

    /// When the session began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Media can flow: it has connected, and does not leave.
    pub(super) fn flows(&self) -> bool {
        self.connected && self.leaving.is_none()
    }

    /// There is nothing more to do for it.
    pub(super) fn is_gone(&self) -> bool {
        !self.rtc.is_alive() || matches!(self.leaving, Some(Leaving::Failed(_)))
    }

    /// Why it goes.
    pub(super) fn leaving(&self) -> Option<&Leaving> {
        self.leaving.as_ref()
    }

    /// The names by which the requests of ICE of the other end call us, and by which ours would
    /// call it.
    pub(super) fn fragments(&mut self) -> (String, String) {
        let ours = self.rtc.direct_api().local_ice_credentials();
        (ours.ufrag, self.offered.clone())
    }

    /// Says good-bye. What that takes is sent in the turns that follow.
    pub(super) fn close(&mut self, leaving: Leaving) {
        if self.leaving.is_none() {
            self.leaving = Some(leaving);
            let result = self.rtc.close();
            self.note(result);
        }
    }

    /// An error of the engine ends the session.
    pub(super) fn note(&mut self, result: Result<(), RtcError>) {
        if let Err(error) = result {
            self.leaving = Some(Leaving::Failed(error));
        }
    }
}

/// An answer whose candidates are in a section that is taken. The engine writes them into the
/// first, and where that is turned down, as audio is that comes first, some never look there.
fn with_candidates(answer: &str) -> String {
    const CANDIDATE: &str = "a=candidate:";
    let lines = || answer.lines();
    let all = lines().filter(|line| line.starts_with(CANDIDATE));
    let all: Vec<&str> = all.collect();
    // `m=video 9 UDP/TLS/RTP/SAVPF 96`, and port 0 in place of 9 when it is turned down.
    let taken = |line: &str| line.starts_with("m=") && line.split(' ').nth(1) != Some("0");
    let begin = lines().position(taken);
    // The line after it is the `c=` that belongs to it.
    let place = begin.map(|begin| begin + 1);
    let mut moved = String::with_capacity(answer.len());
    for (index, line) in lines().enumerate() {
        let here = place == Some(index);
        let kept = (place.is_none() || !line.starts_with(CANDIDATE)).then_some(line);
        let more = all.iter().copied().filter(|_| here);
        for line in kept.into_iter().chain(more) {
            moved.push_str(line);
            moved.push_str("\r\n");
        }
    }
    moved
}

/// The first `ice-ufrag` of an SDP: all its media are one bundle.
fn fragment(offer: &str) -> Option<&str> {
    let mut lines = offer.lines();
    lines
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_where_something_is_taken() {
        let section =
            |kind: &str, port: u16| format!("m={kind} {port} X 0\r\nc=IN IP4 0.0.0.0\r\n");
        let candidates = "a=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\n\
            a=candidate:2 1 udp 1 10.0.0.2 1 typ host\r\n";
        let (head, mid) = ("v=0\r\na=ice-lite\r\n", "a=mid:0\r\n");
        let (audio, video) = (section("audio", 0), section("video", 9));
        let written = format!("{head}{audio}{candidates}{mid}{video}{mid}");
        let wanted = format!("{head}{audio}{mid}{video}{candidates}{mid}");
        assert_eq!(with_candidates(&written), wanted);
        // As it was, where the first is taken, or none.
        let first = format!("{head}{video}{candidates}{mid}{audio}{mid}");
        assert_eq!(with_candidates(&first), first);
        let none = format!("{head}{audio}{candidates}{mid}");
        assert_eq!(with_candidates(&none), none);
    }
}
