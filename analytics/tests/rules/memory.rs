//! What the engine allocates, and what it keeps.

use analytics::{TRACKS_MAX, workload};

use crate::script::{engine, frame, seen};

#[test]
fn a_frame_in_which_nothing_fires_allocates_nothing() {
    let mut engine = workload::engine().expect("good rules");
    let records: Vec<_> = (0..1000)
        .map(|number| workload::record(number, 20))
        .collect();
    // Two seconds: the window of the frame rate is full then.
    for record in &records[..50] {
        engine.observe(record);
    }
    let mut told = 0;
    let info = allocation_counter::measure(|| {
        for record in &records[50..] {
            told += engine.observe(record).len();
        }
    });
    assert_eq!((told, info.count_total), (0, 0));
}

#[test]
fn memory_is_bounded_however_many_tracks_come_and_go() {
    let mut engine = engine(&[
        "r: {on: track, when: in_zone(left), for: 300ms}",
        "s: {on: track, when: in_zone(left) -> in_zone(right) within 1m}",
    ]);
    // Each track is there for a second, TRACKS_MAX at a time and more.
    let per_frame = TRACKS_MAX as u64 + 100;
    let second = |engine: &mut analytics::RuleEngine, number: u64| {
        for step in 0..3 {
            let ids = (0..per_frame).map(|index| number * per_frame + index + 1);
            let objects = ids.map(|id| seen(id, 50.0)).collect();
            drop(engine.observe(&frame(number * 2500 + step * 200, objects)));
        }
    };
    for number in 0..3 {
        second(&mut engine, number);
    }
    let info = allocation_counter::measure(|| {
        for number in 3..13 {
            second(&mut engine, number);
        }
    });
    // The times of the latest firings may still grow in number a little; tracks may not.
    assert!(info.bytes_current < 64 << 10, "{info:?}");
}
