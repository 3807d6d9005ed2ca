//! The one UDP socket of all viewers.
//!
//! Datagrams that belong together go to the kernel in one call (GSO): the packets of a picture
//! are of one size but for the last.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use str0m::net::Transmit;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Most bytes of one call: what a UDP datagram may have, less headers.
const BATCH_BYTES_MAX: usize = 60_000;

/// Longest datagram looked at.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Datagrams taken in one call, when the kernel does not join any.
const RECEIVED_MAX: usize = 16;

/// What the kernel keeps for us of what comes and goes; it may grant less.
const BUFFER_BYTES: usize = 4 << 20;

/// A datagram that has come.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) at: Instant,
    pub(super) source: SocketAddr,
    /// Which of our addresses it was sent to.
    pub(super) destination: SocketAddr,
    pub(super) contents: Vec<u8>,
}

/// The socket.
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
}

impl Socket {
    /// Inside of an event loop.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES)?;
        state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_BYTES)?;
        let address = socket.local_addr()?;
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self {
            socket,
            state,
            address,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands over datagrams as they come, for ever.
    pub(super) async fn receive(&self, mut hand_over: impl FnMut(Datagram)) {
        let length = DATAGRAM_BYTES_MAX * self.state.gro_segments();
        let mut buffers = vec![vec![0; length]; RECEIVED_MAX];
        loop {
            // It fails only when the event loop has gone.
            if self.socket.readable().await.is_err() {
                return;
            }
            let mut slices = buffers.iter_mut();
            let mut slices: [_; RECEIVED_MAX] =
                std::array::from_fn(|_| IoSliceMut::new(slices.next().map_or(&mut [], |b| b)));
            let mut metas = [RecvMeta::default(); RECEIVED_MAX];
            let received = self.socket.try_io(Interest::READABLE, || {
                let socket = UdpSockRef::from(&self.socket);
                self.state.recv(socket, &mut slices, &mut metas)
            });
            let count = match received {
                Ok(count) => count,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, "cannot receive");
                        // Whatever it is, it must not keep the others from their turn.
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
            };
            let at = Instant::now();
            for (meta, slice) in metas.iter().zip(&slices).take(count) {
                let destination = meta.dst_ip.unwrap_or(self.address.ip());
                for contents in slice[..meta.len].chunks(meta.stride.max(1)) {
                    hand_over(Datagram {
                        at,
                        source: SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port()),
                        destination: SocketAddr::new(
                            destination.to_canonical(),
                            self.address.port(),
                        ),
                        contents: contents.to_vec(),
                    });
                }
            }
        }
    }

    /// Sends as much as the kernel takes; says whether that was all.
    pub(super) fn send(&self, outbox: &mut Outbox) -> bool {
        while let Some(batch) = outbox.batches.front() {
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                let transmit = quinn_udp::Transmit {
                    destination: self.mapped(batch.destination),
                    ecn: None,
                    contents: &batch.contents,
                    segment_size: (batch.segments > 1).then_some(batch.segment_bytes),
                    src_ip: Some(self.mapped_ip(batch.source)),
                };
                let socket = UdpSockRef::from(&self.socket);
                self.state.try_send(socket, &transmit)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // As if lost on the way: the viewer asks again, or is gone.
                Err(error) => tracing::debug!(%error, to = %batch.destination, "cannot send"),
                Ok(()) => {}
            }
            outbox.batches.pop_front();
        }
        true
    }

    /// Until [`Socket::send`] may send more.
    pub(super) async fn writable(&self) {
        // It fails only when the event loop has gone.
        let _ = self.socket.writable().await;
    }

    /// An empty outbox for what this socket sends.
    pub(super) fn outbox(&self) -> Outbox {
        Outbox {
            batches: Default::default(),
            segments_max: self.state.max_gso_segments(),
        }
    }

    /// IPv4 as a socket of IPv6 writes it.
    fn mapped(&self, address: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.mapped_ip(address.ip()), address.port())
    }

    fn mapped_ip(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) if self.address.is_ipv6() => v4.to_ipv6_mapped().into(),
            same => same,
        }
    }
}

/// Datagrams of one viewer on their way to the kernel. Bounded by what one turn of a viewer
/// makes, since the viewer makes no more before it is empty.
#[derive(Debug)]
pub(super) struct Outbox {
    batches: std::collections::VecDeque<Batch>,
    segments_max: usize,
}

/// Datagrams of one size to one place; the last may be shorter.
#[derive(Debug)]
struct Batch {
    source: IpAddr,
    destination: SocketAddr,
    contents: Vec<u8>,
    segment_bytes: usize,
    segments: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, transmit: Transmit) {
        let bytes = transmit.contents.len();
        if let Some(last) = self.batches.back_mut()
            && last.destination == transmit.destination
            && last.source == transmit.source.ip()
            && last.segments < self.segments_max
            && last.contents.len() == last.segments * last.segment_bytes
            && bytes <= last.segment_bytes
            && last.contents.len() + bytes <= BATCH_BYTES_MAX
        {
            last.contents.extend_from_slice(&transmit.contents);
            last.segments += 1;
            return;
        }
        self.batches.push_back(Batch {
            source: transmit.source.ip(),
            destination: transmit.destination,
            contents: transmit.contents.into(),
            segment_bytes: bytes,
            segments: 1,
        });
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.contents.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use str0m::net::Protocol;

    use super::*;

    fn push(outbox: &mut Outbox, port: u16, bytes: usize) {
        outbox.push(Transmit {
            proto: Protocol::Udp,
            source: "10.0.0.1:1".parse().expect("an address"),
            destination: SocketAddr::new("10.0.0.2".parse().expect("an address"), port),
            contents: vec![0; bytes].into(),
        });
    }

    #[test]
    fn datagrams_of_one_size_go_together_and_none_behind_a_shorter_one() {
        let mut outbox = Outbox {
            batches: Default::default(),
            segments_max: 3,
        };
        for (port, bytes) in [
            (1, 9),
            (1, 9),
            (1, 4),
            (1, 4),
            (1, 9),
            (2, 9),
            (2, 9),
            (2, 9),
            (2, 9),
        ] {
            push(&mut outbox, port, bytes);
        }
        let batches = outbox.batches.iter();
        let batches: Vec<_> = batches.map(|b| (b.segments, b.contents.len())).collect();
        assert_eq!(batches, [(3, 22), (1, 4), (1, 9), (3, 27), (1, 9)]);
    }
}
