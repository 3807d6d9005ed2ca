//! One stream at the dispatcher: its queue on the bus, its gate, its share of slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::detection::Skip;
use contract::spec::{InferStreamSpec, QueuePolicy};
use frame_bus::{BusError, Frame, FrameSubscriber, Incoming, Waker};

use crate::account::Account;
use crate::exchange::Exchange;
use crate::gate::{GateRules, StreamGate};
use crate::scheduler::{LaneId, LanePolicy};

/// Frames taken of one stream before the others are looked at again.
const RECEIVE_MAX: usize = 32;
/// A stream that is to leave is served for so long until its queue is found empty.
const LEAVE_MAX: Duration = Duration::from_millis(1500);
/// Then what is still in its queue is shed, in so many looks: its producer may go on for ever.
const LAST_LOOKS_MAX: usize = 8;

/// A frame that holds a slot of its stream, until it is dropped.
#[derive(Debug)]
pub struct HeldFrame {
    // Dropped in this order: the slot is told free after the bus has it back.
    frame: Frame,
    _slot: Slot,
    account: Arc<Account>,
}

impl HeldFrame {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Frees the slot; returns where the outcome of the frame is to be booked.
    #[must_use]
    pub fn release(self) -> Arc<Account> {
        self.account
    }

    /// Frees the slot and books why the model did not run.
    ///
    /// # Errors
    /// When the result cannot be published.
    pub fn skip(self, skip: Skip) -> Result<(), BusError> {
        let sequence_number = self.frame.stamp().sequence_number;
        self.release().skipped(sequence_number, skip)
    }
}

/// Slots of one stream that this worker holds, and whether the dispatcher waits for one.
#[derive(Debug)]
struct Slots {
    held: AtomicUsize,
    awaited: AtomicBool,
    dispatcher: Waker,
}

/// One slot that is held.
#[derive(Debug)]
struct Slot(Arc<Slots>);

impl Slot {
    fn take(slots: &Arc<Slots>) -> Self {
        slots.held.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(slots))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        if self.0.awaited.swap(false, Ordering::SeqCst) {
            self.0.dispatcher.wake();
        }
    }
}

/// What one look at a stream's queue has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Everything that was there has been taken.
    Empty,
    /// No more can be taken before a frame is released.
    Full,
    /// There may be more.
    More,
}

/// One stream, as the dispatcher sees it.
#[derive(Debug)]
pub struct Stream {
    topic: String,
    is_crops: bool,
    lane: LaneId,
    subscriber: FrameSubscriber,
    account: Arc<Account>,
    gate: Option<StreamGate>,
    slots: Arc<Slots>,
    held_max: usize,
    leaving: Leaving,
}

/// How far a stream that is to leave has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// Served on until its queue is empty.
    Since(Instant),
    /// Nothing is taken any more; what was taken gets its outcome.
    Closed,
}

impl Stream {
    /// Gives an opened stream its lane. `dispatcher` wakes the main loop of this worker.
    #[must_use]
    pub fn new(
        spec: &InferStreamSpec,
        parts: Parts,
        exchange: &Exchange<HeldFrame>,
        dispatcher: Waker,
    ) -> Self {
        let Parts {
            subscriber,
            account,
            rules,
        } = parts;
        Self {
            topic: spec.frames.topic(),
            is_crops: spec.frames.crops.is_some(),
            lane: exchange.add(lane_policy(spec), spec.priority),
            subscriber,
            account: Arc::new(account),
            gate: rules.map(|rules| StreamGate::new(rules, spec)),
            slots: Arc::new(Slots {
                held: AtomicUsize::new(0),
                awaited: AtomicBool::new(false),
                dispatcher,
            }),
            held_max: spec.frames.held_max as usize,
            leaving: Leaving::No,
        }
    }

    /// Which stream it is, by its service's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Crops come, not frames.
    #[must_use]
    pub fn is_crops(&self) -> bool {
        self.is_crops
    }

    /// Where its frames are booked.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Goes on with another gate, staleness and priority, from the next frame on.
    pub fn change(
        &mut self,
        spec: &InferStreamSpec,
        rules: Option<GateRules>,
        exchange: &Exchange<HeldFrame>,
    ) {
        exchange.change(self.lane, lane_policy(spec), spec.priority);
        self.gate = match (self.gate.take(), rules) {
            (Some(gate), Some(rules)) => Some(gate.replaced(rules, spec)),
            (None, Some(rules)) => Some(StreamGate::new(rules, spec)),
            (_, None) => None,
        };
    }

    /// Takes what is queued, as far as it may, and leaves it at the exchange.
    ///
    /// # Errors
    /// When the bus is broken.
    pub fn look(&mut self, exchange: &Exchange<HeldFrame>) -> Result<Looked, BusError> {
        for _ in 0..RECEIVE_MAX {
            if !self.may_take(exchange) {
                // Whoever releases a slot from now on wakes the dispatcher. One that was
                // released a moment ago did not, so it is looked at once more.
                self.slots.awaited.store(true, Ordering::SeqCst);
                if !self.may_take(exchange) {
                    return Ok(Looked::Full);
                }
            }
            match self.subscriber.receive() {
                Ok(Some(incoming)) => self.take(incoming, exchange)?,
                Ok(None) => return Ok(Looked::Empty),
                Err(BusError::HeldTooMany) => return Ok(Looked::Full),
                Err(error) => return Err(error),
            }
        }
        Ok(Looked::More)
    }

    /// The stream has ended and its consumer knows.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.account.ended()
    }

    /// From now on [`Stream::leave`] is called instead of [`Stream::look`].
    pub fn begin_to_leave(&mut self) {
        self.leaving = Leaving::Since(Instant::now());
    }

    /// Serves a stream that is to leave until its end has come, or its queue is empty, or it has
    /// been waited for long enough; then takes nothing more. `None` once every frame that was
    /// taken has its outcome and the consumer knows the end: nothing of it is left.
    ///
    /// # Errors
    /// When the bus is broken.
    pub fn leave(&mut self, exchange: &Exchange<HeldFrame>) -> Result<Option<Looked>, BusError> {
        let mut looked = Looked::Full;
        if let Leaving::Since(since) = self.leaving {
            looked = self.look(exchange)?;
            if looked != Looked::Empty && !self.ended() && since.elapsed() < LEAVE_MAX {
                return Ok(Some(looked));
            }
            self.close(exchange)?;
            looked = Looked::Empty;
        }
        if !self.ended() {
            return Ok(Some(looked));
        }
        exchange.remove(self.lane);
        Ok(None)
    }

    /// Accounts for what is still in the queue, and takes nothing more.
    fn close(&mut self, exchange: &Exchange<HeldFrame>) -> Result<(), BusError> {
        self.leaving = Leaving::Closed;
        for _ in 0..LAST_LOOKS_MAX {
            if self.look(exchange)? != Looked::More {
                break;
            }
        }
        self.account.close()
    }

    /// The bus lends `held_max` frames and one more, so a newest frame can be taken while
    /// the one whose place it takes is still held.
    fn may_take(&self, exchange: &Exchange<HeldFrame>) -> bool {
        let held = self.slots.held.load(Ordering::SeqCst);
        let closed = self.leaving == Leaving::Closed;
        held <= self.held_max && (closed || exchange.wants_more(self.lane))
    }

    fn take(&mut self, incoming: Incoming, exchange: &Exchange<HeldFrame>) -> Result<(), BusError> {
        match incoming {
            Incoming::Frame(frame) => self.take_frame(frame, exchange),
            Incoming::EndOfStream {
                next_sequence,
                epoch,
            } => self.account.end(next_sequence, epoch),
            Incoming::Invalid {
                sequence_number,
                epoch,
                reason,
            } => {
                tracing::warn!(sequence_number, %reason, "a frame cannot be used");
                if self.account.arrive(sequence_number, epoch)? {
                    self.account.skipped(sequence_number, Skip::Failed)?;
                }
                Ok(())
            }
        }
    }

    fn take_frame(&mut self, frame: Frame, exchange: &Exchange<HeldFrame>) -> Result<(), BusError> {
        let stamp = *frame.stamp();
        if !self.account.arrive(stamp.sequence_number, frame.epoch())? {
            return Ok(());
        }
        let held = HeldFrame {
            frame,
            _slot: Slot::take(&self.slots),
            account: Arc::clone(&self.account),
        };
        if self.gate.as_mut().is_some_and(|gate| !gate.admit(&stamp)) {
            return held.skip(Skip::Gated);
        }
        if self.leaving == Leaving::Closed {
            return held.skip(Skip::Shed);
        }
        match exchange.offer(self.lane, stamp.captured_ns, held, monotonic_ns()) {
            Some(displaced) => displaced.skip(Skip::Shed),
            None => Ok(()),
        }
    }
}

/// What a stream is made of, each of which may refuse to be opened.
#[derive(Debug)]
pub struct Parts {
    /// Its queue on the bus.
    pub subscriber: FrameSubscriber,
    /// Its book and its results.
    pub account: Account,
    /// Its gate; `None`: every frame is let through.
    pub rules: Option<GateRules>,
}

/// How a stream's frames wait for a session.
fn lane_policy(spec: &InferStreamSpec) -> LanePolicy {
    let pending_max = spec.frames.held_max as usize;
    let staleness_max_ns = spec.max_staleness_ms.saturating_mul(1_000_000);
    match spec.frames.policy {
        QueuePolicy::Wait => LanePolicy::Lossless { pending_max },
        // A newer crop is of another object: it replaces nothing.
        _ if spec.frames.crops.is_some() => LanePolicy::Queued {
            pending_max,
            staleness_max_ns,
        },
        QueuePolicy::DropOldest | QueuePolicy::DropLatest => {
            LanePolicy::NewestFirst { staleness_max_ns }
        }
    }
}
