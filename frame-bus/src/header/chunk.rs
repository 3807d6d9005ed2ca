//! What stands before what a sender has sent.

use iceoryx2::prelude::ZeroCopySend;

use super::{FLAG_BEGIN_OF_STREAM, FLAG_END_OF_STREAM, FLAG_KEYFRAME, MAGIC, Mark, invalid};
use crate::error::BusError;

/// The payload is an access unit, or a part of one.
const FLAG_UNIT: u32 = 16;
const FLAG_FIRST_PART: u32 = 32;
const FLAG_LAST_PART: u32 = 64;

/// What the gateway says of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStamp {
    /// Counts the chunks of this stream, from 0, over restarts of the gateway.
    pub sequence_number: u64,
    /// Counts the senders of this stream, from 1, over restarts of the gateway.
    pub session: u64,
    /// When its first byte was received, on the machine's monotonic clock.
    pub arrived_ns: u64,
}

/// What a chunk has in it. All of one sender have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkContents {
    /// A piece of an MPEG transport stream.
    TransportStream,
    /// An H.264 access unit as a byte stream (Annex B of the standard), or a part of one.
    Unit(UnitPart),
}

/// A part of an access unit: what has no room in one chunk is in several, which follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitPart {
    /// When the picture was due, on the machine's monotonic clock: in the rhythm of its sender, and
    /// not after it has arrived, but a millisecond after the one before where several come at once.
    /// The same in all parts of one access unit.
    pub pts_ns: u64,
    /// The access unit can be decoded without any other.
    pub keyframe: bool,
    /// It is the beginning of its access unit.
    pub first: bool,
    /// It is the end of it.
    pub last: bool,
}

/// The header of `pushed/<stream>`.
#[derive(Debug, Clone, Copy, Default, ZeroCopySend)]
#[repr(C)]
pub struct ChunkHeader {
    magic: u32,
    epoch: u32,
    sequence_number: u64,
    session: u64,
    arrived_ns: u64,
    pts_ns: u64,
    flags: u32,
    reserved: u32,
}

impl ChunkHeader {
    /// Of a chunk that says only that something begins or ends, `contents` has no meaning.
    pub(crate) fn new(stamp: &ChunkStamp, epoch: u32, mark: Mark, contents: ChunkContents) -> Self {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let (flags, pts_ns) = match (mark, contents) {
            (Mark::BeginOfStream, _) => (FLAG_BEGIN_OF_STREAM, 0),
            (Mark::EndOfStream, _) => (FLAG_END_OF_STREAM, 0),
            (Mark::Data, ChunkContents::TransportStream) => (0, 0),
            (Mark::Data, ChunkContents::Unit(part)) => {
                let flags = FLAG_UNIT
                    | flag(part.keyframe, FLAG_KEYFRAME)
                    | flag(part.first, FLAG_FIRST_PART)
                    | flag(part.last, FLAG_LAST_PART);
                (flags, part.pts_ns)
            }
        };
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: stamp.sequence_number,
            session: stamp.session,
            arrived_ns: stamp.arrived_ns,
            pts_ns,
            flags,
            reserved: 0,
        }
    }

    pub(crate) fn mark(&self) -> Result<Mark, BusError> {
        const UNIT: u32 = FLAG_UNIT | FLAG_KEYFRAME | FLAG_FIRST_PART | FLAG_LAST_PART;
        if self.magic != MAGIC {
            return Err(invalid("the magic of a chunk header", self.magic));
        }
        match self.flags {
            0 => Ok(Mark::Data),
            FLAG_BEGIN_OF_STREAM => Ok(Mark::BeginOfStream),
            FLAG_END_OF_STREAM => Ok(Mark::EndOfStream),
            flags if flags & FLAG_UNIT != 0 && flags & !UNIT == 0 => Ok(Mark::Data),
            other => Err(invalid("a flag of a chunk", other)),
        }
    }

    pub(crate) fn contents(&self) -> ChunkContents {
        if self.flags & FLAG_UNIT == 0 {
            return ChunkContents::TransportStream;
        }
        ChunkContents::Unit(UnitPart {
            pts_ns: self.pts_ns,
            keyframe: self.flags & FLAG_KEYFRAME != 0,
            first: self.flags & FLAG_FIRST_PART != 0,
            last: self.flags & FLAG_LAST_PART != 0,
        })
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn stamp(&self) -> ChunkStamp {
        ChunkStamp {
            sequence_number: self.sequence_number,
            session: self.session,
            arrived_ns: self.arrived_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_chunk_has_in_it_reads_back_and_no_flag_is_made_up() {
        let stamp = ChunkStamp {
            sequence_number: 1,
            session: 2,
            arrived_ns: 3,
        };
        let unit = |keyframe, first, last| {
            ChunkContents::Unit(UnitPart {
                pts_ns: 4,
                keyframe,
                first,
                last,
            })
        };
        for contents in [
            ChunkContents::TransportStream,
            unit(false, false, false),
            unit(true, false, true),
            unit(true, true, true),
        ] {
            let header = ChunkHeader::new(&stamp, 5, Mark::Data, contents);
            assert!(matches!(header.mark(), Ok(Mark::Data)), "{contents:?}");
            assert_eq!((header.contents(), header.stamp()), (contents, stamp));
        }
        let contents = unit(true, true, true);
        let end = ChunkHeader::new(&stamp, 5, Mark::EndOfStream, contents);
        assert!(matches!(end.mark(), Ok(Mark::EndOfStream)));
        for flags in [FLAG_KEYFRAME, FLAG_UNIT | FLAG_END_OF_STREAM, 1, 128] {
            let forged = ChunkHeader { flags, ..end };
            assert!(forged.mark().is_err(), "{flags}");
        }
    }
}
