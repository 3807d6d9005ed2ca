//! A run whose rules and config are edited while it lives: nothing is lost, what was not
//! touched goes on as if nothing had happened, and nonsense changes nothing.

use std::fs;
use std::path::Path;

use rusqlite::params;
use testkit::process::Process;
use testkit::wait::wait_until;

use crate::rules_on_clip::{RULES, every_firing_is_expected};
use crate::site::{Holdings, RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

/// The clip at its own rate would take 80 s; without loss and as quickly as it goes, 10 s or so.
const CLIP: &str = "
run: edited
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

/// Saves as editors do: a new file takes the place of the old one.
fn save(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("its place");
}

fn wait_frames(site: &Site, count: i64) {
    let query = "SELECT CAST(count(*) AS TEXT) FROM frames";
    let seen = || {
        let exists = site.data().join("runs.db").exists();
        exists
            && site
                .database()
                .text(query, [])
                .parse()
                .is_ok_and(|seen: i64| seen >= count)
    };
    assert!(
        wait_until(STATE_TIMEOUT, seen),
        "{count} frames do not come"
    );
}

fn wait_generation(site: &Site, generation: i64, outcome: &str) {
    let query = "SELECT coalesce(max(outcome), 'none') FROM generations WHERE generation = ?1";
    let reached = || site.database().text(query, [generation]) == outcome;
    assert!(
        wait_until(STATE_TIMEOUT, reached),
        "generation {generation} is {}",
        site.database().text(query, [generation])
    );
}

fn finish(run: &mut Process) -> String {
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    format!("{}{}", run.stdout(), run.stderr())
}

#[test]
fn an_edited_rule_is_live_and_the_others_keep_what_they_know() {
    let site = Site::new();
    let rules = site.file("clip.rules.yaml", RULES);
    let mut run = site.run(&site.config(CLIP), &[]);
    let (supervisor, children) = (run.id(), workers(run.id()));
    // In the middle of everything: the blonde woman has been on the grass since frame 504, the
    // man beside her too, and the crowd's five seconds are not over before frame 700.
    wait_frames(&site, 100);
    let edited = format!("{RULES}  anybody:\n    on: track\n    when: label == \"person\"\n");
    save(&rules, &edited);
    wait_generation(&site, 1, "applied");
    wait_frames(&site, 200);
    // Nonsense: the old rules run on.
    let nonsense = edited.replace(
        "in_zone(lawn) -> in_zone(forecourt)",
        "in_zone(lawn -> forecort",
    );
    save(&rules, &nonsense);
    let refused = || {
        let query = "SELECT count(*) FROM generations WHERE outcome = 'refused'";
        site.database().number(query, []) == 1
    };
    assert!(
        wait_until(STATE_TIMEOUT, refused),
        "nonsense was not refused"
    );
    let line = 1 + edited
        .lines()
        .position(|line| line.contains("in_zone(lawn) ->"))
        .expect("it");
    let place = format!("clip.rules.yaml:{line}:");
    let shown = site.ask(&["runs"]).stdout;
    assert!(shown.contains(&place), "{place} is not in {shown}");
    let stats = site.ask(&["stats", "last", "--json"]).stdout;
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["config_last_reload_successful"], 0, "{stats}");
    wait_frames(&site, 300);
    // And back, with another message for one rule.
    save(&rules, RULES);
    // The refused text has a number too.
    wait_generation(&site, 3, "applied");
    let said = finish(&mut run);
    assert!(said.contains(&place), "{place} is not in {said}");
    assert_nothing_left(supervisor, &children);

    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    for counter in [
        "ingest.captured",
        "infer:people.inferred",
        "render.rendered",
        "render.encoded",
    ] {
        assert_eq!(ledger[counter], 795, "{counter}: {ledger:?}");
    }
    let anybody = "SELECT count(*) FROM events WHERE rule = 'anybody' AND generation = 1";
    assert!(database.number(anybody, []) > 0, "the new rule never fired");
    let kept = database.text("SELECT notes FROM generations WHERE generation = 1", []);
    assert!(kept.contains("loitering"), "{kept}");
    drop(database);
    // What was not touched fires when it would have fired.
    every_firing_is_expected(&site, "anybody");
}

const LIVE: &str = "
run: live
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
defaults: {size: 384x288, infer: [people]}
streams:
  yard: {source: '{root}/.deps/clips/walking.mp4', pace: live, loop: true, outputs: [{record: yard}]}
  ball: {source: 'test:ball?size=384x288&fps=10'}
";

#[test]
fn streams_models_and_outputs_change_while_the_others_run_on() {
    let site = Site::new();
    let config = site.config(LIVE);
    let text = fs::read_to_string(&config).expect("the config");
    let mut run = site.run(&config, &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let infer = |site: &Site| {
        let query = "SELECT pid FROM workers WHERE worker = ?1 AND end_wall_ms IS NULL";
        site.database().number(query, params!["render-yard"])
    };
    let render_yard = infer(&site);

    // A stream more, a threshold, an output less.
    let more = text
        .replace("score: 0.4}", "score: 0.5}")
        .replace(", outputs: [{record: yard}]", "")
        + "  second: {source: 'test:smpte?size=384x288&fps=10'}\n";
    save(&config, &more);
    wait_generation(&site, 1, "applied");
    site.wait_state("second", "live");
    // Another model: its successor is warmed before the old one goes.
    let other = more.replace(
        "assets/models/nanodet-416-int8.onnx",
        ".deps/models/nanodet-416-fp32.onnx",
    );
    save(&config, &other);
    wait_generation(&site, 2, "applied");
    // What cannot change while it lives is refused by its name.
    save(&config, &other.replace("run: live", "run: other"));
    let refused = || {
        let query = "SELECT count(*) FROM generations WHERE outcome = 'refused' AND diagnostics LIKE '%`run`%'";
        site.database().number(query, []) == 1
    };
    assert!(
        wait_until(STATE_TIMEOUT, refused),
        "the run's name was changed"
    );
    // A stream less.
    let less = other.replace("  ball: {source: 'test:ball?size=384x288&fps=10'}\n", "");
    save(&config, &less);
    wait_generation(&site, 4, "applied");
    let asked = site.ask(&["reload", "last"]);
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);

    assert_eq!(
        infer(&site),
        render_yard,
        "the yard's render worker was replaced"
    );
    let children = workers(supervisor);
    run.signal(nix::sys::signal::Signal::SIGINT);
    finish(&mut run);
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    for stream in ["yard", "ball", "second"] {
        let ledger = database.ledger(stream);
        assert!(ledger["render.rendered"] > 0, "{stream}: {ledger:?}");
        assert_eq!(ledger["render.lost_in_worker"], 0, "{stream}: {ledger:?}");
        assert_eq!(ledger["ingest.lost"], 0, "{stream}: {ledger:?}");
    }
    let restarts = "SELECT restarts FROM v_runs";
    assert_eq!(
        database.number(restarts, []),
        0,
        "who takes over is no restart"
    );
}

/// `SLUICE_RELOADS=500` for `make soak`; a slice of it otherwise.
#[test]
fn many_reloads_in_a_row_leak_nothing_and_lose_nothing() {
    let count: i64 = std::env::var("SLUICE_RELOADS")
        .map_or(40, |text| text.parse().expect("a number of reloads"));
    let site = Site::new();
    let config = site.config(&LIVE.replace(", outputs: [{record: yard}]", ""));
    let text = fs::read_to_string(&config).expect("the config") + "rules: r.yaml\n";
    fs::write(&config, text).expect("the config");
    let rules = |seconds: i64| {
        format!(
            "rules:\n  stays: {{on: track, when: 'label == \"person\"', for: 5s}}\n  \
             other: {{on: track, when: 'score > 60%', for: {seconds}s}}\n"
        )
    };
    let path = site.file("r.yaml", &rules(1));
    let mut run = site.run(&config, &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let mut before = None;
    for generation in 1..=count {
        save(&path, &rules(generation % 50 + 2));
        wait_generation(&site, generation, "applied");
        if generation == count.min(20) {
            before = Some(Holdings::of(supervisor));
        }
        if generation % 100 == 0 {
            println!("{generation} of {count} reloads done");
        }
    }
    let after = Holdings::of(supervisor);
    let before = before.expect("a measurement");
    println!("after 20 reloads {before:?}, after {count} {after:?}");
    assert_eq!(
        after.descriptors, before.descriptors,
        "file descriptors leak"
    );
    assert!(
        after.resident_kib < before.resident_kib + before.resident_kib / 10,
        "memory grows: {before:?}, {after:?}"
    );
    let children = workers(supervisor);
    run.signal(nix::sys::signal::Signal::SIGINT);
    finish(&mut run);
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    for stream in ["yard", "ball"] {
        let ledger = database.ledger(stream);
        for counter in [
            "ingest.lost",
            "render.lost_in_worker",
            "render.dropped_encoder",
        ] {
            assert_eq!(ledger[counter], 0, "{stream}: {ledger:?}");
        }
    }
    let kept = database.rows(
        "SELECT notes FROM generations WHERE generation > 0",
        |row| row.get::<_, String>(0),
    );
    assert!(
        kept.iter().all(|notes| notes.contains("stays")),
        "{:?}",
        kept.first()
    );
}
