//! A second model on the crop of a track: what it says becomes an attribute that rules see,
//! live and in a replay; each crop is accounted for, whoever dies.

use std::fs;

use nix::sys::signal::Signal;
use testkit::process::{Process, send_signal};
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

/// The model that looks at crops finds people, too: on the crop of a person it says "person".
const CONFIG: &str = "
run: cascade
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
  second: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.3}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    size: 768x576
    infer: [people]
    PACE
rules: cascade.rules.yaml
";

const ASKS: &str = r#"
rules:
  close:
    on: track
    when: label == "person" and box.height > 0.2 and track.hits > 3
    do: [infer(MODEL)]
"#;

const LEARNS: &str = r#"
  confirmed:
    on: track
    when: attribute("MODEL") == "person"
"#;

fn rules(model: &str) -> String {
    format!("{ASKS}{LEARNS}").replace("MODEL", model)
}

fn lossless(site: &Site) -> std::path::PathBuf {
    site.config(&CONFIG.replace("PACE", "pace: fast\n    queue: {policy: wait}"))
}

fn endless(site: &Site) -> std::path::PathBuf {
    site.config(&CONFIG.replace("PACE", "pace: live\n    loop: true"))
}

/// A counter of the stream `yard`, 0 while there is none.
pub(crate) fn counter(site: &Site, name: &str) -> i64 {
    let exists = site.data().join("runs.db").exists();
    let ledger = exists.then(|| site.database().ledger("yard"));
    ledger
        .and_then(|ledger| ledger.get(name).copied())
        .unwrap_or(0)
}

fn wait_growth(site: &Site, name: &str, more: i64) {
    let begin = counter(site, name);
    assert!(
        wait_until(STATE_TIMEOUT, || counter(site, name) >= begin + more),
        "{name} does not grow from {begin}: {:?}",
        site.database().ledger("yard")
    );
}

fn kill(site: &Site, worker: &str) {
    let pid = "SELECT pid FROM workers WHERE worker = ?1 AND end_wall_ms IS NULL";
    let pid = site.database().number(pid, [worker]);
    send_signal(u32::try_from(pid).expect("a pid"), Signal::SIGKILL).expect("it lives");
}

pub(crate) fn finish(run: &mut Process) {
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
}

/// Every event of the run comes again, and no other.
pub(crate) fn a_replay_gives_the_same(site: &Site) {
    let rules = site.path().join("cascade.rules.yaml").display().to_string();
    let replay = site.ask(&["rules", "replay", &rules, "--run", "last", "--json"]);
    assert_eq!(replay.code, 0, "{}", replay.stderr);
    let said: serde_json::Value = serde_json::from_str(&replay.stdout).expect("JSON");
    let stream = &said["streams"][0];
    let events = site.database().number("SELECT count(*) FROM events", []);
    let count = |kind: &str| stream[kind].as_array().map_or(0, Vec::len);
    assert_eq!(Ok(count("same")), usize::try_from(events), "{said}");
    for kind in [
        "only_then",
        "only_now",
        "began_otherwise",
        "ended_otherwise",
    ] {
        assert_eq!(count(kind), 0, "{said}");
    }
}

#[test]
fn what_a_second_model_says_of_a_crop_is_an_attribute() {
    for model in ["second", "people"] {
        let site = Site::new();
        site.file("cascade.rules.yaml", &rules(model));
        let mut run = site.run(&lossless(&site), &[]);
        finish(&mut run);
        let database = site.database();
        database.assert_closed();
        let ledger = database.ledger("yard");
        assert_eq!(ledger["render.rendered"], 795, "{ledger:?}");
        assert_eq!(ledger["infer:people.inferred"], 795, "{ledger:?}");
        let crops = |name: &str| ledger[&format!("crops:{model}.{name}")];
        let inferred = ledger[&format!("infer-crops:{model}.inferred")];
        assert!(crops("asked") >= 5, "{ledger:?}");
        assert_eq!(inferred, crops("published"), "{ledger:?}");
        // Only what is asked in the last frames may come too late.
        assert!(crops("expired") <= 2, "{ledger:?}");
        assert_eq!(crops("lost") + crops("skipped"), 0, "{ledger:?}");

        let said = "SELECT count(*) FROM attributes WHERE name = ?1";
        assert_eq!(database.number(said, [model]), crops("answered"));
        let people = "SELECT count(*) FROM attributes WHERE name = ?1 AND value = 'person'";
        let people = database.number(people, [model]);
        assert!(2 * people > crops("answered"), "{people} of {ledger:?}");
        let confirmed = "SELECT count(*) FROM events WHERE rule = 'confirmed'";
        assert!(database.number(confirmed, []) >= 3, "{ledger:?}");
        let close = "SELECT count(*) FROM events WHERE rule = 'close'";
        assert_eq!(database.number(close, []), 0, "`infer` alone is no alert");
        let stats = site.ask(&["stats", "last"]).stdout;
        let line = format!("crops:{model}");
        assert!(
            stats.contains(&line) && stats.contains("answered"),
            "{stats}"
        );
        drop(database);
        a_replay_gives_the_same(&site);
    }
}

#[test]
fn the_death_of_a_crop_models_worker_harms_no_stream() {
    let site = Site::new();
    site.file("cascade.rules.yaml", &rules("second"));
    let mut run = site.run(&endless(&site), &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    wait_growth(&site, "crops:second.answered", 1);
    for (worker, starts) in [("infer-second", 1), ("render-yard", 1)] {
        kill(&site, worker);
        let back = "SELECT count(*) FROM workers WHERE worker = ?1 AND incarnation = ?2 AND ready_wall_ms IS NOT NULL";
        assert!(
            wait_until(STATE_TIMEOUT, || {
                site.database()
                    .number(back, rusqlite::params![worker, starts])
                    > 0
            }),
            "{worker} is not back"
        );
        wait_growth(&site, "render.rendered", 25);
        wait_growth(&site, "crops:second.answered", 1);
    }
    // The run ends while it comes back: what it never took is lost, and the books say so.
    let children = workers(supervisor);
    kill(&site, "infer-second");
    run.signal(Signal::SIGINT);
    finish(&mut run);
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    let others = "SELECT coalesce(max(incarnation), 0) FROM workers WHERE worker IN ('ingest-yard', 'infer-people')";
    assert_eq!(database.number(others, []), 0, "others died with it");
    assert_eq!(ledger["infer:people.lost_in_worker"], 0, "{ledger:?}");
    assert_eq!(ledger["ingest.lost"], 0, "{ledger:?}");
}

#[test]
fn a_rule_that_infers_comes_and_goes_while_the_stream_runs_on() {
    let site = Site::new();
    let plain = "rules:\n  somebody: {on: frame, when: tracks > 0}\n";
    let path = site.file("cascade.rules.yaml", plain);
    let mut run = site.run(&endless(&site), &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    let render = "SELECT pid FROM workers WHERE worker = 'render-yard' AND end_wall_ms IS NULL";
    let before = site.database().number(render, []);
    let second =
        "SELECT count(*) FROM workers WHERE worker = 'infer-second' AND end_wall_ms IS NULL";
    assert_eq!(site.database().number(second, []), 0, "nobody uses it");

    for (generation, text) in [
        (1, rules("second")),
        (2, plain.to_owned()),
        (3, rules("second")),
    ] {
        let new = path.with_extension("new");
        fs::write(&new, &text).expect("a file");
        fs::rename(new, &path).expect("its place");
        let outcome =
            "SELECT coalesce(max(outcome), 'none') FROM generations WHERE generation = ?1";
        let applied = || site.database().text(outcome, [generation]) == "applied";
        assert!(
            wait_until(STATE_TIMEOUT, applied),
            "generation {generation}"
        );
        let wanted = i64::from(generation != 2);
        assert!(
            wait_until(STATE_TIMEOUT, || site.database().number(second, [])
                == wanted),
            "workers of the second model at generation {generation}"
        );
        if wanted == 1 {
            wait_growth(&site, "crops:second.answered", 1);
        }
    }
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
    assert_eq!(
        ledger["infer-crops:second.lost_in_transit"], 0,
        "{ledger:?}"
    );
    assert_eq!(ledger["crops:second.lost"], 0, "{ledger:?}");
}
