//! The time over which a condition holds: `for`, `gap` and `keep`.
//!
//! ```text
//!          holds                 has held for `for`
//!   idle ─────────▶ holding ───────────────────────▶ firing
//!    ▲                 │ does not hold for over `gap`   │ ... for over `gap` + `keep`
//!    └─────────────────┴────────────────────────────────┘
//! ```
//!
//! Only a frame that says no begins an interruption; frames that are missing, or that nobody
//! looked at, do not. An interval ends where it last held: `gap` and `keep` only delay its report.

use super::event::Firing;

/// A condition of one key over time.
#[derive(Debug, Default)]
pub(crate) struct Interval(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Holding(Span),
    /// With what was told of it; nothing where it was held back.
    Firing(Span, Option<Box<Firing>>),
}

/// Since when a condition holds, and when it last did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since_pts_ns: u64,
    pub(crate) held_pts_ns: u64,
    /// There was a frame since `held_pts_ns` that said no.
    interrupted: bool,
}

/// The times of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clauses {
    pub(crate) for_ns: u64,
    pub(crate) gap_ns: u64,
    pub(crate) keep_ns: u64,
}

/// What a frame does to an interval.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The interval that is over.
    pub(crate) ended: Option<Ended>,
    /// The interval has held long enough: [`Interval::fire`] must be called.
    pub(crate) fires: bool,
}

/// An interval that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) span: Span,
    /// What was told when it fired.
    pub(crate) told: Option<Box<Firing>>,
}

impl Interval {
    /// Takes in a frame: whether the condition holds in it, or `None` when it was not asked.
    pub(crate) fn step(&mut self, clauses: Clauses, pts_ns: u64, holds: Option<bool>) -> Step {
        let mut step = Step::default();
        let overlooked_ns = match self.0 {
            State::Idle | State::Holding(_) => clauses.gap_ns,
            State::Firing(..) => clauses.gap_ns.saturating_add(clauses.keep_ns),
        };
        if let State::Holding(span) | State::Firing(span, _) = &mut self.0 {
            span.interrupted |= holds == Some(false);
            let unheld_ns = pts_ns.saturating_sub(span.held_pts_ns);
            if span.interrupted && unheld_ns > overlooked_ns {
                step.ended = self.end();
            }
        }
        if holds != Some(true) {
            return step;
        }
        match &mut self.0 {
            State::Idle => {
                self.0 = State::Holding(Span {
                    since_pts_ns: pts_ns,
                    held_pts_ns: pts_ns,
                    interrupted: false,
                });
                step.fires = clauses.for_ns == 0;
            }
            State::Holding(span) => {
                span.hold(pts_ns);
                step.fires = pts_ns.saturating_sub(span.since_pts_ns) >= clauses.for_ns;
            }
            State::Firing(span, _) => span.hold(pts_ns),
        }
        step
    }

    /// It fires, and this is told; or it is held back.
    pub(crate) fn fire(&mut self, told: Option<Box<Firing>>) {
        if let State::Holding(span) = self.0 {
            self.0 = State::Firing(span, told);
        }
    }

    /// Back to idle; what there was, if anything.
    pub(crate) fn end(&mut self) -> Option<Ended> {
        match std::mem::take(&mut self.0) {
            State::Idle => None,
            State::Holding(span) => Some(Ended { span, told: None }),
            State::Firing(span, told) => Some(Ended { span, told }),
        }
    }

    /// The interval that is not over.
    pub(crate) fn span(&self) -> Option<Span> {
        match self.0 {
            State::Idle => None,
            State::Holding(span) | State::Firing(span, _) => Some(span),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.0, State::Idle)
    }

    /// It fires and was not held back.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.0, State::Firing(_, Some(_)))
    }
}

impl Span {
    fn hold(&mut self, pts_ns: u64) {
        self.held_pts_ns = pts_ns;
        self.interrupted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS_NS: u64 = 1_000_000;

    /// Plays frames of 10 fps: `+` holds, `-` does not, `.` was not asked. `F3` for a firing at
    /// 300 ms, `E2@4` for an end of what fired at 200 ms that is told at 400 ms, `e` for one
    /// that did not fire.
    fn play([for_ms, gap_ms, keep_ms]: [u64; 3], frames: &str) -> String {
        let clauses = Clauses {
            for_ns: for_ms * MS_NS,
            gap_ns: gap_ms * MS_NS,
            keep_ns: keep_ms * MS_NS,
        };
        let mut interval = Interval::default();
        let mut told = Vec::new();
        let mut fired = false;
        for (time, what) in (0..).zip(frames.chars()) {
            let holds = (what != '.').then_some(what == '+');
            let step = interval.step(clauses, time * 100 * MS_NS, holds);
            if let Some(ended) = step.ended {
                let sign = if std::mem::take(&mut fired) { 'E' } else { 'e' };
                let held = ended.span.held_pts_ns / MS_NS / 100;
                told.push(format!("{sign}{held}@{time}"));
            }
            if step.fires {
                interval.fire(None);
                fired = true;
                told.push(format!("F{time}"));
            }
        }
        told.join(" ")
    }

    #[test]
    fn for_gap_and_keep() {
        for (clauses, frames, told) in [
            ([0, 0, 0], "-+++-", "F1 E3@4"),
            ([0, 0, 0], "+-+-", "F0 E0@1 F2 E2@3"),
            ([300, 0, 0], "-+++-", "e3@4"),
            ([300, 0, 0], "-++++-", "F4 E4@5"),
            // An interruption counts from the last frame that held to the next.
            ([500, 300, 0], "+++--+", "F5"),
            ([500, 300, 0], "+++---+++", "e2@6"),
            ([500, 300, 0], "+++---++++++", "e2@6 F11"),
            ([0, 300, 0], "++--+---", "F0"),
            ([0, 300, 0], "++--+----+", "F0 E4@8 F9"),
            // It fires once, however long it holds.
            ([200, 0, 0], "++++++++", "F2"),
            // `keep` begins behind `gap`, and only for what fires.
            ([0, 0, 300], "+--+", "F0"),
            ([0, 0, 300], "+---+", "F0 E0@4 F4"),
            ([0, 100, 200], "+--+", "F0"),
            ([0, 100, 200], "+----", "F0 E0@4"),
            ([200, 100, 500], "++--+", "e1@3"),
            ([200, 100, 500], "+++----+", "F2"),
            // Frames that were not asked interrupt nothing, but end what is interrupted.
            ([500, 100, 0], "+....+", "F5"),
            ([500, 100, 0], "+...-+", "e0@4"),
            ([0, 100, 0], "+-....", "F0 E0@2"),
            ([0, 100, 0], "+.....", "F0"),
        ] {
            assert_eq!(play(clauses, frames), told, "{clauses:?}: `{frames}`");
        }
    }
}
