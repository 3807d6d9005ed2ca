//! Files of many containers and codecs: every frame arrives, in its colour.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::path::Path;

use contract::control::FromWorker;
use contract::spec::{Pace, QueuePolicy, SourceSpec};
use support::{PATIENCE, Seen, Stream, assert_red, ffmpeg_done};
use testkit::clip;

fn read(path: &Path) -> (Vec<Seen>, String) {
    let source = SourceSpec::File {
        path: path.to_owned(),
        pace: Pace::Fast,
        repeat: false,
    };
    let mut stream = Stream::new(source, QueuePolicy::Wait);
    let worker = stream.started();
    let seen = stream.rest();
    let decoder = worker.expect(PATIENCE, |message| match message {
        FromWorker::Source(info) => Some(info.decoder.clone()),
        _ => None,
    });
    stream.closed_book();
    (seen, decoder)
}

/// Encodes 50 red frames, and reads them.
fn check(name: &str, encoding: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    ffmpeg_done(&format!(
        "-f lavfi -i color=red:size=320x240:rate=25 -frames:v 50 -pix_fmt yuv420p {encoding} {}",
        path.display()
    ));
    let (seen, decoder) = read(&path);
    assert_eq!(seen.len(), 50, "{name} by {encoding}, decoded by {decoder}");
    for frame in [&seen[0], &seen[25], &seen[49]] {
        assert_red(frame);
    }
}

#[test]
fn h264_in_every_container() {
    for name in ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv", "a.mov", "a.mxf"] {
        // MXF knows no B-frames of other encoders than cameras'.
        let b_frames = if matches!(name, "a.mxf" | "a.avi") {
            0
        } else {
            2
        };
        let encoding = format!("-c:v libx264 -preset ultrafast -bf {b_frames} -g 10");
        check(name, &encoding);
    }
}

#[test]
fn the_other_codecs() {
    for (name, encoding) in [
        (
            "a.mp4",
            "-c:v libx265 -preset ultrafast -x265-params log-level=none",
        ),
        ("a.mkv", "-c:v mjpeg -pix_fmt yuvj420p"),
        ("a.webm", "-c:v libvpx -deadline realtime"),
        ("a.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("a.mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
        ("a.mxf", "-c:v mpeg2video"),
        ("a.ts", "-c:v mpeg2video"),
        ("a.avi", "-c:v mpeg4"),
    ] {
        check(name, encoding);
    }
}

/// Recordings are written by fragments, and a decoder must not stop before the last of them.
#[test]
fn every_frame_of_a_fragmented_mp4_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fragments.mp4");
    for encoder in [
        "x264enc key-int-max=20",
        "x264enc key-int-max=20 tune=zerolatency",
        "x264enc key-int-max=50 bframes=3 b-adapt=false",
    ] {
        clip::write(
            &path,
            &format!(
                "videotestsrc num-buffers=120 ! video/x-raw,format=I420,width=320,height=240,framerate=10/1 \
                 ! {encoder} ! h264parse ! mp4mux fragment-duration=1000 ! filesink name=file"
            ),
        );
        assert_eq!(read(&path).0.len(), 120, "{encoder}");
    }
    ffmpeg_done(&format!(
        "-f lavfi -i testsrc=size=320x240:rate=30 -frames:v 120 -pix_fmt yuv420p -c:v libx264 -g 30 \
         -movflags frag_keyframe+empty_moov {}",
        path.display()
    ));
    assert_eq!(read(&path).0.len(), 120);
}
