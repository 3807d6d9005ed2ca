//! HTTP Live Streaming (RFC 8216) with the parts of its second edition (draft-pantos-hls-rfc8216bis).
//!
//! | room | what for |
//! |---|---|
//! | here | requests and answers |
//! | `live` | one stream while it is asked for; the task that makes its segments |
//! | `segmenter` | from access units to parts and segments: pure |
//! | `window` | the newest segments: pure |
//! | `playlist` | the texts: pure |
//! | `viewers` | who watches |
//!
//! All of it is on the `network` thread. An access unit is copied when a part is made of it, and
//! then shared: a segment is the list of its parts, and all answers share the bytes of both.
//!
//! What is asked for, below the path of a stream:
//!
//! | | |
//! |---|---|
//! | nothing | a page that plays it |
//! | `index.m3u8` | its encodes; each asker gets a number, by which it is counted as a viewer |
//! | `stream.m3u8` | the playlist of one encode; `_HLS_msn` and `_HLS_part` wait for what is to come |
//! | `initN.mp4`, `segN.m4s`, `partN.m4s` | initialisation segments, segments, parts |
//! | `360p` | a smaller encode: below it is all of the above, of this encode alone |
//! | `player.js`, `hls.light.min.js` | what the page needs |

mod live;
mod playlist;
mod segmenter;
mod viewers;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use contract::clock::monotonic_ns;

use crate::directory::Directory;
use crate::hls::live::{Live, Lives};
use crate::hls::playlist::Variant;
use crate::hls::viewers::Who;
use crate::hls::window::Window;
use crate::http::{self, Peer};

/// The first segment is waited for so long.
const BEGIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Once the encode of full size has a segment, the others are waited for so long: theirs are of
/// the same pictures.
const SMALLER_WAIT_MAX: Duration = Duration::from_millis(500);

/// Target durations that a request may wait (8216bis, 6.2.5.2).
const WAIT_TARGET_DURATIONS: u32 = 3;

/// Names are given once, but for a machine that is booted anew.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=60");
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-cache");

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MP4: &str = "video/mp4";

const PAGE: &str = include_str!("../../assets/player.html");
const PLAYER: &str = include_str!("../../assets/player.js");
const HLS_JS: &str = include_str!("../../assets/hls.js/hls.light.min.js");

/// Answers every request of the server's port.
pub(crate) fn router(directory: Directory) -> Router {
    let site = Arc::new(Site {
        lives: Lives::new(directory),
        // Viewers of an earlier life of this gateway keep their numbers.
        next_viewer: AtomicU64::new(monotonic_ns()),
    });
    Router::new()
        .fallback(get(answer).options(|| async { StatusCode::NO_CONTENT }))
        .layer(axum::middleware::map_response(allow_other_pages))
        .with_state(site)
}

struct Site {
    lives: Lives,
    next_viewer: AtomicU64,
}

/// Pages of any origin may play the streams.
async fn allow_other_pages(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, any);
    response
}

async fn answer(
    State(site): State<Arc<Site>>,
    Extension(Peer(address)): Extension<Peer>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix('/').unwrap_or(path);
    if site.lives.has(path) {
        // Below the page everything is relative, also behind a proxy that adds a prefix.
        let name = path.rsplit('/').next().unwrap_or(path);
        let to = [(header::LOCATION, format!("{name}/"))];
        return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
    }
    let Some((stream, file)) = path.rsplit_once('/') else {
        return Refusal::NoStream.into_response();
    };
    let answer = match file {
        "index.m3u8" => site.multivariant(stream).await,
        "stream.m3u8" => {
            let query = request.uri().query().unwrap_or_default();
            match Query::parse(query) {
                Some(query) => {
                    let agent = request.headers().get(header::USER_AGENT);
                    let agent = agent.map_or(&[][..], HeaderValue::as_bytes);
                    let client = Who::client(address, agent);
                    let who = query.viewer.map_or(client, Who::Numbered);
                    site.media(stream, who, &query).await
                }
                None => Err(Refusal::Bad("a delivery directive is not a number")),
            }
        }
        "" | "player.js" | "hls.light.min.js" if !site.lives.has(stream) => Err(Refusal::NoStream),
        "" => Ok(text("text/html; charset=utf-8", PAGE)),
        "player.js" => Ok(text("text/javascript; charset=utf-8", PLAYER)),
        "hls.light.min.js" => Ok(text("text/javascript; charset=utf-8", HLS_JS)),
        file => site.media_file(stream, file).await,
    };
    answer.unwrap_or_else(Refusal::into_response)
}

impl Site {
    /// The encodes of a stream.
    async fn multivariant(&self, stream: &str) -> Result<Response, Refusal> {
        let lives = self.lives.come(stream);
        let (first, smaller) = lives.split_first().ok_or(Refusal::NoStream)?;
        wait_playable(first, BEGIN_WAIT_MAX).await?;
        let viewer = self.next_viewer.fetch_add(1, Ordering::Relaxed);
        let uri = format!("stream.m3u8?viewer={viewer}");
        let variant = first.look(|window| Variant::of(window, uri.clone()));
        let mut variants = vec![variant.ok_or(Refusal::NoPicture)?];
        for live in smaller {
            // One that is not smaller than the picture is not made, and so left out.
            if wait_playable(live, SMALLER_WAIT_MAX).await.is_err() {
                continue;
            }
            let name = live.name.as_deref().unwrap_or_default();
            let uri = format!("{name}/{uri}");
            variants.extend(live.look(|window| Variant::of(window, uri)));
        }
        let text = playlist::multivariant(&variants);
        Ok(bytes(PLAYLIST, NOT_KEPT, [text.into()]))
    }

    /// The playlist, as soon as it has what is asked for.
    async fn media(&self, stream: &str, who: Who, query: &Query) -> Result<Response, Refusal> {
        let live = self.lives.find(stream);
        let live = live.or_else(|| self.lives.come(stream).into_iter().next());
        let live = live.ok_or(Refusal::NoStream)?;
        live.see(who);
        wait_playable(&live, BEGIN_WAIT_MAX).await?;
        if let Some(number) = query.segment {
            if live.look(|window| Some(window.is_too_far(number, query.part))) == Some(true) {
                return Err(Refusal::Bad("what is asked for is too far in the future"));
            }
            let reached = |window: &Window| window.has_reached(number, query.part).then_some(());
            live.when(wait_max(&live), reached)
                .await
                .ok_or(Refusal::NotYet)?;
            live.see(who);
        }
        let text = live.playlist().ok_or(Refusal::NoPicture)?;
        Ok(bytes(PLAYLIST, NOT_KEPT, [text]))
    }

    /// A part is waited for if it comes next.
    async fn media_file(&self, stream: &str, file: &str) -> Result<Response, Refusal> {
        let file = MediaFile::parse(file).ok_or(Refusal::NoFile)?;
        let Some(live) = self.lives.find(stream) else {
            let served = self.lives.has(stream);
            return Err(if served {
                Refusal::NoFile
            } else {
                Refusal::NoStream
            });
        };
        let pieces = match file {
            MediaFile::Init(number) => {
                live.look(|window| window.init(number).map(|init| vec![init.bytes.clone()]))
            }
            MediaFile::Segment(number) => live.look(|window| window.segment(number)),
            MediaFile::Part(number) => {
                let next = live.look(|window| Some(window.next_part()));
                let part = if next == Some(number) {
                    let part = live.when(wait_max(&live), |window| window.part(number));
                    Some(part.await.ok_or(Refusal::NotYet)?)
                } else {
                    live.look(|window| window.part(number))
                };
                part.map(|part| vec![part])
            }
        };
        Ok(bytes(MP4, KEPT, pieces.ok_or(Refusal::NoFile)?))
    }
}

async fn wait_playable(live: &Live, within: Duration) -> Result<(), Refusal> {
    let playable = |window: &Window| window.is_playable().then_some(());
    let found = live.when(within, playable).await;
    found.ok_or(Refusal::NoPicture)
}

fn wait_max(live: &Live) -> Duration {
    let target = live.look(|window| Some(window.pace.target_duration()));
    Duration::from_secs(target.unwrap_or_default().into()) * WAIT_TARGET_DURATIONS
}

/// The query of a playlist. What is not known is not looked at, as the standard asks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    viewer: Option<u64>,
    segment: Option<u64>,
    part: Option<u64>,
}

impl Query {
    /// `None` when a directive cannot be understood.
    fn parse(text: &str) -> Option<Self> {
        let mut query = Self::default();
        for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            let field = match key {
                "viewer" => &mut query.viewer,
                "_HLS_msn" => &mut query.segment,
                "_HLS_part" => &mut query.part,
                _ => continue,
            };
            *field = Some(value.parse().ok()?);
        }
        // A part of no segment is none.
        (query.part.is_none() || query.segment.is_some()).then_some(query)
    }
}

/// A file of media, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaFile {
    Init(u64),
    Segment(u64),
    Part(u64),
}

impl MediaFile {
    fn parse(name: &str) -> Option<Self> {
        let number = |prefix: &str, suffix: &str| {
            let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            number.parse().ok()
        };
        let init = number("init", ".mp4").map(Self::Init);
        let segment = || number("seg", ".m4s").map(Self::Segment);
        let part = || number("part", ".m4s").map(Self::Part);
        init.or_else(segment).or_else(part)
    }
}

/// Why something is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoStream,
    NoFile,
    NoPicture,
    NotYet,
    Bad(&'static str),
}

impl Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoStream => (StatusCode::NOT_FOUND, "no stream is served here"),
            Self::NoFile => (
                StatusCode::NOT_FOUND,
                "the stream has no such file, or no longer",
            ),
            Self::NoPicture => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the stream has no picture to show",
            ),
            Self::NotYet => (StatusCode::SERVICE_UNAVAILABLE, "the stream stands still"),
            Self::Bad(text) => (StatusCode::BAD_REQUEST, text),
        };
        let headers = [(header::CACHE_CONTROL, NOT_KEPT)];
        let mut response = (status, headers, format!("{text}\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static("2");
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

fn bytes(
    kind: &'static str,
    kept: HeaderValue,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    ([kind, (header::CACHE_CONTROL, kept)], http::body(pieces)).into_response()
}

/// What is built in; another version of this program may have another.
fn text(kind: &'static str, text: &'static str) -> Response {
    bytes(kind, NOT_KEPT, [Bytes::from_static(text.as_bytes())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_it_does_not_know_is_passed_over() {
        let query = |viewer, segment, part| {
            Some(Query {
                viewer,
                segment,
                part,
            })
        };
        assert_eq!(Query::parse(""), query(None, None, None));
        assert_eq!(Query::parse("a=b&c&_HLS_skip=YES"), query(None, None, None));
        assert_eq!(
            Query::parse("viewer=7&_HLS_msn=12&_HLS_part=3"),
            query(Some(7), Some(12), Some(3))
        );
        for wrong in [
            "_HLS_part=3",
            "_HLS_msn=x",
            "_HLS_msn=-1",
            "_HLS_msn=&_HLS_part=1",
        ] {
            assert_eq!(Query::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(MediaFile::parse("init3.mp4"), Some(MediaFile::Init(3)));
        assert_eq!(MediaFile::parse("seg17.m4s"), Some(MediaFile::Segment(17)));
        assert_eq!(MediaFile::parse("part170.m4s"), Some(MediaFile::Part(170)));
        for wrong in [
            "init.mp4",
            "seg17.mp4",
            "seg.m4s",
            "part99999999999999999999.m4s",
            "..",
        ] {
            assert_eq!(MediaFile::parse(wrong), None, "{wrong}");
        }
    }
}
