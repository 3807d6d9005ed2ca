//! The reference page says what is true: each of its examples is parsed, checked and
//! evaluated on the film it describes, and the committed page is the generated one.

mod support;

use std::path::PathBuf;

use dsl::vocabulary::{ACTIONS, CLAUSES, Example, FIELDS, FUNCTIONS, OPERATORS};
use support::{PLACES, film, holding, rule, rule_file};

#[test]
fn every_example_holds_when_it_says() {
    let film = film();
    let fields = FIELDS.iter().map(|spec| &spec.example);
    let functions = FUNCTIONS.iter().flat_map(|spec| spec.examples);
    let operators = OPERATORS.iter().flat_map(|spec| spec.examples);
    let wrong: Vec<_> = fields
        .chain(functions)
        .chain(operators)
        .filter_map(|Example { on, when, holds }| {
            let found = holding(&rule(*on, when), &film);
            (found != *holds).then(|| format!("`{when}`\n  says  {holds}\n  holds {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_clause_and_action_can_be_written_so() {
    for clause in CLAUSES {
        let file = rule_file(&format!("{PLACES}rules:\n  {}\n", clause.example));
        assert_eq!(file.rules.len(), 1, "{}", clause.name);
    }
    for action in ACTIONS {
        let rule = format!(
            "{PLACES}rules:\n  r:\n    on: track\n    when: in_zone(dock)\n    do:\n      - '{}'\n",
            action.example
        );
        assert_eq!(
            rule_file(&rule).rules[0].actions.len(),
            1,
            "{}",
            action.name
        );
    }
}

#[test]
fn the_committed_page_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/rules-reference.md");
    let page = dsl::reference::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).expect("written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "run `UPDATE=1 cargo test -p dsl --test reference`"
    );
}
