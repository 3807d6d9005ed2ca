//! Many viewers of one stream: what one more costs, and whether a frozen one harms the others.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use gstreamer as gst;
use gstreamer::prelude::*;
use testkit::camera::{CameraOptions, RtspCamera};
use testkit::free_port;
use testkit::whep::Whep;

use crate::command::{Run, pause, wait};
use crate::database::{Database, LIVE};
use crate::processes;
use crate::report::Report;

const SIZE: &str = "640x360";
const FPS: u32 = 25;
/// How long each crowd watches.
const WATCHED: Duration = Duration::from_secs(15);
/// Viewers by RTSP and by WebRTC of each crowd.
const CROWDS: [(usize, usize); 6] = [(0, 0), (10, 0), (50, 0), (0, 10), (0, 50), (50, 50)];

/// Lets crowds watch one stream.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    gst::init()?;
    let directory = tempfile::tempdir()?;
    let camera = RtspCamera::start(CameraOptions {
        size: SIZE.parse().map_err(|error| anyhow::anyhow!("{error}"))?,
        fps: FPS,
        ..CameraOptions::default()
    });
    let (rtsp, webrtc) = (free_port(), free_port());
    let config = directory.path().join("viewers.yaml");
    fs::write(&config, text(&camera.location(), rtsp, webrtc))?;
    let data = directory.path().join("data");
    let run = Run::start(root, &config, &data)?;
    let database = Database::of(&data);
    wait(|| database.value::<i64>(LIVE).is_ok_and(|live| live == 1))?;

    let mut rows = Vec::new();
    for crowd in CROWDS {
        rows.push(watch(&run, crowd, false, rtsp, webrtc)?);
    }
    rows.push(watch(&run, (50, 50), true, rtsp, webrtc)?);
    run.stop()?;
    let counter = |name: &str| {
        database.value::<i64>(&format!(
            "SELECT value FROM ledgers WHERE book = 'render' AND counter = '{name}'"
        ))
    };
    let (rendered, encoded) = (counter("rendered")?, counter("encoded")?);
    report.section(
        "Viewers",
        &format!(
            "One stream ({SIZE}, {FPS} fps, 2 Mbit/s at most, nothing inferred) watched by crowds on loopback for {} s each. Processor time is that \
             of the whole gateway process and of the whole render process, which draws and encodes; viewers run in the measuring process and \
             share the machine. In the last row two viewers, one by each protocol, are frozen: they stay connected and read nothing; they are \
             left out of the rates. Over the whole run {rendered} frames were rendered and {encoded} encoded. Command: `target/release/sluice-bench viewers`.",
            WATCHED.as_secs(),
        ),
    );
    report.table(
        &[
            "by RTSP",
            "by WebRTC",
            "gateway CPU %",
            "% a viewer",
            "render CPU %",
            "least fps of a viewer, RTSP",
            "WebRTC",
        ],
        &rows,
    );
    Ok(())
}

fn text(camera: &str, rtsp: u16, webrtc: u16) -> String {
    format!(
        "run: viewers\ngateway: {{rtsp_port: {rtsp}, webrtc_port: {webrtc}}}\n\
         streams:\n  yard:\n    source: '{camera}'\n    size: {SIZE}\n    encode: {{bitrate: 2M}}\n    \
         outputs: [{{rtsp: yard}}, {{webrtc: yard}}]\n"
    )
}

/// Lets a crowd watch; with `freeze` the first viewer of each protocol reads nothing.
fn watch(
    run: &Run,
    (by_rtsp, by_webrtc): (usize, usize),
    freeze: bool,
    rtsp: u16,
    webrtc: u16,
) -> anyhow::Result<Vec<String>> {
    let rtsp_viewers: Vec<_> = (0..by_rtsp)
        .map(|_| RtspViewer::start(rtsp))
        .collect::<anyhow::Result<_>>()?;
    let webrtc_viewers: Vec<_> = (0..by_webrtc)
        .map(|_| Whep::watch(webrtc, "yard"))
        .collect();
    wait(|| {
        rtsp_viewers.iter().all(|viewer| viewer.count() > 0)
            && webrtc_viewers.iter().all(|viewer| viewer.count() > 0)
    })
    .context("some viewers see nothing")?;
    let frozen = usize::from(freeze);
    rtsp_viewers
        .iter()
        .take(frozen)
        .try_for_each(RtspViewer::freeze)?;
    webrtc_viewers.iter().take(frozen).for_each(Whep::freeze);

    let rtsp_before: Vec<_> = rtsp_viewers.iter().map(RtspViewer::count).collect();
    for viewer in &webrtc_viewers {
        drop(viewer.take_pictures());
    }
    let (begin, before) = (Instant::now(), processes::family(run.pid())?);
    pause(WATCHED);
    let after = processes::family(run.pid())?;
    let passed = begin.elapsed().as_secs_f64();
    let rtsp_seen = rtsp_viewers.iter().zip(rtsp_before);
    let rtsp_seen = rtsp_seen.map(|(viewer, before)| viewer.count() - before);
    let webrtc_seen = webrtc_viewers
        .iter()
        .map(|viewer| viewer.take_pictures().len() as u64);

    let cpu = |program: &str| {
        let busy =
            processes::cpu_of(&after, program).saturating_sub(processes::cpu_of(&before, program));
        busy.as_secs_f64() / passed * 100.0
    };
    let least = |seen: &mut dyn Iterator<Item = u64>| {
        let least = seen.skip(frozen).min();
        least.map_or("-".to_owned(), |count| {
            format!("{:.1}", count as f64 / passed)
        })
    };
    let gateway = cpu("gateway");
    let viewers = by_rtsp + by_webrtc;
    let each = match viewers {
        0 => "-".to_owned(),
        viewers => format!("{:.2}", gateway / viewers as f64),
    };
    let named = |count: usize| match (count, freeze) {
        (0, _) | (_, false) => count.to_string(),
        (_, true) => format!("{count}, one frozen"),
    };
    Ok(vec![
        named(by_rtsp),
        named(by_webrtc),
        format!("{gateway:.1}"),
        each,
        format!("{:.1}", cpu("render-worker")),
        least(&mut rtsp_seen.into_iter()),
        least(&mut webrtc_seen.into_iter()),
    ])
}

/// A viewer by RTSP over TCP that counts access units and decodes nothing.
struct RtspViewer {
    pipeline: gst::Pipeline,
    count: Arc<AtomicU64>,
}

impl RtspViewer {
    fn start(port: u16) -> anyhow::Result<Self> {
        let pipeline = gst::parse::launch(&format!(
            "rtspsrc location=rtsp://127.0.0.1:{port}/yard protocols=tcp latency=0 \
             ! rtph264depay ! video/x-h264,alignment=au ! fakesink name=sink sync=false"
        ))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow::anyhow!("no pipeline"))?;
        let sink = pipeline.by_name("sink").context("no sink")?;
        let count = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&count);
        let pad = sink.static_pad("sink").context("no pad")?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self { pipeline, count })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Its sink takes nothing any more, so that in the end nothing is read from its connection.
    fn freeze(&self) -> anyhow::Result<()> {
        let sink = self.pipeline.by_name("sink").context("no sink")?;
        let pad = sink.static_pad("sink").context("no pad")?;
        pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        });
        Ok(())
    }
}

impl Drop for RtspViewer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
