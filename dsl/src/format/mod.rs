//! Canonical text: of a syntax tree, and of a rule file in place.

mod file;
mod scalar;
#[cfg(test)]
mod tests;
mod text;

pub use file::format_rule_file;
pub(crate) use text::sequence;
