use std::collections::BTreeSet;

use super::*;
use crate::rule_file::Subject;
use crate::syntax::parse_action;
use crate::vocabulary::ACTIONS;

fn read(text: &str, subject: Subject) -> Result<Action, (&'static str, String)> {
    let models = BTreeSet::from(["people".to_owned(), "plates".to_owned()]);
    parse_action(text)
        .and_then(|item| check(&item, subject, Some(&models)))
        .map_err(|problem| (problem.code, text[problem.span].to_owned()))
}

#[test]
fn actions_are_read_with_their_defaults() {
    let record = |before_s: u64, after_s: u64| Action::Record {
        before_ns: before_s * 1_000_000_000,
        after_ns: after_s * 1_000_000_000,
    };
    let tag = |name: &str, value: &str| Action::Tag {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let webhook = |url: &str| Action::Webhook {
        url: url.to_owned(),
    };
    for (text, action) in [
        ("alert", Action::Alert),
        ("alert()", Action::Alert),
        ("draw", Action::Draw { color: None }),
        (
            "draw(color: \"red\")",
            Action::Draw {
                color: Some([255, 0, 0]),
            },
        ),
        (
            "draw(color: \"#0aF510\")",
            Action::Draw {
                color: Some([10, 245, 16]),
            },
        ),
        ("snapshot", Action::Snapshot(SnapshotOf::Best)),
        ("snapshot(frame)", Action::Snapshot(SnapshotOf::Frame)),
        ("record", record(5, 10)),
        ("record(after: 5m, before: 0s)", record(0, 300)),
        ("record(before: 30s)", record(30, 10)),
        ("tag(\"seen\")", tag("seen", "true")),
        ("tag(\"a.b\", \"two words\")", tag("a.b", "two words")),
        (
            "publish(\"gate-events\")",
            Action::Publish {
                topic: "gate-events".to_owned(),
            },
        ),
        (
            "webhook(\"http://[::1]:8080/a?b=c\")",
            webhook("http://[::1]:8080/a?b=c"),
        ),
        (
            "infer(plates)",
            Action::Infer {
                model: "plates".to_owned(),
            },
        ),
        (
            "infer(\"people\")",
            Action::Infer {
                model: "people".to_owned(),
            },
        ),
    ] {
        assert_eq!(read(text, Subject::Track), Ok(action), "{text}");
    }
    let of_frames = read("snapshot", Subject::Frame);
    assert_eq!(of_frames, Ok(Action::Snapshot(SnapshotOf::Frame)));
}

#[test]
fn wrong_actions_are_refused_at_their_place() {
    for (text, code, place) in [
        ("snapshots", "R0504", "snapshots"),
        ("alert.x", "R0201", "."),
        ("alert().x", "R0403", "x"),
        ("alert(1)", "R0403", "1"),
        ("draw(\"red\")", "R0403", "\"red\""),
        ("draw(colour: \"red\")", "R0403", "colour"),
        ("draw(color: \"red\", color: \"red\")", "R0403", "color"),
        ("draw(color: red)", "R0403", "red"),
        ("draw(color: \"reed\")", "R0506", "\"reed\""),
        ("draw(color: \"#12345\")", "R0506", "\"#12345\""),
        ("draw(color: \"#+1+1+1\")", "R0506", "\"#+1+1+1\""),
        ("snapshot(worst)", "R0403", "worst"),
        ("snapshot(best, frame)", "R0403", "frame"),
        ("record(before: 31s)", "R0404", "31s"),
        ("record(after: 301s)", "R0404", "301s"),
        ("record(before: 5)", "R0403", "5"),
        (
            "record(before: 0s, after: 0s)",
            "R0404",
            "record(before: 0s, after: 0s)",
        ),
        ("tag", "R0403", "tag"),
        ("tag(\"two words\")", "R0509", "\"two words\""),
        ("tag(\"a\", \"\")", "R0509", "\"\""),
        ("publish(\"a/b\")", "R0507", "\"a/b\""),
        ("publish(\"..\")", "R0507", "\"..\""),
        ("publish(topic: \"a\")", "R0403", "topic"),
        ("webhook(\"ftp://a/b\")", "R0508", "\"ftp://a/b\""),
        (
            "webhook(\"https://me:secret@a/b\")",
            "R0508",
            "\"https://me:secret@a/b\"",
        ),
        ("webhook(\"/b\")", "R0508", "\"/b\""),
        ("webhook(\"https:///b\")", "R0508", "\"https:///b\""),
        ("infer(faces)", "R0306", "faces"),
        ("infer(1)", "R0403", "1"),
    ] {
        let fault = read(text, Subject::Track).expect_err(text);
        assert_eq!(fault, (code, place.to_owned()), "{text}");
    }
    for text in ["tag(\"a\")", "infer(plates)", "snapshot(best)"] {
        for subject in [Subject::Frame, Subject::Stream] {
            let (code, _) = read(text, subject).expect_err(text);
            assert_eq!(code, "R0510", "{text}");
        }
    }
}

#[test]
fn the_same_thing_done_twice_is_seen() {
    let action = |text: &str| read(text, Subject::Track).expect(text);
    for (one, other, repeats) in [
        ("draw", "draw(color: \"red\")", true),
        ("tag(\"a\", \"x\")", "tag(\"a\", \"y\")", true),
        ("tag(\"a\")", "tag(\"b\")", false),
        ("publish(\"a\")", "publish(\"a\")", true),
        ("publish(\"a\")", "publish(\"b\")", false),
        ("snapshot(best)", "snapshot(frame)", true),
        ("alert", "snapshot", false),
    ] {
        assert_eq!(
            action(one).repeats(&action(other)),
            repeats,
            "{one}, {other}"
        );
    }
}

#[test]
fn every_action_of_the_reference_is_read_from_its_example() {
    for spec in ACTIONS {
        assert!(
            read(spec.example, Subject::Track).is_ok(),
            "{}",
            spec.example
        );
    }
}
