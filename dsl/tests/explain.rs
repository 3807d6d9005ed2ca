//! What is said of a condition: its parts, their texts and values, in order.

#[expect(dead_code, reason = "each test file uses its part")]
mod support;

use dsl::Subject;
use support::{film, rule};

/// The explanation of frame `at` of the film, a line a part: depth, answer, text, value.
fn explained(on: Subject, when: &str, track: Option<usize>, at: usize) -> Vec<String> {
    let rule = rule(on, when);
    let mut shared = rule.when.shared();
    let mut memory = rule.when.memory();
    let film = film();
    let mut said = Vec::new();
    for frame in &film[..=at] {
        let scene = frame.scene();
        rule.when.begin_frame(&scene, &mut shared);
        let explanation = rule.when.explain(&scene, track, &mut shared, &mut memory);
        said = explanation
            .parts
            .into_iter()
            .map(|part| {
                let answer = match part.holds {
                    Some(true) => "+",
                    Some(false) => "-",
                    None => " ",
                };
                let value = part
                    .value
                    .map_or(String::new(), |value| format!(": {value}"));
                let indent = "  ".repeat(part.depth as usize);
                format!("{indent}{answer} {}{value}", part.text)
            })
            .collect();
    }
    said
}

#[test]
fn every_part_is_told_with_its_value() {
    let when = "label == \"person\" and (score > 95% or not in_zone(dock)) and dwell(dock) > 2s";
    assert_eq!(
        explained(Subject::Track, when, Some(0), 15),
        [
            format!("- {when}").as_str(),
            "  + label == \"person\": \"person\"",
            "  - (score > 95% or not in_zone(dock))",
            "    - score > 95%: 0.90",
            "    - not in_zone(dock)",
            "      + in_zone(dock)",
            "  + dwell(dock) > 2s: 2.5s",
        ]
    );
}

#[test]
fn aggregates_name_their_tracks() {
    let when = "count(in_zone(dock)) > 2 or exists(label == \"car\") or all(score > 60%)";
    assert_eq!(
        explained(Subject::Frame, when, None, 20)[1..],
        [
            "  - count(in_zone(dock)) > 2: 2 (tracks 1, 2)",
            "  + exists(label == \"car\"): track 3",
            "  - all(score > 60%): not for track 3",
        ]
    );
    let when = "count(crossed(gate)) > 1 within 2s or rate(in_zone(street), 10s) < 5";
    let when = when.replace(
        "count(crossed(gate)) > 1 within 2s",
        "(count(crossed(gate)) > 1 within 2s)",
    );
    assert_eq!(
        explained(Subject::Frame, &when, None, 12)[1..],
        [
            "  - (count(crossed(gate)) > 1 within 2s): 1",
            "  - rate(in_zone(street), 10s) < 5: 6.00",
        ]
    );
}

#[test]
fn sequences_say_how_far_they_have_come() {
    let when = "crossed(gate) -> not exists(label == \"car\") for 5s";
    assert_eq!(
        explained(Subject::Track, when, Some(0), 14),
        [
            "- crossed(gate) -> not exists(label == \"car\") for 5s",
            "  - crossed(gate): reached 2.0s ago",
            "  + not exists(label == \"car\")",
            "    - exists(label == \"car\"): none",
        ]
    );
}
