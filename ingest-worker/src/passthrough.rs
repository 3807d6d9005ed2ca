//! Passthrough: the access units of the source as they came, to the render worker.
//!
//! They are dated like frames, on an axis of their own, and never wait: what the render worker
//! does not take in time is overwritten on the bus, and it counts the gap. With models or rules
//! they branch off in front of the decoder, so that a picture is on its way to viewers while it is
//! being decoded.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::clock::monotonic_ns;
use contract::name::{StreamName, WorkerId};
use contract::spec::PassthroughSpec;
use frame_bus::{Bus, BusError, PacketPublisher, PacketStamp, Waker};
use gstreamer as gst;

use crate::fault::Fault;
use crate::output::Book;
use crate::timeline::Timeline;

/// A clock that jitters may set one picture before another; so many times in a session it is the
/// coding that does.
const REORDERED_MAX: u32 = 3;

/// The way of access units out of this worker, over all its sessions. Cloning is cheap; all clones
/// are one.
#[derive(Clone)]
pub struct Passthrough {
    decoded: bool,
    way: Arc<Mutex<Way>>,
}

impl fmt::Debug for Passthrough {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passthrough")
    }
}

struct Way {
    packets: PacketPublisher,
    render: Waker,
    book: Book,
    /// Event time is that of the monotonic clock.
    clocked: bool,
    timeline: Timeline,
    /// What was published in an earlier life of this worker.
    skip: Skip,
    order: Order,
    /// The end was told: nothing comes after that.
    ended: bool,
}

/// What is left out, since it was published before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skip {
    /// All before this time of the source.
    pub(crate) before_ns: u64,
    /// And so many.
    pub(crate) units: u64,
}

impl Skip {
    fn skips(&mut self, time_ns: Option<u64>) -> bool {
        if self.units > 0 {
            self.units -= 1;
            return true;
        }
        time_ns.is_some_and(|time_ns| time_ns < self.before_ns)
    }
}

/// Whether pictures come in the order in which they are shown.
#[derive(Debug, Default)]
struct Order {
    newest_ns: Option<u64>,
    reordered: u32,
}

impl Order {
    /// # Errors
    /// When they do not.
    fn look(&mut self, time_ns: Option<u64>) -> Result<(), Fault> {
        let Some(time_ns) = time_ns else {
            return Ok(());
        };
        if self.newest_ns.is_some_and(|newest_ns| time_ns < newest_ns) {
            self.reordered += 1;
        }
        self.newest_ns = self.newest_ns.max(Some(time_ns));
        if self.reordered < REORDERED_MAX {
            return Ok(());
        }
        let what = "its pictures are coded out of order (B frames), which `passthrough` does not hand on: \
                    turn them off at the source, or remove `passthrough`, so that it is encoded";
        Err(Fault::Unusable(what.to_owned()))
    }
}

impl Passthrough {
    /// Opens what the source of `stream` sends for publishing, and goes on with the book;
    /// `incarnation` counts the worker's starts.
    ///
    /// # Errors
    /// When the bus cannot be used.
    pub fn open(
        bus: &Bus,
        stream: &StreamName,
        spec: &PassthroughSpec,
        book: Book,
        (clocked, incarnation): (bool, u32),
    ) -> Result<Self, BusError> {
        let way = Way {
            packets: PacketPublisher::open_source(bus, stream, spec.size, incarnation)?,
            render: Waker::open(bus, &WorkerId::Render(stream.clone()))?,
            book,
            clocked,
            timeline: Timeline::new(0),
            skip: Skip::default(),
            order: Order::default(),
            ended: false,
        };
        Ok(Self {
            decoded: spec.decoded,
            way: Arc::new(Mutex::new(way)),
        })
    }

    /// Frames are decoded beside.
    #[must_use]
    pub fn is_decoded(&self) -> bool {
        self.decoded
    }

    /// Event time is that of the monotonic clock.
    pub(crate) fn is_clocked(&self) -> bool {
        self.lock().clocked
    }

    /// A session is opened.
    pub(crate) fn begin_session(&self) {
        self.lock().order = Order::default();
    }

    /// The source begins again at its time 0.
    pub(crate) fn begin_again(&self) {
        let mut way = self.lock();
        way.order = Order::default();
        if !way.clocked {
            way.timeline.begin_again();
        }
    }

    /// Its time goes on there.
    pub(crate) fn go_on_at(&self, begin_ns: u64) {
        self.lock().timeline = Timeline::new(begin_ns);
    }

    /// Leaves out what was published before.
    pub(crate) fn skip(&self, skip: Skip) {
        self.lock().skip = skip;
    }

    /// The distance of two pictures.
    pub(crate) fn set_interval(&self, interval_ns: u64) {
        self.lock().timeline.set_interval(interval_ns);
    }

    /// Publishes an access unit that the source dates `time_ns`, or not at all. False when it was
    /// published before.
    ///
    /// # Errors
    /// When the source codes pictures as they cannot be handed on, or the bus has failed.
    pub(crate) fn publish(
        &self,
        sample: &gst::SampleRef,
        time_ns: Option<u64>,
    ) -> Result<bool, Fault> {
        let captured_ns = monotonic_ns();
        let Some(buffer) = sample.buffer() else {
            return Ok(false);
        };
        let way = &mut *self.lock();
        way.order.look(time_ns)?;
        if way.ended || way.skip.skips(time_ns) {
            return Ok(false);
        }
        let Ok(map) = buffer.map_readable() else {
            tracing::warn!("an access unit has no memory");
            return Ok(false);
        };
        let clock_ns = way.clocked.then_some(captured_ns);
        let stamp = PacketStamp {
            sequence_number: way.book.counters().units,
            pts_ns: way.timeline.stamp(time_ns, clock_ns),
            captured_ns,
            keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            rung: 0,
        };
        // Before it is sent: no number is ever used twice.
        way.book.update(|book| {
            book.units += 1;
            book.units_bytes += map.len() as u64;
            book.wakeups_sent += 1;
        });
        match way.packets.publish(&stamp, &map) {
            Ok(()) => way.render.wake(),
            // Its number is a gap, up to the next key frame.
            Err(error @ BusError::TooLarge { .. }) => {
                tracing::warn!("an access unit is not handed on: {error}");
            }
            Err(error) => return Err(Fault::Lost(error.to_string())),
        }
        Ok(true)
    }

    /// Tells the render worker that no more comes.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn end_of_stream(&self) -> Result<(), BusError> {
        let way = &mut *self.lock();
        way.ended = true;
        let next_sequence = way.book.counters().units;
        way.packets.end_of_stream(next_sequence)?;
        way.render.wake();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_out_of_order_are_refused_and_a_jittering_clock_is_not() {
        let mut order = Order::default();
        for time_ns in [0, 40, 30, 80, 120, 110, 160] {
            assert_eq!(order.look(Some(time_ns)), Ok(()));
        }
        assert_eq!(order.look(None), Ok(()));
        let mut order = Order::default();
        // I P B B P B B
        let looked: Result<Vec<()>, Fault> = [0, 120, 40, 80, 240, 160, 200]
            .into_iter()
            .map(|time_ns| order.look(Some(time_ns)))
            .collect();
        let Err(Fault::Unusable(text)) = looked else {
            panic!("{looked:?}");
        };
        assert!(text.contains("B frames"), "{text}");
    }

    #[test]
    fn what_was_published_before_is_left_out() {
        let mut skip = Skip {
            before_ns: 100,
            units: 0,
        };
        assert!(skip.skips(Some(99)) && !skip.skips(Some(100)) && !skip.skips(None));
        skip = Skip {
            before_ns: 0,
            units: 2,
        };
        let skipped: Vec<_> = (0..3).map(|_| skip.skips(Some(0))).collect();
        assert_eq!(skipped, [true, true, false]);
    }
}
