//! Files and test patterns through the real program and the real bus.

#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong around a test fails the test"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use contract::control::{FromWorker, SourceInfo, ToWorker};
use contract::exit::WorkerExit;
use contract::geometry::PixelSize;
use contract::ledger::Counters;
use contract::spec::{Pace, QueuePolicy, Role, SourceSpec};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video::prelude::*;
use support::{PATIENCE, Seen, Stream};
use testkit::worker::WorkerProcess;
use testkit::{clip, process};

const SIZE: PixelSize = PixelSize {
    width: 322,
    height: 242,
};
const FPS: u32 = 20;

fn file(path: &Path) -> SourceSpec {
    SourceSpec::File {
        path: path.to_owned(),
        pace: Pace::Fast,
        repeat: false,
    }
}

fn make_clip(directory: &tempfile::TempDir, frames: u32) -> PathBuf {
    let path = directory.path().join("clip.mp4");
    clip::make(&path, frames, SIZE, FPS);
    path
}

fn info_of(worker: &WorkerProcess) -> SourceInfo {
    worker.expect(PATIENCE, |message| match message {
        FromWorker::Source(info) => Some(info.clone()),
        _ => None,
    })
}

/// The clip's frames, tightly packed, by a pipeline that shares nothing with the worker's.
fn decode(path: &Path) -> Vec<Vec<u8>> {
    gst::init().unwrap();
    let text = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! appsink name=sink sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut frames = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let info = gstreamer_video::VideoInfo::from_caps(&sample.caps_owned().unwrap()).unwrap();
        let buffer = sample.buffer_owned().unwrap();
        let frame = gstreamer_video::VideoFrame::from_buffer_readable(buffer, &info).unwrap();
        let mut pixels = Vec::new();
        for plane in 0..3 {
            let width = frame.comp_width(plane) as usize;
            let stride = usize::try_from(frame.plane_stride()[plane as usize]).unwrap();
            let rows = frame.plane_data(plane).unwrap().chunks(stride);
            for row in rows.take(frame.comp_height(plane) as usize) {
                pixels.extend_from_slice(&row[..width]);
            }
        }
        frames.push(pixels);
    }
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}

fn assert_in_order(seen: &[Seen], first: u64) {
    for (index, frame) in seen.iter().enumerate() {
        assert_eq!(frame.sequence_number, first + index as u64);
    }
    for pair in seen.windows(2) {
        assert!(pair[0].pts_ms < pair[1].pts_ms, "event time goes on");
    }
}

#[test]
fn every_frame_of_a_file_arrives_in_order_and_pixel_for_pixel() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 60);
    let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
    let mut worker = stream.worker();
    let ready = worker.expect_ready(PATIENCE);
    assert!(
        ready.contains("avdec_h264") && ready.contains("60 frames"),
        "{ready}"
    );
    assert_eq!(
        stream.book.read().captured,
        0,
        "nothing is taken before the start"
    );
    worker.send(&ToWorker::Start);

    let seen = stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    assert_eq!(seen.len(), 60);
    assert_in_order(&seen, 0);
    let expected = decode(&path);
    for (frame, pixels) in seen.iter().zip(&expected) {
        assert_eq!(frame.size, SIZE);
        assert!(
            frame.pixels == *pixels,
            "frame {} differs",
            frame.sequence_number
        );
        assert_eq!(frame.pts_ms, frame.sequence_number * 1000 / u64::from(FPS));
        assert!(!frame.discontinuity);
    }
    assert!(seen[0].motion.abs() < f32::EPSILON);
    assert!(seen[30].motion > 0.0, "the ball moves");
    let book = stream.closed_book();
    assert_eq!((book.captured, book.published, book.sessions), (60, 60, 1));
    let info = info_of(&worker);
    assert_eq!(info.frames_total, Some(60));
    assert_eq!(
        (info.source_size, info.size, info.hardware),
        (SIZE, SIZE, false)
    );
}

#[test]
fn large_pictures_are_scaled_down_and_keep_their_shape() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 3);
    let mut stream = Stream::with(file(&path), QueuePolicy::Wait, |ingest| {
        ingest.frames.size = PixelSize {
            width: 160,
            height: 160,
        };
    });
    let worker = stream.started();
    let seen = stream.rest();
    assert_eq!(seen.len(), 3);
    let size = PixelSize {
        width: 160,
        height: 120,
    };
    assert_eq!(seen[0].size, size);
    assert_eq!(
        (info_of(&worker).source_size, info_of(&worker).size),
        (SIZE, size)
    );
}

#[test]
fn sound_and_broad_pixels_are_coped_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sound.mkv");
    clip::write(
        &path,
        "matroskamux name=mux ! filesink name=file \
         videotestsrc num-buffers=10 ! video/x-raw,width=352,height=288,pixel-aspect-ratio=12/11,framerate=10/1 \
         ! x264enc ! h264parse ! mux. audiotestsrc num-buffers=40 ! vorbisenc ! mux.",
    );
    let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
    let _worker = stream.started();
    let seen = stream.rest();
    assert_eq!(seen.len(), 10);
    assert_eq!((seen[0].size.width, seen[0].size.height), (352, 264));
}

#[test]
fn a_picture_that_changes_its_size_is_fitted_into_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("two.h264");
    let mut bytes = Vec::new();
    for (width, height) in [(320, 240), (640, 240)] {
        let part = directory.path().join("part.h264");
        clip::write(
            &part,
            &format!(
                "videotestsrc pattern=white num-buffers=10 \
                 ! video/x-raw,format=I420,width={width},height={height},framerate=10/1 \
                 ! x264enc bframes=0 \
                 ! h264parse ! video/x-h264,stream-format=byte-stream ! filesink name=file"
            ),
        );
        bytes.extend(fs::read(&part).unwrap());
    }
    fs::write(&path, bytes).unwrap();
    let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
    let _worker = stream.started();
    let seen = stream.rest();
    assert_eq!(seen.len(), 20);
    for frame in &seen {
        assert_eq!((frame.size.width, frame.size.height), (320, 240));
    }
    let luma = |frame: &Seen, row: usize| frame.pixels[row * 320 + 160];
    assert!(luma(&seen[0], 10) > 200 && luma(&seen[0], 120) > 200);
    // Twice as wide: half as high, with borders above and below.
    assert!(luma(&seen[19], 10) < 32 && luma(&seen[19], 120) > 200);
    stream.closed_book();
}

#[test]
fn full_range_pictures_are_brought_to_limited_range() {
    let directory = tempfile::tempdir().unwrap();
    for (pattern, expected) in [("white", 235), ("black", 16)] {
        let path = directory.path().join("jpeg.avi");
        clip::write(
            &path,
            &format!(
                "videotestsrc pattern={pattern} num-buffers=3 \
                 ! video/x-raw,format=RGB,width=160,height=120,framerate=10/1 \
                 ! videoconvert ! video/x-raw,format=I420,colorimetry=1:4:0:0 \
                 ! jpegenc ! avimux ! filesink name=file"
            ),
        );
        let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
        let _worker = stream.started();
        let seen = stream.rest();
        assert_eq!(seen.len(), 3);
        let luma = seen[0].pixels[160 * 60 + 80];
        assert!(luma.abs_diff(expected) <= 1, "{pattern}: {luma}");
        let chroma = seen[0].pixels[160 * 120 + 80 * 30 + 40];
        assert!(chroma.abs_diff(128) <= 1, "{pattern}: {chroma}");
    }
}

#[test]
fn a_repeated_file_goes_on_for_ever_with_rising_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 10);
    let source = SourceSpec::File {
        path,
        pace: Pace::Fast,
        repeat: true,
    };
    let mut stream = Stream::new(source, QueuePolicy::Wait);
    let mut worker = stream.started();
    let seen = stream.take(35);
    assert_in_order(&seen, 0);
    for frame in &seen {
        let number = frame.sequence_number;
        assert_eq!(frame.pts_ms, number * 1000 / u64::from(FPS));
        assert_eq!(
            frame.discontinuity,
            number > 0 && number % 10 == 0,
            "{number}"
        );
        assert!(frame.pixels == seen[usize::try_from(number % 10).unwrap()].pixels);
    }
    worker.send(&ToWorker::Drain);
    stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    stream.closed_book();
    assert_eq!(info_of(&worker).frames_total, None);
}

#[test]
fn a_file_at_its_own_pace_takes_its_own_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 30);
    let source = SourceSpec::File {
        path,
        pace: Pace::Live,
        repeat: false,
    };
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let mut worker = stream.started();
    let first = stream.next().expect("a first frame").stamp().captured_ns;
    let mut last = first;
    while let Some(frame) = stream.next() {
        last = frame.stamp().captured_ns;
    }
    let seconds = (last - first) as f64 / 1e9;
    // 29 intervals of 50 ms.
    assert!((seconds - 1.45).abs() < 0.15, "{seconds} s");
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    assert_eq!(stream.closed_book().published, 30);
}

#[test]
fn a_killed_worker_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 60);
    let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
    let mut worker = stream.started();
    let before = stream.take(20);
    worker.process.kill();
    stream.clean_up();
    let killed = stream.book.read();
    killed.check().unwrap();

    let mut worker = stream.started();
    let after = stream.rest();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    assert_in_order(&before, 0);
    // What was queued when the worker was killed may still have come.
    let fresh: Vec<_> = after
        .iter()
        .filter(|frame| frame.epoch == 1)
        .cloned()
        .collect();
    assert_in_order(&fresh, killed.published);
    assert!(fresh[0].discontinuity && !fresh[1].discontinuity);
    let expected = decode(&path);
    for frame in before.iter().chain(&after) {
        let index = usize::try_from(frame.pts_ms * u64::from(FPS) / 1000).unwrap();
        assert!(frame.pixels == expected[index], "frame {index} differs");
    }
    let book = stream.book.read();
    assert_eq!(book.captured, 60, "no frame is taken twice");
    assert_eq!(book.in_flight(), killed.in_flight());
    assert_eq!(
        (book.sessions, fresh.len() as u64),
        (2, 60 - killed.captured)
    );
}

#[test]
fn a_drained_worker_ends_at_once_even_while_it_waits_for_room() {
    let source = SourceSpec::Test {
        pattern: "ball".to_owned(),
        size: SIZE,
        fps: 25,
        frames: None,
        pace: Pace::Fast,
    };
    let mut stream = Stream::new(source, QueuePolicy::Wait);
    let mut worker = stream.started();
    stream.take(1);
    // Nobody takes frames any more: the queue fills and the worker waits, but it lives.
    let full = || stream.book.read().published >= 4;
    assert!(testkit::wait_until(PATIENCE, full));
    let progress = stream.book.progress();
    let lives = || stream.book.progress() > progress + 3;
    assert!(testkit::wait_until(PATIENCE, lives));
    worker.send(&ToWorker::Drain);
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Drained.code()
    );
    stream.closed_book();
}

#[test]
fn a_worker_whose_supervisor_dies_leaves() {
    let source = SourceSpec::Test {
        pattern: "ball".to_owned(),
        size: SIZE,
        fps: 25,
        frames: None,
        pace: Pace::Live,
    };
    let mut stream = Stream::new(source, QueuePolicy::DropOldest);
    let mut worker = stream.started();
    stream.take(3);
    worker.abandon();
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::Orphaned.code()
    );
}

#[test]
fn a_test_pattern_has_as_many_frames_as_asked_for() {
    for pace in [Pace::Fast, Pace::Live] {
        let source = SourceSpec::Test {
            pattern: "smpte".to_owned(),
            size: SIZE,
            fps: 50,
            frames: Some(25),
            pace,
        };
        let mut stream = Stream::new(source, QueuePolicy::Wait);
        let mut worker = stream.started();
        let seen = stream.rest();
        assert_eq!(
            worker.process.exit_code(PATIENCE),
            WorkerExit::Drained.code()
        );
        assert_eq!(
            seen.iter().map(|s| s.sequence_number).collect::<Vec<_>>(),
            (0..25).collect::<Vec<_>>(),
            "{:?}",
            stream.book.read()
        );
        assert_in_order(&seen, 0);
        let info = info_of(&worker);
        assert_eq!(info.frames_total, Some(25));
        assert_eq!(info.decoder, "");
        let gaps = seen.windows(2).map(|pair| pair[1].pts_ms - pair[0].pts_ms);
        let mean = gaps.sum::<u64>() as f64 / 24.0;
        assert!((mean - 20.0).abs() < 2.0, "{mean} ms between frames");
    }
}

/// The worker ends with "bad config", saying all of `words`.
fn assert_refused(source: SourceSpec, words: &[&str]) {
    let mut stream = Stream::new(source, QueuePolicy::Wait);
    let mut worker = stream.worker();
    assert!(stream.next().is_none(), "consumers are told the end");
    let code = worker.process.exit_code(PATIENCE);
    let text = worker.expect(PATIENCE, |message| match message {
        FromWorker::Failing(text) => Some(text.clone()),
        _ => None,
    });
    assert_eq!(code, WorkerExit::BadConfig.code(), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn what_is_no_video_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    assert_refused(file(&at("missing.mp4")), &["missing.mp4", "no such file"]);
    assert_refused(file(directory.path()), &["not a regular file"]);

    fs::write(
        at("words.mp4"),
        "these are words, not pictures\n".repeat(200),
    )
    .unwrap();
    assert_refused(file(&at("words.mp4")), &["not a video"]);
    fs::write(
        at("noise.mp4"),
        (0..60_000_u32)
            .map(|at| ((at * at) >> 7) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    assert_refused(file(&at("noise.mp4")), &["not a video"]);
    fs::write(at("empty.mp4"), "").unwrap();
    assert_refused(file(&at("empty.mp4")), &["not a video"]);

    clip::write(
        &at("sound.ogg"),
        "audiotestsrc num-buffers=20 ! vorbisenc ! oggmux ! filesink name=file",
    );
    assert_refused(file(&at("sound.ogg")), &["no video stream"]);

    let path = make_clip(&directory, 20);
    let whole = fs::read(&path).unwrap();
    fs::write(at("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    assert_refused(file(&at("cut.mp4")), &["damaged or cut off"]);

    let pattern = SourceSpec::Test {
        pattern: "plaid".to_owned(),
        size: SIZE,
        fps: 25,
        frames: None,
        pace: Pace::Live,
    };
    assert_refused(pattern, &["plaid", "ball"]);
}

#[test]
fn a_missing_decoder_is_named_with_its_package() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_clip(&directory, 5);
    let mut stream = Stream::new(file(&path), QueuePolicy::Wait);
    // As on a machine that lacks the package: these features are not there.
    let program = Path::new(env!("CARGO_BIN_EXE_ingest-worker"));
    let launch = process::Launch::new(program).environment(
        "GST_PLUGIN_FEATURE_RANK",
        "avdec_h264:NONE,openh264dec:NONE",
    );
    let mut worker = WorkerProcess::launch(launch, &stream.spec);
    assert!(stream.next().is_none(), "consumers are told the end");
    assert_eq!(
        worker.process.exit_code(PATIENCE),
        WorkerExit::BadConfig.code()
    );
    let text = worker.process.stderr();
    assert!(
        text.contains("H.264") && text.contains("gstreamer1.0-libav"),
        "{text}"
    );
}

#[test]
fn motion_settings_change_while_frames_flow_and_nothing_else_does() {
    let source = SourceSpec::Test {
        pattern: "ball".to_owned(),
        size: SIZE,
        fps: FPS,
        frames: None,
        pace: Pace::Fast,
    };
    let mut stream = Stream::new(source, QueuePolicy::Wait);
    let mut worker = stream.started();
    let seen = stream.take(40);
    let moving = seen.iter().filter(|frame| frame.motion > 0.0).count();
    assert!(moving > 20, "the ball moves: {moving} of 40");
    for frame in &seen {
        assert_eq!(frame.motion > 0.0, frame.moved.count() > 0);
    }

    let Role::Ingest(mut wanted) = stream.spec.role.clone() else {
        panic!("it is an ingest worker's spec");
    };
    wanted.motion.mask = vec![vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]];
    worker.send(&ToWorker::Reconfigure {
        generation: 1,
        role: Box::new(Role::Ingest(wanted.clone())),
    });
    let mut seen = seen;
    let blind = loop {
        seen.extend(stream.take(1));
        let answer = worker
            .received()
            .into_iter()
            .find_map(|message| match message {
                FromWorker::Reconfigured { generation, result } => Some((generation, result)),
                _ => None,
            });
        if let Some((generation, result)) = answer {
            assert_eq!(generation, 1);
            assert_eq!(result, Ok(vec!["stream yard: motion settings".to_owned()]));
            // What was measured before the answer may still be on the bus and at the source.
            seen.extend(stream.take(4));
            break stream.take(20);
        }
        assert!(seen.len() < 5000, "no answer comes");
    };
    assert!(blind.iter().all(|frame| frame.motion.abs() < f32::EPSILON));
    assert!(blind.iter().all(|frame| frame.moved.count() == 0));
    seen.extend(blind);
    assert_in_order(&seen, 0);

    wanted.no_frame_timeout_ms += 1;
    worker.send(&ToWorker::Reconfigure {
        generation: 2,
        role: Box::new(Role::Ingest(wanted)),
    });
    let reason = loop {
        seen.extend(stream.take(1));
        let refused = worker
            .received()
            .into_iter()
            .find_map(|message| match message {
                FromWorker::Reconfigured {
                    generation: 2,
                    result: Err(reason),
                } => Some(reason),
                _ => None,
            });
        if let Some(reason) = refused {
            break reason;
        }
        assert!(seen.len() < 10_000, "no answer comes");
    };
    assert!(reason.contains("no_frame_timeout"), "{reason}");
    assert_in_order(&seen, 0);
    worker.send(&ToWorker::Drain);
    seen.extend(stream.rest());
    assert_eq!(stream.closed_book().published, seen.len() as u64);
}
