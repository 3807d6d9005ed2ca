//! Books: pages of counters in shared memory, one writer each, that anyone may read.
//!
//! A worker keeps its counters in a book instead of sending them: the
//! supervisor reads them when it likes, at no cost to the worker, and after a
//! kill the book says exactly what was done. So that it does, a group of
//! counters is committed atomically: the page has two copies, the writer fills
//! the inactive one and then turns a generation number over.
//!
//! Page layout, in 64-bit words: magic, generation, progress, reserved;
//! copy of odd generations, copy of even generations ([`WORDS_MAX`] words each);
//! latency histogram ([`BUCKETS`] words).

use std::fs::{File, OpenOptions};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use contract::latency::{BUCKETS, Histogram, bucket_of};
use contract::ledger::{Counters, WORDS_MAX};
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{Flock, FlockArg};

use crate::error::BusError;

const MAGIC: u64 = 0x534c_4249_4345_0001;
const WORD_MAGIC: usize = 0;
const WORD_GENERATION: usize = 1;
const WORD_PROGRESS: usize = 2;
const WORD_COPIES: usize = 4;
const WORD_HISTOGRAM: usize = WORD_COPIES + 2 * WORDS_MAX;
const WORDS: usize = WORD_HISTOGRAM + BUCKETS;

/// Bytes of a book.
pub const BOOK_BYTES: usize = WORDS * size_of::<u64>();

#[derive(Debug)]
struct Page {
    map: MmapRaw,
}

impl Page {
    fn map(file: &File, path: &Path) -> Result<Self, BusError> {
        let length = file
            .metadata()
            .map_err(|error| BusError::file(path, &error))?
            .len();
        if length != BOOK_BYTES as u64 {
            let reason = format!("it has {length} bytes, a book has {BOOK_BYTES}");
            return Err(BusError::file(path, &reason));
        }
        let map = MmapOptions::new()
            .len(BOOK_BYTES)
            .map_raw(file)
            .map_err(|error| BusError::file(path, &error))?;
        Ok(Self { map })
    }

    #[expect(unsafe_code, reason = "atomics over a mapping")]
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "a book has {WORDS} words");
        // SAFETY: the mapping is BOOK_BYTES long, begins on a page and lives as long as
        // `self`; every process reads and writes its words only as atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    fn copy(generation: u64) -> usize {
        WORD_COPIES + usize::from(generation.is_multiple_of(2)) * WORDS_MAX
    }

    fn load(&self, generation: u64, count: usize) -> Vec<u64> {
        let begin = Self::copy(generation);
        (begin..begin + count)
            .map(|index| self.word(index).load(Ordering::Relaxed))
            .collect()
    }
}

/// The one writer of a book; holds a lock on its file.
#[derive(Debug)]
pub struct BookWriter<C> {
    page: Page,
    counters: C,
    _lock: Flock<File>,
}

impl<C: Counters> BookWriter<C> {
    /// Goes on writing the book at `path`, which the supervisor has made.
    ///
    /// # Errors
    /// When it is not a book, or another process is writing it.
    pub fn open(path: &Path) -> Result<Self, BusError> {
        let file = open_file(path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| BusError::file(path, &error.desc()))?;
        let page = Page::map(&lock, path)?;
        if page.word(WORD_MAGIC).load(Ordering::Relaxed) != MAGIC {
            return Err(BusError::file(path, &"it is not a book"));
        }
        let generation = page.word(WORD_GENERATION).load(Ordering::Acquire);
        let counters = C::from_words(&page.load(generation, C::NAMES.len()));
        Ok(Self {
            page,
            counters,
            _lock: lock,
        })
    }

    /// The counters as last committed.
    #[must_use]
    pub fn counters(&self) -> &C {
        &self.counters
    }

    /// Changes the counters and commits them as one: a reader, or the supervisor after a
    /// kill, sees all of the change or none of it.
    pub fn update(&mut self, change: impl FnOnce(&mut C)) {
        change(&mut self.counters);
        let generation = self.page.word(WORD_GENERATION);
        let next = generation.load(Ordering::Relaxed).wrapping_add(1);
        let begin = Page::copy(next);
        // Whoever sees a word of this commit also sees that the last one is done, and so
        // knows that the copy is being overwritten.
        fence(Ordering::Release);
        let words = self.counters.to_words();
        for (offset, word) in words.into_iter().take(C::NAMES.len()).enumerate() {
            self.page
                .word(begin + offset)
                .store(word, Ordering::Relaxed);
        }
        generation.store(next, Ordering::Release);
    }

    /// Counts one duration in the book's histogram.
    pub fn record_latency_us(&self, microseconds: u64) {
        let index = WORD_HISTOGRAM + bucket_of(microseconds);
        self.page.word(index).fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the worker's main loop is alive.
    pub fn tick(&self) {
        self.page
            .word(WORD_PROGRESS)
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a book.
#[derive(Debug)]
pub struct BookReader<C> {
    path: PathBuf,
    page: Page,
    counters: PhantomData<C>,
}

impl<C: Counters> BookReader<C> {
    /// Makes an empty book.
    ///
    /// # Errors
    /// When the file exists already or cannot be made.
    pub fn create(path: &Path) -> Result<Self, BusError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| BusError::file(path, &error))?;
        file.set_len(BOOK_BYTES as u64)
            .map_err(|error| BusError::file(path, &error))?;
        let page = Page::map(&file, path)?;
        page.word(WORD_MAGIC).store(MAGIC, Ordering::Relaxed);
        Ok(Self::of(path, page))
    }

    /// Opens a book that exists.
    ///
    /// # Errors
    /// When it is not a book.
    pub fn open(path: &Path) -> Result<Self, BusError> {
        let page = Page::map(&open_file(path)?, path)?;
        if page.word(WORD_MAGIC).load(Ordering::Relaxed) != MAGIC {
            return Err(BusError::file(path, &"it is not a book"));
        }
        Ok(Self::of(path, page))
    }

    fn of(path: &Path, page: Page) -> Self {
        Self {
            path: path.to_owned(),
            page,
            counters: PhantomData,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The counters as last committed, all of one commit.
    #[must_use]
    pub fn read(&self) -> C {
        loop {
            let generation = self.page.word(WORD_GENERATION).load(Ordering::Acquire);
            let words = self.page.load(generation, C::NAMES.len());
            fence(Ordering::Acquire);
            // The copy just read is overwritten no sooner than in the commit after the next.
            if self.page.word(WORD_GENERATION).load(Ordering::Relaxed) == generation {
                return C::from_words(&words);
            }
        }
    }

    /// The latencies counted so far.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let counts =
            (WORD_HISTOGRAM..WORDS).map(|index| self.page.word(index).load(Ordering::Relaxed));
        Histogram::from_counts(counts.collect())
    }

    /// A number that grows while the worker's main loop is alive.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.page.word(WORD_PROGRESS).load(Ordering::Relaxed)
    }
}

fn open_file(path: &Path) -> Result<File, BusError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| BusError::file(path, &error))
}

/// Closes the account of a dead worker: what was inside it is lost. Returns the counters.
///
/// # Errors
/// When the worker is not dead: it still holds its book.
pub fn settle<C: Counters>(path: &Path) -> Result<C, BusError> {
    let mut writer = BookWriter::<C>::open(path)?;
    writer.update(Counters::settle);
    Ok(writer.counters().clone())
}
