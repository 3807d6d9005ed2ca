//! The render worker: all that happens to one stream after its frames are decoded.
//!
//! It joins frames with what the models say of them ([`join`]), tracks and judges
//! them by the rules (crate `analytics`), draws ([`overlay`]), does what the rules that
//! fire want done, encodes and records ([`encode`]), and hands access units to the
//! gateway. Between two frames it can go over to another spec. Everything here belongs to
//! one stream; when it dies, no other stream notices.

mod actions;
mod alignment;
mod analysis;
mod best_shot;
mod cascade;
mod composition;
pub mod crop;
mod crops;
pub mod encode;
pub mod join;
mod maps;
mod output;
pub mod overlay;
mod parts;
mod passthrough;
mod paths;
mod picture;
mod privacy;
pub mod quality;
mod reconfigure;
mod renderer;
mod report;
mod shared;
pub mod snapshot;
mod stream;
mod tiles;
mod video;

pub use stream::run;
