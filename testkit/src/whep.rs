//! A viewer by WebRTC, begun by WHEP: the same engine as the server, with a socket and a thread of
//! its own.

use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::wait::wait_until;

/// Its thread looks at what it is told so often.
const TICK: Duration = Duration::from_millis(20);

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The code; 0 when none came.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// What follows them.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Asks a server of this machine once. `body` is the content type and the content.
///
/// # Panics
/// When nobody listens.
#[must_use]
pub fn ask(port: u16, method: &str, target: &str, body: Option<(&str, &str)>) -> Answer {
    let (kind, body) = body.unwrap_or(("", ""));
    let kind = if kind.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {kind}\r\n")
    };
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    // It may answer, and close, before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A picture as it was received.
#[derive(Debug, Clone)]
pub struct Picture {
    /// RTP time.
    pub ticks: u64,
    /// H.264 byte stream.
    pub data: Arc<[u8]>,
    /// By the monotonic clock.
    pub received_ns: u64,
    /// The extension that asks for no delay was there.
    pub undelayed: bool,
}

#[derive(Default)]
struct Shared {
    pictures: Mutex<Vec<Picture>>,
    gone: AtomicBool,
    /// It reads nothing any more.
    frozen: AtomicBool,
    /// One of so many datagrams is lost.
    loses_one_of: AtomicU32,
    /// What its network lets through, in kbit/s; 0: all.
    limit_kbps: AtomicU32,
    asks: AtomicBool,
    stop: AtomicBool,
}

/// A viewer. It goes, without a word, when dropped.
pub struct Whep {
    port: u16,
    /// To its offer; with another status than 201 it does not watch.
    pub answer: Answer,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Whep {
    /// Watches what is at `path`.
    ///
    /// # Panics
    /// When nobody listens, or the answer does not fit the offer.
    #[must_use]
    pub fn watch(port: u16, path: &str) -> Self {
        Self::with(port, path, |config| config)
    }

    /// Watches with an engine of another configuration.
    ///
    /// # Panics
    /// As [`Self::watch`].
    #[must_use]
    pub fn with(port: u16, path: &str, change: impl FnOnce(RtcConfig) -> RtcConfig) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let local = socket.local_addr().expect("bound");
        let (mut rtc, offer, pending, mid) = offer(local, change);
        let answer = ask(
            port,
            "POST",
            &format!("/{path}/whep"),
            Some(("application/sdp", &offer)),
        );
        let shared = Arc::<Shared>::default();
        let thread = (answer.status == 201).then(|| {
            let sdp = SdpAnswer::from_sdp_string(&answer.body).expect("an answer");
            let accepted = rtc.sdp_api().accept_answer(pending, sdp);
            accepted.expect("an answer to the offer");
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(rtc, &socket, local, mid, &shared))
        });
        Self {
            port,
            answer,
            shared,
            thread,
        }
    }

    /// What has come and was not taken.
    ///
    /// # Panics
    /// When its thread has.
    #[must_use]
    pub fn pictures(&self) -> Vec<Picture> {
        self.shared.pictures.lock().expect("not poisoned").clone()
    }

    /// What has come since it was taken last.
    ///
    /// # Panics
    /// When its thread has.
    #[must_use]
    pub fn take_pictures(&self) -> Vec<Picture> {
        std::mem::take(&mut *self.shared.pictures.lock().expect("not poisoned"))
    }

    /// How many pictures have come and were not taken.
    ///
    /// # Panics
    /// When its thread has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.pictures.lock().expect("not poisoned").len()
    }

    /// So many pictures come in good time.
    #[must_use]
    pub fn receives(&self, pictures: usize) -> bool {
        wait_until(Duration::from_secs(8), || self.count() >= pictures)
    }

    /// It is told that this is the end.
    #[must_use]
    pub fn is_sent_home(&self) -> bool {
        wait_until(Duration::from_secs(5), || {
            self.shared.gone.load(Ordering::Relaxed)
        })
    }

    /// Reads nothing any more, and does not say so.
    pub fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::Relaxed);
    }

    /// From now on one of so many datagrams is lost on the way to it; 0 is none.
    pub fn lose_one_of(&self, count: u32) {
        self.shared.loses_one_of.store(count, Ordering::Relaxed);
    }

    /// From now on its network lets so much through, in kbit/s; 0: all.
    pub fn limit(&self, kbps: u32) {
        self.shared.limit_kbps.store(kbps, Ordering::Relaxed);
    }

    /// Asks for a key frame.
    pub fn ask_for_keyframe(&self) {
        self.shared.asks.store(true, Ordering::Relaxed);
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

impl Drop for Whep {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Whep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        let status = self.answer.status;
        write!(
            formatter,
            "a viewer answered {status}, with {count} pictures"
        )
    }
}

/// An offer to receive video, and an audio that nobody sends, as some players make it.
///
/// # Panics
/// When the engine cannot make one.
pub fn offer(
    local: SocketAddr,
    change: impl FnOnce(RtcConfig) -> RtcConfig,
) -> (Rtc, String, str0m::change::SdpPendingOffer, Mid) {
    let config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_extension(5, str0m::rtp::Extension::PlayoutDelay);
    let mut rtc = change(config).build(Instant::now());
    let candidate = Candidate::host(local, "udp").expect("an address");
    rtc.add_local_candidate(candidate);
    let mut api = rtc.sdp_api();
    let mid = api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().expect("there are changes");
    (rtc, offer.to_sdp_string(), pending, mid)
}

/// The slowest part of the way to a viewer: a queue in front of a line.
#[derive(Default)]
struct Bottleneck {
    /// Datagrams, and when they are through.
    queue: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Bottleneck {
    /// What does not fit into the queue is lost, as in a router.
    const QUEUE_MAX: Duration = Duration::from_millis(200);

    fn take(&mut self, kbps: u32, source: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        let free = self.queue.back().map_or(now, |(at, _, _)| (*at).max(now));
        if free > now + Self::QUEUE_MAX {
            return;
        }
        let bits = datagram.len() as f64 * 8.0;
        let takes = Duration::from_secs_f64(bits / 1000.0 / f64::from(kbps.max(1)));
        let takes = if kbps == 0 { Duration::ZERO } else { takes };
        self.queue
            .push_back((free + takes, source, datagram.to_vec()));
    }

    fn next(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let through = |(at, _, _): &mut (Instant, _, _)| *at <= Instant::now();
        let (_, source, datagram) = self.queue.pop_front_if(through)?;
        Some((source, datagram))
    }

    fn until_next(&self) -> Option<Duration> {
        let (at, _, _) = self.queue.front()?;
        Some(at.saturating_duration_since(Instant::now()))
    }
}

fn run(mut rtc: Rtc, socket: &UdpSocket, local: SocketAddr, mid: Mid, shared: &Shared) {
    let mut buffer = [0; 2048];
    let mut received = 0_u32;
    let mut bottleneck = Bottleneck::default();
    while !shared.stop.load(Ordering::Relaxed) {
        let deadline = match rtc.poll_output().expect("the engine runs") {
            Output::Timeout(deadline) => deadline,
            Output::Transmit(transmit) => {
                // The other end may be gone.
                let _ = socket.send_to(&transmit.contents, transmit.destination);
                continue;
            }
            Output::Event(event) => {
                take(event, shared);
                continue;
            }
        };
        if !rtc.is_alive() {
            shared.gone.store(true, Ordering::Relaxed);
            return;
        }
        if shared.asks.swap(false, Ordering::Relaxed) {
            let mut writer = rtc.writer(mid).expect("there is this media");
            let asked = writer.request_keyframe(None, KeyframeRequestKind::Pli);
            asked.expect("it was negotiated");
            continue;
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        let wait = wait.min(bottleneck.until_next().unwrap_or(TICK));
        let wait = wait.clamp(Duration::from_millis(1), TICK);
        socket.set_read_timeout(Some(wait)).expect("not zero");
        if shared.frozen.load(Ordering::Relaxed) {
            std::thread::park_timeout(TICK);
            continue;
        }
        if let Ok((length, source)) = socket.recv_from(&mut buffer) {
            received += 1;
            let one_of = shared.loses_one_of.load(Ordering::Relaxed);
            if one_of == 0 || !received.is_multiple_of(one_of) {
                let kbps = shared.limit_kbps.load(Ordering::Relaxed);
                bottleneck.take(kbps, source, &buffer[..length]);
            }
        }
        let through = bottleneck.next();
        let contents = through.as_ref().and_then(|(source, datagram)| {
            Receive::new(Protocol::Udp, *source, local, datagram).ok()
        });
        let input = match contents {
            Some(contents) => Input::Receive(Instant::now(), contents),
            None => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).expect("the engine runs");
    }
}

fn take(event: Event, shared: &Shared) {
    match event {
        Event::Closed => shared.gone.store(true, Ordering::Relaxed),
        Event::MediaData(media) => {
            let picture = Picture {
                ticks: media.time.numer(),
                received_ns: monotonic_ns(),
                undelayed: media
                    .ext_vals
                    .play_delay_max
                    .is_some_and(|max| max.numer() == 0),
                data: media.data,
            };
            shared.pictures.lock().expect("not poisoned").push(picture);
        }
        _ => {}
    }
}
