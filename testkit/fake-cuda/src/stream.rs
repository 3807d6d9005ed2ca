//! Streams: each a thread that does its work in order, a little late.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cudarc::driver::sys::cudaError_enum as Code;

use crate::kernels::Kernel;
use crate::memory::state;

/// Work that waits; the driver's queue is of about this length too.
const QUEUE: usize = 1024;
/// The latest that a piece of work begins.
const LATE_MAX_US: u64 = 200;

type Piece = Box<dyn FnOnce() + Send>;

pub(crate) struct Stream {
    queue: Option<SyncSender<Piece>>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    pub(crate) fn start() -> Result<Self, Code> {
        let (queue, work) = sync_channel::<Piece>(QUEUE);
        let run = move || {
            let mut random = 1_u64;
            for piece in work {
                // The constants of MMIX, D. E. Knuth.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                std::thread::park_timeout(Duration::from_micros((random >> 33) % LATE_MAX_US));
                piece();
            }
        };
        let thread = std::thread::Builder::new().name("fake-stream".to_owned());
        let thread = thread.spawn(run);
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread.map_err(|_| Code::CUDA_ERROR_OPERATING_SYSTEM)?),
        })
    }

    fn queue(&self, piece: impl FnOnce() + Send + 'static) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(Box::new(piece));
        }
    }

    /// Until all that was queued is done.
    pub(crate) fn wait(&self) {
        let (done, wait) = sync_channel(1);
        self.queue(move || {
            let _ = done.send(());
        });
        let _ = wait.recv();
    }

    /// Copies from a device address, or else from this address of the host, to the like.
    pub(crate) fn copy(
        &self,
        from_device: Option<u64>,
        from_host: usize,
        to_device: Option<u64>,
        to_host: usize,
        count: usize,
    ) {
        self.queue(move || {
            let living = |address: Option<u64>| {
                address.is_none_or(|address| state().lives(address as usize, count))
            };
            if !living(from_device) || !living(to_device) {
                return crate::end(Code::CUDA_ERROR_ILLEGAL_ADDRESS);
            }
            let from = from_device.map_or(from_host, |address| address as usize);
            let to = to_device.map_or(to_host, |address| address as usize);
            // SAFETY: device memory is there; host memory is the word of who queued this.
            unsafe {
                std::ptr::copy(
                    std::ptr::with_exposed_provenance::<u8>(from),
                    std::ptr::with_exposed_provenance_mut::<u8>(to),
                    count,
                );
            }
        });
    }

    pub(crate) fn fill(&self, to: usize, value: u8, count: usize) {
        self.queue(move || {
            if !state().lives(to, count) {
                return crate::end(Code::CUDA_ERROR_ILLEGAL_ADDRESS);
            }
            // SAFETY: it is there.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(to).write_bytes(value, count) };
        });
    }

    pub(crate) fn launch(
        &self,
        kernel: &'static Kernel,
        parameters: Vec<u8>,
        grid: [u32; 3],
        block: [u32; 3],
    ) {
        self.queue(move || kernel.run(&parameters, grid, block));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
