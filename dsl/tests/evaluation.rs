//! What conditions say of a track, from text to answer.

use std::path::Path;

use dsl::{RuleFile, TrackFacts};
use proptest::prelude::*;

const FACTS: TrackFacts<'static> = TrackFacts {
    label: "person",
    score: 0.6,
    raw_score: None,
    age_ns: 10_000_000_000,
    hits: 7,
    x: 0.25,
    y: 0.5,
    width: 0.1,
    height: 0.2,
    aspect: 0.75,
    motion: 0.01,
    zones: 0b10,
};

fn holds(condition: &str) -> bool {
    let corners = "[[0,0],[1,0],[1,1]]";
    let text = format!(
        "zones: {{yard: {{polygon: {corners}}}, dock: {{polygon: {corners}}}}}\nrules: {{r: {{on: track, when: '{condition}'}}}}"
    );
    let file = RuleFile::parse_checked(&text, Path::new("rules.yaml"))
        .unwrap_or_else(|faults| panic!("{}", faults[0].render(&text)));
    file.rules[0].when.evaluate(&FACTS)
}

#[test]
fn conditions_answer() {
    for (condition, answer) in [
        ("true", true),
        ("false or label == \"person\"", true),
        ("label != \"person\"", false),
        ("label in [\"car\", \"person\"]", true),
        ("\"person\" == label", true),
        // A score of 0.6 is not above 0.6, although the nearest f32 of it is.
        ("score > 0.6", false),
        ("score >= 60%", true),
        ("score == 0.6", true),
        ("0.7 > score and 50% < score", true),
        ("raw_score > 0", false),
        ("raw_score < score", true),
        ("track.age >= 10s", true),
        ("track.age > 10000ms", false),
        ("track.hits == 7", true),
        ("box.x < box.y", true),
        ("box.area > 1.9% and box.area < 2.1%", true),
        ("box.aspect == 0.75", true),
        ("motion > 0.5%", true),
        ("in_zone(dock) and not in_zone(yard)", true),
        ("!(in_zone(yard) || false) && true", true),
        ("not in_zone(dock) or not score > 0.5", false),
    ] {
        assert_eq!(holds(condition), answer, "{condition}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = RuleFile::parse_checked(&text, Path::new("f"));
    }

    #[test]
    fn no_soup_of_words_makes_an_expression_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..24),
    ) {
        let expression = words.join(" ");
        let text = format!(
            "zones: {{dock: {{polygon: [[0,0],[1,0],[1,1]]}}}}\ngates:\n  people: |\n    {expression}\nrules:\n  r:\n    on: track\n    when: |\n      {expression}\n"
        );
        match RuleFile::parse_checked(&text, Path::new("f")) {
            Ok(file) => {
                let _ = file.rules[0].when.evaluate(&FACTS);
            }
            Err(faults) => {
                for fault in &faults {
                    prop_assert!(text.get(fault.span.clone()).is_some());
                    prop_assert!(!fault.render(&text).is_empty());
                }
            }
        }
    }

    #[test]
    fn no_rule_file_with_wrong_pieces_panics(
        keys in prop::collection::vec(prop::sample::select(KEYS), 0..12),
        values in prop::collection::vec(prop::sample::select(VALUES), 12),
    ) {
        let mut text = String::new();
        for (depth, (key, value)) in keys.iter().zip(values).enumerate() {
            text.push_str(&" ".repeat(depth % 4));
            text.push_str(&format!("{key}: {value}\n"));
        }
        if let Err(faults) = RuleFile::parse_checked(&text, Path::new("f")) {
            prop_assert!(!faults.is_empty());
            for fault in &faults {
                prop_assert!(!fault.render(&text).is_empty());
            }
        }
    }
}

const WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ",",
    "and",
    "or",
    "not",
    "in",
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "=",
    "label",
    "score",
    "track.age",
    "box.x",
    "motion",
    "in_zone",
    "every",
    "dock",
    "\"person\"",
    "\"",
    "0.6",
    "60%",
    "10s",
    "1e9",
    "true",
    "ü",
    "'",
];

const KEYS: &[&str] = &[
    "zones", "lines", "gates", "rules", "dock", "polygon", "anchor", "from", "to", "on", "when",
    "for", "gap", "labels", "message", "do", "<<", "\"", "?",
];

const VALUES: &[&str] = &[
    "",
    "~",
    "1",
    "[1, 2]",
    "[[0, 0], [1, 0], [1, 1]]",
    "track",
    "10s",
    "score > 60%",
    "\"\\xe4{label}\"",
    "{a: 1, a: 2}",
    "*x",
    "&x {on: track}",
    "|",
    ">",
    "'it''s'",
    "[alert]",
];
