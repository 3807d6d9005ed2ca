//! The fast evaluator says what the slow and obvious one says, on random conditions and
//! random scenes; and no text makes anything panic.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use dsl::reference_evaluator::ReferenceEvaluator;
use dsl::{Attribute, RuleFile, Scene, Subject};
use proptest::prelude::*;
use support::{Frame, PLACES, film, rule, track};

const SUBJECTS: [Subject; 3] = [Subject::Track, Subject::Frame, Subject::Stream];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_flat_program_equals_the_reference(
        (on, when) in prop::sample::select(&SUBJECTS[..]).prop_flat_map(|on| {
            sequence(on).prop_map(move |when| (on, when))
        }),
        frames in prop::collection::vec(any_frame(), 1..24),
    ) {
        let rule = rule(on, &when);
        let mut reference = ReferenceEvaluator::new(&rule.when);
        let mut shared = rule.when.shared();
        let mut explained_shared = rule.when.shared();
        let mut memories = BTreeMap::new();
        let mut pts_ns = 10_000_000_000;
        for (step_ns, frame) in frames {
            pts_ns = if step_ns < 0 { 0 } else { pts_ns + step_ns.unsigned_abs() };
            let frame = Frame { pts_ns, ..frame };
            let scene = frame.scene();
            rule.when.begin_frame(&scene, &mut shared);
            rule.when.begin_frame(&scene, &mut explained_shared);
            reference.begin_frame(&scene);
            for subject in subjects(on, &scene) {
                let key = subject.map(|index| scene.tracks[index].id);
                let (memory, explained_memory) = memories
                    .entry(key)
                    .or_insert_with(|| (rule.when.memory(), rule.when.memory()));
                let expected = reference.evaluate(&scene, subject);
                let holds = rule.when.evaluate(&scene, subject, &mut shared, memory);
                prop_assert_eq!(holds, expected, "{} of {:?} at {}", when, key, pts_ns);
                let explained =
                    rule.when
                        .explain(&scene, subject, &mut explained_shared, explained_memory);
                prop_assert_eq!(explained.holds, expected);
                prop_assert_eq!(explained.parts[0].holds, Some(expected), "{}", when);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_soup_of_words_makes_anything_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..24),
        on in prop::sample::select(&["track", "frame", "stream"][..]),
    ) {
        let expression = words.join(" ");
        let text = format!(
            "{PLACES}gates:\n  people: |\n    {expression}\nrules:\n  r:\n    on: {on}\n    when: |\n      {expression}\n    message: |\n      {{{expression}}}\n"
        );
        match RuleFile::parse_checked(&text, Path::new("f")) {
            Ok(file) => {
                let rule = &file.rules[0];
                support::holding(rule, &film());
            }
            Err(faults) => {
                for fault in &faults {
                    prop_assert!(text.get(fault.span.clone()).is_some());
                    prop_assert!(!fault.render(&text).is_empty());
                }
            }
        }
    }
}

fn subjects(on: Subject, scene: &Scene<'_>) -> Vec<Option<usize>> {
    match on {
        Subject::Track => (0..scene.tracks.len()).map(Some).collect(),
        _ => vec![None],
    }
}

/// What stands behind `when:`.
fn sequence(on: Subject) -> impl Strategy<Value = String> {
    let step = (condition(on), prop::option::weighted(0.3, duration())).prop_map(
        |(condition, absent_for)| match absent_for {
            Some(duration) => format!("not ({condition}) for {duration}"),
            None => format!("({condition})"),
        },
    );
    let steps = prop::collection::vec(step, 1..5);
    (steps, prop::option::of(duration())).prop_map(|(steps, within)| match within {
        Some(within) if steps.len() > 1 => format!("{} within {within}", steps.join(" -> ")),
        _ => steps.join(" -> "),
    })
}

fn condition(on: Subject) -> BoxedStrategy<String> {
    let own = match on {
        Subject::Track => test_of_track(false).boxed(),
        _ => test_of_frame().boxed(),
    };
    let leaf = prop_oneof![
        3 => own,
        1 => test_of_frame(),
        4 => aggregate(on),
        2 => remembering(on),
    ];
    joined(leaf)
}

/// Conditions out of tests.
fn joined(leaf: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|terms| format!("({})", terms.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|terms| format!("({})", terms.join(" or "))),
            inner.prop_map(|term| format!("not ({term})")),
        ]
    })
    .boxed()
}

/// A test of one track; `counted`: in an aggregate of a rule `on: track`.
fn test_of_track(counted: bool) -> impl Strategy<Value = String> {
    let tests = [
        "label == \"person\"",
        "label != \"car\"",
        "label in [\"car\", \"person\"]",
        "label matches \"^(car|suit)\"",
        "score > 0.5",
        "score <= raw_score",
        "raw_score == 0",
        "score in [0.25, 0.5]",
        "score in 25%..75%",
        "in_zone(street)",
        "in_zone(dock)",
        "entered(dock)",
        "left(street)",
        "crossed(gate)",
        "crossed(gate, right_to_left)",
        "dwell(dock) > 1s",
        "distance(dock) < 0.3",
        "distance(gate) >= 0.2",
        "track.speed > 0.4",
        "track.direction < 180",
        "track.direction != 90",
        "quality.best >= 0.5",
        "quality.sharpness == quality.sharpness",
        "attribute(\"color\") == \"red\"",
        "attribute(\"color\") != label",
        "box.width < box.height",
        "track.age > 500ms",
        "landmarks > 2",
        "depth < 0.5",
    ];
    let of_pair = if counted {
        "distance(track) < 0.6"
    } else {
        "true"
    };
    prop_oneof![
        6 => prop::sample::select(tests.to_vec()).prop_map(str::to_owned),
        2 => Just(of_pair.to_owned()),
    ]
}

fn test_of_frame() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "true",
        "false",
        "motion > 0.5",
        "motion(dock) > 0.5",
        "tracks > 2",
        "events > 0",
        "fps > 5",
        "clock(\"Europe/Berlin\").minute < 30",
        "clock(\"UTC\").weekday in [\"monday\", \"friday\"]",
        "clock(\"Asia/Kolkata\").time > 12h",
        "stream.name == \"yard\"",
        "stream.label(\"site\") != \"north\"",
    ])
    .prop_map(str::to_owned)
}

fn aggregate(on: Subject) -> impl Strategy<Value = String> {
    let each =
        || joined(prop_oneof![4 => test_of_track(on == Subject::Track), 1 => test_of_frame()]);
    let value = if on == Subject::Track {
        vec![
            "score",
            "track.direction",
            "dwell(dock)",
            "landmarks",
            "distance(track)",
        ]
    } else {
        vec![
            "score",
            "track.direction",
            "dwell(dock)",
            "landmarks",
            "distance(gate)",
        ]
    };
    let fold = (
        prop::sample::select(vec!["min", "max", "avg"]),
        prop::sample::select(value),
        prop::option::of(each()),
    )
        .prop_map(|(fold, value, filter)| {
            let limit = match value {
                "track.direction" => "100",
                "dwell(dock)" => "1s",
                "landmarks" => "2",
                _ => "0.5",
            };
            match filter {
                Some(filter) => format!("{fold}({value}, {filter}) > {limit}"),
                None => format!("{fold}({value}) > {limit}"),
            }
        });
    prop_oneof![
        each().prop_map(|each| format!("exists({each})")),
        each().prop_map(|each| format!("all({each})")),
        (each(), each()).prop_map(|(each, filter)| format!("all({each}, {filter})")),
        (each(), 0..3).prop_map(|(each, limit)| format!("count({each}) > {limit}")),
        (each(), 0..4, duration())
            .prop_map(|(each, limit, window)| format!("(count({each}) > {limit} within {window})")),
        (each(), 0..90, duration())
            .prop_map(|(each, limit, window)| format!("rate({each}, {window}) > {limit}")),
        fold,
    ]
}

fn remembering(on: Subject) -> impl Strategy<Value = String> {
    let each = || joined(test_of_track(on == Subject::Track));
    let mut values = vec!["tracks", "motion", "min(score)", "stream.name"];
    let mut own = test_of_frame().boxed();
    if on == Subject::Track {
        values.extend(["label", "score", "attribute(\"color\")", "track.direction"]);
        own = test_of_track(false).boxed();
    }
    prop_oneof![
        duration().prop_map(|interval| format!("every({interval})")),
        prop::sample::select(values).prop_map(|value| format!("changed({value})")),
        each().prop_map(|each| format!("changed(count({each}))")),
        each().prop_map(|each| format!("changed(rate({each}, 2s))")),
        own.prop_map(|own| format!("changed({own} or every(1s))")),
    ]
}

fn duration() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["100ms", "500ms", "1s", "2s", "5s"]).prop_map(str::to_owned)
}

/// A frame, and event time since the one before; below 0: it goes back to the beginning.
fn any_frame() -> impl Strategy<Value = (i64, Frame)> {
    let step_ns = prop_oneof![
        1 => Just(-1),
        1 => Just(0),
        10 => prop::sample::select(vec![100_000_000, 500_000_000, 1_000_000_000]),
        1 => Just(3_000_000_000),
    ];
    let tracks = prop::collection::vec(prop::option::weighted(0.7, any::<[u8; 12]>()), 4);
    (step_ns, tracks, any::<[u8; 6]>()).prop_map(|(step_ns, tracks, dice)| {
        let mut frame = Frame {
            motion: quarter(dice[0]),
            zone_motion: vec![quarter(dice[1]), quarter(dice[2])],
            fps: f32::from(dice[3] % 10),
            events: u32::from(dice[4] % 2),
            wall_ms: i64::from(dice[5]) * 1_300_000_000,
            tracks: Vec::new(),
            dwell_ns: Vec::new(),
            attributes: Vec::new(),
            ..film().swap_remove(0)
        };
        for (id, dice) in (1..).zip(tracks) {
            if let Some(dice) = dice {
                add_track(&mut frame, id, dice);
            }
        }
        (step_ns, frame)
    })
}

fn add_track(frame: &mut Frame, id: u64, dice: [u8; 12]) {
    let known = |die: u8| (!die.is_multiple_of(4)).then(|| quarter(die / 4));
    let first = u32::try_from(frame.attributes.len()).expect("a few attributes");
    let attributes = u32::from(dice[0] % 2);
    if attributes > 0 {
        frame.attributes.push(Attribute {
            name: "color".to_owned(),
            value: ["red", "blue", ""][usize::from(dice[0]) % 3].to_owned(),
        });
    }
    frame.dwell_ns.push(0);
    frame.dwell_ns.push(u64::from(dice[1] % 3) * 1_000_000_000);
    frame.tracks.push(dsl::TrackFacts {
        score: quarter(dice[2]),
        raw_score: known(dice[3]),
        age_ns: u64::from(dice[4]) * 10_000_000,
        width: quarter(dice[5]),
        height: quarter(dice[5] / 4),
        foot: [quarter(dice[6]), quarter(dice[6] / 4)],
        speed: quarter(dice[7]),
        direction: (!dice[7].is_multiple_of(3)).then_some(f32::from(dice[7])),
        zones: u64::from(dice[8] % 4),
        entered: u64::from(dice[9] % 4),
        left: u64::from(dice[9] / 4 % 4),
        crossed_right: u64::from(dice[10] % 2),
        crossed_left: u64::from(dice[10] / 2 % 2),
        sharpness: known(dice[11]),
        best: known(dice[11] / 4),
        landmarks: dice[11] % 5,
        depth: known(dice[10] / 4),
        attributes: (first, attributes),
        ..track(id, u16::from(dice[1] / 4 % 3))
    });
}

fn quarter(die: u8) -> f32 {
    f32::from(die % 5) / 4.0
}

const WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ",",
    "and",
    "or",
    "not",
    "in",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    "->",
    "within",
    "for",
    "matches",
    "..",
    "label",
    "score",
    "track.age",
    "track",
    "box.x",
    "motion",
    "tracks",
    "in_zone(dock)",
    "crossed(gate)",
    "distance",
    "every",
    "changed",
    "count",
    "exists",
    "all",
    "avg",
    "rate",
    "clock(\"UTC\").hour",
    "dock",
    "\"person\"",
    "\"",
    "0.6",
    "60%",
    "10s",
    "true",
    "ü",
    "'",
];
