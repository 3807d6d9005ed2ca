//! The recording of a stream: files of limited length, written on a thread of its own.
//!
//! The encoder's thread hands over access units and never waits ([`Recorder::take`]). The
//! writer collects fragments, begins another file with the first key frame after the
//! segment's time or size, and asks for that key frame through
//! [`Recorder::wants_keyframe`], so that files follow each other without a gap. When the
//! disk refuses, frames are counted and the video goes on; writing is tried again every
//! [`RETRY_INTERVAL`]. A disk that is too slow costs whole groups of pictures.
//!
//! Every access unit taken is counted once: recorded, or not and why.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::control::{FileKind, FileRecord, FileState, FromWorker, GapReason, RecordingGap};
use contract::ledger::RenderCounters;
use contract::name::StreamName;
use contract::spec::RecordSpec;
use fmp4::ParameterSets;

use super::film::{Collected, Film, FilmError, parameters};
use super::lane::{Lane, Taken};
use super::{Encoded, PictureInfo};
use crate::paths;
use crate::shared::{SharedBook, lock};

/// What may wait for the disk: half a minute at 8 Mbit/s.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// After the disk has refused, writing is tried again so often.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// A power cut costs at most so much video: the disk is made to keep what was written.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is told how long the open file is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// When nothing has come for so long, what is collected is written.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// A pause in the stream is no part of a file when it is longer.
const PAUSE_NS_MAX: u64 = 10_000_000_000;

/// Where a recording goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) stream: StreamName,
    /// Of the run: relative directories are inside.
    pub(crate) run: PathBuf,
    pub(crate) spec: RecordSpec,
}

/// Hands access units to the thread that records them.
#[derive(Debug)]
pub(crate) struct Recorder {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    place: Place,
    entry: Entry,
    /// The end of a file, for which a key frame has been asked for.
    asked_for_ns: Option<u64>,
}

/// Whether the lane takes what comes.
#[derive(Debug)]
enum Entry {
    /// Nothing was taken yet: it begins with a key frame.
    Begin,
    Open,
    /// There was no room: it goes on with a key frame when there is.
    Full(RecordingGap),
}

/// What both threads know.
#[derive(Debug)]
struct Shared {
    book: SharedBook,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Access units in the lane or collected.
    pending: u64,
    /// Nobody waits for the writer any more, and all pending is accounted for.
    given_up: bool,
    /// A picture of this time or later shall be a key frame.
    cut_ns: Option<u64>,
    /// What the encoder's thread has to tell, which must not wait for the supervisor: the main
    /// loop takes it several times a second.
    news: Vec<FromWorker>,
}

/// A counter of the book.
type Counter = fn(&mut RenderCounters) -> &mut u64;

const RECORDED: Counter = |counters| &mut counters.recorded;
const OFF: Counter = |counters| &mut counters.unrecorded_off;
const DISK: Counter = |counters| &mut counters.unrecorded_disk;
const SLOW: Counter = |counters| &mut counters.unrecorded_slow;

impl Shared {
    fn count(&self, counter: Counter, frames: u64) {
        if frames > 0 {
            lock(&self.book).update(|counters| *counter(counters) += frames);
        }
    }

    /// The writer knows what has become of some of the pending.
    fn account(&self, counter: Counter, frames: u64) {
        let mut tally = lock(&self.tally);
        if !tally.given_up {
            tally.pending -= frames;
            self.count(counter, frames);
        }
    }

    fn tell(&self, news: FromWorker) {
        lock(&self.tally).news.push(news);
    }
}

impl Recorder {
    /// Starts the thread. Nothing is opened before the first fragment is there. What is written
    /// is told at once, so that a kill leaves no file that nobody knows of; `tell` may wait.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        place: Place,
        book: SharedBook,
        tell: impl Fn(FromWorker) + Send + 'static,
    ) -> std::io::Result<Self> {
        let lane = Arc::new(Lane::new(QUEUED_BYTES_MAX));
        let shared = Arc::new(Shared {
            book,
            tally: Mutex::new(Tally::default()),
        });
        let writer = Writer {
            place: place.clone(),
            shared: Arc::clone(&shared),
            tell: Box::new(tell),
            segment: None,
            trouble: None,
        };
        let from = Arc::clone(&lane);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                writer.work(&from);
                from.is_written();
            })?;
        Ok(Self {
            lane,
            shared,
            thread: Some(thread),
            place,
            entry: Entry::Begin,
            asked_for_ns: None,
        })
    }

    /// Takes the next access unit and sees to it that it is counted. Never waits for the disk.
    pub(crate) fn take(&mut self, encoded: &Encoded) {
        let keyframe = encoded.unit.keyframe;
        match &mut self.entry {
            Entry::Begin if !keyframe => self.shared.count(OFF, 1),
            Entry::Begin | Entry::Open => {
                self.entry = Entry::Open;
                self.offer(encoded);
            }
            Entry::Full(gap) if keyframe && self.lane.has_caught_up() => {
                gap.end_wall_ms = Some(encoded.picture.wall_ms);
                self.shared.tell(FromWorker::RecordingGap(gap.clone()));
                self.entry = Entry::Open;
                self.lane.cut();
                self.offer(encoded);
            }
            Entry::Full(gap) => {
                gap.frames += 1;
                self.shared.count(SLOW, 1);
            }
        }
    }

    fn offer(&mut self, encoded: &Encoded) {
        // Before it is in the lane: the writer may be quicker than this thread.
        lock(&self.shared.tally).pending += 1;
        if self.lane.offer(encoded) {
            return;
        }
        self.shared.account(SLOW, 1);
        let waiting = QUEUED_BYTES_MAX >> 20;
        let directory = self.place.spec.directory.display();
        let gap = RecordingGap {
            stream: self.place.stream.clone(),
            reason: GapReason::Slow,
            text: format!(
                "the disk of `{directory}` is too slow: {waiting} MB wait to be written; \
                 what comes now is left out up to a key frame"
            ),
            begin_wall_ms: encoded.picture.wall_ms,
            end_wall_ms: None,
            frames: 1,
        };
        self.shared.tell(FromWorker::RecordingGap(gap.clone()));
        self.entry = Entry::Full(gap);
    }

    /// Whether the picture of this time, about to be encoded, is where another file should
    /// begin. Said once for each file.
    pub(crate) fn wants_keyframe(&mut self, pts_ns: u64) -> bool {
        let cut_ns = lock(&self.shared.tally).cut_ns;
        let due = cut_ns.is_some_and(|cut_ns| cut_ns <= pts_ns);
        if due && self.asked_for_ns != cut_ns {
            self.asked_for_ns = cut_ns;
            return true;
        }
        false
    }

    /// What comes from now on is from another encoder: it goes into another file.
    pub(crate) fn cut(&self) {
        self.lane.cut();
    }

    /// Nothing comes any more; [`Recorder::is_closed`] says when all is written.
    pub(crate) fn end(&mut self, wall_ms: i64) {
        if let Entry::Full(gap) = &mut self.entry {
            gap.end_wall_ms = Some(wall_ms);
            self.shared.tell(FromWorker::RecordingGap(gap.clone()));
            self.entry = Entry::Begin;
        }
        self.lane.close();
    }

    /// Whether all is written, waiting `timeout` at most for it.
    pub(crate) fn is_closed(&self, timeout: Duration) -> bool {
        self.lane.wait_written(timeout)
    }

    /// Waits for the disk no more: what it has not taken counts as not recorded.
    pub(crate) fn give_up(&mut self) {
        let mut tally = lock(&self.shared.tally);
        let pending = std::mem::take(&mut tally.pending);
        tally.given_up = true;
        self.shared.count(SLOW, pending);
        // Its thread hangs in the disk and goes with the process.
        self.thread = None;
    }

    /// There is something to be told.
    pub(crate) fn has_news(&self) -> bool {
        !lock(&self.shared.tally).news.is_empty()
    }

    /// What the supervisor is to be told.
    pub(crate) fn news(&self) -> Vec<FromWorker> {
        std::mem::take(&mut lock(&self.shared.tally).news)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.lane.close();
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            // A panic has been logged by its hook; nothing else is left to learn.
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Writer {
    place: Place,
    shared: Arc<Shared>,
    tell: Box<dyn Fn(FromWorker) + Send>,
    segment: Option<Segment>,
    /// While the disk refuses.
    trouble: Option<Trouble>,
}

struct Trouble {
    gap: RecordingGap,
    retry_at: Instant,
}

/// One file, from its first access unit on.
struct Segment {
    /// Made with the first fragment, so that there is no file without a frame.
    film: Option<Film>,
    collected: Collected,
    parameters: Option<ParameterSets>,
    begin: PictureInfo,
    last_ns: u64,
    /// Its name as it is reported.
    path: String,
    synced_at: Instant,
    reported_at: Instant,
}

impl Segment {
    fn new(first: &Encoded) -> Self {
        let now = Instant::now();
        Self {
            film: None,
            collected: Collected::default(),
            parameters: parameters(first).ok().flatten(),
            begin: first.picture,
            last_ns: first.unit.pts_ns,
            path: String::new(),
            synced_at: now,
            reported_at: now,
        }
    }

    fn bytes(&self) -> u64 {
        self.film.as_ref().map_or(0, |film| film.content().bytes)
    }

    /// Another file begins with this key frame.
    fn ends_before(&self, next: &Encoded, spec: &RecordSpec) -> bool {
        let lasted_ns = next.unit.pts_ns.saturating_sub(self.begin.pts_ns);
        lasted_ns >= spec.segment_ms.saturating_mul(1_000_000)
            || self.bytes() >= spec.segment_bytes
            || self.pauses_before(next)
            || parameters(next).ok().flatten() != self.parameters
    }

    fn pauses_before(&self, next: &Encoded) -> bool {
        next.unit.pts_ns.saturating_sub(self.last_ns) > PAUSE_NS_MAX
    }

    fn record(&self, place: &Place, state: FileState) -> FromWorker {
        FromWorker::File(Box::new(FileRecord {
            stream: place.stream.clone(),
            kind: FileKind::Recording,
            path: self.path.clone(),
            state,
            begin_wall_ms: self.begin.wall_ms,
            begin_pts_ns: self.begin.source_pts_ns,
            content: self.film.as_ref().map(Film::content).unwrap_or_default(),
        }))
    }
}

impl Writer {
    fn work(mut self, lane: &Lane) {
        let mut last_wall_ms = 0;
        loop {
            match lane.take(SILENCE_MAX) {
                Taken::Unit(encoded) => {
                    last_wall_ms = encoded.picture.wall_ms;
                    self.take(encoded);
                }
                Taken::Nothing => self.flush(None),
                Taken::Cut => self.end_segment(None),
                Taken::End => break,
            }
        }
        self.end_segment(None);
        if let Some(trouble) = self.trouble.take() {
            self.recovered(trouble, last_wall_ms);
        }
    }

    fn take(&mut self, encoded: Encoded) {
        let keyframe = encoded.unit.keyframe;
        let pts_ns = encoded.unit.pts_ns;
        if let Some(segment) = self.segment.as_ref().filter(|_| keyframe)
            && segment.ends_before(&encoded, &self.place.spec)
        {
            let next_ns = (!segment.pauses_before(&encoded)).then_some(pts_ns);
            self.end_segment(next_ns);
        }
        if let Some(segment) = &self.segment
            && segment.collected.is_full_before(&encoded)
        {
            self.flush(Some(pts_ns));
        }
        let waits = |trouble: &Trouble| Instant::now() < trouble.retry_at;
        if self.segment.is_none() && (!keyframe || self.trouble.as_ref().is_some_and(waits)) {
            // Without a segment and without trouble there is a cut in front of it, and a key
            // frame after that.
            let counter = if self.trouble.is_some() { DISK } else { OFF };
            self.miss(counter, 1);
            return;
        }
        if self.segment.is_none() {
            let segment_ns = self.place.spec.segment_ms.saturating_mul(1_000_000);
            lock(&self.shared.tally).cut_ns = Some(pts_ns.saturating_add(segment_ns));
        }
        let segment = self.segment.get_or_insert_with(|| Segment::new(&encoded));
        segment.last_ns = pts_ns;
        segment.collected.push(encoded);
    }

    /// Writes what is collected, which ends with what comes at `next_ns`, if that is known.
    fn flush(&mut self, next_ns: Option<u64>) {
        let Some(segment) = &mut self.segment else {
            return;
        };
        let frames = segment.collected.len();
        let Some((units, end_ns)) = segment.collected.take(next_ns) else {
            return;
        };
        match write(segment, &self.place, &units, end_ns) {
            Ok(is_new) => {
                self.shared.account(RECORDED, frames);
                if segment.bytes() >= self.place.spec.segment_bytes {
                    // From the next picture on.
                    lock(&self.shared.tally).cut_ns = Some(end_ns);
                }
                let now = Instant::now();
                if is_new || now - segment.reported_at >= REPORT_INTERVAL {
                    segment.reported_at = now;
                    (self.tell)(segment.record(&self.place, FileState::Open));
                }
                let begin_wall_ms = segment.begin.wall_ms;
                if let Some(trouble) = self.trouble.take() {
                    self.recovered(trouble, begin_wall_ms);
                }
            }
            Err(error) => {
                let wall_ms = units.first().map_or(0, |unit| unit.picture.wall_ms);
                self.fail(&error, wall_ms);
                self.miss(DISK, frames);
            }
        }
    }

    /// The file ends; what comes at `next_ns` follows it without a gap.
    fn end_segment(&mut self, next_ns: Option<u64>) {
        self.flush(next_ns);
        let Some(segment) = self.segment.take() else {
            return;
        };
        let Some(film) = &segment.film else { return };
        if let Err(error) = film.sync() {
            tracing::error!("{error}; its newest frames may be gone after a power cut");
        }
        (self.tell)(segment.record(&self.place, FileState::Closed));
    }

    /// The disk has refused: the file ends with what is in it.
    fn fail(&mut self, error: &FilmError, wall_ms: i64) {
        if let Some(segment) = self.segment.take().filter(|segment| segment.film.is_some()) {
            (self.tell)(segment.record(&self.place, FileState::Closed));
        }
        let retry_at = Instant::now() + RETRY_INTERVAL;
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at = retry_at;
            // So that it is seen how much is missing by now.
            (self.tell)(FromWorker::RecordingGap(trouble.gap.clone()));
            return;
        }
        let seconds = RETRY_INTERVAL.as_secs();
        let gap = RecordingGap {
            stream: self.place.stream.clone(),
            reason: GapReason::Disk,
            text: format!(
                "{error}; free space there, or let less be kept (`keep`); \
                 it is tried again every {seconds} s"
            ),
            begin_wall_ms: wall_ms,
            end_wall_ms: None,
            frames: 0,
        };
        tracing::error!("recording stopped: {}", gap.text);
        (self.tell)(FromWorker::RecordingGap(gap.clone()));
        self.trouble = Some(Trouble { gap, retry_at });
    }

    fn miss(&mut self, counter: Counter, frames: u64) {
        self.shared.account(counter, frames);
        if let Some(trouble) = &mut self.trouble {
            trouble.gap.frames += frames;
        }
    }

    /// It can be written again, or nobody wants it any more.
    fn recovered(&mut self, trouble: Trouble, wall_ms: i64) {
        let gap = RecordingGap {
            end_wall_ms: Some(wall_ms),
            ..trouble.gap
        };
        tracing::info!("{} frames were not recorded", gap.frames);
        (self.tell)(FromWorker::RecordingGap(gap));
    }
}

/// Puts a fragment into the segment's file, which is made when it is the first; returns
/// whether it was.
fn write(
    segment: &mut Segment,
    place: &Place,
    units: &[Encoded],
    end_ns: u64,
) -> Result<bool, FilmError> {
    if let Some(film) = &mut segment.film {
        film.write(units, end_ns)?;
        if segment.synced_at.elapsed() >= SYNC_INTERVAL {
            film.sync()?;
            segment.synced_at = Instant::now();
        }
        return Ok(false);
    }
    let (path, file) = create(place, segment.begin.wall_ms)?;
    let absolute = place.run.join(&path);
    let mut film = Film::new(file, absolute.clone());
    if let Err(error) = film.write(units, end_ns) {
        // An empty file is of no use to anybody.
        let _ = std::fs::remove_file(&absolute);
        return Err(error);
    }
    segment.path = path;
    segment.film = Some(film);
    Ok(true)
}

/// Makes a file that nobody has yet, and has its directory remember it. Returns its path as it
/// is reported.
fn create(place: &Place, wall_ms: i64) -> Result<(String, File), FilmError> {
    let directory = place.run.join(&place.spec.directory);
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| FilmError::Disk { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(refused(&directory))?;
    let names = paths::recordings(&place.spec.directory, &place.stream, wall_ms);
    for path in names {
        let absolute = place.run.join(&path);
        let made = File::options().write(true).create_new(true).open(&absolute);
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => {
                let file = made.map_err(refused(&absolute))?;
                let entries = File::open(&directory).and_then(|directory| directory.sync_all());
                entries.map_err(refused(&directory))?;
                return Ok((path, file));
            }
        }
    }
    let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    Err(refused(&directory)(source))
}

#[cfg(test)]
mod tests;
