//! Going over to another spec while frames flow.
//!
//! 1. *Prepared* on a thread of its own: rules are compiled, more sessions are loaded and
//!    warmed, or all anew where their batches change. New streams are opened. Whatever fails until here is the answer, and nothing
//!    has changed.
//! 2. *Applied* between two turns of the main loop: thresholds, sessions, gates, lanes.
//! 3. Streams that are removed *leave*, while the others go on; then those that come back by
//!    another service are opened, and the supervisor is answered.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use contract::spec::{InferSpec, Role};
use frame_bus::Waker;

use crate::engine::Engine;
use crate::gate::GateRules;
use crate::plan::Plan;
use crate::pool::{self, Loader, session_count};
use crate::runtime::RuntimeError;

/// What a plan needs that takes its time to be made.
#[derive(Debug)]
pub struct Prepared {
    /// Sessions to be started.
    pub engines: Vec<Engine>,
    /// They take the place of all that there are: their batches are others.
    pub replaces: bool,
    /// What batches gain, as [`crate::pool::batch_gain`] measured it of the new sessions.
    pub batch_gain: Option<f64>,
    /// How many sessions there are to be.
    pub sessions: usize,
    /// The gates of added streams, by their order in the plan.
    pub added: Vec<Option<GateRules>>,
    /// The gates of replaced streams.
    pub replaced: Vec<Option<GateRules>>,
    /// The gates of changed streams.
    pub changed: Vec<Option<GateRules>>,
}

/// A change that is on its way.
#[derive(Debug)]
pub struct Reconfiguration {
    /// Which one.
    pub generation: u64,
    /// What leads to it.
    pub plan: Plan,
    /// How far it is.
    pub stage: Stage,
}

/// How far a change has come.
#[derive(Debug)]
pub enum Stage {
    /// Nothing has changed yet.
    Preparing(Receiver<Result<Prepared, String>>),
    /// All is applied; streams leave, and these gates are for those that come back.
    Leaving(Vec<Option<GateRules>>),
}

impl Reconfiguration {
    /// Begins to prepare what leads from `current` to `wanted`, of a worker with so many
    /// sessions; `dispatcher` is woken when it is prepared.
    ///
    /// # Errors
    /// What has changed that cannot be changed live.
    pub fn begin(
        generation: u64,
        current: &InferSpec,
        wanted: Role,
        sessions: Workforce,
        dispatcher: Waker,
    ) -> Result<Self, String> {
        let mut plan = Plan::between(current, wanted)?;
        let wanted_sessions = sessions.wanted(plan.wanted.sessions);
        let present = sessions.present;
        if wanted_sessions != present {
            plan.notes
                .push(format!("sessions: {present} to {wanted_sessions}"));
        }
        let (done, prepared) = sync_channel(1);
        let preparing = plan.clone();
        std::thread::Builder::new()
            .name("reconfigure".to_owned())
            .spawn(move || {
                let result = prepare(&preparing, &sessions, wanted_sessions);
                // The worker may have left meanwhile.
                let _ = done.send(result);
                dispatcher.wake();
            })
            .map_err(|error| format!("no thread can be started: {error}"))?;
        Ok(Self {
            generation,
            plan,
            stage: Stage::Preparing(prepared),
        })
    }

    /// What was prepared, once it is; `None` before and after.
    pub fn prepared(&self) -> Option<Result<Prepared, String>> {
        let Stage::Preparing(prepared) = &self.stage else {
            return None;
        };
        match prepared.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("its preparation panicked".to_owned())),
        }
    }
}

/// The sessions a worker has, and what it takes to load more.
#[derive(Debug, Clone)]
pub struct Workforce {
    /// For more of them.
    pub loader: Loader,
    /// Most pictures of a run now, as the spec has it.
    pub batch_max: Option<u32>,
    /// Sessions now.
    pub present: usize,
    /// Sessions that were measured best at start, where they were measured.
    pub measured: Option<usize>,
}

impl Workforce {
    /// Where the spec leaves it to the worker: what was measured, else what there is, for
    /// measuring needs the whole machine's attention.
    fn wanted(&self, asked_for: Option<u32>) -> usize {
        asked_for.map_or(self.measured.unwrap_or(self.present), session_count)
    }
}

fn prepare(plan: &Plan, workforce: &Workforce, sessions: usize) -> Result<Prepared, String> {
    let model = &plan.wanted.model;
    let streams = plan.added.iter().chain(&plan.replaced).chain(&plan.changed);
    let mut rules = GateRules::compile(model, streams)?;
    let changed = rules.split_off(plan.added.len() + plan.replaced.len());
    let replaced = rules.split_off(plan.added.len());
    let broken = |error: RuntimeError| format!("model `{model}`: {error}");
    let replaces = plan.wanted.batch.max != workforce.batch_max;
    let kept = if replaces { 0 } else { workforce.present };
    let mut engines = Vec::new();
    for _ in kept..sessions {
        let engine = workforce.loader.warm(&plan.wanted, 1);
        engines.push(engine.map_err(broken)?);
    }
    let batch_gain = match engines.first_mut().filter(|_| replaces) {
        Some(engine) => Some(pool::batch_gain(engine).map_err(broken)?),
        None => None,
    };
    Ok(Prepared {
        engines,
        replaces,
        batch_gain,
        sessions,
        added: rules,
        replaced,
        changed,
    })
}
