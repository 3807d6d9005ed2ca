use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static ZEROS: LazyLock<Bytes> = LazyLock::new(|| vec![0; 40 << 20].into());

fn init() -> Arc<Init> {
    Arc::new(Init {
        number: 3,
        codec: String::new(),
        width: 2,
        height: 2,
        bytes: Bytes::new(),
    })
}

fn begin(discontinuity: bool) -> Step {
    Step::Begin(Head {
        init: init(),
        discontinuity,
        wall_ms: 0,
    })
}

fn part(bytes: usize) -> Step {
    Step::Part(Part {
        duration: 18_000,
        independent: true,
        bytes: ZEROS.slice(..bytes),
    })
}

fn window() -> Window {
    Window::new(Pace::measure(&[]), 100, 5000)
}

fn fill(window: &mut Window, segments: usize, parts: usize, bytes: usize) {
    for _ in 0..segments {
        window.apply(begin(false));
        (0..parts).for_each(|_| window.apply(part(bytes)));
        window.apply(Step::End);
    }
}

#[test]
fn a_segment_is_its_parts_and_each_is_found_by_its_number() {
    let mut window = window();
    assert!(!window.is_playable());
    fill(&mut window, 1, 2, 5);
    window.apply(begin(false));
    window.apply(part(7));
    assert_eq!((window.next(), window.next_part()), (101, 5003));
    let lengths = |parts: Vec<Bytes>| parts.iter().map(Bytes::len).collect::<Vec<_>>();
    assert_eq!(window.segment(100).map(lengths), Some(vec![5, 5]));
    assert_eq!(window.segment(101), None, "it is not complete");
    assert_eq!(window.segment(99), None);
    let lengths = [4999, 5000, 5001, 5002, 5003].map(|number| window.part(number));
    let lengths = lengths.map(|part| part.map(|part| part.len()));
    assert_eq!(lengths, [None, Some(5), Some(5), Some(7), None]);
    assert!(window.init(3).is_some() && window.init(4).is_none());
}

#[test]
fn what_is_in_no_playlist_any_more_can_be_asked_for_a_while() {
    let mut window = window();
    fill(&mut window, 30, 1, 5);
    assert_eq!(window.listed().next().map(|(number, _)| number), Some(123));
    assert!(window.segment(116).is_some());
    assert!(window.segment(115).is_none());
    // Large ones are fewer.
    fill(&mut window, 10, 1, 10 << 20);
    assert_eq!(window.listed().len(), 3);
    fill(&mut window, 1, 1, 40 << 20);
    assert_eq!(window.listed().len(), 1);
    assert_eq!(window.next(), 141);
}

#[test]
fn discontinuities_are_counted_also_when_they_are_gone() {
    let mut window = window();
    for number in 0..40 {
        window.apply(begin(number % 10 == 5));
        window.apply(part(1));
        window.apply(Step::End);
    }
    // 33 to 39 are listed; 5, 15 and 25 are not.
    assert_eq!(window.discontinuity_sequence(), 103);
}

#[test]
fn a_reload_is_answered_when_its_part_is_there() {
    let mut window = window();
    fill(&mut window, 1, 3, 5);
    let reached = |window: &Window, number, part| window.has_reached(number, part);
    assert!(reached(&window, 100, None) && !reached(&window, 101, None));
    assert!(reached(&window, 100, Some(2)));
    // After the last comes the first of the next.
    assert!(!reached(&window, 100, Some(3)) && !reached(&window, 101, Some(0)));
    window.apply(begin(false));
    assert!(!reached(&window, 101, Some(0)));
    window.apply(part(5));
    assert!(reached(&window, 100, Some(3)) && reached(&window, 101, Some(0)));
    assert!(!reached(&window, 101, Some(1)) && !reached(&window, 101, None));
    assert!(reached(&window, 7, Some(9)), "long gone");
    window.ended = true;
    assert!(reached(&window, 101, Some(1)));
}

#[test]
fn what_is_too_far_in_the_future_is_known() {
    let mut window = window();
    fill(&mut window, 1, 3, 5);
    let far = |number, part| window.is_too_far(number, part);
    assert!(!far(102, None) && far(103, None));
    // 3 s of parts of 0.216 s.
    assert!(!far(101, Some(13)) && far(101, Some(14)));
    assert!(!far(100, Some(99)), "it is the first of the next");
}

proptest! {
    #[test]
    fn numbers_only_grow_and_memory_is_bounded(
        steps in prop::collection::vec((0..4u8, 0..3_000_000usize, any::<bool>()), 0..200)
    ) {
        let mut window = window();
        let (mut next, mut next_part, mut first, mut discontinuities) = (100, 5000, 100, 100);
        let mut open = false;
        for (what, bytes, discontinuity) in steps {
            match (what, open) {
                (_, false) => window.apply(begin(discontinuity)),
                (0, true) => window.apply(Step::End),
                (_, true) => window.apply(part(bytes)),
            }
            open = what > 0 || !open;
            let listed = window.listed().next().map_or(window.next(), |(number, _)| number);
            prop_assert!(window.next() >= next && window.next_part() >= next_part);
            prop_assert!(listed >= first && window.discontinuity_sequence() >= discontinuities);
            prop_assert!(window.segments.len() <= LISTED + KEPT);
            prop_assert!(window.bytes <= BYTES_MAX || window.segments.len() == 1);
            (next, next_part, first) = (window.next(), window.next_part(), listed);
            discontinuities = window.discontinuity_sequence();
        }
    }
}
