//! What can go wrong with a GPU, and what it means.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use cudarc::driver::sys::{self, CUresult, cudaError_enum};

/// A failure of the driver or of a request to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// There is no driver on this machine.
    #[error("the NVIDIA driver is not here: libcuda.so.1 cannot be loaded")]
    NoDriver,
    /// What was named as the driver is none.
    #[error("{} cannot be loaded as the NVIDIA driver: {reason}", path.display())]
    Library {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There are fewer devices.
    #[error("there is no GPU {ordinal}: the driver has {count}, counted from 0")]
    NoDevice {
        /// The one that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// A call failed.
    #[error("{call}: {name}, {text}")]
    Call {
        /// The function of the driver.
        call: &'static str,
        /// Its answer.
        code: u32,
        /// Its answer by name, `CUDA_ERROR_OUT_OF_MEMORY`.
        name: String,
        /// Its answer in words.
        text: String,
    },
    /// A range that is not inside its memory, or does not fit what is to go there.
    #[error("{len} bytes at {offset} are not within {bytes} bytes of device memory")]
    Range {
        /// First byte.
        offset: usize,
        /// Bytes.
        len: usize,
        /// Bytes that there are.
        bytes: usize,
    },
}

impl CudaError {
    /// The device has no room; what it has goes on as before.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Call { code, .. } if *code == cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY as u32)
    }

    /// This process can do nothing more on the device: a kernel went wrong, or the device has gone
    /// (an Xid in the kernel's log). A new process can, where the device is still there.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        use cudaError_enum as code;
        const FATAL: [cudaError_enum; 17] = [
            code::CUDA_ERROR_DEVICE_UNAVAILABLE,
            code::CUDA_ERROR_DEINITIALIZED,
            code::CUDA_ERROR_ECC_UNCORRECTABLE,
            code::CUDA_ERROR_NVLINK_UNCORRECTABLE,
            code::CUDA_ERROR_ILLEGAL_ADDRESS,
            code::CUDA_ERROR_LAUNCH_TIMEOUT,
            code::CUDA_ERROR_CONTEXT_IS_DESTROYED,
            code::CUDA_ERROR_ASSERT,
            code::CUDA_ERROR_HARDWARE_STACK_ERROR,
            code::CUDA_ERROR_ILLEGAL_INSTRUCTION,
            code::CUDA_ERROR_MISALIGNED_ADDRESS,
            code::CUDA_ERROR_INVALID_ADDRESS_SPACE,
            code::CUDA_ERROR_INVALID_PC,
            code::CUDA_ERROR_LAUNCH_FAILED,
            code::CUDA_ERROR_SYSTEM_NOT_READY,
            code::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
            code::CUDA_ERROR_UNKNOWN,
        ];
        matches!(self, Self::Call { code, .. } if FATAL.iter().any(|fatal| *fatal as u32 == *code))
    }
}

/// The answer of a call as a result.
pub(crate) fn check(call: &'static str, answer: CUresult) -> Result<(), CudaError> {
    if answer == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(CudaError::Call {
        call,
        code: answer as u32,
        name: describe(answer, |answer, text| {
            // SAFETY: `text` is a place for one pointer.
            unsafe { sys::cuGetErrorName(answer, text) }
        }),
        text: describe(answer, |answer, text| {
            // SAFETY: as above.
            unsafe { sys::cuGetErrorString(answer, text) }
        }),
    })
}

fn describe(
    answer: CUresult,
    ask: impl FnOnce(CUresult, *mut *const c_char) -> CUresult,
) -> String {
    let mut text = std::ptr::null();
    if ask(answer, &raw mut text) != CUresult::CUDA_SUCCESS || text.is_null() {
        return format!("error {}", answer as u32);
    }
    // SAFETY: the driver gives a string of its own, ended by a zero, that lives for ever.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
