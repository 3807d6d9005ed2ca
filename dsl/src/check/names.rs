//! Names: of fields, functions, zones, lines, labels and time zones; and what was meant
//! where a name is wrong.

use std::ops::Range;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{Checker, Place};
use crate::code;
use crate::diagnostic::suggest;
use crate::problem::Problem;
use crate::rule_file::Subject;
use crate::tree::Word;
use crate::typed::{Number, Text, Value};
use crate::vocabulary::{FIELDS, FUNCTIONS, Field, FunctionSpec, Reading, Scope};

impl Checker<'_> {
    pub(super) fn field(&mut self, name: &str, span: &Range<usize>) -> Option<Value> {
        let Some(spec) = FIELDS.iter().find(|spec| spec.name == name) else {
            return self.unknown_field(name, span);
        };
        self.in_scope(name, spec.scopes, span)?;
        Some(match spec.reading {
            Reading::Label => Value::Text(Text::Label),
            Reading::StreamName => Value::Text(Text::StreamName),
            Reading::Number(Field::Landmarks) if self.names.landmarks == Some(false) => {
                let message = "no model of this run gives landmarks";
                return self.not_given(code::NO_LANDMARKS, message, span);
            }
            Reading::Number(Field::Depth) if self.names.depth == Some(false) => {
                let message = "no model of this run gives depth";
                return self.not_given(code::NO_DEPTH, message, span);
            }
            Reading::Number(field) => Value::Number(Number::Field(field)),
        })
    }

    /// A field that no model of the run fills.
    fn not_given(
        &mut self,
        code: &'static str,
        message: &'static str,
        span: &Range<usize>,
    ) -> Option<Value> {
        let help = "add a model of a family that does, or leave the test out";
        self.report(Problem::new(code, span.clone(), message).helped(help))
    }

    pub(super) fn function(&mut self, name: &Word) -> Option<&'static FunctionSpec> {
        let Some(spec) = FUNCTIONS.iter().find(|spec| spec.name == name.value) else {
            let scope = self.scope();
            let here = FUNCTIONS.iter().filter(|spec| spec.scopes.contains(&scope));
            let known: Vec<_> = here.clone().map(|spec| spec.name).collect();
            let problem = Problem::new(
                code::UNKNOWN_FUNCTION,
                name.span.clone(),
                format!("unknown function `{}`", name.value),
            );
            let problem = if FIELDS.iter().any(|spec| spec.name == name.value) {
                problem.helped(format!(
                    "it is a field: write `{}` without parentheses",
                    name.value
                ))
            } else {
                problem.suggesting(
                    suggest(&name.value, here.map(|spec| spec.name)),
                    format!("there is {}", known.join(", ")),
                )
            };
            return self.report(problem);
        };
        self.in_scope(spec.name, spec.scopes, &name.span)?;
        Some(spec)
    }

    pub(super) fn zone(&mut self, name: &str, span: &Range<usize>) -> Option<u8> {
        let zones = self.names.zones;
        let index = zones.iter().position(|known| known == name);
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
            return Some(index);
        }
        let problem = Problem::new(
            code::UNKNOWN_ZONE,
            span.clone(),
            format!("unknown zone `{name}`"),
        );
        self.report(unknown_place(
            problem,
            name,
            "zone",
            zones,
            "line",
            self.names.lines,
        ))
    }

    pub(super) fn line(&mut self, name: &str, span: &Range<usize>) -> Option<u8> {
        let lines = self.names.lines;
        let index = lines.iter().position(|known| known == name);
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
            return Some(index);
        }
        let problem = Problem::new(
            code::UNKNOWN_LINE,
            span.clone(),
            format!("unknown line `{name}`"),
        );
        self.report(unknown_place(
            problem,
            name,
            "line",
            lines,
            "zone",
            self.names.zones,
        ))
    }

    pub(super) fn known_label(&mut self, label: &str, span: &Range<usize>) -> Option<()> {
        let Some(labels) = self.names.labels else {
            return Some(());
        };
        if labels.contains(label) {
            return Some(());
        }
        let known = || labels.iter().map(String::as_str);
        self.report(
            Problem::new(
                code::UNKNOWN_LABEL,
                span.clone(),
                format!("no model of this run knows the label \"{label}\""),
            )
            .suggesting(
                suggest(label, known()),
                choices("the models know", known())
                    .unwrap_or_else(|| "the run has no models".to_owned()),
            ),
        )
    }

    /// A time zone of the database that is built in, so that every machine answers the same.
    pub(super) fn time_zone(&mut self, name: &str, span: &Range<usize>) -> Option<TimeZone> {
        let database = TimeZoneDatabase::bundled();
        if let Ok(zone) = database.get(name) {
            return Some(zone);
        }
        let known: Vec<_> = database
            .available()
            .map(|known| known.as_str().to_owned())
            .collect();
        self.report(
            Problem::new(
                code::UNKNOWN_TIME_ZONE,
                span.clone(),
                format!("unknown time zone \"{name}\""),
            )
            .suggesting(
                suggest(name, known.iter().map(String::as_str)).or_else(|| city(name, &known)),
                "write a name of the IANA database, like \"Europe/Berlin\" or \"UTC\"",
            ),
        )
    }

    fn unknown_field(&mut self, name: &str, span: &Range<usize>) -> Option<Value> {
        let scope = self.scope();
        let here = FIELDS.iter().filter(|spec| spec.scopes.contains(&scope));
        let problem = Problem::new(
            code::UNKNOWN_FIELD,
            span.clone(),
            format!("unknown name `{name}`"),
        );
        let is_zone = self.names.zones.iter().any(|zone| zone == name);
        let is_line = self.names.lines.iter().any(|line| line == name);
        let is_label = self
            .names
            .labels
            .is_some_and(|labels| labels.contains(name));
        let problem = if let Some(function) = FUNCTIONS.iter().find(|spec| spec.name == name) {
            problem.helped(format!("call it: `{}`", function.usage))
        } else if is_zone && scope == Scope::Track {
            problem.helped(format!("it is a zone: write `in_zone({name})`"))
        } else if is_line && scope == Scope::Track {
            problem.helped(format!("it is a line: write `crossed({name})`"))
        } else if is_label {
            problem.helped(format!("it is a label: write \"{name}\" in quotes"))
        } else {
            let names: Vec<_> = here.clone().map(|spec| spec.name).collect();
            problem.suggesting(
                suggest(name, here.map(|spec| spec.name)),
                format!("there is {}", names.join(", ")),
            )
        };
        self.report(problem)
    }

    fn in_scope(&mut self, name: &str, scopes: &[Scope], span: &Range<usize>) -> Option<()> {
        if scopes.contains(&self.scope()) {
            return Some(());
        }
        let about_track = !scopes.contains(&Scope::Frame);
        let (message, help) = match self.place {
            Place::Gate if about_track => (
                format!("`{name}` belongs to a track, and a gate is asked before there are any"),
                GATE_HELP,
            ),
            Place::Gate => (
                format!("`{name}` belongs to a rule, and a gate is asked before any rule"),
                GATE_HELP,
            ),
            Place::Rule(subject) | Place::Message(subject) => {
                let what = match subject {
                    Subject::Stream => "the stream",
                    _ => "the frame",
                };
                (
                    format!("`{name}` belongs to a track, and this rule is about {what}"),
                    "ask for tracks by `exists(...)`, `count(...)` and their kin, or write `on: track`",
                )
            }
        };
        self.report(Problem::new(code::WRONG_SCOPE, span.clone(), message).helped(help))
    }
}

const GATE_HELP: &str = "a gate may use `motion`, `motion(ZONE)`, `every(...)`, `clock(...)`, \
                         `tracks`, `events`, `stream.name` and `stream.label(...)`";

/// Says what zone or line was meant, or that it is the other of the two.
fn unknown_place(
    problem: Problem,
    name: &str,
    what: &str,
    known: &[String],
    other: &str,
    others: &[String],
) -> Problem {
    if others.iter().any(|place| place == name) {
        return problem.helped(format!("`{name}` is a {other}, not a {what}"));
    }
    let known = || known.iter().map(String::as_str);
    problem.suggesting(
        suggest(name, known()),
        choices(&format!("the file has the {what}s"), known())
            .unwrap_or_else(|| format!("the file has no {what}s: add one under `{what}s`")),
    )
}

/// The time zone of a city whose name alone was written.
fn city(name: &str, known: &[String]) -> Option<String> {
    let name = name.rsplit('/').next()?.replace(' ', "_");
    known
        .iter()
        .find(|zone| {
            zone.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(&name))
        })
        .cloned()
}

/// `the models know a, b, c and 77 more`, or `None` for an empty list.
fn choices<'n>(what: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    const SHOWN: usize = 8;
    let known: Vec<_> = known.collect();
    let shown = known
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match known.len() {
        0 => None,
        1..=SHOWN => Some(format!("{what} {shown}")),
        all => Some(format!("{what} {shown} and {} more", all - SHOWN)),
    }
}
