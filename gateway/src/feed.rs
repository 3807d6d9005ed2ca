//! One stream: from the bus to the media of its mount.

use std::path::Path;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::ledger::{Counters, GatewayCounters};
use contract::name::StreamName;
use frame_bus::{Arrivals, BookWriter, Bus, BusError, IncomingPacket, Packet, PacketSubscriber};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use crate::gop::{AccessUnit, Gop};
use crate::server::Mount;
use crate::timeline::Timeline;

/// Access units taken in one turn, so that a quick stream does not starve the others.
const UNITS_PER_TURN_MAX: usize = 32;

/// Turns to hand over what is left when a stream is served no more; its producer may go on.
const LAST_TURNS_MAX: usize = 4;

/// Media time queued before the payloader; more means that no viewer takes anything.
const QUEUE_TIME_MAX: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Bytes queued before the payloader: two groups of pictures of the largest size.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// Who asks for a stream waits so long for its key frame. The server library would wait 20 s.
const KEY_FRAME_WAIT_MAX: Duration = Duration::from_secs(10);

/// From the end of a stream to that of its media: a producer started anew gets its viewers back.
const END_GRACE: Duration = Duration::from_secs(1);

/// One stream: from the bus to the media of its mount.
pub(crate) struct Feed {
    stream: StreamName,
    subscriber: PacketSubscriber,
    book: BookWriter<GatewayCounters>,
    arrivals: Arrivals,
    gop: Gop,
    mount: Mount,
    output: Option<Output>,
    ended_at: Option<Instant>,
    /// `viewers_total` of this gateway's earlier lives.
    viewers_before: u64,
}

/// What is known of the media that is fed.
struct Output {
    source: AppSrc,
    playing: bool,
    timeline: Timeline,
    opened_at: Instant,
    /// Number of the last access unit handed over.
    last_sequence: Option<u64>,
    /// Everything since a key frame was handed over, so that the next access unit can be decoded.
    linked: bool,
    /// The queue was full when it was last looked at.
    stalled: bool,
}

/// The ways an access unit can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Forwarded,
    Unwatched,
    Resync,
    Slow,
}

impl Feed {
    /// Subscribes to a stream and goes on with its book. Viewers find it once its mount is
    /// open: [`Feed::show`].
    pub(crate) fn open(
        bus: &Bus,
        stream: &StreamName,
        book: &Path,
        incarnation: u32,
        mount: Mount,
    ) -> Result<Self, BusError> {
        let book = BookWriter::<GatewayCounters>::open(book)?;
        Ok(Self {
            stream: stream.clone(),
            subscriber: PacketSubscriber::open(bus, stream)?,
            arrivals: Arrivals::new(book.counters().next_sequence, incarnation),
            viewers_before: book.counters().viewers_total,
            book,
            gop: Gop::default(),
            mount,
            output: None,
            ended_at: None,
        })
    }

    /// Which stream it is.
    pub(crate) fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Opens the mount.
    pub(crate) fn show(&self) {
        self.mount.open();
    }

    /// Hands over what has come, then closes the mount: who watches is sent home.
    pub(crate) fn retire(&mut self) -> Result<(), BusError> {
        for _ in 0..LAST_TURNS_MAX {
            if !self.turn()? {
                break;
            }
        }
        let waits = |output: &Output| output.last_sequence.is_none();
        if self.output.as_ref().is_some_and(waits) {
            // Nobody plays it yet: a DESCRIBE waits for the first key frame.
            let stream = &self.stream;
            self.mount
                .refuse_media(&format!("stream {stream} is not served any more"));
        }
        self.mount.close();
        self.output = None;
        Ok(())
    }

    /// Goes on at another mount, after [`Feed::retire`].
    pub(crate) fn move_to(&mut self, mount: Mount) {
        self.count_viewers();
        self.viewers_before = self.book.counters().viewers_total;
        self.mount = mount;
        self.count_viewers();
        self.show();
    }

    /// Takes what has come and hands it over; says whether there may be more.
    pub(crate) fn turn(&mut self) -> Result<bool, BusError> {
        self.follow_media();
        let mut taken = 0;
        while taken < UNITS_PER_TURN_MAX
            && let Some(incoming) = self.subscriber.receive()?
        {
            taken += 1;
            match incoming {
                IncomingPacket::Packet(packet) => self.take(&packet),
                IncomingPacket::EndOfStream {
                    next_sequence,
                    epoch,
                } => self.end(next_sequence, epoch),
                IncomingPacket::Invalid { reason } => {
                    tracing::warn!(stream = %self.stream, %reason, "an access unit is passed over");
                    self.unlink();
                }
            }
        }
        self.keep_time();
        self.count_viewers();
        self.book.tick();
        Ok(taken == UNITS_PER_TURN_MAX)
    }

    /// The producer has ended and no other has come since.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Sends the viewers home.
    pub(crate) fn close(&mut self) {
        self.mount.end_media();
        self.output = None;
    }

    fn take(&mut self, packet: &Packet) {
        let stamp = packet.stamp();
        let arrival = self.arrivals.arrive(stamp.sequence_number, packet.epoch());
        if !arrival.fresh {
            return;
        }
        self.ended_at = None;
        // In flight from here on: were this process killed now, it would count as lost.
        self.book.update(|counters| {
            counters.next_sequence = self.arrivals.next_sequence();
            counters.received += 1;
            counters.overflowed += arrival.overflowed;
            counters.lost_in_transit += arrival.lost;
        });
        if arrival.overflowed + arrival.lost > 0 {
            self.unlink();
        }
        let unit = AccessUnit {
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            // The only copy: the media and the group of pictures share it.
            data: gst::Buffer::from_mut_slice(packet.data().to_vec()),
        };
        self.gop.add(unit.clone(), stamp.keyframe);
        let fate = self.hand_over(&unit);
        self.book.update(|counters| match fate {
            Fate::Forwarded => counters.forwarded += 1,
            Fate::Unwatched => counters.unwatched += 1,
            Fate::Resync => counters.dropped_resync += 1,
            Fate::Slow => counters.dropped_slow += 1,
        });
        let latency_ns = monotonic_ns().saturating_sub(stamp.captured_ns);
        self.book.record_latency_us(latency_ns / 1000);
    }

    fn end(&mut self, next_sequence: u64, epoch: u32) {
        let arrival = self.arrivals.end(next_sequence, epoch);
        if arrival.fresh {
            self.book.update(|counters| {
                counters.next_sequence = self.arrivals.next_sequence();
                counters.overflowed += arrival.overflowed;
                counters.lost_in_transit += arrival.lost;
            });
        }
        self.unlink();
        self.ended_at.get_or_insert_with(Instant::now);
    }

    /// Whatever comes next does not continue what was before.
    fn unlink(&mut self) {
        self.gop.clear();
        if let Some(output) = &mut self.output {
            output.linked = false;
        }
    }

    fn hand_over(&mut self, unit: &AccessUnit) -> Fate {
        let Some(output) = self.output.as_mut().filter(|output| output.playing) else {
            return Fate::Unwatched;
        };
        let room = output.has_room();
        if output.stalled == room {
            output.stalled = !room;
            if room {
                self.mount.show_media();
            } else {
                tracing::warn!(stream = %self.stream, "no viewer takes anything");
                self.mount.hide_media();
            }
        }
        if !room {
            // A new viewer begins with the next key frame too: what comes until then is not whole.
            self.unlink();
            return Fate::Slow;
        }
        if output.linked {
            output.push_live(unit);
        } else if self.gop.units().is_empty() {
            return Fate::Resync;
        } else {
            output.push_group(&self.gop);
        }
        Fate::Forwarded
    }

    /// Sees which media there is, and begins it as soon as there is something to begin with.
    fn follow_media(&mut self) {
        let Some(media) = self.mount.media() else {
            self.output = None;
            return;
        };
        let known = self
            .output
            .take()
            .filter(|output| output.source == media.source);
        let mut output = known.unwrap_or_else(|| Output::new(media.source));
        output.playing = media.playing;
        output.linked &= media.playing;
        if output.playing && !output.linked {
            output.push_group(&self.gop);
        } else if output.last_sequence.is_none()
            && let Some(key_frame) = self.gop.units().first()
        {
            output.push_late(key_frame);
        }
        self.output = Some(output);
    }

    /// What happens when time goes by and nothing comes.
    fn keep_time(&mut self) {
        let ended = self.ended_at.is_some_and(|at| at.elapsed() > END_GRACE);
        let Some(output) = &self.output else {
            return;
        };
        if output.last_sequence.is_none() {
            // Nobody plays it yet: a DESCRIBE waits for the first key frame.
            let waited = output.opened_at.elapsed();
            if ended || waited > KEY_FRAME_WAIT_MAX {
                let stream = &self.stream;
                self.mount
                    .refuse_media(&format!("stream {stream} has no picture to show"));
                self.output = None;
            }
        } else if ended {
            self.close();
        }
    }

    fn count_viewers(&mut self) {
        let (viewers, total) = self.mount.viewers();
        let total = self.viewers_before + total;
        let counters = self.book.counters();
        if (counters.viewers, counters.viewers_total) != (viewers, total) {
            self.book.update(|counters| {
                counters.viewers = viewers;
                counters.viewers_total = total;
            });
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.count_viewers();
        self.book.update(|counters| counters.viewers = 0);
        if let Err(imbalance) = self.book.counters().check() {
            tracing::error!(stream = %self.stream, %imbalance, "the book does not balance");
        }
    }
}

impl Output {
    fn new(source: AppSrc) -> Self {
        Self {
            source,
            playing: false,
            timeline: Timeline::default(),
            opened_at: Instant::now(),
            last_sequence: None,
            linked: false,
            stalled: false,
        }
    }

    fn has_room(&self) -> bool {
        self.source.current_level_time() < QUEUE_TIME_MAX
            && self.source.current_level_bytes() < QUEUE_BYTES_MAX
    }

    /// Hands over the whole group, but for what this media has had: its last access unit
    /// with the present time, those before it as quickly as may be.
    fn push_group(&mut self, gop: &Gop) {
        let Some((newest, older)) = gop.units().split_last() else {
            return;
        };
        let had = |unit: &AccessUnit, last: Option<u64>| {
            last.is_some_and(|last| unit.sequence_number <= last)
        };
        for unit in older {
            if !had(unit, self.last_sequence) {
                self.push_late(unit);
            }
        }
        if !had(newest, self.last_sequence) {
            self.push_live(newest);
        }
        self.linked = true;
    }

    fn push_live(&mut self, unit: &AccessUnit) {
        let now = self.source.current_running_time();
        let stamp_ns = self
            .timeline
            .live(unit.pts_ns, now.map_or(0, gst::ClockTime::nseconds));
        self.push(unit, stamp_ns);
    }

    fn push_late(&mut self, unit: &AccessUnit) {
        let stamp_ns = self.timeline.catching_up();
        self.push(unit, stamp_ns);
    }

    fn push(&mut self, unit: &AccessUnit, stamp_ns: u64) {
        let mut buffer = unit.data.copy();
        if let Some(buffer) = buffer.get_mut() {
            let stamp = gst::ClockTime::from_nseconds(stamp_ns);
            buffer.set_pts(stamp);
            buffer.set_dts(stamp);
        }
        self.last_sequence = Some(unit.sequence_number);
        if let Err(error) = self.source.push_buffer(buffer) {
            tracing::debug!(?error, "the media is about to go");
        }
    }
}
