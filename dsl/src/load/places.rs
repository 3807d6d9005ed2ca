//! Zones and lines.

use super::reader::Reader;
use crate::code;
use crate::polygon;
use crate::rule_file::{Anchor, Line, Zone};
use crate::yaml::{self, Key, Node};

/// Most corners of a polygon; checking that edges do not cross takes their square.
const CORNERS_MAX: usize = 64;

pub(super) fn read_zone(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Zone> {
    const ANCHORS: &[(&str, Anchor)] = &[
        ("bottom_center", Anchor::BottomCenter),
        ("center", Anchor::Center),
    ];
    let owner = format!("zone `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), &["polygon", "anchor"])?;
    let anchor = match section.get("anchor") {
        Some(node) => reader.choice(node, "an anchor", ANCHORS),
        None => Some(Anchor::default()),
    };
    let polygon = reader
        .required(&section, "polygon")
        .and_then(|node| read_polygon(reader, node));
    Some(Zone {
        name: key.text.clone(),
        polygon: polygon?,
        anchor: anchor?,
    })
}

fn read_polygon(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<[f32; 2]>> {
    let items = reader.list(node, "a polygon is a list of points like [0.1, 0.5]")?;
    let corners: Vec<_> = items.iter().map(|item| read_point(reader, item)).collect();
    let (message, help) = if items.len() < 3 {
        (
            format!("a polygon needs 3 corners or more, not {}", items.len()),
            "list its corners in order",
        )
    } else if items.len() > CORNERS_MAX {
        (
            format!(
                "a polygon has at most {CORNERS_MAX} corners, not {}",
                items.len()
            ),
            "leave out corners that change little",
        )
    } else {
        let corners = corners.into_iter().collect::<Option<Vec<_>>>()?;
        let Some((first, second)) = polygon::crossing_edges(&corners) else {
            return Some(corners);
        };
        (
            format!(
                "the edges from corners {} and {} of this polygon cross or touch",
                first + 1,
                second + 1
            ),
            "list the corners in order around the zone",
        )
    };
    reader.report(
        reader
            .diagnostic(code::BAD_POLYGON, node.span.clone(), message)
            .helped(help),
    )
}

fn read_point(reader: &mut Reader<'_>, node: &Node) -> Option<[f32; 2]> {
    let help = "a point is two numbers, [x, y], each from 0 to 1 of the picture's size";
    let items = reader.list(node, help)?;
    let [x, y] = items else {
        let message = format!("a point has two coordinates, not {}", items.len());
        return reader.report(
            reader
                .diagnostic(code::BAD_POINT, node.span.clone(), message)
                .helped(help),
        );
    };
    let coordinates = [x, y].map(|node| read_coordinate(reader, node, help));
    Some([coordinates[0]?, coordinates[1]?])
}

fn read_coordinate(reader: &mut Reader<'_>, node: &Node, help: &str) -> Option<f32> {
    match node.as_scalar().and_then(yaml::Scalar::as_number) {
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a picture")]
        Some(value) if (0.0..=1.0).contains(&value) => Some(value as f32),
        Some(value) => {
            let message = format!("{value} is not inside the picture");
            reader.report(
                reader
                    .diagnostic(code::BAD_POINT, node.span.clone(), message)
                    .helped("coordinates go from 0 to 1: divide pixels by the picture's size"),
            )
        }
        None => reader.wrong_shape(node, "a number", help),
    }
}

pub(super) fn read_line(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Line> {
    let owner = format!("line `{}`", key.text);
    let section = reader.section(node, &owner, key.span.clone(), &["from", "to"])?;
    let [from, to] = ["from", "to"].map(|end| {
        reader
            .required(&section, end)
            .and_then(|node| read_point(reader, node))
    });
    let (from, to) = (from?, to?);
    if from == to {
        let message = format!("{owner} has no length");
        return reader.report(
            reader
                .diagnostic(code::BAD_POLYGON, key.span.clone(), message)
                .helped("give it two different ends"),
        );
    }
    Some(Line {
        name: key.text.clone(),
        from,
        to,
    })
}
