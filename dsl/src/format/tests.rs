//! Reading what was written gives the same tree, for random trees.

use std::path::Path;

use proptest::prelude::*;

use super::format_rule_file;
use super::text::{action, expression, sequence};
use crate::load::{self, Reader};
use crate::rule_file::RuleFile;
use crate::syntax::{parse_action, parse_expression, parse_sequence};
use crate::tree::{
    Argument, Call, Comparison, Expression, Operand, Sequence, Set, Spanned, Step, Word,
};
use crate::yaml::Node;

#[test]
fn canonical_texts() {
    for (text, canonical) in [
        ("a||b&&!c", "a or b and not c"),
        ("((a or b)) and ((c))", "(a or b) and c"),
        ("(a and b) or (c or d)", "a and b or (c or d)"),
        ("not (not a)", "not (not a)"),
        ("! ! a", "a"),
        ("not(a==1)", "not a == 1"),
        ("x in[ \"a\",\"b\" , ]", "x in [\"a\", \"b\"]"),
        ("x in 8 .. 18.50", "x in 8..18.5"),
        ("x>060.0%", "x > 60%"),
        ("t >= 90000ms", "t >= 90s"),
        ("(count(a) > 1 within 2000ms)", "count(a) > 1 within 2s"),
        (
            "a and (count(b)>1 within 2s)",
            "a and (count(b) > 1 within 2s)",
        ),
        ("a->b\n within 8s", "a -> b within 8s"),
        ("not (a or b) for 60s", "not (a or b) for 1m"),
        (
            "f( a,b : c ) . d == \"\\\"\\\\\\n\"",
            "f(a, b: c).d == \"\\\"\\\\\\n\"",
        ),
    ] {
        let tree = parse_sequence(text).expect(text);
        assert_eq!(sequence(&tree), canonical);
    }
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned { value, span: 0..0 }
}

fn word() -> impl Strategy<Value = Word> {
    prop::sample::select(&["a", "label", "in_zone", "notable", "forest", "x1_"][..])
        .prop_map(|word| spanned(word.to_owned()))
}

fn duration() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=u64::from(u32::MAX),
        (0..1_000_000_u64).prop_map(|seconds| seconds * 500_000_000),
    ]
}

fn string() -> impl Strategy<Value = String> {
    "([a-z0-9 #:()'{},\\[\\]é\u{1f600}]|\"|\\\\|\n){0,8}"
}

fn literal() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any::<bool>().prop_map(Operand::Boolean),
        (0.0..1e20).prop_map(Operand::Number),
        (0..1000_u32).prop_map(|tenths| Operand::Number(f64::from(tenths) / 10.0)),
        (0.0..100.0).prop_map(Operand::Percent),
        duration().prop_map(Operand::Duration),
        string().prop_map(Operand::String),
    ]
}

fn field() -> impl Strategy<Value = Operand> {
    prop::collection::vec(word(), 1..3).prop_map(|words| {
        let words: Vec<_> = words.into_iter().map(|word| word.value).collect();
        Operand::Field(words.join("."))
    })
}

fn call(
    argument: impl Strategy<Value = Spanned<Expression>> + 'static,
) -> impl Strategy<Value = Operand> {
    let argument = (prop::option::weighted(0.2, word()), argument)
        .prop_map(|(name, value)| Argument { name, value });
    let arguments = prop::collection::vec(argument, 0..3);
    (word(), arguments, prop::option::weighted(0.2, word())).prop_map(
        |(name, arguments, member)| {
            Operand::Call(Call {
                name,
                arguments,
                member,
            })
        },
    )
}

fn operand(
    argument: impl Strategy<Value = Spanned<Expression>> + 'static,
) -> impl Strategy<Value = Spanned<Operand>> {
    prop_oneof![literal(), field(), call(argument)].prop_map(spanned)
}

fn set() -> impl Strategy<Value = Spanned<Set>> {
    let item = || literal().prop_map(spanned);
    prop_oneof![
        prop::collection::vec(item(), 1..4).prop_map(Set::List),
        (item(), item()).prop_map(|(low, high)| Set::Range(Box::new(low), Box::new(high))),
    ]
    .prop_map(spanned)
}

/// Any tree that the parser can build, and none that it cannot.
fn condition() -> impl Strategy<Value = Spanned<Expression>> {
    const COMPARISONS: &[Comparison] = &[
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];
    let leaf = prop_oneof![literal(), field()].prop_map(|leaf| spanned(Expression::Operand(leaf)));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let terms = || prop::collection::vec(inner.clone(), 2..4);
        let comparison = prop::sample::select(COMPARISONS);
        prop_oneof![
            terms().prop_map(Expression::Or),
            terms().prop_map(Expression::And),
            inner
                .clone()
                .prop_map(|term| Expression::Not(Box::new(term))),
            (operand(inner.clone()), comparison, operand(inner.clone())).prop_map(
                |(left, comparison, right)| Expression::Compare {
                    left,
                    comparison,
                    right,
                }
            ),
            (operand(inner.clone()), set()).prop_map(|(left, set)| Expression::In { left, set }),
            (operand(inner.clone()), string()).prop_map(|(left, pattern)| {
                Expression::Matches {
                    left,
                    pattern: spanned(pattern),
                }
            }),
            (inner.clone(), duration()).prop_map(|(condition, window)| Expression::Within {
                condition: Box::new(condition),
                window: spanned(window),
            }),
            operand(inner.clone()).prop_map(|operand| Expression::Operand(operand.value)),
        ]
        .prop_map(spanned)
    })
}

fn any_sequence() -> impl Strategy<Value = Sequence> {
    let time = || prop::option::weighted(0.3, duration().prop_map(spanned));
    let step = (condition(), time()).prop_map(|(condition, absent_for)| Step {
        condition,
        absent_for,
    });
    (prop::collection::vec(step, 1..4), time()).prop_map(|(steps, within)| Sequence {
        within: within.filter(|_| steps.len() > 1),
        steps,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_sequence_is_read_as_it_was_written(tree in any_sequence()) {
        let text = sequence(&tree);
        let read = parse_sequence(&text);
        prop_assert_eq!(read.as_ref(), Ok(&tree), "{}", text);
    }

    #[test]
    fn an_expression_is_read_as_it_was_written(tree in condition()) {
        let text = expression(&tree);
        let read = parse_expression(&text);
        prop_assert_eq!(read.as_ref(), Ok(&tree), "{}", text);
    }

    #[test]
    fn an_action_is_read_as_it_was_written(call in call(condition())) {
        let tree = spanned(call);
        let text = action(&tree);
        let read = parse_action(&text);
        prop_assert_eq!(read.as_ref(), Ok(&tree), "{}", text);
    }
}

fn formatted(text: &str) -> String {
    let once = format_rule_file(text).unwrap_or_else(|faults| {
        panic!("{}", faults[0].render(text));
    });
    let twice = format_rule_file(&once).unwrap_or_else(|faults| {
        panic!("{}", faults[0].render(&once));
    });
    assert_eq!(twice, once, "formatting what is formatted changes nothing");
    once
}

fn tree_of(text: &str) -> Node {
    let mut reader = Reader {
        text,
        file: Path::new("rules.yaml"),
        diagnostics: Vec::new(),
    };
    let root = load::parse_document(&mut reader).document.root;
    root.expect("not empty")
}

#[test]
fn a_file_is_formatted_in_place() {
    let text = r##"# Kept.
gates: {people: motion>0.50% ||every( 2000ms )}   # kept too
rules:
  a:
    when:   label=="person"&&!( score<0.6 )  # why
    on:   track
    for: "60s"
    gap: '1000ms'

    limit: {every: 3600s, per: track}
    message: "{ track.id } of { count( label==\"a }\" ) } {{ kept }} {stream}"
    do: [ snapshot( frame ),record(after:10.0s,before : 5000ms) , draw( color:"red" ) ]
  b: {on: track, when: 'label in["it''s", "b"]', do: [draw(color:"#ff0000")]}
  c:
    on: track
    do:
    -   record( after: 60s )   # last
    - 'tag("it''s",  "b")'
    when: |
      label=="person"   and
        score>.5
  d:
    on: frame
    when: >-

        count( label == "person" and in_zone(dock) and score > 60% )>20 and motion>1.0%
        and fps>5
    message: >
      now { count( label == "person" ) }
      of them
"##
    .replace(".5\n", "0.5\n");
    let wanted = r##"# Kept.
gates: {people: motion > 0.5% or every(2s)}   # kept too
rules:
  a:
    when:   label == "person" and not score < 0.6  # why
    on:   track
    for: "1m"
    gap: '1s'

    limit: {every: 1h, per: track}
    message: "{track.id} of {count(label == \"a }\")} {{ kept }} {stream}"
    do: [ snapshot(frame),record(after: 10s, before: 5s) , draw(color: "red") ]
  b: {on: track, when: 'label in ["it''s", "b"]', do: [draw(color: "#ff0000")]}
  c:
    on: track
    do:
    -   record(after: 1m)   # last
    - 'tag("it''s", "b")'
    when: |
      label == "person" and score > 0.5
  d:
    on: frame
    when: >-

        count(label == "person" and in_zone(dock) and score > 60%) > 20
        and motion > 1%
        and fps > 5
    message: >
      now {count(label == "person")}
      of them
"##;
    assert_eq!(formatted(&text), wanted);
}

#[test]
fn what_cannot_be_plain_is_quoted() {
    let rule = |when: &str| format!("rules:\n  a:\n    when: {when}\n    on: track\n");
    for (written, wanted) in [
        ("(\"car\"==label)", "'\"car\" == label'"),
        ("'\"car\"==label'", "'\"car\" == label'"),
        ("f(a:b)", "'f(a: b)'"),
        (
            "\"a==\\\"\\u00e9\\\\\\\\ \\\"\"",
            "\"a == \\\"é\\\\\\\\ \\\"\"",
        ),
        ("a\n     ==b", "a == b"),
        ("&x a==b", "&x a==b"),
    ] {
        assert_eq!(formatted(&rule(written)), rule(wanted), "{written}");
    }
    let flow = |when: &str| format!("rules: {{a: {{on: track, when: {when}}}}}\n");
    for (written, wanted) in [("a&&b", "a and b"), ("'crossed(x,y)'", "'crossed(x, y)'")] {
        assert_eq!(formatted(&flow(written)), flow(wanted), "{written}");
    }
}

#[test]
fn what_is_no_text_of_the_language_is_left_alone() {
    for text in [
        "",
        "# nothing\n",
        "rules: 5\n",
        "rules: {a: {when: [x], for: , message: {}, do: x, limit: 3}}\n",
        "other: {when: 'a&&b'}\r\n",
        "rules:\n  a: &r {for: &t 1000ms, when: 'a'}\n  b: {<<: *r, labels: {t: *t}}\n",
    ] {
        assert_eq!(formatted(text), text);
    }
    let faults = format_rule_file("gates: {g: a &&}\nrules: {a: {when: '(', for: 5}}\n");
    let places: Vec<_> = faults
        .expect_err("three mistakes")
        .iter()
        .map(|fault| (fault.code, fault.line, fault.column))
        .collect();
    assert_eq!(
        places,
        [("R0201", 1, 16), ("R0201", 2, 21), ("R0503", 2, 29)]
    );
}

#[test]
fn the_rule_files_of_the_examples_are_formatted_to_the_same_rules() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/rules");
    for entry in std::fs::read_dir(directory).expect("the examples") {
        let path = entry.expect("an entry").path();
        // Beside them lie tests of rules, which are no rule files.
        if path.to_string_lossy().ends_with(".test.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a rule file");
        let read = |text: &str| RuleFile::parse_checked(text, &path).expect("good");
        let (before, after) = (read(&text), read(&formatted(&text)));
        for (before, after) in before.rules.iter().zip(&after.rules) {
            assert_eq!(after.shape, before.shape);
            assert_eq!(after.actions, before.actions);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// In any style of YAML, with the white space and the signs that people write.
    #[test]
    fn a_file_is_formatted_to_the_same_program(
        tree in any_sequence(),
        call in call(condition()),
        placeholder in condition(),
        style in 0..5_usize,
        spaced in any::<bool>(),
    ) {
        let when = sequence(&tree);
        let item = action(&spanned(call));
        let message = format!("a {{ {} }} b", expression(&placeholder));
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let escaped = |text: &str| format!("{text:?}");
        let (when_text, item_text) = match style {
            0 => (quoted(&when), quoted(&item)),
            1 => (escaped(&when), escaped(&item)),
            2 => (format!("|\n      {when}"), item.clone()),
            3 => (format!(">-\n      {when}"), item.clone()),
            _ => (quoted(&when), item.clone()),
        };
        let gap = if spaced { "   " } else { "" };
        let text = format!(
            "rules:\n  a:\n    when: {when_text}\n    message: {}\n    do: [alert,{gap}{item_text}]{gap} # end\n    on: track\n",
            quoted(&message),
        );
        let formatted = formatted(&text);
        let root = tree_of(&formatted);
        let rule = root.get("rules").and_then(|rules| rules.get("a")).expect("a rule");
        let read = |key: &str| {
            let node = rule.get(key).expect("a clause");
            let node = node.as_sequence().map_or(node, |items| &items[1]);
            node.as_scalar().expect("a scalar").text.clone()
        };
        let sequence = parse_sequence(&read("when"));
        prop_assert_eq!(sequence.as_ref(), Ok(&tree), "{}", &formatted);
        prop_assert_eq!(read("do"), item);
        prop_assert_eq!(read("message"), format!("a {{{}}} b", expression(&placeholder)));
    }
}
