//! Recordings after they are written: what is in a file, how long it is kept, and clips cut
//! from several of them.
//!
//! The render worker writes files and tells what it has written; the store has a row for
//! each. Nothing here decodes video.

pub mod cut;
#[cfg(test)]
mod fixture;
pub mod inspect;
pub mod keeper;
pub mod moment;
