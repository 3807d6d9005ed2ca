//! Files, HLS and Motion JPEG by HTTP.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::fs;

use contract::control::SourceState::{Gone, Lost, Refused};
use contract::exit::WorkerExit;
use contract::spec::{QueuePolicy, Secret, SourceSpec, TlsVerification};
use support::{LIVE_RED, PATIENCE, Stream, assert_red, drain, expect_state, ffmpeg, ffmpeg_done};
use tempfile::TempDir;
use testkit::http::{HttpOptions, HttpServer};
use testkit::wait_until;

/// `admin:s3cret` in Base64.
const AUTHORIZATION: &str = "Basic YWRtaW46czNjcmV0";

fn source(address: String) -> SourceSpec {
    SourceSpec::Http {
        location: Secret::new(address),
        tls: TlsVerification::Verify,
    }
}

fn serve(directory: &TempDir) -> HttpServer {
    HttpServer::start(HttpOptions {
        directory: directory.path().to_owned(),
        picture: Some("red.jpg".to_owned()),
        authorization: Some(AUTHORIZATION.to_owned()),
    })
}

const CLIP: &str = "-f lavfi -i color=red:size=320x240:rate=25 -pix_fmt yuv420p -c:v libx264 \
     -preset ultrafast -g 25";

#[test]
fn a_file_on_a_server_is_played_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.mp4");
    ffmpeg_done(&format!(
        "{CLIP} -frames:v 30 -movflags faststart {}",
        path.display()
    ));
    let server = serve(&directory);
    let address = server.address_as("admin:s3cret", "/clip.mp4");
    let mut stream = Stream::new(source(address), QueuePolicy::DropOldest);
    let mut worker = stream.started();
    let seen = stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    assert_red(seen.last().unwrap());
    assert_eq!(stream.closed_book().captured, 30);
    assert!(expect_state(&worker, 0, Gone).contains("ended"));
}

#[test]
fn hls_is_played_while_it_is_being_written_and_its_segments_need_the_password_too() {
    let directory = tempfile::tempdir().unwrap();
    let playlist = directory.path().join("live.m3u8");
    let _writer = ffmpeg(&format!(
        "{LIVE_RED} -f hls -hls_time 1 -hls_list_size 4 -hls_flags delete_segments {}",
        playlist.display()
    ));
    assert!(wait_until(PATIENCE, || {
        let text = fs::read_to_string(&playlist).unwrap_or_default();
        text.matches(".ts").count() >= 3
    }));
    let server = serve(&directory);
    let address = server.address_as("admin:s3cret", "/live.m3u8");
    let mut stream = Stream::with(source(address), QueuePolicy::DropOldest, |spec| {
        spec.no_frame_timeout_ms = 5000;
    });
    let worker = stream.started();
    let seen = stream.take(100);
    assert_red(&seen[99]);
    // A segment that is late leaves a gap; within segments the rate is the camera's.
    let mut gaps: Vec<_> = seen
        .windows(2)
        .map(|pair| pair[1].pts_ms - pair[0].pts_ms)
        .collect();
    gaps.sort_unstable();
    assert!(gaps[gaps.len() / 2].abs_diff(40) <= 4, "{gaps:?}");
    drain(worker, &mut stream);
}

#[test]
fn a_motion_jpeg_camera_is_lost_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let picture = directory.path().join("red.jpg");
    ffmpeg_done(&format!(
        "-f lavfi -i color=red:size=320x240 -frames:v 1 -update 1 {}",
        picture.display()
    ));
    let server = serve(&directory);
    let address = server.address_as("admin:s3cret", "/camera");
    let mut stream = Stream::new(source(address), QueuePolicy::DropOldest);
    let worker = stream.started();
    let seen = stream.take(30);
    assert_red(&seen[29]);
    for pair in seen.windows(2) {
        assert!(pair[0].pts_ms < pair[1].pts_ms);
    }
    drop(server);
    expect_state(&worker, 0, Lost);
    drain(worker, &mut stream);
}

#[test]
fn a_wrong_password_a_wrong_path_and_no_server_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("page.html"),
        "<html>not a video</html>".repeat(100),
    )
    .unwrap();
    let server = serve(&directory);
    let nobody = format!("http://127.0.0.1:{}/x", testkit::free_port());
    for (address, state, words) in [
        (
            server.address_as("admin:wr0ng", "/page.html"),
            Refused,
            "(401)",
        ),
        (
            server.address_as("admin:s3cret", "/missing"),
            Refused,
            "(404)",
        ),
        (
            server.address_as("admin:s3cret", "/page.html"),
            Lost,
            "no video",
        ),
        (nobody, Lost, "no connection"),
    ] {
        let mut stream = Stream::new(source(address), QueuePolicy::DropOldest);
        let worker = stream.started();
        let text = expect_state(&worker, 0, state);
        assert!(text.contains(words), "{text}");
        let told = format!("{:?}{}", worker.received(), worker.process.stderr());
        assert!(
            !told.contains("wr0ng") && !told.contains("s3cret"),
            "{told}"
        );
        drain(worker, &mut stream);
    }
}
