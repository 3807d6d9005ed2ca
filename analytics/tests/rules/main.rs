//! The rule engine on scripted records: what fires, when, and what is remembered.

mod conditions;
mod explaining;
mod facts;
mod limits;
mod memory;
mod properties;
mod reloading;
mod replaying;
mod script;
mod timing;
