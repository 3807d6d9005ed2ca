//! What a model says of each frame, to the one render worker that waits for it.

use contract::detection::Skip;
use contract::findings::{Findings, Finds};
use contract::name::ModelName;
use contract::spec::FrameServiceSpec;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::error::BusError;
use crate::findings;
use crate::header::{Mark, ResultHeader};

/// Results queued for the render worker; more than it can hold frames, so that one
/// that overflows speaks only of frames that have gone on without it.
pub(crate) const RESULTS_DEPTH: usize = 64;

const SKIPS: [Skip; 5] = [
    Skip::Gated,
    Skip::Stale,
    Skip::Shed,
    Skip::Overflowed,
    Skip::Failed,
];

fn skip_code(skip: Skip) -> u32 {
    match skip {
        Skip::Gated => 1,
        Skip::Stale => 2,
        Skip::Shed => 3,
        Skip::Overflowed => 4,
        Skip::Failed => 5,
    }
}

fn open_service(
    bus: &Bus,
    frames: &FrameServiceSpec,
    model: &ModelName,
) -> Result<BytesService<ResultHeader>, BusError> {
    bus.bytes(
        &format!("results/{model}/{}", frames.topic()),
        &ServiceShape {
            alignment: 8,
            overflow: true,
            buffer: RESULTS_DEPTH,
            history: 0,
            held: 1,
            // The second is a restarted render worker whose dead self is not cleaned up yet.
            subscribers: 2,
        },
    )
}

/// What a model says of one frame, or why it says nothing of some.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The model ran. Of detections at most [`contract::detection::DETECTIONS_MAX`] are sent.
    Found(&'a Findings),
    /// It did not.
    Skipped(Skip),
}

/// The model's side.
#[derive(Debug)]
pub struct ResultPublisher {
    port: Publisher<Service, [u8], ResultHeader>,
}

impl ResultPublisher {
    /// Opens the results of `model` on `frames` for publishing; `finds` is what they are.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(
        bus: &Bus,
        frames: &FrameServiceSpec,
        model: &ModelName,
        finds: Finds,
    ) -> Result<Self, BusError> {
        let port = open_service(bus, frames, model)?
            .publisher_builder()
            .initial_max_slice_len(findings::bytes_max(finds))
            .allocation_strategy(AllocationStrategy::Static)
            // One a session thread.
            .max_loaned_samples(16)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(|error| {
                BusError::open(
                    format!("the results of `{model}` on `{}`", frames.topic()),
                    &error,
                )
            })?;
        Ok(Self { port })
    }

    /// Publishes what is known of the frames `first_sequence..=last_sequence`; what was found is
    /// of one frame, so then both are the same.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn publish(
        &self,
        first_sequence: u64,
        last_sequence: u64,
        outcome: Outcome<'_>,
    ) -> Result<(), BusError> {
        let header = |(code, count): (u32, usize)| {
            let count = u32::try_from(count).unwrap_or(0);
            ResultHeader::new(first_sequence, last_sequence, code, count)
        };
        match outcome {
            Outcome::Found(found) => self.send(header(findings::outcome(found)), Some(found)),
            Outcome::Skipped(skip) => self.send(header((skip_code(skip), 0)), None),
        }
    }

    /// Says that no result comes after this one.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn end_of_stream(&self, next_sequence: u64) -> Result<(), BusError> {
        self.send(ResultHeader::end_of_stream(next_sequence), None)
    }

    fn send(&self, header: ResultHeader, found: Option<&Findings>) -> Result<(), BusError> {
        let bytes = found.map_or(0, findings::bytes);
        let mut sample = self
            .port
            .loan_slice(bytes.max(1))
            .map_err(|error| BusError::port("loan a result", &error))?;
        *sample.user_header_mut() = header;
        if let Some(found) = found {
            findings::write(found, &mut sample.payload_mut()[..bytes]);
        }
        sample
            .send()
            .map_err(|error| BusError::port("publish a result", &error))?;
        Ok(())
    }
}

/// What the render worker learns of some frames.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameResult {
    /// First frame it speaks of.
    pub first_sequence: u64,
    /// Last frame it speaks of.
    pub last_sequence: u64,
    /// What it says.
    pub body: ResultBody,
}

/// What a result says.
#[derive(Debug, Clone, PartialEq)]
pub enum ResultBody {
    /// What the model found.
    Found(Findings),
    /// Why it did not run.
    Skipped(Skip),
    /// No result comes after this one.
    EndOfStream,
}

/// The render worker's side.
#[derive(Debug)]
pub struct ResultSubscriber {
    port: Subscriber<Service, [u8], ResultHeader>,
}

impl ResultSubscriber {
    /// Opens the results of `model` on `frames`.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, frames: &FrameServiceSpec, model: &ModelName) -> Result<Self, BusError> {
        let port = open_service(bus, frames, model)?
            .subscriber_builder()
            .create()
            .map_err(|error| {
                BusError::open(
                    format!("a reader of `{model}` on `{}`", frames.topic()),
                    &error,
                )
            })?;
        Ok(Self { port })
    }

    /// Takes the oldest queued result; `None` when the queue is empty.
    ///
    /// # Errors
    /// [`BusError::Invalid`] when what came does not hold together; the next may.
    pub fn receive(&mut self) -> Result<Option<FrameResult>, BusError> {
        let received = self
            .port
            .receive()
            .map_err(|error| BusError::port("receive a result", &error))?;
        let Some(sample) = received else {
            return Ok(None);
        };
        let header = *sample.user_header();
        let body = match header.mark()? {
            Mark::EndOfStream => ResultBody::EndOfStream,
            Mark::Data | Mark::BeginOfStream => read_body(&header, sample.payload())?,
        };
        Ok(Some(FrameResult {
            first_sequence: header.first_sequence,
            last_sequence: header.last_sequence,
            body,
        }))
    }
}

fn read_body(header: &ResultHeader, payload: &[u8]) -> Result<ResultBody, BusError> {
    let skip = SKIPS
        .into_iter()
        .find(|skip| skip_code(*skip) == header.outcome);
    match skip {
        Some(skip) => Ok(ResultBody::Skipped(skip)),
        None => findings::read(header, payload).map(ResultBody::Found),
    }
}
