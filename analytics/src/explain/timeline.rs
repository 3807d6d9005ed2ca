//! What is seen of one rule and one key over time.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use dsl::{Part, Rule};

use super::Sight;
use crate::rules::HeldBack;

/// Spans kept of one part.
pub const PART_SPANS_MAX: usize = 1000;

/// Times kept that the whole condition held.
pub const HOLDINGS_MAX: usize = 1000;

/// What became of a rule for one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The rule.
    pub rule: String,
    /// The track, for a rule `on: track`.
    pub track: Option<u64>,
    /// It must hold so long.
    pub for_ns: u64,
    /// Interruptions up to so long are overlooked.
    pub gap_ns: u64,
    /// Frames in which the condition was asked.
    pub frames_asked: u64,
    /// Frames in which the track was looked for and not found.
    pub frames_unseen: u64,
    /// The parts of the condition, each before those it is made of.
    pub parts: Vec<PartTimeline>,
    /// Each time that the condition held, gaps overlooked.
    pub holdings: Vec<Holding>,
    /// There was more than [`PART_SPANS_MAX`] and [`HOLDINGS_MAX`] let in.
    pub is_cut: bool,
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Its event time.
    pub pts_ns: u64,
    /// Its sequence number.
    pub sequence_number: u64,
}

/// One part of the condition over time.
#[derive(Debug, Clone, PartialEq)]
pub struct PartTimeline {
    /// How deep it stands; the whole condition is at 0.
    pub depth: u32,
    /// Its text.
    pub text: String,
    /// Frames in which it was true; always 0 of a part that is not true or false.
    pub frames_held: u64,
    /// When it was true; empty when it never was.
    pub spans: Vec<Span>,
    /// Its least and its greatest value.
    pub values: Option<ValueRange>,
}

/// Frames in a row in which a part was true.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The first.
    pub begin: Moment,
    /// The last.
    pub end: Moment,
    /// Its values in them.
    pub values: Option<ValueRange>,
}

/// Values of a part, as text: `0.52`, `12.3s`. Numbers are ordered as such, other texts by letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueRange {
    /// The least.
    pub least: String,
    /// The greatest.
    pub greatest: String,
}

/// What a part said in one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartValue {
    /// Index into [`Timeline::parts`].
    pub part: usize,
    /// Whether it held, if it is a condition.
    pub holds: Option<bool>,
    /// Its value, if it has one.
    pub value: Option<String>,
}

/// One time that the whole condition held.
#[derive(Debug, Clone, PartialEq)]
pub struct Holding {
    /// It began to hold.
    pub begin: Moment,
    /// It held last.
    pub end: Moment,
    /// What the parts said when it began.
    pub at_begin: Vec<PartValue>,
    /// Interruptions that `gap` and `keep` overlooked.
    pub interruptions: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What ended it; `None` when it lasted as long as there were frames that could say so.
    pub broken: Option<Break>,
}

/// What became of a time that the condition held.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Not as long as `for`.
    TooShort,
    /// It fired.
    Fired {
        /// When `for` was reached.
        at: Moment,
        /// What the parts said then.
        values: Vec<PartValue>,
    },
    /// It would have fired, but for a limit.
    HeldBack {
        /// When `for` was reached.
        at: Moment,
        /// Which limit.
        by: HeldBack,
    },
}

/// What ended a time that the condition held.
#[derive(Debug, Clone, PartialEq)]
pub struct Break {
    /// The first frame that said no.
    pub at: Moment,
    /// The parts that said something else than before; none when the track was not found.
    pub changed: Vec<PartValue>,
    /// The track was looked for and not found.
    pub unseen: bool,
}

impl Holding {
    /// How long it held.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end.pts_ns.saturating_sub(self.begin.pts_ns)
    }
}

impl Timeline {
    /// The longest time that the condition held: to be compared with `for`.
    #[must_use]
    pub fn longest(&self) -> Option<&Holding> {
        self.holdings.iter().max_by_key(|held| held.duration_ns())
    }
}

/// A timeline in the making.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) timeline: Timeline,
    /// Parts are looked at inside of it only, the whole always.
    range: RangeInclusive<u64>,
    /// Whether each part was true in the last frame that asked.
    held: Vec<bool>,
    /// The time it holds that is not over yet.
    open: Option<Holding>,
    /// What the parts said when the condition last held.
    last: Vec<PartValue>,
}

impl Recorder {
    pub(super) fn new(rule: &Rule, track: Option<u64>, range: RangeInclusive<u64>) -> Self {
        Self {
            timeline: Timeline {
                rule: rule.name.clone(),
                track,
                for_ns: rule.for_ns,
                gap_ns: rule.gap_ns,
                frames_asked: 0,
                frames_unseen: 0,
                parts: Vec::new(),
                holdings: Vec::new(),
                is_cut: false,
            },
            range,
            held: Vec::new(),
            open: None,
            last: Vec::new(),
        }
    }

    /// Takes in a frame.
    pub(super) fn see(&mut self, sight: &Sight) {
        let parts = sight.explanation.as_ref().map(|said| &said.parts[..]);
        if self.range.contains(&sight.moment.pts_ns) {
            match (parts, sight.holds) {
                (Some(parts), _) => self.see_parts(parts, sight.moment),
                (None, Some(_)) => self.timeline.frames_unseen += 1,
                (None, None) => {}
            }
        }
        let values = parts.map(values_of).unwrap_or_default();
        self.see_whole(sight, &values);
        if sight.holds == Some(true) {
            self.last = values;
        }
    }

    /// No more frames will come.
    pub(super) fn finish(mut self) -> Timeline {
        self.close();
        self.timeline
    }

    fn see_parts(&mut self, parts: &[Part], moment: Moment) {
        let timeline = &mut self.timeline;
        timeline.frames_asked += 1;
        let texts = timeline.parts.iter().map(|part| &part.text);
        if !texts.eq(parts.iter().map(|part| &part.text)) {
            // The first time, or the rule was reloaded with another condition.
            timeline.parts = parts.iter().map(PartTimeline::new).collect();
            self.held = vec![false; parts.len()];
        }
        let own = timeline.parts.iter_mut().zip(&mut self.held);
        for ((part, held), said) in own.zip(parts) {
            let held_before = std::mem::replace(held, said.holds == Some(true));
            timeline.is_cut |= !part.see(said, held_before, moment);
        }
    }

    fn see_whole(&mut self, sight: &Sight, values: &[PartValue]) {
        let begin_pts_ns = self.open.as_ref().map(|open| open.begin.pts_ns);
        let since_pts_ns = sight.span.map(|span| span.since_pts_ns);
        // An interruption is over `gap` only frames after it began; so the break is kept from
        // the first frame that says no, and forgotten if the condition holds again in time.
        if let Some(open) = &mut self.open {
            match sight.holds {
                Some(true) if begin_pts_ns == since_pts_ns => {
                    open.end = sight.moment;
                    open.interruptions += u64::from(open.broken.take().is_some());
                }
                Some(false) if open.broken.is_none() => {
                    open.broken = Some(Break {
                        at: sight.moment,
                        changed: changed(&self.last, values),
                        unseen: sight.explanation.is_none(),
                    });
                }
                _ => {}
            }
        }
        if begin_pts_ns != since_pts_ns {
            self.close();
            self.open = since_pts_ns.map(|_| Holding {
                begin: sight.moment,
                end: sight.moment,
                at_begin: values.to_vec(),
                interruptions: 0,
                outcome: Outcome::TooShort,
                broken: None,
            });
        }
        if let Some(open) = self.open.as_mut().filter(|_| sight.fires) {
            let at = sight.moment;
            open.outcome = match sight.held_back {
                None => Outcome::Fired {
                    at,
                    values: values.to_vec(),
                },
                Some(by) => Outcome::HeldBack { at, by },
            };
        }
    }

    fn close(&mut self) {
        let Some(over) = self.open.take() else {
            return;
        };
        let is_inside =
            over.begin.pts_ns <= *self.range.end() && over.end.pts_ns >= *self.range.start();
        if is_inside && self.timeline.holdings.len() < HOLDINGS_MAX {
            self.timeline.holdings.push(over);
        } else {
            self.timeline.is_cut |= is_inside;
        }
    }
}

impl PartTimeline {
    fn new(part: &Part) -> Self {
        Self {
            depth: part.depth,
            text: part.text.clone(),
            frames_held: 0,
            spans: Vec::new(),
            values: None,
        }
    }

    /// Takes in a frame; false when there is no room for a span.
    fn see(&mut self, said: &Part, held_before: bool, moment: Moment) -> bool {
        let value = said.value.as_deref();
        extend(&mut self.values, value);
        if said.holds != Some(true) {
            return true;
        }
        self.frames_held += 1;
        if held_before && let Some(span) = self.spans.last_mut() {
            span.end = moment;
            extend(&mut span.values, value);
            return true;
        }
        let has_room = self.spans.len() < PART_SPANS_MAX;
        if has_room {
            let mut values = None;
            extend(&mut values, value);
            self.spans.push(Span {
                begin: moment,
                end: moment,
                values,
            });
        }
        has_room
    }
}

fn values_of(parts: &[Part]) -> Vec<PartValue> {
    let value = |(part, said): (usize, &Part)| PartValue {
        part,
        holds: said.holds,
        value: said.value.clone(),
    };
    parts.iter().enumerate().map(value).collect()
}

/// The parts that hold now and did not, or the other way round, with what they say now.
fn changed(before: &[PartValue], now: &[PartValue]) -> Vec<PartValue> {
    let pairs = before.iter().zip(now);
    let changed = pairs.filter(|(before, now)| before.holds != now.holds);
    changed.map(|(_, now)| now.clone()).collect()
}

fn extend(range: &mut Option<ValueRange>, value: Option<&str>) {
    let Some(value) = value else {
        return;
    };
    match range {
        None => {
            *range = Some(ValueRange {
                least: value.to_owned(),
                greatest: value.to_owned(),
            });
        }
        Some(range) => {
            if order(value, &range.least) == Ordering::Less {
                value.clone_into(&mut range.least);
            } else if order(value, &range.greatest) == Ordering::Greater {
                value.clone_into(&mut range.greatest);
            }
        }
    }
}

/// Numbers, with or without a unit behind them, by what they are; everything else by letters.
fn order(one: &str, other: &str) -> Ordering {
    let number = |text: &str| {
        let digits = text.trim_end_matches(|sign: char| sign.is_alphabetic() || sign == '%');
        digits.parse::<f64>().ok()
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ordered_as_what_they_are() {
        for (less, more) in [
            ("9.5s", "10.1s"),
            ("0.2", "0.52"),
            ("5%", "12%"),
            ("-1", "1"),
            ("bus", "car"),
        ] {
            assert_eq!(order(less, more), Ordering::Less, "{less} {more}");
        }
        let mut range = None;
        for value in ["2s", "10s", "9s", "0.5s"] {
            extend(&mut range, Some(value));
        }
        let range = range.expect("values");
        assert_eq!((&*range.least, &*range.greatest), ("0.5s", "10s"));
    }
}
