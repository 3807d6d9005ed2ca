//! What is asked of the rule language with input that nobody meant. Each function takes
//! any bytes and panics when something does not hold.

mod script;

use std::collections::BTreeMap;
use std::path::Path;

use dsl::format::format_rule_file;
use dsl::reference_evaluator::ReferenceEvaluator;
use dsl::{Context, Diagnostic, Gate, GateFacts, Memory, RuleFile, Subject};

use script::Script;

/// Rules of one file that are evaluated, gates too; more would only be slower.
const RULES_MAX: usize = 4;

/// Bytes of a text beyond which nothing new is found.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Any text in each place where the language stands.
pub fn grammar(data: &[u8]) {
    let text = text_of(data);
    let written = quoted(&text);
    let placeholder = quoted(&format!("a {{{text}}} b"));
    for rule_file in [
        format!("gates: {{people: {written}}}"),
        format!("rules: {{a: {{on: track, when: {written}}}}}"),
        format!("rules: {{a: {{on: frame, when: {written}, message: {placeholder}}}}}"),
        format!("rules: {{a: {{on: track, when: score > 60%, do: [{written}]}}}}"),
        format!("rules: {{a: {{on: track, when: score > 60%, for: {written}}}}}"),
    ] {
        check_file(&rule_file);
    }
}

/// Any text as a rule file.
pub fn rule_file(data: &[u8]) {
    let text = text_of(data);
    check_file(&text);
    let context = Context {
        labels: ["person", "car"].map(str::to_owned).into(),
        models: ["people".to_owned()].into(),
        crop_models: ["people".to_owned()].into(),
        landmarks: false,
        depth: true,
    };
    if let Err(faults) = RuleFile::parse(&text, Path::new("rules.yaml"), &context) {
        check_faults(&text, &faults);
    }
}

/// A rule file, a zero byte, and bytes that a film is made of: the program, its explanation
/// and the reference evaluator say the same in each frame.
pub fn evaluate(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == 0);
    let (text, film) = split.map_or((data, data), |at| (&data[..at], &data[at + 1..]));
    let Ok(file) = RuleFile::parse_checked(&text_of(text), Path::new("rules.yaml")) else {
        return;
    };
    check_gates(&file, film);
    for rule in file.rules.iter().take(RULES_MAX) {
        let mut script = Script::new(&file, film);
        let mut reference = ReferenceEvaluator::new(&rule.when);
        let mut shared = rule.when.shared();
        let mut memories: BTreeMap<Option<u64>, Memory> = BTreeMap::new();
        while let Some(scene) = script.next_scene() {
            if rule.on == Subject::Frame && !scene.inferred {
                continue;
            }
            rule.when.begin_frame(&scene, &mut shared);
            reference.begin_frame(&scene);
            let subjects: Vec<Option<usize>> = match rule.on {
                Subject::Track => (0..scene.tracks.len()).map(Some).collect(),
                Subject::Frame | Subject::Stream => vec![None],
            };
            for subject in subjects {
                let key = subject.map(|track| scene.tracks[track].id);
                let memory = memories.entry(key).or_insert_with(|| rule.when.memory());
                let explained =
                    rule.when
                        .explain(&scene, subject, &mut shared.clone(), &mut memory.clone());
                let holds = rule.when.evaluate(&scene, subject, &mut shared, memory);
                let wanted = reference.evaluate(&scene, subject);
                let what = || format!("{} at {} ns, {key:?}", rule.when.text(), scene.pts_ns);
                assert_eq!(holds, wanted, "program and reference: {}", what());
                assert_eq!(
                    holds,
                    explained.holds,
                    "program and explanation: {}",
                    what()
                );
                let _ = rule.message.fill(&scene, subject);
            }
        }
    }
}

fn check_gates(file: &RuleFile, film: &[u8]) {
    for program in file.gates.values().take(RULES_MAX) {
        let mut gate = Gate::new(program.clone());
        let mut script = Script::new(file, film);
        while let Some(scene) = script.next_scene() {
            let _ = gate.admit(&GateFacts {
                pts_ns: scene.pts_ns,
                wall_ms: scene.wall_ms,
                motion: scene.motion,
                zone_motion: scene.zone_motion,
                tracks: u32::try_from(scene.tracks.len()).unwrap_or(u32::MAX),
                events: scene.events,
                stream: scene.stream,
                stream_labels: scene.stream_labels,
            });
        }
    }
}

/// What is read can be formatted, to the same rules; what is not is told inside of the text.
fn check_file(text: &str) {
    let read = RuleFile::parse_checked(text, Path::new("rules.yaml"));
    let formatted = format_rule_file(text);
    match (&read, &formatted) {
        (Ok(before), Ok(formatted)) => {
            let after = RuleFile::parse_checked(formatted, Path::new("rules.yaml"));
            let after = after.unwrap_or_else(|faults| {
                panic!("formatted: {}\n{formatted}", faults[0].render(formatted));
            });
            check_same(before, &after);
        }
        (Ok(_), Err(faults)) => panic!("read, not formatted: {}", faults[0].render(text)),
        (Err(faults), _) => check_faults(text, faults),
    }
    match formatted {
        Ok(formatted) => {
            let again = format_rule_file(&formatted);
            assert_eq!(again.as_ref(), Ok(&formatted), "formatting is idempotent");
        }
        Err(faults) => check_faults(text, &faults),
    }
}

fn check_same(before: &RuleFile, after: &RuleFile) {
    assert_eq!(before.zones, after.zones);
    assert_eq!(before.lines, after.lines);
    assert!(before.gates.keys().eq(after.gates.keys()));
    assert_eq!(before.rules.len(), after.rules.len());
    for (before, after) in before.rules.iter().zip(&after.rules) {
        assert_eq!(before.name, after.name);
        assert_eq!(before.shape, after.shape);
        assert_eq!(before.actions, after.actions);
        assert_eq!(before.limit, after.limit);
        assert_eq!(before.labels, after.labels);
        assert_eq!(before.keep_ns, after.keep_ns);
    }
}

fn check_faults(text: &str, faults: &[Diagnostic]) {
    assert!(!faults.is_empty(), "a refusal has a reason");
    for fault in faults {
        assert!(text.get(fault.span.clone()).is_some(), "{fault:?}");
        assert!(!fault.message.is_empty());
        assert!(!fault.render(text).is_empty());
    }
}

fn text_of(data: &[u8]) -> String {
    String::from_utf8_lossy(&data[..data.len().min(TEXT_BYTES_MAX)]).into_owned()
}

/// Any text as a YAML scalar.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            other => quoted.push_str(&format!("\\U{:08x}", u32::from(other))),
        }
    }
    quoted.push('"');
    quoted
}
