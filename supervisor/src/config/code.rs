//! The numbers of what can be wrong with a run config.
//!
//! A number is never given to another mistake, so that a search for it finds
//! the right answer.

/// A file cannot be read: not there, a directory, not UTF-8, too large.
pub(super) const UNREADABLE: &str = "C0101";
/// The text is not YAML.
pub(super) const SYNTAX: &str = "C0102";
/// A key stands twice in one mapping.
pub(super) const DUPLICATE_KEY: &str = "C0103";
/// There is no such key.
pub(super) const UNKNOWN_KEY: &str = "C0104";
/// A list where a number belongs, and the like.
pub(super) const WRONG_TYPE: &str = "C0105";
/// Of the right type, but not a value that can be used.
pub(super) const WRONG_VALUE: &str = "C0106";
/// A key that must be there is not.
pub(super) const MISSING_KEY: &str = "C0107";
/// `${...}` cannot be replaced.
pub(super) const INTERPOLATION: &str = "C0108";
/// Not a name.
pub(super) const WRONG_NAME: &str = "C0109";
/// A range in a stream's name is wrong.
pub(super) const WRONG_RANGE: &str = "C0110";
/// A file that the config names is not there, or not a file.
pub(super) const NO_FILE: &str = "C0111";
/// There is no such model.
pub(super) const UNKNOWN_MODEL: &str = "C0112";
/// The same thing twice: a mount, a stream, a label, an output.
pub(super) const TWICE: &str = "C0113";
/// Two settings contradict each other.
pub(super) const CONTRADICTION: &str = "C0114";
/// Nothing to run: an empty file, no streams.
pub(super) const NOTHING: &str = "C0115";
/// No model has such a label.
pub(super) const UNKNOWN_LABEL: &str = "C0116";
