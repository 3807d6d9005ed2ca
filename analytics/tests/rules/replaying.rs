//! Stored records say what was said live, and how two runs differ.

use analytics::{difference, replay};
use contract::control::FrameRecord;
use contract::event::Event;

use crate::script::{MS_NS, engine, frame, records, seen};

const RULE: &str = "r: {on: track, when: in_zone(left), for: 200ms, gap: 0s}";

fn events(rule: &str, records: &[FrameRecord]) -> Vec<Event> {
    replay(records, &mut engine(&[rule]))
}

#[test]
fn a_replay_gives_whole_events_and_no_draws() {
    let frames = records("-++++--+++++");
    let times = |event: &Event| {
        (
            event.begin_pts_ns / MS_NS,
            event.end_pts_ns.map(|end| end / MS_NS),
        )
    };
    let all: Vec<_> = events(RULE, &frames).iter().map(times).collect();
    assert_eq!(all, [(300, Some(400)), (900, Some(1100))]);
    let draw = "r: {on: track, when: in_zone(left), do: [draw]}";
    assert!(events(draw, &frames).is_empty());
}

#[test]
fn a_difference_pairs_what_belongs_together() {
    let frames = records("+++++---++++-----+++");
    let run = events(RULE, &frames);
    let same = difference(run.clone(), run.clone());
    assert!(same.is_none() && same.same.len() == 3, "{same:?}");

    // With a longer `for` the first begins later, the other two are too short.
    let longer = events(
        "r: {on: track, when: in_zone(left), for: 400ms, gap: 0s}",
        &frames,
    );
    let less = difference(run.clone(), longer.clone());
    assert_eq!(
        (
            less.same.len(),
            less.changed.len(),
            less.missing.len(),
            less.new.len()
        ),
        (0, 1, 2, 0)
    );
    let changed = &less.changed[0];
    assert_eq!(
        (changed.run.begin_pts_ns, changed.replay.begin_pts_ns),
        (200 * MS_NS, 400 * MS_NS)
    );
    let more = difference(longer, run.clone());
    assert_eq!(
        (more.changed.len(), more.missing.len(), more.new.len()),
        (1, 0, 2)
    );

    // With a gap the first two are one: the same begin, another end.
    let joined = events(
        "r: {on: track, when: in_zone(left), for: 200ms, gap: 400ms}",
        &frames,
    );
    let joined = difference(run, joined);
    assert_eq!(
        (
            joined.same.len(),
            joined.changed.len(),
            joined.missing.len()
        ),
        (1, 1, 1)
    );
    assert_eq!(joined.changed[0].replay.end_pts_ns, Some(1100 * MS_NS));
}

#[test]
fn another_track_is_another_event() {
    let one = replay(
        [frame(0, vec![seen(1, 50.0)])],
        &mut engine(&["r: {on: track, when: in_zone(left)}"]),
    );
    let other = replay(
        [frame(0, vec![seen(2, 50.0)])],
        &mut engine(&["r: {on: track, when: in_zone(left)}"]),
    );
    let difference = difference(one, other);
    assert_eq!((difference.missing.len(), difference.new.len()), (1, 1));
}
