//! What tells one source from another for the main loop.

use contract::spec::{Pace, SourceSpec};

/// How a source behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// A camera is connected to when the run starts and is tried again when lost; all else
    /// is opened before and ends for good.
    pub(crate) camera: bool,
    /// It begins again at its end.
    pub(crate) repeat: bool,
    /// Event time is the monotonic clock's time at which each frame is due, so that it goes
    /// on evenly over reconnects, repeats and restarts of this worker. Else it is the
    /// file's own time, the same in each run.
    pub(crate) clocked: bool,
}

impl Nature {
    pub(crate) fn of(source: &SourceSpec) -> Self {
        match *source {
            SourceSpec::File { pace, repeat, .. } => Self {
                camera: false,
                repeat,
                clocked: repeat && pace == Pace::Live,
            },
            SourceSpec::Rtsp { .. } => Self {
                camera: true,
                repeat: false,
                clocked: true,
            },
            SourceSpec::Test { pace, .. } => Self {
                camera: false,
                repeat: false,
                clocked: pace == Pace::Live,
            },
        }
    }
}
