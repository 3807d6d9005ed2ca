//! One connection of somebody who publishes.

use std::time::Duration;

use ::srt::{Connection, MESSAGE_BYTES_RECEIVED_MAX, ReceiveError};
use tokio::time::{Instant, sleep_until};

use crate::intake::{Begun, Intakes, Session, WAIT_MAX};

/// How often it is looked how many messages did not come.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// Most bytes that are held of a sender who waits for its stream: two seconds at 16 Mbit/s, which
/// is longer than that takes where no model has to be loaded first.
const HELD_BYTES_MAX: usize = 4 << 20;

/// Hands on what is sent until the connection ends, or the path is taken away.
pub(super) async fn serve(connection: Connection, begun: Begun, intakes: &Intakes, path: &str) {
    let peer = connection.peer();
    tracing::info!(%peer, path, "a sender by SRT");
    let mut session = match begun {
        Begun::Session(session) => session,
        Begun::Waits => match wait(&connection, intakes, path).await {
            Some(session) => session,
            None => {
                tracing::info!(%peer, path, "a sender by SRT has not become a stream");
                return;
            }
        },
    };
    let mut missed = 0;
    let mut count_missed = |session: &Session| {
        let dropped = connection.statistics().map(|found| found.receive_dropped);
        let dropped = dropped.unwrap_or(missed).max(missed);
        session.missed(dropped - missed);
        missed = dropped;
    };
    let mut message = [0; MESSAGE_BYTES_RECEIVED_MAX];
    let mut look_at = Instant::now() + STATISTICS_INTERVAL;
    loop {
        let wake_at = session.due().unwrap_or(look_at).min(look_at);
        let received = tokio::select! {
            // What has come goes first, so that a chunk is made of what came at once.
            biased;
            () = session.closed() => break,
            received = connection.receive(&mut message) => Some(received),
            () = sleep_until(wake_at) => None,
        };
        match received {
            Some(Ok(count)) => session.take(&message[..count]),
            Some(Err(ReceiveError::Broken)) => break,
            None => {}
        }
        let now = Instant::now();
        if session.due().is_some_and(|due| due <= now) {
            session.flush();
        }
        if look_at <= now {
            count_missed(&session);
            look_at = now + STATISTICS_INTERVAL;
        }
    }
    count_missed(&session);
    tracing::info!(%peer, path, missed, "a sender by SRT has gone");
}

/// Holds what is sent until there is a stream for it, and then hands it on; `None` when the sender
/// goes, or none comes in time. What does not fit is the newest: without its begin the rest would
/// be of no use.
async fn wait(connection: &Connection, intakes: &Intakes, path: &str) -> Option<Session> {
    let mut changes = intakes.changes();
    let until = Instant::now() + WAIT_MAX;
    let mut held: Vec<Vec<u8>> = Vec::new();
    let (mut held_bytes, mut missed) = (0, 0);
    let mut message = [0; MESSAGE_BYTES_RECEIVED_MAX];
    loop {
        if let Ok(mut session) = intakes.begin_session(path) {
            for message in &held {
                session.take(message);
            }
            session.missed(missed);
            return Some(session);
        }
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            received = connection.receive(&mut message) => {
                let message = &message[..received.ok()?];
                if held_bytes + message.len() <= HELD_BYTES_MAX {
                    held_bytes += message.len();
                    held.push(message.to_vec());
                } else {
                    missed += 1;
                }
            }
            () = sleep_until(until) => return None,
        }
    }
}
