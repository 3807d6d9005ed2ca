//! The servers, one a protocol, each begun with the first stream that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use contract::spec::{GatewaySpec, Protocol, Secret};
use frame_bus::Waker;

use crate::GatewayError;
use crate::directory::Directory;
use crate::hls;
use crate::http;
use crate::intake::Intakes;
use crate::ladder::{Ladder, Rung};
use crate::network::Network;
use crate::rtsp;
use crate::srt;
use crate::webrtc;

/// The servers there are. They stop when dropped.
pub(crate) struct Servers {
    address: String,
    ports: BTreeMap<Protocol, u16>,
    directories: BTreeMap<Protocol, Directory>,
    intakes: Intakes,
    publish: BTreeSet<Protocol>,
    publish_token: Option<Secret>,
    waker: Waker,
    webrtc_hosts: Vec<IpAddr>,
    rtsp: Option<rtsp::Server>,
    hls_port: Option<u16>,
    webrtc: Option<webrtc::Server>,
    srt: Option<srt::Server>,
    srt_passphrase: Option<Secret>,
    /// Started with the first server that needs it.
    network: Option<Network>,
}

impl Servers {
    /// None yet; `waker` wakes the main loop.
    pub(crate) fn new(spec: &GatewaySpec, intakes: Intakes, waker: Waker) -> Self {
        Self {
            address: spec.address.clone(),
            ports: spec.ports.clone(),
            directories: BTreeMap::new(),
            intakes,
            publish: spec.publish.clone(),
            publish_token: spec.publish_token.clone(),
            waker,
            webrtc_hosts: spec.webrtc_hosts.clone(),
            rtsp: None,
            hls_port: None,
            webrtc: None,
            srt: None,
            srt_passphrase: spec.srt_passphrase.clone(),
            network: None,
        }
    }

    /// Begins to listen for every protocol by which a stream of `spec` is served or published.
    pub(crate) fn listen(&mut self, spec: &GatewaySpec) -> Result<(), GatewayError> {
        let served = spec.streams.iter().flat_map(|stream| stream.paths.keys());
        let takes = !spec.intakes.is_empty() || !spec.accept.is_empty();
        let published = spec.publish.iter().filter(|_| takes);
        for protocol in served.chain(published) {
            if self.directories.contains_key(protocol) {
                continue;
            }
            let directory = Directory::default();
            self.begin(*protocol, &directory)?;
            self.directories.insert(*protocol, directory);
        }
        Ok(())
    }

    /// From now on what is in the channels of `ladder` is found at `path`, in place of what was
    /// found there. By RTSP it is through [`Servers::mount`].
    pub(crate) fn show(&self, protocol: Protocol, path: &str, ladder: Ladder) {
        if let Some(directory) = self.directories.get(&protocol) {
            directory.insert(path.to_owned(), ladder);
        }
    }

    /// What somebody must open and feed for a rung to be found by RTSP; `None` for others.
    pub(crate) fn mount(&self, protocol: Protocol, path: &str, rung: &Rung) -> Option<rtsp::Mount> {
        let server = self.rtsp.as_ref();
        let server = server.filter(|_| protocol == Protocol::Rtsp)?;
        Some(server.mount(match rung.name() {
            None => format!("/{path}"),
            Some(name) => format!("/{path}/{name}"),
        }))
    }

    /// Nothing is found at `path` any more.
    pub(crate) fn hide(&self, protocol: Protocol, path: &str) {
        if let Some(directory) = self.directories.get(&protocol) {
            directory.remove(path);
        }
    }

    /// Where it listens, and what is found there: a line.
    pub(crate) fn describe(&self) -> String {
        let lines: Vec<String> = self
            .directories
            .iter()
            .map(|(protocol, directory)| {
                let scheme = match protocol {
                    Protocol::Rtsp => "rtsp",
                    Protocol::Hls | Protocol::Webrtc => "http",
                    Protocol::Srt => "srt",
                };
                let (address, port) = (&self.address, self.port(*protocol));
                let paths = directory.paths().join(", ");
                format!("{protocol} at {scheme}://{address}:{port} serving {paths}")
            })
            .collect();
        let intakes = self.intakes.paths();
        let taking = format!("taking what is published as {}", intakes.join(", "));
        let taking = (!intakes.is_empty()).then_some(taking);
        if lines.is_empty() && taking.is_none() {
            return "serving nobody".to_owned();
        }
        let all: Vec<String> = lines.into_iter().chain(taking).collect();
        all.join("; ")
    }

    /// The port a protocol is listened for on.
    fn port(&self, protocol: Protocol) -> u16 {
        let configured = self.ports.get(&protocol).copied();
        let configured = configured.unwrap_or_else(|| protocol.usual_port());
        match protocol {
            Protocol::Rtsp => self.rtsp.as_ref().map_or(configured, rtsp::Server::port),
            Protocol::Hls => self.hls_port.unwrap_or(configured),
            Protocol::Webrtc => self
                .webrtc
                .as_ref()
                .map_or(configured, webrtc::Server::port),
            Protocol::Srt => self.srt.as_ref().map_or(configured, srt::Server::port),
        }
    }

    fn begin(&mut self, protocol: Protocol, directory: &Directory) -> Result<(), GatewayError> {
        let port = self.port(protocol);
        match protocol {
            Protocol::Rtsp => {
                let mut server = rtsp::Server::new(&self.address, port, self.waker.clone())?;
                server.listen()?;
                self.rtsp = Some(server);
                Ok(())
            }
            Protocol::Hls => {
                let listener = http::Listener::bind(&self.address, port);
                let listener = listener.map_err(|error| GatewayError::Listen {
                    protocol,
                    address: self.address.clone(),
                    port: port.to_string(),
                    reason: error.to_string(),
                })?;
                self.hls_port = Some(listener.port());
                let router = hls::router(directory.clone());
                self.network()?.spawn(listener.serve(router));
                Ok(())
            }
            Protocol::Webrtc => {
                let place = webrtc::Place {
                    address: self.address.clone(),
                    port,
                    hosts: self.webrtc_hosts.clone(),
                    token: self.publish_token.clone(),
                };
                let intakes = self
                    .publish
                    .contains(&protocol)
                    .then(|| self.intakes.clone());
                let directory = directory.clone();
                let server = webrtc::Server::begin(self.network()?, &place, directory, intakes)?;
                self.webrtc = Some(server);
                Ok(())
            }
            Protocol::Srt => {
                let (address, passphrase) = (self.address.clone(), self.srt_passphrase.clone());
                let intakes = self
                    .publish
                    .contains(&protocol)
                    .then(|| self.intakes.clone());
                let network = self.network()?;
                let place = srt::Place {
                    address: &address,
                    port,
                    passphrase: passphrase.as_ref(),
                };
                self.srt = Some(srt::Server::start(network, &place, directory, intakes)?);
                Ok(())
            }
        }
    }

    /// The event loop, which begins to run now if it does not yet.
    pub(crate) fn network(&mut self) -> Result<&Network, GatewayError> {
        let network = match self.network.take() {
            Some(network) => network,
            None => Network::start().map_err(GatewayError::Thread)?,
        };
        Ok(self.network.insert(network))
    }
}
