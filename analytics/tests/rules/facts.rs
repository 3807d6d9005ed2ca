//! What rules know of tracks, asked in their own language.

use contract::control::Quality;
use contract::motion::Cells;

use crate::script::{SUITCASE, begins, first_event, frame, knowing, records, seen};

#[test]
fn entered_and_left_are_pulses_and_dwell_goes_on_through_flicker() {
    // In `left` from 0.1 s, a flicker of 0.2 s, out for good from 0.9 s.
    let frames = records("-+++--+++-------");
    let begins_of = |when: &str| {
        begins(
            &format!("r: {{on: track, when: '{when}', gap: 0s}}"),
            &frames,
        )
    };
    assert_eq!(begins_of("entered(left)"), [100]);
    assert_eq!(begins_of("left(left)"), [1400], "500 ms are flicker");
    assert_eq!(begins_of("in_zone(left)"), [100, 600]);
    assert_eq!(begins_of("dwell(left) >= 600ms"), [700], "since 0.1 s");
    assert_eq!(begins_of("dwell(left) > 0s"), [200, 600]);
}

#[test]
fn lines_are_crossed_in_a_direction() {
    let frames: Vec<_> = (0..20_u8)
        .map(|step| {
            let x = if step < 10 {
                60.0 + 8.0 * f32::from(step)
            } else {
                132.0 - 8.0 * f32::from(step - 10)
            };
            frame(u64::from(step) * 100, vec![seen(1, x)])
        })
        .collect();
    let begins_of = |when: &str| {
        begins(
            &format!("r: {{on: track, when: '{when}', gap: 0s}}"),
            &frames,
        )
    };
    // The middle is at 100: at 0.6 s it is at 108, having been on it at 0.5 s.
    assert_eq!(begins_of("crossed(middle)"), [600, 1500]);
    assert_eq!(begins_of("crossed(middle, right_to_left)"), [600]);
    assert_eq!(begins_of("crossed(middle, left_to_right)"), [1500]);
}

#[test]
fn the_score_is_a_median() {
    let scores = [0.9, 0.9, 0.3, 0.9, 0.3, 0.3, 0.3];
    let frames: Vec<_> = (0..)
        .zip(scores)
        .map(|(step, score)| {
            let mut object = seen(1, 50.0);
            object.score = Some(score);
            frame(step * 100, vec![object])
        })
        .collect();
    let rule = |when| format!("r: {{on: track, when: '{when}', gap: 0s}}");
    assert_eq!(begins(&rule("raw_score < 0.5"), &frames), [200, 400]);
    assert_eq!(
        begins(&rule("score < 0.5"), &frames),
        [500],
        "three of six, the lower middle"
    );
}

#[test]
fn speed_and_direction_of_a_walk() {
    let frames: Vec<_> = (0..20_u8)
        .map(|step| {
            frame(
                u64::from(step) * 100,
                vec![seen(1, 20.0 + 4.0 * f32::from(step))],
            )
        })
        .collect();
    // 40 pixels a second of 100 pixels height.
    let rule = "r: {on: track, when: 'track.speed in 0.39..0.41 and track.direction in 85..95'}";
    assert_eq!(begins(rule, &frames), [200]);
}

#[test]
fn tags_and_attributes_are_known_from_the_next_frame_on() {
    let mut frames = records("-++++");
    frames[2] = knowing(frames[2].clone(), 1, "color", "red");
    frames[2] = knowing(
        frames[2].clone(),
        9,
        "color",
        "of a track that is not there",
    );
    let rule = r#"r: {on: track, when: 'attribute("color") == "red"'}"#;
    assert_eq!(begins(rule, &frames), [300]);

    let mut engine = crate::script::engine(&[
        "tags: {on: track, when: in_zone(left), do: ['tag(\"been\", \"left\")']}",
        r#"asks: {on: track, when: 'attribute("been") == "left"'}"#,
    ]);
    let told = crate::script::told(&mut engine, &records("-++"));
    assert_eq!(told, ["tags B100", "asks B200", "tags E200", "asks E200"]);
}

#[test]
fn quality_remembers_the_best() {
    let qualities = [None, Some(100), Some(300), Some(50)];
    let frames: Vec<_> = (0..)
        .zip(qualities)
        .map(|(step, sharpness)| {
            let mut object = seen(1, 50.0);
            object.quality = sharpness.map(|sharpness| Quality {
                sharpness,
                brightness: 128,
            });
            frame(step * 100, vec![object])
        })
        .collect();
    // A score of 0.75 makes 7.5, and a sharpness of 3.00 makes 10.5 of it.
    let rule = "r: {on: track, when: quality.best > 10.4, gap: 0s}";
    assert_eq!(begins(rule, &frames), [200]);
    let rule = "r: {on: track, when: quality.sharpness < 2.0, gap: 0s}";
    assert_eq!(begins(rule, &frames), [100, 300]);
}

#[test]
fn motion_of_a_zone_and_the_rate_of_frames() {
    let frames: Vec<_> = (0..30)
        .map(|step| {
            let mut record = frame(step * 100, vec![]);
            record.moved = Cells::of(|[x, _]| x > 0.75 && step >= 20);
            record
        })
        .collect();
    assert_eq!(
        begins("r: {on: frame, when: motion(right) > 0.4}", &frames),
        [2000]
    );
    assert_eq!(
        begins("r: {on: frame, when: motion(left) > 0}", &frames),
        [0; 0]
    );
    assert_eq!(
        begins("r: {on: frame, when: fps in 9.9..10.1}", &frames),
        [100]
    );
}

#[test]
fn rules_see_other_tracks_labels_and_the_events_that_last() {
    let suitcase = |x| {
        let mut object = seen(2, x);
        object.class = SUITCASE;
        object
    };
    let frames: Vec<_> = (0..10_u8)
        .map(|step| {
            let owner = seen(1, 60.0 + 10.0 * f32::from(step));
            frame(u64::from(step) * 100, vec![owner, suitcase(60.0)])
        })
        .collect();
    let rule = r#"r: {on: track, when: 'label == "suitcase" and not exists(label == "person" and distance(track) < 0.35)'}"#;
    // The owner is 0.4 of the height away at 0.4 s.
    let event = first_event(rule, &frames);
    assert_eq!(
        (event.begin_pts_ns / 1_000_000, event.track),
        (400, Some(2))
    );
    assert_eq!(event.label.as_deref(), Some("suitcase"));

    let mut engine = crate::script::engine(&[
        "first: {on: track, when: in_zone(left)}",
        "second: {on: stream, when: events > 0}",
        r#"third: {on: stream, when: 'stream.label("site") == "north"'}"#,
    ]);
    let told = crate::script::told(&mut engine, &records("-++"));
    let begun: Vec<_> = told.iter().filter(|what| what.contains('B')).collect();
    // `events` are those before this frame: third is one from the second frame on.
    assert_eq!(begun, ["third B0", "first B100", "second B100"]);
}
