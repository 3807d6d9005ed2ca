//! A call to somebody's port.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connection::Connection;
use crate::driver::Driver;
use crate::error::{Error, reject_text};
use crate::listener::Refusal;
use crate::passphrase::{KeyLength, Passphrase};
use crate::socket::{Socket, millis, set_passphrase};
use crate::sys;

/// How somebody is called.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is asked for; may be empty.
    pub stream_id: String,
    /// With the passphrase both must have.
    pub passphrase: Option<Passphrase>,
    /// The key that is made from it.
    pub key_length: KeyLength,
    /// How long a receiver waits for what is missing, at least; `None`: as the library has it.
    pub latency: Option<Duration>,
    /// The call is given up after this time.
    pub timeout: Duration,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            stream_id: String::new(),
            passphrase: None,
            key_length: KeyLength::default(),
            latency: None,
            timeout: Duration::from_secs(3),
        }
    }
}

/// Why a call did not come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The library, or the system, does not do it.
    #[error("{0}")]
    Failed(#[from] Error),
    /// Nobody has answered.
    #[error("nobody answers")]
    NoAnswer,
    /// One side has no passphrase, or another.
    #[error("the passphrase is wrong or missing")]
    Passphrase,
    /// The listener says why.
    #[error("it was refused: {0}")]
    Refused(Refusal),
    /// The listener, or the library, says no.
    #[error("it was refused: {reason}")]
    Rejected {
        /// In the words of the library.
        reason: String,
    },
}

/// Calls somebody and waits until the call is through, or is not.
///
/// # Errors
/// [`CallError`].
pub async fn connect(
    driver: &Driver,
    address: SocketAddr,
    call: &Call,
) -> Result<Connection, CallError> {
    let socket = Socket::new()?;
    socket.set(sys::OPTION_CONNTIMEO, millis(call.timeout))?;
    if !call.stream_id.is_empty() {
        socket.set_bytes(sys::OPTION_STREAMID, call.stream_id.as_bytes())?;
    }
    if let Some(latency) = call.latency {
        socket.set(sys::OPTION_RCVLATENCY, millis(latency))?;
        socket.set(sys::OPTION_PEERLATENCY, millis(latency))?;
    }
    if let Some(passphrase) = &call.passphrase {
        set_passphrase(socket.id(), passphrase)?;
        socket.set(sys::OPTION_PBKEYLEN, call.key_length.bytes())?;
    }
    let connection = Connection::new(driver, socket, address)?;
    connection.socket().connect(address)?;
    let readiness = &connection.registration().readiness;
    readiness.writable.notified().await;
    if !readiness.is_broken() {
        return Ok(connection);
    }
    Err(match connection.socket().reject_reason() {
        sys::REJ_TIMEOUT => CallError::NoAnswer,
        sys::REJ_BADSECRET | sys::REJ_UNSECURE => CallError::Passphrase,
        code => match Refusal::of_code(code) {
            Some(refusal) => CallError::Refused(refusal),
            None if code >= sys::REJC_PREDEFINED => CallError::Rejected {
                reason: format!("code {code}"),
            },
            None => CallError::Rejected {
                reason: reject_text(code),
            },
        },
    })
}
