//! Streams served by RTSP: one port, one shared media a stream, fed from the main thread.

mod outlet;
mod server;
mod timeline;

pub(crate) use outlet::{Fate, Outlet};
pub(crate) use server::{END_FLUSH, Mount, Server};
pub(crate) use timeline::Timeline;
