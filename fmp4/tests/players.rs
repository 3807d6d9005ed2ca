//! What ffprobe and GStreamer make of the files: every frame, with its time.
//!
//! The video is x264's, so that parameter sets, sizes of pictures and B-frames are real.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use fmp4::{AccessUnit, Fragment, Movie, ParameterSets, fragment, fragment_header, init_segment};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use testkit::process::Launch;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Ticks of a frame at 10 frames a second.
const FRAME: u64 = 9000;

struct Unit {
    byte_stream: Vec<u8>,
    keyframe: bool,
    pts: u64,
    dts: u64,
}

/// Runs a program to its end and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let mut process = Launch::new(Path::new(program)).arguments(arguments).start();
    let code = process.exit_code(TIMEOUT);
    assert_eq!(code, 0, "{program}: {}", process.stderr());
    process.stdout()
}

/// Access units of x264 with a key frame every ten frames.
fn encode(directory: &Path, frames: usize, b_frames: usize) -> Vec<Unit> {
    let path = directory.join("made.mp4");
    testkit::clip::write(
        &path,
        &format!(
            "videotestsrc pattern=ball num-buffers={frames} \
             ! video/x-raw,format=I420,width=322,height=182,framerate=10/1 \
             ! x264enc speed-preset=ultrafast key-int-max=10 bframes={b_frames} b-adapt=false \
               sync-lookahead=0 rc-lookahead=1 threads=1 \
             ! h264parse ! mp4mux ! filesink name=file"
        ),
    );
    // As a byte stream, with the times that the MP4 file has for it.
    gst::init().expect("GStreamer starts");
    let units = samples(
        &path,
        "qtdemux ! h264parse config-interval=-1 \
         ! video/x-h264,stream-format=byte-stream,alignment=au",
    );
    let first_dts = units.first().and_then(|unit| unit.dts).expect("a time");
    let unit = |sample: &Shown| Unit {
        byte_stream: sample.bytes.clone(),
        keyframe: sample.keyframe,
        // As many ticks later as the first is shown after it is decoded: none is negative.
        pts: fmp4::ticks(sample.pts - first_dts.min(sample.pts)),
        dts: fmp4::ticks(sample.dts.expect("a time") - first_dts),
    };
    units.iter().map(unit).collect()
}

struct Shown {
    pts: u64,
    dts: Option<u64>,
    keyframe: bool,
    bytes: Vec<u8>,
}

/// What comes out of a file through some elements.
fn samples(path: &Path, elements: &str) -> Vec<Shown> {
    let text = format!(
        "filesrc location={} ! {elements} ! appsink name=out sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).expect("installed");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let sink = pipeline.by_name("out").expect("it is named");
    let sink = sink.downcast::<AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let mut shown = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().expect("a picture");
        shown.push(Shown {
            pts: buffer.pts().expect("a time").nseconds(),
            dts: buffer.dts().map(gst::ClockTime::nseconds),
            keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            bytes: buffer.map_readable().expect("memory").to_vec(),
        });
    }
    pipeline.set_state(gst::State::Null).expect("it stops");
    shown
}

/// A file of some units, a fragment a group of pictures.
fn movie(units: &[Unit]) -> Vec<u8> {
    let parameters = ParameterSets::of(&units[0].byte_stream).expect("readable");
    let mut bytes = init_segment(&parameters.expect("x264 repeats them"));
    for (number, group) in units.chunk_by(|_, next| !next.keyframe).enumerate() {
        let access_units: Vec<_> = group
            .iter()
            .map(|unit| AccessUnit {
                byte_stream: &unit.byte_stream,
                dts: unit.dts,
                pts: unit.pts,
                keyframe: unit.keyframe,
            })
            .collect();
        let end = group[group.len() - 1].dts + FRAME;
        let number = u32::try_from(number + 1).expect("few");
        bytes.extend(fragment(number, &access_units, end).expect("in order"));
    }
    bytes
}

/// Presentation times in ticks, sorted, as ffprobe decodes them, and its errors.
fn ffprobe(path: &Path) -> Vec<u64> {
    let text = run(
        "/usr/bin/ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "frame=pts",
            "-of",
            "csv=p=0",
            &path.display().to_string(),
        ],
    );
    let number = |line: &str| line.trim_end_matches(',').parse().expect("a number");
    // A frame with more to tell has an empty line behind it.
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(number).collect()
}

/// The same as GStreamer decodes them; its demuxer gives times of its own precision.
fn gstreamer(path: &Path) -> Vec<u64> {
    let shown = samples(path, "qtdemux ! h264parse ! avdec_h264");
    shown.iter().map(|shown| fmp4::ticks(shown.pts)).collect()
}

fn expected(units: &[Unit]) -> Vec<u64> {
    let mut times: Vec<u64> = units.iter().map(|unit| unit.pts).collect();
    times.sort_unstable();
    times
}

fn check(path: &Path, times: &[u64]) {
    assert_eq!(ffprobe(path), times, "ffprobe");
    assert_eq!(gstreamer(path), times, "GStreamer");
}

#[test]
fn every_frame_plays_at_its_time() {
    let directory = tempfile::tempdir().expect("a directory");
    for (frames, b_frames) in [(120, 0), (1, 0), (35, 2)] {
        let units = encode(directory.path(), frames, b_frames);
        assert_eq!(units.len(), frames);
        let path = directory.path().join("written.mp4");
        std::fs::write(&path, movie(&units)).expect("written");
        check(&path, &expected(&units));
    }
    let units = encode(directory.path(), 35, 2);
    assert!(
        units.iter().any(|unit| unit.pts != unit.dts),
        "they are reordered"
    );
    let path = directory.path().join("written.mp4");
    let duration = run(
        "/usr/bin/ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "stream=width,height,codec_name,profile",
            "-of",
            "csv=p=0",
            &path.display().to_string(),
        ],
    );
    assert!(duration.contains("322,182"), "{duration}");
}

/// Whatever is cut off from the end: the whole fragments before it play.
#[test]
fn a_torn_file_plays_up_to_its_last_whole_fragment() {
    let directory = tempfile::tempdir().expect("a directory");
    let units = encode(directory.path(), 40, 0);
    let whole = movie(&units);
    let movie = Movie::read(&mut Cursor::new(&whole)).expect("readable");
    assert_eq!(
        (movie.fragments.len(), movie.frames(), movie.torn_bytes),
        (4, 40, 0)
    );
    let last = movie.fragments.last().expect("four");
    let path = directory.path().join("torn.mp4");
    for cut in [last.begin + 4, last.begin + 60, last.payload, last.end - 1] {
        let cut = usize::try_from(cut).expect("small");
        std::fs::write(&path, &whole[..cut]).expect("written");
        let torn = Movie::read(&mut Cursor::new(&whole[..cut])).expect("readable");
        assert_eq!(torn.frames(), 30);
        assert_eq!(torn.torn_bytes, cut as u64 - last.begin);
        let frames = gstreamer(&path).len();
        assert!(
            frames >= 30,
            "GStreamer shows {frames} of a file cut at {cut}"
        );
    }
}

/// Two pieces of a file, cut at samples, in one: no byte of a picture is made anew.
#[test]
fn pieces_join_to_a_file_that_plays() {
    let directory = tempfile::tempdir().expect("a directory");
    let units = encode(directory.path(), 60, 0);
    let whole = movie(&units);
    let source = Movie::read(&mut Cursor::new(&whole)).expect("readable");
    let init = usize::try_from(source.init_bytes).expect("small");
    let mut joined = whole[..init].to_vec();
    let (mut time, mut number) = (0, 1);
    let mut copy = |from: &Fragment, count: usize| {
        let samples = &from.samples[..count];
        joined.extend(fragment_header(number, time, samples).expect("a header"));
        let begin = usize::try_from(from.payload).expect("small");
        let bytes: u32 = samples.iter().map(|sample| sample.bytes).sum();
        joined.extend(&whole[begin..begin + bytes as usize]);
        time += samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum::<u64>();
        number += 1;
    };
    // 10 to 19, 20 to 26, and 50 to 59.
    copy(&source.fragments[1], 10);
    copy(&source.fragments[2], 7);
    copy(&source.fragments[5], 10);
    let path = directory.path().join("joined.mp4");
    std::fs::write(&path, &joined).expect("written");
    let times: Vec<u64> = (0..27).map(|index| index * FRAME).collect();
    check(&path, &times);
    let mut text = String::new();
    let again = Movie::read(&mut Cursor::new(&joined)).expect("readable");
    write!(text, "{:?}", again.decode_times()).expect("memory");
    assert_eq!(text, format!("{:?}", Some((0, 27 * FRAME))));
    assert!(again.continues_with(&source));
}
