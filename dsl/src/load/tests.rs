use std::path::Path;

use super::*;
use crate::action::{Action, SnapshotOf};
use crate::rule_file::{Limit, LimitKey, Subject};

const SECOND_NS: u64 = 1_000_000_000;

fn context() -> Context {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Context {
        labels: set(&["person", "car", "truck", "suitcase"]),
        models: set(&["people", "plates"]),
        crop_models: set(&["people", "plates"]),
        landmarks: false,
        depth: false,
    }
}

fn read(text: &str) -> Result<RuleFile, Vec<Diagnostic>> {
    load(text, Path::new("rules.yaml"), Some(&context()))
}

fn good(text: &str) -> RuleFile {
    read(text).unwrap_or_else(|faults| {
        let shown: String = faults.iter().map(|fault| fault.render(text)).collect();
        panic!("{shown}");
    })
}

/// The example of the language's description, as it is written there.
const EXAMPLE: &str = r##"
zones:
  dock: {polygon: [[0.10,0.50],[0.60,0.50],[0.60,1.0],[0.10,1.0]], anchor: bottom_center}   # normalised, anchor default bottom_center
  lobby: {polygon: [[0, 0], [1, 0], [1, 1]]}
  street: {polygon: [[0, 0], [1, 0], [1, 1]]}
  drive: {polygon: [[0, 0], [1, 0], [1, 1]]}
lines:
  gate: {from: [0.2,0.6], to: [0.8,0.6]}            # direction: left_to_right / right_to_left as seen walking from -> to
gates:                                              # when does a model run on a frame at all
  people: motion > 0.5% or every(2s)
rules:
  loitering:
    on: track                                       # track | frame | stream
    when: label == "person" and score > 0.6 and in_zone(dock)
    for: 10s                                        # must hold this long, event time
    gap: 1s                                         # tolerated interruptions (missed detections)
    keep: 5s                                        # stays firing this long after it stops holding
    limit: {per: track, every: 1m}
    labels: {severity: warning}
    message: "person {track.id} in the dock for {dwell(dock)}"
    do: [snapshot, record(before: 5s, after: 10s), publish("gate-metric-detections"), draw(color: "red")]
  crowd:
    on: frame
    when: count(label == "person" and in_zone(lobby)) > 20
    for: 5s
  tailgating:
    on: frame
    when: count(crossed(gate, left_to_right)) > 1 within 2s
  wrong_way:
    on: track
    when: in_zone(street) -> in_zone(drive) within 8s          # sequence
  abandoned:
    on: track
    when: label == "suitcase" and not exists(label == "person" and distance(track) < 0.1)
    for: 30s
"##;

#[test]
fn the_example_is_read_whole() {
    let file = good(EXAMPLE);
    let names: Vec<_> = file.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        ["loitering", "crowd", "tailgating", "wrong_way", "abandoned"]
    );
    let loitering = &file.rules[0];
    assert_eq!(loitering.on, Subject::Track);
    let times = (loitering.for_ns, loitering.gap_ns, loitering.keep_ns);
    assert_eq!(times, (10 * SECOND_NS, SECOND_NS, 5 * SECOND_NS));
    let limit = Limit {
        per: LimitKey::Track,
        every_ns: 60 * SECOND_NS,
        max: 1,
    };
    assert_eq!(loitering.limit, Some(limit));
    assert_eq!(loitering.labels["severity"], "warning");
    assert_eq!(
        loitering.actions,
        [
            Action::Snapshot(SnapshotOf::Best),
            Action::Record {
                before_ns: 5 * SECOND_NS,
                after_ns: 10 * SECOND_NS,
            },
            Action::Publish {
                topic: "gate-metric-detections".to_owned(),
            },
            Action::Draw {
                color: Some([255, 0, 0]),
            },
        ]
    );
    let crowd = &file.rules[1];
    assert_eq!(crowd.on, Subject::Frame);
    assert_eq!(
        (crowd.for_ns, crowd.gap_ns, crowd.keep_ns),
        (5 * SECOND_NS, SECOND_NS, 0)
    );
    assert_eq!(
        (crowd.limit, crowd.actions.as_slice()),
        (None, &[Action::Alert][..])
    );
}

#[test]
fn only_rules_that_need_no_event_have_none() {
    for (actions, alerts) in [
        ("draw", false),
        ("draw, tag(\"a\"), infer(plates)", false),
        ("draw, alert", true),
        ("snapshot", true),
        ("publish(\"a\")", true),
        ("webhook(\"http://a\")", true),
        ("record", true),
    ] {
        let file = good(&format!(
            "rules:\n  a:\n    on: track\n    when: score > 60%\n    do: [{actions}]\n"
        ));
        assert_eq!(file.rules[0].alerts(), alerts, "{actions}");
    }
}

/// However a list of actions is written, it is the same list.
#[test]
fn lists_of_actions_are_read_in_every_yaml_style() {
    let wanted = good(
        "rules:\n  a:\n    on: track\n    when: score > 60%\n    do: ['draw(color: \"#00ff00\")', \"record(before: 1s, after: 2s)\", alert]\n",
    );
    let wanted = &wanted.rules[0].actions;
    for list in [
        " [draw(color: \"#00ff00\"), record(before: 1s, after: 2s), alert]",
        "   # why: [not this]\n      [draw(color: \"#00ff00\"),record(before: 1s,after: 2s),alert,] # nor this",
        " [\n        draw(color: \"#00ff00\"), # \"a\" [b\n        record(before: 1s,\n          after: 2s),\n        alert\n    ]",
        "\n    - draw(color: \"#00ff00\")   # green\n    - record(before: 1s, after: 2s)\n    - alert",
        "\n      # in order\n      - draw(color: \"#00ff00\")\n\n      - 'record(before: 1s, after: 2s)'\n      -   alert   ",
        "\n      - >-\n        draw(color: \"#00ff00\")\n      - record\n        (before: 1s,\n\n        after: 2s)\n      - |\n        alert",
        " &list [draw(color: \"#00ff00\"), &r 'record(before: 1s, after: 2s)', alert]",
    ] {
        let text = format!(
            "rules:\n  a:\n    on: track\n    do:{list}\n    when: score > 60%\n  b: {{on: track, when: score > 60%, do: [draw(color: \"red\"), record(before: 5s, after: 9s)], message: m}}\n"
        );
        let file = good(&text);
        assert_eq!(file.rules[0].actions, *wanted, "{text}");
        assert_eq!(file.rules[1].actions.len(), 2);
    }
}

#[test]
fn actions_come_along_with_anchors_and_merge_keys() {
    let file = good(
        "rules:\n  a: &base\n    on: track\n    when: score > 60%\n    do: &list [draw(color: \"red\"), record(before: 1s, after: 2s)]\n  b: {<<: *base, for: 2s}\n  c: {on: track, when: score > 70%, do: *list}\n",
    );
    assert_eq!(file.rules[0].actions.len(), 2);
    for rule in &file.rules {
        assert_eq!(rule.actions, file.rules[0].actions, "{}", rule.name);
    }
}

/// What looks like a list of actions and is none stays what it is.
#[test]
fn texts_that_look_like_actions_are_left_alone() {
    let text = concat!(
        "rules:\n",
        "  do:\n",
        "    on: track\n",
        "    when: |\n      label == \"person\"\n      and score > 60%\n",
        "    message: \"do: [a(b: 1), c\n      do: [x(y: 2)]\"\n",
        "    labels: {do: x, 'do': y}\n",
    );
    let faults = read(text).expect_err("a key stands twice");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].code, "R0102");
    let text = text.replace(", 'do': y", "");
    let file = good(&text);
    assert_eq!(file.rules[0].name, "do");
    assert_eq!(file.rules[0].labels["do"], "x");
    let message = format!("{:?}", file.rules[0].message);
    assert!(
        message.contains("do: [a(b: 1), c do: [x(y: 2)]"),
        "{message}"
    );
    for block in ["|", ">-", "|2"] {
        let text = format!(
            "rules:\n  a:\n    on: track\n    message: {block}\n      do: [a(b: 1)]\n       do:\n        - x: y\n    when: score > 60%\n"
        );
        let shown = format!("{:?}", good(&text).rules[0].message);
        assert!(shown.contains("do: [a(b: 1)]"), "{shown}");
    }
}

#[test]
fn mistakes_in_actions_are_told_at_their_place() {
    for (list, code, line, column) in [
        (
            "do: [snapshot, record(before: 5s, aftr: 10s)]",
            "R0403",
            5,
            39,
        ),
        ("do: [draw(color: \"rde\")]", "R0506", 5, 22),
        ("do: [record(before: 5s]", "R0201", 5, 27),
        (
            "do:\n    - draw(color: \"red\")\n    - recrod(before: 5s, after: 10s)",
            "R0504",
            7,
            7,
        ),
        ("do: record(before: 5s, after: 1s)", "R0105", 5, 9),
        ("do: [[alert]]", "R0201", 5, 10),
        ("do: [{alert: 1}, snapshot]", "R0201", 5, 10),
        ("do: [alert, alert]", "R0511", 5, 17),
        ("do: [publish(\"a b\")]", "R0507", 5, 18),
        ("do: []", "R0105", 5, 9),
        ("do: [alert", "R0101", 5, 9),
    ] {
        let text = format!("rules:\n  a:\n    on: track\n    when: score > 60%\n    {list}\n");
        let faults = read(&text).expect_err(list);
        let first = &faults[0];
        let found = (first.code, first.line, first.column);
        assert_eq!(
            found,
            (code, line, column),
            "{list}: {}",
            first.render(&text)
        );
        assert_eq!(faults.len(), 1, "{list}");
    }
    let many = vec!["tag(\"a\")"; 17].join(", ");
    let text = format!("rules:\n  a: {{on: track, when: score > 60%, do: [{many}]}}");
    assert_eq!(read(&text).expect_err("too many")[0].code, "R0106");
}

#[test]
fn limits_are_checked() {
    let limit = |on: &str, limit: &str| {
        let when = if on == "track" {
            "score > 60%"
        } else {
            "motion > 1%"
        };
        let text = format!("rules: {{a: {{on: {on}, when: {when}, limit: {limit}}}}}");
        read(&text)
            .map(|file| file.rules[0].limit)
            .map_err(|faults| faults.iter().map(|fault| fault.code).collect::<Vec<_>>())
    };
    let wanted = |per, every_s: u64, max| {
        Ok(Some(Limit {
            per,
            every_ns: every_s * SECOND_NS,
            max,
        }))
    };
    assert_eq!(
        limit("track", "{per: rule, every: 10s, max: 3}"),
        wanted(LimitKey::Rule, 10, 3)
    );
    assert_eq!(
        limit("frame", "{per: stream, every: 24h}"),
        wanted(LimitKey::Stream, 86_400, 1)
    );
    for (on, text, codes) in [
        ("frame", "{per: track, every: 10s}", &["R0510"][..]),
        ("stream", "{per: track, every: 10s}", &["R0510"]),
        ("track", "{every: 10s}", &["R0104"]),
        ("track", "{per: rule}", &["R0104"]),
        (
            "track",
            "{per: zone, every: 0s, max: 0}",
            &["R0504", "R0404", "R0404"],
        ),
        (
            "track",
            "{per: rule, every: 25h, max: 1.5}",
            &["R0404", "R0404"],
        ),
        (
            "track",
            "{per: rule, every: 1, max: many}",
            &["R0503", "R0105"],
        ),
        ("track", "1m", &["R0105"]),
        ("track", "{per: rule, every: 1m, maximum: 2}", &["R0103"]),
    ] {
        assert_eq!(limit(on, text), Err(codes.to_vec()), "{text}");
    }
}

#[test]
fn state_is_kept_for_a_rule_of_the_same_shape() {
    let zones = "zones:\n  dock: {polygon: [[0, 0], [1, 0], [1, 1]]}\n  yard: {polygon: [[0, 0], [1, 0], [1, 1]]}\nlines:\n  gate: {from: [0, 0], to: [1, 1]}\n";
    let base = "rules:\n  a:\n    on: track\n    when: in_zone(dock) and crossed(gate)\n    for: 10s\n    gap: 2s\n    message: m\n";
    let shape = |text: &str| good(text).rules[0].shape.clone();
    let before = shape(&format!("{zones}{base}"));
    for (from, to, reason) in [
        (
            "message: m",
            "message: n\n    keep: 1s\n    limit: {per: rule, every: 1m}\n    do: [snapshot]",
            None,
        ),
        ("in_zone(dock) and", "(in_zone( dock )) &&", None),
        (
            "  yard: {polygon: [[0, 0], ",
            "  yard: {polygon: [[0, 0.1], ",
            None,
        ),
        (
            "  dock: {polygon: [[0, 0], [1, 0], [1, 1]]}\n",
            "  first: {polygon: [[0, 0], [1, 0], [1, 1]]}\n  dock: {polygon: [[0, 0], [1, 0], [1, 1]]}\n",
            None,
        ),
        (
            "crossed(gate)",
            "crossed(gate, left_to_right)",
            Some("its condition changed"),
        ),
        ("for: 10s", "for: 5s", Some("`for` changed from 10s to 5s")),
        (
            "gap: 2s",
            "gap: 1500ms",
            Some("`gap` changed from 2s to 1.5s"),
        ),
        (
            "dock: {polygon: [[0, 0], ",
            "dock: {anchor: center, polygon: [[0, 0], ",
            Some("zone `dock` changed"),
        ),
        ("to: [1, 1]", "to: [1, 0.5]", Some("line `gate` changed")),
        (
            "on: track\n    when: in_zone(dock) and crossed(gate)",
            "on: frame\n    when: exists(in_zone(dock) and crossed(gate))",
            Some("`on` changed"),
        ),
    ] {
        let text = format!("{zones}{base}").replacen(from, to, 1);
        assert_ne!(text, format!("{zones}{base}"), "{from}");
        let after = shape(&text);
        assert_eq!(after.reset_reason(&before).as_deref(), reason, "{to}");
        assert_eq!(after == before, reason.is_none(), "{to}");
    }
}

#[test]
fn a_rule_about_nothing_known_is_checked_all_the_same() {
    let faults = read("rules: {a: {on: person, when: motoin > 1%, do: [draw, emial]}}");
    let codes: Vec<_> = faults
        .expect_err("wrong")
        .iter()
        .map(|fault| fault.code)
        .collect();
    assert_eq!(codes, ["R0504", "R0301", "R0504"]);
}

/// Every byte of these is looked at a bounded number of times: they take as long as they are.
#[test]
fn large_and_hostile_files_are_read_to_their_end() {
    let fill = |part: &str| part.repeat(FILE_BYTES_MAX / part.len());
    for text in [
        fill("do: ["),
        fill("do:\n- "),
        fill("do: a(\n"),
        format!("do: [{}", fill("\"")),
        format!("do: [{}", fill("a(\"")),
        format!("do: [{}", fill("(\n")),
        fill("\"do\": '"),
        fill("- |\n "),
        fill("{do: [}"),
        fill("? do\n: ["),
        // Mistakes in every line, each with its own line and column.
        format!(
            "rules:\n  a:\n{}",
            (0..60_000)
                .map(|n| format!("    k{n}: 1\n"))
                .collect::<String>()
        ),
        format!(
            "rules:\n{}",
            (0..999)
                .map(|n| format!("  r{n}: {{on: x, on: y, wen: 1, whn: 2}}\n"))
                .collect::<String>()
        ),
    ] {
        let faults = read(&text).expect_err("wrong");
        assert!((1..=DIAGNOSTICS_MAX).contains(&faults.len()));
    }
}
