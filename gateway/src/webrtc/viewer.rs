//! One viewer: from the channel to RTP, and what it answers. Without I/O: datagrams go in and out.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::media::{MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};

use super::offer::{self, ProfileLevel};
use super::pace::{Pace, Standing, Step};
use super::quality::{Choice, Look};
use super::socket::{Datagram, Outbox};
use crate::channel::{AccessUnit, Next, Reader};
use crate::ladder::Ladder;
use crate::timeline::Timeline;

/// A viewer who has not connected by then goes.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// A viewer of whom nothing is heard for so long is gone. Browsers send something each second.
const SILENCE_MAX: Duration = Duration::from_secs(6);

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

/// What all viewers are given.
pub(super) struct House {
    pub(super) crypto: std::sync::Arc<CryptoProvider>,
    /// One for all: what a viewer trusts is the fingerprint in its own answer.
    pub(super) certificate: DtlsCert,
    pub(super) addresses: Vec<SocketAddr>,
}

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

/// Why a viewer goes.
#[derive(Debug)]
pub(super) enum Leaving {
    /// The stream has ended, or is served no more.
    Ended,
    /// The viewer said so.
    Closed,
    /// It did not connect in time.
    NotConnected,
    /// Nothing is heard of it any more.
    Silent,
    /// The engine cannot go on with it.
    Failed(RtcError),
}

impl fmt::Display for Leaving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => formatter.write_str("the stream has ended"),
            Self::Closed => formatter.write_str("it said so"),
            Self::NotConnected => formatter.write_str("it did not connect"),
            Self::Silent => formatter.write_str("nothing is heard of it"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

/// One viewer.
pub(super) struct Viewer {
    rtc: Rtc,
    reader: Reader,
    /// The `ice-ufrag` of its offer.
    offered: String,
    mid: Mid,
    payload_type: Pt,
    timeline: Timeline,
    pace: Pace,
    began: Instant,
    heard: Instant,
    connected: bool,
    leaving: Option<Leaving>,
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
        let bad_offer = |error: &dyn fmt::Display| Refusal::BadOffer(error.to_string());
        let parsed = SdpOffer::from_sdp_string(offer).map_err(|error| bad_offer(&error))?;
        let profile = offer::choose(offer, stream).map_err(|offered| Refusal::NoDecoder {
            stream: stream.text(),
            offered,
        })?;
        let estimate = (channel.bits_per_second() * ESTIMATE_FACTOR).max(ESTIMATE_MIN);

        let mut rtc = config(house, profile, estimate).build(now);
        for address in &house.addresses {
            // One that cannot be a candidate was not to be configured; the others serve.
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        let answer = rtc.sdp_api().accept_offer(parsed);
        let answer = answer.map_err(|error| bad_offer(&error))?;
        let no_video = || Refusal::BadOffer("no m=video section that receives".to_owned());
        let mid = video(offer, &rtc).ok_or_else(no_video)?;
        let payload_type = rtc.writer(mid).and_then(|writer| {
            let mut payloads = writer.payload_params();
            payloads.next().map(|params| params.pt())
        });
        let payload_type = payload_type.ok_or_else(|| Refusal::NoDecoder {
            stream: stream.text(),
            offered: "another".to_owned(),
        })?;
        let viewer = Self {
            payload_type,
            rtc,
            // From here on it is counted.
            reader: channel.watch(),
            offered: fragment(offer).unwrap_or_default().to_owned(),
            mid,
            timeline: Timeline::default(),
            pace: Pace::new(),
            began: now,
            heard: now,
            connected: false,
            leaving: None,
            unsent: VecDeque::new(),
            ladder,
            rung: 0,
            choice: Choice::new(),
            looked: now,
            bandwidth: None,
            newest_captured_ns: 0,
            account: Account::default(),
        };
        Ok((viewer, answer.to_sdp_string()))
    }

    /// Takes a datagram; says whether it is from this viewer.
    pub(super) fn receive(&mut self, datagram: &Datagram, outbox: &mut Outbox) -> bool {
        let Datagram {
            at,
            source,
            destination,
            contents,
        } = datagram;
        let Ok(received) = Receive::new(Protocol::Udp, *source, *destination, contents) else {
            return false;
        };
        let input = Input::Receive(*at, received);
        if !self.rtc.accepts(&input) {
            return false;
        }
        self.heard = *at;
        let result = self.rtc.handle_input(input);
        self.note(result);
        self.drain(outbox);
        true
    }

    /// Does what is to be done now: lets time go on, and sends what may be sent. Returns when it
    /// wants to be called again at the latest.
    pub(super) fn turn(&mut self, outbox: &mut Outbox) -> Instant {
        let mut now = Instant::now();
        let mut deadline = now;
        for _ in 0..TURN_STEPS_MAX {
            let result = self.rtc.handle_input(Input::Timeout(now));
            self.note(result);
            self.look_after(now);
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

    /// There is nothing more to do for it.
    pub(super) fn is_gone(&self) -> bool {
        !self.rtc.is_alive() || matches!(self.leaving, Some(Leaving::Failed(_)))
    }

    /// Why it goes.
    pub(super) fn leaving(&self) -> Option<&Leaving> {
        self.leaving.as_ref()
    }

    /// The names by which its requests of ICE call us, and by which ours would call it.
    pub(super) fn fragments(&mut self) -> (String, String) {
        let ours = self.rtc.direct_api().local_ice_credentials();
        (ours.ufrag, self.offered.clone())
    }

    /// Says good-bye. What that takes is sent in the turns that follow.
    pub(super) fn close(&mut self, leaving: Leaving) {
        if self.leaving.is_none() {
            self.leaving = Some(leaving);
            let result = self.rtc.close();
            self.note(result);
        }
    }

    /// Waits until there may be something to send.
    pub(super) async fn wait(&mut self) {
        self.reader.wait().await;
    }

    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// Takes from the engine all that it has; returns when it wants to be called again.
    fn drain(&mut self, outbox: &mut Outbox) -> Instant {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => return deadline,
                Ok(Output::Transmit(transmit)) => {
                    self.note_sent(&transmit);
                    outbox.push(transmit);
                }
                Ok(Output::Event(event)) => self.take(&event),
                Err(error) => {
                    self.note(Err(error));
                    return Instant::now();
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.close(Leaving::Silent);
            }
            Event::Closed => self.close(Leaving::Closed),
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.bandwidth = Some(estimate.as_u64());
            }
            Event::KeyframeRequest(_) => {
                self.account.asked += 1;
                if self.pace.again(self.began.elapsed()) {
                    self.reader.begin_again();
                    self.pace.begin();
                }
            }
            _ => {}
        }
    }

    /// Sends the next access unit, if one may go; says whether one went.
    fn feed(&mut self, now: Instant) -> bool {
        if !self.connected || self.leaving.is_some() || self.unsent.len() >= UNSENT_MAX {
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
                self.close(Leaving::Ended);
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
            now: now - self.began,
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
        let running_ns = nanoseconds(now - self.began);
        let stamp_ns = if self.pace.is_catching_up() && self.reader.lag().by > Duration::ZERO {
            self.timeline.catching_up()
        } else {
            self.pace.live();
            self.timeline.live(unit.pts_ns, running_ns)
        };
        let ticks = stamp_ns * 9 / 100_000;
        let age = monotonic_ns().saturating_sub(unit.captured_ns);
        let captured = now.checked_sub(Duration::from_nanos(age)).unwrap_or(now);
        let Some(writer) = self.rtc.writer(self.mid) else {
            return;
        };
        // A viewer shows each picture as it comes: no delay at least, none at most.
        let writer = writer.playout_delay(MediaTime::ZERO, MediaTime::ZERO);
        let time = MediaTime::from_90khz(ticks);
        let result = writer.write(self.payload_type, captured, time, &unit.data[..]);
        self.note(result);
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
            self.rtc.bwe().set_bitrate(Bitrate::ZERO, wanted);
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

    fn look_after(&mut self, now: Instant) {
        if !self.connected {
            if now > self.began + CONNECT_MAX {
                self.close(Leaving::NotConnected);
            }
        } else if now > self.heard + SILENCE_MAX {
            self.close(Leaving::Silent);
        }
    }

    fn note(&mut self, result: Result<(), RtcError>) {
        if let Err(error) = result {
            self.leaving = Some(Leaving::Failed(error));
        }
    }
}

fn config(house: &House, profile: ProfileLevel, estimate: u64) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::TransportSequenceNumber);
    extensions.set(2, Extension::RtpMid);
    extensions.set(3, Extension::PlayoutDelay);
    extensions.set(4, Extension::AbsoluteSendTime);
    let mut config = RtcConfig::new()
        .set_crypto_provider(house.crypto.clone())
        .set_dtls_cert(house.certificate.clone())
        // We are where everybody finds us and need to look for nobody; nor can an offer make us
        // send anything to an address that has not asked for it.
        .set_ice_lite(true)
        .clear_codecs()
        .set_extension_map(extensions)
        .set_send_buffer_video(RESEND_PACKETS_MAX)
        .enable_bwe(Some(Bitrate::bps(estimate)));
    let (payload_type, resend) = PAYLOAD_TYPES;
    let codecs = config.codec_config();
    codecs.add_h264(payload_type.into(), Some(resend.into()), true, profile.id());
    config
}

/// The first `ice-ufrag` of an SDP: all its media are one bundle.
fn fragment(offer: &str) -> Option<&str> {
    let mut lines = offer.lines();
    lines
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .map(str::trim)
}

/// The first video that an answered offer wants to receive.
fn video(offer: &str, rtc: &Rtc) -> Option<Mid> {
    let mut videos = offer
        .split("\nm=")
        .filter(|section| section.starts_with("video "));
    videos.find_map(|section| {
        let mut lines = section.lines();
        let mid = lines.find_map(|line| line.strip_prefix("a=mid:"))?;
        let mid = Mid::from(mid.trim());
        let media = rtc.media(mid)?;
        media.direction().is_sending().then_some(mid)
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
