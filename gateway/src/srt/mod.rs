//! Streams served by SRT: one port, the stream id says which, MPEG-TS made once for all.
//!
//! | room | what for |
//! |---|---|
//! | this | the port: who is let in, and how many |
//! | `stream_id` | what a caller asks for |
//! | `viewer` | one connection of somebody who watches |
//! | `publisher` | one connection of somebody who publishes |
//! | `sender` | from the channel's ring to the send buffer of a connection, of a viewer or a push |
//!
//! Of an access unit there are, besides the one copy from the bus, the MPEG-TS that all share and,
//! for each viewer, a message of 1316 bytes on the stack, in which the packets are numbered, and
//! the library's own in its send buffer.
//!
//! A viewer cannot harm another, nor the process:
//! - Who asks for what there is not, has another passphrase or is one too many is refused before
//!   there is a connection. The library asks on a thread of its own; the answer takes two locks and
//!   no time.
//! - What a viewer has not acknowledged is bounded in time and messages (`sender`); beyond that it
//!   goes without, up to the newest key frame.
//! - Who is silent for five seconds is gone (SRT has a sign of life each second).
//! - What viewers send is not read, and the receive buffer of each is bounded.
//!
//! Nor can a sender: it is let in for a path that a stream has as its source, one at a time, and what
//! it sends is handed on as it comes, through a buffer that is bounded too.

mod publisher;
mod sender;
mod stream_id;
mod viewer;

pub(crate) use sender::Sender;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::srt::{Admission, Connection, Driver, Listener, Passphrase, Refusal, Request};
use contract::spec::{Protocol, Secret};
use tokio::time::{MissedTickBehavior, interval};

use self::stream_id::StreamId;
use crate::GatewayError;
use crate::directory::Directory;
use crate::intake::{self, Intakes};
use crate::network::Network;

/// Most viewers at once, all streams together.
const VIEWERS_MAX: usize = 256;

/// Who was let in and has not shaken hands so long after has another passphrase.
const HANDSHAKE_MAX: Duration = Duration::from_secs(1);

/// Where it listens, and what callers must have.
pub(crate) struct Place<'a> {
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    pub(crate) passphrase: Option<&'a Secret>,
}

/// The port of SRT. Its task ends with the network's thread.
pub(crate) struct Server {
    port: u16,
}

impl Server {
    /// Listens, serves what is in `directory`, and takes what is published at `intakes`, if senders
    /// may by this protocol.
    ///
    /// # Errors
    /// [`GatewayError::Listen`] when the port cannot be had.
    pub(crate) fn start(
        network: &Network,
        place: &Place<'_>,
        directory: &Directory,
        intakes: Option<Intakes>,
    ) -> Result<Self, GatewayError> {
        let Place {
            address,
            port,
            passphrase,
        } = *place;
        let cannot = |reason: String| GatewayError::Listen {
            protocol: Protocol::Srt,
            address: address.to_owned(),
            port: port.to_string(),
            reason,
        };
        let passphrase = passphrase
            .map(|secret| Passphrase::new(secret.expose()))
            .transpose()?;
        let ip: IpAddr = address
            .parse()
            .map_err(|_| cannot("it is no address".to_owned()))?;
        let seats = Seats::default();
        let door = Door {
            directory: directory.clone(),
            intakes: intakes.clone(),
            passphrase,
            seats: seats.clone(),
        };
        let driver = Driver::start()?;
        let listener = Listener::bind(&driver, SocketAddr::new(ip, port), move |request| {
            door.answer(request)
        })
        .map_err(|error| cannot(error.to_string()))?;
        let port = listener.local_address().port();
        let served = Served {
            directory: directory.clone(),
            intakes,
            seats,
        };
        network.spawn(accept(listener, served));
        Ok(Self { port })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Who is let in.
struct Door {
    directory: Directory,
    intakes: Option<Intakes>,
    passphrase: Option<Passphrase>,
    seats: Seats,
}

impl Door {
    fn answer(&self, request: &Request) -> Admission {
        let refusal = match StreamId::parse(&request.stream_id) {
            Ok(StreamId::Read(path)) if self.directory.find(path).is_none() => Refusal::NotFound,
            Ok(StreamId::Read(_)) if self.seats.all_taken() => Refusal::Overload,
            Ok(StreamId::Read(_)) => return Admission::Accept(self.passphrase.clone()),
            Ok(StreamId::Publish(path)) => match admits(self.intakes.as_ref(), path) {
                Ok(()) => return Admission::Accept(self.passphrase.clone()),
                Err(intake::Refusal::Unknown) => Refusal::NotFound,
                Err(intake::Refusal::Taken) => Refusal::Conflict,
                Err(intake::Refusal::Full) => Refusal::Overload,
            },
            Err(refusal) => refusal,
        };
        tracing::debug!(peer = %request.peer, stream_id = ?request.stream_id, %refusal, "refused by SRT");
        Admission::Refuse(refusal)
    }
}

fn admits(intakes: Option<&Intakes>, path: &str) -> Result<(), intake::Refusal> {
    let intakes = intakes.ok_or(intake::Refusal::Unknown)?;
    intakes.admits(path)
}

/// What is to be had on the port.
struct Served {
    directory: Directory,
    intakes: Option<Intakes>,
    seats: Seats,
}

/// Takes who has shaken hands, until the listener is gone.
async fn accept(listener: Listener, served: Served) {
    let mut failures = interval(HANDSHAKE_MAX);
    failures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, request)) => served.begin(connection, &request),
                Err(error) => {
                    tracing::error!(%error, "nobody is accepted by SRT any more");
                    return;
                }
            },
            _ = failures.tick() => tell_failed(&listener.take_failed(HANDSHAKE_MAX)),
        }
    }
}

impl Served {
    /// It was to be had when it was asked for. Who is dropped here sees the connection end.
    fn begin(&self, connection: Connection, request: &Request) {
        match StreamId::parse(&request.stream_id) {
            Ok(StreamId::Read(path)) => {
                let (Some(ladder), Some(seat)) = (self.directory.find(path), self.seats.take())
                else {
                    return;
                };
                let path = path.to_owned();
                let channel = ladder.channel().clone();
                tokio::spawn(async move {
                    viewer::serve(connection, channel.watch(), &path).await;
                    drop(seat);
                });
            }
            Ok(StreamId::Publish(path)) => {
                let Some(intakes) = self.intakes.clone() else {
                    return;
                };
                let Ok(begun) = intakes.begin(path) else {
                    return;
                };
                let path = path.to_owned();
                tokio::spawn(async move {
                    publisher::serve(connection, begun, &intakes, &path).await;
                });
            }
            Err(_) => {}
        }
    }
}

/// A line however many there are.
fn tell_failed(failed: &[Request]) {
    if let [first, others @ ..] = failed {
        let (peer, others) = (first.peer, others.len());
        tracing::warn!(%peer, others, "a caller by SRT is refused: its passphrase is wrong or missing");
    }
}

/// Who is served. Cloning is cheap; all clones are one.
#[derive(Clone, Default)]
struct Seats(Arc<AtomicUsize>);

impl Seats {
    fn all_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= VIEWERS_MAX
    }

    /// One, until it is dropped; `None` when all are taken.
    fn take(&self) -> Option<Seat> {
        let more = |taken| (taken < VIEWERS_MAX).then_some(taken + 1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Seat(self.clone()))
    }
}

struct Seat(Seats);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_given_back() {
        let seats = Seats::default();
        let taken: Vec<Seat> = std::iter::from_fn(|| seats.take()).collect();
        assert_eq!(taken.len(), VIEWERS_MAX);
        assert!(seats.all_taken());
        drop(taken);
        assert!(!seats.all_taken());
        assert_eq!(seats.0.load(Ordering::Relaxed), 0);
    }
}
