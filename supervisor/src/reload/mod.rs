//! Hot reload: another text for a run that lives, without losing a frame.
//!
//! The way of a text: `links` says which directory entries a file hangs on, and
//! [`loader`], a thread, watches them, waits until whoever writes has finished,
//! reads and checks the text as a whole, and hands the outcome to the run's
//! loop. [`plan()`] compares what the new text comes to with what is in force: a
//! pure difference, made of the least disturbing [`Step`]s. [`Change`] carries
//! it out, phase by phase, and is pure too: it looks at the fleet and says what
//! to do next. Whatever happens meanwhile, it comes to an end.
//!
//! Nothing is touched before the text is known to be right and the machine to
//! have room for it; only a new model that cannot be loaded is found out later,
//! and then, too, nothing has been touched but that process. From there on a
//! change goes forward only: a worker that dies meanwhile comes back with the
//! new spec.

mod change;
mod links;
pub mod loader;
mod plan;
#[cfg(test)]
mod testing;

pub use change::{Change, ChangeAction, Ended};
pub use plan::{Edition, ReloadPlan, Step, keep_gates, number_rules, plan};
