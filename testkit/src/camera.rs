//! An RTSP camera in a process of its own, so that it can die and freeze for real.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use contract::geometry::PixelSize;
use nix::sys::signal::Signal;

use crate::port::free_port;
use crate::process::{self, Launch, Process};
use crate::wait::wait_until;

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How a camera asks for its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// In clear text (RFC 7617).
    Basic,
    /// By a challenge (RFC 7616), as most cameras do.
    Digest,
}

/// What a camera shows and to whom.
#[derive(Debug, Clone)]
pub struct CameraOptions {
    /// The clip it sends, H.264 in MP4, once for all viewers; a moving ball for ever when absent.
    pub clip: Option<PathBuf>,
    /// Size of the ball's picture.
    pub size: PixelSize,
    /// Frames a second of the ball.
    pub fps: u32,
    /// User, password and how it asks for them.
    pub login: Option<(String, String, Authentication)>,
    /// What it sends instead of H.264.
    pub media: Media,
    /// It refuses TCP (461), as some cameras do.
    pub udp_only: bool,
    /// It speaks TLS only, with this certificate and key in one PEM file.
    pub certificate: Option<PathBuf>,
}

/// What a camera without a clip sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// H.264
    H264,
    /// H.265
    H265,
    /// Motion JPEG
    Jpeg,
    /// Sound and no picture.
    Sound,
}

impl Media {
    /// Its name on the command line of the camera.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Jpeg => "jpeg",
            Self::Sound => "sound",
        }
    }
}

impl Default for CameraOptions {
    fn default() -> Self {
        Self {
            clip: None,
            size: PixelSize {
                width: 320,
                height: 240,
            },
            fps: 25,
            login: None,
            media: Media::H264,
            udp_only: false,
            certificate: None,
        }
    }
}

impl CameraOptions {
    /// A camera that sends a clip, and is gone at its end.
    #[must_use]
    pub fn clip(path: &Path) -> Self {
        Self {
            clip: Some(path.to_owned()),
            ..Self::default()
        }
    }
}

/// A camera on a port of its own of 127.0.0.1, at path `/stream`.
///
/// It ends with the thread that started it, however that ends.
#[derive(Debug)]
pub struct RtspCamera {
    options: CameraOptions,
    port: u16,
    process: Option<Process>,
}

impl RtspCamera {
    /// Starts a camera and waits until it listens.
    ///
    /// # Panics
    /// When it does not listen within 20 s.
    #[must_use]
    pub fn start(options: CameraOptions) -> Self {
        let mut camera = Self {
            options,
            port: free_port(),
            process: None,
        };
        camera.restart();
        camera
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, without user and password.
    #[must_use]
    pub fn location(&self) -> String {
        let scheme = match self.options.certificate {
            Some(_) => "rtsps",
            None => "rtsp",
        };
        format!("{scheme}://127.0.0.1:{}/stream", self.port)
    }

    /// Its address with a user and a password, right or wrong.
    #[must_use]
    pub fn location_as(&self, user: &str, password: &str) -> String {
        format!("rtsp://{user}:{password}@127.0.0.1:{}/stream", self.port)
    }

    /// Stops its process where it stands: connections stay open, nothing more is sent or answered.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&self) {
        self.running().signal(Signal::SIGSTOP);
    }

    /// Lets a frozen camera go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&self) {
        self.running().signal(Signal::SIGCONT);
    }

    /// Kills it with SIGKILL; the kernel closes its connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What it is when it is started again.
    pub fn change(&mut self, change: impl FnOnce(&mut CameraOptions)) {
        change(&mut self.options);
    }

    /// Starts it again on the same port, killing it first where it runs.
    ///
    /// # Panics
    /// When it does not listen within 20 s.
    pub fn restart(&mut self) {
        self.kill();
        let mut launch =
            Launch::new(camera_program()).arguments(["--port", &self.port.to_string()]);
        if let Some(clip) = &self.options.clip {
            launch = launch.arguments(["--clip", clip.to_str().expect("a UTF-8 path")]);
        }
        launch = launch
            .arguments(["--size", &self.options.size.to_string()])
            .arguments(["--fps", &self.options.fps.to_string()]);
        launch = launch.arguments(["--media", self.options.media.as_str()]);
        if self.options.udp_only {
            launch = launch.arguments(["--udp-only"]);
        }
        if let Some(certificate) = &self.options.certificate {
            let path = certificate.to_str().expect("a UTF-8 path");
            launch = launch.arguments(["--certificate", path]);
        }
        if let Some((user, password, authentication)) = &self.options.login {
            launch = launch.arguments(["--user", user, "--password", password]);
            if *authentication == Authentication::Digest {
                launch = launch.arguments(["--digest"]);
            }
        }
        let process = launch.start();
        let listens = wait_until(START_TIMEOUT, || process.stdout().contains("listening"));
        assert!(listens, "the camera does not start: {}", process.stderr());
        self.process = Some(process);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the camera is running")
    }
}

fn camera_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| process::program("rtsp-camera"))
}
