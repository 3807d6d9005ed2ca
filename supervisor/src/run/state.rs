//! What is known of each stream of a running run, gathered from its workers and books.

use std::sync::Arc;

use contract::control::{SourceInfo, SourceState};
use contract::name::{ModelName, StreamName, WorkerId};
use contract::spec::{RenderModelSpec, Role};

use super::board::{Health, StreamLine};
use super::meter::{Meter, Progress, drops};
use crate::plan::Plan;

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) name: StreamName,
    /// Its models, in the order of its books.
    pub(super) models: Vec<ModelName>,
    /// Its models as its render worker numbers them.
    pub(super) render_models: Arc<[RenderModelSpec]>,
    pub(super) state: &'static str,
    pub(super) healthy: bool,
    pub(super) detail: String,
    pub(super) info: Option<SourceInfo>,
    pub(super) events: u64,
    pub(super) meter: Meter,
    /// The part of its frames that models run on, while they do not keep up.
    degraded: Option<f64>,
}

/// Shown and stored before the source has said anything.
pub(super) const WAITING: &str = "waiting";
/// The source ended and everything of it is accounted for.
pub(super) const DRAINED: &str = "drained";
/// A worker of the stream ended for good, and with it the stream.
pub(super) const FAILED: &str = "failed";

/// It is live, but models do not keep up with it: tracks are carried by prediction meanwhile.
pub(super) const DEGRADED: &str = "degraded";
/// A stream degrades when models run on less than this part of its frames,
const DEGRADED_BELOW: f64 = 0.9;
/// and is as it should be again when they run on this part. The gap keeps it from flickering.
const SOUND_FROM: f64 = 0.97;

/// A reload took the stream out of the run.
const REMOVED: &str = "removed";

impl StreamState {
    pub(super) fn new(name: StreamName, plan: &Plan) -> Self {
        let mut state = Self {
            name,
            models: Vec::new(),
            render_models: Arc::from([]),
            state: WAITING,
            healthy: true,
            detail: String::new(),
            info: None,
            events: 0,
            meter: Meter::default(),
            degraded: None,
        };
        state.adopt(plan);
        state
    }

    /// From now on it has the models that `plan` gives it.
    pub(super) fn adopt(&mut self, plan: &Plan) {
        let uses = plan.topology.streams.get(&self.name);
        self.models = uses.map(|uses| uses.frames.clone()).unwrap_or_default();
        if let Some(Role::Render(spec)) = plan.role(&WorkerId::Render(self.name.clone())) {
            self.render_models = Arc::from(spec.models.as_slice());
        }
    }

    /// It begins, or begins anew.
    pub(super) fn begin(&mut self) {
        self.state = WAITING;
        self.healthy = true;
        self.detail.clear();
        self.info = None;
    }

    /// It was taken out of the run; its books stay.
    pub(super) fn remove(&mut self) {
        self.ended(REMOVED, String::new());
        self.healthy = true;
    }

    pub(super) fn is_removed(&self) -> bool {
        self.state == REMOVED
    }

    pub(super) fn source_state(&mut self, state: SourceState, detail: String) {
        self.state = state.as_str();
        self.healthy = matches!(
            state,
            SourceState::Idle | SourceState::Live | SourceState::Connecting
        );
        self.detail = detail;
    }

    /// Looks whether models keep up, after each reading of the books; true when that changes.
    pub(super) fn judge_load(&mut self) -> bool {
        let was_degraded = self.degraded.is_some();
        let bound = if was_degraded {
            SOUND_FROM
        } else {
            DEGRADED_BELOW
        };
        self.degraded = self.meter.served().filter(|served| *served < bound);
        self.degraded.is_some() != was_degraded
    }

    /// Its state in one word.
    pub(super) fn shown_state(&self) -> &'static str {
        if self.degradation().is_some() {
            DEGRADED
        } else {
            self.state
        }
    }

    /// What there is to be said of its state.
    pub(super) fn shown_detail(&self) -> String {
        match self.degradation() {
            Some(served) => format!("models run on {:.0}% of its frames", 100.0 * served),
            None => self.detail.clone(),
        }
    }

    /// Only of a live stream it matters.
    fn degradation(&self) -> Option<f64> {
        let is_live = self.state == SourceState::Live.as_str();
        self.degraded.filter(|_| is_live)
    }

    pub(super) fn ended(&mut self, state: &'static str, detail: String) {
        self.state = state;
        self.healthy = state == DRAINED;
        self.detail = detail;
    }

    fn health(&self) -> Health {
        if !self.healthy {
            Health::Wrong
        } else if self.degradation().is_some() {
            Health::Degraded
        } else {
            Health::Sound
        }
    }

    pub(super) fn line(&self, restarts: u32) -> StreamLine {
        let last = self.meter.last().cloned().unwrap_or_default();
        let ledger = &last.books.ledger;
        let rates = self.meter.rates();
        let total = self.info.as_ref().and_then(|info| info.frames_total);
        let mut dropped = drops(&last.books);
        dropped.retain(|(_, count)| *count > 0);
        StreamLine {
            name: self.name.clone(),
            state: self.shown_state(),
            health: self.health(),
            detail: self.shown_detail(),
            rates,
            drops: dropped,
            lost: ledger.lost(),
            events: self.events,
            restarts,
            progress: total.map(|total| {
                Progress::of(
                    ledger.ingest.captured.max(ledger.ingest.units),
                    total,
                    rates.captured_fps,
                )
            }),
        }
    }
}
