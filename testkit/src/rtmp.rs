//! An RTMP server for tests, that plays one Flash video file in real time to whoever asks.
//!
//! `ffmpeg` can listen too, but sends with message stream 0, which clients ignore. This is the
//! part of Adobe's RTMP specification 1.0 that playing needs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::wait::wait_until;

/// Size of the random part of a handshake, with its eight bytes of times.
const HANDSHAKE_BYTES: usize = 1536;
/// No message is split by this end.
const CHUNK_BYTES: u32 = 1 << 20;
const SET_CHUNK_SIZE: u8 = 1;
const COMMAND: u8 = 20;
/// The message stream that `createStream` is answered with.
const STREAM: u32 = 1;

/// A server on a port of its own of 127.0.0.1.
#[derive(Debug)]
pub struct RtmpServer {
    port: u16,
    stopped: Arc<AtomicBool>,
}

impl RtmpServer {
    /// Serves a file as the stream `name`, whatever the application.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(file: &Path, name: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Self {
            port,
            stopped: Arc::clone(&stopped),
        };
        let (file, name) = (file.to_owned(), name.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let session = Session {
                    file: file.clone(),
                    name: name.clone(),
                    stopped: Arc::clone(&stopped),
                    chunk_bytes: 128,
                };
                std::thread::spawn(move || {
                    // A client that leaves is the end of its connection.
                    let _ = session.serve(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        server
    }

    /// The address of a stream.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{name}", self.port)
    }
}

impl Drop for RtmpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

struct Session {
    file: PathBuf,
    name: String,
    stopped: Arc<AtomicBool>,
    /// Size of the client's chunks.
    chunk_bytes: usize,
}

impl Session {
    fn serve(mut self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut hello = vec![0; 1 + HANDSHAKE_BYTES];
        stream.read_exact(&mut hello)?;
        let mut reply = vec![0; 1 + 2 * HANDSHAKE_BYTES];
        reply[0] = 3;
        reply[1 + HANDSHAKE_BYTES..].copy_from_slice(&hello[1..]);
        stream.write_all(&reply)?;
        stream.read_exact(&mut hello[1..])?;
        send(
            stream,
            2,
            (SET_CHUNK_SIZE, 0, 0),
            &CHUNK_BYTES.to_be_bytes(),
        )?;
        loop {
            let (kind, body) = self.receive(stream)?;
            if kind == SET_CHUNK_SIZE
                && let Some(size) = body.first_chunk::<4>()
            {
                self.chunk_bytes = u32::from_be_bytes(*size) as usize;
            }
            if kind != COMMAND {
                continue;
            }
            let (name, transaction) = command(&body);
            match name.as_str() {
                "connect" => {
                    let status = status("status", "NetConnection.Connect.Success");
                    let body = [text("_result"), number(transaction), vec![5], status].concat();
                    send(stream, 3, (COMMAND, 0, 0), &body)?;
                }
                "createStream" => {
                    let stream_id = number(f64::from(STREAM));
                    let body = [text("_result"), number(transaction), vec![5], stream_id].concat();
                    send(stream, 3, (COMMAND, 0, 0), &body)?;
                }
                "play" => {
                    let found = body
                        .windows(self.name.len())
                        .any(|part| part == self.name.as_bytes());
                    let status = if found {
                        status("status", "NetStream.Play.Start")
                    } else {
                        status("error", "NetStream.Play.StreamNotFound")
                    };
                    let body = [text("onStatus"), number(0.0), vec![5], status].concat();
                    send(stream, 5, (COMMAND, STREAM, 0), &body)?;
                    if found {
                        return self.play(stream);
                    }
                }
                _ => {}
            }
        }
    }

    /// One message: its type and body. A client of these tests interleaves none.
    fn receive(&self, mut stream: &TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
        let mut basic = [0; 1];
        stream.read_exact(&mut basic)?;
        let mut header = vec![0; if basic[0] >> 6 == 0 { 11 } else { 7 }];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[3], header[4], header[5]]) as usize;
        let mut body = vec![0; length];
        for (index, part) in body.chunks_mut(self.chunk_bytes).enumerate() {
            if index > 0 {
                stream.read_exact(&mut basic)?;
            }
            stream.read_exact(part)?;
        }
        Ok((header[6], body))
    }

    /// Sends the tags of the file when they are due (Adobe, FLV specification 10.1, annex E).
    fn play(&self, stream: &TcpStream) -> std::io::Result<()> {
        let file = std::fs::read(&self.file)?;
        let begin = Instant::now();
        let mut rest = file.get(13..).unwrap_or_default();
        while let Some((header, body)) = rest.split_first_chunk::<11>() {
            let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let time_ms = u32::from_be_bytes([0, header[4], header[5], header[6]]);
            let Some(payload) = body.get(..length) else {
                break;
            };
            let due = Duration::from_millis(time_ms.into());
            let wait = due.saturating_sub(begin.elapsed());
            if wait_until(wait, || self.stopped.load(Ordering::Relaxed)) && !wait.is_zero() {
                break;
            }
            send(stream, 6, (header[0], STREAM, time_ms), payload)?;
            rest = body.get(length + 4..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Sends a message in one chunk: its type, message stream and time.
fn send(
    mut stream: &TcpStream,
    chunk_stream: u8,
    (kind, message_stream, time_ms): (u8, u32, u32),
    body: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut message = vec![chunk_stream];
    message.extend(&time_ms.to_be_bytes()[1..]);
    message.extend(&length.to_be_bytes()[1..]);
    message.push(kind);
    message.extend(message_stream.to_le_bytes());
    message.extend(body);
    stream.write_all(&message)
}

/// Name and transaction of a command in AMF 0.
fn command(body: &[u8]) -> (String, f64) {
    let length = usize::from(u16::from_be_bytes([body[1], body[2]]));
    let name = String::from_utf8_lossy(&body[3..3 + length]).into_owned();
    let number = body[3 + length + 1..].first_chunk::<8>();
    (name, number.map_or(0.0, |bytes| f64::from_be_bytes(*bytes)))
}

fn text(text: &str) -> Vec<u8> {
    [vec![2], key(text)].concat()
}

fn key(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn number(number: f64) -> Vec<u8> {
    [&[0], &number.to_be_bytes()[..]].concat()
}

fn status(level: &str, code: &str) -> Vec<u8> {
    let fields = [("level", level), ("code", code), ("description", code)];
    let mut object = vec![3];
    for (name, value) in fields {
        object.extend(key(name));
        object.extend(text(value));
    }
    object.extend([0, 0, 9]);
    object
}
