//! Memory of a device, and memory of this machine that a device reads and writes.
//!
//! No code of this process ever reads device memory through a pointer, so nothing here can break
//! the rules of references: two writers of one place give wrong bytes, nothing worse. What counts
//! is that memory is still there when the device uses it; that is what the lifetimes say.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use cudarc::driver::sys::{self, CUmemGenericAllocationHandle};

use crate::device::Device;
use crate::error::{CudaError, check};

/// A part of the memory of a device.
#[derive(Debug, Clone, Copy)]
pub struct DeviceSlice<'a> {
    address: u64,
    len: usize,
    memory: PhantomData<&'a ()>,
}

impl<'a> DeviceSlice<'a> {
    fn new(address: u64, len: usize) -> Self {
        Self {
            address,
            len,
            memory: PhantomData,
        }
    }

    /// Where the device finds it. It is not an address of this process.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it.
    ///
    /// # Errors
    /// When that is not within it.
    pub fn slice(&self, range: Range<usize>) -> Result<DeviceSlice<'a>, CudaError> {
        let len = range.end.checked_sub(range.start);
        match len.filter(|_| range.end <= self.len) {
            Some(len) => Ok(Self::new(self.address + range.start as u64, len)),
            None => Err(CudaError::Range {
                offset: range.start,
                len: len.unwrap_or(0),
                bytes: self.len,
            }),
        }
    }
}

/// Device memory of this process alone.
#[derive(Debug)]
pub struct DeviceBuffer {
    device: Device,
    address: u64,
    len: usize,
}

impl DeviceBuffer {
    /// Memory of so many bytes, at least one, with whatever was there before.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(device: &Device, len: usize) -> Result<Self, CudaError> {
        device.make_current()?;
        let mut address = 0;
        // SAFETY: `address` is a place for the answer.
        check("cuMemAlloc", unsafe {
            sys::cuMemAlloc_v2(&raw mut address, len.max(1))
        })?;
        Ok(Self {
            device: device.clone(),
            address,
            len,
        })
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> DeviceSlice<'_> {
        DeviceSlice::new(self.address, self.len)
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if self.device.make_current().is_ok() {
            // SAFETY: it is of `cuMemAlloc`, and nobody can name it any more.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Memory of this machine that copies from and to a device go through at full speed.
#[derive(Debug)]
pub struct PinnedBuffer {
    device: Device,
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its memory, as a `Vec` does.
unsafe impl Send for PinnedBuffer {}
// SAFETY: as above.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// Zeroes of so many bytes.
    ///
    /// # Errors
    /// When the system has no such memory left.
    pub fn new(device: &Device, len: usize) -> Result<Self, CudaError> {
        device.make_current()?;
        let mut address = std::ptr::null_mut();
        // SAFETY: `address` is a place for the answer.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut address, len.max(1), 0)
        })?;
        let bytes = NonNull::new(address.cast::<u8>()).ok_or(CudaError::Range {
            offset: 0,
            len,
            bytes: 0,
        })?;
        // SAFETY: it is `len` bytes long and nobody else's.
        unsafe { bytes.write_bytes(0, len) };
        Ok(Self {
            device: device.clone(),
            bytes,
            len,
        })
    }
}

impl Deref for PinnedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is `len` bytes, written since it was made, and lent with `self`.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for PinnedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is lent to nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        if self.device.make_current().is_ok() {
            // SAFETY: it is of `cuMemHostAlloc`, and nobody can name it any more.
            let _ = unsafe { sys::cuMemFreeHost(self.bytes.as_ptr().cast::<c_void>()) };
        }
    }
}

/// Device memory that processes share by a file descriptor.
///
/// The driver counts who has it: processes that map it, and descriptors, wherever they are. It
/// goes with the last of them, so the death of the process that made it takes it from nobody.
#[derive(Debug)]
pub struct SharedMemory {
    address: u64,
    len: usize,
    allocation: Allocation,
}

impl SharedMemory {
    /// Memory of at least so many bytes; what lies in it was there before.
    ///
    /// # Errors
    /// When there is no room, or the device cannot share memory.
    pub fn create(device: &Device, len: usize) -> Result<Self, CudaError> {
        device.make_current()?;
        let properties = properties(device);
        let mut granularity = 0;
        // SAFETY: both are valid for the call.
        check("cuMemGetAllocationGranularity", unsafe {
            sys::cuMemGetAllocationGranularity(
                &raw mut granularity,
                &raw const properties,
                sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_RECOMMENDED,
            )
        })?;
        let len = len.max(1).next_multiple_of(granularity.max(1));
        let mut handle = 0;
        // SAFETY: both are valid for the call.
        check("cuMemCreate", unsafe {
            sys::cuMemCreate(&raw mut handle, len, &raw const properties, 0)
        })?;
        Self::map(Allocation::new(device, handle), len)
    }

    /// The memory that a descriptor stands for, which another process made with
    /// [`SharedMemory::create`]; it is `len` bytes long. The descriptor is not needed any more.
    ///
    /// # Errors
    /// When it is none, or of another device.
    pub fn import(
        device: &Device,
        descriptor: BorrowedFd<'_>,
        len: usize,
    ) -> Result<Self, CudaError> {
        device.make_current()?;
        let mut handle = 0;
        // The driver takes the descriptor itself where a pointer to a handle would be.
        let descriptor = descriptor.as_raw_fd() as usize as *mut c_void;
        // SAFETY: `handle` is a place for the answer.
        check("cuMemImportFromShareableHandle", unsafe {
            sys::cuMemImportFromShareableHandle(&raw mut handle, descriptor, DESCRIPTOR)
        })?;
        Self::map(Allocation::new(device, handle), len)
    }

    /// A descriptor for it, to be sent to others.
    ///
    /// # Errors
    /// When the driver gives none.
    pub fn export(&self) -> Result<OwnedFd, CudaError> {
        self.allocation.device.make_current()?;
        let mut descriptor: i32 = -1;
        // SAFETY: for this type of handle `descriptor` is what the driver writes to.
        check("cuMemExportToShareableHandle", unsafe {
            sys::cuMemExportToShareableHandle(
                (&raw mut descriptor).cast::<c_void>(),
                self.allocation.handle,
                DESCRIPTOR,
                0,
            )
        })?;
        // SAFETY: the driver has made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> DeviceSlice<'_> {
        DeviceSlice::new(self.address, self.len)
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: see [`SharedMemory::create`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn map(allocation: Allocation, len: usize) -> Result<Self, CudaError> {
        let mut address = 0;
        // SAFETY: `address` is a place for the answer.
        check("cuMemAddressReserve", unsafe {
            sys::cuMemAddressReserve(&raw mut address, len, 0, 0, 0)
        })?;
        // SAFETY: the range was reserved just now, and the handle is alive.
        let mapped = check("cuMemMap", unsafe {
            sys::cuMemMap(address, len, 0, allocation.handle, 0)
        });
        if let Err(error) = mapped {
            // SAFETY: nothing is mapped there.
            let _ = unsafe { sys::cuMemAddressFree(address, len) };
            return Err(error);
        }
        let access = sys::CUmemAccessDesc {
            location: location(&allocation.device),
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let memory = Self {
            address,
            len,
            allocation,
        };
        // SAFETY: the range is mapped, and `access` is one description.
        check("cuMemSetAccess", unsafe {
            sys::cuMemSetAccess(address, len, &raw const access, 1)
        })?;
        Ok(memory)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.allocation.device.make_current().is_ok() {
            // SAFETY: it was mapped whole, and nobody can name it any more.
            let _ = unsafe { sys::cuMemUnmap(self.address, self.len) };
            // SAFETY: nothing is mapped there any more.
            let _ = unsafe { sys::cuMemAddressFree(self.address, self.len) };
        }
    }
}

/// Our share in physical memory.
#[derive(Debug)]
struct Allocation {
    device: Device,
    handle: CUmemGenericAllocationHandle,
}

impl Allocation {
    fn new(device: &Device, handle: CUmemGenericAllocationHandle) -> Self {
        Self {
            device: device.clone(),
            handle,
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.device.make_current().is_ok() {
            // SAFETY: it is ours; what is mapped keeps the memory of its own accord.
            let _ = unsafe { sys::cuMemRelease(self.handle) };
        }
    }
}

const DESCRIPTOR: sys::CUmemAllocationHandleType =
    sys::CUmemAllocationHandleType_enum::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;

fn location(device: &Device) -> sys::CUmemLocation {
    sys::CUmemLocation {
        type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
        id: device.raw(),
    }
}

fn properties(device: &Device) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: DESCRIPTOR,
        location: location(device),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}
