//! Unit tests of rules: what a `*.test.yaml` file says, and whether it is so.
//!
//! A test file names a rule file and describes scenes: tracks that walk along
//! waypoints, times at which they are not seen, motion. For each scene it says
//! which rules fire, when, and that nothing else does. A scene is turned into
//! the very frame records that a render worker would have made ([`Case::frames`])
//! and given to the very engine that evaluates rules there ([`Case::run`]).
//!
//! The way of a file: [`parse`] reads the YAML and reports every mistake with its
//! place, [`TestFile::check_names`] compares it with the rule file, and
//! [`Case::judge`] says what differs. Nothing here opens a file or reads a clock.

mod judge;
mod read;
mod reader;
mod scene;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use contract::geometry::PixelSize;
use contract::name::StreamName;
use dsl::{Diagnostic, RuleFile, suggest};

pub use judge::{Difference, Field, Fired, Outcome};
pub use read::parse;
pub(crate) use reader::read_duration;

/// Most bytes of a test file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most cases of a file.
pub const CASES_MAX: usize = 1000;
/// Most tracks of a case: as many as a frame can have detections.
pub const TRACKS_MAX: usize = contract::detection::DETECTIONS_MAX;
/// Most waypoints of a track, and most entries of any other list.
pub const LIST_MAX: usize = 1000;
/// Most frames of a case: a day at eleven frames a second.
pub const FRAMES_MAX: u64 = 1_000_000;

/// After so long an unseen track ends where nothing else is said: the default of the
/// tracker's `lost_timeout` in run configs.
pub const LOST_TIMEOUT_DEFAULT_NS: u64 = 2_000_000_000;

/// The numbers of the mistakes that only a test file can have.
pub mod code {
    /// The file cannot be read: not there, a directory, not UTF-8, too large.
    pub const UNREADABLE: &str = "T0101";
    /// The text is not YAML.
    pub const NOT_YAML: &str = "T0102";
    /// A key stands twice in one mapping.
    pub const DUPLICATE_KEY: &str = "T0103";
    /// There is no such key.
    pub const UNKNOWN_KEY: &str = "T0104";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "T0105";
    /// A list where a number belongs, and the like.
    pub const WRONG_SHAPE: &str = "T0106";
    /// Of the right shape, but not a value that can be used.
    pub const WRONG_VALUE: &str = "T0107";
    /// A list, a case or a file is too long.
    pub const TOO_LARGE: &str = "T0108";
    /// The rule file has no such rule.
    pub const UNKNOWN_RULE: &str = "T0109";
    /// The case has no such track, or the rule is not about tracks.
    pub const UNKNOWN_TRACK: &str = "T0110";
}

/// A test file.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// The rule file, relative to the directory of the test file.
    pub rules: Written,
    /// The cases, in the order of the file; at least one.
    pub cases: Vec<Case>,
}

/// A word, and the bytes where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The word.
    pub text: String,
    /// Its bytes in the file's text.
    pub span: Range<usize>,
}

/// One scene and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Where and when it plays.
    pub setting: Setting,
    /// Time of its last frame; the first is at 0.
    pub length_ns: u64,
    /// When something moves, and where.
    pub motion: Vec<Movement>,
    /// Times of frames that no model runs on: from the first up to but not at the second.
    pub skipped: Vec<Range<u64>>,
    /// Who is seen.
    pub tracks: Vec<Track>,
    /// Only these rules are looked at; all when there is none.
    pub only: Vec<Written>,
    /// What must fire.
    pub expected: Vec<Expected>,
}

/// Where and when a case plays.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Frames a second.
    pub fps: f64,
    /// The picture's size.
    pub size: PixelSize,
    /// The stream's name.
    pub stream: StreamName,
    /// The stream's labels.
    pub labels: BTreeMap<String, String>,
    /// Wall clock of the first frame, milliseconds since the Unix epoch.
    pub start_wall_ms: i64,
    /// A track unseen for so long ends.
    pub lost_timeout_ns: u64,
}

impl Setting {
    /// Time of one frame, rounded up: how far off a firing may be.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "frame rates are 0.1 to 240"
    )]
    pub fn frame_ns(&self) -> u64 {
        (1e9 / self.fps).ceil() as u64
    }
}

/// Something moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Movement {
    /// When: from the first up to but not at the second.
    pub during_ns: Range<u64>,
    /// Part of the picture that moves, 0 to 1.
    pub amount: f32,
    /// Where: left, top, right, bottom, 0 to 1.
    pub area: [f32; 4],
}

/// A track. It begins at its first waypoint and ends with its last.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its id.
    pub id: u64,
    /// Its class name.
    pub label: String,
    /// Its way; one waypoint or more, in order of time; the first one has everything.
    pub path: Vec<Waypoint>,
    /// Times at which it is not there at all, as when the tracker has lost it.
    pub absent: Vec<Range<u64>>,
    /// Times at which its box is predicted, not seen.
    pub predicted: Vec<Range<u64>>,
}

/// What is so from a time on. Feet and sizes are interpolated in between; what is
/// `None` goes on as before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waypoint {
    /// When.
    pub at_ns: u64,
    /// The middle of the box's bottom edge, 0 to 1 of the picture's width and height.
    pub foot: Option<[f32; 2]>,
    /// Width and height of the box, 0 to 1.
    pub size: Option<[f32; 2]>,
    /// How sure the model is, 0 to 1.
    pub score: Option<f32>,
    /// What becomes known of it.
    pub attributes: Vec<(String, String)>,
    /// How sharp its picture is.
    pub sharpness: Option<f32>,
    /// How bright its picture is, 0 to 1.
    pub brightness: Option<f32>,
    /// How many landmarks are found on it.
    pub landmarks: Option<u8>,
    /// What the depth model says of it, in the model's unit.
    pub depth: Option<f32>,
}

/// A firing that must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The rule.
    pub rule: Written,
    /// The track, where the rule is about tracks.
    pub track: Option<u64>,
    /// When it fires.
    pub begin_ns: u64,
    /// When it ends; not looked at when `None`.
    pub end_ns: Option<u64>,
    /// What it says; not looked at when `None`.
    pub message: Option<String>,
    /// The labels it carries; not looked at when `None`.
    pub labels: Option<BTreeMap<String, String>>,
}

impl TestFile {
    /// What the cases name that `rules` does not have. `file` and `text` are the test file's.
    #[must_use]
    pub fn check_names(&self, file: &Path, text: &str, rules: &RuleFile) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for case in &self.cases {
            for name in &case.only {
                found.extend(unknown_rule(file, text, rules, name));
            }
            for expected in &case.expected {
                found.extend(check_expected(file, text, rules, case, expected));
            }
        }
        found
    }
}

fn unknown_rule(file: &Path, text: &str, rules: &RuleFile, name: &Written) -> Option<Diagnostic> {
    let names = || rules.rules.iter().map(|rule| rule.name.as_str());
    if names().any(|known| known == name.text) {
        return None;
    }
    let message = format!("the rule file has no rule `{}`", name.text);
    let all: Vec<_> = names().collect();
    let otherwise = format!("its rules are {}", all.join(", "));
    Some(
        Diagnostic::new(code::UNKNOWN_RULE, file, text, name.span.clone(), message)
            .suggesting(suggest(&name.text, names()), otherwise),
    )
}

fn check_expected(
    file: &Path,
    text: &str,
    rules: &RuleFile,
    case: &Case,
    expected: &Expected,
) -> Option<Diagnostic> {
    let name = &expected.rule;
    if let Some(unknown) = unknown_rule(file, text, rules, name) {
        return Some(unknown);
    }
    let wrong = |code, message: String, help: String| {
        Some(Diagnostic::new(code, file, text, name.span.clone(), message).helped(help))
    };
    if !case.only.is_empty() && !case.only.iter().any(|only| only.text == name.text) {
        let message = format!("`{}` is expected, but `only` leaves it out", name.text);
        return wrong(
            code::WRONG_VALUE,
            message,
            format!("add `{}` to `only`", name.text),
        );
    }
    let rule = rules.rules.iter().find(|rule| rule.name == name.text)?;
    match (rule.on == dsl::Subject::Track, expected.track) {
        (true, None) => wrong(
            code::MISSING_KEY,
            format!("`{}` is about tracks: say which one", name.text),
            "add `track: ID`".to_owned(),
        ),
        (false, Some(track)) => wrong(
            code::UNKNOWN_TRACK,
            format!(
                "`{}` is not about tracks, so it cannot fire for track {track}",
                name.text
            ),
            "leave `track` out".to_owned(),
        ),
        (true, Some(track)) if case.tracks.iter().all(|known| known.id != track) => {
            let all: Vec<_> = case
                .tracks
                .iter()
                .map(|track| track.id.to_string())
                .collect();
            wrong(
                code::UNKNOWN_TRACK,
                format!("the case has no track {track}"),
                format!("its tracks are {}", all.join(", ")),
            )
        }
        _ => None,
    }
}
