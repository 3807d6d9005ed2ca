//! What goes between this worker and others beside its frames.

use contract::spec::{IngestSpec, SourceSpec};
use frame_bus::Bus;
use worker::Failure;

use crate::nature::Nature;
use crate::output::Book;
use crate::passthrough::Passthrough;
use crate::sources::mosaic::Tiles;
use crate::sources::publish::Intake;

/// Each is there where the source, or what is wanted of it, needs it. Cloning is cheap; all
/// clones are one.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// What senders publish.
    pub intake: Option<Intake>,
    /// What the members of a mosaic give.
    pub tiles: Option<Tiles>,
    /// Takes the source's own access units.
    pub passthrough: Option<Passthrough>,
}

impl Ports {
    /// Opens what `spec` needs, and goes on with `book`; `incarnation` counts the worker's starts.
    ///
    /// # Errors
    /// When the bus cannot be used.
    pub fn open(
        bus: &Bus,
        spec: &IngestSpec,
        book: &Book,
        incarnation: u32,
    ) -> Result<Self, Failure> {
        let stream = &spec.stream;
        let mut ports = Self::default();
        match &spec.source {
            SourceSpec::Publish { .. } => {
                let intake = Intake::open(bus, stream, book.clone(), incarnation);
                ports.intake = Some(intake.map_err(failed)?);
            }
            SourceSpec::Mosaic(mosaic) => {
                let tiles = Tiles::open(bus, stream, mosaic, incarnation);
                ports.tiles = Some(tiles.map_err(failed)?);
            }
            _ => {}
        }
        if let Some(wanted) = &spec.passthrough {
            let clocked = Nature::of(&spec.source).clocked;
            let opened =
                Passthrough::open(bus, stream, wanted, book.clone(), (clocked, incarnation));
            ports.passthrough = Some(opened.map_err(failed)?);
        }
        Ok(ports)
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}
