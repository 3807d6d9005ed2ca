//! Every wrong config of `configs/invalid/` is told as its golden says, every
//! example of `configs/` is right, and the JSON Schema agrees with the reader.
//!
//! A case is `NAME.yaml` with `NAME.expected`: what a terminal shows. After a
//! wanted change, write the goldens anew with `UPDATE_GOLDENS=1` and read the
//! difference.

use std::path::{Path, PathBuf};
use std::sync::Once;

use supervisor::config::{self, Problems, RunConfig};
use supervisor::diagnostics::{self, Look};

/// Paths in goldens begin at the root of the repository.
fn enter_root() {
    static ENTERED: Once = Once::new();
    ENTERED.call_once(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::env::set_current_dir(root).expect("the root is there");
    });
}

fn environment(name: &str) -> Option<String> {
    match name {
        "CAM_PASSWORD" => Some("geheim".to_owned()),
        "SRT_PASSPHRASE" => Some("ganz geheim".to_owned()),
        "SIZE_WITH_SECRET" => Some("geheim".to_owned()),
        _ => None,
    }
}

fn load(path: &Path) -> Result<RunConfig, Problems> {
    enter_root();
    config::load(path, &environment)
}

/// The YAML files of a directory, in order.
fn yaml_files(directory: &str) -> Vec<PathBuf> {
    enter_root();
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {directory}");
    files
}

/// The tree that a schema validator sees.
fn as_json(path: &Path) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(path).ok()?;
    let root = dsl::yaml::parse(&text).root?;
    Some(json(&root))
}

fn json(node: &dsl::yaml::Node) -> serde_json::Value {
    use dsl::yaml::Value;
    match &node.value {
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.text.clone(), json(&entry.value)))
            .collect(),
        Value::Scalar(scalar) if scalar.is_null() => serde_json::Value::Null,
        Value::Scalar(scalar) => match (scalar.as_bool(), scalar.as_number()) {
            (Some(truth), _) => truth.into(),
            (_, Some(_)) => serde_json::from_str(&scalar.text).expect("a JSON number"),
            _ => scalar.text.clone().into(),
        },
    }
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&config::schema()).expect("the schema is one")
}

#[test]
fn wrong_configs_are_told_as_their_goldens_say() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut different = Vec::new();
    for path in yaml_files("configs/invalid") {
        let problems = match load(&path) {
            Err(problems) => problems,
            Ok(_) => panic!("{} is taken as right", path.display()),
        };
        let plain = diagnostics::render(&problems, Look::Plain);
        let report = diagnostics::render(&problems, Look::Report { colour: false });
        let shown = format!("{plain}\n{report}");
        assert!(!shown.contains("geheim"), "{}: a secret", path.display());
        let golden = path.with_extension("expected");
        if update {
            std::fs::write(&golden, &shown).expect("the golden can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if shown != expected {
            different.push(format!("--- {}\n{shown}", golden.display()));
        }
    }
    assert!(
        different.is_empty(),
        "not as in the goldens (UPDATE_GOLDENS=1 writes them anew):\n{}",
        different.join("\n")
    );
}

#[test]
fn every_golden_has_its_config() {
    let cases = yaml_files("configs/invalid");
    for entry in std::fs::read_dir("configs/invalid").expect("it is there") {
        let path = entry.expect("readable").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "expected")
        {
            let case = path.with_extension("yaml");
            assert!(cases.contains(&case), "{} has no config", path.display());
        }
    }
}

/// Problems of kinds that only say that set-up has not fetched the clips and models.
fn only_files_are_missing(problems: &Problems) -> bool {
    problems
        .diagnostics
        .iter()
        .all(|problem| problem.code == "C0111" && problem.message.starts_with("there is no"))
}

#[test]
fn examples_are_right_and_fit_the_schema() {
    let validator = validator();
    for path in yaml_files("configs") {
        match load(&path) {
            Ok(config) => assert!(!config.streams.is_empty()),
            Err(problems) if only_files_are_missing(&problems) => {
                println!("{}: files are missing:\n{problems}", path.display());
            }
            Err(problems) => panic!("{}:\n{problems}", path.display()),
        }
        let tree = as_json(&path).expect("YAML");
        let errors: Vec<_> = validator
            .iter_errors(&tree)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0], "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_it_can_know_to_be_wrong() {
    let validator = validator();
    for name in [
        "unknown-key",
        "wrong-type",
        "bad-duration",
        "bad-size",
        "bad-values",
        "missing-key",
        "several-at-once",
        "outputs",
    ] {
        let path = PathBuf::from(format!("configs/invalid/{name}.yaml"));
        enter_root();
        let tree = as_json(&path).unwrap_or_else(|| panic!("{name} is YAML"));
        assert!(!validator.is_valid(&tree), "{name} fits the schema");
    }
}

#[test]
fn a_config_that_cannot_be_read_is_told() {
    let problems = load(Path::new("configs/none.yaml")).expect_err("it is not there");
    assert_eq!(
        diagnostics::render(&problems, Look::Plain),
        "configs/none.yaml:1:1: error[C0101]: the run config is not there\n1 problem in configs/none.yaml\n"
    );
    let problems = load(Path::new("configs")).expect_err("a directory");
    assert_eq!(
        problems.diagnostics[0].message,
        "the run config is a directory"
    );
    let report = diagnostics::render(&problems, Look::Report { colour: false });
    assert!(
        report.contains("error[C0101]: the run config is a directory (configs)"),
        "{report}"
    );
}
