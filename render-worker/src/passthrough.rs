//! Passthrough: the source's own access units, from the bus to what takes those of an encoder.
//!
//! What follows a gap refers to pictures that are missing, so all up to the next key frame is
//! passed over, and counted. Viewers and files are then given what can be decoded, and need not
//! know of the gap.

use contract::clock::{monotonic_ns, wall_ms};
use contract::ledger::RenderCounters;
use contract::name::StreamName;
use frame_bus::{Arrivals, Bus, BusError, IncomingPacket, Packet, PacketSubscriber};
use gstreamer as gst;

use crate::encode::AccessUnit;
use crate::output::PictureInfo;
use crate::shared::{SharedBook, lock};
use crate::video::Video;

/// What comes from the source of one stream.
#[derive(Debug)]
pub(crate) struct Passthrough {
    packets: PacketSubscriber,
    arrivals: Arrivals,
    /// The next unit follows the last one that was handed on.
    unbroken: bool,
    /// Which start of the ingest worker it comes from.
    epoch: Option<u32>,
    book: SharedBook,
}

/// What the next access unit does to the book.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    next_sequence: u64,
    overflowed: u64,
    lost: u64,
}

impl Arrived {
    fn count(self, counters: &mut RenderCounters) {
        counters.units_next = self.next_sequence;
        counters.units_received += 1;
        counters.units_overflowed += self.overflowed;
        counters.units_lost += self.lost;
    }
}

impl Passthrough {
    /// Opens what the source of `stream` sends, and goes on with the book; `incarnation` counts
    /// the worker's starts.
    ///
    /// # Errors
    /// When the service cannot be opened.
    pub(crate) fn open(
        bus: &Bus,
        stream: &StreamName,
        book: SharedBook,
        incarnation: u32,
    ) -> Result<Self, BusError> {
        let next_sequence = lock(&book).counters().units_next;
        Ok(Self {
            packets: PacketSubscriber::open_source(bus, stream)?,
            arrivals: Arrivals::new(next_sequence, incarnation),
            unbroken: false,
            epoch: None,
            book,
        })
    }

    /// Hands on all that has come. True when something has.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn hand_on(&mut self, video: &mut Video) -> Result<bool, BusError> {
        let mut any = false;
        while let Some(incoming) = self.packets.receive()? {
            any = true;
            match incoming {
                IncomingPacket::Packet(packet) => self.take(&packet, video),
                IncomingPacket::EndOfStream {
                    next_sequence,
                    epoch,
                } => self.end(next_sequence, epoch),
                IncomingPacket::Invalid { reason } => {
                    // Its number shows as a gap.
                    tracing::warn!(%reason, "an access unit is passed over");
                }
            }
        }
        Ok(any)
    }

    fn take(&mut self, packet: &Packet, video: &mut Video) {
        let stamp = packet.stamp();
        let arrival = self.arrivals.arrive(stamp.sequence_number, packet.epoch());
        if !arrival.fresh {
            return;
        }
        let arrived = Arrived {
            next_sequence: self.arrivals.next_sequence(),
            overflowed: arrival.overflowed,
            lost: arrival.lost,
        };
        // Another process has opened the source anew, wherever that is.
        let same = self.epoch.replace(packet.epoch()) == Some(packet.epoch());
        self.unbroken &= same && arrival.overflowed + arrival.lost == 0;
        self.unbroken |= stamp.keyframe;
        if !self.unbroken {
            lock(&self.book).update(|counters| {
                arrived.count(counters);
                counters.units_resync += 1;
            });
            return;
        }
        let age_ms = monotonic_ns().saturating_sub(stamp.captured_ns) / 1_000_000;
        let wall_ms = wall_ms().saturating_sub_unsigned(age_ms);
        let placed = video.place_at(stamp.pts_ns, stamp.captured_ns, false, wall_ms);
        let unit = access_unit(packet, &placed);
        video.output().pass(unit, placed, |counters| {
            arrived.count(counters);
            counters.units_passed += 1;
        });
    }

    fn end(&mut self, next_sequence: u64, epoch: u32) {
        let end = self.arrivals.end(next_sequence, epoch);
        let next_sequence = self.arrivals.next_sequence();
        lock(&self.book).update(|counters| {
            counters.units_next = next_sequence;
            counters.units_overflowed += end.overflowed;
            counters.units_lost += end.lost;
        });
    }
}

/// The one copy on the way from the source to files and viewers that is not one into a slot.
fn access_unit(packet: &Packet, placed: &PictureInfo) -> AccessUnit {
    let mut buffer = gst::Buffer::from_slice(packet.data().to_vec());
    if let Some(buffer) = buffer.get_mut() {
        let time = gst::ClockTime::from_nseconds(placed.pts_ns);
        buffer.set_pts(time);
        // Pictures are in the order in which they are shown: the ingest worker sees to it.
        buffer.set_dts(time);
    }
    AccessUnit {
        buffer,
        pts_ns: placed.pts_ns,
        keyframe: packet.stamp().keyframe,
        rung: 0,
    }
}
