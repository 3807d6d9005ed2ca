//! Work for a device, in order.

use std::ffi::c_void;
use std::marker::PhantomData;

use cudarc::driver::sys::{self, CUstream};

use crate::device::Device;
use crate::error::{CudaError, check};
use crate::memory::DeviceSlice;
use crate::module::Function;

/// A queue of work that a device does in order, beside those of other streams.
#[derive(Debug)]
pub struct Stream {
    device: Device,
    raw: CUstream,
}

// SAFETY: any thread may queue work (CUDA driver API, "Stream management").
unsafe impl Send for Stream {}

/// What is queued within one [`Stream::run`].
///
/// What it is given is borrowed for `'work`, that is until all of it is done.
#[derive(Debug)]
pub struct Work<'work, 'env: 'work> {
    stream: &'work Stream,
    work: PhantomData<&'work mut &'work ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Stream {
    /// A stream of its own, which waits for no other.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        device.make_current()?;
        let mut raw = std::ptr::null_mut();
        let non_blocking = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `raw` is a place for the answer.
        check("cuStreamCreate", unsafe {
            sys::cuStreamCreate(&raw mut raw, non_blocking)
        })?;
        Ok(Self {
            device: device.clone(),
            raw,
        })
    }

    /// The device it is of.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues work by `queue`, and returns when the device has done it all: one
    /// `cuStreamSynchronize`.
    ///
    /// # Errors
    /// Those of `queue`, and what went wrong on the device.
    pub fn run<'env, T, E: From<CudaError>>(
        &mut self,
        queue: impl for<'work> FnOnce(&'work Work<'work, 'env>) -> Result<T, E>,
    ) -> Result<T, E> {
        /// Waits even when `queue` panics: the device uses what it was given.
        struct Wait<'a>(&'a Stream);

        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                let _ = self.0.synchronize();
            }
        }

        self.device.make_current()?;
        let wait = Wait(self);
        let work = Work {
            stream: self,
            work: PhantomData,
            env: PhantomData,
        };
        let queued = queue(&work);
        let done = self.synchronize();
        std::mem::forget(wait);
        let value = queued?;
        done?;
        Ok(value)
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the stream is alive.
        check("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.raw)
        })
    }
}

impl<'work> Work<'work, '_> {
    /// Copies bytes of this machine to the device, to the beginning of `to`.
    ///
    /// # Errors
    /// When they do not fit there.
    pub fn upload(&'work self, from: &'work [u8], to: DeviceSlice<'work>) -> Result<(), CudaError> {
        let to = to.slice(0..from.len())?;
        // SAFETY: both are that long, and stay until the work is done.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                to.address(),
                from.as_ptr().cast(),
                from.len(),
                self.stream.raw,
            )
        })
    }

    /// Copies bytes of the device to this machine, from the beginning of `from`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn download(
        &'work self,
        from: DeviceSlice<'work>,
        to: &'work mut [u8],
    ) -> Result<(), CudaError> {
        let from = from.slice(0..to.len())?;
        // SAFETY: both are that long, and stay until the work is done; `to` is nobody else's.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                to.as_mut_ptr().cast(),
                from.address(),
                to.len(),
                self.stream.raw,
            )
        })
    }

    /// Copies all of `from` to the beginning of `to`, within the device.
    ///
    /// # Errors
    /// When it does not fit there.
    pub fn copy(
        &'work self,
        from: DeviceSlice<'work>,
        to: DeviceSlice<'work>,
    ) -> Result<(), CudaError> {
        let to = to.slice(0..from.len())?;
        // SAFETY: both are that long, and stay until the work is done.
        check("cuMemcpyDtoDAsync", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), from.len(), self.stream.raw)
        })
    }

    /// Fills memory with one value.
    ///
    /// # Errors
    /// What the driver says.
    pub fn fill(&'work self, memory: DeviceSlice<'work>, value: u8) -> Result<(), CudaError> {
        // SAFETY: it is that long, and stays until the work is done.
        check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(memory.address(), value, memory.len(), self.stream.raw)
        })
    }

    /// Runs a kernel that takes one struct.
    ///
    /// # Safety
    /// The struct is what the kernel takes, and all that it points to is memory of this device
    /// that stays for `'work` and is as long as the kernel takes it to be.
    pub(crate) unsafe fn launch<P: bytemuck::Pod>(
        &'work self,
        function: &'work Function,
        grid: [u32; 3],
        block: [u32; 3],
        parameters: &P,
    ) -> Result<(), CudaError> {
        // The driver copies it before it returns.
        let mut parameters = [(&raw const *parameters).cast_mut().cast::<c_void>()];
        // SAFETY: the function is alive; what it takes is the caller's word.
        check("cuLaunchKernel", unsafe {
            sys::cuLaunchKernel(
                function.raw(),
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                0,
                self.stream.raw,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.make_current().is_ok() {
            // SAFETY: nothing is queued: `run` waits.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}
