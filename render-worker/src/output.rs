//! What becomes of access units: counted, handed to the gateway, recorded.
//!
//! [`Output::take`] runs on the encoder's thread, so that an access unit is on its
//! way to viewers while the main loop draws the next frame. Nothing in it waits
//! for a disk or for another process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::clock::monotonic_ns;
use contract::ledger::RenderCounters;
use frame_bus::{BookWriter, BusError, PacketPublisher, PacketStamp, Waker};
use gstreamer::ClockTime;

use crate::encode::recording::Recording;
use crate::encode::{AccessUnit, EncodeError};

/// Pictures inside the encoder; far more than its pipeline holds.
const PENDING_MAX: usize = 64;
/// The latency shown is the mean over so long: a number that changes with each frame cannot be read.
const LATENCY_SHOWN_NS: u64 = 1_000_000_000;

/// The book of one render worker, written by its main loop and by the encoder's thread.
pub(crate) type SharedBook = Arc<Mutex<BookWriter<RenderCounters>>>;

/// Locks; what a panicking thread left behind is counters, which stay true.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A picture that was handed to the encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// Its time in the encoder, by which its access unit is recognised.
    pub(crate) pts_ns: u64,
    /// When it was captured.
    pub(crate) captured_ns: u64,
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

#[derive(Debug)]
struct State {
    restream: Option<Restream>,
    recording: Option<Recording>,
    recording_error: Option<(Recording, EncodeError)>,
    bus_error: Option<BusError>,
    pending: VecDeque<Pending>,
    latency: ShownLatency,
}

impl Output {
    /// An output that counts in `book`.
    #[must_use]
    pub(crate) fn new(book: SharedBook, restream: Option<Restream>) -> Self {
        let state = State {
            restream,
            recording: None,
            recording_error: None,
            bus_error: None,
            pending: VecDeque::with_capacity(PENDING_MAX),
            latency: ShownLatency::default(),
        };
        Self {
            book,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Records from the next key frame on.
    pub(crate) fn record(&self, recording: Recording) {
        lock(&self.state).recording = Some(recording);
    }

    /// A picture is about to be handed to the encoder.
    pub(crate) fn expect(&self, picture: Pending) {
        let mut state = lock(&self.state);
        if state.pending.len() == PENDING_MAX {
            state.pending.pop_front();
        }
        state.pending.push_back(picture);
    }

    /// An access unit has left the encoder.
    pub(crate) fn take(&self, unit: &AccessUnit) {
        let now_ns = monotonic_ns();
        let state = &mut *lock(&self.state);
        let captured_ns = state.captured_ns(unit.pts_ns).unwrap_or(now_ns);
        let latency_us = now_ns.saturating_sub(captured_ns) / 1000;
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
                captured_ns,
                keyframe: unit.keyframe,
            };
            if let Err(error) = restream.publish(&stamp, unit) {
                state.bus_error = Some(error);
            }
        }
        state.record(unit);
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

    /// The recording that failed, and why.
    #[must_use]
    pub(crate) fn failed_recording(&self) -> Option<(Recording, EncodeError)> {
        lock(&self.state).recording_error.take()
    }

    /// Ends the recording. `None` when there is none; else the recording's frames, or why it
    /// could not be ended.
    pub(crate) fn finish_recording(
        &self,
        timeout: ClockTime,
    ) -> Option<(u64, Result<(), EncodeError>)> {
        let recording = lock(&self.state).recording.take()?;
        let frames = recording.frames();
        Some((frames, recording.finish(timeout).map(drop)))
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
    /// When the picture of this access unit was captured. Pictures that the encoder left out
    /// are forgotten on the way.
    fn captured_ns(&mut self, pts_ns: u64) -> Option<u64> {
        while let Some(picture) = self.pending.front().copied() {
            if picture.pts_ns > pts_ns {
                return None;
            }
            self.pending.pop_front();
            if picture.pts_ns == pts_ns {
                return Some(picture.captured_ns);
            }
        }
        None
    }

    fn record(&mut self, unit: &AccessUnit) {
        let Some(recording) = &mut self.recording else {
            return;
        };
        if recording.frames() == 0 && !unit.keyframe {
            return;
        }
        if let Err(error) = recording.push(unit) {
            self.recording_error = self.recording.take().map(|recording| (recording, error));
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
