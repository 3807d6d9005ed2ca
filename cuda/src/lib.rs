//! Memory, streams and kernels of NVIDIA GPUs behind a safe interface.
//!
//! The driver's library is loaded when the first [`Device`] is opened, so a program that is built
//! with this crate starts on a machine without GPU, driver or toolkit.
//!
//! - [`SharedMemory`] is device memory that other processes map too, passed on as a file
//!   descriptor.
//! - A [`Stream`] does copies and kernels in order. [`Stream::run`] borrows what it is given and
//!   comes back when all is done, so no memory can go while the device uses it.
//! - Kernels are compiled ahead to PTX (`kernels/`, see `tools/kernels/compile.py`), which every
//!   driver takes; nobody needs a toolkit to run or to build Sluice.
//!
//! Tests run against a driver that `testkit/fake-cuda` makes of ordinary memory.

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "it calls the driver")]
mod device;
#[expect(unsafe_code, reason = "it calls the driver")]
mod error;
pub mod kernels;
#[expect(unsafe_code, reason = "it calls the driver")]
mod memory;
#[expect(unsafe_code, reason = "it calls the driver")]
mod module;
mod staging;
#[expect(unsafe_code, reason = "it calls the driver")]
mod stream;

pub use device::{Device, MemoryInfo, device_count, load_driver};
pub use error::CudaError;
pub use memory::{DeviceBuffer, DeviceSlice, PinnedBuffer, SharedMemory};
pub use staging::Staging;
pub use stream::{Stream, Work};
