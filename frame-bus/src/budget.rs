//! How much shared memory a run can need at most, and whether it is there.
//!
//! Segments are sparse: a full `/dev/shm` shows only when a page is first
//! written, as SIGBUS in the producer. So the worst case is computed from the
//! config and compared with what is free before anything is started.

use std::path::Path;

use contract::findings::Finds;
use contract::geometry::{I420Layout, PixelSize};
use contract::spec::{FrameMemory, FrameServiceSpec};
use nix::sys::statvfs::statvfs;

use crate::chunks::{CHUNK_BYTES_MAX, CHUNKS_DEPTH};
use crate::error::BusError;
use crate::findings;
use crate::frames::{LOANED_MAX, SLOT_ALIGNMENT};
use crate::header::CudaSlot;
use crate::packets::{PACKETS_DEPTH, packet_bytes_max};
use crate::results::RESULTS_DEPTH;
use crate::tiles::TILES_DEPTH;

/// Where POSIX shared memory lies.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// Management data of one service: connections, queues, books. Generous.
const SERVICE_BYTES: u64 = 256 << 10;

/// Slots of a stream: each consumer may have its queue full and hold its share, while the
/// producer fills more. (The extra one a consumer may take is an end marker.)
#[must_use]
pub fn frame_slots(spec: &FrameServiceSpec) -> u64 {
    let per_consumer = u64::from(spec.depth) + u64::from(spec.held_max) + 1;
    u64::from(spec.consumers_max) * per_consumer + LOANED_MAX as u64
}

/// Bytes of shared memory the frames of a stream can take at most.
#[must_use]
pub fn frame_bytes(spec: &FrameServiceSpec) -> u64 {
    let payload = match spec.memory {
        FrameMemory::Host => I420Layout::of(spec.size).bytes,
        FrameMemory::Cuda(_) => size_of::<CudaSlot>(),
    };
    let slot = (payload + SLOT_ALIGNMENT).next_multiple_of(SLOT_ALIGNMENT);
    frame_slots(spec) * slot as u64 + SERVICE_BYTES
}

/// Bytes the results of one model of this kind on one stream can take at most.
#[must_use]
pub fn result_bytes(finds: Finds) -> u64 {
    let result = findings::bytes_max(finds) as u64 + 64;
    (2 * (RESULTS_DEPTH as u64 + 2) + 16) * result + SERVICE_BYTES
}

/// Bytes the access units of one stream with so many `rungs` can take at most.
#[must_use]
pub fn packet_bytes(size: PixelSize, rungs: usize) -> u64 {
    let depth = (PACKETS_DEPTH * rungs.max(1)) as u64;
    (2 * (depth + 2) + 1) * (packet_bytes_max(size) as u64 + 64) + SERVICE_BYTES
}

/// Bytes the chunks of one stream that is published to the gateway can take at most.
#[must_use]
pub fn chunk_bytes() -> u64 {
    // Two subscribers with full queues, what is kept for one that comes later, and one being made.
    let slots = 2 * (CHUNKS_DEPTH as u64 + 2) + CHUNKS_DEPTH as u64 + 1;
    slots * (CHUNK_BYTES_MAX as u64 + 64) + SERVICE_BYTES
}

/// Bytes the tiles of one member of a mosaic can take at most.
#[must_use]
pub fn tile_bytes(size: PixelSize) -> u64 {
    // Two subscribers with full queues that hold one each, and one being made.
    let slots = 2 * (TILES_DEPTH as u64 + 2) + 1;
    slots * (I420Layout::of(size).bytes as u64 + 64) + SERVICE_BYTES
}

/// Checks that so many bytes are free where shared memory lies.
///
/// # Errors
/// [`BusError::NoRoom`] with both figures and what to do.
pub fn check_free(needed_bytes: u64) -> Result<(), BusError> {
    check_free_in(Path::new(SHARED_MEMORY), needed_bytes)
}

fn check_free_in(path: &Path, needed_bytes: u64) -> Result<(), BusError> {
    let free_bytes = free_bytes(path)?;
    if needed_bytes <= free_bytes {
        return Ok(());
    }
    Err(BusError::NoRoom {
        path: path.to_owned(),
        needed_mib: needed_bytes.div_ceil(1 << 20),
        free_mib: free_bytes >> 20,
    })
}

/// Bytes free in the file system of `path`.
///
/// # Errors
/// When it cannot be asked.
pub fn free_bytes(path: &Path) -> Result<u64, BusError> {
    let status = statvfs(path).map_err(|error| BusError::file(path, &error.desc()))?;
    Ok(status.blocks_available() * status.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::spec::QueuePolicy;

    #[test]
    fn the_worst_case_is_counted_and_compared() {
        let spec = FrameServiceSpec {
            stream: "yard".parse().expect("a name"),
            crops: None,
            size: PixelSize {
                width: 1920,
                height: 1080,
            },
            policy: QueuePolicy::DropOldest,
            depth: 2,
            consumers_max: 2,
            held_max: 8,
            memory: FrameMemory::Host,
        };
        assert_eq!(frame_slots(&spec), 2 * (2 + 8 + 1) + 2);
        assert!(frame_bytes(&spec) > 24 * 1920 * 1080 * 3 / 2);
        assert!(frame_bytes(&spec) < 80 << 20);
        let text = check_free(1 << 60).expect_err("an exbibyte").to_string();
        assert!(text.contains("MiB of shared memory"), "{text}");
        check_free(1).expect("one byte");
    }
}
