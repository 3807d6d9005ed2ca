//! Addresses with passwords, and how to speak of them without.

use std::fmt;

use contract::secrets::{Secrets, percent_decode};
use contract::spec::{Secret, SourceSpec, SrtMode, SrtSpec};

/// What a kind of address begins with, and what it looks like.
struct Shape {
    schemes: &'static [&'static str],
    example: &'static str,
}

const RTSP: Shape = Shape {
    schemes: &["rtsp", "rtsps"],
    example: "rtsp://host:port/path",
};
const RTMP: Shape = Shape {
    schemes: &["rtmp", "rtmps"],
    example: "rtmp://host:port/application/stream",
};
const HTTP: Shape = Shape {
    schemes: &["http", "https"],
    example: "http://host:port/path",
};

/// A network address taken apart, so that the password is given to the one element that
/// needs it and is part of no text that anything else could print.
#[derive(Clone)]
pub struct Location {
    /// The address without user and password: what the element that connects is given.
    address: String,
    /// What may be shown: the address without its query, which often holds a key.
    public: String,
    user: Option<String>,
    password: Option<String>,
    /// What else must not be shown.
    secrets: Secrets,
}

impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.public)
    }
}

impl Location {
    /// The location of a source in a network; `None` for all others.
    ///
    /// # Errors
    /// A text that says what is wrong, without the address.
    pub fn of(source: &SourceSpec) -> Result<Option<Self>, String> {
        match source {
            SourceSpec::Rtsp { location, .. } => Self::parse(location, &RTSP).map(Some),
            SourceSpec::Rtmp { location, .. } => Self::parse(location, &RTMP).map(Some),
            SourceSpec::Http { location, .. } => Self::parse(location, &HTTP).map(Some),
            SourceSpec::Srt(spec) => Ok(Some(Self::of_srt(spec))),
            SourceSpec::File { .. }
            | SourceSpec::Images { .. }
            | SourceSpec::Udp { .. }
            | SourceSpec::Publish { .. }
            | SourceSpec::Device { .. }
            | SourceSpec::Mosaic(_)
            | SourceSpec::Test { .. } => Ok(None),
        }
    }

    /// Takes `rtsp://user:password@host:port/path?query` apart.
    ///
    /// A user and password with reserved characters are percent-encoded (RFC 3986).
    fn parse(location: &Secret, shape: &Shape) -> Result<Self, String> {
        let text = location.expose();
        let wrong = |what: &str| format!("the address {what}: write {}", shape.example);
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("has no `://`"))?;
        if !shape.schemes.contains(&scheme) {
            return Err(wrong("is of another kind"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(wrong("names no host"));
        }
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(percent_decode(user)), Some(percent_decode(password))),
            None => (None, None),
        };
        let shown = path.split(['?', '#']).next().unwrap_or_default();
        let encoded = login.and_then(|login| login.split_once(':'));
        let query = path.split_once('?').map(|(_, query)| query);
        let secrets = [
            query,
            encoded.map(|(_, password)| password),
            password.as_deref(),
        ];
        Ok(Self {
            address: format!("{scheme}://{host}{path}"),
            public: format!("{scheme}://{host}{shown}"),
            secrets: Secrets::of(&secrets),
            user,
            password,
        })
    }

    fn of_srt(spec: &SrtSpec) -> Self {
        let address = format!("srt://{}:{}", spec.host, spec.port);
        let public = match spec.mode {
            SrtMode::Caller => address.clone(),
            SrtMode::Listener => format!("{address} (listening)"),
        };
        let secret = |secret: &'_ Option<Secret>| secret.as_ref().map(|it| it.expose().to_owned());
        let secrets = [secret(&spec.passphrase), secret(&spec.stream_id)];
        Self {
            address,
            public,
            user: None,
            password: None,
            secrets: Secrets::of(&secrets.each_ref().map(Option::as_deref)),
        }
    }

    /// The address without user and password, for the element that connects.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address as it may be shown and logged.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// User and password.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &str)> {
        self.user.as_deref().zip(self.password.as_deref())
    }

    /// A text of somebody else's, without what must not be shown.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        if self.address != self.public && self.address.starts_with(&self.public) {
            clean = clean.replace(&self.address, &self.public);
        }
        self.secrets.scrub(&clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, String> {
        Location::parse(&Secret::new(text.to_owned()), &RTSP)
    }

    #[test]
    fn addresses_are_taken_apart() {
        let location = parse("rtsp://admin:p%40ss:w%zz@10.0.0.7:8554/live/1?key=abc").unwrap();
        assert_eq!(location.address(), "rtsp://10.0.0.7:8554/live/1?key=abc");
        assert_eq!(location.public(), "rtsp://10.0.0.7:8554/live/1");
        assert_eq!(location.login(), Some(("admin", "p@ss:w%zz")));

        let plain = parse("rtsp://camera").unwrap();
        assert_eq!((plain.address(), plain.login()), ("rtsp://camera", None));
        // A password with an `@` that was not encoded: the last one ends it.
        let sloppy = parse("rtsp://a:b@c@[::1]:554/x").unwrap();
        assert_eq!(sloppy.public(), "rtsp://[::1]:554/x");
        assert_eq!(sloppy.login(), Some(("a", "b@c")));
        assert_eq!(parse("rtsp://a@h/").unwrap().login(), Some(("a", "")));
    }

    #[test]
    fn errors_and_scrubbed_texts_hold_no_secret() {
        for bad in [
            "hunter2",
            "http://a:hunter2@h/",
            "rtsp://a:hunter2@/x",
            "rtsp://:1/",
        ] {
            let error = parse(bad).expect_err("it is wrong");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let location = parse("rtsp://a:hunter2@h/x?token=s3cret").unwrap();
        let text =
            location.scrub("cannot open rtsp://h/x?token=s3cret as a:hunter2 (token=s3cret)");
        assert_eq!(text, "cannot open rtsp://h/x as a:*** (***)");
    }

    #[test]
    fn the_secrets_of_srt_are_hidden() {
        let spec = SrtSpec {
            mode: SrtMode::Caller,
            host: "10.0.0.7".to_owned(),
            port: 9000,
            stream_id: Some(Secret::new("cam-1,key=abc".to_owned())),
            passphrase: Some(Secret::new("correct horse".to_owned())),
            key_bytes: None,
            latency_ms: 125,
        };
        let location = Location::of(&SourceSpec::Srt(spec)).unwrap().unwrap();
        assert_eq!(location.public(), "srt://10.0.0.7:9000");
        let text = location.scrub("srt://10.0.0.7:9000 cam-1,key=abc with correct horse");
        assert_eq!(text, "srt://10.0.0.7:9000 *** with ***");
    }
}
