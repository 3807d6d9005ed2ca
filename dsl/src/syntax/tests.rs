use std::num::NonZeroUsize;

use super::*;

/// A tree as a text that shows its structure and nothing else.
fn shape(text: &str) -> String {
    match parse_sequence(text) {
        Ok(sequence) => {
            let steps: Vec<_> = sequence
                .steps
                .iter()
                .map(|step| match &step.absent_for {
                    Some(time) => format!("absent {}ns {}", time.value, walk(&step.condition)),
                    None => walk(&step.condition),
                })
                .collect();
            let steps = steps.join(" -> ");
            match sequence.within {
                Some(window) => format!("{steps} within {}ns", window.value),
                None => steps,
            }
        }
        Err(problem) => format!("{}: {}", problem.code, problem.message),
    }
}

fn walk(expression: &Spanned<Expression>) -> String {
    let chain = |name: &str, terms: &[Spanned<Expression>]| {
        let terms: Vec<_> = terms.iter().map(walk).collect();
        format!("({name} {})", terms.join(" "))
    };
    match &expression.value {
        Expression::Or(terms) => chain("or", terms),
        Expression::And(terms) => chain("and", terms),
        Expression::Not(inner) => format!("(not {})", walk(inner)),
        Expression::Compare {
            left,
            comparison,
            right,
        } => format!("({comparison:?} {} {})", operand(left), operand(right)),
        Expression::In { left, set } => match &set.value {
            Set::List(items) => {
                let items: Vec<_> = items.iter().map(operand).collect();
                format!("(in {} {})", operand(left), items.join(","))
            }
            Set::Range(low, high) => {
                format!("(in {} {}..{})", operand(left), operand(low), operand(high))
            }
        },
        Expression::Matches { left, pattern } => {
            format!("(matches {} {:?})", operand(left), pattern.value)
        }
        Expression::Within { condition, window } => {
            format!("(within {}ns {})", window.value, walk(condition))
        }
        Expression::Operand(value) => kind(value),
    }
}

fn operand(operand: &Spanned<Operand>) -> String {
    kind(&operand.value)
}

fn kind(operand: &Operand) -> String {
    match operand {
        Operand::Boolean(value) => value.to_string(),
        Operand::Number(value) => value.to_string(),
        Operand::Percent(value) => format!("{value}%"),
        Operand::Duration(value) => format!("{value}ns"),
        Operand::String(value) => format!("{value:?}"),
        Operand::Field(name) => name.clone(),
        Operand::Call(call) => {
            let arguments: Vec<_> = call
                .arguments
                .iter()
                .map(|argument| match &argument.name {
                    Some(name) => format!("{}={}", name.value, walk(&argument.value)),
                    None => walk(&argument.value),
                })
                .collect();
            let member = call
                .member
                .as_ref()
                .map(|member| format!(".{}", member.value));
            format!(
                "{}({}){}",
                call.name.value,
                arguments.join(","),
                member.unwrap_or_default()
            )
        }
    }
}

#[test]
fn precedence_and_spelling() {
    for (text, tree) in [
        ("a or b and not c", "(or a (and b (not c)))"),
        ("a || b && !c", "(or a (and b (not c)))"),
        ("(a or b) and c", "(and (or a b) c)"),
        ("(a or b) or c", "(or (or a b) c)"),
        ("((a))", "a"),
        ("not not a", "a"),
        ("not not not a", "(not a)"),
        ("!a == 1", "(not (Equal a 1))"),
        ("a != 0.5%", "(NotEqual a 0.5%)"),
        ("t.age>=1.5s", "(GreaterOrEqual t.age 1500000000ns)"),
        (
            "label in [\"car\", \"big truck\",]",
            "(in label \"car\",\"big truck\")",
        ),
        ("a in 8..18", "(in a 8..18)"),
        ("a in 1.5 .. 2.5", "(in a 1.5..2.5)"),
        (
            "clock(\"UTC\").time in 8h..18h",
            "(in clock(\"UTC\").time 28800000000000ns..64800000000000ns)",
        ),
        (
            "attribute(\"p\") matches \"^B\\\\d\\\"\\n\"",
            "(matches attribute(\"p\") \"^B\\\\d\\\"\\n\")",
        ),
        (
            "stream.label(\"site\") == \"a\"",
            "(Equal stream.label(\"site\") \"a\")",
        ),
        (
            "in_zone( dock )\n and every(2m)",
            "(and in_zone(dock) every(120000000000ns))",
        ),
        (
            "count(a and b, c: d or e) > 1",
            "(Greater count((and a b),c=(or d e)) 1)",
        ),
        ("f()", "f()"),
        (
            "android or notable or format",
            "(or android notable format)",
        ),
        ("true and false", "(and true false)"),
    ] {
        assert_eq!(shape(text), tree, "{text}");
    }
}

#[test]
fn steps_and_times() {
    for (text, tree) in [
        ("a -> b", "a -> b"),
        (
            "a or b -> c and d within 8s",
            "(or a b) -> (and c d) within 8000000000ns",
        ),
        ("not a for 5s", "absent 5000000000ns a"),
        ("!a for 5s -> b", "absent 5000000000ns a -> b"),
        ("not not a for 5s", "absent 5000000000ns (not a)"),
        (
            "a -> not (b or c) for 5s within 1m",
            "a -> absent 5000000000ns (or b c) within 60000000000ns",
        ),
        // Behind one step, it is the condition's; behind several, the sequence's.
        (
            "count(a) > 1 within 2s",
            "(within 2000000000ns (Greater count(a) 1))",
        ),
        ("a and b within 2s", "(within 2000000000ns (and a b))"),
        (
            "a -> count(b) > 1 within 2s",
            "a -> (Greater count(b) 1) within 2000000000ns",
        ),
        (
            "a -> (count(b) > 1 within 2s)",
            "a -> (within 2000000000ns (Greater count(b) 1))",
        ),
        ("not (a within 1s)", "(not (within 1000000000ns a))"),
        (
            "not a for 5s within 9s",
            "R0204: `within` limits a sequence, and this is one step only",
        ),
        (
            "a for 5s",
            "R0204: `for` stands only behind one `not CONDITION`",
        ),
        (
            "not a and b for 5s",
            "R0204: `for` stands only behind one `not CONDITION`",
        ),
        (
            "(not a) for 5s",
            "R0204: `for` stands only behind one `not CONDITION`",
        ),
        (
            "a->a->a->a->a->a->a->a",
            "a -> a -> a -> a -> a -> a -> a -> a",
        ),
        (
            "a->a->a->a->a->a->a->a->a",
            "R0202: a sequence of 9 steps is over the limit of 8",
        ),
    ] {
        assert_eq!(shape(text), tree, "{text}");
    }
    assert!(parse_expression("a -> b").is_err(), "a gate is no sequence");
    assert!(parse_expression("not a for 5s").is_err());
}

#[test]
fn actions_are_words_and_calls() {
    let action = |text: &str| parse_action(text).map(|action| operand(&action)).ok();
    for (text, tree) in [
        ("alert", Some("alert")),
        (" draw(color: \"red\") ", Some("draw(color=\"red\")")),
        (
            "record(before: 5s, after: 10s)",
            Some("record(before=5000000000ns,after=10000000000ns)"),
        ),
        ("a.b", None),
        ("alert snapshot", None),
        ("\"alert\"", None),
        ("a or b", None),
    ] {
        assert_eq!(action(text).as_deref(), tree, "{text}");
    }
}

#[test]
fn every_part_knows_its_text() {
    let text = "a ==  1 and not ( b or c ) -> in_zone( x ) . m  within 5s ";
    let sequence = parse_sequence(text).expect("good");
    let written = |span: &Range<usize>| &text[span.clone()];
    let first = &sequence.steps[0].condition;
    assert_eq!(written(&first.span), "a ==  1 and not ( b or c )");
    let Expression::And(terms) = &first.value else {
        panic!("{first:?}");
    };
    assert_eq!(written(&terms[0].span), "a ==  1");
    assert_eq!(written(&terms[1].span), "not ( b or c )");
    let Expression::Not(group) = &terms[1].value else {
        panic!("{terms:?}");
    };
    assert_eq!(written(&group.span), "( b or c )");
    assert_eq!(
        written(&sequence.steps[1].condition.span),
        "in_zone( x ) . m"
    );
    assert_eq!(written(&sequence.within.expect("it is there").span), "5s");
}

#[test]
fn numbers_are_finite() {
    assert_eq!(shape(&format!("a > {}", "9".repeat(400)))[..5], *"R0201");
    assert_eq!(shape(&format!("a > {}h", "9".repeat(40)))[..5], *"R0503");
}

fn deep(open: &str, depth: usize) -> String {
    format!("{}a == 1{}", open.repeat(depth), ")".repeat(depth))
}

#[test]
fn the_deepest_allowed_nesting_parses_on_a_small_stack() {
    for open in ["(", "not (", "f(", "a or (", "f(x: not f(b, "] {
        let opened = open.repeat(NESTING_MAX / open.matches('(').count());
        let text = format!("{opened}a == 1{}", ")".repeat(NESTING_MAX));
        let parsed = std::thread::Builder::new()
            .stack_size(512 << 10)
            .spawn(move || parse_sequence(&text).map(|_| ()))
            .expect("a thread")
            .join()
            .expect("no overflow");
        assert_eq!(parsed, Ok(()), "{open}");
    }
    let problem = parse_sequence(&deep("(", NESTING_MAX + 1)).expect_err("too deep");
    assert_eq!((problem.code, problem.span), (code::TOO_DEEP, 32..33));
    let in_a_string = format!("label == \"\\\"{}\"", "(".repeat(99));
    assert!(parse_sequence(&in_a_string).is_ok());
}

/// Calls inside of the parser, which pest counts and stops at a limit: time without a clock.
/// Set to one value for the whole process, and far above what any other test needs.
#[test]
fn the_parser_takes_bounded_steps() {
    const CALLS_A_BYTE: usize = 100;
    let fill = |part: &str| part.repeat(EXPRESSION_BYTES_MAX / part.len());
    let mut texts = vec![
        fill("not "),
        fill("!"),
        fill("a->"),
        fill("a or "),
        fill("a.a"),
        fill("a == 1 and "),
        fill(" "),
        format!("a in [{}", fill("1,")),
        format!("\"{}", fill("\\\"")),
        // Many deep parentheses beside each other.
        fill(&format!("{} or ", deep("f(", NESTING_MAX))),
    ];
    // Right but for the end: whatever goes back does it here.
    for open in [
        "(",
        "not (",
        "f(",
        "f(a: ",
        "a or (",
        "a == f(",
        "not not not (a and ",
    ] {
        let opened = open.repeat(NESTING_MAX);
        let closed = |close: &str| close.repeat(NESTING_MAX);
        texts.push(opened.clone());
        texts.push(format!("{opened}a{}", ")".repeat(NESTING_MAX - 1)));
        texts.push(format!("{opened}a{} for", closed(")")));
        texts.push(format!("{opened}a == ?{}", closed(")")));
        texts.push(format!("{opened}a{}", closed(" within 5x)")));
        texts.push(format!("{opened}a{}", closed(" ?)")));
    }
    pest::set_call_limit(NonZeroUsize::new(EXPRESSION_BYTES_MAX * CALLS_A_BYTE));
    for text in texts {
        let text = &text[..text.len().min(EXPRESSION_BYTES_MAX)];
        for rule in [Rule::sequence, Rule::expression, Rule::action] {
            if let Err(error) = Grammar::parse(rule, text) {
                let said = error.variant.message();
                assert!(!said.contains("limit"), "{rule:?}: {said}: {text}");
            }
        }
    }
}
