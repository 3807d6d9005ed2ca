//! The rule language alone: what an evaluation takes in time and memory, and what compiling takes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use analytics::workload;
use anyhow::{Context, ensure};
use dsl::RuleFile;

use crate::command::median;
use crate::report::Report;

const TRACKS: u64 = 20;
const FRAMES: u64 = 20_000;
/// Frames that fill all memory before anything is counted.
const WARM_FRAMES: u64 = 500;
const COMPILED_RULES: usize = 1000;
const ROUNDS: usize = 5;

/// What a stream's rules cost.
struct Cost {
    ns_a_frame: f64,
    allocations: u64,
    bytes_a_track: i64,
    rules: u64,
}

/// Measures evaluation and compilation.
pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let costs = (0..ROUNDS)
        .map(|_| evaluate())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let first = costs.first().context("no rounds")?;
    let ns_a_frame = median(costs.iter().map(|cost| cost.ns_a_frame));
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let pairs = (first.rules * TRACKS) as f64;
    report.section(
        "Evaluation of rules",
        &format!(
            "Five typical rules (a dwell, a crossing, a sequence, something left behind, a crowd: \
             `analytics/src/workload.rs`) on {TRACKS} tracks at 25 frames a second of event time; medians of {ROUNDS} \
             rounds of {FRAMES} frames. What the engine does once for each track (zones, lines, speed, median score) \
             is included. Allocations are counted by the allocator over all {FRAMES} frames. \
             Command: `target/release/sluice-bench rules`.",
        ),
    );
    report.table(
        &[
            "ns a frame",
            "ns a rule and track",
            "allocations",
            "bytes a track",
        ],
        &[vec![
            format!("{ns_a_frame:.0}"),
            format!("{:.0}", ns_a_frame / pairs),
            costs
                .iter()
                .map(|cost| cost.allocations)
                .sum::<u64>()
                .to_string(),
            first.bytes_a_track.to_string(),
        ]],
    );
    compile(report)
}

fn evaluate() -> anyhow::Result<Cost> {
    let mut engine = workload::engine()?;
    let rules = engine.file().rules.len() as u64;
    engine.observe(&workload::record(0, 0));
    let full = workload::record(1, TRACKS);
    let taken = allocation_counter::measure(|| drop(engine.observe(&full)));
    for number in 2..WARM_FRAMES {
        engine.observe(&workload::record(number, TRACKS));
    }
    let records: Vec<_> = (WARM_FRAMES..WARM_FRAMES + FRAMES)
        .map(|number| workload::record(number, TRACKS))
        .collect();
    let mut fired = 0;
    let mut elapsed = Duration::ZERO;
    let allocated = allocation_counter::measure(|| {
        let begin = Instant::now();
        for record in &records {
            fired += engine.observe(record).len();
        }
        elapsed = begin.elapsed();
    });
    ensure!(fired == 0, "the rules of the workload fire");
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    Ok(Cost {
        ns_a_frame: elapsed.as_secs_f64() * 1e9 / FRAMES as f64,
        allocations: allocated.count_total,
        bytes_a_track: taken.bytes_current / i64::try_from(TRACKS)?,
        rules,
    })
}

fn compile(report: &mut Report) -> anyhow::Result<()> {
    let mut text = String::from(
        "zones:\n  dock: {polygon: [[0.1, 0.5], [0.6, 0.5], [0.6, 1.0], [0.1, 1.0]]}\nrules:\n",
    );
    for index in 0..COMPILED_RULES {
        write!(
            text,
            "  rule_{index}:\n    on: track\n    when: label == \"person\" and score > 0.6 and \
             (in_zone(dock) or track.age > {index}s)\n    for: 10s\n    \
             message: \"person {{track.id}} for {{dwell(dock)}}\"\n    do: [alert, snapshot]\n",
        )?;
    }
    let mut times_ms = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let file = RuleFile::parse_checked(&text, Path::new("rules.yaml"))
            .map_err(|problems| anyhow::anyhow!("{} problems", problems.len()))?;
        times_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        ensure!(file.rules.len() == COMPILED_RULES, "rules are missing");
    }
    report.section(
        "Compiling rules",
        &format!(
            "A file of {COMPILED_RULES} rules, {} kB: YAML, grammar, types, program. Median of {ROUNDS}. \
             Command: `target/release/sluice-bench rules`.\n\n{:.1} ms",
            text.len() / 1000,
            median(times_ms),
        ),
    );
    Ok(())
}
