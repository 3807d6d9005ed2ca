//! A yard, filmed for 20 seconds: what the examples of the reference page are evaluated on.

use std::collections::BTreeMap;
use std::path::Path;

use dsl::{Attribute, Line, Rule, RuleFile, Scene, Subject, TrackFacts, Zone};

/// Zones and lines of the film, as YAML.
pub(crate) const PLACES: &str = "\
zones:
  street: {polygon: [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]}
  dock: {polygon: [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]}
lines:
  gate: {from: [0.5, 1.0], to: [0.5, 0.0]}
";

/// Bits of the zones and the line.
pub(crate) const STREET: u64 = 1;
pub(crate) const DOCK: u64 = 2;
pub(crate) const GATE: u64 = 1;

const ASPECT: f32 = 16.0 / 9.0;
const FRAME_NS: u64 = 500_000_000;
const FRAMES: u64 = 41;
const SECOND_NS: f64 = 1e9;

/// Monday, 1 June 2026, 05:59:50 UTC.
const START_MS: i64 = 1_780_293_590_000;

/// One frame and all that a [`Scene`] borrows.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) pts_ns: u64,
    pub(crate) wall_ms: i64,
    pub(crate) inferred: bool,
    pub(crate) motion: f32,
    pub(crate) zone_motion: Vec<f32>,
    pub(crate) fps: f32,
    pub(crate) events: u32,
    pub(crate) stream_labels: BTreeMap<String, String>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) lines: Vec<Line>,
    pub(crate) tracks: Vec<TrackFacts>,
    pub(crate) labels: Vec<String>,
    pub(crate) dwell_ns: Vec<u64>,
    pub(crate) attributes: Vec<Attribute>,
}

impl Frame {
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            pts_ns: self.pts_ns,
            wall_ms: self.wall_ms,
            inferred: self.inferred,
            aspect: ASPECT,
            motion: self.motion,
            zone_motion: &self.zone_motion,
            fps: self.fps,
            events: self.events,
            stream: "yard",
            stream_labels: &self.stream_labels,
            zones: &self.zones,
            lines: &self.lines,
            tracks: &self.tracks,
            labels: &self.labels,
            dwell_ns: &self.dwell_ns,
            attributes: &self.attributes,
        }
    }
}

/// A track of which nothing is known but that it is there.
pub(crate) fn track(id: u64, label: u16) -> TrackFacts {
    TrackFacts {
        id,
        label,
        score: 0.5,
        raw_score: Some(0.5),
        age_ns: 0,
        hits: 1,
        x: 0.0,
        y: 0.0,
        width: 0.1,
        height: 0.1,
        aspect: ASPECT,
        foot: [0.0, 0.0],
        speed: 0.0,
        direction: None,
        zones: 0,
        entered: 0,
        left: 0,
        crossed_right: 0,
        crossed_left: 0,
        sharpness: None,
        brightness: None,
        best: None,
        landmarks: 0,
        depth: None,
        attributes: (0, 0),
    }
}

/// The film.
pub(crate) fn film() -> Vec<Frame> {
    let places = rule_file(PLACES);
    (0..FRAMES).map(|index| frame(index, &places)).collect()
}

/// A rule with this condition, in the yard.
pub(crate) fn rule(on: Subject, when: &str) -> Rule {
    let on = match on {
        Subject::Track => "track",
        Subject::Frame => "frame",
        Subject::Stream => "stream",
    };
    let text = format!("{PLACES}rules:\n  r:\n    on: {on}\n    when: |\n      {when}\n");
    rule_file(&text).rules.swap_remove(0)
}

pub(crate) fn rule_file(text: &str) -> RuleFile {
    RuleFile::parse_checked(text, Path::new("rules.yaml")).unwrap_or_else(|faults| {
        let said: String = faults.iter().map(|fault| fault.render(text)).collect();
        panic!("{said}")
    })
}

/// When a rule's condition holds in the film, in words: `track 1 from 5s to 20s; track 2 at 3s`.
pub(crate) fn holding(rule: &Rule, film: &[Frame]) -> String {
    let mut spans: BTreeMap<Option<u64>, Vec<(u64, u64)>> = BTreeMap::new();
    let mut shared = rule.when.shared();
    let mut memories = BTreeMap::new();
    for frame in film {
        let scene = frame.scene();
        rule.when.begin_frame(&scene, &mut shared);
        let subjects: Vec<_> = match rule.on {
            Subject::Track => (0..scene.tracks.len()).map(Some).collect(),
            _ => vec![None],
        };
        for subject in subjects {
            let key = subject.map(|index| scene.tracks[index].id);
            let memory = memories.entry(key).or_insert_with(|| rule.when.memory());
            if !rule.when.evaluate(&scene, subject, &mut shared, memory) {
                continue;
            }
            let spans = spans.entry(key).or_default();
            match spans.last_mut() {
                Some((_, end)) if *end + FRAME_NS == frame.pts_ns => *end = frame.pts_ns,
                _ => spans.push((frame.pts_ns, frame.pts_ns)),
            }
        }
    }
    let seconds = |pts_ns: u64| format!("{}s", pts_ns as f64 / SECOND_NS);
    let said: Vec<_> = spans
        .iter()
        .flat_map(|(key, spans)| spans.iter().map(move |span| (key, span)))
        .map(|(key, (start, end))| {
            let who = key.map_or(String::new(), |id| format!("track {id} "));
            if start == end {
                format!("{who}at {}", seconds(*start))
            } else {
                format!("{who}from {} to {}", seconds(*start), seconds(*end))
            }
        })
        .collect();
    match said.is_empty() {
        true => "never".to_owned(),
        false => said.join("; "),
    }
}

fn frame(index: u64, places: &RuleFile) -> Frame {
    let pts_ns = index * FRAME_NS;
    let second = pts_ns as f64 / SECOND_NS;
    let mut frame = Frame {
        pts_ns,
        wall_ms: START_MS + i64::try_from(pts_ns / 1_000_000).expect("some seconds"),
        inferred: true,
        motion: if second <= 12.0 { 0.02 } else { 0.0 },
        zone_motion: vec![
            0.0,
            if (5.0..10.0).contains(&second) {
                0.04
            } else {
                0.0
            },
        ],
        fps: 2.0,
        events: u32::from(second >= 15.0),
        stream_labels: BTreeMap::from([("site".to_owned(), "north".to_owned())]),
        zones: places.zones.clone(),
        lines: places.lines.clone(),
        tracks: vec![person(second, index), suitcase(index)],
        labels: ["person", "suitcase", "car"].map(str::to_owned).to_vec(),
        dwell_ns: Vec::new(),
        attributes: Vec::new(),
    };
    if (8.0..=12.0).contains(&second) {
        frame.tracks.push(car(second, index));
        if second >= 9.0 {
            frame.attributes.push(Attribute {
                name: "color".to_owned(),
                value: "red".to_owned(),
            });
            frame.tracks[2].attributes = (0, 1);
        }
    }
    let entered_ns = [[0, 10 * FRAME_NS], [0, 0], [16 * FRAME_NS, 0]];
    for (track, entered_ns) in frame.tracks.iter().zip(entered_ns) {
        for (bit, entered_ns) in [STREET, DOCK].into_iter().zip(entered_ns) {
            let inside = track.zones & bit != 0;
            let dwell_ns = if inside { pts_ns - entered_ns } else { 0 };
            frame.dwell_ns.push(dwell_ns);
        }
    }
    frame
}

/// A box that stands with its foot at `x`, 0.9 from the top.
fn standing(id: u64, label: u16, x: f32, width: f32, height: f32) -> TrackFacts {
    TrackFacts {
        x: x - width / 2.0,
        y: 0.9 - height,
        width,
        height,
        aspect: width / height * ASPECT,
        foot: [x * ASPECT, 0.9],
        ..track(id, label)
    }
}

/// Walks from the street over the gate into the dock and stops there at 10 s.
fn person(second: f64, index: u64) -> TrackFacts {
    let walks = second < 10.0;
    let enters = index == 10;
    let seen = index != 24;
    TrackFacts {
        score: 0.9,
        raw_score: seen.then_some(0.9),
        age_ns: index * FRAME_NS,
        hits: u32::try_from(index + 1).expect("a few frames") - u32::from(index >= 24),
        speed: if walks { 0.04 * ASPECT } else { 0.0 },
        direction: walks.then_some(90.0),
        zones: if second < 5.0 { STREET } else { DOCK },
        entered: if enters { DOCK } else { 0 },
        left: if enters { STREET } else { 0 },
        crossed_right: if enters { GATE } else { 0 },
        sharpness: Some(if walks { 0.1 } else { 0.4 }),
        brightness: Some(0.5),
        best: Some(if walks { 9.1 } else { 9.4 }),
        landmarks: if walks { 0 } else { 5 },
        depth: Some(if second < 5.0 { 8.0 } else { 3.0 }),
        ..standing(1, 0, 0.3 + 0.04 * second.min(10.0) as f32, 0.1, 0.5)
    }
}

/// Stands in the dock.
fn suitcase(index: u64) -> TrackFacts {
    TrackFacts {
        score: 0.7,
        raw_score: Some(0.7),
        age_ns: index * FRAME_NS,
        hits: u32::try_from(index + 1).expect("a few frames"),
        zones: DOCK,
        brightness: Some(0.2),
        ..standing(2, 1, 0.8, 0.05, 0.1)
    }
}

/// Drives along the street from 8 s to 12 s.
fn car(second: f64, index: u64) -> TrackFacts {
    TrackFacts {
        age_ns: (index - 16) * FRAME_NS,
        hits: u32::try_from(index - 15).expect("a few frames"),
        speed: 0.5,
        direction: Some(270.0),
        zones: STREET,
        ..standing(3, 2, 0.4 - 0.05 * (second - 8.0) as f32, 0.3, 0.2)
    }
}
