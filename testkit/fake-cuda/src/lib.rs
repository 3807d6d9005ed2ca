//! The part of the CUDA driver API that Sluice uses, made of ordinary memory, so that all of
//! Sluice's own code for GPUs runs in tests as it is. A program that loads this library before it
//! asks for `libcuda.so` has one GPU.
//!
//! It is strict where a GPU is forgiving, and late where a GPU may be late:
//!
//! - Device memory is memory of the kernel (`memfd`), named as its GPU: it is passed on by
//!   descriptor, counted by the kernel and gone with its last user, as the driver's is.
//! - Fresh memory is full of [`POISON`].
//! - Streams do their work in threads of their own, each piece a little late, so that who does
//!   not wait reads poison.
//! - A copy that is not within living memory ends the context: all that follows fails with
//!   `CUDA_ERROR_ILLEGAL_ADDRESS`.
//! - Kernels are those of `cuda/kernels`, compiled for the CPU.
//!
//! `FAKE_CUDA_DEVICE` names the GPU, which all processes share that name the same; without a name a
//! process has one of its own. `FAKE_CUDA_MIB` is the size of its memory, 256 by default.

#![expect(unsafe_code, reason = "it is a C interface")]

mod kernels;
mod memory;
mod stream;

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys::{CUmemAccessDesc, CUmemAllocationProp, cudaError_enum as Code};

use crate::kernels::Kernel;
use crate::memory::{State, state};
use crate::stream::Stream;

/// What fresh memory is full of.
pub const POISON: u8 = 0xa5;

/// What memory is handed out in: as on today's GPUs.
pub(crate) const GRANULARITY: usize = 2 << 20;

/// The error that ended the context; 0 while it is well.
static ENDED: AtomicU32 = AtomicU32::new(0);

/// Ends the context.
pub(crate) fn end(code: Code) {
    ENDED.store(code as u32, Ordering::SeqCst);
}

/// Does something unless the context has ended.
fn answer(act: impl FnOnce() -> Result<(), Code>) -> u32 {
    let ended = ENDED.load(Ordering::SeqCst);
    if ended != 0 {
        return ended;
    }
    match act() {
        Ok(()) => ENDED.load(Ordering::SeqCst),
        Err(code) => code as u32,
    }
}

/// Writes an answer to where the caller wants it.
fn give<T>(place: *mut T, value: T) -> Result<(), Code> {
    if place.is_null() {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: it is the caller's word that this is a place for a `T`.
    unsafe { place.write(value) };
    Ok(())
}

fn with<T>(act: impl FnOnce(&mut State) -> Result<T, Code>) -> Result<T, Code> {
    act(&mut state())
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    answer(|| give(version, 13_000))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    answer(|| give(count, 1))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    answer(|| match ordinal {
        0 => give(device, 0),
        _ => Err(Code::CUDA_ERROR_INVALID_DEVICE),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) -> u32 {
    const NAME: &std::ffi::CStr = c"Fake GPU";
    answer(|| {
        let bytes = NAME.to_bytes_with_nul();
        if name.is_null() || usize::try_from(len).unwrap_or(0) < bytes.len() {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: it is the caller's word that there is room for `len` bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), name, bytes.len()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _device: c_int) -> u32 {
    answer(|| give(context, std::ptr::without_provenance_mut(0xc0)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> u32 {
    answer(|| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(_context: *mut c_void) -> u32 {
    answer(|| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(code: c_uint, name: *mut *const c_char) -> u32 {
    let text = match code {
        0 => c"CUDA_SUCCESS",
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        _ => c"CUDA_ERROR",
    };
    give(name, text.as_ptr()).map_or_else(|code| code as u32, |()| 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(_code: c_uint, text: *mut *const c_char) -> u32 {
    give(text, c"so says the fake driver".as_ptr()).map_or_else(|code| code as u32, |()| 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    answer(|| {
        let (used, all) = (memory::used(), memory::total());
        give(free, all.saturating_sub(used))?;
        give(total, all)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAllocationGranularity(
    granularity: *mut usize,
    _properties: *const CUmemAllocationProp,
    _which: c_uint,
) -> u32 {
    answer(|| give(granularity, GRANULARITY))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemCreate(
    handle: *mut c_ulonglong,
    size: usize,
    _properties: *const CUmemAllocationProp,
    _flags: c_ulonglong,
) -> u32 {
    answer(|| {
        if size == 0 || !size.is_multiple_of(GRANULARITY) {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        give(handle, with(|state| state.create(size))?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRelease(handle: c_ulonglong) -> u32 {
    answer(|| with(|state| state.release(handle)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemExportToShareableHandle(
    descriptor: *mut c_void,
    handle: c_ulonglong,
    _kind: c_uint,
    _flags: c_ulonglong,
) -> u32 {
    answer(|| {
        let exported = with(|state| state.export(handle))?;
        give(descriptor.cast::<c_int>(), exported)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemImportFromShareableHandle(
    handle: *mut c_ulonglong,
    descriptor: *mut c_void,
    _kind: c_uint,
) -> u32 {
    answer(|| {
        let descriptor = c_int::try_from(descriptor.addr());
        let descriptor = descriptor.map_err(|_| Code::CUDA_ERROR_INVALID_VALUE)?;
        give(handle, with(|state| state.import(descriptor))?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressReserve(
    address: *mut c_ulonglong,
    size: usize,
    _alignment: usize,
    _wish: c_ulonglong,
    _flags: c_ulonglong,
) -> u32 {
    answer(|| give(address, with(|state| state.reserve(size))? as c_ulonglong))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressFree(address: c_ulonglong, size: usize) -> u32 {
    answer(|| with(|state| state.unreserve(address as usize, size)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemMap(
    address: c_ulonglong,
    size: usize,
    offset: usize,
    handle: c_ulonglong,
    _flags: c_ulonglong,
) -> u32 {
    answer(|| {
        if offset != 0 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        with(|state| state.map(address as usize, size, handle))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemSetAccess(
    address: c_ulonglong,
    size: usize,
    _descriptions: *const CUmemAccessDesc,
    count: usize,
) -> u32 {
    answer(|| {
        if count != 1 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        with(|state| state.allow(address as usize, size))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemUnmap(address: c_ulonglong, size: usize) -> u32 {
    answer(|| with(|state| state.unmap(address as usize, size)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: *mut c_ulonglong, size: usize) -> u32 {
    answer(|| give(address, with(|state| state.allocate(size))? as c_ulonglong))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: c_ulonglong) -> u32 {
    answer(|| with(|state| state.free(address as usize)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(address: *mut *mut c_void, size: usize, _flags: c_uint) -> u32 {
    answer(|| {
        let bytes = with(|state| state.allocate_host(size))?;
        give(address, std::ptr::with_exposed_provenance_mut(bytes))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: *mut c_void) -> u32 {
    answer(|| with(|state| state.free_host(address.addr())))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: *mut *mut c_void, _flags: c_uint) -> u32 {
    answer(|| {
        let made = Box::into_raw(Box::new(Stream::start()?));
        give(stream, made.cast())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> u32 {
    answer(|| {
        // SAFETY: it is the caller's word that this is a stream, and that it is not used again.
        drop(unsafe { Box::from_raw(stream.cast::<Stream>()) });
        Ok(())
    })
}

/// The stream that a caller names.
///
/// # Safety
/// It is of `cuStreamCreate` and was not destroyed.
unsafe fn named<'a>(stream: *mut c_void) -> Result<&'a Stream, Code> {
    // SAFETY: see above.
    unsafe { stream.cast::<Stream>().as_ref() }.ok_or(Code::CUDA_ERROR_INVALID_HANDLE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> u32 {
    // SAFETY: it is the caller's word.
    answer(|| unsafe { named(stream) }.map(Stream::wait))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: c_ulonglong,
    from: *const c_void,
    count: usize,
    stream: *mut c_void,
) -> u32 {
    // SAFETY: it is the caller's word.
    answer(|| unsafe { named(stream) }.map(|on| on.copy(None, from.addr(), Some(to), 0, count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: c_ulonglong,
    count: usize,
    stream: *mut c_void,
) -> u32 {
    // SAFETY: it is the caller's word.
    answer(|| unsafe { named(stream) }.map(|on| on.copy(Some(from), 0, None, to.addr(), count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoDAsync_v2(
    to: c_ulonglong,
    from: c_ulonglong,
    count: usize,
    stream: *mut c_void,
) -> u32 {
    // SAFETY: it is the caller's word.
    answer(|| unsafe { named(stream) }.map(|on| on.copy(Some(from), 0, Some(to), 0, count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(
    to: c_ulonglong,
    value: u8,
    count: usize,
    stream: *mut c_void,
) -> u32 {
    // SAFETY: it is the caller's word.
    answer(|| unsafe { named(stream) }.map(|on| on.fill(to as usize, value, count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) -> u32 {
    answer(|| {
        if image.is_null() {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: it is the caller's word that this is PTX, a text that ends with a zero.
        let text = unsafe { std::ffi::CStr::from_ptr(image.cast()) };
        let kernels = Kernel::of_ptx(&text.to_string_lossy());
        if kernels.is_empty() {
            return Err(Code::CUDA_ERROR_INVALID_PTX);
        }
        give(module, Box::into_raw(Box::new(kernels)).cast())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: *mut c_void) -> u32 {
    answer(|| {
        // SAFETY: it is the caller's word that this is a module that is not used again.
        drop(unsafe { Box::from_raw(module.cast::<Vec<&'static Kernel>>()) });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *const Kernel,
    module: *mut c_void,
    name: *const c_char,
) -> u32 {
    answer(|| {
        // SAFETY: it is the caller's word that this is a module, and a text.
        let (kernels, name) = unsafe {
            (
                &*module.cast::<Vec<&'static Kernel>>(),
                std::ffi::CStr::from_ptr(name),
            )
        };
        let found = kernels.iter().find(|kernel| kernel.name == name);
        let found = found.ok_or(Code::CUDA_ERROR_NOT_FOUND)?;
        give(function, *found)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: *const Kernel,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared: c_uint,
    stream: *mut c_void,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> u32 {
    answer(|| {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        if grid.contains(&0) || block.contains(&0) || block.iter().product::<u32>() > 1024 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: it is the caller's word that this is a function of a loaded module, and that
        // there is one parameter, of the size that the kernel takes.
        let (kernel, taken, on) = unsafe {
            let kernel = &*function;
            let bytes = std::slice::from_raw_parts((*parameters).cast::<u8>(), kernel.bytes());
            (kernel, bytes.to_vec(), named(stream)?)
        };
        on.launch(kernel, taken, grid, block);
        Ok(())
    })
}
