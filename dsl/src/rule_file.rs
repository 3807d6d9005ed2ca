//! The content of a rule file, checked: what the rest of Sluice works with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::gate::GateProgram;
use crate::load;
use crate::message::Message;
use crate::program::Program;

/// What a rule file is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Labels that the run's models know.
    pub labels: BTreeSet<String>,
    /// The run's models.
    pub models: BTreeSet<String>,
}

/// A rule file, checked and compiled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleFile {
    /// Zones, in the order of the file: bit `i` of [`crate::TrackFacts::zones`] is zone `i`.
    pub zones: Vec<Zone>,
    /// Lines, in the order of the file.
    pub lines: Vec<Line>,
    /// Gates, by model.
    pub gates: BTreeMap<String, GateProgram>,
    /// Rules, in the order of the file.
    pub rules: Vec<Rule>,
}

impl RuleFile {
    /// Parses, checks and compiles a rule file. `file` is only named in diagnostics.
    ///
    /// # Errors
    /// Every mistake in it, in the order of the text.
    pub fn parse(text: &str, file: &Path, context: &Context) -> Result<Self, Vec<Diagnostic>> {
        load::load(text, file, Some(context))
    }

    /// Parses a text that another process has already checked against its run.
    ///
    /// A worker knows only the labels and models of its own stream, and the file
    /// may speak of others; so their names are taken as they are.
    ///
    /// # Errors
    /// As [`RuleFile::parse`], but for unknown labels and models.
    pub fn parse_checked(text: &str, file: &Path) -> Result<Self, Vec<Diagnostic>> {
        load::load(text, file, None)
    }
}

/// A named part of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Corners in order, 0 to 1 of the picture's width and height; 3 or more, edges do not cross.
    pub polygon: Vec<[f32; 2]>,
    /// The point of a box that must lie inside.
    pub anchor: Anchor,
}

/// The point of a box that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    /// The middle of the bottom edge: where an object stands on the ground.
    #[default]
    BottomCenter,
    /// The middle.
    Center,
}

/// A named line across the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// One end, 0 to 1 of the picture's width and height.
    pub from: [f32; 2],
    /// The other end.
    pub to: [f32; 2],
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it is evaluated for.
    pub on: Subject,
    /// The condition.
    pub when: Program,
    /// The condition must hold so long, in event time, before the rule fires.
    pub for_ns: u64,
    /// Interruptions of the condition up to so long are overlooked.
    pub gap_ns: u64,
    /// Labels that its events carry.
    pub labels: BTreeMap<String, String>,
    /// What its events say.
    pub message: Message,
    /// What is done when it fires; never empty.
    pub actions: BTreeSet<Action>,
}

/// What a rule is evaluated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Each track of each frame.
    Track,
}

/// What is done when a rule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// An event is recorded and delivered.
    Alert,
    /// A picture of the frame is kept with the event.
    Snapshot,
}
