//! The picture of a frame, wherever it lies.

use contract::geometry::I420Layout;
use contract::spec::{FrameMemory, FrameServiceSpec};
use cuda::{Device, Staging};
use frame_bus::{BusError, Frame, Pixels};

/// The picture of a frame, to be read by this machine.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a frame is what almost always comes; it is moved, never stored as this"
)]
pub(crate) enum FramePicture<'a> {
    /// In the frame itself, which holds a slot of its stream.
    Frame(Frame),
    /// Copied from a GPU; its slot is free already.
    Copy(&'a [u8]),
}

/// The way from the GPU, where the frames of a stream lie there.
pub(crate) fn staging(frames: &FrameServiceSpec) -> Result<Option<Staging>, BusError> {
    let FrameMemory::Cuda(ordinal) = frames.memory else {
        return Ok(None);
    };
    let device = Device::open(ordinal as usize)?;
    let bytes = I420Layout::of(frames.size).bytes;
    Ok(Some(Staging::new(&device, bytes)?))
}

impl<'a> FramePicture<'a> {
    /// Copies the picture if it lies on a GPU.
    pub(crate) fn of(frame: Frame, staging: Option<&'a mut Staging>) -> Result<Self, BusError> {
        let copied = match (frame.pixels(), staging) {
            (Pixels::Host(_), _) => None,
            (Pixels::Cuda(slot), Some(staging)) => {
                Some(staging.download(slot, frame.layout().bytes)?)
            }
            (Pixels::Cuda(_), None) => return Err(BusError::Memory("CUDA")),
        };
        Ok(match copied {
            None => Self::Frame(frame),
            Some(bytes) => Self::Copy(bytes),
        })
    }

    /// I420, as its layout says.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame(frame) => frame.payload(),
            Self::Copy(bytes) => bytes,
        }
    }
}
