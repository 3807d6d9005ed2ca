//! The whole job on a real clip: decode, detect, track, draw, encode, record.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use crate::command::{self, Took, median};
use crate::report::Report;

const CLIP: &str = ".deps/clips/walking.mp4";
const CLIP_FRAMES: f64 = 795.0;
const INT8: &str = "assets/models/nanodet-416-int8.onnx";
const FP32: &str = ".deps/models/nanodet-416-fp32.onnx";
/// The long run has so many times the frames of the short one.
const LONG: u32 = 3;

/// What the Python loop says of itself.
#[derive(Debug, Deserialize)]
struct PythonFigures {
    fps: f64,
    cpu_ms: f64,
}

/// What one frame costs: the slope between a short and a long run, so that starting,
/// loading and warming cancel out.
#[derive(Debug, Clone, Copy)]
struct Slope {
    fps: f64,
    cpu_ms: f64,
}

fn slope(short: Took, long: Took) -> Slope {
    let frames = CLIP_FRAMES * f64::from(LONG - 1);
    let wall = long.wall.as_secs_f64() - short.wall.as_secs_f64();
    let cpu = long.cpu.as_secs_f64() - short.cpu.as_secs_f64();
    Slope {
        fps: frames / wall,
        cpu_ms: cpu * 1000.0 / frames,
    }
}

/// Where the long clip, the configs and the outputs of this bench lie.
struct Workspace<'a> {
    root: &'a Path,
    directory: tempfile::TempDir,
    long_clip: PathBuf,
}

impl<'a> Workspace<'a> {
    fn new(root: &'a Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let long_clip = directory.path().join("long.mp4");
        let repeats = (LONG - 1).to_string();
        let mut concatenate = command::command(root, "ffmpeg");
        concatenate
            .args([
                "-v",
                "error",
                "-stream_loop",
                &repeats,
                "-i",
                CLIP,
                "-c",
                "copy",
            ])
            .arg(&long_clip);
        command::timed(&mut concatenate)?;
        Ok(Self {
            root,
            directory,
            long_clip,
        })
    }

    fn clip(&self, long: bool) -> PathBuf {
        if long {
            self.long_clip.clone()
        } else {
            self.root.join(CLIP)
        }
    }

    /// Sluice: the same outputs as the Python loop, an annotated H.264 file.
    fn sluice(&self, model: &str, long: bool) -> anyhow::Result<Took> {
        let config = self.directory.path().join("job.yaml");
        let text = format!(
            "run: bench\n\
             models:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
             streams:\n  yard:\n    source: {clip}\n    pace: fast\n    size: 768x576\n    \
             queue: {{policy: wait}}\n    infer: [people]\n    store: {{detections: false}}\n    \
             overlay: {{trails: false, zones: false, status: false}}\n    \
             outputs: [{{record: yard}}]\n",
            model = self.root.join(model).display(),
            clip = self.clip(long).display(),
        );
        std::fs::write(&config, text)?;
        let data = self.directory.path().join("data");
        let mut run = command::command(self.root, "target/release/sluice");
        run.arg("run").arg(&config).arg("--data").arg(&data);
        Ok(command::timed(&mut run)?.0)
    }

    fn python(&self, model: &str, threads: u32) -> anyhow::Result<PythonFigures> {
        let mut python = command::command(self.root, ".deps/venv/bin/python");
        python
            .args(["tools/bench/python_loop.py", CLIP, model, "--json"])
            .args(["--mode", "full", "--threads", &threads.to_string()]);
        let (_, output) = command::timed(&mut python)?;
        serde_json::from_slice(&output.stdout).context("python_loop.py printed no figures")
    }

    /// Only decoding, by the same decoder as the ingest worker's.
    fn decode(&self, long: bool) -> anyhow::Result<Took> {
        let mut gst = command::command(self.root, "gst-launch-1.0");
        gst.arg("-q")
            .arg("filesrc")
            .arg(format!("location={}", self.clip(long).display()))
            .args(["!", "qtdemux", "!", "h264parse", "!"])
            .args(["avdec_h264", "max-threads=1", "!", "fakesink", "sync=false"]);
        Ok(command::timed(&mut gst)?.0)
    }

    /// Decoding and encoding, with the same encoder settings as the render worker's.
    fn decode_and_encode(&self, long: bool) -> anyhow::Result<Took> {
        let mut gst = command::command(self.root, "gst-launch-1.0");
        gst.arg("-q")
            .arg("filesrc")
            .arg(format!("location={}", self.clip(long).display()))
            .args(["!", "qtdemux", "!", "h264parse", "!"])
            .args(["avdec_h264", "max-threads=1", "!", "x264enc"])
            .args(["tune=zerolatency", "speed-preset=ultrafast", "threads=1"])
            .args([
                "bitrate=3000",
                "key-int-max=10",
                "!",
                "fakesink",
                "sync=false",
            ]);
        Ok(command::timed(&mut gst)?.0)
    }
}

/// One model file's figures over all rounds.
#[derive(Default)]
struct Rounds {
    ours: Vec<Slope>,
    python: Vec<PythonFigures>,
    model_ms: Vec<f64>,
}

impl Rounds {
    fn fps(&self) -> f64 {
        median(self.ours.iter().map(|slope| slope.fps))
    }

    fn cpu_ms(&self) -> f64 {
        median(self.ours.iter().map(|slope| slope.cpu_ms))
    }

    fn python_fps(&self) -> f64 {
        median(self.python.iter().map(|figures| figures.fps))
    }

    fn model_ms(&self) -> f64 {
        median(self.model_ms.iter().copied())
    }
}

/// Measures everything in turn, `rounds` times.
pub(crate) fn measure(root: &Path, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(root)?;
    let (mut int8, mut fp32) = (Rounds::default(), Rounds::default());
    let (mut decode, mut encode) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (figures, model) in [(&mut int8, INT8), (&mut fp32, FP32)] {
            let short = workspace.sluice(model, false)?;
            let long = workspace.sluice(model, true)?;
            figures.ours.push(slope(short, long));
            figures.python.push(workspace.python(model, 2)?);
            figures.model_ms.push(command::model_alone_ms(root, model)?);
        }
        let alone = slope(workspace.decode(false)?, workspace.decode(true)?);
        let both = slope(
            workspace.decode_and_encode(false)?,
            workspace.decode_and_encode(true)?,
        );
        decode.push(alone.cpu_ms);
        encode.push(both.cpu_ms - alone.cpu_ms);
    }
    throughput(report, &int8, &fp32, rounds);
    cost(report, &int8, &fp32, median(decode), median(encode));
    Ok(())
}

fn throughput(report: &mut Report, int8: &Rounds, fp32: &Rounds, rounds: usize) {
    report.section(
        "The whole job on one clip",
        &format!(
            "795 frames of 768x576, decoded, detected by NanoDet 416, drawn, encoded to H.264 and recorded; \
             both sides with the same model file and all cores (2 threads for the Python loop: OpenCV, \
             onnxruntime, NumPy, `tools/bench/python_loop.py`). Medians of {rounds} interleaved rounds. Sluice's \
             figures are the slope between a run on the clip and a run on {LONG} times the clip, so that starting \
             and warming cancel out; Python's begin after its model is loaded. Sluice also tracks. \
             Command: `target/release/sluice-bench job`.",
        ),
    );
    let row = |name: &str, rounds: &Rounds| {
        vec![
            name.to_owned(),
            format!("{:.0}", rounds.fps()),
            format!("{:.0}", rounds.python_fps()),
            format!("{:.2}x", rounds.fps() / rounds.python_fps()),
            format!("{:.2}x", rounds.fps() / fp32.python_fps()),
            format!(
                "{:.1}",
                median(rounds.python.iter().map(|figures| figures.cpu_ms))
            ),
        ]
    };
    report.table(
        &[
            "model",
            "Sluice fps",
            "Python fps",
            "ratio",
            "ratio to Python fp32",
            "Python CPU-ms a frame",
        ],
        &[row("int8", int8), row("fp32", fp32)],
    );
}

fn cost(report: &mut Report, int8: &Rounds, fp32: &Rounds, decode: f64, encode: f64) {
    report.section(
        "What a frame costs",
        "Processor time of all processes together, a frame, against the sum of its parts measured alone: the \
         decoder (`gst-launch-1.0`), the model on a ready tensor (one thread, `tools/bench/model_alone.py`), the \
         encoder with the same settings.",
    );
    let row = |name: &str, rounds: &Rounds| {
        let sum = decode + rounds.model_ms() + encode;
        vec![
            name.to_owned(),
            format!("{:.2}", rounds.cpu_ms()),
            format!("{decode:.2}"),
            format!("{:.2}", rounds.model_ms()),
            format!("{encode:.2}"),
            format!("{sum:.2}"),
            format!("{:.2}x", rounds.cpu_ms() / sum),
        ]
    };
    report.table(
        &[
            "model",
            "Sluice CPU-ms",
            "decode",
            "model",
            "encode",
            "sum of the parts",
            "ratio",
        ],
        &[row("int8", int8), row("fp32", fp32)],
    );
}
