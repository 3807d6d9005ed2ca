//! A rule: its clauses, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::ENTRIES_MAX;
use super::reader::{Reader, Section};
use crate::action::{self, Action};
use crate::check::{self, Names};
use crate::code;
use crate::duration::format_duration;
use crate::format;
use crate::message::Message;
use crate::rule_file::{Limit, LimitKey, Line, Rule, Shape, Subject, Zone};
use crate::syntax;
use crate::tree::{Operand, Sequence};
use crate::vocabulary::CLAUSES;
use crate::when::When;
use crate::yaml::{Key, Node};

/// Most actions of a rule.
const ACTIONS_MAX: usize = 16;

const DEFAULT_GAP_NS: u64 = 1_000_000_000;

/// Longest window of a limit: the times of its firings are remembered so long.
const LIMIT_EVERY_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;

/// Most firings of a limit, each of which is remembered.
const LIMIT_MAX_MAX: u32 = 1000;

const SUBJECTS: &[(&str, Subject)] = &[
    ("track", Subject::Track),
    ("frame", Subject::Frame),
    ("stream", Subject::Stream),
];

const LIMIT_KEYS: &[(&str, LimitKey)] = &[
    ("track", LimitKey::Track),
    ("rule", LimitKey::Rule),
    ("stream", LimitKey::Stream),
];

/// What the rules of a file can speak of.
pub(super) struct Surroundings<'a> {
    pub(super) names: Names<'a>,
    /// `None`: any model is taken.
    pub(super) crop_models: Option<&'a BTreeSet<String>>,
    pub(super) zones: &'a [Zone],
    pub(super) lines: &'a [Line],
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    key: &Key,
    node: &Node,
    around: &Surroundings<'_>,
) -> Option<Rule> {
    let keys: Vec<_> = CLAUSES.iter().map(|clause| clause.name).collect();
    let owner = format!("rule `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), &keys)?;
    let on = reader
        .required(&section, "on")
        .and_then(|node| reader.choice(node, "what a rule can be about", SUBJECTS));
    // Where it is not known, all mistakes but those that only other rules could make.
    let subject = on.unwrap_or(Subject::Track);
    let when = reader
        .required(&section, "when")
        .and_then(|node| read_when(reader, node, subject, &around.names));
    let for_ns = read_duration(reader, &section, "for", 0);
    let gap_ns = read_duration(reader, &section, "gap", DEFAULT_GAP_NS);
    let keep_ns = read_duration(reader, &section, "keep", 0);
    let limit = match section.get("limit") {
        Some(node) => read_limit(reader, node, subject).map(Some),
        None => Some(None),
    };
    let labels = read_labels(reader, section.get("labels"));
    let message = match section.get("message") {
        Some(node) => read_message(reader, node, subject, &around.names),
        None => Some(Message::plain(&key.text)),
    };
    let actions = match section.get("do") {
        Some(node) => read_actions(reader, node, subject, around.crop_models),
        None => Some(vec![Action::Alert]),
    };
    let (on, (tree, when)) = (on?, when?);
    let (for_ns, gap_ns) = (for_ns?, gap_ns?);
    Some(Rule {
        name: key.text.clone(),
        on,
        when,
        for_ns,
        gap_ns,
        keep_ns: keep_ns?,
        limit: limit?,
        labels,
        message: message?,
        actions: actions?,
        shape: shape(on, &tree, for_ns, gap_ns, around),
    })
}

fn read_when(
    reader: &mut Reader<'_>,
    node: &Node,
    subject: Subject,
    names: &Names<'_>,
) -> Option<(Sequence, When)> {
    let text = reader.scalar(node, "a condition is an expression, like `score > 60%`")?;
    let compiled = syntax::parse_sequence(text)
        .map_err(|problem| vec![problem])
        .and_then(|tree| {
            let when = check::compile_when(text, &tree, subject, names)?;
            Ok((tree, when))
        });
    match compiled {
        Ok(compiled) => Some(compiled),
        Err(problems) => reader.problems(node, problems),
    }
}

fn read_duration(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    name: &str,
    default: u64,
) -> Option<u64> {
    match section.get(name) {
        Some(node) => reader.duration(node),
        None => Some(default),
    }
}

fn read_limit(reader: &mut Reader<'_>, node: &Node, subject: Subject) -> Option<Limit> {
    let section = reader.section(node, "`limit`", node.span.clone(), &["per", "every", "max"])?;
    let per = reader.required(&section, "per").and_then(|node| {
        let per = reader.choice(node, "what a limit can count for", LIMIT_KEYS)?;
        if per == LimitKey::Track && subject != Subject::Track {
            return reader.report(
                reader
                    .diagnostic(
                        code::WRONG_SUBJECT,
                        node.span.clone(),
                        "this rule is about no track, so there is no limit for each",
                    )
                    .helped("write `per: rule` or `per: stream`"),
            );
        }
        Some(per)
    });
    let every_ns = reader.required(&section, "every").and_then(|node| {
        let every_ns = reader.duration(node)?;
        if (1..=LIMIT_EVERY_NS_MAX).contains(&every_ns) {
            return Some(every_ns);
        }
        let message = format!(
            "{} cannot be the window of a limit",
            format_duration(every_ns)
        );
        reader.report(
            reader
                .diagnostic(code::OUT_OF_RANGE, node.span.clone(), message)
                .helped(format!(
                    "it is longer than 0s and at most {}",
                    format_duration(LIMIT_EVERY_NS_MAX)
                )),
        )
    });
    let max = match section.get("max") {
        Some(node) => reader.integer(node, 1, LIMIT_MAX_MAX),
        None => Some(1),
    };
    Some(Limit {
        per: per?,
        every_ns: every_ns?,
        max: max?,
    })
}

fn read_labels(reader: &mut Reader<'_>, node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = reader.named(node, "labels", ENTRIES_MAX, |_| Ok(()));
    let labels = reader.each(entries, |reader, key, node| {
        let value = reader.scalar(node, "a label's value is a text")?;
        Some((key.text.clone(), value.to_owned()))
    });
    labels.into_iter().collect()
}

fn read_message(
    reader: &mut Reader<'_>,
    node: &Node,
    subject: Subject,
    names: &Names<'_>,
) -> Option<Message> {
    let text = reader.scalar(node, "a message is a text")?;
    match Message::parse(text, subject, names) {
        Ok(message) => Some(message),
        Err(problems) => reader.problems(node, problems),
    }
}

fn read_actions(
    reader: &mut Reader<'_>,
    node: &Node,
    subject: Subject,
    crop_models: Option<&BTreeSet<String>>,
) -> Option<Vec<Action>> {
    let items = reader.list(node, "`do` is a list, like [alert, snapshot]")?;
    let refused = match items.len() {
        1..=ACTIONS_MAX => None,
        0 => Some((
            code::WRONG_SHAPE,
            "`do` lists nothing to do".to_owned(),
            "write [alert], or leave `do` out",
        )),
        count => Some((
            code::TOO_LARGE,
            format!("`do` lists {count} actions, over the limit of {ACTIONS_MAX}"),
            "split the rule into two",
        )),
    };
    if let Some((code, message, help)) = refused {
        let span = node.span.clone();
        return reader.report(reader.diagnostic(code, span, message).helped(help));
    }
    let mut actions: Vec<Option<Action>> = Vec::with_capacity(items.len());
    for item in items {
        let action = read_action(reader, item, subject, crop_models);
        if let Some(action) = &action
            && actions.iter().flatten().any(|other| action.repeats(other))
        {
            reader.report::<()>(
                reader
                    .diagnostic(
                        code::DUPLICATE_ACTION,
                        item.span.clone(),
                        "the same stands above in this `do`",
                    )
                    .helped("keep one of the two"),
            );
        }
        actions.push(action);
    }
    actions.into_iter().collect()
}

fn read_action(
    reader: &mut Reader<'_>,
    node: &Node,
    subject: Subject,
    crop_models: Option<&BTreeSet<String>>,
) -> Option<Action> {
    let help = "an action is a word or a call, like `snapshot` or `publish(\"gate\")`";
    let text = reader.scalar(node, help)?;
    let checked =
        syntax::parse_action(text).and_then(|item| action::check(&item, subject, crop_models));
    match checked {
        Ok(action) => Some(action),
        Err(problem) => reader.problems(node, vec![problem]),
    }
}

fn shape(
    on: Subject,
    tree: &Sequence,
    for_ns: u64,
    gap_ns: u64,
    around: &Surroundings<'_>,
) -> Shape {
    let mut named = BTreeSet::new();
    tree.each_operand(&mut |operand| {
        if let Operand::Field(name) = operand {
            named.insert(name.clone());
        }
    });
    let mut zones: Vec<_> = around
        .zones
        .iter()
        .filter(|zone| named.contains(&zone.name))
        .cloned()
        .collect();
    let mut lines: Vec<_> = around
        .lines
        .iter()
        .filter(|line| named.contains(&line.name))
        .cloned()
        .collect();
    // The order of the file does not matter.
    zones.sort_by(|one, other| one.name.cmp(&other.name));
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    Shape {
        on,
        when: format::sequence(tree),
        for_ns,
        gap_ns,
        zones,
        lines,
    }
}
