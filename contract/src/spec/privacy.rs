//! What is hidden in every picture that leaves.

use serde::{Deserialize, Serialize};

/// What is hidden in every picture that leaves: video, recordings, snapshots and best shots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrivacySpec {
    /// Labels of what is hidden, of the stream's models and of those that look at crops.
    pub labels: Vec<String>,
    /// How.
    pub method: Hiding,
    /// What is hidden beside a box on each side, as a part of its sides.
    pub margin: f32,
    /// What was hidden stays hidden for so long after it was last seen, while models look.
    pub hold_ms: u64,
    /// All of the picture is hidden while no model has looked for longer than `hold_ms`.
    pub hide_unseen: bool,
}

/// How something is hidden. Of each way no more is left than a few dozen mean colours, from
/// which nobody can be made out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hiding {
    /// Large blocks of one colour each.
    Pixelate,
    /// The same blocks, smoothly one into the other.
    Blur,
    /// One dark area.
    Fill,
}

impl Hiding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pixelate, Self::Blur, Self::Fill];

    /// The way in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pixelate => "pixelate",
            Self::Blur => "blur",
            Self::Fill => "fill",
        }
    }
}
