//! Pools, as producers and consumers of frames see them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cuda::{Device, DeviceSlice, SharedMemory};

use super::keeper;
use crate::error::BusError;
use crate::header::CudaSlot;

/// Slots begin where GPUs like their rows to.
const SLOT_ALIGNMENT: usize = 512;

/// Pools that a consumer keeps: the producer's, and that of the one before it, of which frames may
/// still be queued.
const KNOWN_MAX: usize = 2;

/// What has to be known of a pool to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct PoolLayout {
    /// No two pools of a run have the same.
    pub(crate) id: u64,
    /// Bytes of all of it, as the driver rounded them up.
    pub(crate) bytes: u64,
    /// Bytes from a slot to the next.
    pub(crate) slot_bytes: u64,
    pub(crate) slots: u32,
    pub(crate) device: u32,
}

/// A pool that this process has mapped.
#[derive(Debug)]
pub(crate) struct Pool {
    layout: PoolLayout,
    memory: SharedMemory,
}

impl Pool {
    /// A pool of so many slots, of at least so many bytes each.
    pub(crate) fn create(device: &Device, slots: u64, slot_bytes: usize) -> Result<Self, BusError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Its maker, and how many it made before.
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let id = u64::from(std::process::id()) << 32 | u64::from(serial);
        let slot_bytes = slot_bytes.next_multiple_of(SLOT_ALIGNMENT);
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let bytes = slot_bytes.saturating_mul(slots as usize);
        let memory = SharedMemory::create(device, bytes)?;
        let layout = PoolLayout {
            id,
            bytes: memory.len() as u64,
            slot_bytes: slot_bytes as u64,
            slots,
            device: u32::try_from(device.ordinal()).unwrap_or(u32::MAX),
        };
        Ok(Self { layout, memory })
    }

    /// A pool that another process has made.
    fn import(device: &Device, layout: PoolLayout, descriptor: &OwnedFd) -> Result<Self, BusError> {
        let bytes = layout.slot_bytes.checked_mul(u64::from(layout.slots));
        if bytes.is_none_or(|bytes| bytes > layout.bytes) {
            return Err(BusError::Invalid {
                what: "the size of a pool",
                value: layout.bytes,
            });
        }
        let bytes = usize::try_from(layout.bytes).unwrap_or(usize::MAX);
        let memory = SharedMemory::import(device, descriptor.as_fd(), bytes)?;
        Ok(Self { layout, memory })
    }

    pub(crate) fn layout(&self) -> PoolLayout {
        self.layout
    }

    /// For the keeper.
    pub(crate) fn export(&self) -> Result<OwnedFd, BusError> {
        Ok(self.memory.export()?)
    }

    /// What travels for a slot.
    fn handle(&self, slot: u32) -> CudaSlot {
        CudaSlot {
            pool: self.layout.id,
            offset: u64::from(slot) * self.layout.slot_bytes,
            slot,
            device: self.layout.device,
        }
    }

    fn slot_bytes(&self) -> usize {
        usize::try_from(self.layout.slot_bytes).unwrap_or(usize::MAX)
    }
}

/// A slot of a pool that is there as long as this is.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    number: u32,
}

impl Slot {
    fn new(pool: &Arc<Pool>, number: u32) -> Result<Self, BusError> {
        if number >= pool.layout.slots {
            return Err(BusError::Invalid {
                what: "the slot of a frame",
                value: number.into(),
            });
        }
        Ok(Self {
            pool: Arc::clone(pool),
            number,
        })
    }

    /// What travels for it.
    pub(crate) fn handle(&self) -> CudaSlot {
        self.pool.handle(self.number)
    }

    /// Where the picture lies.
    pub(crate) fn memory(&self) -> DeviceSlice<'_> {
        let bytes = self.pool.slot_bytes();
        let begin = bytes * self.number as usize;
        let memory = self.pool.memory.whole().slice(begin..begin + bytes);
        memory.expect("all slots of a pool are within its memory")
    }
}

/// Which slot is a chunk's, on the producer's side.
#[derive(Debug)]
pub(crate) struct Slots {
    pool: Arc<Pool>,
    /// By where the chunk lies in the producer's segment. Chunks have places of their own, which
    /// they keep; which ones is seen when they are first lent.
    numbers: Mutex<BTreeMap<usize, u32>>,
}

impl Slots {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool: Arc::new(pool),
            numbers: Mutex::default(),
        }
    }

    /// The slot of the chunk that lies here.
    pub(crate) fn of(&self, chunk: *const u8) -> Result<Slot, BusError> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry(chunk.addr()).or_insert(next);
        Slot::new(&self.pool, number)
    }
}

/// The pools that a consumer reads.
#[derive(Debug)]
pub(crate) struct Pools {
    keeper: PathBuf,
    device: Option<Device>,
    /// The newest last.
    known: Vec<Arc<Pool>>,
}

impl Pools {
    /// Those that the keeper at this socket has.
    pub(crate) fn new(keeper: &Path) -> Self {
        Self {
            keeper: keeper.to_owned(),
            device: None,
            known: Vec::new(),
        }
    }

    /// Where a picture of so many bytes lies, perhaps in a pool that is new to us.
    pub(crate) fn of(&mut self, handle: &CudaSlot, bytes: usize) -> Result<Slot, BusError> {
        let pool = match self.known.iter().find(|pool| pool.layout.id == handle.pool) {
            Some(pool) => Arc::clone(pool),
            None => self.fetch(handle)?,
        };
        if *handle != pool.handle(handle.slot) {
            return Err(BusError::Invalid {
                what: "the offset of a frame in its pool",
                value: handle.offset,
            });
        }
        if bytes > pool.slot_bytes() {
            return Err(BusError::TooLarge {
                bytes,
                slot_bytes: pool.slot_bytes(),
            });
        }
        Slot::new(&pool, handle.slot)
    }

    fn fetch(&mut self, handle: &CudaSlot) -> Result<Arc<Pool>, BusError> {
        let (layout, descriptor) = keeper::take(&self.keeper, handle.pool)?;
        let device = match &self.device {
            Some(device) if device.ordinal() == layout.device as usize => device.clone(),
            _ => Device::open(layout.device as usize)?,
        };
        let pool = Arc::new(Pool::import(&device, layout, &descriptor)?);
        self.device = Some(device);
        // Frames that are held keep theirs.
        if self.known.len() == KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push(Arc::clone(&pool));
        Ok(pool)
    }
}
