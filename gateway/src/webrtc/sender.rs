//! One sender: from RTP to the intake of its path. Without I/O: datagrams go in and out.
//!
//! The engine puts access units together, of packets in their order; those that were lost are sent
//! again for as long as it waits for them. What cannot be decoded for want of others is left out
//! here and counted as missed (see [`super::continuity`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use str0m::media::{Frequency, KeyframeRequestKind, MediaData, Mid};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Event, Rtc, RtcConfig};
use tokio::sync::watch;

use super::continuity::Continuity;
use super::engine::{Engine, House, Leaving, Offer, Party, Polled};
use super::offer::{self, ProfileLevel};
use super::socket::Outbox;
use super::viewer::Refusal;
use super::whep::Problem;
use crate::intake::{Begun, Intakes, Session, Unit, WAIT_MAX};
use crate::timeline::Timeline;

/// A sender that sends no picture for so long is gone, whatever else it sends.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// And one that has not begun to send any so long after its offer: 15 s of it may be connecting.
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// How a sender fares is looked at so often, whatever the engine waits for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Times that the engine is asked for more in one turn.
const TURN_STEPS_MAX: usize = 64;

/// Most bytes that are held of a sender who waits for its stream, as of one by SRT.
const HELD_BYTES_MAX: usize = 4 << 20;

/// The first payload type; each encoder has two, until the offer says its own.
const PAYLOAD_TYPE: u8 = 96;

/// One sender.
pub(super) struct Sender {
    engine: Engine,
    /// The one video that is taken.
    mid: Mid,
    path: String,
    intakes: Intakes,
    place: Place,
    timeline: Timeline,
    continuity: Continuity,
    /// When the last picture came.
    pictured: Option<Instant>,
    account: Account,
}

/// Where its access units go.
enum Place {
    /// To its stream.
    Session(Session),
    /// Nowhere yet: its stream is to come.
    Waits(Waiting),
}

/// What is held of a sender until its stream is there.
struct Waiting {
    changes: watch::Receiver<u64>,
    until: Instant,
    held: VecDeque<Unit>,
    bytes: usize,
    /// There was no room for one, so the next is of no use either.
    full: bool,
    missed: u64,
}

/// What has come of a sender.
#[derive(Debug, Default)]
struct Account {
    /// Access units handed on.
    taken: u64,
    /// Those that could not be decoded, or for which there was no room.
    missed: u64,
    /// Key frames asked for.
    asked: u64,
}

impl Sender {
    /// Makes a sender of who offers, and the answer. It has the path from now on.
    pub(super) fn join(
        offer: &str,
        path: &str,
        intakes: &Intakes,
        house: &House,
        now: Instant,
    ) -> Result<(Self, String), Problem> {
        let bad_offer = |reason: String| Problem::Refused(Refusal::BadOffer(reason));
        let parsed = Offer::parse(offer).map_err(bad_offer)?;
        let encoders = offer::encoders(offer);
        if encoders.is_empty() {
            return Err(Problem::NoEncoder);
        }
        let config = config(house, &encoders);
        let answered = Engine::answer(config, house, parsed, now);
        let (engine, answer) = answered.map_err(bad_offer)?;
        let no_video = || bad_offer("no m=video section that sends".to_owned());
        let mid = video(offer, &engine.rtc).ok_or_else(no_video)?;
        let place = match intakes.begin(path).map_err(Problem::Publish)? {
            Begun::Session(session) => Place::Session(session),
            Begun::Waits => Place::Waits(Waiting {
                changes: intakes.changes(),
                until: now + WAIT_MAX,
                held: VecDeque::new(),
                bytes: 0,
                full: false,
                missed: 0,
            }),
        };
        tracing::info!(path, "a sender by WebRTC");
        let sender = Self {
            engine,
            mid,
            path: path.to_owned(),
            intakes: intakes.clone(),
            place,
            timeline: Timeline::default(),
            continuity: Continuity::new(),
            pictured: None,
            account: Account::default(),
        };
        Ok((sender, answer))
    }

    fn take(&mut self, media: MediaData) {
        if media.mid != self.mid || self.engine.leaving().is_some() {
            return;
        }
        let now = Instant::now();
        self.pictured = Some(now);
        let keyframe = media.is_keyframe();
        if !self.continuity.take(keyframe, media.contiguous, now) {
            self.miss();
            return;
        }
        let arrived_ns = monotonic_ns();
        let ticks = media.time.rebase(Frequency::NINETY_KHZ).numer();
        let media_ns = ticks.wrapping_mul(100_000) / 9;
        let unit = Unit {
            pts_ns: self.timeline.live(media_ns, arrived_ns),
            arrived_ns,
            keyframe,
            data: media.data,
        };
        self.hand_on(unit);
    }

    fn hand_on(&mut self, unit: Unit) {
        match &mut self.place {
            Place::Session(session) => {
                session.take_unit(&unit);
                self.account.taken += 1;
            }
            Place::Waits(waiting) => {
                // What does not fit is the newest: without its begin the rest would be of no use.
                waiting.full |= waiting.bytes + unit.data.len() > HELD_BYTES_MAX;
                if !waiting.full {
                    waiting.bytes += unit.data.len();
                    waiting.held.push_back(unit);
                } else {
                    waiting.missed += 1;
                    self.account.missed += 1;
                }
            }
        }
    }

    fn miss(&mut self) {
        self.account.missed += 1;
        match &mut self.place {
            Place::Session(session) => session.missed(1),
            Place::Waits(waiting) => waiting.missed += 1,
        }
    }

    /// Hands on what was held, if its stream has come; ends when it does not.
    fn look_for_stream(&mut self, now: Instant) {
        let Place::Waits(waiting) = &mut self.place else {
            return;
        };
        let Ok(mut session) = self.intakes.begin_session(&self.path) else {
            if now >= waiting.until {
                self.engine.close(Leaving::NoStream);
            }
            return;
        };
        for unit in &waiting.held {
            session.take_unit(unit);
            self.account.taken += 1;
        }
        session.missed(waiting.missed);
        if waiting.full {
            // What follows refers to what was not held.
            self.continuity = Continuity::new();
        }
        self.place = Place::Session(session);
    }

    /// Asks for a key frame when one is due, and ends a sender that sends no pictures.
    fn look_after(&mut self, now: Instant) {
        self.look_for_stream(now);
        if let Place::Session(session) = &self.place
            && session.is_closed()
        {
            self.engine.close(Leaving::Ended);
        }
        let silent = self.pictured.is_some_and(|at| now > at + SILENCE_MAX);
        let never = self.pictured.is_none() && now > self.engine.began() + BEGIN_MAX;
        if silent || never {
            self.engine.close(Leaving::Silent);
        }
        // Before its first packet nobody knows of whom to ask it.
        if self.engine.flows() && self.pictured.is_some() && self.continuity.asks(now) {
            let writer = self.engine.rtc.writer(self.mid);
            let asked =
                writer.map(|mut writer| writer.request_keyframe(None, KeyframeRequestKind::Pli));
            match asked {
                Some(Ok(())) => self.account.asked += 1,
                // It has not said that it can be asked.
                other => tracing::debug!(?other, "no key frame can be asked for"),
            }
        }
    }
}

impl Party for Sender {
    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn turn(&mut self, outbox: &mut Outbox) -> Instant {
        let mut deadline = Instant::now();
        for _ in 0..TURN_STEPS_MAX {
            let now = Instant::now();
            self.engine.tick(now);
            self.look_after(now);
            deadline = self.drain(outbox);
            if deadline > now {
                break;
            }
        }
        deadline.min(Instant::now() + LOOK_INTERVAL)
    }

    fn drain(&mut self, outbox: &mut Outbox) -> Instant {
        loop {
            match self.engine.poll() {
                Polled::Nothing(deadline) => return deadline,
                Polled::Transmit(transmit) => outbox.push(transmit),
                Polled::Event(Event::MediaData(media)) => self.take(media),
                Polled::Event(_) => {}
            }
        }
    }

    /// Until its path is taken away, or its stream may be there.
    async fn wait(&mut self) {
        match &mut self.place {
            Place::Session(session) if self.engine.leaving().is_none() => session.closed().await,
            Place::Waits(waiting) => {
                // It fails only when the gateway ends.
                if waiting.changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Place::Session(_) => std::future::pending().await,
        }
    }

    fn report(&self, path: &str) {
        tracing::info!(
            path,
            reason = self.engine.leaving().map(tracing::field::display),
            taken = self.account.taken,
            missed = self.account.missed,
            asked = self.account.asked,
            "a sender by WebRTC has gone"
        );
    }
}

fn config(house: &House, encoders: &[ProfileLevel]) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::TransportSequenceNumber);
    extensions.set(2, Extension::RtpMid);
    extensions.set(3, Extension::AbsoluteSendTime);
    let mut config = house.config().set_extension_map(extensions);
    let codecs = config.codec_config();
    for (payload_type, encoder) in (PAYLOAD_TYPE..).step_by(2).zip(encoders) {
        let resend = payload_type + 1;
        codecs.add_h264(payload_type.into(), Some(resend.into()), true, encoder.id());
    }
    config
}

/// The first video that an answered offer wants to send.
fn video(offer: &str, rtc: &Rtc) -> Option<Mid> {
    offer::videos(offer).find(|mid| {
        let media = rtc.media(*mid);
        media.is_some_and(|media| media.direction().is_receiving())
    })
}
