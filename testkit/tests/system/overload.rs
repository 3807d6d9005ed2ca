//! A model three times too slow: latency stays bounded, memory flat, every drop has a reason.

use std::time::{Duration, Instant};

use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, Site, resident_kib, workers};

const DEPTH: f64 = 2.0;
const INTERVAL_MS: f64 = 100.0;

#[test]
fn latency_is_bounded_at_three_times_overload() {
    let site = Site::new();
    let config = site.config(
        "
run: overload
models:
  people: {file: '{root}/.deps/models/nanodet-416-slow.onnx', family: nanodet, labels: coco, score: 0.4, sessions: 1}
streams:
  yard:
    source: '{root}/.deps/clips/walking.mp4'
    pace: live
    loop: true
    size: 768x576
    queue: {policy: drop_oldest, depth: 2, max_staleness: 1s, max_latency: 2s}
    infer: [people]
    outputs: [{record: yard}]
",
    );
    let mut run = site.run(&config, &["--for", "25s"]);
    site.wait_state("yard", "live");
    site.wait_state("yard", "degraded");
    let said = "SELECT detail FROM streams WHERE name = 'yard'";
    let detail = site.database().text(said, []);
    assert!(detail.starts_with("models run on "), "{detail}");
    let resident = resident_kib_over_time(run.id(), Duration::from_secs(14));
    let code = run.exit_code(RUN_TIMEOUT);
    assert_eq!(code, 0, "{}{}", run.stdout(), run.stderr());

    let database = site.database();
    database.assert_closed();
    let ledger = database.ledger("yard");
    let (received, inferred) = (
        ledger["infer:people.received"],
        ledger["infer:people.inferred"],
    );
    assert!(received > 150, "{ledger:?}");
    assert!(
        inferred * 2 < received,
        "the model is too quick for this test: {ledger:?}"
    );
    let reasons = ledger["infer:people.shed"] + ledger["infer:people.stale"];
    assert_eq!(received, inferred + reasons, "{ledger:?}");
    // But for what the queue of two dropped while the encoder was made, video keeps its rate.
    let late = ledger["render.overflowed"];
    assert!(late <= 3, "{ledger:?}");
    assert_eq!(ledger["render.rendered"] + late, ledger["ingest.published"]);

    let inference_ms = database.latency_ms("yard", "infer:people", "p99");
    let latency_ms = database.latency_ms("yard", "render", "p99");
    let bound_ms = (DEPTH + 1.0) * INTERVAL_MS + inference_ms;
    assert!(
        latency_ms < bound_ms,
        "p99 {latency_ms} ms is over {bound_ms} ms, of which inference {inference_ms}"
    );

    // Flat: the second half of the run needs no more than the first, but for noise.
    let (first, second) = resident.split_at(resident.len() / 2);
    let most = |part: &[u64]| part.iter().copied().max().expect("samples");
    assert!(
        most(second) < most(first) + most(first) / 20,
        "resident KiB over time: {resident:?}"
    );
}

/// Resident memory of all workers together, sampled over some time.
fn resident_kib_over_time(supervisor: u32, time: Duration) -> Vec<u64> {
    let begin = Instant::now();
    let mut next = Duration::from_secs(2);
    let mut samples = Vec::new();
    wait_until(time, || {
        if begin.elapsed() >= next {
            next += Duration::from_millis(500);
            samples.push(resident_kib(&workers(supervisor)));
        }
        false
    });
    samples
}
