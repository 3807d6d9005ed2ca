//! Rules on the walking-people clip fire where a person who watches it says they should, and
//! nowhere else; a replay of what was stored says the same; the explanations name the reasons.
//!
//! The frame numbers below were read off the clip's pictures with the zones and the line drawn
//! onto them, not off what Sluice said of it.

use crate::site::{RUN_TIMEOUT, Site};
use crate::whole_job::frames_of;

const CONFIG: &str = "
run: clip
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    pace: fast
    size: 768x576
    queue: {policy: wait}
    infer: [people]
    outputs: [{record: yard}]
rules: clip.rules.yaml
";

pub(crate) const RULES: &str = include_str!("clip.rules.yaml");

/// A firing that a person who watches the clip expects.
struct Expected {
    rule: &'static str,
    /// Frames at which it may begin, counted from 0.
    frames: std::ops::RangeInclusive<i64>,
    /// Where its person stands then: the middle of the box's bottom edge, in pixels.
    place: Option<(f64, f64)>,
    what: &'static str,
}

const fn expect(
    rule: &'static str,
    frames: std::ops::RangeInclusive<i64>,
    place: Option<(f64, f64)>,
    what: &'static str,
) -> Expected {
    Expected {
        rule,
        frames,
        place,
        what,
    }
}

#[rustfmt::skip]
const EXPECTED: [Expected; 12] = [
    expect("deserted", 98..=104, None, "nobody at the path's end since the clip began"),
    expect("walks_out", 199..=204, Some((92.0, 213.0)), "light blue jacket, white cap"),
    expect("walks_out", 222..=228, Some((92.0, 247.0)), "black shirt, blue jeans"),
    expect("crowd", 320..=345, None, "six, since the tall one at the lamp post came in"),
    expect("deserted", 416..=428, None, "the man in black stepped out of the path's end at 320"),
    expect("walks_out", 558..=564, Some((92.0, 236.0)), "red jacket"),
    expect("off_the_grass", 597..=608, Some((470.0, 400.0)), "the man in red and black steps onto the road"),
    expect("comes_in", 619..=626, Some((92.0, 240.0)), "red jacket, back again"),
    expect("loitering", 622..=634, Some((345.0, 540.0)), "the blonde woman: on the grass since frame 504"),
    expect("crowd", 700..=716, None, "six, since the one in the blue jacket came in from the right"),
    expect("walks_out", 726..=732, Some((92.0, 250.0)), "blue jacket"),
    expect("off_the_grass", 744..=756, Some((175.0, 275.0)), "the blonde woman steps onto the path"),
];

/// How far from its place a person may be found, in pixels: half a stride and a rough eye.
const PLACE_TOLERANCE_PX: f64 = 60.0;

#[test]
fn rules_fire_where_a_watching_person_says_and_a_replay_says_the_same() {
    let site = Site::new();
    let rules = site.file("clip.rules.yaml", RULES);
    let mut run = site.run(&site.config(CONFIG), &[]);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    site.database().assert_closed();

    every_firing_is_expected(&site, "");
    the_clip_and_the_snapshot_show_it(&site);
    let rules = rules.display().to_string();
    a_replay_gives_the_same(&site, &rules);
    a_changed_threshold_shows_as_a_difference(&site);
    the_reasons_are_given(&site);
}

/// The firings that the store holds, those of one rule aside, matched one to one with those
/// that are expected.
pub(crate) fn every_firing_is_expected(site: &Site, but_of: &str) {
    let fired = site.database().rows(
        "SELECT rule, sequence_number, (x1 + x2) / 2, y2 FROM events ORDER BY sequence_number, rule",
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<f64>>(2)?, row.get::<_, Option<f64>>(3)?)),
    );
    let mut left: Vec<&Expected> = EXPECTED.iter().collect();
    for (rule, frame, x, y) in fired.iter().filter(|(rule, ..)| rule != but_of) {
        let is_this = |expected: &&Expected| {
            expected.rule == rule
                && expected.frames.contains(frame)
                && match (expected.place, x, y) {
                    (None, None, None) => true,
                    (Some((at_x, at_y)), Some(x), Some(y)) => {
                        (at_x - x).hypot(at_y - y) <= PLACE_TOLERANCE_PX
                    }
                    _ => false,
                }
        };
        let Some(index) = left.iter().position(is_this) else {
            panic!(
                "{rule} fired in frame {frame} at {x:?}, {y:?}, where nobody sees a reason; all: {fired:?}"
            );
        };
        left.remove(index);
    }
    let missing: Vec<_> = left.iter().map(|e| (e.rule, &e.frames, e.what)).collect();
    assert!(
        missing.is_empty(),
        "did not fire: {missing:?}; all: {fired:?}"
    );
}

fn the_clip_and_the_snapshot_show_it(site: &Site) {
    let file = |kind: &str| {
        let query = "SELECT data_directory || '/' || path FROM files JOIN runs ON runs.id = run
                     WHERE kind = ?1";
        std::path::PathBuf::from(site.database().text(query, [kind]))
    };
    // One second before it fires, and one after it has ended: 12 s on the grass are behind her,
    // and 12 s more before she leaves it.
    let frames = frames_of(&file("clip"));
    assert!((130..=160).contains(&frames), "{frames} frames in the clip");
    let snapshot = std::fs::read(file("snapshot")).expect("the snapshot");
    assert!(snapshot.starts_with(&[0xff, 0xd8, 0xff]), "no JPEG");
}

fn a_replay_gives_the_same(site: &Site, rules: &str) {
    let replay = site.ask(&["rules", "replay", rules, "--run", "last", "--json"]);
    assert_eq!(replay.code, 0, "{}", replay.stderr);
    let said: serde_json::Value = serde_json::from_str(&replay.stdout).expect("JSON");
    let stream = &said["streams"][0];
    let count = |kind: &str| stream[kind].as_array().map(Vec::len);
    assert_eq!(count("same"), Some(EXPECTED.len()), "{said}");
    for kind in [
        "only_then",
        "only_now",
        "began_otherwise",
        "ended_otherwise",
    ] {
        assert_eq!(count(kind), Some(0), "{said}");
    }
}

fn a_changed_threshold_shows_as_a_difference(site: &Site) {
    let changed = RULES
        .replace("for: 12s", "for: 8s")
        .replace("> 5\n", "> 6\n");
    let changed = site
        .file("changed.rules.yaml", &changed)
        .display()
        .to_string();
    let replay = site.ask(&["rules", "replay", &changed, "--run", "last"]);
    assert_eq!(replay.code, 0, "{}", replay.stderr);
    let said = &replay.stdout;
    // She fires four seconds earlier, he fires too, and seven people are never there for 5 s.
    assert!(
        said.contains("loitering") && said.contains("crowd"),
        "{said}"
    );
    assert!(
        !said.contains("walks_out") || said.contains("same"),
        "{said}"
    );
}

fn the_reasons_are_given(site: &Site) {
    let id = site
        .database()
        .text("SELECT id FROM events WHERE rule = 'loitering'", []);
    let why = site.ask(&["rules", "explain", "last", &id]);
    assert_eq!(why.code, 0, "{}", why.stderr);
    for part in ["in_zone(lawn)", "score > 50%", "12s"] {
        assert!(
            why.stdout.contains(part),
            "{part} is not in\n{}",
            why.stdout
        );
    }
    // The one who crossed the path's end in frame 201 never set foot on the grass.
    let walker =
        "SELECT track FROM events WHERE rule = 'walks_out' ORDER BY sequence_number LIMIT 1";
    let walker = site.database().number(walker, []).to_string();
    let arguments = [
        "rules",
        "explain",
        "last",
        "--why-not",
        "loitering",
        "--track",
        &walker,
    ];
    let why_not = site.ask(&arguments);
    assert_eq!(why_not.code, 0, "{}", why_not.stderr);
    assert!(
        why_not.stdout.contains("in_zone(lawn)"),
        "{}",
        why_not.stdout
    );
}
