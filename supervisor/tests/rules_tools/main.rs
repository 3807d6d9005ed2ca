//! `sluice rules` on files and on a past run, as a person runs it.

mod past_run;

use std::fs;
use std::path::{Path, PathBuf};

/// What a command gave.
struct Output {
    code: i32,
    stdout: String,
    stderr: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test, which ends by itself and is waited for"
)]
fn sluice(directory: &Path, words: &[&str]) -> Output {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(words)
        .current_dir(directory)
        .env_remove("SLUICE_LOG")
        .output()
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Output {
        code: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_examples_do_what_their_tests_say() {
    let directory = root().join("configs/rules");
    let entries = fs::read_dir(&directory).expect("there");
    let files = entries.map(|entry| entry.expect("readable").path());
    let tests = files.filter(|file| file.to_string_lossy().ends_with(".test.yaml"));
    let tests: Vec<_> = tests.map(|file| file.display().to_string()).collect();
    assert!(!tests.is_empty());
    let mut words = vec!["rules", "test"];
    words.extend(tests.iter().map(String::as_str));
    let output = sluice(&directory, &words);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("all ok"), "{}", output.stdout);
}

#[test]
fn the_examples_are_in_canonical_form() {
    let directory = root().join("configs/rules");
    let words = [
        "rules",
        "fmt",
        "--check",
        "demo.yaml",
        "harbour.yaml",
        "traffic.yaml",
    ];
    let output = sluice(&directory, &words);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
}

const RULES: &str = "\
zones:
  dock: {polygon: [[0.1, 0.5], [0.4, 0.5], [0.4, 1.0], [0.1, 1.0]]}
rules:
  loitering:
    on: track
    when: label == \"person\" and score > 60% and in_zone(dock)
    for: 4s
    message: \"person {track.id} stays\"
";

#[test]
fn a_rule_file_is_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("rules.yaml"), RULES).expect("written");
    let output = sluice(path, &["rules", "check", "rules.yaml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for line in [
        "rules.yaml is right: 1 zone, 0 lines, 0 gates, 1 rule",
        "labels and models are taken as they are",
        "dock  4        bottom_center",
        "loitering  track  4s",
    ] {
        assert!(output.stdout.contains(line), "{line}:\n{}", output.stdout);
    }
    let output = sluice(path, &["rules", "check", "rules.yaml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["content"]["rules"][0]["for_ns"], 4_000_000_000_u64);
    assert!(report["content"]["rules"][0]["tests_per_evaluation"].as_u64() > Some(0));

    let wrong = RULES
        .replace("in_zone(dock)", "in_zone(dok)")
        .replace("60%", "\"high\"");
    fs::write(path.join("wrong.yaml"), &wrong).expect("written");
    let output = sluice(path, &["rules", "check", "wrong.yaml"]);
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains("2 problems in wrong.yaml"),
        "{}",
        output.stderr
    );
    let output = sluice(path, &["rules", "check", "wrong.yaml", "--json"]);
    assert_eq!(output.code, 3);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["problems"][1]["line"], 6);

    let output = sluice(path, &["rules", "check", "gone.yaml"]);
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains("cannot read gone.yaml"),
        "{}",
        output.stderr
    );
}

#[test]
fn labels_and_models_are_checked_against_a_run_config() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("model.onnx"), "any file will do").expect("written");
    fs::write(
        path.join("run.yaml"),
        "run: yard
models: {people: {file: model.onnx, family: nanodet, labels: coco}}
streams: {yard: {source: 'test:ball', infer: [people]}}
",
    )
    .expect("written");
    fs::write(
        path.join("rules.yaml"),
        RULES.replace("person\"", "persn\""),
    )
    .expect("written");
    let words = ["rules", "check", "rules.yaml", "--config", "run.yaml"];
    let output = sluice(path, &words);
    assert_eq!(output.code, 3, "{}", output.stdout);
    assert!(output.stderr.contains("persn"), "{}", output.stderr);
    fs::write(path.join("rules.yaml"), RULES).expect("written");
    let output = sluice(path, &words);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stdout.contains("taken as they are"));
}

#[test]
fn rule_files_are_formatted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let untidy = RULES.replace("== \"person\" and", "==\"person\"   &&");
    fs::write(path.join("rules.yaml"), &untidy).expect("written");
    let output = sluice(path, &["rules", "fmt", "--check", "rules.yaml"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .stdout
            .contains("rules.yaml is not in canonical form")
    );
    let read = || fs::read_to_string(path.join("rules.yaml")).expect("there");
    assert_eq!(read(), untidy, "only said");

    let output = sluice(path, &["rules", "fmt", "rules.yaml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stdout, "formatted rules.yaml\n");
    assert_eq!(read(), RULES);
    let output = sluice(path, &["rules", "fmt", "rules.yaml"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));

    fs::write(
        path.join("wrong.yaml"),
        "rules: {a: {on: track, when: 'score >'}}",
    )
    .expect("written");
    let output = sluice(path, &["rules", "fmt", "wrong.yaml", "rules.yaml"]);
    assert_eq!(output.code, 3);
    assert!(output.stderr.contains("wrong.yaml:1:"), "{}", output.stderr);
    let output = sluice(path, &["rules", "fmt", "-", "rules.yaml"]);
    assert_eq!(output.code, 2, "standard input stands alone");
}

#[test]
fn failing_cases_are_shown_with_what_differs() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("rules.yaml"), RULES).expect("written");
    let stands = "{label: person, path: [{at: 0s, foot: [0.2, 0.8]}, {at: 6s, foot: [0.2, 0.8]}]}";
    let text = format!(
        "rules: rules.yaml
cases:
  right: {{tracks: {{7: {stands}}}, expect: [{{rule: loitering, track: 7, begin: 4s}}]}}
  late: {{tracks: {{7: {stands}}}, expect: [{{rule: loitering, track: 7, begin: 5s}}]}}
"
    );
    fs::write(path.join("a.test.yaml"), text).expect("written");
    let output = sluice(path, &["rules", "test", "a.test.yaml"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert_eq!(
        output.stdout,
        "\
a.test.yaml of rules.yaml
  ok      right  6s, 1 firing
  FAILED  late   6s, 1 firing
          loitering, track 7
            begin  expected  0:05.000 (frame 50)
                   got       0:04.000 (frame 40)
2 cases, 1 failed
"
    );
    let output = sluice(path, &["rules", "test", "a.test.yaml", "--json"]);
    assert_eq!(output.code, 1);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let outcomes = report[0]["outcomes"].as_array().expect("a list");
    assert_eq!(outcomes[0]["differences"].as_array().map(Vec::len), Some(0));
    assert_eq!(outcomes[1]["differences"][0]["fields"][0]["name"], "begin");

    fs::write(
        path.join("b.test.yaml"),
        "rules: none.yaml\ncases: {a: {length: 1s, expect: []}}\n",
    )
    .expect("written");
    let output = sluice(path, &["rules", "test", "b.test.yaml"]);
    assert_eq!(output.code, 3);
    let told = "b.test.yaml:1:8: error[T0101]: there is no rule file `none.yaml`";
    assert!(output.stderr.contains(told), "{}", output.stderr);
}
