//! HTTP/1.1 for viewers, within limits: on the number of connections, on the size and time of
//! a request, and on the time of an answer.
//!
//! A peer that stops half-way, reads nothing, or reads a byte a second costs a place among
//! [`CONNECTIONS_MAX`] for some seconds, and nobody waits for it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Most connections of a server at once. More wait for a place in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;

/// From a connection, or the end of an answer, to the end of the next request's header.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);

/// Most bytes of a request's header; also of what an answer has ready for a slow peer.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Most lines of a request's header.
const HEADER_LINES_MAX: usize = 64;

/// A peer that takes nothing for so long is gone.
const STALL_MAX_MS: u32 = 5_000;

/// From its first byte to its last an answer takes so long at most.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// An answer is handed over in pieces of this size, so that a slow peer holds little twice.
const PIECE_BYTES: usize = 64 << 10;

/// After a failure to accept, such as no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks: an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A port that is listened on.
pub(crate) struct Listener {
    listener: TcpListener,
    port: u16,
}

impl Listener {
    /// Listens; port 0 is any that is free.
    pub(crate) fn bind(address: &str, port: u16) -> io::Result<Self> {
        let address: IpAddr = address.parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind((address, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            listener,
        })
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Answers by `router`, for ever.
    pub(crate) async fn serve(self, router: Router) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(port = self.port, %error, "cannot listen");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = serve_connection(stream, peer.ip(), router.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(port = self.port, %error, "a connection is not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, router: Router) {
    // Also when the peer has closed its window: tcp(7).
    if setsockopt(&stream, sockopt::TcpUserTimeout, &STALL_MAX_MS).is_err()
        || stream.set_nodelay(true).is_err()
    {
        return;
    }
    let router = router.layer(axum::Extension(Peer(peer)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADER_LINES_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection is closed");
    }
}

/// A body of several pieces of memory, which are shared and not copied.
pub(crate) fn body(pieces: impl IntoIterator<Item = Bytes>) -> Body {
    Body::new(Pieces {
        pieces: pieces.into_iter().collect(),
        until: None,
    })
}

struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Set with the first piece.
    until: Option<Instant>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let now = Instant::now();
        if now > *self.until.get_or_insert(now + ANSWER_TIME_MAX) {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let piece = self.pieces.pop_front().map(|mut piece| {
            if piece.len() > PIECE_BYTES {
                self.pieces.push_front(piece.split_off(PIECE_BYTES));
            }
            Ok(Frame::data(piece))
        });
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}
