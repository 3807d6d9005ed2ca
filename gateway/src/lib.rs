//! Serves every encoded stream to its viewers, each protocol on one port, from
//! the encodes there are.
//!
//! | room | what for | thread |
//! |---|---|---|
//! | [`run`] | the worker's life: spec, loop, drain | main |
//! | `feed` | one stream: counts access units and hands them over | main |
//! | `channel` | the ring of one encode that viewers read from | main, and theirs |
//! | `ladder` | the encodes of a stream, a channel each | any |
//! | `rate` | the bit rate of an encode: pure | main |
//! | `intake` | what senders publish, in chunks to the bus | `network`; paths change on main |
//! | `plan` | from one spec to another: pure | main |
//! | `servers`, `directory` | which protocols are listened for, and what is at which path | main |
//! | `network` | the event loop of all protocols but RTSP | `network` |
//! | `http` | HTTP within limits | `network` |
//! | `hls` | playlists, segments, a page | `network` |
//! | `timeline` | from PTS to the time of one viewing: pure | theirs |
//! | `rtsp` | mounts, media, sessions | `rtsp`, and one a connection |
//! | `webrtc` | WHEP and WHIP over HTTP, one UDP socket, a task a session | `network` |
//! | `srt` | the port of SRT, its viewers and senders | `network`, and libsrt's own |
//! | `push` | streams that are pushed to others | `network`, and GStreamer's own |
//! | `mpegts` | access units as MPEG-TS: pure | any |
//!
//! Invariants:
//! - An access unit is copied once from the bus, and then only where a protocol has to change it: into
//!   packets that are encrypted for one viewer.
//! - Nothing on the main thread waits for a viewer: what one does not take is dropped for that one
//!   and counted, and it goes on at the next key frame.
//! - Every access unit received is `forwarded`, `unwatched` or dropped in the same turn.
//! - Nothing is encoded, transcoded or written to disk here.

mod channel;
mod directory;
mod feed;
mod hls;
mod http;
mod intake;
mod ladder;
mod mpegts;
mod network;
mod plan;
mod push;
mod rate;
mod rtsp;
mod servers;
mod srt;
mod timeline;
mod webrtc;

use std::time::{Duration, Instant};

use contract::control::{FromWorker, ToWorker};
use contract::name::StreamName;
use contract::push::PushAddress;
use contract::spec::{GatewaySpec, GatewayStreamSpec, Protocol, Role, WorkerSpec};
use frame_bus::{Bus, BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::channel::Channel;
use crate::feed::Feed;
use crate::intake::{Intakes, Knock};
use crate::ladder::{Ladder, Rung};
use crate::plan::{Place, Plan};
use crate::push::Pushes;
use crate::rtsp::END_FLUSH;
use crate::servers::Servers;

/// Longest turn of the main loop, so that the books show it is alive.
const TURN_MAX: Duration = Duration::from_millis(200);

/// After the order to drain, the ends of streams are waited for so long.
const DRAIN_MAX: Duration = Duration::from_millis(1500);

/// Why the gateway cannot go on.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(
        "cannot listen for {protocol} on {address}:{port}: {reason}; stop what uses the port, or choose another address or port"
    )]
    Listen {
        protocol: Protocol,
        address: String,
        port: String,
        reason: String,
    },
    #[error("GStreamer does not start: {0}")]
    GStreamer(#[from] gstreamer::glib::Error),
    #[error("GStreamer has no element `{0}`: install its plug-ins, `sluice doctor` says which")]
    NoElement(&'static str),
    #[error("SRT cannot be served: {0}")]
    Srt(#[from] ::srt::Error),
    #[error("the passphrase of SRT does not fit: {0}")]
    Passphrase(#[from] ::srt::PassphraseError),
    #[error("the address of a push does not fit: {0}")]
    PushAddress(String),
    #[error("cannot start a server's thread: {0}")]
    Thread(std::io::Error),
    #[error("{0}")]
    Bus(#[from] BusError),
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Listen { .. }
            | GatewayError::NoElement(_)
            | GatewayError::PushAddress(_)
            | GatewayError::Passphrase(_) => Self::bad_config(error.to_string()),
            GatewayError::GStreamer(_)
            | GatewayError::Thread(_)
            | GatewayError::Srt(_)
            | GatewayError::Bus(_) => Self::failed(error.to_string()),
        }
    }
}

/// Serves the streams of `spec` until told to drain.
///
/// # Errors
/// [`Failure::bad_config`] when the address cannot be listened on or GStreamer lacks an
/// element, otherwise a failure of the bus.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature of every worker's `run`"
)]
pub fn run(spec: WorkerSpec, control: Control) -> Result<(), Failure> {
    let Role::Gateway(role) = &spec.role else {
        return Err(Failure::bad_config(format!(
            "{} is not a gateway's spec",
            spec.worker
        )));
    };
    control.send(FromWorker::Warming("opening the servers".to_owned()));
    let mut gateway = Gateway::open(&spec, role)?;
    control.on_message({
        let waker = gateway.waker.clone();
        move || waker.wake()
    });
    control.send(FromWorker::Ready(gateway.servers.describe()));

    let mut drain_until = None;
    while !control.stopping() {
        while let Some(message) = control.try_receive() {
            match message {
                ToWorker::Drain => {
                    drain_until.get_or_insert_with(|| Instant::now() + DRAIN_MAX);
                }
                ToWorker::Reconfigure { generation, role } => {
                    let result = gateway.reconfigure(*role)?;
                    control.reconfigured(generation, result);
                }
                ToWorker::Configure(_)
                | ToWorker::Start
                | ToWorker::EventCommitted(_)
                | ToWorker::Wanted(_) => {}
            }
        }
        gateway.turn(TURN_MAX).map_err(GatewayError::from)?;
        for feed in &mut gateway.feeds {
            if let Some(wanted) = feed.demand() {
                let stream = feed.stream().clone();
                control.send(FromWorker::Wanted { stream, wanted });
            }
        }
        for Knock { stream, rule, full } in gateway.intakes.take_knocks() {
            control.send(FromWorker::Knocked { stream, rule, full });
        }
        if drain_until.is_some_and(|until| gateway.has_ended() || Instant::now() >= until) {
            gateway.close().map_err(GatewayError::from)?;
            break;
        }
    }
    Ok(())
}

/// The servers and what feeds them.
struct Gateway {
    spec: GatewaySpec,
    feeds: Vec<Feed>,
    intakes: Intakes,
    pushes: Pushes,
    servers: Servers,
    bus: Bus,
    /// Counts the gateway's starts.
    incarnation: u32,
    listener: Listener,
    waker: Waker,
}

impl Gateway {
    fn open(spec: &WorkerSpec, role: &GatewaySpec) -> Result<Self, GatewayError> {
        gstreamer::init()?;
        let bus = Bus::open(&spec.bus, &spec.worker.to_string())?;
        let waker = Waker::open(&bus, &spec.worker)?;
        let intakes = Intakes::new(waker.clone());
        intakes.accept(&role.accept);
        let mut gateway = Self {
            spec: role.clone(),
            feeds: Vec::new(),
            intakes: intakes.clone(),
            pushes: Pushes::default(),
            servers: Servers::new(role, intakes, waker.clone()),
            listener: Listener::open(&bus, &spec.worker)?,
            bus,
            incarnation: spec.incarnation,
            waker,
        };
        // Its queues are there before anybody can ask for what is in them.
        gateway.feeds = gateway.open_feeds(&role.streams, spec.incarnation)?;
        let (bus, intakes) = (&gateway.bus, &gateway.intakes);
        intakes.open(bus, &role.intakes, spec.incarnation)?;
        gateway.servers.listen(role)?;
        for stream in &role.streams {
            gateway.show(stream)?;
        }
        Ok(gateway)
    }

    /// `incarnation` is over 0 when what was missed before was missed by a crash.
    fn open_feeds(
        &self,
        streams: &[GatewayStreamSpec],
        incarnation: u32,
    ) -> Result<Vec<Feed>, BusError> {
        let open = |stream: &GatewayStreamSpec| Feed::open(&self.bus, stream, incarnation);
        streams.iter().map(open).collect()
    }

    /// Serves a stream at all its places.
    fn show(&mut self, stream: &GatewayStreamSpec) -> Result<(), GatewayError> {
        for (protocol, path) in &stream.paths {
            let place = Place {
                stream: stream.stream.clone(),
                protocol: *protocol,
                path: path.clone(),
            };
            self.open_place(&place, &stream.qualities);
        }
        self.push(stream)
    }

    /// Pushes a stream to those it is to be pushed to, and to nobody else.
    fn push(&mut self, stream: &GatewayStreamSpec) -> Result<(), GatewayError> {
        let waker = self.waker.clone();
        let mut feeds = self.feeds.iter_mut();
        let Some(feed) = feeds.find(|feed| *feed.stream() == stream.stream) else {
            return Ok(());
        };
        if stream.pushes.is_empty() != feed.pushed().is_none() {
            let channel = || Channel::new(move || waker.wake());
            feed.push_through((!stream.pushes.is_empty()).then(channel));
        }
        let Some(channel) = feed.pushed() else {
            self.pushes.stop(&stream.stream);
            return Ok(());
        };
        let network = self.servers.network()?;
        self.pushes
            .follow(network, &stream.stream, &stream.pushes, channel)
    }

    /// Goes over to another spec. Streams that stay where they are notice nothing. The inner
    /// result is the answer: what was done, or why nothing was.
    fn reconfigure(&mut self, wanted: Role) -> Result<Result<Vec<String>, String>, GatewayError> {
        let plan = match Plan::between(&self.spec, wanted) {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason)),
        };
        let added = match self.open_feeds(&plan.added, 0) {
            Ok(added) => added,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let requalified = |stream: &&GatewayStreamSpec| plan.requalified.contains(&stream.stream);
        let requalified = plan.wanted.streams.iter().filter(requalified);
        let subscribers = requalified.map(|stream| {
            let subscriber = feed::subscribe(&self.bus, stream)?;
            Ok((stream.clone(), subscriber))
        });
        let subscribers = match subscribers.collect::<Result<Vec<_>, BusError>>() {
            Ok(subscribers) => subscribers,
            Err(error) => return Ok(Err(error.to_string())),
        };
        // Nothing is touched for a push that cannot be.
        let pushes = plan.wanted.streams.iter().flat_map(|stream| &stream.pushes);
        for push in pushes {
            if let Err(reason) = PushAddress::parse(&push.location) {
                return Ok(Err(GatewayError::PushAddress(reason).to_string()));
            }
        }
        if let Err(error) = self.servers.listen(&plan.wanted) {
            return Ok(Err(error.to_string()));
        }
        for intake in &plan.intakes_closed {
            self.intakes.close(&intake.path);
        }
        self.intakes
            .open(&self.bus, &plan.intakes_opened, self.incarnation)?;
        self.intakes.accept(&plan.wanted.accept);
        // A path may go from one stream to another, so all are left before any is taken.
        for stream in &self.spec.streams {
            if plan.removed.contains(&stream.stream) {
                for (protocol, path) in &stream.paths {
                    self.servers.hide(*protocol, path);
                }
            }
        }
        let goes = |feed: &mut Feed| plan.removed.contains(feed.stream());
        for mut feed in self.feeds.extract_if(.., goes) {
            self.pushes.stop(feed.stream());
            feed.retire()?;
        }
        for place in &plan.closed {
            self.servers.hide(place.protocol, &place.path);
            if let Some(feed) = self.feed(&place.stream) {
                feed.close(place.protocol)?;
            }
        }
        self.feeds.extend(added);
        for (stream, subscriber) in subscribers {
            if let Some(feed) = self.feed(&stream.stream) {
                feed.take_from(subscriber)?;
            }
            self.show(&stream)?;
        }
        for place in &plan.opened {
            let mut streams = plan.wanted.streams.iter();
            if let Some(stream) = streams.find(|stream| stream.stream == place.stream) {
                self.open_place(place, &stream.qualities);
            }
        }
        for stream in &plan.added {
            self.show(stream)?;
        }
        for stream in plan
            .wanted
            .streams
            .iter()
            .filter(|stream| plan.pushed.contains(&stream.stream))
        {
            self.push(stream)?;
        }
        self.spec = plan.wanted;
        Ok(Ok(plan.notes))
    }

    fn feed(&mut self, stream: &StreamName) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.stream() == stream)
    }

    /// Serves a stream with these qualities at one of its places. Those that it is served in
    /// there already stay as they are.
    fn open_place(&mut self, place: &Place, qualities: &[u32]) {
        let Self {
            feeds,
            servers,
            waker,
            ..
        } = self;
        let mut feeds = feeds.iter_mut();
        let Some(feed) = feeds.find(|feed| *feed.stream() == place.stream) else {
            return;
        };
        let Place { protocol, path, .. } = place;
        let ladder = Ladder::new(qualities, |height| {
            let known = feed.channel(*protocol, height);
            known.cloned().unwrap_or_else(|| {
                let waker = waker.clone();
                Channel::new(move || waker.wake())
            })
        });
        servers.show(*protocol, path, ladder.clone());
        let mount = |rung: &Rung| servers.mount(*protocol, path, rung);
        feed.serve(*protocol, &ladder, mount);
    }

    /// Hands over what has come; waits up to `timeout` when nothing more has.
    fn turn(&mut self, timeout: Duration) -> Result<(), BusError> {
        let mut more = false;
        for feed in &mut self.feeds {
            more |= feed.turn()?;
        }
        self.intakes.tick();
        self.listener
            .wait(if more { Duration::ZERO } else { timeout })?;
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.feeds.iter().all(Feed::has_ended)
    }

    /// Sends all viewers home and gives the last access units time to go out.
    fn close(&mut self) -> Result<(), BusError> {
        for intake in &self.spec.intakes {
            self.intakes.close(&intake.path);
        }
        self.feeds.iter_mut().for_each(Feed::end);
        let until = Instant::now() + END_FLUSH;
        while Instant::now() < until {
            self.turn(until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }
}
