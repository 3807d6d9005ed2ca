use std::path::Path;
use std::sync::Arc;

use contract::motion::Cells;
use dsl::RuleFile;

use super::*;

const RULES: &str = "\
zones: {dock: {polygon: [[0.1, 0.5], [0.4, 0.5], [0.4, 1.0], [0.1, 1.0]]}}
rules:
  loitering:
    on: track
    when: in_zone(dock)
    for: 2s
    labels: {severity: warning}
    message: \"track {track.id}\"
  crowd:
    on: frame
    when: count(in_zone(dock)) > 1
";

fn rules() -> Arc<RuleFile> {
    let parsed = RuleFile::parse_checked(RULES, Path::new("rules.yaml"));
    Arc::new(parsed.expect("right"))
}

fn read(text: &str) -> TestFile {
    let rendered = |problems: Vec<Diagnostic>| {
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| problem.render(text))
            .collect();
        lines.join("\n")
    };
    parse(text, Path::new("a.test.yaml"))
        .unwrap_or_else(|problems| panic!("{}", rendered(problems)))
}

/// One case with one track that stands in the dock from 0 s to 6 s.
fn case(expect: &str) -> Case {
    let text = format!(
        "rules: rules.yaml
cases:
  stands:
    tracks:
      7: {{label: person, path: [{{at: 0s, foot: [0.2, 0.8]}}, {{at: 6s, foot: [0.2, 0.8]}}]}}
    expect: {expect}
"
    );
    read(&text).cases.remove(0)
}

#[test]
fn what_is_as_expected_differs_in_nothing() {
    for expect in [
        "[{rule: loitering, track: 7, begin: 2s, end: 6s}]",
        // One frame of tolerance to both sides.
        "[{rule: loitering, track: 7, begin: 1.9s, end: 6.1s}]",
        "[{rule: loitering, track: 7, begin: 2.1s}]",
        "[{rule: loitering, track: 7, begin: 2s, message: track 7, labels: {severity: warning}}]",
    ] {
        let outcome = case(expect).judge(&rules());
        assert_eq!(outcome.differences, [], "{expect}");
        assert_eq!(outcome.fired.len(), 1);
    }
}

/// `rule/track name: expected | got`
fn differences(case: &Case) -> Vec<String> {
    let outcome = case.judge(&rules());
    let lines = outcome.differences.iter().flat_map(|difference| {
        let track = difference.track.map_or("-".to_owned(), |id| id.to_string());
        let key = format!("{}/{track}", difference.rule);
        difference.fields.iter().map(move |field| {
            let side = |text: &Option<String>| text.clone().unwrap_or("nothing".to_owned());
            let (expected, got) = (side(&field.expected), side(&field.got));
            format!("{key} {}: {expected} | {got}", field.name)
        })
    });
    lines.collect()
}

#[test]
fn what_differs_is_said() {
    for (expect, lines) in [
        (
            "[]",
            vec!["loitering/7 begin: nothing | 0:02.000 (frame 20), \"track 7\""],
        ),
        (
            "[{rule: loitering, track: 7, begin: 2.3s, end: 5s}]",
            vec![
                "loitering/7 begin: 0:02.300 (frame 23) | 0:02.000 (frame 20)",
                "loitering/7 end: 0:05.000 (frame 50) | 0:06.000 (frame 60)",
            ],
        ),
        (
            "[{rule: loitering, track: 7, begin: 2s, message: other, labels: {}}]",
            vec![
                "loitering/7 message: \"other\" | \"track 7\"",
                "loitering/7 labels: {} | {severity: warning}",
            ],
        ),
        (
            "[{rule: loitering, track: 7, begin: 2s}, {rule: crowd, begin: 1s}]",
            vec!["crowd/- begin: 0:01.000 (frame 10) | nothing"],
        ),
        (
            "[{rule: loitering, track: 7, begin: 2s}, {rule: loitering, track: 7, begin: 4s}]",
            vec!["loitering/7 begin: 0:04.000 (frame 40) | nothing"],
        ),
    ] {
        assert_eq!(differences(&case(expect)), lines, "{expect}");
    }
}

#[test]
fn rules_that_are_not_looked_at_may_fire() {
    let mut case = case("[]");
    let span = 0..0;
    let text = "crowd".to_owned();
    case.only = vec![Written { text, span }];
    assert_eq!(case.judge(&rules()).differences, []);
}

#[test]
fn a_scene_becomes_the_frames_of_a_render_worker() {
    let file = read(
        "rules: rules.yaml
size: 100x100
fps: 4
start: '2025-01-06 08:00:00Z'
cases:
  walk:
    length: 4s
    motion: [{during: 1s..2s, area: [0, 0, 0.5, 0.5]}]
    skipped: [3s..4s]
    tracks:
      1:
        label: person
        size: [0.2, 0.4]
        path:
          - {at: 0s, foot: [0.2, 0.5], score: 80%}
          - {at: 1s, score: 40%, attributes: {colour: red}}
          - {at: 2s, foot: [0.6, 0.7], sharpness: 1.5, landmarks: 5}
          - {at: 4s, foot: [0.6, 0.7]}
        absent: [0.5s..1s]
        predicted: [1.5s..2s]
    expect: []
",
    );
    let frames: Vec<_> = file.cases[0].frames().collect();
    assert_eq!(frames.len(), 17);
    let quarter = |index: usize| &frames[index];
    assert_eq!(quarter(4).pts_ns, 1_000_000_000);
    assert_eq!(quarter(4).wall_ms, 1_736_150_401_000);

    let first = &quarter(0).objects[0];
    assert_eq!(first.score, Some(0.8));
    let bounds = first.bounds;
    assert_eq!(
        [bounds.x1, bounds.y1, bounds.x2, bounds.y2],
        [10.0, 10.0, 30.0, 50.0]
    );
    assert!(quarter(2).objects.is_empty() && quarter(3).objects.is_empty());
    // Halfway between the feet at 0 s and 2 s, though a waypoint without a foot is there.
    let halfway = &quarter(4).objects[0];
    assert_eq!((halfway.bounds.x1, halfway.score), (30.0, Some(0.4)));
    assert_eq!(quarter(6).objects[0].score, None, "predicted");
    let sharp = &quarter(8).objects[0];
    assert_eq!(sharp.quality.expect("measured").sharpness, 150);
    assert_eq!(sharp.landmarks, 5);

    let known: Vec<_> = (0..17)
        .filter(|index| !frames[*index].attributes.is_empty())
        .collect();
    assert_eq!(known, [4]);

    assert_eq!(quarter(3).moved, Cells::default());
    assert!((quarter(4).motion - 0.25).abs() < 1e-6);
    assert_eq!(quarter(7).moved.count(), 16 * 9);
    assert!(quarter(8).motion.abs() < f32::EPSILON);

    assert!(quarter(11).skip.is_none() && quarter(12).skip.is_some());
    assert_eq!(quarter(12).objects[0].score, None, "nobody looked");
    assert!(quarter(16).skip.is_none(), "the end is outside");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (text, lines) in [
        ("", vec!["1:1 T0105 the test file is empty"]),
        ("rules: [", vec!["1:8 T0102 not valid YAML"]),
        (
            "rule: a.yaml\n",
            vec![
                "1:1 T0104 a test file has no key `rule`",
                "1:1 T0105 a test file needs the key `rules`",
                "1:1 T0105 a test file needs the key `cases`",
            ],
        ),
        (
            "rules: a.yaml\nfps: fast\ncases:\n  a: {length: 5, expect: []}\n  b: {length: 5s}\n",
            vec![
                "2:6 T0107 `fast` is not a frame rate",
                "4:15 T0107 `5` is not a duration",
                "5:3 T0105 case `b` needs the key `expect`",
            ],
        ),
        (
            "rules: a.yaml\ncases:\n  a:\n    tracks:\n      x: {label: person, path: []}\n      2: {path: [{at: 1s}]}\n    expect: {}\n",
            vec![
                "5:7 T0107 `x` is not a track's id",
                "5:32 T0107 the path has no waypoint",
                "6:7 T0105 track `2` needs the key `label`",
                "6:18 T0107 the first waypoint does not say where",
                "7:13 T0106 expected a list, found a mapping",
            ],
        ),
        (
            "rules: a.yaml\ncases:\n  a:\n    tracks:\n      2: {label: a, path: [{at: 1s, foot: [0, 2]}, {at: 1s}], absent: [3s..2s]}\n    expect: [{rule: b}]\n",
            vec![
                "5:47 T0107 `2` is not a part of the picture",
                "5:72 T0107 `3s..2s` is not a time from and to",
                "6:14 T0105 what is expected needs the key `begin`",
            ],
        ),
        (
            "rules: a.yaml\ncases:\n  a: {expect: []}\n  b: {length: 100h, fps: 240, expect: []}\n  c: {lenght: 1s, expect: []}\n",
            vec![
                "3:3 T0107 case `a` has no length",
                "4:3 T0108 case `b` has",
                "5:3 T0107 case `c` has no length",
                "5:7 T0104 case `c` has no key `lenght`",
            ],
        ),
    ] {
        let problems = parse(text, Path::new("a.test.yaml")).expect_err(text);
        let told: Vec<_> = problems
            .iter()
            .map(|it| format!("{}:{} {} {}", it.line, it.column, it.code, it.message))
            .collect();
        let as_expected = told.len() == lines.len()
            && told
                .iter()
                .zip(&lines)
                .all(|(told, line)| told.starts_with(line));
        assert!(as_expected, "{told:#?}\nis not {lines:#?}");
    }
}

#[test]
fn names_are_checked_against_the_rule_file() {
    let text = "\
rules: rules.yaml
cases:
  a:
    only: [loitring, loitering]
    tracks: {7: {label: person, path: [{at: 0s, foot: [0, 0]}, {at: 1s}]}}
    expect:
      - {rule: loitering, begin: 1s}
      - {rule: loitering, track: 8, begin: 1s}
      - {rule: crowd, begin: 1s}
  b:
    length: 1s
    expect:
      - {rule: crowd, track: 7, begin: 1s}
      - {rule: throng, begin: 1s}
";
    let file = Path::new("a.test.yaml");
    let problems = read(text).check_names(file, text, &rules());
    let told: Vec<_> = problems
        .iter()
        .map(|it| format!("{} {} {}", it.line, it.code, it.message))
        .collect();
    assert_eq!(
        told,
        [
            "4 T0109 the rule file has no rule `loitring`",
            "7 T0105 `loitering` is about tracks: say which one",
            "8 T0110 the case has no track 8",
            "9 T0107 `crowd` is expected, but `only` leaves it out",
            "13 T0110 `crowd` is not about tracks, so it cannot fire for track 7",
            "14 T0109 the rule file has no rule `throng`",
        ]
    );
    assert_eq!(
        problems[0].help.as_deref(),
        Some("did you mean `loitering`?")
    );
}

#[test]
fn the_default_time_out_is_that_of_run_configs() {
    let text = "run: a\nstreams: {a: {source: test:ball}}\n";
    let config = crate::config::parse(text, Path::new("a.yaml"), &|_| None).expect("right");
    let stream = config.streams.values().next().expect("one");
    let timeout_ns = stream.tracker.lost_timeout.as_nanos();
    assert_eq!(timeout_ns, u128::from(LOST_TIMEOUT_DEFAULT_NS));
}
