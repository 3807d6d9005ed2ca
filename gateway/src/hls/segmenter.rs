//! From access units to parts and segments. Pure.
//!
//! Players see a time line of this room's own: it goes on where the encoder's jumps, and where a
//! camera stalls for longer than a part may last, the time without pictures is left out, so
//! that whoever has waited for the next picture need not wait a second time to see it. When a
//! segment was captured is said by its wall-clock time.

use std::sync::Arc;

use bytes::Bytes;
use fmp4::{ParameterSets, SpsError, TIMESCALE, WriteError};

use crate::channel::AccessUnit;

/// What a part lasts, as nearly as whole pictures allow.
const PART_NS: u64 = 200_000_000;

/// Pictures do not come quite evenly: a part may last so many percent more.
const PART_SLACK_PERCENT: u64 = 8;

/// A picture is shown for so long at most, before the next must be there.
const PICTURE_NS_MAX: u64 = 5_000_000_000;

/// As long at least, whatever the stamps say.
const PICTURE_NS_MIN: u64 = 1_000_000;

/// When nothing is known of the distance of pictures.
const PICTURE_NS_USUAL: u64 = 40_000_000;

/// Shortest target duration of segments, in seconds: the encoder makes a key frame so often.
const TARGET_DURATION_MIN: u32 = 2;

/// A segment may last so much longer: what is announced is rounded (RFC 8216, 4.3.3.1).
const TARGET_DURATION_SLACK: u32 = TIMESCALE * 2 / 5;

/// A segment that has lasted so long ends before the next key frame.
const SEGMENT_MIN: u32 = TIMESCALE;

/// Why access units cannot be made into fragments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SegmenterError {
    #[error("a key frame has no parameter sets")]
    NoParameterSets,
    #[error("the parameter sets of a key frame cannot be read: {0}")]
    Sps(#[from] SpsError),
    #[error("{0}")]
    Write(#[from] WriteError),
}

/// Durations that a playlist announces and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The usual distance of two pictures.
    picture_ns: u64,
    part_ns_max: u64,
}

impl Pace {
    /// Goes by the median distance of these access units.
    pub(crate) fn measure(units: &[Arc<AccessUnit>]) -> Self {
        let mut distances: Vec<u64> = units
            .windows(2)
            .filter(|pair| pair[1].sequence_number == pair[0].sequence_number + 1)
            .filter_map(|pair| pair[1].pts_ns.checked_sub(pair[0].pts_ns))
            .filter(|distance| *distance > 0)
            .collect();
        distances.sort_unstable();
        let median = distances.get(distances.len() / 2).copied();
        let picture_ns = median.unwrap_or(PICTURE_NS_USUAL).min(PICTURE_NS_MAX);
        let pictures = ((PART_NS + picture_ns / 2) / picture_ns).max(1);
        let part_ns = pictures * picture_ns;
        Self {
            picture_ns,
            part_ns_max: part_ns + part_ns * PART_SLACK_PERCENT / 100,
        }
    }

    /// No part lasts longer, in ticks.
    pub(crate) fn part_target(self) -> u32 {
        // One more, because both ends of a part are rounded.
        to_u32(fmp4::ticks(self.part_ns_max) + 1)
    }

    /// No segment lasts longer, to the nearest second.
    pub(crate) fn target_duration(self) -> u32 {
        self.part_target()
            .div_ceil(TIMESCALE)
            .max(TARGET_DURATION_MIN)
    }

    /// Pictures a second.
    pub(crate) fn frame_rate(self) -> f64 {
        1e9 / self.picture_ns as f64
    }

    fn segment_max(self) -> u32 {
        self.target_duration() * TIMESCALE + TARGET_DURATION_SLACK
    }
}

/// An initialisation segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Init {
    /// Counts those of a stream.
    pub(crate) number: u64,
    /// RFC 6381.
    pub(crate) codec: String,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) bytes: Bytes,
}

/// What is known of a segment when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) init: Arc<Init>,
    /// It does not continue the segment before.
    pub(crate) discontinuity: bool,
    /// When its first picture was captured: milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

/// A fragment of some pictures, `moof` and `mdat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// In ticks.
    pub(crate) duration: u32,
    /// It begins with a key frame.
    pub(crate) independent: bool,
    pub(crate) bytes: Bytes,
}

/// What comes of an access unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A segment begins.
    Begin(Head),
    /// Its next part is complete.
    Part(Part),
    /// It has no more parts.
    End,
}

/// Puts the access units of one stream into parts and segments.
pub(crate) struct Segmenter {
    pace: Pace,
    /// Counts fragments.
    fragments: u32,
    /// Of the newest key frame.
    parameters: Option<(ParameterSets, Arc<Init>)>,
    next_init: u64,
    begun: bool,
    /// What comes next does not continue what was before.
    discontinuity: bool,
    /// The newest access unit: how long it is shown is not known yet. None: a key frame
    /// must come first.
    held: Option<Placed>,
    /// The part that is being collected.
    part: Vec<Placed>,
    /// Where the open segment began, in ticks.
    segment: Option<u64>,
    /// Where the last access unit whose end is known has ended.
    end_ns: Option<u64>,
}

/// An access unit on the time line of players.
struct Placed {
    unit: Arc<AccessUnit>,
    begin_ns: u64,
}

impl Placed {
    fn begin(&self) -> u64 {
        fmp4::ticks(self.begin_ns)
    }
}

impl Segmenter {
    /// Initialisation segments are counted from `first_init`.
    pub(crate) fn new(pace: Pace, first_init: u64) -> Self {
        Self {
            pace,
            fragments: 0,
            parameters: None,
            next_init: first_init,
            begun: false,
            discontinuity: false,
            held: None,
            part: Vec::new(),
            segment: None,
            end_ns: None,
        }
    }

    /// Takes the next access unit. The wall clock is so much ahead of the monotonic one. What
    /// comes of it is added to `steps`.
    ///
    /// # Errors
    /// When it cannot be used. Then all is passed over up to a key frame that can.
    pub(crate) fn push(
        &mut self,
        unit: Arc<AccessUnit>,
        wall_offset_ns: i64,
        steps: &mut Vec<Step>,
    ) -> Result<(), SegmenterError> {
        let pushed = self.try_push(unit, wall_offset_ns, steps);
        if pushed.is_err() {
            self.part.clear();
            self.held = None;
            self.end_segment(steps);
            self.discontinuity = self.begun;
        }
        pushed
    }

    /// What comes next, if anything, does not continue what was before: all that is collected
    /// is given out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn unlink(
        &mut self,
        wall_offset_ns: i64,
        steps: &mut Vec<Step>,
    ) -> Result<(), SegmenterError> {
        if let Some(held) = &self.held {
            let usual_ns = held.unit.pts_ns.saturating_add(self.pace.picture_ns);
            let end_ns = self.place_held(usual_ns, wall_offset_ns, steps)?;
            self.end_part(fmp4::ticks(end_ns), steps)?;
            self.end_segment(steps);
        }
        self.discontinuity = self.begun;
        Ok(())
    }

    fn try_push(
        &mut self,
        unit: Arc<AccessUnit>,
        wall_offset_ns: i64,
        steps: &mut Vec<Step>,
    ) -> Result<(), SegmenterError> {
        let follows = self.held.as_ref().is_some_and(|held| {
            unit.sequence_number == held.unit.sequence_number + 1 && unit.pts_ns > held.unit.pts_ns
        });
        let begin_ns = if follows {
            self.place_held(unit.pts_ns, wall_offset_ns, steps)?
        } else {
            self.unlink(wall_offset_ns, steps)?;
            if !unit.keyframe {
                return Ok(());
            }
            self.end_ns.unwrap_or(unit.captured_ns)
        };
        if unit.keyframe {
            let begin = fmp4::ticks(begin_ns);
            let long = |segment| begin - segment >= u64::from(SEGMENT_MIN);
            let parameters = ParameterSets::of(&unit.data)?;
            let known = self.parameters.as_ref().map(|(known, _)| known);
            let new = parameters.filter(|parameters| Some(parameters) != known);
            if new.is_some() || self.segment.is_some_and(long) {
                self.end_part(begin, steps)?;
                self.end_segment(steps);
            }
            if let Some(new) = new {
                self.discontinuity = self.begun;
                let init = Arc::new(Init::new(self.next_init, &new));
                self.parameters = Some((new, init));
                self.next_init += 1;
            }
        }
        self.held = Some(Placed { unit, begin_ns });
        Ok(())
    }

    /// Puts the newest access unit into its part, now that the next is to be shown at
    /// `next_pts_ns`; says where that is on the time line of players.
    fn place_held(
        &mut self,
        next_pts_ns: u64,
        wall_offset_ns: i64,
        steps: &mut Vec<Step>,
    ) -> Result<u64, SegmenterError> {
        let held = self.held.take().expect("the caller has seen it");
        let lasts_ns = next_pts_ns.saturating_sub(held.unit.pts_ns);
        let lasts_ns = lasts_ns.clamp(PICTURE_NS_MIN, self.pace.part_ns_max);
        let end_ns = held.begin_ns + lasts_ns;
        self.end_ns = Some(end_ns);
        let (begin, end) = (held.begin(), fmp4::ticks(end_ns));
        if self
            .segment
            .is_some_and(|segment| end - segment > u64::from(self.pace.segment_max()))
        {
            self.end_part(begin, steps)?;
            self.end_segment(steps);
        } else if self.part_lasts(end) > self.pace.part_target() {
            self.end_part(begin, steps)?;
        }
        if self.segment.is_none() {
            let (_, init) = self
                .parameters
                .as_ref()
                .ok_or(SegmenterError::NoParameterSets)?;
            let captured_ns = i64::try_from(held.unit.captured_ns).unwrap_or(i64::MAX);
            steps.push(Step::Begin(Head {
                init: Arc::clone(init),
                discontinuity: std::mem::take(&mut self.discontinuity),
                wall_ms: captured_ns.saturating_add(wall_offset_ns) / 1_000_000,
            }));
            self.segment = Some(begin);
            self.begun = true;
        }
        self.part.push(held);
        // Nobody waits for one more picture that would not fit.
        let one_more = fmp4::ticks(end_ns + self.pace.picture_ns);
        if self.part_lasts(one_more) > self.pace.part_target() {
            self.end_part(end, steps)?;
        }
        Ok(end_ns)
    }

    /// What the part would last if it ended there, in ticks.
    fn part_lasts(&self, end: u64) -> u32 {
        let begin = self.part.first().map_or(end, Placed::begin);
        to_u32(end - begin)
    }

    fn end_part(&mut self, end: u64, steps: &mut Vec<Step>) -> Result<(), SegmenterError> {
        let Some(first) = self.part.first() else {
            return Ok(());
        };
        let independent = first.unit.keyframe;
        let units: Vec<_> = self
            .part
            .iter()
            .map(|placed| fmp4::AccessUnit {
                byte_stream: &placed.unit.data,
                // Pictures are not reordered.
                dts: placed.begin(),
                pts: placed.begin(),
                keyframe: placed.unit.keyframe,
            })
            .collect();
        self.fragments = self.fragments.wrapping_add(1);
        let bytes = fmp4::fragment(self.fragments, &units, end)?;
        steps.push(Step::Part(Part {
            duration: self.part_lasts(end),
            independent,
            bytes: bytes.into(),
        }));
        self.part.clear();
        Ok(())
    }

    fn end_segment(&mut self, steps: &mut Vec<Step>) {
        if self.segment.take().is_some() {
            steps.push(Step::End);
        }
    }
}

impl Init {
    fn new(number: u64, parameters: &ParameterSets) -> Self {
        Self {
            number,
            codec: parameters.codec(),
            width: parameters.width(),
            height: parameters.height(),
            bytes: fmp4::init_segment(parameters).into(),
        }
    }
}

fn to_u32(ticks: u64) -> u32 {
    // Parts and segments last seconds, and 13 hours fit.
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
