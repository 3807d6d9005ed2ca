//! Eight streams that share one model: what each gets when all ask for more than there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::command::{self, pause};
use crate::database::Database;
use crate::report::Report;

const STREAMS: usize = 8;
const MODEL: &str = "assets/models/nanodet-416-int8.onnx";
const CLIP: &str = ".deps/clips/traffic.mp4";
/// Frames a second of the clip as it is.
const CLIP_FPS: f64 = 25.0;
/// How long each load lasts.
const SECONDS: u32 = 30;
/// Of these nothing is counted: processes start, the model warms, queues fill.
const SECONDS_WARMING: i64 = 8;

/// One run of eight streams.
struct Load {
    name: String,
    /// Frames a second that each stream brings.
    fps: [f64; STREAMS],
    priority: [u32; STREAMS],
}

/// What a run came to.
struct Outcome {
    /// Frames a second that the model ran on, by stream.
    inferred: Vec<f64>,
    captured: Vec<f64>,
    rendered: Vec<f64>,
    /// The worst stream's, milliseconds from capture to rendered.
    latency_p50: f64,
    latency_p99: f64,
    /// Streams that said late in the run that they were degraded.
    degraded: i64,
    lost: i64,
}

/// Measures capacity, then loads that are multiples of it.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let bench = Bench {
        root,
        directory: directory.path(),
    };
    let alike = |name: &str, fps: f64| Load {
        name: name.to_owned(),
        fps: [fps; STREAMS],
        priority: [1; STREAMS],
    };
    // More than any two cores can do, so that what comes out is all there is.
    let capacity: f64 = bench.run(&alike("capacity", 40.0))?.inferred.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a few streams")]
    let share = capacity / STREAMS as f64;
    let mut loads = vec![alike("half of it", share / 2.0)];
    for times in [1.0, 2.0, 5.0] {
        loads.push(alike(&format!("{times:.0}x"), share * times));
    }
    let mut weighted = alike("2x, the first two with priority 2", share * 2.0);
    weighted.priority[..2].fill(2);
    let mut greedy = alike("1x, the first brings 10 times as much", share * 0.8);
    greedy.fps[0] = share * 8.0;
    loads.extend([weighted, greedy]);

    report.section(
        "Eight streams, one model",
        &format!(
            "Eight streams of 640x272 H.264 (the traffic clip, its timestamps scaled to the rate wanted) share NanoDet 416 int8; \
             nothing is encoded. What the model can do beside eight decoders was measured first, by 40 fps a stream: \
             {capacity:.0} frames a second; loads are multiples of that. {SECONDS} s each, the first {SECONDS_WARMING} left out. \
             Fairness is Jain's index of frames inferred over the streams that ask for the same, 1 when all get the same (of priorities: a unit of priority). Rendered is \
             how much of what was captured reached the end of the pipeline, inferred or predicted. Latency, from capture to \
             rendered, is the worst stream's. Command: `target/release/sluice-bench scale`.",
        ),
    );
    let mut rows = Vec::new();
    for load in &loads {
        let outcome = bench.run(load)?;
        rows.push(row(load, &outcome));
    }
    report.table(
        &[
            "load",
            "captured fps",
            "inferred fps",
            "least, most a stream",
            "Jain's index",
            "rendered",
            "p50 ms",
            "p99 ms",
            "degraded streams",
            "lost",
        ],
        &rows,
    );
    Ok(())
}

fn row(load: &Load, outcome: &Outcome) -> Vec<String> {
    let sum = |figures: &[f64]| figures.iter().sum::<f64>();
    let least = outcome
        .inferred
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    let most = outcome.inferred.iter().copied().fold(0.0, f64::max);
    // Of streams that ask for the same: what one leaves may go to another that asks for more.
    let asks_like_the_last = |index: &usize| load.fps[*index] <= load.fps[STREAMS - 1];
    let alike = (0..STREAMS).filter(asks_like_the_last);
    let weighted: Vec<_> = alike
        .map(|index| outcome.inferred[index] / f64::from(load.priority[index]))
        .collect();
    vec![
        load.name.clone(),
        format!("{:.0}", sum(&outcome.captured)),
        format!("{:.0}", sum(&outcome.inferred)),
        format!("{least:.1}, {most:.1}"),
        format!("{:.4}", jain(&weighted)),
        format!(
            "{:.1}%",
            100.0 * sum(&outcome.rendered) / sum(&outcome.captured)
        ),
        format!("{:.0}", outcome.latency_p50),
        format!("{:.0}", outcome.latency_p99),
        outcome.degraded.to_string(),
        outcome.lost.to_string(),
    ]
}

/// Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination", 1984.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few streams")]
    let count = shares.len() as f64;
    sum * sum / (count * squares)
}

struct Bench<'a> {
    root: &'a Path,
    directory: &'a Path,
}

impl Bench<'_> {
    fn run(&self, load: &Load) -> anyhow::Result<Outcome> {
        let mut streams = String::new();
        for (index, (fps, priority)) in load.fps.iter().zip(load.priority).enumerate() {
            let clip = self.clip(*fps)?.display().to_string();
            streams += &format!("  cam-{index}: {{source: {clip}, priority: {priority}}}\n");
        }
        let config = self.directory.join("scale.yaml");
        let text = format!(
            "run: scale\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
             defaults: {{pace: live, loop: true, size: 640x272, infer: [people], store: {{detections: false}}}}\n\
             streams:\n{streams}",
            model = self.root.join(MODEL).display(),
        );
        fs::write(&config, text)?;
        let data = tempfile::tempdir_in(self.directory)?;
        let mut command = command::command(self.root, "target/release/sluice");
        command
            .arg("run")
            .arg(&config)
            .arg("--data")
            .arg(data.path());
        command.args(["--for", &format!("{SECONDS}s")]);
        let output = self.directory.join("output.txt");
        command
            .stdout(Stdio::null())
            .stderr(fs::File::create(&output)?);
        let mut run = command.spawn().context("cannot start sluice")?;
        pause(Duration::from_secs(u64::from(SECONDS) - 4));
        let database = Database::of(data.path());
        let degraded = database.value("SELECT count(*) FROM streams WHERE state = 'degraded'")?;
        let status = run.wait()?;
        if !status.success() {
            bail!(
                "eight streams ended with {status}: {}",
                fs::read_to_string(&output)?
            );
        }
        let rates = |column: &str| {
            database.column::<f64>(&format!(
                "SELECT avg({column}) FROM metric_samples JOIN streams ON streams.id = stream_id
                 WHERE wall_ms > (SELECT min(wall_ms) FROM metric_samples) + {SECONDS_WARMING} * 1000
                 GROUP BY name ORDER BY name"
            ))
        };
        let latency = |percentile: &str| {
            database.value::<f64>(&format!(
                "SELECT max({percentile}_us) / 1e3 FROM latencies WHERE book = 'render'"
            ))
        };
        let outcome = Outcome {
            inferred: rates("inferred_fps")?,
            captured: rates("captured_fps")?,
            rendered: rates("rendered_fps")?,
            latency_p50: latency("p50")?,
            latency_p99: latency("p99")?,
            degraded,
            lost: database.value("SELECT sum(value) FROM ledgers WHERE counter LIKE 'lost%'")?,
        };
        if outcome.inferred.len() != STREAMS {
            bail!(
                "{} of {STREAMS} streams left figures",
                outcome.inferred.len()
            );
        }
        Ok(outcome)
    }

    /// The clip at another rate: the same pictures, their timestamps scaled.
    fn clip(&self, fps: f64) -> anyhow::Result<PathBuf> {
        let clip = self.directory.join(format!("clip-{fps:.2}.mp4"));
        if !clip.exists() {
            let mut ffmpeg = command::command(self.root, "ffmpeg");
            ffmpeg.args([
                "-v",
                "error",
                "-itsscale",
                &format!("{:.6}", CLIP_FPS / fps),
            ]);
            ffmpeg.args(["-i", CLIP, "-c", "copy", "-an"]).arg(&clip);
            command::timed(&mut ffmpeg)?;
        }
        Ok(clip)
    }
}
