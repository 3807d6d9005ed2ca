//! From the ring of a stream to the send buffer of a connection.

use std::time::{Duration, Instant};

use ::srt::{Connection, MESSAGE_BYTES_MAX, SEND_BUFFER_MESSAGES, SendError};

use crate::channel::{AccessUnit, Next, Reader};
use crate::mpegts::Numbering;

/// Who has not acknowledged what was sent so long ago, and the latency it has asked for, is slow.
/// It is well below what the library gives up ([`Connection::given_up_after`]), so that this happens
/// to whole pictures only.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// How often it is looked whether one who is slow has caught up: the library tells of a buffer
/// that was full only, not of one that has become short.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(20);

/// Messages sent in one go; then others on the thread have their turn.
const MESSAGES_PER_TURN_MAX: usize = 64;

/// Puts access units into the send buffer of a connection, as far as its peer takes them.
pub(crate) struct Sender<'a> {
    connection: &'a Connection,
    behind_max: Duration,
    numbering: Numbering,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self {
            behind_max: BEHIND_MAX + connection.peer_latency(),
            connection,
            numbering: Numbering::default(),
        }
    }

    /// Sends all that a reader finds, but for what the peer is too slow for: then it goes on at
    /// the newest key frame. Ends when the stream or the connection does.
    pub(crate) async fn send_all(&mut self, reader: &mut Reader) {
        loop {
            if self.is_behind() {
                self.wait_for_peer(reader).await;
            }
            match reader.try_next() {
                Next::Unit(unit) => {
                    if self.send(&unit).await.is_err() {
                        return;
                    }
                }
                Next::Nothing => reader.wait().await,
                Next::Ended => return,
            }
        }
    }

    /// Waits until the peer has taken what was sent, or it is given up for a key frame.
    async fn wait_for_peer(&self, reader: &mut Reader) {
        let since = Instant::now();
        let given_up_after = self.connection.given_up_after();
        while !self.connection.is_broken() {
            tokio::time::sleep(CATCH_UP_INTERVAL).await;
            if !self.is_behind() {
                reader.skip_to_live();
                return;
            }
            // All is too late by now, and what follows must not refer to it.
            if since.elapsed() > given_up_after && reader.skip_to_live() {
                return;
            }
        }
    }

    /// The peer does not take what is sent in time.
    fn is_behind(&self) -> bool {
        let backlog = self.connection.backlog();
        // Half of the buffer is left to the next access unit.
        backlog.span > self.behind_max || backlog.messages > SEND_BUFFER_MESSAGES / 2
    }

    async fn send(&mut self, unit: &AccessUnit) -> Result<(), SendError> {
        let mut discontinuous = self.numbering.begin(unit);
        let mut message = [0; MESSAGE_BYTES_MAX];
        for (count, packets) in unit
            .transport_stream()
            .chunks(MESSAGE_BYTES_MAX)
            .enumerate()
        {
            if count % MESSAGES_PER_TURN_MAX == MESSAGES_PER_TURN_MAX - 1 {
                tokio::task::yield_now().await;
            }
            let message = &mut message[..packets.len()];
            message.copy_from_slice(packets);
            self.numbering.number(message, discontinuous);
            discontinuous = false;
            // Only an access unit of more than 5 MB can fill the rest of the buffer.
            while let Err(error) = self.connection.send(message) {
                if error != SendError::Full {
                    return Err(error);
                }
                tokio::time::sleep(CATCH_UP_INTERVAL).await;
            }
        }
        Ok(())
    }
}
