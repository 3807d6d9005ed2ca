//! What becomes of access units: counted, handed to the gateway, recorded.
//!
//! [`Output::take`] runs on the encoder's thread, so that an access unit is on its
//! way to viewers while the main loop draws the next frame. Nothing in it waits
//! for a disk or for another process: files are opened and closed by the main loop.

pub(crate) mod clips;
pub(crate) mod film;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use contract::clock::{monotonic_ns, wall_ms};
use frame_bus::{BusError, PacketPublisher, PacketStamp, Waker};
use gstreamer::ClockTime;

use crate::encode::AccessUnit;
use crate::shared::{SharedBook, lock};
use clips::{CLIPS_MAX, ClipOf, Clips};
use film::{Film, Finished};

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
    recording: Option<Film>,
    /// Recordings whose last picture, of this time, is in the encoder still: one, or two when
    /// the place to record to changes twice inside a moment.
    ending: Vec<(Film, u64)>,
    clips: Clips,
    /// Time of the newest access unit.
    newest_ns: Option<u64>,
    /// Files that wait for their disk. No more than [`CLIPS_MAX`] clips, and a recording or two.
    closing: Vec<Film>,
    bus_error: Option<BusError>,
    pending: VecDeque<PictureInfo>,
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

    /// A picture is about to be handed to the encoder.
    pub(crate) fn expect(&self, picture: PictureInfo) {
        let mut state = lock(&self.state);
        if state.pending.len() == PENDING_MAX {
            state.pending.pop_front();
        }
        state.pending.push_back(picture);
    }

    /// An access unit has left the encoder.
    pub(crate) fn take(&self, unit: AccessUnit) {
        let now_ns = monotonic_ns();
        let state = &mut *lock(&self.state);
        let picture = state.picture_of(unit.pts_ns).unwrap_or(PictureInfo {
            pts_ns: unit.pts_ns,
            source_pts_ns: unit.pts_ns,
            captured_ns: now_ns,
            wall_ms: wall_ms(),
        });
        let latency_us = now_ns.saturating_sub(picture.captured_ns) / 1000;
        state.latency.record(latency_us, now_ns);
        // Counted before it is published: a number is then never used twice, not even by
        // the successor of a worker that was killed between the two.
        let sequence_number = {
            let mut book = lock(&self.book);
            let sequence_number = book.counters().encoded;
            book.update(|counters| {
                counters.encoded += 1;
                counters.encoded_bytes += unit.buffer.size() as u64;
            });
            book.record_latency_us(latency_us);
            sequence_number
        };
        if let Some(restream) = &mut state.restream {
            let stamp = PacketStamp {
                sequence_number,
                pts_ns: unit.pts_ns,
                captured_ns: picture.captured_ns,
                keyframe: unit.keyframe,
            };
            if let Err(error) = restream.publish(&stamp, &unit) {
                state.bus_error = Some(error);
            }
        }
        state.record(&Encoded { unit, picture }, now_ns);
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
    pub(crate) fn record(&self, film: Film) {
        lock(&self.state).recording = Some(film);
    }

    /// The recording ends with the picture of this time on the encoder's time line, if there is
    /// one; [`Output::finished`] will tell of it.
    pub(crate) fn end_recording(&self, last_ns: u64) {
        let state = &mut *lock(&self.state);
        if let Some(recording) = state.recording.take() {
            state.ending.push((recording, last_ns));
            state.close_ended(monotonic_ns());
        }
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
    pub(crate) fn begin_clip(&self, of: ClipOf, film: Film) {
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
        let mut ended = state.clips.end_all();
        ended.extend(state.recording.take());
        ended.extend(state.ending.drain(..).map(|(film, _)| film));
        state.close(ended, now_ns);
    }

    /// The files that are closed by now.
    #[must_use]
    pub(crate) fn finished(&self, now_ns: u64) -> Vec<Finished> {
        let closed: Vec<Film> = {
            let mut state = lock(&self.state);
            let closed = |film: &mut Film| film.is_closed(now_ns, ClockTime::ZERO);
            state.closing.extract_if(.., closed).collect()
        };
        // Outside of the lock: the encoder must not wait for this.
        closed.into_iter().map(Film::finished).collect()
    }

    /// All files that have ended, waited for `timeout` at most.
    #[must_use]
    pub(crate) fn finish_files(&self, timeout: ClockTime) -> Vec<Finished> {
        let closing = std::mem::take(&mut lock(&self.state).closing);
        let give_up_ns = monotonic_ns().saturating_add(timeout.nseconds());
        let mut finished = Vec::with_capacity(closing.len());
        for mut film in closing {
            let now_ns = monotonic_ns();
            let left = ClockTime::from_nseconds(give_up_ns.saturating_sub(now_ns));
            if !film.is_closed(now_ns, left) {
                film.give_up();
            }
            finished.push(film.finished());
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
    fn picture_of(&mut self, pts_ns: u64) -> Option<PictureInfo> {
        while let Some(picture) = self.pending.front().copied() {
            if picture.pts_ns > pts_ns {
                return None;
            }
            self.pending.pop_front();
            if picture.pts_ns == pts_ns {
                return Some(picture);
            }
        }
        None
    }

    fn record(&mut self, encoded: &Encoded, now_ns: u64) {
        if let Some(film) = &mut self.recording {
            film.push(encoded);
        }
        let failed = self.recording.take_if(|film| film.has_failed());
        self.close(failed, now_ns);
        for (film, _) in &mut self.ending {
            film.push(encoded);
        }
        self.newest_ns = Some(encoded.unit.pts_ns);
        self.close_ended(now_ns);
        let ended = self.clips.push(encoded);
        self.close(ended, now_ns);
    }

    fn close_ended(&mut self, now_ns: u64) {
        let newest_ns = self.newest_ns;
        let is_over = |(film, last_ns): &mut (Film, u64)| {
            film.has_failed() || newest_ns.is_some_and(|newest_ns| newest_ns >= *last_ns)
        };
        let ended: Vec<_> = self.ending.extract_if(.., is_over).collect();
        self.close(ended.into_iter().map(|(film, _)| film), now_ns);
    }

    fn close(&mut self, films: impl IntoIterator<Item = Film>, now_ns: u64) {
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
