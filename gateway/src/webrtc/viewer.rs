//! One viewer: from the channel to RTP, and what it answers. Without I/O: datagrams go in and out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{MediaTime, Mid, Pt};
use str0m::net::Transmit;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Event, Rtc, RtcConfig};

use super::engine::{Engine, House, Leaving, Offer, Party, Polled};
use super::offer::{self, ProfileLevel};
use super::pace::{Pace, Standing, Step};
use super::quality::{Choice, Look};
use super::socket::Outbox;
use crate::channel::{AccessUnit, Next, Reader};
use crate::ladder::Ladder;
use crate::timeline::Timeline;

/// Bytes handed to the socket before other viewers have their turn.
const TURN_BYTES_MAX: usize = 128 << 10;

/// What is due in less is done now.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// Times that the engine is asked for more in one turn.
const TURN_STEPS_MAX: usize = 1024;

/// The estimate of the bandwidth to begin with, as a multiple of the stream's bit rate: a viewer
/// nearby is not to wait until an estimate has grown.
const ESTIMATE_FACTOR: u64 = 4;

/// The least estimate to begin with, in bit/s.
const ESTIMATE_MIN: u64 = 10_000_000;

/// How a viewer fares is looked at so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Who goes to another encode begins there with a picture that it has had, if that is so old at
/// most: encoders take different times, and the next key frame may be as late.
const BACK_MAX_NS: u64 = 200_000_000;

/// Packets kept in case a viewer asks for them again: two seconds of a stream of 5 Mbit/s.
const RESEND_PACKETS_MAX: usize = 1024;

/// Access units that wait for their packets to leave.
const UNSENT_MAX: usize = 64;

/// The payload type and that of packets sent again, until the offer says its own.
const PAYLOAD_TYPES: (u8, u8) = (96, 97);

/// Why somebody does not become a viewer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no picture yet, or no more.
    NoPicture,
    /// The offer is not one, or not one that can be answered.
    BadOffer(String),
    /// The offer has no decoder for the stream.
    NoDecoder { stream: String, offered: String },
}

/// One viewer.
pub(super) struct Viewer {
    engine: Engine,
    reader: Reader,
    mid: Mid,
    payload_type: Pt,
    timeline: Timeline,
    pace: Pace,
    /// Access units whose last packet has not left, by RTP time.
    unsent: VecDeque<Unsent>,
    ladder: Ladder,
    /// The rung of `ladder` that is sent.
    rung: usize,
    choice: Choice,
    looked: Instant,
    /// The estimate of its bandwidth, in bit/s.
    bandwidth: Option<u64>,
    /// When the newest picture that was sent was captured.
    newest_captured_ns: u64,
    account: Account,
}

#[derive(Debug)]
struct Unsent {
    rtp_time: u32,
    written: Instant,
    captured_ns: u64,
}

/// What was done for a viewer.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Account {
    /// Access units whose packets have all left.
    pub(super) sent: u64,
    /// Key frames asked for.
    pub(super) asked: u64,
    /// How often it has gone to another encode.
    pub(super) switched: u64,
    /// From capture to the last packet, of the newest access unit.
    pub(super) latency: Duration,
}

impl Viewer {
    /// Makes a viewer of who offers, and the answer.
    pub(super) fn join(
        offer: &str,
        ladder: Ladder,
        house: &House,
        now: Instant,
    ) -> Result<(Self, String), Refusal> {
        let channel = ladder.channel();
        let group = channel.group();
        let keyframe = group.first().ok_or(Refusal::NoPicture)?;
        let stream = ProfileLevel::of_stream(&keyframe.data).ok_or(Refusal::NoPicture)?;
        let parsed = Offer::parse(offer).map_err(Refusal::BadOffer)?;
        let profile = offer::choose(offer, stream).map_err(|offered| Refusal::NoDecoder {
            stream: stream.text(),
            offered,
        })?;
        let estimate = (channel.bits_per_second() * ESTIMATE_FACTOR).max(ESTIMATE_MIN);

        let config = config(house, profile, estimate);
        let answered = Engine::answer(config, house, parsed, now);
        let (mut engine, answer) = answered.map_err(Refusal::BadOffer)?;
        let no_video = || Refusal::BadOffer("no m=video section that receives".to_owned());
        let mid = video(offer, &engine.rtc).ok_or_else(no_video)?;
        let payload_type = engine.rtc.writer(mid).and_then(|writer| {
            let mut payloads = writer.payload_params();
            payloads.next().map(|params| params.pt())
        });
        let payload_type = payload_type.ok_or_else(|| Refusal::NoDecoder {
            stream: stream.text(),
            offered: "another".to_owned(),
        })?;
        let viewer = Self {
            payload_type,
            engine,
            // From here on it is counted.
            reader: channel.watch(),
            mid,
            timeline: Timeline::default(),
            pace: Pace::new(),
            unsent: VecDeque::new(),
            ladder,
            rung: 0,
            choice: Choice::new(),
            looked: now,
            bandwidth: None,
            newest_captured_ns: 0,
            account: Account::default(),
        };
        Ok((viewer, answer))
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.bandwidth = Some(estimate.as_u64());
            }
            Event::KeyframeRequest(_) => {
                self.account.asked += 1;
                if self.pace.again(self.engine.began().elapsed()) {
                    self.reader.begin_again();
                    self.pace.begin();
                }
            }
            _ => {}
        }
    }

    /// Sends the next access unit, if one may go; says whether one went.
    fn feed(&mut self, now: Instant) -> bool {
        if !self.engine.flows() || self.unsent.len() >= UNSENT_MAX {
            return false;
        }
        let lag = self.reader.lag();
        let oldest = self.unsent.front();
        let step = self.pace.step(Standing {
            backlog: oldest.map_or(Duration::ZERO, |unsent| now - unsent.written),
            late: lag.by,
            keyframe_ahead: lag.keyframe_ahead,
        });
        let late = self.pace.is_late(lag.by) && (step == Step::Skip || !self.pace.is_catching_up());
        self.look_for_quality(late, now);
        let switched = self.switch();
        match step {
            // The first picture of another encode goes out whatever was before.
            _ if switched => {}
            Step::Hold => return false,
            Step::Send => {}
            Step::Skip => {
                self.reader.skip_to_live();
                self.pace.begin();
            }
        }
        match self.reader.try_next() {
            Next::Unit(unit) => {
                self.write(&unit, now);
                true
            }
            Next::Nothing => false,
            Next::Ended => {
                self.engine.close(Leaving::Ended);
                true
            }
        }
    }

    /// Chooses the encode by how the viewer fares.
    fn look_for_quality(&mut self, late: bool, now: Instant) {
        if self.ladder.is_single() || (!late && now < self.looked + LOOK_INTERVAL) {
            return;
        }
        // Until the smaller one has begun, it is late for the same reason.
        let late = late && self.choice.rung() == self.rung;
        self.looked = now;
        let rates = self.ladder.rungs().map(|rung| {
            let there = rung.channel.keyframe_captured_ns();
            there.map_or(0, |_| rung.channel.bits_per_second())
        });
        let rates: Vec<u64> = rates.collect();
        self.choice.look(Look {
            now: now - self.engine.began(),
            bandwidth: self.bandwidth,
            late,
            rates: &rates,
        });
    }

    /// Goes to the encode that was chosen, if that has a key frame to go on with; says so.
    fn switch(&mut self) -> bool {
        let wanted = self.choice.rung();
        if wanted == self.rung {
            return false;
        }
        let Some(rung) = self.ladder.get(wanted) else {
            return false;
        };
        let keyframe_ns = rung.channel.keyframe_captured_ns();
        if keyframe_ns.is_none_or(|at_ns| at_ns + BACK_MAX_NS < self.newest_captured_ns) {
            return false;
        }
        let mut reader = rung.channel.follow();
        reader.count_for(&mut self.reader);
        tracing::debug!(
            from = self.rung,
            to = wanted,
            bandwidth = self.bandwidth,
            "a viewer is sent another quality"
        );
        self.reader = reader;
        self.rung = wanted;
        self.account.switched += 1;
        self.pace.begin();
        true
    }

    fn write(&mut self, unit: &AccessUnit, now: Instant) {
        let running_ns = nanoseconds(now - self.engine.began());
        let stamp_ns = if self.pace.is_catching_up() && self.reader.lag().by > Duration::ZERO {
            self.timeline.catching_up()
        } else {
            self.pace.live();
            self.timeline.live(unit.pts_ns, running_ns)
        };
        let ticks = stamp_ns * 9 / 100_000;
        let age = monotonic_ns().saturating_sub(unit.captured_ns);
        let captured = now.checked_sub(Duration::from_nanos(age)).unwrap_or(now);
        let Some(writer) = self.engine.rtc.writer(self.mid) else {
            return;
        };
        // A viewer shows each picture as it comes: no delay at least, none at most.
        let writer = writer.playout_delay(MediaTime::ZERO, MediaTime::ZERO);
        let time = MediaTime::from_90khz(ticks);
        let result = writer.write(self.payload_type, captured, time, &unit.data[..]);
        self.engine.note(result);
        self.unsent.push_back(Unsent {
            rtp_time: ticks as u32,
            written: now,
            captured_ns: unit.captured_ns,
        });
        self.newest_captured_ns = unit.captured_ns;
        if unit.keyframe {
            // That of the largest, so that room for it is found.
            let rates = self.ladder.rungs();
            let rates = rates.map(|rung| rung.channel.bits_per_second());
            let wanted = Bitrate::bps(rates.max().unwrap_or(0) * 2);
            self.engine.rtc.bwe().set_bitrate(Bitrate::ZERO, wanted);
        }
    }

    /// Marks the access unit as sent whose last packet this is. What is sent again has a payload
    /// type of its own, or a time that is not waited for.
    fn note_sent(&mut self, transmit: &Transmit) {
        let &[first, second, _, _, a, b, c, d, ..] = &transmit.contents[..] else {
            return;
        };
        let is_last = first >> 6 == 2 && second == 0x80 | *self.payload_type;
        let rtp_time = u32::from_be_bytes([a, b, c, d]);
        let mut times = self.unsent.iter();
        if is_last && let Some(at) = times.position(|unsent| unsent.rtp_time == rtp_time) {
            for unsent in self.unsent.drain(..=at) {
                let latency_ns = monotonic_ns().saturating_sub(unsent.captured_ns);
                self.account.latency = Duration::from_nanos(latency_ns);
                self.account.sent += 1;
            }
        }
    }
}

impl Party for Viewer {
    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn turn(&mut self, outbox: &mut Outbox) -> Instant {
        let mut now = Instant::now();
        let mut deadline = now;
        for _ in 0..TURN_STEPS_MAX {
            self.engine.tick(now);
            deadline = self.drain(outbox);
            let real = Instant::now();
            // A timer would be late by more: the pacer counts in microseconds.
            let soon = deadline <= real + TIMER_MIN;
            if outbox.bytes() >= TURN_BYTES_MAX || !(soon || self.feed(real)) {
                break;
            }
            now = if soon { deadline.max(real) } else { real };
        }
        deadline
    }

    fn drain(&mut self, outbox: &mut Outbox) -> Instant {
        loop {
            match self.engine.poll() {
                Polled::Nothing(deadline) => return deadline,
                Polled::Transmit(transmit) => {
                    self.note_sent(&transmit);
                    outbox.push(transmit);
                }
                Polled::Event(event) => self.take(&event),
            }
        }
    }

    async fn wait(&mut self) {
        self.reader.wait().await;
    }

    fn report(&self, path: &str) {
        tracing::info!(
            path,
            reason = self.engine.leaving().map(tracing::field::display),
            sent = self.account.sent,
            asked = self.account.asked,
            switched = self.account.switched,
            latency = ?self.account.latency,
            "a viewer has left"
        );
    }
}

fn config(house: &House, profile: ProfileLevel, estimate: u64) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::TransportSequenceNumber);
    extensions.set(2, Extension::RtpMid);
    extensions.set(3, Extension::PlayoutDelay);
    extensions.set(4, Extension::AbsoluteSendTime);
    let mut config = house
        .config()
        .set_extension_map(extensions)
        .set_send_buffer_video(RESEND_PACKETS_MAX)
        .enable_bwe(Some(Bitrate::bps(estimate)));
    let (payload_type, resend) = PAYLOAD_TYPES;
    let codecs = config.codec_config();
    codecs.add_h264(payload_type.into(), Some(resend.into()), true, profile.id());
    config
}

/// The first video that an answered offer wants to receive.
fn video(offer: &str, rtc: &Rtc) -> Option<Mid> {
    offer::videos(offer).find(|mid| {
        let media = rtc.media(*mid);
        media.is_some_and(|media| media.direction().is_sending())
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
