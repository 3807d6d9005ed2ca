//! When rules fire and end: exact to the frame.

use std::path::Path;

use analytics::{Firing, FrameContext, Phase, RuleEngine, TrackState, TrackedObject};
use contract::geometry::{BoundingBox, PixelSize};
use dsl::{Action, RuleFile};
use proptest::prelude::*;

const MS_NS: u64 = 1_000_000;

fn engine(rule: &str) -> RuleEngine {
    let text = format!(
        "zones: {{left: {{polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}}}}\nrules: {{rule: {{on: track, {rule}}}}}"
    );
    let file = RuleFile::parse_checked(&text, Path::new("rules.yaml"))
        .unwrap_or_else(|faults| panic!("{}", faults[0].render(&text)));
    RuleEngine::new(&file, "yard".parse().expect("a name"))
}

fn frame(pts_ms: u64) -> FrameContext {
    FrameContext {
        sequence_number: pts_ms / 100,
        pts_ns: pts_ms * MS_NS,
        wall_ms: 1_000_000 + i64::try_from(pts_ms).expect("small"),
        size: PixelSize {
            width: 200,
            height: 100,
        },
        motion: 0.0,
    }
}

/// A track whose feet stand at `x` of 200.
fn track(id: u64, x: f32, state: TrackState) -> TrackedObject {
    TrackedObject {
        id,
        class: 0,
        bounds: BoundingBox {
            x1: x - 10.0,
            y1: 20.0,
            x2: x + 10.0,
            y2: 90.0,
        },
        state,
        detection: None,
        score: (state == TrackState::Seen).then_some(0.9),
        median_score: 0.8,
        age_ns: 0,
        hits: 5,
    }
}

/// `B300` for a begin at 300 ms, `E` for an end at such a time, and when it was told.
fn told(pts_ms: u64, firings: &[Firing]) -> Vec<String> {
    firings
        .iter()
        .map(|firing| match (firing.phase, firing.event.end_pts_ns) {
            (Phase::Begin, None) => format!("B{}@{pts_ms}", firing.event.begin_pts_ns / MS_NS),
            (Phase::End, Some(end)) => format!("E{}@{pts_ms}", end / MS_NS),
            wrong => panic!("{wrong:?}"),
        })
        .collect()
}

/// Plays frames of 10 fps: `+` holds, `-` does not, `c` coasts and holds, `l` is lost
/// inside the zone, ` ` is a frame without the track, `.` is no frame at all.
fn play(rule: &str, frames: &str) -> Vec<String> {
    let mut engine = engine(rule);
    let mut all = Vec::new();
    for (index, what) in (0..).zip(frames.chars()) {
        let pts_ms = index * 100;
        let track = match what {
            '+' => Some(track(1, 50.0, TrackState::Seen)),
            '-' => Some(track(1, 150.0, TrackState::Seen)),
            'c' => Some(track(1, 50.0, TrackState::Coasting)),
            'l' => Some(track(1, 50.0, TrackState::Lost)),
            ' ' => None,
            _ => continue,
        };
        let firings = engine.evaluate(&frame(pts_ms), track.iter().map(|track| (track, "person")));
        all.extend(told(pts_ms, &firings));
    }
    all.extend(told(9999, &engine.finish()));
    all
}

#[test]
fn timing_is_exact_to_the_frame() {
    const IN_ZONE: &str = "when: in_zone(left)";
    for (keys, frames, expected) in [
        ("", "-+++-", &["B100@100", "E300@9999"][..]),
        ("gap: 0s", "-+++-", &["B100@100", "E300@400"]),
        (
            "gap: 0s",
            "+-+-",
            &["B0@0", "E0@100", "B200@200", "E200@300"],
        ),
        ("for: 300ms", "-+++-", &[]),
        ("for: 300ms", "-++++-", &["B400@400", "E400@9999"]),
        // An interruption counts from the last frame that held to the next.
        (
            "for: 500ms, gap: 300ms",
            "+++--+",
            &["B500@500", "E500@9999"],
        ),
        ("for: 500ms, gap: 300ms", "+++---+++", &[]),
        (
            "for: 500ms, gap: 300ms",
            "+++---++++++",
            &["B1100@1100", "E1100@9999"],
        ),
        // Once firing, the same gap ends it, and the end is the last frame that held.
        ("gap: 300ms", "++--+---", &["B0@0", "E400@9999"]),
        (
            "gap: 300ms",
            "++--+----+",
            &["B0@0", "E400@800", "B900@900", "E900@9999"],
        ),
        // It fires once, however long it holds.
        ("for: 200ms", "++++++++++", &["B200@200", "E900@9999"]),
        // Frames that are missing interrupt nothing; a frame that says no does.
        (
            "for: 500ms, gap: 100ms",
            "+....+",
            &["B500@500", "E500@9999"],
        ),
        ("for: 500ms, gap: 100ms", "+...-+", &[]),
        // Not found is an interruption, not looked for is none.
        (
            "for: 500ms, gap: 100ms",
            "+cccc+",
            &["B500@500", "E500@9999"],
        ),
        ("for: 500ms, gap: 100ms", "+llll+", &[]),
        ("gap: 200ms", "+lll", &["B0@0", "E0@300"]),
        // A track that has ended ends its event at once.
        ("gap: 10s", "++  ", &["B0@0", "E100@200"]),
        ("for: 300ms, gap: 10s", "++ ++", &[]),
    ] {
        let comma = if keys.is_empty() { "" } else { ", " };
        let rule = format!("{IN_ZONE}{comma}{keys}");
        assert_eq!(play(&rule, frames), expected, "{keys}: `{frames}`");
    }
}

#[test]
fn an_event_says_all_about_its_begin() {
    let mut engine = engine(
        "when: label == \"person\" and score > 70%, message: '{label} {track.id} on {stream}: {score}', labels: {severity: warning}, do: [snapshot]",
    );
    let (person, car) = (
        track(7, 50.0, TrackState::Seen),
        track(8, 60.0, TrackState::Seen),
    );
    let firings = engine.evaluate(&frame(1500), [(&person, "person"), (&car, "car")]);
    let [firing] = &firings[..] else {
        panic!("{firings:?}");
    };
    assert_eq!(firing.phase, Phase::Begin);
    assert_eq!(
        firing.actions.iter().collect::<Vec<_>>(),
        [&Action::Snapshot]
    );
    let event = &firing.event;
    assert_eq!(event.id, "yard/rule/7/1500");
    assert_eq!((event.rule.as_str(), event.track), ("rule", Some(7)));
    assert_eq!(event.label.as_deref(), Some("person"));
    assert_eq!(
        (event.sequence_number, event.begin_wall_ms),
        (15, 1_001_500)
    );
    assert_eq!(
        (event.score, event.bounds),
        (Some(0.8), Some(person.bounds))
    );
    assert_eq!(event.message, "person 7 on yard: 0.80");
    assert_eq!(event.labels["severity"], "warning");

    let mut ended = engine.evaluate(&frame(1600), []);
    let end = ended.pop().expect("it ends with its track");
    assert!(ended.is_empty());
    assert_eq!(end.phase, Phase::End);
    let expected = contract::event::Event {
        end_pts_ns: Some(1500 * MS_NS),
        ..event.clone()
    };
    assert_eq!(end.event, expected);
}

#[test]
fn tracks_do_not_share_state() {
    let mut engine = engine("when: in_zone(left), for: 200ms, gap: 0s");
    let mut all = Vec::new();
    for step in 0..4 {
        let tracks = [
            track(1, 50.0, TrackState::Seen),
            track(2, if step == 1 { 150.0 } else { 50.0 }, TrackState::Seen),
        ];
        let tracks = tracks.iter().map(|track| (track, "person"));
        for firing in engine.evaluate(&frame(step * 100), tracks) {
            all.push((firing.event.track, firing.event.begin_pts_ns / MS_NS));
        }
    }
    assert_eq!(all, [(Some(1), 200)]);
}

/// What the text of a rule means, computed from the whole history at once.
fn reference(frames: &[(u64, bool)], for_ms: u64, gap_ms: u64) -> Vec<(u64, u64)> {
    let mut intervals: Vec<Vec<u64>> = Vec::new();
    let mut interrupted = true;
    for (pts_ms, holds) in frames {
        if !holds {
            interrupted = true;
            continue;
        }
        let last = intervals.last().and_then(|interval| interval.last());
        let continues = last.is_some_and(|last| !interrupted || pts_ms - last <= gap_ms);
        if !continues {
            intervals.push(Vec::new());
        }
        intervals.last_mut().expect("one").push(*pts_ms);
        interrupted = false;
    }
    intervals
        .iter()
        .filter_map(|interval| {
            let fires = interval
                .iter()
                .find(|pts_ms| *pts_ms - interval[0] >= for_ms)?;
            Some((*fires, *interval.last()?))
        })
        .collect()
}

proptest! {
    #[test]
    fn the_state_machine_agrees_with_the_whole_history(
        steps in prop::collection::vec((1_u64..500, any::<bool>()), 1..80),
        for_ms in 0_u64..1500,
        gap_ms in 0_u64..800,
    ) {
        let mut engine = engine(&format!("when: in_zone(left), for: {for_ms}ms, gap: {gap_ms}ms"));
        let mut history = Vec::new();
        let mut fired = Vec::new();
        let mut pts_ms = 0;
        for (step_ms, holds) in steps {
            pts_ms += step_ms;
            history.push((pts_ms, holds));
            let track = track(1, if holds { 50.0 } else { 150.0 }, TrackState::Seen);
            fired.extend(engine.evaluate(&frame(pts_ms), [(&track, "person")]));
        }
        fired.extend(engine.finish());
        let fired: Vec<_> = fired
            .iter()
            .filter(|firing| firing.phase == Phase::End)
            .map(|firing| {
                let end = firing.event.end_pts_ns.expect("an end");
                (firing.event.begin_pts_ns / MS_NS, end / MS_NS)
            })
            .collect();
        prop_assert_eq!(fired, reference(&history, for_ms, gap_ms));
    }
}
