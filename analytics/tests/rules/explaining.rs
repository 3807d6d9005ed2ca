//! Why a rule fired, and why it did not.

use analytics::HeldBack;
use analytics::explain::{
    Explainer, HOLDINGS_MAX, Outcome, PART_SPANS_MAX, Question, QuestionError, Timeline,
};
use contract::control::FrameRecord;

use crate::script::{MS_NS, engine, frame, records, seen};

fn question(track: Option<u64>) -> Question {
    Question {
        rule: "r".to_owned(),
        track,
        pts_ns: 0..=u64::MAX,
    }
}

fn explain(rule: &str, question: Question, records: &[FrameRecord]) -> Timeline {
    let mut explainer = Explainer::new(engine(&[rule]), question).expect("a good question");
    for record in records {
        explainer.observe(record);
    }
    explainer.finish()
}

fn ms(pts_ns: u64) -> u64 {
    pts_ns / MS_NS
}

#[test]
fn why_it_fired() {
    let rule =
        "r: {on: track, when: in_zone(left) and dwell(left) >= 100ms, for: 200ms, gap: 300ms}";
    let timeline = explain(rule, question(Some(1)), &records("-++++-++-----"));
    assert_eq!((timeline.frames_asked, timeline.frames_unseen), (13, 0));
    let [held] = &timeline.holdings[..] else {
        panic!("{timeline:?}");
    };
    assert_eq!((ms(held.begin.pts_ns), ms(held.end.pts_ns)), (200, 700));
    assert_eq!(held.interruptions, 1);
    let Outcome::Fired { at, values } = &held.outcome else {
        panic!("{held:?}");
    };
    assert_eq!((ms(at.pts_ns), at.sequence_number), (400, 4));
    assert!(values.iter().all(|part| part.holds != Some(false)));
    let broken = held.broken.as_ref().expect("it was left");
    assert_eq!((ms(broken.at.pts_ns), broken.unseen), (800, false));
    // The whole and both tests of it said something else.
    assert!(broken.changed.iter().all(|part| part.holds == Some(false)));
    assert!(broken.changed.len() >= 3, "{broken:?}");
    let zone = timeline
        .parts
        .iter()
        .find(|part| part.text == "in_zone(left)");
    let spans = zone.expect("a part").spans.iter();
    let spans: Vec<_> = spans
        .map(|span| (ms(span.begin.pts_ns), ms(span.end.pts_ns)))
        .collect();
    assert_eq!(spans, [(100, 400), (600, 700)]);
}

#[test]
fn why_it_did_not_fire() {
    let rule =
        "r: {on: track, when: in_zone(left) and score > 0.7 and label == \"suitcase\", for: 1s}";
    let never = explain(rule, question(Some(1)), &records("++++"));
    assert!(never.holdings.is_empty() && never.longest().is_none());
    let part = |text: &str| {
        let part = never.parts.iter().find(|part| part.text == text);
        part.expect("a part")
    };
    assert_eq!(part("in_zone(left)").frames_held, 4);
    assert_eq!(
        part("score > 0.7")
            .values
            .as_ref()
            .map(|values| &*values.least),
        Some("0.75")
    );
    let label = part("label == \"suitcase\"");
    assert_eq!((label.frames_held, label.spans.len()), (0, 0));
    let values = label.values.as_ref().expect("a label");
    assert_eq!(values.least, "\"person\"");
    assert_eq!(never.parts[0].frames_held, 0, "the whole");
}

#[test]
fn too_short_unseen_and_held_back() {
    let rule = "r: {on: track, when: in_zone(left), for: 300ms, gap: 100ms, limit: {per: track, every: 1m}}";
    let timeline = explain(rule, question(Some(1)), &records("+++  ++++---+++++--++"));
    let outcomes: Vec<_> = timeline
        .holdings
        .iter()
        .map(|held| match held.outcome {
            Outcome::TooShort => "short",
            Outcome::Fired { .. } => "fired",
            Outcome::HeldBack {
                by: HeldBack::Limit,
                ..
            } => "limit",
            Outcome::HeldBack { .. } => "flood",
        })
        .collect();
    assert_eq!(outcomes, ["short", "fired", "limit", "short"]);
    assert_eq!(timeline.frames_unseen, 2);
    let broken = timeline.holdings[0].broken.as_ref().expect("it was lost");
    assert!(broken.unseen && broken.changed.is_empty());
    assert!(timeline.holdings[3].broken.is_none(), "the frames end");
    let longest = timeline.longest().expect("some");
    assert_eq!(ms(longest.duration_ns()), 400);
}

#[test]
fn only_the_time_asked_for_is_told_and_all_before_is_remembered() {
    let rule = "r: {on: track, when: dwell(left) >= 500ms, gap: 0s}";
    let mut asked = question(Some(1));
    asked.pts_ns = 600 * MS_NS..=800 * MS_NS;
    let timeline = explain(rule, asked, &records("+++++++++++++"));
    assert_eq!(timeline.frames_asked, 3);
    assert_eq!(ms(timeline.holdings[0].begin.pts_ns), 500);
    let values = timeline.parts.iter().find_map(|part| part.values.as_ref());
    let values = values.expect("a dwell");
    assert!(
        values.least.contains("0.6") && values.greatest.contains("0.8"),
        "{values:?}"
    );
}

#[test]
fn another_track_is_not_looked_at() {
    let both = |pts_ms| frame(pts_ms, vec![seen(1, 50.0), seen(2, 150.0)]);
    let rule = "r: {on: track, when: in_zone(left)}";
    let timeline = explain(rule, question(Some(2)), &[both(0), both(100)]);
    assert_eq!((timeline.frames_asked, timeline.holdings.len()), (2, 0));
    let timeline = explain(rule, question(Some(3)), &[both(0)]);
    assert_eq!(timeline.frames_asked, 0);
    assert!(timeline.parts.is_empty());
}

#[test]
fn rules_of_the_stream_are_explained_too() {
    let timeline = explain(
        "r: {on: frame, when: tracks > 0}",
        question(None),
        &records("+ +"),
    );
    assert_eq!((timeline.frames_asked, timeline.holdings.len()), (3, 1));
}

#[test]
fn questions_that_make_no_sense() {
    let ask = |rule: &str, track| {
        let question = Question {
            rule: rule.to_owned(),
            ..question(track)
        };
        let rules = [
            "loitering: {on: track, when: 'true'}",
            "crowd: {on: frame, when: 'true'}",
        ];
        Explainer::new(engine(&rules), question)
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        ask("loitring", Some(1)).as_deref(),
        Some("there is no rule `loitring`: did you mean `loitering`?")
    );
    assert_eq!(
        ask("nothing", None).as_deref(),
        Some("there is no rule `nothing`")
    );
    let missing = QuestionError::TrackMissing("loitering".to_owned());
    assert_eq!(ask("loitering", None), Some(missing.to_string()));
    assert!(ask("crowd", Some(1)).is_some());
    assert!(ask("loitering", Some(1)).is_none());
}

#[test]
fn what_is_told_has_a_bound() {
    let frames = records(&"+-".repeat(HOLDINGS_MAX + 1));
    let rule = "r: {on: track, when: in_zone(left), gap: 0s}";
    let timeline = explain(rule, question(Some(1)), &frames);
    assert!(timeline.is_cut);
    assert_eq!(timeline.holdings.len(), HOLDINGS_MAX);
    assert_eq!(timeline.parts[0].spans.len(), PART_SPANS_MAX);
    assert_eq!(timeline.parts[0].frames_held, HOLDINGS_MAX as u64 + 1);
}
