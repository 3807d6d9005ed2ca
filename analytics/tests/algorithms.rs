//! What each tracking algorithm can do, in made-up scenes whose truth is known.

use analytics::{CameraMotion, Embeddings, TrackState, Tracker};
use contract::detection::{Detection, Landmarks};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::TrackerAlgorithm::{self, Botsort, Bytetrack, Sort};
use contract::spec::TrackerSpec;

const SIZE: PixelSize = PixelSize {
    width: 768,
    height: 576,
};
const MS_NS: u64 = 1_000_000;
const ALL: [TrackerAlgorithm; 3] = [Sort, Bytetrack, Botsort];

fn spec(algorithm: TrackerAlgorithm) -> TrackerSpec {
    TrackerSpec {
        algorithm,
        high_score: 0.5,
        new_track_score: 0.5,
        iou_min: 0.2,
        lost_timeout_ms: 2000,
        camera_motion: true,
    }
}

/// A person of a height, by the place of the feet.
fn person(x: f32, y: f32, height: f32) -> Detection {
    Detection {
        bounds: BoundingBox {
            x1: x - 0.2 * height,
            y1: y - height,
            x2: x + 0.2 * height,
            y2: y,
        },
        score: 0.8,
        class: 0,
        landmarks: Landmarks::NONE,
    }
}

/// A scene of 10 frames a second, and the algorithm that looks at it.
struct Scene {
    tracker: Tracker,
    frame: u64,
}

impl Scene {
    fn new(algorithm: TrackerAlgorithm) -> Self {
        Self {
            tracker: Tracker::new(&spec(algorithm)),
            frame: 0,
        }
    }

    /// The ids of what is seen in the next frame, in the order of the detections; 0 for none.
    fn ids(&mut self, detections: &[Detection]) -> Vec<u64> {
        self.ids_with(detections, &Embeddings::NONE)
    }

    fn ids_with(&mut self, detections: &[Detection], embeddings: &Embeddings<'_>) -> Vec<u64> {
        let pts_ns = self.frame * 100 * MS_NS;
        self.frame += 1;
        let tracks = self
            .tracker
            .update_with_appearance(pts_ns, SIZE, detections, embeddings);
        let mut ids = vec![0; detections.len()];
        for object in tracks.objects {
            if let Some(index) = object.detection {
                ids[index] = object.id;
            }
        }
        ids
    }
}

/// Where something is in a frame that moves so many pixels a frame.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn along(start: f32, step: f32, frame: u64) -> f32 {
    start + step * frame as f32
}

#[test]
fn all_keep_two_who_pass_each_other() {
    for algorithm in ALL {
        let mut scene = Scene::new(algorithm);
        for frame in 0..60 {
            let right = person(along(100.0, 6.0, frame), 400.0, 100.0);
            let left = person(along(460.0, -6.0, frame), 406.0, 104.0);
            assert_eq!(scene.ids(&[right, left]), [1, 2], "{algorithm:?}, {frame}");
        }
    }
}

#[test]
fn all_find_again_who_stood_hidden_for_less_than_the_time_out() {
    for algorithm in ALL {
        for (hidden, expected) in [(19, 1), (21, 0)] {
            let mut scene = Scene::new(algorithm);
            let standing = [person(300.0, 400.0, 100.0)];
            for _ in 0..10 {
                assert_eq!(scene.ids(&standing), [1]);
            }
            for _ in 0..hidden {
                scene.ids(&[]);
            }
            // A new track is told of when it is seen a second time.
            assert_eq!(scene.ids(&standing), [expected], "{algorithm:?}, {hidden}");
        }
    }
}

#[test]
fn weak_detections_are_not_for_sort() {
    for (algorithm, carried) in [(Sort, 0), (Bytetrack, 1), (Botsort, 1)] {
        let mut scene = Scene::new(algorithm);
        for frame in 0..12 {
            let mut walker = person(along(100.0, 5.0, frame), 400.0, 100.0);
            walker.score = if frame < 8 { 0.8 } else { 0.3 };
            let expected = if frame < 8 { 1 } else { carried };
            assert_eq!(scene.ids(&[walker]), [expected], "{algorithm:?}, {frame}");
        }
    }
}

#[test]
fn botsort_finds_again_who_slows_down_while_hidden() {
    // Behind a sign for 0.8 s, at three quarters of the speed.
    for (algorithm, expected) in [(Bytetrack, 0), (Botsort, 1)] {
        let mut scene = Scene::new(algorithm);
        for frame in 0..20 {
            scene.ids(&[person(along(100.0, 14.0, frame), 400.0, 100.0)]);
        }
        for _ in 0..8 {
            scene.ids(&[]);
        }
        let behind = along(100.0, 14.0, 19) + 9.0 * 14.0 * 0.72;
        let found = scene.ids(&[person(behind, 400.0, 100.0)]);
        assert_eq!(found, [expected], "{algorithm:?}");
    }
}

#[test]
fn botsort_takes_no_child_for_its_father() {
    for (algorithm, expected) in [(Bytetrack, 1), (Botsort, 0)] {
        let mut scene = Scene::new(algorithm);
        for _ in 0..10 {
            scene.ids(&[person(300.0, 400.0, 100.0)]);
        }
        for _ in 0..4 {
            scene.ids(&[]);
        }
        // As wide as he is, and less than half as high.
        let mut child = person(300.0, 400.0, 40.0);
        (child.bounds.x1, child.bounds.x2) = (280.0, 320.0);
        assert_eq!(scene.ids(&[child]), [expected], "{algorithm:?}");
    }
}

#[test]
fn who_leaves_is_not_taken_for_who_enters() {
    for algorithm in ALL {
        let mut scene = Scene::new(algorithm);
        let mut frame = 0;
        // The box shrinks at the edge of the picture, and its centre slows down.
        loop {
            let mut walker = person(along(640.0, 9.0, frame), 400.0, 100.0);
            walker.bounds = walker.bounds.clipped(SIZE);
            if walker.bounds.width() < 8.0 {
                break;
            }
            assert_eq!(scene.ids(&[walker]), [1]);
            frame += 1;
        }
        for _ in 0..6 {
            scene.ids(&[]);
        }
        let mut other = person(752.0, 402.0, 100.0);
        other.bounds = other.bounds.clipped(SIZE);
        assert_eq!(scene.ids(&[other]), [0], "{algorithm:?}");
    }
}

#[test]
fn a_camera_that_jerks_loses_nobody_when_it_is_told() {
    // Two stand 50 pixels apart; the camera jerks by as much, so one is where the other was.
    let standing = |camera: f32| {
        [
            person(300.0 + camera, 400.0, 100.0),
            person(350.0 + camera, 400.0, 100.0),
        ]
    };
    for (algorithm, told, expected) in [
        (Botsort, true, [1, 2]),
        (Botsort, false, [2, 0]),
        (Bytetrack, true, [2, 0]),
    ] {
        let mut scene = Scene::new(algorithm);
        for _ in 0..10 {
            assert_eq!(scene.ids(&standing(0.0)), [1, 2]);
        }
        if told {
            scene.tracker.compensate(&CameraMotion {
                x: 50.0,
                ..CameraMotion::IDENTITY
            });
        }
        assert_eq!(
            scene.ids(&standing(50.0)),
            expected,
            "{algorithm:?}, {told}"
        );
    }
}

#[test]
fn a_zoom_that_is_told_carries_place_size_and_trail() {
    let mut tracker = Tracker::new(&spec(Botsort));
    tracker.update(0, SIZE, &[person(300.0, 200.0, 100.0)]);
    tracker.compensate(&CameraMotion {
        cos: 1.5,
        x: -100.0,
        ..CameraMotion::IDENTITY
    });
    let coasting = tracker.coast(100 * MS_NS, SIZE).objects[0];
    let expected = person(350.0, 300.0, 150.0).bounds;
    assert!(coasting.bounds.iou(&expected) > 0.99, "{coasting:?}");
    assert_eq!(coasting.state, TrackState::Coasting);
    assert_eq!(tracker.trail(1)[0], [350.0, 300.0]);
}

#[test]
fn appearance_tells_apart_who_stand_close() {
    let dresses = [1.0, 0.1, 0.1, 1.0];
    let swapped = [0.1, 1.0, 1.0, 0.1];
    let close = [person(300.0, 400.0, 100.0), person(308.0, 402.0, 100.0)];
    for (known, expected) in [(true, [2, 1]), (false, [1, 2])] {
        let mut scene = Scene::new(Botsort);
        for _ in 0..10 {
            let seen = Embeddings::new(&dresses, 2).expect("short");
            assert_eq!(scene.ids_with(&close, &seen), [1, 2]);
        }
        // They change places between two frames.
        let seen = Embeddings::new(&swapped, 2).expect("short");
        let seen = if known { seen } else { Embeddings::NONE };
        assert_eq!(scene.ids_with(&close, &seen), expected, "{known}");
    }
}

#[test]
fn another_algorithm_takes_over_the_tracks() {
    let mut scene = Scene::new(Sort);
    for frame in 0..30 {
        scene.tracker.set_spec(&spec(ALL[frame as usize / 10]));
        let walker = person(along(100.0, 6.0, frame), 400.0, 100.0);
        assert_eq!(scene.ids(&[walker]), [1], "{frame}");
    }
}

#[test]
fn nothing_is_allocated_while_the_same_people_walk() {
    for algorithm in ALL {
        let mut tracker = Tracker::new(&spec(algorithm));
        let people = |frame: u64| -> Vec<Detection> {
            (0..40_u16)
                .map(|index| {
                    let (column, row) = (f32::from(index % 10), f32::from(index / 10));
                    let x = along(40.0 + 70.0 * column, 0.5, frame);
                    person(x, 130.0 + 140.0 * row, 100.0)
                })
                .collect()
        };
        // Trails are full after a while.
        for frame in 0..60 {
            tracker.update(frame * 100 * MS_NS, SIZE, &people(frame));
        }
        for frame in 60..70 {
            let detections = people(frame);
            let allocated = allocation_counter::measure(|| {
                let tracks = tracker.update(frame * 100 * MS_NS, SIZE, &detections);
                assert_eq!(tracks.objects.len(), 40);
            });
            assert_eq!(allocated.count_total, 0, "{algorithm:?}, frame {frame}");
        }
    }
}
