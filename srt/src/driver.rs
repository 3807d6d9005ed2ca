//! The thread that waits for what happens to sockets.
//!
//! The library has no file descriptors, so an event loop cannot wait for its
//! sockets. A thread waits in `srt_epoll_uwait` for all of them and sets flags
//! of each, which tasks wait for. Nothing queues up between the two.
//!
//! What happens to a socket wakes the thread, and so does the library itself
//! each 10 ms (it looks around, and sleeps on). It stops by having its epoll
//! released, which a wait finds out within these 10 ms.

#![expect(unsafe_code, reason = "it waits for the sockets of a C library")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::Notify;

use crate::error::Error;
use crate::socket::{Socket, check, int, start_library};
use crate::sys;

/// Events taken at once; more are taken the next time round.
const EVENTS_MAX: usize = 64;

/// The thread that waits for what happens to sockets. Cloning is cheap; it stops when the last
/// clone, and the last listener and connection, are dropped.
#[derive(Debug, Clone)]
pub struct Driver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoll: i32,
    sockets: Arc<Sockets>,
    thread: Option<JoinHandle<()>>,
}

type Sockets = Mutex<HashMap<sys::Socket, Arc<Readiness>>>;

/// What is known of a socket. One task may wait for each.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Something may be received, or accepted.
    pub(crate) readable: Notify,
    /// A call is through.
    pub(crate) writable: Notify,
    /// It is broken.
    pub(crate) broken: Notify,
    is_broken: AtomicBool,
}

impl Readiness {
    /// The connection is gone for good.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    pub(crate) fn set_broken(&self) {
        self.is_broken.store(true, Ordering::Release);
        // A permit stays for who comes to wait only then.
        for waiting in [&self.readable, &self.writable, &self.broken] {
            waiting.notify_one();
        }
    }
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error`] when the library or the thread does not start.
    pub fn start() -> Result<Self, Error> {
        start_library()?;
        // SAFETY: the library has been started.
        let epoll = unsafe { sys::srt_epoll_create() };
        check(epoll)?;
        // SAFETY: the epoll is there.
        check(unsafe { sys::srt_epoll_set(epoll, sys::EPOLL_ENABLE_EMPTY) })?;
        let sockets = Arc::<Sockets>::default();
        let watched = Arc::clone(&sockets);
        let thread = thread::Builder::new()
            .name("srt".to_owned())
            .spawn(move || watch(epoll, &watched));
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                // SAFETY: it is ours, and nobody waits for it.
                unsafe { sys::srt_epoll_release(epoll) };
                return Err(Error::of_system(&error));
            }
        };
        Ok(Self(Arc::new(Inner {
            epoll,
            sockets,
            thread: Some(thread),
        })))
    }

    /// Watches a socket until the registration is dropped.
    pub(crate) fn register(&self, socket: &Socket) -> Result<Registration, Error> {
        let readiness = Arc::new(Readiness::default());
        lock(&self.0.sockets).insert(socket.id(), Arc::clone(&readiness));
        let registration = Registration {
            driver: self.clone(),
            socket: socket.id(),
            readiness,
        };
        let events = sys::EPOLL_IN | sys::EPOLL_OUT | sys::EPOLL_ERR | sys::EPOLL_ET;
        // SAFETY: the library reads one integer.
        check(unsafe { sys::srt_epoll_add_usock(self.0.epoll, socket.id(), &raw const events) })?;
        Ok(registration)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the epoll is there until here; a wait for it ends with an error.
        unsafe { sys::srt_epoll_release(self.epoll) };
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread of SRT has panicked");
        }
    }
}

/// A socket that is watched. It must be dropped before the socket.
#[derive(Debug)]
pub(crate) struct Registration {
    driver: Driver,
    socket: sys::Socket,
    pub(crate) readiness: Arc<Readiness>,
}

impl Registration {
    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.driver.0.sockets).remove(&self.socket);
        // SAFETY: it is an error at worst: the library forgets sockets that are closed.
        unsafe {
            sys::srt_epoll_remove_usock(self.driver.0.epoll, self.socket);
        }
    }
}

fn watch(epoll: i32, sockets: &Sockets) {
    let mut events = [sys::Event::default(); EVENTS_MAX];
    loop {
        // SAFETY: there is room for as many events as it is told.
        let count =
            unsafe { sys::srt_epoll_uwait(epoll, events.as_mut_ptr(), int(EVENTS_MAX), -1) };
        let Ok(count) = usize::try_from(count) else {
            let error = Error::last();
            if !error.is_released() {
                tracing::error!(%error, "SRT's sockets are watched no more");
            }
            return;
        };
        let sockets = lock(sockets);
        // Where there are more it says one more than it has written.
        for event in &events[..count.min(EVENTS_MAX)] {
            let Some(readiness) = sockets.get(&event.socket) else {
                continue;
            };
            if event.events & sys::EPOLL_ERR != 0 {
                readiness.set_broken();
            }
            if event.events & sys::EPOLL_IN != 0 {
                readiness.readable.notify_one();
            }
            if event.events & sys::EPOLL_OUT != 0 {
                readiness.writable.notify_one();
            }
        }
    }
}

fn lock(sockets: &Sockets) -> MutexGuard<'_, HashMap<sys::Socket, Arc<Readiness>>> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}
