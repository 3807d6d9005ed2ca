//! How often rules may fire.

use analytics::{Phase, RULE_FIRINGS_MAX, RuleEngine, STREAM_FIRINGS_MAX, TRACK_FIRINGS_MAX};
use contract::control::FrameRecord;

use crate::script::{engine, frame, seen};

/// A frame in which each of some tracks holds, or none does.
fn blink(pts_ms: u64, tracks: u64, holds: bool) -> FrameRecord {
    let x = if holds { 50.0 } else { 150.0 };
    frame(pts_ms, (1..=tracks).map(|id| seen(id, x)).collect())
}

/// Lets all tracks begin and cease to hold so many times a second; the events that begin.
fn flash(engine: &mut RuleEngine, tracks: u64, times: u64, interval_ms: u64) -> Vec<(String, u64)> {
    let mut begun = Vec::new();
    for time in 0..times {
        let pts_ms = time * interval_ms;
        for record in [
            blink(pts_ms, tracks, true),
            blink(pts_ms + 1, tracks, false),
        ] {
            let firings = engine.observe(&record);
            let begins = firings
                .into_iter()
                .filter(|firing| firing.phase == Phase::Begin);
            begun.extend(begins.map(|firing| (firing.event.rule, pts_ms)));
        }
    }
    begun
}

fn rule(name: &str, limit: &str) -> String {
    format!("{name}: {{on: track, when: in_zone(left), gap: 0s{limit}}}")
}

#[test]
fn limits_by_track_by_rule_and_by_stream() {
    for (limit, begins, suppressed) in [
        // Three tracks, each every 10 s for 100 s.
        ("{per: track, every: 20s}", 15, 15),
        ("{per: track, every: 20s, max: 2}", 30, 0),
        ("{per: rule, every: 20s}", 5, 25),
        ("{per: rule, every: 20s, max: 4}", 20, 10),
        ("{per: stream, every: 1m, max: 3}", 6, 24),
    ] {
        let mut engine = engine(&[&rule("r", &format!(", limit: {limit}"))]);
        let begun = flash(&mut engine, 3, 10, 10_000);
        assert_eq!(
            (begun.len(), engine.suppressed()),
            (begins, suppressed),
            "{limit}"
        );
    }
}

#[test]
fn a_limit_by_stream_counts_the_firings_of_all_rules() {
    let free = rule("free", "");
    let limited = rule("limited", ", limit: {per: stream, every: 1m, max: 4}");
    let mut engine = engine(&[&free, &limited]);
    let begun = flash(&mut engine, 1, 4, 10_000);
    let of = |name| begun.iter().filter(|(rule, _)| rule == name).count();
    assert_eq!((of("free"), of("limited")), (4, 2));
}

#[test]
fn what_is_held_back_counts_as_fired() {
    let mut engine = engine(&[&rule("r", ", for: 100ms, limit: {per: track, every: 1s}")]);
    let mut begun = Vec::new();
    // Holds from 0 to 0.2 s, and from 0.4 s on: held back at 0.5 s, and not tried again.
    for step in 0..40 {
        let holds = step != 3;
        for firing in engine.observe(&blink(step * 100, 1, holds)) {
            begun.push((firing.phase, firing.event.begin_pts_ns / 1_000_000));
        }
    }
    assert_eq!(begun, [(Phase::Begin, 100), (Phase::End, 100)]);
    assert_eq!((engine.suppressed(), engine.events_now()), (1, 0));
    assert!(engine.finish().is_empty(), "no end without a begin");
}

#[test]
fn floods_are_held_back_without_being_asked() {
    let plain = rule("r", "");
    let mut engine = engine(&[&plain]);
    let begun = flash(&mut engine, 1, 100, 10);
    assert_eq!(begun.len(), TRACK_FIRINGS_MAX);
    assert_eq!(engine.suppressed(), 100 - TRACK_FIRINGS_MAX as u64);

    let mut engine = crate::script::engine(&[&plain]);
    assert_eq!(flash(&mut engine, 40, 20, 10).len(), RULE_FIRINGS_MAX);

    let names = ["a", "b", "c", "d", "e"];
    let rules = names.map(|name| rule(name, ""));
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    let mut engine = crate::script::engine(&rules);
    assert_eq!(flash(&mut engine, 40, 20, 10).len(), STREAM_FIRINGS_MAX);
}
