//! A port, and who is let in.
//!
//! The library asks [`Listener::bind`]'s `admit` about each caller, on a thread of
//! its own that serves everybody on that port: it must answer at once. Who is let
//! in shakes hands (only then a wrong passphrase is found out) and can be accepted.

#![expect(unsafe_code, reason = "it is called by a C library")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc::sockaddr;

use crate::connection::Connection;
use crate::driver::{Driver, Registration};
use crate::error::Error;
use crate::passphrase::Passphrase;
use crate::socket::{Socket, check, set_passphrase, to_address};
use crate::{STREAM_ID_BYTES_MAX, sys};

/// Connections that wait for [`Listener::accept`]; more callers are turned away.
const BACKLOG_MAX: c_int = 32;

/// Callers that are remembered until they have shaken hands, or have not.
const ADMITTED_MAX: usize = 64;

/// Somebody who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub stream_id: String,
    /// Where it is.
    pub peer: SocketAddr,
}

/// The answer to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Let in; with a passphrase, if it has the same.
    Accept(Option<Passphrase>),
    /// Sent away.
    Refuse(Refusal),
}

/// Why a caller is sent away: codes of `access_control.h`, which follow those of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400
    #[error("the stream id cannot be understood (400)")]
    BadRequest,
    /// 402
    #[error("too many are served already (402)")]
    Overload,
    /// 403
    #[error("it is forbidden (403)")]
    Forbidden,
    /// 404
    #[error("there is no stream of that id (404)")]
    NotFound,
    /// 405
    #[error("the stream is not to be had in that mode (405)")]
    BadMode,
    /// 409
    #[error("somebody else sends that stream (409)")]
    Conflict,
    /// 500
    #[error("the listener has failed (500)")]
    Failed,
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::BadRequest,
        Self::Overload,
        Self::Forbidden,
        Self::NotFound,
        Self::BadMode,
        Self::Conflict,
        Self::Failed,
    ];

    fn code(self) -> c_int {
        match self {
            Self::BadRequest => sys::REJX_BAD_REQUEST,
            Self::Overload => sys::REJX_OVERLOAD,
            Self::Forbidden => sys::REJX_FORBIDDEN,
            Self::NotFound => sys::REJX_NOTFOUND,
            Self::BadMode => sys::REJX_BAD_MODE,
            Self::Conflict => sys::REJX_CONFLICT,
            Self::Failed => sys::REJX_ISE,
        }
    }

    pub(crate) fn of_code(code: c_int) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// A port that is listened on, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    // Dropped in this order: what watches the socket goes first, what the library asks last.
    registration: Registration,
    socket: Socket,
    address: SocketAddr,
    hook: Installed,
}

impl Listener {
    /// Begins to listen. `admit` is asked about each caller, on a thread of the library that
    /// must not be held up.
    ///
    /// # Errors
    /// [`Error`], such as that the address is in use.
    pub fn bind(
        driver: &Driver,
        address: SocketAddr,
        admit: impl Fn(&Request) -> Admission + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let socket = Socket::new()?;
        // One port is one listener's.
        socket.set(sys::OPTION_REUSEADDR, 0)?;
        if address.is_ipv6() {
            socket.set(sys::OPTION_IPV6ONLY, 0)?;
        }
        socket.bind(address)?;
        let hook = Installed::new(Box::new(admit));
        // SAFETY: `ask` never unwinds, and takes its last argument for a number, never for a
        // pointer: it may be called whenever the library likes.
        check(unsafe {
            sys::srt_listen_callback(
                socket.id(),
                Some(ask),
                ptr::without_provenance_mut::<c_void>(hook.number),
            )
        })?;
        // SAFETY: a socket that is bound may listen.
        check(unsafe { sys::srt_listen(socket.id(), BACKLOG_MAX) })?;
        Ok(Self {
            registration: driver.register(&socket)?,
            address: socket.local_address()?,
            socket,
            hook,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next who was let in and has shaken hands.
    ///
    /// # Errors
    /// [`Error`] when there will be no other.
    pub async fn accept(&self) -> Result<(Connection, Request), Error> {
        loop {
            // SAFETY: nobody asks for the address.
            let socket =
                unsafe { sys::srt_accept(self.socket.id(), ptr::null_mut(), ptr::null_mut()) };
            if socket == sys::ERROR {
                let error = Error::last();
                if !error.would_block() {
                    return Err(error);
                }
                self.registration.readiness.readable.notified().await;
                continue;
            }
            let request = self.hook.hook.take(socket);
            let socket = Socket::own(socket);
            // Who is gone by now was never there.
            if let Some(request) = request
                && let Ok(peer) = socket.peer_address()
                && let Ok(connection) = Connection::new(self.registration.driver(), socket, peer)
            {
                return Ok((connection, request));
            }
        }
    }

    /// Who was let in `after` ago or earlier and did not come: its passphrase was wrong or missing,
    /// or it went away. Each is told once.
    #[must_use]
    pub fn take_failed(&self, after: Duration) -> Vec<Request> {
        let mut admitted = self.hook.hook.admitted();
        let failed = admitted.extract_if(.., |waiting| waiting.since.elapsed() >= after);
        failed.map(|waiting| waiting.request).collect()
    }
}

type Admit = Box<dyn Fn(&Request) -> Admission + Send + Sync>;

/// What the library asks about a caller.
struct Hook {
    admit: Admit,
    /// Oldest first.
    admitted: Mutex<Vec<Admitted>>,
}

struct Admitted {
    socket: sys::Socket,
    request: Request,
    since: Instant,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    fn answer(&self, socket: sys::Socket, request: Request) -> Result<(), Refusal> {
        match (self.admit)(&request) {
            Admission::Refuse(refusal) => return Err(refusal),
            Admission::Accept(None) => {}
            Admission::Accept(Some(passphrase)) => {
                set_passphrase(socket, &passphrase).map_err(|error| {
                    tracing::error!(%error, "SRT does not take the passphrase");
                    Refusal::Failed
                })?;
            }
        }
        let mut admitted = self.admitted();
        while admitted.len() >= ADMITTED_MAX {
            admitted.remove(0);
        }
        admitted.push(Admitted {
            socket,
            request,
            since: Instant::now(),
        });
        Ok(())
    }

    /// The request of a socket that was accepted.
    fn take(&self, socket: sys::Socket) -> Option<Request> {
        let mut admitted = self.admitted();
        let place = admitted
            .iter()
            .position(|waiting| waiting.socket == socket)?;
        Some(admitted.remove(place).request)
    }

    fn admitted(&self) -> MutexGuard<'_, Vec<Admitted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All hooks by number. The library is given the number, so that a call that comes late finds
/// nothing instead of something freed.
static HOOKS: Mutex<BTreeMap<usize, Arc<Hook>>> = Mutex::new(BTreeMap::new());

/// A hook that can be found by its number until this is dropped.
#[derive(Debug)]
struct Installed {
    number: usize,
    hook: Arc<Hook>,
}

impl Installed {
    fn new(admit: Admit) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let hook = Arc::new(Hook {
            admit,
            admitted: Mutex::default(),
        });
        hooks().insert(number, Arc::clone(&hook));
        Self { number, hook }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        hooks().remove(&self.number);
    }
}

fn hooks() -> MutexGuard<'static, BTreeMap<usize, Arc<Hook>>> {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the library calls; 0 lets the caller in.
///
/// # Safety
/// `peer` is an address and `stream_id` a text that ends with a zero, or null.
unsafe extern "C" fn ask(
    opaque: *mut c_void,
    socket: sys::Socket,
    _handshake_version: c_int,
    peer: *const sockaddr,
    stream_id: *const c_char,
) -> c_int {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let hook = hooks().get(&opaque.addr()).cloned();
        let hook = hook.ok_or(Refusal::Failed)?;
        // SAFETY: as promised by the library.
        let request = unsafe { read_request(peer, stream_id) }?;
        hook.answer(socket, request)
    }));
    let refusal = match answer {
        Ok(Ok(())) => return 0,
        Ok(Err(refusal)) => refusal,
        // The panic has been reported by its hook.
        Err(_) => Refusal::Failed,
    };
    // SAFETY: the socket is there during this call.
    unsafe { sys::srt_setrejectreason(socket, refusal.code()) };
    sys::ERROR
}

/// # Safety
/// `peer` is an address and `stream_id` a text that ends with a zero, or null.
unsafe fn read_request(
    peer: *const sockaddr,
    stream_id: *const c_char,
) -> Result<Request, Refusal> {
    // SAFETY: as promised by the caller.
    let peer = unsafe { to_address(peer) }.ok_or(Refusal::BadRequest)?;
    let stream_id = if stream_id.is_null() {
        c""
    } else {
        // SAFETY: as promised by the caller; it stays as it is during this call.
        unsafe { CStr::from_ptr(stream_id) }
    };
    let stream_id = stream_id.to_str().map_err(|_| Refusal::BadRequest)?;
    if stream_id.len() > STREAM_ID_BYTES_MAX {
        return Err(Refusal::BadRequest);
    }
    Ok(Request {
        stream_id: stream_id.to_owned(),
        peer,
    })
}
