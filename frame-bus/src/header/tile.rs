//! What stands before a tile of a mosaic.

use contract::geometry::{I420Layout, PixelSize, SIDE_MAX};
use iceoryx2::prelude::ZeroCopySend;

use super::{MAGIC, invalid};
use crate::error::BusError;

/// What a member of a mosaic says of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileStamp {
    /// Counts the tiles published for this mosaic, from 0, over restarts of the member.
    pub sequence_number: u64,
    /// When its frame left the decoder, on the machine's monotonic clock.
    pub captured_ns: u64,
}

/// The header of `tiles/<mosaic>/<member>`.
#[derive(Debug, Clone, Copy, Default, ZeroCopySend)]
#[repr(C)]
pub(crate) struct TileHeader {
    magic: u32,
    epoch: u32,
    sequence_number: u64,
    captured_ns: u64,
    width: u32,
    height: u32,
}

impl TileHeader {
    pub(crate) fn new(stamp: &TileStamp, size: PixelSize, epoch: u32) -> Self {
        Self {
            magic: MAGIC,
            epoch,
            sequence_number: stamp.sequence_number,
            captured_ns: stamp.captured_ns,
            width: size.width,
            height: size.height,
        }
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn stamp(&self) -> TileStamp {
        TileStamp {
            sequence_number: self.sequence_number,
            captured_ns: self.captured_ns,
        }
    }

    /// How the picture lies in a payload of so many bytes.
    pub(crate) fn checked(&self, payload_bytes: usize) -> Result<I420Layout, BusError> {
        if self.magic != MAGIC {
            return Err(invalid("the magic of a tile header", self.magic));
        }
        let side_fits = |side: u32| (1..=SIDE_MAX).contains(&side);
        if !side_fits(self.width) {
            return Err(invalid("the width of a tile", self.width));
        }
        if !side_fits(self.height) {
            return Err(invalid("the height of a tile", self.height));
        }
        let layout = I420Layout::of(PixelSize {
            width: self.width,
            height: self.height,
        });
        if payload_bytes != layout.bytes {
            return Err(invalid(
                "the payload length of a tile",
                payload_bytes as u64,
            ));
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_header_reads_back_and_each_forged_field_is_refused() {
        let stamp = TileStamp {
            sequence_number: 7,
            captured_ns: 9,
        };
        let size = PixelSize {
            width: 64,
            height: 48,
        };
        let good = TileHeader::new(&stamp, size, 3);
        let bytes = I420Layout::of(size).bytes;
        assert_eq!(good.checked(bytes).expect("valid").size, size);
        assert_eq!((good.stamp(), good.epoch()), (stamp, 3));
        assert!(good.checked(bytes - 1).is_err());
        let forge: [fn(&mut TileHeader); 4] = [
            |header| header.magic = 0,
            |header| header.width = 0,
            |header| header.width = 66,
            |header| header.height = SIDE_MAX + 1,
        ];
        for change in forge {
            let mut header = good;
            change(&mut header);
            assert!(header.checked(bytes).is_err(), "{header:?}");
        }
    }
}
