//! Code for a device.

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction, CUmodule};

use crate::device::Device;
use crate::error::{CudaError, check};

/// Code that a device has loaded.
#[derive(Debug)]
struct Module {
    device: Device,
    raw: CUmodule,
}

// SAFETY: modules and functions belong to a context, which any thread may use.
unsafe impl Send for Module {}
// SAFETY: as above; nothing changes them.
unsafe impl Sync for Module {}

/// A kernel.
#[derive(Debug)]
pub(crate) struct Function {
    raw: CUfunction,
    _module: Arc<Module>,
}

// SAFETY: as for `Module`, which lives as long.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// Loads PTX, which the driver compiles for its device and keeps in a cache of its own, and
    /// finds a kernel in it.
    pub(crate) fn load(device: &Device, ptx: &str, name: &str) -> Result<Self, CudaError> {
        device.make_current()?;
        let text = |text: &str| CString::new(text).expect("PTX and names have no zero in them");
        let (ptx, name) = (text(ptx), text(name));
        let mut module = std::ptr::null_mut();
        // SAFETY: `module` is a place for the answer, and the text ends with a zero.
        check("cuModuleLoadData", unsafe {
            sys::cuModuleLoadData(&raw mut module, ptx.as_ptr().cast())
        })?;
        let module = Arc::new(Module {
            device: device.clone(),
            raw: module,
        });
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the answer, and the name ends with a zero.
        check("cuModuleGetFunction", unsafe {
            sys::cuModuleGetFunction(&raw mut raw, module.raw, name.as_ptr())
        })?;
        Ok(Self {
            raw,
            _module: module,
        })
    }

    pub(crate) fn raw(&self) -> CUfunction {
        self.raw
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.device.make_current().is_ok() {
            // SAFETY: no function of it is left, and work that used them is done.
            let _ = unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}
