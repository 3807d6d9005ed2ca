//! Gates: when a model runs on a frame at all. A gate is evaluated before inference, once a
//! frame and stream.

use std::collections::BTreeMap;

use crate::memory::{Memory, Shared};
use crate::needs::Needs;
use crate::program::Program;
use crate::scene::Scene;
use crate::tree::Spanned;
use crate::typed::{Condition, Number, Sequence, Step};
use crate::visit::{Node, each_node};
use crate::vocabulary::Field;

/// What is known of a frame before any model has run on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateFacts<'a> {
    /// Event time of the frame.
    pub pts_ns: u64,
    /// Wall clock of its capture, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Part of the picture that moved since the frame before, 0 to 1.
    pub motion: f32,
    /// Part of each zone that moved, 0 to 1, in the order of the rule file's zones.
    pub zone_motion: &'a [f32],
    /// Tracks in the last frame that the stream rendered.
    pub tracks: u32,
    /// Events of the stream that lasted then.
    pub events: u32,
    /// The stream's name.
    pub stream: &'a str,
    /// The stream's labels.
    pub stream_labels: &'a BTreeMap<String, String>,
}

/// The condition of a gate, checked and compiled.
#[derive(Debug, Clone)]
pub struct GateProgram {
    text: String,
    needs: Needs,
    needs_feedback: bool,
    program: Program,
}

/// Gates of the same text. Zones are part of the rule file that they stand in.
impl PartialEq for GateProgram {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl GateProgram {
    pub(crate) fn new(text: &str, condition: Spanned<Condition>) -> Self {
        let mut needs_feedback = false;
        each_node(&condition.value, &mut |node| {
            needs_feedback |= matches!(
                node,
                Node::Number(Number::Field(Field::Tracks | Field::Events))
            );
        });
        let needs = Needs::of_condition(&condition.value);
        let sequence = Sequence {
            steps: vec![Spanned {
                span: condition.span.clone(),
                value: Step {
                    condition,
                    absent_for_ns: None,
                },
            }],
            within_ns: None,
        };
        Self {
            text: text.to_owned(),
            needs,
            needs_feedback,
            program: Program::new(&sequence, None),
        }
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What must be measured for it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// It asks for what the stream's rules and tracks say: `tracks` or `events`.
    #[must_use]
    pub fn needs_feedback(&self) -> bool {
        self.needs_feedback
    }
}

/// A gate of one stream, with its only state: when it last let a frame through.
#[derive(Debug, Clone)]
pub struct Gate {
    program: GateProgram,
    admitted_pts_ns: Option<u64>,
    memory: Memory,
    shared: Shared,
}

impl Gate {
    /// A gate that has let no frame through yet.
    #[must_use]
    pub fn new(program: GateProgram) -> Self {
        Self {
            admitted_pts_ns: None,
            memory: program.program.memory(),
            shared: program.program.shared(),
            program,
        }
    }

    /// Puts another program in. Intervals count on from the last frame that was let through.
    pub fn replace(&mut self, program: GateProgram) {
        *self = Self {
            admitted_pts_ns: self.admitted_pts_ns,
            ..Self::new(program)
        };
    }

    /// Whether the model should run on this frame. A frame let through counts as run on.
    /// Allocates nothing.
    ///
    /// When PTS goes back, the stream has begun anew: intervals count as passed.
    pub fn admit(&mut self, facts: &GateFacts<'_>) -> bool {
        let scene = Scene {
            pts_ns: facts.pts_ns,
            wall_ms: facts.wall_ms,
            inferred: false,
            aspect: 1.0,
            motion: facts.motion,
            zone_motion: facts.zone_motion,
            fps: 0.0,
            events: facts.events,
            stream: facts.stream,
            stream_labels: facts.stream_labels,
            zones: &[],
            lines: &[],
            tracks: &[],
            labels: &[],
            dwell_ns: &[],
            attributes: &[],
        };
        let since_ns = self
            .admitted_pts_ns
            .and_then(|admitted_ns| facts.pts_ns.checked_sub(admitted_ns));
        let admitted = self.program.program.admits(
            &scene,
            facts.tracks,
            since_ns,
            &mut self.shared,
            &mut self.memory,
        );
        if admitted {
            self.admitted_pts_ns = Some(facts.pts_ns);
        }
        admitted
    }
}
