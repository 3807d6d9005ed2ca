//! What a model says of each frame, to the one render worker that waits for it.

use contract::detection::{DETECTIONS_MAX, Detection, LANDMARKS_MAX, Landmarks, Skip};
use contract::geometry::BoundingBox;
use contract::name::ModelName;
use contract::spec::FrameServiceSpec;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::bus::{Bus, BytesService, Service, ServiceShape};
use crate::error::BusError;
use crate::header::{Mark, ResultHeader};

/// Results queued for the render worker; more than it can hold frames, so that one
/// that overflows speaks only of frames that have gone on without it.
pub(crate) const RESULTS_DEPTH: usize = 64;

/// One detection as it lies in shared memory.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RawDetection {
    edges: [f32; 4],
    score: f32,
    class: u16,
    landmark_count: u16,
    /// Those from `landmark_count` on mean nothing.
    landmarks: [[f32; 2]; LANDMARKS_MAX],
}

/// Bytes of the largest result.
pub(crate) const RESULT_BYTES_MAX: usize = DETECTIONS_MAX * size_of::<RawDetection>();

const OUTCOME_DETECTIONS: u32 = 0;
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
            held: 1,
            // The second is a restarted render worker whose dead self is not cleaned up yet.
            subscribers: 2,
        },
    )
}

/// What a model says of one frame, or why it says nothing of some.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The model ran; at most [`DETECTIONS_MAX`] are sent.
    Detections(&'a [Detection]),
    /// It did not.
    Skipped(Skip),
}

/// The model's side.
#[derive(Debug)]
pub struct ResultPublisher {
    port: Publisher<Service, [u8], ResultHeader>,
}

impl ResultPublisher {
    /// Opens the results of `model` on `frames` for publishing.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub fn open(bus: &Bus, frames: &FrameServiceSpec, model: &ModelName) -> Result<Self, BusError> {
        let port = open_service(bus, frames, model)?
            .publisher_builder()
            .initial_max_slice_len(RESULT_BYTES_MAX)
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

    /// Publishes what is known of the frames `first_sequence..=last_sequence`;
    /// detections are of one frame, so then both are the same.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn publish(
        &self,
        first_sequence: u64,
        last_sequence: u64,
        outcome: Outcome<'_>,
    ) -> Result<(), BusError> {
        let (code, detections) = match outcome {
            Outcome::Detections(detections) => {
                let count = detections.len().min(DETECTIONS_MAX);
                (OUTCOME_DETECTIONS, &detections[..count])
            }
            Outcome::Skipped(skip) => (skip_code(skip), &[][..]),
        };
        let count = u32::try_from(detections.len()).unwrap_or(0);
        let header = ResultHeader::new(first_sequence, last_sequence, code, count);
        self.send(header, detections)
    }

    /// Says that no result comes after this one.
    ///
    /// # Errors
    /// When the port is broken.
    pub fn end_of_stream(&self, next_sequence: u64) -> Result<(), BusError> {
        self.send(ResultHeader::end_of_stream(next_sequence), &[])
    }

    fn send(&self, header: ResultHeader, detections: &[Detection]) -> Result<(), BusError> {
        const ROW: usize = size_of::<RawDetection>();
        let bytes = (detections.len() * ROW).max(1);
        let mut sample = self
            .port
            .loan_slice(bytes)
            .map_err(|error| BusError::port("loan a result", &error))?;
        *sample.user_header_mut() = header;
        let rows = sample.payload_mut().chunks_exact_mut(ROW);
        for (row, detection) in rows.zip(detections) {
            let bounds = detection.bounds;
            let points = detection.landmarks.points();
            let mut landmarks = [[0.0; 2]; LANDMARKS_MAX];
            landmarks[..points.len()].copy_from_slice(points);
            row.copy_from_slice(bytemuck::bytes_of(&RawDetection {
                edges: [bounds.x1, bounds.y1, bounds.x2, bounds.y2],
                score: detection.score,
                class: detection.class,
                landmark_count: detection.landmarks.count().into(),
                landmarks,
            }));
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
    Detections(Vec<Detection>),
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
    let wrong = |what, value: u32| BusError::Invalid {
        what,
        value: value.into(),
    };
    if header.outcome != OUTCOME_DETECTIONS {
        return SKIPS
            .into_iter()
            .find(|skip| skip_code(*skip) == header.outcome)
            .map(ResultBody::Skipped)
            .ok_or_else(|| wrong("the outcome of a result", header.outcome));
    }
    let count = header.detections as usize;
    if header.first_sequence != header.last_sequence || count > DETECTIONS_MAX {
        return Err(wrong("the detection count of a result", header.detections));
    }
    let rows = payload
        .get(..count * size_of::<RawDetection>())
        .ok_or_else(|| wrong("the payload length of a result", header.detections))?;
    rows.chunks_exact(size_of::<RawDetection>())
        .map(|row| {
            let raw: RawDetection = bytemuck::pod_read_unaligned(row);
            let [x1, y1, x2, y2] = raw.edges;
            let points = raw.landmarks.get(..raw.landmark_count.into());
            let landmarks = points.and_then(Landmarks::new);
            let detection = Detection {
                bounds: BoundingBox { x1, y1, x2, y2 },
                score: raw.score,
                class: raw.class,
                landmarks: landmarks.filter(Landmarks::is_valid).ok_or_else(|| {
                    wrong("the landmarks of a detection", raw.landmark_count.into())
                })?,
            };
            if !detection.bounds.is_valid() || !(0.0..=1.0).contains(&detection.score) {
                return Err(wrong("a detection", raw.class.into()));
            }
            Ok(detection)
        })
        .collect::<Result<_, _>>()
        .map(ResultBody::Detections)
}
