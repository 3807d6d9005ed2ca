//! The frame books: which counters each worker keeps, and the equations they obey.
//!
//! A worker commits a group of counters atomically (see `frame_bus::book`), so
//! the equations hold at every instant, also when it is killed between two
//! instructions. What was inside a worker when it was killed is moved to
//! `lost…` by [`IngestCounters::settle`] and its siblings, and only then.

mod counters;
mod tiles;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use counters::{
    CropCounters, GatewayCounters, InferCounters, IngestCounters, IntakeCounters, RenderCounters,
};

pub use tiles::{MosaicCounters, TileCounters, TileLedger};

use counters::no_more;

/// A group of counters as it lies in a book: a fixed number of 64-bit words.
pub trait Counters: Default + Clone + PartialEq + fmt::Debug {
    /// The names, in the order of the words.
    const NAMES: &'static [&'static str];
    /// The words to be stored; those after the last name are zero.
    fn to_words(&self) -> [u64; WORDS_MAX];
    /// Reads the words back; missing ones are zero.
    fn from_words(words: &[u64]) -> Self;
    /// What has come in and is not yet accounted for.
    fn in_flight(&self) -> u64;
    /// After the worker's death: whatever was in flight is lost.
    fn settle(&mut self);
    /// Says which equation does not hold, if one does not.
    ///
    /// # Errors
    /// An [`Imbalance`] when more went out than came in.
    fn check(&self) -> Result<(), Imbalance>;
}

/// Most words that a group of counters may have.
pub const WORDS_MAX: usize = 48;

/// An equation of a ledger that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{equation}: {left} is not {right}")]
pub struct Imbalance {
    /// The equation in words.
    pub equation: &'static str,
    /// The value of its left side.
    pub left: u64,
    /// The value of its right side.
    pub right: u64,
}
/// The crops of one model on one stream: who made them, and who looked at them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CropLedger {
    /// The model.
    pub model: String,
    /// What was cut out, and what came back.
    pub cut: CropCounters,
    /// What the model did with it.
    pub infer: InferCounters,
}

impl CropLedger {
    fn check(&self) -> Result<(), Imbalance> {
        self.cut.check()?;
        self.infer.check()?;
        no_more(
            "crops published = received by inference + overflowed + lost + in flight",
            self.infer.next_sequence,
            self.cut.published,
        )
    }

    fn in_flight(&self) -> u64 {
        let transit = self.cut.published.saturating_sub(self.infer.next_sequence);
        self.cut.in_flight() + transit + self.infer.in_flight()
    }
}
/// The whole ledger of one stream: every book that speaks of its frames.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLedger {
    /// What came from the source.
    pub ingest: IngestCounters,
    /// What each model did with it, by model name.
    pub infer: Vec<(String, InferCounters)>,
    /// What was drawn and encoded.
    pub render: RenderCounters,
    /// What was cut out of frames, by model. A crop is no frame: it enters no sum of frames.
    pub crops: Vec<CropLedger>,
    /// What it gave to mosaics, by mosaic. A tile is no frame either.
    pub tiles: Vec<TileLedger>,
}

impl StreamLedger {
    /// Checks every equation, with frames in flight allowed.
    ///
    /// # Errors
    /// The first [`Imbalance`] found.
    pub fn check(&self) -> Result<(), Imbalance> {
        self.ingest.check()?;
        let published = self.ingest.published;
        for (_, infer) in &self.infer {
            infer.check()?;
            no_more(
                "published = received by inference + overflowed + lost + in flight",
                infer.next_sequence,
                published,
            )?;
        }
        self.crops.iter().try_for_each(CropLedger::check)?;
        self.tiles.iter().try_for_each(TileLedger::check)?;
        self.render.check()?;
        no_more(
            "access units published = received by render + overflowed + lost + in flight",
            self.render.units_next,
            self.ingest.units,
        )?;
        no_more(
            "published = received by render + overflowed + lost + in flight",
            self.render.next_sequence,
            published,
        )
    }

    /// Frames that are somewhere between two books: on the bus or inside a worker.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let published = self.ingest.published;
        let consumer = |next: u64, held: u64| published.saturating_sub(next) + held;
        let infer = self
            .infer
            .iter()
            .map(|(_, infer)| consumer(infer.next_sequence, infer.in_flight()))
            .sum::<u64>();
        let render = consumer(self.render.next_sequence, self.render.in_flight());
        self.ingest.in_flight() + infer + render
    }

    /// Checks that the books are closed: every equation holds and nothing is in flight.
    ///
    /// # Errors
    /// The first [`Imbalance`] found.
    pub fn check_closed(&self) -> Result<(), Imbalance> {
        self.check()?;
        let crops: u64 = self.crops.iter().map(CropLedger::in_flight).sum();
        let files = self.render.shots_in_flight() + self.render.recording_in_flight();
        let units = self.ingest.units.saturating_sub(self.render.units_next);
        let tiles: u64 = self.tiles.iter().map(TileLedger::in_flight).sum();
        let in_flight = self.in_flight() + crops + files + units + tiles;
        if in_flight == 0 {
            return Ok(());
        }
        Err(Imbalance {
            equation: "in flight at the end",
            left: in_flight,
            right: 0,
        })
    }

    /// Frames lost by crashes, over all books of the stream.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let infer = self
            .infer
            .iter()
            .map(|(_, infer)| infer.lost_in_transit + infer.lost_in_worker);
        self.ingest.lost
            + infer.sum::<u64>()
            + self.render.lost_in_transit
            + self.render.lost_in_worker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> StreamLedger {
        StreamLedger {
            ingest: IngestCounters {
                captured: 10,
                published: 9,
                dropped_no_slot: 1,
                ..Default::default()
            },
            infer: vec![(
                "people".to_owned(),
                InferCounters {
                    next_sequence: 9,
                    received: 7,
                    overflowed: 2,
                    inferred: 5,
                    gated: 2,
                    ..Default::default()
                },
            )],
            render: RenderCounters {
                next_sequence: 9,
                received: 9,
                rendered: 9,
                ..Default::default()
            },
            crops: vec![CropLedger {
                model: "faces".to_owned(),
                cut: CropCounters {
                    asked: 4,
                    published: 3,
                    dropped_busy: 1,
                    answered: 2,
                    expired: 1,
                    ..Default::default()
                },
                infer: InferCounters {
                    next_sequence: 3,
                    received: 3,
                    inferred: 3,
                    ..Default::default()
                },
            }],
            tiles: Vec::new(),
        }
    }

    #[test]
    fn a_closed_ledger_balances_and_a_forged_one_does_not() {
        assert_eq!(balanced().check_closed(), Ok(()));

        let mut held = balanced();
        held.infer[0].1.inferred = 4;
        assert_eq!(held.check(), Ok(()));
        assert_eq!(held.in_flight(), 1);
        assert!(held.check_closed().is_err());
        held.infer[0].1.settle();
        assert_eq!(held.check_closed(), Ok(()));
        assert_eq!(held.lost(), 1);

        let mut twice = balanced();
        twice.render.rendered = 10;
        assert!(twice.check().is_err());
        let mut gap = balanced();
        gap.infer[0].1.overflowed = 1;
        assert!(gap.check().is_err());
        let mut unpublished = balanced();
        unpublished.ingest.published = 8;
        unpublished.ingest.dropped_no_slot = 2;
        assert!(unpublished.check().is_err());
    }

    #[test]
    fn crops_have_equations_of_their_own() {
        let mut unanswered = balanced();
        unanswered.crops[0].cut.answered = 1;
        assert_eq!((unanswered.check(), unanswered.in_flight()), (Ok(()), 0));
        assert!(unanswered.check_closed().is_err());
        unanswered.crops[0].cut.settle();
        assert_eq!(unanswered.check_closed(), Ok(()));
        assert_eq!(unanswered.lost(), 0, "a crop is no frame");

        let mut forgotten = balanced();
        forgotten.crops[0].cut.dropped_busy = 0;
        assert!(forgotten.check().is_err());
        let mut twice = balanced();
        twice.crops[0].infer.inferred = 4;
        assert!(twice.check().is_err());
        let mut unsent = balanced();
        unsent.crops[0].infer.next_sequence = 4;
        unsent.crops[0].infer.received = 4;
        assert!(unsent.check().is_err());
    }

    #[test]
    fn each_best_shot_that_is_due_is_accounted_for() {
        let mut waiting = balanced();
        waiting.render.shots_ended = 5;
        waiting.render.shots_written = 2;
        waiting.render.shots_poor = 1;
        assert_eq!((waiting.check(), waiting.in_flight()), (Ok(()), 0));
        assert!(waiting.check_closed().is_err());
        waiting.render.settle();
        assert_eq!(waiting.check_closed(), Ok(()));
        assert_eq!(waiting.render.shots_lost, 2);
        assert_eq!(waiting.lost(), 0, "a picture is no frame");
        waiting.render.shots_failed = 1;
        assert!(waiting.check().is_err());
    }

    #[test]
    fn each_access_unit_is_recorded_or_not_for_a_reason() {
        let mut written = balanced();
        written.render.encoded = 9;
        written.render.recorded = 4;
        written.render.unrecorded_off = 2;
        written.render.unrecorded_disk = 1;
        assert_eq!((written.check(), written.in_flight()), (Ok(()), 0));
        assert!(written.check_closed().is_err());
        written.render.settle();
        assert_eq!(written.check_closed(), Ok(()));
        assert_eq!(written.render.unrecorded_lost, 2);
        assert_eq!(written.lost(), 0, "it was rendered, and shown");
        written.render.unrecorded_slow = 1;
        assert!(written.check().is_err());
    }

    #[test]
    fn words_and_names_go_together() {
        let counters = balanced().render;
        assert_eq!(RenderCounters::from_words(&counters.to_words()), counters);
        assert_eq!(RenderCounters::NAMES[1], "received");
        assert_eq!(counters.to_words()[1], 9);
        assert_eq!(RenderCounters::from_words(&[]), RenderCounters::default());
    }
}
