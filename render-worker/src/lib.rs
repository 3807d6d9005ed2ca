//! The render worker: all that happens to one stream after its frames are decoded.
//!
//! It joins frames with what the models say of them ([`join`]), tracks and judges
//! them by the rules (crate `analytics`), draws ([`overlay`]), encodes and records
//! ([`encode`]), and hands access units to the gateway. Everything here belongs to
//! one stream; when it dies, no other stream notices.

mod analysis;
pub mod encode;
pub mod join;
mod output;
pub mod overlay;
mod paths;
mod renderer;
mod report;
pub mod snapshot;
mod stream;

pub use stream::run;
