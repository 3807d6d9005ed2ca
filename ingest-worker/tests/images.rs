//! Directories of pictures.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::fs;
use std::path::Path;

use contract::exit::WorkerExit;
use contract::spec::{Pace, QueuePolicy, SourceSpec};
use support::{PATIENCE, Stream, assert_red, ffmpeg_done, means};

fn picture(directory: &Path, name: &str, colour: &str, size: &str) {
    let path = directory.join(name);
    ffmpeg_done(&format!(
        "-f lavfi -i color={colour}:size={size} -frames:v 1 -update 1 {}",
        path.display()
    ));
}

fn source(directory: &Path, repeat: bool) -> SourceSpec {
    SourceSpec::Images {
        directory: directory.to_owned(),
        pattern: None,
        fps: 10,
        pace: Pace::Fast,
        repeat,
    }
}

/// Red, green, blue by turns, of both kinds and several sizes, and files that are no pictures.
fn fill(directory: &Path) {
    picture(directory, "1.jpg", "red", "320x240");
    picture(directory, "2.png", "lime", "160x120");
    picture(directory, "10.jpg", "blue", "640x480");
    picture(directory, "11.png", "red", "320x240");
    fs::write(directory.join("3.jpg"), "not a picture").unwrap();
    fs::write(directory.join("notes.txt"), "1.jpg is red").unwrap();
}

#[test]
fn pictures_come_in_the_natural_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let mut stream = Stream::new(source(directory.path(), false), QueuePolicy::Wait);
    let mut worker = stream.started();
    let seen = stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    assert_eq!(seen.len(), 4, "{}", worker.process.stderr());
    assert_red(&seen[0]);
    let [_, u, v] = means(&seen[1]);
    assert!(u < 110 && v < 110, "green: {u} {v}");
    let [_, u, v] = means(&seen[2]);
    assert!(u > 180 && v < 140, "blue: {u} {v}");
    assert_red(&seen[3]);
    for frame in &seen {
        assert_eq!((frame.size.width, frame.size.height), (320, 240));
    }
    let times: Vec<_> = seen.iter().map(|frame| frame.pts_ms).collect();
    // The second is no picture, and its time passes without one.
    assert_eq!(times, [0, 100, 300, 400]);
    stream.closed_book();
}

#[test]
fn a_repeated_directory_goes_on_and_a_restarted_worker_resumes() {
    let directory = tempfile::tempdir().unwrap();
    for index in 0..6 {
        let colour = if index < 3 { "red" } else { "blue" };
        picture(directory.path(), &format!("{index}.jpg"), colour, "64x48");
    }
    let mut stream = Stream::new(source(directory.path(), true), QueuePolicy::Wait);
    let worker = stream.started();
    let seen = stream.take(14);
    assert_red(&seen[12]);
    assert!(seen[6].discontinuity && seen[12].discontinuity);
    for pair in seen.windows(2) {
        assert_eq!(pair[1].pts_ms - pair[0].pts_ms, 100);
    }
    drop(worker);

    let mut stream = Stream::new(source(directory.path(), false), QueuePolicy::Wait);
    let mut worker = stream.started();
    stream.take(2);
    worker.process.kill();
    let captured = stream.book.read().captured;
    stream.clean_up();
    let _worker = stream.started();
    let rest = stream.rest();
    let last = rest.last().unwrap();
    assert_eq!(last.pts_ms, 500, "{captured} were taken before");
}

#[test]
fn a_directory_without_pictures_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = Stream::new(source(directory.path(), false), QueuePolicy::Wait);
    let mut worker = stream.worker();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::BadConfig.code()
    );
    let told = format!("{:?}", worker.received());
    assert!(told.contains("no such pictures"), "{told}");
}
