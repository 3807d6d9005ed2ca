//! What can go wrong on the bus.

use std::path::PathBuf;

/// What can go wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A node, service or port could not be made.
    #[error("cannot open {what} on the frame bus: {reason}")]
    Open {
        /// The node, service or port.
        what: String,
        /// What iceoryx2 says.
        reason: String,
    },
    /// Sending, receiving, loaning or waiting failed.
    #[error("cannot {what} on the frame bus: {reason}")]
    Port {
        /// What was tried.
        what: &'static str,
        /// What iceoryx2 says.
        reason: String,
    },
    /// The consumer holds as many frames as it may.
    #[error("the consumer holds as many frames as it may; release one before taking another")]
    HeldTooMany,
    /// [`crate::Interrupter::interrupt`] was called while a frame waited for room.
    #[error("waiting for room on the bus was interrupted")]
    Interrupted,
    /// A picture does not fit the stream's slots.
    #[error("a picture of {bytes} bytes does not fit slots of {slot_bytes} bytes")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes there are.
        slot_bytes: usize,
    },
    /// What came from shared memory does not hold together.
    #[error("{what} in shared memory is wrong: {value}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The frame lies in another kind of memory than those of its stream.
    #[error("the frame lies in {0} memory, which its stream does not use")]
    Memory(&'static str),
    /// The GPU that frames lie on.
    #[error("frames on a GPU: {0}")]
    Device(#[from] cuda::CudaError),
    /// A file beside the bus cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Shared memory is too small for the run.
    #[error(
        "the run needs up to {needed_mib} MiB of shared memory, but {} has {free_mib} MiB free: make it larger, lower `size`, `depth` or `max_latency`, or run fewer streams", path.display()
    )]
    NoRoom {
        /// Where shared memory lies.
        path: PathBuf,
        /// Worst case of the config.
        needed_mib: u64,
        /// What is free now.
        free_mib: u64,
    },
}

impl BusError {
    /// There is no such GPU, or no driver: that does not change by trying again.
    #[must_use]
    pub fn is_missing_gpu(&self) -> bool {
        use cuda::CudaError;
        let missing =
            |error: &CudaError| matches!(error, CudaError::NoDriver | CudaError::NoDevice { .. });
        matches!(self, Self::Device(error) if missing(error))
    }

    pub(crate) fn open(what: impl Into<String>, reason: &dyn std::fmt::Debug) -> Self {
        Self::Open {
            what: what.into(),
            reason: format!("{reason:?}"),
        }
    }

    pub(crate) fn port(what: &'static str, reason: &dyn std::fmt::Debug) -> Self {
        Self::Port {
            what,
            reason: format!("{reason:?}"),
        }
    }

    pub(crate) fn file(path: &std::path::Path, reason: &dyn std::fmt::Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
