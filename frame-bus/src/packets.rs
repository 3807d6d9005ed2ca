//! Access units: those that a render worker hands to the gateway, and in passthrough those of the
//! source, which the ingest worker hands to the render worker.
//!
//! All encodes of a stream share one service and one count, so that one book can say what became
//! of each access unit. How many encodes there are decides how much may be queued, and is part of
//! the name of the service: those who agree on the one agree on the other.

use contract::geometry::{I420Layout, PixelSize};
use contract::name::StreamName;
use iceoryx2::port::LoanError;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;

use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::error::BusError;
use crate::header::{Mark, PacketHeader, PacketStamp};

/// Access units of each encode queued for their consumer: a second or so, since a gap costs a
/// whole group of pictures.
pub(crate) const PACKETS_DEPTH: usize = 32;

/// Bytes of the largest access unit of a stream of this size: a third of the raw picture,
/// which no sensible bit rate reaches, and never less than 128 KiB.
#[must_use]
pub(crate) fn packet_bytes_max(size: PixelSize) -> usize {
    (I420Layout::of(size).bytes / 3).max(128 << 10)
}

/// Names what a stream's encoders give.
fn encoded(stream: &StreamName, rungs: usize) -> String {
    match rungs {
        0 | 1 => format!("packets/{stream}"),
        rungs => format!("packets/{stream}/{rungs}"),
    }
}

/// Names what a stream's source has sent.
fn source(stream: &StreamName) -> String {
    format!("source/{stream}")
}

fn open_service(
    bus: &Bus,
    topic: &str,
    rungs: usize,
) -> Result<BytesService<PacketHeader>, BusError> {
    bus.bytes(
        topic,
        &ServiceShape {
            alignment: 64,
            overflow: true,
            buffer: PACKETS_DEPTH * rungs.max(1),
            history: 0,
            held: 1,
            // The second is a restarted consumer whose dead self is not cleaned up yet.
            subscribers: 2,
        },
    )
}

/// The producer's side.
#[derive(Debug)]
pub struct PacketPublisher {
    port: Publisher<Service, [u8], PacketHeader>,
    bytes_max: usize,
    epoch: u32,
}

impl PacketPublisher {
    /// Opens the access units of `stream`, which has so many `rungs`, for publishing; `epoch`
    /// counts the producer's starts.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(
        bus: &Bus,
        stream: &StreamName,
        size: PixelSize,
        rungs: usize,
        epoch: u32,
    ) -> Result<Self, BusError> {
        let service = open_service(bus, &encoded(stream, rungs), rungs)?;
        Self::of(&service, &format!("the encoder of `{stream}`"), size, epoch)
    }

    /// Opens what the source of `stream` sends for publishing; slots are measured for pictures of
    /// `size`, and `epoch` counts the producer's starts.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open_source(
        bus: &Bus,
        stream: &StreamName,
        size: PixelSize,
        epoch: u32,
    ) -> Result<Self, BusError> {
        let service = open_service(bus, &source(stream), 1)?;
        Self::of(&service, &format!("the source of `{stream}`"), size, epoch)
    }

    fn of(
        service: &BytesService<PacketHeader>,
        what: &str,
        size: PixelSize,
        epoch: u32,
    ) -> Result<Self, BusError> {
        let bytes_max = packet_bytes_max(size);
        let port = service
            .publisher_builder()
            .initial_max_slice_len(bytes_max)
            .allocation_strategy(AllocationStrategy::Static)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| BusError::open(what.to_owned(), &error))?;
        Ok(Self {
            port,
            bytes_max,
            epoch,
        })
    }

    /// Publishes one access unit.
    ///
    /// # Errors
    /// [`BusError::TooLarge`] when it is larger than a slot; its number is then a gap.
    pub fn publish(&mut self, stamp: &PacketStamp, data: &[u8]) -> Result<(), BusError> {
        if data.len() > self.bytes_max {
            return Err(BusError::TooLarge {
                bytes: data.len(),
                slot_bytes: self.bytes_max,
            });
        }
        self.send(PacketHeader::new(stamp, self.epoch), data)
    }

    /// Says that no access unit comes after this one.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn end_of_stream(&mut self, next_sequence: u64) -> Result<(), BusError> {
        self.send(PacketHeader::end_of_stream(next_sequence, self.epoch), &[0])
    }

    fn send(&self, header: PacketHeader, data: &[u8]) -> Result<(), BusError> {
        let mut sample = self
            .port
            .loan_slice_uninit(data.len())
            .map_err(|error: LoanError| BusError::port("loan an access unit", &error))?
            .write_from_slice(data);
        *sample.user_header_mut() = header;
        sample
            .send()
            .map_err(|error| BusError::port("publish an access unit", &error))?;
        Ok(())
    }
}

/// What a consumer takes.
#[derive(Debug)]
pub enum IncomingPacket {
    /// An access unit.
    Packet(Packet),
    /// The producer has ended.
    EndOfStream {
        /// The number the next access unit would have had.
        next_sequence: u64,
        /// The producer's epoch.
        epoch: u32,
    },
    /// Something that must not be used.
    Invalid {
        /// What is wrong with it.
        reason: BusError,
    },
}

/// The consumer's side.
#[derive(Debug)]
pub struct PacketSubscriber {
    port: Subscriber<Service, [u8], PacketHeader>,
}

impl PacketSubscriber {
    /// Opens the access units of `stream`, which has so many `rungs`.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, stream: &StreamName, rungs: usize) -> Result<Self, BusError> {
        let service = open_service(bus, &encoded(stream, rungs), rungs)?;
        Self::of(&service, &format!("a viewer of `{stream}`"))
    }

    /// Opens what the source of `stream` sends.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open_source(bus: &Bus, stream: &StreamName) -> Result<Self, BusError> {
        let service = open_service(bus, &source(stream), 1)?;
        Self::of(&service, &format!("what the source of `{stream}` sends"))
    }

    fn of(service: &BytesService<PacketHeader>, what: &str) -> Result<Self, BusError> {
        let port = service
            .subscriber_builder()
            .create()
            .map_err(|error| BusError::open(what.to_owned(), &error))?;
        Ok(Self { port })
    }

    /// Takes the oldest queued access unit; `None` when the queue is empty.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn receive(&mut self) -> Result<Option<IncomingPacket>, BusError> {
        let received = self
            .port
            .receive()
            .map_err(|error| BusError::port("receive an access unit", &error))?;
        Ok(received.map(|sample| {
            let header = *sample.user_header();
            match header.mark() {
                Ok(Mark::Data | Mark::BeginOfStream) => IncomingPacket::Packet(Packet {
                    stamp: header.stamp(),
                    epoch: header.epoch(),
                    sample,
                }),
                Ok(Mark::EndOfStream) => IncomingPacket::EndOfStream {
                    next_sequence: header.sequence_number(),
                    epoch: header.epoch(),
                },
                Err(reason) => IncomingPacket::Invalid { reason },
            }
        }))
    }
}

/// An access unit in shared memory. Dropping it frees its slot.
#[derive(Debug)]
pub struct Packet {
    sample: Sample<Service, [u8], PacketHeader>,
    stamp: PacketStamp,
    epoch: u32,
}

impl Packet {
    /// What its producer says of it.
    #[must_use]
    pub fn stamp(&self) -> &PacketStamp {
        &self.stamp
    }

    /// Which start of the producer it comes from.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The access unit: H.264 byte stream.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.sample.payload()
    }
}
