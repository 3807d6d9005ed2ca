//! Memory of the fake GPU.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::sys::cudaError_enum as Code;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};

use crate::{GRANULARITY, POISON};

/// How the kernel calls any fake GPU's memory in `/proc`.
const PREFIX: &str = "/memfd:fake-cuda-";

/// What memory of this GPU is made as.
fn name() -> &'static CString {
    static NAME: OnceLock<CString> = OnceLock::new();
    NAME.get_or_init(|| {
        let device = std::env::var("FAKE_CUDA_DEVICE");
        let device = device.unwrap_or_else(|_| std::process::id().to_string());
        CString::new(format!("fake-cuda-{device}")).unwrap_or_default()
    })
}

static STATE: Mutex<State> = Mutex::new(State {
    handles: BTreeMap::new(),
    next: 1,
    ranges: BTreeMap::new(),
    hosts: BTreeMap::new(),
});

pub(crate) fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this process has.
pub(crate) struct State {
    /// Physical memory by handle.
    handles: BTreeMap<u64, Physical>,
    next: u64,
    /// Ranges of addresses by their first.
    ranges: BTreeMap<usize, Range>,
    /// Host memory: its length by its address.
    hosts: BTreeMap<usize, usize>,
}

struct Physical {
    descriptor: OwnedFd,
    size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Reserved,
    Mapped,
    Readable,
    /// Of `cuMemAlloc`.
    Allocated,
}

struct Range {
    size: usize,
    state: Use,
}

/// The size of the GPU's memory, in bytes.
pub(crate) fn total() -> usize {
    let mib = std::env::var("FAKE_CUDA_MIB");
    mib.ok().and_then(|mib| mib.parse().ok()).unwrap_or(256) << 20
}

/// What all processes that name this GPU have of it, in bytes.
pub(crate) fn used() -> usize {
    let mut sizes = BTreeMap::new();
    let ours = format!("/memfd:{} (deleted)", name().to_string_lossy());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        for folder in ["fd", "map_files"] {
            let entries = fs::read_dir(process.join(folder));
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                let is_ours =
                    fs::read_link(&path).is_ok_and(|target| target.to_string_lossy() == *ours);
                if is_ours && let Ok(metadata) = fs::metadata(&path) {
                    sizes.insert(metadata.ino(), metadata.len());
                }
            }
        }
    }
    sizes.values().sum::<u64>() as usize
}

impl State {
    pub(crate) fn create(&mut self, size: usize) -> Result<u64, Code> {
        let descriptor = physical(size)?;
        Ok(self.handle(descriptor, size))
    }

    fn handle(&mut self, descriptor: OwnedFd, size: usize) -> u64 {
        let handle = self.next;
        self.next += 1;
        self.handles.insert(handle, Physical { descriptor, size });
        handle
    }

    pub(crate) fn release(&mut self, handle: u64) -> Result<(), Code> {
        let physical = self.handles.remove(&handle);
        physical.map(drop).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }

    pub(crate) fn export(&self, handle: u64) -> Result<RawFd, Code> {
        let physical = self.named(handle)?;
        let copy = physical.descriptor.try_clone();
        copy.map(IntoRawFd::into_raw_fd)
            .map_err(|_| Code::CUDA_ERROR_OPERATING_SYSTEM)
    }

    pub(crate) fn import(&mut self, descriptor: RawFd) -> Result<u64, Code> {
        let link = fs::read_link(format!("/proc/self/fd/{descriptor}"));
        if !link.is_ok_and(|target| target.to_string_lossy().starts_with(PREFIX)) {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: it is open, as was just seen, and borrowed for this call only.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let copy = descriptor.try_clone_to_owned();
        let copy = copy.map_err(|_| Code::CUDA_ERROR_OPERATING_SYSTEM)?;
        let size = fs::File::from(copy.try_clone().map_err(|_| Code::CUDA_ERROR_UNKNOWN)?)
            .metadata()
            .map_err(|_| Code::CUDA_ERROR_UNKNOWN)?
            .len();
        Ok(self.handle(copy, size as usize))
    }

    fn named(&self, handle: u64) -> Result<&Physical, Code> {
        self.handles
            .get(&handle)
            .ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }

    pub(crate) fn reserve(&mut self, size: usize) -> Result<usize, Code> {
        let length = NonZeroUsize::new(size).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        // SAFETY: a new range, which breaks nothing.
        let range =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) };
        let address = range.map_err(out_of_memory)?.addr().get();
        self.ranges.insert(
            address,
            Range {
                size,
                state: Use::Reserved,
            },
        );
        Ok(address)
    }

    /// Changes what a whole range is.
    fn turn(&mut self, address: usize, size: usize, from: &[Use], to: Use) -> Result<(), Code> {
        let range = self.ranges.get_mut(&address);
        let range = range.filter(|range| range.size == size && from.contains(&range.state));
        range.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.state = to;
        Ok(())
    }

    pub(crate) fn unreserve(&mut self, address: usize, size: usize) -> Result<(), Code> {
        self.turn(address, size, &[Use::Reserved], Use::Reserved)?;
        self.ranges.remove(&address);
        // SAFETY: it is a range of ours, and nothing is in it any more.
        unsafe { munmap(pointer(address), size) }.map_err(out_of_memory)
    }

    pub(crate) fn map(&mut self, address: usize, size: usize, handle: u64) -> Result<(), Code> {
        if self.named(handle)?.size != size {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        self.turn(address, size, &[Use::Reserved], Use::Mapped)?;
        place(
            address,
            size,
            self.named(handle)?.descriptor.as_fd(),
            ProtFlags::PROT_NONE,
        )
    }

    pub(crate) fn allow(&mut self, address: usize, size: usize) -> Result<(), Code> {
        self.turn(address, size, &[Use::Mapped], Use::Readable)?;
        // SAFETY: it is a mapped range of ours.
        unsafe { mprotect(pointer(address), size, readable()) }.map_err(out_of_memory)
    }

    pub(crate) fn unmap(&mut self, address: usize, size: usize) -> Result<(), Code> {
        self.turn(address, size, &[Use::Mapped, Use::Readable], Use::Reserved)?;
        let length = NonZeroUsize::new(size).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        // SAFETY: it takes the place of a range of ours.
        unsafe {
            mmap_anonymous(
                NonZeroUsize::new(address),
                length,
                ProtFlags::PROT_NONE,
                flags,
            )
        }
        .map(drop)
        .map_err(out_of_memory)
    }

    pub(crate) fn allocate(&mut self, size: usize) -> Result<usize, Code> {
        let size = size.next_multiple_of(4096);
        let memory = physical(size)?;
        let address = self.reserve(size)?;
        place(address, size, memory.as_fd(), readable())?;
        self.turn(address, size, &[Use::Reserved], Use::Allocated)?;
        Ok(address)
    }

    pub(crate) fn free(&mut self, address: usize) -> Result<(), Code> {
        let range = self.ranges.get(&address);
        let range = range.filter(|range| range.state == Use::Allocated);
        let size = range.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?.size;
        self.turn(address, size, &[Use::Allocated], Use::Reserved)?;
        self.unreserve(address, size)
    }

    pub(crate) fn allocate_host(&mut self, size: usize) -> Result<usize, Code> {
        let length = NonZeroUsize::new(size).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        // SAFETY: a new range, which breaks nothing.
        let range = unsafe { mmap_anonymous(None, length, readable(), MapFlags::MAP_PRIVATE) };
        let address = range.map_err(out_of_memory)?.expose_provenance().get();
        self.hosts.insert(address, size);
        Ok(address)
    }

    pub(crate) fn free_host(&mut self, address: usize) -> Result<(), Code> {
        let size = self.hosts.remove(&address);
        let size = size.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        // SAFETY: it is a range of ours.
        unsafe { munmap(pointer(address), size) }.map_err(out_of_memory)
    }

    /// Whether so many bytes are device memory that may be used.
    pub(crate) fn lives(&self, address: usize, count: usize) -> bool {
        let range = self.ranges.range(..=address).next_back();
        range.is_some_and(|(begin, range)| {
            let usable = matches!(range.state, Use::Readable | Use::Allocated);
            usable && address + count <= begin + range.size
        })
    }
}

/// New memory, full of poison.
fn physical(size: usize) -> Result<OwnedFd, Code> {
    if used() + size > total() {
        return Err(Code::CUDA_ERROR_OUT_OF_MEMORY);
    }
    let descriptor =
        memfd_create(name().as_c_str(), MFdFlags::MFD_CLOEXEC).map_err(out_of_memory)?;
    let file = fs::File::from(descriptor);
    let poison = vec![POISON; size.min(GRANULARITY)];
    let mut written = 0;
    while written < size {
        let part = &poison[..poison.len().min(size - written)];
        std::io::Write::write_all(&mut &file, part).map_err(|_| Code::CUDA_ERROR_OUT_OF_MEMORY)?;
        written += part.len();
    }
    Ok(file.into())
}

/// Puts memory where a range was reserved.
fn place(
    address: usize,
    size: usize,
    memory: BorrowedFd<'_>,
    protection: ProtFlags,
) -> Result<(), Code> {
    let length = NonZeroUsize::new(size).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
    let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
    let address = NonZeroUsize::new(address);
    // SAFETY: it takes the place of a range of ours.
    unsafe { mmap(address, length, protection, flags, memory, 0) }
        .map(|mapped| {
            mapped.expose_provenance();
        })
        .map_err(out_of_memory)
}

fn readable() -> ProtFlags {
    ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
}

fn pointer(address: usize) -> NonNull<c_void> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling())
}

fn out_of_memory(_: nix::Error) -> Code {
    Code::CUDA_ERROR_OUT_OF_MEMORY
}
