//! Frames that lie on a GPU on their way from process to process: the fake one, which every worker
//! loads as its driver.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use testkit::process::{self, Launch, Process, fake_cuda};
use testkit::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, assert_nothing_left, workers};
use crate::whole_job::{Seen, found_on_both_sides, seen_of};

const CLIP_FRAMES: i64 = 250;

/// The same clip on either way. The model is not quantised: that would make a step of its output
/// of a last bit of its input.
const BOTH: &str = "
run: both
models:
  people: {file: '{root}/.deps/models/nanodet-416-fp32.onnx', family: nanodet, labels: coco, score: 0.4}
defaults:
  size: 640x272
  queue: {policy: wait}
  infer: [people]
streams:
  machine: {source: '{root}/.deps/clips/traffic.mp4', pace: fast, outputs: [{record: machine}]}
  gpu: {source: '{root}/.deps/clips/traffic.mp4', pace: fast, memory: cuda, outputs: [{record: gpu}]}
";

const LIVE: &str = "
run: live
models:
  people: {file: '{root}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}
streams:
  gpu: {source: '{root}/.deps/clips/traffic.mp4', loop: true, memory: cuda, size: 320x136, infer: [people]}
";

/// Starts a run on a machine with a GPU.
fn run_with_gpu(site: &Site, config: &str) -> Process {
    let libraries = site.path().join("libraries");
    std::fs::create_dir(&libraries).expect("a directory");
    symlink(fake_cuda(), libraries.join("libcuda.so")).expect("a link");
    Launch::new(&process::program("sluice"))
        .arguments(["run", &site.config(config).display().to_string()])
        .arguments(["--data", &site.data().display().to_string()])
        .environment("LD_LIBRARY_PATH", &libraries.display().to_string())
        .directory(site.path())
        .start()
}

#[test]
fn what_is_seen_on_a_gpu_is_what_is_seen_in_shared_memory() {
    let site = Site::new();
    let mut run = run_with_gpu(&site, BOTH);
    let (supervisor, children) = (run.id(), workers(run.id()));
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    assert_nothing_left(supervisor, &children);
    let database = site.database();
    database.assert_closed();
    for stream in ["machine", "gpu"] {
        let ledger = database.ledger(stream);
        for counter in [
            "ingest.published",
            "infer:people.inferred",
            "render.rendered",
            "render.with_results",
            "render.encoded",
        ] {
            assert_eq!(ledger[counter], CLIP_FRAMES, "{counter} of {ledger:?}");
        }
    }
    let seen = |stream: &str| -> BTreeMap<i64, Vec<Seen>> { seen_of(&site, stream) };
    let (machine, gpu) = (seen("machine"), seen("gpu"));
    let mut compared = 0;
    for (number, on_machine) in &machine {
        let none = Vec::new();
        let on_gpu = gpu.get(number).unwrap_or(&none);
        compared += found_on_both_sides(*number, on_machine, on_gpu);
    }
    assert!(compared > 500, "{compared} detections were compared");
}

#[test]
fn workers_on_a_gpu_are_killed_in_turn() {
    let site = Site::new();
    let mut run = run_with_gpu(&site, LIVE);
    let supervisor = run.id();
    site.wait_state("gpu", "live");
    let value = |counter: &str| site.database().ledger("gpu").get(counter).copied();
    let grows = |counter: &str, more: i64| {
        let begin = value(counter).unwrap_or(0);
        wait_until(STATE_TIMEOUT, || {
            value(counter).is_some_and(|now| now >= begin + more)
        })
    };
    for program in ["ingest-worker", "infer-worker", "render-worker"] {
        assert!(grows("render.with_results", 20));
        process::kill_worker(supervisor, program);
        assert!(grows("render.with_results", 20), "after that of {program}");
    }
    let children = workers(supervisor);
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    assert_nothing_left(supervisor, &children);
    site.database().assert_closed();
    let invalid = "SELECT sum(value) FROM ledgers WHERE counter LIKE '%invalid%'";
    assert_eq!(site.database().number(invalid, []), 0);
}

#[test]
fn without_a_gpu_it_is_said_at_once() {
    let site = Site::new();
    let mut run = site.run(&site.config(LIVE), &[]);
    let code = run.exit_code(RUN_TIMEOUT);
    let (out, err) = (run.stdout(), run.stderr());
    assert_ne!(code, 0, "{out}{err}");
    let said = format!("{out}{err}");
    assert!(
        said.contains("the NVIDIA driver is not here: libcuda.so.1 cannot be loaded")
            && said.contains("`memory: host`"),
        "{said}"
    );
}
