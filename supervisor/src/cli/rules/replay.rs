//! `sluice rules replay`: rules over what was seen in a past run, and how what fires
//! differs from what fired then.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use analytics::{Changed, Difference, Firing, Phase, RuleEngine, difference};
use contract::event::Event;
use contract::exit::Exit;
use contract::name::StreamName;
use dsl::RuleFile;
use serde::Serialize;

use super::super::text::{print_table, utc};
use super::past::{Era, Past, passing_rules};
use super::playback::{Step, play};
use super::progress::Progress;
use super::{
    CommandError, ReplayArguments, chosen_streams, counted, environment, open_store, print_json,
    read_rules,
};
use crate::event_time::{at_frame, clock};
use crate::store::{Completeness, EventRow, Reader};

pub(super) fn replay(
    data: &Path,
    arguments: &ReplayArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let rules = match &arguments.file {
        Some(path) => Some(Arc::new(read_rules(path)?.1)),
        None => None,
    };
    let store = open_store(data)?;
    let past = Past::read(&store, &arguments.run)?;
    let streams = chosen_streams(&store, &past.run.id, arguments.stream.as_deref())?;
    let events = store.events(&past.run.id)?;
    let mut progress = Progress::begin();
    let mut reports = Vec::new();
    for stream in &streams {
        let own = events
            .iter()
            .filter(|event| event.stream == stream.as_str());
        let own = own.map(EventRow::to_event).collect::<Result<_, _>>()?;
        let eras = past.eras(stream.as_str(), &environment)?;
        let notes = era_notes(&eras);
        let eras = with_rules(eras, rules.as_ref());
        let mut report = replay_stream(&store, &past.run.id, stream, &eras, own, &mut progress)?;
        report.notes.extend(notes);
        reports.push(report);
    }
    drop(progress);
    let report = Report {
        run: past.run.id.clone(),
        file: arguments
            .file
            .as_ref()
            .map(|path| path.display().to_string()),
        notes: run_notes(&past),
        streams: reports,
    };
    if arguments.format.json {
        print_json(out, &report)?;
    } else {
        report.print(out)?;
    }
    Ok(Exit::Success)
}

/// What came of a replay.
#[derive(Debug, Serialize)]
struct Report {
    run: String,
    /// The rule file; null for the run's own rules.
    file: Option<String>,
    /// Why the comparison may not be exact.
    notes: Vec<String>,
    streams: Vec<StreamReport>,
}

#[derive(Debug, Serialize)]
struct StreamReport {
    stream: String,
    /// Frames that were evaluated.
    frames: u64,
    begin_pts_ns: u64,
    end_pts_ns: u64,
    completeness: Option<Completeness>,
    /// Why the comparison may not be exact.
    notes: Vec<String>,
    /// Rule, track, begin and end are the same.
    same: Vec<Event>,
    /// It fired then and does not now.
    only_then: Vec<Event>,
    /// It fires now and did not then.
    only_now: Vec<Event>,
    /// The two overlap, but begin at different times.
    began_otherwise: Vec<ThenAndNow>,
    /// They begin together and end at different times.
    ended_otherwise: Vec<ThenAndNow>,
}

#[derive(Debug, Serialize)]
struct ThenAndNow {
    then: Event,
    now: Event,
}

/// The eras with other rules, where others are given.
fn with_rules(mut eras: Vec<Era>, rules: Option<&Arc<RuleFile>>) -> Vec<Era> {
    if let Some(rules) = rules {
        for era in &mut eras {
            era.rules = Some(Arc::clone(rules));
        }
    }
    eras
}

fn run_notes(past: &Past) -> Vec<String> {
    let run = &past.run;
    let mut notes = Vec::new();
    if run.state == "running" {
        notes.push("the run goes on: what is stored so far is compared".to_owned());
    }
    if run.rows_given_up > 0 {
        notes.push(format!(
            "{} could not be written during the run: some of its events may be missing in the store",
            counted(run.rows_given_up, "row")
        ));
    }
    notes
}

fn replay_stream(
    store: &Reader,
    run: &str,
    stream: &StreamName,
    eras: &[Era],
    mut own: Vec<Event>,
    progress: &mut Progress,
) -> Result<StreamReport, CommandError> {
    let completeness = store.completeness(run, stream.as_str())?;
    let mut player = Player::default();
    play(store, run, stream, eras, progress, |step| {
        player.step(stream, &step);
    })?;
    let mut notes: Vec<_> = completeness.and_then(incompleteness).into_iter().collect();
    if let Some(first) = player.first_sequence {
        let before = own.len();
        own.retain(|event| event.sequence_number >= first);
        let left_out = before - own.len();
        if left_out > 0 {
            notes.push(format!(
                "{} from before the first stored frame ({first}) left out",
                counted(left_out as u64, "event")
            ));
        }
    }
    let mut report = StreamReport {
        stream: stream.to_string(),
        frames: player.frames,
        begin_pts_ns: player.begin_pts_ns,
        end_pts_ns: player.end_pts_ns,
        completeness,
        notes,
        same: Vec::new(),
        only_then: Vec::new(),
        only_now: Vec::new(),
        began_otherwise: Vec::new(),
        ended_otherwise: Vec::new(),
    };
    // Without any frame everything would be told as gone.
    if report.frames > 0 {
        report.compare(difference(own, player.finish()));
    }
    Ok(report)
}

/// Why not all that was seen can be replayed.
fn incompleteness(completeness: Completeness) -> Option<String> {
    let Completeness {
        rendered,
        stored,
        pruned,
    } = completeness;
    if stored == 0 && pruned == 0 {
        return Some(
            "nothing is stored of what was seen, so nothing can be replayed: run with `store: {detections: true}`"
                .to_owned(),
        );
    }
    let mut parts = Vec::new();
    let missing = completeness.missing();
    if missing > 0 {
        parts.push(format!("{missing} were never stored"));
    }
    if pruned > 0 {
        parts.push(format!("{pruned} have been deleted by age or size"));
    }
    if parts.is_empty() {
        return None;
    }
    Some(format!(
        "of {rendered} frames {}: what fires near them may differ from what fired then",
        parts.join(" and ")
    ))
}

/// What is to be said of the texts that were in force.
fn era_notes(eras: &[Era]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for note in eras.iter().flat_map(|era| &era.settings.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    if eras.len() > 1 {
        let change = |era: &Era| {
            let at = utc(era.from_wall_ms?);
            Some(format!("{at} (generation {})", era.generation))
        };
        let changes: Vec<_> = eras.iter().filter_map(change).collect();
        notes.push(format!(
            "its rules or settings changed while the run went on, at {}: events within a second of a change may differ",
            changes.join(", ")
        ));
        notes.extend(passing_rules(eras));
    }
    notes
}

/// Evaluates rules on the frames of one stream.
#[derive(Default)]
struct Player {
    engine: Option<RuleEngine>,
    events: Vec<Event>,
    frames: u64,
    first_sequence: Option<u64>,
    begin_pts_ns: u64,
    end_pts_ns: u64,
}

impl Player {
    fn step(&mut self, stream: &StreamName, step: &Step<'_>) {
        match step {
            Step::Begin(era, segment) => {
                self.end_engine();
                let spec = era.engine_spec(stream, segment);
                self.engine = Some(RuleEngine::new(era.rule_file(), &spec));
            }
            Step::Change(era) => {
                if let Some(engine) = &mut self.engine {
                    let reloaded = engine.reload(era.rule_file(), era.generation);
                    engine.set_stream_labels(era.settings.labels.clone());
                    engine.set_forget_after_ns(era.settings.lost_timeout_ns);
                    keep(&mut self.events, reloaded.firings);
                }
            }
            Step::Frame(record) => {
                self.frames += 1;
                self.end_pts_ns = record.pts_ns;
                if self.first_sequence.is_none() {
                    self.first_sequence = Some(record.sequence_number);
                    self.begin_pts_ns = record.pts_ns;
                }
                if let Some(engine) = &mut self.engine {
                    keep(&mut self.events, engine.observe(record));
                }
            }
        }
    }

    /// All events; what lasts to the last frame ends with it.
    fn finish(mut self) -> Vec<Event> {
        self.end_engine();
        self.events
    }

    /// Another life of the render worker remembers nothing of this one.
    fn end_engine(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            keep(&mut self.events, engine.finish());
        }
    }
}

/// Keeps what makes an event row. Each firing has its end in time.
fn keep(events: &mut Vec<Event>, firings: Vec<Firing>) {
    let ends = firings
        .into_iter()
        .filter(|firing| firing.alerts && firing.phase == Phase::End);
    events.extend(ends.map(|firing| firing.event));
}

impl StreamReport {
    fn compare(&mut self, difference: Difference) {
        self.same = difference.same;
        self.only_then = difference.missing;
        self.only_now = difference.new;
        for Changed { run, replay } in difference.changed {
            let pair = ThenAndNow {
                then: run,
                now: replay,
            };
            if pair.then.begin_pts_ns == pair.now.begin_pts_ns {
                self.ended_otherwise.push(pair);
            } else {
                self.began_otherwise.push(pair);
            }
        }
    }

    /// How many firings have which fate.
    fn counts(&self) -> [(usize, &'static str); 5] {
        [
            (self.same.len(), "the same"),
            (self.only_then.len(), "only then"),
            (self.only_now.len(), "only now"),
            (self.began_otherwise.len(), "began otherwise"),
            (self.ended_otherwise.len(), "ended otherwise"),
        ]
    }

    /// Lines of a diff, in the order of time.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let alone = [
            ("=", &self.same, ""),
            ("-", &self.only_then, "only then"),
            ("+", &self.only_now, "only now"),
        ];
        for (sign, events, how) in alone {
            for event in events {
                rows.push((event.begin_pts_ns, vec![cells(sign, event, how.to_owned())]));
            }
        }
        for pair in self.began_otherwise.iter().chain(&self.ended_otherwise) {
            let both = vec![
                cells("~", &pair.then, "then".to_owned()),
                cells("", &pair.now, format!("now: {}", pair.how())),
            ];
            rows.push((pair.then.begin_pts_ns, both));
        }
        rows.sort_by_key(|(begin_pts_ns, _)| *begin_pts_ns);
        rows.into_iter().flat_map(|(_, rows)| rows).collect()
    }

    fn print(&self, out: &mut impl Write) -> Result<(), CommandError> {
        let (begin, end) = (clock(self.begin_pts_ns), clock(self.end_pts_ns));
        match self.frames {
            0 => writeln!(out, "stream {}: no frames", self.stream)?,
            frames => writeln!(
                out,
                "stream {}: {}, {begin} to {end}",
                self.stream,
                counted(frames, "frame")
            )?,
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        let rows = self.rows();
        if !rows.is_empty() {
            print_table(out, &["", "begins", "ends", "rule", "track", ""], &rows)?;
        } else if self.frames > 0 {
            writeln!(out, "nothing fired then, and nothing fires now")?;
        }
        Ok(())
    }
}

impl ThenAndNow {
    /// `begins 1.200 s later, ends 0.040 s earlier`
    fn how(&self) -> String {
        let Self { then, now } = self;
        let mut parts = Vec::new();
        if then.begin_pts_ns != now.begin_pts_ns {
            parts.push(shift("begins", then.begin_pts_ns, now.begin_pts_ns));
        }
        match (then.end_pts_ns, now.end_pts_ns) {
            (Some(old), Some(new)) if old != new => parts.push(shift("ends", old, new)),
            (None, Some(_)) => parts.push("ends".to_owned()),
            (Some(_), None) => parts.push("does not end".to_owned()),
            _ => {}
        }
        parts.join(", ")
    }
}

fn shift(what: &str, then_ns: u64, now_ns: u64) -> String {
    let word = if now_ns > then_ns { "later" } else { "earlier" };
    let milliseconds = now_ns.abs_diff(then_ns) / 1_000_000;
    format!(
        "{what} {}.{:03} s {word}",
        milliseconds / 1000,
        milliseconds % 1000
    )
}

fn cells(sign: &str, event: &Event, how: String) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        sign.to_owned(),
        at_frame(event.begin_pts_ns, event.sequence_number),
        event.end_pts_ns.map_or_else(dash, clock),
        event.rule.clone(),
        event.track.map_or_else(dash, |track| track.to_string()),
        how,
    ]
}

impl Report {
    fn print(&self, out: &mut impl Write) -> Result<(), CommandError> {
        let what = self.file.as_deref().unwrap_or("its own rules");
        writeln!(out, "run {} with {what}", self.run)?;
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for stream in &self.streams {
            writeln!(out)?;
            stream.print(out)?;
        }
        writeln!(out, "\n{}", self.summary())?;
        Ok(())
    }

    /// `12 the same, 1 only then, 2 only now`
    fn summary(&self) -> String {
        let mut totals = [(0, ""); 5];
        for stream in &self.streams {
            for (total, (count, words)) in totals.iter_mut().zip(stream.counts()) {
                *total = (total.0 + count, words);
            }
        }
        let some = totals.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = some
            .map(|(count, words)| format!("{count} {words}"))
            .collect();
        if parts.is_empty() {
            return "nothing to compare".to_owned();
        }
        parts.join(", ")
    }
}
