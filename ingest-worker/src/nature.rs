//! What tells one source from another for the main loop.

use contract::spec::{Pace, SourceSpec, SrtMode};

/// How a source behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// A camera is connected to when the run starts and is tried again when lost; all else
    /// is opened before and ends for good.
    pub(crate) camera: bool,
    /// It does not connect, but waits for a sender.
    pub(crate) waits_for_sender: bool,
    /// What is connected to may be a file, which ends for good.
    pub(crate) may_end: bool,
    /// It begins again at its end.
    pub(crate) repeat: bool,
    /// It has places that can be gone to.
    pub(crate) seekable: bool,
    /// Event time is the monotonic clock's time at which each frame is due, so that it goes
    /// on evenly over reconnects, repeats and restarts of this worker. Else it is the
    /// file's own time, the same in each run.
    pub(crate) clocked: bool,
}

impl Nature {
    pub(crate) fn of(source: &SourceSpec) -> Self {
        let camera = Self {
            camera: true,
            waits_for_sender: false,
            may_end: false,
            repeat: false,
            seekable: false,
            clocked: true,
        };
        let listener = Self {
            waits_for_sender: true,
            ..camera
        };
        match source {
            SourceSpec::File { pace, repeat, .. } | SourceSpec::Images { pace, repeat, .. } => {
                Self {
                    camera: false,
                    waits_for_sender: false,
                    may_end: false,
                    repeat: *repeat,
                    seekable: true,
                    clocked: *repeat && *pace == Pace::Live,
                }
            }
            SourceSpec::Rtsp { .. } | SourceSpec::Rtmp { .. } | SourceSpec::Device { .. } => camera,
            SourceSpec::Http { .. } => Self {
                may_end: true,
                ..camera
            },
            SourceSpec::Srt(spec) => match spec.mode {
                SrtMode::Caller => camera,
                SrtMode::Listener => listener,
            },
            SourceSpec::Udp { .. } | SourceSpec::Publish { .. } => listener,
            // It is always there, and told when it ends.
            SourceSpec::Mosaic(_) => Self {
                camera: false,
                ..camera
            },
            SourceSpec::Test { pace, .. } => Self {
                camera: false,
                waits_for_sender: false,
                may_end: false,
                repeat: false,
                seekable: false,
                clocked: *pace == Pace::Live,
            },
        }
    }
}
