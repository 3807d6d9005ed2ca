//! YAML tree to [`RuleFile`].
//!
//! A method returns `None` when it has reported a mistake; its caller goes on
//! with the next thing, so that one pass finds all mistakes.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::check::{self, Names};
use crate::code;
use crate::diagnostic::{Diagnostic, suggest};
use crate::gate::GateProgram;
use crate::message::Message;
use crate::polygon;
use crate::program::{Program, ZONES_MAX};
use crate::rule_file::{Action, Anchor, Context, Line, Rule, RuleFile, Subject, Zone};
use crate::vocabulary::Scope;
use crate::yaml::{self, FaultKind, Key, Node};
use reader::Reader;

/// Largest rule file, in bytes: a few hundred rules with comments.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Most rules, lines and gates of a file, and labels of a rule.
const ENTRIES_MAX: usize = 256;

/// Most corners of a polygon; checking that edges do not cross takes their square.
const CORNERS_MAX: usize = 64;

/// Longest name, as of all names that become parts of ids.
const NAME_BYTES_MAX: usize = 48;

/// Most diagnostics of one file. Who has more reads the first and fixes those.
const DIAGNOSTICS_MAX: usize = 100;

const DEFAULT_GAP_NS: u64 = 1_000_000_000;

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
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "a rule file of {} bytes is over the limit of {FILE_BYTES_MAX}",
            text.len()
        );
        return Err(vec![reader.diagnostic(code::TOO_LARGE, 0..0, message)]);
    }
    let document = yaml::parse(text);
    for fault in document.faults {
        let code = match fault.kind {
            FaultKind::Syntax => code::NOT_YAML,
            FaultKind::DuplicateKey => code::DUPLICATE_KEY,
        };
        reader.report::<()>(fault.diagnostic(code, file, text));
    }
    let rule_file = match &document.root {
        Some(root) => read_rule_file(&mut reader, root, context),
        // Nothing written is a file without rules.
        None => Some(RuleFile::default()),
    };
    let mut diagnostics = reader.diagnostics;
    match rule_file {
        Some(rule_file) if diagnostics.is_empty() => Ok(rule_file),
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
    let zones = reader.named(root.get("zones"), "zones", ZONES_MAX, check_zone_name);
    // Also the names of zones with mistakes, so that one mistake is not told twice.
    let zone_names: Vec<_> = zones.iter().map(|entry| entry.key.text.clone()).collect();
    let names = Names {
        zones: &zone_names,
        labels: context.map(|context| &context.labels),
    };
    let zones = reader.each(zones, read_zone);
    let lines = reader.named(root.get("lines"), "lines", ENTRIES_MAX, check_name);
    let lines = reader.each(lines, read_line);
    let gates = reader.named(root.get("gates"), "gates", ENTRIES_MAX, |_| Ok(()));
    let gates = reader.each(gates, |reader, key, node| {
        if let Some(context) = context {
            check_model(reader, key, &context.models);
        }
        Some((key.text.clone(), read_gate(reader, node)?))
    });
    let rules = reader.named(root.get("rules"), "rules", ENTRIES_MAX, check_name);
    let rules = reader.each(rules, |reader, key, node| {
        read_rule(reader, key, node, &names)
    });
    Some(RuleFile {
        zones,
        lines,
        gates: gates.into_iter().collect(),
        rules,
    })
}

fn read_zone(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Zone> {
    const ANCHORS: &[(&str, Anchor)] = &[
        ("bottom_center", Anchor::BottomCenter),
        ("center", Anchor::Center),
    ];
    let owner = format!("zone `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), &["polygon", "anchor"])?;
    let anchor = match section.get("anchor") {
        Some(node) => reader.choice(node, "an anchor", ANCHORS),
        None => Some(Anchor::default()),
    };
    let polygon = reader
        .required(&section, "polygon")
        .and_then(|node| read_polygon(reader, node));
    Some(Zone {
        name: key.text.clone(),
        polygon: polygon?,
        anchor: anchor?,
    })
}

fn read_polygon(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<[f32; 2]>> {
    let items = reader.list(node, "a polygon is a list of points like [0.1, 0.5]")?;
    let corners: Vec<_> = items.iter().map(|item| read_point(reader, item)).collect();
    let (message, help) = if items.len() < 3 {
        (
            format!("a polygon needs 3 corners or more, not {}", items.len()),
            "list its corners in order",
        )
    } else if items.len() > CORNERS_MAX {
        (
            format!(
                "a polygon has at most {CORNERS_MAX} corners, not {}",
                items.len()
            ),
            "leave out corners that change little",
        )
    } else {
        let corners = corners.into_iter().collect::<Option<Vec<_>>>()?;
        let Some((first, second)) = polygon::crossing_edges(&corners) else {
            return Some(corners);
        };
        (
            format!(
                "the edges from corners {} and {} of this polygon cross or touch",
                first + 1,
                second + 1
            ),
            "list the corners in order around the zone",
        )
    };
    reader.report(
        reader
            .diagnostic(code::BAD_POLYGON, node.span.clone(), message)
            .helped(help),
    )
}

fn read_point(reader: &mut Reader<'_>, node: &Node) -> Option<[f32; 2]> {
    let help = "a point is two numbers, [x, y], each from 0 to 1 of the picture's size";
    let items = reader.list(node, help)?;
    let [x, y] = items else {
        let message = format!("a point has two coordinates, not {}", items.len());
        return reader.report(
            reader
                .diagnostic(code::BAD_POINT, node.span.clone(), message)
                .helped(help),
        );
    };
    let coordinates = [x, y].map(|node| read_coordinate(reader, node, help));
    Some([coordinates[0]?, coordinates[1]?])
}

fn read_coordinate(reader: &mut Reader<'_>, node: &Node, help: &str) -> Option<f32> {
    match node.as_scalar().and_then(yaml::Scalar::as_number) {
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a picture")]
        Some(value) if (0.0..=1.0).contains(&value) => Some(value as f32),
        Some(value) => {
            let message = format!("{value} is not inside the picture");
            reader.report(
                reader
                    .diagnostic(code::BAD_POINT, node.span.clone(), message)
                    .helped("coordinates go from 0 to 1: divide pixels by the picture's size"),
            )
        }
        None => reader.wrong_shape(node, "a number", help),
    }
}

fn read_line(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Line> {
    let owner = format!("line `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), &["from", "to"])?;
    let [from, to] = ["from", "to"].map(|end| {
        reader
            .required(&section, end)
            .and_then(|node| read_point(reader, node))
    });
    let (from, to) = (from?, to?);
    if from == to {
        let message = format!("{owner} has no length");
        return reader.report(
            reader
                .diagnostic(code::BAD_POLYGON, key.span.clone(), message)
                .helped("give it two different ends"),
        );
    }
    Some(Line {
        name: key.text.clone(),
        from,
        to,
    })
}

fn check_model(reader: &mut Reader<'_>, key: &Key, models: &BTreeSet<String>) {
    if models.contains(&key.text) {
        return;
    }
    let known = || models.iter().map(String::as_str);
    let all: Vec<_> = known().collect();
    let message = format!("the run has no model `{}`", key.text);
    reader.report::<()>(
        reader
            .diagnostic(code::UNKNOWN_MODEL, key.span.clone(), message)
            .suggesting(
                suggest(&key.text, known()),
                format!("its models are {}", all.join(", ")),
            ),
    );
}

fn read_gate(reader: &mut Reader<'_>, node: &Node) -> Option<GateProgram> {
    let text = reader.scalar(node, "a gate is an expression, like `motion > 0.5%`")?;
    match GateProgram::compile(text) {
        Ok(program) => Some(program),
        Err(problems) => reader.problems(node, problems),
    }
}

fn read_rule(reader: &mut Reader<'_>, key: &Key, node: &Node, names: &Names<'_>) -> Option<Rule> {
    const KEYS: &[&str] = &["on", "when", "for", "gap", "labels", "message", "do"];
    const SUBJECTS: &[(&str, Subject)] = &[("track", Subject::Track)];
    let owner = format!("rule `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), KEYS)?;
    let on = reader
        .required(&section, "on")
        .and_then(|node| reader.choice(node, "what a rule can be about", SUBJECTS));
    let when = reader
        .required(&section, "when")
        .and_then(|node| read_when(reader, node, names));
    let duration = |reader: &mut Reader<'_>, name, default| match section.get(name) {
        Some(node) => reader.duration(node),
        None => Some(default),
    };
    let for_ns = duration(reader, "for", 0);
    let gap_ns = duration(reader, "gap", DEFAULT_GAP_NS);
    let labels = read_labels(reader, section.get("labels"));
    let message = match section.get("message") {
        Some(node) => read_message(reader, node),
        None => Some(Message::plain(&key.text)),
    };
    let actions = match section.get("do") {
        Some(node) => read_actions(reader, node),
        None => Some(BTreeSet::from([Action::Alert])),
    };
    Some(Rule {
        name: key.text.clone(),
        on: on?,
        when: when?,
        for_ns: for_ns?,
        gap_ns: gap_ns?,
        labels,
        message: message?,
        actions: actions?,
    })
}

fn read_when(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Program> {
    let text = reader.scalar(node, "a condition is an expression, like `score > 60%`")?;
    match check::compile(text, Scope::Track, names) {
        Ok(root) => Some(Program { root }),
        Err(problems) => reader.problems(node, problems),
    }
}

fn read_labels(reader: &mut Reader<'_>, node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = reader.named(node, "labels", ENTRIES_MAX, |_| Ok(()));
    let labels = reader.each(entries, |reader, key, node| {
        let value = reader.scalar(node, "a label's value is a text")?;
        Some((key.text.clone(), value.to_owned()))
    });
    labels.into_iter().collect()
}

fn read_message(reader: &mut Reader<'_>, node: &Node) -> Option<Message> {
    let text = reader.scalar(node, "a message is a text")?;
    match Message::parse(text) {
        Ok(message) => Some(message),
        Err(problems) => reader.problems(node, problems),
    }
}

fn read_actions(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeSet<Action>> {
    const ACTIONS: &[(&str, Action)] = &[("alert", Action::Alert), ("snapshot", Action::Snapshot)];
    let help = "`do` is a list, like [alert, snapshot]";
    let items = reader.list(node, help)?;
    if items.is_empty() {
        return reader.report(
            reader
                .diagnostic(
                    code::WRONG_SHAPE,
                    node.span.clone(),
                    "`do` lists nothing to do",
                )
                .helped("write [alert], or leave `do` out"),
        );
    }
    let actions: Vec<_> = items
        .iter()
        .map(|item| reader.choice(item, "an action", ACTIONS))
        .collect();
    actions.into_iter().collect()
}

/// Names of zones stand in expressions, so they are words of the language.
fn check_zone_name(name: &str) -> Result<(), &'static str> {
    const RESERVED: &[&str] = &["and", "or", "not", "in", "true", "false"];
    if RESERVED.contains(&name) {
        return Err("it is a word of the language");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || name.contains('-') {
        return Err("a zone is named by a letter, then letters, digits and `_`");
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
