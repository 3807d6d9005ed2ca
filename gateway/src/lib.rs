//! Serves every encoded stream to its viewers, by RTSP on one port, from the
//! one encode there is.
//!
//! | room | what for | thread |
//! |---|---|---|
//! | [`run`] | the worker's life: spec, loop, drain | main |
//! | `feed` | one stream: counts access units and hands them over | main |
//! | `gop` | the group of pictures a new viewer begins with | main |
//! | `plan` | from one spec to another: pure | main |
//! | `timeline` | PTS to running time | main |
//! | `server` | RTSP: mounts, media, sessions | `rtsp`, and one a connection |
//!
//! Invariants:
//! - An access unit is copied once, from the bus, however many watch.
//! - Nothing on the main thread waits for a viewer: what the media does not take is dropped and
//!   counted, and viewers go on at the next key frame.
//! - Every access unit received is `forwarded`, `unwatched` or dropped in the same turn.
//! - Nothing is encoded, transcoded or written to disk here.

mod feed;
mod gop;
mod plan;
mod server;
mod timeline;

use std::time::{Duration, Instant};

use contract::control::{FromWorker, ToWorker};
use contract::spec::{GatewaySpec, GatewayStreamSpec, Role, WorkerSpec};
use frame_bus::{Bus, BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::feed::Feed;
use crate::plan::Plan;
use crate::server::{ELEMENTS, END_FLUSH, Mount, Server};

/// Longest turn of the main loop, so that the books show it is alive.
const TURN_MAX: Duration = Duration::from_millis(200);

/// After the order to drain, the ends of streams are waited for so long.
const DRAIN_MAX: Duration = Duration::from_millis(1500);

/// Why the gateway cannot go on.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(
        "cannot listen for RTSP on {address}:{port}: {reason}; stop what uses the port, or choose another address or port"
    )]
    Listen {
        address: String,
        port: String,
        reason: String,
    },
    #[error("GStreamer does not start: {0}")]
    GStreamer(#[from] gstreamer::glib::Error),
    #[error("GStreamer has no element `{0}`: install its plug-ins, `sluice doctor` says which")]
    NoElement(&'static str),
    #[error("cannot start the RTSP server's thread: {0}")]
    Thread(std::io::Error),
    #[error("{0}")]
    Bus(#[from] BusError),
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Listen { .. } | GatewayError::NoElement(_) => {
                Self::bad_config(error.to_string())
            }
            GatewayError::GStreamer(_) | GatewayError::Thread(_) | GatewayError::Bus(_) => {
                Self::failed(error.to_string())
            }
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
    control.send(FromWorker::Warming("opening the RTSP server".to_owned()));
    let mut gateway = Gateway::open(&spec, role)?;
    control.on_message({
        let waker = gateway.waker.clone();
        move || waker.wake()
    });
    control.send(FromWorker::Ready(gateway.serves()));

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
                ToWorker::Configure(_) | ToWorker::Start | ToWorker::EventCommitted(_) => {}
            }
        }
        gateway.turn(TURN_MAX).map_err(GatewayError::from)?;
        if drain_until.is_some_and(|until| gateway.has_ended() || Instant::now() >= until) {
            gateway.close().map_err(GatewayError::from)?;
            break;
        }
    }
    Ok(())
}

/// The server and what feeds it.
struct Gateway {
    spec: GatewaySpec,
    feeds: Vec<Feed>,
    server: Server,
    bus: Bus,
    listener: Listener,
    waker: Waker,
}

impl Gateway {
    fn open(spec: &WorkerSpec, role: &GatewaySpec) -> Result<Self, GatewayError> {
        gstreamer::init()?;
        let missing = |name: &&&str| gstreamer::ElementFactory::find(name).is_none();
        if let Some(name) = ELEMENTS.iter().find(missing) {
            return Err(GatewayError::NoElement(name));
        }
        let bus = Bus::open(&spec.bus, &spec.worker.to_string())?;
        let waker = Waker::open(&bus, &spec.worker)?;
        let mut gateway = Self {
            spec: role.clone(),
            feeds: Vec::new(),
            server: Server::new(&role.address, role.rtsp_port, waker.clone()),
            listener: Listener::open(&bus, &spec.worker)?,
            bus,
            waker,
        };
        gateway.feeds = gateway.open_feeds(&role.streams, spec.incarnation)?;
        gateway.feeds.iter().for_each(Feed::show);
        gateway.server.listen()?;
        Ok(gateway)
    }

    /// `incarnation` is over 0 when what was missed before was missed by a crash.
    fn open_feeds(
        &self,
        streams: &[GatewayStreamSpec],
        incarnation: u32,
    ) -> Result<Vec<Feed>, BusError> {
        let open = |stream: &GatewayStreamSpec| {
            let mount = self.mount(stream);
            Feed::open(&self.bus, &stream.stream, &stream.book, incarnation, mount)
        };
        streams.iter().map(open).collect()
    }

    fn mount(&self, stream: &GatewayStreamSpec) -> Mount {
        self.server.mount(format!("/{}", stream.mount))
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
        // A path may go from one stream to another, so all are left before any is taken.
        let goes = |feed: &mut Feed| plan.removed.contains(feed.stream());
        for mut feed in self.feeds.extract_if(.., goes) {
            feed.retire()?;
        }
        let wanted = |feed: &Feed| {
            let mut moved = plan.moved.iter();
            moved.find(|stream| stream.stream == *feed.stream())
        };
        for feed in &mut self.feeds {
            if wanted(feed).is_some() {
                feed.retire()?;
            }
        }
        for index in 0..self.feeds.len() {
            if let Some(stream) = wanted(&self.feeds[index]) {
                let mount = self.mount(stream);
                self.feeds[index].move_to(mount);
            }
        }
        added.iter().for_each(Feed::show);
        self.feeds.extend(added);
        self.spec = plan.wanted;
        Ok(Ok(plan.notes))
    }

    fn serves(&self) -> String {
        let role = &self.spec;
        let mounts: Vec<&str> = role
            .streams
            .iter()
            .map(|stream| stream.mount.as_str())
            .collect();
        format!(
            "rtsp://{}:{} serving {}",
            role.address,
            self.server.port(),
            mounts.join(", ")
        )
    }

    /// Hands over what has come; waits up to `timeout` when nothing more has.
    fn turn(&mut self, timeout: Duration) -> Result<(), BusError> {
        let mut more = false;
        for feed in &mut self.feeds {
            more |= feed.turn()?;
        }
        self.listener
            .wait(if more { Duration::ZERO } else { timeout })?;
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.feeds.iter().all(Feed::has_ended)
    }

    /// Sends all viewers home and gives the last access units time to go out.
    fn close(&mut self) -> Result<(), BusError> {
        self.feeds.iter_mut().for_each(Feed::close);
        let until = Instant::now() + END_FLUSH;
        while Instant::now() < until {
            self.turn(until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }
}
