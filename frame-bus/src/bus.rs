//! A process' own place on the bus.

use std::fmt::Debug;
use std::sync::Arc;

use contract::spec::BusSpec;
use iceoryx2::prelude::*;
use iceoryx2::service::ipc_threadsafe;
use iceoryx2::service::port_factory::event;

use crate::device::socket_path;
use crate::error::BusError;

/// Ports may move between threads; that costs 20 to 50 % of a fraction of a microsecond.
pub(crate) type Service = ipc_threadsafe::Service;

/// Most processes that may open one service.
const NODES_MAX: usize = 512;

/// A process' own place on one supervisor's bus. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Bus {
    node: Arc<Node<Service>>,
    /// Where the keeper of device memory listens.
    pools: Arc<std::path::Path>,
}

impl Bus {
    /// Joins the bus of `spec` under a name that diagnostics show.
    ///
    /// # Errors
    /// When the root directory cannot be used, or its path is too long for a socket.
    pub fn open(spec: &BusSpec, name: &str) -> Result<Self, BusError> {
        set_log_level(LogLevel::Error);
        let what = || format!("the bus in {}", spec.root.display());
        let mut config = Config::default();
        let root = Path::new(spec.root.as_os_str().as_encoded_bytes())
            .map_err(|error| BusError::open(what(), &error))?;
        config.global.set_root_path(&root);
        config.global.prefix = FileName::new(spec.prefix.as_bytes())
            .map_err(|error| BusError::open(what(), &error))?;
        // Dead workers are cleaned up by the supervisor, after it has reaped them.
        config.global.node.cleanup_dead_nodes_on_creation = false;
        config.global.node.cleanup_dead_nodes_on_destruction = false;
        let node = NodeBuilder::new()
            .name(&NodeName::new(name).map_err(|error| BusError::open(what(), &error))?)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .config(&config)
            .create::<Service>()
            .map_err(|error| BusError::open(what(), &error))?;
        Ok(Self {
            node: Arc::new(node),
            pools: socket_path(&spec.root).into(),
        })
    }

    /// Frees what killed processes left on the bus; returns how many were cleaned up.
    ///
    /// Call it after the dead child was reaped: a zombie still holds its locks.
    #[must_use]
    pub fn clean_dead_nodes(&self) -> u64 {
        self.node.try_cleanup_dead_nodes().cleanups
    }

    /// Where the keeper of device memory listens.
    pub(crate) fn pools(&self) -> &std::path::Path {
        &self.pools
    }

    /// Opens or makes a publish-subscribe service of bytes with a header.
    pub(crate) fn bytes<Header: ZeroCopySend + Debug + 'static>(
        &self,
        name: &str,
        shape: &ServiceShape,
    ) -> Result<BytesService<Header>, BusError> {
        let what = || format!("service `{name}`");
        let service_name =
            ServiceName::new(name).map_err(|error| BusError::open(what(), &error))?;
        let alignment = Alignment::new(shape.alignment)
            .ok_or_else(|| BusError::open(what(), &"the alignment is no power of two"))?;
        self.node
            .service_builder(&service_name)
            .publish_subscribe::<[u8]>()
            .user_header::<Header>()
            .payload_alignment(alignment)
            .enable_safe_overflow(shape.overflow)
            .subscriber_max_buffer_size(shape.buffer)
            // One more than a consumer may keep, so that it can see an end marker.
            .subscriber_max_borrowed_samples(shape.held + 1)
            .history_size(shape.history)
            .max_subscribers(shape.subscribers)
            // A restarted producer may come before the dead one is cleaned up.
            .max_publishers(2)
            .max_nodes(NODES_MAX)
            .open_or_create()
            .map_err(|error| BusError::open(what(), &error))
    }

    /// Opens or makes an event service.
    pub(crate) fn events(&self, name: &str) -> Result<event::PortFactory<Service>, BusError> {
        let what = || format!("service `{name}`");
        let service_name =
            ServiceName::new(name).map_err(|error| BusError::open(what(), &error))?;
        self.node
            .service_builder(&service_name)
            .event()
            .max_notifiers(NODES_MAX)
            // The second is a restarted worker whose dead self is not cleaned up yet.
            .max_listeners(2)
            .max_nodes(NODES_MAX)
            .event_id_max_value(EVENT_ID_MAX)
            .open_or_create()
            .map_err(|error| BusError::open(what(), &error))
    }
}

/// Largest event id used on the bus.
pub(crate) const EVENT_ID_MAX: usize = 7;

/// A publish-subscribe service of bytes with a header.
pub(crate) type BytesService<Header> =
    iceoryx2::service::port_factory::publish_subscribe::PortFactory<Service, [u8], Header>;

/// The sizes of a publish-subscribe service.
pub(crate) struct ServiceShape {
    pub(crate) alignment: usize,
    pub(crate) overflow: bool,
    pub(crate) buffer: usize,
    /// Of the newest, so many are given to a subscriber that comes later.
    pub(crate) history: usize,
    pub(crate) held: usize,
    pub(crate) subscribers: usize,
}
