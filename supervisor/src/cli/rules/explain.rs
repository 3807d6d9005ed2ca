//! `sluice rules explain`: why an event fired, or why a rule did not fire.

mod json;
mod story;

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;

use analytics::RuleEngine;
use analytics::explain::{Explainer, Question, QuestionError, Timeline};
use contract::control::FrameRecord;
use contract::exit::Exit;
use contract::name::StreamName;

use super::super::is_terminal;
use super::super::text::print_table;
use super::past::{Era, Past};
use super::playback::{Step, play};
use super::progress::Progress;
use super::{CommandError, ExplainArguments, chosen_streams, environment, open_store, print_json};
use crate::event_time::at_frame;
use crate::store::{EventRow, Reader};
use json::Answer;
use story::{Marks, Seen};

/// Events that are listed when it is not clear which one is meant.
const CHOICES_MAX: usize = 40;

/// How far back parts are looked at that are not about one track: as far as a person asks.
const LOOK_BACK_NS: u64 = 600_000_000_000;

pub(super) fn explain(
    data: &Path,
    arguments: &ExplainArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let past = Past::read(&store, &arguments.run)?;
    if let Some(rule) = &arguments.why_not {
        return why_not(&store, &past, rule, arguments, out);
    }
    let events = store.events(&past.run.id)?;
    let Some(word) = &arguments.event else {
        return list(&past, &events, arguments, out);
    };
    let event = match choose(&events, word) {
        Choice::One(event) => event,
        Choice::None => {
            let text = format!(
                "run {} has no event `{word}`: `sluice rules explain {}` lists those it has",
                past.run.id, arguments.run
            );
            return Err(CommandError::other(Exit::NotFound, text));
        }
        Choice::Several(events) => {
            print_choices(&events, out)?;
            out.flush()?;
            let text = format!("`{word}` may be any of {} events: choose one", events.len());
            return Err(CommandError::other(Exit::Usage, text));
        }
    };
    explain_event(&store, &past, event, arguments, out)
}

/// The event that is meant.
enum Choice<'a> {
    None,
    One(&'a EventRow),
    /// Each with its number.
    Several(Vec<(usize, &'a EventRow)>),
}

/// Looks for an id, then for a number in the list, then for whole parts of ids.
fn choose<'a>(events: &'a [EventRow], word: &str) -> Choice<'a> {
    if let Some(event) = events.iter().find(|event| event.id == word) {
        return Choice::One(event);
    }
    let number = word.parse::<usize>().ok();
    let index = number.and_then(|number| number.checked_sub(1));
    if let Some(event) = index.and_then(|index| events.get(index)) {
        return Choice::One(event);
    }
    let part = format!("/{}/", word.trim_matches('/'));
    let has_part = |event: &EventRow| format!("/{}/", event.id).contains(&part);
    let numbered = (1..).zip(events);
    let found: Vec<_> = numbered.filter(|(_, event)| has_part(event)).collect();
    match found.as_slice() {
        [] => Choice::None,
        [(_, event)] => Choice::One(event),
        _ => Choice::Several(found),
    }
}

fn list(
    past: &Past,
    events: &[EventRow],
    arguments: &ExplainArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    if arguments.format.json {
        print_json(out, &events)?;
    } else if events.is_empty() {
        writeln!(
            out,
            "run {} has no events: ask why with --why-not RULE --track ID",
            past.run.id
        )?;
    } else {
        let numbered: Vec<_> = (1..).zip(events).collect();
        print_choices(&numbered, out)?;
    }
    Ok(Exit::Success)
}

fn print_choices(events: &[(usize, &EventRow)], out: &mut impl Write) -> Result<(), CommandError> {
    let cells = |(number, event): &(usize, &EventRow)| {
        let track = event
            .track
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        vec![
            number.to_string(),
            at_frame(event.begin_pts_ns, event.sequence_number),
            event.rule.clone(),
            track,
            event.id.clone(),
        ]
    };
    let rows: Vec<_> = events.iter().take(CHOICES_MAX).map(cells).collect();
    print_table(out, &["", "began", "rule", "track", "event"], &rows)?;
    if events.len() > CHOICES_MAX {
        writeln!(
            out,
            "and {} more: `sluice events` lists all",
            events.len() - CHOICES_MAX
        )?;
    }
    Ok(())
}

fn explain_event(
    store: &Reader,
    past: &Past,
    event: &EventRow,
    arguments: &ExplainArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let stream = parse_stream(&event.stream)?;
    let begin = match event.track {
        Some(_) => 0,
        None => event.begin_pts_ns.saturating_sub(LOOK_BACK_NS),
    };
    let question = Question {
        rule: event.rule.clone(),
        track: event.track,
        pts_ns: begin..=event.end_pts_ns.unwrap_or(u64::MAX),
    };
    let lives = watch(store, past, &stream, &question)?;
    let life = lives
        .into_iter()
        .find(|life| life.sequences().contains(&event.sequence_number));
    let Some(life) = life else {
        let text = format!(
            "the frames around event {} are not in the store any more, so it cannot be explained",
            event.id
        );
        return Err(CommandError::other(Exit::NotFound, text));
    };
    if arguments.format.json {
        print_json(out, &Answer::of_event(&past.run.id, event, &life.timeline))?;
    } else {
        let marks = Marks::of_terminal(is_terminal());
        story::tell_event(event, &life.timeline, marks, out)?;
        print_notes(store, past, &stream, out)?;
    }
    Ok(Exit::Success)
}

fn why_not(
    store: &Reader,
    past: &Past,
    rule: &str,
    arguments: &ExplainArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let run = &past.run.id;
    let streams = chosen_streams(store, run, arguments.stream.as_deref())?;
    let [stream] = streams.as_slice() else {
        let names: Vec<_> = streams.iter().map(StreamName::as_str).collect();
        let text = format!(
            "run {run} has several streams: choose one with --stream ({})",
            names.join(", ")
        );
        return Err(CommandError::other(Exit::Usage, text));
    };
    let question = Question {
        rule: rule.to_owned(),
        track: arguments.track,
        pts_ns: 0..=u64::MAX,
    };
    let lives = watch(store, past, stream, &question)?;
    let known = match arguments.track {
        Some(_) => lives.iter().filter(|life| life.seen.is_some()).collect(),
        None => lives.iter().collect::<Vec<_>>(),
    };
    let Some(life) = known.last() else {
        return Err(unknown_track(stream, arguments.track, &lives));
    };
    if arguments.format.json {
        let answer = Answer::of_rule(run, stream.as_str(), &life.timeline);
        print_json(out, &answer)?;
        return Ok(Exit::Success);
    }
    let marks = Marks::of_terminal(is_terminal());
    story::tell_why_not(
        stream.as_str(),
        life.seen.as_ref(),
        &life.timeline,
        marks,
        out,
    )?;
    if known.len() > 1 {
        let what = match arguments.track {
            Some(track) => format!("track {track} is another one in each of its lives"),
            None => "its rules began anew each time".to_owned(),
        };
        writeln!(
            out,
            "note: the render worker was started {} times, {what}; this is the last",
            lives.len()
        )?;
    }
    print_notes(store, past, stream, out)?;
    Ok(Exit::Success)
}

fn unknown_track(stream: &StreamName, track: Option<u64>, lives: &[Life]) -> CommandError {
    let ids = lives.iter().filter_map(|life| life.tracks.clone());
    let ids =
        ids.reduce(|one, other| *one.start().min(other.start())..=*one.end().max(other.end()));
    let text = match (track, ids) {
        (Some(track), Some(ids)) => format!(
            "no stored frame of stream {stream} has track {track}: its tracks are {} to {}",
            ids.start(),
            ids.end()
        ),
        _ => format!(
            "nothing is stored of what was seen in stream {stream}: run with `store: {{detections: true}}`"
        ),
    };
    CommandError::other(Exit::NotFound, text)
}

/// One life of a render worker.
struct Life {
    timeline: Timeline,
    /// The track that is asked about, where there is one.
    seen: Option<Seen>,
    /// The least and the greatest id of a track.
    tracks: Option<RangeInclusive<u64>>,
    first_sequence: u64,
    last_sequence: u64,
}

impl Life {
    fn sequences(&self) -> RangeInclusive<u64> {
        self.first_sequence..=self.last_sequence
    }
}

/// Plays all that is stored of a stream and watches one rule in each life of the render worker.
fn watch(
    store: &Reader,
    past: &Past,
    stream: &StreamName,
    question: &Question,
) -> Result<Vec<Life>, CommandError> {
    let eras = past.eras(stream.as_str(), &environment)?;
    let mut watcher = Watcher::new(stream, question);
    let mut progress = Progress::begin();
    play(store, &past.run.id, stream, &eras, &mut progress, |step| {
        watcher.step(&step);
    })?;
    drop(progress);
    let refusal = watcher.refusal.take();
    let lives = watcher.finish();
    match refusal {
        Some(refusal) if lives.is_empty() => Err(refused(&refusal, stream, &eras)),
        _ => Ok(lives),
    }
}

fn refused(refusal: &QuestionError, stream: &StreamName, eras: &[Era]) -> CommandError {
    let advice = match refusal {
        QuestionError::UnknownRule { .. } => {
            let rules = eras.iter().flat_map(|era| era.rules.iter());
            let rules = rules.flat_map(|file| file.rules.iter());
            let mut names: Vec<_> = rules.map(|rule| rule.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            match names.as_slice() {
                [] => format!("; stream {stream} has no rules"),
                names => format!("; the rules of stream {stream} are {}", names.join(", ")),
            }
        }
        QuestionError::TrackMissing(_) => " with --track ID".to_owned(),
        QuestionError::TrackUnexpected(_) => ": leave --track out".to_owned(),
    };
    CommandError::other(Exit::Usage, format!("{refusal}{advice}"))
}

struct Watcher<'a> {
    stream: &'a StreamName,
    question: &'a Question,
    current: Option<Watched>,
    lives: Vec<Life>,
    /// Why the rule could not be watched.
    refusal: Option<QuestionError>,
    /// What a life of the render worker began with, until the rule can be watched.
    spec: Option<analytics::EngineSpec>,
}

struct Watched {
    explainer: Explainer,
    labels: Vec<Vec<String>>,
    seen: Option<Seen>,
    tracks: Option<RangeInclusive<u64>>,
    sequences: Option<(u64, u64)>,
}

impl<'a> Watcher<'a> {
    fn new(stream: &'a StreamName, question: &'a Question) -> Self {
        Self {
            stream,
            question,
            current: None,
            lives: Vec::new(),
            refusal: None,
            spec: None,
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Begin(era, segment) => {
                self.end();
                self.spec = Some(era.engine_spec(self.stream, segment));
                self.begin(era);
            }
            Step::Change(era) => match &mut self.current {
                Some(watched) => {
                    let explainer = &mut watched.explainer;
                    explainer.reload(era.rule_file(), era.generation);
                    explainer.set_stream_labels(era.settings.labels.clone());
                    explainer.set_forget_after_ns(era.settings.lost_timeout_ns);
                }
                // The rule may have come with this text.
                None => {
                    if let Some(spec) = &mut self.spec {
                        era.settle(spec);
                    }
                    self.begin(era);
                }
            },
            Step::Frame(record) => {
                if let Some(watched) = &mut self.current {
                    watched.observe(record, self.question.track);
                }
            }
        }
    }

    fn begin(&mut self, era: &Era) {
        let Some(spec) = &self.spec else { return };
        let engine = RuleEngine::new(era.rule_file(), spec);
        match Explainer::new(engine, self.question.clone()) {
            Ok(explainer) => {
                self.current = Some(Watched {
                    explainer,
                    labels: spec.class_names.clone(),
                    seen: None,
                    tracks: None,
                    sequences: None,
                });
            }
            Err(refusal) => self.refusal = Some(refusal),
        }
    }

    fn end(&mut self) {
        let Some(watched) = self.current.take() else {
            return;
        };
        if let Some((first_sequence, last_sequence)) = watched.sequences {
            self.lives.push(Life {
                timeline: watched.explainer.finish(),
                seen: watched.seen,
                tracks: watched.tracks,
                first_sequence,
                last_sequence,
            });
        }
    }

    fn finish(mut self) -> Vec<Life> {
        self.end();
        self.lives
    }
}

impl Watched {
    fn observe(&mut self, record: &FrameRecord, track: Option<u64>) {
        let number = record.sequence_number;
        let first = self.sequences.map_or(number, |(first, _)| first);
        self.sequences = Some((first, number));
        for object in &record.objects {
            let Some(id) = object.track else { continue };
            let ids = self.tracks.take().unwrap_or(id..=id);
            self.tracks = Some(id.min(*ids.start())..=id.max(*ids.end()));
            if Some(id) == track {
                let label = self.labels.get(usize::from(object.model));
                let label = label.and_then(|labels| labels.get(usize::from(object.class)));
                Seen::note(&mut self.seen, record, label.map_or("", String::as_str));
            }
        }
        self.explainer.observe(record);
    }
}

/// Why the answer may not be exact.
fn print_notes(
    store: &Reader,
    past: &Past,
    stream: &StreamName,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let completeness = store.completeness(&past.run.id, stream.as_str())?;
    if let Some(missing) = completeness.filter(|stored| !stored.is_complete()) {
        writeln!(
            out,
            "note: {} of {} frames are not in the store: what hangs on them is not known",
            missing.missing() + missing.pruned,
            missing.rendered
        )?;
    }
    for era in past.eras(stream.as_str(), &environment)? {
        for note in &era.settings.notes {
            writeln!(out, "note: {note}")?;
        }
    }
    Ok(())
}

fn parse_stream(name: &str) -> Result<StreamName, CommandError> {
    name.parse().map_err(|error| {
        CommandError::other(
            Exit::Failure,
            format!("the store has a stream that {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn event(id: &str) -> EventRow {
        EventRow {
            id: id.to_owned(),
            stream: "yard".to_owned(),
            rule: "loitering".to_owned(),
            generation: 0,
            track: None,
            label: None,
            sequence_number: 0,
            begin_pts_ns: 0,
            end_pts_ns: None,
            begin_wall_ms: 0,
            score: None,
            bounds: None,
            message: String::new(),
            labels: BTreeMap::new(),
            snapshot: None,
            clip: None,
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn events_are_chosen_by_id_part_or_number() {
        let events = [
            event("yard/loitering/2/1000"),
            event("yard/loitering/17/2000"),
            event("yard/crowd/-/2000"),
        ];
        let chosen = |word: &str| match choose(&events, word) {
            Choice::None => Vec::new(),
            Choice::One(event) => vec![event.id.as_str()],
            Choice::Several(events) => events.iter().map(|(_, event)| event.id.as_str()).collect(),
        };
        assert_eq!(chosen("yard/crowd/-/2000"), ["yard/crowd/-/2000"]);
        assert_eq!(chosen("1000"), ["yard/loitering/2/1000"]);
        assert_eq!(chosen("loitering/2"), ["yard/loitering/2/1000"]);
        assert_eq!(chosen("crowd"), ["yard/crowd/-/2000"]);
        assert_eq!(chosen("3"), ["yard/crowd/-/2000"]);
        assert_eq!(chosen("2"), ["yard/loitering/17/2000"], "not track 2");
        assert_eq!(
            chosen("loitering"),
            ["yard/loitering/2/1000", "yard/loitering/17/2000"]
        );
        assert_eq!(
            chosen("/2000"),
            ["yard/loitering/17/2000", "yard/crowd/-/2000"]
        );
        assert!(chosen("0").is_empty());
        assert!(chosen("4").is_empty());
        assert!(chosen("wait").is_empty());
    }
}
