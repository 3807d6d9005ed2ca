//! The kernels, as `src/kernels.c` has them.

use std::ffi::{CStr, c_void};

type Run = unsafe extern "C" fn(*const c_void, *const u32, *const u32);

/// One of them.
pub(crate) struct Kernel {
    pub(crate) name: &'static CStr,
    run: Run,
    bytes: &'static u32,
}

unsafe extern "C" {
    static size_of_letterbox: u32;
    fn run_letterbox(parameters: *const c_void, grid: *const u32, block: *const u32);
}

static ALL: [Kernel; 1] = [Kernel {
    name: c"letterbox",
    run: run_letterbox,
    // SAFETY: it is a constant of the C file.
    bytes: unsafe { &size_of_letterbox },
}];

impl Kernel {
    /// Those that PTX has.
    pub(crate) fn of_ptx(text: &str) -> Vec<&'static Self> {
        let has = |kernel: &&Self| {
            let name = kernel.name.to_string_lossy();
            text.contains(&format!(".visible .entry {name}("))
        };
        ALL.iter().filter(has).collect()
    }

    /// Bytes of what it takes.
    pub(crate) fn bytes(&self) -> usize {
        *self.bytes as usize
    }

    pub(crate) fn run(&self, parameters: &[u8], grid: [u32; 3], block: [u32; 3]) {
        assert_eq!(parameters.len(), self.bytes());
        // SAFETY: there are as many bytes as it takes, and three of each number. What they point
        // to is the word of who launched it.
        unsafe {
            (self.run)(parameters.as_ptr().cast(), grid.as_ptr(), block.as_ptr());
        }
    }
}
