//! What holds for any run.

use std::sync::Arc;

use analytics::{Firing, Phase, RuleEngine, workload};
use contract::control::FrameRecord;
use dsl::RuleFile;
use proptest::prelude::*;

use crate::script::{MS_NS, engine, file, frame, seen, skipped, spec};

/// What the text of a rule means, computed from the whole history at once.
fn reference(frames: &[(u64, bool)], [for_ms, gap_ms, keep_ms]: [u64; 3]) -> Vec<(u64, u64)> {
    let mut events = Vec::new();
    // Since when it holds, when it held last, when it fired.
    let mut interval: Option<(u64, u64, Option<u64>)> = None;
    let mut interrupted = false;
    for &(pts_ms, holds) in frames {
        interrupted |= !holds;
        if let Some((_, last, fired)) = interval {
            let overlooked_ms = gap_ms + if fired.is_some() { keep_ms } else { 0 };
            if interrupted && pts_ms - last > overlooked_ms {
                events.extend(fired.map(|begin| (begin, last)));
                interval = None;
            }
        }
        if holds {
            interrupted = false;
            let (since, last, fired) = interval.get_or_insert((pts_ms, pts_ms, None));
            *last = pts_ms;
            if pts_ms - *since >= for_ms {
                fired.get_or_insert(pts_ms);
            }
        }
    }
    events.extend(interval.and_then(|(_, last, fired)| Some((fired?, last))));
    events
}

fn rules() -> Arc<RuleFile> {
    file(&[
        "dwell: {on: track, when: in_zone(left), for: 300ms, gap: 200ms}",
        "flip: {on: track, when: entered(right), gap: 0s, limit: {per: rule, every: 1s, max: 2}}",
        "walk: {on: track, when: in_zone(left) -> in_zone(right) within 2s, keep: 500ms}",
        "cross: {on: track, when: 'crossed(middle, left_to_right) or left(left)', gap: 0s}",
        "change: {on: track, when: changed(in_zone(left)), gap: 0s, limit: {per: stream, every: 2s, max: 9}}",
        "tag: {on: track, when: track.speed > 1, do: ['tag(\"fast\")']}",
        "tagged: {on: track, when: 'attribute(\"fast\") == \"true\"', for: 100ms}",
        "alone: {on: frame, when: 'not exists(in_zone(left)) for 1s'}",
        "crowd: {on: frame, when: count(in_zone(right)) > 1 within 1s}",
        "others: {on: track, when: 'count(entered(left)) > 1 within 3s', gap: 0s}",
        "lively: {on: track, when: 'rate(entered(left), 10s) > 8', gap: 0s}",
        "busy: {on: stream, when: 'rate(entered(left), 10s) > 5 and events > 1'}",
        "clock: {on: stream, when: every(700ms), gap: 0s}",
    ])
}

prop_compose! {
    /// Some tracks that wander about, come and go.
    fn any_run()(
        steps in prop::collection::vec(
            (1_u64..400, prop::collection::vec(prop::option::weighted(0.8, 0_u8..200), 4), prop::bool::weighted(0.2)),
            1..60,
        ),
    ) -> Vec<FrameRecord> {
        let mut pts_ms = 0;
        steps.into_iter().map(|(step_ms, places, is_skipped)| {
            pts_ms += step_ms;
            let places = (1..).zip(places);
            let objects = places.filter_map(|(id, x)| Some(seen(id, f32::from(x?))));
            let make = if is_skipped { skipped } else { frame };
            make(pts_ms, objects.collect())
        }).collect()
    }
}

fn all(engine: &mut RuleEngine, records: &[FrameRecord]) -> Vec<Firing> {
    let mut firings: Vec<_> = records
        .iter()
        .flat_map(|record| engine.observe(record))
        .collect();
    firings.extend(engine.finish());
    firings
}

proptest! {
    #[test]
    fn the_state_machine_agrees_with_the_whole_history(
        steps in prop::collection::vec((1_u64..500, any::<bool>()), 1..80),
        for_ms in 0_u64..1500,
        gap_ms in 0_u64..800,
        keep_ms in 0_u64..800,
    ) {
        let rule = format!("r: {{on: track, when: in_zone(left), for: {for_ms}ms, gap: {gap_ms}ms, keep: {keep_ms}ms}}");
        let mut engine = engine(&[&rule]);
        let mut history = Vec::new();
        let mut records = Vec::new();
        let mut pts_ms = 0;
        for (step_ms, holds) in steps {
            pts_ms += step_ms;
            history.push((pts_ms, holds));
            records.push(frame(pts_ms, vec![seen(1, if holds { 50.0 } else { 150.0 })]));
        }
        let ends = all(&mut engine, &records).into_iter().filter(|firing| firing.phase == Phase::End);
        let events: Vec<_> = ends
            .map(|firing| {
                let end = firing.event.end_pts_ns.expect("an end");
                (firing.event.begin_pts_ns / MS_NS, end / MS_NS)
            })
            .collect();
        prop_assert_eq!(events, reference(&history, [for_ms, gap_ms, keep_ms]));
    }

    #[test]
    fn each_event_begins_once_and_ends_once(records in any_run()) {
        let mut engine = RuleEngine::new(rules(), &spec());
        let mut open = std::collections::BTreeMap::new();
        for firing in all(&mut engine, &records) {
            match firing.phase {
                Phase::Begin => {
                    let before = open.insert(firing.event.id.clone(), firing.event);
                    prop_assert!(before.is_none(), "{before:?} began twice");
                }
                Phase::End => {
                    let begun = open.remove(&firing.event.id);
                    let mut event = firing.event;
                    let end = event.end_pts_ns.take().expect("an end");
                    prop_assert!(end >= event.begin_pts_ns);
                    prop_assert_eq!(begun, Some(event));
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?} never ended");
        prop_assert_eq!(engine.events_now(), 0);
    }

    #[test]
    fn reloads_of_the_same_text_change_nothing(
        records in any_run(),
        at in prop::collection::btree_set(0_usize..60, 0..10),
    ) {
        let expected = all(&mut RuleEngine::new(rules(), &spec()), &records);
        let mut engine = RuleEngine::new(rules(), &spec());
        let mut firings = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if at.contains(&index) {
                let reloaded = engine.reload(rules(), spec().generation);
                prop_assert!(reloaded.firings.is_empty());
            }
            firings.extend(engine.observe(record));
        }
        firings.extend(engine.finish());
        prop_assert_eq!(firings, expected);
    }

    #[test]
    fn stored_records_say_what_was_said_live(records in any_run()) {
        let live = all(&mut RuleEngine::new(rules(), &spec()), &records);
        let text = serde_json::to_string(&records).expect("plain data");
        let stored: Vec<FrameRecord> = serde_json::from_str(&text).expect("the same");
        let again = all(&mut RuleEngine::new(rules(), &spec()), &stored);
        prop_assert_eq!(live, again);
    }

    #[test]
    fn an_explainer_tells_what_the_engine_tells(records in any_run(), rule in 0_usize..13) {
        let live = all(&mut RuleEngine::new(rules(), &spec()), &records);
        let rule = &rules().rules[rule];
        let question = analytics::explain::Question {
            rule: rule.name.clone(),
            track: (rule.on == dsl::Subject::Track).then_some(2),
            pts_ns: 0..=u64::MAX,
        };
        let engine = RuleEngine::new(rules(), &spec());
        let mut explainer = analytics::explain::Explainer::new(engine, question).expect("a good question");
        let told: Vec<_> = records.iter().flat_map(|record| explainer.observe(record)).collect();
        prop_assert_eq!(&told[..], &live[..told.len()]);
        let timeline = explainer.finish();
        let track = timeline.track;
        let fired: Vec<_> = timeline.holdings.iter().filter_map(|held| match &held.outcome {
            analytics::explain::Outcome::Fired { at, .. } => Some(at.pts_ns),
            _ => None,
        }).collect();
        let begun = live.iter().filter(|firing| firing.phase == Phase::Begin);
        let begun = begun.filter(|firing| firing.event.rule == rule.name && firing.event.track == track);
        prop_assert_eq!(fired, begun.map(|firing| firing.event.begin_pts_ns).collect::<Vec<_>>());
    }
}

#[test]
fn the_workload_is_played_alike_twice() {
    let run = || {
        let mut engine = workload::engine().expect("good rules");
        let records: Vec<_> = (0..200)
            .map(|number| workload::record(number, 30))
            .collect();
        all(&mut engine, &records)
    };
    assert_eq!(run(), run());
}
