//! Who comes by HTTP: the page, and the beginning and end of sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::{Extension, Router};
use bytes::Bytes;
use contract::spec::Secret;

use super::engine::{House, Party};
use super::sender::Sender;
use super::sessions::Sessions;
use super::socket::Socket;
use super::viewer::{Refusal, Viewer};
use super::whep::{self, Problem, Response, Route, Side};
use crate::directory::Directory;
use crate::http::Peer;
use crate::intake::{self, Intakes};
use crate::ladder::Rung;

/// Bytes of a body. The offer of a browser has under 10 KB.
const BODY_BYTES_MAX: usize = 64 << 10;

/// From the first byte of a body to its last.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// A source that is connected to on demand needs so long for its first picture, mostly less.
const PICTURE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What requests need.
pub(super) struct Reception {
    pub(super) house: House,
    pub(super) directory: Directory,
    /// Where senders may publish, if they may by this protocol.
    pub(super) intakes: Option<Intakes>,
    /// What senders must have.
    pub(super) token: Option<Secret>,
    pub(super) sessions: Sessions,
    pub(super) socket: Arc<Socket>,
}

/// Answers every request: paths of streams have any number of parts, so one handler takes all.
pub(super) fn router(reception: Reception) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(Arc::new(reception))
}

async fn answer(
    State(reception): State<Arc<Reception>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let target = request.uri().path().to_owned();
    let answer = reception.answer(request).await;
    answer.unwrap_or_else(|problem| {
        tracing::debug!(%peer, target, ?problem, "a request is refused");
        problem.response()
    })
}

impl Reception {
    async fn answer(&self, request: Request) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path());
        if let Some(response) = whep::check(&route, &head.method, &head.headers)? {
            return Ok(response);
        }
        match route {
            Route::Page { path } => {
                self.directory.find(path).ok_or(Problem::NoStream)?;
                Ok(whep::page())
            }
            Route::Endpoint {
                side: Side::Sender,
                path,
            } => {
                // Who has no token is not told which paths there are.
                whep::authorize(self.token.as_ref(), &head.headers)?;
                self.begin_sender(path, &text(body).await?)
            }
            Route::Endpoint {
                side: Side::Viewer,
                path,
            } => {
                let quality = whep::quality(head.uri.query().unwrap_or_default());
                self.begin(path, quality, &text(body).await?).await
            }
            Route::Session { side, path, name } => {
                let fragment = self.sessions.offered_by(side, path, name);
                let fragment = fragment.ok_or(Problem::NoSession)?;
                if head.method == Method::DELETE {
                    self.sessions.end(name);
                    return Ok(whep::done(StatusCode::OK));
                }
                if whep::is_same_session(&text(body).await?, &fragment) {
                    Ok(whep::done(StatusCode::NO_CONTENT))
                } else {
                    Err(Problem::NoRestart)
                }
            }
        }
    }

    async fn begin(
        &self,
        path: &str,
        quality: Option<&str>,
        offer: &str,
    ) -> Result<Response, Problem> {
        let mut ladder = self.directory.find(path).ok_or(Problem::NoStream)?;
        if let Some(name) = quality {
            ladder = ladder.only(name).ok_or_else(|| {
                let names = ladder.rungs().filter_map(Rung::name);
                Problem::NoQuality(names.collect())
            })?;
        }
        if self.sessions.is_full(Side::Viewer) {
            return Err(Problem::Full(Side::Viewer));
        }
        if !ladder.channel().wait_for_picture(PICTURE_WAIT_MAX).await {
            return Err(Problem::Refused(Refusal::NoPicture));
        }
        let joined = Viewer::join(offer, ladder, &self.house, Instant::now());
        let (viewer, answer) = joined.map_err(Problem::Refused)?;
        self.serve(viewer, Side::Viewer, path, answer)
    }

    fn begin_sender(&self, path: &str, offer: &str) -> Result<Response, Problem> {
        let unknown = Problem::Publish(intake::Refusal::Unknown);
        let intakes = self.intakes.as_ref().ok_or(unknown)?;
        intakes.admits(path).map_err(Problem::Publish)?;
        if self.sessions.is_full(Side::Sender) {
            return Err(Problem::Full(Side::Sender));
        }
        let (sender, answer) = Sender::join(offer, path, intakes, &self.house, Instant::now())?;
        self.serve(sender, Side::Sender, path, answer)
    }

    fn serve(
        &self,
        party: impl Party,
        side: Side,
        path: &str,
        answer: String,
    ) -> Result<Response, Problem> {
        let name = self.sessions.begin(party, side, path, &self.socket);
        let name = name.map_err(|error| Problem::Internal(error.to_string()))?;
        Ok(whep::created(side, path, &name, answer))
    }
}

async fn text(body: Body) -> Result<String, Problem> {
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX);
    let body = tokio::time::timeout(BODY_TIME_MAX, body).await;
    let body = body.map_err(|_| Problem::TooSlow)?;
    let body = body.map_err(|_| Problem::TooLong(BODY_BYTES_MAX))?;
    let text = String::from_utf8(Bytes::into(body));
    text.map_err(|error| Problem::Refused(Refusal::BadOffer(error.to_string())))
}
