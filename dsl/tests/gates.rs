//! What gates let through.

#[expect(dead_code, reason = "each test file uses its part")]
mod support;

use std::collections::BTreeMap;

use dsl::{Gate, GateFacts, GateProgram, Needs};
use support::{PLACES, rule_file};

const SECOND_NS: u64 = 1_000_000_000;

fn program(text: &str) -> GateProgram {
    let file = format!("{PLACES}gates:\n  people: |\n    {text}\n");
    rule_file(&file).gates["people"].clone()
}

fn facts(labels: &BTreeMap<String, String>, pts_ns: u64, motion: f32) -> GateFacts<'_> {
    GateFacts {
        pts_ns,
        wall_ms: 0,
        motion,
        zone_motion: &[0.0, 0.25],
        tracks: 2,
        events: 0,
        stream: "yard",
        stream_labels: labels,
    }
}

fn admits(gate: &mut Gate, motion: f32, pts_ns: u64) -> bool {
    let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    gate.admit(&facts(&labels, pts_ns, motion))
}

#[test]
fn motion_lets_a_frame_through_and_so_does_time() {
    let mut gate = Gate::new(program("motion > 0.5% or every(2s)"));
    assert!(admits(&mut gate, 0.0, 0), "the first frame");
    assert!(!admits(&mut gate, 0.005, SECOND_NS), "not above");
    assert!(admits(&mut gate, 0.0051, SECOND_NS + 1));
    assert!(
        !admits(&mut gate, 0.0, 3 * SECOND_NS),
        "2 s count from the last frame let through"
    );
    assert!(admits(&mut gate, 0.0, 3 * SECOND_NS + 1));
}

#[test]
fn a_stream_that_begins_anew_is_not_blocked() {
    let mut gate = Gate::new(program("every(10s)"));
    assert!(admits(&mut gate, 0.0, 500 * SECOND_NS));
    assert!(admits(&mut gate, 0.0, 0));
    assert!(!admits(&mut gate, 0.0, SECOND_NS));
}

#[test]
fn a_replaced_gate_keeps_its_time() {
    let mut gate = Gate::new(program("every(2s)"));
    assert!(admits(&mut gate, 0.0, 0));
    gate.replace(program("motion > 50% or every(5s)"));
    assert!(!admits(&mut gate, 0.0, 4 * SECOND_NS));
    assert!(admits(&mut gate, 0.0, 5 * SECOND_NS));
}

#[test]
fn gates_know_what_there_is_before_a_model_has_run() {
    for (text, answer) in [
        ("motion(dock) > 20% and motion(street) == 0", true),
        ("tracks > 1 and events == 0", true),
        ("tracks > 2 or events > 0", false),
        (
            "stream.name == \"yard\" and stream.label(\"site\") != \"south\"",
            true,
        ),
        (
            "clock(\"UTC\").hour == 0 and clock(\"Asia/Tokyo\").hour == 9",
            true,
        ),
        ("clock(\"America/New_York\").weekday == \"wednesday\"", true),
    ] {
        assert_eq!(
            admits(&mut Gate::new(program(text)), 0.0, 0),
            answer,
            "{text}"
        );
    }
}

#[test]
fn gates_say_what_they_need() {
    let needs = |text: &str| {
        let program = program(text);
        (program.needs(), program.needs_feedback())
    };
    let zone_motion = Needs {
        zone_motion: true,
        ..Needs::default()
    };
    assert_eq!(needs("motion > 1%"), (Needs::default(), false));
    assert_eq!(needs("not motion(dock) > 1%"), (zone_motion, false));
    assert_eq!(needs("every(2s) or events > 0"), (Needs::default(), true));
}
