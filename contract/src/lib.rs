//! What every Sluice process agrees on: names, the specs a worker is started
//! with, the messages on its control channel, the ledgers of frames, and exit
//! codes. Nothing here opens a file, a socket or shared memory; the only thing
//! read from outside is the clock.

pub mod alignment;
pub mod best_shot;
pub mod clock;
pub mod control;
pub mod detection;
pub mod event;
pub mod exit;
pub mod findings;
pub mod geometry;
pub mod latency;
pub mod ledger;
pub mod mosaic;
pub mod motion;
pub mod name;
pub mod push;
pub mod secrets;
pub mod spec;
pub mod study;
