//! Junk: each gets a clear error and its own exit code, and nothing is left.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::site::{RUN_TIMEOUT, Site, assert_nothing_left};

const MODEL: &str =
    "models:\n  people: {file: '{model}', family: nanodet, labels: coco, sessions: 1}\n";

/// Runs a config that cannot work; says how it ended.
fn run(site: &Site, text: &str) -> (i32, String) {
    let mut run = site.run(&site.config(text), &[]);
    let supervisor = run.id();
    let code = run.exit_code(RUN_TIMEOUT);
    assert_nothing_left(supervisor, &[]);
    (code, run.stderr())
}

fn assert_error(site: &Site, text: &str, code: i32, needed: &[&str]) {
    let (ended, stderr) = run(site, text);
    assert_eq!(ended, code, "{text}\n{stderr}");
    for word in needed {
        assert!(stderr.contains(word), "no `{word}` in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_bad_config_starts_nothing() {
    let site = Site::new();
    assert_error(
        &site,
        "run: junk\nstreams:\n  yard: {source: nowhere.mp4}\n",
        3,
        &["nowhere.mp4", "run.yaml:3"],
    );
    assert_error(
        &site,
        "run: junk\nstreams:\n  yard: {sorce: 'test:ball'}\n",
        3,
        &["sorce", "source"],
    );
    let missing = site.sluice(&["run", "missing.yaml"]);
    assert_eq!(missing.code, 3, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("missing.yaml"),
        "{}",
        missing.stderr
    );
    let usage = site.sluice(&["rnu"]);
    assert_eq!(usage.code, 2, "{}", usage.stderr);
}

#[test]
fn what_is_no_video_is_refused() {
    let site = Site::new();
    site.file("notes.mp4", &"this is no video\n".repeat(2000));
    assert_error(
        &site,
        "run: junk\nstreams:\n  yard: {source: notes.mp4}\n",
        4,
        &["yard", "notes.mp4"],
    );
    fs::write(site.path().join("empty.mp4"), "").expect("a file");
    assert_error(
        &site,
        "run: junk\nstreams:\n  yard: {source: empty.mp4}\n",
        4,
        &["empty.mp4"],
    );
}

#[test]
fn what_is_no_model_of_its_family_is_refused() {
    let site = Site::new();
    site.file("corrupt.onnx", "this is no model");
    let stream = "streams:\n  yard: {source: 'test:ball', infer: [people]}\n";
    let with = |model: &str| format!("run: junk\n{}{stream}", MODEL.replace("{model}", model));
    assert_error(&site, &with("corrupt.onnx"), 5, &["corrupt.onnx"]);
    assert_error(&site, &with("absent.onnx"), 3, &["absent.onnx"]);
    assert_error(
        &site,
        &with("{root}/testkit/tests/assets/identity.onnx"),
        5,
        &["identity.onnx", "nanodet"],
    );
}

#[test]
fn a_machine_that_lacks_something_is_told_apart() {
    let site = Site::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    assert_error(
        &site,
        &format!(
            "run: junk\ngateway: {{rtsp_port: {port}}}\nstreams:\n  yard: {{source: 'test:ball', outputs: [{{rtsp: yard}}]}}\n"
        ),
        6,
        &[&port.to_string()],
    );
    assert_error(
        &site,
        "run: junk\nstreams:\n  yard-{001..200}: {source: 'test:ball', size: 8192x8192, queue: {depth: 64}}\n",
        6,
        &["shared memory", "MiB"],
    );
}

#[test]
fn an_unwritable_data_directory_is_refused() {
    let site = Site::new();
    let config = site.config("run: junk\nstreams:\n  yard: {source: 'test:ball'}\n");
    // A file where the directory should be: refused to root as well.
    let data = site.file("occupied", "");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o444)).expect("permissions");
    let run = site.sluice(&[
        "run",
        &config.display().to_string(),
        "--data",
        &data.display().to_string(),
    ]);
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("occupied"), "{}", run.stderr);
}
