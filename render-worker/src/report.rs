//! What the supervisor is told of each frame, in batches.

use contract::control::{FrameRecord, FromWorker};
use contract::spec::QueuePolicy;
use worker::Control;

/// Records sent at once: a message a frame would cost more than the records.
const BATCH_MAX: usize = 32;
/// A record waits so long for company.
const WAIT_MAX_NS: u64 = 500_000_000;

/// Collects the records of frames and sends them.
#[derive(Debug)]
pub(crate) struct FrameReports {
    batch: Vec<FrameRecord>,
    begin_ns: u64,
    /// Nothing may be lost: sending waits while the supervisor does not read.
    lossless: bool,
}

impl FrameReports {
    /// Reports of a stream with this policy: where no frame is lost, no record is either.
    #[must_use]
    pub(crate) fn new(policy: QueuePolicy) -> Self {
        Self {
            batch: Vec::with_capacity(BATCH_MAX),
            begin_ns: 0,
            lossless: policy == QueuePolicy::Wait,
        }
    }

    /// Adds a record; returns how many were given up.
    pub(crate) fn add(&mut self, record: FrameRecord, control: &Control, now_ns: u64) -> u64 {
        if self.batch.is_empty() {
            self.begin_ns = now_ns;
        }
        self.batch.push(record);
        if self.batch.len() < BATCH_MAX {
            return 0;
        }
        self.send(control)
    }

    /// Sends what has waited long enough; returns how many records were given up.
    pub(crate) fn send_due(&mut self, control: &Control, now_ns: u64) -> u64 {
        if self
            .deadline_ns()
            .is_some_and(|deadline| deadline <= now_ns)
        {
            self.send(control)
        } else {
            0
        }
    }

    /// Sends all; returns how many records were given up.
    pub(crate) fn send(&mut self, control: &Control) -> u64 {
        if self.batch.is_empty() {
            return 0;
        }
        let next = Vec::with_capacity(BATCH_MAX);
        let batch = std::mem::replace(&mut self.batch, next);
        let count = batch.len() as u64;
        let message = FromWorker::Frames(batch);
        if self.lossless {
            control.send(message);
            return 0;
        }
        if control.try_send(message) { 0 } else { count }
    }

    /// When something will have waited long enough.
    #[must_use]
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        (!self.batch.is_empty()).then(|| self.begin_ns.saturating_add(WAIT_MAX_NS))
    }
}
