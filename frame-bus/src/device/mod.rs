//! Frames in the memory of a GPU.
//!
//! The bus carries handles; the pictures lie in a *pool*, equal slots of device memory. A slot
//! belongs to a chunk of the producer's segment and is in use as long as the chunk is, so
//! iceoryx2's reference count is the only one, and its clean-up after a crash is the only one too.
//!
//! A pool belongs to one start of a producer. A restarted producer has a segment of its own, hence
//! a pool of its own, while consumers may still read the old one: no slot is ever written that
//! somebody reads. Nobody's death frees memory under a reader: whoever maps a pool keeps it, and
//! between the two a descriptor lies with the [keeper](PoolKeeper), in the supervisor, which needs
//! neither a GPU nor its driver for that.

mod keeper;
mod pool;

pub use keeper::PoolKeeper;
pub(crate) use keeper::{put, socket_path};
pub(crate) use pool::{Pool, Pools, Slot, Slots};
