//! The recorder with made-up access units and a real disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use frame_bus::{BookReader, BookWriter};

use super::*;
use crate::output::testing::playable;

const MS: u64 = 1_000_000;
/// Between two frames.
const GAP_NS: u64 = 100 * MS;
const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    directory: tempfile::TempDir,
    book: SharedBook,
    told: Arc<Mutex<Vec<FromWorker>>>,
    news: Vec<FromWorker>,
}

impl Bench {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().expect("a directory");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.path().join(format!("book-{count}"));
        drop(BookReader::<RenderCounters>::create(&path).expect("made"));
        let book = BookWriter::open(&path).expect("opened");
        Self {
            directory,
            book: Arc::new(Mutex::new(book)),
            told: Arc::default(),
            news: Vec::new(),
        }
    }

    fn recorder(&self, segment_ms: u64, segment_bytes: u64) -> Recorder {
        let place = Place {
            stream: "yard".parse().expect("a name"),
            run: self.directory.path().to_owned(),
            spec: RecordSpec {
                directory: "made/when/missing".into(),
                segment_ms,
                segment_bytes,
            },
        };
        let told = Arc::clone(&self.told);
        let tell = move |news| lock(&told).push(news);
        Recorder::start(place, Arc::clone(&self.book), tell).expect("a thread")
    }

    fn close(&mut self, recorder: &mut Recorder) -> RenderCounters {
        recorder.end(0);
        assert!(recorder.is_closed(PATIENCE), "it does not end");
        self.news.append(&mut lock(&self.told));
        self.news.extend(recorder.news());
        lock(&self.book).counters().clone()
    }

    /// The files that were closed, each with its frames as it is on the disk.
    fn closed(&self) -> Vec<(FileRecord, fmp4::Movie)> {
        let closed = self.news.iter().filter_map(|news| match news {
            FromWorker::File(record) if record.state == FileState::Closed => {
                Some(FileRecord::clone(record))
            }
            _ => None,
        });
        closed
            .map(|record| {
                let path = self.directory.path().join(&record.path);
                let mut file = File::open(path).expect("there");
                let movie = fmp4::Movie::read(&mut file).expect("readable");
                assert_eq!(movie.frames(), record.content.frames);
                assert_eq!(movie.whole_bytes(), record.content.bytes);
                assert_eq!(movie.torn_bytes, 0);
                (record, movie)
            })
            .collect()
    }

    fn gaps(&self) -> Vec<RecordingGap> {
        let gaps = self.news.iter().filter_map(|news| match news {
            FromWorker::RecordingGap(gap) => Some(gap.clone()),
            _ => None,
        });
        gaps.collect()
    }
}

/// Ten frames a second, with a key frame where the recorder wants one and every `keyframes`.
fn feed(recorder: &mut Recorder, frames: std::ops::Range<u64>, keyframes: u64, bytes: usize) {
    for number in frames {
        let wanted = recorder.wants_keyframe(number * GAP_NS);
        let keyframe = wanted || number.is_multiple_of(keyframes);
        recorder.take(&playable(number * GAP_NS, keyframe, bytes, 0xc0));
        // An encoder is slower than the thread that says when the next file begins.
        let knows = || lock(&recorder.shared.tally).cut_ns > Some(number * GAP_NS);
        let begin = Instant::now();
        while keyframe && !knows() && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

#[test]
fn files_follow_each_other_without_a_gap() {
    let mut bench = Bench::new();
    let mut recorder = bench.recorder(2000, u64::MAX);
    // A key frame every 1.5 s: none falls on the end of a file by itself.
    feed(&mut recorder, 0..65, 15, 100);
    let counters = bench.close(&mut recorder);
    assert_eq!(counters.recorded, 65);
    let closed = bench.closed();
    let frames: Vec<u64> = closed.iter().map(|(_, movie)| movie.frames()).collect();
    assert_eq!(frames, [20, 20, 20, 5]);
    let mut next_ns = 0;
    for (record, movie) in &closed {
        assert_eq!(record.begin_pts_ns, next_ns);
        next_ns += record.content.duration_ns;
        assert_eq!(
            movie.fragments[0].base_decode_time, 0,
            "a file begins at zero"
        );
        let wall_ms = movie.fragments[0].wall_ms;
        assert_eq!(wall_ms, Some(record.begin_wall_ms));
        for fragment in &movie.fragments {
            let ticks = fragment.end_decode_time() - fragment.base_decode_time;
            assert!(ticks <= u64::from(fmp4::TIMESCALE), "a second at most");
        }
    }
    assert_eq!(next_ns, 65 * GAP_NS);
    let name = "made/when/missing/yard-1970-01-01T00-00-02.000Z.mp4";
    assert_eq!(closed[1].0.path, name);
    assert!(bench.gaps().is_empty());
}

#[test]
fn a_file_ends_by_size_too() {
    let mut bench = Bench::new();
    let mut recorder = bench.recorder(600_000, 50_000);
    for number in 0..100 {
        let wanted = recorder.wants_keyframe(number * GAP_NS);
        let unit = playable(number * GAP_NS, number == 0 || wanted, 2000, 0xc0);
        recorder.take(&unit);
        let begin = Instant::now();
        // The encoder is slower than the disk.
        while lock(&recorder.shared.tally).pending > 10 && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
    let counters = bench.close(&mut recorder);
    assert_eq!(counters.recorded, 100);
    let closed = bench.closed();
    assert!((3..=4).contains(&closed.len()), "{}", closed.len());
    let last = closed.len() - 1;
    for (record, _) in &closed[..last] {
        // A fragment, of ten frames, more at most, and what is inside the encoder.
        assert!(
            (50_000..90_000).contains(&record.content.bytes),
            "{record:?}"
        );
    }
}

#[test]
fn another_encoder_other_parameters_and_a_long_pause_begin_another_file() {
    let mut bench = Bench::new();
    let mut recorder = bench.recorder(600_000, u64::MAX);
    let second = 1000 * MS;
    let mut take = |pts_ns, keyframe, constraints| {
        recorder.take(&playable(pts_ns, keyframe, 10, constraints));
    };
    take(0, false, 0xc0); // before the first key frame
    take(GAP_NS, true, 0xc0);
    take(2 * GAP_NS, false, 0xc0);
    take(3 * GAP_NS, true, 0xc0); // goes on
    take(second, true, 0xe0); // other parameters
    take(second + 2 * PAUSE_NS_MAX, true, 0xe0); // a pause
    recorder.cut();
    recorder.take(&playable(
        second + 3 * PAUSE_NS_MAX / 2 * 2,
        false,
        10,
        0xe0,
    ));
    recorder.take(&playable(second + 4 * PAUSE_NS_MAX, true, 10, 0xe0));
    let counters = bench.close(&mut recorder);
    assert_eq!((counters.recorded, counters.unrecorded_off), (6, 2));
    let frames: Vec<u64> = bench
        .closed()
        .iter()
        .map(|(_, movie)| movie.frames())
        .collect();
    assert_eq!(frames, [3, 1, 1, 1]);
    let durations = bench.closed();
    let durations: Vec<u64> = durations
        .iter()
        .map(|(it, _)| it.content.duration_ns)
        .collect();
    assert_eq!(durations[0], second - GAP_NS, "up to what follows");
    assert!(durations[1] < second, "not the pause");
}

#[test]
fn files_that_begin_at_the_same_time_have_names_of_their_own() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let mut recorder = bench.recorder(2000, u64::MAX);
        feed(&mut recorder, 0..5, 5, 10);
        bench.close(&mut recorder);
    }
    let mut paths: Vec<_> = bench.closed().into_iter().map(|(it, _)| it.path).collect();
    assert!(paths.is_sorted(), "{paths:?}");
    paths.dedup();
    assert_eq!(paths.len(), 3);
}

#[test]
fn where_nothing_can_be_written_frames_are_counted_and_the_place_is_named() {
    let mut bench = Bench::new();
    let blocked = bench.directory.path().join("made");
    std::fs::write(&blocked, "a file where a directory should be").expect("written");
    let mut recorder = bench.recorder(2000, u64::MAX);
    for number in 0..40 {
        recorder.take(&playable(number * GAP_NS, number % 10 == 0, 10, 0xc0));
    }
    let counters = bench.close(&mut recorder);
    assert_eq!((counters.recorded, counters.unrecorded_disk), (0, 40));
    assert!(bench.closed().is_empty());
    let gaps = bench.gaps();
    assert_eq!(gaps.len(), 2, "begun and over: {gaps:?}");
    assert_eq!(
        (gaps[0].reason, gaps[0].end_wall_ms),
        (GapReason::Disk, None)
    );
    assert!(
        gaps[0].text.contains("made/when/missing"),
        "{}",
        gaps[0].text
    );
    assert!(
        gaps[0].text.contains("again every 10 s"),
        "{}",
        gaps[0].text
    );
    assert_eq!((gaps[1].frames, gaps[1].begin_wall_ms), (40, 0));
    assert!(gaps[1].end_wall_ms.is_some());
}

#[test]
fn what_has_no_room_costs_up_to_the_next_key_frame_and_is_counted() {
    let mut bench = Bench::new();
    let mut recorder = bench.recorder(600_000, u64::MAX);
    // Larger than all that may wait, which stands for a disk that does not follow.
    let sizes = [
        (true, 10),
        (false, QUEUED_BYTES_MAX),
        (false, 10),
        (true, 10),
        (false, 10),
    ];
    for (number, (keyframe, bytes)) in (0..).zip(sizes) {
        recorder.take(&playable(number * GAP_NS, keyframe, bytes, 0xc0));
        let begin = Instant::now();
        while !recorder.lane.has_caught_up() && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
    let counters = bench.close(&mut recorder);
    assert_eq!((counters.recorded, counters.unrecorded_slow), (3, 2));
    let frames: Vec<u64> = bench
        .closed()
        .iter()
        .map(|(_, movie)| movie.frames())
        .collect();
    assert_eq!(frames, [1, 2], "the hole is between files");
    let gaps = bench.gaps();
    assert_eq!(gaps.len(), 2);
    assert_eq!(
        (gaps[0].reason, gaps[0].end_wall_ms),
        (GapReason::Slow, None)
    );
    assert_eq!(
        (gaps[1].begin_wall_ms, gaps[1].end_wall_ms),
        (100, Some(300))
    );
    assert_eq!(gaps[1].frames, 2);
}

#[test]
fn what_a_hanging_disk_has_not_taken_is_counted_once() {
    let mut bench = Bench::new();
    let mut recorder = bench.recorder(600_000, u64::MAX);
    // Less than a fragment: it waits for more.
    for number in 0..5 {
        recorder.take(&playable(number * GAP_NS, number == 0, 10, 0xc0));
    }
    recorder.give_up();
    let counters = bench.close(&mut recorder);
    assert_eq!((counters.recorded, counters.unrecorded_slow), (0, 5));
}
