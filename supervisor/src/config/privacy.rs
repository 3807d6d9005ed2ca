//! What is hidden in every picture that leaves.

use std::time::Duration;

use contract::spec::{Hiding, PrivacySpec};

use super::Fraction;
use super::classes::Classes;
use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// The keys of `privacy`.
pub(super) const PRIVACY: Section = Section {
    name: "privacy",
    doc: "Hide objects in every picture that leaves: video, recordings, snapshots and best shots.",
    keys: &[
        Key {
            name: "labels",
            doc: "Labels of what is hidden, of the stream's models or of models that look at crops.",
            kind: Kind::TextOrList,
            absent: Absent::Required,
        },
        Key {
            name: "method",
            doc: "How: as large blocks, as a smooth blur, or as a dark area.",
            kind: Kind::Choice(&METHODS),
            absent: Absent::Default("pixelate"),
        },
        Key {
            name: "margin",
            doc: "What is hidden beside a box on each side, as a part of its sides.",
            kind: Kind::Fraction,
            absent: Absent::Default("15%"),
        },
        Key {
            name: "hold",
            doc: "What was hidden stays hidden for so long after it was last seen.",
            kind: Kind::Duration(0, 60_000),
            absent: Absent::Default("1s"),
        },
        Key {
            name: "hide_unseen",
            doc: "Hide the whole picture while no model has looked for longer than `hold`.",
            kind: Kind::Bool,
            absent: Absent::Default("true"),
        },
    ],
};

/// The methods by name, for the table of keys.
const METHODS: [&str; 3] = [
    Hiding::ALL[0].as_str(),
    Hiding::ALL[1].as_str(),
    Hiding::ALL[2].as_str(),
];

/// What is hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct PrivacyConfig {
    /// Labels of what is hidden.
    pub labels: Vec<String>,
    /// How.
    pub method: Hiding,
    /// What is hidden beside a box, as a part of its sides.
    pub margin: Fraction,
    /// How long it stays hidden after it was last seen.
    pub hold: Duration,
    /// Hide everything while no model looks.
    pub hide_unseen: bool,
}

impl PrivacyConfig {
    /// `classes`: what objects there can be.
    pub(super) fn read(fields: &Fields<'_>, classes: &Classes<'_>) -> Option<Self> {
        let labels = fields
            .node("labels")
            .and_then(|node| classes.read_labels(fields.reader, "labels", node));
        let method = |name| Hiding::ALL.into_iter().find(|way| way.as_str() == name);
        let method = fields.choice("method").and_then(method);
        let margin = fields.fraction("margin");
        let hold = fields.duration("hold");
        let hide_unseen = fields.boolean("hide_unseen");
        Some(Self {
            labels: labels?,
            method: method?,
            margin: margin?,
            hold: hold?,
            hide_unseen: hide_unseen?,
        })
    }

    /// The settings as the render worker is told.
    #[must_use]
    pub fn spec(&self) -> PrivacySpec {
        PrivacySpec {
            labels: self.labels.clone(),
            method: self.method,
            margin: self.margin.get(),
            hold_ms: u64::try_from(self.hold.as_millis()).unwrap_or(u64::MAX),
            hide_unseen: self.hide_unseen,
        }
    }
}
