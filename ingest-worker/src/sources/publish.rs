//! What a sender publishes at the gateway, in chunks from the bus: an MPEG transport stream, or
//! access units. Which, its first chunk says, before anything is decoded.
//!
//! Chunks are taken by a thread that each session starts anew. It does not take more than the
//! demultiplexer asks for: what waits, waits on the bus, where the oldest is overwritten, and the
//! gap is counted. A session ends with its sender; the mark of the next sender's coming is left to
//! the session after it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::name::{StreamName, WorkerId};
use frame_bus::{
    Arrivals, Bus, BusError, Chunk, ChunkContents, ChunkStamp, ChunkSubscriber, IncomingChunk,
};
use gstreamer as gst;
use gstreamer::glib::WeakRef;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::units::Units;
use super::{Site, decode, transport_stream};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::output::Book;
use crate::pipeline::{Shared, internal, lock};

/// Most bytes that wait in front of the demultiplexer: a second of 8 Mbit/s. When a decoder is
/// that far behind, the rest is better left on the bus, which keeps the newest.
const WAITING_BYTES_MAX: u64 = 1 << 20;

/// What was sent so long before its session began keeps its own time. The gateway holds no more of
/// a sender whose stream is to come.
const LEAD: Duration = Duration::from_secs(30);

/// How often it is looked whether the session is still there, or has room again.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What senders publish, over all sessions of this worker. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct Intake {
    queue: Arc<Mutex<Queue>>,
    /// Counts the sessions; the thread of an earlier one ends.
    sessions: Arc<AtomicU64>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Intake")
    }
}

struct Queue {
    subscriber: ChunkSubscriber,
    listener: frame_bus::Listener,
    arrivals: Arrivals,
    book: Book,
    /// A sender has come, and its session is to begin.
    announced: Option<ChunkStamp>,
}

/// What is to be done for the session that is open.
enum Next {
    /// A sender has come.
    Begin(ChunkStamp),
    /// It has sent this; `gap`: and something before it that is missing.
    Data { chunk: Chunk, gap: bool },
    /// It has gone.
    End,
    /// Nothing is queued.
    Nothing,
}

impl Intake {
    /// Subscribes to what is published to `stream` and goes on with the `book`; `incarnation`
    /// counts the worker's starts.
    ///
    /// # Errors
    /// When the bus cannot be used.
    pub fn open(
        bus: &Bus,
        stream: &StreamName,
        book: Book,
        incarnation: u32,
    ) -> Result<Self, BusError> {
        let queue = Queue {
            subscriber: ChunkSubscriber::open(bus, stream)?,
            listener: frame_bus::Listener::open(bus, &WorkerId::Ingest(stream.clone()))?,
            arrivals: Arrivals::new(book.counters().chunks_next, incarnation),
            book,
            announced: None,
        };
        Ok(Self {
            queue: Arc::new(Mutex::new(queue)),
            sessions: Arc::default(),
        })
    }

    /// Hands what comes to `source`, until the sender goes or the session is over.
    fn feed(&self, session: u64, source: &WeakRef<AppSrc>) -> Result<(), BusError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sender = queue.announced.take();
        let mut feed = Feed::default();
        while self.sessions.load(Ordering::Acquire) == session
            && let Some(open) = source.upgrade()
        {
            if open.current_level_bytes() >= WAITING_BYTES_MAX {
                drop(open);
                queue.listener.wait(LOOK_INTERVAL)?;
                continue;
            }
            match queue.next()? {
                Next::Data { chunk, gap } => {
                    // One who joins in the middle has not seen it come.
                    let known = sender.get_or_insert(*chunk.stamp());
                    if known.session != chunk.stamp().session {
                        // The marks between the two were lost.
                        queue.announced = Some(*chunk.stamp());
                        end(&open);
                        break;
                    }
                    let buffer = feed.take(&open, &chunk, gap);
                    if buffer.is_some_and(|buffer| open.push_buffer(buffer).is_err()) {
                        break;
                    }
                }
                Next::Begin(stamp) if sender.is_none() => sender = Some(stamp),
                Next::Begin(stamp) => {
                    // The end of the one before was lost, with the gateway that saw it.
                    queue.announced = Some(stamp);
                    end(&open);
                    break;
                }
                Next::End if sender.is_some() => {
                    end(&open);
                    break;
                }
                Next::End => {}
                Next::Nothing => {
                    drop(open);
                    queue.listener.wait(LOOK_INTERVAL)?;
                }
            }
        }
        Ok(())
    }
}

impl Queue {
    /// Takes what is queued, and counts it.
    fn next(&mut self) -> Result<Next, BusError> {
        while let Some(incoming) = self.subscriber.receive()? {
            let (stamp, epoch) = match &incoming {
                IncomingChunk::Begin { stamp, epoch } | IncomingChunk::End { stamp, epoch } => {
                    (*stamp, *epoch)
                }
                IncomingChunk::Data(chunk) => (*chunk.stamp(), chunk.epoch()),
                IncomingChunk::Invalid { reason } => {
                    tracing::warn!(%reason, "a chunk is passed over");
                    continue;
                }
            };
            let arrival = self.arrivals.arrive(stamp.sequence_number, epoch);
            // The newest chunks come again to one who subscribes again.
            if !arrival.fresh {
                continue;
            }
            self.book.update(|book| {
                book.chunks_next = self.arrivals.next_sequence();
                book.chunks_received += 1;
                book.chunks_overflowed += arrival.overflowed;
                book.chunks_passed_over += arrival.lost;
            });
            return Ok(match incoming {
                IncomingChunk::Begin { stamp, .. } => Next::Begin(stamp),
                IncomingChunk::Data(chunk) => Next::Data {
                    chunk,
                    gap: arrival.overflowed + arrival.lost > 0,
                },
                IncomingChunk::End { .. } | IncomingChunk::Invalid { .. } => Next::End,
            });
        }
        Ok(Next::Nothing)
    }
}

/// Adds a source that gives what `intake` takes.
pub(super) fn add(site: &Site<'_>, conversion: Conversion, intake: &Intake) -> Result<(), Fault> {
    let source = AppSrc::builder()
        .format(gst::Format::Time)
        .is_live(true)
        .build();
    decode(site, conversion, source.upcast_ref())?;
    // Times before the pipeline's own beginning would all be 0, so that is put before them.
    let lead_ns = u64::try_from(LEAD.as_nanos()).unwrap_or(u64::MAX);
    let begin_ns = monotonic_ns().saturating_sub(lead_ns);
    site.pipeline.set_start_time(gst::ClockTime::NONE);
    site.pipeline
        .set_base_time(gst::ClockTime::from_nseconds(begin_ns));
    let session = intake.sessions.fetch_add(1, Ordering::AcqRel) + 1;
    let (intake, found, source) = (
        intake.clone(),
        Shared::clone(site.findings),
        source.downgrade(),
    );
    let feed = move || {
        if let Err(error) = intake.feed(session, &source) {
            lock(&found).fault = Some(Fault::Lost(error.to_string()));
        }
    };
    std::thread::Builder::new()
        .name("intake".to_owned())
        .spawn(feed)
        .map(drop)
        .map_err(|error| internal(&format!("the thread of an intake does not start: {error}")))
}

/// From the chunks of one sender to buffers.
#[derive(Default)]
struct Feed {
    /// It has been said what they are.
    told: bool,
    units: Units,
}

impl Feed {
    /// What a chunk gives to decode: a piece of a transport stream dated by its arrival, or the
    /// access unit that it ends. The pipeline has the clock of chunks.
    fn take(&mut self, source: &AppSrc, chunk: &Chunk, gap: bool) -> Option<gst::Buffer> {
        let contents = chunk.contents();
        if !self.told {
            self.told = true;
            source.set_caps(Some(&caps(contents)));
        }
        match contents {
            ChunkContents::TransportStream => {
                let arrived_ns = chunk.stamp().arrived_ns;
                Some(buffer(source, chunk.data().to_vec(), arrived_ns, gap))
            }
            ChunkContents::Unit(part) => {
                let unit = self.units.take(part, chunk.data(), gap)?;
                let mut buffer = buffer(source, unit.data, unit.pts_ns, unit.gap);
                if let (false, Some(buffer)) = (unit.keyframe, buffer.get_mut()) {
                    buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
                }
                Some(buffer)
            }
        }
    }
}

fn caps(contents: ChunkContents) -> gst::Caps {
    match contents {
        ChunkContents::TransportStream => transport_stream(),
        ChunkContents::Unit(_) => gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build(),
    }
}

fn buffer(source: &AppSrc, data: Vec<u8>, time_ns: u64, gap: bool) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(data);
    let time = gst::ClockTime::from_nseconds(time_ns);
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(source.base_time().map(|base| time.saturating_sub(base)));
        if gap {
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
    }
    buffer
}

fn end(source: &AppSrc) {
    if let Err(error) = source.end_of_stream() {
        tracing::debug!(?error, "the session is over already");
    }
}
