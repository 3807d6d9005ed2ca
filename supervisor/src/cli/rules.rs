//! `sluice rules`: the tools that make rules trusted.
//!
//! One file a command. All read rules with the same checker that a run uses, and
//! evaluate them with the same engine.

mod check;
mod explain;
mod fmt;
mod past;
mod playback;
mod replay;
mod test;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use contract::exit::Exit;
use contract::name::StreamName;
use dsl::{Diagnostic, RuleFile};

use super::progress;
use super::{CommandError, Format, LAST, environment, load_config, open_store, print_json};
use crate::config::Problems;
use crate::store::Reader;

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say everything that is wrong with a rule file, or what it holds and costs.
    Check(CheckArguments),
    /// Write rule files in their canonical form.
    Fmt(FmtArguments),
    /// Run unit tests of rules: scenes, and what must fire in them.
    Test(TestArguments),
    /// Evaluate rules over what was seen in a past run, and compare with what fired then.
    Replay(ReplayArguments),
    /// Say why an event fired, or why a rule did not fire for a track.
    Explain(ExplainArguments),
}

/// What to check, against what.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The rule file.
    pub file: PathBuf,
    /// Check the names of labels and models against this run config.
    #[arg(long, value_name = "RUNCONFIG")]
    pub config: Option<PathBuf>,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to format.
#[derive(Debug, Args)]
pub struct FmtArguments {
    /// The rule files; `-` reads standard input and writes standard output.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; name the files that are not in canonical form and exit with 1.
    #[arg(long)]
    pub check: bool,
}

const TEST_FILE: &str = "\
A test file is YAML. At its top, and again in any case that differs:
  rules         the rule file, relative to the test file (top only)
  fps           frames a second, default 10
  size          of the picture, default 1280x720
  stream        its name, default test
  labels        its labels
  start         wall clock of the first frame, default 2025-01-01 00:00:00Z
  lost_timeout  a track unseen for so long ends, default 2s
  cases         by name

A case has:
  tracks    by id: label, score (default 90%), size of the box [w, h], path,
            absent and predicted: lists of times like [3s..4s]
  length    default: up to the last time that its tracks and motion speak of
  motion    a fraction for all of the time, or a list of {during: 3s..4s,
            area: [left, top, right, bottom], amount: 2%}
  skipped   times of frames that no model runs on, like [5s..6s]
  only      the rules that are looked at; default all
  expect    a list of {rule, track, begin, end, message, labels}; end, message and
            labels are looked at where they are written. Nothing else may fire.
            Times are right within one frame.

A path is a list of waypoints: at, foot [x, y], size, score, attributes, sharpness,
brightness, landmarks, depth. Feet and sizes go in straight lines from one to the next, the
rest stays until it changes; attributes are known from the next frame on.
configs/rules/harbour.test.yaml is an example.";

/// What to test.
#[derive(Debug, Args)]
#[command(after_long_help = TEST_FILE)]
pub struct TestArguments {
    /// The test files, like `yard.test.yaml`.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to replay.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The rule file; without it, the run's own rules.
    pub file: Option<PathBuf>,
    /// Which run.
    #[arg(long, default_value = LAST)]
    pub run: String,
    /// Only this stream.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// Which run.
    pub run: String,
    /// The event: its id, a part of its id like `loitering/7`, or its number in the list
    /// that is shown without it.
    #[arg(conflicts_with = "why_not")]
    pub event: Option<String>,
    /// Say why this rule did not fire.
    #[arg(long, value_name = "RULE")]
    pub why_not: Option<String>,
    /// For this track, where the rule is about tracks.
    #[arg(long, value_name = "ID", requires = "why_not")]
    pub track: Option<u64>,
    /// In this stream; needed where the run has several.
    #[arg(long, value_name = "NAME", requires = "why_not")]
    pub stream: Option<String>,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

pub(super) fn rules(
    data: &Path,
    command: &RulesCommand,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    match command {
        RulesCommand::Check(arguments) => check::check(arguments, out),
        RulesCommand::Fmt(arguments) => fmt::fmt(arguments, out),
        RulesCommand::Test(arguments) => test::test(arguments, out),
        RulesCommand::Replay(arguments) => replay::replay(data, arguments, out),
        RulesCommand::Explain(arguments) => explain::explain(data, arguments, out),
    }
}

/// The text of a file of at most `bytes_max` bytes.
fn read_text(path: &Path, bytes_max: u64) -> Result<String, CommandError> {
    let cannot = |reason: String| {
        let text = format!("cannot read {}: {reason}", path.display());
        CommandError::other(Exit::Config, text)
    };
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    read_bounded(file, bytes_max).map_err(cannot)
}

fn read_bounded(file: impl std::io::Read, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        format!("it is not UTF-8: byte {byte} begins no character")
    })
}

/// A rule file whose labels and models are taken as they are.
fn read_rules(path: &Path) -> Result<(String, RuleFile), CommandError> {
    let text = read_text(path, dsl::FILE_BYTES_MAX as u64)?;
    let rules = RuleFile::parse_checked(&text, path)
        .map_err(|diagnostics| wrong(path, &text, diagnostics))?;
    Ok((text, rules))
}

/// The error of a file with mistakes: they are shown with the lines they speak of.
fn wrong(path: &Path, text: &str, diagnostics: Vec<Diagnostic>) -> CommandError {
    let texts = BTreeMap::from([(path.to_owned(), text.to_owned())]);
    CommandError::Config(Box::new(Problems {
        diagnostics,
        texts,
        files: Vec::new(),
    }))
}

/// The streams of a run, or the one that is asked for.
fn chosen_streams(
    store: &Reader,
    run: &str,
    wanted: Option<&str>,
) -> Result<Vec<StreamName>, CommandError> {
    let streams = store.streams(run)?;
    let names: Vec<StreamName> = streams
        .iter()
        .filter_map(|stream| stream.name.parse().ok())
        .collect();
    let Some(wanted) = wanted else {
        return Ok(names);
    };
    match names.iter().find(|name| name.as_str() == wanted) {
        Some(name) => Ok(vec![name.clone()]),
        None => {
            let all: Vec<_> = names.iter().map(StreamName::as_str).collect();
            let text = format!(
                "run {run} has no stream `{wanted}`: it has {}",
                all.join(", ")
            );
            Err(CommandError::other(Exit::NotFound, text))
        }
    }
}

/// `1 rule`, `2 rules`
fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
