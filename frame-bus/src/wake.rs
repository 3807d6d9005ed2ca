//! Wake-ups: who has something for a worker says so by an event, and nobody polls.

use std::sync::Arc;
use std::time::Duration;

use contract::name::WorkerId;
use iceoryx2::port::listener;
use iceoryx2::port::notifier;
use iceoryx2::prelude::EventId;

use crate::bus::{Bus, Service};
use crate::error::BusError;

/// The id of "look at your queues"; also of "there is room again".
pub(crate) const EVENT_LOOK: usize = 0;
/// The id of "I have seen the stream begin": the consumer is connected.
pub(crate) const EVENT_BEGIN_SEEN: usize = 1;
/// The id of "I have seen the stream end": the consumer has all there was.
pub(crate) const EVENT_END_SEEN: usize = 2;

fn service_name(worker: &WorkerId) -> String {
    format!("wake/{worker}")
}

/// What one worker waits on: any of its queues may have something.
#[derive(Debug)]
pub struct Listener {
    port: listener::Listener<Service>,
}

impl Listener {
    /// Opens the listener of `worker`.
    ///
    /// # Errors
    /// When the event service cannot be opened.
    pub fn open(bus: &Bus, worker: &WorkerId) -> Result<Self, BusError> {
        Self::named(bus, &service_name(worker))
    }

    pub(crate) fn named(bus: &Bus, name: &str) -> Result<Self, BusError> {
        let port = bus
            .events(name)?
            .listener_builder()
            .create()
            .map_err(|error| BusError::open(format!("listener `{name}`"), &error))?;
        Ok(Self { port })
    }

    /// Sleeps until woken or until the time is over; says whether it was woken.
    /// All notifications that have come are taken at once.
    ///
    /// # Errors
    /// When the listener is broken.
    pub fn wait(&self, timeout: Duration) -> Result<bool, BusError> {
        self.wait_counting(timeout, |_, _| ())
            .map(|count| count > 0)
    }

    pub(crate) fn wait_counting(
        &self,
        timeout: Duration,
        mut seen: impl FnMut(usize, u64),
    ) -> Result<u64, BusError> {
        self.port
            .timed_wait(
                |activation| seen(activation.id.as_value(), activation.count),
                timeout,
            )
            .map_err(|error| BusError::port("wait for a wake-up", &error))
    }
}

/// Wakes one worker. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Waker {
    port: Arc<notifier::Notifier<Service>>,
}

impl Waker {
    /// Opens a waker for `worker`, which need not be there yet.
    ///
    /// # Errors
    /// When the event service cannot be opened.
    pub fn open(bus: &Bus, worker: &WorkerId) -> Result<Self, BusError> {
        Self::named(bus, &service_name(worker))
    }

    pub(crate) fn named(bus: &Bus, name: &str) -> Result<Self, BusError> {
        let port = bus
            .events(name)?
            .notifier_builder()
            .default_event_id(EventId::new(EVENT_LOOK))
            .create()
            .map_err(|error| BusError::open(format!("notifier `{name}`"), &error))?;
        Ok(Self {
            port: Arc::new(port),
        })
    }

    /// Wakes the worker. One that is dead or not there yet is not an error:
    /// it looks at its queues when it starts.
    pub fn wake(&self) {
        self.notify(EVENT_LOOK);
    }

    pub(crate) fn notify(&self, event: usize) {
        if let Err(error) = self.port.notify_with_custom_event_id(EventId::new(event)) {
            tracing::debug!(?error, "a wake-up was not delivered");
        }
    }
}
