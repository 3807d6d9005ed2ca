//! Runs one model on the frames of many streams.
//!
//! A frame's way: the dispatcher takes it from the bus, books it and asks its stream's
//! gate ([`gate`], [`stream`]); it waits in the [`scheduler`], at the [`exchange`], for a free
//! [`session`], which takes it in a [`batch`]; the session makes a [`tensor`] of it, releases its
//! slot, runs the model ([`engine`], [`runtime`], [`backend`]) and reads the output as its [`family`] says; the result is
//! published and booked ([`account`]). Whatever happens to it is a result, too: every
//! frame received ends in detections or in a reason for their absence.
//!
//! Streams, gates, thresholds and sessions change while frames flow ([`plan`], [`reconfigure`]).
//! A changed model is another worker: it loads and warms on standby while this one serves.
//!
//! The same engines answer questions about models outside of any run ([`study`]).
//!
//! The worker keeps nothing between frames but the time a gate last opened, so killing it
//! costs the frames inside it and nothing else.

use std::num::NonZero;
use std::time::{Duration, Instant};

use contract::control::{FromWorker, ToWorker};
use contract::spec::{InferSpec, Role, WorkerSpec};
use frame_bus::{Bus, BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::dispatcher::{Dispatcher, Place};
use crate::pool::Pool;
use crate::runtime::RuntimeError;

pub mod account;
pub mod backend;
pub mod batch;
pub mod dispatcher;
pub mod engine;
pub mod exchange;
pub mod family;
pub mod gate;
pub mod letterbox;
pub mod plan;
pub mod pool;
pub mod reconfigure;
pub mod runtime;
pub mod scheduler;
pub mod session;
pub mod stream;
pub mod study;
pub mod tensor;

/// A worker on standby looks at least so often whether it is to leave.
const STANDBY_TURN: Duration = Duration::from_millis(100);

/// Runs the worker that `spec` describes until it is drained or told to leave.
///
/// # Errors
/// A [`Failure`] whose kind says whether starting it again can help.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `worker::main` runs"
)]
pub fn run(spec: WorkerSpec, control: Control) -> Result<(), Failure> {
    let WorkerSpec {
        worker,
        incarnation,
        bus,
        role,
        ..
    } = spec;
    let infer = match role {
        Role::Infer(infer) => infer,
        Role::Study(study) => return study::run(&worker, &bus, &study, &control),
        _ => {
            return Err(Failure::bad_config(format!(
                "`{worker}` was given the spec of another kind of worker"
            )));
        }
    };
    let pool = warm(&infer, &control)?;
    let description = pool.description();
    tracing::info!("{description}");
    if infer.standby {
        control.send(FromWorker::Ready(format!("{description}, on standby")));
        if !wait_for_start(&control) {
            return Ok(());
        }
    }

    let broken = |error: BusError| Failure::failed(error.to_string());
    let bus = Bus::open(&bus, &worker.to_string()).map_err(broken)?;
    let place = Place {
        listener: Listener::open(&bus, &worker).map_err(broken)?,
        waker: Waker::open(&bus, &worker).map_err(broken)?,
        bus,
        // A successor is no restart: its predecessor left in order.
        incarnation: if infer.standby { 0 } else { incarnation },
    };
    let hook = place.waker.clone();
    control.on_message(move || hook.wake());
    let standby = infer.standby;
    let mut dispatcher = Dispatcher::open(infer, place, pool)?;
    if !standby {
        control.send(FromWorker::Ready(description));
    }
    dispatcher.run(&control)
}

/// On standby, until the predecessor is gone; false when told to leave instead.
fn wait_for_start(control: &Control) -> bool {
    while !control.stopping() {
        match control.receive_timeout(STANDBY_TURN) {
            Some(ToWorker::Start) => return true,
            Some(ToWorker::Drain) => return false,
            Some(ToWorker::Reconfigure { generation, .. }) => {
                let reason = "a worker on standby takes no changes before it serves".to_owned();
                control.reconfigured(generation, Err(reason));
            }
            Some(ToWorker::Configure(_) | ToWorker::EventCommitted(_) | ToWorker::Wanted(_))
            | None => {}
        }
    }
    false
}

/// Loads the library and the model, and runs it before any frame is taken.
fn warm(spec: &InferSpec, control: &Control) -> Result<Pool, Failure> {
    let begin = Instant::now();
    let failed = |error: RuntimeError| match error {
        // The model is what it is, but a run may fail for want of memory.
        RuntimeError::Run(_) => Failure::failed(format!("model `{}`: {error}", spec.model)),
        _ => Failure::bad_config(format!("model `{}`: {error}", spec.model)),
    };
    let warming = |text: String| control.send(FromWorker::Warming(text));
    warming("loading ONNX Runtime".to_owned());
    let environment = runtime::open(spec.library.as_deref()).map_err(failed)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let pool = Pool::warm(&environment, spec, cores, warming).map_err(failed)?;
    tracing::info!(
        elapsed_ms = begin.elapsed().as_millis(),
        "the model is warm"
    );
    Ok(pool)
}
