//! A timeline in words and values, for people: about a screenful.

use std::io::Write;

use analytics::HeldBack;
use analytics::explain::{Break, Holding, Outcome, PartTimeline, PartValue, Timeline, ValueRange};
use contract::control::FrameRecord;

use super::super::super::text::print_table;
use super::CommandError;
use crate::event_time::{at_frame, clock, span};
use crate::store::EventRow;

/// Characters of a part's text: beyond, the columns behind it leave the screen.
const TEXT_MAX: usize = 60;

/// Times shown that a condition held.
const HOLDINGS_SHOWN: usize = 8;

/// How is shown whether a part holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    yes: &'static str,
    no: &'static str,
    /// In some frames.
    partly: &'static str,
}

impl Marks {
    const TERMINAL: Self = Self {
        yes: "✓",
        no: "✗",
        partly: "~",
    };
    const PLAIN: Self = Self {
        yes: "[x]",
        no: "[ ]",
        partly: "[~]",
    };

    pub(super) fn of_terminal(is_terminal: bool) -> Self {
        if is_terminal {
            Self::TERMINAL
        } else {
            Self::PLAIN
        }
    }

    fn of(self, holds: bool) -> &'static str {
        if holds { self.yes } else { self.no }
    }
}

/// When a track was in the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    label: String,
    first: (u64, u64),
    last: (u64, u64),
}

impl Seen {
    /// Takes in a frame that the track is in.
    pub(super) fn note(seen: &mut Option<Self>, record: &FrameRecord, label: &str) {
        let moment = (record.pts_ns, record.sequence_number);
        match seen {
            Some(seen) => seen.last = moment,
            None => {
                *seen = Some(Self {
                    label: label.to_owned(),
                    first: moment,
                    last: moment,
                });
            }
        }
    }
}

/// Why an event fired.
pub(super) fn tell_event(
    event: &EventRow,
    timeline: &Timeline,
    marks: Marks,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let at = at_frame(event.begin_pts_ns, event.sequence_number);
    let subject = match (event.track, &event.label) {
        (Some(track), Some(label)) => format!("for track {track} ({label}) "),
        (Some(track), None) => format!("for track {track} "),
        _ => String::new(),
    };
    let (rule, stream) = (&event.rule, &event.stream);
    writeln!(out, "{rule} fired {subject}in stream {stream} at {at}")?;
    writeln!(out, "  \"{}\"\n", event.message)?;
    let firing = timeline
        .holdings
        .iter()
        .find_map(|held| match &held.outcome {
            Outcome::Fired { at, values } if at.pts_ns == event.begin_pts_ns => {
                Some((held, at, values))
            }
            _ => None,
        });
    let Some((held, at, values)) = firing else {
        writeln!(
            out,
            "the stored frames do not make it fire again; this is what they say of it:\n"
        )?;
        return tell_rule(timeline, marks, out);
    };
    tell_way(timeline, held, out)?;
    writeln!(out)?;
    let has_begin = held.begin.pts_ns != at.pts_ns;
    let mut header = vec!["", "held since"];
    if has_begin {
        header.push("at begin");
    }
    header.push("when it fired");
    let rows: Vec<_> = timeline
        .parts
        .iter()
        .zip(values)
        .enumerate()
        .map(|(index, (part, value))| {
            let since = since(part, at.pts_ns);
            let mut cells = vec![shown_part(part, marks.of(value.holds == Some(true))), since];
            if has_begin {
                cells.push(value_at(&held.at_begin, index));
            }
            cells.push(value.value.clone().unwrap_or_default());
            cells
        })
        .collect();
    print_table(out, &header, &rows)?;
    tell_held_back(timeline, out)
}

/// Since when a part holds; of one that does not, like an earlier step of a sequence,
/// until when it did.
fn since(part: &PartTimeline, pts_ns: u64) -> String {
    let begun = part.spans.iter().rev();
    let mut begun = begun.filter(|span| span.begin.pts_ns <= pts_ns);
    match begun.next() {
        Some(span) if span.end.pts_ns >= pts_ns => clock(span.begin.pts_ns),
        Some(span) => format!("until {}", clock(span.end.pts_ns)),
        None => "never".to_owned(),
    }
}

/// From the frame in which the condition began to hold to the one that ended it.
fn tell_way(timeline: &Timeline, held: &Holding, out: &mut impl Write) -> Result<(), CommandError> {
    let mut rows = vec![(held.begin, "the condition began to hold".to_owned())];
    if held.interruptions > 0 {
        let times = match held.interruptions {
            1 => "1 interruption".to_owned(),
            times => format!("{times} interruptions"),
        };
        let text = format!(
            "{times} of it overlooked, by `gap: {}`",
            span(timeline.gap_ns)
        );
        rows.push((held.begin, text));
    }
    match &held.outcome {
        Outcome::Fired { at, .. } => {
            let text = match timeline.for_ns {
                0 => "it fired at once".to_owned(),
                for_ns => format!("it had held for {}: it fired", span(for_ns)),
            };
            rows.push((*at, text));
        }
        Outcome::HeldBack { at, by } => rows.push((*at, held_back(*by).to_owned())),
        Outcome::TooShort => {}
    }
    rows.push((held.end, "it held for the last time".to_owned()));
    if let Some(broken) = &held.broken {
        rows.push((broken.at, blame(timeline, broken)));
    }
    let mut before = None;
    let cells: Vec<_> = rows
        .into_iter()
        .map(|(moment, text)| {
            let at = if before.replace(moment) == Some(moment) {
                String::new()
            } else {
                at_frame(moment.pts_ns, moment.sequence_number)
            };
            (at, text)
        })
        .collect();
    let width = cells.iter().map(|(at, _)| at.len()).max().unwrap_or(0);
    for (at, text) in cells {
        writeln!(out, "{at:width$}  {text}")?;
    }
    Ok(())
}

/// Firings of the same rule and track that a limit held back.
fn tell_held_back(timeline: &Timeline, out: &mut impl Write) -> Result<(), CommandError> {
    let mut is_first = true;
    for held in &timeline.holdings {
        if let Outcome::HeldBack { at, by } = &held.outcome {
            if std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            let at = at_frame(at.pts_ns, at.sequence_number);
            writeln!(out, "at {at} another firing was {}", held_back(*by))?;
        }
    }
    Ok(())
}

/// Why a rule did not fire.
pub(super) fn tell_why_not(
    stream: &str,
    seen: Option<&Seen>,
    timeline: &Timeline,
    marks: Marks,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let fired = timeline
        .holdings
        .iter()
        .filter_map(|held| match &held.outcome {
            Outcome::Fired { at, .. } => Some(at_frame(at.pts_ns, at.sequence_number)),
            _ => None,
        });
    let fired: Vec<_> = fired.take(HOLDINGS_SHOWN).collect();
    let key = match (timeline.track, seen) {
        (Some(track), Some(seen)) => format!(" for track {track} ({})", seen.label),
        (Some(track), None) => format!(" for track {track}"),
        (None, _) => String::new(),
    };
    let rule = &timeline.rule;
    if fired.is_empty() {
        writeln!(out, "{rule} did not fire{key} in stream {stream}")?;
    } else {
        let times = fired.join(", ");
        writeln!(out, "{rule} did fire{key} in stream {stream}: at {times}")?;
    }
    if let Some(Seen { first, last, .. }) = seen {
        let (first, last) = (at_frame(first.0, first.1), at_frame(last.0, last.1));
        writeln!(out, "the track is there from {first} to {last}")?;
    }
    tell_rule(timeline, marks, out)
}

/// The times that the condition held, and each part over all of the time.
fn tell_rule(timeline: &Timeline, marks: Marks, out: &mut impl Write) -> Result<(), CommandError> {
    writeln!(out, "{}", verdict(timeline))?;
    if timeline.frames_asked == 0 {
        return Ok(());
    }
    if !timeline.holdings.is_empty() {
        writeln!(out)?;
        let mut longest: Vec<_> = timeline.holdings.iter().collect();
        longest.sort_by_key(|held| std::cmp::Reverse(held.duration_ns()));
        longest.truncate(HOLDINGS_SHOWN);
        longest.sort_by_key(|held| held.begin.pts_ns);
        let cells = |held: &&Holding| {
            let outcome = match &held.outcome {
                Outcome::TooShort => "too short".to_owned(),
                Outcome::Fired { .. } => "fired".to_owned(),
                Outcome::HeldBack { by, .. } => held_back(*by).to_owned(),
            };
            let broken = held.broken.as_ref();
            vec![
                at_frame(held.begin.pts_ns, held.begin.sequence_number),
                span(held.duration_ns()),
                outcome,
                broken.map_or_else(
                    || "the last frame".to_owned(),
                    |broken| blame(timeline, broken),
                ),
            ]
        };
        let rows: Vec<_> = longest.iter().map(cells).collect();
        print_table(out, &["held from", "for", "", "until"], &rows)?;
        let left = timeline.holdings.len() - longest.len();
        if left > 0 {
            writeln!(out, "and {left} shorter times")?;
        }
    }
    writeln!(out)?;
    let rows: Vec<_> = timeline
        .parts
        .iter()
        .map(|part| {
            let mark = part_mark(part, timeline.frames_asked, marks);
            vec![
                shown_part(part, mark),
                how_often(part, timeline.frames_asked),
                part.values.as_ref().map_or_else(String::new, values),
            ]
        })
        .collect();
    print_table(out, &["", "held", "values"], &rows)?;
    if timeline.is_cut {
        writeln!(
            out,
            "note: too much happened to keep all of it; the begin is shown"
        )?;
    }
    Ok(())
}

/// The answer in one sentence.
fn verdict(timeline: &Timeline) -> String {
    let Timeline {
        for_ns,
        frames_asked,
        frames_unseen,
        ..
    } = timeline;
    if *frames_asked == 0 {
        return match timeline.track {
            Some(_) => "the condition was never asked: the track is in no frame of these rules",
            None => "the condition was never asked: no model ran on any stored frame",
        }
        .to_owned();
    }
    let asked = match frames_unseen {
        0 => format!("asked in {frames_asked} frames"),
        unseen => format!("asked in {frames_asked} frames, not found in {unseen} more"),
    };
    let is_held_back = |held: &&Holding| matches!(held.outcome, Outcome::HeldBack { .. });
    if let Some(held) = timeline.holdings.iter().find(is_held_back)
        && let Outcome::HeldBack { at, by } = &held.outcome
    {
        let at = at_frame(at.pts_ns, at.sequence_number);
        return format!("at {at} it was {} ({asked})", held_back(*by));
    }
    match timeline.longest() {
        None => {
            let never: Vec<_> = never_held(timeline)
                .map(|part| format!("`{}`", shortened(&part.text)))
                .collect();
            let because = match never.as_slice() {
                [] => "its parts did, but never as the whole needs them".to_owned(),
                [one] => format!("{one} never did"),
                several => format!("{} never did", several.join(" and ")),
            };
            format!("the condition never held: {because} ({asked})")
        }
        Some(longest) => {
            let duration = span(longest.duration_ns());
            if longest.duration_ns() >= *for_ns {
                return format!("the condition held for {duration} at most ({asked})");
            }
            format!(
                "the condition held for {duration} at most, and must hold for {} ({asked})",
                span(*for_ns)
            )
        }
    }
}

/// The conditions right below the whole that never held; the whole where it has none.
fn never_held(timeline: &Timeline) -> impl Iterator<Item = &PartTimeline> {
    let has_below = timeline.parts.iter().any(|part| part.depth == 1);
    let depth = u32::from(has_below);
    let parts = timeline.parts.iter();
    parts.filter(move |part| part.depth == depth && part.frames_held == 0)
}

/// What ended it: the smallest parts that changed.
fn blame(timeline: &Timeline, broken: &Break) -> String {
    if broken.unseen {
        return "the track was not found".to_owned();
    }
    let words = |value: &PartValue| {
        let part = timeline.parts.get(value.part)?;
        let now = match value.holds? {
            true => "held",
            false => "did not hold",
        };
        let text = shortened(&part.text);
        Some(match &value.value {
            Some(value) => format!("`{text}` {now}: {value}"),
            None => format!("`{text}` {now}"),
        })
    };
    let smallest = broken
        .changed
        .iter()
        .filter(|value| !has_smaller(timeline, value, &broken.changed));
    let words: Vec<_> = smallest.filter_map(words).collect();
    if words.is_empty() {
        return "the condition did not hold".to_owned();
    }
    words.join(", ")
}

/// Whether a part inside of this one is among `others`.
fn has_smaller(timeline: &Timeline, value: &PartValue, others: &[PartValue]) -> bool {
    let Some(part) = timeline.parts.get(value.part) else {
        return false;
    };
    let behind = timeline.parts[value.part + 1..].iter();
    let inside = behind.take_while(|other| other.depth > part.depth).count();
    let indices = value.part + 1..=value.part + inside;
    others.iter().any(|other| indices.contains(&other.part))
}

fn held_back(by: HeldBack) -> &'static str {
    match by {
        HeldBack::Limit => "held back by the rule's `limit`",
        HeldBack::TrackFlood => "held back: too many firings for this track in a minute",
        HeldBack::RuleFlood => "held back: too many firings of this rule in a minute",
        HeldBack::StreamFlood => "held back: too many firings in this stream in a minute",
    }
}

fn shown_part(part: &PartTimeline, mark: &str) -> String {
    let indent = "  ".repeat(part.depth as usize);
    format!("{indent}{mark} {}", shortened(&part.text))
}

fn part_mark(part: &PartTimeline, frames_asked: u64, marks: Marks) -> &'static str {
    match part.frames_held {
        0 => marks.no,
        held if held == frames_asked => marks.yes,
        _ => marks.partly,
    }
}

fn how_often(part: &PartTimeline, frames_asked: u64) -> String {
    match part.frames_held {
        0 => "never".to_owned(),
        held if held == frames_asked => "always".to_owned(),
        held => format!("in {held} of {frames_asked} frames"),
    }
}

fn values(ValueRange { least, greatest }: &ValueRange) -> String {
    if least == greatest {
        return least.clone();
    }
    format!("{least} to {greatest}")
}

fn value_at(values: &[PartValue], part: usize) -> String {
    let value = values.iter().find(|value| value.part == part);
    value
        .and_then(|value| value.value.clone())
        .unwrap_or_default()
}

/// One line of at most [`TEXT_MAX`] characters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TEXT_MAX {
        return line;
    }
    let short: String = line.chars().take(TEXT_MAX - 3).collect();
    format!("{short}...")
}
