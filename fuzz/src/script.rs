//! A film made of bytes: a few tracks that come, go and stand still, frame by frame.

use std::collections::BTreeMap;

use dsl::{Attribute, RuleFile, Scene, TrackFacts};

const FRAMES_MAX: usize = 64;
const TRACKS_MAX: usize = 4;

/// Steps between frames, in milliseconds: within, at and beyond what rules are written with.
const STEPS_MS: [u64; 8] = [1, 40, 100, 500, 1000, 2000, 10_000, 3_600_000];

/// Reads bytes and never ends before [`FRAMES_MAX`] frames or the last byte.
pub(crate) struct Script<'a> {
    file: &'a RuleFile,
    bytes: std::slice::Iter<'a, u8>,
    frames: usize,
    pts_ns: u64,
    labels: Vec<String>,
    stream_labels: BTreeMap<String, String>,
    zone_motion: Vec<f32>,
    tracks: Vec<TrackFacts>,
    dwell_ns: Vec<u64>,
    attributes: Vec<Attribute>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(file: &'a RuleFile, bytes: &'a [u8]) -> Self {
        Self {
            file,
            bytes: bytes.iter(),
            frames: 0,
            pts_ns: 0,
            labels: ["person", "car", "truck"].map(str::to_owned).into(),
            stream_labels: BTreeMap::from([("site".to_owned(), "yard".to_owned())]),
            zone_motion: Vec::new(),
            tracks: Vec::new(),
            dwell_ns: Vec::new(),
            attributes: Vec::new(),
        }
    }

    pub(crate) fn next_scene(&mut self) -> Option<Scene<'_>> {
        let first = *self.bytes.next()?;
        if self.frames == FRAMES_MAX {
            return None;
        }
        self.frames += 1;
        self.pts_ns += STEPS_MS[usize::from(first & 7)] * 1_000_000;
        let motion = self.fraction();
        self.zone_motion = (0..self.file.zones.len()).map(|_| motion).collect();
        self.tracks.clear();
        self.dwell_ns.clear();
        self.attributes.clear();
        let tracks = usize::from(first >> 3) % (TRACKS_MAX + 1);
        for _ in 0..tracks {
            self.track();
        }
        Some(Scene {
            pts_ns: self.pts_ns,
            wall_ms: i64::try_from(self.pts_ns / 1_000_000).unwrap_or(i64::MAX),
            inferred: first & 0x80 == 0,
            aspect: 1.5,
            motion,
            zone_motion: &self.zone_motion,
            fps: motion * 30.0,
            events: u32::from(first >> 6),
            stream: "yard",
            stream_labels: &self.stream_labels,
            zones: &self.file.zones,
            lines: &self.file.lines,
            tracks: &self.tracks,
            labels: &self.labels,
            dwell_ns: &self.dwell_ns,
            attributes: &self.attributes,
        })
    }

    fn track(&mut self) {
        let id = u64::from(self.byte() % 6);
        let (place, kind) = (self.byte(), self.byte());
        if self.tracks.iter().any(|track| track.id == id) {
            return;
        }
        let (x, y) = (f32::from(place >> 4) / 16.0, f32::from(place & 15) / 16.0);
        let zones = self.bits(place, self.file.zones.len());
        let crossed = self.bits(kind, self.file.lines.len());
        for zone in 0..self.file.zones.len() {
            let inside = zones >> zone & 1;
            self.dwell_ns.push(inside * u64::from(kind) * 100_000_000);
        }
        let attributes = (self.attributes.len() as u32, u32::from(kind & 1));
        if kind & 1 == 1 {
            self.attributes.push(Attribute {
                name: "plate".to_owned(),
                value: format!("B-{}", kind >> 4),
            });
        }
        self.tracks.push(TrackFacts {
            id,
            label: u16::from(kind % 3),
            score: f32::from(kind) / 255.0,
            raw_score: (kind & 2 == 0).then_some(f32::from(place) / 255.0),
            age_ns: self.pts_ns,
            hits: self.frames as u32,
            x,
            y,
            width: 0.125,
            height: 0.25,
            aspect: 0.5,
            foot: [x * 1.5, y + 0.25],
            speed: f32::from(kind & 7) / 8.0,
            direction: (kind & 7 > 0).then_some(f32::from(place)),
            zones,
            entered: zones & self.bits(kind, 64),
            left: !zones & self.bits(kind, self.file.zones.len()),
            crossed_right: crossed & u64::from(place),
            crossed_left: crossed & !u64::from(place),
            sharpness: (kind & 4 == 0).then_some(f32::from(place)),
            brightness: (kind & 4 == 0).then_some(x),
            best: (kind & 8 == 0).then_some(y),
            landmarks: kind & 15,
            depth: (kind & 16 == 0).then_some(y),
            attributes,
        });
    }

    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or_default()
    }

    fn fraction(&mut self) -> f32 {
        f32::from(self.byte()) / 255.0
    }

    /// The lowest `count` bits of a pattern that a byte makes.
    fn bits(&self, byte: u8, count: usize) -> u64 {
        let pattern = u64::from(byte).wrapping_mul(0x0101_0101_0101_0101);
        match count {
            0 => 0,
            1..=63 => pattern & ((1 << count) - 1),
            _ => pattern,
        }
    }
}
