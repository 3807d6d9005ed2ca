//! Models outside of runs: which are known, which are here, how quickly they run, and smaller
//! ones made from them.
//!
//! The supervisor loads no model. What needs one is asked of an infer worker ([`study`]), and
//! what a package client or Python does better is left to them ([`tool`]).

pub mod directory;
pub mod fetch;
pub mod quantize;
pub mod registry;
pub mod study;
pub mod tool;

/// Is told what is being done, as it is done.
pub type Progress<'a> = &'a mut dyn FnMut(&str);
