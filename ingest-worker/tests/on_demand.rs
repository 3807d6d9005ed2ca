//! A source on demand is connected only while it is wanted.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use contract::control::SourceState::{Connecting, Idle, Live};
use contract::control::ToWorker;
use contract::ledger::Counters;
use contract::spec::{
    OnDemandSpec, QueuePolicy, RtspTransport, Secret, SourceSpec, TlsVerification,
};
use support::{Stream, drain, expect_states};
use testkit::camera::{CameraOptions, RtspCamera};

#[test]
fn a_camera_is_connected_while_somebody_asks_for_it() {
    let camera = RtspCamera::start(CameraOptions::default());
    let source = SourceSpec::Rtsp {
        location: Secret::new(camera.location()),
        transport: RtspTransport::Auto,
        latency_ms: 100,
        tls: TlsVerification::Verify,
    };
    let mut stream = Stream::with(source, QueuePolicy::DropOldest, |spec| {
        spec.on_demand = Some(OnDemandSpec { linger_ms: 500 });
        spec.no_frame_timeout_ms = 1000;
    });
    let mut worker = stream.started();
    expect_states(&worker, &[Idle]);
    assert_eq!(stream.book.read().sessions, 0);

    worker.send(&ToWorker::Wanted(true));
    stream.take(10);
    worker.send(&ToWorker::Wanted(false));
    let states = expect_states(&worker, &[Idle, Connecting, Live, Idle]);
    assert!(states[3].1.contains("nobody"), "{states:?}");
    let idle = stream.book.read();
    assert_eq!(idle.in_flight(), 0, "{idle:?}");

    worker.send(&ToWorker::Wanted(true));
    assert!(stream.rest_until_discontinuity().discontinuity);
    expect_states(&worker, &[Idle, Connecting, Live, Idle, Connecting, Live]);
    assert_eq!(drain(worker, &mut stream).sessions, 2);
}
