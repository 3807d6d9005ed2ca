//! The newest segments of a stream, as players may ask for them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::hls::segmenter::{Head, Init, Pace, Part, Step};

/// Segments in the playlist, without the one that grows.
pub(crate) const LISTED: usize = 7;

/// Segments that are in no new playlist and can still be asked for: who has an old one may take
/// as long as it lasts (RFC 8216, 6.2.2).
const KEPT: usize = 7;

/// Most bytes of complete segments; the newest is kept however large it is.
const BYTES_MAX: usize = 32 << 20;

/// A segment: parts that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) head: Head,
    /// Number of its first part.
    pub(crate) first_part: u64,
    pub(crate) parts: Vec<Part>,
}

impl Segment {
    /// In ticks.
    pub(crate) fn duration(&self) -> u32 {
        self.parts.iter().map(|part| part.duration).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// It begins with a key frame.
    pub(crate) fn independent(&self) -> bool {
        self.parts.first().is_some_and(|part| part.independent)
    }
}

/// The newest segments of a stream.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) pace: Pace,
    /// Complete ones; those before the last [`LISTED`] are in no playlist.
    segments: VecDeque<Segment>,
    /// The one that grows.
    open: Option<Segment>,
    /// Media sequence number of the first of `segments`.
    first: u64,
    /// Discontinuities before that, and within those dropped.
    discontinuities: u64,
    bytes: usize,
    /// Number of the part that comes next. Parts are counted over all segments, so that the next
    /// has a name before it is known which segment it is in.
    next_part: u64,
    /// Nothing comes any more.
    pub(crate) ended: bool,
}

impl Window {
    /// An empty one; segments and discontinuities are counted from `first`.
    pub(crate) fn new(pace: Pace, first: u64, first_part: u64) -> Self {
        Self {
            pace,
            segments: VecDeque::new(),
            open: None,
            first,
            discontinuities: first,
            bytes: 0,
            next_part: first_part,
            ended: false,
        }
    }

    pub(crate) fn apply(&mut self, step: Step) {
        match step {
            Step::Begin(head) => {
                self.open = Some(Segment {
                    head,
                    first_part: self.next_part,
                    parts: Vec::new(),
                });
            }
            Step::Part(part) => {
                if let Some(open) = &mut self.open {
                    open.parts.push(part);
                    self.next_part += 1;
                }
            }
            Step::End => {
                // Nothing is in it when what it was begun for could not be written.
                let open = self.open.take().filter(|open| !open.parts.is_empty());
                if let Some(segment) = open {
                    self.bytes += segment.bytes();
                    self.segments.push_back(segment);
                }
                while self.segments.len() > LISTED + KEPT
                    || self.segments.len() > 1 && self.bytes > BYTES_MAX
                {
                    self.drop_oldest();
                }
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.first += 1;
            self.bytes -= oldest.bytes();
            self.discontinuities += u64::from(oldest.head.discontinuity);
        }
    }

    /// Media sequence number of the segment that grows, or that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.segments.len() as u64
    }

    /// The segment that grows, if it has a part yet.
    pub(crate) fn open(&self) -> Option<&Segment> {
        self.open.as_ref().filter(|open| !open.parts.is_empty())
    }

    /// Parts of the segment that grows.
    pub(crate) fn open_parts(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.parts.len() as u64)
    }

    /// There is a complete segment.
    pub(crate) fn is_playable(&self) -> bool {
        !self.segments.is_empty()
    }

    /// A complete segment and its media sequence number: those in the playlist.
    pub(crate) fn listed(&self) -> impl ExactSizeIterator<Item = (u64, &Segment)> {
        let skip = self.segments.len().saturating_sub(LISTED);
        let listed = self.segments.range(skip..).enumerate();
        listed.map(move |(index, segment)| (self.first + (skip + index) as u64, segment))
    }

    /// Number of the part that comes next.
    pub(crate) fn next_part(&self) -> u64 {
        self.next_part
    }

    /// Discontinuities before the first segment of the playlist, in it included.
    pub(crate) fn discontinuity_sequence(&self) -> u64 {
        let skip = self.segments.len().saturating_sub(LISTED);
        let unlisted = self.segments.iter().take(skip);
        let within = unlisted.filter(|segment| segment.head.discontinuity);
        self.discontinuities + within.count() as u64
    }

    /// The newest complete segment.
    pub(crate) fn newest(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// An initialisation segment that is still needed.
    pub(crate) fn init(&self, number: u64) -> Option<&Arc<Init>> {
        let segments = self.segments.iter().chain(&self.open);
        let mut inits = segments.map(|segment| &segment.head.init);
        inits.find(|init| init.number == number)
    }

    /// The parts of a complete segment.
    pub(crate) fn segment(&self, number: u64) -> Option<Vec<Bytes>> {
        let parts = &self.complete(number)?.parts;
        Some(parts.iter().map(|part| part.bytes.clone()).collect())
    }

    /// A part, also of a complete segment.
    pub(crate) fn part(&self, number: u64) -> Option<Bytes> {
        let mut segments = self.segments.iter().chain(&self.open).rev();
        let segment = segments.find(|segment| segment.first_part <= number)?;
        let part = usize::try_from(number - segment.first_part).ok()?;
        Some(segment.parts.get(part)?.bytes.clone())
    }

    fn complete(&self, number: u64) -> Option<&Segment> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.segments.get(index)
    }

    /// It is further in the future than anybody has reason to ask for (8216bis, 6.2.5.2).
    pub(crate) fn is_too_far(&self, number: u64, part: Option<u64>) -> bool {
        let part_target = self.pace.part_target();
        let parts_ahead = if part_target < fmp4::TIMESCALE {
            u64::from((3 * fmp4::TIMESCALE).div_ceil(part_target))
        } else {
            3
        };
        let parts = if number == self.next() {
            self.open_parts()
        } else {
            0
        };
        number > self.next() + 1
            || number >= self.next() && part.is_some_and(|part| part >= parts + parts_ahead)
    }

    /// The playlist has this segment, and of it this part if one is asked for. What comes after
    /// a segment's last part is the next segment's first (RFC 8216bis, 6.2.5.2).
    pub(crate) fn has_reached(&self, number: u64, part: Option<u64>) -> bool {
        match part {
            _ if self.ended => true,
            None => number < self.next(),
            Some(part) => match self.complete(number) {
                Some(segment) => {
                    part < segment.parts.len() as u64
                        || number + 1 < self.next()
                        || self.open_parts() > 0
                }
                None if number < self.next() => true,
                None => number == self.next() && part < self.open_parts(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
