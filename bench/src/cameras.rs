//! Many cameras on one machine: whether all are live, how late they are, what one costs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use testkit::camera::{CameraOptions, RtspCamera};

use crate::command::{self, Run, pause, wait};
use crate::database::{Database, LIVE};
use crate::processes::{self, Taken};
use crate::report::Report;

const CAMERAS: usize = 32;
const FPS: u32 = 5;
const SIZE: &str = "640x360";
const MODEL: &str = "assets/models/nanodet-416-int8.onnx";
const CLIP: &str = ".deps/clips/walking.mp4";
/// Between two looks at the run.
const INTERVAL: Duration = Duration::from_secs(5);
/// Memory is compared with that after the first minute: pools are filled and the model is warm.
const SETTLED: Duration = Duration::from_secs(60);
/// The run with outputs is the shorter one.
const SERVED_MAX: Duration = Duration::from_secs(120);

/// One look at a run.
struct Look {
    at: Duration,
    /// Streams whose frames come, with all of their models or less.
    alive: i64,
    members: Vec<Taken>,
}

/// Runs the cameras twice: looked at by the model only, and encoded and served as well.
pub(crate) fn measure(root: &Path, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let clip = directory.path().join("camera.mp4");
    make_clip(root, &clip, time)?;
    report.section(
        "Thirty-two cameras",
        &format!(
            "{CAMERAS} cameras, each a process of its own (RTSP over TCP, {SIZE}, {FPS} fps, H.264 as recorded: people walk for ten seconds, \
             then nothing moves for ten, at all cameras at the same time), NanoDet 416 int8 behind the gate \
             `motion > 0.2% or every(10s)`; once without outputs, once with each stream encoded and served by RTSP. \
             Looked at every {} s. Memory is the proportional set size: of a camera, that of its ingest and its render process, frame pools \
             included; of the run, all processes. Latency is from capture to rendered, of the worst stream. The run ends with an error unless \
             all its ledgers balance. Command: `target/release/sluice-bench cameras --seconds {}`.",
            INTERVAL.as_secs(),
            time.as_secs(),
        ),
    );
    let mut rows = Vec::new();
    for (served, time) in [(false, time), (true, time.min(SERVED_MAX))] {
        rows.push(run(root, directory.path(), &clip, time, served)?);
    }
    report.table(
        &[
            "run",
            "seconds",
            "least alive",
            "captured fps",
            "inferred fps",
            "p50 ms",
            "p99 ms",
            "lost",
            "cores used",
            "MB a camera",
            "MB the run, first minute",
            "at the end",
        ],
        &rows,
    );
    Ok(())
}

fn run(
    root: &Path,
    directory: &Path,
    clip: &Path,
    time: Duration,
    served: bool,
) -> anyhow::Result<Vec<String>> {
    let options = CameraOptions::clip(clip);
    let cameras: Vec<_> = (0..CAMERAS)
        .map(|_| RtspCamera::start(options.clone()))
        .collect();
    let config = directory.join("cameras.yaml");
    fs::write(directory.join("cameras.rules.yaml"), RULES)?;
    fs::write(&config, text(root, &cameras, served))?;
    let data = tempfile::tempdir_in(directory)?;
    let run = Run::start(root, &config, data.path())?;
    let database = Database::of(data.path());
    wait(|| {
        database
            .value::<i64>(LIVE)
            .is_ok_and(|live| live as usize == CAMERAS)
    })?;

    let begin = Instant::now();
    let mut looks = Vec::new();
    while begin.elapsed() < time {
        looks.push(Look {
            at: begin.elapsed(),
            alive: database.value(ALIVE)?,
            members: processes::family(run.pid())?,
        });
        pause(INTERVAL);
    }
    run.stop()?;
    let name = if served {
        "encoded and served"
    } else {
        "no outputs"
    };
    row(name, &looks, &database)
}

fn row(name: &str, looks: &[Look], database: &Database) -> anyhow::Result<Vec<String>> {
    let (first, last) = (
        looks.first().context("the run was not looked at")?,
        looks.last().context("the run was not looked at")?,
    );
    let settled = looks
        .iter()
        .find(|look| look.at >= SETTLED)
        .unwrap_or(first);
    let cpu = |look: &Look| {
        look.members
            .iter()
            .map(|member| member.cpu)
            .sum::<Duration>()
    };
    let busy = cpu(last).saturating_sub(cpu(first)).as_secs_f64();
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let whole = |look: &Look| look.members.iter().map(|member| member.memory).sum::<u64>();
    let cameras = processes::memory_of(&last.members, &["ingest-worker", "render-worker"]);
    let figure = |query: &str| database.value::<f64>(query);
    Ok(vec![
        name.to_owned(),
        (last.at - first.at).as_secs().to_string(),
        looks
            .iter()
            .map(|look| look.alive)
            .min()
            .unwrap_or(0)
            .to_string(),
        format!("{:.0}", figure(&rate("captured_fps"))?),
        format!("{:.0}", figure(&rate("inferred_fps"))?),
        format!("{:.0}", figure(&latency("p50_us"))?),
        format!("{:.0}", figure(&latency("p99_us"))?),
        database
            .value::<i64>("SELECT sum(value) FROM ledgers WHERE counter LIKE 'lost%'")?
            .to_string(),
        format!("{:.2}", busy / (last.at - first.at).as_secs_f64()),
        megabytes(cameras / CAMERAS as u64),
        megabytes(whole(settled)),
        megabytes(whole(last)),
    ])
}

/// A stream whose models do not keep up is alive.
const ALIVE: &str = "SELECT count(*) FROM streams WHERE state IN ('live', 'degraded')";

/// Of all streams together, in the mean.
fn rate(column: &str) -> String {
    format!(
        "SELECT sum(mean) FROM (SELECT avg({column}) AS mean FROM metric_samples
         WHERE wall_ms > (SELECT min(wall_ms) FROM metric_samples) + 15000 GROUP BY stream_id)"
    )
}

fn latency(percentile: &str) -> String {
    format!("SELECT max({percentile}) / 1e3 FROM latencies WHERE book = 'render'")
}

const RULES: &str = "\
gates:
  people: motion > 0.2% or every(10s)
rules:
  somebody: {on: track, when: 'label == \"person\" and score > 50%', for: 1s, do: [alert]}
";

fn text(root: &Path, cameras: &[RtspCamera], served: bool) -> String {
    let mut text = format!(
        "run: cameras\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
         gateway: {{rtsp_port: {port}}}\n\
         defaults:\n  size: {SIZE}\n  transport: tcp\n  infer: [people]\n  store: {{detections: false}}\n  \
         encode: {{preset: ultrafast, bitrate: 500k, threads: 1}}\n\
         streams:\n",
        model = root.join(MODEL).display(),
        port = testkit::free_port(),
    );
    for (index, camera) in cameras.iter().enumerate() {
        let source = camera.location();
        let outputs = if served {
            format!(", outputs: [{{rtsp: cam-{index:02}}}]")
        } else {
            String::new()
        };
        text += &format!(
            "  cam-{index:02}: {{source: '{source}', rules: cameras.rules.yaml{outputs}}}\n"
        );
    }
    text
}

/// Ten seconds of the clip and ten of its last picture, again and again, for longer than `time`.
fn make_clip(root: &Path, clip: &Path, time: Duration) -> anyhow::Result<()> {
    let unit = clip.with_file_name("unit.mp4");
    let mut ffmpeg = command::command(root, "ffmpeg");
    let picture = format!(
        "fps={FPS},scale={},tpad=stop_mode=clone:stop_duration=10",
        SIZE.replace('x', ":")
    );
    ffmpeg
        .args(["-v", "error", "-t", "10", "-i", CLIP, "-vf"])
        .arg(picture);
    ffmpeg.args("-c:v libx264 -preset veryfast -g 10 -bf 0 -b:v 400k -pix_fmt yuv420p".split(' '));
    command::timed(ffmpeg.arg(&unit))?;
    // The cameras begin to play before all streams are live, and must not end before the run.
    let times = (time.as_secs() + 120) / 20;
    let mut ffmpeg = command::command(root, "ffmpeg");
    ffmpeg.args(["-v", "error", "-stream_loop", &times.to_string(), "-i"]);
    ffmpeg.arg(&unit).args(["-c", "copy"]).arg(clip);
    command::timed(&mut ffmpeg)?;
    Ok(())
}
