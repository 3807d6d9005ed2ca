//! The encoder on the real GStreamer, and the worker as a process, each alone.

mod actions;
mod bench;
mod best_shots;
mod encode;
mod life;
mod live;
mod passthrough;
mod qualities;
mod video;
