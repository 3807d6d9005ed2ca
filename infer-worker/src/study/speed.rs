//! How quickly a model runs on this machine, in which configuration.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use contract::spec::InferSpec;
use contract::study::{BatchSpeed, ConfigurationSpeed, SpeedAnswer};
use ort::environment::Environment;

use super::frames::KeptFrame;
use super::median_ms;
use crate::backend::{self, PassedOver};
use crate::engine::Engine;
use crate::pool::{self, Loader};
use crate::runtime::{BatchError, RuntimeError};

/// How long each configuration is measured, and each batch size.
const MEASURE: Duration = Duration::from_millis(1500);
/// Batch sizes that are tried; the larger ones on a GPU.
const BATCHES: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// On a CPU nothing is to be gained that eight would not show.
const BATCH_MAX_ON_CPU: u32 = 8;

/// Measures whole frames in sessions of one thread side by side and in one session of several
/// threads, and in batches.
pub(super) fn measure(
    environment: &Environment,
    model: &InferSpec,
    frames: &[&KeptFrame],
    cores: usize,
    progress: impl Fn(String),
) -> Result<SpeedAnswer, RuntimeError> {
    let largest = Largest::load(environment, model, &progress)?;
    let (loader, model) = (&largest.loader, &largest.model);
    let mut engines = vec![largest.engine];
    let mut configurations: Vec<ConfigurationSpeed> = Vec::new();
    for sessions in pool::steps(cores) {
        progress(format!("measuring {sessions} sessions of 1 thread"));
        while engines.len() < sessions {
            engines.push(loader.warm(model, 1)?);
        }
        let times = Times::of_all(&mut engines, frames, 1, 1)?;
        configurations.push(times.configuration(sessions, 1));
    }
    let by_rate = |one: &&ConfigurationSpeed, other: &&ConfigurationSpeed| {
        one.frames_per_second.total_cmp(&other.frames_per_second)
    };
    let best = configurations.iter().max_by(by_rate);
    engines.truncate(best.map_or(1, |row| row.sessions));
    let batch_max = engines[0].batch_max();
    let mut batches = Vec::new();
    for batch in BATCHES.map(|batch| batch as usize) {
        if batch > batch_max {
            break;
        }
        progress(format!("measuring batches of {batch}"));
        let times = Times::of_all(&mut engines, frames, 1, batch)?;
        batches.push(times.batch(engines.len(), batch));
    }
    for threads in pool::steps(cores).skip(1) {
        // What runs elsewhere has no use for threads here.
        if loader.backend.is_gpu() {
            break;
        }
        progress(format!("measuring 1 session of {threads} threads"));
        let mut threaded = [loader.warm(model, threads)?];
        let times = Times::of_all(&mut threaded, frames, threads, 1)?;
        configurations.push(times.configuration(1, threads));
    }
    Ok(SpeedAnswer {
        model: engines[0].description().to_owned(),
        backend: loader.backend,
        passed_over: backend::list(&largest.passed_over),
        cores,
        frames: frames.len(),
        configurations,
        batches,
        batch_limit: largest.limit,
    })
}

/// A model loaded for the largest batches that are worth trying and that it takes.
struct Largest {
    model: InferSpec,
    engine: Engine,
    loader: Loader,
    passed_over: Vec<PassedOver>,
    limit: Option<String>,
}

impl Largest {
    fn load(
        environment: &Environment,
        model: &InferSpec,
        progress: &impl Fn(String),
    ) -> Result<Self, RuntimeError> {
        let load = |max: u32, limit: Option<String>| {
            let mut model = model.clone();
            model.batch.max = Some(max);
            let (loader, engine, passed_over) = Loader::first(environment, &model, 1, progress)?;
            Ok(Self {
                model,
                engine,
                loader,
                passed_over,
                limit,
            })
        };
        let largest = BATCHES[BATCHES.len() - 1];
        let loaded = load(BATCH_MAX_ON_CPU, None);
        match loaded {
            Err(RuntimeError::Batch { source, .. }) => {
                let max = match &source {
                    BatchError::Fixed { fixed, .. } => u32::try_from(*fixed).unwrap_or(1),
                    BatchError::Output { .. } | BatchError::Run { .. } => 1,
                };
                load(max, Some(source.to_string()))
            }
            Ok(loaded) if loaded.loader.backend.is_gpu() => load(largest, None),
            loaded => loaded,
        }
    }
}

/// What the frames of one session took, each part of each frame.
#[derive(Debug, Default)]
struct Times {
    preprocess: Vec<Duration>,
    model: Vec<Duration>,
    decode: Vec<Duration>,
    /// Of a run: of all frames of a batch.
    whole: Vec<Duration>,
    frames_per_second: f64,
    /// Processor time had.
    processor: Duration,
    /// The same, of what the threads could have used.
    processor_share: f64,
}

impl Times {
    /// Runs all engines side by side for a while, each of so many threads and on so many frames at
    /// a time.
    fn of_all(
        engines: &mut [Engine],
        frames: &[&KeptFrame],
        threads: usize,
        batch: usize,
    ) -> Result<Self, RuntimeError> {
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
                    Self::of_one(engine, frames.iter().cycle().skip(offset), batch)
                })
            });
            let running: Vec<_> = running.collect();
            let joined = running.into_iter().map(|thread| {
                let panicked = |_| Err(RuntimeError::Run("it panicked".to_owned()));
                thread.join().unwrap_or_else(panicked)
            });
            joined.collect::<Result<Vec<Self>, RuntimeError>>()
        })?;
        let processor = pool::processor_time().saturating_sub(start_processor);
        #[expect(clippy::cast_precision_loss, reason = "at most some hundred threads")]
        let possible = start.elapsed().as_secs_f64() * (sessions * threads) as f64;
        let mut all = Self {
            processor,
            processor_share: processor.as_secs_f64() / possible,
            ..Self::default()
        };
        for times in times {
            all.preprocess.extend(times.preprocess);
            all.model.extend(times.model);
            all.decode.extend(times.decode);
            all.whole.extend(times.whole);
            all.frames_per_second += times.frames_per_second;
        }
        Ok(all)
    }

    /// Runs one engine on `frames`, which do not end, for a while.
    fn of_one<'a>(
        engine: &mut Engine,
        mut frames: impl Iterator<Item = &'a &'a KeptFrame>,
        batch: usize,
    ) -> Result<Self, RuntimeError> {
        let mut times = Self::default();
        let start = Instant::now();
        while start.elapsed() < MEASURE {
            let begin = Instant::now();
            for frame in frames.by_ref().take(batch) {
                let begin = Instant::now();
                engine.add(&frame.picture());
                times.preprocess.push(begin.elapsed());
            }
            let mut failed = None;
            let before = times.preprocess.len() - batch;
            engine.run(|index, inference| match inference {
                Ok(inference) => {
                    times.model.push(inference.model);
                    let tensor = times.preprocess[before + index];
                    times
                        .decode
                        .push(inference.conversion.saturating_sub(tensor));
                }
                Err(error) => failed = Some(error),
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            times.whole.push(begin.elapsed());
        }
        #[expect(clippy::cast_precision_loss, reason = "frames of a second or two")]
        let count = times.model.len() as f64;
        times.frames_per_second = count / start.elapsed().as_secs_f64();
        Ok(times)
    }

    fn configuration(mut self, sessions: usize, threads: usize) -> ConfigurationSpeed {
        ConfigurationSpeed {
            sessions,
            threads,
            frames_per_second: self.frames_per_second,
            processor_share: self.processor_share,
            frame_ms: median_ms(&mut self.whole),
            preprocess_ms: median_ms(&mut self.preprocess),
            model_ms: median_ms(&mut self.model),
            decode_ms: median_ms(&mut self.decode),
        }
    }

    fn batch(mut self, sessions: usize, batch: usize) -> BatchSpeed {
        #[expect(clippy::cast_precision_loss, reason = "frames of a second or two")]
        let frames = self.model.len() as f64;
        BatchSpeed {
            processor_ms: self.processor.as_secs_f64() * 1e3 / frames,
            batch,
            sessions,
            frames_per_second: self.frames_per_second,
            batch_ms: median_ms(&mut self.whole),
            model_ms: median_ms(&mut self.model),
        }
    }
}
