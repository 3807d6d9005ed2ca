//! A plain HTTP client, and the parts of a playlist that tests look at.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest that a test waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(9);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }
}

/// Connects to the gateway.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time");
    stream
}

/// Asks for a path and reads all of the answer.
pub(crate) fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path)
}

pub(crate) fn request(port: u16, method: &str, path: &str) -> Answer {
    let mut stream = connect(port);
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("connected");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer to {path}"));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a status"),
        body: bytes[end + 4..].to_vec(),
        head,
    }
}

/// The playlist of a stream's encode, as it is now.
pub(crate) fn playlist(port: u16, stream: &str) -> String {
    let answer = get(port, &format!("/{stream}/stream.m3u8"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// What comes behind `tag` in the first line that begins with it.
pub(crate) fn value<'a>(playlist: &'a str, tag: &str) -> &'a str {
    let mut lines = playlist.lines();
    let line = lines.find_map(|line| line.strip_prefix(tag));
    line.unwrap_or_else(|| panic!("no {tag} in\n{playlist}"))
}

/// Lines that begin with `tag`.
pub(crate) fn count(playlist: &str, tag: &str) -> usize {
    playlist
        .lines()
        .filter(|line| line.starts_with(tag))
        .count()
}

/// The media sequence number of the segment that grows or comes next.
pub(crate) fn next_segment(playlist: &str) -> u64 {
    let first: u64 = value(playlist, "#EXT-X-MEDIA-SEQUENCE:")
        .parse()
        .expect("a number");
    first + count(playlist, "#EXTINF:") as u64
}

/// The name in `URI="..."` of a line.
pub(crate) fn uri(line: &str) -> &str {
    let (_, rest) = line.split_once("URI=\"").expect("a URI");
    rest.split_once('"').expect("its end").0
}
