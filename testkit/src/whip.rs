//! A sender by WebRTC, begun by WHIP: the same engine as the server, with a socket and a thread of
//! its own.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::wait::wait_until;
use crate::whep::{Answer, ask};

/// Its thread looks at what it is told so often.
const TICK: Duration = Duration::from_millis(10);

/// From one picture to the next.
const INTERVAL: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Shared {
    /// Pictures sent.
    sent: AtomicU64,
    /// Key frames that it was asked for.
    asked: AtomicU64,
    gone: AtomicBool,
    /// It sends no pictures any more, and stays.
    mute: AtomicBool,
    /// One of so many datagrams is lost.
    loses_one_of: AtomicU32,
    stop: AtomicBool,
}

/// A sender. It goes, without a word, when dropped.
pub struct Whip {
    port: u16,
    /// To its offer; with another status than 201 it does not send.
    pub answer: Answer,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Whip {
    /// Sends these access units at `path`, one after the other and then again: byte streams of
    /// H.264, of which the first is a key frame. What it is asked for it does not do.
    ///
    /// # Panics
    /// When nobody listens, or the answer does not fit the offer.
    #[must_use]
    pub fn publish(port: u16, path: &str, units: Vec<Vec<u8>>) -> Self {
        Self::begin(port, path, "", units)
    }

    /// The same with a bearer token.
    ///
    /// # Panics
    /// As [`Self::publish`].
    #[must_use]
    pub fn publish_with(port: u16, path: &str, token: &str, units: Vec<Vec<u8>>) -> Self {
        let header = format!("\r\nAuthorization: Bearer {token}");
        Self::begin(port, path, &header, units)
    }

    fn begin(port: u16, path: &str, header: &str, units: Vec<Vec<u8>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let local = socket.local_addr().expect("bound");
        let (mut rtc, offer, pending, mid) = offer(local);
        let answer = ask(
            port,
            "POST",
            &format!("/{path}/whip"),
            Some((&format!("application/sdp{header}"), &offer)),
        );
        let shared = Arc::<Shared>::default();
        let thread = (answer.status == 201).then(|| {
            let sdp = SdpAnswer::from_sdp_string(&answer.body).expect("an answer");
            let accepted = rtc.sdp_api().accept_answer(pending, sdp);
            accepted.expect("an answer to the offer");
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(rtc, &socket, local, mid, &units, &shared))
        });
        Self {
            port,
            answer,
            shared,
            thread,
        }
    }

    /// Pictures sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Key frames that it was asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// It is told that this is the end.
    #[must_use]
    pub fn is_sent_home(&self, within: Duration) -> bool {
        wait_until(within, || self.shared.gone.load(Ordering::Relaxed))
    }

    /// Sends no pictures any more, and does not say so.
    pub fn mute(&self) {
        self.shared.mute.store(true, Ordering::Relaxed);
    }

    /// From now on one of so many datagrams is lost on its way; 0 is none.
    pub fn lose_one_of(&self, count: u32) {
        self.shared.loses_one_of.store(count, Ordering::Relaxed);
    }

    /// Where its session is.
    ///
    /// # Panics
    /// When it was not let in.
    #[must_use]
    pub fn session(&self) -> &str {
        self.answer.header("location").expect("a session")
    }

    /// Says good-bye by HTTP.
    #[must_use]
    pub fn leave(self) -> Answer {
        ask(self.port, "DELETE", self.session(), None)
    }
}

impl Drop for Whip {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Whip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, asked) = (self.sent(), self.asked());
        write!(
            formatter,
            "a sender of {sent} pictures that was asked for {asked} key frames and {:?}",
            self.answer
        )
    }
}

/// An offer to send video and audio, as browsers and encoders make it.
///
/// # Panics
/// When the engine cannot make one.
#[must_use]
pub fn offer(local: SocketAddr) -> (Rtc, String, str0m::change::SdpPendingOffer, Mid) {
    let config =
        RtcConfig::new().set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()));
    let mut rtc = config.build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").expect("an address"));
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
    let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
    let (offer, pending) = api.apply().expect("there are changes");
    (rtc, offer.to_sdp_string(), pending, mid)
}

fn run(
    mut rtc: Rtc,
    socket: &UdpSocket,
    local: SocketAddr,
    mid: Mid,
    units: &[Vec<u8>],
    shared: &Shared,
) {
    let mut buffer = [0; 2048];
    let (mut datagrams, mut next) = (0_u32, 0);
    let began = Instant::now();
    let mut due: Option<Instant> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let deadline = match rtc.poll_output().expect("the engine runs") {
            Output::Timeout(deadline) => deadline,
            Output::Transmit(transmit) => {
                datagrams += 1;
                let one_of = shared.loses_one_of.load(Ordering::Relaxed);
                if one_of == 0 || !datagrams.is_multiple_of(one_of) {
                    // The other end may be gone.
                    let _ = socket.send_to(&transmit.contents, transmit.destination);
                }
                continue;
            }
            Output::Event(event) => {
                match event {
                    Event::Connected => due = Some(Instant::now()),
                    Event::Closed => shared.gone.store(true, Ordering::Relaxed),
                    Event::KeyframeRequest(_) => {
                        shared.asked.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
                continue;
            }
        };
        if !rtc.is_alive() {
            shared.gone.store(true, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        let mute = shared.mute.load(Ordering::Relaxed);
        if let Some(at) = due.filter(|at| *at <= now && !mute) {
            let writer = rtc.writer(mid).expect("there is this media");
            let payload_type = payload_type(&writer.payload_params().collect::<Vec<_>>());
            let ticks = (at - began).as_micros() as u64 * 9 / 100;
            let unit = &units[next % units.len()][..];
            let written = writer.write(payload_type, now, MediaTime::from_90khz(ticks), unit);
            written.expect("it was negotiated");
            next += 1;
            shared.sent.store(next as u64, Ordering::Relaxed);
            due = Some(at + INTERVAL);
            continue;
        }
        let wait = deadline.min(due.unwrap_or(deadline));
        let wait = wait.saturating_duration_since(now);
        let wait = wait.clamp(Duration::from_millis(1), TICK);
        socket.set_read_timeout(Some(wait)).expect("not zero");
        let received = socket.recv_from(&mut buffer);
        let contents = received.ok().and_then(|(length, source)| {
            Receive::new(Protocol::Udp, source, local, &buffer[..length]).ok()
        });
        let input = match contents {
            Some(contents) => Input::Receive(Instant::now(), contents),
            None => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).expect("the engine runs");
    }
}

/// That of H.264, which is all that is answered.
fn payload_type(negotiated: &[&str0m::format::PayloadParams]) -> Pt {
    let mut h264 = negotiated.iter().filter(|params| {
        let format = &params.spec().format;
        params.spec().codec == str0m::format::Codec::H264 && format.packetization_mode == Some(1)
    });
    h264.next().expect("H.264 was answered").pt()
}
