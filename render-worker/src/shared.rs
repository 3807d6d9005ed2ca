//! What the rooms of this worker have in common: its book, the frame at hand, and how it fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::ledger::RenderCounters;
use frame_bus::{BookWriter, BusError, FrameStamp};
use worker::Failure;

use crate::encode::PictureFormat;

/// The book of one render worker, written by its main loop and by the encoder's thread.
pub(crate) type SharedBook = Arc<Mutex<BookWriter<RenderCounters>>>;

/// Locks; what a panicking thread left behind is counters, which stay true.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what failed of the bus; the worker is started again.
pub(crate) fn bus_failure(error: &BusError) -> Failure {
    if error.is_missing_gpu() {
        return Failure::bad_config(error.to_string());
    }
    Failure::failed(error.to_string())
}

/// What a frame is, without its pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) stamp: FrameStamp,
    pub(crate) format: PictureFormat,
    /// Wall clock of its capture, milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}
