//! Under which addresses viewers may find us.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Most addresses told to a viewer: with more, browsers take long to try them all.
const ADDRESSES_MAX: usize = 16;

/// The addresses of this machine at which who listens on `listening` is reached, and those that
/// were configured.
pub(super) fn reached_at(listening: SocketAddr, hosts: &[IpAddr]) -> Vec<SocketAddr> {
    let own = if listening.ip().is_unspecified() {
        let all = getifaddrs().into_iter().flatten();
        let addresses = all.filter(|one| one.flags.contains(InterfaceFlags::IFF_UP));
        let addresses = addresses.filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        usable(addresses.collect(), listening.is_ipv6())
    } else {
        vec![listening.ip()]
    };
    let mut seen = BTreeSet::new();
    let all = hosts.iter().copied().chain(own);
    let all = all.filter(|address| seen.insert(*address));
    let all = all.map(|address| SocketAddr::new(address, listening.port()));
    all.take(ADDRESSES_MAX).collect()
}

/// Those of one or both families that others can reach; loopback when there is nothing else.
fn usable(addresses: Vec<IpAddr>, both: bool) -> Vec<IpAddr> {
    let reachable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => both && !v6.is_unicast_link_local(),
    };
    let (loopback, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .filter(reachable)
        .partition(IpAddr::is_loopback);
    if !others.is_empty() {
        others
    } else if loopback.is_empty() {
        vec![Ipv4Addr::LOCALHOST.into()]
    } else {
        loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        let address = |text: &&str| text.parse().expect("an address");
        texts.iter().map(address).collect()
    }

    #[test]
    fn loopback_is_told_to_nobody_when_there_is_better() {
        let all = addresses(&["127.0.0.1", "10.0.0.5", "169.254.1.1", "fe80::1", "fd00::5"]);
        assert_eq!(usable(all.clone(), false), addresses(&["10.0.0.5"]));
        assert_eq!(usable(all, true), addresses(&["10.0.0.5", "fd00::5"]));
        let alone = addresses(&["127.0.0.1"]);
        assert_eq!(usable(alone.clone(), false), alone);
        assert_eq!(usable(Vec::new(), true), alone);
    }

    #[test]
    fn configured_hosts_come_first_and_nothing_twice() {
        let listening = "10.0.0.5:8889".parse().expect("an address");
        let hosts = addresses(&["203.0.113.9", "10.0.0.5"]);
        let told = reached_at(listening, &hosts);
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["203.0.113.9:8889", "10.0.0.5:8889"]);
    }
}
