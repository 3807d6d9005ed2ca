//! One book, whosever it is.

use std::path::Path;

use contract::latency::Histogram;
use contract::ledger::{
    Counters, CropCounters, GatewayCounters, InferCounters, IngestCounters, IntakeCounters,
    MosaicCounters, RenderCounters, TileCounters,
};
use frame_bus::book::settle;
use frame_bus::{BookReader, BookWriter, BusError};

use super::Part;

/// A book of whatever counters.
#[derive(Debug)]
pub(super) enum AnyBook {
    Ingest(BookReader<IngestCounters>),
    Infer(BookReader<InferCounters>),
    Render(BookReader<RenderCounters>),
    Crops(BookReader<CropCounters>),
    Gateway(BookReader<GatewayCounters>),
    Intake(BookReader<IntakeCounters>),
    Tiles(BookReader<TileCounters>),
    Mosaic(BookReader<MosaicCounters>),
}

impl AnyBook {
    pub(super) fn create(part: &Part, path: &Path) -> Result<Self, BusError> {
        Ok(match part {
            Part::Ingest => Self::Ingest(BookReader::create(path)?),
            Part::Infer(_) | Part::InferCrops(_) => Self::Infer(BookReader::create(path)?),
            Part::Render => Self::Render(BookReader::create(path)?),
            Part::Crops(_) => Self::Crops(BookReader::create(path)?),
            Part::Gateway => Self::Gateway(BookReader::create(path)?),
            Part::Intake => Self::Intake(BookReader::create(path)?),
            Part::Tiles(_) => Self::Tiles(BookReader::create(path)?),
            Part::Mosaic(_) => Self::Mosaic(BookReader::create(path)?),
        })
    }

    pub(super) fn open(part: &Part, path: &Path) -> Result<Self, BusError> {
        Ok(match part {
            Part::Ingest => Self::Ingest(BookReader::open(path)?),
            Part::Infer(_) | Part::InferCrops(_) => Self::Infer(BookReader::open(path)?),
            Part::Render => Self::Render(BookReader::open(path)?),
            Part::Crops(_) => Self::Crops(BookReader::open(path)?),
            Part::Gateway => Self::Gateway(BookReader::open(path)?),
            Part::Intake => Self::Intake(BookReader::open(path)?),
            Part::Tiles(_) => Self::Tiles(BookReader::open(path)?),
            Part::Mosaic(_) => Self::Mosaic(BookReader::open(path)?),
        })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Ingest(book) => book.path(),
            Self::Infer(book) => book.path(),
            Self::Render(book) => book.path(),
            Self::Crops(book) => book.path(),
            Self::Gateway(book) => book.path(),
            Self::Intake(book) => book.path(),
            Self::Tiles(book) => book.path(),
            Self::Mosaic(book) => book.path(),
        }
    }

    pub(super) fn progress(&self) -> u64 {
        match self {
            Self::Ingest(book) => book.progress(),
            Self::Infer(book) => book.progress(),
            Self::Render(book) => book.progress(),
            Self::Crops(book) => book.progress(),
            Self::Gateway(book) => book.progress(),
            Self::Intake(book) => book.progress(),
            Self::Tiles(book) => book.progress(),
            Self::Mosaic(book) => book.progress(),
        }
    }

    pub(super) fn histogram(&self) -> Histogram {
        match self {
            Self::Ingest(book) => book.histogram(),
            Self::Infer(book) => book.histogram(),
            Self::Render(book) => book.histogram(),
            Self::Crops(book) => book.histogram(),
            Self::Gateway(book) => book.histogram(),
            Self::Intake(book) => book.histogram(),
            Self::Tiles(book) => book.histogram(),
            Self::Mosaic(book) => book.histogram(),
        }
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Ingest(book) => named(&book.read()),
            Self::Infer(book) => named(&book.read()),
            Self::Render(book) => named(&book.read()),
            Self::Crops(book) => named(&book.read()),
            Self::Gateway(book) => named(&book.read()),
            Self::Intake(book) => named(&book.read()),
            Self::Tiles(book) => named(&book.read()),
            Self::Mosaic(book) => named(&book.read()),
        }
    }

    /// What was inside the dead worker is lost.
    pub(super) fn settle(&self) -> Result<(), BusError> {
        match self {
            Self::Ingest(book) => settle::<IngestCounters>(book.path()).map(drop),
            Self::Infer(book) => settle::<InferCounters>(book.path()).map(drop),
            Self::Render(book) => settle::<RenderCounters>(book.path()).map(drop),
            Self::Crops(book) => settle::<CropCounters>(book.path()).map(drop),
            Self::Gateway(book) => settle::<GatewayCounters>(book.path()).map(drop),
            Self::Intake(book) => settle::<IntakeCounters>(book.path()).map(drop),
            Self::Tiles(book) => settle::<TileCounters>(book.path()).map(drop),
            Self::Mosaic(book) => settle::<MosaicCounters>(book.path()).map(drop),
        }
    }

    /// What was sent to the dead worker and never taken is lost.
    /// `units`: and of the source's own access units.
    pub(super) fn settle_transit(&self, sent: u64, units: u64) -> Result<(), BusError> {
        let missing = |next_sequence: u64| sent.saturating_sub(next_sequence);
        match self {
            Self::Crops(_) | Self::Intake(_) | Self::Tiles(_) => Ok(()),
            Self::Mosaic(book) => update(book.path(), |counters: &mut MosaicCounters| {
                counters.passed_over += missing(counters.next_sequence);
                counters.next_sequence = counters.next_sequence.max(sent);
            }),
            // Of all sources but those that are published to the gateway there is nothing sent.
            Self::Ingest(book) if sent <= book.read().chunks_next => Ok(()),
            Self::Ingest(book) => update(book.path(), |counters: &mut IngestCounters| {
                counters.chunks_passed_over += missing(counters.chunks_next);
                counters.chunks_next = counters.chunks_next.max(sent);
            }),
            Self::Infer(book) => update(book.path(), |counters: &mut InferCounters| {
                counters.lost_in_transit += missing(counters.next_sequence);
                counters.next_sequence = counters.next_sequence.max(sent);
            }),
            Self::Render(book) => update(book.path(), |counters: &mut RenderCounters| {
                counters.lost_in_transit += missing(counters.next_sequence);
                counters.next_sequence = counters.next_sequence.max(sent);
                counters.units_lost += units.saturating_sub(counters.units_next);
                counters.units_next = counters.units_next.max(units);
            }),
            Self::Gateway(book) => update(book.path(), |counters: &mut GatewayCounters| {
                counters.lost_in_transit += missing(counters.next_sequence);
                counters.next_sequence = counters.next_sequence.max(sent);
            }),
        }
    }
}

pub(super) fn named<C: Counters>(counters: &C) -> Vec<(&'static str, u64)> {
    let words = counters.to_words();
    C::NAMES.iter().copied().zip(words).collect()
}

pub(super) fn update<C: Counters>(
    path: &Path,
    change: impl FnOnce(&mut C),
) -> Result<(), BusError> {
    BookWriter::<C>::open(path)?.update(change);
    Ok(())
}
