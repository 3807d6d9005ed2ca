//! What one rule remembers, of each of its keys and of all together.

use dsl::{Memory, Rule, Shared, Subject};

use super::event::Firing;
use super::interval::{Ended, Interval};
use super::limits::Firings;

/// The state of a rule.
#[derive(Debug)]
pub(crate) struct RuleState {
    pub(crate) shared: Shared,
    /// When it fired, all keys together.
    pub(crate) firings: Firings,
    /// By the slot of the track; of a rule that is not about tracks there is one.
    pub(crate) keys: Vec<KeyState>,
}

/// The state of a rule for one key.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) memory: Memory,
    pub(crate) interval: Interval,
    pub(crate) firings: Firings,
}

impl RuleState {
    /// With nothing remembered, for so many slots.
    pub(crate) fn new(rule: &Rule, slots: usize) -> Self {
        let mut state = Self {
            shared: rule.when.shared(),
            firings: Firings::default(),
            keys: Vec::new(),
        };
        state.reserve(rule, slots);
        state
    }

    /// Makes room for the keys of so many slots.
    pub(crate) fn reserve(&mut self, rule: &Rule, slots: usize) {
        let keys = match rule.on {
            Subject::Track => slots,
            Subject::Frame | Subject::Stream => 1,
        };
        while self.keys.len() < keys {
            self.keys.push(KeyState {
                memory: rule.when.memory(),
                interval: Interval::default(),
                firings: Firings::default(),
            });
        }
    }

    /// Forgets all, and tells the ends of what was firing.
    pub(crate) fn end_all(&mut self, rule: &Rule, told: &mut Told<'_>) {
        for key in 0..self.keys.len() {
            self.end_key(rule, key, told);
        }
        self.shared = rule.when.shared();
        self.firings.clear();
    }

    /// Forgets one key, and tells the end of what was firing.
    pub(crate) fn end_key(&mut self, rule: &Rule, key: usize, told: &mut Told<'_>) {
        let Some(key) = self.keys.get_mut(key) else {
            return;
        };
        if let Some(over) = key.interval.end() {
            told.end(over);
        }
        key.memory = rule.when.memory();
        key.firings.clear();
    }
}

/// What is told of this frame, and the count of events that last.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) firings: &'a mut Vec<Firing>,
    pub(crate) events_now: &'a mut u32,
}

impl Told<'_> {
    pub(crate) fn begin(&mut self, begun: &Firing) {
        *self.events_now += u32::from(begun.alerts);
        self.firings.push(begun.clone());
    }

    /// An interval is over; of one that did not fire, or was held back, nothing is told.
    pub(crate) fn end(&mut self, over: Ended) {
        if let Some(begun) = over.told {
            *self.events_now -= u32::from(begun.alerts);
            self.firings.push(begun.ended(over.span.held_pts_ns));
        }
    }
}
