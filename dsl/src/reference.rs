//! The reference page of the rule language, written from the tables of [`crate::vocabulary`].
//!
//! What it says of examples is tested: they are evaluated on the film that it describes.

use std::fmt::Write as _;

use crate::action::{RECORD_AFTER_NS_MAX, RECORD_BEFORE_NS_MAX};
use crate::check::{SLOTS_MAX, WINDOW_NS_MAX};
use crate::code::CODES;
use crate::cost::COST_MAX;
use crate::duration::format_duration;
use crate::load::{FILE_BYTES_MAX, LINES_MAX, RULES_MAX};
use crate::memory::{ONSETS_MAX, WINDOW_TRACKS_MAX};
use crate::program::ZONES_MAX;
use crate::rule_file::Subject;
use crate::syntax::{EXPRESSION_BYTES_MAX, NESTING_MAX, STEPS_MAX};
use crate::vocabulary::{ACTIONS, CLAUSES, Example, FIELDS, FUNCTIONS, OPERATORS, Scope, Type};

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    clauses(&mut page);
    actions(&mut page);
    page.push_str(VALUES);
    operators(&mut page);
    fields(&mut page);
    functions(&mut page);
    page.push_str(GATES);
    limits(&mut page);
    codes(&mut page);
    page
}

const INTRODUCTION: &str = r#"# The rule language

<!-- Generated from the tables of `dsl::vocabulary`. After a change there: UPDATE=1 cargo test -p dsl --test reference -->

A rule file says what of a camera's picture matters. It is YAML; saving it is enough, for a running stream takes
the new rules over between two frames. `sluice rules check FILE` says what is wrong with it, and what its rules cost.

```yaml
zones:
  dock: {polygon: [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]}   # corners in order, 0 to 1 of the picture
lines:
  gate: {from: [0.5, 1.0], to: [0.5, 0.0]}                            # has a left and a right, walking from -> to
gates:
  people: motion > 0.5% or every(2s)                                  # when the model `people` runs on a frame at all
rules:
  loitering:
    on: track
    when: label == "person" and score > 60% and in_zone(dock)
    for: 10s
    message: "person {track.id} in the dock for {dwell(dock)}"
    do: [snapshot, 'record(before: 5s, after: 10s)']
```

Time is event time, the time stamps of the frames: a recording that is replayed faster gives the same answers.
A place in the picture is `[x, y]`, from 0 at the left and at the top to 1. A zone contains a track when the `anchor`
of its box does: `bottom_center`, where it stands on the ground, or `center`.

## The film

The examples below say when they hold in this film: 20 seconds of a yard, a frame each half second, from Monday,
05:59:50 UTC on. Its left half is the zone `street`, its right half the zone `dock`; the line `gate` between them goes
from the bottom to the top. An example in a rule `on: track` holds for a track, one `on: frame` for the frame.

| track | what it does |
|---|---|
| 1, a person, score 0.9 | walks along the street from 0s, over the gate into the dock at 5s, and stops there at 10s; not seen at 12s |
| 2, a suitcase, score 0.7 | stands in the dock, 0.53 picture heights from where the person comes in |
| 3, a car, score 0.5 | drives along the street from 8s to 12s; from 9s on a second model calls its color red |

2 % of the picture move until 12s, and 4 % of the dock from 5s to 9.5s. The stream `yard` has the label
`site: north`; an event lasts from 15s on.

"#;

fn clauses(page: &mut String) {
    page.push_str("## Clauses of a rule\n\n");
    for clause in CLAUSES {
        let default = match clause.default {
            "" => "must be written".to_owned(),
            default => format!("if left out: {default}"),
        };
        write(
            page,
            format_args!(
                "### `{}`\n\n{}; {default}.\n\n{}.\n\n```yaml\n{}\n```\n\n",
                clause.name,
                capital(clause.usage),
                capital(clause.meaning),
                clause.example
            ),
        );
    }
}

fn actions(page: &mut String) {
    page.push_str(
        "## Actions\n\nWhat `do` lists. An item with `:` or `#` in it stands in single quotes, for YAML's sake.\n\n",
    );
    page.push_str("| action | what it does | example |\n|---|---|---|\n");
    for action in ACTIONS {
        let only = if action.on_track {
            " (`on: track` only)"
        } else {
            ""
        };
        write(
            page,
            format_args!(
                "| `{}`{only} | {} | `{}` |\n",
                cell(action.usage),
                cell(action.meaning),
                cell(action.example)
            ),
        );
    }
    page.push('\n');
}

const VALUES: &str = r#"## Values

| type | written |
|---|---|
| a whole number, a number | `7`, `0.6`; never below 0 |
| a fraction from 0 to 1 | `0.6` or `60%` |
| a duration | `500ms`, `10s`, `1.5m`, `2h` |
| a label | `"person"`: a class that a model of the run knows |
| a string | `"B-"`, with `\"`, `\\` and `\n` in it |
| zones, lines | bare words: `dock` |

Only values of one type are compared, and there is no arithmetic: whatever is worth a sum has a field or function.

"#;

fn operators(page: &mut String) {
    page.push_str("## Operators\n\nFrom the tightest to the loosest; parentheses group.\n\n");
    for operator in OPERATORS {
        write(
            page,
            format_args!(
                "### `{}`\n\n{}.\n\n",
                operator.usage,
                capital(operator.meaning)
            ),
        );
        examples(page, operator.examples);
    }
}

fn fields(page: &mut String) {
    page.push_str(
        "## Fields\n\n\
         *tracks*: in rules `on: track`, and inside of an aggregate. *rules*: in all rules. *gates*: in gates.\n\n",
    );
    page.push_str(
        "| field | type | where | what it is | example | holds |\n|---|---|---|---|---|---|\n",
    );
    for field in FIELDS {
        write(
            page,
            format_args!(
                "| `{}` | {} | {} | {} | `{}` | {} |\n",
                field.name,
                kind(field.kind, field.unit, field.maximum),
                scopes(field.scopes),
                cell(field.meaning),
                cell(field.example.when),
                field.example.holds
            ),
        );
    }
    page.push('\n');
}

fn functions(page: &mut String) {
    page.push_str(
        "## Functions\n\n\
         Functions that look at other tracks (`exists`, `all`, `count`, `min`, `max`, `avg`, `rate`) are aggregates. Inside of \
         one, the fields of a track are those of the track that is looked at. None stands inside of another.\n\n\
         `every`, `changed`, `rate`, `within` and sequences remember. They see every frame in which their rule is evaluated, \
         also where `and` or `or` around them is already decided.\n\n",
    );
    for function in FUNCTIONS {
        write(
            page,
            format_args!(
                "### `{}`\n\n{}; {}.\n\n{}.\n\n",
                function.usage,
                capital(&match function.name {
                    "min" | "max" => "of the type of its value".to_owned(),
                    "avg" => "of the type of its value, a number for whole numbers".to_owned(),
                    "clock" => "whole numbers, a string, a duration".to_owned(),
                    _ => kind(function.kind, function.unit, None),
                }),
                scopes(function.scopes),
                capital(function.meaning)
            ),
        );
        examples(page, function.examples);
    }
}

const GATES: &str = r#"## Gates

A gate is a condition under the name of a model: the model runs on a frame only where it holds. A gate is asked before
there are any tracks, so it knows only what is marked *gates* above; `tracks` and `events` are those of the last frame
that was rendered, so that a model can follow what another has found. Frames that a gate keeps back are counted.

```yaml
gates:
  people: motion(dock) > 1% or every(2s)
  faces: tracks > 0 and clock("Europe/Berlin").hour in 6..21
```

"#;

fn limits(page: &mut String) {
    page.push_str("## Limits\n\n| what | at most |\n|---|---|\n");
    let limits = [
        ("a rule file", format!("{} KiB", FILE_BYTES_MAX / 1024)),
        ("rules", RULES_MAX.to_string()),
        ("zones", ZONES_MAX.to_string()),
        ("lines", LINES_MAX.to_string()),
        ("an expression", format!("{EXPRESSION_BYTES_MAX} bytes")),
        ("parentheses inside of parentheses", NESTING_MAX.to_string()),
        ("steps of a sequence", STEPS_MAX.to_string()),
        (
            "things of one expression that remember",
            SLOTS_MAX.to_string(),
        ),
        (
            "`within` and the window of `rate`",
            format_duration(WINDOW_NS_MAX),
        ),
        (
            "tracks that `count(...) within` counts",
            WINDOW_TRACKS_MAX.to_string(),
        ),
        ("beginnings that `rate` counts", ONSETS_MAX.to_string()),
        (
            "`before` of a recording",
            format_duration(RECORD_BEFORE_NS_MAX),
        ),
        (
            "`after` of a recording",
            format_duration(RECORD_AFTER_NS_MAX),
        ),
        (
            "tests of an expression in a frame with 32 tracks",
            COST_MAX.to_string(),
        ),
    ];
    for (what, limit) in limits {
        write(page, format_args!("| {what} | {limit} |\n"));
    }
    page.push('\n');
}

fn codes(page: &mut String) {
    page.push_str("## Errors\n\n| code | what is wrong |\n|---|---|\n");
    for (code, meaning) in CODES {
        write(page, format_args!("| {code} | {meaning} |\n"));
    }
}

fn examples(page: &mut String, examples: &[Example]) {
    for example in examples {
        let on = match example.on {
            Subject::Track => "track",
            Subject::Frame => "frame",
            Subject::Stream => "stream",
        };
        write(
            page,
            format_args!(
                "- `{}` (on: {on}) {}\n",
                example.when,
                match example.holds {
                    "never" => "never holds".to_owned(),
                    holds if example.on == Subject::Track => format!("holds for {holds}"),
                    holds => format!("holds {holds}"),
                }
            ),
        );
    }
    page.push('\n');
}

fn kind(kind: Type, unit: &str, maximum: Option<f64>) -> String {
    let kind = match (kind, maximum) {
        (Type::Number, Some(maximum)) => format!("{kind} from 0 to {maximum}"),
        _ => kind.to_string(),
    };
    match unit {
        "" => kind,
        unit => format!("{kind}, in {unit}"),
    }
}

fn scopes(scopes: &[Scope]) -> &'static str {
    let gate = scopes.contains(&Scope::Gate);
    let frame = scopes.contains(&Scope::Frame);
    match (gate, frame) {
        (true, _) => "rules, gates",
        (false, true) => "rules",
        (false, false) => "tracks",
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text)
        .expect("writing to a string does not fail");
}
