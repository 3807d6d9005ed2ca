//! Runs one model on the frames of many streams.
//!
//! A frame's way: the dispatcher takes it from the bus, books it and asks its stream's
//! gate ([`stream`]); it waits in the [`scheduler`], at the [`exchange`], for a free
//! session; the session makes a [`tensor`] of it, releases its slot, runs the model
//! ([`engine`], [`runtime`]) and reads the output as its [`family`] says; the result is
//! published and booked ([`account`]). Whatever happens to it is a result, too: every
//! frame received ends in detections or in a reason for their absence.
//!
//! The worker keeps nothing between frames but the time a gate last opened, so killing it
//! costs the frames inside it and nothing else.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use contract::control::FromWorker;
use contract::spec::{InferSpec, Role, WorkerSpec};
use frame_bus::{Bus, BusError, Listener, Waker};
use worker::{Control, Failure};

use crate::account::Account;
use crate::dispatcher::{Sessions, Shared};
use crate::exchange::Exchange;
use crate::pool::Pool;
use crate::runtime::RuntimeError;
use crate::scheduler::Scheduler;
use crate::stream::Stream;

pub mod account;
pub mod dispatcher;
pub mod engine;
pub mod exchange;
pub mod family;
pub mod letterbox;
pub mod pool;
pub mod runtime;
pub mod scheduler;
pub mod stream;
pub mod tensor;

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
    let Role::Infer(infer) = role else {
        return Err(Failure::bad_config(format!(
            "`{worker}` was given the spec of another kind of worker"
        )));
    };
    let pool = warm(&infer, &control)?;

    let broken = |error: BusError| Failure::failed(error.to_string());
    let bus = Bus::open(&bus, &worker.to_string()).map_err(broken)?;
    let listener = Listener::open(&bus, &worker).map_err(broken)?;
    let waker = Waker::open(&bus, &worker).map_err(broken)?;
    let hook = waker.clone();
    control.on_message(move || hook.wake());

    let lanes = infer
        .streams
        .iter()
        .map(|stream| (Stream::lane_policy(stream), stream.priority));
    let exchange = Exchange::new(Scheduler::new(lanes));
    let (mut accounts, mut streams) = (Vec::new(), Vec::new());
    for (lane, stream) in infer.streams.iter().enumerate() {
        let account = Account::open(&bus, &infer.model, stream, incarnation).map_err(broken)?;
        let account = Arc::new(account);
        accounts.push(Arc::clone(&account));
        let waker = waker.clone();
        streams.push(Stream::open(
            &bus,
            &infer.model,
            stream,
            lane,
            account,
            waker,
        )?);
    }
    let shared = Arc::new(Shared::new(exchange, accounts, waker));

    let description = pool.description();
    let sessions = Sessions::start(pool.engines, shared)?;
    tracing::info!("{description}");
    control.send(FromWorker::Ready(description));
    dispatcher::run(&control, &listener, streams, &sessions)
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
