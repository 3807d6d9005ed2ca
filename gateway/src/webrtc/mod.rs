//! Streams served and taken in by WebRTC: one HTTP port for WHEP and WHIP, and the UDP port of the
//! same number for the media of all viewers and senders.
//!
//! | room | what for |
//! |---|---|
//! | `reception`, `whep` | offers in, answers out; the page for browsers |
//! | `offer` | whether an offer's decoders suit the stream, and its encoders us: pure |
//! | `engine` | one session: connecting, living, leaving |
//! | `viewer` | one viewer: from the channel to datagrams, without I/O |
//! | `pace` | what a viewer is sent next, and when: pure |
//! | `quality` | which encode a viewer is sent: pure |
//! | `sender` | one sender: from datagrams to its path's intake, without I/O |
//! | `continuity` | what of a sender can be decoded, and when it is asked for a key frame: pure |
//! | `sessions` | a task for each session, and which a datagram is from |
//! | `socket` | the UDP socket |
//! | `addresses` | where we are found |
//!
//! An access unit is copied three times for each viewer: to the engine, into packets, and from
//! there encrypted to the socket. The ring itself is read in place, and nothing is queued beyond
//! what the pacer lets go in a tenth of a second.

mod addresses;
mod continuity;
mod engine;
mod offer;
mod pace;
mod quality;
mod reception;
mod sender;
mod sessions;
mod socket;
mod viewer;
mod whep;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use contract::spec::{Protocol, Secret};

use self::engine::House;
use self::reception::Reception;
use self::sessions::Sessions;
use self::socket::Socket;
use crate::GatewayError;
use crate::directory::Directory;
use crate::http::Listener;
use crate::intake::Intakes;
use crate::network::Network;

/// Tries to find a number that is free for TCP and UDP, where any will do.
const PORT_TRIES_MAX: usize = 16;

/// The server. It ends with the network thread.
pub(crate) struct Server {
    port: u16,
}

/// Where to listen.
pub(crate) struct Place {
    /// Our own address, or that of all networks.
    pub(crate) address: String,
    /// 0 is any that is free.
    pub(crate) port: u16,
    /// Where we are found besides our own addresses.
    pub(crate) hosts: Vec<IpAddr>,
    /// What senders must have.
    pub(crate) token: Option<Secret>,
}

impl Server {
    /// Begins to listen, serves what is in `directory`, and takes what is published at `intakes`.
    pub(crate) fn begin(
        network: &Network,
        place: &Place,
        directory: Directory,
        intakes: Option<Intakes>,
    ) -> Result<Self, GatewayError> {
        let failed = |reason: String| GatewayError::Listen {
            protocol: Protocol::Webrtc,
            address: place.address.clone(),
            port: place.port.to_string(),
            reason,
        };
        // The sockets belong to its event loop.
        let _inside = network.handle().enter();
        let bound = bind(place);
        let (listener, socket) = bound.map_err(|error| failed(error.to_string()))?;
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate = crypto.dtls_provider.generate_certificate();
        let certificate =
            certificate.ok_or_else(|| failed("no certificate can be made".to_owned()))?;

        let (socket, sessions) = (Arc::new(socket), Sessions::default());
        let port = socket.address().port();
        let reception = Reception {
            house: House {
                crypto,
                certificate,
                addresses: addresses::reached_at(socket.address(), &place.hosts),
            },
            directory,
            intakes,
            token: place.token.clone(),
            sessions: sessions.clone(),
            socket: Arc::clone(&socket),
        };
        network.spawn(async move {
            let hand_over = |datagram| sessions.hand_over(datagram);
            socket.receive(hand_over).await;
        });
        network.spawn(listener.serve(reception::router(reception)));
        Ok(Self { port })
    }

    /// The port of both, which is listened on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Both sockets on one number.
fn bind(place: &Place) -> io::Result<(Listener, Socket)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let listener = Listener::bind(&place.address, place.port)?;
        let ip: IpAddr = place.address.parse().map_err(io::Error::other)?;
        match Socket::bind(SocketAddr::new(ip, listener.port())) {
            Err(error)
                if place.port == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && tries < PORT_TRIES_MAX => {}
            socket => return Ok((listener, socket?)),
        }
    }
}
