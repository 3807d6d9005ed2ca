//! Clips of events: what was encoded before an event began, and what is until after it ends.
//!
//! A ring keeps the newest access units, whole groups of pictures of them, bounded
//! by the longest time before an event that a rule asks for and by bytes. A clip
//! begins with what the ring has, from the last key frame that is early enough,
//! and takes each access unit from then on: nothing is encoded a second time.
//!
//! Each event has a clip of its own, also where events overlap, so that a clip can
//! be kept, sent and deleted with its event; their number is bounded instead. A clip
//! ends when the rule's `after` has passed since the end of its event, and at
//! the latest [`CLIP_NS_MAX`] after its begin.

use std::collections::VecDeque;

use super::Encoded;
use super::clip::ClipFilm;

/// Clips written at the same time; an event that is one too many has none.
pub(crate) const CLIPS_MAX: usize = 8;
/// A clip goes on no longer than this after the begin of its event: five minutes.
pub(crate) const CLIP_NS_MAX: u64 = 300_000_000_000;
/// What the ring holds at most: half a minute, the longest that a rule may ask for, at 16 Mbit/s.
const RING_BYTES_MAX: usize = 64 << 20;

/// The event that a clip shows.
#[derive(Debug, Clone)]
pub(crate) struct ClipOf {
    /// Its id.
    pub(crate) event: String,
    /// Its begin, on the encoder's time line.
    pub(crate) begin_ns: u64,
    /// So much of what was before belongs to it.
    pub(crate) before_ns: u64,
    /// So much of what comes after its end.
    pub(crate) after_ns: u64,
}

#[derive(Debug)]
struct Clip {
    of: ClipOf,
    film: ClipFilm,
    until_ns: u64,
}

/// The ring, and the clips being written.
#[derive(Debug, Default)]
pub(crate) struct Clips {
    /// The longest time before an event that a rule asks for; `None`: none asks for clips.
    before_ns: Option<u64>,
    ring: VecDeque<Encoded>,
    ring_bytes: usize,
    clips: Vec<Clip>,
}

impl Clips {
    /// Keeps so much from now on; true when nothing was kept before, and the ring begins with
    /// the next key frame.
    pub(crate) fn keep(&mut self, before_ns: Option<u64>) -> bool {
        let begins = self.before_ns.is_none() && before_ns.is_some();
        self.before_ns = before_ns;
        if before_ns.is_none() {
            self.clear();
        }
        begins
    }

    /// Takes the next access unit; returns the films of clips that have ended with it.
    pub(crate) fn push(&mut self, encoded: &Encoded) -> Vec<ClipFilm> {
        let pts_ns = encoded.unit.pts_ns;
        let ended = self.take(|clip| clip.until_ns < pts_ns || clip.film.has_failed());
        for clip in &mut self.clips {
            clip.film.push(encoded);
        }
        if let Some(before_ns) = self.before_ns {
            self.remember(encoded.clone(), before_ns);
        }
        ended
    }

    /// Clips being written.
    pub(crate) fn count(&self) -> usize {
        self.clips.len()
    }

    /// When the clip of an event that begins at `begin_ns` would begin, as the ring has it.
    pub(crate) fn first(&self, begin_ns: u64, before_ns: u64) -> Option<&Encoded> {
        self.ring
            .get(self.first_index(begin_ns.saturating_sub(before_ns)))
    }

    /// Begins a clip with what the ring has.
    pub(crate) fn begin(&mut self, of: ClipOf, mut film: ClipFilm) {
        let first = self.first_index(of.begin_ns.saturating_sub(of.before_ns));
        film.push_all(self.ring.range(first..));
        let until_ns = of.begin_ns.saturating_add(CLIP_NS_MAX);
        self.clips.push(Clip { of, film, until_ns });
    }

    /// The event has ended at `end_ns` on the encoder's time line.
    pub(crate) fn end(&mut self, event: &str, end_ns: u64) {
        for clip in &mut self.clips {
            if clip.of.event == event {
                let until_ns = end_ns.saturating_add(clip.of.after_ns);
                clip.until_ns = clip.until_ns.min(until_ns);
            }
        }
    }

    /// The encoder ends: what comes after it cannot follow in the same file.
    pub(crate) fn end_all(&mut self) -> Vec<ClipFilm> {
        self.clear();
        self.take(|_| true)
    }

    fn clear(&mut self) {
        self.ring.clear();
        self.ring_bytes = 0;
    }

    fn take(&mut self, ends: impl Fn(&Clip) -> bool) -> Vec<ClipFilm> {
        let ended = self.clips.extract_if(.., |clip| ends(clip));
        ended.map(|clip| clip.film).collect()
    }

    /// The last key frame not after `from_ns`, else the oldest.
    fn first_index(&self, from_ns: u64) -> usize {
        let early = |encoded: &Encoded| encoded.unit.keyframe && encoded.unit.pts_ns <= from_ns;
        self.ring.iter().rposition(early).unwrap_or(0)
    }

    fn remember(&mut self, encoded: Encoded, before_ns: u64) {
        if self.ring.is_empty() && !encoded.unit.keyframe {
            return;
        }
        let from_ns = encoded.unit.pts_ns.saturating_sub(before_ns);
        self.ring_bytes += encoded.unit.buffer.size();
        self.ring.push_back(encoded);
        while let Some(next) = self.second_keyframe() {
            let unneeded = self.ring[next].unit.pts_ns <= from_ns;
            if !unneeded && self.ring_bytes <= RING_BYTES_MAX {
                break;
            }
            self.forget(next);
        }
        if self.ring_bytes > RING_BYTES_MAX {
            // One group of pictures alone: it goes on at the next key frame.
            self.clear();
        }
    }

    fn second_keyframe(&self) -> Option<usize> {
        let keyframes = self.ring.iter().enumerate().skip(1);
        let mut keyframes = keyframes.filter(|(_, encoded)| encoded.unit.keyframe);
        keyframes.next().map(|(index, _)| index)
    }

    fn forget(&mut self, count: usize) {
        let forgotten = self.ring.drain(..count);
        let bytes: usize = forgotten.map(|encoded| encoded.unit.buffer.size()).sum();
        self.ring_bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing;

    const SECOND: u64 = 1_000_000_000;

    /// Four frames a second, a key frame every second.
    fn encoded(number: u64, bytes: usize) -> Encoded {
        testing::encoded(number * SECOND / 4, number.is_multiple_of(4), bytes)
    }

    fn oldest_and_newest(clips: &Clips) -> Option<(u64, u64)> {
        let number = |encoded: &Encoded| encoded.unit.pts_ns * 4 / SECOND;
        let ends = clips.ring.front().zip(clips.ring.back());
        ends.map(|(oldest, newest)| (number(oldest), number(newest)))
    }

    #[test]
    fn the_ring_holds_what_rules_ask_for_and_begins_at_a_key_frame() {
        let mut clips = Clips::default();
        clips.push(&encoded(0, 10));
        assert_eq!(oldest_and_newest(&clips), None, "nobody asks");
        clips.keep(Some(2 * SECOND));
        for number in 1..=30 {
            clips.push(&encoded(number, 10));
        }
        // Frame 30 is 7.5 s; 5.5 s lies in the group that begins with frame 20.
        assert_eq!(oldest_and_newest(&clips), Some((20, 30)));
        assert_eq!(clips.ring_bytes, 110);
        let first = |begin: u64, before: u64| {
            let first = clips.first(begin * SECOND / 4, before * SECOND / 4)?;
            Some(first.unit.pts_ns * 4 / SECOND)
        };
        assert_eq!(first(30, 4), Some(24));
        assert_eq!(first(30, 6), Some(24));
        assert_eq!(first(30, 8), Some(20));
        assert_eq!(first(30, 100), Some(20), "as much as there is");
        clips.keep(Some(0));
        clips.push(&encoded(31, 10));
        assert_eq!(
            oldest_and_newest(&clips),
            Some((28, 31)),
            "down to a key frame"
        );
        clips.keep(None);
        assert_eq!((clips.ring.len(), clips.ring_bytes), (0, 0));
    }

    #[test]
    fn the_ring_is_bounded_by_bytes_too() {
        let mut clips = Clips::default();
        clips.keep(Some(30 * SECOND));
        let large = RING_BYTES_MAX / 10;
        for number in 0..24 {
            clips.push(&encoded(number, large));
            assert!(clips.ring_bytes <= RING_BYTES_MAX);
            let first = clips.ring.front().expect("not empty");
            assert!(first.unit.keyframe);
        }
        clips.push(&encoded(24, RING_BYTES_MAX + 1));
        assert_eq!(clips.ring_bytes, 0);
        clips.push(&encoded(25, 10));
        assert_eq!(oldest_and_newest(&clips), None, "waits for a key frame");
    }
}
