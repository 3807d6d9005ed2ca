//! Frames from one producer to all consumers of a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::{FrameMemory, FrameServiceSpec, QueuePolicy};
use cuda::{Device, DeviceSlice};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::port::{BackpressureAction, LoanError, ReceiveError, SendError};
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;
use iceoryx2::sample_mut::SampleMut;

use crate::budget::frame_slots;
use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::device::{self, Pool, Pools, Slot, Slots};
use crate::error::BusError;
use crate::header::{CheckedFrame, CudaSlot, FrameHeader, FrameStamp, Mark, MemoryKind};
use crate::wake::{EVENT_BEGIN_SEEN, EVENT_END_SEEN, EVENT_LOOK, Listener, Waker};

/// Slots begin on a page, so that no two frames share one and devices can map them.
pub(crate) const SLOT_ALIGNMENT: usize = 4096;
/// Slots a producer fills at the same time: one frame, and an end marker.
pub(crate) const LOANED_MAX: usize = 2;
/// A producer that waits for room looks again at least so often, in case its consumer has died.
const ROOM_WAIT: Duration = Duration::from_millis(50);
/// A producer waits so long for its consumers to have seen its stream begin, or end.
const MARK_SEEN_WAIT: Duration = Duration::from_secs(1);
/// A mark that was not seen is sent again after this.
const MARK_REPEAT: Duration = Duration::from_millis(20);

/// Sets a flag that makes a publisher stop waiting for room. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Interrupter {
    flag: Arc<AtomicBool>,
}

/// Whether the back-pressure handler waits at all: not for marks, which are repeated anyway.
#[derive(Debug, Clone, Default)]
struct Patience {
    interrupter: Interrupter,
    marking: Arc<AtomicBool>,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.interrupter.interrupted() || self.marking.load(Ordering::Relaxed)
    }
}

impl Interrupter {
    /// From now on no [`FramePublisher::publish`] of this publisher waits.
    pub fn interrupt(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

fn open_service(bus: &Bus, spec: &FrameServiceSpec) -> Result<BytesService<FrameHeader>, BusError> {
    bus.bytes(
        &spec.topic(),
        &ServiceShape {
            alignment: SLOT_ALIGNMENT,
            overflow: spec.policy == QueuePolicy::DropOldest,
            buffer: spec.depth as usize,
            history: 0,
            held: spec.held_max as usize,
            subscribers: spec.consumers_max as usize,
        },
    )
}

fn taken_name(spec: &FrameServiceSpec) -> String {
    format!("taken/{}", spec.topic())
}

fn seen_name(spec: &FrameServiceSpec) -> String {
    format!("seen/{}", spec.topic())
}

/// The producer's side of a stream.
#[derive(Debug)]
pub struct FramePublisher {
    service: BytesService<FrameHeader>,
    port: Publisher<Service, [u8], FrameHeader>,
    seen: Listener,
    patience: Patience,
    slot_bytes: usize,
    /// Where the pixels lie, if not in the payload.
    slots: Option<Slots>,
    epoch: u32,
}

impl FramePublisher {
    /// Opens the stream for publishing; `epoch` counts the producer's starts.
    ///
    /// Frames in the memory of a GPU get a pool of their own there, which the run's
    /// [keeper](crate::PoolKeeper) is given.
    ///
    /// # Errors
    /// When the service exists with other sizes, or has a living producer; when there is no such
    /// GPU, or no room on it.
    pub fn open(bus: &Bus, spec: &FrameServiceSpec, epoch: u32) -> Result<Self, BusError> {
        let service = open_service(bus, spec)?;
        let patience = Patience::default();
        let slot_bytes = I420Layout::of(spec.size).bytes;
        let slots = open_pool(bus, spec, slot_bytes)?;
        let payload_bytes = match &slots {
            None => slot_bytes,
            Some(_) => size_of::<CudaSlot>(),
        };
        let builder = service
            .publisher_builder()
            .initial_max_slice_len(payload_bytes)
            .allocation_strategy(AllocationStrategy::Static)
            .max_loaned_samples(LOANED_MAX);
        let builder = match spec.policy {
            QueuePolicy::DropOldest | QueuePolicy::DropLatest => {
                builder.backpressure_strategy(BackpressureStrategy::DiscardData)
            }
            QueuePolicy::Wait => {
                let room = Listener::named(bus, &taken_name(spec))?;
                let patience = patience.clone();
                builder
                    .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
                    .set_backpressure_handler(move |_| {
                        // A consumer that dies stays connected until it is cleaned up; then the
                        // retry finds it gone. So waiting here never waits on the dead for long.
                        if patience.is_over() || room.wait(ROOM_WAIT).is_err() {
                            BackpressureAction::DiscardData
                        } else {
                            BackpressureAction::Retry
                        }
                    })
            }
        };
        let port = builder.create().map_err(|error| {
            BusError::open(format!("the producer of `{}`", spec.topic()), &error)
        })?;
        Ok(Self {
            service,
            port,
            seen: Listener::named(bus, &seen_name(spec))?,
            patience,
            slot_bytes,
            slots,
            epoch,
        })
    }

    /// A handle that ends waiting for room, for use by another thread.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.patience.interrupter.clone()
    }

    /// Consumers connected now.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.service.dynamic_config().number_of_subscribers()
    }

    /// A free slot for a picture of `size`; `None` when consumers hold them all.
    ///
    /// # Errors
    /// When the picture is larger than the stream's slots.
    pub fn loan(&self, size: PixelSize) -> Result<Option<FrameLoan>, BusError> {
        let layout = I420Layout::of(size);
        if layout.bytes > self.slot_bytes {
            return Err(BusError::TooLarge {
                bytes: layout.bytes,
                slot_bytes: self.slot_bytes,
            });
        }
        let payload_bytes = match &self.slots {
            None => layout.bytes,
            Some(_) => size_of::<CudaSlot>(),
        };
        let Some(mut sample) = self.loan_bytes(payload_bytes)? else {
            return Ok(None);
        };
        let slot = match &self.slots {
            None => None,
            Some(slots) => {
                let slot = slots.of(sample.payload().as_ptr())?;
                let handle = slot.handle();
                let payload = sample.payload_mut();
                payload.copy_from_slice(bytemuck::bytes_of(&handle));
                Some(slot)
            }
        };
        Ok(Some(FrameLoan {
            sample,
            layout,
            slot,
        }))
    }

    #[expect(unsafe_code, reason = "bytes of shared memory are always initialised")]
    fn loan_bytes(
        &self,
        bytes: usize,
    ) -> Result<Option<SampleMut<Service, [u8], FrameHeader>>, BusError> {
        match self.port.loan_slice_uninit(bytes) {
            // SAFETY: the slot lies in a shared memory segment, which the kernel hands out
            // zeroed and which only ever held bytes; every bit pattern is a valid `u8`.
            Ok(sample) => Ok(Some(unsafe { sample.assume_init() })),
            Err(LoanError::OutOfMemory | LoanError::ExceedsMaxLoans) => Ok(None),
            Err(error) => Err(BusError::port("loan a slot", &error)),
        }
    }

    /// Sends a filled slot to all consumers; says to how many it went.
    ///
    /// Under [`QueuePolicy::Wait`] this sleeps until each living consumer has room,
    /// or until the [`Interrupter`] is used; who then has no room finds a gap.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn publish(&self, mut loan: FrameLoan, stamp: &FrameStamp) -> Result<usize, BusError> {
        let is_on_device = loan.slot.is_some();
        *loan.sample.user_header_mut() =
            FrameHeader::new(stamp, &loan.layout, self.epoch, is_on_device);
        self.send(loan.sample)
    }

    fn send(&self, sample: SampleMut<Service, [u8], FrameHeader>) -> Result<usize, BusError> {
        sample
            .send()
            .map_err(|error: SendError| BusError::port("publish a frame", &error))
    }

    /// Tells all consumers that the stream begins, and waits (one second at most) until they
    /// have seen it. Call it before the first frame.
    ///
    /// iceoryx2 connects a consumer when it next looks at its queue; until then it holds a
    /// queue's length of frames for it and silently discards the rest, whatever the policy.
    /// Who has seen the beginning is connected. `wake` wakes the consumers.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn begin_of_stream(&self, wake: impl Fn()) -> Result<(), BusError> {
        self.patience.marking.store(true, Ordering::Relaxed);
        let header = FrameHeader::begin_of_stream(self.epoch);
        let marked = self.mark(header, EVENT_BEGIN_SEEN, wake);
        self.patience.marking.store(false, Ordering::Relaxed);
        marked
    }

    /// Tells all consumers that the stream ends and how many frames it had, and waits
    /// (one second at most) until they have seen it: a producer that leaves earlier takes
    /// with it what a consumer has not taken yet. Nothing can be published after it.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn end_of_stream(&self, next_sequence: u64, wake: impl Fn()) -> Result<(), BusError> {
        self.patience.marking.store(true, Ordering::Relaxed);
        let header = FrameHeader::end_of_stream(next_sequence, self.epoch);
        self.mark(header, EVENT_END_SEEN, wake)
    }

    /// Sends a mark, again and again since it may find a full queue, until all have seen it.
    fn mark(&self, header: FrameHeader, event: usize, wake: impl Fn()) -> Result<(), BusError> {
        let begin = Instant::now();
        let consumers = self.consumers() as u64;
        let mut seen = 0;
        while seen < consumers && begin.elapsed() < MARK_SEEN_WAIT {
            if let Some(mut sample) = self.loan_bytes(1)? {
                *sample.user_header_mut() = header;
                self.send(sample)?;
            }
            wake();
            let mut count = |id, times| {
                if id == event {
                    seen += times;
                }
            };
            self.seen.wait_counting(MARK_REPEAT, &mut count)?;
        }
        Ok(())
    }
}

/// Makes the pool of a producer, where its frames lie on a GPU, and leaves it with the keeper.
fn open_pool(
    bus: &Bus,
    spec: &FrameServiceSpec,
    slot_bytes: usize,
) -> Result<Option<Slots>, BusError> {
    let FrameMemory::Cuda(ordinal) = spec.memory else {
        return Ok(None);
    };
    let device = Device::open(ordinal as usize)?;
    let pool = Pool::create(&device, frame_slots(spec), slot_bytes)?;
    device::put(bus.pools(), &spec.topic(), &pool)?;
    Ok(Some(Slots::new(pool)))
}

/// A free slot, to be filled and published.
#[derive(Debug)]
pub struct FrameLoan {
    sample: SampleMut<Service, [u8], FrameHeader>,
    layout: I420Layout,
    /// Where the pixels go, if not to the payload.
    slot: Option<Slot>,
}

/// Where a picture is to be written.
#[derive(Debug)]
pub enum PixelsMut<'a> {
    /// Bytes of this machine.
    Host(&'a mut [u8]),
    /// Memory of a GPU. All that writes to it must be done before the frame is published.
    Cuda(DeviceSlice<'a>),
}

/// Where a picture lies.
#[derive(Debug, Clone, Copy)]
pub enum Pixels<'a> {
    /// In memory of this machine.
    Host(&'a [u8]),
    /// In memory of a GPU. All that reads it must be done before the frame is dropped.
    Cuda(DeviceSlice<'a>),
}

impl FrameLoan {
    /// How the picture must lie in [`FrameLoan::payload_mut`].
    #[must_use]
    pub fn layout(&self) -> I420Layout {
        self.layout
    }

    /// The slot, `layout().bytes` long or longer, with whatever an earlier frame left there.
    pub fn pixels_mut(&mut self) -> PixelsMut<'_> {
        match &self.slot {
            None => PixelsMut::Host(self.sample.payload_mut()),
            Some(slot) => PixelsMut::Cuda(slot.memory()),
        }
    }

    /// The slot's bytes, `layout().bytes` of them, with whatever an earlier frame left there; none
    /// where the stream's frames lie on a GPU.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        match self.slot {
            None => self.sample.payload_mut(),
            Some(_) => &mut [],
        }
    }
}

/// What a consumer takes from a stream.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a frame is what almost always comes; it is moved, never stored as this"
)]
pub enum Incoming {
    /// A frame.
    Frame(Frame),
    /// The producer has ended; `next_sequence` frames were published.
    EndOfStream {
        /// The number the next frame would have had.
        next_sequence: u64,
        /// The producer's epoch.
        epoch: u32,
    },
    /// Something that must not be used.
    Invalid {
        /// The number it claims to have.
        sequence_number: u64,
        /// The epoch it claims to be of.
        epoch: u32,
        /// What is wrong with it.
        reason: BusError,
    },
}

/// A consumer's side of a stream.
#[derive(Debug)]
pub struct FrameSubscriber {
    port: Subscriber<Service, [u8], FrameHeader>,
    /// Under [`QueuePolicy::Wait`] only.
    taken: Option<Waker>,
    seen: Waker,
    /// Where frames lie on a GPU.
    pools: Option<Pools>,
    begin_told: Option<u32>,
    end_told: Option<(u64, u32)>,
}

impl FrameSubscriber {
    /// Opens the stream for consuming; frames published from now on are received.
    ///
    /// # Errors
    /// When the service exists with other sizes or has as many consumers as it may.
    pub fn open(bus: &Bus, spec: &FrameServiceSpec) -> Result<Self, BusError> {
        let port = open_service(bus, spec)?
            .subscriber_builder()
            .buffer_size(spec.depth as usize)
            .create()
            .map_err(|error| BusError::open(format!("a consumer of `{}`", spec.topic()), &error))?;
        let taken = match spec.policy {
            QueuePolicy::Wait => Some(Waker::named(bus, &taken_name(spec))?),
            QueuePolicy::DropOldest | QueuePolicy::DropLatest => None,
        };
        Ok(Self {
            port,
            taken,
            seen: Waker::named(bus, &seen_name(spec))?,
            pools: match spec.memory {
                FrameMemory::Host => None,
                FrameMemory::Cuda(_) => Some(Pools::new(bus.pools())),
            },
            begin_told: None,
            end_told: None,
        })
    }

    /// Takes the oldest queued frame; `None` when the queue is empty.
    ///
    /// # Errors
    /// [`BusError::HeldTooMany`] when this consumer has not released enough frames.
    pub fn receive(&mut self) -> Result<Option<Incoming>, BusError> {
        loop {
            let Some(sample) = self.take()? else {
                return Ok(None);
            };
            let header = *sample.user_header();
            match header.mark() {
                Ok(Mark::BeginOfStream) => self.tell_begin(header.epoch()),
                Ok(Mark::EndOfStream) => return Ok(Some(self.end(&header))),
                Ok(Mark::Data) | Err(_) => return Ok(Some(self.incoming(sample, &header))),
            }
        }
    }

    fn take(&self) -> Result<Option<Sample<Service, [u8], FrameHeader>>, BusError> {
        match self.port.receive() {
            Ok(Some(sample)) => {
                if let Some(taken) = &self.taken {
                    taken.notify(EVENT_LOOK);
                }
                Ok(Some(sample))
            }
            Ok(None) => {
                // The producer may be new: connect before it can be gone again.
                self.port
                    .update_connections()
                    .map_err(|error| BusError::port("connect to a producer", &error))?;
                Ok(None)
            }
            Err(ReceiveError::ExceedsMaxBorrows) => Err(BusError::HeldTooMany),
            Err(error) => Err(BusError::port("receive a frame", &error)),
        }
    }

    /// A mark comes several times; each consumer answers once.
    fn tell_begin(&mut self, epoch: u32) {
        if self.begin_told.replace(epoch) != Some(epoch) {
            self.seen.notify(EVENT_BEGIN_SEEN);
        }
    }

    fn end(&mut self, header: &FrameHeader) -> Incoming {
        let (next_sequence, epoch) = (header.sequence_number(), header.epoch());
        let end = (next_sequence, epoch);
        if self.end_told.replace(end) != Some(end) {
            self.seen.notify(EVENT_END_SEEN);
        }
        Incoming::EndOfStream {
            next_sequence,
            epoch,
        }
    }

    fn incoming(
        &mut self,
        sample: Sample<Service, [u8], FrameHeader>,
        header: &FrameHeader,
    ) -> Incoming {
        let (sequence_number, epoch) = (header.sequence_number(), header.epoch());
        let checked = header.checked(sample.payload());
        match checked.and_then(|checked| Ok((self.slot_of(&checked)?, checked))) {
            Ok((slot, checked)) => Incoming::Frame(Frame {
                sample,
                checked,
                slot,
                epoch,
            }),
            Err(reason) => Incoming::Invalid {
                sequence_number,
                epoch,
                reason,
            },
        }
    }

    /// Where the pixels lie, if not in the payload.
    fn slot_of(&mut self, checked: &CheckedFrame) -> Result<Option<Slot>, BusError> {
        match (checked.memory, &mut self.pools) {
            (MemoryKind::Host, None) => Ok(None),
            (MemoryKind::Host, Some(_)) => Err(BusError::Memory("host")),
            (MemoryKind::Cuda(_), None) => Err(BusError::Memory("CUDA")),
            (MemoryKind::Cuda(handle), Some(pools)) => {
                pools.of(&handle, checked.layout.bytes).map(Some)
            }
        }
    }
}

/// A frame in shared memory. Dropping it frees its slot.
#[derive(Debug)]
pub struct Frame {
    sample: Sample<Service, [u8], FrameHeader>,
    checked: CheckedFrame,
    slot: Option<Slot>,
    epoch: u32,
}

impl Frame {
    /// What its producer says of it.
    #[must_use]
    pub fn stamp(&self) -> &FrameStamp {
        &self.checked.stamp
    }

    /// Which start of the producer it comes from.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Where its pixels lie.
    #[must_use]
    pub fn memory(&self) -> MemoryKind {
        self.checked.memory
    }

    /// How the picture lies in [`Frame::payload`].
    #[must_use]
    pub fn layout(&self) -> &I420Layout {
        &self.checked.layout
    }

    /// The picture.
    #[must_use]
    pub fn pixels(&self) -> Pixels<'_> {
        match &self.slot {
            None => Pixels::Host(self.sample.payload()),
            Some(slot) => Pixels::Cuda(slot.memory()),
        }
    }

    /// The picture, `layout().bytes` long; nothing where it lies on a GPU.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self.slot {
            None => self.sample.payload(),
            Some(_) => &[],
        }
    }

    /// One plane: 0 is Y, 1 is U, 2 is V; `strides[index] * rows[index]` bytes.
    ///
    /// # Panics
    /// When `index` is over 2, or the picture lies on a GPU.
    #[must_use]
    pub fn plane(&self, index: usize) -> &[u8] {
        let layout = self.layout();
        let begin = layout.offsets[index];
        &self.payload()[begin..begin + layout.strides[index] * layout.rows[index]]
    }
}
