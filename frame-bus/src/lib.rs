//! Frames, results and access units through shared memory.
//!
//! This is the only crate that knows iceoryx2, and that knows how long memory of a GPU is
//! somebody's ([`PoolKeeper`]). Everything that is received was written by another process,
//! which may have been killed or may have gone mad: headers and payloads are
//! checked before they are handed on ([`header`]).
//!
//! | service | from | to | payload |
//! |---|---|---|---|
//! | `frames/<stream>` | ingest | render, infer | one picture, or a handle to one in device memory |
//! | `results/<stream>/<model>` | infer | render | detections of a frame, or why there are none |
//! | `packets/<stream>`, with qualities `packets/<stream>/<rungs>` | render | gateway | one encoded access unit |
//! | `pushed/<stream>` | gateway | ingest | a chunk of what a sender publishes |
//! | `tiles/<mosaic>/<stream>` | render | ingest of the mosaic | a small picture |
//! | `wake/<worker>` | anyone | that worker | nothing: "look at your queues" |
//! | `taken/<stream>` | consumers | ingest | under `wait`: "there is room again" |
//! | `seen/<stream>` | consumers | ingest | "I have seen the stream begin", "... end" |
//!
//! Beside the bus lie the *books* ([`book`]): pages of counters, one writer
//! each, that survive the death of their writer to the last frame.

pub mod book;
pub mod budget;
mod bus;
mod chunks;
mod device;
mod error;
mod findings;
mod frames;
pub mod header;
mod packets;
mod results;
mod sequence;
pub mod supervision;
mod tiles;
mod wake;

pub use book::{BookReader, BookWriter};
pub use bus::Bus;
pub use chunks::{CHUNK_BYTES_MAX, Chunk, ChunkPublisher, ChunkSubscriber, IncomingChunk};
pub use device::PoolKeeper;
pub use error::BusError;
pub use frames::{
    Frame, FrameLoan, FramePublisher, FrameSubscriber, Incoming, Interrupter, Pixels, PixelsMut,
};
pub use header::{
    ChunkContents, ChunkStamp, ColourMatrix, CudaSlot, FrameStamp, MemoryKind, PacketStamp,
    TileStamp, UnitPart,
};
pub use packets::{IncomingPacket, Packet, PacketPublisher, PacketSubscriber};
pub use results::{FrameResult, Outcome, ResultBody, ResultPublisher, ResultSubscriber};
pub use sequence::{Arrival, Arrivals};
pub use tiles::{IncomingTile, Tile, TileLoan, TilePublisher, TileSubscriber};
pub use wake::{Listener, Waker};
