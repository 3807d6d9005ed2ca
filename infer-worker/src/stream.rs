//! One stream at the dispatcher: its queue on the bus, its gate, its share of slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use contract::detection::Skip;
use contract::name::ModelName;
use contract::spec::{InferStreamSpec, QueuePolicy};
use dsl::{Gate, GateFacts, GateProgram};
use frame_bus::{Bus, BusError, Frame, FrameSubscriber, Incoming, Waker};
use worker::Failure;

use crate::account::Account;
use crate::exchange::Exchange;
use crate::scheduler::LanePolicy;

/// Frames taken of one stream before the others are looked at again.
const RECEIVE_MAX: usize = 32;

/// A frame that holds a slot of its stream, until it is dropped.
#[derive(Debug)]
pub struct HeldFrame {
    // Dropped in this order: the slot is told free after the bus has it back.
    frame: Frame,
    _slot: Slot,
}

impl HeldFrame {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
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
    /// Everything that was there has been taken, or cannot be before a slot is released.
    Done,
    /// There may be more.
    More,
}

/// One stream, as the dispatcher sees it.
#[derive(Debug)]
pub struct Stream {
    lane: usize,
    subscriber: FrameSubscriber,
    account: Arc<Account>,
    gate: Option<Gate>,
    slots: Arc<Slots>,
    held_max: usize,
}

impl Stream {
    /// Opens the stream for receiving. `dispatcher` wakes the main loop of this worker.
    ///
    /// # Errors
    /// When the gate is no gate, or the bus refuses.
    pub fn open(
        bus: &Bus,
        model: &ModelName,
        spec: &InferStreamSpec,
        lane: usize,
        account: Arc<Account>,
        dispatcher: Waker,
    ) -> Result<Self, Failure> {
        let name = &spec.frames.stream;
        let gate = spec.gate.as_deref().map(|text| {
            let program = GateProgram::parse(text).map_err(|diagnostics| {
                let messages = diagnostics
                    .iter()
                    .map(|diagnostic| diagnostic.message.as_str());
                let messages = messages.collect::<Vec<_>>().join("; ");
                Failure::bad_config(format!(
                    "the gate `{text}` of `{model}` on `{name}`: {messages}"
                ))
            })?;
            Ok(Gate::new(program))
        });
        let subscriber = FrameSubscriber::open(bus, &spec.frames)
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self {
            lane,
            subscriber,
            account,
            gate: gate.transpose()?,
            slots: Arc::new(Slots {
                held: AtomicUsize::new(0),
                awaited: AtomicBool::new(false),
                dispatcher,
            }),
            held_max: spec.frames.held_max as usize,
        })
    }

    /// How its frames wait for a session.
    #[must_use]
    pub fn lane_policy(spec: &InferStreamSpec) -> LanePolicy {
        match spec.frames.policy {
            QueuePolicy::DropOldest | QueuePolicy::DropLatest => LanePolicy::NewestFirst {
                staleness_max_ns: spec.max_staleness_ms.saturating_mul(1_000_000),
            },
            QueuePolicy::Wait => LanePolicy::Lossless {
                pending_max: spec.frames.held_max as usize,
            },
        }
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
                    return Ok(Looked::Done);
                }
            }
            match self.subscriber.receive() {
                Ok(Some(incoming)) => self.take(incoming, exchange)?,
                Ok(None) | Err(BusError::HeldTooMany) => return Ok(Looked::Done),
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

    /// The bus lends `held_max` frames and one more, so a newest frame can be taken while
    /// the one whose place it takes is still held.
    fn may_take(&self, exchange: &Exchange<HeldFrame>) -> bool {
        self.slots.held.load(Ordering::SeqCst) <= self.held_max && exchange.wants_more(self.lane)
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
        let facts = GateFacts {
            motion: stamp.motion,
            pts_ns: stamp.pts_ns,
        };
        if self.gate.as_mut().is_some_and(|gate| !gate.admit(&facts)) {
            drop(frame);
            return self.account.skipped(stamp.sequence_number, Skip::Gated);
        }
        let held = HeldFrame {
            frame,
            _slot: Slot::take(&self.slots),
        };
        match exchange.offer(self.lane, stamp.captured_ns, held) {
            Some(displaced) => {
                let sequence_number = displaced.frame().stamp().sequence_number;
                drop(displaced);
                self.account.skipped(sequence_number, Skip::Shed)
            }
            None => Ok(()),
        }
    }
}
