//! The `sluice` command: run configs, supervision of workers, the store.
//!
//! The way of a run: [`config`] reads a YAML file into a `RunConfig`; [`plan`]
//! turns that into the workers and what each is told; [`run`] starts and keeps
//! them through [`supervision`], reads their [`books`] and writes the [`store`];
//! [`recovery`] cleans up after a supervisor that was killed. [`cli`] is what a
//! person types. This crate touches no pixel and links no codec and no model.

pub mod books;
pub mod cli;
pub mod config;
pub mod diagnostics;
pub mod event_time;
pub mod models;
pub mod plan;
pub mod recordings;
pub mod recovery;
pub mod reload;
pub mod rules_test;
pub mod run;
pub mod store;
pub mod supervision;
