//! Batches: each picture of one gets what it gets alone, and a file that cannot be run on them
//! says so when it is loaded.

use contract::detection::Detection;
use contract::spec::{Backend, InferSpec, ModelFamily};
use infer_worker::engine::Engine;

use super::support::{ASTRONAUT, Image, carphone, data, load, objects_of, repository, size, spec};

// By BT.601, limited range.
const COLOURS: [[u8; 3]; 3] = [[81, 90, 240], [145, 54, 34], [41, 240, 110]];

fn batched(mut spec: InferSpec, max: Option<u32>) -> InferSpec {
    spec.batch.max = max;
    spec
}

fn classifier(name: &str, max: Option<u32>) -> InferSpec {
    batched(spec(ModelFamily::Classifier, data(name), 3), max)
}

/// What an engine finds in each of the images, all in one run.
fn in_one_run(engine: &mut Engine, images: &[&Image]) -> Vec<Vec<Detection>> {
    for image in images {
        engine.add(&image.picture());
    }
    let mut found = Vec::new();
    let ran = engine.run(|index, inference| {
        let inference = inference.expect("it can be read");
        assert_eq!((index, inference.batch), (found.len(), images.len()));
        found.push(inference.findings.detections().to_vec());
    });
    ran.expect("the model runs");
    assert_eq!(found.len(), images.len());
    found
}

fn refusal(spec: &InferSpec) -> String {
    load(spec)
        .expect_err("it cannot be run like this")
        .to_string()
}

#[test]
fn each_picture_of_a_batch_keeps_its_own_place_and_size() {
    let mut engine = load(&classifier("classifier_batch.onnx", Some(8))).expect("it loads");
    assert_eq!(engine.batch_max(), 8);
    let sizes = [size(64, 64), size(160, 40), size(30, 90)];
    let images: Vec<_> = (0..8)
        .map(|index| Image::plain(sizes[index % 3], COLOURS[index * index % 3]))
        .collect();
    // Fewer after more: nothing is left of the larger batch.
    for count in [8, 3, 1, 5] {
        let images: Vec<_> = images.iter().take(count).collect();
        let found = in_one_run(&mut engine, &images);
        for (index, found) in found.iter().enumerate() {
            let [object] = found[..] else {
                panic!("{found:?}");
            };
            let picture = sizes[index % 3];
            assert_eq!(usize::from(object.class), index * index % 3);
            assert_eq!(object.bounds.x2, picture.width as f32);
            assert_eq!(object.bounds.y2, picture.height as f32);
        }
    }
}

#[test]
fn a_real_model_finds_the_same_in_a_batch_as_alone() {
    let mut spec = spec(
        ModelFamily::Centerface,
        repository(".deps/models/centerface.onnx"),
        1,
    );
    spec.input.size = Some(size(320, 320));
    let mut images = vec![Image::read(ASTRONAUT, size(512, 512))];
    images.extend(carphone().into_iter().step_by(40));
    let alone = objects_of(&spec, &images);
    let mut engine = load(&batched(spec, Some(4))).expect("it loads");
    let images: Vec<_> = images.iter().collect();
    let together = in_one_run(&mut engine, &images[..4]);
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!((alone.len(), together.len()), (1, 1));
        let (alone, together) = (&alone[0], &together[0]);
        assert!((alone.score - together.score).abs() < 1e-3);
        assert!(alone.bounds.iou(&together.bounds) > 0.99);
        let points = alone.landmarks.points().iter();
        for (one, other) in points.zip(together.landmarks.points()) {
            assert!((one[0] - other[0]).abs() < 0.1 && (one[1] - other[1]).abs() < 0.1);
        }
    }
}

#[test]
fn a_batch_that_a_file_fixes_is_filled_up() {
    for (max, batch_max) in [(None, 4), (Some(4), 4), (Some(2), 2)] {
        let mut engine = load(&classifier("classifier_four.onnx", max)).expect("it loads");
        assert_eq!(engine.batch_max(), batch_max);
        let images = COLOURS.map(|colour| Image::plain(size(8, 8), colour));
        for first in 0..3 {
            let images = [&images[first], &images[(first + 1) % 3]];
            let found = in_one_run(&mut engine, &images);
            let classes = found.iter().map(|found| usize::from(found[0].class));
            assert_eq!(classes.collect::<Vec<_>>(), [first, (first + 1) % 3]);
        }
    }
    let error = refusal(&classifier("classifier_four.onnx", Some(8)));
    assert!(
        error.ends_with(
            "`batch.max` is 8, but the file takes 4 of them at a time (images f32[4,3,8,8]): set it \
             to 4, or export the file with its first dimension left open"
        ),
        "{error}"
    );
}

#[test]
fn a_file_for_one_picture_takes_no_batches() {
    let yolox = spec(ModelFamily::Yolox, data("yolox.onnx"), 2);
    assert_eq!(load(&yolox).expect("it loads").batch_max(), 1);
    assert!(load(&batched(yolox.clone(), Some(1))).is_ok());
    let error = refusal(&batched(yolox, Some(8)));
    assert!(
        error.contains("takes 1 of them at a time (images f32[1,3,32,32]): set it to 1"),
        "{error}"
    );
    let unbatched = spec(ModelFamily::Ssd, data("ssd_torchvision.onnx"), 3);
    let error = refusal(&batched(unbatched, Some(2)));
    assert!(error.contains("takes 1 of them at a time"), "{error}");
}

#[test]
fn what_a_file_says_of_its_batch_is_tried() {
    // It says any number, and gives one row for all of them.
    let error = refusal(&classifier("classifier.onnx", Some(8)));
    assert!(
        error.contains("takes 8 pictures at a time, but logits f32[1,3] is no output of 8"),
        "{error}"
    );
    let error = refusal(&classifier("classifier_reshaped.onnx", Some(8)));
    assert!(
        error.contains("takes any number of pictures, but fails on 8: ")
            && error.contains("set `batch.max` to 1"),
        "{error}"
    );
    for name in ["classifier.onnx", "classifier_reshaped.onnx"] {
        assert_eq!(load(&classifier(name, Some(1))).expect(name).batch_max(), 1);
    }
}

#[test]
fn one_picture_that_the_model_fails_on_fails_the_run_and_the_next_one_goes_on() {
    let spec = classifier("classifier_fails_on_white.onnx", Some(4));
    let mut engine = load(&spec).expect("it loads");
    let [grey, white] = [128, 235].map(|luma| Image::plain(size(8, 8), [luma, 128, 128]));
    engine.add(&grey.picture());
    engine.add(&white.picture());
    let failed = engine.run(|_, _| panic!("there is no output"));
    assert!(
        failed
            .expect_err("it fails")
            .to_string()
            .starts_with("the model failed")
    );
    assert_eq!(in_one_run(&mut engine, &[&grey]).len(), 1);
}

#[test]
fn the_cpu_is_taken_where_nothing_else_is_and_nothing_else_is_pretended() {
    let mut spec = classifier("classifier_batch.onnx", None);
    let engine = load(&spec).expect("it loads");
    assert_eq!((engine.backend(), engine.batch_max()), (Backend::Cpu, 1));
    for backend in [Backend::Cuda, Backend::Tensorrt, Backend::Openvino] {
        spec.backend.backend = Some(backend);
        let name = backend.as_str();
        let error = refusal(&spec);
        assert!(
            error.starts_with(&format!(
                "`backend: {name}` cannot be used: the ONNX Runtime library has no such provider, \
                 it has cpu; the Python package onnxruntime-"
            )),
            "{error}"
        );
    }
}
