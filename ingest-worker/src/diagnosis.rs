//! Why a server cannot be connected to, where the element that tried does not say.
//!
//! `souphttpsrc` and `rtspsrc` of `GStreamer` 1.22 report a certificate that is not trusted, a
//! port nobody listens on and a host that does not exist with one and the same text. So, after a
//! session has failed before the server answered, a connection is made once more and looked at.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use contract::spec::TlsVerification;
use gio::prelude::*;

use crate::fault::{Fault, certificate, no_connection};
use crate::location::Location;

/// The main loop waits for it no longer; a resolver may take longer than that.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Of the connection itself.
const TIMEOUT_S: u32 = 1;

/// The fault that connecting shows; `None` when it shows none.
pub(crate) fn connect(location: &Location, tls: TlsVerification) -> Option<Fault> {
    let address = location.address();
    let (scheme, rest) = address.split_once("://")?;
    let (secure, port) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        "rtsps" => (true, 322),
        "rtsp" => (false, 554),
        _ => return None,
    };
    let host = rest.split(['/', '?', '#']).next()?.to_owned();
    let verified = secure && tls == TlsVerification::Verify;
    let (done, result) = sync_channel(1);
    std::thread::Builder::new()
        .name("diagnosis".to_owned())
        .spawn(move || {
            let client = gio::SocketClient::new();
            client.set_timeout(TIMEOUT_S);
            client.set_tls(verified);
            let connected = client.connect_to_host(&host, port, gio::Cancellable::NONE);
            // Nobody waits any more for what comes late.
            let _ = done.send(connected.err());
        })
        .ok()?;
    let error = result.recv_timeout(PATIENCE).ok().flatten()?;
    if error.matches(gio::TlsError::BadCertificate) {
        return Some(certificate());
    }
    // A server that speaks another protocol is there.
    let is_tls = error.kind::<gio::TlsError>().is_some();
    (!is_tls).then(no_connection)
}
