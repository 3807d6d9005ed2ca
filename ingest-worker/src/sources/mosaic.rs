//! A mosaic: the tiles of other streams, in one picture, at a fixed rate.
//!
//! A thread that each session starts anew looks at every member so often as there are pictures,
//! takes its newest tile and pushes the whole into the pipeline. It waits for nobody: a member
//! that is slow, dead or not there yet has a tile without a picture.
//!
//! When the mosaic ends nobody says here: the supervisor lets its worker drain when all members are
//! over, as it does with everybody who has no source any more.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::clock::monotonic_ns;
use contract::ledger::MosaicCounters;
use contract::name::StreamName;
use contract::spec::{MosaicMemberSpec, MosaicSpec};
use frame_bus::{Arrivals, BookWriter, Bus, BusError, IncomingTile, Tile, TileSubscriber};
use gstreamer as gst;
use gstreamer::glib::WeakRef;
use gstreamer::prelude::*;
use gstreamer_app::{AppLeakyType, AppSrc, AppStreamType};

use super::{Site, unlinked};
use crate::canvas::Canvas;
use crate::conversion::{Conversion, caps_of};
use crate::fault::Fault;
use crate::pipeline::{Shared, internal, lock};
use crate::reference;

/// Tiles of one member that are taken at one look: more than the bus keeps of it and of a dead self.
const TAKEN_MAX: usize = 8;

/// The members of a mosaic, over all sessions of this worker. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub struct Tiles {
    wall: Arc<Mutex<Wall>>,
    /// Counts the sessions; the thread of an earlier one ends.
    sessions: Arc<AtomicU64>,
}

impl fmt::Debug for Tiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tiles")
    }
}

impl Tiles {
    /// Subscribes to the members of the mosaic `stream` and goes on with their books;
    /// `incarnation` counts the worker's starts.
    ///
    /// # Errors
    /// When the bus or a book cannot be used, or the picture has no room for all.
    pub fn open(
        bus: &Bus,
        stream: &StreamName,
        spec: &MosaicSpec,
        incarnation: u32,
    ) -> Result<Self, String> {
        let wall = Wall::open(bus, stream, spec, incarnation)?;
        Ok(Self {
            wall: Arc::new(Mutex::new(wall)),
            sessions: Arc::default(),
        })
    }

    fn wall(&self) -> MutexGuard<'_, Wall> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a picture at each tick, until the session is over.
    fn feed(&self, session: u64, source: &WeakRef<AppSrc>) -> Result<(), BusError> {
        let clock = gst::SystemClock::obtain();
        let mut wall = self.wall();
        let mut ticks = Ticks::new(monotonic_ns(), wall.interval_ns);
        while self.sessions.load(Ordering::Acquire) == session {
            let until = gst::ClockTime::from_nseconds(ticks.next_ns);
            // Nothing unschedules it: it returns when the time has come.
            let _ = clock.new_single_shot_id(until).wait();
            let Some(open) = source.upgrade() else { break };
            let now_ns = monotonic_ns();
            let tick_ns = ticks.take(now_ns);
            wall.look(now_ns)?;
            // Before the pipeline plays it has no time, and nobody is shown anything.
            if let Some(base) = open
                .base_time()
                .filter(|_| open.current_clock_time().is_some())
            {
                let mut buffer = wall.picture(now_ns);
                if let Some(buffer) = buffer.get_mut() {
                    let tick = gst::ClockTime::from_nseconds(tick_ns);
                    buffer.set_pts(tick.saturating_sub(base));
                }
                if open.push_buffer(buffer).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Adds a source that gives the pictures of `tiles`.
pub(super) fn add(
    site: &Site<'_>,
    conversion: &Conversion,
    spec: &MosaicSpec,
    tiles: &Tiles,
) -> Result<(), Fault> {
    let mut caps = caps_of(spec.size);
    let rate = i32::try_from(spec.fps).unwrap_or(i32::MAX).max(1);
    let fields = caps.make_mut();
    fields.set("framerate", gst::Fraction::new(rate, 1));
    // As all tiles are.
    fields.set("colorimetry", "bt709");
    let source = AppSrc::builder()
        .caps(&caps)
        .format(gst::Format::Time)
        .stream_type(AppStreamType::Stream)
        .is_live(true)
        .block(false)
        // A pipeline that is behind gets the newest.
        .max_buffers(1)
        .leaky_type(AppLeakyType::Downstream)
        .build();
    site.pipeline.add(&source).map_err(|_| unlinked())?;
    let pad = source.static_pad("src");
    conversion.link(&pad.ok_or_else(|| internal("appsrc has no pad"))?)?;
    let session = tiles.sessions.fetch_add(1, Ordering::AcqRel) + 1;
    let (tiles, found) = (tiles.clone(), Shared::clone(site.findings));
    let source = source.downgrade();
    let feed = move || {
        if let Err(error) = tiles.feed(session, &source) {
            lock(&found).fault = Some(Fault::Lost(error.to_string()));
        }
    };
    std::thread::Builder::new()
        .name("mosaic".to_owned())
        .spawn(feed)
        .map(drop)
        .map_err(|error| internal(&format!("the thread of a mosaic does not start: {error}")))
}

/// When pictures are due: evenly, and none is made up for.
#[derive(Debug)]
struct Ticks {
    interval_ns: u64,
    next_ns: u64,
}

impl Ticks {
    fn new(now_ns: u64, interval_ns: u64) -> Self {
        Self {
            interval_ns,
            next_ns: now_ns,
        }
    }

    /// The time of the picture that is due at `now_ns`: where some were missed, of the newest.
    fn take(&mut self, now_ns: u64) -> u64 {
        let missed = now_ns.saturating_sub(self.next_ns) / self.interval_ns;
        let tick_ns = self.next_ns + missed * self.interval_ns;
        self.next_ns = tick_ns + self.interval_ns;
        tick_ns
    }
}

/// All members, and the picture they are in.
struct Wall {
    members: Vec<Member>,
    canvas: Canvas,
    interval_ns: u64,
    stale_after_ns: u64,
}

impl Wall {
    fn open(
        bus: &Bus,
        stream: &StreamName,
        spec: &MosaicSpec,
        incarnation: u32,
    ) -> Result<Self, String> {
        let grid = spec.grid();
        let grid = grid.ok_or_else(|| format!("{} has no room for its tiles", spec.size))?;
        let open = |member: &MosaicMemberSpec| {
            let book: BookWriter<MosaicCounters> = BookWriter::open(&member.book)?;
            Ok(Member {
                stream: member.stream.clone(),
                subscriber: TileSubscriber::open(bus, stream, &member.stream)?,
                arrivals: Arrivals::new(book.counters().next_sequence, incarnation),
                book,
                shown_ns: None,
            })
        };
        let members = spec.members.iter().map(open);
        let members: Result<_, BusError> = members.collect();
        let mut canvas = Canvas::new(spec.size, grid);
        for index in 0..spec.members.len() {
            canvas.empty(index);
        }
        Ok(Self {
            members: members.map_err(|error| error.to_string())?,
            canvas,
            interval_ns: 1_000_000_000 / u64::from(spec.fps.max(1)),
            stale_after_ns: spec.stale_after_ms.saturating_mul(1_000_000),
        })
    }

    /// Takes what the members have given, and empties the tiles of those who give no more.
    fn look(&mut self, now_ns: u64) -> Result<(), BusError> {
        for (index, member) in self.members.iter_mut().enumerate() {
            let is_fresh =
                |captured_ns: u64| now_ns.saturating_sub(captured_ns) <= self.stale_after_ns;
            if let Some(tile) = member.newest(is_fresh, |tile| self.canvas.holds(tile.layout()))? {
                self.canvas.place(index, tile.layout(), tile.payload());
                member.shown_ns = Some(tile.stamp().captured_ns);
            }
            if member
                .shown_ns
                .is_some_and(|captured_ns| !is_fresh(captured_ns))
            {
                member.shown_ns = None;
                self.canvas.empty(index);
            }
            member.book.tick();
        }
        Ok(())
    }

    /// The picture of now, with the time at which the newest picture in it was captured.
    fn picture(&self, now_ns: u64) -> gst::Buffer {
        let captured_ns = self
            .members
            .iter()
            .filter_map(|member| member.shown_ns)
            .max();
        let mut buffer = gst::Buffer::from_mut_slice(self.canvas.bytes().to_vec());
        if let Some(buffer) = buffer.get_mut() {
            reference::set_captured(buffer, captured_ns.unwrap_or(now_ns));
        }
        buffer
    }
}

/// A stream that is in the mosaic.
struct Member {
    stream: StreamName,
    subscriber: TileSubscriber,
    arrivals: Arrivals,
    book: BookWriter<MosaicCounters>,
    /// When the picture in its tile was captured; `None`: the tile is empty.
    shown_ns: Option<u64>,
}

impl Member {
    /// The newest tile that has come, if it `is_fresh` and `fits`. Each that has come is in the book.
    fn newest(
        &mut self,
        is_fresh: impl Fn(u64) -> bool,
        fits: impl Fn(&Tile) -> bool,
    ) -> Result<Option<Tile>, BusError> {
        let mut newest: Option<Tile> = None;
        let mut counted = self.book.counters().clone();
        for _ in 0..TAKEN_MAX {
            let Some(incoming) = self.subscriber.receive()? else {
                break;
            };
            let (sequence_number, epoch) = match &incoming {
                IncomingTile::Tile(tile) => (tile.stamp().sequence_number, tile.epoch()),
                IncomingTile::Invalid {
                    sequence_number,
                    epoch,
                    ..
                } => (*sequence_number, *epoch),
            };
            let arrival = self.arrivals.arrive(sequence_number, epoch);
            if !arrival.fresh {
                continue;
            }
            counted.next_sequence = self.arrivals.next_sequence();
            counted.received += 1;
            counted.overflowed += arrival.overflowed;
            counted.passed_over += arrival.lost;
            match incoming {
                IncomingTile::Tile(tile) if !fits(&tile) => {
                    let (member, size) = (&self.stream, tile.layout().size);
                    tracing::debug!(%member, %size, "a tile is larger than its place");
                    counted.invalid += 1;
                }
                IncomingTile::Tile(tile) => {
                    counted.overtaken += u64::from(newest.is_some());
                    newest = Some(tile);
                }
                IncomingTile::Invalid { reason, .. } => {
                    tracing::warn!(member = %self.stream, %reason, "a tile is not used");
                    counted.invalid += 1;
                }
            }
        }
        let newest = match newest {
            Some(tile) if is_fresh(tile.stamp().captured_ns) => {
                counted.shown += 1;
                Some(tile)
            }
            Some(_) => {
                counted.stale += 1;
                None
            }
            None => None,
        };
        self.book.update(|book| *book = counted);
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_even_and_missed_ones_are_left_out() {
        let mut ticks = Ticks::new(1000, 100);
        assert_eq!(ticks.take(1003), 1000);
        assert_eq!(ticks.next_ns, 1100);
        assert_eq!(ticks.take(1101), 1100);
        // It was late by three and a half.
        assert_eq!(ticks.take(1550), 1500);
        assert_eq!(ticks.next_ns, 1600);
    }
}
