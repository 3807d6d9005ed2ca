//! Other rules between two frames.

use analytics::{Fate, Reloaded, RuleEngine, STREAM_FIRINGS_MAX};

use crate::script::{engine, file, frame, parse, records, seen, short, spec};

const DWELL: &str = "dwell: {on: track, when: in_zone(left), for: 500ms}";

fn fates(reloaded: &Reloaded) -> Vec<String> {
    reloaded.notes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_of_the_same_shape_keeps_its_state() {
    let mut engine = engine(&["other: {on: track, when: in_zone(right)}", DWELL]);
    let frames = records("+++++++");
    for record in &frames[..3] {
        engine.observe(record);
    }
    let changed = "dwell: {on: track, when: 'in_zone( left )', for: 500ms, message: \"changed\", keep: 1s, labels: {severity: high}, limit: {per: track, every: 1m}}";
    let reloaded = engine.reload(file(&[changed, "new: {on: frame, when: tracks > 5}"]), 4);
    assert_eq!(
        fates(&reloaded),
        [
            "rule dwell: state kept",
            "rule new: new",
            "rule other: removed"
        ]
    );
    assert!(reloaded.firings.is_empty());
    let mut told = Vec::new();
    for record in &frames[3..] {
        told.extend(engine.observe(record));
    }
    assert_eq!(short(&told), ["dwell B500"], "since before the reload");
    let event = &told[0].event;
    assert_eq!((event.message.as_str(), event.generation), ("changed", 4));
    assert_eq!(event.labels["severity"], "high");
}

#[test]
fn another_shape_ends_what_is_firing_and_says_why() {
    let mut engine = engine(&[DWELL, "gone: {on: track, when: in_zone(left)}"]);
    for record in records("+++++++") {
        engine.observe(&record);
    }
    assert_eq!(engine.events_now(), 2);
    let reloaded = engine.reload(
        file(&["dwell: {on: track, when: in_zone(left), for: 200ms}"]),
        4,
    );
    assert_eq!(short(&reloaded.firings), ["dwell E600", "gone E600"]);
    assert_eq!(engine.events_now(), 0);
    assert_eq!(reloaded.notes[1].fate, Fate::Removed);
    let Fate::Reset { reason } = &reloaded.notes[0].fate else {
        panic!("{:?}", reloaded.notes);
    };
    assert!(reason.contains("for"), "{reason}");
    // It begins anew: 200 ms from the next frame on.
    let later = [700, 800, 900].map(|pts_ms| engine.observe(&frame(pts_ms, vec![seen(1, 50.0)])));
    let later: Vec<_> = later.iter().flat_map(|firings| short(firings)).collect();
    assert_eq!(later, ["dwell B900"]);
}

#[test]
fn an_event_that_lasts_ends_as_it_began() {
    let mut engine =
        engine(&["r: {on: track, when: in_zone(left), do: ['draw(color: \"#010203\")']}"]);
    engine.observe(&frame(0, vec![seen(1, 50.0)]));
    let reloaded = engine.reload(
        file(&["r: {on: track, when: in_zone(left), do: [alert]}"]),
        9,
    );
    assert_eq!(reloaded.notes[0].fate, Fate::Kept);
    assert_eq!(engine.color_of(1), None, "actions change at once");
    assert_eq!(engine.events_now(), 0);
    let end = &engine.finish()[0];
    assert!(!end.alerts, "nobody was told of its begin");
    assert_eq!((end.event.generation, engine.events_now()), (3, 0));
}

/// Zones `a` and `b`, and a rule that asks how long one is in `a`.
fn zones(a: &str, b: &str) -> String {
    let rule =
        "rules:\n  r: {on: track, when: dwell(a) >= 500ms}\n  b: {on: track, when: entered(b)}";
    format!("zones:\n  b: {{polygon: {b}}}\n  a: {{polygon: {a}}}\n{rule}\n")
}

const LEFT: &str = "[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]";
const MOST: &str = "[[0, 0], [0.6, 0], [0.6, 1], [0, 1]]";

#[test]
fn stays_in_zones_outlive_a_reload_unless_the_zone_has_changed() {
    for (a, b, expected) in [
        (LEFT, MOST, &["b B300", "r B500"][..]),
        // Zone `a` is new: everybody enters it with the first frame that knows it.
        (MOST, LEFT, &["r B800"]),
    ] {
        let mut engine = RuleEngine::new(parse(&zones(LEFT, LEFT)), &spec());
        let frames = records("+++++++++");
        for record in &frames[..3] {
            engine.observe(record);
        }
        let reloaded = engine.reload(parse(&zones(a, b)), 4);
        let mut told = Vec::new();
        for record in &frames[3..] {
            let firings = engine.observe(record);
            told.extend(
                short(&firings)
                    .into_iter()
                    .filter(|what| what.contains('B')),
            );
        }
        assert_eq!(told, expected, "{:?}", fates(&reloaded));
    }
}

#[test]
fn sequences_outlive_a_reload() {
    let shortcut = "r: {on: track, when: in_zone(left) -> in_zone(right) within 2s}";
    let mut engine = engine(&[shortcut]);
    engine.observe(&frame(0, vec![seen(1, 50.0)]));
    engine.reload(file(&[DWELL, shortcut]), 4);
    let firings = engine.observe(&frame(500, vec![seen(1, 150.0)]));
    assert_eq!(short(&firings), ["r B500"]);
}

#[test]
fn five_hundred_reloads_leave_nothing_behind() {
    let files = [
        file(&[DWELL]),
        file(&[DWELL, "b: {on: track, when: in_zone(left)}"]),
    ];
    let mut engine = engine(&[DWELL]);
    let step = |engine: &mut RuleEngine, turn: u64| {
        engine.reload(
            std::sync::Arc::clone(&files[usize::from(turn % 2 == 1)]),
            turn,
        );
        engine.observe(&frame(turn * 40, vec![seen(1, 50.0), seen(2, 150.0)]));
    };
    for turn in 0..20 {
        step(&mut engine, turn);
    }
    let info = allocation_counter::measure(|| {
        for turn in 20..520 {
            step(&mut engine, turn);
        }
    });
    assert_eq!(info.count_current, 0, "{info:?}");
    // The times of the latest firings, which flood limits ask for, may still grow in number.
    let firings_bytes = 2 * size_of::<u64>() * STREAM_FIRINGS_MAX;
    assert!(
        info.bytes_current < i64::try_from(firings_bytes).expect("small"),
        "{info:?}"
    );
}
