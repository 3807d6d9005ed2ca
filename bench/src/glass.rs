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
use testkit::browser::Browser;
use testkit::burnt_clock;
use testkit::free_port;

use crate::command::{self, Run, pause, wait};
use crate::database::{Database, LIVE};
use crate::latency::Latencies;
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
/// How long SRT holds each packet for those that are sent again.
const SRT_LATENCY_MS: u32 = 20;
/// More latencies than are measured; a bound for the queue only.
const LATENCIES_MAX: usize = 10_000;

/// What a viewer saw.
struct Seen {
    latencies: Latencies,
    /// Pictures without a readable clock.
    unread: usize,
}

/// One way from the camera to a viewer.
struct Way {
    name: String,
    viewer: Viewer,
}

enum Viewer {
    /// A pipeline to H.264 in access units.
    Pipeline(String),
    /// A page that plays, in Chromium.
    Browser(String),
}

/// Runs a camera, relays, and Sluice with and without a model, and watches each.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    gst::init()?;
    let directory = tempfile::tempdir()?;
    let camera = ClockCamera::start(root, &[])?;
    let relay = ClockCamera::start(root, &["--relay", &camera.location()])?;
    let srt_relay = SrtRelay::start(root, &camera.location())?;
    let ports = Ports::free();
    let config = directory.path().join("glass.yaml");
    fs::write(&config, text(root, &camera.location(), &ports))?;
    let data = directory.path().join("data");
    let run = Run::start(root, &config, &data)?;
    let database = Database::of(&data);
    wait(|| database.value::<i64>(LIVE).is_ok_and(|count| count == 2))?;

    let mut ways = vec![
        rtsp("the camera itself", &camera.location()),
        rtsp("decoded and encoded", &relay.location()),
        srt("decoded and encoded", srt_relay.port, ""),
    ];
    for (name, path) in [
        ("Sluice without a model", "plain"),
        ("Sluice with NanoDet 416 int8", "people"),
    ] {
        ways.push(rtsp(
            name,
            &format!("rtsp://127.0.0.1:{}/{path}", ports.rtsp),
        ));
        ways.push(srt(name, ports.srt, path));
        ways.push(Way {
            name: format!("{name}, WebRTC in Chromium"),
            viewer: Viewer::Browser(format!("http://127.0.0.1:{}/{path}", ports.webrtc)),
        });
    }
    let mut rows = Vec::new();
    for way in &ways {
        let seen = match &way.viewer {
            Viewer::Pipeline(source) => watch(source),
            Viewer::Browser(url) => browse(url),
        };
        rows.push(row(&way.name, &seen.with_context(|| way.name.clone())?));
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
             time on this machine: the camera, relays that decode and encode with the same encoder settings (the one by SRT is \
             `gst-launch-1.0`), and one Sluice with two streams of that camera. SRT is received with a latency of {SRT_LATENCY_MS} ms, which every \
             picture waits for. Chromium decodes on the processor, and reads the picture when it shows it. From capture to \
             the result of the model was p50 {inference_ms:.1} ms. Command: `target/release/sluice-bench glass`.",
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

fn rtsp(name: &str, location: &str) -> Way {
    Way {
        name: format!("{name}, RTSP"),
        viewer: Viewer::Pipeline(format!(
            "rtspsrc location={location} protocols=tcp latency=0 ! rtph264depay ! h264parse"
        )),
    }
}

fn srt(name: &str, port: u16, stream_id: &str) -> Way {
    let stream_id = match stream_id {
        "" => String::new(),
        stream_id => format!("streamid={stream_id}"),
    };
    Way {
        name: format!("{name}, SRT"),
        viewer: Viewer::Pipeline(format!(
            "srtsrc uri=srt://127.0.0.1:{port}?mode=caller latency={SRT_LATENCY_MS} {stream_id} ! tsdemux latency=0 ! h264parse"
        )),
    }
}

/// Where Sluice serves.
struct Ports {
    rtsp: u16,
    srt: u16,
    webrtc: u16,
}

impl Ports {
    fn free() -> Self {
        Self {
            rtsp: free_port(),
            srt: free_port(),
            webrtc: free_port(),
        }
    }
}

fn text(root: &Path, camera: &str, ports: &Ports) -> String {
    let Ports { rtsp, srt, webrtc } = ports;
    let outputs = |path: &str| format!("[{{rtsp: {path}}}, {{srt: {path}}}, {{webrtc: {path}}}]");
    format!(
        "run: glass\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
         gateway: {{rtsp_port: {rtsp}, srt_port: {srt}, webrtc_port: {webrtc}}}\n\
         defaults:\n  size: {SIZE}\n  store: {{detections: false}}\n  \
         overlay: {{status: false}}\n  encode: {{bitrate: 3M}}\n\
         streams:\n  plain: {{source: '{camera}', outputs: {plain}}}\n  \
         people: {{source: '{camera}', infer: [people], outputs: {people}}}\n",
        model = root.join(MODEL).display(),
        plain = outputs("plain"),
        people = outputs("people"),
    )
}

fn row(name: &str, seen: &Seen) -> Vec<String> {
    vec![
        name.to_owned(),
        seen.latencies.len().to_string(),
        seen.latencies.percentile_ms(50),
        seen.latencies.percentile_ms(90),
        seen.latencies.percentile_ms(99),
        seen.unread.to_string(),
    ]
}

/// Plays a page in a browser, and reads the clock in what it shows.
fn browse(url: &str) -> anyhow::Result<Seen> {
    let mut browser = Browser::open(url, SIZE.width, SIZE.height + 60);
    let ready = "String(document.querySelector('video')?.readyState)";
    wait(|| browser.evaluate(ready) == "4")?;
    pause(SETTLING);
    browser.evaluate(&burnt_clock::script(SIZE));
    pause(WATCHED - SETTLING);
    let ages: Vec<u64> = serde_json::from_str(&browser.evaluate("clock.ages"))?;
    anyhow::ensure!(!ages.is_empty(), "no picture came");
    Ok(Seen {
        latencies: Latencies::new(ages),
        unread: browser.evaluate("clock.unread").parse()?,
    })
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
    let (mut latencies_us, mut unread) = (Vec::new(), 0);
    let begin = Instant::now();
    while let Some(left) = WATCHED.checked_sub(begin.elapsed()) {
        let latency = latencies.recv_timeout(left.max(Duration::from_millis(1)));
        if begin.elapsed() < SETTLING {
            continue;
        }
        match latency {
            Ok(Some(latency_us)) => latencies_us.push(latency_us),
            Ok(None) => unread += 1,
            Err(_) => break,
        }
    }
    anyhow::ensure!(!latencies_us.is_empty(), "no picture came");
    Ok(Seen {
        latencies: Latencies::new(latencies_us),
        unread,
    })
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

/// The least that any restreamer by SRT must do: it decodes a stream and encodes it again.
struct SrtRelay {
    port: u16,
    _process: Run,
}

impl SrtRelay {
    fn start(root: &Path, location: &str) -> anyhow::Result<Self> {
        let port = free_port();
        let pipeline = format!(
            "rtspsrc location={location} protocols=tcp latency=0 ! rtph264depay ! h264parse ! avdec_h264 max-threads=1 \
             ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=3000 threads=1 key-int-max={FPS} \
             ! mpegtsmux alignment=7 latency=0 ! srtsink uri=srt://127.0.0.1:{port}?mode=listener latency={SRT_LATENCY_MS} wait-for-connection=false sync=false"
        );
        let mut command = command::command(root, "gst-launch-1.0");
        command.arg("--quiet").args(pipeline.split_whitespace());
        Ok(Self {
            port,
            _process: Run::spawn(&mut command)?,
        })
    }
}
