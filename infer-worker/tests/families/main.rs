//! Engines of all families on real pictures and real files: what they find is what the
//! reference in `tools/reference` finds. Families without a file that set-up could fetch run
//! small graphs instead, written by `tests/data/families.py`.

mod batches;
mod graphs;
mod support;

use contract::detection::Detection;
use contract::geometry::PixelSize;
use contract::spec::ModelFamily;

use support::{
    ASTRONAUT, Image, carphone, cosine, embeddings_of, objects_of, reference, repository, size,
    spec,
};

const CENTERFACE: &str = ".deps/models/centerface.onnx";
const BLAZEFACE_128: &str = ".deps/models/blazeface-128.onnx";
const BLAZEFACE_256: &str = ".deps/models/blazeface-256.onnx";
const MOBILEFACE: &str = ".deps/models/mobileface.onnx";
const YOLOV8: &str = ".deps/models/nudenet-320n.onnx";

/// Largest difference of a coordinate from the reference, in pixels of the picture.
const PIXELS_MAX: f64 = 0.25;
/// Largest difference of a value of an embedding.
const EMBEDDING_MAX: f64 = 1e-4;
/// Largest difference of a score.
const SCORE_MAX: f64 = 0.005;

/// Both lists hold the same objects, in the same order.
fn assert_same(found: &[Detection], frame: &serde_json::Value) {
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let wanted = list(&frame["objects"]);
    assert_eq!(found.len(), wanted.len(), "{found:#?} {wanted:#?}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(Some(u64::from(found.class)), wanted["class"].as_u64());
        let score = f64::from(found.score) - number(&wanted["score"]);
        assert!(score.abs() < SCORE_MAX, "{found:?} {wanted}");
        let bounds = found.bounds;
        let mut got = vec![bounds.x1, bounds.y1, bounds.x2, bounds.y2];
        got.extend(found.landmarks.points().as_flattened());
        let mut places: Vec<f64> = list(&wanted["box"]).iter().map(number).collect();
        for point in list(&wanted["landmarks"]) {
            places.extend(list(&point).iter().map(number));
        }
        assert_eq!(got.len(), places.len(), "{found:?} {wanted}");
        for (got, wanted_place) in got.into_iter().zip(places) {
            let difference = (f64::from(got) - wanted_place).abs();
            assert!(difference < PIXELS_MAX, "{found:?} {wanted}");
        }
    }
}

fn assert_astronaut(family: ModelFamily, model: &str, input: PixelSize, labels: usize, json: &str) {
    let mut spec = spec(family, repository(model), labels);
    spec.input.size = Some(input);
    if family == ModelFamily::Yolov8 {
        (spec.score_min, spec.nms_iou) = (0.2, 0.7);
    }
    let found = objects_of(&spec, &[Image::read(ASTRONAUT, size(512, 512))]);
    let reference = reference(json);
    assert_same(&found[0], &reference["frames"][0]);
    // She has one face.
    assert_eq!(found[0].len(), 1);
}

#[test]
fn centerface_is_as_the_reference_on_the_astronaut() {
    let (family, input) = (ModelFamily::Centerface, size(640, 480));
    assert_astronaut(family, CENTERFACE, input, 1, "astronaut-centerface.json");
}

#[test]
fn blazeface_is_as_the_reference_on_the_astronaut() {
    for (model, side, json) in [
        (BLAZEFACE_128, 128, "astronaut-blazeface-128.json"),
        (BLAZEFACE_256, 256, "astronaut-blazeface-256.json"),
    ] {
        assert_astronaut(ModelFamily::Blazeface, model, size(side, side), 1, json);
    }
}

#[test]
fn yolov8_is_as_the_reference_on_the_astronaut() {
    let (family, input) = (ModelFamily::Yolov8, size(320, 320));
    assert_astronaut(family, YOLOV8, input, 18, "astronaut-yolov8.json");
}

#[test]
fn an_embedding_is_as_the_reference_and_tells_persons_apart() {
    let spec = spec(ModelFamily::Embedding, repository(MOBILEFACE), 0);
    let astronaut = Image::read(ASTRONAUT, size(512, 512));
    let mut frames = carphone();
    let wanted = reference("astronaut-mobileface.json");
    let wanted = wanted["frames"][0]["embedding"]
        .as_array()
        .expect("a vector")
        .clone();
    let found = embeddings_of(&spec, std::slice::from_ref(&astronaut));
    assert_eq!((found[0].len(), wanted.len()), (256, 256));
    for (found, wanted) in found[0].iter().zip(&wanted) {
        let difference = f64::from(*found) - wanted.as_f64().expect("a number");
        assert!(
            difference.abs() < EMBEDDING_MAX,
            "{found} instead of {wanted}"
        );
    }
    // Faces by the landmarks that a detector finds: she, and he at three times.
    let mut faces = vec![face_of(&astronaut)];
    for at in [100, 50, 0] {
        faces.push(face_of(&frames.swap_remove(at)));
    }
    let vectors = embeddings_of(&spec, &faces);
    let others = vectors[1..]
        .iter()
        .map(|vector| cosine(&vectors[0], vector));
    let other = others.fold(f32::MIN, f32::max);
    let same = cosine(&vectors[1], &vectors[2]).min(cosine(&vectors[2], &vectors[3]));
    println!("the same person: at least {same:.2}, another: at most {other:.2}");
    assert!(same > 0.45 && other < 0.45, "{same} {other}");
}

fn face_of(image: &Image) -> Image {
    let mut spec = spec(ModelFamily::Centerface, repository(CENTERFACE), 1);
    spec.input.size = Some(size(192, 160));
    let found = objects_of(&spec, std::slice::from_ref(image));
    image.aligned(found[0].first().expect("a face").landmarks.points())
}

/// Three files of three families, told apart by the config alone, see one face at one place.
#[test]
fn families_agree_on_where_the_face_is() {
    let face = |family, model: &str, labels| {
        let mut spec = spec(family, repository(model), labels);
        spec.input.size = (family != ModelFamily::Blazeface).then(|| size(320, 320));
        let found = objects_of(&spec, &[Image::read(ASTRONAUT, size(512, 512))]);
        found[0].first().expect("a face").bounds
    };
    let centerface = face(ModelFamily::Centerface, CENTERFACE, 1);
    let others = [
        face(ModelFamily::Yolov8, YOLOV8, 18),
        face(ModelFamily::Blazeface, BLAZEFACE_128, 1),
        face(ModelFamily::Blazeface, BLAZEFACE_256, 1),
    ];
    for other in others {
        assert!(centerface.iou(&other) > 0.6, "{centerface:?} {other:?}");
    }
}

#[test]
fn centerface_finds_the_face_in_every_frame_of_a_clip() {
    let mut spec = spec(ModelFamily::Centerface, repository(CENTERFACE), 1);
    spec.input.size = Some(size(192, 160));
    let frames = carphone();
    let found = objects_of(&spec, &frames);
    let with_face = found.iter().filter(|objects| objects.len() == 1).count();
    println!("one face in {with_face} of {} frames", frames.len());
    assert_eq!((with_face, frames.len()), (120, 120));
    let reference = reference("carphone-centerface.json");
    for (number, found) in found.iter().enumerate() {
        assert_same(found, &reference["frames"][number]);
        let [face] = found[..] else { continue };
        let points = face.landmarks.points();
        let [right_eye, left_eye, nose, right_mouth, left_mouth] = points[..] else {
            panic!("{points:?}");
        };
        // His right is at our left, and eyes are above the nose and that above the mouth.
        assert!(
            right_eye[0] < left_eye[0] && right_mouth[0] < left_mouth[0],
            "{number}"
        );
        assert!(
            right_eye[1] < nose[1] && nose[1] < right_mouth[1],
            "{number}"
        );
        for [x, y] in points {
            let bounds = face.bounds;
            let inside = (bounds.x1..bounds.x2).contains(x) && (bounds.y1..bounds.y2).contains(y);
            assert!(inside, "{number}: {face:?}");
        }
    }
}
