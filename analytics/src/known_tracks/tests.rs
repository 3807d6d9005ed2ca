//! What is known of scripted tracks.

use contract::control::Quality;
use contract::motion::Cells;

use super::*;

const MS_NS: u64 = 1_000_000;

fn object(track: u64, x: f32) -> ObjectRecord {
    ObjectRecord {
        track: Some(track),
        model: 1,
        class: 1,
        score: Some(0.5),
        bounds: BoundingBox {
            x1: x - 10.0,
            y1: 30.0,
            x2: x + 10.0,
            y2: 70.0,
        },
        quality: None,
        landmarks: 0,
        depth: None,
    }
}

fn record(objects: Vec<ObjectRecord>) -> FrameRecord {
    FrameRecord {
        sequence_number: 0,
        pts_ns: 0,
        wall_ms: 0,
        size: PixelSize {
            width: 200,
            height: 100,
        },
        motion: 0.0,
        moved: Cells::default(),
        skip: None,
        objects,
        attributes: Vec::new(),
    }
}

struct World {
    tracks: KnownTracks,
    classes: ClassNames,
    zones: Vec<Zone>,
}

impl World {
    fn new() -> Self {
        let names = [&["face"][..], &["person", "car"]];
        let names = names.map(|model| model.iter().map(|name| (*name).to_owned()).collect());
        Self {
            tracks: KnownTracks::new(),
            classes: ClassNames::new(&names),
            zones: vec![Zone {
                name: "left".to_owned(),
                polygon: vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]],
                anchor: dsl::Anchor::BottomCenter,
            }],
        }
    }

    fn observe(&mut self, pts_ms: u64, objects: Vec<ObjectRecord>) -> &KnownTracks {
        let around = Surroundings {
            zones: &self.zones,
            lines: &[],
            classes: &self.classes,
            forget_after_ns: 1000 * MS_NS,
        };
        self.tracks
            .observe(&record(objects), pts_ms * MS_NS, around);
        &self.tracks
    }

    fn label(&self, index: usize) -> &str {
        self.classes.name(self.tracks.facts()[index].label)
    }

    fn attributes(&self, index: usize) -> Vec<String> {
        let (first, count) = self.tracks.facts()[index].attributes;
        let own = &self.tracks.attributes()[first as usize..(first + count) as usize];
        own.iter()
            .map(|attribute| format!("{}={}", attribute.name, attribute.value))
            .collect()
    }
}

#[test]
fn what_is_known_of_a_track() {
    let mut world = World::new();
    world.observe(500, vec![object(7, 50.0)]);
    let predicted = ObjectRecord {
        score: None,
        ..object(7, 60.0)
    };
    world.observe(600, vec![predicted]);
    let last = ObjectRecord {
        score: Some(0.9),
        quality: Some(Quality {
            sharpness: 150,
            brightness: 51,
        }),
        ..object(7, 70.0)
    };
    let facts = world.observe(700, vec![last]).facts()[0];
    assert_eq!((facts.id, facts.hits, facts.age_ns), (7, 2, 200 * MS_NS));
    assert!((facts.score - 0.5).abs() < 1e-6, "the lower of two");
    assert_eq!(facts.raw_score, Some(0.9));
    assert_eq!(
        (facts.x, facts.y, facts.width, facts.height),
        (0.3, 0.3, 0.1, 0.4)
    );
    assert_eq!((facts.aspect, facts.foot), (0.5, [0.7, 0.7]));
    // 20 of the 100 pixels of the height in 0.2 s, to the right.
    assert!((facts.speed - 1.0).abs() < 1e-5 && facts.direction == Some(90.0));
    assert_eq!(facts.zones, 1);
    assert_eq!(world.tracks.dwell_ns(), [200 * MS_NS]);
    assert_eq!((facts.sharpness, facts.brightness), (Some(1.5), Some(0.2)));
    assert_eq!(facts.best, Some(10.5));
    assert_eq!(world.label(0), "car");
    // What was best stays, also in frames that nobody measured.
    let facts = world.observe(800, vec![object(7, 70.0)]).facts()[0];
    assert_eq!((facts.sharpness, facts.best), (None, Some(10.5)));
}

#[test]
fn classes_without_a_name_are_objects() {
    let mut world = World::new();
    for (model, class, name) in [
        (0, 0, "face"),
        (1, 0, "person"),
        (0, 1, "object"),
        (9, 0, "object"),
    ] {
        let object = ObjectRecord {
            model,
            class,
            ..object(1, 50.0)
        };
        world.observe(0, vec![object]);
        assert_eq!(world.label(0), name, "{model} {class}");
    }
}

#[test]
fn only_good_boxes_of_tracks_and_each_track_once() {
    let mut world = World::new();
    let without = ObjectRecord {
        track: None,
        ..object(1, 50.0)
    };
    let mut broken = object(2, 50.0);
    broken.bounds.x1 = f32::NAN;
    let tracks = world.observe(0, vec![without, broken, object(3, 20.0), object(3, 90.0)]);
    assert_eq!(tracks.facts().len(), 1);
    assert_eq!((tracks.facts()[0].id, tracks.facts()[0].x), (3, 0.05));
}

#[test]
fn a_track_is_forgotten_only_by_frames_without_it() {
    let mut world = World::new();
    world.observe(0, vec![object(1, 50.0), object(2, 50.0)]);
    // No frames for a while; then one that has only the first.
    let tracks = world.observe(5000, vec![object(1, 50.0)]);
    assert_eq!(tracks.forgotten().len(), 1);
    assert_eq!((tracks.slot_of(1), tracks.slot_of(2)), (Some(0), None));
    assert_eq!(tracks.facts()[0].age_ns, 5000 * MS_NS);
    let tracks = world.observe(6000, vec![]);
    assert_eq!(tracks.unseen().collect::<Vec<_>>(), [0], "not yet");
    assert_eq!(world.observe(6001, vec![]).forgotten(), [0]);
    let tracks = world.observe(6002, vec![object(1, 50.0)]);
    assert_eq!(tracks.facts()[0].age_ns, 0, "it is another one");
}

#[test]
fn slots_are_used_again_and_there_is_a_most() {
    let mut world = World::new();
    for round in 0..20_u64 {
        let ids = (0..300).map(|index| round * 1000 + index);
        let objects = ids.map(|id| object(id, 50.0)).collect();
        world.observe(round * 2000, objects);
        assert!(
            world.tracks.slots() <= TRACKS_MAX,
            "{}",
            world.tracks.slots()
        );
    }
    let many: Vec<_> = (0..2000).map(|id| object(id, 50.0)).collect();
    let tracks = world.observe(100_000, many);
    assert_eq!(
        (tracks.facts().len(), tracks.slots()),
        (TRACKS_MAX, TRACKS_MAX)
    );
}

#[test]
fn attributes_go_with_their_track() {
    let mut world = World::new();
    let all = || vec![object(1, 10.0), object(2, 20.0), object(3, 30.0)];
    world.observe(0, all());
    for (track, name, value) in [
        (1, "a", "1"),
        (3, "c", "3"),
        (1, "b", "2"),
        (2, "x", "y"),
        (1, "a", "9"),
        (4, "no", "one"),
    ] {
        world.tracks.set_attribute(track, name, value);
    }
    for index in 0..100 {
        world.tracks.set_attribute(3, &format!("n{index}"), "v");
    }
    world
        .tracks
        .set_attribute(2, "long", &"v".repeat(ATTRIBUTE_BYTES_MAX + 1));
    world.observe(100, all());
    assert_eq!(world.attributes(0), ["a=9", "b=2"]);
    assert_eq!(world.attributes(1), ["x=y"]);
    assert_eq!(world.attributes(2).len(), ATTRIBUTES_MAX);
    world.observe(1200, vec![object(2, 20.0), object(3, 30.0)]);
    assert_eq!(world.attributes(0), ["x=y"]);
    assert_eq!(world.attributes(1).len(), ATTRIBUTES_MAX);
    assert_eq!(world.tracks.attributes().len(), ATTRIBUTES_MAX + 1);
    world.observe(1300, vec![object(4, 20.0), object(3, 30.0)]);
    assert!(world.attributes(0).is_empty(), "a slot used again has none");
    world.tracks.clear();
    world.observe(0, all());
    assert!((0..3).all(|index| world.attributes(index).is_empty()));
}

#[test]
fn a_zone_that_stays_keeps_its_stays() {
    let mut world = World::new();
    world.observe(0, vec![object(1, 50.0)]);
    let other = Zone {
        name: "all".to_owned(),
        polygon: vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]],
        ..world.zones[0].clone()
    };
    world.zones.insert(0, other);
    world.tracks.replace_geometry(&[None, Some(0)], &[]);
    let facts = world.observe(100, vec![object(1, 50.0)]).facts()[0];
    assert_eq!((facts.zones, facts.entered), (0b11, 0b01));
    assert_eq!(world.tracks.dwell_ns(), [0, 100 * MS_NS]);
}
