//! The gate of one stream, and what it is told of each frame.
//!
//! A gate sees a frame before any model does: its motion, the clock, the stream's labels,
//! and how many tracks and events the stream's render worker has counted until now.
//!
//! A gate is of one model on one stream, and so is a book: its `gated` counts the frames
//! that this gate held back, and no other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use contract::clock::{monotonic_ns, wall_ms};
use contract::ledger::RenderCounters;
use contract::motion::Cells;
use contract::name::{ModelName, StreamName};
use contract::spec::{InferStreamSpec, RuleSource};
use dsl::{Gate, GateFacts, GateProgram, RuleFile};
use frame_bus::{BookReader, FrameStamp};

/// What a rule file says of one model's gate.
#[derive(Debug, Clone)]
pub struct GateRules {
    program: GateProgram,
    /// The cells whose centres lie in each zone of the file, in the order of the zones; none
    /// where the gate asks about no zone.
    zones: Vec<Cells>,
}

impl GateRules {
    /// The gates of `model` on each stream, in order; `None` where every frame is let through.
    /// A text that several streams share is compiled once.
    ///
    /// # Errors
    /// When a text is no rule file: where, and what is wrong.
    pub fn compile<'a>(
        model: &ModelName,
        streams: impl IntoIterator<Item = &'a InferStreamSpec>,
    ) -> Result<Vec<Option<Self>>, String> {
        let mut known: BTreeMap<&str, Option<Self>> = BTreeMap::new();
        let mut gates = Vec::new();
        for stream in streams {
            let Some(source) = &stream.rules else {
                gates.push(None);
                continue;
            };
            if let Some(rules) = known.get(source.text.as_str()) {
                gates.push(rules.clone());
                continue;
            }
            let rules = Self::read(model, source).map_err(|reason| {
                format!("the rules of stream {}: {reason}", stream.frames.stream)
            })?;
            known.insert(&source.text, rules.clone());
            gates.push(rules);
        }
        Ok(gates)
    }

    fn read(model: &ModelName, source: &RuleSource) -> Result<Option<Self>, String> {
        let file = RuleFile::parse_checked(&source.text, &source.path).map_err(|diagnostics| {
            let texts = diagnostics.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().join("; ")
        })?;
        let Some(program) = file.gates.get(model.as_str()) else {
            return Ok(None);
        };
        let zones = file.zones.iter();
        let zones = zones.filter(|_| program.needs().zone_motion);
        Ok(Some(Self {
            program: program.clone(),
            zones: zones
                .map(|zone| Cells::of(|centre| zone.contains(centre)))
                .collect(),
        }))
    }
}

/// The gate of one stream.
#[derive(Debug)]
pub struct StreamGate {
    gate: Gate,
    zones: Vec<Cells>,
    /// Scratch: the part of each zone that moved.
    zone_motion: Vec<f32>,
    stream: StreamName,
    labels: BTreeMap<String, String>,
    /// Only of a gate that asks about tracks or events.
    feedback: Option<Feedback>,
}

impl StreamGate {
    /// A gate that has let no frame through yet.
    #[must_use]
    pub fn new(rules: GateRules, spec: &InferStreamSpec) -> Self {
        Self::with(Gate::new(rules.program.clone()), rules, spec)
    }

    /// Goes on with other rules; the time since the last frame let through goes on.
    #[must_use]
    pub fn replaced(self, rules: GateRules, spec: &InferStreamSpec) -> Self {
        let mut gate = self.gate;
        gate.replace(rules.program.clone());
        Self::with(gate, rules, spec)
    }

    fn with(gate: Gate, rules: GateRules, spec: &InferStreamSpec) -> Self {
        let feedback = rules.program.needs_feedback().then(|| Feedback {
            path: spec.feedback.clone(),
            book: None,
        });
        Self {
            gate,
            zone_motion: vec![0.0; rules.zones.len()],
            zones: rules.zones,
            stream: spec.frames.stream.clone(),
            labels: spec.labels.clone(),
            feedback,
        }
    }

    /// Whether the model is to run on this frame.
    pub fn admit(&mut self, stamp: &FrameStamp) -> bool {
        for (share, zone) in self.zone_motion.iter_mut().zip(&self.zones) {
            *share = zone.share_in(&stamp.moved);
        }
        let (tracks, events) = self.feedback.as_mut().map_or((0, 0), Feedback::read);
        let age_ms = monotonic_ns().saturating_sub(stamp.captured_ns) / 1_000_000;
        self.gate.admit(&GateFacts {
            pts_ns: stamp.pts_ns,
            wall_ms: wall_ms().saturating_sub_unsigned(age_ms),
            motion: stamp.motion,
            zone_motion: &self.zone_motion,
            tracks,
            events,
            stream: self.stream.as_str(),
            stream_labels: &self.labels,
        })
    }
}

/// What the stream's tracks and rules feed back, out of the render worker's book.
#[derive(Debug)]
struct Feedback {
    path: PathBuf,
    book: Option<BookReader<RenderCounters>>,
}

impl Feedback {
    /// Tracks and events now; none while there is no book.
    fn read(&mut self) -> (u32, u32) {
        if self.book.is_none() {
            let opened = BookReader::open(&self.path);
            self.book = opened
                .inspect_err(|error| tracing::debug!(%error, "nothing is fed back to the gate"))
                .ok();
        }
        let Some(book) = &self.book else {
            return (0, 0);
        };
        let counters = book.read();
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        (narrow(counters.tracks_now), narrow(counters.events_now))
    }
}
