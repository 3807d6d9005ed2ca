//! A socket of the library, closed when dropped, and its options.

#![expect(unsafe_code, reason = "it calls a C library")]

use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use crate::error::Error;
use crate::passphrase::Passphrase;
use crate::{
    MESSAGE_BYTES_MAX, RECEIVE_BUFFER_MESSAGES, SEND_BUFFER_MESSAGES, SEND_DROP_DELAY, sys,
};

/// Bytes of a message and its headers, by which the library counts its buffer: the MTU without
/// the header of UDP.
const BUFFER_UNIT_BYTES: usize = 1500 - 28;

/// What is not sent yet at a close is sent for so long, by a thread of the library.
const LINGER_S: c_int = 1;

/// A peer that is silent for so long is gone; the protocol sends a sign of life each second.
const PEER_IDLE_MAX: Duration = Duration::from_secs(5);

/// A socket, closed when dropped.
#[derive(Debug)]
pub(crate) struct Socket(sys::Socket);

impl Socket {
    /// A new one in live mode, non-blocking.
    pub(crate) fn new() -> Result<Self, Error> {
        start_library()?;
        // SAFETY: the library has been started.
        let socket = unsafe { sys::srt_create_socket() };
        if socket == sys::ERROR {
            return Err(Error::last());
        }
        let socket = Self(socket);
        socket.set(sys::OPTION_TRANSTYPE, sys::TRANSTYPE_LIVE)?;
        socket.set(sys::OPTION_PAYLOADSIZE, int(MESSAGE_BYTES_MAX))?;
        socket.set(sys::OPTION_SNDSYN, 0)?;
        socket.set(sys::OPTION_RCVSYN, 0)?;
        let buffer = SEND_BUFFER_MESSAGES * BUFFER_UNIT_BYTES;
        socket.set(sys::OPTION_SNDBUF, int(buffer))?;
        let buffer = RECEIVE_BUFFER_MESSAGES * BUFFER_UNIT_BYTES;
        socket.set(sys::OPTION_RCVBUF, int(buffer))?;
        socket.set(sys::OPTION_PEERIDLETIMEO, millis(PEER_IDLE_MAX))?;
        socket.set(sys::OPTION_SNDDROPDELAY, millis(SEND_DROP_DELAY))?;
        let linger = sys::Linger {
            on: 1,
            seconds: LINGER_S,
        };
        socket.set_value(sys::OPTION_LINGER, &linger)?;
        Ok(socket)
    }

    /// Takes one that the library has made.
    pub(crate) fn own(socket: sys::Socket) -> Self {
        Self(socket)
    }

    pub(crate) fn id(&self) -> sys::Socket {
        self.0
    }

    pub(crate) fn set(&self, option: c_int, value: c_int) -> Result<(), Error> {
        self.set_value(option, &value)
    }

    /// `T` is what the library expects for this option: an integer, or its `struct linger`.
    fn set_value<T: Copy>(&self, option: c_int, value: &T) -> Result<(), Error> {
        // SAFETY: the library reads as many bytes as the value has, and checks that this is
        // what the option has.
        let done = unsafe {
            sys::srt_setsockflag(
                self.0,
                option,
                std::ptr::from_ref(value).cast::<c_void>(),
                int(size_of::<T>()),
            )
        };
        check(done)
    }

    pub(crate) fn set_bytes(&self, option: c_int, bytes: &[u8]) -> Result<(), Error> {
        set_bytes(self.0, option, bytes)
    }

    pub(crate) fn get(&self, option: c_int) -> Result<c_int, Error> {
        let mut value: c_int = 0;
        let mut length = int(size_of::<c_int>());
        // SAFETY: all options that are read are integers, and the library is told the room.
        let done = unsafe {
            sys::srt_getsockflag(
                self.0,
                option,
                (&raw mut value).cast::<c_void>(),
                &raw mut length,
            )
        };
        check(done).map(|()| value)
    }

    /// Where it is itself.
    pub(crate) fn local_address(&self) -> Result<SocketAddr, Error> {
        // SAFETY: as `address` asks for.
        unsafe { self.address(sys::srt_getsockname) }
    }

    /// Where the peer is.
    pub(crate) fn peer_address(&self) -> Result<SocketAddr, Error> {
        // SAFETY: as `address` asks for.
        unsafe { self.address(sys::srt_getpeername) }
    }

    /// Begins a call.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<(), Error> {
        with_name(address, |name, length| {
            // SAFETY: the address is there for this call.
            unsafe { sys::srt_connect(self.0, name, length) }
        })
    }

    /// Gives it an address.
    pub(crate) fn bind(&self, address: SocketAddr) -> Result<(), Error> {
        with_name(address, |name, length| {
            // SAFETY: the address is there for this call.
            unsafe { sys::srt_bind(self.0, name, length) }
        })
    }

    /// Why a call was rejected.
    pub(crate) fn reject_reason(&self) -> c_int {
        // SAFETY: any socket may be asked.
        unsafe { sys::srt_getrejectreason(self.0) }
    }

    /// Puts a message into the send buffer.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Error> {
        let length = int(message.len());
        // SAFETY: the library copies as many bytes as it is told.
        let sent = unsafe { sys::srt_send(self.0, message.as_ptr().cast::<c_char>(), length) };
        check(sent)
    }

    /// Takes a message; the number of its bytes.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let length = int(buffer.len());
        // SAFETY: the library writes at most as many bytes as it is told.
        let count = unsafe { sys::srt_recv(self.0, buffer.as_mut_ptr().cast::<c_char>(), length) };
        usize::try_from(count).map_err(|_| Error::last())
    }

    /// What the peer has not acknowledged: messages, bytes, milliseconds.
    pub(crate) fn send_buffer(&self) -> (usize, usize, c_int) {
        let (mut messages, mut bytes) = (0, 0);
        // SAFETY: the library writes the two, or nothing.
        let span = unsafe { sys::srt_getsndbuffer(self.0, &raw mut messages, &raw mut bytes) };
        (messages, bytes, span)
    }

    pub(crate) fn statistics(&self) -> Result<sys::TraceStats, Error> {
        let mut found = sys::TraceStats::default();
        // SAFETY: the library writes a structure of this layout, which a test sees to.
        check(unsafe { sys::srt_bistats(self.0, &raw mut found, 0, 1) })?;
        Ok(found)
    }

    /// # Safety
    /// `ask` writes an address of at most the length it is given, and says how long it is.
    unsafe fn address(
        &self,
        ask: unsafe extern "C" fn(sys::Socket, *mut libc::sockaddr, *mut c_int) -> c_int,
    ) -> Result<SocketAddr, Error> {
        // SAFETY: all zeros is an address of no family.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = int(size_of::<libc::sockaddr_storage>());
        let name = (&raw mut storage).cast::<libc::sockaddr>();
        // SAFETY: as promised by the caller.
        check(unsafe { ask(self.0, name, &raw mut length) })?;
        // SAFETY: there are as many bytes as the largest address has.
        unsafe { to_address(name) }.ok_or_else(Error::last)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: it is ours. A second close, or one of a socket that the library has closed
        // itself, is an error that says just that.
        unsafe {
            sys::srt_close(self.0);
        }
    }
}

/// Starts the library, once. It is never told to clean up: GStreamer's plug-in shares it, and the
/// end of the process does the same.
pub(crate) fn start_library() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    let start = || {
        // SAFETY: it may be called at any time; only once at the same time, which the lock sees to.
        check(unsafe { sys::srt_startup() })?;
        // SAFETY: it sets an integer. The library would write to standard error, and takes it
        // for an error when nothing is there to be accepted. What fails is returned to us.
        unsafe { sys::srt_setloglevel(sys::LOG_CRITICAL) };
        Ok(())
    };
    STARTED.get_or_init(start).clone()
}

/// Sets the passphrase of a socket that is not connected yet.
pub(crate) fn set_passphrase(socket: sys::Socket, passphrase: &Passphrase) -> Result<(), Error> {
    set_bytes(socket, sys::OPTION_PASSPHRASE, passphrase.bytes())
}

fn set_bytes(socket: sys::Socket, option: c_int, bytes: &[u8]) -> Result<(), Error> {
    // SAFETY: the library copies as many bytes as it is told.
    let done = unsafe {
        sys::srt_setsockflag(
            socket,
            option,
            bytes.as_ptr().cast::<c_void>(),
            int(bytes.len()),
        )
    };
    check(done)
}

/// Calls `use_name` with an address as C has it.
fn with_name(
    address: SocketAddr,
    use_name: impl FnOnce(*const libc::sockaddr, c_int) -> c_int,
) -> Result<(), Error> {
    let name = SockaddrStorage::from(address);
    let length = c_int::try_from(name.len()).unwrap_or(c_int::MAX);
    check(use_name(name.as_ptr(), length))
}

/// # Safety
/// `name` is null or an address of IPv4 or IPv6, or one of another family.
pub(crate) unsafe fn to_address(name: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: as promised by the caller; the length is that of the family.
    let storage = unsafe { SockaddrStorage::from_raw(name, None) }?;
    if let Some(address) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4((*address).into()));
    }
    let address = storage.as_sockaddr_in6()?;
    Some(SocketAddr::V6((*address).into()))
}

pub(crate) fn check(done: c_int) -> Result<(), Error> {
    if done == sys::ERROR {
        return Err(Error::last());
    }
    Ok(())
}

pub(crate) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

pub(crate) fn int(count: usize) -> c_int {
    c_int::try_from(count).unwrap_or(c_int::MAX)
}
