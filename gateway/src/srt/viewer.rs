//! One connection of somebody who watches.

use ::srt::Connection;

use super::Sender;
use crate::channel::Reader;

/// Sends what comes until the stream or the connection ends.
pub(super) async fn serve(connection: Connection, mut reader: Reader, path: &str) {
    let peer = connection.peer();
    tracing::debug!(%peer, path, "a viewer by SRT");
    let mut sender = Sender::new(&connection);
    tokio::select! {
        () = connection.broken() => {}
        () = sender.send_all(&mut reader) => {}
    }
    let statistics = connection.statistics().unwrap_or_default();
    tracing::debug!(%peer, path, ?statistics, "a viewer by SRT has gone");
}
