//! Gates: when a model runs on a frame at all. A gate is evaluated before
//! inference, once a frame and stream.

use std::path::Path;

use crate::check::{self, Names};
use crate::diagnostic::Diagnostic;
use crate::program::{Facts, Node};
use crate::vocabulary::{Field, Scope};

/// What is known of a frame before any model has run on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateFacts {
    /// Part of the picture that moved since the frame before, 0 to 1.
    pub motion: f32,
    /// Event time of the frame.
    pub pts_ns: u64,
}

/// The condition of a gate, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct GateProgram {
    text: String,
    root: Node,
}

impl GateProgram {
    /// Compiles the text of a gate.
    ///
    /// # Errors
    /// All mistakes in it. Their file is `gate`, for the text comes from none;
    /// mistakes in a rule file are reported by [`crate::RuleFile::parse`].
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::compile(text).map_err(|problems| {
            let file = Path::new("gate");
            problems
                .into_iter()
                .map(|problem| problem.in_text(file, text, |span| span))
                .collect()
        })
    }

    pub(crate) fn compile(text: &str) -> Result<Self, Vec<crate::problem::Problem>> {
        let root = check::compile(text, Scope::Gate, &Names::default())?;
        Ok(Self {
            text: text.to_owned(),
            root,
        })
    }

    /// The text it was compiled from: what [`GateProgram::parse`] takes again in another process.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A gate of one stream, with its only state: when it last let a frame through.
#[derive(Debug, Clone)]
pub struct Gate {
    program: GateProgram,
    admitted_pts_ns: Option<u64>,
}

impl Gate {
    /// A gate that has let no frame through yet.
    #[must_use]
    pub fn new(program: GateProgram) -> Self {
        Self {
            program,
            admitted_pts_ns: None,
        }
    }

    /// Whether the model should run on this frame. A frame let through counts as run on.
    ///
    /// When PTS goes back, the stream has begun anew: intervals count as passed.
    pub fn admit(&mut self, facts: &GateFacts) -> bool {
        let admitted = self.program.root.holds(&SinceAdmitted {
            motion: facts.motion,
            elapsed_ns: self
                .admitted_pts_ns
                .and_then(|admitted| facts.pts_ns.checked_sub(admitted)),
        });
        if admitted {
            self.admitted_pts_ns = Some(facts.pts_ns);
        }
        admitted
    }
}

struct SinceAdmitted {
    motion: f32,
    /// `None`: no frame was let through yet.
    elapsed_ns: Option<u64>,
}

impl Facts for SinceAdmitted {
    fn number(&self, field: Field) -> f64 {
        match field {
            Field::Motion => f64::from(self.motion),
            _ => 0.0,
        }
    }

    fn passed(&self, interval_ns: u64) -> bool {
        self.elapsed_ns.is_none_or(|elapsed| elapsed >= interval_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn gate(text: &str) -> Gate {
        Gate::new(GateProgram::parse(text).expect("a good gate"))
    }

    fn admits(gate: &mut Gate, motion: f32, pts_ns: u64) -> bool {
        gate.admit(&GateFacts { motion, pts_ns })
    }

    #[test]
    fn motion_lets_a_frame_through_and_so_does_time() {
        let mut gate = gate("motion > 0.5% or every(2s)");
        assert!(admits(&mut gate, 0.0, 0), "the first frame");
        assert!(!admits(&mut gate, 0.005, SECOND_NS), "not above");
        assert!(admits(&mut gate, 0.0051, SECOND_NS + 1));
        assert!(
            !admits(&mut gate, 0.0, 3 * SECOND_NS),
            "2 s count from the last frame let through"
        );
        assert!(admits(&mut gate, 0.0, 3 * SECOND_NS + 1));
    }

    #[test]
    fn a_stream_that_begins_anew_is_not_blocked() {
        let mut gate = gate("every(10s)");
        assert!(admits(&mut gate, 0.0, 500 * SECOND_NS));
        assert!(admits(&mut gate, 0.0, 0));
        assert!(!admits(&mut gate, 0.0, SECOND_NS));
    }

    #[test]
    fn mistakes_are_all_reported() {
        let diagnostics = GateProgram::parse("label == \"x\" or moton > 1%").expect_err("bad");
        let codes: Vec<_> = diagnostics.iter().map(|d| (d.code, d.column)).collect();
        assert_eq!(codes, [("R0303", 1), ("R0301", 17)]);
    }
}
