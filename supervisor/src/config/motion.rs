//! How motion is measured.

use contract::spec::MotionSpec;
use dsl::yaml::Node;

use super::code;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// Most polygons of a mask, and most points of a polygon.
const MASK_MAX: usize = 64;

/// The keys of `motion`.
pub(super) const MOTION: Section = Section {
    name: "motion",
    doc: "How the share of the picture that moves is measured; gates of the rule file use it.",
    keys: &[
        Key {
            name: "threshold",
            doc: "A cell has moved when its mean brightness changed by more than this, of 255.",
            kind: Kind::Integer(1, 255),
            absent: Absent::Default("12"),
        },
        Key {
            name: "mask",
            doc: "Where motion is not looked at: polygons of points `[x, y]`, `[0, 0]` at the top left \
                  and `[1, 1]` at the bottom right.",
            kind: Kind::Polygons,
            absent: Absent::Optional,
        },
    ],
};

/// Motion settings of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct MotionConfig {
    /// A cell has moved when its mean luma changed by more than this, 1 to 255.
    pub threshold: u8,
    /// Polygons of 3 points or more, normalised 0 to 1, inside which motion is not looked at.
    pub mask: Vec<Vec<[f32; 2]>>,
}

impl MotionConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let threshold = fields.integer("threshold");
        let polygons = fields.list("mask");
        let mask: Option<Vec<_>> = polygons.iter().map(polygon).collect();
        let wrong = polygons.iter().find(|node| polygon(node).is_none());
        let too_many = polygons.get(MASK_MAX);
        if let Some(node) = wrong.or(too_many) {
            let reader = fields.reader;
            let message = "a mask is made of polygons, each of 3 to 64 points `[x, y]` from 0 to 1";
            reader.report(
                reader
                    .problem(code::WRONG_VALUE, &node.span, message)
                    .helped(
                        "write `mask: [[[0, 0], [1, 0], [1, 0.1], [0, 0.1]]]` for the top tenth",
                    ),
            );
            return None;
        }
        Some(Self {
            threshold: threshold?,
            mask: mask?,
        })
    }

    /// The settings as the ingest worker is told.
    #[must_use]
    pub fn spec(&self) -> MotionSpec {
        MotionSpec {
            threshold: self.threshold,
            mask: self.mask.clone(),
        }
    }
}

fn polygon(node: &Node) -> Option<Vec<[f32; 2]>> {
    let points = node.as_sequence()?;
    if !(3..=MASK_MAX).contains(&points.len()) {
        return None;
    }
    points.iter().map(point).collect()
}

fn point(node: &Node) -> Option<[f32; 2]> {
    let coordinate = |node: &Node| {
        let value: f32 = node.as_scalar()?.text.parse().ok()?;
        (0.0..=1.0).contains(&value).then_some(value)
    };
    match node.as_sequence()? {
        [x, y] => Some([coordinate(x)?, coordinate(y)?]),
        _ => None,
    }
}
