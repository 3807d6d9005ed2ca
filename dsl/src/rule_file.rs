//! The content of a rule file, checked: what the rest of Sluice works with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::action::Action;
use crate::cost::Cost;
use crate::diagnostic::Diagnostic;
use crate::duration::format_duration;
use crate::gate::GateProgram;
use crate::load;
use crate::message::Message;
use crate::needs::Needs;
use crate::polygon;
use crate::when::When;

/// What a rule file is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Labels that the run's models know.
    pub labels: BTreeSet<String>,
    /// The run's models.
    pub models: BTreeSet<String>,
    /// Those that can be asked about the crop of a track.
    pub crop_models: BTreeSet<String>,
    /// Whether a model of the run finds landmarks.
    pub landmarks: bool,
    /// Whether a model of the run gives depth.
    pub depth: bool,
}

/// A rule file, checked and compiled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleFile {
    /// Zones, in the order of the file: bit `i` of [`crate::TrackFacts::zones`] is zone `i`.
    pub zones: Vec<Zone>,
    /// Lines, in the order of the file: bit `i` of [`crate::TrackFacts::crossed_right`] is line `i`.
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

impl Zone {
    /// Whether a point, 0 to 1 of the picture's width and height, lies inside.
    ///
    /// Of a point on an edge, the left and upper edges count as inside. An object cut
    /// off by the picture stands on its very border, so what lies on the right or
    /// lower border of the picture is moved inside by a hair.
    #[must_use]
    pub fn contains(&self, point: [f32; 2]) -> bool {
        polygon::contains(&self.polygon, point)
    }
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

/// A named line across the picture. Left and right are those of who walks from `from` to `to`.
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
    pub when: When,
    /// The condition must hold so long, in event time, before the rule fires.
    pub for_ns: u64,
    /// Interruptions of the condition up to so long are overlooked.
    pub gap_ns: u64,
    /// The event stays open so long after the condition has ceased to hold; when it holds
    /// again meanwhile, the same event goes on.
    pub keep_ns: u64,
    /// How often it may fire.
    pub limit: Option<Limit>,
    /// Labels that its events carry.
    pub labels: BTreeMap<String, String>,
    /// What its events say.
    pub message: Message,
    /// What is done when it fires, in the order of the file; never empty, nothing twice.
    pub actions: Vec<Action>,
    /// What its state hangs on.
    pub shape: Shape,
}

impl Rule {
    /// Whether a firing makes an event that is recorded and delivered.
    ///
    /// All do but those of rules that only draw, tag or run a model on the crop: those
    /// serve other rules and the picture.
    #[must_use]
    pub fn alerts(&self) -> bool {
        self.actions.iter().any(Action::alerts)
    }

    /// What must be measured for its condition and its message.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.when.needs().or(self.message.needs())
    }

    /// An upper bound of the work of one evaluation.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.when.cost()
    }
}

/// What a rule is evaluated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Each track that is seen or predicted in a frame.
    Track,
    /// Each frame that some model ran on.
    Frame,
    /// Each frame of the stream, also those that no model ran on.
    Stream,
}

/// How often a rule may fire: at most `max` times inside of `every`, for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Whose firings count together.
    pub per: LimitKey,
    /// The window, in event time.
    pub every_ns: u64,
    /// Firings inside of the window, 1 or more.
    pub max: u32,
}

/// Whose firings a [`Limit`] counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKey {
    /// Those of the rule for one track.
    Track,
    /// Those of the rule.
    Rule,
    /// Those of all rules of the stream.
    Stream,
}

/// What the state of a rule hangs on: when two rules of one name have the same shape, the
/// state of the one is good for the other.
///
/// Labels, message, limit, `keep` and actions are no part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub(crate) on: Subject,
    /// The condition in canonical form.
    pub(crate) when: String,
    pub(crate) for_ns: u64,
    pub(crate) gap_ns: u64,
    /// Zones that the condition names.
    pub(crate) zones: Vec<Zone>,
    /// Lines that the condition names.
    pub(crate) lines: Vec<Line>,
}

impl Shape {
    /// Why the state of a rule of shape `before` is not good for this one; `None` when it is.
    ///
    /// ```text
    /// `for` changed from 10s to 5s
    /// ```
    #[must_use]
    pub fn reset_reason(&self, before: &Self) -> Option<String> {
        let duration = |clause: &str, old: u64, new: u64| {
            let (old_text, new_text) = (format_duration(old), format_duration(new));
            (old != new).then(|| format!("`{clause}` changed from {old_text} to {new_text}"))
        };
        if self.on != before.on {
            return Some("`on` changed".to_owned());
        }
        if self.when != before.when {
            return Some("its condition changed".to_owned());
        }
        // The conditions are the same, so they name the same zones and lines in one order.
        let zones = self.zones.iter().zip(&before.zones);
        let lines = self.lines.iter().zip(&before.lines);
        duration("for", before.for_ns, self.for_ns)
            .or_else(|| duration("gap", before.gap_ns, self.gap_ns))
            .or_else(|| {
                let changed = zones.clone().find(|(new, old)| new != old)?;
                Some(format!("zone `{}` changed", changed.0.name))
            })
            .or_else(|| {
                let changed = lines.clone().find(|(new, old)| new != old)?;
                Some(format!("line `{}` changed", changed.0.name))
            })
            .or_else(|| (self != before).then(|| "its zones or lines changed".to_owned()))
    }
}
