use std::sync::Arc;

use super::*;
use crate::hls::segmenter::{Head, Init, Part, Step};

/// A window at 25 pictures a second, counted from 100, parts from 5000.
fn window() -> Window {
    Window::new(Pace::measure(&[]), 100, 5000)
}

fn init(number: u64) -> Arc<Init> {
    Arc::new(Init {
        number,
        codec: "avc1.64001F".to_owned(),
        width: 768,
        height: 576,
        bytes: vec![1; 700].into(),
    })
}

fn begin(window: &mut Window, number: u64, init: &Arc<Init>, discontinuity: bool) {
    window.apply(Step::Begin(Head {
        init: Arc::clone(init),
        discontinuity,
        // 2026-11-21T21:00:00Z, and two seconds a segment.
        wall_ms: 1_795_294_800_123 + i64::try_from(number).expect("a short test") * 2000,
    }));
}

fn part(window: &mut Window, independent: bool) {
    window.apply(Step::Part(Part {
        duration: 18_000,
        independent,
        bytes: vec![0; 10_000].into(),
    }));
}

fn whole(window: &mut Window, number: u64, init: &Arc<Init>, discontinuity: bool) {
    begin(window, number, init, discontinuity);
    for index in 0..10 {
        part(window, index == 0);
    }
    window.apply(Step::End);
}

fn golden(name: &str, text: &str) {
    let path = format!(
        "{}/src/hls/playlist/{name}.m3u8",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).expect("a golden: set UPDATE_GOLDENS to write it");
    assert_eq!(text, golden, "{path}");
}

#[test]
fn the_first_segment() {
    let mut window = window();
    whole(&mut window, 0, &init(100), false);
    golden("first", &media(&window));
    let variant = Variant::of(&window, "stream.m3u8?viewer=7".to_owned());
    golden("index", &multivariant(&[variant.expect("a segment")]));
}

#[test]
fn a_discontinuity_with_other_parameter_sets_and_a_segment_that_grows() {
    let mut window = window();
    let (old, new) = (init(100), init(101));
    whole(&mut window, 0, &old, false);
    whole(&mut window, 1, &new, true);
    begin(&mut window, 2, &new, false);
    part(&mut window, true);
    part(&mut window, false);
    golden("grows", &media(&window));
}

#[test]
fn a_long_run_lists_seven_segments_and_the_parts_of_the_last_three_target_durations() {
    let mut window = window();
    let init = init(100);
    for number in 0..30 {
        whole(&mut window, number, &init, number == 3 || number == 25);
    }
    golden("long", &media(&window));
    window.ended = true;
    let ended = media(&window);
    assert!(ended.ends_with(".m4s\n#EXT-X-ENDLIST\n"), "{ended}");
}

#[test]
fn a_segment_that_begins_in_the_middle_of_a_group_is_not_called_independent() {
    let mut window = window();
    let init = init(100);
    whole(&mut window, 0, &init, false);
    assert!(media(&window).contains("#EXT-X-INDEPENDENT-SEGMENTS"));
    begin(&mut window, 1, &init, false);
    part(&mut window, false);
    assert!(!media(&window).contains("#EXT-X-INDEPENDENT-SEGMENTS"));
}
