//! One stream: from the bus to the channels that viewers read, one for each encode and protocol,
//! and to its RTSP media.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::clock::monotonic_ns;
use contract::ledger::{Counters, GatewayCounters};
use contract::name::StreamName;
use contract::spec::{GatewayStreamSpec, Protocol, QualitySpec};
use frame_bus::{Arrivals, BookWriter, Bus, BusError, IncomingPacket, Packet, PacketSubscriber};

use crate::channel::{AccessUnit, Channel};
use crate::ladder::{Ladder, Rung};
use crate::rtsp::{Fate, Mount, Outlet};

/// Access units taken in one turn, so that a quick stream does not starve the others.
const UNITS_PER_TURN_MAX: usize = 32;

/// Turns to hand over what is left when a stream is served no more; its producer may go on.
const LAST_TURNS_MAX: usize = 4;

/// From the end of a stream to that of its viewers: a producer started anew gets them back.
const END_GRACE: Duration = Duration::from_secs(1);

/// One stream: from the bus to those who serve it.
pub(crate) struct Feed {
    stream: StreamName,
    subscriber: PacketSubscriber,
    book: BookWriter<GatewayCounters>,
    arrivals: Arrivals,
    /// The number of the next access unit of each rung, as viewers count them.
    numbers: [u64; QualitySpec::MAX + 1],
    /// The rungs of each place where it is served, so that one can be closed without the others.
    places: BTreeMap<Protocol, Vec<Served>>,
    /// What those read whom it is pushed to, while there are any.
    pushed: Option<Channel>,
    ended_at: Option<Instant>,
    /// Viewers of the channel have been told of the end.
    told_end: bool,
    /// What was last said of [`Feed::demand`].
    wanted: bool,
    before: Before,
}

/// One rung at one place.
struct Served {
    rung: Rung,
    /// By RTSP.
    outlet: Option<Outlet>,
}

/// What earlier lives of this gateway, and paths that are served no more, have counted.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    viewers_total: u64,
    pushes_total: u64,
    skipped: u64,
}

impl Feed {
    /// Subscribes to a stream and goes on with its book. Nobody is served before
    /// [`Feed::open_place`].
    pub(crate) fn open(
        bus: &Bus,
        spec: &GatewayStreamSpec,
        incarnation: u32,
    ) -> Result<Self, BusError> {
        let book = BookWriter::<GatewayCounters>::open(&spec.book)?;
        let counters = book.counters();
        Ok(Self {
            stream: spec.stream.clone(),
            subscriber: subscribe(bus, spec)?,
            arrivals: Arrivals::new(counters.next_sequence, incarnation),
            before: Before {
                viewers_total: counters.viewers_total,
                pushes_total: counters.pushes_total,
                skipped: counters.skipped_by_viewers,
            },
            book,
            numbers: Default::default(),
            places: BTreeMap::new(),
            pushed: None,
            ended_at: None,
            told_end: false,
            wanted: false,
        })
    }

    /// Which stream it is.
    pub(crate) fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Takes access units there from now on: there are other encodes. What was on its way is
    /// handed over before.
    pub(crate) fn take_from(&mut self, subscriber: PacketSubscriber) -> Result<(), BusError> {
        self.hand_over_rest()?;
        self.subscriber = subscriber;
        // A channel may be that of another rung from now on, and its numbers grow all the same.
        self.numbers = [self.numbers.into_iter().max().unwrap_or(0); QualitySpec::MAX + 1];
        self.unlink();
        Ok(())
    }

    /// The channel of a rung where it is served by this protocol.
    pub(crate) fn channel(&self, protocol: Protocol, height: Option<u32>) -> Option<&Channel> {
        let mut served = self.places.get(&protocol)?.iter();
        let served = served.find(|served| served.rung.height == height)?;
        Some(&served.rung.channel)
    }

    /// From now on those who read the channels of `ladder` are served, and by RTSP those who play
    /// what `mount` gives for a rung that is new here. Rungs that are in it stay as they are,
    /// others end.
    pub(crate) fn serve(
        &mut self,
        protocol: Protocol,
        ladder: &Ladder,
        mount: impl Fn(&Rung) -> Option<Mount>,
    ) {
        let mut before = self.places.remove(&protocol).unwrap_or_default();
        let mut place = Vec::new();
        for rung in ladder.rungs() {
            let same = |served: &Served| served.rung.height == rung.height;
            if let Some(index) = before.iter().position(same) {
                place.push(before.swap_remove(index));
                continue;
            }
            let outlet = mount(rung).map(|mount| {
                let outlet = Outlet::new(self.stream.clone(), rung.channel.clone(), mount);
                outlet.show();
                outlet
            });
            place.push(Served {
                rung: rung.clone(),
                outlet,
            });
        }
        self.places.insert(protocol, place);
        for served in before {
            self.retire_rung(served);
        }
        self.count_viewers();
    }

    /// From now on, those are given the stream who read `channel`, and are no viewers; `None`: nobody.
    pub(crate) fn push_through(&mut self, channel: Option<Channel>) {
        if let Some(before) = std::mem::replace(&mut self.pushed, channel) {
            before.end();
            self.before.pushes_total += before.viewers().1;
            self.before.skipped += before.skipped();
        }
        self.count_viewers();
    }

    /// What those read whom it is pushed to.
    pub(crate) fn pushed(&self) -> Option<&Channel> {
        self.pushed.as_ref()
    }

    /// Hands over what has come; then nobody is served by this protocol any more.
    pub(crate) fn close(&mut self, protocol: Protocol) -> Result<(), BusError> {
        self.hand_over_rest()?;
        for served in self.places.remove(&protocol).unwrap_or_default() {
            self.retire_rung(served);
        }
        self.count_viewers();
        Ok(())
    }

    /// Hands over what has come; then nobody is served any more.
    pub(crate) fn retire(&mut self) -> Result<(), BusError> {
        for protocol in Protocol::ALL {
            self.close(protocol)?;
        }
        self.push_through(None);
        Ok(())
    }

    /// Takes what has come and hands it over; says whether there may be more.
    pub(crate) fn turn(&mut self) -> Result<bool, BusError> {
        self.outlets().for_each(Outlet::follow_media);
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
                } => self.note_end(next_sequence, epoch),
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

    /// Whether anybody watches or asks for the stream, if that is not what was said last.
    pub(crate) fn demand(&mut self) -> Option<bool> {
        let wanted = self.served().any(|served| {
            let by_rtsp = served.outlet.as_ref().is_some_and(Outlet::is_wanted);
            by_rtsp || served.rung.channel.is_wanted()
        });
        let before = std::mem::replace(&mut self.wanted, wanted);
        (wanted != before).then_some(wanted)
    }

    /// The producer has ended and no other has come since.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Sends the viewers home; who comes later is served when something comes.
    pub(crate) fn end(&mut self) {
        self.all_channels().for_each(Channel::end);
        self.outlets().for_each(Outlet::close);
    }

    fn take(&mut self, packet: &Packet) {
        let stamp = packet.stamp();
        let arrival = self.arrivals.arrive(stamp.sequence_number, packet.epoch());
        if !arrival.fresh {
            return;
        }
        self.ended_at = None;
        self.told_end = false;
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
        let unit = Arc::new(AccessUnit {
            sequence_number: self.next_number(stamp.rung),
            pts_ns: stamp.pts_ns,
            captured_ns: stamp.captured_ns,
            keyframe: stamp.keyframe,
            // The only copy: all viewers share it.
            data: Bytes::copy_from_slice(packet.data()),
            transport_stream: OnceLock::new(),
        });
        let fate = self.hand_over(stamp.rung, &unit);
        self.book.update(|counters| match fate {
            Fate::Forwarded => counters.forwarded += 1,
            Fate::Unwatched => counters.unwatched += 1,
            Fate::Resync => counters.dropped_resync += 1,
            Fate::Slow => counters.dropped_slow += 1,
        });
        let latency_ns = monotonic_ns().saturating_sub(stamp.captured_ns);
        self.book.record_latency_us(latency_ns / 1000);
    }

    /// Counts the access units of one rung, so that those of a rung follow each other.
    fn next_number(&mut self, rung: u8) -> u64 {
        let Some(number) = self.numbers.get_mut(usize::from(rung)) else {
            return 0;
        };
        *number += 1;
        *number
    }

    /// What becomes of it: that of the viewer who fares best.
    fn hand_over(&mut self, rung: u8, unit: &Arc<AccessUnit>) -> Fate {
        let index = usize::from(rung);
        let mut watched = false;
        let mut by_rtsp = Fate::Unwatched;
        for place in self.places.values_mut() {
            let Some(served) = place.get_mut(index) else {
                continue;
            };
            watched |= served.rung.channel.viewers().0 > 0;
            served.rung.channel.push(Arc::clone(unit));
            if let Some(outlet) = &mut served.outlet {
                by_rtsp = outlet.hand_over(unit);
            }
        }
        if let Some(pushed) = self.pushed.as_ref().filter(|_| index == 0) {
            watched |= pushed.viewers().0 > 0;
            pushed.push(Arc::clone(unit));
        }
        if watched { Fate::Forwarded } else { by_rtsp }
    }

    fn note_end(&mut self, next_sequence: u64, epoch: u32) {
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
        // Of which rung is not known, so of all.
        self.all_channels().for_each(Channel::unlink);
        self.outlets().for_each(Outlet::unlink);
        for number in &mut self.numbers {
            *number += 1;
        }
    }

    /// What happens when time goes by and nothing comes.
    fn keep_time(&mut self) {
        let ended = self.ended_at.is_some_and(|at| at.elapsed() > END_GRACE);
        if ended && !self.told_end {
            self.told_end = true;
            self.all_channels().for_each(Channel::end);
        }
        self.outlets().for_each(|outlet| outlet.keep_time(ended));
    }

    /// What is on its way is handed over, if its producer does not go on for ever.
    fn hand_over_rest(&mut self) -> Result<(), BusError> {
        for _ in 0..LAST_TURNS_MAX {
            if !self.turn()? {
                break;
            }
        }
        Ok(())
    }

    /// Nobody is served this any more.
    fn retire_rung(&mut self, mut served: Served) {
        if let Some(outlet) = &mut served.outlet {
            outlet.retire();
            self.before.viewers_total += outlet.viewers().1;
        }
        let channel = &served.rung.channel;
        channel.end();
        self.before.viewers_total += channel.viewers().1;
        self.before.skipped += channel.skipped();
    }

    fn served(&self) -> impl Iterator<Item = &Served> {
        self.places.values().flatten()
    }

    fn outlets(&mut self) -> impl Iterator<Item = &mut Outlet> {
        let served = self.places.values_mut().flatten();
        served.filter_map(|served| served.outlet.as_mut())
    }

    fn all_channels(&self) -> impl Iterator<Item = &Channel> {
        let served = self.served().map(|served| &served.rung.channel);
        served.chain(&self.pushed)
    }

    fn count_viewers(&mut self) {
        let counts = self.served().flat_map(|served| {
            let by_rtsp = served.outlet.as_ref().map(Outlet::viewers);
            std::iter::once(served.rung.channel.viewers()).chain(by_rtsp)
        });
        let (viewers, total) = counts.fold((0, self.before.viewers_total), |sum, count| {
            (sum.0 + count.0, sum.1 + count.1)
        });
        let (pushes, pushed) = self.pushed.as_ref().map_or((0, 0), Channel::viewers);
        let pushes_total = self.before.pushes_total + pushed;
        let skipped: u64 = self.all_channels().map(Channel::skipped).sum();
        let skipped = self.before.skipped + skipped;
        let counters = self.book.counters();
        let known = (
            counters.viewers,
            counters.viewers_total,
            counters.pushes,
            counters.pushes_total,
            counters.skipped_by_viewers,
        );
        if known != (viewers, total, pushes, pushes_total, skipped) {
            self.book.update(|counters| {
                counters.viewers = viewers;
                counters.viewers_total = total;
                counters.pushes = pushes;
                counters.pushes_total = pushes_total;
                counters.skipped_by_viewers = skipped;
            });
        }
    }
}

/// The access units of a stream on the bus.
pub(crate) fn subscribe(bus: &Bus, spec: &GatewayStreamSpec) -> Result<PacketSubscriber, BusError> {
    PacketSubscriber::open(bus, &spec.stream, 1 + spec.qualities.len())
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.count_viewers();
        self.book.update(|counters| {
            counters.viewers = 0;
            counters.pushes = 0;
        });
        if let Err(imbalance) = self.book.counters().check() {
            tracing::error!(stream = %self.stream, %imbalance, "the book does not balance");
        }
    }
}
