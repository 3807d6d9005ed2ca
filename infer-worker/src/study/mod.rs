//! Studies of models outside of any run: what they are calibrated with, how quickly they run,
//! how far one agrees with another.
//!
//! The frames come over the bus from ingest workers and the model runs in an [`Engine`], so
//! what is found here is what a run will see. The whole clip is taken in first, a sample of
//! it is kept, and only then is anything measured: decoders would take their share of the
//! cores.
//!
//! Of each clip's sample, the frames of even index are for calibration and those of odd index
//! for judging. Two studies of the same clips keep the same frames, so that no frame a model
//! was calibrated on is ever asked to judge it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use contract::control::FromWorker;
use contract::name::WorkerId;
use contract::spec::{BusSpec, InferSpec};
use contract::study::{AgreementAnswer, Answer, BackendsAnswer, InputsAnswer, Question, StudySpec};
use frame_bus::Bus;
use ort::environment::Environment;
use worker::{Control, Failure};

use crate::backend;
use crate::engine::{Engine, Inference};
use crate::pool::{self, Loader};
use crate::runtime::{self, RuntimeError};
use crate::tensor::TensorValues;
use frames::KeptFrame;
use precision::Precision;

mod frames;
mod precision;
mod speed;

/// Of the candidate, detections from this score on are ranked: average precision looks at the
/// whole ranking, and one that is a little less sure of an object has still found it.
const CANDIDATE_SCORE_MIN: f32 = 0.05;

/// Finds out what `study` asks and sends the answer.
///
/// # Errors
/// A [`Failure`] that says what of the study cannot work.
pub fn run(
    worker: &WorkerId,
    bus: &BusSpec,
    study: &StudySpec,
    control: &Control,
) -> Result<(), Failure> {
    let examiner = Examiner { study, control };
    let library = match &study.question {
        Question::Backends { library } => library.as_deref(),
        question => {
            let model = models(question).into_iter().next();
            model.and_then(|model| model.library.as_deref())
        }
    };
    let environment = runtime::open(library).map_err(|error| failure(&error))?;
    if let Question::Backends { .. } = study.question {
        let answer = Answer::Backends(BackendsAnswer {
            library: ort::info().to_owned(),
            gpus: backend::gpus(),
            backends: backend::examine(&environment),
        });
        control.send(FromWorker::Studied(Box::new(answer)));
        return Ok(());
    }
    // A model that cannot work is found before a long clip is decoded.
    let engines = examiner.load(&environment)?;
    let bus =
        Bus::open(bus, &worker.to_string()).map_err(|error| Failure::failed(error.to_string()))?;
    let clips = frames::collect(&bus, worker, study, control)?;
    drop(bus);
    let answer = examiner.answer(&environment, engines, &clips)?;
    control.send(FromWorker::Studied(Box::new(answer)));
    Ok(())
}

/// The models of a question.
fn models(question: &Question) -> Vec<&InferSpec> {
    match question {
        Question::Inputs { model, .. } | Question::Speed { model, .. } => vec![model],
        Question::Agreement {
            original,
            candidate,
        } => vec![original, candidate],
        Question::Backends { .. } => Vec::new(),
    }
}

fn failure(error: &RuntimeError) -> Failure {
    match error {
        RuntimeError::Run(_) => Failure::failed(error.to_string()),
        _ => Failure::bad_config(error.to_string()),
    }
}

struct Examiner<'a> {
    study: &'a StudySpec,
    control: &'a Control,
}

impl Examiner<'_> {
    fn progress(&self, text: String) {
        self.control.send(FromWorker::Warming(text));
    }

    fn load(&self, environment: &Environment) -> Result<Vec<Engine>, Failure> {
        let load = |model: &InferSpec| {
            self.progress(format!("loading {}", model.file.display()));
            let progress = |text| self.progress(text);
            let loaded = Loader::first(environment, model, 1, progress);
            let (_, engine, _) = loaded.map_err(|error| failure(&error))?;
            Ok(engine)
        };
        models(&self.study.question).into_iter().map(load).collect()
    }

    fn answer(
        &self,
        environment: &Environment,
        mut engines: Vec<Engine>,
        clips: &[Vec<KeptFrame>],
    ) -> Result<Answer, Failure> {
        match &self.study.question {
            Question::Inputs { tensors, .. } => {
                let inputs = self.write_inputs(&mut engines[0], clips, tensors)?;
                Ok(Answer::Inputs(inputs))
            }
            Question::Speed { model, cores } => {
                drop(engines);
                let frames: Vec<_> = clips.iter().flatten().collect();
                let cores = *cores as usize;
                let progress = |text| self.progress(text);
                let speed = speed::measure(environment, model, &frames, cores, progress);
                Ok(Answer::Speed(speed.map_err(|error| failure(&error))?))
            }
            Question::Backends { .. } => Err(Failure::failed("that question is not about frames")),
            Question::Agreement { candidate, .. } => {
                let [original, changed] = &mut engines[..] else {
                    return Err(Failure::failed("a comparison takes two models"));
                };
                changed.set_thresholds(crate::family::Thresholds {
                    score_min: candidate.score_min.min(CANDIDATE_SCORE_MIN),
                    nms_iou: candidate.nms_iou,
                });
                let compared = self.compare(original, changed, clips);
                Ok(Answer::Agreement(
                    compared.map_err(|error| failure(&error))?,
                ))
            }
        }
    }

    /// Writes the tensors of the frames that are for calibration.
    fn write_inputs(
        &self,
        engine: &mut Engine,
        clips: &[Vec<KeptFrame>],
        path: &Path,
    ) -> Result<InputsAnswer, Failure> {
        let unwritable = |error: std::io::Error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        };
        let mut file = BufWriter::new(File::create(path).map_err(unwritable)?);
        let mut answer = InputsAnswer {
            shape: Vec::new(),
            frames: 0,
        };
        for frame in clips.iter().flat_map(|clip| clip.iter().step_by(2)) {
            engine.prepare(&frame.picture());
            let (TensorValues::Floats(values), dimensions) = engine.tensor() else {
                return Err(Failure::bad_config(
                    "the model takes bytes, not floats: it cannot be quantised any further",
                ));
            };
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            file.write_all(&bytes).map_err(unwritable)?;
            answer.shape = dimensions;
            answer.frames += 1;
        }
        file.flush().map_err(unwritable)?;
        Ok(answer)
    }

    /// Runs both models, in turns so that a busy machine harms both alike, on the frames that
    /// are for judging.
    fn compare(
        &self,
        original: &mut Engine,
        candidate: &mut Engine,
        clips: &[Vec<KeptFrame>],
    ) -> Result<AgreementAnswer, RuntimeError> {
        let judged = clips.iter().flat_map(|clip| clip.iter().skip(1).step_by(2));
        let judged: Vec<_> = judged.collect();
        let mut precision = Precision::default();
        let (mut original_times, mut candidate_times) = (Vec::new(), Vec::new());
        for (index, frame) in judged.iter().enumerate() {
            self.progress(format!(
                "comparing on frame {} of {}",
                index + 1,
                judged.len()
            ));
            original.prepare(&frame.picture());
            let (truth, time) = timed(|| original.infer())?;
            original_times.push(time);
            candidate.prepare(&frame.picture());
            let (found, time) = timed(|| candidate.infer())?;
            candidate_times.push(time);
            precision.add_frame(truth.findings.detections(), found.findings.detections());
        }
        Ok(AgreementAnswer {
            frames: judged.len(),
            truths: precision.truths(),
            average_precision: precision.average(),
            original_ms: median_ms(&mut original_times),
            candidate_ms: median_ms(&mut candidate_times),
        })
    }
}

/// What an engine found, and the processor time of it: a session runs on the thread that calls
/// it, and the time that passes would depend on what else the machine is doing.
fn timed(
    infer: impl FnOnce() -> Result<Inference, RuntimeError>,
) -> Result<(Inference, Duration), RuntimeError> {
    let begin = pool::thread_cpu_time();
    let inference = infer()?;
    Ok((inference, pool::thread_cpu_time().saturating_sub(begin)))
}

/// The median in milliseconds; 0 of nothing.
fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e3
}
