//! A GPU, as one process uses it.

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUcontext, CUdevice};

use crate::error::{CudaError, check};

/// A GPU with its primary context, the one that ONNX Runtime and GStreamer use too. Cloning is
/// cheap; the context is let go with the last clone.
#[derive(Debug, Clone)]
pub struct Device {
    context: Arc<Context>,
}

#[derive(Debug)]
struct Context {
    ordinal: usize,
    device: CUdevice,
    raw: CUcontext,
}

// SAFETY: a context may be used by any thread, and by several at a time (CUDA driver API, "Context
// management"); each call makes it current on its own thread first.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What no process uses.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// Takes the driver's library from here instead of from where the system has it. It counts when it
/// comes before anything else of this crate.
///
/// # Errors
/// When it cannot be loaded.
pub fn load_driver(path: &Path) -> Result<(), CudaError> {
    // SAFETY: loading runs code of the library, which the caller trusts to be a CUDA driver.
    let library = unsafe { libloading::Library::new(path) };
    let library = library.map_err(|error| CudaError::Library {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    // It stays, so whoever asks for `libcuda.so` by name has this one.
    std::mem::forget(library);
    Ok(())
}

/// How many GPUs there are.
///
/// # Errors
/// [`CudaError::NoDriver`] on a machine without, and what the driver says.
pub fn device_count() -> Result<usize, CudaError> {
    // SAFETY: it loads a library of the system and unloads it again.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let mut count = 0;
    // SAFETY: `count` is a place for the answer.
    let answers = unsafe { [sys::cuInit(0), sys::cuDeviceGetCount(&raw mut count)] };
    match answers[0] {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
        answer => check("cuInit", answer)?,
    }
    check("cuDeviceGetCount", answers[1])?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Device {
    /// The GPU of this number, as CUDA counts them: `CUDA_VISIBLE_DEVICES` has its say.
    ///
    /// # Errors
    /// Where there is no driver or no such GPU, or it cannot be used.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        let count = device_count()?;
        let missing = CudaError::NoDevice { ordinal, count };
        let Some(number) = i32::try_from(ordinal).ok().filter(|_| ordinal < count) else {
            return Err(missing);
        };
        let (mut device, mut raw) = (0, std::ptr::null_mut());
        // SAFETY: `device` is a place for the answer.
        check("cuDeviceGet", unsafe {
            sys::cuDeviceGet(&raw mut device, number)
        })?;
        // SAFETY: `raw` is a place for the answer.
        check("cuDevicePrimaryCtxRetain", unsafe {
            sys::cuDevicePrimaryCtxRetain(&raw mut raw, device)
        })?;
        let context = Arc::new(Context {
            ordinal,
            device,
            raw,
        });
        Ok(Self { context })
    }

    /// Its number.
    #[must_use]
    pub fn ordinal(&self) -> usize {
        self.context.ordinal
    }

    /// What its maker calls it: `NVIDIA H100 80GB HBM3`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn name(&self) -> Result<String, CudaError> {
        let mut text = [0 as c_char; 128];
        // SAFETY: the driver writes at most as many bytes as it is told, a zero at their end.
        check("cuDeviceGetName", unsafe {
            sys::cuDeviceGetName(text.as_mut_ptr(), 127, self.context.device)
        })?;
        // SAFETY: the last byte is zero, whatever the driver wrote.
        let name = unsafe { CStr::from_ptr(text.as_ptr()) };
        Ok(name.to_string_lossy().into_owned())
    }

    /// What room it has.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<MemoryInfo, CudaError> {
        self.make_current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are places for the answer.
        check("cuMemGetInfo", unsafe {
            sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)
        })?;
        Ok(MemoryInfo {
            free: free as u64,
            total: total as u64,
        })
    }

    /// Calls of this thread are about this device from now on.
    pub(crate) fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is alive as long as `self`.
        check("cuCtxSetCurrent", unsafe {
            sys::cuCtxSetCurrent(self.context.raw)
        })
    }

    /// As properties of memory name it.
    pub(crate) fn raw(&self) -> CUdevice {
        self.context.device
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once, by `Device::open`. Nothing can be done about a failure.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
