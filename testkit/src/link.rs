//! A bad network: datagrams that pass through are lost, late, and overtake each other.
//!
//! In this process and not in the kernel (`tc netem`), which asks for privileges and a module
//! that many machines lack. The same seed loses the same datagrams.

use std::collections::BinaryHeap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest sleep of a link's thread, which then looks whether it is wanted.
const TICK: Duration = Duration::from_millis(50);
/// Datagrams on their way in each link; more are lost, as in a router.
const ON_THE_WAY_MAX: usize = 4096;
const DATAGRAM_MAX: usize = 65_536;

/// What a network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Impairment {
    /// Share that is lost, 0 to 1.
    pub loss: f64,
    /// Every datagram is so late.
    pub delay: Duration,
    /// And up to so much later, each by itself; what is sent in a shorter interval is overtaken.
    pub jitter: Duration,
    /// Of the random numbers.
    pub seed: u64,
}

impl Impairment {
    /// Nothing is lost, or late.
    pub const NONE: Self = Self {
        loss: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        seed: 1,
    };
}

/// What has come to links, and what of it they lost.
#[derive(Debug, Default)]
struct Counts {
    come: AtomicU64,
    lost: AtomicU64,
}

/// A way to an address for datagrams, and back from it, through a bad network.
#[derive(Debug)]
pub struct UdpLink {
    port: u16,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl UdpLink {
    /// Takes datagrams on a port of its own of 127.0.0.1 to `target`, and the answers back to who
    /// sent last.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(target: SocketAddr, impairment: Impairment) -> Self {
        let [near, far] =
            [0; 2].map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a port"));
        let port = near.local_addr().expect("it is bound").port();
        let link = Self {
            port,
            counts: Arc::default(),
            stop: Arc::default(),
        };
        let mut road = Road::new(impairment, Arc::clone(&link.counts));
        let stop = Arc::clone(&link.stop);
        std::thread::spawn(move || {
            let mut sender = None;
            while !stop.load(Ordering::Relaxed) {
                let [from_near, from_far] = road.wait(&[&near, &far]);
                if from_near && let Some(source) = road.take(&near, 0) {
                    sender = Some(source);
                }
                if from_far {
                    road.take(&far, 1);
                }
                road.deliver(|way, bytes| {
                    // Nobody may be there at the moment.
                    let _ = match (way, sender) {
                        (0, _) => far.send_to(bytes, target),
                        (_, Some(sender)) => near.send_to(bytes, sender),
                        (_, None) => Ok(0),
                    };
                });
            }
        });
        link
    }

    /// Where it takes datagrams.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Datagrams that came, and how many of them were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.counts.read()
    }
}

impl Drop for UdpLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A way to an RTSP server: what it sends by UDP goes through a bad network, requests and answers
/// do not.
#[derive(Debug)]
pub struct RtspLink {
    port: u16,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl RtspLink {
    /// Takes clients on a port of its own of 127.0.0.1 to the server at port `server` of it.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(server: u16, impairment: Impairment) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let link = Self {
            port,
            counts: Arc::default(),
            stop: Arc::default(),
        };
        let (counts, stop) = (Arc::clone(&link.counts), Arc::clone(&link.stop));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is not there is a closed connection to its client.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else {
                    continue;
                };
                let session = Arc::new(Session {
                    impairment,
                    counts: Arc::clone(&counts),
                    over: Arc::default(),
                    ports: Mutex::default(),
                });
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let session = Arc::clone(&session);
                    std::thread::spawn(move || session.pass(&from, &to));
                }
            }
        });
        link
    }

    /// Where it takes clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Datagrams that came, and how many of them were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.counts.read()
    }
}

impl Drop for RtspLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its thread waits for a client.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Counts {
    fn read(&self) -> (u64, u64) {
        (
            self.come.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
        )
    }
}

/// One client of an RTSP link.
struct Session {
    impairment: Impairment,
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
    /// The first port of a pair of the client, and that which stands for it.
    ports: Mutex<Vec<(u16, u16)>>,
}

impl Session {
    /// Passes messages on until one end closes; names other UDP ports in them.
    fn pass(&self, from: &TcpStream, to: &TcpStream) {
        let mut reader = BufReader::new(from);
        let mut writer = to;
        while let Some(message) = self.message(&mut reader) {
            if writer.write_all(&message).is_err() {
                break;
            }
        }
        self.over.store(true, Ordering::Relaxed);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// A whole request or response; `None` at the end.
    fn message(&self, reader: &mut impl BufRead) -> Option<Vec<u8>> {
        let mut head = String::new();
        let mut body_bytes = 0;
        loop {
            let begin = head.len();
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            let line = head[begin..].trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            if let Some((key, value)) = line.split_once(':') {
                match key.to_ascii_lowercase().as_str() {
                    "content-length" => body_bytes = value.trim().parse().ok()?,
                    "transport" => {
                        let other = self.renamed(&line);
                        head.replace_range(begin.., &format!("{other}\r\n"));
                    }
                    _ => {}
                }
            }
        }
        let mut message = head.into_bytes();
        reader.take(body_bytes).read_to_end(&mut message).ok()?;
        Some(message)
    }

    /// A `Transport` header with the other end's idea of the client's ports.
    fn renamed(&self, line: &str) -> String {
        const KEY: &str = "client_port=";
        let Some(begin) = line.find(KEY).map(|at| at + KEY.len()) else {
            return line.to_owned();
        };
        let end = line[begin..]
            .find(';')
            .map_or(line.len(), |length| begin + length);
        let named = line[begin..end].split('-').next();
        let Some(named) = named.and_then(|port| port.parse::<u16>().ok()) else {
            return line.to_owned();
        };
        let mut ports = self.ports.lock().expect("not poisoned");
        let known = ports.iter().find_map(|(client, ours)| match named {
            named if named == *client => Some(*ours),
            named if named == *ours => Some(*client),
            _ => None,
        });
        let other = known.unwrap_or_else(|| {
            let ours = self.stand_in(named);
            ports.push((named, ours));
            ours
        });
        format!("{}{other}-{}{}", &line[..begin], other + 1, &line[end..])
    }

    /// The first of two ports, an even one, from which datagrams go on to two of the client.
    fn stand_in(&self, client: u16) -> u16 {
        let pair = |_| {
            let even = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            let port = even.local_addr().ok()?.port();
            let odd = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok()?;
            port.is_multiple_of(2).then_some((port, [even, odd]))
        };
        let (port, sockets) = (0..100).find_map(pair).expect("two ports in a row");
        let mut road = Road::new(self.impairment, Arc::clone(&self.counts));
        let over = Arc::clone(&self.over);
        std::thread::spawn(move || {
            let [even, odd] = &sockets;
            while !over.load(Ordering::Relaxed) {
                let come = road.wait(&[even, odd]);
                for (way, (socket, come)) in sockets.iter().zip(come).enumerate() {
                    if come {
                        road.take(socket, way);
                    }
                }
                road.deliver(|way, bytes| {
                    let target = client + u16::try_from(way).unwrap_or(0);
                    let _ = sockets[way].send_to(bytes, (Ipv4Addr::LOCALHOST, target));
                });
            }
        });
        port
    }
}

/// Datagrams on their way.
struct Road {
    impairment: Impairment,
    counts: Arc<Counts>,
    random: u64,
    /// The next to arrive on top.
    due: BinaryHeap<Datagram>,
    buffer: Vec<u8>,
}

impl Road {
    fn new(impairment: Impairment, counts: Arc<Counts>) -> Self {
        Self {
            impairment,
            counts,
            random: impairment.seed,
            due: BinaryHeap::new(),
            buffer: vec![0; DATAGRAM_MAX],
        }
    }

    /// Sleeps until something is to be done; says which sockets have a datagram.
    fn wait(&self, sockets: &[&UdpSocket; 2]) -> [bool; 2] {
        let now = Instant::now();
        let next = self
            .due
            .peek()
            .map(|datagram| datagram.at.saturating_duration_since(now));
        // Rounded up, so that it is not woken before the time.
        let wait = next.map_or(TICK, |next| next.min(TICK) + Duration::from_micros(999));
        let wait = PollTimeout::try_from(Duration::from_millis(wait.as_millis() as u64));
        let mut polled = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        if poll(&mut polled, wait.unwrap_or(PollTimeout::ZERO)).is_err() {
            return [false; 2];
        }
        polled.map(|socket| socket.any().unwrap_or(false))
    }

    /// Takes a datagram from a socket onto its way, or loses it; says who sent it.
    fn take(&mut self, socket: &UdpSocket, way: usize) -> Option<SocketAddr> {
        let (length, source) = socket.recv_from(&mut self.buffer).ok()?;
        self.counts.come.fetch_add(1, Ordering::Relaxed);
        let lost = self.random() < self.impairment.loss || self.due.len() >= ON_THE_WAY_MAX;
        if lost {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            let jitter = self.impairment.jitter.mul_f64(self.random());
            self.due.push(Datagram {
                at: Instant::now() + self.impairment.delay + jitter,
                way,
                bytes: self.buffer[..length].to_vec(),
            });
        }
        Some(source)
    }

    /// Hands over what has arrived.
    fn deliver(&mut self, mut hand_over: impl FnMut(usize, &[u8])) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|datagram| datagram.at <= now) {
            if let Some(datagram) = self.due.pop() {
                hand_over(datagram.way, &datagram.bytes);
            }
        }
    }

    /// 0 to 1, by SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    /// generators", 2014).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ordered so that the earliest is the greatest.
struct Datagram {
    at: Instant,
    way: usize,
    bytes: Vec<u8>,
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Datagram {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_loses_its_share_and_answers_come_back() {
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let link = UdpLink::start(
            far.local_addr().unwrap(),
            Impairment {
                loss: 0.2,
                jitter: Duration::from_millis(5),
                ..Impairment::NONE
            },
        );
        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for socket in [&near, &far] {
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
        }
        let mut come = Vec::new();
        let mut buffer = [0; 8];
        for number in 0..200_u8 {
            near.send_to(&[number], (Ipv4Addr::LOCALHOST, link.port()))
                .unwrap();
            std::thread::yield_now();
        }
        let mut source = None;
        while let Ok((1, from)) = far.recv_from(&mut buffer) {
            come.push(buffer[0]);
            source = Some(from);
        }
        let (all, lost) = link.counts();
        assert_eq!(all, 200);
        assert_eq!(come.len() as u64, all - lost);
        assert!((20..=60).contains(&lost), "{lost} of 200");
        assert!(!come.is_sorted(), "some are overtaken");

        // One of so many answers is let through.
        for _ in 0..20 {
            far.send_to(&[7], source.unwrap()).unwrap();
        }
        assert_eq!(near.recv_from(&mut buffer).unwrap().0, 1);
        assert_eq!(buffer[0], 7);
    }
}
