//! The camera itself, seen by a plain TCP client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::camera::{Authentication, CameraOptions, RtspCamera};
use testkit::wait_until;

/// The status line of the answer to DESCRIBE; `None` when nothing answers within a second.
fn describe(camera: &RtspCamera) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", camera.port())).ok()?;
    let timeout = Some(Duration::from_secs(1));
    stream
        .set_read_timeout(timeout)
        .expect("a timeout can be set");
    let location = camera.location();
    write!(stream, "DESCRIBE {location} RTSP/1.0\r\nCSeq: 1\r\n\r\n").ok()?;
    let mut answer = [0; 512];
    let count = stream.read(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    text.lines().next().map(str::to_owned)
}

#[test]
fn a_camera_serves_freezes_thaws_dies_and_comes_back() {
    let mut camera = RtspCamera::start(CameraOptions::default());
    // While the picture of an earlier client is being taken down, the server says 503.
    let serves = |camera: &RtspCamera| {
        let served = || describe(camera).is_some_and(|status| status == "RTSP/1.0 200 OK");
        wait_until(Duration::from_secs(10), served)
    };
    assert!(serves(&camera));
    camera.freeze();
    assert_eq!(describe(&camera), None);
    camera.thaw();
    assert!(serves(&camera));
    camera.kill();
    assert!(TcpStream::connect(("127.0.0.1", camera.port())).is_err());
    camera.restart();
    assert!(serves(&camera));
}

#[test]
fn a_camera_with_a_password_asks_for_it() {
    for authentication in [Authentication::Basic, Authentication::Digest] {
        let camera = RtspCamera::start(CameraOptions {
            login: Some(("user".to_owned(), "word".to_owned(), authentication)),
            ..CameraOptions::default()
        });
        let refused = Some("RTSP/1.0 401 Unauthorized".to_owned());
        assert_eq!(describe(&camera), refused);
    }
}
