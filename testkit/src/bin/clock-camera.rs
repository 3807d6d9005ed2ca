//! An RTSP camera whose picture holds the time at which it was made (`testkit::burnt_clock`),
//! or, with `--relay`, the least that any restreamer must do: it decodes a stream and encodes it
//! again. At `/stream` on 127.0.0.1. It prints `listening` when it can be connected to, and serves
//! until it is killed.

use clap::Parser;
use contract::geometry::PixelSize;
use gstreamer as gst;
use gstreamer_rtsp_server as rtsp_server;
use gstreamer_rtsp_server::prelude::*;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use testkit::burnt_clock;

/// An RTSP camera that burns a clock into its picture.
#[derive(Debug, Parser)]
struct Arguments {
    /// TCP port to listen on.
    #[arg(long)]
    port: u16,
    /// Size of the picture; its width a multiple of 64.
    #[arg(long, default_value = "640x360")]
    size: PixelSize,
    /// Frames a second.
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Decode this stream and encode it again, instead of making one.
    #[arg(long)]
    relay: Option<String>,
}

const PICTURE: &str = "picture";

#[expect(
    clippy::print_stdout,
    reason = "the line that says the camera can be connected to"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    // A stopped process reads no end of file; this kills it with its parent nevertheless.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    gst::init()?;
    let factory = rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(&launch_line(&arguments));
    factory.set_shared(true);
    factory.set_latency(0);
    let size = arguments.size;
    factory.connect_media_configure(move |_, media| {
        let bin = media.element().downcast::<gst::Bin>().ok();
        let picture = bin.and_then(|bin| bin.by_name(PICTURE));
        if let Some(pad) = picture.and_then(|element| element.static_pad("src")) {
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer_mut()
                    && let Ok(mut picture) = buffer.make_mut().map_writable()
                {
                    burnt_clock::burn(size, &mut picture, burnt_clock::now_us());
                }
                gst::PadProbeReturn::Ok
            });
        }
    });
    let server = rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&arguments.port.to_string());
    let mounts = server
        .mount_points()
        .ok_or("an RTSP server has mount points")?;
    mounts.add_factory("/stream", factory);
    let _source = server.attach(None)?;
    println!("listening");
    gst::glib::MainLoop::new(None, false).run();
    Ok(())
}

fn launch_line(arguments: &Arguments) -> String {
    let source = match &arguments.relay {
        Some(location) => format!(
            "rtspsrc location={location} protocols=tcp latency=0 ! rtph264depay ! h264parse \
             ! avdec_h264 max-threads=1"
        ),
        None => format!(
            "videotestsrc is-live=true pattern=ball \
             ! video/x-raw,format=I420,width={},height={},framerate={}/1 ! identity name={PICTURE}",
            arguments.size.width, arguments.size.height, arguments.fps
        ),
    };
    format!(
        "( {source} ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=3000 threads=1 \
         key-int-max={} ! rtph264pay name=pay0 pt=96 config-interval=-1 )",
        arguments.fps
    )
}
