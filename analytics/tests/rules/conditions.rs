//! Conditions that are asked of tracks beside the rules.

use dsl::When;

use crate::script::{engine, file, frame, knowing, seen, skipped};

fn when(text: &str) -> When {
    When::parse_checked(text, &file(&[])).expect("right")
}

#[test]
fn they_hold_for_the_tracks_of_the_last_frame() {
    let mut engine = engine(&[]);
    engine.set_conditions([when("in_zone(left)"), when("attribute(\"m\") == \"yes\"")]);
    let holds = |engine: &analytics::RuleEngine| {
        [0, 1].map(|index| [1, 2].map(|track| engine.condition_holds(index, track)))
    };
    let both = || vec![seen(1, 20.0), seen(2, 180.0)];
    assert_eq!(
        engine.observe(&knowing(frame(0, both()), 2, "m", "yes")),
        []
    );
    // An attribute is known from the next frame on, as for rules.
    assert_eq!(holds(&engine), [[true, false], [false, false]]);
    engine.observe(&frame(100, both()));
    assert_eq!(holds(&engine), [[true, false], [false, true]]);
    engine.observe(&frame(200, vec![seen(2, 20.0)]));
    assert_eq!(holds(&engine), [[false, true], [false, true]], "1 is away");
    engine.observe(&skipped(300, Vec::new()));
    assert_eq!(holds(&engine), [[false, false], [false, false]]);
    assert!(!engine.condition_holds(2, 1) && !engine.condition_holds(0, 9));
}

#[test]
fn each_track_has_a_memory_of_its_own_that_goes_with_it() {
    let mut engine = engine(&[]);
    engine.set_conditions([when("in_zone(left) -> in_zone(right) within 5s")]);
    engine.observe(&frame(0, vec![seen(1, 20.0), seen(2, 180.0)]));
    engine.observe(&frame(100, vec![seen(1, 180.0), seen(2, 180.0)]));
    assert!(engine.condition_holds(0, 1) && !engine.condition_holds(0, 2));
    // One is forgotten, and its slot is another's.
    engine.observe(&frame(200, vec![seen(3, 20.0), seen(2, 180.0)]));
    engine.observe(&frame(2000, vec![seen(2, 180.0)]));
    engine.observe(&frame(2100, vec![seen(4, 180.0), seen(2, 180.0)]));
    assert!(!engine.condition_holds(0, 4), "it was never on the left");
}

#[test]
fn a_reload_of_the_rules_takes_them_away_until_they_are_given_anew() {
    let mut engine = engine(&[]);
    engine.set_conditions([when("quality.sharpness > 1")]);
    assert!(engine.needs().quality);
    let file = file(&["seen: {on: track, when: score > 0.5}"]);
    engine.reload(file, 4);
    assert!(!engine.needs().quality);
    engine.observe(&frame(0, vec![seen(1, 20.0)]));
    assert!(!engine.condition_holds(0, 1));
    engine.set_conditions([when("track.age >= 100ms")]);
    engine.observe(&frame(100, vec![seen(1, 20.0)]));
    assert!(engine.condition_holds(0, 1));
}
