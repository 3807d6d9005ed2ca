//! From test to test: the decisions of a program, and what they read.

use std::cmp::Ordering;

use super::{Aggregate, Entry, HOLDS, Program, Source, Test, TextSource, View};
use crate::facts;
use crate::memory::Shared;
use crate::scene::TrackFacts;
use crate::tree::Comparison;
use crate::typed::{Fold, Home, Slot};
use crate::vocabulary::Field;

/// Answers for what a single track cannot: aggregates, and what remembers.
pub(super) trait Whole {
    fn number(&mut self, source: Source) -> f64;
    fn holds_for_some(&mut self, aggregate: u16) -> bool;
    fn flag(&self, slot: Slot) -> bool;
}

/// Inside of an aggregate, where the checker lets none of it stand.
struct Nothing;

impl Whole for Nothing {
    fn number(&mut self, _source: Source) -> f64 {
        f64::NAN
    }

    fn holds_for_some(&mut self, _aggregate: u16) -> bool {
        false
    }

    fn flag(&self, _slot: Slot) -> bool {
        false
    }
}

/// In the condition itself.
pub(super) struct Evaluation<'a> {
    pub(super) program: &'a Program,
    pub(super) view: View<'a>,
    pub(super) shared: &'a mut Shared,
    pub(super) results: &'a [f64],
}

impl Whole for Evaluation<'_> {
    fn number(&mut self, source: Source) -> f64 {
        match source {
            Source::Aggregate(index) => match self.program.aggregates.get(usize::from(index)) {
                Some(Aggregate::Count { entry, shared }) => f64::from(self.count(*entry, *shared)),
                Some(Aggregate::Fold {
                    fold,
                    source,
                    filter,
                }) => self.program.fold(*fold, *source, *filter, &self.view),
                None => f64::NAN,
            },
            Source::Slot(slot) => self.slot(slot),
            _ => f64::NAN,
        }
    }

    fn holds_for_some(&mut self, aggregate: u16) -> bool {
        match self.program.aggregates.get(usize::from(aggregate)) {
            Some(Aggregate::Count {
                entry,
                shared: None,
            }) => self
                .view
                .others()
                .any(|index| self.program.holds_for(*entry, &self.view, index)),
            Some(Aggregate::Count { entry, shared }) => self.count(*entry, *shared) > 0,
            _ => false,
        }
    }

    fn flag(&self, slot: Slot) -> bool {
        self.results
            .get(usize::from(slot.index))
            .is_some_and(|result| *result > 0.0)
    }
}

impl Evaluation<'_> {
    fn slot(&self, slot: Slot) -> f64 {
        let index = usize::from(slot.index);
        match slot.home {
            Home::Memory => self.results.get(index).copied().unwrap_or(f64::NAN),
            Home::Shared => self
                .shared
                .slots
                .get(index)
                .map_or(f64::NAN, |state| state.number(self.view.own_id())),
        }
    }

    /// How many other tracks a condition holds for.
    fn count(&mut self, entry: Entry, shared: Option<u16>) -> u32 {
        let (program, view) = (self.program, self.view);
        let Some(shared) = shared else {
            return count(view.others(), |index| {
                program.holds_for(entry, &view, index)
            });
        };
        let all = self.shared.count(shared, || {
            count(0..view.scene.tracks.len(), |index| {
                program.holds_for(entry, &view, index)
            })
        });
        let own = view
            .own
            .is_some_and(|own| program.holds_for(entry, &view, own));
        all.saturating_sub(u32::from(own))
    }
}

fn count(tracks: impl Iterator<Item = usize>, mut holds: impl FnMut(usize) -> bool) -> u32 {
    tracks.map(|index| u32::from(holds(index))).sum()
}

impl Program {
    /// Whether a condition holds for one track.
    pub(super) fn holds_for(&self, entry: Entry, view: &View<'_>, track: usize) -> bool {
        self.decide(entry, view, Some(track), &mut Nothing)
    }

    /// Goes from test to test. `track` is the one that fields are about.
    pub(super) fn decide(
        &self,
        entry: Entry,
        view: &View<'_>,
        track: Option<usize>,
        whole: &mut impl Whole,
    ) -> bool {
        let mut next = entry;
        while let Some(branch) = self.branches.get(next as usize) {
            next = if self.test(&branch.test, view, track, whole) {
                branch.if_true
            } else {
                branch.if_false
            };
        }
        next == HOLDS
    }

    fn test(
        &self,
        test: &Test,
        view: &View<'_>,
        track: Option<usize>,
        whole: &mut impl Whole,
    ) -> bool {
        let facts = view.track(track);
        let set = |of: fn(&TrackFacts) -> u64| facts.map_or(0, of);
        match *test {
            Test::Constant(value) => value,
            Test::CompareConstant {
                source,
                comparison,
                constant,
            } => holds(
                comparison,
                self.number(source, view, track, whole),
                constant,
            ),
            Test::Compare {
                left,
                comparison,
                right,
            } => {
                let left = self.number(left, view, track, whole);
                holds(comparison, left, self.number(right, view, track, whole))
            }
            Test::Between { source, low, high } => {
                (low..=high).contains(&self.number(source, view, track, whole))
            }
            Test::OneOf { source, list } => {
                let number = self.number(source, view, track, whole);
                self.number_lists[usize::from(list)].contains(&number)
            }
            Test::SameText { left, right } => {
                self.text(left, view, track) == self.text(right, view, track)
            }
            Test::TextOneOf { source, list } => {
                let text = self.text(source, view, track);
                let list = &self.text_lists[usize::from(list)];
                list.iter().any(|item| **item == *text)
            }
            Test::Matches { source, pattern } => {
                self.patterns[usize::from(pattern)].is_match(self.text(source, view, track))
            }
            Test::InZone(zone) => facts::contains(set(|facts| facts.zones), zone),
            Test::Entered(zone) => facts::contains(set(|facts| facts.entered), zone),
            Test::Left(zone) => facts::contains(set(|facts| facts.left), zone),
            Test::Crossed { line, right, left } => {
                (right && facts::contains(set(|facts| facts.crossed_right), line))
                    || (left && facts::contains(set(|facts| facts.crossed_left), line))
            }
            Test::Some(aggregate) => whole.holds_for_some(aggregate),
            Test::Flag(slot) => whole.flag(slot),
        }
    }

    pub(super) fn number(
        &self,
        source: Source,
        view: &View<'_>,
        track: Option<usize>,
        whole: &mut impl Whole,
    ) -> f64 {
        let scene = view.scene;
        let facts = view.track(track);
        match source {
            Source::Field(Field::Tracks) => Some(f64::from(view.tracks)),
            Source::Field(field) => facts::field(field, scene, facts),
            Source::Dwell(zone) => track.and_then(|index| facts::dwell(zone, scene, index)),
            Source::DistanceToOwn => facts
                .zip(view.track(view.own))
                .map(|(one, own)| facts::distance(one, own)),
            Source::DistanceToZone(zone) => {
                facts.and_then(|facts| facts::distance_to_zone(zone, scene, facts))
            }
            Source::DistanceToLine(line) => {
                facts.and_then(|facts| facts::distance_to_line(line, scene, facts))
            }
            Source::ZoneMotion(zone) => facts::zone_motion(zone, scene),
            Source::Clock { zone, part } => {
                facts::clock(&self.time_zones[usize::from(zone)], part, scene)
            }
            Source::Aggregate(_) | Source::Slot(_) => Some(whole.number(source)),
        }
        .unwrap_or(f64::NAN)
    }

    pub(super) fn text<'s>(
        &'s self,
        source: TextSource,
        view: &View<'s>,
        track: Option<usize>,
    ) -> &'s str {
        let scene = view.scene;
        let named = |index: u16| &*self.texts[usize::from(index)];
        match source {
            TextSource::Constant(text) => named(text),
            TextSource::Label => facts::label(scene, view.track(track)),
            TextSource::Attribute(name) => facts::attribute(named(name), scene, view.track(track)),
            TextSource::StreamName => scene.stream,
            TextSource::StreamLabel(name) => facts::stream_label(named(name), scene),
            TextSource::Weekday(zone) => facts::weekday(&self.time_zones[usize::from(zone)], scene),
        }
    }

    /// The least, greatest or mean value; NaN where there is none.
    fn fold(&self, fold: Fold, source: Source, filter: Option<Entry>, view: &View<'_>) -> f64 {
        let values = view
            .others()
            .filter(|index| filter.is_none_or(|filter| self.holds_for(filter, view, *index)))
            .map(|index| self.number(source, view, Some(index), &mut Nothing))
            .filter(|value| !value.is_nan());
        match fold {
            // The greater or lesser of NaN and a number is the number.
            Fold::Minimum => values.fold(f64::NAN, f64::min),
            Fold::Maximum => values.fold(f64::NAN, f64::max),
            Fold::Average => {
                let (sum, count) =
                    values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
                sum / count
            }
        }
    }
}

#[expect(
    clippy::float_cmp,
    reason = "`==` means equality; counts are exact and constants are rounded as fields are"
)]
fn holds(comparison: Comparison, left: f64, right: f64) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        // Not `!=`, which holds for NaN.
        Comparison::NotEqual => left.partial_cmp(&right).is_some_and(Ordering::is_ne),
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}
