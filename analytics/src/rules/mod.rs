//! Rules over tracks and time: which fire, and which end.
//!
//! The way of a frame: `engine` has `known_tracks` work out what is known of each track;
//! `evaluation` asks the condition of each rule for each of its keys (crate `dsl`), lets the
//! key's `interval` decide whether it has held long enough, asks `limits` whether it may fire
//! once more, and tells what `event` makes of it. `reload` exchanges the rules between two frames.
//!
//! For a track that is known and not in the frame, no condition holds: it was looked for and
//! not found. A predicted box is believed: nobody has looked.

mod conditions;
mod engine;
mod evaluation;
mod event;
mod interval;
mod limits;
mod reload;
mod state;

pub use engine::{DRAW_COLOR, EngineSpec, RuleEngine, STEP_BACK_NS_MAX};
pub use event::{Firing, Phase};
pub(crate) use interval::Span;
pub use limits::{
    FLOOD_WINDOW_NS, HeldBack, RULE_FIRINGS_MAX, STREAM_FIRINGS_MAX, TRACK_FIRINGS_MAX,
};
pub use reload::{Fate, Reloaded, RuleNote};
