//! What becomes of access units: counted, handed to the gateway, recorded.
//!
//! [`Output::take`] runs on the encoder's thread, so that an access unit is on its
//! way to viewers while the main loop draws the next frame. Nothing in it waits
//! for a disk or for another process: files are written by threads of their own.

pub(crate) mod clip;
pub(crate) mod clips;
mod film;
mod lane;
pub(crate) mod recorder;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::clock::{monotonic_ns, wall_ms};
use contract::control::FromWorker;
use contract::ledger::RenderCounters;
use contract::spec::QualitySpec;
use frame_bus::{BusError, PacketPublisher, PacketStamp, Waker};

use crate::encode::AccessUnit;
use crate::shared::{SharedBook, lock};
use clip::{ClipFilm, Finished};
use clips::{CLIPS_MAX, ClipOf, Clips};
use recorder::Recorder;

/// Pictures inside the encoder; far more than its pipeline holds.
const PENDING_MAX: usize = 64;
/// The latency shown is the mean over so long: a number that changes with each frame cannot be read.
const LATENCY_SHOWN_NS: u64 = 1_000_000_000;

/// A picture that was handed to the encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PictureInfo {
    /// Its time in the encoder, by which its access unit is recognised.
    pub(crate) pts_ns: u64,
    /// Its event time.
    pub(crate) source_pts_ns: u64,
    /// When it was captured.
    pub(crate) captured_ns: u64,
    /// The same by the wall clock, milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

/// An access unit, and the picture it was made of. Cloning shares its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) unit: AccessUnit,
    pub(crate) picture: PictureInfo,
}

/// Whither packets go.
#[derive(Debug)]
pub(crate) struct Restream {
    /// The stream's access units on the bus.
    pub(crate) packets: PacketPublisher,
    /// Wakes the gateway.
    pub(crate) gateway: Waker,
}

/// Takes access units. Cloning is cheap; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    book: SharedBook,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    restream: Option<Restream>,
    recorder: Option<Recorder>,
    /// Recorders whose last picture, of this time, is in the encoder still: one, or two when
    /// what is recorded changes twice inside a moment. The first takes what is up to its last;
    /// `None`: it has it already.
    ending: VecDeque<(Recorder, Option<u64>)>,
    /// Recorders that write what they have.
    closing_recorders: Vec<Recorder>,
    clips: Clips,
    /// Clips that wait for their disk, no more than [`CLIPS_MAX`].
    closing: Vec<ClipFilm>,
    /// Time of the newest access unit.
    newest: Option<PictureInfo>,
    bus_error: Option<BusError>,
    /// Pictures inside the encoder of each rung.
    pending: [VecDeque<PictureInfo>; QualitySpec::MAX + 1],
    latency: ShownLatency,
}

impl Output {
    /// An output that counts in `book`.
    #[must_use]
    pub(crate) fn new(book: SharedBook) -> Self {
        Self {
            book,
            state: Arc::default(),
        }
    }

    /// A picture is about to be handed to the encoders. True when it shall be a key frame, for
    /// another file begins with it.
    pub(crate) fn expect(&self, picture: PictureInfo) -> bool {
        let mut state = lock(&self.state);
        // Those of a rung that there is not, or not any more, are displaced by others.
        for pending in &mut state.pending {
            if pending.len() == PENDING_MAX {
                pending.pop_front();
            }
            pending.push_back(picture);
        }
        let recorder = state.recorder.as_mut();
        recorder.is_some_and(|recorder| recorder.wants_keyframe(picture.pts_ns))
    }

    /// An access unit has left an encoder. Only those of full size are recorded.
    pub(crate) fn take(&self, unit: AccessUnit) {
        let state = &mut *lock(&self.state);
        let picture = state.picture_of(&unit).unwrap_or_else(|| PictureInfo {
            pts_ns: unit.pts_ns,
            source_pts_ns: unit.pts_ns,
            captured_ns: monotonic_ns(),
            wall_ms: wall_ms(),
        });
        self.hand_on(state, unit, picture, |_| ());
    }

    /// An access unit comes from the source itself; `count` goes into the book with it.
    pub(crate) fn pass(
        &self,
        unit: AccessUnit,
        picture: PictureInfo,
        count: impl FnOnce(&mut RenderCounters),
    ) {
        self.hand_on(&mut lock(&self.state), unit, picture, count);
    }

    fn hand_on(
        &self,
        state: &mut State,
        unit: AccessUnit,
        picture: PictureInfo,
        count: impl FnOnce(&mut RenderCounters),
    ) {
        let now_ns = monotonic_ns();
        let rung = unit.rung;
        let latency_us = now_ns.saturating_sub(picture.captured_ns) / 1000;
        if rung == 0 {
            state.latency.record(latency_us, now_ns);
        }
        // Counted before it is published: a number is then never used twice, not even by
        // the successor of a worker that was killed between the two.
        let sequence_number = {
            let mut book = lock(&self.book);
            let sequence_number = book.counters().encoded;
            book.update(|counters| {
                counters.encoded += 1;
                counters.encoded_bytes += unit.buffer.size() as u64;
                count(counters);
            });
            if rung == 0 {
                book.record_latency_us(latency_us);
            }
            sequence_number
        };
        if let Some(restream) = &mut state.restream {
            let stamp = PacketStamp {
                sequence_number,
                pts_ns: unit.pts_ns,
                captured_ns: picture.captured_ns,
                keyframe: unit.keyframe,
                rung,
            };
            if let Err(error) = restream.publish(&stamp, &unit) {
                state.bus_error = Some(error);
            }
        }
        if rung > 0 || !state.record(&Encoded { unit, picture }, now_ns) {
            lock(&self.book).update(|counters| counters.unrecorded_off += 1);
        }
    }

    /// The latency to be shown, in milliseconds, once one is known.
    #[must_use]
    pub(crate) fn latency_ms(&self) -> Option<u64> {
        lock(&self.state).latency.shown_ms
    }

    /// Why the bus takes no more packets, if so.
    #[must_use]
    pub(crate) fn bus_error(&self) -> Option<BusError> {
        lock(&self.state).bus_error.take()
    }

    /// Records from the next key frame on.
    pub(crate) fn record(&self, recorder: Recorder) {
        lock(&self.state).recorder = Some(recorder);
    }

    /// The recording ends with the picture of this time on the encoder's time line, if there is
    /// one.
    pub(crate) fn end_recording(&self, last_ns: Option<u64>) {
        let state = &mut *lock(&self.state);
        if let Some(recorder) = state.recorder.take() {
            state.ending.push_back((recorder, last_ns));
            state.close_ended();
        }
    }

    /// What there is to be told of recordings.
    #[must_use]
    pub(crate) fn recording_news(&self) -> Vec<FromWorker> {
        let state = &mut *lock(&self.state);
        // In this order: what was closed is told of before what follows it.
        let closing = state.closing_recorders.iter();
        let ending = state.ending.iter().map(|(recorder, _)| recorder);
        let all = closing.chain(ending).chain(&state.recorder);
        let news = all.flat_map(Recorder::news).collect();
        state.closing_recorders.retain(|recorder| {
            // Asked first: what it says last it says before it is done.
            !recorder.is_closed(Duration::ZERO) || recorder.has_news()
        });
        news
    }

    /// From now on so much is kept for clips of what was before an event; `None`: nothing.
    /// True when nothing was kept before: it begins with the next key frame.
    pub(crate) fn keep_for_clips(&self, before_ns: Option<u64>) -> bool {
        lock(&self.state).clips.keep(before_ns)
    }

    /// There is room for one more clip.
    #[must_use]
    pub(crate) fn has_room_for_clip(&self) -> bool {
        let state = lock(&self.state);
        state.clips.count() + state.closing.len() < CLIPS_MAX
    }

    /// The first picture of a clip that were begun now; `None`: the one after the next key frame.
    #[must_use]
    pub(crate) fn first_of_clip(&self, begin_ns: u64, before_ns: u64) -> Option<PictureInfo> {
        let state = lock(&self.state);
        let first = state.clips.first(begin_ns, before_ns);
        first.map(|encoded| encoded.picture)
    }

    /// Begins a clip with what was kept.
    pub(crate) fn begin_clip(&self, of: ClipOf, film: ClipFilm) {
        lock(&self.state).clips.begin(of, film);
    }

    /// The event of a clip has ended at `end_ns` on the encoder's time line.
    pub(crate) fn end_clip(&self, event: &str, end_ns: u64) {
        lock(&self.state).clips.end(event, end_ns);
    }

    /// The encoder has ended: no file goes on with what comes from another.
    pub(crate) fn end_files(&self) {
        let now_ns = monotonic_ns();
        let state = &mut *lock(&self.state);
        let ended = state.clips.end_all();
        state.close(ended, now_ns);
        if let Some(recorder) = &state.recorder {
            recorder.cut();
        }
        for (recorder, last_ns) in &mut state.ending {
            recorder.cut();
            *last_ns = None;
        }
        state.close_ended();
    }

    /// The clips that are closed by now.
    #[must_use]
    pub(crate) fn finished(&self, now_ns: u64) -> Vec<Finished> {
        let mut state = lock(&self.state);
        let closed = |film: &mut ClipFilm| film.is_closed(now_ns, Duration::ZERO);
        let closed = state.closing.extract_if(.., closed);
        closed.map(ClipFilm::finished).collect()
    }

    /// Ends all files and waits for them `timeout` at most; returns the clips.
    #[must_use]
    pub(crate) fn finish_files(&self, timeout: Duration) -> Vec<Finished> {
        self.end_recording(None);
        let closing = std::mem::take(&mut lock(&self.state).closing);
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut finished = Vec::with_capacity(closing.len());
        for mut film in closing {
            if !film.is_closed(monotonic_ns(), left()) {
                film.give_up();
            }
            finished.push(film.finished());
        }
        // No access unit comes any more, so that nobody else wants the lock.
        for recorder in &mut lock(&self.state).closing_recorders {
            if !recorder.is_closed(left()) {
                recorder.give_up();
            }
        }
        finished
    }

    /// Packets go there from now on.
    pub(crate) fn restream_to(&self, restream: Restream) {
        lock(&self.state).restream = Some(restream);
    }

    /// Packets go nowhere any more, and the gateway is told so. A broken port shows in
    /// [`Output::bus_error`].
    pub(crate) fn end_restream(&self) {
        let ended = self.end_of_stream();
        let mut state = lock(&self.state);
        state.restream = None;
        state.bus_error = ended.err();
    }

    /// Tells the gateway that no packet comes after this.
    ///
    /// # Errors
    /// When the port is broken.
    pub(crate) fn end_of_stream(&self) -> Result<(), BusError> {
        let next_sequence = lock(&self.book).counters().encoded;
        let mut state = lock(&self.state);
        if let Some(restream) = &mut state.restream {
            restream.packets.end_of_stream(next_sequence)?;
            restream.gateway.wake();
        }
        Ok(())
    }
}

impl Restream {
    fn publish(&mut self, stamp: &PacketStamp, unit: &AccessUnit) -> Result<(), BusError> {
        let Ok(map) = unit.buffer.map_readable() else {
            tracing::warn!("an access unit has no memory");
            return Ok(());
        };
        match self.packets.publish(stamp, &map) {
            Ok(()) => {
                self.gateway.wake();
                Ok(())
            }
            Err(error @ BusError::TooLarge { .. }) => {
                // Viewers see a gap up to the next key frame; the recording has it all.
                tracing::warn!("an access unit is not sent to viewers: {error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl State {
    /// The picture of this access unit. Pictures that the encoder left out are forgotten on
    /// the way.
    fn picture_of(&mut self, unit: &AccessUnit) -> Option<PictureInfo> {
        let pending = self.pending.get_mut(usize::from(unit.rung))?;
        while let Some(picture) = pending.front().copied() {
            if picture.pts_ns > unit.pts_ns {
                return None;
            }
            pending.pop_front();
            if picture.pts_ns == unit.pts_ns {
                return Some(picture);
            }
        }
        None
    }

    /// Hands it to whom it belongs; false when no recording wants it.
    fn record(&mut self, encoded: &Encoded, now_ns: u64) -> bool {
        self.newest = Some(encoded.picture);
        let pts_ns = encoded.unit.pts_ns;
        let ending = self.ending.iter_mut();
        let ending = ending.filter(|(_, last_ns)| last_ns.is_some_and(|last_ns| pts_ns <= last_ns));
        let ending = ending.map(|(recorder, _)| recorder).next();
        let recorder = ending.or(self.recorder.as_mut());
        let wanted = recorder.is_some();
        if let Some(recorder) = recorder {
            recorder.take(encoded);
        }
        self.close_ended();
        let ended = self.clips.push(encoded);
        self.close(ended, now_ns);
        wanted
    }

    fn close_ended(&mut self) {
        let newest = self.newest;
        let newest_ns = newest.map(|newest| newest.pts_ns);
        // `None` is less than any time.
        let is_over = |(_, last_ns): &mut (Recorder, Option<u64>)| *last_ns <= newest_ns;
        while let Some((mut recorder, _)) = self.ending.pop_front_if(is_over) {
            recorder.end(newest.map_or_else(wall_ms, |newest| newest.wall_ms));
            self.closing_recorders.push(recorder);
        }
    }

    fn close(&mut self, films: impl IntoIterator<Item = ClipFilm>, now_ns: u64) {
        for mut film in films {
            film.end(now_ns);
            self.closing.push(film);
        }
    }
}

/// The mean latency of the last whole second.
#[derive(Debug, Default)]
struct ShownLatency {
    begin_ns: u64,
    sum_us: u64,
    count: u64,
    shown_ms: Option<u64>,
}

impl ShownLatency {
    fn record(&mut self, latency_us: u64, now_ns: u64) {
        if now_ns.saturating_sub(self.begin_ns) >= LATENCY_SHOWN_NS || self.shown_ms.is_none() {
            self.sum_us += latency_us;
            self.count += 1;
            self.shown_ms = Some(self.sum_us / self.count / 1000);
            self.begin_ns = now_ns;
            self.sum_us = 0;
            self.count = 0;
            return;
        }
        self.sum_us += latency_us;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_shown_is_a_mean_and_changes_once_a_second() {
        let mut latency = ShownLatency::default();
        let second = LATENCY_SHOWN_NS;
        latency.record(80_000, 10 * second);
        assert_eq!(latency.shown_ms, Some(80));
        latency.record(10_000, 10 * second + 1);
        latency.record(20_000, 10 * second + 2);
        assert_eq!(latency.shown_ms, Some(80));
        latency.record(60_000, 11 * second);
        assert_eq!(latency.shown_ms, Some(30));
    }
}
