//! The rule language: what operators write about what a camera sees.
//!
//! A rule file is YAML ([`RuleFile`]); the conditions in it are expressions of
//! a small typed language. They have no loops, no recursion and no effects, so
//! each is bounded in time and memory by its length. The way of a file:
//!
//! 1. [`yaml`]: text to a tree that knows the place of every key and value;
//! 2. `load`: tree to rules, with every mistake as a [`Diagnostic`];
//! 3. `syntax` (with `grammar.pest`): an expression's text to its syntax tree;
//! 4. `check`: names, scopes and types, by the tables of [`vocabulary`];
//! 5. `program` and `gate`: evaluation, which allocates nothing.
//!
//! [`Diagnostic`], [`suggest`] and [`yaml`] serve the run configs as well.
//!
//! This crate opens no file and depends on nothing else of Sluice. What lasts
//! between frames belongs to the crate `analytics`, but for a [`Gate`], whose
//! state is one time.

mod check;
pub mod code;
mod diagnostic;
mod gate;
mod load;
mod message;
mod polygon;
mod problem;
mod program;
mod rule_file;
mod syntax;
pub mod vocabulary;
pub mod yaml;

pub use diagnostic::{Diagnostic, suggest};
pub use gate::{Gate, GateFacts, GateProgram};
pub use load::FILE_BYTES_MAX;
pub use message::{Message, MessageFacts};
pub use program::{Program, TrackFacts, ZONES_MAX};
pub use rule_file::{Action, Anchor, Context, Line, Rule, RuleFile, Subject, Zone};
pub use syntax::{EXPRESSION_BYTES_MAX, NESTING_MAX};
