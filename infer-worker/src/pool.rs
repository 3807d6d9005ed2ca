//! How many sessions run side by side, on batches of how many, and that each has run before the
//! first frame.
//!
//! On the CPU what is measured is the processor time of a frame, not the time that passes: it
//! grows when sessions get into each other's way (shared caches, memory, two threads of one
//! core), but not because decoders and encoders, or compilers, are busy at that moment. A
//! worker that is restarted in the middle of a busy run thus finds the same number again. What
//! runs elsewhere than on the calling thread can only be measured by the time that passes.

use std::sync::Barrier;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use contract::spec::{Backend, InferSpec};
use nix::time::{ClockId, clock_gettime};
use ort::environment::Environment;

use crate::backend::{self, PassedOver};
use crate::engine::Engine;
use crate::runtime::RuntimeError;

/// Most sessions of one model: as many as can hold a loaned result at the same time.
pub const SESSIONS_MAX: usize = 16;

/// Runs of a session before it counts as warm: the first allocates, the second reuses.
const WARM_UP_RUNS: u32 = 2;
/// How long each number of sessions is measured.
const MEASURE: Duration = Duration::from_millis(300);
/// One more session must give this much more, or it is not worth its memory and its
/// share of the cores that decoding and encoding need as well.
const GAIN_MIN: f64 = 1.05;

/// A full batch must give this much more frames a second than single frames, or it is not worth
/// waiting for.
const BATCH_GAIN_MIN: f64 = 1.1;
/// How often one is told that something is still being loaded.
const TICK: Duration = Duration::from_secs(1);

/// What it takes to load one more session of a model like those that run.
#[derive(Debug, Clone)]
pub struct Loader {
    /// ONNX Runtime.
    pub environment: Environment,
    /// What runs the model.
    pub backend: Backend,
}

impl Loader {
    /// Loads a session and runs it until it is warm.
    ///
    /// # Errors
    /// When the model cannot be loaded or fails on an empty picture.
    pub fn warm(&self, spec: &InferSpec, threads: usize) -> Result<Engine, RuntimeError> {
        let mut engine = Engine::load_for(&self.environment, spec, self.backend, threads)?;
        for _ in 0..WARM_UP_RUNS {
            engine.run_empty(engine.batch_max())?;
        }
        Ok(engine)
    }

    /// Loads and warms the first session for the best back end that the spec allows; returns
    /// also those that would have been better, and why they were not taken.
    ///
    /// # Errors
    /// When the model cannot be loaded or fails on an empty picture.
    pub fn first(
        environment: &Environment,
        spec: &InferSpec,
        threads: usize,
        mut progress: impl FnMut(String),
    ) -> Result<(Self, Engine, Vec<PassedOver>), RuntimeError> {
        let of = |backend| Self {
            environment: environment.clone(),
            backend,
        };
        let load = |backend: Backend| {
            let what = match backend {
                Backend::Tensorrt => "loading or building the TensorRT engine".to_owned(),
                _ => format!("loading session 1 ({})", backend.as_str()),
            };
            ticking(&what, &mut progress, || of(backend).warm(spec, threads))
        };
        let selected = backend::select(&spec.backend, &backend::available(), load)?;
        let loader = of(selected.backend);
        Ok((loader, selected.loaded, selected.passed_over))
    }
}

/// Does what may take minutes, and says every second how long it has taken.
fn ticking<T: Send>(
    what: &str,
    progress: &mut impl FnMut(String),
    work: impl FnOnce() -> Result<T, RuntimeError> + Send,
) -> Result<T, RuntimeError> {
    progress(what.to_owned());
    let begin = Instant::now();
    let (done, finished) = sync_channel(1);
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let result = work();
            drop(done);
            result
        });
        while finished.recv_timeout(TICK) == Err::<(), _>(RecvTimeoutError::Timeout) {
            progress(format!("{what}, {} s", begin.elapsed().as_secs()));
        }
        worker.join().unwrap_or_else(|_| Err(panicked()))
    })
}

fn panicked() -> RuntimeError {
    RuntimeError::Run("it panicked".to_owned())
}

/// Warm sessions and what was measured with all of them running.
#[derive(Debug)]
pub struct Pool {
    /// The sessions, one thread each.
    pub engines: Vec<Engine>,
    /// For more of them.
    pub loader: Loader,
    /// Back ends that would have been better, and why they were not taken.
    pub passed_over: Vec<PassedOver>,
    /// Frames a second of all together, on full batches; on the CPU given a core each.
    pub frames_per_second: f64,
    /// Time of one frame in one session while all were running, its share of a full batch.
    pub frame_time: Duration,
    /// How many times as many frames a second one session gives on full batches as on single
    /// frames; 1 where batches are of one.
    pub batch_gain: f64,
}

impl Pool {
    /// Loads and warms as many sessions as the spec says or, where it says nothing, as many
    /// as give the most frames a second: 1, 2, 3, 4, then half as many again, up to `cores`,
    /// each for 0.3 s, until two steps in a row have not gained 5 %.
    ///
    /// # Errors
    /// When the model cannot be loaded or fails on an empty picture.
    pub fn warm(
        environment: &Environment,
        spec: &InferSpec,
        cores: usize,
        mut progress: impl FnMut(String),
    ) -> Result<Self, RuntimeError> {
        let (loader, mut first, passed_over) = Loader::first(environment, spec, 1, &mut progress)?;
        if first.batch_max() > 1 {
            progress("measuring batches".to_owned());
        }
        let batch_gain = batch_gain(&mut first)?;
        let mut engines = vec![first];
        let mut grow = |engines: &mut Vec<Engine>, count: usize| {
            while engines.len() < count {
                let what = format!("loading session {}", engines.len() + 1);
                engines.push(ticking(&what, &mut progress, || loader.warm(spec, 1))?);
            }
            progress(format!("measuring {count} sessions"));
            measure(engines, usize::MAX)
        };
        let mut best = (0, 0.0);
        if let Some(count) = spec.sessions {
            let count = session_count(count);
            best = (count, grow(&mut engines, count)?);
        } else {
            let mut without_gain = 0;
            for count in steps(cores) {
                let rate = grow(&mut engines, count)?;
                tracing::debug!(count, rate, "measured");
                if rate > best.1 * GAIN_MIN {
                    (best, without_gain) = ((count, rate), 0);
                } else {
                    without_gain += 1;
                }
                if without_gain == 2 {
                    break;
                }
            }
        }
        let (count, frames_per_second) = best;
        engines.truncate(count);
        #[expect(clippy::cast_precision_loss, reason = "at most SESSIONS_MAX")]
        let frame_time = count as f64 / frames_per_second.max(f64::MIN_POSITIVE);
        Ok(Self {
            engines,
            loader,
            passed_over,
            frames_per_second,
            frame_time: Duration::try_from_secs_f64(frame_time).unwrap_or(Duration::MAX),
            batch_gain,
        })
    }

    /// `nanodet 416x416, 2 sessions of 1 thread on cpu, 9.6 ms a frame, 204 frames a second; not
    /// tensorrt, cuda: the ONNX Runtime library has no such provider`
    #[must_use]
    pub fn description(&self) -> String {
        let count = self.engines.len();
        let first = self.engines.first();
        let batch_max = first.map_or(1, Engine::batch_max);
        let batches = if batch_max > 1 {
            let pays = if pays(self.batch_gain) {
                ""
            } else {
                ", for which no frame waits"
            };
            format!(
                " in batches of up to {batch_max} ({:.2} times the frames of single ones{pays})",
                self.batch_gain
            )
        } else {
            String::new()
        };
        let passed_over = if self.passed_over.is_empty() {
            String::new()
        } else {
            format!("; not {}", backend::list(&self.passed_over))
        };
        format!(
            "{}, {count} {} of 1 thread on {}{batches}, {:.1} ms a frame, {:.0} frames a second{passed_over}",
            first.map_or("", Engine::description),
            if count == 1 { "session" } else { "sessions" },
            self.loader.backend.as_str(),
            self.frame_time.as_secs_f64() * 1e3,
            self.frames_per_second,
        )
    }
}

/// Measures how many times as many frames a second a session gives on full batches as on
/// single frames.
///
/// # Errors
/// When the model fails.
pub fn batch_gain(engine: &mut Engine) -> Result<f64, RuntimeError> {
    if engine.batch_max() == 1 {
        return Ok(1.0);
    }
    let engine = std::slice::from_mut(engine);
    let single = measure(engine, 1)?;
    let full = measure(engine, usize::MAX)?;
    Ok(full / single.max(f64::MIN_POSITIVE))
}

/// Whether a fuller batch gains so much that it is worth waiting for.
fn pays(batch_gain: f64) -> bool {
    batch_gain >= BATCH_GAIN_MIN
}

/// How long frames wait for company: what the spec allows, where it pays.
#[must_use]
pub fn batch_delay(spec: &InferSpec, batch_gain: f64) -> Duration {
    if pays(batch_gain) {
        Duration::from_micros(spec.batch.delay_us)
    } else {
        Duration::ZERO
    }
}

/// As many sessions as a spec asks for, within what is possible.
#[must_use]
pub fn session_count(asked_for: u32) -> usize {
    (asked_for as usize).clamp(1, SESSIONS_MAX)
}

/// Numbers of sessions worth trying on so many cores.
pub(crate) fn steps(cores: usize) -> impl Iterator<Item = usize> {
    let most = cores.clamp(1, SESSIONS_MAX);
    let more = |count: &usize| Some(if *count < 4 { count + 1 } else { count * 3 / 2 });
    std::iter::successors(Some(1), more).take_while(move |count| *count <= most)
}

/// Runs all sessions side by side for a while on so many pictures, or as many as they take;
/// returns the frames a second that all together would give, on the CPU with a core each.
fn measure(engines: &mut [Engine], pictures: usize) -> Result<f64, RuntimeError> {
    let begin = Barrier::new(engines.len());
    let run = |engine: &mut Engine| {
        begin.wait();
        let (start, start_cpu) = (Instant::now(), thread_cpu_time());
        let pictures = pictures.min(engine.batch_max());
        let mut runs = 0;
        while start.elapsed() < MEASURE {
            engine.run_empty(pictures)?;
            runs += 1;
        }
        let cpu = thread_cpu_time().saturating_sub(start_cpu);
        let time = match engine.backend() {
            Backend::Cpu => cpu.max(Duration::from_micros(1)),
            Backend::Openvino | Backend::Cuda | Backend::Tensorrt => start.elapsed(),
        };
        #[expect(clippy::cast_precision_loss, reason = "frames of less than a second")]
        let frames = (runs * pictures) as f64;
        Ok(frames / time.as_secs_f64())
    };
    std::thread::scope(|scope| {
        let threads = engines.iter_mut().map(|engine| scope.spawn(|| run(engine)));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
            .sum()
    })
}

/// Processor time of the calling thread; a session runs on no other.
pub(crate) fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("CLOCK_THREAD_CPUTIME_ID exists on every Linux kernel")
        .into()
}

/// Processor time of all threads of this process.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("CLOCK_PROCESS_CPUTIME_ID exists on every Linux kernel")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_to_the_cores_and_no_further() {
        let steps = |cores| steps(cores).collect::<Vec<_>>();
        assert_eq!(steps(0), [1]);
        assert_eq!(steps(2), [1, 2]);
        assert_eq!(steps(8), [1, 2, 3, 4, 6]);
        assert_eq!(steps(128), [1, 2, 3, 4, 6, 9, 13]);
    }
}
