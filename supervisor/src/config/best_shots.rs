//! Of which tracks the best picture is written.

use contract::geometry::SIDE_MAX;
use contract::spec::BestShotsSpec;

use super::Fraction;
use super::classes::Classes;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// The keys of `best_shots`.
pub(super) const BEST_SHOTS: Section = Section {
    name: "best_shots",
    doc: "Write the best picture of each track when it ends: the sharpest of those that the \
          model is about equally sure of.",
    keys: &[
        Key {
            name: "labels",
            doc: "Of tracks with these labels only. When absent: of all.",
            kind: Kind::TextOrList,
            absent: Absent::Optional,
        },
        Key {
            name: "min_score",
            doc: "A detection of a lower score gives no picture.",
            kind: Kind::Fraction,
            absent: Absent::Default("0.5"),
        },
        Key {
            name: "min_size",
            doc: "A box whose longer side is shorter gives no picture, in pixels of the \
                  processed frame.",
            kind: Kind::Integer(1, SIDE_MAX as u64),
            absent: Absent::Default("32"),
        },
    ],
};

/// What best pictures are written.
#[derive(Debug, Clone, PartialEq)]
pub struct BestShotsConfig {
    /// Labels of the tracks; empty: of all.
    pub labels: Vec<String>,
    /// Least score of a detection.
    pub min_score: Fraction,
    /// Least length of a box's longer side, in pixels.
    pub min_size: u32,
}

impl BestShotsConfig {
    /// `classes`: what tracks there can be.
    pub(super) fn read(fields: &Fields<'_>, classes: &Classes<'_>) -> Option<Self> {
        let labels = match fields.node("labels") {
            Some(node) => classes.read_labels(fields.reader, "labels", node),
            None => Some(Vec::new()),
        };
        let min_score = fields.fraction("min_score");
        let min_size = fields.integer("min_size");
        Some(Self {
            labels: labels?,
            min_score: min_score?,
            min_size: min_size?,
        })
    }

    /// The settings as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> BestShotsSpec {
        BestShotsSpec {
            labels: self.labels.clone(),
            score_min: self.min_score.get(),
            side_min: self.min_size,
        }
    }
}
