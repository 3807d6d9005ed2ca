//! Small pictures of a stream for a mosaic: from its render worker to the mosaic's ingest worker.
//!
//! Nobody waits for the other. The mosaic looks at its own rate and wants the newest; a member
//! that finds no slot goes on without. Who is not there is not missed.

use contract::geometry::{I420Layout, PixelSize};
use contract::name::StreamName;
use iceoryx2::port::LoanError;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;
use iceoryx2::sample_mut::SampleMut;

use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::error::BusError;
use crate::header::{TileHeader, TileStamp};

/// Tiles queued for the mosaic: the newest is what it wants, and one more may come while it looks.
pub(crate) const TILES_DEPTH: usize = 2;

fn open_service(
    bus: &Bus,
    mosaic: &StreamName,
    member: &StreamName,
) -> Result<BytesService<TileHeader>, BusError> {
    bus.bytes(
        &format!("tiles/{mosaic}/{member}"),
        &ServiceShape {
            alignment: 64,
            overflow: true,
            buffer: TILES_DEPTH,
            history: 0,
            held: 1,
            // The second is a restarted worker whose dead self is not cleaned up yet.
            subscribers: 2,
        },
    )
}

/// The member's side.
#[derive(Debug)]
pub struct TilePublisher {
    port: Publisher<Service, [u8], TileHeader>,
    slot_bytes: usize,
    epoch: u32,
}

impl TilePublisher {
    /// Opens the tiles of `member` in `mosaic`, none larger than `size`, for publishing; `epoch`
    /// counts the member's starts.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(
        bus: &Bus,
        mosaic: &StreamName,
        member: &StreamName,
        size: PixelSize,
        epoch: u32,
    ) -> Result<Self, BusError> {
        let slot_bytes = I420Layout::of(size).bytes;
        let port = open_service(bus, mosaic, member)?
            .publisher_builder()
            .initial_max_slice_len(slot_bytes)
            .allocation_strategy(AllocationStrategy::Static)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| BusError::open(format!("the tiles of `{member}`"), &error))?;
        Ok(Self {
            port,
            slot_bytes,
            epoch,
        })
    }

    /// A free slot for a tile of `size`; `None` when all are held.
    ///
    /// # Errors
    /// [`BusError::TooLarge`] when the tile is larger than a slot, or when the port is broken.
    #[expect(unsafe_code, reason = "bytes of shared memory are always initialised")]
    pub fn loan(&self, size: PixelSize) -> Result<Option<TileLoan>, BusError> {
        let layout = I420Layout::of(size);
        if layout.bytes > self.slot_bytes {
            return Err(BusError::TooLarge {
                bytes: layout.bytes,
                slot_bytes: self.slot_bytes,
            });
        }
        match self.port.loan_slice_uninit(layout.bytes) {
            Ok(sample) => Ok(Some(TileLoan {
                // SAFETY: the slot lies in a shared memory segment, which the kernel hands out
                // zeroed and which only ever held bytes; every bit pattern is a valid `u8`.
                sample: unsafe { sample.assume_init() },
                layout,
            })),
            Err(LoanError::OutOfMemory | LoanError::ExceedsMaxLoans) => Ok(None),
            Err(error) => Err(BusError::port("loan a tile", &error)),
        }
    }

    /// Publishes a filled slot; of a full queue the oldest goes.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn publish(&self, mut loan: TileLoan, stamp: &TileStamp) -> Result<(), BusError> {
        *loan.sample.user_header_mut() = TileHeader::new(stamp, loan.layout.size, self.epoch);
        loan.sample
            .send()
            .map_err(|error| BusError::port("publish a tile", &error))?;
        Ok(())
    }
}

/// A free slot, to be filled and published.
#[derive(Debug)]
pub struct TileLoan {
    sample: SampleMut<Service, [u8], TileHeader>,
    layout: I420Layout,
}

impl TileLoan {
    /// How the picture must lie in [`TileLoan::payload_mut`].
    #[must_use]
    pub fn layout(&self) -> I420Layout {
        self.layout
    }

    /// The slot's bytes, `layout().bytes` of them, with whatever an earlier tile left there.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.sample.payload_mut()
    }
}

/// What the mosaic takes from a member.
#[derive(Debug)]
pub enum IncomingTile {
    /// A tile.
    Tile(Tile),
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

/// The mosaic's side.
#[derive(Debug)]
pub struct TileSubscriber {
    port: Subscriber<Service, [u8], TileHeader>,
}

impl TileSubscriber {
    /// Opens the tiles of `member` in `mosaic`; those published from now on are received.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, mosaic: &StreamName, member: &StreamName) -> Result<Self, BusError> {
        let port = open_service(bus, mosaic, member)?
            .subscriber_builder()
            .create()
            .map_err(|error| BusError::open(format!("the mosaic `{mosaic}`"), &error))?;
        Ok(Self { port })
    }

    /// Takes the oldest queued tile; `None` when the queue is empty.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn receive(&mut self) -> Result<Option<IncomingTile>, BusError> {
        let received = self
            .port
            .receive()
            .map_err(|error| BusError::port("receive a tile", &error))?;
        let Some(sample) = received else {
            // The member may be new: what it sends is kept for who is connected.
            self.port
                .update_connections()
                .map_err(|error| BusError::port("connect to a member", &error))?;
            return Ok(None);
        };
        let header = *sample.user_header();
        let epoch = header.epoch();
        Ok(Some(match header.checked(sample.payload().len()) {
            Ok(layout) => IncomingTile::Tile(Tile {
                sample,
                stamp: header.stamp(),
                layout,
                epoch,
            }),
            Err(reason) => IncomingTile::Invalid {
                sequence_number: header.stamp().sequence_number,
                epoch,
                reason,
            },
        }))
    }
}

/// A tile in shared memory. Dropping it frees its slot.
#[derive(Debug)]
pub struct Tile {
    sample: Sample<Service, [u8], TileHeader>,
    stamp: TileStamp,
    layout: I420Layout,
    epoch: u32,
}

impl Tile {
    /// What its member says of it.
    #[must_use]
    pub fn stamp(&self) -> &TileStamp {
        &self.stamp
    }

    /// Which start of the member it comes from.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How the picture lies in [`Tile::payload`].
    #[must_use]
    pub fn layout(&self) -> &I420Layout {
        &self.layout
    }

    /// The picture, `layout().bytes` long: I420, BT.709, limited range.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.sample.payload()
    }
}
