//! Keeping workers alive.
//!
//! [`life`] is the state machine of one worker and [`fleet`] that of all workers
//! of a run: who is started when, told what, and when the run is over. Both are
//! pure: they are given what happened and the time, and answer with what is to
//! be done. [`spawner`] is the permanent thread that starts processes, and
//! [`process`] is the supervisor's end of one of them: its control channel and
//! its death.

pub mod fleet;
pub mod life;
pub mod process;
pub mod spawner;
