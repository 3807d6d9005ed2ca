//! One file a diagnostic code under `goldens/`: rule files that are right and
//! rule files that are wrong in this way, and beside it what is said of the
//! wrong ones. After a change that is meant, `UPDATE=1 cargo test -p dsl`
//! rewrites what is said.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dsl::{Context, Diagnostic, RuleFile};

const RIGHT: &str = "### right\n";
const WRONG: &str = "### wrong\n";

fn context() -> Context {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Context {
        labels: set(&["person", "car", "truck", "suitcase"]),
        models: set(&["people", "vehicles"]),
        crop_models: set(&["people", "vehicles"]),
        landmarks: false,
        depth: false,
    }
}

fn parse(text: &str) -> Result<RuleFile, Vec<Diagnostic>> {
    RuleFile::parse(text, Path::new("rules.yaml"), &context())
}

/// The texts behind a marker line, in order.
fn cases<'t>(golden: &'t str, marker: &str) -> Vec<&'t str> {
    golden
        .split("### ")
        .filter_map(|case| case.strip_prefix(&marker["### ".len()..]))
        .collect()
}

fn check(path: &Path) {
    let golden = fs::read_to_string(path).expect("a golden");
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .expect("a name");
    let code = &name[..5];
    assert!(
        dsl::code::CODES.iter().any(|(known, _)| *known == code),
        "{name}: the name begins with a code"
    );
    for text in cases(&golden, RIGHT) {
        let faults = parse(text)
            .map(|_| ())
            .map_err(|faults| render(text, &faults));
        assert_eq!(faults, Ok(()), "{name} is right:\n{text}");
    }
    let wrong = cases(&golden, WRONG);
    assert!(!wrong.is_empty(), "{name} has something wrong");
    let mut said = String::new();
    for text in wrong {
        let faults = parse(text).expect_err("it is wrong");
        assert!(
            faults.iter().any(|fault| fault.code == code),
            "{name} is about {code}:\n{}",
            render(text, &faults)
        );
        said.push_str(WRONG);
        said.push_str(&render(text, &faults));
    }
    let expected_path = path.with_extension("txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected_path, said).expect("written");
        return;
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    assert_eq!(said, expected, "{name}: run with UPDATE=1 if this is meant");
}

fn render(text: &str, faults: &[Diagnostic]) -> String {
    faults.iter().map(|fault| fault.render(text)).collect()
}

#[test]
fn every_code_has_its_golden_and_every_golden_holds() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut covered = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("the goldens") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            check(&path);
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            covered.insert(name[..5].to_owned());
        }
    }
    let codes: BTreeSet<_> = dsl::code::CODES
        .iter()
        .map(|(code, _)| (*code).to_owned())
        .collect();
    assert_eq!(covered, codes);
}

#[test]
fn a_file_over_the_limit_is_refused_before_it_is_read() {
    let text = "#".repeat(dsl::FILE_BYTES_MAX + 1);
    assert_eq!(parse(&text).expect_err("too large")[0].code, "R0106");
    assert_eq!(parse(&text[1..]), Ok(RuleFile::default()));
}
