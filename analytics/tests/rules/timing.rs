//! `for`, `gap`, `keep`, `on`, and the ends of events: exact to the frame.

use analytics::{Phase, STEP_BACK_NS_MAX};
use contract::event::{DeliveryKind, Event};

use crate::script::{
    FORGET_MS, MS_NS, engine, first_event, frame, records, seen, short, skipped, told,
};

/// What a rule tells of these frames, each with when it was told; the last at the stream's end.
fn play(clauses: &str, frames: &str) -> Vec<String> {
    let comma = if clauses.is_empty() { "" } else { ", " };
    let mut engine = engine(&[&format!(
        "r: {{on: track, when: in_zone(left){comma}{clauses}}}"
    )]);
    let mut all = Vec::new();
    for record in records(frames) {
        let firings = engine.observe(&record);
        let at = record.pts_ns / MS_NS;
        all.extend(
            short(&firings)
                .iter()
                .map(|what| format!("{}@{at}", &what[2..])),
        );
    }
    all.extend(
        short(&engine.finish())
            .iter()
            .map(|what| what[2..].to_owned()),
    );
    all
}

#[test]
fn timing_is_exact_to_the_frame() {
    for (clauses, frames, expected) in [
        ("", "-+++-", &["B100@100", "E300"][..]),
        ("gap: 0s", "-+++-", &["B100@100", "E300@400"]),
        (
            "gap: 0s",
            "+-+-",
            &["B0@0", "E0@100", "B200@200", "E200@300"],
        ),
        ("for: 300ms", "-+++-", &[]),
        ("for: 300ms", "-++++-", &["B400@400", "E400"]),
        ("for: 500ms, gap: 300ms", "+++--+", &["B500@500", "E500"]),
        ("for: 500ms, gap: 300ms", "+++---+++", &[]),
        // Frames that are missing interrupt nothing; a frame that says no does.
        ("for: 500ms, gap: 100ms", "+....+", &["B500@500", "E500"]),
        ("for: 500ms, gap: 100ms", "+...-+", &[]),
        // Not found is an interruption; not looked for is none.
        ("for: 500ms, gap: 100ms", "+cccc+", &["B500@500", "E500"]),
        ("for: 500ms, gap: 100ms", "+    +", &[]),
        ("gap: 200ms", "+   ", &["B0@0", "E0@300"]),
        // `keep` holds on to the event, and it ends where it held last all the same.
        ("gap: 0s, keep: 300ms", "+--+----", &["B0@0", "E300@700"]),
        (
            "gap: 0s, keep: 300ms",
            "+---+",
            &["B0@0", "E0@400", "B400@400", "E400"],
        ),
        ("gap: 100ms, keep: 200ms", "+--++-", &["B0@0", "E400"]),
        // A track that is forgotten ends its event whatever `gap` says.
        ("gap: 10s", "++            ", &["B0@0", "E100@1200"]),
        ("for: 300ms, gap: 10s", "++            ++", &[]),
    ] {
        assert_eq!(play(clauses, frames), expected, "{clauses}: `{frames}`");
    }
}

#[test]
fn a_rule_on_frames_is_asked_only_where_a_model_ran() {
    let rules = [
        "f: {on: frame, when: tracks > 0}",
        "s: {on: stream, when: tracks > 0}",
    ];
    let mut engine = engine(&rules);
    let empty = |pts_ms| frame(pts_ms, vec![]);
    assert!(engine.observe(&empty(0)).is_empty());
    let seen_by_nobody = skipped(100, vec![seen(1, 50.0)]);
    assert_eq!(short(&engine.observe(&seen_by_nobody)), ["s B100"]);
    let firings = engine.observe(&frame(200, vec![seen(1, 50.0)]));
    assert_eq!(short(&firings), ["f B200"]);
    let event = &firings[0].event;
    assert_eq!((event.id.as_str(), event.track), ("yard/f/-/200", None));
    assert!(event.label.is_none() && event.score.is_none() && event.bounds.is_none());
    // A frame that is not asked begins no interruption, but ends one that is too long.
    assert!(engine.observe(&skipped(1000, vec![])).is_empty());
    assert!(engine.observe(&empty(1100)).is_empty());
    let firings = engine.observe(&skipped(1300, vec![]));
    assert_eq!(short(&firings), ["f E200", "s E200"]);
}

#[test]
fn an_event_says_all_about_its_begin() {
    let rule = r#"r: {on: track, when: 'label == "person" and score > 70%', message: "{label} {track.id} on {stream}: {score}", labels: {severity: warning}, do: [alert, 'publish("gate")', 'webhook("http://example.org/hook")']}"#;
    let mut engine = engine(&[rule]);
    let firings = engine.observe(&frame(1500, vec![seen(7, 50.0)]));
    let [firing] = &firings[..] else {
        panic!("{firings:?}");
    };
    assert_eq!(firing.phase, Phase::Begin);
    assert!(firing.alerts);
    assert_eq!(firing.actions.len(), 3);
    let event = &firing.event;
    assert_eq!(event.id, "yard/r/7/1500");
    assert_eq!(
        (event.rule.as_str(), event.generation, event.track),
        ("r", 3, Some(7))
    );
    assert_eq!(event.label.as_deref(), Some("person"));
    assert_eq!(
        (event.sequence_number, event.begin_wall_ms),
        (15, 1_001_500)
    );
    assert_eq!(
        (event.score, event.bounds),
        (Some(0.75), Some(seen(7, 50.0).bounds))
    );
    assert_eq!(event.message, "person 7 on yard: 0.75");
    assert_eq!(event.labels["severity"], "warning");
    let deliveries = event.deliveries.iter();
    let deliveries: Vec<_> = deliveries
        .map(|one| (one.kind, one.target.as_str()))
        .collect();
    assert_eq!(
        deliveries,
        [
            (DeliveryKind::Publish, "gate"),
            (DeliveryKind::Webhook, "http://example.org/hook")
        ]
    );
    assert_eq!(engine.events_now(), 1);

    let mut ended = engine.finish();
    let end = ended.pop().expect("it ends with the stream");
    assert!(ended.is_empty());
    let expected = Event {
        end_pts_ns: Some(1500 * MS_NS),
        ..event.clone()
    };
    assert_eq!((end.phase, end.event), (Phase::End, expected));
    assert_eq!(engine.events_now(), 0);
}

#[test]
fn rules_that_only_draw_fire_without_an_alert() {
    let rules = [
        "a: {on: track, when: in_zone(left), do: ['draw(color: \"#102030\")']}",
        "b: {on: track, when: 'true', do: [alert, 'draw(color: \"#405060\")']}",
    ];
    let mut engine = engine(&rules);
    let firings = engine.observe(&frame(0, vec![seen(1, 50.0), seen(2, 150.0)]));
    let alerts: Vec<_> = firings
        .iter()
        .map(|firing| (&*firing.event.rule, firing.alerts))
        .collect();
    assert_eq!(alerts, [("a", false), ("b", true), ("b", true)]);
    assert_eq!(engine.events_now(), 2);
    assert_eq!(
        engine.color_of(1),
        Some([0x10, 0x20, 0x30]),
        "the first rule wins"
    );
    assert_eq!(engine.color_of(2), Some([0x40, 0x50, 0x60]));
    assert_eq!(engine.color_of(3), None);
    let unseen = (FORGET_MS + 100) / 100;
    for index in 1..=unseen {
        engine.observe(&frame(index * 100, vec![seen(2, 150.0)]));
    }
    assert_eq!((engine.color_of(1), engine.events_now()), (None, 1));
}

#[test]
fn tracks_do_not_share_state() {
    let mut engine = engine(&["r: {on: track, when: in_zone(left), for: 200ms, gap: 0s}"]);
    let mut all = Vec::new();
    for step in 0..4 {
        let x = if step == 1 { 150.0 } else { 50.0 };
        for firing in engine.observe(&frame(step * 100, vec![seen(1, 50.0), seen(2, x)])) {
            all.push((firing.event.track, firing.event.begin_pts_ns / MS_NS));
        }
    }
    assert_eq!(all, [(Some(1), 200)]);
}

#[test]
fn time_that_goes_back_a_lot_begins_everything_anew() {
    let mut engine = engine(&["r: {on: track, when: in_zone(left), for: 300ms}"]);
    let at = |pts_ms| frame(pts_ms, vec![seen(1, 50.0)]);
    for pts_ms in [5000, 5300] {
        engine.observe(&at(pts_ms));
    }
    assert_eq!(engine.events_now(), 1);
    // A frame out of order changes nothing.
    let late = at(5300 - STEP_BACK_NS_MAX / MS_NS);
    assert!(engine.observe(&late).is_empty());
    assert_eq!(short(&engine.observe(&at(100))), ["r E5300"]);
    assert!(
        engine.observe(&at(300)).is_empty(),
        "it has held for 200 ms"
    );
    assert_eq!(short(&engine.observe(&at(400))), ["r B400"]);
}

#[test]
fn a_stream_that_ends_leaves_nothing() {
    let mut engine = engine(&["r: {on: track, when: in_zone(left), for: 200ms}"]);
    assert_eq!(told(&mut engine, &records("+++")), ["r B200", "r E200"]);
    assert_eq!(told(&mut engine, &records("++")), [""; 0]);
    let event = first_event("r: {on: track, when: track.hits > 2}", &records("++  c+"));
    assert_eq!(event.begin_pts_ns, 500 * MS_NS, "predicted is no hit");
}
