use std::io::Cursor;

use proptest::prelude::*;

use std::sync::OnceLock;

use super::*;

const SEQUENCE: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0b, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x05, 0x23, 0xc5, 0x0a, 0xa8,
];
const PICTURE: [u8; 4] = [0x68, 0xce, 0x0f, 0xc8];
const MS: u64 = 1_000_000;
const WALL_OFFSET_NS: i64 = 1_000_000_000_000;

/// One whose slice says its number, so that it is found again in a part. `picture` goes into
/// the parameter sets.
fn unit(sequence_number: u64, pts_ms: u64, keyframe: bool, picture: u8) -> Arc<AccessUnit> {
    let mut data = Vec::new();
    let mut add = |nal: &[u8]| {
        data.extend_from_slice(&[0, 0, 0, 1]);
        data.extend_from_slice(nal);
    };
    if keyframe {
        add(SEQUENCE);
        let [first, .., last] = PICTURE;
        add(&[first, 0xce, picture, last]);
    }
    let kind = if keyframe { 0x65 } else { 0x41 };
    // In sevens of bits, so that none is zero.
    let digit = |at: u32| (sequence_number >> (7 * at)) as u8 | 0x80;
    add(&[kind, digit(2), digit(1), digit(0), 0xff]);
    Arc::new(AccessUnit {
        sequence_number,
        pts_ns: pts_ms * MS,
        captured_ns: 7_000_000_000 + pts_ms * MS,
        keyframe,
        data: data.into(),
        transport_stream: OnceLock::new(),
    })
}

/// Frames at 25 a second, with a key frame each `group`.
fn film(frames: u64, group: u64) -> Vec<Arc<AccessUnit>> {
    (0..frames)
        .map(|number| unit(number, number * 40, number % group == 0, 1))
        .collect()
}

fn segment(units: &[Arc<AccessUnit>]) -> (Pace, Vec<Step>) {
    let pace = Pace::measure(&units[..units.len().min(16)]);
    let mut segmenter = Segmenter::new(pace, 5);
    let mut steps = Vec::new();
    for unit in units {
        let pushed = segmenter.push(Arc::clone(unit), WALL_OFFSET_NS, &mut steps);
        assert_eq!(pushed, Ok(()));
    }
    let ended = segmenter.unlink(WALL_OFFSET_NS, &mut steps);
    assert_eq!(ended, Ok(()));
    (pace, steps)
}

/// The numbers of the slices in a part.
fn slices(part: &Part) -> Vec<u64> {
    let is_slice = |window: &&[u8]| {
        window[..4] == [0, 0, 0, 5] && matches!(window[4], 0x65 | 0x41) && window[8] == 0xff
    };
    let number = |window: &[u8]| {
        let digits = window[5..8].iter().map(|digit| u64::from(digit & 0x7f));
        digits.fold(0, |number, digit| number * 128 + digit)
    };
    let slices = part.bytes.windows(9).filter(is_slice);
    slices.map(number).collect()
}

/// A segment's head and, of each part, the duration in milliseconds and the slices.
type Told = (Head, Vec<(u32, Vec<u64>)>);

fn told(steps: &[Step]) -> Vec<Told> {
    let mut segments: Vec<Told> = Vec::new();
    for step in steps {
        match step {
            Step::Begin(head) => segments.push((head.clone(), Vec::new())),
            Step::Part(part) => {
                let (_, parts) = segments.last_mut().expect("a segment begins first");
                parts.push((part.duration / (TIMESCALE / 1000), slices(part)));
            }
            Step::End => {}
        }
    }
    segments
}

#[test]
fn a_steady_film_is_cut_into_groups_of_two_seconds_and_parts_of_a_fifth() {
    let (pace, steps) = segment(&film(110, 50));
    assert_eq!((pace.target_duration(), pace.part_target()), (2, 19_441));
    assert_eq!(pace.frame_rate(), 25.0);
    let segments = told(&steps);
    assert_eq!(segments.len(), 3);
    let (head, parts) = &segments[1];
    assert_eq!(head.wall_ms, 1_009_000);
    assert!(!head.discontinuity);
    assert_eq!((head.init.number, head.init.width), (5, 320));
    assert_eq!(head.init.codec, "avc1.42C00B");
    let expected: Vec<_> = (10..20)
        .map(|part| (200, (part * 5..part * 5 + 5).collect::<Vec<_>>()))
        .collect();
    assert_eq!(parts, &expected);
}

#[test]
fn a_part_is_given_out_when_the_picture_after_its_last_is_there() {
    let film = film(7, 50);
    let mut segmenter = Segmenter::new(Pace::measure(&film), 0);
    let mut steps = Vec::new();
    for (index, unit) in film.iter().enumerate() {
        let pushed = segmenter.push(Arc::clone(unit), 0, &mut steps);
        assert_eq!(pushed, Ok(()));
        let parts = steps.iter().filter(|step| matches!(step, Step::Part(_)));
        assert_eq!(parts.count(), usize::from(index >= 5));
    }
}

#[test]
fn short_groups_share_a_segment_and_long_ones_are_cut() {
    let (_, short) = segment(&film(100, 10));
    let lengths = |steps: &[Step]| -> Vec<u32> {
        let lasts = |(_, parts): Told| parts.iter().map(|part| part.0).sum();
        told(steps).into_iter().map(lasts).collect()
    };
    // 0.4 s each: three of them are the first second that is full.
    assert_eq!(lengths(&short), [1200, 1200, 1200, 400]);
    let (_, long) = segment(&film(150, 1000));
    assert_eq!(lengths(&long), [2400, 2400, 1200]);
}

#[test]
fn gaps_and_new_parameter_sets_are_discontinuities() {
    // One is missing; the rest of its group is not there either.
    let mut lost = film(40, 10);
    lost.drain(15..20);
    let (_, steps) = segment(&lost);
    let segments = told(&steps);
    let flags: Vec<_> = segments
        .iter()
        .map(|(head, _)| head.discontinuity)
        .collect();
    assert_eq!(flags, [false, true]);
    assert_eq!(segments[0].0.init, segments[1].0.init);
    assert_eq!(segments[1].0.wall_ms, 1_007_800);

    // A producer begins anew: the numbers go on, the PTS does not.
    let mut again = film(20, 20);
    again.extend((20..40).map(|number| unit(number, (number - 20) * 40, number == 20, 1)));
    let (_, steps) = segment(&again);
    let segments = told(&steps);
    assert_eq!(segments.len(), 2);
    assert!(segments[1].0.discontinuity);

    // Another size, in the middle of a segment.
    let mut other = film(10, 10);
    other.extend((10..20).map(|number| unit(number, number * 40, number == 10, 2)));
    let (_, steps) = segment(&other);
    let segments = told(&steps);
    assert_eq!(segments.len(), 2);
    assert!(segments[1].0.discontinuity);
    assert_eq!(segments[1].0.init.number, 6);
    assert_ne!(segments[0].0.init.bytes, segments[1].0.init.bytes);
}

#[test]
fn a_stall_takes_no_time_of_players_and_all_of_the_wall_clock() {
    let mut stalls = film(50, 50);
    stalls.extend((50..60).map(|number| unit(number, number * 40 + 9000, number == 50, 1)));
    let (pace, steps) = segment(&stalls);
    let segments = told(&steps);
    assert_eq!(segments.len(), 2);
    assert!(!segments[1].0.discontinuity);
    let first: u32 = segments[0].1.iter().map(|part| part.0).sum();
    assert!((2000..2200).contains(&first), "{first}");
    assert_eq!(segments[1].0.wall_ms - segments[0].0.wall_ms, 11_000);
    assert!(
        segments[0]
            .1
            .iter()
            .all(|part| part.0 * 90 <= pace.part_target())
    );
}

#[test]
fn parts_follow_the_rate_of_pictures() {
    let pace = |distance_ms: u64| {
        let film: Vec<_> = (0..9)
            .map(|number| unit(number, number * distance_ms, number == 0, 1))
            .collect();
        let pace = Pace::measure(&film);
        (pace.part_target() / 90, pace.target_duration())
    };
    assert_eq!(pace(20), (216, 2));
    assert_eq!(pace(33), (213, 2));
    assert_eq!(pace(100), (216, 2));
    assert_eq!(pace(150), (162, 2));
    // One picture a second, one each four, and one a minute.
    assert_eq!(pace(1000), (1080, 2));
    assert_eq!(pace(4000), (4320, 5));
    assert_eq!(pace(60_000), (5400, 6));
    assert_eq!(Pace::measure(&[]), Pace::measure(&film(9, 9)));
}

#[test]
fn what_cannot_be_used_is_refused_and_the_next_key_frame_is_taken() {
    let film = film(60, 20);
    let mut segmenter = Segmenter::new(Pace::measure(&film), 0);
    let mut steps = Vec::new();
    let mut push = |unit: &Arc<AccessUnit>| segmenter.push(Arc::clone(unit), 0, &mut steps);
    let bare = AccessUnit {
        data: vec![0, 0, 1, 0x65, 1, 2].into(),
        captured_ns: 0,
        keyframe: true,
        pts_ns: 0,
        sequence_number: 0,
        transport_stream: OnceLock::new(),
    };
    assert_eq!(push(&Arc::new(bare)), Ok(()));
    assert_eq!(push(&film[1]), Err(SegmenterError::NoParameterSets));
    for unit in &film[2..] {
        assert_eq!(push(unit), Ok(()));
    }
    let segments = told(&steps);
    assert_eq!(segments[0].1[0].1, [20, 21, 22, 23, 24]);
}

#[test]
fn after_what_cannot_be_used_the_time_line_goes_on() {
    let mut film = film(60, 20);
    film[20] = Arc::new(AccessUnit {
        // A sequence parameter set that ends at once.
        data: vec![0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1].into(),
        captured_ns: film[20].captured_ns,
        sequence_number: film[20].sequence_number,
        pts_ns: film[20].pts_ns,
        keyframe: film[20].keyframe,
        transport_stream: OnceLock::new(),
    });
    let mut segmenter = Segmenter::new(Pace::measure(&film), 0);
    let mut steps = Vec::new();
    let results = film
        .iter()
        .map(|unit| segmenter.push(Arc::clone(unit), 0, &mut steps));
    let errors = results.filter(|result| matches!(result, Err(SegmenterError::Sps(_))));
    assert_eq!(errors.count(), 1);
    let (mut ends, mut init) = (Vec::new(), None);
    for step in &steps {
        match step {
            Step::Begin(head) => init = Some(Arc::clone(&head.init)),
            Step::Part(part) => {
                let init = init.as_ref().expect("a segment is open");
                ends.push(fragment(init, part));
            }
            Step::End => {}
        }
    }
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    let segments = told(&steps);
    assert!(segments[1].0.discontinuity);
    assert_eq!(segments[1].1[0].1, [40, 41, 42, 43, 44]);
}

/// Streams with gaps, stalls, restarts, odd rates and new parameter sets.
fn streams() -> impl Strategy<Value = Vec<Arc<AccessUnit>>> {
    let change = (0..200u8, 0..10u8, 1..80u64, 0..50u8);
    prop::collection::vec(change, 1..400).prop_map(|changes| {
        let (mut number, mut pts_ms, mut picture, mut linked) = (0, 0, 1, false);
        let mut units = Vec::new();
        for (what, group, jitter, key) in changes {
            match what {
                0 => (number, linked) = (number + 7, false),
                1 => (pts_ms, linked) = (0, false),
                2 => pts_ms += 700 * jitter,
                3 => (picture, linked) = (picture ^ 3, false),
                _ => {}
            }
            // As the channel has it: what follows a gap begins with a key frame.
            let keyframe = !linked || key == 0 || group == 9 && what < 60;
            linked = true;
            units.push(unit(number, pts_ms, keyframe, picture));
            number += 1;
            pts_ms += jitter;
        }
        units
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_picture_is_in_one_part_and_nothing_lasts_too_long(units in streams()) {
        let (pace, steps) = segment(&units);
        let mut seen = Vec::new();
        let mut end = None;
        let mut length = None;
        let mut init = None;
        for step in &steps {
            match step {
                Step::Begin(head) => {
                    init = Some(&head.init);
                    prop_assert_eq!(length.replace(0), None);
                }
                Step::Part(part) => {
                    prop_assert!(part.duration > 0 && part.duration <= pace.part_target());
                    let length = length.as_mut().expect("a segment is open");
                    *length += part.duration;
                    // It says the same of itself, and begins where the last has ended.
                    let (begins, ends) = fragment(init.expect("a segment is open"), part);
                    prop_assert_eq!(ends - begins, u64::from(part.duration));
                    prop_assert!(end.is_none_or(|end| end == begins));
                    end = Some(ends);
                    seen.extend(slices(part));
                }
                Step::End => {
                    let length: u32 = length.take().expect("a segment is open");
                    let seconds = (length + TIMESCALE / 2) / TIMESCALE;
                    prop_assert!(length > 0 && seconds <= pace.target_duration());
                }
            }
        }
        prop_assert_eq!(length, None);
        let sent: Vec<_> = units.iter().map(|unit| unit.sequence_number).collect();
        prop_assert_eq!(seen, sent);
    }
}

/// Where the fragment begins and ends, as its boxes say.
fn fragment(init: &Init, part: &Part) -> (u64, u64) {
    let bytes = [&init.bytes[..], &part.bytes].concat();
    let movie = fmp4::Movie::read(&mut Cursor::new(bytes)).expect("it is one");
    assert_eq!((movie.fragments.len(), movie.torn_bytes), (1, 0));
    let fragment = &movie.fragments[0];
    assert_eq!(fragment.begins_with_keyframe(), part.independent);
    (fragment.base_decode_time, fragment.end_decode_time())
}
