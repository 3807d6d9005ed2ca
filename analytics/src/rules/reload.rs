//! Other rules between two frames, and what stays of the state of the old ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dsl::{Line, Rule, RuleFile, Zone};

use super::engine::RuleEngine;
use super::event::Firing;
use super::limits::stream_max;
use super::state::{RuleState, Told};
use crate::zones;

/// What a reload did.
#[derive(Debug, Clone, PartialEq)]
pub struct Reloaded {
    /// Ends of the events of rules that were removed or reset.
    pub firings: Vec<Firing>,
    /// What became of each rule: those of the new file in its order, then those that are gone.
    pub notes: Vec<RuleNote>,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleNote {
    /// Its name.
    pub rule: String,
    /// What.
    pub fate: Fate,
}

/// What becomes of a rule when the rules are reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is the same in shape: it remembers all, and what is firing goes on.
    Kept,
    /// There was none of this name.
    New,
    /// It is another rule under the old name: its events have ended, and it begins anew.
    Reset {
        /// How it differs.
        reason: String,
    },
    /// Its events have ended.
    Removed,
}

impl fmt::Display for RuleNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = &self.rule;
        match &self.fate {
            Fate::Kept => write!(formatter, "rule {rule}: state kept"),
            Fate::New => write!(formatter, "rule {rule}: new"),
            Fate::Reset { reason } => write!(formatter, "rule {rule}: state reset, {reason}"),
            Fate::Removed => write!(formatter, "rule {rule}: removed"),
        }
    }
}

impl RuleEngine {
    /// Other rules from the next frame on. It never fails, and no frame is lost by it.
    ///
    /// A rule keeps its state when its name and its shape are the same; message, labels,
    /// actions, `limit` and `keep` are not of its shape and change at once. Of tracks
    /// everything stays but their stays in zones, and sides of lines, that are new or elsewhere.
    /// Conditions beside the rules are gone: see [`RuleEngine::set_conditions`].
    pub fn reload(&mut self, file: impl Into<Arc<RuleFile>>, generation: u64) -> Reloaded {
        let file = file.into();
        self.conditions.clear();
        let old_file = std::mem::replace(&mut self.file, Arc::clone(&file));
        let old_states = std::mem::take(&mut self.states);
        let mut old: BTreeMap<&str, (&Rule, RuleState)> = old_file
            .rules
            .iter()
            .zip(old_states)
            .map(|(rule, state)| (rule.name.as_str(), (rule, state)))
            .collect();
        let mut firings = Vec::new();
        let mut notes = Vec::new();
        let mut told = Told {
            firings: &mut firings,
            events_now: &mut self.events_now,
        };
        for rule in &file.rules {
            let (fate, state) = match old.remove(rule.name.as_str()) {
                None => (Fate::New, None),
                Some((old_rule, mut state)) => match rule.shape.reset_reason(&old_rule.shape) {
                    None => (Fate::Kept, Some(state)),
                    Some(reason) => {
                        state.end_all(old_rule, &mut told);
                        (Fate::Reset { reason }, None)
                    }
                },
            };
            let state = state.unwrap_or_else(|| RuleState::new(rule, self.tracks.slots()));
            self.states.push(state);
            notes.push(RuleNote {
                rule: rule.name.clone(),
                fate,
            });
        }
        for rule in &old_file.rules {
            if let Some((_, mut state)) = old.remove(rule.name.as_str()) {
                state.end_all(rule, &mut told);
                notes.push(RuleNote {
                    rule: rule.name.clone(),
                    fate: Fate::Removed,
                });
            }
        }
        self.generation = generation;
        self.stream_max = stream_max(&file.rules);
        self.zone_cells = file.zones.iter().map(zones::cells).collect();
        let same_zone = |zone: &Zone| old_file.zones.iter().position(|old| old == zone);
        let same_line = |line: &Line| old_file.lines.iter().position(|old| old == line);
        let zones: Vec<_> = file.zones.iter().map(same_zone).collect();
        let lines: Vec<_> = file.lines.iter().map(same_line).collect();
        self.tracks.replace_geometry(&zones, &lines);
        Reloaded { firings, notes }
    }
}
