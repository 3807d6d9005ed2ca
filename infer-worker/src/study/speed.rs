//! How quickly a model runs on this machine, in which configuration.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use contract::spec::InferSpec;
use contract::study::{BatchSpeed, ConfigurationSpeed, SpeedAnswer};
use ort::environment::Environment;

use super::frames::KeptFrame;
use super::median_ms;
use crate::engine::Engine;
use crate::pool;
use crate::runtime::{ModelSession, RuntimeError};
use crate::tensor::TensorValues;

/// How long each configuration is measured, and each batch size.
const MEASURE: Duration = Duration::from_millis(1500);
/// Runs of a batch before it counts: the first allocates, the second reuses.
const WARM_UP_RUNS: usize = 2;
/// Batch sizes that are tried.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// Measures whole frames in sessions of one thread side by side and in one session of several
/// threads, and the model alone on batches.
pub(super) fn measure(
    environment: &Environment,
    model: &InferSpec,
    frames: &[&KeptFrame],
    cores: usize,
    progress: impl Fn(String),
) -> Result<SpeedAnswer, RuntimeError> {
    let mut engines: Vec<Engine> = Vec::new();
    let mut configurations = Vec::new();
    for sessions in pool::steps(cores) {
        progress(format!("measuring {sessions} sessions of 1 thread"));
        while engines.len() < sessions {
            engines.push(Engine::warm(environment, model)?);
        }
        configurations.push(measure_configuration(&mut engines, frames, 1)?);
    }
    engines.truncate(1);
    let mut engine = engines.remove(0);
    for threads in pool::steps(cores).skip(1) {
        progress(format!("measuring 1 session of {threads} threads"));
        let mut threaded = [Engine::warm_with_threads(environment, model, threads)?];
        configurations.push(measure_configuration(&mut threaded, frames, threads)?);
    }
    if let Some(frame) = frames.first() {
        engine.prepare(&frame.picture());
    }
    Ok(SpeedAnswer {
        model: engine.description().to_owned(),
        cores,
        frames: frames.len(),
        batches: measure_batches(environment, model, &engine, progress)?,
        configurations,
    })
}

/// What the frames of one session took, each part of each frame.
#[derive(Debug, Default)]
struct Times {
    preprocess: Vec<Duration>,
    model: Vec<Duration>,
    decode: Vec<Duration>,
    whole: Vec<Duration>,
    frames_per_second: f64,
}

/// Runs all engines side by side for a while.
fn measure_configuration(
    engines: &mut [Engine],
    frames: &[&KeptFrame],
    threads: usize,
) -> Result<ConfigurationSpeed, RuntimeError> {
    let begin = Barrier::new(engines.len());
    let sessions = engines.len();
    let (start, start_processor) = (Instant::now(), pool::processor_time());
    let times = std::thread::scope(|scope| {
        let running = engines.iter_mut().enumerate().map(|(index, engine)| {
            let begin = &begin;
            scope.spawn(move || {
                begin.wait();
                // Sessions begin at different frames, as they would with different streams.
                let offset = index * frames.len() / sessions;
                run(engine, frames.iter().cycle().skip(offset))
            })
        });
        let running: Vec<_> = running.collect();
        let joined = running.into_iter().map(|thread| {
            let panicked = |_| Err(RuntimeError::Run("it panicked".to_owned()));
            thread.join().unwrap_or_else(panicked)
        });
        joined.collect::<Result<Vec<Times>, RuntimeError>>()
    })?;
    let processor = pool::processor_time().saturating_sub(start_processor);
    #[expect(clippy::cast_precision_loss, reason = "at most some hundred threads")]
    let possible = start.elapsed().as_secs_f64() * (sessions * threads) as f64;
    let median = |part: fn(&Times) -> &Vec<Duration>| {
        let all = times.iter().flat_map(|times| part(times).iter().copied());
        median_ms(&mut all.collect::<Vec<_>>())
    };
    Ok(ConfigurationSpeed {
        sessions,
        threads,
        frames_per_second: times.iter().map(|times| times.frames_per_second).sum(),
        processor_share: processor.as_secs_f64() / possible,
        frame_ms: median(|times| &times.whole),
        preprocess_ms: median(|times| &times.preprocess),
        model_ms: median(|times| &times.model),
        decode_ms: median(|times| &times.decode),
    })
}

/// Runs one engine on `frames`, which do not end, for a while.
fn run<'a>(
    engine: &mut Engine,
    frames: impl Iterator<Item = &'a &'a KeptFrame>,
) -> Result<Times, RuntimeError> {
    let mut times = Times::default();
    let start = Instant::now();
    for frame in frames {
        let begin = Instant::now();
        let letterbox = engine.prepare(&frame.picture());
        let preprocess = begin.elapsed();
        let inference = engine.infer(&letterbox)?;
        let whole = begin.elapsed();
        times.preprocess.push(preprocess);
        times.model.push(inference.model);
        times
            .decode
            .push(whole.saturating_sub(preprocess + inference.model));
        times.whole.push(whole);
        if start.elapsed() >= MEASURE {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "frames of a second or two")]
    let count = times.whole.len() as f64;
    times.frames_per_second = count / start.elapsed().as_secs_f64();
    Ok(times)
}

/// The model alone on batches of the tensor that `engine` made last.
fn measure_batches(
    environment: &Environment,
    model: &InferSpec,
    engine: &Engine,
    progress: impl Fn(String),
) -> Result<Vec<BatchSpeed>, RuntimeError> {
    let (tensor, mut dimensions) = engine.tensor();
    let mut session = ModelSession::load(environment, &model.file)?;
    let is_open = matches!(session.inputs()[0].shape[..], [-1, _, _, _]);
    let mut batches = Vec::new();
    for batch in BATCHES {
        if batch > 1 && !is_open {
            break;
        }
        progress(format!("measuring batches of {batch}"));
        if is_open {
            dimensions[0] = batch;
        }
        let (floats, bytes);
        let input = match tensor {
            TensorValues::Floats(values) => {
                floats = values.repeat(batch);
                TensorValues::Floats(&floats)
            }
            TensorValues::Bytes(values) => {
                bytes = values.repeat(batch);
                TensorValues::Bytes(&bytes)
            }
        };
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < WARM_UP_RUNS + 2 || begin.elapsed() < MEASURE {
            let run = Instant::now();
            session.run_shaped(input, dimensions.clone(), |_| ())?;
            times.push(run.elapsed());
        }
        #[expect(clippy::cast_precision_loss, reason = "one of BATCHES")]
        let frames = batch as f64;
        batches.push(BatchSpeed {
            batch,
            model_ms: median_ms(&mut times[WARM_UP_RUNS..]) / frames,
        });
    }
    Ok(batches)
}
