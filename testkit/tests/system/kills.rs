//! kill -9 of each kind of process: the others go on, the dead is back, the books balance.

use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::params;
use testkit::free_port;
use testkit::process;
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};

fn config(port: u16) -> String {
    format!(
        "
run: kills
models:
  people: {{file: '{{root}}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4, sessions: 1}}
gateway: {{rtsp_port: {port}}}
defaults:
  pace: live
  loop: true
  infer: [people]
streams:
  yard:
    source: '{{root}}/.deps/clips/walking.mp4'
    size: 768x576
    outputs: [{{record: yard}}, {{rtsp: yard}}]
  traffic:
    source: '{{root}}/.deps/clips/traffic.mp4'
    size: 640x272
    outputs: [{{rtsp: traffic}}]
"
    )
}

/// Waits until a counter has grown by `more`.
fn wait_growth(site: &Site, stream: &str, counter: &str, more: i64) {
    let value = || {
        site.database()
            .ledger(stream)
            .get(counter)
            .copied()
            .unwrap_or(0)
    };
    let begin = value();
    assert!(
        wait_until(STATE_TIMEOUT, || value() >= begin + more),
        "{counter} of {stream} does not grow from {begin}: {:?}",
        site.database().ledger(stream)
    );
}

#[test]
fn each_worker_is_killed_in_turn() {
    let site = Site::new();
    let mut run = site.run(&site.config(&config(free_port())), &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    site.wait_state("traffic", "live");
    wait_growth(&site, "traffic", "render.rendered", 25);

    for (program, worker, grows) in [
        ("ingest-worker", "ingest", "ingest.published"),
        ("infer-worker", "infer", "infer:people.inferred"),
        ("render-worker", "render", "render.rendered"),
        ("gateway", "gateway", "gateway.received"),
    ] {
        let victim = process::kill_worker(supervisor, program);
        let back = || {
            site.database().number(
                "SELECT count(*) FROM workers WHERE kind = ?1 AND incarnation > 0 AND ready_wall_ms IS NOT NULL",
                params![worker],
            ) > 0
        };
        assert!(
            wait_until(STATE_TIMEOUT, back),
            "{program} {victim} is not back"
        );
        for stream in ["yard", "traffic"] {
            wait_growth(&site, stream, grows, 10);
        }
    }
    let database = site.database();
    let signal = "SELECT count(*) FROM workers WHERE signal = 9 AND reason = 'killed'";
    assert_eq!(database.number(signal, []), 4);
    // Who was not killed was not restarted either.
    let lives = "SELECT count(*) FROM workers";
    assert_eq!(database.number(lives, []), 6 + 4);
    let restarts = "SELECT restarts FROM v_runs";
    assert_eq!(database.number(restarts, []), 4);

    let mut children = workers(supervisor);
    run.signal(Signal::SIGINT);
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());
    children.push(supervisor);
    assert_nothing_left(supervisor, &children);
    site.database().assert_closed();
    assert_eq!(site.database().run_state(), "stopped");
    let lost = "SELECT sum(value) FROM ledgers WHERE counter LIKE 'lost%'";
    assert!(
        site.database().number(lost, []) > 0,
        "kills lose frames, and say so"
    );
    // One stream's crash harms no other: the stream whose ingest, render were not killed
    // lost nothing but what the shared model held.
    let untouched: i64 = site.database().number(
        "SELECT min(total) FROM (SELECT sum(value) AS total FROM ledgers \
         WHERE counter LIKE 'lost%' AND book IN ('ingest', 'render') GROUP BY stream)",
        [],
    );
    assert_eq!(untouched, 0);
}

#[test]
fn the_supervisor_is_killed() {
    let site = Site::new();
    let mut run = site.run(&site.config(&config(free_port())), &[]);
    let supervisor = run.id();
    site.wait_state("yard", "live");
    wait_growth(&site, "yard", "render.rendered", 10);
    let children = workers(supervisor);
    assert_eq!(children.len(), 6);
    run.kill();
    assert!(
        wait_until(Duration::from_secs(2), || testkit::leftovers::alive(
            &children
        )
        .is_empty()),
        "workers outlive their supervisor: {:?}",
        testkit::leftovers::alive(&children)
    );
    let runs = site.ask(&["runs"]);
    assert_eq!(runs.code, 0, "{}", runs.stderr);
    assert!(runs.stdout.contains("interrupted"), "{}", runs.stdout);
    assert_nothing_left(supervisor, &children);
    assert_eq!(site.database().run_state(), "interrupted");
    site.database().assert_closed();
}

#[test]
fn a_run_is_stopped_by_another_command() {
    let site = Site::new();
    let mut run = site.run(&site.config(&config(free_port())), &[]);
    site.wait_state("yard", "live");
    let stop = site.ask(&["stop", "kills"]);
    assert_eq!(stop.code, 0, "{}", stop.stderr);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0);
    assert_eq!(site.database().run_state(), "stopped");
    site.database().assert_closed();
    let again = site.ask(&["stop", "kills"]);
    assert_ne!(again.code, 0);
    assert!(again.stderr.contains("kills"), "{}", again.stderr);
}
