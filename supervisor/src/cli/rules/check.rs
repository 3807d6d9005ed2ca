//! `sluice rules check`: what is wrong with a rule file, or what it holds and costs.

use std::io::Write;

use contract::exit::Exit;
use dsl::{Action, Anchor, Cost, Line, Rule, RuleFile, SnapshotOf, Subject, Zone};
use serde::Serialize;

use super::super::text::print_table;
use super::{CheckArguments, CommandError, counted, load_config, print_json, read_text, wrong};
use crate::config;
use crate::event_time::span;

pub(super) fn check(
    arguments: &CheckArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let path = &arguments.file;
    let text = read_text(path, dsl::FILE_BYTES_MAX as u64)?;
    let context = match &arguments.config {
        Some(config) => Some(config::rule_context(&load_config(config)?.models)),
        None => None,
    };
    let parsed = match &context {
        Some(context) => RuleFile::parse(&text, path, context),
        None => RuleFile::parse_checked(&text, path),
    };
    let json = arguments.format.json;
    match parsed {
        Ok(file) if json => {
            let report = Report {
                file: path.display().to_string(),
                names_checked: context.is_some(),
                problems: Vec::new(),
                content: Some(Content::of(&file)),
            };
            print_json(out, &report)?;
            Ok(Exit::Success)
        }
        Ok(file) => {
            let content = Content::of(&file);
            let parts = [
                counted(content.zones.len() as u64, "zone"),
                counted(content.lines.len() as u64, "line"),
                counted(content.gates.len() as u64, "gate"),
                counted(content.rules.len() as u64, "rule"),
            ];
            writeln!(out, "{} is right: {}", path.display(), parts.join(", "))?;
            if context.is_none() {
                let advice = "check them with --config RUNCONFIG";
                writeln!(out, "labels and models are taken as they are: {advice}")?;
            }
            content.print(out)?;
            Ok(Exit::Success)
        }
        Err(diagnostics) if json => {
            let report = Report {
                file: path.display().to_string(),
                names_checked: context.is_some(),
                problems: diagnostics.iter().map(Problem::of).collect(),
                content: None,
            };
            print_json(out, &report)?;
            Ok(Exit::Config)
        }
        Err(diagnostics) => Err(wrong(path, &text, diagnostics)),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    /// Labels and models were checked against a run config.
    names_checked: bool,
    problems: Vec<Problem>,
    /// What the file holds; null when something is wrong with it.
    content: Option<Content>,
}

#[derive(Debug, Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    line: u32,
    column: u32,
    /// Text at the place.
    label: String,
    help: Option<String>,
}

impl Problem {
    fn of(diagnostic: &dsl::Diagnostic) -> Self {
        Self {
            code: diagnostic.code,
            message: diagnostic.message.clone(),
            line: diagnostic.line,
            column: diagnostic.column,
            label: diagnostic.label.clone(),
            help: diagnostic.help.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Content {
    zones: Vec<ZoneRow>,
    lines: Vec<LineRow>,
    gates: Vec<GateRow>,
    rules: Vec<RuleRow>,
}

#[derive(Debug, Serialize)]
struct ZoneRow {
    name: String,
    corners: usize,
    anchor: &'static str,
}

#[derive(Debug, Serialize)]
struct LineRow {
    name: String,
    from: [f32; 2],
    to: [f32; 2],
}

#[derive(Debug, Serialize)]
struct GateRow {
    model: String,
    condition: String,
}

#[derive(Debug, Serialize)]
struct RuleRow {
    name: String,
    on: &'static str,
    for_ns: u64,
    gap_ns: u64,
    keep_ns: u64,
    actions: Vec<String>,
    /// Elementary tests of one evaluation, at most, apart from those below.
    tests_per_evaluation: u32,
    /// Elementary tests more of one evaluation for each track in the scene, at most.
    tests_per_track: u32,
}

impl Content {
    fn of(file: &RuleFile) -> Self {
        Self {
            zones: file.zones.iter().map(ZoneRow::of).collect(),
            lines: file.lines.iter().map(LineRow::of).collect(),
            gates: file
                .gates
                .iter()
                .map(|(model, gate)| GateRow {
                    model: model.clone(),
                    condition: gate.text().to_owned(),
                })
                .collect(),
            rules: file.rules.iter().map(RuleRow::of).collect(),
        }
    }

    fn print(&self, out: &mut impl Write) -> Result<(), CommandError> {
        let point = |[x, y]: [f32; 2]| format!("[{x}, {y}]");
        print_section(out, &["zone", "corners", "anchor"], &self.zones, |zone| {
            vec![
                zone.name.clone(),
                zone.corners.to_string(),
                zone.anchor.to_owned(),
            ]
        })?;
        print_section(out, &["line", "from", "to"], &self.lines, |line| {
            vec![line.name.clone(), point(line.from), point(line.to)]
        })?;
        print_section(out, &["gate", "the model runs when"], &self.gates, |gate| {
            vec![gate.model.clone(), gate.condition.clone()]
        })?;
        let header = ["rule", "on", "for", "gap", "keep", "cost", "does"];
        print_section(out, &header, &self.rules, |rule| {
            vec![
                rule.name.clone(),
                rule.on.to_owned(),
                span(rule.for_ns),
                span(rule.gap_ns),
                span(rule.keep_ns),
                polynomial(rule.tests()),
                rule.actions.join(", "),
            ]
        })?;
        if !self.rules.is_empty() {
            let mut all = [0; 3];
            for rule in &self.rules {
                for (sum, tests) in all.iter_mut().zip(rule.tests()) {
                    *sum += tests;
                }
            }
            writeln!(
                out,
                "\ncost: elementary tests of one frame with T tracks, at most; all rules together {}",
                polynomial(all)
            )?;
        }
        Ok(())
    }
}

impl ZoneRow {
    fn of(zone: &Zone) -> Self {
        Self {
            name: zone.name.clone(),
            corners: zone.polygon.len(),
            anchor: match zone.anchor {
                Anchor::BottomCenter => "bottom_center",
                Anchor::Center => "center",
            },
        }
    }
}

impl LineRow {
    fn of(line: &Line) -> Self {
        Self {
            name: line.name.clone(),
            from: line.from,
            to: line.to,
        }
    }
}

impl RuleRow {
    fn of(rule: &Rule) -> Self {
        let Cost {
            per_evaluation,
            per_track,
        } = rule.cost();
        Self {
            name: rule.name.clone(),
            on: subject(rule.on),
            for_ns: rule.for_ns,
            gap_ns: rule.gap_ns,
            keep_ns: rule.keep_ns,
            actions: rule.actions.iter().map(action).collect(),
            tests_per_evaluation: per_evaluation,
            tests_per_track: per_track,
        }
    }

    /// Tests of one frame without tracks, for each track, and for each pair of tracks.
    fn tests(&self) -> [u64; 3] {
        let own = u64::from(self.tests_per_evaluation);
        let others = u64::from(self.tests_per_track);
        match self.on {
            // It is evaluated for each track.
            "track" => [0, own, others],
            _ => [own, others, 0],
        }
    }
}

/// `1 + 2T + 3T*T`
fn polynomial(tests: [u64; 3]) -> String {
    let terms = tests.iter().zip(["", "T", "T*T"]);
    let terms: Vec<_> = terms
        .filter(|(count, _)| **count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if terms.is_empty() {
        return "0".to_owned();
    }
    terms.join(" + ")
}

fn subject(on: Subject) -> &'static str {
    match on {
        Subject::Track => "track",
        Subject::Frame => "frame",
        Subject::Stream => "stream",
    }
}

/// As it is written in a rule file.
fn action(action: &Action) -> String {
    match action {
        Action::Alert => "alert".to_owned(),
        Action::Draw { color: None } => "draw".to_owned(),
        Action::Draw {
            color: Some([red, green, blue]),
        } => format!("draw(color: \"#{red:02x}{green:02x}{blue:02x}\")"),
        Action::Snapshot(SnapshotOf::Best) => "snapshot(best)".to_owned(),
        Action::Snapshot(SnapshotOf::Frame) => "snapshot(frame)".to_owned(),
        Action::Record {
            before_ns,
            after_ns,
        } => format!(
            "record(before: {}, after: {})",
            span(*before_ns),
            span(*after_ns)
        ),
        Action::Tag { name, value } => format!("tag({name:?}, {value:?})"),
        Action::Publish { topic } => format!("publish({topic:?})"),
        Action::Webhook { url } => format!("webhook({url:?})"),
        Action::Infer { model } => format!("infer({model})"),
    }
}

/// A table after an empty line; nothing where there are no rows.
fn print_section<T>(
    out: &mut impl Write,
    header: &[&str],
    items: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<(), CommandError> {
    if items.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = items.iter().map(cells).collect();
    writeln!(out)?;
    print_table(out, header, &rows)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::polynomial;

    #[test]
    fn costs_read_well() {
        assert_eq!(polynomial([0, 3, 0]), "3T");
        assert_eq!(polynomial([1, 2, 4]), "1 + 2T + 4T*T");
        assert_eq!(polynomial([0, 0, 0]), "0");
    }
}
