//! Which transport an RTSP camera is asked for: pure.

use contract::spec::{RtspTransport, SourceSpec};

/// The transport in use, and whether it may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// `None`: the source knows no choice.
    current: Option<RtspTransport>,
    automatic: bool,
    /// Both were tried since a frame came.
    tried_other: bool,
}

impl Transport {
    /// What a source begins with.
    #[must_use]
    pub fn of(source: &SourceSpec) -> Self {
        let (current, automatic) = match source {
            SourceSpec::Rtsp { transport, .. } => match transport {
                RtspTransport::Auto => (Some(RtspTransport::Tcp), true),
                fixed => (Some(*fixed), false),
            },
            _ => (None, false),
        };
        Self {
            current,
            automatic,
            tried_other: false,
        }
    }

    /// The source with the transport in use.
    #[must_use]
    pub fn applied_to(&self, source: &SourceSpec) -> SourceSpec {
        let mut source = source.clone();
        if let (SourceSpec::Rtsp { transport, .. }, Some(current)) = (&mut source, self.current) {
            *transport = current;
        }
        source
    }

    /// Its name; empty where there is no choice.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.current {
            Some(RtspTransport::Udp) => "udp",
            Some(RtspTransport::Tcp | RtspTransport::Auto) => "tcp",
            None => "",
        }
    }

    /// Frames come.
    pub fn works(&mut self) {
        self.tried_other = false;
    }

    /// The camera refuses this one; true when another is to be tried at once. What works is
    /// kept for later sessions.
    pub fn try_other(&mut self) -> bool {
        if !self.automatic || self.tried_other {
            self.tried_other = false;
            return false;
        }
        self.tried_other = true;
        self.current = Some(match self.current {
            Some(RtspTransport::Udp) => RtspTransport::Tcp,
            _ => RtspTransport::Udp,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use contract::spec::{Secret, TlsVerification};

    use super::*;

    fn camera(transport: RtspTransport) -> SourceSpec {
        SourceSpec::Rtsp {
            location: Secret::new("rtsp://camera/".to_owned()),
            transport,
            latency_ms: 100,
            tls: TlsVerification::Verify,
        }
    }

    #[test]
    fn a_camera_is_asked_for_each_transport_once() {
        let source = camera(RtspTransport::Auto);
        let mut transport = Transport::of(&source);
        assert_eq!(transport.name(), "tcp");
        assert!(transport.try_other());
        assert_eq!(transport.name(), "udp");
        assert_eq!(transport.applied_to(&source), camera(RtspTransport::Udp));
        assert!(!transport.try_other(), "both are refused");
        // The next session begins with the last, and may change again.
        assert!(transport.try_other());
        transport.works();
        assert!(transport.try_other());
    }

    #[test]
    fn one_that_is_set_stays() {
        let mut transport = Transport::of(&camera(RtspTransport::Tcp));
        assert!(!transport.try_other());
        assert_eq!(transport.name(), "tcp");
    }
}
