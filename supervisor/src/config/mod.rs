//! Run configs: the YAML a user writes, checked and resolved.
//!
//! [`load()`] reads a file and gives a [`RunConfig`], in which every default is
//! filled in, every path absolute and every name known, or [`Problems`]: all
//! that is wrong, each with its place. Nothing here starts a process or keeps
//! state; the same check serves `sluice check`, `sluice run` and a reload.
//!
//! The way of a text: [`dsl::yaml`] makes a tree with spans, `interpolate`
//! puts in the environment, `expand` spells out ranges and defaults, and then
//! each type reads its own part. What keys there are, of what kind, and what
//! they default to stands in one table a type (`table`), from which the
//! reader, "did you mean" and the JSON Schema all take it.

mod accept;
mod best_shots;
mod cascade;
mod classes;
mod code;
mod encode;
mod expand;
mod files;
mod gateway;
mod interpolate;
mod labels;
mod load;
mod model;
mod motion;
mod output;
mod overlay;
mod privacy;
mod problem;
mod qualities;
mod queue;
mod reader;
mod record;
mod redact;
mod retry;
mod rules;
mod run;
mod schema;
mod source;
mod store;
mod stream;
mod table;
mod tracker;
mod units;

pub use accept::AcceptConfig;
pub use best_shots::BestShotsConfig;
pub use cascade::CascadeConfig;
pub use encode::{EncodeConfig, Preset};
pub use files::{FileKind, SourceFile};
pub use gateway::{GatewayConfig, port_key};
pub use load::{load, parse};
pub use model::ModelConfig;
pub use motion::MotionConfig;
pub use output::{Mount, OutputsConfig};
pub use privacy::PrivacyConfig;
pub use problem::Problems;
pub use qualities::QualityConfig;
pub use queue::QueueConfig;
pub use record::{KeepConfig, RecordConfig};
pub use retry::RetryConfig;
pub use rules::RulesConfig;
pub(crate) use rules::context as rule_context;
pub use run::{RunConfig, RunName};
pub use schema::schema;
pub use source::{MosaicConfig, SourceConfig, SrtConfig, TestPattern};
pub use store::RetentionConfig;
pub use stream::StreamConfig;
pub use tracker::TrackerConfig;
pub use units::{Bitrate, ByteSize, Fraction};

#[cfg(test)]
mod tests;
