//! YAML tree to [`RuleFile`].
//!
//! A method returns `None` when it has reported a mistake; its caller goes on
//! with the next thing, so that one pass finds all mistakes.

mod action_items;
mod places;
mod reader;
mod rule;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::action::unknown_model;
use crate::check::{self, Names};
use crate::code;
use crate::diagnostic::Diagnostic;
use crate::gate::GateProgram;
use crate::program::ZONES_MAX;
use crate::rule_file::{Context, RuleFile};
use crate::syntax::{self, KEYWORDS};
use crate::yaml::{Document, Entry, FaultKind, Node};
pub(crate) use action_items::Parsed;
pub(crate) use reader::Reader;

/// Largest rule file, in bytes: a thousand rules with comments.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Most rules of a file.
pub const RULES_MAX: usize = 1000;

/// Most lines of a rule file: the crossings of all of them fit one word.
pub const LINES_MAX: usize = 64;

/// Most gates of a file, and labels of a rule.
const ENTRIES_MAX: usize = 256;

/// Longest name, as of all names that become parts of ids.
const NAME_BYTES_MAX: usize = 48;

/// Most diagnostics of one file. Who has more reads the first and fixes those.
const DIAGNOSTICS_MAX: usize = 100;

/// Reads, checks and compiles. Without a context, labels and models are taken as they are.
pub(crate) fn load(
    text: &str,
    file: &Path,
    context: Option<&Context>,
) -> Result<RuleFile, Vec<Diagnostic>> {
    let mut reader = Reader {
        text,
        file,
        diagnostics: Vec::new(),
    };
    let parsed = parse_document(&mut reader);
    let rule_file = match &parsed.document.root {
        Some(root) => read_rule_file(&mut reader, root, context),
        // Nothing written is a file without rules.
        None => Some(RuleFile::default()),
    };
    finish(reader, rule_file)
}

/// The tree of a rule file, with what is wrong with its YAML reported.
pub(crate) fn parse_document(reader: &mut Reader<'_>) -> Parsed {
    let text = reader.text;
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "a rule file of {} bytes is over the limit of {FILE_BYTES_MAX}",
            text.len()
        );
        reader.report::<()>(reader.diagnostic(code::TOO_LARGE, 0..0, message));
        return Parsed {
            document: Document {
                root: None,
                faults: Vec::new(),
            },
            items: Vec::new(),
        };
    }
    let mut parsed = action_items::parse(text);
    for fault in std::mem::take(&mut parsed.document.faults) {
        let code = match fault.kind {
            FaultKind::Syntax => code::NOT_YAML,
            FaultKind::DuplicateKey => code::DUPLICATE_KEY,
        };
        reader.report::<()>(fault.diagnostic(code, reader.file, text));
    }
    parsed
}

/// What was read, or what was reported, in the order of the text.
pub(crate) fn finish<T>(reader: Reader<'_>, read: Option<T>) -> Result<T, Vec<Diagnostic>> {
    let mut diagnostics = reader.diagnostics;
    match read {
        Some(read) if diagnostics.is_empty() => Ok(read),
        _ => {
            diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
            diagnostics.truncate(DIAGNOSTICS_MAX);
            Err(diagnostics)
        }
    }
}

fn read_rule_file(
    reader: &mut Reader<'_>,
    root: &Node,
    context: Option<&Context>,
) -> Option<RuleFile> {
    const KEYS: &[&str] = &["zones", "lines", "gates", "rules"];
    let root = reader.section(root, "a rule file", root.span.clone(), KEYS)?;
    let zones = reader.named(root.get("zones"), "zones", ZONES_MAX, check_place_name);
    let lines = reader.named(root.get("lines"), "lines", LINES_MAX, check_place_name);
    for line in lines {
        if let Some(zone) = zones.iter().find(|zone| zone.key.text == line.key.text) {
            same_name(reader, zone, line);
        }
    }
    // Also the names of those with mistakes, so that one mistake is not told twice.
    let written = |entries: &[Entry]| -> Vec<String> {
        entries.iter().map(|entry| entry.key.text.clone()).collect()
    };
    let (zone_names, line_names) = (written(zones), written(lines));
    let names = Names {
        zones: &zone_names,
        lines: &line_names,
        labels: context.map(|context| &context.labels),
        landmarks: context.map(|context| context.landmarks),
        depth: context.map(|context| context.depth),
    };
    let models = context.map(|context| &context.models);
    let zones = reader.each(zones, places::read_zone);
    let lines = reader.each(lines, places::read_line);
    let gates = reader.named(root.get("gates"), "gates", ENTRIES_MAX, |_| Ok(()));
    let gates = reader.each(gates, |reader, key, node| {
        if let Some(models) = models
            && !models.contains(&key.text)
        {
            let problem = unknown_model(&key.text, models, key.span.clone());
            reader.problem_at(problem);
        }
        Some((key.text.clone(), read_gate(reader, node, &names)?))
    });
    let surroundings = rule::Surroundings {
        names,
        crop_models: context.map(|context| &context.crop_models),
        zones: &zones,
        lines: &lines,
    };
    let rules = reader.named(root.get("rules"), "rules", RULES_MAX, check_name);
    let rules = reader.each(rules, |reader, key, node| {
        rule::read(reader, key, node, &surroundings)
    });
    Some(RuleFile {
        zones,
        lines,
        gates: gates.into_iter().collect(),
        rules,
    })
}

fn read_gate(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<GateProgram> {
    let text = reader.scalar(node, "a gate is an expression, like `motion > 0.5%`")?;
    let compiled = syntax::parse_expression(text)
        .map_err(|problem| vec![problem])
        .and_then(|tree| check::compile_gate(text, &tree, names));
    match compiled {
        Ok(program) => Some(program),
        Err(problems) => reader.problems(node, problems),
    }
}

/// Expressions name zones and lines alike, so no two share a name.
fn same_name(reader: &mut Reader<'_>, zone: &Entry, line: &Entry) {
    let message = format!("`{}` is a zone and a line", line.key.text);
    reader.report::<()>(
        reader
            .diagnostic(code::BAD_NAME, line.key.span.clone(), message)
            .labelled(format!(
                "the zone is in line {}",
                reader.line_of(zone.key.span.start)
            ))
            .helped("give one of them another name"),
    );
}

/// Names of zones and lines stand in expressions, so they are words of the language.
fn check_place_name(name: &str) -> Result<(), &'static str> {
    // `distance(track)` is the distance to a track.
    if KEYWORDS.contains(&name) || name == "track" {
        return Err("it is a word of the language");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || name.contains('-') {
        return Err("zones and lines are named by a letter, then letters, digits and `_`");
    }
    check_name(name)
}

/// Names of rules become parts of event ids, which `/` separates.
fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("a name has 1 to 48 characters");
    }
    if !name.bytes().all(fits) {
        return Err("use letters, digits, `-` and `_`");
    }
    Ok(())
}
