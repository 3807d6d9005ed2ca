//! From pictures to the bus, with the books.
//!
//! Each frame changes the book twice. First `captured` grows: the frame is in
//! the worker. Then, in one commit, either `published` or the reason of its drop
//! grows. `published` is the next sequence number, so it is committed before the
//! frame is sent: a worker killed between the two leaves a gap, which consumers
//! count as lost, and never a number twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::geometry::{I420Layout, PixelSize};
use contract::ledger::IngestCounters;
use contract::spec::{FrameMemory, IngestSpec, MotionSpec, QueuePolicy};
use cuda::{Device, Staging};
use frame_bus::{
    BookWriter, Bus, BusError, FrameLoan, FramePublisher, FrameStamp, Interrupter, PixelsMut, Waker,
};
use gstreamer as gst;
use worker::{Control, Failure};

use crate::frame::Decoded;
use crate::motion::MotionDetector;
use crate::reference;

/// How often a worker that waits for room says that it is alive, and listens for orders.
const WAITING_TURN: Duration = Duration::from_millis(200);
/// Ordered to drain, a worker waits so long for the room of its last frame.
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

/// The book, shared with the thread that keeps it alive while the main loop waits for room.
#[derive(Debug, Clone)]
pub struct Book {
    writer: Arc<Mutex<BookWriter<IngestCounters>>>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, BookWriter<IngestCounters>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the counters in one commit.
    pub fn update(&self, change: impl FnOnce(&mut IngestCounters)) {
        self.lock().update(change);
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> IngestCounters {
        self.lock().counters().clone()
    }

    /// Says that the worker is alive.
    pub fn tick(&self) {
        self.lock().tick();
    }
}

/// The way out of one stream.
#[derive(Debug)]
pub struct Output {
    book: Book,
    publisher: FramePublisher,
    /// The way to the GPU, where frames lie there.
    staging: Option<Staging>,
    wakers: Vec<Waker>,
    motion: MotionDetector,
    policy: QueuePolicy,
    waiting: Option<Waiting>,
}

impl Output {
    /// Opens the frames of the stream and its book; `incarnation` counts the worker's starts.
    ///
    /// # Errors
    /// When either cannot be opened.
    pub fn open(bus: &Bus, spec: &IngestSpec, incarnation: u32) -> Result<Self, Failure> {
        let writer = BookWriter::open(&spec.book).map_err(|error| failed(&error))?;
        let book = Book {
            writer: Arc::new(Mutex::new(writer)),
        };
        let publisher =
            FramePublisher::open(bus, &spec.frames, incarnation).map_err(|error| failed(&error))?;
        let staging = match spec.frames.memory {
            FrameMemory::Host => None,
            FrameMemory::Cuda(ordinal) => {
                let bytes = I420Layout::of(spec.frames.size).bytes;
                let staging = Device::open(ordinal as usize)
                    .and_then(|device| Staging::new(&device, bytes))
                    .map_err(|error| failed(&error.into()))?;
                Some(staging)
            }
        };
        let wakers = spec.consumers.iter().map(|worker| Waker::open(bus, worker));
        Ok(Self {
            wakers: wakers
                .collect::<Result<_, _>>()
                .map_err(|error| failed(&error))?,
            book,
            publisher,
            staging,
            motion: MotionDetector::new(&spec.motion),
            policy: spec.frames.policy,
            waiting: None,
        })
    }

    /// Call it when the worker has been told to start, before the first frame: waits until the
    /// consumers are connected.
    ///
    /// # Errors
    /// When the bus is broken or no thread can be started.
    pub fn begin(&mut self, control: &Control) -> Result<(), Failure> {
        if self.policy == QueuePolicy::Wait {
            let interrupter = self.publisher.interrupter();
            let waiting = Waiting::watch(self.book.clone(), interrupter, control.clone())?;
            self.waiting = Some(waiting);
        }
        self.publisher
            .begin_of_stream(|| self.wake())
            .map_err(|error| failed(&error))
    }

    /// Measures motion by other settings from the next frame on.
    pub fn reconfigure_motion(&mut self, spec: &MotionSpec) {
        self.motion.reconfigure(spec);
    }

    /// The book.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Publishes a picture that should be of `size`, or says in the book why not.
    ///
    /// # Errors
    /// When the bus is broken.
    pub fn publish(
        &mut self,
        sample: &gst::SampleRef,
        size: PixelSize,
        pts_ns: u64,
        discontinuity: bool,
    ) -> Result<(), Failure> {
        let buffer = sample.buffer();
        let captured_ns = buffer.and_then(reference::captured_ns);
        let captured_ns = captured_ns.unwrap_or_else(monotonic_ns);
        self.book.update(|book| book.captured += 1);
        let decoded = Decoded::map(sample, size);
        let luma = decoded.as_ref().and_then(Decoded::luma);
        let (Some(decoded), Some((luma, stride))) = (&decoded, luma) else {
            self.book.update(|book| book.dropped_invalid += 1);
            return Ok(());
        };
        if discontinuity {
            self.motion.forget();
        }
        let motion = self.motion.measure(luma, stride, size, pts_ns);
        let Some(loan) = self.filled(decoded, size)? else {
            return Ok(());
        };
        let stamp = FrameStamp {
            sequence_number: self.book.counters().published,
            pts_ns,
            captured_ns,
            motion: motion.fraction,
            moved: motion.moved,
            colour: decoded.matrix(),
            discontinuity,
        };
        self.book.update(|book| book.published += 1);
        if let Some(waiting) = &self.waiting {
            waiting.begin();
        }
        let sent = self.publisher.publish(loan, &stamp);
        if let Some(waiting) = &self.waiting {
            waiting.end();
        }
        sent.map_err(|error| failed(&error))?;
        self.wake();
        Ok(())
    }

    /// A slot with the picture in it; `None` when it was dropped, and counted.
    fn filled(&mut self, decoded: &Decoded, size: PixelSize) -> Result<Option<FrameLoan>, Failure> {
        let Some(mut loan) = self.publisher.loan(size).map_err(|error| failed(&error))? else {
            self.book.update(|book| book.dropped_no_slot += 1);
            return Ok(None);
        };
        let layout = loan.layout();
        let is_whole = match (loan.pixels_mut(), &mut self.staging) {
            (PixelsMut::Host(bytes), _) => decoded.copy_into(bytes, &layout),
            (PixelsMut::Cuda(slot), Some(staging)) => {
                let is_whole =
                    decoded.copy_into(&mut staging.memory_mut()[..layout.bytes], &layout);
                if is_whole {
                    let uploaded = staging.upload(layout.bytes, slot);
                    uploaded.map_err(|error| failed(&error.into()))?;
                }
                is_whole
            }
            // The publisher lends such slots only where `open` made the way to them.
            (PixelsMut::Cuda(_), None) => false,
        };
        if !is_whole {
            self.book.update(|book| book.dropped_invalid += 1);
            return Ok(None);
        }
        Ok(Some(loan))
    }

    /// Counts a frame that was decoded after the order to drain.
    pub fn drop_stopping(&self) {
        self.book.update(|book| {
            book.captured += 1;
            book.dropped_stopping += 1;
        });
    }

    /// Tells all consumers that the stream has ended.
    ///
    /// # Errors
    /// When the bus is broken.
    pub fn end_of_stream(&self) -> Result<(), Failure> {
        let next_sequence = self.book.counters().published;
        let wake = || {
            self.wake();
            self.book.tick();
        };
        self.publisher
            .end_of_stream(next_sequence, wake)
            .map_err(|error| failed(&error))
    }

    fn wake(&self) {
        for waker in &self.wakers {
            waker.wake();
        }
        let count = self.wakers.len() as u64;
        self.book.update(|book| book.wakeups_sent += count);
    }
}

fn failed(error: &BusError) -> Failure {
    if error.is_missing_gpu() {
        let help = "set `memory: host`, or install the driver";
        return Failure::bad_config(format!("`memory: cuda`: {error}; {help}"));
    }
    Failure::failed(error.to_string())
}

/// Looks after a main loop that waits for room on the bus, under [`QueuePolicy::Wait`] only.
///
/// Waiting is not hanging, so the book goes on saying that the worker lives; and an
/// order to leave must end the waiting, which the main loop cannot hear.
#[derive(Debug)]
struct Waiting {
    blocked: Arc<AtomicBool>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    fn watch(book: Book, interrupter: Interrupter, control: Control) -> Result<Self, Failure> {
        let blocked = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = sync_channel(0);
        let waits = Arc::clone(&blocked);
        let thread = std::thread::Builder::new()
            .name("waiting".to_owned())
            .spawn(move || {
                let mut ordered_at = None;
                while stopped.recv_timeout(WAITING_TURN) == Err(RecvTimeoutError::Timeout) {
                    if !waits.load(Ordering::Relaxed) {
                        continue;
                    }
                    book.tick();
                    if control.draining() && ordered_at.is_none() {
                        ordered_at = Some(Instant::now());
                    }
                    let impatient = |at: Instant| at.elapsed() >= DRAIN_PATIENCE;
                    if control.stopping() || ordered_at.is_some_and(impatient) {
                        interrupter.interrupt();
                    }
                }
            })
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            blocked,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn begin(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        self.blocked.store(false, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It ends at once; whether it panicked does not matter any more.
            let _ = thread.join();
        }
    }
}
