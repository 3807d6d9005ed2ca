//! Families on small graphs whose outputs depend on the colour of the picture: wrong size,
//! layout, order of channels or normalisation gives other objects or none.

use contract::detection::Detection;
use contract::findings::{Findings, PictureMap};
use contract::geometry::{BoundingBox, PixelSize};
use contract::spec::{ColourOrder, InferSpec, ModelFamily};

use super::support::{
    Image, cosine, data, embeddings_of, findings_of, load, objects_of, size, spec,
};

// By BT.601, limited range.
const RED: [u8; 3] = [81, 90, 240];
const GREEN: [u8; 3] = [145, 54, 34];
const BLUE: [u8; 3] = [41, 240, 110];

fn graph(family: ModelFamily, name: &str, labels: usize) -> InferSpec {
    spec(family, data(name), labels)
}

/// What is found in plain pictures of the size of the input, so that there is no padding.
fn in_plain(spec: &InferSpec, size: PixelSize, colours: [[u8; 3]; 3]) -> [Vec<Detection>; 3] {
    let images = colours.map(|colour| Image::plain(size, colour));
    let found = objects_of(spec, &images);
    found.try_into().expect("as many as pictures")
}

fn assert_found(found: &[Detection], class: u16, score: f32, edges: [f32; 4]) {
    let [object] = found else {
        panic!("{found:?}");
    };
    let bounds = object.bounds;
    let got = [bounds.x1, bounds.y1, bounds.x2, bounds.y2];
    let near = got
        .iter()
        .zip(edges)
        .all(|(got, edge)| (got - edge).abs() < 0.05);
    assert!(near, "{object:?}");
    assert_eq!(object.class, class, "{object:?}");
    // Colours in limited range are exact to about a hundredth.
    assert!((object.score - score).abs() < 0.02, "{object:?}");
}

#[test]
fn yolox_takes_blue_first_and_whole_numbers() {
    let mut spec = graph(ModelFamily::Yolox, "yolox.onnx", 2);
    let [red, green, blue] = in_plain(&spec, size(32, 32), [RED, GREEN, BLUE]);
    let bounds = [4.0, 8.0, 20.0, 16.0];
    assert_found(&red, 1, 1.0, bounds);
    assert_eq!(green, []);
    assert_found(&blue, 0, 1.0, bounds);
    // The other order takes red for blue.
    spec.input.colour = Some(ColourOrder::Rgb);
    let [red, ..] = in_plain(&spec, size(32, 32), [RED; 3]);
    assert_found(&red, 0, 1.0, bounds);
}

#[test]
fn yolov8_takes_red_first_from_0_to_1_at_any_size() {
    let mut spec = graph(ModelFamily::Yolov8, "yolov8.onnx", 2);
    for input in [size(32, 32), size(96, 64)] {
        spec.input.size = Some(input);
        let [red, green, blue] = in_plain(&spec, input, [RED, GREEN, BLUE]);
        assert_found(&red, 1, 1.0, [6.0, 7.0, 26.0, 17.0]);
        assert_eq!((green, blue), (Vec::new(), Vec::new()));
    }
    let mut red = |change: fn(&mut InferSpec)| {
        change(&mut spec);
        let [red, ..] = in_plain(&spec, size(96, 64), [RED; 3]);
        red[0].score
    };
    assert!((red(|spec| spec.input.mean = Some([102.0, 0.0, 0.0])) - 0.6).abs() < 0.02);
    assert!((red(|spec| spec.input.deviation = Some([306.0; 3])) - 0.5).abs() < 0.02);
}

#[test]
fn final_rows_are_not_suppressed_again() {
    let mut spec = graph(ModelFamily::Yolov8, "yolov8_final.onnx", 2);
    spec.input.size = Some(size(64, 32));
    let [red, green, _] = in_plain(&spec, size(64, 32), [RED, GREEN, BLUE]);
    let scores: Vec<_> = red
        .iter()
        .map(|object| (object.score * 10.0).round())
        .collect();
    assert_eq!(scores, [9.0, 8.0]);
    assert_eq!(green, []);
}

#[test]
fn scrfd_reads_outputs_whose_shapes_are_only_known_when_it_runs() {
    let mut spec = graph(ModelFamily::Scrfd, "scrfd.onnx", 1);
    spec.input.size = Some(size(32, 32));
    let [red, green, _] = in_plain(&spec, size(32, 32), [RED, GREEN, BLUE]);
    // From (16, 0): 0, 1/4, 2/4 and 3/4 of 16 to the left, top, right and bottom, clipped.
    assert_found(&red, 0, 0.9, [16.0, 0.0, 24.0, 12.0]);
    let landmarks = [
        [16.0, 4.0],
        [24.0, 12.0],
        [32.0, 20.0],
        [40.0, 28.0],
        [48.0, 36.0],
    ];
    let found = red[0].landmarks.points();
    assert_eq!(found, landmarks);
    assert_eq!(green, []);

    spec.input.size = Some(size(64, 64));
    let error = load(&spec)
        .expect_err("its outputs are for 32 x 32")
        .to_string();
    assert!(
        error.contains("not a scrfd model: expected for an input of 64x64"),
        "{error}"
    );
    assert!(error.contains("out1_8 f32[32,1]"), "{error}");
}

#[test]
fn ssd_of_tensorflow_takes_bytes_side_by_side() {
    let mut spec = graph(ModelFamily::Ssd, "ssd_tensorflow.onnx", 2);
    spec.input.size = Some(size(60, 40));
    let [red, green, blue] = in_plain(&spec, size(60, 40), [RED, GREEN, BLUE]);
    assert_found(&green, 1, 1.0, [0.0, 0.0, 30.0, 20.0]);
    assert_eq!((red, blue), (Vec::new(), Vec::new()));
}

#[test]
fn ssd_of_torchvision_finds_as_many_as_there_are() {
    let mut spec = graph(ModelFamily::Ssd, "ssd_torchvision.onnx", 3);
    spec.input.size = Some(size(32, 48));
    let [red, green, blue] = in_plain(&spec, size(32, 48), [RED, GREEN, BLUE]);
    assert_eq!((red, green), (Vec::new(), Vec::new()));
    assert_found(&blue, 2, 1.0, [4.0, 8.0, 12.0, 24.0]);
}

#[test]
fn a_classifier_speaks_of_the_whole_picture() {
    let spec = graph(ModelFamily::Classifier, "classifier.onnx", 3);
    let found = in_plain(&spec, size(64, 64), [RED, GREEN, BLUE]);
    for (class, found) in (0..).zip(found) {
        // About 2.2 to 2.6 against -2: the softmax is nearly certain.
        assert_found(&found, class, 0.98, [0.0, 0.0, 64.0, 64.0]);
    }
}

#[test]
fn an_embedding_has_length_one_and_tells_colours_apart() {
    let spec = graph(ModelFamily::Embedding, "embedding.onnx", 0);
    let images = [RED, GREEN, RED].map(|colour| Image::plain(size(64, 64), colour));
    let vectors = embeddings_of(&spec, &images);
    assert!((cosine(&vectors[0], &vectors[0]) - 1.0).abs() < 1e-5);
    assert!((cosine(&vectors[0], &vectors[2]) - 1.0).abs() < 1e-5);
    // (1, -1, -1) and (-1, 1, -1), each scaled by the root of 3.
    let other = cosine(&vectors[0], &vectors[1]);
    assert!((other + 1.0 / 3.0).abs() < 0.02, "{other}");
}

/// The map that a model makes of a picture.
fn map_of(spec: &InferSpec, image: Image) -> PictureMap {
    match findings_of(spec, &[image]).pop() {
        Some(Findings::Map(map)) => map,
        other => panic!("{other:?}"),
    }
}

#[test]
fn depth_is_of_the_picture_and_not_of_its_padding() {
    let mut spec = graph(ModelFamily::Depth, "depth.onnx", 0);
    spec.input.size = Some(size(64, 64));
    // Wide in a square: half of the input is padding, which is darker than either half.
    let (dark, bright) = ([60, 128, 128], [200, 128, 128]);
    let map = map_of(&spec, Image::halves(size(128, 64), dark, bright));
    assert_eq!((map.columns(), map.rows()), (64, 32));
    let (left, right) = ([0.0, 0.0, 40.0, 64.0], [88.0, 0.0, 128.0, 64.0]);
    let depth = |[x1, y1, x2, y2]: [f32; 4]| {
        let bounds = BoundingBox { x1, y1, x2, y2 };
        map.depth_under(&bounds, size(128, 64)).expect("inside")
    };
    // (60 - 16) / 219 and (200 - 16) / 219 of white, less ImageNet's mean.
    let grey = |luma: f32| {
        let value = (luma - 16.0) / 219.0;
        let channels = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
        channels
            .map(|(mean, deviation)| (value - mean) / deviation)
            .iter()
            .sum::<f32>()
            / 3.0
    };
    assert!((depth(left) - grey(60.0)).abs() < 0.01, "{}", depth(left));
    assert!(
        (depth(right) - grey(200.0)).abs() < 0.01,
        "{}",
        depth(right)
    );
}

#[test]
fn segmentation_gives_each_place_its_class() {
    let mut spec = graph(ModelFamily::Segmentation, "segmentation.onnx", 3);
    spec.input.size = Some(size(64, 64));
    let map = map_of(&spec, Image::halves(size(64, 128), BLUE, GREEN));
    // The network halves its input.
    assert_eq!((map.columns(), map.rows()), (16, 32));
    for row in map.cells().chunks_exact(16) {
        assert_eq!((row[0], row[15]), (2, 1), "{row:?}");
    }
}

#[test]
fn a_file_of_another_family_is_refused_by_name() {
    for (family, file, labels, wanted) in [
        (
            ModelFamily::Nanodet,
            "yolox.onnx",
            2,
            "a nanodet model: expected for 2 labels and an input of 32x32",
        ),
        (
            ModelFamily::Yolox,
            "yolox.onnx",
            80,
            "a yolox model: expected for 80 labels and an input of 32x32, one output \
             f32[1,21,85]; found output f32[1,21,7]",
        ),
        (
            ModelFamily::Centerface,
            "classifier.onnx",
            1,
            "a centerface model cannot run at 8x8",
        ),
        (
            ModelFamily::Depth,
            "segmentation.onnx",
            0,
            "a depth model: expected one output f32[1,H,W] or f32[1,1,H,W]; found logits",
        ),
        (
            ModelFamily::Classifier,
            "ssd_tensorflow.onnx",
            2,
            "a classifier model: expected for 2 labels one output f32[1,2]; found \
             detection_boxes f32[1,2,4]",
        ),
    ] {
        let error = load(&graph(family, file, labels))
            .expect_err(file)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn sizes_are_checked_before_anything_runs() {
    let mut spec = graph(ModelFamily::Yolov8, "yolov8.onnx", 2);
    spec.input.size = Some(size(100, 64));
    let error = load(&spec).expect_err("no multiple of 32").to_string();
    assert!(error.ends_with("set `input.size` to 96x64"), "{error}");
    let mut spec = graph(ModelFamily::Yolox, "yolox.onnx", 2);
    spec.input.size = Some(size(64, 64));
    let error = load(&spec).expect_err("the file is for 32x32").to_string();
    assert!(error.contains("takes 32x32 only"), "{error}");
}
