//! What of a spec can change while frames flow: how motion is measured. All else is the
//! source or the service, and a worker of another source is another worker.

use contract::spec::{IngestSpec, MotionSpec, Role};

/// The motion settings to go on with, if nothing else has changed.
///
/// # Errors
/// What has changed that cannot be changed live.
pub fn motion_of<'a>(current: &IngestSpec, wanted: &'a Role) -> Result<&'a MotionSpec, String> {
    let Role::Ingest(wanted) = wanted else {
        return Err("the spec is not one of an ingest worker".to_owned());
    };
    let IngestSpec {
        stream,
        source,
        retry,
        no_frame_timeout_ms,
        on_demand,
        motion,
        hardware_decoder,
        passthrough,
        frames,
        consumers,
        book,
    } = wanted;
    let changed = [
        ("the stream", *stream != current.stream),
        ("the source", *source != current.source),
        ("`retry`", *retry != current.retry),
        (
            "`no_frame_timeout`",
            *no_frame_timeout_ms != current.no_frame_timeout_ms,
        ),
        ("`on_demand`", *on_demand != current.on_demand),
        (
            "the use of hardware decoders",
            *hardware_decoder != current.hardware_decoder,
        ),
        ("the passthrough", *passthrough != current.passthrough),
        ("the frame service", *frames != current.frames),
        ("the consumers", *consumers != current.consumers),
        ("the book", *book != current.book),
    ];
    match changed.into_iter().find(|(_, changed)| *changed) {
        Some((what, _)) => Err(format!("{what} cannot change while frames flow")),
        None => Ok(motion),
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;
    use contract::spec::{
        Backoff, FrameMemory, FrameServiceSpec, GatewaySpec, Pace, QueuePolicy, RetrySpec,
        SourceSpec,
    };

    use super::*;

    fn spec() -> IngestSpec {
        let size = PixelSize {
            width: 64,
            height: 48,
        };
        IngestSpec {
            stream: "yard".parse().expect("a name"),
            source: SourceSpec::Test {
                pattern: "ball".to_owned(),
                size,
                fps: 25,
                frames: None,
                pace: Pace::Live,
            },
            retry: RetrySpec {
                attempts: None,
                interval_ms: 1000,
                backoff: Backoff::Fixed,
                max_interval_ms: 60_000,
            },
            no_frame_timeout_ms: 5000,
            on_demand: None,
            motion: MotionSpec {
                threshold: 12,
                mask: Vec::new(),
            },
            hardware_decoder: false,
            passthrough: None,
            frames: FrameServiceSpec {
                stream: "yard".parse().expect("a name"),
                crops: None,
                size,
                policy: QueuePolicy::DropOldest,
                depth: 2,
                consumers_max: 2,
                held_max: 4,
                memory: FrameMemory::Host,
            },
            consumers: Vec::new(),
            book: "/run/yard.book".into(),
        }
    }

    #[test]
    fn motion_changes_and_nothing_else() {
        let current = spec();
        let mut wanted = spec();
        wanted.motion.threshold = 30;
        let role = Role::Ingest(wanted.clone());
        assert_eq!(motion_of(&current, &role), Ok(&wanted.motion));

        wanted.frames.depth = 9;
        let error = motion_of(&current, &Role::Ingest(wanted)).expect_err("the service is fixed");
        assert!(error.contains("the frame service"), "{error}");

        let gateway = Role::Gateway(GatewaySpec {
            address: String::new(),
            ports: [].into(),
            webrtc_hosts: Vec::new(),
            srt_passphrase: None,
            publish: [].into(),
            publish_token: None,
            streams: Vec::new(),
            intakes: Vec::new(),
            accept: Vec::new(),
        });
        assert!(motion_of(&current, &gateway).is_err());
    }
}
