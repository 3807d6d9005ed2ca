//! The best picture of each track on the walking-people clip: there when its track has ended, as
//! the store says it is, and the best of what was seen of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use testkit::process::{Launch, send_signal};
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

const CONFIG: &str = "
run: shots
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    size: 768x576
    infer: [people]
    best_shots: {labels: [person], min_score: 0.5, min_size: 40}
    PACE
";

fn lossless() -> String {
    CONFIG.replace("PACE", "pace: fast\n    queue: {policy: wait}")
}

/// A file that comes to its end in a few seconds, again and again: tracks end there.
fn endless() -> String {
    CONFIG
        .replace("PACE", "pace: live\n    loop: true")
        .replace("walking.mp4", "traffic.mp4")
        .replace("768x576", "640x272")
        .replace("[person]", "[car, person]")
}

/// A row of the store.
struct Shot {
    path: String,
    track: i64,
    width: i64,
    height: i64,
    value: f64,
    sequence_number: i64,
}

fn shots(site: &Site) -> Vec<Shot> {
    site.database().rows(
        "SELECT data_directory || '/' || path, track, width, height, value, sequence_number
         FROM best_shots JOIN runs ON runs.id = run WHERE cause = 'ended' ORDER BY track",
        |row| {
            Ok(Shot {
                path: row.get(0)?,
                track: row.get(1)?,
                width: row.get(2)?,
                height: row.get(3)?,
                value: row.get(4)?,
                sequence_number: row.get(5)?,
            })
        },
    )
}

/// The size of a picture, decoded by another program.
fn size_of(path: &Path) -> (i64, i64) {
    let mut probe = Launch::new(Path::new("/usr/bin/ffprobe"))
        .arguments(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .arguments(["-show_entries", "stream=width,height,nb_read_frames"])
        .arguments(["-of", "csv=p=0"])
        .arguments([path.display().to_string()])
        .start();
    assert_eq!(probe.exit_code(RUN_TIMEOUT), 0, "{}", probe.stderr());
    let text = probe.stdout();
    let numbers: Vec<i64> = text.trim().split(',').flat_map(str::parse).collect();
    let [width, height, 1] = numbers[..] else {
        panic!("ffprobe said {text:?} of {}", path.display());
    };
    (width, height)
}

fn counter(site: &Site, name: &str) -> i64 {
    let exists = site.data().join("runs.db").exists();
    let ledger = exists.then(|| site.database().ledger("yard"));
    ledger
        .and_then(|ledger| ledger.get(name).copied())
        .unwrap_or(0)
}

#[test]
fn each_track_leaves_the_best_of_its_pictures() {
    let site = Site::new();
    let mut run = site.run(&site.config(&lossless()), &[]);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(ledger["render.rendered"], 795, "{ledger:?}");

    // Of each person, what was seen in each frame and is good enough; 40 pixels are 320 eighths.
    let best = database.rows(
        "SELECT track, max(score / 1e3 * 10 + sharpness / 1e2)
         FROM detections JOIN classes USING (segment_id, class)
         WHERE label = 'person' AND track IS NOT NULL AND sharpness IS NOT NULL
           AND score >= 500 AND max(x2 - x1, y2 - y1) >= 320
         GROUP BY track",
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    let best: BTreeMap<i64, f64> = best.into_iter().collect();
    let people = "SELECT count(DISTINCT track)
                  FROM detections JOIN classes USING (segment_id, class)
                  WHERE label = 'person' AND score IS NOT NULL";
    let people = database.number(people, []);
    let shots = shots(&site);
    assert!(shots.len() >= 20, "{} people", shots.len());
    assert_eq!(shots.len(), best.len(), "{ledger:?}");
    let written = ledger["render.shots_written"];
    assert_eq!(usize::try_from(written), Ok(shots.len()), "{ledger:?}");
    assert_eq!(ledger["render.shots_ended"], people, "{ledger:?}");
    assert_eq!(ledger["render.shots_poor"], people - written, "{ledger:?}");
    for shot in &shots {
        let value = best[&shot.track];
        assert!(
            (shot.value - value).abs() < 1e-3,
            "track {}: {} is not {value}",
            shot.track,
            shot.value
        );
        assert_eq!(
            size_of(Path::new(&shot.path)),
            (shot.width, shot.height),
            "{}",
            shot.path
        );
        assert!(
            shot.path
                .ends_with(&format!("-{}-{}.jpg", shot.track, shot.sequence_number)),
            "{}",
            shot.path
        );
    }
    let stats = site.ask(&["stats", "last"]).stdout;
    let line = format!("tracks ended {people} = written {written}");
    assert!(
        stats.contains("best shots") && stats.contains(&line),
        "{stats}"
    );
}

#[test]
fn a_killed_render_worker_loses_the_pictures_of_living_tracks_only() {
    let site = Site::new();
    let mut run = site.run(&site.config(&endless()), &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let written = |more: i64| {
        let before = counter(&site, "render.shots_written");
        assert!(
            wait_until(STATE_TIMEOUT, || {
                counter(&site, "render.shots_written") >= before + more
            }),
            "{:?}",
            site.database().ledger("yard")
        );
    };
    written(3);
    let pid = "SELECT pid FROM workers WHERE worker = 'render-yard' AND end_wall_ms IS NULL";
    let pid = u32::try_from(site.database().number(pid, [])).expect("a pid");
    send_signal(pid, Signal::SIGKILL).expect("it lives");
    written(3);
    let children = workers(supervisor);
    run.signal(Signal::SIGINT);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    assert_nothing_left(supervisor, &children);

    let database = site.database();
    database.assert_closed();
    let restarts = "SELECT max(incarnation) FROM workers WHERE worker = 'render-yard'";
    assert_eq!(database.number(restarts, []), 1);
    let ledger = database.ledger("yard");
    let of = |name: &str| ledger[&format!("render.shots_{name}")];
    // What waited in the writer's queue at the kill is told, and no track's end is forgotten.
    let outcomes = of("written") + of("poor") + of("dropped") + of("failed") + of("lost");
    assert_eq!(of("ended"), outcomes, "{ledger:?}");
    let shots = shots(&site);
    let rows = i64::try_from(shots.len()).expect("few");
    // A picture may have been told of and not yet counted.
    assert!(
        (of("written")..=of("written") + of("lost")).contains(&rows),
        "{rows} of {ledger:?}"
    );
    for shot in &shots {
        assert_eq!(size_of(Path::new(&shot.path)), (shot.width, shot.height));
    }
}

#[test]
fn they_come_and_go_while_the_stream_runs_on_and_a_disk_that_refuses_is_told() {
    let site = Site::new();
    let without = endless().replace("best_shots:", "overlay: {} #");
    let path = site.config(&without);
    let mut run = site.run(&path, &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let render = "SELECT pid FROM workers WHERE worker = 'render-yard' AND end_wall_ms IS NULL";
    let before = site.database().number(render, []);
    assert_eq!(counter(&site, "render.shots_ended"), 0);
    // A file stands where their directory would be.
    let directory = "SELECT data_directory FROM runs";
    let directory = site.database().text(directory, []);
    let in_the_way = Path::new(&directory).join("shots");
    fs::write(&in_the_way, "no directory").expect("a file");
    let save = |text: &str, generation: i64| {
        let new = site.file("run.new", text);
        fs::rename(new, &path).expect("its place");
        let outcome =
            "SELECT coalesce(max(outcome), 'none') FROM generations WHERE generation = ?1";
        let applied = || site.database().text(outcome, [generation]) == "applied";
        assert!(
            wait_until(STATE_TIMEOUT, applied),
            "generation {generation}"
        );
    };
    let grows = |name: &str| {
        assert!(
            wait_until(STATE_TIMEOUT, || counter(&site, name) > 0),
            "{name}: {:?}",
            site.database().ledger("yard")
        );
    };
    save(&endless(), 1);
    grows("render.shots_failed");
    fs::remove_file(in_the_way).expect("it was there");
    grows("render.shots_written");
    save(&without, 2);
    assert_eq!(
        site.database().number(render, []),
        before,
        "it was replaced"
    );

    let children = workers(supervisor);
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0);
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    assert_eq!(ledger["render.lost_in_worker"], 0, "{ledger:?}");
    assert_eq!(ledger["ingest.lost"], 0, "{ledger:?}");
}
