//! What senders publish, from the gateway to the ingest workers that demultiplex or decode it.
//!
//! The gateway does not look into what comes by SRT: a chunk is what has arrived within some
//! milliseconds. What comes in RTP packets it has to put together, and a chunk is an access unit or
//! a part of one. One who subscribes late, or again, is given the newest chunks there have been; their numbers say which
//! of them it has had before.

use contract::name::StreamName;
use iceoryx2::port::LoanError;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;

use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::error::BusError;
use crate::header::{ChunkContents, ChunkHeader, ChunkStamp, Mark};

/// Most bytes of a chunk: 32 messages of seven MPEG-TS packets, 17 ms at 20 Mbit/s.
pub const CHUNK_BYTES_MAX: usize = 32 * 7 * 188;

/// Chunks queued for the ingest worker: a second of 40 Mbit/s, and more of slower senders, which
/// is longer than a worker takes to start.
pub(crate) const CHUNKS_DEPTH: usize = 128;

fn open_service(bus: &Bus, stream: &StreamName) -> Result<BytesService<ChunkHeader>, BusError> {
    bus.bytes(
        &format!("pushed/{stream}"),
        &ServiceShape {
            alignment: 64,
            overflow: true,
            buffer: CHUNKS_DEPTH,
            history: CHUNKS_DEPTH,
            held: 1,
            // The second is a restarted worker whose dead self is not cleaned up yet.
            subscribers: 2,
        },
    )
}

/// The gateway's side.
#[derive(Debug)]
pub struct ChunkPublisher {
    port: Publisher<Service, [u8], ChunkHeader>,
    epoch: u32,
}

impl ChunkPublisher {
    /// Opens the chunks of `stream` for publishing; `epoch` counts the gateway's starts.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, stream: &StreamName, epoch: u32) -> Result<Self, BusError> {
        let port = open_service(bus, stream)?
            .publisher_builder()
            .initial_max_slice_len(CHUNK_BYTES_MAX)
            .allocation_strategy(AllocationStrategy::Static)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| BusError::open(format!("the senders of `{stream}`"), &error))?;
        Ok(Self { port, epoch })
    }

    /// Says that a sender has come; what it sends follows.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn begin(&self, stamp: &ChunkStamp) -> Result<(), BusError> {
        self.send(
            stamp,
            Mark::BeginOfStream,
            ChunkContents::TransportStream,
            &[0],
        )
    }

    /// Publishes a chunk.
    ///
    /// # Errors
    /// [`BusError::TooLarge`] when it is larger than a slot; its number is then a gap.
    pub fn publish(
        &self,
        stamp: &ChunkStamp,
        contents: ChunkContents,
        data: &[u8],
    ) -> Result<(), BusError> {
        if data.len() > CHUNK_BYTES_MAX {
            return Err(BusError::TooLarge {
                bytes: data.len(),
                slot_bytes: CHUNK_BYTES_MAX,
            });
        }
        self.send(stamp, Mark::Data, contents, data)
    }

    /// Says that the sender has gone.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn end(&self, stamp: &ChunkStamp) -> Result<(), BusError> {
        self.send(
            stamp,
            Mark::EndOfStream,
            ChunkContents::TransportStream,
            &[0],
        )
    }

    fn send(
        &self,
        stamp: &ChunkStamp,
        mark: Mark,
        contents: ChunkContents,
        data: &[u8],
    ) -> Result<(), BusError> {
        let mut sample = self
            .port
            .loan_slice_uninit(data.len())
            .map_err(|error: LoanError| BusError::port("loan a chunk", &error))?
            .write_from_slice(data);
        *sample.user_header_mut() = ChunkHeader::new(stamp, self.epoch, mark, contents);
        sample
            .send()
            .map_err(|error| BusError::port("publish a chunk", &error))?;
        Ok(())
    }
}

/// What the ingest worker takes. Every one of these has a number of its own.
#[derive(Debug)]
pub enum IncomingChunk {
    /// A sender has come.
    Begin {
        /// Which.
        stamp: ChunkStamp,
        /// Which start of the gateway it comes from.
        epoch: u32,
    },
    /// What it has sent.
    Data(Chunk),
    /// It has gone.
    End {
        /// Which.
        stamp: ChunkStamp,
        /// Which start of the gateway it comes from.
        epoch: u32,
    },
    /// Something that must not be used.
    Invalid {
        /// What is wrong with it.
        reason: BusError,
    },
}

/// The ingest worker's side.
#[derive(Debug)]
pub struct ChunkSubscriber {
    port: Subscriber<Service, [u8], ChunkHeader>,
}

impl ChunkSubscriber {
    /// Opens the chunks of `stream`, beginning with the newest there have been.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, stream: &StreamName) -> Result<Self, BusError> {
        let port = open_service(bus, stream)?
            .subscriber_builder()
            .create()
            .map_err(|error| BusError::open(format!("what is sent to `{stream}`"), &error))?;
        Ok(Self { port })
    }

    /// Takes the oldest queued chunk; `None` when the queue is empty.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn receive(&mut self) -> Result<Option<IncomingChunk>, BusError> {
        let received = self
            .port
            .receive()
            .map_err(|error| BusError::port("receive a chunk", &error))?;
        Ok(received.map(|sample| {
            let header = *sample.user_header();
            let (stamp, epoch) = (header.stamp(), header.epoch());
            match header.mark() {
                Ok(Mark::BeginOfStream) => IncomingChunk::Begin { stamp, epoch },
                Ok(Mark::EndOfStream) => IncomingChunk::End { stamp, epoch },
                Ok(Mark::Data) => IncomingChunk::Data(Chunk {
                    stamp,
                    epoch,
                    sample,
                }),
                Err(reason) => IncomingChunk::Invalid { reason },
            }
        }))
    }
}

/// A chunk in shared memory. Dropping it frees its slot.
#[derive(Debug)]
pub struct Chunk {
    sample: Sample<Service, [u8], ChunkHeader>,
    stamp: ChunkStamp,
    epoch: u32,
}

impl Chunk {
    /// What the gateway says of it.
    #[must_use]
    pub fn stamp(&self) -> &ChunkStamp {
        &self.stamp
    }

    /// Which start of the gateway it comes from.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What kind of thing its data are.
    #[must_use]
    pub fn contents(&self) -> ChunkContents {
        self.sample.user_header().contents()
    }

    /// What a sender has sent, as it came.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.sample.payload()
    }
}
