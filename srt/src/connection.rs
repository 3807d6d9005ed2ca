//! A connection: messages, and how far behind the peer is.

use std::net::SocketAddr;
use std::time::Duration;

use crate::driver::{Driver, Registration};
use crate::error::Error;
use crate::socket::Socket;
use crate::{MESSAGE_BYTES_MAX, SEND_DROP_DELAY, sys};

/// A connection in live mode. It is closed when dropped; what was sent before goes out for up to
/// a second more.
///
/// One task may wait in [`Connection::receive`] and one in [`Connection::broken`].
#[derive(Debug)]
pub struct Connection {
    // Dropped in this order: what watches the socket goes first.
    registration: Registration,
    socket: Socket,
    peer: SocketAddr,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The send buffer is full.
    #[error("the peer does not take what is sent in time")]
    Full,
    /// The connection is gone.
    #[error("the connection is gone")]
    Broken,
    /// It is longer than [`MESSAGE_BYTES_MAX`], or empty.
    #[error("a message has 1 to {MESSAGE_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The connection is gone.
    #[error("the connection is gone")]
    Broken,
}

/// What the peer has not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Messages, of at most [`crate::SEND_BUFFER_MESSAGES`].
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// From the sending of the oldest to that of the newest.
    pub span: Duration,
}

/// How a connection fares, since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    /// From a message to its acknowledgement.
    pub round_trip: Duration,
    /// Messages sent, those that were sent again not counted.
    pub sent: u64,
    /// Messages that the peer has missed, and that were sent again unless it was too late.
    pub send_lost: u64,
    /// Messages received, those that came twice not counted.
    pub received: u64,
    /// Messages that were missed, and asked for.
    pub receive_lost: u64,
    /// Messages that never came, or too late.
    pub receive_dropped: u64,
}

impl Connection {
    /// Takes a socket that is connected, or about to be.
    pub(crate) fn new(driver: &Driver, socket: Socket, peer: SocketAddr) -> Result<Self, Error> {
        Ok(Self {
            registration: driver.register(&socket)?,
            socket,
            peer,
        })
    }

    /// Puts a message into the send buffer, without waiting.
    ///
    /// # Errors
    /// [`SendError`]; after [`SendError::Full`] the same message may be tried again.
    pub fn send(&self, message: &[u8]) -> Result<(), SendError> {
        if message.is_empty() || message.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::Length(message.len()));
        }
        match self.socket.send(message) {
            Ok(()) => Ok(()),
            Err(error) if error.would_block() => Err(SendError::Full),
            Err(_) => {
                self.registration.readiness.set_broken();
                Err(SendError::Broken)
            }
        }
    }

    /// Waits for a message and puts it into `buffer`, which must have room for
    /// [`crate::MESSAGE_BYTES_RECEIVED_MAX`] bytes; the rest of a longer one is lost. Nothing is lost when this is
    /// given up half-way.
    ///
    /// # Errors
    /// [`ReceiveError::Broken`] when nothing comes any more.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        loop {
            match self.socket.receive(buffer) {
                Ok(count) if count > 0 => return Ok(count),
                Err(error) if error.would_block() => {}
                Ok(_) | Err(_) => {
                    self.registration.readiness.set_broken();
                    return Err(ReceiveError::Broken);
                }
            }
            self.registration.readiness.readable.notified().await;
        }
    }

    /// Waits until the connection is gone.
    pub async fn broken(&self) {
        while !self.is_broken() {
            self.registration.readiness.broken.notified().await;
        }
    }

    /// The connection is gone.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.registration.readiness.is_broken()
    }

    /// Where the peer is.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// How long the peer waits for what is missing, as the two have agreed.
    #[must_use]
    pub fn peer_latency(&self) -> Duration {
        let latency = self.socket.get(sys::OPTION_PEERLATENCY).unwrap_or(0);
        Duration::from_millis(u64::try_from(latency).unwrap_or(0))
    }

    /// With the next message that is sent, those are given up that were sent so long ago and are not
    /// acknowledged. The peer goes on without them.
    #[must_use]
    pub fn given_up_after(&self) -> Duration {
        // As `CUDT::sndDropTooLate` of the library reckons it.
        self.peer_latency() + SEND_DROP_DELAY + Duration::from_millis(20)
    }

    /// What the peer has not acknowledged yet.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let (messages, bytes, span) = self.socket.send_buffer();
        Backlog {
            messages,
            bytes,
            span: Duration::from_millis(u64::try_from(span).unwrap_or(0)),
        }
    }

    /// How it fares; `None` when it is gone.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        let found = self.socket.statistics().ok()?;
        let count = |of: i64| u64::try_from(of).unwrap_or(0);
        Some(Statistics {
            round_trip: Duration::try_from_secs_f64(found.msRTT / 1e3).unwrap_or_default(),
            sent: count(found.pktSentUniqueTotal),
            send_lost: count(found.pktSndLossTotal.into()),
            received: count(found.pktRecvUniqueTotal),
            receive_lost: count(found.pktRcvLossTotal.into()),
            receive_dropped: count(found.pktRcvDropTotal.into()),
        })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }
}
