//! The session threads: each owns one engine and runs it on whatever batch of frames is next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::detection::Skip;
use frame_bus::{BusError, MemoryKind, Pixels, Waker};
use worker::Failure;

use crate::account::Account;
use crate::engine::Engine;
use crate::exchange::{Exchange, lock};
use crate::family::Thresholds;
use crate::runtime::RuntimeError;
use crate::scheduler::Turn;
use crate::stream::HeldFrame;
use crate::tensor::{DevicePicture, Picture};

/// Sessions are given so long to finish the batch they are on at the end.
const FINISH_MAX: Duration = Duration::from_millis(500);
/// A session longer on one batch than this hangs. The books then say nothing of progress any
/// more, and the supervisor acts.
const HANG: Duration = Duration::from_secs(10);
/// Runs that may fail in a row before the model itself is taken to be broken.
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
    /// An exchange without lanes, in which frames do not wait for company; `dispatcher` wakes the
    /// main loop.
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
    /// Told to end, but perhaps still on a batch.
    retiring: Vec<Handle>,
    /// Each session holds a clone; dropped when no more are to be started.
    alive: Option<SyncSender<()>>,
    /// Disconnected once every session thread has ended.
    ended: Receiver<()>,
}

/// What the dispatcher knows of a session thread.
#[derive(Debug, Clone, Default)]
struct Handle {
    /// When it began on the batch it is on; 0 while it is on none.
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
            taken: Vec::new(),
            on_device: Vec::new(),
            _alive: self.alive.clone(),
        };
        std::thread::Builder::new()
            .name(format!("session-{}", self.running.len()))
            .spawn(move || session.guarded())?;
        self.running.push(handle);
        Ok(())
    }

    /// Lets all but the first `count` end after the batch they are on.
    pub fn retire(&mut self, count: usize) {
        let leaving = self.running.split_off(count.min(self.running.len()));
        self.let_go(leaving);
    }

    /// Starts one thread an engine, and lets those that there are end after the batch they are on.
    ///
    /// # Errors
    /// When the system gives no more threads: then those that there are stay.
    pub fn replace(&mut self, engines: Vec<Engine>) -> Result<(), Failure> {
        let old = self.running.len();
        self.start(engines)?;
        let new = self.running.split_off(old);
        let leaving = std::mem::replace(&mut self.running, new);
        self.let_go(leaving);
        Ok(())
    }

    fn let_go(&mut self, leaving: Vec<Handle>) {
        for handle in leaving {
            handle.retired.store(true, Ordering::Relaxed);
            self.retiring.push(handle);
        }
        self.shared.exchange.rouse();
    }

    /// A session has been on one batch for too long.
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

    /// Waits, not for long, until every session has finished the batch it is on. The exchange
    /// must be closed.
    pub fn finish(&mut self) {
        self.alive.take();
        if self.ended.recv_timeout(FINISH_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a session is still running; its frames count as lost");
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
    /// The frames of the run, by the order in which they were added.
    taken: Vec<Taken>,
    /// Those that are still to be added, each with the number of the GPU that it lies on.
    on_device: Vec<(usize, HeldFrame)>,
    _alive: Option<SyncSender<()>>,
}

/// A frame whose tensor has been made, so that its slot is free.
struct Taken {
    sequence_number: u64,
    account: Arc<Account>,
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
        let mut batch = Vec::new();
        let batch_max = self.engine.batch_max();
        while shared
            .exchange
            .take(batch_max, monotonic_ns, retired, &mut batch)
        {
            let busy_since_ns = &handle.busy_since_ns;
            busy_since_ns.store(monotonic_ns(), Ordering::Relaxed);
            self.run_on(&mut batch)?;
            busy_since_ns.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Runs on a batch, and leaves it empty.
    fn run_on(&mut self, batch: &mut Vec<Turn<HeldFrame>>) -> Result<(), BusError> {
        let begin = Instant::now();
        for turn in batch.drain(..) {
            match turn {
                Turn::Stale { frame, .. } => frame.skip(Skip::Stale)?,
                Turn::Run { frame, .. } => match frame.frame().memory() {
                    MemoryKind::Host => self.take(frame),
                    MemoryKind::Cuda(slot) => {
                        self.on_device.push((slot.device as usize, frame));
                    }
                },
            }
        }
        self.take_on_device()?;
        if self.taken.is_empty() {
            return Ok(());
        }
        let Self {
            engine,
            shared,
            taken,
            ..
        } = self;
        engine.set_thresholds(*lock(&shared.thresholds));
        let mut failure = None;
        let mut any_result = false;
        let mut booked = Ok(());
        let ran = engine.run(|index, inference| {
            let Taken {
                sequence_number,
                account,
            } = &taken[index];
            let outcome = match inference {
                Ok(inference) => {
                    any_result = true;
                    account.inferred(*sequence_number, &inference, || begin.elapsed())
                }
                Err(error) => {
                    let sequence_number = *sequence_number;
                    tracing::warn!(sequence_number, %error, "no result for a frame");
                    failure = Some(error);
                    account.skipped(sequence_number, Skip::Failed)
                }
            };
            if booked.is_ok() {
                booked = outcome;
            }
        });
        booked?;
        if let Err(error) = ran {
            tracing::warn!(frames = taken.len(), %error, "no result for a batch");
            for Taken {
                sequence_number,
                account,
            } in taken.iter()
            {
                account.skipped(*sequence_number, Skip::Failed)?;
            }
            failure = Some(error);
        }
        taken.clear();
        match failure.filter(|_| !any_result) {
            None => shared.failures.store(0, Ordering::Relaxed),
            Some(error) => self.count_failure(&error),
        }
        Ok(())
    }

    /// Adds the frames that lie on GPUs to the next run, all of one GPU at once.
    fn take_on_device(&mut self) -> Result<(), BusError> {
        while let Some((ordinal, _)) = self.on_device.first() {
            let ordinal = *ordinal;
            let here = |(on, _): &mut (usize, HeldFrame)| *on == ordinal;
            let frames: Vec<_> = self.on_device.extract_if(.., here).collect();
            let pictures = frames.iter().filter_map(|(_, held)| {
                let frame = held.frame();
                let Pixels::Cuda(memory) = frame.pixels() else {
                    return None;
                };
                Some(DevicePicture {
                    layout: frame.layout(),
                    memory,
                    colour: frame.stamp().colour,
                })
            });
            let pictures: Vec<_> = pictures.collect();
            let added = self.engine.add_on_device(ordinal, &pictures);
            if let Err(error) = &added {
                tracing::warn!(frames = frames.len(), %error, "no tensors of frames on a GPU");
            }
            for (_, held) in frames {
                let sequence_number = held.frame().stamp().sequence_number;
                if added.is_err() {
                    held.skip(Skip::Failed)?;
                    continue;
                }
                self.taken.push(Taken {
                    sequence_number,
                    account: held.release(),
                });
            }
            if let Err(error) = added {
                self.count_failure(&error);
            }
        }
        Ok(())
    }

    /// A run has failed: too many in a row end the worker.
    fn count_failure(&self, error: &RuntimeError) {
        let failures = self.shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_MAX {
            self.shared
                .fail(format!("{failures} runs in a row failed: {error}"));
        }
    }

    /// Adds a frame to the next run.
    fn take(&mut self, held: HeldFrame) {
        let frame = held.frame();
        let sequence_number = frame.stamp().sequence_number;
        self.engine.add(&Picture {
            layout: frame.layout(),
            planes: [frame.plane(0), frame.plane(1), frame.plane(2)],
            colour: frame.stamp().colour,
        });
        // The tensor is made: the slot is free for the next frame while the model runs.
        let account = held.release();
        self.taken.push(Taken {
            sequence_number,
            account,
        });
    }
}
