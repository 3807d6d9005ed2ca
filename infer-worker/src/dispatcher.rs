//! The main loop: takes frames from the bus, lets sessions run on them, sees to the end.
//!
//! The dispatcher thread owns every queue; each session thread owns one engine. Between
//! them stand the [`Exchange`] (frames) and the accounts (outcomes).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::ToWorker;
use contract::detection::Skip;
use frame_bus::{BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::account::Account;
use crate::engine::Engine;
use crate::exchange::{Exchange, lock};
use crate::scheduler::Turn;
use crate::stream::{HeldFrame, Looked, Stream};
use crate::tensor::Picture;

/// Longest sleep of the main loop: it says that it is alive at least so often.
const TURN_MAX: Duration = Duration::from_millis(200);
/// After the order to drain, streams that have not ended are given up.
const DRAIN_MAX: Duration = Duration::from_millis(1500);
/// Sessions are given so long to finish the frame they are on at the end.
const FINISH_MAX: Duration = Duration::from_millis(500);
/// Looks at the queues at the end.
const LAST_LOOKS_MAX: usize = 8;
/// A session longer on one frame than this hangs. The books then say nothing of progress any
/// more, and the supervisor acts.
const HANG: Duration = Duration::from_secs(10);
/// Frames that may fail in a row before the model itself is taken to be broken.
const FAILURES_MAX: u32 = 10;

/// What the dispatcher and its sessions share.
#[derive(Debug)]
pub struct Shared {
    exchange: Exchange<HeldFrame>,
    accounts: Vec<Arc<Account>>,
    failures: AtomicU32,
    fault: Mutex<Option<String>>,
    dispatcher: Waker,
}

impl Shared {
    /// Shares an exchange and the accounts of its lanes; `dispatcher` wakes the main loop.
    #[must_use]
    pub fn new(
        exchange: Exchange<HeldFrame>,
        accounts: Vec<Arc<Account>>,
        dispatcher: Waker,
    ) -> Self {
        Self {
            exchange,
            accounts,
            failures: AtomicU32::new(0),
            fault: Mutex::new(None),
            dispatcher,
        }
    }

    /// Ends the worker with a failure; the first is the one that is told.
    fn fail(&self, message: String) {
        lock(&self.fault).get_or_insert(message);
        self.dispatcher.wake();
    }
}

/// Session threads that have been started.
#[derive(Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
    /// When each began on the frame it is on; 0 while it is on none.
    busy_since_ns: Vec<Arc<AtomicU64>>,
    /// Disconnected once every session thread has ended.
    ended: Receiver<()>,
}

impl Sessions {
    /// Starts one thread an engine.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(engines: Vec<Engine>, shared: Arc<Shared>) -> Result<Self, Failure> {
        let (running, ended) = sync_channel(1);
        let mut busy_since_ns = Vec::new();
        for (index, engine) in engines.into_iter().enumerate() {
            let busy = Arc::new(AtomicU64::new(0));
            busy_since_ns.push(Arc::clone(&busy));
            let session = Session {
                engine,
                shared: Arc::clone(&shared),
                busy_since_ns: busy,
                _running: running.clone(),
            };
            std::thread::Builder::new()
                .name(format!("session-{index}"))
                .spawn(move || session.guarded())
                .map_err(|error| Failure::failed(format!("cannot start a session: {error}")))?;
        }
        Ok(Self {
            shared,
            busy_since_ns,
            ended,
        })
    }

    fn hangs(&self) -> bool {
        let now_ns = monotonic_ns();
        self.busy_since_ns.iter().any(|busy| {
            let since_ns = busy.load(Ordering::Relaxed);
            since_ns > 0 && Duration::from_nanos(now_ns.saturating_sub(since_ns)) > HANG
        })
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
    busy_since_ns: Arc<AtomicU64>,
    _running: SyncSender<()>,
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
        while let Some(turn) = shared.exchange.take(monotonic_ns) {
            match turn {
                Turn::Stale { lane, frame } => {
                    let sequence_number = frame.frame().stamp().sequence_number;
                    drop(frame);
                    shared.accounts[lane].skipped(sequence_number, Skip::Stale)?;
                }
                Turn::Run { lane, frame } => {
                    self.busy_since_ns.store(monotonic_ns(), Ordering::Relaxed);
                    self.run_on(&shared.accounts[lane], frame)?;
                    self.busy_since_ns.store(0, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn run_on(&mut self, account: &Account, held: HeldFrame) -> Result<(), BusError> {
        let taken = Instant::now();
        let frame = held.frame();
        let sequence_number = frame.stamp().sequence_number;
        let letterbox = self.engine.prepare(&Picture {
            layout: frame.layout(),
            planes: [frame.plane(0), frame.plane(1), frame.plane(2)],
            colour: frame.stamp().colour,
        });
        // The tensor is made: the slot is free for the next frame while the model runs.
        drop(held);
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

/// Runs until drained, told to leave, or failed.
///
/// # Errors
/// When the bus is broken, a session panics or the model fails frame after frame.
pub fn run(
    control: &Control,
    listener: &Listener,
    mut streams: Vec<Stream>,
    sessions: &Sessions,
) -> Result<(), Failure> {
    let broken = |error: BusError| Failure::failed(error.to_string());
    let shared = Arc::clone(&sessions.shared);
    let mut draining_since: Option<Instant> = None;
    loop {
        let more = look_at_all(&mut streams, &shared).map_err(broken)?;
        if let Some(fault) = lock(&shared.fault).take() {
            return Err(Failure::failed(fault));
        }
        if !sessions.hangs() {
            shared.accounts.iter().for_each(|account| account.tick());
        }
        while let Some(message) = control.try_receive() {
            if matches!(message, ToWorker::Drain) {
                draining_since.get_or_insert_with(Instant::now);
            }
        }
        let drained = draining_since.is_some() && streams.iter().all(Stream::ended);
        let given_up = draining_since.is_some_and(|since| since.elapsed() > DRAIN_MAX);
        if drained || given_up || control.stopping() {
            break;
        }
        let timeout = if more { Duration::ZERO } else { TURN_MAX };
        listener.wait(timeout).map_err(broken)?;
    }
    finish(&mut streams, sessions).map_err(broken)?;
    match lock(&shared.fault).take() {
        Some(fault) => Err(Failure::failed(fault)),
        None => Ok(()),
    }
}

fn look_at_all(streams: &mut [Stream], shared: &Shared) -> Result<bool, BusError> {
    let mut more = false;
    for stream in streams {
        more |= stream.look(&shared.exchange)? == Looked::More;
    }
    Ok(more)
}

/// Accounts for everything that came and that no session will run on any more.
fn finish(streams: &mut [Stream], sessions: &Sessions) -> Result<(), BusError> {
    let shared = &sessions.shared;
    for (lane, held) in shared.exchange.close() {
        let sequence_number = held.frame().stamp().sequence_number;
        drop(held);
        shared.accounts[lane].skipped(sequence_number, Skip::Shed)?;
    }
    // The exchange is closed, so what is still queued on the bus comes back to be shed.
    // The looks are bounded, for a producer that has not ended may go on publishing.
    for _ in 0..LAST_LOOKS_MAX {
        if !look_at_all(streams, shared)? {
            break;
        }
    }
    if sessions.ended.recv_timeout(FINISH_MAX) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!("a session is still running; its frame counts as lost");
    }
    Ok(())
}
