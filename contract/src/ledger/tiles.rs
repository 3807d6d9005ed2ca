//! The counters of a stream's tiles in a mosaic, and their ledger. A tile is no frame.

use serde::{Deserialize, Serialize};

use super::counters::{counters, no_more, word_methods};
use super::{Counters, Imbalance, WORDS_MAX};

counters! {
    /// `due = published + dropped_no_slot + dropped_unscaled`.
    TileCounters {
        /// Frames whose turn it was to become a tile, by the mosaic's rate.
        due,
        /// Tiles put on the bus; also the next sequence number.
        published,
        /// No free slot on the bus.
        dropped_no_slot,
        /// The picture could not be scaled.
        dropped_unscaled,
    }
}

impl Counters for TileCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.due.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {}

    fn check(&self) -> Result<(), Imbalance> {
        same(
            "tiles due = published + dropped",
            self.due,
            self.accounted(),
        )
    }
}

impl TileCounters {
    fn accounted(&self) -> u64 {
        self.published + self.dropped_no_slot + self.dropped_unscaled
    }
}

counters! {
    /// `received = shown + overtaken + stale + invalid`, and
    /// `published = received + overflowed + passed_over + in flight` for the member they come from.
    MosaicCounters {
        /// Sequence number expected next: all below are received, overflowed or passed over.
        next_sequence,
        /// Tiles taken from the bus.
        received,
        /// Tiles overwritten on the bus before they were taken.
        overflowed,
        /// Tiles published while this mosaic, or the member, was dead, starting or ending.
        passed_over,
        /// Tiles that were put into the picture.
        shown,
        /// Tiles that a newer one had followed when the mosaic looked.
        overtaken,
        /// Tiles that were too old when they came.
        stale,
        /// Tiles that did not hold together, or were larger than their place.
        invalid,
    }
}

impl Counters for MosaicCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {}

    fn check(&self) -> Result<(), Imbalance> {
        same(
            "tiles received = shown + overtaken + stale + invalid",
            self.received,
            self.accounted(),
        )?;
        same(
            "next tile = received + overflowed + passed over",
            self.next_sequence,
            self.received + self.overflowed + self.passed_over,
        )
    }
}

impl MosaicCounters {
    fn accounted(&self) -> u64 {
        self.shown + self.overtaken + self.stale + self.invalid
    }
}

/// The tiles of one stream in one mosaic: what was sent, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileLedger {
    /// The mosaic.
    pub mosaic: String,
    /// What the stream gave.
    pub sent: TileCounters,
    /// What the mosaic did with it.
    pub taken: MosaicCounters,
}

impl TileLedger {
    pub(super) fn check(&self) -> Result<(), Imbalance> {
        self.sent.check()?;
        self.taken.check()?;
        no_more(
            "tiles published = received + overflowed + passed over + in flight",
            self.taken.next_sequence,
            self.sent.published,
        )
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.sent.published.saturating_sub(self.taken.next_sequence)
    }
}

fn same(equation: &'static str, left: u64, right: u64) -> Result<(), Imbalance> {
    if left == right {
        return Ok(());
    }
    Err(Imbalance {
        equation,
        left,
        right,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::StreamLedger;

    #[test]
    fn each_tile_is_accounted_for_and_is_no_frame() {
        let mut ledger = StreamLedger::default();
        ledger.tiles.push(TileLedger {
            mosaic: "wall".to_owned(),
            sent: TileCounters {
                due: 9,
                published: 8,
                dropped_no_slot: 1,
                dropped_unscaled: 0,
            },
            taken: MosaicCounters {
                next_sequence: 8,
                received: 6,
                overflowed: 1,
                passed_over: 1,
                shown: 3,
                overtaken: 1,
                stale: 1,
                invalid: 1,
            },
        });
        assert_eq!(ledger.check_closed(), Ok(()));
        assert_eq!(ledger.lost(), 0);

        let mut waiting = ledger.clone();
        waiting.tiles[0].taken.next_sequence = 7;
        waiting.tiles[0].taken.passed_over = 0;
        assert_eq!((waiting.check(), waiting.in_flight()), (Ok(()), 0));
        assert!(waiting.check_closed().is_err());
        let mut vanished = ledger.clone();
        vanished.tiles[0].taken.shown = 2;
        assert!(vanished.check().is_err());
        let mut unsent = ledger;
        unsent.tiles[0].sent.due = 10;
        assert!(unsent.check().is_err());
    }
}
