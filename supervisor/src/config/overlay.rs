//! What is drawn onto the picture.

use contract::spec::{ColourBy, DepthView, NearValues, OverlaySpec};

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
        layer(
            "classes",
            "What a segmentation model sees at each place, as tints.",
        ),
        Key {
            name: "heat",
            doc: "Where something moved of late, as a glow.",
            kind: Kind::Bool,
            absent: Absent::Default("false"),
        },
        Key {
            name: "colours",
            doc: "What gives boxes and trails their colours: each `track` or each `class` has its own, or only what a `rule` colours is not white. A rule's colour goes before all.",
            kind: Kind::Choice(&COLOURS),
            absent: Absent::Default("track"),
        },
        Key {
            name: "depth",
            doc: "Where the map of a depth model is shown: in a corner, or right of the picture, which makes the video twice as wide.",
            kind: Kind::Choice(&VIEWS),
            absent: Absent::Default("inset"),
        },
        Key {
            name: "near",
            doc: "Which values of the depth model are near, and shown bright: `large` of relative inverse depth, `small` of metres.",
            kind: Kind::Choice(&NEAR),
            absent: Absent::Default("large"),
        },
    ],
};

/// The views by name, for the table of keys.
const VIEWS: [&str; 3] = [
    DepthView::ALL[0].as_str(),
    DepthView::ALL[1].as_str(),
    DepthView::ALL[2].as_str(),
];

/// What gives colours, by name, for the table of keys.
const COLOURS: [&str; 3] = [
    ColourBy::ALL[0].as_str(),
    ColourBy::ALL[1].as_str(),
    ColourBy::ALL[2].as_str(),
];

/// Near values by name, for the table of keys.
const NEAR: [&str; 2] = [NearValues::ALL[0].as_str(), NearValues::ALL[1].as_str()];

const fn layer(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        doc,
        kind: Kind::Bool,
        absent: Absent::Default("true"),
    }
}

/// Reads `overlay`. What it says can hold nothing wrong once each key is right: the contract's
/// type serves as it is.
pub(super) fn read(fields: &Fields<'_>) -> Option<OverlaySpec> {
    let boxes = fields.boolean("boxes");
    let trails = fields.boolean("trails");
    let zones = fields.boolean("zones");
    let status = fields.boolean("status");
    let classes = fields.boolean("classes");
    let heat = fields.boolean("heat");
    let colours = |name| ColourBy::ALL.into_iter().find(|v| v.as_str() == name);
    let colours = fields.choice("colours").and_then(colours);
    let view = |name| DepthView::ALL.into_iter().find(|v| v.as_str() == name);
    let depth = fields.choice("depth").and_then(view);
    let values = |name| NearValues::ALL.into_iter().find(|v| v.as_str() == name);
    let near = fields.choice("near").and_then(values);
    Some(OverlaySpec {
        boxes: boxes?,
        trails: trails?,
        zones: zones?,
        status: status?,
        classes: classes?,
        heat: heat?,
        colours: colours?,
        depth: depth?,
        near: near?,
    })
}
