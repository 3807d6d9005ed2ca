//! The books of a run: which there are, where they lie, how they are read and closed.
//!
//! Workers write them, a supervisor reads them; when a worker is dead the
//! supervisor closes its account. A book's file name says whose it is, so that
//! the books of a supervisor that was killed can be read by whoever finds them.

mod any;
mod id;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use contract::latency::Histogram;
use contract::ledger::{
    Counters, CropCounters, CropLedger, GatewayCounters, Imbalance, InferCounters, IntakeCounters,
    MosaicCounters, StreamLedger, TileCounters, TileLedger,
};
use contract::name::{ModelName, StreamName, WorkerId};
use frame_bus::BusError;
use nix::fcntl::{Flock, FlockArg};

use crate::store::FoundBook;

pub use id::{BookId, Part};

use any::{AnyBook, named, update};

/// All that the books say of one stream at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamBooks {
    /// Ingest, inference and rendering.
    pub ledger: StreamLedger,
    /// Serving, where it is served.
    pub gateway: Option<GatewayCounters>,
    /// Taking in what a sender publishes, where it is published to the gateway.
    pub intake: Option<IntakeCounters>,
}

impl StreamBooks {
    /// Checks that the books are closed: every equation holds and nothing is in flight.
    ///
    /// # Errors
    /// The first [`Imbalance`] found.
    pub fn check_closed(&self) -> Result<(), Imbalance> {
        self.ledger.check_closed()?;
        if let Some(intake) = &self.intake {
            intake.check()?;
            let sides = (intake.received, intake.published + intake.lost_in_worker);
            equal("chunks received = published + lost", sides)?;
            let sides = (intake.published, self.ledger.ingest.chunks_next);
            equal(
                "chunks published = received + overflowed + passed over",
                sides,
            )?;
        }
        let Some(gateway) = &self.gateway else {
            return Ok(());
        };
        gateway.check()?;
        let sent = self.ledger.render.encoded;
        let accounted = gateway.next_sequence.saturating_sub(gateway.in_flight());
        equal(
            "encoded = received by the gateway + overflowed + lost",
            (sent, accounted),
        )
    }
}

fn equal(equation: &'static str, (left, right): (u64, u64)) -> Result<(), Imbalance> {
    if left == right {
        return Ok(());
    }
    Err(Imbalance {
        equation,
        left,
        right,
    })
}

impl StreamBooks {
    /// The crops of one model.
    fn crops(&self, model: &ModelName) -> Option<&CropLedger> {
        let mut crops = self.ledger.crops.iter();
        crops.find(|crops| crops.model == model.as_str())
    }

    /// The tiles in one mosaic.
    fn tiles(&self, mosaic: &StreamName) -> Option<&TileLedger> {
        let mut tiles = self.ledger.tiles.iter();
        tiles.find(|tiles| tiles.mosaic == mosaic.as_str())
    }

    /// How many frames, crops, tiles or access units were sent to a part so far.
    fn sent_to(&self, part: &Part) -> u64 {
        match part {
            Part::Ingest => self.intake.as_ref().map_or(0, |intake| intake.published),
            Part::Crops(_) | Part::Intake | Part::Tiles(_) => 0,
            Part::Infer(_) | Part::Render => self.ledger.ingest.published,
            Part::InferCrops(model) => self.crops(model).map_or(0, |crops| crops.cut.published),
            Part::Gateway => self.ledger.render.encoded,
            Part::Mosaic(mosaic) => self.tiles(mosaic).map_or(0, |tiles| tiles.sent.published),
        }
    }
}

/// The books of one run.
#[derive(Debug)]
pub struct Books {
    books: Vec<Kept>,
}

/// One book, and whether anybody writes in it.
#[derive(Debug)]
struct Kept {
    id: BookId,
    book: AnyBook,
    /// The stream goes on without this part: what is sent from now on is passed over.
    left: bool,
}

/// Books that were made but belong to nobody yet.
#[derive(Debug, Default)]
pub struct NewBooks(Vec<(BookId, AnyBook)>);

impl NewBooks {
    /// Makes empty books in `directory`, where there are none of these yet.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn create(
        directory: &Path,
        ids: impl IntoIterator<Item = BookId>,
    ) -> Result<Self, BusError> {
        let create = |id: BookId| {
            let book = AnyBook::create(&id.part, &directory.join(id.file_name()))?;
            Ok((id, book))
        };
        ids.into_iter()
            .map(create)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Books {
    /// Makes empty books in `directory`.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn create(
        directory: &Path,
        ids: impl IntoIterator<Item = BookId>,
    ) -> Result<Self, BusError> {
        let NewBooks(made) = NewBooks::create(directory, ids)?;
        Ok(Self::of(made))
    }

    /// Opens the books that lie in `directory`; what is no book is passed over.
    #[must_use]
    pub fn find(directory: &Path) -> Self {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let open = |path: PathBuf| {
            let id = BookId::of_file_name(path.file_name()?.to_str()?)?;
            let book = AnyBook::open(&id.part, &path).ok()?;
            Some((id, book))
        };
        let mut books: Vec<_> = entries.filter_map(|entry| open(entry.path())).collect();
        books.sort_by(|(left, _), (right, _)| left.cmp(right));
        Self::of(books)
    }

    fn of(books: Vec<(BookId, AnyBook)>) -> Self {
        let kept = |(id, book)| Kept {
            id,
            book,
            left: false,
        };
        Self {
            books: books.into_iter().map(kept).collect(),
        }
    }

    /// Those of `ids` that there is no book of yet.
    #[must_use]
    pub fn missing(&self, ids: &[BookId]) -> Vec<BookId> {
        let known = |id: &BookId| self.books.iter().any(|kept| kept.id == *id);
        ids.iter().filter(|id| !known(id)).cloned().collect()
    }

    /// The run goes on with the books of `ids`. A part that a stream goes on without takes
    /// nothing from now on, and one that joins, or joins again, begins with what is sent from
    /// now on: the frames between count as not asked for, not as lost.
    ///
    /// Call it while nobody writes the books that join.
    ///
    /// # Errors
    /// When a book that joins is still held.
    pub fn adopt(&mut self, new: NewBooks, ids: &[BookId]) -> Result<(), BusError> {
        for kept in &mut self.books {
            let goes_on = ids.iter().any(|id| id.stream == kept.id.stream);
            if goes_on && !ids.contains(&kept.id) {
                kept.left = true;
            }
        }
        let joining = self.books.iter().enumerate();
        let joining = joining.filter(|(_, kept)| kept.left && ids.contains(&kept.id));
        let joining: Vec<usize> = joining.map(|(index, _)| index).collect();
        for index in joining {
            self.books[index].pass_over(&self.read(&self.books[index].id.stream))?;
            self.books[index].left = false;
        }
        for (id, book) in new.0 {
            let kept = Kept {
                id,
                book,
                left: false,
            };
            kept.pass_over(&self.read(&kept.id.stream))?;
            self.books.push(kept);
        }
        Ok(())
    }

    /// A number that grows while the worker's main loop is alive; `None` for one that keeps
    /// no book.
    #[must_use]
    pub fn progress(&self, worker: &WorkerId) -> Option<u64> {
        let books = self.books.iter();
        let own = books.filter(|kept| !kept.left && kept.id.worker() == *worker);
        own.map(|kept| kept.book.progress())
            .reduce(u64::wrapping_add)
    }

    /// What the books say of a stream now. Consumers are read before producers, so that
    /// none seems to have more than was sent.
    #[must_use]
    pub fn read(&self, stream: &StreamName) -> StreamBooks {
        let of_stream = || self.books.iter().filter(|kept| kept.id.stream == *stream);
        let mut all = StreamBooks::default();
        let mut gateway_left = false;
        for kept in of_stream() {
            if let AnyBook::Gateway(book) = &kept.book {
                all.gateway = Some(book.read());
                gateway_left = kept.left;
            }
        }
        for kept in of_stream() {
            if let AnyBook::Render(book) = &kept.book {
                all.ledger.render = book.read();
            }
        }
        // Models that look at the stream come before those that did once.
        for left in [false, true] {
            for kept in of_stream().filter(|kept| kept.left == left) {
                if let (Part::Infer(model), AnyBook::Infer(book)) = (&kept.id.part, &kept.book) {
                    all.ledger.infer.push((model.to_string(), book.read()));
                }
            }
        }
        for kept in of_stream() {
            if let (Part::InferCrops(model), AnyBook::Infer(book)) = (&kept.id.part, &kept.book) {
                let mut infer = book.read();
                let cut = self.cut(stream, model);
                if kept.left {
                    pass_over_frames(&mut infer, cut.published);
                }
                let model = model.to_string();
                all.ledger.crops.push(CropLedger { model, cut, infer });
            }
        }
        for kept in of_stream() {
            if let (Part::Mosaic(mosaic), AnyBook::Mosaic(book)) = (&kept.id.part, &kept.book) {
                let mut taken = book.read();
                let sent = self.tiles(stream, mosaic);
                if kept.left {
                    pass_over_tiles(&mut taken, sent.published);
                }
                let mosaic = mosaic.to_string();
                all.ledger.tiles.push(TileLedger {
                    mosaic,
                    sent,
                    taken,
                });
            }
        }
        for kept in of_stream() {
            if let AnyBook::Ingest(book) = &kept.book {
                all.ledger.ingest = book.read();
            }
        }
        for kept in of_stream() {
            if let AnyBook::Intake(book) = &kept.book {
                all.intake = Some(book.read());
            }
        }
        let left = of_stream().filter(|kept| kept.left);
        let left = left
            .filter(|kept| matches!(kept.id.part, Part::Infer(_)))
            .count();
        let stayed = all.ledger.infer.len() - left;
        for (_, counters) in &mut all.ledger.infer[stayed..] {
            pass_over_frames(counters, all.ledger.ingest.published);
        }
        if let Some(counters) = all.gateway.as_mut().filter(|_| gateway_left) {
            pass_over_units(counters, all.ledger.render.encoded);
        }
        all
    }

    fn cut(&self, stream: &StreamName, model: &ModelName) -> CropCounters {
        let own = |kept: &&Kept| {
            kept.id.stream == *stream && matches!(&kept.id.part, Part::Crops(of) if of == model)
        };
        match self.books.iter().find(own).map(|kept| &kept.book) {
            Some(AnyBook::Crops(book)) => book.read(),
            _ => CropCounters::default(),
        }
    }

    fn tiles(&self, stream: &StreamName, mosaic: &StreamName) -> TileCounters {
        let own = |kept: &&Kept| {
            kept.id.stream == *stream && matches!(&kept.id.part, Part::Tiles(of) if of == mosaic)
        };
        match self.books.iter().find(own).map(|kept| &kept.book) {
            Some(AnyBook::Tiles(book)) => book.read(),
            _ => TileCounters::default(),
        }
    }

    /// The latencies of one book.
    #[must_use]
    pub fn histogram(&self, id: &BookId) -> Histogram {
        let kept = self.books.iter().find(|kept| kept.id == *id);
        kept.map(|kept| kept.book.histogram()).unwrap_or_default()
    }

    /// The content of every book, as it goes into the database.
    #[must_use]
    pub fn content(&self) -> Vec<FoundBook> {
        let found = |kept: &Kept| FoundBook {
            stream: kept.id.stream.clone(),
            book: kept.id.part.to_string(),
            counters: self.counters(kept),
            histogram: kept.book.histogram(),
        };
        self.books.iter().map(found).collect()
    }

    fn counters(&self, kept: &Kept) -> Vec<(&'static str, u64)> {
        if !kept.left {
            return kept.book.counters();
        }
        let all = self.read(&kept.id.stream);
        match &kept.id.part {
            Part::Infer(model) => {
                let mut models = all.ledger.infer.iter();
                let own = models.find(|(name, _)| name == model.as_str());
                own.map_or_else(Vec::new, |(_, counters)| named(counters))
            }
            Part::InferCrops(model) => {
                let own = all.crops(model);
                own.map_or_else(Vec::new, |crops| named(&crops.infer))
            }
            Part::Gateway => all.gateway.as_ref().map_or_else(Vec::new, named),
            Part::Mosaic(mosaic) => {
                let own = all.tiles(mosaic);
                own.map_or_else(Vec::new, |tiles| named(&tiles.taken))
            }
            Part::Ingest | Part::Render | Part::Crops(_) | Part::Intake | Part::Tiles(_) => {
                kept.book.counters()
            }
        }
    }

    /// The files of a worker's books.
    #[must_use]
    pub fn closer(&self, worker: &WorkerId) -> Closer {
        let books = self.books.iter().filter(|kept| kept.id.worker() == *worker);
        Closer {
            books: books
                .map(|kept| (kept.id.part.clone(), kept.book.path().to_owned()))
                .collect(),
        }
    }

    /// Closes the books of workers that will not come back: what was sent to those for
    /// whom `is_lost` says so, and never taken, is lost.
    ///
    /// # Errors
    /// When a worker still holds its book.
    pub fn close_transit(&self, is_lost: impl Fn(&BookId) -> bool) -> Result<(), BusError> {
        for kept in &self.books {
            let all = self.read(&kept.id.stream);
            if kept.left {
                kept.pass_over(&all)?;
            } else if is_lost(&kept.id) {
                let units = all.ledger.ingest.units;
                kept.book
                    .settle_transit(all.sent_to(&kept.id.part), units)?;
            }
        }
        Ok(())
    }

    /// Closes all books after the supervisor's death. Its workers leave by themselves; waits
    /// for them at most `patience`.
    ///
    /// # Errors
    /// When a worker still holds its book.
    pub fn close_all(&self, patience: Duration) -> Result<(), BusError> {
        let paths = self.books.iter().map(|kept| kept.book.path().to_owned());
        wait_for_writers(paths.collect(), patience);
        for kept in &self.books {
            kept.book.settle()?;
        }
        self.close_transit(|_| true)
    }
}

impl Kept {
    /// Writes down that all that was sent so far was not asked for.
    fn pass_over(&self, all: &StreamBooks) -> Result<(), BusError> {
        let sent = all.sent_to(&self.id.part);
        match &self.book {
            AnyBook::Infer(book) if book.read().next_sequence < sent => {
                update(book.path(), |counters| pass_over_frames(counters, sent))
            }
            AnyBook::Gateway(book) if book.read().next_sequence < sent => {
                update(book.path(), |counters| pass_over_units(counters, sent))
            }
            AnyBook::Mosaic(book) if book.read().next_sequence < sent => {
                update(book.path(), |counters| pass_over_tiles(counters, sent))
            }
            _ => Ok(()),
        }
    }
}

/// Frames, or crops, that the config did not want this model to look at are like those a gate held back.
fn pass_over_frames(counters: &mut InferCounters, published: u64) {
    let passed = published.saturating_sub(counters.next_sequence);
    counters.received += passed;
    counters.gated += passed;
    counters.next_sequence += passed;
}

/// Access units of a stream that was not served: nobody watched.
fn pass_over_units(counters: &mut GatewayCounters, encoded: u64) {
    let passed = encoded.saturating_sub(counters.next_sequence);
    counters.received += passed;
    counters.unwatched += passed;
    counters.next_sequence += passed;
}

/// Tiles of a stream that is in the mosaic no more.
fn pass_over_tiles(counters: &mut MosaicCounters, published: u64) {
    let passed = published.saturating_sub(counters.next_sequence);
    counters.passed_over += passed;
    counters.next_sequence += passed;
}

/// Waits until nobody holds a lock on any of `paths`, but not longer than `patience`.
fn wait_for_writers(paths: Vec<PathBuf>, patience: Duration) {
    let (all_free, wait) = sync_channel::<()>(1);
    let locker = std::thread::Builder::new()
        .name("book-locks".to_owned())
        .spawn(move || {
            for path in paths {
                if let Ok(file) = File::open(path) {
                    drop(Flock::lock(file, FlockArg::LockExclusive));
                }
            }
            drop(all_free);
        });
    if locker.is_ok() {
        let _ = wait.recv_timeout(patience);
    }
}

/// Closes the books of one dead worker; can be sent to a thread that may block.
#[derive(Debug, Clone)]
pub struct Closer {
    books: Vec<(Part, PathBuf)>,
}

impl Closer {
    /// What was inside the worker is lost.
    ///
    /// # Errors
    /// When the worker still holds its book.
    pub fn settle(&self) -> Result<(), BusError> {
        for (part, path) in &self.books {
            AnyBook::open(part, path)?.settle()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
