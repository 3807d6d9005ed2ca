//! Network addresses of sources.

use std::net::IpAddr;

use super::super::code;
use super::super::reader::{Reader, Text};
use super::SourceConfig;

pub(super) const RTSP: &str =
    "write `rtsp://user:${PASSWORD}@host:554/path`; `%40` stands for `@` in a password";
pub(super) const RTMP: &str = "write `rtmp://user:${PASSWORD}@host:1935/application/stream`; `%40` stands for `@` in a password";
pub(super) const HTTP: &str =
    "write `http://user:${PASSWORD}@host:80/path`; `%40` stands for `@` in a password";
const UDP: &str = "write `udp://:5000` to listen on all addresses, or `udp://239.1.1.1:5000?interface=eth0` to join a group";

/// Reports an address without a host or with an impossible port.
pub(super) fn check(
    reader: &Reader<'_>,
    source: &Text<'_>,
    address: &str,
    help: &str,
) -> Option<()> {
    let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = split_port(host_and_port);
    let message = if host.is_empty() || host.contains(char::is_whitespace) {
        NO_HOST
    } else if port.is_some_and(|port| port_of(port).is_none()) {
        WRONG_PORT
    } else {
        return Some(());
    };
    report(reader, source, message, help);
    None
}

pub(super) const NO_HOST: &str = "this address has no host";
pub(super) const WRONG_PORT: &str = "the port of this address is not a number from 1 to 65535";

pub(super) fn report(reader: &Reader<'_>, source: &Text<'_>, message: &str, help: &str) {
    let problem = reader.problem(code::WRONG_VALUE, &source.node.span, message);
    reader.report(problem.helped(help));
}

/// Host and port; a colon inside brackets belongs to an IPv6 address.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

pub(super) fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// Reads `239.1.1.1:5000?interface=eth0`, the address optional.
pub(super) fn read_udp(reader: &Reader<'_>, source: &Text<'_>, text: &str) -> Option<SourceConfig> {
    let (authority, options) = text.split_once('?').unwrap_or((text, ""));
    let (host, port) = split_port(authority.trim_end_matches('/'));
    let Some(port) = port.and_then(port_of) else {
        report(reader, source, WRONG_PORT, UDP);
        return None;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = match (host, host.parse::<IpAddr>()) {
        ("", _) => None,
        (_, Ok(address)) => Some(address),
        (_, Err(_)) => {
            let message = "the host of a UDP source is an IP address: what it listens on";
            report(reader, source, message, UDP);
            return None;
        }
    };
    let mut interface = None;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("interface", name)) if !name.is_empty() => interface = Some(name.to_owned()),
            _ => {
                let part = reader.part(&source.node.span, option);
                let message = format!(
                    "`{}` is not an option of a UDP source",
                    reader.as_written(&part)
                );
                reader.report(
                    reader
                        .problem(code::WRONG_VALUE, &part, message)
                        .helped(UDP),
                );
                return None;
            }
        }
    }
    Some(SourceConfig::Udp {
        address,
        port,
        interface,
    })
}
