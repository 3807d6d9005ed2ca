//! An MPEG transport stream by SRT.
//!
//! `srtsrc` of `GStreamer` 1.22 repeats a refused connection by itself, some hundred times a
//! second, and only warns. Told not to reconnect it ends with an error that says why, and
//! sessions are tried again as those of any camera.
//!
//! A listener never hears of a sender whose passphrase is wrong: the library turns it away. But
//! it is told that one is connecting, and then not that it is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::spec::{Secret, SrtMode, SrtSpec};
use gstreamer::prelude::*;

use super::{Site, decode};
use crate::conversion::Conversion;
use crate::fault::Fault;
use crate::pipeline::{element, lock};

/// The library takes a sender in, or turns it away, within the same millisecond.
const HANDSHAKE_MAX: Duration = Duration::from_secs(1);

/// What is known of those who send to a listener.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    connected: u32,
    knocked: Option<Instant>,
    turned_away: Option<&'static str>,
}

impl Senders {
    /// One asks to be let in; says whether it is.
    fn knock(&mut self, right_stream: bool, now: Instant) -> bool {
        if !right_stream {
            self.turned_away = Some("its stream id is not the one that is set here");
            return false;
        }
        // A second sender's packets would be mixed into those of the first.
        if self.connected > 0 {
            return false;
        }
        self.knocked = Some(now);
        true
    }

    fn enter(&mut self) {
        self.connected += 1;
        self.knocked = None;
    }

    fn leave(&mut self) {
        self.connected = self.connected.saturating_sub(1);
    }

    /// One was turned away, and why; each is told once.
    pub(crate) fn turned_away(&mut self, now: Instant) -> Option<String> {
        let waited = |knocked: Instant| now.duration_since(knocked) >= HANDSHAKE_MAX;
        if self.knocked.is_some_and(waited) {
            self.knocked = None;
            self.turned_away = Some("its passphrase is not the one that is set here");
        }
        let why = self.turned_away.take()?;
        Some(format!(
            "a sender was turned away: {why}; waiting for another"
        ))
    }
}

/// Either end of a connection.
pub(super) fn add(site: &Site<'_>, conversion: Conversion, spec: &SrtSpec) -> Result<(), Fault> {
    let source = element("srtsrc", "gstreamer1.0-plugins-bad")?;
    let (host, port) = (&spec.host, spec.port);
    // The element takes the address as its own only where the address itself says the mode.
    let mode = match spec.mode {
        SrtMode::Caller => "caller",
        SrtMode::Listener => "listener",
    };
    source.set_property("uri", format!("srt://{host}:{port}?mode={mode}"));
    source.set_property("auto-reconnect", false);
    source.set_property("keep-listening", false);
    let latency = i32::try_from(spec.latency_ms).unwrap_or(i32::MAX);
    source.set_property("latency", latency);
    if let Some(passphrase) = &spec.passphrase {
        source.set_property("passphrase", passphrase.expose());
    }
    if let Some(bytes) = spec.key_bytes {
        source.set_property_from_str("pbkeylen", &bytes.to_string());
    }
    match (&spec.stream_id, spec.mode) {
        (Some(stream_id), SrtMode::Caller) => {
            source.set_property("streamid", stream_id.expose());
        }
        (stream_id, SrtMode::Listener) => {
            let stream_id = stream_id.as_ref().map(Secret::expose);
            watch_senders(site, &source, stream_id);
        }
        (None, SrtMode::Caller) => {}
    }
    decode(site, conversion, &source)
}

fn watch_senders(site: &Site<'_>, source: &gstreamer::Element, stream_id: Option<&str>) {
    // Without it nobody is told of who is connecting.
    source.set_property("authentication", true);
    let (found, wanted) = (Arc::clone(site.findings), stream_id.map(str::to_owned));
    source.connect("caller-connecting", false, move |values| {
        let named = values.get(2).and_then(|value| value.get::<String>().ok());
        let right = wanted.is_none() || named == wanted;
        let mut found = lock(&found);
        Some(found.senders.knock(right, Instant::now()).to_value())
    });
    let found = Arc::clone(site.findings);
    source.connect("caller-added", false, move |_| {
        lock(&found).senders.enter();
        None
    });
    let found = Arc::clone(site.findings);
    source.connect("caller-removed", false, move |_| {
        lock(&found).senders.leave();
        None
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knocks_and_does_not_enter_was_turned_away() {
        let mut senders = Senders::default();
        let begin = Instant::now();
        let later = begin + HANDSHAKE_MAX;
        assert!(senders.knock(true, begin));
        assert_eq!(senders.turned_away(begin), None);
        let told = senders.turned_away(later).unwrap_or_default();
        assert!(told.contains("passphrase"), "{told}");
        assert_eq!(senders.turned_away(later), None);

        assert!(senders.knock(true, begin));
        senders.enter();
        assert_eq!(senders.turned_away(later), None);
        assert!(!senders.knock(true, begin), "one at a time");
        assert_eq!(senders.turned_away(later), None);
        senders.leave();
        assert!(!senders.knock(false, begin));
        let told = senders.turned_away(begin).unwrap_or_default();
        assert!(told.contains("stream id"), "{told}");
    }
}
