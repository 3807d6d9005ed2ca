//! How often a rule may fire: its own `limit`, and the flood limits that are always on.

use std::collections::VecDeque;

use dsl::{LimitKey, Rule};

/// Firings of one rule for one track inside [`FLOOD_WINDOW_NS`].
pub const TRACK_FIRINGS_MAX: usize = 30;

/// Firings of one rule inside [`FLOOD_WINDOW_NS`].
pub const RULE_FIRINGS_MAX: usize = 300;

/// Firings of all rules of a stream inside [`FLOOD_WINDOW_NS`].
pub const STREAM_FIRINGS_MAX: usize = 1000;

/// The event time that flood limits look back.
pub const FLOOD_WINDOW_NS: u64 = 60_000_000_000;

/// Why a firing was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBack {
    /// By the `limit` of the rule.
    Limit,
    /// By [`TRACK_FIRINGS_MAX`].
    TrackFlood,
    /// By [`RULE_FIRINGS_MAX`].
    RuleFlood,
    /// By [`STREAM_FIRINGS_MAX`].
    StreamFlood,
}

/// When something fired, the latest times only; what was held back is not among them.
#[derive(Debug, Default)]
pub(crate) struct Firings {
    pts_ns: VecDeque<u64>,
}

impl Firings {
    /// Whether there were `max` firings in the last `window_ns`: one more would be too many.
    fn reached(&self, max: usize, window_ns: u64, pts_ns: u64) -> bool {
        match self.pts_ns.len().checked_sub(max) {
            None => false,
            Some(place) => self
                .pts_ns
                .get(place)
                .is_none_or(|first| pts_ns.saturating_sub(*first) < window_ns),
        }
    }

    /// Adds one, and keeps `max` at most.
    fn add(&mut self, pts_ns: u64, max: usize) {
        while self.pts_ns.len() >= max.max(1) {
            self.pts_ns.pop_front();
        }
        self.pts_ns.push_back(pts_ns);
    }

    pub(crate) fn clear(&mut self) {
        self.pts_ns.clear();
    }
}

/// What firings are counted by: the key of the rule, the rule, the stream.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    /// For rules `on: track`.
    pub(crate) track: Option<&'a mut Firings>,
    pub(crate) rule: &'a mut Firings,
    pub(crate) stream: &'a mut Firings,
}

impl Counted<'_> {
    /// Counts a firing of a rule, unless it must be held back.
    ///
    /// `stream_max` is the largest `max` of the stream's limits `per: stream`.
    pub(crate) fn admit(
        &mut self,
        rule: &Rule,
        pts_ns: u64,
        stream_max: usize,
    ) -> Result<(), HeldBack> {
        let flood = |firings: &Firings, max| firings.reached(max, FLOOD_WINDOW_NS, pts_ns);
        let (mut track_max, mut rule_max) = (TRACK_FIRINGS_MAX, RULE_FIRINGS_MAX);
        if let Some(limit) = &rule.limit {
            let max = limit.max as usize;
            let firings = match (limit.per, &self.track) {
                (LimitKey::Track, Some(track)) => {
                    track_max = track_max.max(max);
                    &**track
                }
                (LimitKey::Track, None) | (LimitKey::Rule, _) => {
                    rule_max = rule_max.max(max);
                    &*self.rule
                }
                (LimitKey::Stream, _) => &*self.stream,
            };
            if firings.reached(max, limit.every_ns, pts_ns) {
                return Err(HeldBack::Limit);
            }
        }
        if self
            .track
            .as_deref()
            .is_some_and(|track| flood(track, TRACK_FIRINGS_MAX))
        {
            return Err(HeldBack::TrackFlood);
        }
        if flood(self.rule, RULE_FIRINGS_MAX) {
            return Err(HeldBack::RuleFlood);
        }
        if flood(self.stream, STREAM_FIRINGS_MAX) {
            return Err(HeldBack::StreamFlood);
        }
        if let Some(track) = &mut self.track {
            track.add(pts_ns, track_max);
        }
        self.rule.add(pts_ns, rule_max);
        self.stream.add(pts_ns, stream_max.max(STREAM_FIRINGS_MAX));
        Ok(())
    }
}

/// The largest `max` of the limits `per: stream`.
pub(crate) fn stream_max(rules: &[Rule]) -> usize {
    let limits = rules.iter().filter_map(|rule| rule.limit.as_ref());
    let of_stream = limits.filter(|limit| limit.per == LimitKey::Stream);
    of_stream.map(|limit| limit.max as usize).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_inside_a_sliding_window() {
        let mut firings = Firings::default();
        for pts_ns in [0, 10, 20] {
            assert!(!firings.reached(3, 30, pts_ns));
            firings.add(pts_ns, 3);
        }
        assert!(firings.reached(3, 30, 20) && firings.reached(3, 30, 29));
        assert!(
            !firings.reached(3, 30, 30),
            "the first is a whole window ago"
        );
        assert!(firings.reached(2, 30, 39) && !firings.reached(2, 30, 40));
        for pts_ns in 30..1000 {
            firings.add(pts_ns, 3);
        }
        assert_eq!(firings.pts_ns.len(), 3);
        assert!(firings.reached(0, 30, 5000), "none at all is allowed");
    }
}
