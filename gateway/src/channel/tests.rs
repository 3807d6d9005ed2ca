use proptest::prelude::*;

use super::*;

fn unit(sequence_number: u64, keyframe: bool) -> Arc<AccessUnit> {
    sized(sequence_number, keyframe, 10)
}

fn sized(sequence_number: u64, keyframe: bool, bytes: usize) -> Arc<AccessUnit> {
    Arc::new(AccessUnit {
        sequence_number,
        pts_ns: sequence_number * 40_000_000,
        captured_ns: 0,
        keyframe,
        data: vec![0; bytes].into(),
        transport_stream: OnceLock::new(),
    })
}

fn channel() -> Channel {
    Channel::new(|| ())
}

/// All that is there, by sequence number.
fn read(reader: &mut Reader) -> Vec<u64> {
    let mut read = Vec::new();
    while let Next::Unit(unit) = reader.try_next() {
        read.push(unit.sequence_number);
    }
    read
}

const NONE: [u64; 0] = [];

#[test]
fn a_viewer_begins_with_the_newest_key_frame_and_all_since() {
    let channel = channel();
    let mut early = channel.watch();
    channel.push(unit(0, false));
    assert_eq!(read(&mut early), NONE, "nothing can be decoded yet");
    for number in 1..6 {
        channel.push(unit(number, number == 1 || number == 4));
    }
    assert_eq!(read(&mut early), [4, 5]);
    let group = channel.group();
    assert_eq!(group.len(), 2);
    assert_eq!(read(&mut channel.watch()), [4, 5]);
    channel.push(unit(6, false));
    assert_eq!(read(&mut early), [6]);
    assert_eq!(channel.skipped(), 0);
}

#[test]
fn who_reads_for_others_is_not_counted_and_may_begin_further_back() {
    let channel = channel();
    for number in 0..30 {
        channel.push(unit(number, number % 10 == 3));
    }
    assert_eq!(read(&mut channel.read_back(0))[0], 23);
    assert_eq!(read(&mut channel.read_back(1))[0], 13);
    assert_eq!(read(&mut channel.read_back(7)), (3..30).collect::<Vec<_>>());
    assert_eq!(channel.viewers(), (0, 0));
    let viewer = channel.join();
    assert_eq!(channel.viewers(), (1, 1));
    drop(viewer);
    assert_eq!(channel.viewers(), (0, 1));
    channel.unlink();
    assert_eq!(read(&mut channel.read_back(1)), NONE);
}

#[test]
fn who_is_too_slow_goes_on_at_the_newest_key_frame_and_harms_nobody() {
    let channel = channel();
    let (mut slow, mut quick) = (channel.watch(), channel.watch());
    for number in 0..2000 {
        channel.push(unit(number, number % 50 == 0));
        assert_eq!(read(&mut quick), [number]);
        if number == 9 {
            assert_eq!(read(&mut slow).len(), 10);
        }
    }
    assert_eq!(slow.behind(), 1990);
    assert_eq!(read(&mut slow)[0], 1950);
    assert_eq!(channel.skipped(), 1940);
    slow.skip_to_live();
    assert_eq!(read(&mut slow), NONE, "it is live");
}

#[test]
fn who_is_asked_to_be_live_passes_over_what_is_old() {
    let channel = channel();
    let mut reader = channel.watch();
    for number in 0..100 {
        channel.push(unit(number, number % 30 == 0));
        if number == 0 {
            assert_eq!(read(&mut reader), [0]);
        }
    }
    reader.skip_to_live();
    assert_eq!(read(&mut reader)[0], 90);
    assert_eq!(channel.skipped(), 89);
}

#[test]
fn who_has_lost_a_picture_reads_the_newest_group_again() {
    let channel = channel();
    let mut reader = channel.watch();
    reader.begin_again();
    for number in 0..20 {
        channel.push(unit(number, number % 10 == 0));
        if number < 15 {
            assert_eq!(read(&mut reader), [number]);
        }
    }
    reader.begin_again();
    assert_eq!(read(&mut reader), Vec::from_iter(10..20));
    assert_eq!(channel.skipped(), 0);
    channel.push(unit(20, false));
    channel.push(unit(21, true));
    reader.begin_again();
    assert_eq!(read(&mut reader), [21]);
    assert_eq!(channel.skipped(), 1, "what it has not read is passed over");
}

#[test]
fn a_viewer_knows_how_late_it_is() {
    let channel = channel();
    let mut reader = channel.watch();
    let lag = |reader: &Reader| {
        let lag = reader.lag();
        (lag.by.as_millis(), lag.keyframe_ahead)
    };
    assert_eq!(lag(&reader), (0, false));
    for number in 0..5 {
        channel.push(unit(number, number == 0));
    }
    assert_eq!(lag(&reader), (160, false), "it begins with the key frame");
    assert!(matches!(reader.try_next(), Next::Unit(_)));
    assert_eq!(lag(&reader), (120, false));
    channel.push(unit(5, true));
    assert_eq!(lag(&reader), (160, true));
    assert_eq!(read(&mut reader), [1, 2, 3, 4, 5]);
    assert_eq!(lag(&reader), (0, false));
}

#[test]
fn nothing_is_read_across_a_gap_but_from_a_key_frame_on() {
    let channel = channel();
    let mut reader = channel.watch();
    channel.push(unit(0, true));
    assert_eq!(read(&mut reader), [0]);
    channel.unlink();
    channel.push(unit(5, false));
    assert_eq!(read(&mut reader), NONE);
    assert!(channel.group().is_empty());
    channel.push(unit(6, true));
    assert_eq!(read(&mut reader), [6]);
    assert_eq!(channel.skipped(), 1);
}

#[test]
fn viewers_are_told_the_end_and_others_may_come_after_it() {
    let channel = channel();
    let mut reader = channel.watch();
    channel.push(unit(0, true));
    channel.end();
    assert_eq!(reader.try_next(), Next::Ended);
    let mut later = channel.watch();
    assert_eq!(later.try_next(), Next::Nothing);
    channel.push(unit(1, true));
    assert_eq!(read(&mut later), [1]);
    assert_eq!(reader.try_next(), Next::Ended);
    assert_eq!(channel.viewers(), (2, 2));
    drop((reader, later));
    assert_eq!(channel.viewers(), (0, 2));
}

#[tokio::test]
async fn who_asks_makes_a_stream_wanted_and_waits_for_its_first_picture() {
    let channel = channel();
    assert!(!channel.is_wanted());
    let there =
        |channel: Channel| async move { channel.wait_for_picture(Duration::from_secs(10)).await };
    let asking = tokio::spawn(there(channel.clone()));
    tokio::task::yield_now().await;
    assert!(channel.is_wanted());
    channel.push(unit(0, false));
    channel.push(unit(1, true));
    assert!(asking.await.expect("it does not panic"));
    assert!(!channel.is_wanted());
    assert_eq!(channel.viewers(), (0, 0), "it was no viewer");
    let reader = channel.watch();
    assert!(channel.is_wanted());
    drop(reader);
    channel.end();
    assert!(!channel.wait_for_picture(Duration::from_millis(5)).await);
}

#[test]
fn the_ring_has_bounds() {
    let channel = channel();
    let mut reader = channel.watch();
    channel.push(sized(0, true, BYTES_MAX));
    channel.push(sized(1, false, BYTES_MAX));
    assert_eq!(read(&mut reader), [0, 1]);
    channel.push(sized(2, false, 1));
    assert_eq!(read(&mut reader), [2], "who is in step stays in step");
    assert!(channel.group().is_empty(), "its key frame is gone");
    for number in 3..3000 {
        channel.push(unit(number, number == 3));
    }
    assert_eq!(channel.ring().units.len(), UNITS_MAX);
}

#[tokio::test]
async fn a_sleeping_viewer_is_woken() {
    let channel = channel();
    let mut reader = channel.watch();
    let reading = tokio::spawn(async move {
        let mut next = async || loop {
            match reader.try_next() {
                Next::Unit(unit) => return Some(unit.sequence_number),
                Next::Ended => return None,
                Next::Nothing => reader.wait().await,
            }
        };
        (next().await, next().await)
    });
    tokio::task::yield_now().await;
    channel.push(unit(7, true));
    tokio::task::yield_now().await;
    channel.end();
    assert_eq!(reading.await.expect("it does not panic"), (Some(7), None));
}

#[derive(Debug, Clone)]
enum Step {
    Push { keyframe: bool },
    Gap,
    Read,
    Skip,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|keyframe| Step::Push { keyframe }),
        1 => Just(Step::Gap),
        3 => Just(Step::Read),
        1 => Just(Step::Skip),
    ]
}

proptest! {
    /// Whatever happens, what a viewer is given follows what it was given last, or is a key frame;
    /// and all that was pushed since it began was read, passed over and counted, or is unread.
    #[test]
    fn every_picture_can_be_decoded(steps in proptest::collection::vec(step(), 0..400)) {
        let channel = channel();
        let mut reader = channel.watch();
        let (mut next, mut last, mut pushed, mut given) = (0, None, 0_u64, 0_u64);
        let mut begun_at = None;
        for step in steps {
            match step {
                Step::Push { keyframe } => {
                    channel.push(unit(next, keyframe));
                    next += 1;
                    pushed += 1;
                }
                Step::Gap => {
                    channel.unlink();
                    next += 3;
                }
                Step::Skip => {
                    reader.skip_to_live();
                }
                Step::Read => {
                    if let Next::Unit(unit) = reader.try_next() {
                        let follows = last.is_some_and(|last| unit.sequence_number == last + 1);
                        prop_assert!(follows || unit.keyframe);
                        last = Some(unit.sequence_number);
                        given += 1;
                        begun_at.get_or_insert(reader.place.expect("it reads") - 1);
                    }
                }
            }
        }
        if let Some(begun_at) = begun_at {
            prop_assert_eq!(pushed - begun_at, given + channel.skipped() + reader.behind());
        }
    }
}
