//! What a stream gives to mosaics: its drawn picture, made small, so often as the mosaic looks.
//!
//! It is taken after privacy and overlay, from the encoder's own buffer or, where nothing is
//! encoded, from a picture that is drawn for it. A mosaic is never waited for: without a free slot
//! the tile is dropped, and counted ([`contract::ledger::TileCounters`]).

mod scaler;

use contract::ledger::TileCounters;
use contract::name::StreamName;
use contract::spec::TileSpec;
use frame_bus::{BookWriter, Bus, BusError, TilePublisher, TileStamp};
use gstreamer as gst;

use crate::shared::Header;
use scaler::Scaler;

/// The mosaics that one stream is in.
pub(crate) struct Tiles {
    bus: Bus,
    stream: StreamName,
    /// Counts the starts of this worker.
    epoch: u32,
    lanes: Vec<Lane>,
}

/// What must be opened before the stream can go over to other mosaics.
pub(crate) struct Opened {
    spec: TileSpec,
    publisher: TilePublisher,
    /// Of a mosaic that is known the book is open already.
    book: Option<BookWriter<TileCounters>>,
}

impl Tiles {
    /// Opens the services and books of `specs`.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(crate) fn open(
        bus: Bus,
        stream: StreamName,
        specs: &[TileSpec],
        epoch: u32,
    ) -> Result<Self, String> {
        let mut tiles = Self {
            bus,
            stream,
            epoch,
            lanes: Vec::new(),
        };
        let opened = tiles.prepare(specs)?;
        tiles.change(specs, opened);
        Ok(tiles)
    }

    /// Opens what of `specs` is not open yet, for [`Tiles::change`].
    ///
    /// # Errors
    /// When one of them cannot be opened; nothing has changed then.
    pub(crate) fn prepare(&self, specs: &[TileSpec]) -> Result<Vec<Opened>, String> {
        if !specs.is_empty() {
            // A stream that is not encoded has not needed it before.
            gst::init().map_err(|error| format!("GStreamer does not start: {error}"))?;
        }
        let opened = self.open_missing(specs);
        opened.map_err(|error| error.to_string())
    }

    fn open_missing(&self, specs: &[TileSpec]) -> Result<Vec<Opened>, BusError> {
        let mut opened = Vec::new();
        for spec in specs {
            let known = self.lanes.iter().find(|lane| lane.is_of(spec));
            if known.is_some_and(|lane| lane.spec.size == spec.size) {
                continue;
            }
            let (mosaic, member) = (&spec.mosaic, &self.stream);
            opened.push(Opened {
                publisher: TilePublisher::open(&self.bus, mosaic, member, spec.size, self.epoch)?,
                book: match known {
                    Some(_) => None,
                    None => Some(BookWriter::open(&spec.book)?),
                },
                spec: spec.clone(),
            });
        }
        Ok(opened)
    }

    /// Goes over to `specs`, for which all that was missing is `opened`.
    pub(crate) fn change(&mut self, specs: &[TileSpec], opened: Vec<Opened>) {
        self.lanes
            .retain(|lane| specs.iter().any(|spec| lane.is_of(spec)));
        for lane in &mut self.lanes {
            if let Some(spec) = specs.iter().find(|spec| lane.is_of(spec)) {
                lane.spec.fps = spec.fps;
                lane.pacer = Pacer::new(spec.fps);
            }
        }
        for Opened {
            spec,
            publisher,
            book,
        } in opened
        {
            if let Some(book) = book {
                self.lanes.push(Lane {
                    pacer: Pacer::new(spec.fps),
                    publisher,
                    book,
                    scaler: None,
                    is_broken: false,
                    spec,
                });
            } else if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_of(&spec)) {
                lane.publisher = publisher;
                lane.scaler = None;
                lane.spec = spec;
            }
        }
    }

    /// A mosaic wants the picture of now.
    pub(crate) fn are_due(&self, now_ns: u64) -> bool {
        self.lanes.iter().any(|lane| lane.pacer.is_due(now_ns))
    }

    /// Gives a picture to the mosaics that want one now. `picture` is drawn, and lies as `header`
    /// says.
    pub(crate) fn give(&mut self, header: &Header, picture: &gst::BufferRef, now_ns: u64) {
        for lane in &mut self.lanes {
            if lane.pacer.take(now_ns) {
                lane.give(header, picture);
            }
        }
    }

    /// Says in the books that this worker is alive.
    pub(crate) fn tick(&self) {
        self.lanes.iter().for_each(|lane| lane.book.tick());
    }
}

/// One mosaic.
struct Lane {
    spec: TileSpec,
    publisher: TilePublisher,
    book: BookWriter<TileCounters>,
    pacer: Pacer,
    /// Made with the first picture, when its format is known.
    scaler: Option<Scaler>,
    /// The bus has refused the last tile, which was said.
    is_broken: bool,
}

impl Lane {
    /// It can go on by this spec.
    fn is_of(&self, spec: &TileSpec) -> bool {
        (&self.spec.mosaic, &self.spec.book) == (&spec.mosaic, &spec.book)
    }

    fn give(&mut self, header: &Header, picture: &gst::BufferRef) {
        let known = self.scaler.as_ref();
        if known.is_none_or(|scaler| *scaler.format() != header.format) {
            self.scaler = Scaler::new(&header.format, self.spec.size);
        }
        let scaled = self
            .scaler
            .as_mut()
            .and_then(|scaler| scaler.scale(picture));
        let Some(tile) = scaled else {
            self.book.update(|book| {
                book.due += 1;
                book.dropped_unscaled += 1;
            });
            return;
        };
        // A slot that is too small, or a broken port, is as good as none.
        let Ok(Some(mut loan)) = self.publisher.loan(tile.size()) else {
            self.book.update(|book| {
                book.due += 1;
                book.dropped_no_slot += 1;
            });
            return;
        };
        tile.copy_into(loan.payload_mut());
        let stamp = TileStamp {
            sequence_number: self.book.counters().published,
            captured_ns: header.stamp.captured_ns,
        };
        // Before it is sent: a worker that is killed between the two leaves a gap.
        self.book.update(|book| {
            book.due += 1;
            book.published += 1;
        });
        let sent = self.publisher.publish(loan, &stamp);
        let was_broken = std::mem::replace(&mut self.is_broken, sent.is_err());
        if let (Err(error), false) = (sent, was_broken) {
            let mosaic = &self.spec.mosaic;
            tracing::warn!("the mosaic `{mosaic}` is given no tiles: {error}");
        }
    }
}

/// Chooses pictures by their time: at most so many a second, on average.
///
/// Each is due an interval after the one before was, not after it came: a camera with the mosaic's
/// own rate and some jitter would else lose every second picture.
#[derive(Debug)]
struct Pacer {
    interval_ns: u64,
    due_ns: u64,
}

impl Pacer {
    fn new(fps: u32) -> Self {
        Self {
            interval_ns: 1_000_000_000 / u64::from(fps.max(1)),
            due_ns: 0,
        }
    }

    fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// Takes the picture of now if one is due.
    fn take(&mut self, now_ns: u64) -> bool {
        if !self.is_due(now_ns) {
            return false;
        }
        self.due_ns += self.interval_ns;
        if self.due_ns <= now_ns {
            // After a pause nothing is made up for.
            self.due_ns = now_ns + self.interval_ns;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn taken(fps: u32, times_ms: impl Iterator<Item = u64>) -> usize {
        let mut pacer = Pacer::new(fps);
        times_ms
            .filter(|time| pacer.take((1000 + time) * MS))
            .count()
    }

    #[test]
    fn a_quick_stream_gives_no_more_than_the_rate() {
        let given = taken(10, (0..10_000).step_by(40));
        assert!((98..=102).contains(&given), "{given}");
        let all = taken(10, (0..10_000).step_by(500));
        assert_eq!(all, 20, "of a slow one each");
    }

    #[test]
    fn jitter_at_the_same_rate_loses_next_to_nothing() {
        let jitter = [0_u64, 7, 3, 9, 1, 5];
        let times = (0..100_u64).map(|index| index * 100 + jitter[index as usize % 6]);
        let given = taken(10, times);
        assert!(given >= 95, "{given}");
    }

    #[test]
    fn after_a_pause_there_is_no_burst() {
        let mut pacer = Pacer::new(10);
        assert!(pacer.take(1000 * MS));
        assert!(pacer.take(60_000 * MS));
        let burst = (0..20)
            .filter(|step| pacer.take((60_000 + step) * MS))
            .count();
        assert_eq!(burst, 0);
        assert!(pacer.take(60_100 * MS));
    }
}
