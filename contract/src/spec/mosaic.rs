//! Mosaics: who is in the picture, and what each member gives to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::geometry::PixelSize;
use crate::mosaic::{Grid, Place};
use crate::name::StreamName;

/// Many streams of the run in one picture, at a fixed rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MosaicSpec {
    /// The whole picture.
    pub size: PixelSize,
    /// Pictures a second.
    pub fps: u32,
    /// Columns of the grid; see [`Grid::of`].
    pub columns: u32,
    /// A member whose newest picture was captured longer ago has an empty tile.
    pub stale_after_ms: u64,
    /// Who is in it, row by row. No grid is asked for that has no room for them.
    pub members: Vec<MosaicMemberSpec>,
}

impl MosaicSpec {
    /// Where the members are.
    #[must_use]
    pub fn grid(&self) -> Option<Grid> {
        Grid::of(self.size, self.columns, self.members.len())
    }
}

/// A stream that is in a mosaic, for the mosaic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MosaicMemberSpec {
    /// Which.
    pub stream: StreamName,
    /// The book of [`crate::ledger::MosaicCounters`].
    pub book: PathBuf,
}

/// A mosaic that a stream is in, for the stream's render worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileSpec {
    /// Which.
    pub mosaic: StreamName,
    /// The stream's pictures are scaled to fit inside, aspect kept.
    pub size: PixelSize,
    /// At most so many a second.
    pub fps: u32,
    /// The book of [`crate::ledger::TileCounters`].
    pub book: PathBuf,
}

/// A text that stands still in the picture, as the name of a tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptionSpec {
    /// The text.
    pub text: String,
    /// What it belongs to begins here.
    pub place: Place,
    /// And is so large; the text is at its lower left corner, and no wider.
    pub size: PixelSize,
}
