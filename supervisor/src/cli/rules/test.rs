//! `sluice rules test`: unit tests of rules.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::exit::Exit;
use dsl::RuleFile;
use serde::Serialize;

use super::progress::Progress;
use super::{CommandError, TestArguments, counted, print_json, read_rules, read_text, wrong};
use crate::config::Problems;
use crate::event_time::span;
use crate::rules_test::{self, Case, Difference, Field, Outcome, TestFile};

pub(super) fn test(arguments: &TestArguments, out: &mut impl Write) -> Result<Exit, CommandError> {
    // All files are read first, so that a mistake in the last is not found after minutes.
    let files = read_all(&arguments.files)?;
    let mut progress = Progress::begin();
    let mut reports = Vec::new();
    for file in &files {
        let report = run(file, &mut progress);
        if !arguments.format.json {
            report.print(file, out)?;
            out.flush()?;
        }
        reports.push(report);
    }
    drop(progress);
    if arguments.format.json {
        print_json(out, &reports)?;
    }
    let failed = reports.iter().any(|report| report.failed() > 0);
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

struct Loaded {
    path: PathBuf,
    rules_path: PathBuf,
    rules: Arc<RuleFile>,
    cases: Vec<Case>,
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    rules: String,
    outcomes: Vec<Outcome>,
}

/// The mistakes of all files are told at once.
fn read_all(paths: &[PathBuf]) -> Result<Vec<Loaded>, CommandError> {
    let mut loaded = Vec::new();
    let mut problems = Problems {
        diagnostics: Vec::new(),
        texts: BTreeMap::new(),
        files: Vec::new(),
    };
    for path in paths {
        match read(path) {
            Ok(file) => loaded.push(file),
            Err(CommandError::Config(found)) => {
                problems.diagnostics.extend(found.diagnostics);
                problems.texts.extend(found.texts);
            }
            Err(error) => return Err(error),
        }
    }
    if problems.diagnostics.is_empty() {
        Ok(loaded)
    } else {
        Err(CommandError::Config(Box::new(problems)))
    }
}

fn read(path: &Path) -> Result<Loaded, CommandError> {
    let text = read_text(path, rules_test::FILE_BYTES_MAX)?;
    let file =
        rules_test::parse(&text, path).map_err(|diagnostics| wrong(path, &text, diagnostics))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let rules_path = directory.join(&file.rules.text);
    if !rules_path.is_file() {
        return Err(wrong(path, &text, vec![no_rules(path, &text, &file)]));
    }
    let (_, rules) = read_rules(&rules_path)?;
    let unknown = file.check_names(path, &text, &rules);
    if !unknown.is_empty() {
        return Err(wrong(path, &text, unknown));
    }
    Ok(Loaded {
        path: path.to_owned(),
        rules_path,
        rules: Arc::new(rules),
        cases: file.cases,
    })
}

fn no_rules(path: &Path, text: &str, file: &TestFile) -> dsl::Diagnostic {
    let written = &file.rules;
    let message = format!("there is no rule file `{}`", written.text);
    let code = rules_test::code::UNREADABLE;
    dsl::Diagnostic::new(code, path, text, written.span.clone(), message)
        .helped("relative paths begin at the directory of the test file")
}

fn run(file: &Loaded, progress: &mut Progress) -> Report {
    let count = file.cases.len();
    let run = |(index, case): (usize, &Case)| {
        progress.show(|| format!("{}: case {} of {count}", file.path.display(), index + 1));
        case.judge(&file.rules)
    };
    Report {
        file: file.path.display().to_string(),
        rules: file.rules_path.display().to_string(),
        outcomes: file.cases.iter().enumerate().map(run).collect(),
    }
}

impl Report {
    fn failed(&self) -> usize {
        let failed = self.outcomes.iter().filter(|outcome| !outcome.is_ok());
        failed.count()
    }

    fn print(&self, file: &Loaded, out: &mut impl Write) -> Result<(), CommandError> {
        writeln!(out, "{} of {}", self.file, self.rules)?;
        let width = self.outcomes.iter().map(|it| it.case.chars().count()).max();
        let width = width.unwrap_or(0);
        for (case, outcome) in file.cases.iter().zip(&self.outcomes) {
            let verdict = if outcome.is_ok() { "ok    " } else { "FAILED" };
            writeln!(
                out,
                "  {verdict}  {:width$}  {}, {}",
                outcome.case,
                span(case.length_ns),
                counted(outcome.fired.len() as u64, "firing")
            )?;
            for difference in &outcome.differences {
                print_difference(difference, out)?;
            }
        }
        let count = counted(self.outcomes.len() as u64, "case");
        match self.failed() {
            0 => writeln!(out, "{count}, all ok")?,
            failed => writeln!(out, "{count}, {failed} failed")?,
        }
        Ok(())
    }
}

/// ```text
///             loitering, track 7
///               begin  expected  0:12.000 (frame 120)
///                      got       0:14.500 (frame 145)
/// ```
fn print_difference(difference: &Difference, out: &mut impl Write) -> Result<(), CommandError> {
    let Difference {
        rule,
        track,
        fields,
    } = difference;
    match track {
        Some(track) => writeln!(out, "          {rule}, track {track}")?,
        None => writeln!(out, "          {rule}")?,
    }
    let width = fields
        .iter()
        .map(|field| field.name.len())
        .max()
        .unwrap_or(0);
    for Field {
        name,
        expected,
        got,
    } in fields
    {
        let nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        writeln!(
            out,
            "            {name:width$}  expected  {}",
            nothing(expected)
        )?;
        writeln!(out, "            {:width$}  got       {}", "", nothing(got))?;
    }
    Ok(())
}
