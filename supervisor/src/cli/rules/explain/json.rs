//! A timeline as JSON.

use analytics::HeldBack;
use analytics::explain::{
    Break, Holding, Moment, Outcome, PartTimeline, PartValue, Span, Timeline, ValueRange,
};
use serde::Serialize;

use crate::store::EventRow;

#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    run: &'a str,
    stream: &'a str,
    rule: &'a str,
    track: Option<u64>,
    /// The event that is explained; null for a rule that is asked about.
    event: Option<&'a EventRow>,
    for_ns: u64,
    gap_ns: u64,
    /// Frames in which the condition was asked.
    frames_asked: u64,
    /// Frames in which the track was looked for and not found.
    frames_unseen: u64,
    /// Parts of the condition, each before those it is made of.
    parts: Vec<PartJson<'a>>,
    /// Each time that the condition held.
    holdings: Vec<HoldingJson<'a>>,
    /// Not all of it was kept.
    is_cut: bool,
}

#[derive(Debug, Serialize)]
struct MomentJson {
    pts_ns: u64,
    sequence_number: u64,
}

#[derive(Debug, Serialize)]
struct PartJson<'a> {
    depth: u32,
    text: &'a str,
    frames_held: u64,
    values: Option<ValuesJson<'a>>,
    held: Vec<SpanJson<'a>>,
}

#[derive(Debug, Serialize)]
struct SpanJson<'a> {
    begin: MomentJson,
    end: MomentJson,
    values: Option<ValuesJson<'a>>,
}

#[derive(Debug, Serialize)]
struct ValuesJson<'a> {
    least: &'a str,
    greatest: &'a str,
}

#[derive(Debug, Serialize)]
struct ValueJson<'a> {
    /// Index into `parts`.
    part: usize,
    holds: Option<bool>,
    value: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct HoldingJson<'a> {
    begin: MomentJson,
    end: MomentJson,
    interruptions: u64,
    at_begin: Vec<ValueJson<'a>>,
    /// `too_short`, `fired`, or by what it was held back.
    outcome: &'static str,
    /// When it had held for `for`.
    outcome_at: Option<MomentJson>,
    at_firing: Vec<ValueJson<'a>>,
    /// What ended it; null when it lasted to the end.
    broken: Option<BreakJson<'a>>,
}

#[derive(Debug, Serialize)]
struct BreakJson<'a> {
    at: MomentJson,
    /// The track was looked for and not found.
    unseen: bool,
    /// Parts that said something else than before.
    changed: Vec<ValueJson<'a>>,
}

impl<'a> Answer<'a> {
    pub(super) fn of_event(run: &'a str, event: &'a EventRow, timeline: &'a Timeline) -> Self {
        Self {
            event: Some(event),
            ..Self::of_rule(run, &event.stream, timeline)
        }
    }

    pub(super) fn of_rule(run: &'a str, stream: &'a str, timeline: &'a Timeline) -> Self {
        Self {
            run,
            stream,
            rule: &timeline.rule,
            track: timeline.track,
            event: None,
            for_ns: timeline.for_ns,
            gap_ns: timeline.gap_ns,
            frames_asked: timeline.frames_asked,
            frames_unseen: timeline.frames_unseen,
            parts: timeline.parts.iter().map(part).collect(),
            holdings: timeline.holdings.iter().map(holding).collect(),
            is_cut: timeline.is_cut,
        }
    }
}

fn moment(moment: Moment) -> MomentJson {
    MomentJson {
        pts_ns: moment.pts_ns,
        sequence_number: moment.sequence_number,
    }
}

fn part(part: &PartTimeline) -> PartJson<'_> {
    PartJson {
        depth: part.depth,
        text: &part.text,
        frames_held: part.frames_held,
        values: part.values.as_ref().map(values),
        held: part.spans.iter().map(span).collect(),
    }
}

fn span(span: &Span) -> SpanJson<'_> {
    SpanJson {
        begin: moment(span.begin),
        end: moment(span.end),
        values: span.values.as_ref().map(values),
    }
}

fn values(range: &ValueRange) -> ValuesJson<'_> {
    ValuesJson {
        least: &range.least,
        greatest: &range.greatest,
    }
}

fn parts_said<'a>(values: &'a [PartValue]) -> Vec<ValueJson<'a>> {
    let said = |said: &'a PartValue| ValueJson {
        part: said.part,
        holds: said.holds,
        value: said.value.as_deref(),
    };
    values.iter().map(said).collect()
}

fn holding(held: &Holding) -> HoldingJson<'_> {
    let (outcome, outcome_at, at_firing) = match &held.outcome {
        Outcome::TooShort => ("too_short", None, Vec::new()),
        Outcome::Fired { at, values } => ("fired", Some(moment(*at)), parts_said(values)),
        Outcome::HeldBack { at, by } => (held_back(*by), Some(moment(*at)), Vec::new()),
    };
    HoldingJson {
        begin: moment(held.begin),
        end: moment(held.end),
        interruptions: held.interruptions,
        at_begin: parts_said(&held.at_begin),
        outcome,
        outcome_at,
        at_firing,
        broken: held.broken.as_ref().map(broken),
    }
}

fn broken(broken: &Break) -> BreakJson<'_> {
    BreakJson {
        at: moment(broken.at),
        unseen: broken.unseen,
        changed: parts_said(&broken.changed),
    }
}

fn held_back(by: HeldBack) -> &'static str {
    match by {
        HeldBack::Limit => "held_back_by_limit",
        HeldBack::TrackFlood => "held_back_by_track_flood",
        HeldBack::RuleFlood => "held_back_by_rule_flood",
        HeldBack::StreamFlood => "held_back_by_stream_flood",
    }
}
