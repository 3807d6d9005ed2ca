//! An RTSP camera for tests: one stream at `/stream` on 127.0.0.1. It prints
//! `listening` when it can be connected to, and serves until it is killed.

use std::path::PathBuf;

use clap::Parser;
use contract::geometry::PixelSize;
use gstreamer as gst;
use gstreamer_rtsp_server as rtsp_server;
use gstreamer_rtsp_server::gst_rtsp::{RTSPAuthMethod, RTSPLowerTrans};
use gstreamer_rtsp_server::prelude::*;
use nix::sys::prctl;
use nix::sys::signal::Signal;

const ROLE: &str = "viewer";

/// An RTSP camera for tests.
#[derive(Debug, Parser)]
struct Arguments {
    /// TCP port to listen on.
    #[arg(long)]
    port: u16,
    /// H.264 in MP4, sent once; a moving ball when absent.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// Size of the ball's picture.
    #[arg(long, default_value = "320x240")]
    size: PixelSize,
    /// Frames a second of the ball.
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// The only user let in; everybody when absent.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// That user's password.
    #[arg(long)]
    password: Option<String>,
    /// Ask for the password by digest instead of basic authentication.
    #[arg(long)]
    digest: bool,
    /// What is sent without a clip: h264, h265, jpeg or sound.
    #[arg(long, default_value = "h264")]
    media: String,
    /// Refuse TCP.
    #[arg(long)]
    udp_only: bool,
    /// Speak TLS with the certificate and key of this PEM file.
    #[arg(long)]
    certificate: Option<PathBuf>,
}

#[expect(
    clippy::print_stdout,
    reason = "the line that says the camera can be connected to"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    // A stopped process reads no end of file; this kills it with the test nevertheless.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    gst::init()?;

    let factory = rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(&launch_line(&arguments));
    // One that sends by UDP only is asked twice by a client, who would meet the media that its
    // first question left behind, half torn down (503).
    factory.set_shared(!arguments.udp_only);
    factory.set_latency(0);

    let server = rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&arguments.port.to_string());
    if arguments.udp_only {
        factory.set_protocols(RTSPLowerTrans::UDP);
    }
    if let Some(path) = &arguments.certificate {
        let auth = rtsp_server::RTSPAuth::new();
        auth.set_tls_certificate(Some(&gio::TlsCertificate::from_file(path)?));
        let mut token = rtsp_server::RTSPToken::builder()
            .field("media.factory.role", ROLE)
            .build();
        auth.set_default_token(Some(&mut token));
        server.set_auth(Some(&auth));
        allow(&factory);
    }
    if let (Some(user), Some(password)) = (&arguments.user, &arguments.password) {
        let token = rtsp_server::RTSPToken::builder()
            .field("media.factory.role", ROLE)
            .build();
        let auth = rtsp_server::RTSPAuth::new();
        if arguments.digest {
            auth.set_supported_methods(RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &token);
        } else {
            auth.set_supported_methods(RTSPAuthMethod::Basic);
            let basic = rtsp_server::RTSPAuth::make_basic(user, password);
            auth.add_basic(&basic, &token);
        }
        server.set_auth(Some(&auth));
        allow(&factory);
    }
    let mounts = server
        .mount_points()
        .ok_or("an RTSP server has mount points")?;
    mounts.add_factory("/stream", factory);
    let _source = server.attach(None)?;
    println!("listening");
    gst::glib::MainLoop::new(None, false).run();
    Ok(())
}

/// Lets viewers of the one role in.
fn allow(factory: &rtsp_server::RTSPMediaFactory) {
    let permissions = gst::Structure::builder(ROLE)
        .field("media.factory.access", true)
        .field("media.factory.construct", true)
        .build();
    factory.add_role_from_structure(&permissions);
}

fn launch_line(arguments: &Arguments) -> String {
    let payloader = "rtph264pay name=pay0 pt=96 config-interval=-1";
    if let Some(clip) = &arguments.clip {
        return format!(
            "( filesrc location=\"{}\" ! qtdemux ! h264parse ! {payloader} )",
            clip.display()
        );
    }
    let fps = arguments.fps;
    let encoder = match arguments.media.as_str() {
        "h265" => format!(
            "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} \
             ! rtph265pay name=pay0 pt=96 config-interval=-1"
        ),
        "jpeg" => "jpegenc ! rtpjpegpay name=pay0 pt=26".to_owned(),
        "sound" => {
            return "( audiotestsrc is-live=true ! mulawenc ! rtppcmupay name=pay0 pt=0 )"
                .to_owned();
        }
        _ => format!(
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! {payloader}"
        ),
    };
    format!(
        "( videotestsrc is-live=true pattern=ball \
         ! video/x-raw,format=I420,width={},height={},framerate={fps}/1 ! {encoder} )",
        arguments.size.width, arguments.size.height
    )
}
