//! A mosaic: other streams of the run in one picture.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::mosaic::{Grid, TILE_SIDE_MIN, TILES_MAX};
use contract::name::{NAME_BYTES_MAX, StreamName};
use contract::spec::{CaptionSpec, MosaicMemberSpec, MosaicSpec};
use dsl::yaml::Node;

use super::super::code;
use super::super::expand::WrittenStream;
use super::super::reader::{Fields, Reader};
use super::super::stream::StreamConfig;
use super::super::table::{Absent, Key, Kind, Section};
use super::super::units::millis;
use super::SourceConfig;

/// The keys of a source that is a mosaic.
pub(in super::super) const MOSAIC: Section = Section {
    name: "mosaic",
    doc: "Other streams of the run, as they are drawn, in one picture of the stream's `size`.",
    keys: &[
        Key {
            name: "mosaic",
            doc: "The streams, row by row; none is a mosaic itself.",
            kind: Kind::List(&Kind::Name(NAME_BYTES_MAX)),
            absent: Absent::Required,
        },
        Key {
            name: "columns",
            doc: "Streams in a row. When absent: as many as there are rows, or one more.",
            kind: Kind::Integer(1, TILES_MAX as u64),
            absent: Absent::Optional,
        },
        Key {
            name: "fps",
            doc: "Pictures a second, whatever the streams have.",
            kind: Kind::Integer(1, 60),
            absent: Absent::Default("10"),
        },
        Key {
            name: "stale_after",
            doc: "A stream whose newest picture was captured longer ago has an empty tile.",
            kind: Kind::Duration(200, 3_600_000),
            absent: Absent::Default("2s"),
        },
    ],
};

/// Other streams of the run in one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MosaicConfig {
    /// The streams, row by row, none twice; each is in the run and is no mosaic.
    pub members: Vec<StreamName>,
    /// Columns of the grid.
    pub columns: u32,
    /// Pictures a second.
    pub fps: u32,
    /// A member whose newest picture was captured longer ago has an empty tile.
    pub stale_after: Duration,
}

impl MosaicConfig {
    /// Reads the mapping that `source` is.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let members = read_members(fields);
        let columns = fields.integer("columns");
        let fps = fields.integer("fps");
        let stale_after = fields.duration("stale_after");
        let members = members?;
        Some(Self {
            columns: match fields.node("columns") {
                Some(_) => columns?,
                None => Grid::squarest(members.len()),
            },
            members,
            fps: fps?,
            stale_after: stale_after?,
        })
    }
}

impl MosaicConfig {
    /// The grid in a picture of `size`; there is one in the size of its stream.
    #[must_use]
    pub fn grid(&self, size: PixelSize) -> Option<Grid> {
        Grid::of(size, self.columns, self.members.len())
    }

    /// The names of the tiles in a picture of `size`.
    #[must_use]
    pub fn captions(&self, size: PixelSize) -> Vec<CaptionSpec> {
        let Some(grid) = self.grid(size) else {
            return Vec::new();
        };
        let members = self.members.iter().enumerate();
        let caption = |(index, member): (usize, &StreamName)| CaptionSpec {
            text: member.to_string(),
            place: grid.place(index),
            size: grid.tile(),
        };
        members.map(caption).collect()
    }

    pub(super) fn spec(
        &self,
        size: PixelSize,
        book: impl Fn(&StreamName) -> PathBuf,
    ) -> MosaicSpec {
        let member = |stream: &StreamName| MosaicMemberSpec {
            stream: stream.clone(),
            book: book(stream),
        };
        MosaicSpec {
            size,
            fps: self.fps,
            columns: self.columns,
            stale_after_ms: millis(self.stale_after),
            members: self.members.iter().map(member).collect(),
        }
    }
}

fn read_members(fields: &Fields<'_>) -> Option<Vec<StreamName>> {
    let reader = fields.reader;
    let items = fields.list("mosaic");
    let node = fields.node("mosaic")?;
    if node.as_sequence().is_some_and(<[Node]>::is_empty) {
        let problem = reader.problem(code::NOTHING, &node.span, "a mosaic of no stream");
        reader.report(problem.helped("name the streams that are in it: `mosaic: [yard, gate]`"));
    }
    if let Some(item) = items.get(TILES_MAX) {
        let message = format!("a mosaic has {TILES_MAX} streams at most");
        reader.report(reader.problem(code::WRONG_VALUE, &item.span, message));
        return None;
    }
    let mut members: Vec<StreamName> = Vec::new();
    let mut right = !items.is_empty();
    for item in items {
        let name = reader.text(item, "a stream's name");
        let name = name.and_then(|name| reader.name(name.text, &item.span, NAME_BYTES_MAX));
        match name {
            Some(name) if members.contains(&name) => {
                let message = format!("the stream `{name}` is in the mosaic twice");
                reader.report(reader.problem(code::TWICE, &item.span, message));
                right = false;
            }
            Some(name) => members.push(name),
            None => right = false,
        }
    }
    right.then_some(members)
}

/// Checks mosaics against the streams of the run: `written` are all, `streams` those that are
/// right.
pub(in super::super) fn check_members(
    reader: &Reader<'_>,
    written: &[WrittenStream],
    streams: &BTreeMap<StreamName, StreamConfig>,
) {
    for stream in written {
        let config = streams
            .iter()
            .find(|(name, _)| name.as_str() == stream.name);
        let Some((_, config)) = config else { continue };
        let (SourceConfig::Mosaic(mosaic), Some(source)) =
            (&config.source, stream.node.get("source"))
        else {
            continue;
        };
        let size = config.size;
        if mosaic.grid(size).is_none() {
            let message = format!(
                "{} streams in {} columns have no room in {size}: a tile has {TILE_SIDE_MIN} pixels at least",
                mosaic.members.len(),
                mosaic.columns
            );
            let span = source.get("mosaic").map_or(&source.span, |node| &node.span);
            let problem = reader.problem(code::WRONG_VALUE, span, message);
            reader.report(problem.helped("make the stream's `size` larger, or leave some out"));
        }
        let items = source.get("mosaic").and_then(Node::as_sequence);
        for item in items.unwrap_or_default() {
            check_member(reader, item, written, streams);
        }
    }
}

fn check_member(
    reader: &Reader<'_>,
    item: &Node,
    written: &[WrittenStream],
    streams: &BTreeMap<StreamName, StreamConfig>,
) {
    let Some(name) = item.as_scalar().map(|scalar| scalar.text.as_str()) else {
        return;
    };
    let known = || written.iter().map(|stream| stream.name.as_str());
    if !known().any(|known| known == name) {
        let message = format!("there is no stream `{name}`");
        let problem = reader.problem(code::WRONG_VALUE, &item.span, message);
        reader.report(problem.suggesting(
            dsl::suggest(name, known()),
            "a mosaic is of streams that are written in this file".to_owned(),
        ));
    }
    // What is wrong with one that could not be read was told there.
    let config = streams.iter().find(|(known, _)| known.as_str() == name);
    let Some((_, config)) = config else { return };
    if config.source.mosaic().is_some() {
        let message = format!("`{name}` is a mosaic, which is in no other");
        let problem = reader.problem(code::CONTRADICTION, &item.span, message);
        reader.report(problem.helped("name the streams that are in it instead"));
    }
    if config.on_demand.is_some() {
        let message = format!("a stream in a mosaic is needed always, and `{name}` is on demand");
        let problem = reader.problem(code::CONTRADICTION, &item.span, message);
        reader.report(problem.helped(format!("remove `on_demand` of `{name}`, or leave it out")));
    }
}
