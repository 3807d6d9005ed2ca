//! How a worker process is started and watched: limits, death signal, process descriptor.
//!
//! [`spawn`] must be called from a thread that lives as long as the children
//! shall: the kernel sends the death signal when the *thread* that started a
//! child ends, not its process.

mod child;
mod launch;

pub use child::{Child, ExitReport};
pub use launch::{Launch, Limits, spawn};
pub use nix::sys::signal::Signal;
