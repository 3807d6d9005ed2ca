//! Ports for servers that have to be told theirs.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below the ports that Linux gives to whoever asks for any (`ip_local_port_range`), so that none
/// of these is taken by a connection in the meantime.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What keeps the ports of this process from others: names of abstract sockets, which are
/// of the same network namespace as the ports, and are free again when the process has ended,
/// however that was.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody uses, neither TCP nor UDP, and that no other caller in any
/// process is given as long as this process lives.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let count = PORTS.end - PORTS.start;
    // Processes that begin at places of their own seldom meet.
    let spread = std::process::id().wrapping_mul(7919) % u32::from(count);
    let first = u16::try_from(spread).expect("below the count");
    (0..count)
        .map(|index| PORTS.start + (first + index) % count)
        .find(|port| take(*port))
        .expect("a port is free")
}

fn take(port: u16) -> bool {
    let name = format!("sluice-port-{port}");
    let name = SocketAddr::from_abstract_name(name).expect("a short name");
    let Ok(kept) = UnixListener::bind_addr(&name) else {
        return false;
    };
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    // What somebody else listens on is kept too: it need not be tried again.
    TAKEN.lock().expect("not poisoned").push(kept);
    free
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_given_the_same_port() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| [0; 50].map(|_| free_port())))
            .collect();
        let ports = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("ports"));
        let ports: BTreeSet<u16> = ports.collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn what_somebody_listens_on_is_not_free() {
        let port = free_port();
        let next = PORTS.start + (port - PORTS.start + 1) % (PORTS.end - PORTS.start);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, next));
        let given = free_port();
        assert!(listener.is_err() || given != next, "{given}");
    }
}
