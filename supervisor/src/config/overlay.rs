//! What is drawn onto the picture.

use contract::spec::OverlaySpec;

use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};

/// The keys of `overlay`.
pub(super) const OVERLAY: Section = Section {
    name: "overlay",
    doc: "What is drawn onto the picture.",
    keys: &[
        layer("boxes", "Boxes with label and score."),
        layer("trails", "Track ids and the way each track came."),
        layer("zones", "Zones and lines of the rule file."),
        layer("status", "Stream name, clock and latency."),
    ],
};

const fn layer(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        doc,
        kind: Kind::Bool,
        absent: Absent::Default("true"),
    }
}

/// Reads `overlay`. Four layers, on or off, can hold nothing wrong: the
/// contract's type serves as it is.
pub(super) fn read(fields: &Fields<'_>) -> Option<OverlaySpec> {
    let boxes = fields.boolean("boxes");
    let trails = fields.boolean("trails");
    let zones = fields.boolean("zones");
    let status = fields.boolean("status");
    Some(OverlaySpec {
        boxes: boxes?,
        trails: trails?,
        zones: zones?,
        status: status?,
    })
}
