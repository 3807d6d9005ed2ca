//! Glass to glass: from the moment a camera makes a picture to the moment a viewer has it decoded.
//!
//! The camera burns the time into its picture and the viewer reads it there, so
//! that everything between is in the figure: the camera's encoder, both networks,
//! Sluice, the viewer's decoder. Beside it runs a relay that does nothing but
//! decode and encode: what Sluice adds is the difference.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::geometry::PixelSize;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use testkit::burnt_clock;
use testkit::camera::free_port;

use crate::command::{self, Run, wait};
use crate::database::{Database, LIVE};
use crate::report::Report;

const SIZE: PixelSize = PixelSize {
    width: 640,
    height: 360,
};
const FPS: u32 = 25;
const MODEL: &str = "assets/models/nanodet-416-int8.onnx";
/// How long each viewer watches.
const WATCHED: Duration = Duration::from_secs(20);
/// Of which nothing is counted: the viewer runs through the group of pictures it begins with.
const SETTLING: Duration = Duration::from_secs(3);
/// More latencies than are measured; a bound for the queue only.
const LATENCIES_MAX: usize = 10_000;

/// What a viewer saw.
struct Seen {
    latencies_us: Vec<u64>,
    /// Pictures without a readable clock.
    unread: usize,
}

/// One way from the camera to a viewer.
struct Way {
    name: &'static str,
    /// A pipeline from there to H.264 in access units.
    source: String,
}

/// Runs a camera, a relay, and Sluice with and without a model, and watches each.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    gst::init()?;
    let directory = tempfile::tempdir()?;
    let camera = ClockCamera::start(root, &[])?;
    let relay = ClockCamera::start(root, &["--relay", &camera.location()])?;
    let rtsp_port = free_port();
    let config = directory.path().join("glass.yaml");
    fs::write(&config, text(root, &camera.location(), rtsp_port))?;
    let data = directory.path().join("data");
    let run = Run::start(root, &config, &data)?;
    let database = Database::of(&data);
    wait(|| database.value::<i64>(LIVE).is_ok_and(|count| count == 2))?;

    let rtsp = |location: &str| {
        format!("rtspsrc location={location} protocols=tcp latency=0 ! rtph264depay ! h264parse")
    };
    let served = |path: &str| rtsp(&format!("rtsp://127.0.0.1:{rtsp_port}/{path}"));
    let ways = [
        Way {
            name: "the camera itself, RTSP",
            source: rtsp(&camera.location()),
        },
        Way {
            name: "decoded and encoded, RTSP",
            source: rtsp(&relay.location()),
        },
        Way {
            name: "Sluice without a model, RTSP",
            source: served("plain"),
        },
        Way {
            name: "Sluice with NanoDet 416 int8, RTSP",
            source: served("people"),
        },
    ];
    let mut rows = Vec::new();
    for way in &ways {
        let seen = watch(&way.source).with_context(|| way.name)?;
        rows.push(row(way.name, &seen));
    }
    // Latencies stand in the database at the end.
    run.stop()?;
    let inference_ms: f64 =
        database.value("SELECT max(p50_us) / 1e3 FROM latencies WHERE book LIKE 'infer:%'")?;
    report.section(
        "Glass to glass",
        &format!(
            "A camera ({SIZE}, {FPS} fps, H.264 by x264 ultrafast zerolatency, RTSP over TCP) burns the time into its picture; \
             a viewer decodes what it gets and reads the time there, for {} s each, one viewer after the other. All run at the same \
             time on this machine: the camera, the relay that decodes and encodes with the same encoder settings, and one Sluice with \
             two streams of that camera. From capture to the result of the model was p50 {inference_ms:.1} ms. \
             Command: `target/release/sluice-bench glass`.",
            (WATCHED - SETTLING).as_secs(),
        ),
    );
    report.table(
        &[
            "way",
            "pictures",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "unreadable",
        ],
        &rows,
    );
    Ok(())
}

fn text(root: &Path, camera: &str, rtsp_port: u16) -> String {
    format!(
        "run: glass\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
         gateway: {{rtsp_port: {rtsp_port}}}\n\
         defaults:\n  size: {SIZE}\n  store: {{detections: false}}\n  \
         overlay: {{status: false}}\n  encode: {{bitrate: 3M}}\n\
         streams:\n  plain: {{source: '{camera}', outputs: [{{rtsp: plain}}]}}\n  \
         people: {{source: '{camera}', infer: [people], outputs: [{{rtsp: people}}]}}\n",
        model = root.join(MODEL).display(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "latencies are short")]
fn row(name: &str, seen: &Seen) -> Vec<String> {
    let mut sorted = seen.latencies_us.clone();
    sorted.sort_unstable();
    let percentile = |percent: usize| {
        let index = sorted.len().saturating_sub(1) * percent / 100;
        let latency = sorted.get(index).copied().unwrap_or(0);
        format!("{:.1}", latency as f64 / 1e3)
    };
    vec![
        name.to_owned(),
        sorted.len().to_string(),
        percentile(50),
        percentile(90),
        percentile(99),
        seen.unread.to_string(),
    ]
}

/// Decodes what comes, and reads the clock in it.
fn watch(source: &str) -> anyhow::Result<Seen> {
    let pipeline = gst::parse::launch(&format!(
        "{source} ! avdec_h264 max-threads=1 ! appsink name=sink sync=false max-buffers=1"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| anyhow::anyhow!("no pipeline"))?;
    let sink = pipeline
        .by_name("sink")
        .and_downcast::<AppSink>()
        .context("no appsink")?;
    let (sender, latencies) = sync_channel(LATENCIES_MAX);
    sink.set_callbacks(
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let now_us = burnt_clock::now_us();
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                // Who counts them has what it wants when it listens no more.
                let _ =
                    sender.try_send(clock_of(&sample).map(|us| burnt_clock::age_us(now_us, us)));
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    pipeline.set_state(gst::State::Playing)?;
    let seen = collect(&latencies);
    pipeline.set_state(gst::State::Null)?;
    seen
}

/// What comes in the time that is watched, but for the first of it.
fn collect(latencies: &Receiver<Option<u64>>) -> anyhow::Result<Seen> {
    let mut seen = Seen {
        latencies_us: Vec::new(),
        unread: 0,
    };
    let begin = Instant::now();
    while let Some(left) = WATCHED.checked_sub(begin.elapsed()) {
        let latency = latencies.recv_timeout(left.max(Duration::from_millis(1)));
        if begin.elapsed() < SETTLING {
            continue;
        }
        match latency {
            Ok(Some(latency_us)) => seen.latencies_us.push(latency_us),
            Ok(None) => seen.unread += 1,
            Err(_) => break,
        }
    }
    anyhow::ensure!(!seen.latencies_us.is_empty(), "no picture came");
    Ok(seen)
}

fn clock_of(sample: &gst::Sample) -> Option<u64> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
    let stride = usize::try_from(*frame.plane_stride().first()?).ok()?;
    let size = PixelSize {
        width: info.width(),
        height: info.height(),
    };
    burnt_clock::read(size, frame.plane_data(0).ok()?, stride)
}

/// A camera with a clock in its picture, or a relay of one.
struct ClockCamera {
    port: u16,
    _process: Run,
}

impl ClockCamera {
    fn start(root: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let port = free_port();
        let program = PathBuf::from("target/release/clock-camera");
        let mut command = command::command(root, program);
        command.args(["--port", &port.to_string()]);
        command.args(["--size", &SIZE.to_string(), "--fps", &FPS.to_string()]);
        command.args(more);
        let process = Run::spawn(&mut command)?;
        wait(|| TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    fn location(&self) -> String {
        format!("rtsp://127.0.0.1:{}/stream", self.port)
    }
}
