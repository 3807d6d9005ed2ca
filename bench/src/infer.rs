//! What the infer worker adds to the model: receiving, preprocessing, decoding of outputs,
//! suppression, publishing, books.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use contract::clock::wall_ms;
use nix::unistd::{SysconfVar, sysconf};

use crate::command::{self, median, model_alone_ms, pause, wait};
use crate::database::{Database, LIVE};
use crate::report::Report;

const CLIP: &str = ".deps/clips/walking.mp4";
/// How long each run is watched, once it is warm.
const WATCHED: Duration = Duration::from_secs(12);
const WARMING: Duration = Duration::from_secs(4);

/// Measures each model in turn, `rounds` times.
pub(crate) fn measure(root: &Path, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    report.section(
        "What inference adds to the model",
        &format!(
            "Processor time of the infer worker a frame (all of it: receiving 768x576 I420 from the bus, letterbox and \
             normalisation, the model, decoding of its outputs, suppression, publishing, books) against that of the model alone \
             in a bare onnxruntime loop on a tensor that is ready (one thread, `tools/bench/model_alone.py`). One session, frames \
             as quickly as it takes them, nothing encoded; medians of {rounds} interleaved rounds. \
             Command: `target/release/sluice-bench infer`.",
        ),
    );
    let mut rows = Vec::new();
    for (name, model) in [
        ("int8", "assets/models/nanodet-416-int8.onnx"),
        ("fp32", ".deps/models/nanodet-416-fp32.onnx"),
    ] {
        let (mut ours, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(model_alone_ms(root, model)?);
            ours.push(worker_ms(root, model)?);
            alone.push(model_alone_ms(root, model)?);
        }
        let (ours, alone) = (median(ours), median(alone));
        rows.push(vec![
            name.to_owned(),
            format!("{ours:.2}"),
            format!("{alone:.2}"),
            format!("{:.2}x", ours / alone),
        ]);
    }
    report.table(
        &["model", "worker CPU-ms", "model alone CPU-ms", "ratio"],
        &rows,
    );
    Ok(())
}

/// Milliseconds of processor time of the infer worker, a frame.
fn worker_ms(root: &Path, model: &str) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("infer.yaml");
    let text = format!(
        "run: infer\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4, sessions: 1}}\n\
         streams:\n  yard: {{source: {clip}, pace: fast, loop: true, size: 768x576, queue: {{policy: wait}}, infer: [people], \
         store: {{detections: false}}}}\n",
        model = root.join(model).display(),
        clip = root.join(CLIP).display(),
    );
    fs::write(&config, text)?;
    let data = directory.path().join("data");
    let seconds = (WARMING + WATCHED).as_secs() + 8;
    let mut command = command::command(root, "target/release/sluice");
    command.arg("run").arg(&config).arg("--data").arg(&data);
    command.args(["--for", &format!("{seconds}s")]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().context("cannot start sluice")?;
    let database = Database::of(&data);
    wait(|| database.value::<i64>(LIVE).is_ok_and(|count| count == 1))?;
    let pid = database.value("SELECT pid FROM workers WHERE worker = 'infer-people'")?;
    pause(WARMING);
    let (begin_ms, begin_cpu) = (wall_ms(), processor_time(pid)?);
    pause(WATCHED);
    let (end_ms, end_cpu) = (wall_ms(), processor_time(pid)?);
    let status = run.wait()?;
    anyhow::ensure!(status.success(), "the run ended with {status}");
    // Both are rates of a steady state, so that they need not begin in the same millisecond.
    let samples = format!("FROM metric_samples WHERE wall_ms BETWEEN {begin_ms} AND {end_ms}");
    let fps: f64 = database.value(&format!("SELECT avg(inferred_fps) {samples}"))?;
    let cpu = (end_cpu - begin_cpu).as_secs_f64();
    let seconds = Duration::from_millis(end_ms.abs_diff(begin_ms)).as_secs_f64();
    Ok(1e3 * cpu / seconds / fps)
}

/// User and system time of a process and its threads so far.
fn processor_time(pid: i64) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): the name, which is in parentheses, is field 2; utime and stime are 14 and 15.
    let (_, after_name) = text.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: usize| -> anyhow::Result<u64> {
        let text = fields.get(field - 3).context("stat is short")?;
        Ok(text.parse()?)
    };
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    let nanos = 1_000_000_000 / u64::try_from(per_second)?;
    Ok(Duration::from_nanos((ticks(14)? + ticks(15)?) * nanos))
}
