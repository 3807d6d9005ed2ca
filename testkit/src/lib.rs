//! What tests of whole processes need: a real RTSP camera that can be killed
//! and frozen, real clips, and the programs of this workspace as child
//! processes. No production code depends on this crate; it panics with a clear
//! text where a test could only fail anyway.

pub mod browser;
pub mod burnt_clock;
pub mod camera;
pub mod clip;
pub mod http;
pub mod leftovers;
pub mod link;
pub mod port;
pub mod process;
pub mod rtmp;
pub mod wait;
pub mod whep;
pub mod whip;
pub mod worker;

pub use port::free_port;
pub use wait::wait_until;
