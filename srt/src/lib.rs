//! SRT by the system's libsrt 1.5: one port for many stream ids, calls to others, and
//! live-mode messages that nobody waits for.
//!
//! | room | what for | thread |
//! |---|---|---|
//! | [`Driver`] | waits for what happens to sockets and tells tasks | `srt` |
//! | [`Listener`] | a port; looks at each caller's stream id before it is let in | libsrt's own asks, a task accepts |
//! | [`Connection`] | sends and receives messages, and says how far behind the peer is | any |
//! | [`connect`] | a call to somebody's port | any |
//! | `socket`, `sys` | a socket of the library, and its C interface, by hand | any |
//!
//! Invariants:
//! - Nothing here blocks: sockets are non-blocking, and a task waits for a flag that the driver sets.
//!   So what is handed over between threads is a flag a socket, not a queue.
//! - Buffers are bounded ([`SEND_BUFFER_MESSAGES`], [`RECEIVE_BUFFER_MESSAGES`]). What is sent is not
//!   dropped before [`Connection::given_up_after`], so its user decides what a slow peer goes without.
//! - No passphrase is in an error, a log or a `Debug` text.
//! - A panic never crosses into the library.

#![deny(unsafe_op_in_unsafe_fn)]

use std::time::Duration;

mod call;
mod connection;
mod driver;
mod error;
mod listener;
mod passphrase;
mod socket;
#[doc(hidden)]
pub mod sys;

pub use call::{Call, CallError, connect};
pub use connection::{Backlog, Connection, ReceiveError, SendError, Statistics};
pub use driver::Driver;
pub use error::Error;
pub use listener::{Admission, Listener, Refusal, Request};
pub use passphrase::{KeyLength, Passphrase, PassphraseError};

/// Most bytes of a message: seven packets of MPEG-TS, as the field sends them.
pub const MESSAGE_BYTES_MAX: usize = 1316;

/// Most bytes of a message that may come: what fits into a packet of an Ethernet, as some send it.
pub const MESSAGE_BYTES_RECEIVED_MAX: usize = 1456;

/// Most messages that a connection keeps until the peer has acknowledged them: 10.8 MB.
pub const SEND_BUFFER_MESSAGES: usize = 8192;

/// What is not acknowledged is given up so long after it is of no use to the peer. Without an end a
/// peer that has not received for a while, and whose buffer was full, would never get anything again.
pub(crate) const SEND_DROP_DELAY: Duration = Duration::from_secs(1);

/// Most messages that a connection keeps until they are received: 2.7 MB, two seconds at 10 Mbit/s.
pub const RECEIVE_BUFFER_MESSAGES: usize = 2048;

/// Most bytes of a stream id, as the protocol has it.
pub const STREAM_ID_BYTES_MAX: usize = 512;
