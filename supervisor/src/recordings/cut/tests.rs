//! Clips out of made-up recordings: ten frames a second, a key frame a second.

use super::*;
use crate::recordings::fixture::{self, recording};

const FRAME: u64 = fixture::FRAME;

struct Bench {
    directory: tempfile::TempDir,
    recordings: Vec<Recording>,
}

impl Bench {
    /// Three files that follow each other, 0 to 2 s, 2 to 5 s and 5 to 6.5 s, and one from 20 s on.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ranges = [0..20, 20..50, 50..65, 200..220];
        let recordings = ranges.map(|range| recording(directory.path(), range, 0xc0));
        Self {
            recordings: recordings.into(),
            directory,
        }
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("clip.mp4")
    }

    fn cut(&self, from: &str, to: &str) -> Result<Clip, CutError> {
        let moment = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a moment"));
        let span = Span {
            from: moment(from),
            to: moment(to),
        };
        cut(&self.recordings, span, &self.output())
    }

    /// Numbers of the frames in the clip, by what is in them.
    fn content(&self) -> Vec<u64> {
        let bytes = std::fs::read(self.output()).expect("a clip");
        let movie = Movie::read(&mut io::Cursor::new(&bytes)).expect("readable");
        assert_eq!(movie.torn_bytes, 0);
        let (begin, end) = movie.decode_times().expect("not empty");
        assert_eq!(
            (begin, end),
            (0, movie.frames() * FRAME),
            "no gap in its time"
        );
        let mut numbers = Vec::new();
        for fragment in &movie.fragments {
            let mut at = usize::try_from(fragment.payload).expect("small");
            for sample in &fragment.samples {
                numbers.push(u64::from(bytes[at + 5]) - 10);
                at += sample.bytes as usize;
            }
        }
        numbers
    }
}

#[test]
fn a_clip_runs_over_several_files_from_a_key_frame_to_its_end() {
    let bench = Bench::new();
    let clip = bench.cut("1.55s", "5.2s").expect("cut");
    assert_eq!(bench.content(), (10..=52).collect::<Vec<_>>());
    assert_eq!((clip.frames, clip.early_ms), (43, 550));
    assert_eq!(clip.duration_ns, 4_300_000_000);
    assert_eq!(
        (clip.begin_wall_ms, clip.last_wall_ms),
        (1_001_000, 1_005_200)
    );
    assert!(clip.gaps.is_empty(), "{:?}", clip.gaps);

    // The same by the wall clock: 00:16:40 is 1000 s.
    let by_wall = bench.cut("1970-01-01T00:16:41.550Z", "1970-01-01T00:16:45.200Z");
    assert_eq!(by_wall.expect("cut"), clip);
    // A key frame exactly, one frame.
    let clip = bench.cut("2s", "2s").expect("cut");
    assert_eq!((bench.content(), clip.early_ms), (vec![20], 0));
}

#[test]
fn without_bounds_it_is_all_and_gaps_are_named() {
    let bench = Bench::new();
    let clip = bench.cut("", "").expect("cut");
    assert_eq!(clip.frames, 85);
    let gap = Gap {
        at_ns: 6_500_000_000,
        begin_wall_ms: 1_006_400,
        end_wall_ms: 1_020_000,
    };
    assert_eq!(clip.gaps, [gap]);
    let bytes = std::fs::read(bench.output()).expect("a clip");
    let movie = Movie::read(&mut io::Cursor::new(&bytes)).expect("readable");
    let last = movie.fragments.last().expect("some");
    assert_eq!(
        last.wall_ms,
        Some(1_021_000),
        "each fragment knows its time"
    );
}

#[test]
fn counted_from_the_end_and_begun_before_the_first() {
    let bench = Bench::new();
    // The end is at 22 s.
    let clip = bench.cut("-0.5s", "").expect("cut");
    assert_eq!((clip.frames, clip.early_ms), (10, 500));
    let clip = bench.cut("-1h", "1s").expect("cut");
    assert_eq!((clip.frames, clip.early_ms), (11, 0), "as much as there is");
    assert_eq!(bench.content(), (0..=10).collect::<Vec<_>>());
}

#[test]
fn where_nothing_is_recorded_it_is_said_what_there_is() {
    let bench = Bench::new();
    for (from, to) in [("30s", ""), ("5s", "4s"), ("1971-01-01T00:00:00Z", "")] {
        let error = bench.cut(from, to).expect_err("nothing").to_string();
        assert!(
            error.contains("0.000 s to 22.000 s of event time"),
            "{error}"
        );
    }
    assert!(!bench.output().exists());
    let none = cut(
        &[],
        Span {
            from: None,
            to: None,
        },
        &bench.output(),
    );
    let error = none.expect_err("nothing").to_string();
    assert!(error.contains("no video at all"), "{error}");
}

#[test]
fn a_change_of_the_video_is_refused_and_its_place_named() {
    let mut bench = Bench::new();
    bench.recordings[2] = recording(bench.directory.path(), 50..65, 0xe0);
    let error = bench.cut("1s", "6s").expect_err("it changes").to_string();
    assert!(
        error.contains("320x240 with other encoder settings"),
        "{error}"
    );
    assert!(error.contains("--from 1970-01-01T00:16:45.000Z"), "{error}");
    assert_eq!(bench.cut("1s", "4.9s").expect("up to there").frames, 40);
    assert_eq!(bench.cut("5s", "6s").expect("from there").frames, 11);
}

#[test]
fn torn_ends_are_left_out_and_files_that_are_gone_are_named() {
    let bench = Bench::new();
    let torn = bench.recordings[1].absolute();
    let bytes = std::fs::read(&torn).expect("there");
    std::fs::write(&torn, &bytes[..bytes.len() - 3]).expect("written");
    std::fs::remove_file(bench.recordings[2].absolute()).expect("there");
    let clip = bench.cut("", "").expect("cut");
    assert_eq!(clip.frames, 20 + 20 + 20);
    assert_eq!(clip.missing, [bench.recordings[2].absolute()]);
    assert_eq!(clip.gaps.len(), 1);
}
