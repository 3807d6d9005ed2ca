//! Evaluation allocates nothing, whatever the condition; nor does a gate.

#[expect(dead_code, reason = "each test file uses its part")]
mod support;

use std::collections::BTreeMap;

use dsl::{Gate, GateFacts, Subject};
use support::{PLACES, film, rule, rule_file};

/// Conditions that use all there is.
const CONDITIONS: &[(Subject, &str)] = &[
    (
        Subject::Track,
        "label == \"person\" and score > 60% and in_zone(dock) and dwell(dock) > 5s",
    ),
    (
        Subject::Track,
        "label matches \"^(per|car)\" or attribute(\"color\") != label or changed(attribute(\"color\"))",
    ),
    (
        Subject::Track,
        "distance(dock) < 0.5 or distance(gate) < 0.5 or exists(distance(track) < 0.5) and all(score > 5%, in_zone(dock))",
    ),
    (
        Subject::Track,
        "(count(in_zone(dock)) > 1 within 5s) or (count(distance(track) < 2) > 1 within 5s) or rate(in_zone(street), 10s) > 3",
    ),
    (
        Subject::Track,
        "in_zone(street) -> not exists(label == \"car\") for 1s -> in_zone(dock) -> changed(track.direction) within 1m",
    ),
    (
        Subject::Frame,
        "clock(\"Europe/Berlin\").hour in 8..17 or clock(\"UTC\").weekday == \"sunday\" or clock(\"Asia/Tokyo\").time > 5h",
    ),
    (
        Subject::Frame,
        "avg(score, in_zone(dock)) > 0.5 and min(track.age) > 1s and max(track.direction) < 90 or every(2s) or changed(tracks)",
    ),
    (
        Subject::Stream,
        "not motion(dock) > 1% for 2s -> rate(crossed(gate), 10s) > 1 or count(score > 5%) > 2 within 3s",
    ),
];

#[test]
fn evaluation_allocates_nothing() {
    let film = film();
    for (on, when) in CONDITIONS {
        let rule = rule(*on, when);
        let mut shared = rule.when.shared();
        let mut memories: Vec<_> = (0..4).map(|_| rule.when.memory()).collect();
        let mut held = 0;
        let counted = allocation_counter::measure(|| {
            for frame in &film {
                let scene = frame.scene();
                rule.when.begin_frame(&scene, &mut shared);
                let subjects = match on {
                    Subject::Track => scene.tracks.len(),
                    _ => 1,
                };
                for (index, memory) in memories.iter_mut().enumerate().take(subjects) {
                    let subject = (*on == Subject::Track).then_some(index);
                    held += u32::from(rule.when.evaluate(&scene, subject, &mut shared, memory));
                }
            }
        });
        assert_eq!(counted.count_total, 0, "{when}");
        assert!(held > 0, "{when} never holds, so it says little");
    }
}

#[test]
fn a_gate_allocates_nothing() {
    let file = rule_file(&format!(
        "{PLACES}gates:\n  people: motion(dock) > 1% or every(2s) or clock(\"Europe/Berlin\").hour > 22 or tracks > 3\n"
    ));
    let mut gate = Gate::new(file.gates["people"].clone());
    let labels = BTreeMap::new();
    let mut admitted = 0;
    let counted = allocation_counter::measure(|| {
        for index in 0..100 {
            admitted += u32::from(gate.admit(&GateFacts {
                pts_ns: index * 100_000_000,
                wall_ms: 0,
                motion: 0.0,
                zone_motion: &[0.0, 0.0],
                tracks: 0,
                events: 0,
                stream: "yard",
                stream_labels: &labels,
            }));
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(admitted, 5, "each 2 s of 10 s");
}
