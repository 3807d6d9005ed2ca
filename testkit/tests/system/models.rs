//! The model commands with real workers, models and clips.

use std::fs;

use serde_json::Value;

use crate::site::{Finished, Site, repository};

const LIKE_NANODET: [&str; 4] = ["--family", "nanodet", "--labels", "coco"];

/// Runs `sluice models` with files of set-up in place of words that begin with `deps:`.
fn models(site: &Site, words: &[&str]) -> Finished {
    let deps = repository().join(".deps");
    let words = words.iter().map(|word| match word.strip_prefix("deps:") {
        Some(file) => deps.join(file).display().to_string(),
        None => (*word).to_owned(),
    });
    let words: Vec<_> = std::iter::once("models".to_owned()).chain(words).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    site.sluice(&words)
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr))
}

#[test]
fn nanodet_quantised_on_two_clips_finds_what_the_original_finds() {
    let site = Site::new();
    let mut words = vec!["quantize", "deps:models/nanodet-416-fp32.onnx", "--json"];
    words.extend(LIKE_NANODET);
    words.extend(["--clip", "deps:clips/walking.mp4"]);
    words.extend(["--clip", "deps:clips/traffic.mp4"]);
    words.extend(["--out", "int8.onnx"]);
    let quantised = models(&site, &words);
    assert_eq!(quantised.code, 0, "{}", quantised.stderr);
    let outcome = json(&quantised);
    let agreement = &outcome["agreement"];
    let precision = agreement["average_precision"].as_f64().expect("a figure");
    assert!((0.97..=1.0).contains(&precision), "{outcome}");
    assert_eq!(outcome["calibration_frames"], 60);
    assert_eq!(agreement["frames"], 60);
    assert!(
        agreement["truths"].as_u64().expect("a count") > 200,
        "{outcome}"
    );
    // How much quicker depends on the machine, but a slower one is no int8 model.
    let time = |key: &str| agreement[key].as_f64().expect("a time");
    assert!(time("candidate_ms") < time("original_ms"), "{outcome}");
    let size = |key: &str| outcome[key].as_u64().expect("a size");
    assert!(size("bytes") * 3 < size("original_bytes"), "{outcome}");

    let mut words = vec!["bench", "int8.onnx", "--json"];
    words.extend(LIKE_NANODET);
    words.extend(["--clip", "deps:clips/traffic.mp4"]);
    let measured = models(&site, &words);
    assert_eq!(measured.code, 0, "{}", measured.stderr);
    let speed = json(&measured);
    let first = &speed["configurations"][0];
    assert_eq!(
        (&first["sessions"], &first["threads"]),
        (&1.into(), &1.into())
    );
    let part = |key: &str| first[key].as_f64().expect("a time");
    let parts = part("preprocess_ms") + part("model_ms") + part("decode_ms");
    assert!((parts / part("frame_ms") - 1.0).abs() < 0.2, "{speed}");
    // This file leaves its batch open.
    assert_eq!(speed["batches"].as_array().expect("a list").len(), 4);
}

#[test]
fn a_model_that_agrees_too_little_is_set_aside() {
    let site = Site::new();
    let mut words = vec!["quantize", "deps:models/nanodet-416-fp32.onnx"];
    words.extend(LIKE_NANODET);
    words.extend(["--clip", "deps:clips/traffic.mp4"]);
    words.extend(["--out", "int8.onnx", "--agreement-min", "1"]);
    let refused = models(&site, &words);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    let said = "the int8 model is refused: it agrees with the original by 0.";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    let mut left: Vec<_> = fs::read_dir(site.path())
        .expect("listed")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["int8.onnx.rejected", "int8.onnx.rejected.json"]);
}

#[test]
fn what_cannot_work_is_told_with_its_own_code() {
    let site = Site::new();
    site.file("notes.mp4", &"this is no video\n".repeat(2000));
    site.file("notes.onnx", "this is no model\n");
    let int8 = repository().join("assets/models/nanodet-416-int8.onnx");
    let int8 = int8.display().to_string();
    for (words, code, said) in [
        (
            vec!["bench", "nanodet-416"],
            5,
            "sluice models fetch nanodet-416",
        ),
        (
            vec!["bench", "nothing.onnx"],
            5,
            "no known model and no file",
        ),
        (vec!["bench", "notes.onnx"], 2, "--family"),
        (
            vec![
                "bench",
                "notes.onnx",
                "--family",
                "nanodet",
                "--labels",
                "coco",
            ],
            5,
            "not a model that ONNX Runtime can load",
        ),
        (vec!["bench", &int8, "--family", "nonodet"], 3, "nanodet"),
        (
            vec!["bench", &int8, "--family", "yolox"],
            5,
            "not a yolox model",
        ),
        (
            vec!["bench", &int8, "--clip", "missing.mp4"],
            4,
            "there is no clip missing.mp4",
        ),
        (vec!["bench", &int8, "--clip", "notes.mp4"], 4, "notes.mp4"),
    ] {
        let ended = models(&site, &words);
        assert_eq!(ended.code, code, "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{words:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}
