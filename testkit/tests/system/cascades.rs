//! Continuous cascades: each track is shown to a second model again and again, as often as the
//! config says and no more; what comes back is an attribute that rules see, live and in a replay.

use std::fs;

use nix::sys::signal::Signal;
use testkit::wait::wait_until;

use crate::cascade::{a_replay_gives_the_same, counter, finish};
use crate::site::{STATE_TIMEOUT, Site, assert_nothing_left, workers};

/// The model that looks at crops finds people, too: on the crop of a person it says "person".
const WALKING: &str = "
run: cascades
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
  second: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.3}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    size: 768x576
    infer: [people]
    cascades: CASCADES
    PACE
rules: cascade.rules.yaml
";

/// The upper end of the path lies outside, where people are small.
const RULES: &str = r#"
zones:
  near: {polygon: [[0, 0.4], [1, 0.4], [1, 1], [0, 1]]}
rules:
  confirmed: {on: track, when: attribute("second") == "person"}
"#;

const NEAR: &str =
    "[{model: second, of: person, every: 1s, when: in_zone(near) and score > 50%, until: UNTIL}]";

fn lossless(cascades: &str) -> String {
    WALKING
        .replace("CASCADES", cascades)
        .replace("PACE", "pace: fast\n    queue: {policy: wait}")
}

fn endless(cascades: &str) -> String {
    WALKING
        .replace("CASCADES", cascades)
        .replace("PACE", "pace: live\n    loop: true")
}

#[test]
fn each_track_is_shown_as_often_as_the_config_says() {
    for until in ["end", "found"] {
        let site = Site::new();
        site.file("cascade.rules.yaml", RULES);
        let config = lossless(&NEAR.replace("UNTIL", until));
        let mut run = site.run(&site.config(&config), &[]);
        finish(&mut run);
        let database = site.database();
        database.assert_closed();
        let ledger = database.ledger("yard");
        assert_eq!(ledger["render.rendered"], 795, "{ledger:?}");
        let crops = |name: &str| ledger[&format!("crops:second.{name}")];
        let least = if until == "end" { 100 } else { 10 };
        assert!(crops("asked") >= least, "{ledger:?}");
        // A cascade asks when there is room, and waits otherwise.
        assert_eq!(crops("dropped_busy") + crops("lost"), 0, "{ledger:?}");
        assert_eq!(ledger["infer-crops:second.inferred"], crops("published"));
        assert!(crops("expired") <= 8, "only at the end: {ledger:?}");
        let answers = "SELECT count(*) FROM attributes WHERE name = 'second'";
        let answers = database.number(answers, []);
        // What comes after the last frame stands in no record.
        let late = crops("answered") - answers;
        assert!((0..=8).contains(&late), "{answers} of {ledger:?}");

        // A second is ten frames.
        let close =
            "SELECT count(*) FROM attributes AS one JOIN attributes AS other USING (track, name)
                     WHERE other.asked_sequence > one.asked_sequence
                       AND other.asked_sequence < one.asked_sequence + 10";
        assert_eq!(database.number(close, []), 0, "asked too soon");
        // Where the track was seen in the frame that it was cut from, and what it was.
        let wrong = "SELECT count(*) FROM attributes WHERE NOT EXISTS (
                         SELECT 1 FROM detections JOIN classes USING (segment_id, class)
                         WHERE detections.track = attributes.track
                           AND sequence_number = asked_sequence AND label = 'person'
                           AND detections.score IS NOT NULL AND detections.y2 >= 0.4 * 576 * 8)";
        assert_eq!(database.number(wrong, []), 0, "asked of others");
        // What was found lies where the track was, its margin included.
        let outside = "SELECT count(*) FROM attributes JOIN detections
                           ON detections.track = attributes.track
                          AND detections.sequence_number = asked_sequence
                       WHERE attributes.score IS NOT NULL AND (
                           (attributes.x1 + attributes.x2) / 2 NOT BETWEEN detections.x1 AND detections.x2
                        OR (attributes.y1 + attributes.y2) / 2 NOT BETWEEN detections.y1 AND detections.y2)";
        let found = "SELECT count(*) FROM v_attributes WHERE value = 'person' AND score >= 0.3 AND count > 0";
        let found = database.number(found, []);
        assert!(2 * found > crops("answered"), "{found} of {ledger:?}");
        let outside = database.number(outside, []);
        assert!(10 * outside < found, "{outside} of {found}");
        if until == "found" {
            let again =
                "SELECT count(*) FROM attributes AS first JOIN attributes AS other USING (track)
                         WHERE first.count > 0 AND other.asked_sequence > first.sequence_number";
            assert_eq!(database.number(again, []), 0, "asked after it was found");
        }
        let confirmed = "SELECT count(*) FROM events WHERE rule = 'confirmed'";
        assert!(database.number(confirmed, []) >= 5, "{ledger:?}");
        drop(database);
        a_replay_gives_the_same(&site);
    }
}

const FACES: &str = "
run: faces
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
  faces: {file: '{root}/.deps/models/centerface.onnx', family: centerface, input: {size: 192x192}, score: 0.5}
streams:
  car:
    source: '{root}/.deps/clips/carphone.mp4'
    size: 176x144
    pace: fast
    queue: {policy: wait}
    infer: [people]
    cascades:
      - {model: faces, of: [person], every: 500ms, when: box.height > 0.2}
    outputs: [{record: car}]
rules: cascade.rules.yaml
";

#[test]
fn faces_are_found_on_people() {
    let site = Site::new();
    let rules = r#"rules: {face: {on: track, when: attribute("faces") == "face"}}"#;
    site.file("cascade.rules.yaml", rules);
    let mut run = site.run(&site.config(FACES), &[]);
    finish(&mut run);
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("car");
    let answered = ledger["crops:faces.answered"];
    assert!(answered >= 10, "{ledger:?}");
    // The man's face is in full view nearly all of the time.
    let found = "SELECT count(*) FROM v_attributes WHERE name = 'faces' AND value = 'face'
                 AND landmarks = 5 AND x2 - x1 > 20 AND y2 - y1 > 20";
    let found = database.number(found, []);
    assert!(5 * found >= 4 * answered, "{found} of {answered}");
    let events = "SELECT count(*) FROM events WHERE rule = 'face'";
    assert!(database.number(events, []) >= 1);
    drop(database);
    a_replay_gives_the_same(&site);
}

#[test]
fn a_cascade_comes_changes_and_goes_while_the_stream_runs_on() {
    let site = Site::new();
    site.file("cascade.rules.yaml", RULES);
    let path = site.config(&endless("[]"));
    let mut run = site.run(&path, &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let render = "SELECT pid FROM workers WHERE worker = 'render-yard' AND end_wall_ms IS NULL";
    let before = site.database().number(render, []);
    let second =
        "SELECT count(*) FROM workers WHERE worker = 'infer-second' AND end_wall_ms IS NULL";
    assert_eq!(site.database().number(second, []), 0, "nobody uses it");
    let save = |cascades: &str| {
        let new = site.file("run.new", &endless(cascades));
        fs::rename(new, &path).expect("its place");
    };
    let outcome = |generation: i64, wanted: &str| {
        let query = "SELECT coalesce(max(outcome), 'none') FROM generations WHERE generation = ?1";
        let reached = || site.database().text(query, [generation]) == wanted;
        assert!(
            wait_until(STATE_TIMEOUT, reached),
            "generation {generation} is not {wanted}"
        );
    };
    let grows = || {
        let name = "crops:second.answered";
        let begin = counter(&site, name);
        assert!(
            wait_until(STATE_TIMEOUT, || counter(&site, name) > begin),
            "{:?}",
            site.database().ledger("yard")
        );
    };
    let near = NEAR.replace("UNTIL", "end");

    save(&near);
    outcome(1, "applied");
    grows();
    // A condition that never holds: nobody is asked any more, once what is on its way is here.
    save(&near.replace("score > 50%", "score > 200%"));
    outcome(2, "refused");
    let diagnostics = site.database().text(
        "SELECT diagnostics FROM generations WHERE generation = 2",
        [],
    );
    assert!(diagnostics.contains("run.yaml:11:"), "{diagnostics}");
    grows();
    save(&near.replace("score > 50%", "track.hits > 1000000"));
    outcome(3, "applied");
    let asked = counter(&site, "crops:second.asked");
    let rendered = counter(&site, "render.rendered");
    assert!(wait_until(STATE_TIMEOUT, || {
        counter(&site, "render.rendered") > rendered + 30
    }));
    let later = counter(&site, "crops:second.asked");
    assert!(later <= asked + 8, "{later} after {asked}");
    save(&near);
    outcome(4, "applied");
    grows();
    save("[]");
    outcome(5, "applied");
    assert!(
        wait_until(STATE_TIMEOUT, || site.database().number(second, []) == 0),
        "nobody uses it any more"
    );
    assert_eq!(
        site.database().number(render, []),
        before,
        "it was replaced"
    );

    let children = workers(supervisor);
    run.signal(Signal::SIGINT);
    finish(&mut run);
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(ledger["render.lost_in_worker"], 0, "{ledger:?}");
    assert_eq!(ledger["ingest.lost"], 0, "{ledger:?}");
}

/// An aligned face is shown to a model that embeds it, again and again: most vectors are
/// near to each other, for it is one man.
#[test]
fn a_face_is_embedded_upright_and_its_vectors_are_kept() {
    let site = Site::new();
    let config = site.config(
        "
run: identity
models:
  faces: {file: '{root}/.deps/models/centerface.onnx', family: centerface, input: {size: 320x256}, score: 0.5}
  identity: {file: '{root}/.deps/models/mobileface.onnx', family: embedding}
streams:
  yard:
    source: '{root}/.deps/clips/carphone.mp4'
    pace: fast
    queue: {policy: wait}
    infer: [faces]
    cascades: [{model: identity, of: face, every: 500ms}]
",
    );
    let mut run = site.run(&config, &[]);
    finish(&mut run);
    let database = site.database();
    database.assert_closed();
    let vectors = database.rows(
        "SELECT embedding FROM v_attributes WHERE name = 'identity' ORDER BY sequence_number",
        |row| row.get::<_, Vec<u8>>(0),
    );
    let vectors: Vec<Vec<f32>> = vectors
        .iter()
        .map(|bytes| {
            let values = bytes.as_chunks::<4>().0.iter();
            values.map(|value| f32::from_le_bytes(*value)).collect()
        })
        .collect();
    assert!(vectors.len() >= 5, "{} answers", vectors.len());
    assert!(vectors.iter().all(|vector| vector.len() == 256));
    let cosine = |one: &[f32], other: &[f32]| -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    };
    // Of one person over 0.45; at one moment he looks away.
    let pairs = vectors
        .iter()
        .enumerate()
        .flat_map(|(index, one)| vectors[..index].iter().map(move |other| cosine(one, other)));
    let cosines: Vec<f32> = pairs.collect();
    let alike = cosines.iter().filter(|cosine| **cosine > 0.45).count();
    assert!(3 * alike >= 2 * cosines.len(), "{cosines:?}");
}
