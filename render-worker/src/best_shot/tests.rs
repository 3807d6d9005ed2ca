use contract::control::Quality;
use contract::geometry::{BoundingBox, I420Layout, PixelSize};
use contract::motion::Cells;
use frame_bus::ColourMatrix;
use proptest::prelude::*;

use super::*;

const SIZE: PixelSize = PixelSize {
    width: 64,
    height: 64,
};

fn format() -> PictureFormat {
    PictureFormat {
        layout: I420Layout::of(SIZE),
        matrix: ColourMatrix::Bt601,
    }
}

fn record(number: u64, objects: Vec<ObjectRecord>) -> FrameRecord {
    FrameRecord {
        sequence_number: number,
        pts_ns: number * 100,
        wall_ms: 0,
        size: SIZE,
        motion: 0.0,
        moved: Cells::default(),
        skip: None,
        objects,
        attributes: Vec::new(),
    }
}

fn object(track: u64, score: f32, sharpness: u16) -> ObjectRecord {
    ObjectRecord {
        track: Some(track),
        model: 0,
        class: 0,
        score: Some(score),
        bounds: BoundingBox {
            x1: 10.0,
            y1: 10.0,
            x2: 40.0,
            y2: 40.0,
        },
        quality: Some(Quality {
            sharpness,
            brightness: 100,
        }),
        landmarks: 0,
        depth: None,
    }
}

fn spec(labels: &[&str]) -> BestShotsSpec {
    BestShotsSpec {
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        score_min: 0.5,
        side_min: 30,
    }
}

fn shots(spec: Option<&BestShotsSpec>, for_rules: bool) -> BestShots {
    let mut shots = BestShots::default();
    shots.configure(spec, for_rules);
    shots
}

/// A person that began at 42; below 100.
fn person(track: u64) -> Option<Living<'static>> {
    (track < 100).then_some(Living {
        label: "person",
        began_pts_ns: 42,
        landmarks: Landmarks::NONE,
    })
}

/// A frame whose pixels tell its number.
fn see(
    shots: &mut BestShots,
    number: u8,
    objects: Vec<ObjectRecord>,
    living: impl Fn(u64) -> Option<Living<'static>>,
) -> Ended {
    let pixels = vec![number; format().layout.bytes];
    shots.observe(
        &record(number.into(), objects),
        &format(),
        &pixels,
        Hidden::NOTHING,
        living,
    )
}

fn counts(ended: &Ended) -> (usize, u64, u64) {
    (ended.pictures.len(), ended.poor, ended.no_room)
}

#[test]
fn the_best_stays_and_comes_out_when_its_track_ends() {
    let mut shots = shots(Some(&spec(&["person"])), false);
    let seen = [(0.8, 50), (0.8, 90), (0.8, 70), (0.75, 120), (0.45, 900)];
    for (number, (score, sharpness)) in (1..).zip(seen) {
        let ended = see(
            &mut shots,
            number,
            vec![object(7, score, sharpness)],
            person,
        );
        assert_eq!(counts(&ended), (0, 0, 0));
    }
    // Predicted: neither seen nor ended.
    let mut predicted = object(7, 0.0, 0);
    (predicted.score, predicted.quality) = (None, None);
    see(&mut shots, 9, vec![predicted], person);

    let ended = see(&mut shots, 10, Vec::new(), |_| None);
    assert_eq!(counts(&ended), (1, 0, 0));
    let picture = &ended.pictures[0];
    assert_eq!((picture.track, picture.label.as_str()), (7, "person"));
    assert_eq!(picture.moment.sequence_number, 2);
    assert_eq!(picture.still.bytes[0], 2, "the pixels are another frame's");
    assert!((picture.moment.value() - 8.9).abs() < 1e-5);
    assert_eq!(
        (picture.began_pts_ns, picture.ended_pts_ns),
        (42, Some(500))
    );
    let told = picture.told(
        &"yard".parse().expect("a name"),
        ShotCause::Ended,
        "shots/a.jpg".to_owned(),
    );
    assert_eq!(told.picture, picture.still.layout.size);
    assert_eq!(
        counts(&see(&mut shots, 11, Vec::new(), |_| None)),
        (0, 0, 0)
    );
}

#[test]
fn what_is_not_good_enough_or_not_wanted_gives_no_picture() {
    let mut people = shots(Some(&spec(&["person"])), false);
    let mut small = object(2, 0.9, 50);
    small.bounds.x2 = 20.0;
    small.bounds.y2 = 39.0;
    let mut unmeasured = object(3, 0.9, 50);
    unmeasured.quality = None;
    let car = |track| {
        let label = if track == 4 { "car" } else { "person" };
        person(track).map(|living| Living { label, ..living })
    };
    let objects = vec![
        object(1, 0.49, 50),
        small,
        unmeasured,
        object(4, 0.9, 50),
        object(5, 0.5, 50),
    ];
    see(&mut people, 1, objects, car);
    let ended = people.finish();
    assert_eq!(counts(&ended), (1, 3, 0), "a car is nobody's concern");
    assert_eq!(ended.pictures[0].track, 5);

    let mut all = shots(Some(&spec(&[])), false);
    see(&mut all, 1, vec![object(4, 0.9, 50)], car);
    assert_eq!(counts(&all.finish()), (1, 0, 0), "no labels are all labels");
}

#[test]
fn rules_get_any_picture_but_a_good_one_goes_first() {
    let mut shots = shots(Some(&spec(&["person"])), true);
    see(&mut shots, 1, vec![object(7, 0.4, 900)], person);
    let number = |shots: &BestShots| shots.of(7).map(|shot| shot.moment.sequence_number);
    assert_eq!(number(&shots), Some(1));
    see(&mut shots, 2, vec![object(7, 0.6, 10)], person);
    assert_eq!(number(&shots), Some(2), "good enough");
    see(&mut shots, 3, vec![object(7, 0.4, 900)], person);
    assert_eq!(number(&shots), Some(2), "sharp, but not sure enough");
    let picture = shots.of(7).expect("one");
    assert_eq!(picture.ended_pts_ns, None, "it lives");

    // Rules alone: nothing is written when tracks end.
    shots.configure(None, true);
    assert_eq!(number(&shots), Some(2));
    assert_eq!(counts(&shots.finish()), (0, 0, 0));
}

#[test]
fn other_wishes_are_in_force_at_once() {
    let mut shots = shots(Some(&spec(&["person"])), false);
    see(
        &mut shots,
        1,
        vec![object(7, 0.6, 10), object(8, 0.9, 10)],
        person,
    );
    let strict = BestShotsSpec {
        score_min: 0.8,
        ..spec(&["person"])
    };
    shots.configure(Some(&strict), false);
    let ended = see(&mut shots, 2, Vec::new(), |_| None);
    assert_eq!(counts(&ended), (1, 1, 0));
    assert_eq!(ended.pictures[0].track, 8);

    see(&mut shots, 3, vec![object(9, 0.9, 10)], person);
    shots.configure(Some(&spec(&["car"])), false);
    assert_eq!(counts(&shots.finish()), (0, 0, 0));
    see(&mut shots, 4, vec![object(9, 0.9, 10)], person);
    shots.configure(None, false);
    assert!(!shots.is_needed() && shots.by_track.is_empty());
}

#[test]
fn no_more_than_so_many_are_kept_and_the_others_are_counted() {
    let everybody = |_| person(1);
    let many = |range: std::ops::Range<u64>| range.map(|track| object(track, 0.9, 10)).collect();
    let max = SHOTS_MAX as u64;
    let mut shots = shots(Some(&spec(&[])), false);
    see(&mut shots, 1, many(0..2 * max), everybody);
    assert!(shots.of(max - 1).is_some() && shots.of(max).is_none());
    // One goes, one of the others gets its place.
    let ended = see(&mut shots, 2, many(1..2 * max), |track| {
        if track == 0 { None } else { person(1) }
    });
    assert_eq!(counts(&ended), (1, 0, 0));
    assert_eq!(counts(&shots.finish()), (SHOTS_MAX, 0, max - 1));
}

proptest! {
    /// Whatever comes, the picture is of a frame of the greatest value among those that are
    /// good enough, and each track that was seen comes out once.
    #[test]
    fn the_greatest_of_the_tracks_own_records(
        frames in prop::collection::vec(
            prop::collection::vec((0.0_f32..1.0, 0_u16..400), 3), 1..20),
    ) {
        let spec = spec(&["person"]);
        let mut shots = shots(Some(&spec), false);
        for (number, frame) in (0_u8..).zip(&frames) {
            let objects = (0..).zip(frame);
            let objects = objects.map(|(track, (score, sharpness))| object(track, *score, *sharpness));
            see(&mut shots, number, objects.collect(), person);
        }
        let ended = shots.finish();
        prop_assert_eq!(ended.pictures.len() as u64 + ended.poor, 3);
        for picture in &ended.pictures {
            let own = frames.iter().map(|frame| {
                let (score, sharpness) = frame[usize::try_from(picture.track).expect("small")];
                if score >= spec.score_min {
                    score * 10.0 + f32::from(sharpness) / 100.0
                } else {
                    0.0
                }
            });
            prop_assert!(own.fold(0.0, f32::max) <= picture.moment.value());
        }
    }
}
