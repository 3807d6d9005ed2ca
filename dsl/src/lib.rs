//! The rule language: what operators write about what a camera sees.
//!
//! A rule file is YAML ([`RuleFile`]); the conditions in it are expressions of
//! a small typed language. They have no loops, no recursion and no effects, so
//! each is bounded in time and memory by its length. The way of a file:
//!
//! 1. [`yaml`]: text to a tree that knows the place of every key and value;
//! 2. `load`: tree to rules, with every mistake as a [`Diagnostic`];
//! 3. `syntax` (with `grammar.pest`): an expression's text to its syntax tree;
//! 4. `check`: names, scopes and types, by the tables of [`vocabulary`], to a typed tree;
//! 5. `program`: the typed tree made flat, and its evaluation, which allocates nothing;
//!    `gate` for gates. [`reference_evaluator`] says slowly what `program` says fast.
//!
//! [`Diagnostic`], [`suggest`] and [`yaml`] serve the run configs as well. [`mod@reference`]
//! writes the page that operators read.
//!
//! This crate opens no file and depends on nothing else of Sluice. It says what a condition
//! remembers ([`Memory`], [`Shared`]); whose it is and when it goes belongs to the crate
//! `analytics`.

mod action;
mod check;
pub mod code;
mod cost;
mod diagnostic;
mod duration;
mod explain;
mod facts;
pub mod format;
mod gate;
mod load;
mod memory;
mod message;
mod needs;
mod polygon;
mod problem;
mod program;
pub mod reference;
pub mod reference_evaluator;
mod rule_file;
mod scene;
mod syntax;
mod tree;
mod typed;
mod value;
mod visit;
pub mod vocabulary;
mod walk;
mod when;
pub mod yaml;

pub use action::{Action, RECORD_AFTER_NS_MAX, RECORD_BEFORE_NS_MAX, SnapshotOf};
pub use check::{SLOTS_MAX, WINDOW_NS_MAX};
pub use cost::{COST_MAX, Cost};
pub use diagnostic::{Diagnostic, suggest};
pub use explain::{Explanation, Part};
pub use gate::{Gate, GateFacts, GateProgram};
pub use load::{FILE_BYTES_MAX, LINES_MAX, RULES_MAX};
pub use memory::{Memory, Shared};
pub use message::Message;
pub use needs::Needs;
pub use program::ZONES_MAX;
pub use rule_file::{Anchor, Context, Limit, LimitKey, Line, Rule, RuleFile, Shape, Subject, Zone};
pub use scene::{Attribute, Scene, TrackFacts};
pub use syntax::{EXPRESSION_BYTES_MAX, NESTING_MAX, STEPS_MAX};
pub use value::ValueProgram;
pub use when::When;
