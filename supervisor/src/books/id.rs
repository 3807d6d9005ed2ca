//! Which books there are, and what they are called.

use std::fmt;

use contract::name::{ModelName, StreamName, WorkerId};

const EXTENSION: &str = "book";

/// One book: what one worker says of one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookId {
    /// The stream.
    pub stream: StreamName,
    /// The worker's part in it.
    pub part: Part,
}

/// A worker's part in a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Decoding it.
    Ingest,
    /// Running a model on it.
    Infer(ModelName),
    /// Drawing and encoding it.
    Render,
    /// Cutting crops out of it for a model, and taking the answers.
    Crops(ModelName),
    /// Running a model on these crops.
    InferCrops(ModelName),
    /// Serving it.
    Gateway,
    /// Taking in what a sender publishes.
    Intake,
    /// Giving tiles of it to a mosaic.
    Tiles(StreamName),
    /// Taking these tiles into the mosaic.
    Mosaic(StreamName),
}

/// `ingest`, `infer:people`, `render`, `crops:plates`, `infer-crops:plates`, `gateway`, `intake`,
/// `tiles:wall`, `mosaic:wall`: as in the database.
impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingest => formatter.write_str("ingest"),
            Self::Infer(model) => write!(formatter, "infer:{model}"),
            Self::Render => formatter.write_str("render"),
            Self::Crops(model) => write!(formatter, "crops:{model}"),
            Self::InferCrops(model) => write!(formatter, "infer-crops:{model}"),
            Self::Gateway => formatter.write_str("gateway"),
            Self::Intake => formatter.write_str("intake"),
            Self::Tiles(mosaic) => write!(formatter, "tiles:{mosaic}"),
            Self::Mosaic(mosaic) => write!(formatter, "mosaic:{mosaic}"),
        }
    }
}

impl BookId {
    /// The book's file name: names have no dot, so it can be read back.
    #[must_use]
    pub fn file_name(&self) -> String {
        let stream = &self.stream;
        match &self.part {
            Part::Ingest => format!("ingest.{stream}.{EXTENSION}"),
            Part::Infer(model) => format!("infer.{stream}.{model}.{EXTENSION}"),
            Part::Render => format!("render.{stream}.{EXTENSION}"),
            Part::Crops(model) => format!("crops.{stream}.{model}.{EXTENSION}"),
            Part::InferCrops(model) => format!("infer-crops.{stream}.{model}.{EXTENSION}"),
            Part::Gateway => format!("gateway.{stream}.{EXTENSION}"),
            Part::Intake => format!("intake.{stream}.{EXTENSION}"),
            Part::Tiles(mosaic) => format!("tiles.{stream}.{mosaic}.{EXTENSION}"),
            Part::Mosaic(mosaic) => format!("mosaic.{stream}.{mosaic}.{EXTENSION}"),
        }
    }

    /// The book of a file name; `None` when it is no book's.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        let words: Vec<_> = name.split('.').collect();
        let (stream, part) = match words[..] {
            ["ingest", stream, EXTENSION] => (stream, Part::Ingest),
            ["infer", stream, model, EXTENSION] => (stream, Part::Infer(model.parse().ok()?)),
            ["render", stream, EXTENSION] => (stream, Part::Render),
            ["crops", stream, model, EXTENSION] => (stream, Part::Crops(model.parse().ok()?)),
            ["infer-crops", stream, model, EXTENSION] => {
                (stream, Part::InferCrops(model.parse().ok()?))
            }
            ["gateway", stream, EXTENSION] => (stream, Part::Gateway),
            ["intake", stream, EXTENSION] => (stream, Part::Intake),
            ["tiles", stream, mosaic, EXTENSION] => (stream, Part::Tiles(mosaic.parse().ok()?)),
            ["mosaic", stream, mosaic, EXTENSION] => (stream, Part::Mosaic(mosaic.parse().ok()?)),
            _ => return None,
        };
        Some(Self {
            stream: stream.parse().ok()?,
            part,
        })
    }

    /// The worker that writes it.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        match &self.part {
            Part::Ingest => WorkerId::Ingest(self.stream.clone()),
            Part::Infer(model) | Part::InferCrops(model) => WorkerId::Infer(model.clone()),
            Part::Render | Part::Crops(_) | Part::Tiles(_) => WorkerId::Render(self.stream.clone()),
            Part::Mosaic(mosaic) => WorkerId::Ingest(mosaic.clone()),
            Part::Gateway | Part::Intake => WorkerId::Gateway,
        }
    }
}
