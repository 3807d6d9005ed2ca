//! Bytes on their way between this machine and a device.

use crate::device::Device;
use crate::error::CudaError;
use crate::memory::{DeviceSlice, PinnedBuffer};
use crate::stream::Stream;

/// A stream, and memory that copies go through at full speed: one picture at a time.
#[derive(Debug)]
pub struct Staging {
    stream: Stream,
    memory: PinnedBuffer,
}

impl Staging {
    /// For up to so many bytes.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(device: &Device, bytes: usize) -> Result<Self, CudaError> {
        Ok(Self {
            stream: Stream::new(device)?,
            memory: PinnedBuffer::new(device, bytes)?,
        })
    }

    /// What is to be uploaded next is written here.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Copies the first so many bytes to the beginning of `to`; they are there when it returns.
    ///
    /// # Errors
    /// When there are fewer, or less room.
    pub fn upload(&mut self, bytes: usize, to: DeviceSlice<'_>) -> Result<(), CudaError> {
        let from = within(self.memory.get(..bytes), bytes, self.memory.len())?;
        self.stream.run(|work| work.upload(from, to))
    }

    /// Copies the first so many bytes of `from` here.
    ///
    /// # Errors
    /// When there are fewer, or less room.
    pub fn download(&mut self, from: DeviceSlice<'_>, bytes: usize) -> Result<&[u8], CudaError> {
        let room = self.memory.len();
        let to = within(self.memory.get_mut(..bytes), bytes, room)?;
        self.stream.run(|work| work.download(from, &mut *to))?;
        Ok(to)
    }
}

fn within<T>(part: Option<T>, len: usize, bytes: usize) -> Result<T, CudaError> {
    part.ok_or(CudaError::Range {
        offset: 0,
        len,
        bytes,
    })
}
