//! Serves every encoded stream to its viewers, by RTSP on one port, from the
//! one encode there is.
//!
//! | room | what for | thread |
//! |---|---|---|
//! | [`run`] | the worker's life: spec, loop, drain | main |
//! | `feed` | one stream: counts access units and hands them over | main |
//! | `gop` | the group of pictures a new viewer begins with | main |
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
mod server;
mod timeline;

use std::time::{Duration, Instant};

use contract::control::{FromWorker, ToWorker};
use contract::spec::{GatewaySpec, Role, WorkerSpec};
use frame_bus::{Bus, BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::feed::Feed;
use crate::server::{ELEMENTS, END_FLUSH, Server};

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
        port: u16,
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
    control.send(FromWorker::Ready(gateway.serves(role)));

    let mut drain_until = None;
    while !control.stopping() {
        while let Some(message) = control.try_receive() {
            if matches!(message, ToWorker::Drain) {
                drain_until.get_or_insert_with(|| Instant::now() + DRAIN_MAX);
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
    feeds: Vec<Feed>,
    server: Server,
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
        let listener = Listener::open(&bus, &spec.worker)?;
        let waker = Waker::open(&bus, &spec.worker)?;
        let paths = role
            .streams
            .iter()
            .map(|stream| format!("/{}", stream.mount));
        let (server, mounts) = Server::open(&role.address, role.rtsp_port, paths, &waker)?;
        let feeds = role
            .streams
            .iter()
            .zip(mounts)
            .map(|(stream, mount)| {
                Feed::open(&bus, &stream.stream, &stream.book, spec.incarnation, mount)
            })
            .collect::<Result<_, BusError>>()?;
        Ok(Self {
            feeds,
            server,
            listener,
            waker,
        })
    }

    fn serves(&self, role: &GatewaySpec) -> String {
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
