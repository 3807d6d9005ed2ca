//! What is drawn onto the picture.

use serde::{Deserialize, Serialize};

/// What is drawn onto the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a layer of its own")]
pub struct OverlaySpec {
    /// Boxes with label and score.
    pub boxes: bool,
    /// Track ids and trails.
    pub trails: bool,
    /// Zones and lines.
    pub zones: bool,
    /// Stream name, clock and latency.
    pub status: bool,
    /// Where something moved of late, as a glow.
    pub heat: bool,
    /// What gives boxes and trails their colours.
    pub colours: ColourBy,
    /// The classes that a segmentation model gives to places, as tints.
    pub classes: bool,
    /// Where the map of a depth model is shown; [`DepthView::Off`] without such a model.
    pub depth: DepthView,
    /// Which of its values are near, and so bright.
    pub near: NearValues,
}

/// What gives boxes and trails their colours. A colour that a rule wants goes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourBy {
    /// Each track has its own.
    Track,
    /// Each class has its own.
    Class,
    /// Only rules: all else is white.
    Rule,
}

impl ColourBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Track, Self::Class, Self::Rule];

    /// The choice in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Class => "class",
            Self::Rule => "rule",
        }
    }
}

/// Where the map of a depth model is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepthView {
    /// Nowhere.
    Off,
    /// In a corner of the picture.
    Inset,
    /// Right of the picture, as large as it: the video is twice as wide.
    SideBySide,
}

impl DepthView {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Inset, Self::SideBySide];

    /// The view in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Inset => "inset",
            Self::SideBySide => "side_by_side",
        }
    }
}

/// Which values of a depth model are near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NearValues {
    /// Large ones: relative inverse depth, as `MiDaS` and `Depth Anything` give it.
    Large,
    /// Small ones: metres.
    Small,
}

impl NearValues {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Large, Self::Small];

    /// The values in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Small => "small",
        }
    }
}
