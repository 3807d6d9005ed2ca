//! Tracking of made-up scenes whose truth is known.

use std::collections::BTreeSet;

use analytics::{
    COAST_NS_MAX, CameraMotion, Embeddings, TRACKS_MAX, TRAIL_POINTS_MAX, TrackState,
    TrackedObject, Tracker,
};
use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{TrackerAlgorithm, TrackerSpec};
use proptest::prelude::*;

const SIZE: PixelSize = PixelSize {
    width: 768,
    height: 576,
};
const MS_NS: u64 = 1_000_000;

fn tracker() -> Tracker {
    Tracker::new(&spec())
}

fn spec() -> TrackerSpec {
    TrackerSpec {
        algorithm: TrackerAlgorithm::Botsort,
        high_score: 0.5,
        new_track_score: 0.5,
        iou_min: 0.2,
        lost_timeout_ms: 2000,
        camera_motion: true,
    }
}

/// A walker's box by the place of its feet.
fn walker(x: f32, y: f32) -> BoundingBox {
    BoundingBox {
        x1: x - 20.0,
        y1: y - 100.0,
        x2: x + 20.0,
        y2: y,
    }
}

fn seen(bounds: BoundingBox, score: f32) -> Detection {
    Detection {
        bounds,
        score,
        class: 0,
        landmarks: Landmarks::NONE,
    }
}

fn ids(objects: &[TrackedObject]) -> Vec<u64> {
    objects.iter().map(|object| object.id).collect()
}

/// Where something is that moves at `speed` pixels a second, at frame `frame` of 10 fps.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn along(start: f32, speed: f32, frame: u64) -> f32 {
    start + speed * frame as f32 / 10.0
}

#[test]
fn an_id_stays_through_five_missed_frames() {
    let mut tracker = tracker();
    for frame in 0..40 {
        let truth = walker(along(100.0, 80.0, frame), 400.0);
        let missed = (20..25).contains(&frame);
        let detections = [seen(truth, 0.8)];
        let detections = if missed { &[][..] } else { &detections[..] };
        let objects = tracker
            .update(frame * 100 * MS_NS, SIZE, detections)
            .objects;
        assert_eq!(ids(objects), [1], "frame {frame}");
        let object = &objects[0];
        if missed {
            assert_eq!((object.state, object.score), (TrackState::Lost, None));
            assert!(object.bounds.iou(&truth) > 0.7, "frame {frame}: {object:?}");
        } else {
            assert_eq!((object.state, object.bounds), (TrackState::Seen, truth));
            assert_eq!(object.detection, Some(0));
        }
        assert_eq!(object.age_ns, frame * 100 * MS_NS);
    }
}

#[test]
fn a_lost_box_moves_on_for_a_second_and_does_not_grow() {
    let mut tracker = tracker();
    // It comes nearer: the box grows by 40 pixels a second.
    let nearer = |frame| {
        let half = along(20.0, 20.0, frame);
        let x = along(200.0, 80.0, frame);
        BoundingBox {
            x1: x - half,
            y1: 300.0 - half,
            x2: x + half,
            y2: 300.0 + half,
        }
    };
    for frame in 0..20 {
        tracker.update(frame * 100 * MS_NS, SIZE, &[seen(nearer(frame), 0.8)]);
    }
    let width = nearer(19).width();
    let mut places = Vec::new();
    for frame in 20..38 {
        let objects = tracker.update(frame * 100 * MS_NS, SIZE, &[]).objects;
        let bounds = objects[0].bounds;
        assert!(
            (bounds.width() - width).abs() < 0.1 * width,
            "frame {frame}: {bounds:?}"
        );
        places.push(bounds.bottom_center().0);
    }
    assert!(
        places[..10].windows(2).all(|pair| pair[1] - pair[0] > 7.0),
        "{places:?}"
    );
    assert!(
        places[10..].windows(2).all(|pair| pair[1] == pair[0]),
        "{places:?}"
    );
}

#[test]
fn two_who_cross_keep_their_ids() {
    // The one behind is hidden while they overlap: one detection for both.
    for hidden in [false, true] {
        let mut tracker = tracker();
        for frame in 0..60 {
            let right = walker(along(100.0, 60.0, frame), 400.0);
            let left = walker(along(460.0, -60.0, frame), 410.0);
            let mut detections = vec![seen(left, 0.9)];
            if !(hidden && right.iou(&left) > 0.4) {
                detections.push(seen(right, 0.8));
            }
            let objects = tracker
                .update(frame * 100 * MS_NS, SIZE, &detections)
                .objects;
            assert_eq!(ids(objects), [1, 2], "frame {frame}, hidden: {hidden}");
            assert!(
                objects[0].bounds.iou(&left) > 0.6,
                "frame {frame}: {objects:?}"
            );
            assert!(
                objects[1].bounds.iou(&right) > 0.5,
                "frame {frame}: {objects:?}"
            );
        }
    }
}

#[test]
fn weak_detections_carry_a_track_on_and_begin_none() {
    let mut tracker = tracker();
    for frame in 0..30 {
        let score = if frame < 5 { 0.8 } else { 0.2 };
        let detections = [
            seen(walker(along(100.0, 50.0, frame), 400.0), score),
            seen(walker(600.0, 300.0), 0.3),
        ];
        let objects = tracker
            .update(frame * 100 * MS_NS, SIZE, &detections)
            .objects;
        assert_eq!(ids(objects), [1]);
        assert_eq!(objects[0].state, TrackState::Seen, "frame {frame}");
        assert_eq!(objects[0].score, Some(score));
    }
    let objects = tracker.coast(3000 * MS_NS, SIZE).objects;
    assert!((objects[0].median_score - 0.2).abs() < 1e-6);
    assert_eq!(objects[0].hits, 30);
}

#[test]
fn ids_stay_while_inference_is_away() {
    let mut tracker = tracker();
    for frame in 0..50 {
        let truths = [
            walker(along(100.0, 80.0, frame), 400.0),
            walker(along(700.0, -60.0, frame), 250.0),
        ];
        let pts_ns = frame * 100 * MS_NS;
        let away = (20..25).contains(&frame) || (30..35).contains(&frame);
        let objects = if away {
            tracker.coast(pts_ns, SIZE).objects
        } else {
            tracker
                .update(pts_ns, SIZE, &truths.map(|truth| seen(truth, 0.8)))
                .objects
        };
        assert_eq!(ids(objects), [1, 2]);
        for (object, truth) in objects.iter().zip(&truths) {
            assert_eq!(object.state == TrackState::Coasting, away);
            assert!(object.bounds.iou(truth) > 0.6, "frame {frame}: {object:?}");
        }
    }
}

#[test]
fn a_track_outlives_the_time_out_while_nobody_looks() {
    let mut tracker = tracker();
    let still = [seen(walker(300.0, 400.0), 0.8)];
    // A gate lets a frame through every five seconds.
    for frame in 0..200 {
        let pts_ns = frame * 100 * MS_NS;
        let objects = if frame % 50 == 0 {
            tracker.update(pts_ns, SIZE, &still).objects
        } else {
            tracker.coast(pts_ns, SIZE).objects
        };
        assert_eq!(ids(objects), [1], "frame {frame}");
        assert!(objects[0].bounds.iou(&still[0].bounds) > 0.9);
    }
    // One look that does not find it is enough by then.
    assert_eq!(tracker.update(20_000 * MS_NS, SIZE, &[]).ended.len(), 1);

    tracker.update(30_000 * MS_NS, SIZE, &still);
    tracker.update(30_100 * MS_NS, SIZE, &still);
    let last_ns = 30_100 * MS_NS + COAST_NS_MAX;
    assert_eq!(tracker.coast(last_ns, SIZE).objects.len(), 1);
    let tracks = tracker.coast(last_ns + 1, SIZE);
    assert_eq!((tracks.objects.len(), tracks.ended.len()), (0, 1));
}

#[test]
fn a_lost_track_ends_by_time_whatever_the_frame_rate() {
    for interval_ms in [10, 100, 500] {
        let mut tracker = tracker();
        tracker.update(0, SIZE, &[seen(walker(300.0, 400.0), 0.8)]);
        let mut pts_ms = 0;
        loop {
            pts_ms += interval_ms;
            let tracks = tracker.update(pts_ms * MS_NS, SIZE, &[]);
            if pts_ms <= 2000 {
                assert_eq!(ids(tracks.objects), [1], "{pts_ms} ms");
                continue;
            }
            assert_eq!(tracks.objects, []);
            let ended = &tracks.ended[0];
            assert_eq!((ended.id, ended.seen_pts_ns, ended.hits), (1, 0, 1));
            break;
        }
    }
}

#[test]
fn a_flash_is_no_track_and_ids_are_dense() {
    let mut tracker = tracker();
    tracker.update(0, SIZE, &[seen(walker(100.0, 400.0), 0.8)]);
    for frame in 1..20 {
        let still = seen(walker(100.0, 400.0), 0.8);
        let flash = seen(walker(along(200.0, 500.0, frame), 300.0), 0.9);
        let detections = if frame % 2 == 0 {
            vec![still, flash]
        } else {
            vec![still]
        };
        assert_eq!(
            ids(tracker
                .update(frame * 100 * MS_NS, SIZE, &detections)
                .objects),
            [1]
        );
    }
    let newcomer = [
        seen(walker(100.0, 400.0), 0.8),
        seen(walker(500.0, 300.0), 0.9),
    ];
    assert_eq!(
        ids(tracker.update(2000 * MS_NS, SIZE, &newcomer).objects),
        [1]
    );
    let objects = tracker.update(2100 * MS_NS, SIZE, &newcomer).objects;
    assert_eq!(ids(objects), [1, 2]);
    assert_eq!(
        objects[1].age_ns,
        100 * MS_NS,
        "it counts from its first detection"
    );
}

#[test]
fn who_leaves_the_picture_is_gone_at_once() {
    let mut tracker = tracker();
    for frame in 0..10 {
        let bounds = walker(along(640.0, 150.0, frame), 400.0).clipped(SIZE);
        tracker.update(frame * 100 * MS_NS, SIZE, &[seen(bounds, 0.8)]);
    }
    let mut frame = 10;
    while tracker
        .update(frame * 100 * MS_NS, SIZE, &[])
        .ended
        .is_empty()
    {
        frame += 1;
        assert!(frame < 15, "long before the time-out of two seconds");
    }
}

#[test]
fn classes_do_not_mix() {
    let mut tracker = tracker();
    let bounds = walker(300.0, 400.0);
    let of_class = |class| Detection {
        bounds,
        score: 0.8,
        class,
        landmarks: Landmarks::NONE,
    };
    tracker.update(0, SIZE, &[of_class(0)]);
    tracker.update(100 * MS_NS, SIZE, &[of_class(3)]);
    let objects = tracker.update(200 * MS_NS, SIZE, &[of_class(3)]).objects;
    let classes: Vec<_> = objects
        .iter()
        .map(|object| (object.id, object.class))
        .collect();
    assert_eq!(classes, [(1, 0), (2, 3)]);
}

#[test]
fn a_track_begun_upon_a_lost_one_gives_way_to_it() {
    let mut tracker = tracker();
    let place = |x: f32| [seen(walker(x, 400.0), 0.8)];
    for frame in 0..10 {
        tracker.update(frame * 100 * MS_NS, SIZE, &place(300.0));
    }
    // It jumps away, so that a track begins beside the lost one, and comes back.
    let mut ended = Vec::new();
    let back = (0..=10_u8).map(|step| 340.0 - 4.0 * f32::from(step));
    let way = [340.0].into_iter().chain(back).chain([300.0; 3]);
    for (frame, x) in (10..).zip(way) {
        let tracks = tracker.update(frame * 100 * MS_NS, SIZE, &place(x));
        ended.extend(tracks.ended.iter().map(|track| track.id));
    }
    assert_eq!(ended, [2]);
    let objects = tracker.coast(2500 * MS_NS, SIZE).objects;
    assert_eq!(ids(objects), [1]);
    assert_eq!(
        objects[0].state,
        TrackState::Coasting,
        "seen in the last frame"
    );
}

#[test]
fn a_stream_that_begins_anew_ends_all_and_reuses_no_id() {
    let mut tracker = tracker();
    let detections = [seen(walker(300.0, 400.0), 0.8)];
    tracker.update(5000 * MS_NS, SIZE, &detections);
    let tracks = tracker.update(0, SIZE, &detections);
    assert_eq!(tracks.ended.len(), 1);
    assert_eq!(
        ids(tracks.objects),
        [2],
        "confirmed at once, as at every beginning"
    );
}

#[test]
fn trackers_of_one_stream_share_no_ids() {
    let detections = [
        seen(walker(100.0, 400.0), 0.8),
        seen(walker(300.0, 400.0), 0.8),
    ];
    let of_model = |index| {
        let mut tracker = Tracker::interleaved(&spec(), index, 2, 0);
        ids(tracker.update(0, SIZE, &detections).objects)
    };
    assert_eq!((of_model(0), of_model(1)), (vec![1, 3], vec![2, 4]));
}

#[test]
fn the_trail_shows_the_last_three_seconds() {
    let mut tracker = tracker();
    for frame in 0..200 {
        let bounds = walker(along(100.0, 20.0, frame), 400.0);
        tracker.update(frame * 100 * MS_NS, SIZE, &[seen(bounds, 0.8)]);
    }
    let trail = tracker.trail(1);
    assert_eq!(trail.len(), TRAIL_POINTS_MAX);
    assert_eq!(
        trail[TRAIL_POINTS_MAX - 1],
        [along(100.0, 20.0, 199), 400.0]
    );
    assert!(trail.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    assert!(tracker.trail(0).is_empty() && tracker.trail(9).is_empty());
}

#[test]
fn more_objects_than_the_limit_begin_no_tracks() {
    let mut tracker = tracker();
    for frame in 0..8_u16 {
        // Other places in each frame, so that nothing matches.
        let detections: Vec<_> = (0..256_u16)
            .map(|index| {
                let (x, y) = (index % 16 * 48, index / 16 * 36 + frame * 4);
                let (x1, y1) = (f32::from(x), f32::from(y));
                seen(
                    BoundingBox {
                        x1,
                        y1,
                        x2: x1 + 4.0,
                        y2: y1 + 2.0,
                    },
                    0.9,
                )
            })
            .collect();
        let tracks = tracker.update(u64::from(frame) * MS_NS, SIZE, &detections);
        assert!(tracks.objects.len() <= TRACKS_MAX);
    }
}

fn any_detection() -> impl Strategy<Value = Detection> {
    let edge = prop_oneof![
        8 => 0.0_f32..700.0,
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, -1e30, 1e30, -50.0, 0.0]),
    ];
    let side = prop_oneof![8 => 1.0_f32..200.0, 1 => Just(0.0), 1 => Just(-5.0)];
    let score = prop_oneof![9 => 0.0_f32..=1.0, 1 => Just(f32::NAN)];
    (edge.clone(), edge, side.clone(), side, score, 0_u16..3).prop_map(
        |(x, y, width, height, score, class)| Detection {
            bounds: BoundingBox {
                x1: x,
                y1: y,
                x2: x + width,
                y2: y + height,
            },
            score,
            class,
            landmarks: Landmarks::NONE,
        },
    )
}

fn any_camera() -> impl Strategy<Value = CameraMotion> {
    let moves = (
        0.7_f32..1.4,
        -0.4_f32..0.4,
        -300.0_f32..300.0,
        -300.0_f32..300.0,
    );
    let moves = moves.prop_map(|(cos, sin, x, y)| CameraMotion { cos, sin, x, y });
    prop_oneof![Just(CameraMotion::IDENTITY), moves]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_seen_breaks_the_tracker(
        algorithm in prop::sample::select(vec![
            TrackerAlgorithm::Sort,
            TrackerAlgorithm::Bytetrack,
            TrackerAlgorithm::Botsort,
        ]),
        camera in any_camera(),
        embeddings in prop::collection::vec(-1.0_f32..1.0, 0..60),
        frames in prop::collection::vec(
            (0_u64..3_000, prop::option::of(prop::collection::vec(any_detection(), 0..20))),
            1..60,
        ),
    ) {
        let mut tracker = Tracker::new(&TrackerSpec { algorithm, ..spec() });
        let embeddings = Embeddings::new(&embeddings, 4).expect("short");
        let mut pts_ns = 0;
        let mut gone = BTreeSet::new();
        let mut alive = BTreeSet::new();
        for (step_ms, detections) in frames {
            pts_ns += step_ms * MS_NS;
            tracker.compensate(&camera);
            let tracks = match &detections {
                Some(detections) => {
                    tracker.update_with_appearance(pts_ns, SIZE, detections, &embeddings)
                }
                None => tracker.coast(pts_ns, SIZE),
            };
            let now: BTreeSet<_> = ids(tracks.objects).into_iter().collect();
            prop_assert_eq!(now.len(), tracks.objects.len(), "ids are unique");
            for track in tracks.ended {
                prop_assert!(gone.insert(track.id), "ends once");
            }
            prop_assert!(now.is_disjoint(&gone), "none comes back");
            prop_assert!(alive.is_subset(&now.union(&gone).copied().collect()), "none just vanishes");
            alive = now;
            for object in tracks.objects {
                prop_assert!(object.bounds.is_valid(), "{object:?}");
                prop_assert!((0.0..=1.0).contains(&object.median_score));
                prop_assert_eq!(object.score.is_some(), object.state == TrackState::Seen);
                let matched = object.detection.and_then(|index| detections.as_ref()?.get(index));
                prop_assert_eq!(matched.is_some(), object.state == TrackState::Seen);
                prop_assert!(matched.is_none_or(|matched| matched.class == object.class));
            }
        }
    }
}

#[test]
fn a_successor_gives_no_id_again() {
    let mut tracker = Tracker::interleaved(&spec(), 1, 2, 7);
    let detection = Detection {
        bounds: BoundingBox {
            x1: 10.0,
            y1: 10.0,
            x2: 40.0,
            y2: 90.0,
        },
        score: 0.9,
        class: 0,
        landmarks: Landmarks::NONE,
    };
    let tracks = tracker.update(0, SIZE, &[detection]);
    assert_eq!(tracks.objects[0].id, 16, "1 to 15 may have been given");
}
