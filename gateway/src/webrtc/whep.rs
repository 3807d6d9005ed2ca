//! What WHEP (draft-ietf-wish-whep) and WHIP (RFC 9725) say, of which one is the mirror of the other:
//! paths, answers, errors. Pure.

use std::time::Duration;

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
pub(super) use axum::response::Response;
use bytes::Bytes;
use contract::spec::Secret;

use super::sessions::{SENDERS_MAX, VIEWERS_MAX};
use super::viewer::Refusal;
use crate::http;
use crate::intake;

/// The page for browsers: one file that asks for nothing else.
const PAGE: &str = include_str!("page.html");

/// Nothing but what is in the page itself may run there or be shown.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; \
     form-action 'none'";

/// Who is told that there is no room or no picture may ask again after this.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// On which side of a stream somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Watches it, by WHEP.
    Viewer,
    /// Sends it, by WHIP.
    Sender,
}

impl Side {
    /// The part of a path that says so.
    const fn part(self) -> &'static str {
        match self {
            Self::Viewer => "whep",
            Self::Sender => "whip",
        }
    }
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// The page of a stream.
    Page { path: &'a str },
    /// Where viewers of a stream, or its senders, begin.
    Endpoint { side: Side, path: &'a str },
    /// The session of one of them.
    Session {
        side: Side,
        path: &'a str,
        name: &'a str,
    },
}

impl<'a> Route<'a> {
    /// The last part of a path is `whep` for viewers and `whip` for senders, before the name of a
    /// session if there is one.
    pub(super) fn of(target: &'a str) -> Self {
        let target = target.trim_start_matches('/');
        for side in [Side::Viewer, Side::Sender] {
            let begin = |path: &'a str| path.strip_suffix(side.part())?.strip_suffix('/');
            if let Some(path) = begin(target) {
                return Self::Endpoint { side, path };
            }
            if let Some((path, name)) = target.rsplit_once('/')
                && let Some(path) = begin(path)
            {
                return Self::Session { side, path, name };
            }
        }
        Self::Page {
            path: target.trim_end_matches('/'),
        }
    }

    /// What may be done there.
    fn methods(&self) -> &'static str {
        match self {
            Self::Page { .. } => "GET, HEAD, OPTIONS",
            Self::Endpoint { .. } => "POST, OPTIONS",
            Self::Session { .. } => "PATCH, DELETE, OPTIONS",
        }
    }
}

/// Why a request is not done. Sent as RFC 9457 has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    NoStream,
    /// There are these.
    NoQuality(Vec<String>),
    NoSession,
    Method(&'static str),
    MediaType(&'static str),
    TooLong(usize),
    TooSlow,
    NoRestart,
    Full(Side),
    /// It has no token, or another.
    NoToken,
    /// It may not be published.
    Publish(intake::Refusal),
    /// The offer has no encoder that can be used.
    NoEncoder,
    Internal(String),
    Refused(Refusal),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoStream | Self::NoQuality(_) | Self::NoSession => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRestart => StatusCode::NOT_IMPLEMENTED,
            Self::Publish(intake::Refusal::Unknown) => StatusCode::NOT_FOUND,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::Publish(intake::Refusal::Taken) => StatusCode::CONFLICT,
            Self::Full(_)
            | Self::Publish(intake::Refusal::Full)
            | Self::Refused(Refusal::NoPicture) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Refused(Refusal::BadOffer(_)) => StatusCode::BAD_REQUEST,
            Self::Refused(Refusal::NoDecoder { .. }) | Self::NoEncoder => {
                StatusCode::NOT_ACCEPTABLE
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NoStream => "no stream is served at this path: see the config's `webrtc` \
                               outputs for the paths there are"
                .to_owned(),
            Self::NoQuality(names) if names.is_empty() => {
                "the stream has no qualities but one: ask without `quality`".to_owned()
            }
            Self::NoQuality(names) => {
                let names = names.join(", ");
                format!(
                    "the stream has no such quality: there are {names}, and without `quality` what fits"
                )
            }
            Self::NoSession => "this session has ended: POST an offer for another".to_owned(),
            Self::Method(methods) => format!("this can be asked here: {methods}"),
            Self::MediaType(wanted) => format!("send it as `Content-Type: {wanted}`"),
            Self::TooLong(bytes) => format!("an SDP has at most {bytes} bytes here"),
            Self::TooSlow => "the body does not come in time".to_owned(),
            Self::NoRestart => "ICE cannot be restarted: POST an offer for another session".into(),
            Self::Full(Side::Viewer) => {
                format!("{VIEWERS_MAX} viewers watch already, which is all there can be: try later")
            }
            Self::Full(Side::Sender) => {
                format!("{SENDERS_MAX} send already, which is all there can be: try later")
            }
            Self::Publish(intake::Refusal::Unknown) => "no stream is published at this path by \
                WebRTC: a stream needs `source: publish:PATH`, or a rule of `accept` that takes it, \
                and the gateway `publish: [webrtc]`"
                .to_owned(),
            Self::Publish(intake::Refusal::Taken) => {
                "somebody publishes at this path already: one sender at a time".to_owned()
            }
            Self::Publish(intake::Refusal::Full) => {
                "there are as many streams of this kind as `accept` takes: try later".to_owned()
            }
            Self::NoToken => "publishing needs the gateway's `publish_token`: send it as \
                `Authorization: Bearer TOKEN`"
                .to_owned(),
            Self::NoEncoder => "the offer sends no H.264 with packetization-mode=1, which is what \
                can be published here: choose it as the codec of the sender"
                .to_owned(),
            Self::Internal(reason) => format!("{reason}: the gateway's log may say more"),
            Self::Refused(Refusal::NoPicture) => {
                "the stream has no picture yet: ask again in a moment".to_owned()
            }
            Self::Refused(Refusal::BadOffer(reason)) => {
                format!("the offer cannot be answered: {reason}")
            }
            Self::Refused(Refusal::NoDecoder { stream, offered }) => format!(
                "the stream is H.264 with profile-level-id {stream} in packetization-mode 1, and \
                 the offer has {offered}: watch with a player that decodes it, or by another \
                 protocol"
            ),
        }
    }

    pub(super) fn response(&self) -> Response {
        let status = self.status();
        let body = serde_json::json!({
            "status": status.as_u16(),
            "title": status.canonical_reason(),
            "detail": self.detail(),
        });
        let mut response = respond(status, body.to_string());
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, "application/problem+json");
        if let Self::Method(methods) = self {
            set(headers, header::ALLOW, methods);
        }
        if status == StatusCode::UNAUTHORIZED {
            set(headers, header::WWW_AUTHENTICATE, "Bearer");
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
        }
        response
    }
}

/// The encode that a viewer asks for by `quality=360p`, and wants no other.
pub(super) fn quality(query: &str) -> Option<&str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == "quality").then_some(value))
}

/// Whether a request can be done at all; OPTIONS is answered here.
pub(super) fn check(
    route: &Route<'_>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response>, Problem> {
    let methods = route.methods();
    if method == Method::OPTIONS {
        let mut response = respond(StatusCode::NO_CONTENT, "");
        let headers = response.headers_mut();
        set(headers, header::ALLOW, methods);
        set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        set(
            headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, Authorization, If-Match",
        );
        set(headers, header::ACCESS_CONTROL_MAX_AGE, "86400");
        if matches!(route, Route::Endpoint { .. }) {
            set(
                headers,
                HeaderName::from_static("accept-post"),
                "application/sdp",
            );
        }
        return Ok(Some(response));
    }
    if !methods.split(", ").any(|known| known == method.as_str()) {
        return Err(Problem::Method(methods));
    }
    let wanted = match *method {
        Method::POST => "application/sdp",
        Method::PATCH => "application/trickle-ice-sdpfrag",
        _ => return Ok(None),
    };
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|given| given.to_str().ok()).unwrap_or("");
    let given = given.split(';').next().unwrap_or("").trim();
    if given.eq_ignore_ascii_case(wanted) {
        Ok(None)
    } else {
        Err(Problem::MediaType(wanted))
    }
}

/// Whether a request has the token that it must have (RFC 6750, section 2.1).
pub(super) fn authorize(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else {
        return Ok(());
    };
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (given, token) = (given.map_or("", |(_, given)| given.trim()), token.expose());
    // All of it is looked at, so that the time does not tell how much of it was right.
    let pairs = given.bytes().zip(token.bytes());
    let differ = pairs.fold(0, |differ, (given, token)| differ | (given ^ token));
    if given.len() == token.len() && differ == 0 {
        Ok(())
    } else {
        Err(Problem::NoToken)
    }
}

/// The page of a stream.
pub(super) fn page() -> Response {
    let mut response = respond(StatusCode::OK, PAGE);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(headers, header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::REFERRER_POLICY, "no-referrer");
    response
}

/// A session has begun.
pub(super) fn created(side: Side, path: &str, session: &str, answer: String) -> Response {
    let mut response = respond(StatusCode::CREATED, answer);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "application/sdp");
    let location = format!("/{path}/{}/{session}", side.part());
    set(headers, header::LOCATION, &location);
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location");
    response
}

/// It is done, and there is nothing to say.
pub(super) fn done(status: StatusCode) -> Response {
    respond(status, "")
}

/// Whether candidates that a viewer sends later are for its session as it is. They need not be
/// kept: it is the viewer who tries ours, and its address is known as soon as it does (RFC 8445
/// calls it peer-reflexive). `fragment` is the `ice-ufrag` in the viewer's offer.
pub(super) fn is_same_session(candidates: &str, fragment: &str) -> bool {
    let mut lines = candidates.lines();
    let named = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    named.is_none_or(|named| named.trim() == fragment)
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(http::body([body.into()]));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // A stream is for whoever reaches the port, so also for pages from elsewhere.
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, header::CACHE_CONTROL, "no-store");
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Paths, session names and our own texts are all made of letters that a header may have.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_have_parts() {
        assert_eq!(Route::of("/yard"), Route::Page { path: "yard" });
        assert_eq!(Route::of("/cams/yard/"), Route::Page { path: "cams/yard" });
        assert_eq!(
            Route::of("/cams/yard/whep"),
            Route::Endpoint {
                side: Side::Viewer,
                path: "cams/yard"
            }
        );
        for (side, target) in [
            (Side::Viewer, "/yard/whep/5f"),
            (Side::Sender, "/yard/whip/5f"),
        ] {
            let session = Route::Session {
                side,
                path: "yard",
                name: "5f",
            };
            assert_eq!(Route::of(target), session);
        }
        assert_eq!(
            Route::of("/whep/whip"),
            Route::Endpoint {
                side: Side::Sender,
                path: "whep"
            }
        );
        assert_eq!(Route::of("/"), Route::Page { path: "" });
        assert_eq!(Route::of("/whep"), Route::Page { path: "whep" });
    }

    #[test]
    fn what_cannot_be_asked_is_told_what_can() {
        let route = Route::of("/yard/whep");
        let mut headers = HeaderMap::new();
        let refused = check(&route, &Method::GET, &headers).expect_err("refused");
        assert_eq!(refused, Problem::Method("POST, OPTIONS"));
        let response = refused.response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "POST, OPTIONS");
        let refused = check(&route, &Method::POST, &headers).expect_err("refused");
        assert_eq!(refused.response().status(), 415);
        set(
            &mut headers,
            header::CONTENT_TYPE,
            "Application/SDP; charset=utf-8",
        );
        assert!(matches!(check(&route, &Method::POST, &headers), Ok(None)));
        let options = check(&route, &Method::OPTIONS, &headers).expect("answered");
        let options = options.expect("answered here");
        assert_eq!(options.headers()["accept-post"], "application/sdp");
        assert_eq!(options.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        for full in [
            Problem::Full(Side::Viewer),
            Problem::Full(Side::Sender),
            Problem::Publish(intake::Refusal::Full),
        ] {
            let response = full.response();
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        }
        for (problem, status) in [
            (Problem::Publish(intake::Refusal::Unknown), 404),
            (Problem::Publish(intake::Refusal::Taken), 409),
            (Problem::NoEncoder, 406),
        ] {
            assert_eq!(problem.status(), status, "{problem:?}");
        }
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let token = Secret::new("correct-horse".to_owned());
        let authorized = |value: &str| {
            let mut headers = HeaderMap::new();
            set(&mut headers, header::AUTHORIZATION, value);
            authorize(Some(&token), &headers).is_ok()
        };
        assert!(authorized("Bearer correct-horse"));
        assert!(authorized("bearer  correct-horse"));
        for wrong in [
            "",
            "Bearer",
            "Bearer correct-hors",
            "Bearer correct-horse2",
            "Bearer correct-horsf",
            "Basic correct-horse",
            "correct-horse",
        ] {
            assert!(!authorized(wrong), "{wrong}");
        }
        assert_eq!(authorize(None, &HeaderMap::new()), Ok(()));
        let response = Problem::NoToken.response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn candidates_are_welcome_and_restarts_are_not() {
        let candidates = "a=ice-ufrag:EsAw\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n";
        assert!(is_same_session(candidates, "EsAw"));
        assert!(is_same_session(
            "a=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\n",
            "EsAw"
        ));
        assert!(!is_same_session(candidates, "other"));
    }
}
