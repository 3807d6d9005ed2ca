//! The session threads: each owns one engine and runs it on whatever frame is next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::detection::Skip;
use frame_bus::{BusError, Waker};
use worker::Failure;

use crate::engine::Engine;
use crate::exchange::{Exchange, lock};
use crate::family::Thresholds;
use crate::scheduler::Turn;
use crate::stream::HeldFrame;
use crate::tensor::Picture;

/// Sessions are given so long to finish the frame they are on at the end.
const FINISH_MAX: Duration = Duration::from_millis(500);
/// A session longer on one frame than this hangs. The books then say nothing of progress any
/// more, and the supervisor acts.
const HANG: Duration = Duration::from_secs(10);
/// Frames that may fail in a row before the model itself is taken to be broken.
const FAILURES_MAX: u32 = 10;

/// What the dispatcher and its sessions share.
#[derive(Debug)]
pub struct Shared {
    exchange: Exchange<HeldFrame>,
    thresholds: Mutex<Thresholds>,
    failures: AtomicU32,
    fault: Mutex<Option<String>>,
    dispatcher: Waker,
}

impl Shared {
    /// An exchange without lanes; `dispatcher` wakes the main loop.
    #[must_use]
    pub fn new(thresholds: Thresholds, dispatcher: Waker) -> Self {
        Self {
            exchange: Exchange::default(),
            thresholds: Mutex::new(thresholds),
            failures: AtomicU32::new(0),
            fault: Mutex::new(None),
            dispatcher,
        }
    }

    /// Where frames wait for a session.
    #[must_use]
    pub fn exchange(&self) -> &Exchange<HeldFrame> {
        &self.exchange
    }

    /// Every session keeps other detections from its next frame on.
    pub fn set_thresholds(&self, thresholds: Thresholds) {
        *lock(&self.thresholds) = thresholds;
    }

    /// Why the worker has to end, if it has to.
    #[must_use]
    pub fn take_fault(&self) -> Option<String> {
        lock(&self.fault).take()
    }

    /// Ends the worker with a failure; the first is the one that is told.
    fn fail(&self, message: String) {
        lock(&self.fault).get_or_insert(message);
        self.dispatcher.wake();
    }
}

/// The session threads of a worker; there may be more or fewer while frames flow.
#[derive(Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
    running: Vec<Handle>,
    /// Told to end, but perhaps still on a frame.
    retiring: Vec<Handle>,
    /// Each session holds a clone; dropped when no more are to be started.
    alive: Option<SyncSender<()>>,
    /// Disconnected once every session thread has ended.
    ended: Receiver<()>,
}

/// What the dispatcher knows of a session thread.
#[derive(Debug, Clone, Default)]
struct Handle {
    /// When it began on the frame it is on; 0 while it is on none.
    busy_since_ns: Arc<AtomicU64>,
    retired: Arc<AtomicBool>,
}

impl Sessions {
    /// Without any session yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let (alive, ended) = sync_channel(1);
        Self {
            shared,
            running: Vec::new(),
            retiring: Vec::new(),
            alive: Some(alive),
            ended,
        }
    }

    /// What they share with the dispatcher.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Sessions that take frames.
    #[must_use]
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Starts one thread an engine, or none.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(&mut self, engines: Vec<Engine>) -> Result<(), Failure> {
        let before = self.running.len();
        for engine in engines {
            if let Err(error) = self.start_one(engine) {
                self.retire(before);
                return Err(Failure::failed(format!("cannot start a session: {error}")));
            }
        }
        Ok(())
    }

    fn start_one(&mut self, engine: Engine) -> std::io::Result<()> {
        let handle = Handle::default();
        let session = Session {
            engine,
            shared: Arc::clone(&self.shared),
            handle: handle.clone(),
            _alive: self.alive.clone(),
        };
        std::thread::Builder::new()
            .name(format!("session-{}", self.running.len()))
            .spawn(move || session.guarded())?;
        self.running.push(handle);
        Ok(())
    }

    /// Lets all but the first `count` end after the frame they are on.
    pub fn retire(&mut self, count: usize) {
        for handle in self.running.drain(count.min(self.running.len())..) {
            handle.retired.store(true, Ordering::Relaxed);
            self.retiring.push(handle);
        }
        self.shared.exchange.rouse();
    }

    /// A session has been on one frame for too long.
    pub fn hangs(&mut self) -> bool {
        // A thread that has ended has dropped its half of the handle.
        self.retiring
            .retain(|handle| Arc::strong_count(&handle.retired) > 1);
        let now_ns = monotonic_ns();
        let mut handles = self.running.iter().chain(&self.retiring);
        handles.any(|handle| {
            let since_ns = handle.busy_since_ns.load(Ordering::Relaxed);
            since_ns > 0 && Duration::from_nanos(now_ns.saturating_sub(since_ns)) > HANG
        })
    }

    /// Waits, not for long, until every session has finished the frame it is on. The exchange
    /// must be closed.
    pub fn finish(&mut self) {
        self.alive.take();
        if self.ended.recv_timeout(FINISH_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a session is still running; its frame counts as lost");
        }
    }
}

impl Drop for Sessions {
    /// Whatever way the main loop ends, no session waits on.
    fn drop(&mut self) {
        self.shared.exchange.close();
    }
}

/// One session thread.
struct Session {
    engine: Engine,
    shared: Arc<Shared>,
    handle: Handle,
    _alive: Option<SyncSender<()>>,
}

impl Session {
    /// A panic, or a bus that is broken, ends the whole worker: the supervisor starts a clean one.
    fn guarded(mut self) {
        let shared = Arc::clone(&self.shared);
        match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.fail(error.to_string()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let text = text.unwrap_or("no message");
                shared.fail(format!("a session panicked: {text}"));
            }
        }
    }

    fn run(&mut self) -> Result<(), BusError> {
        let shared = Arc::clone(&self.shared);
        let handle = self.handle.clone();
        let retired = || handle.retired.load(Ordering::Relaxed);
        while let Some(turn) = shared.exchange.take(monotonic_ns, retired) {
            match turn {
                Turn::Stale { frame, .. } => frame.skip(Skip::Stale)?,
                Turn::Run { frame, .. } => {
                    let busy_since_ns = &handle.busy_since_ns;
                    busy_since_ns.store(monotonic_ns(), Ordering::Relaxed);
                    self.run_on(frame)?;
                    busy_since_ns.store(0, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn run_on(&mut self, held: HeldFrame) -> Result<(), BusError> {
        let taken = Instant::now();
        let frame = held.frame();
        let sequence_number = frame.stamp().sequence_number;
        let letterbox = self.engine.prepare(&Picture {
            layout: frame.layout(),
            planes: [frame.plane(0), frame.plane(1), frame.plane(2)],
            colour: frame.stamp().colour,
        });
        // The tensor is made: the slot is free for the next frame while the model runs.
        let account = held.release();
        self.engine.set_thresholds(*lock(&self.shared.thresholds));
        match self.engine.infer(&letterbox) {
            Ok(inference) => {
                self.shared.failures.store(0, Ordering::Relaxed);
                account.inferred(sequence_number, &inference, || taken.elapsed())
            }
            Err(error) => {
                tracing::warn!(sequence_number, %error, "no result for a frame");
                account.skipped(sequence_number, Skip::Failed)?;
                let failures = self.shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= FAILURES_MAX {
                    self.shared
                        .fail(format!("{failures} frames in a row failed: {error}"));
                }
                Ok(())
            }
        }
    }
}
