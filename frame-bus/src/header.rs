//! What stands before each payload in shared memory, and how it is checked.
//!
//! Headers are plain integers and floats, so that any bits can be read; what
//! they mean is decided by `checked`, once, on the reading side.

use contract::geometry::{I420Layout, PixelSize, SIDE_MAX};
use contract::motion::{COLUMNS, Cells, ROWS, WORDS};
use contract::spec::QualitySpec;
use iceoryx2::prelude::ZeroCopySend;

use crate::error::BusError;

mod chunk;
mod tile;

pub use chunk::{ChunkContents, ChunkHeader, ChunkStamp, UnitPart};
pub(crate) use tile::TileHeader;
pub use tile::TileStamp;

/// Says "this was written by a Sluice of this layout".
const MAGIC: u32 = 0x534c_4337;

const FLAG_DISCONTINUITY: u32 = 1;
const FLAG_END_OF_STREAM: u32 = 2;
const FLAG_KEYFRAME: u32 = 4;
const FLAG_BEGIN_OF_STREAM: u32 = 8;

const MEMORY_HOST: u32 = 0;
const MEMORY_CUDA: u32 = 1;

/// I420: planes Y, U, V; see [`I420Layout`].
const FORMAT_I420: u32 = 0;

/// How luma and chroma make colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColourMatrix {
    /// ITU-R BT.601, limited range: standard definition.
    #[default]
    Bt601,
    /// ITU-R BT.709, limited range: high definition.
    Bt709,
}

/// Where a frame's pixels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// The payload is the picture.
    Host,
    /// The payload is a handle to a slot of a device memory pool. The slot lives as long as
    /// the payload's chunk: the bus' reference count is the only one.
    Cuda(CudaSlot),
}

/// A slot of a CUDA memory pool, as it travels in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct CudaSlot {
    /// The pool; the keeper has its descriptor.
    pub pool: u64,
    /// Byte at which the picture begins inside the pool.
    pub offset: u64,
    /// The slot's number inside the pool.
    pub slot: u32,
    /// The device the pool lies on.
    pub device: u32,
}

/// What a producer says of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameStamp {
    /// Counts the frames published of this stream, from 0, over restarts of the producer.
    pub sequence_number: u64,
    /// Presentation time, nanoseconds; strictly increasing.
    pub pts_ns: u64,
    /// When the frame left the decoder, on the machine's monotonic clock.
    pub captured_ns: u64,
    /// Fraction of the picture that moved, 0 to 1.
    pub motion: f32,
    /// Where it moved.
    pub moved: Cells,
    /// How to make colours of it.
    pub colour: ColourMatrix,
    /// The source was interrupted before this frame.
    pub discontinuity: bool,
}

/// What a producer says of an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketStamp {
    /// Counts the access units of this stream, those of all its rungs, from 0, over restarts of
    /// the producer.
    pub sequence_number: u64,
    /// Presentation time, nanoseconds.
    pub pts_ns: u64,
    /// When its frame left the decoder, on the machine's monotonic clock.
    pub captured_ns: u64,
    /// It can be decoded without any other.
    pub keyframe: bool,
    /// Which of the stream's encodes it is of: 0 is that of full size, those below are smaller.
    pub rung: u8,
}

/// The largest rung a packet may be of.
const RUNG_MAX: u32 = QualitySpec::MAX as u32;

/// The header of `frames/<stream>`.
#[derive(Debug, Clone, Copy, Default, ZeroCopySend)]
#[repr(C)]
pub struct FrameHeader {
    magic: u32,
    epoch: u32,
    sequence_number: u64,
    pts_ns: u64,
    captured_ns: u64,
    width: u32,
    height: u32,
    strides: [u32; 3],
    offsets: [u32; 3],
    format: u32,
    colour: u32,
    memory: u32,
    flags: u32,
    motion: f32,
    reserved: u32,
    /// Every bit is a cell, so there is nothing here that could be wrong.
    moved: [u64; WORDS],
}

const _: () = assert!(COLUMNS * ROWS == WORDS * 64);
const _: () = assert!(size_of::<FrameHeader>() == 160 && align_of::<FrameHeader>() == 8);

/// A checked frame header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedFrame {
    pub(crate) stamp: FrameStamp,
    pub(crate) layout: I420Layout,
    pub(crate) memory: MemoryKind,
}

/// What a header says before its payload is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Data,
    BeginOfStream,
    EndOfStream,
}

fn invalid(what: &'static str, value: impl Into<u64>) -> BusError {
    BusError::Invalid {
        what,
        value: value.into(),
    }
}

impl FrameHeader {
    pub(crate) fn new(
        stamp: &FrameStamp,
        layout: &I420Layout,
        epoch: u32,
        is_on_device: bool,
    ) -> Self {
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            captured_ns: stamp.captured_ns,
            width: layout.size.width,
            height: layout.size.height,
            strides: layout.strides.map(narrow),
            offsets: layout.offsets.map(narrow),
            format: FORMAT_I420,
            colour: match stamp.colour {
                ColourMatrix::Bt601 => 0,
                ColourMatrix::Bt709 => 1,
            },
            memory: if is_on_device {
                MEMORY_CUDA
            } else {
                MEMORY_HOST
            },
            flags: if stamp.discontinuity {
                FLAG_DISCONTINUITY
            } else {
                0
            },
            motion: stamp.motion,
            reserved: 0,
            moved: *stamp.moved.words(),
        }
    }

    pub(crate) fn begin_of_stream(epoch: u32) -> Self {
        Self {
            magic: MAGIC,
            epoch,
            flags: FLAG_BEGIN_OF_STREAM,
            ..Self::default()
        }
    }

    pub(crate) fn end_of_stream(next_sequence: u64, epoch: u32) -> Self {
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: next_sequence,
            flags: FLAG_END_OF_STREAM,
            ..Self::default()
        }
    }

    pub(crate) fn mark(&self) -> Result<Mark, BusError> {
        if self.magic != MAGIC {
            return Err(invalid("the magic of a frame header", self.magic));
        }
        match self.flags {
            0 | FLAG_DISCONTINUITY => Ok(Mark::Data),
            FLAG_BEGIN_OF_STREAM => Ok(Mark::BeginOfStream),
            FLAG_END_OF_STREAM => Ok(Mark::EndOfStream),
            other => Err(invalid("a flag of a frame", other)),
        }
    }

    pub(crate) fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Checks every field against the others and against the payload.
    pub(crate) fn checked(&self, payload: &[u8]) -> Result<CheckedFrame, BusError> {
        if self.mark()? != Mark::Data {
            return Err(invalid("a flag of a frame", self.flags));
        }
        let side_fits = |side: u32| (1..=SIDE_MAX).contains(&side);
        if !side_fits(self.width) {
            return Err(invalid("the width of a frame", self.width));
        }
        if !side_fits(self.height) {
            return Err(invalid("the height of a frame", self.height));
        }
        if self.format != FORMAT_I420 {
            return Err(invalid("the pixel format of a frame", self.format));
        }
        let layout = I420Layout::of(PixelSize {
            width: self.width,
            height: self.height,
        });
        for plane in 0..3 {
            if self.strides[plane] as usize != layout.strides[plane] {
                return Err(invalid("a stride of a frame", self.strides[plane]));
            }
            if self.offsets[plane] as usize != layout.offsets[plane] {
                return Err(invalid("a plane offset of a frame", self.offsets[plane]));
            }
        }
        let colour = match self.colour {
            0 => ColourMatrix::Bt601,
            1 => ColourMatrix::Bt709,
            other => return Err(invalid("the colour matrix of a frame", other)),
        };
        if !(0.0..=1.0).contains(&self.motion) {
            return Err(invalid("the motion of a frame", self.motion.to_bits()));
        }
        let memory = match self.memory {
            MEMORY_HOST if payload.len() == layout.bytes => MemoryKind::Host,
            MEMORY_CUDA if payload.len() == size_of::<CudaSlot>() => {
                MemoryKind::Cuda(bytemuck::pod_read_unaligned(payload))
            }
            MEMORY_HOST | MEMORY_CUDA => {
                return Err(invalid(
                    "the payload length of a frame",
                    payload.len() as u64,
                ));
            }
            other => return Err(invalid("the memory kind of a frame", other)),
        };
        Ok(CheckedFrame {
            stamp: FrameStamp {
                sequence_number: self.sequence_number,
                pts_ns: self.pts_ns,
                captured_ns: self.captured_ns,
                motion: self.motion,
                moved: Cells::from_words(self.moved),
                colour,
                discontinuity: self.flags & FLAG_DISCONTINUITY != 0,
            },
            layout,
            memory,
        })
    }
}

/// The header of `results/<stream>/<model>`.
#[derive(Debug, Clone, Copy, Default, ZeroCopySend)]
#[repr(C)]
pub struct ResultHeader {
    pub(crate) magic: u32,
    pub(crate) outcome: u32,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Detections, values or cells.
    pub(crate) count: u32,
    pub(crate) flags: u32,
}

impl ResultHeader {
    pub(crate) fn new(first_sequence: u64, last_sequence: u64, outcome: u32, count: u32) -> Self {
        Self {
            magic: MAGIC,
            outcome,
            first_sequence,
            last_sequence,
            count,
            flags: 0,
        }
    }

    pub(crate) fn end_of_stream(next_sequence: u64) -> Self {
        Self {
            flags: FLAG_END_OF_STREAM,
            ..Self::new(next_sequence, next_sequence, 0, 0)
        }
    }

    pub(crate) fn mark(&self) -> Result<Mark, BusError> {
        if self.magic != MAGIC {
            return Err(invalid("the magic of a result header", self.magic));
        }
        if self.first_sequence > self.last_sequence {
            return Err(invalid("the range of a result", self.first_sequence));
        }
        Ok(if self.flags & FLAG_END_OF_STREAM == 0 {
            Mark::Data
        } else {
            Mark::EndOfStream
        })
    }
}

/// The header of `packets/<stream>`.
#[derive(Debug, Clone, Copy, Default, ZeroCopySend)]
#[repr(C)]
pub struct PacketHeader {
    magic: u32,
    epoch: u32,
    sequence_number: u64,
    pts_ns: u64,
    captured_ns: u64,
    flags: u32,
    rung: u32,
}

impl PacketHeader {
    pub(crate) fn new(stamp: &PacketStamp, epoch: u32) -> Self {
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            captured_ns: stamp.captured_ns,
            flags: if stamp.keyframe { FLAG_KEYFRAME } else { 0 },
            rung: u32::from(stamp.rung),
        }
    }

    pub(crate) fn end_of_stream(next_sequence: u64, epoch: u32) -> Self {
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: next_sequence,
            flags: FLAG_END_OF_STREAM,
            ..Self::default()
        }
    }

    pub(crate) fn mark(&self) -> Result<Mark, BusError> {
        if self.magic != MAGIC {
            return Err(invalid("the magic of a packet header", self.magic));
        }
        match self.flags {
            FLAG_END_OF_STREAM => Ok(Mark::EndOfStream),
            0 | FLAG_KEYFRAME if self.rung > RUNG_MAX => {
                Err(invalid("the rung of a packet", self.rung))
            }
            0 | FLAG_KEYFRAME => Ok(Mark::Data),
            other => Err(invalid("a flag of a packet", other)),
        }
    }

    pub(crate) fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn stamp(&self) -> PacketStamp {
        PacketStamp {
            sequence_number: self.sequence_number,
            pts_ns: self.pts_ns,
            captured_ns: self.captured_ns,
            keyframe: self.flags & FLAG_KEYFRAME != 0,
            // Not used before `mark` has said that it is small.
            rung: u8::try_from(self.rung).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp() -> FrameStamp {
        FrameStamp {
            sequence_number: 7,
            pts_ns: 1,
            captured_ns: 2,
            motion: 0.25,
            moved: Cells::of(|[x, y]| x < 0.5 && y > 0.5),
            colour: ColourMatrix::Bt709,
            discontinuity: true,
        }
    }

    fn good() -> (FrameHeader, Vec<u8>) {
        let layout = I420Layout::of(PixelSize {
            width: 64,
            height: 48,
        });
        (
            FrameHeader::new(&stamp(), &layout, 3, false),
            vec![0; layout.bytes],
        )
    }

    #[test]
    fn a_packet_of_a_rung_that_cannot_be_is_refused() {
        let stamp = |rung| PacketStamp {
            sequence_number: 1,
            pts_ns: 2,
            captured_ns: 3,
            keyframe: true,
            rung,
        };
        let header = PacketHeader::new(&stamp(3), 4);
        assert!(matches!(header.mark(), Ok(Mark::Data)));
        assert_eq!(header.stamp(), stamp(3));
        assert!(PacketHeader::new(&stamp(4), 4).mark().is_err());
    }

    #[test]
    fn a_good_header_reads_back() {
        let (header, payload) = good();
        let checked = header.checked(&payload).expect("valid");
        assert_eq!(checked.stamp, stamp());
        assert_eq!(checked.memory, MemoryKind::Host);
    }

    #[test]
    fn each_forged_field_is_refused() {
        type Forgery = (&'static str, fn(&mut FrameHeader));
        let forge: [Forgery; 10] = [
            ("magic", |header| header.magic = 0),
            ("width", |header| header.width = 66),
            ("width", |header| header.width = 0),
            ("height", |header| header.height = SIDE_MAX + 1),
            ("stride", |header| header.strides[1] = 1 << 20),
            ("offset", |header| header.offsets[2] = 0),
            ("format", |header| header.format = 9),
            ("memory", |header| header.memory = 7),
            ("motion", |header| header.motion = f32::NAN),
            ("flags", |header| header.flags = 64),
        ];
        for (name, change) in forge {
            let (mut header, payload) = good();
            change(&mut header);
            assert!(header.checked(&payload).is_err(), "{name}");
        }
        let (header, payload) = good();
        assert!(header.checked(&payload[1..]).is_err());
    }

    #[test]
    fn a_device_frame_is_a_handle() {
        let slot = CudaSlot {
            pool: 1,
            offset: 4096,
            slot: 2,
            device: 0,
        };
        let (mut header, _) = good();
        header.memory = MEMORY_CUDA;
        let checked = header.checked(bytemuck::bytes_of(&slot)).expect("valid");
        assert_eq!(checked.memory, MemoryKind::Cuda(slot));
    }

    proptest! {
        #[test]
        fn no_header_makes_a_reader_leave_its_payload(
            words in prop::collection::vec(any::<u32>(), 13),
            length in 0_usize..5000,
        ) {
            let header = FrameHeader {
                magic: MAGIC,
                epoch: words[0],
                sequence_number: u64::from(words[1]),
                pts_ns: 0,
                captured_ns: 0,
                width: words[2] % 100,
                height: words[3] % 100,
                strides: [words[4] % 101, words[5] % 64, words[6] % 64],
                offsets: [words[7], words[8] % 9000, words[9] % 9000],
                format: words[10] % 2,
                colour: words[11] % 3,
                memory: words[12] % 3,
                flags: 0,
                motion: 0.0,
                reserved: 0,
                moved: [u64::from(words[0]) << 32 | u64::from(words[1]); WORDS],
            };
            let payload = vec![0; length];
            if let Ok(checked) = header.checked(&payload)
                && checked.memory == MemoryKind::Host
            {
                prop_assert!(checked.stamp.moved.count() as usize <= COLUMNS * ROWS);
                for plane in 0..3 {
                    let end = checked.layout.offsets[plane]
                        + checked.layout.strides[plane] * checked.layout.rows[plane];
                    prop_assert!(end <= payload.len());
                }
            }
        }
    }
}
