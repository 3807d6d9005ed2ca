//! Run configs for tests: written by hand, or drawn from random bytes.

use std::fmt::Write as _;
use std::path::Path;

use super::Edition;
use crate::config;
use crate::plan::Plan;

/// Two streams, a model, rules and outputs.
pub(super) const BASE: &str = "
run: yard
models:
  people: {file: people.onnx, family: nanodet, labels: [person, car], sessions: 2}
streams:
  yard:
    source: test:ball
    size: 320x240
    infer: [people]
    rules: first.yaml
    outputs: [{rtsp: yard}]
  gate:
    source: test:smpte
    size: 320x240
    infer: [people]
    rules: first.yaml
gateway: {rtsp_port: 18554}
";

/// A directory with all files that these configs name.
pub(super) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("people.onnx", "a model"),
        ("better.onnx", "another"),
        (
            "first.yaml",
            "rules: {seen: {on: track, when: score > 0.5}}\n",
        ),
        (
            "second.yaml",
            "rules: {seen: {on: track, when: score > 0.6}}\n",
        ),
        (
            "gated.yaml",
            "gates: {people: motion > 1%}\nrules: {seen: {on: track, when: score > 0.5}}\n",
        ),
        (
            "asks.yaml",
            "rules: {seen: {on: track, when: score > 0.5, do: [infer(cars)]}}\n",
        ),
        (
            "asks_both.yaml",
            "rules: {seen: {on: track, when: score > 0.5, do: [infer(cars), infer(people)]}}\n",
        ),
    ] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

/// What a text comes to.
pub(super) fn edition(directory: &Path, text: &str) -> Edition {
    let path = directory.join("run.yaml");
    let config = config::parse(text, &path, &|_| None);
    let config = config.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let plan = Plan::new(&config, Path::new("/root/books"), 2);
    Edition { config, plan }
}

/// A run config drawn from `bytes`: every setting that a reload treats in a way of its own.
pub(super) fn drawn(bytes: &[u8]) -> String {
    let mut bytes = bytes.iter().copied().cycle();
    let mut draw = |choices: &[&'static str]| {
        let byte = usize::from(bytes.next().unwrap_or(0));
        choices[byte % choices.len()]
    };
    let mut text = String::from("run: yard\nmodels:\n");
    for model in ["people", "cars"] {
        let file = draw(&["people.onnx", "people.onnx", "better.onnx"]);
        let labels = draw(&["[person, car]", "[person, car]", "[person]"]);
        let score = draw(&["0.4", "0.5"]);
        let sessions = draw(&["2", "3"]);
        let batch = draw(&["{}", "{}", "{max: 8}"]);
        let backend = draw(&["auto", "auto", "cpu"]);
        writeln!(
            text,
            "  {model}: {{file: {file}, family: nanodet, labels: {labels}, score: {score}, sessions: {sessions}, batch: {batch}, backend: {backend}}}"
        )
        .expect("a string");
    }
    text.push_str("streams:\n  always: {source: 'test:ball', size: 64x48}\n");
    for stream in ["yard", "gate", "dock"] {
        if draw(&["in", "in", "out"]) == "out" {
            continue;
        }
        let source = draw(&["test:ball", "test:smpte"]);
        let size = draw(&["320x240", "320x240", "640x480"]);
        let infer = draw(&["[people]", "[people]", "[cars]", "[people, cars]", "[]"]);
        let rules = draw(&[
            "first.yaml",
            "second.yaml",
            "gated.yaml",
            "asks.yaml",
            "asks_both.yaml",
            "off",
        ]);
        let rtsp = draw(&["[]", "[{rtsp: NAME}]", "[{record: NAME}]"]).replace("NAME", stream);
        let priority = draw(&["1", "2"]);
        let motion = draw(&["12", "30"]);
        let site = draw(&["north", "south"]);
        let latency = draw(&["250ms", "240ms", "500ms"]);
        writeln!(
            text,
            "  {stream}: {{source: '{source}', size: {size}, infer: {infer}, rules: {rules}, outputs: {rtsp}, \
             priority: {priority}, motion: {{threshold: {motion}}}, labels: {{site: {site}}}, \
             queue: {{max_latency: {latency}}}}}"
        )
        .expect("a string");
    }
    let age = draw(&["720h", "24h"]);
    writeln!(text, "retention: {{max_age: {age}}}").expect("a string");
    text
}
