//! Whether a port can be had, and who holds it if not.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use contract::spec::Protocol;

use crate::config::port_key;

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve {protocol} on {address}: {source}{holder}; stop that, or set another `gateway: {{{key}: ...}}`",
    key = port_key(*protocol)
)]
pub struct PortError {
    protocol: Protocol,
    address: SocketAddr,
    source: std::io::Error,
    holder: String,
}

/// Checks that `protocol` can listen there.
///
/// # Errors
/// [`PortError`] naming the port and, where the kernel tells, who holds it.
pub(super) fn check(protocol: Protocol, address: SocketAddr) -> Result<(), PortError> {
    bind(protocol, address).map_err(|source| PortError {
        protocol,
        address,
        source,
        holder: port_holder(address.port()).unwrap_or_default(),
    })
}

/// Binds what the protocol will listen on, and lets it go.
fn bind(protocol: Protocol, address: SocketAddr) -> std::io::Result<()> {
    let (tcp, udp) = match protocol {
        Protocol::Rtsp | Protocol::Hls => (true, false),
        Protocol::Webrtc => (true, true),
        Protocol::Srt => (false, true),
    };
    if tcp {
        TcpListener::bind(address)?;
    }
    if udp {
        UdpSocket::bind(address)?;
    }
    Ok(())
}

/// Says which process listens on a TCP port, as far as /proc shows it to this user.
fn port_holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port).map(str::to_owned))?;
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let holds = |process: &Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut targets = descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.any(|target| target == link)
    };
    let numbered = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    let (pid, process) = { numbered }.find(|(_, path)| holds(path))?;
    let name = std::fs::read_to_string(process.join("comm")).ok()?;
    Some(format!(", held by {} (pid {pid})", name.trim()))
}

/// The inode of the socket that listens on `port`, from the text of /proc/net/tcp.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (_, hex) = words.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(hex, 16) == Ok(port) && words.get(3) == Some(&LISTEN);
        if here { words.get(9).copied() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_of_sockets_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:216A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0
   1: 0100007F:216B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 100 0 0 10 0";
        assert_eq!(listening_inode(table, 8554), Some("4242"));
        assert_eq!(listening_inode(table, 8555), None, "it does not listen");
    }
}
