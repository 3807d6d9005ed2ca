//! How many sessions run side by side, and that each has run before the first frame.
//!
//! What is measured is the processor time of a frame, not the time that passes: it grows
//! when sessions get into each other's way (shared caches, memory, two threads of one
//! core), but not because decoders and encoders, or compilers, are busy at that moment. A
//! worker that is restarted in the middle of a busy run thus finds the same number again.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use contract::geometry::PixelSize;
use contract::spec::InferSpec;
use nix::time::{ClockId, clock_gettime};
use ort::environment::Environment;

use crate::engine::Engine;
use crate::letterbox::Letterbox;
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

/// Warm sessions and what was measured with all of them running.
#[derive(Debug)]
pub struct Pool {
    /// The sessions, one thread each.
    pub engines: Vec<Engine>,
    /// Frames a second of all together, given a core each.
    pub frames_per_second: f64,
    /// Processor time of one frame in one session while all were running.
    pub frame_time: Duration,
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
        let mut engines = Vec::new();
        let mut grow = |engines: &mut Vec<Engine>, count: usize| {
            while engines.len() < count {
                progress(format!("loading session {}", engines.len() + 1));
                engines.push(Engine::warm(environment, spec)?);
            }
            progress(format!("measuring {count} sessions"));
            measure(engines)
        };
        if let Some(count) = spec.sessions {
            let count = session_count(count);
            let rate = grow(&mut engines, count)?;
            return Ok(Self::of(engines, rate));
        }
        let (mut best_count, mut best_rate, mut without_gain) = (0, 0.0, 0);
        for count in steps(cores) {
            let rate = grow(&mut engines, count)?;
            tracing::debug!(count, rate, "measured");
            if rate > best_rate * GAIN_MIN {
                (best_count, best_rate, without_gain) = (count, rate, 0);
            } else {
                without_gain += 1;
            }
            if without_gain == 2 {
                break;
            }
        }
        engines.truncate(best_count);
        Ok(Self::of(engines, best_rate))
    }

    fn of(engines: Vec<Engine>, frames_per_second: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most SESSIONS_MAX")]
        let frame_time = engines.len() as f64 / frames_per_second.max(f64::MIN_POSITIVE);
        Self {
            engines,
            frames_per_second,
            frame_time: Duration::try_from_secs_f64(frame_time).unwrap_or(Duration::MAX),
        }
    }

    /// `nanodet 416x416, 2 sessions of 1 thread, 9.6 ms a frame, 204 frames a second`
    #[must_use]
    pub fn description(&self) -> String {
        let count = self.engines.len();
        format!(
            "{}, {count} {} of 1 thread, {:.1} ms a frame, {:.0} frames a second",
            self.engines.first().map_or("", Engine::description),
            if count == 1 { "session" } else { "sessions" },
            self.frame_time.as_secs_f64() * 1e3,
            self.frames_per_second,
        )
    }
}

impl Engine {
    /// Loads a session and runs it until it is warm.
    ///
    /// # Errors
    /// When the model cannot be loaded or fails on an empty picture.
    pub fn warm(environment: &Environment, spec: &InferSpec) -> Result<Self, RuntimeError> {
        Self::warm_with_threads(environment, spec, 1)
    }

    /// The same, in a session that takes `threads` threads for one run.
    ///
    /// # Errors
    /// When the model cannot be loaded or fails on an empty picture.
    pub fn warm_with_threads(
        environment: &Environment,
        spec: &InferSpec,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let mut engine = Self::load_with_threads(environment, spec, threads)?;
        for _ in 0..WARM_UP_RUNS {
            engine.run_empty()?;
        }
        Ok(engine)
    }

    /// Runs on the padding alone, as if of a picture of the least size.
    ///
    /// # Errors
    /// When the model fails.
    pub fn run_empty(&mut self) -> Result<(), RuntimeError> {
        let size = PixelSize {
            width: 16,
            height: 16,
        };
        self.infer(&Letterbox::new(size, self.size())).map(|_| ())
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

/// Runs all sessions side by side for a while; returns the frames a second that all together
/// would give with a core each.
fn measure(engines: &mut [Engine]) -> Result<f64, RuntimeError> {
    let begin = Barrier::new(engines.len());
    let run = |engine: &mut Engine| {
        begin.wait();
        let (start, start_cpu) = (Instant::now(), thread_cpu_time());
        let mut frames = 0.0;
        while start.elapsed() < MEASURE {
            engine.run_empty()?;
            frames += 1.0;
        }
        let cpu = thread_cpu_time().saturating_sub(start_cpu);
        Ok(frames / cpu.max(Duration::from_micros(1)).as_secs_f64())
    };
    std::thread::scope(|scope| {
        let threads = engines.iter_mut().map(|engine| scope.spawn(|| run(engine)));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| {
                let panicked = |_| Err(RuntimeError::Run("it panicked".to_owned()));
                thread.join().unwrap_or_else(panicked)
            })
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
