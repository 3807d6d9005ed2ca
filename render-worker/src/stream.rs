//! The main loop of one stream: takes results and frames from the bus, joins
//! them, has them rendered, keeps the books, and knows when it is over.
//!
//! Every turn takes all there is, results first, so that a frame finds what is
//! known of it. Between turns it sleeps on the worker's listener.

use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::control::{FromWorker, ToWorker};
use contract::ledger::RenderCounters;
use contract::spec::{RenderSpec, Role, WorkerSpec};
use frame_bus::{
    Arrivals, BookWriter, Bus, BusError, Frame, FrameResult, FrameSubscriber, Incoming, Listener,
    ResultBody, ResultSubscriber, Waker,
};
use worker::{Control, Failure};

use crate::encode::{self, EncoderElement};
use crate::join::{Joiner, Limits};
use crate::renderer::Renderer;
use crate::shared::{SharedBook, bus_failure, lock};

/// A turn comes at least so often, so that the progress counter shows a living worker.
const TURN_MAX: Duration = Duration::from_millis(250);
/// After the order to drain, upstream has ended or is dead when nothing has come for so long.
const DRAIN_SILENCE_NS: u64 = 1_500_000_000;

/// Runs the render worker of `spec` until it is drained or told to leave.
///
/// # Errors
/// When the spec cannot work, or something it needs has failed.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `worker::main` calls"
)]
pub fn run(spec: WorkerSpec, control: Control) -> Result<(), Failure> {
    let Role::Render(render) = &spec.role else {
        return Err(Failure::bad_config(format!(
            "the spec of `{}` is not one of a render worker",
            spec.worker
        )));
    };
    control.send(FromWorker::Warming("opens its ports".to_owned()));
    let checked = match (&render.encode, render.passthrough) {
        (Some(encode), _) => encode::check(encode),
        // Its buffers are what access units are carried in.
        (None, Some(_)) => encode::start(),
        (None, None) => Ok(()),
    };
    checked.map_err(|error| {
        let message = error.to_string();
        if error.is_permanent() {
            Failure::bad_config(message)
        } else {
            Failure::failed(message)
        }
    })?;
    let mut stream = Stream::open(&spec, render.clone(), control.clone())?;
    let element = stream.renderer.encoder_element();
    control.send(FromWorker::Ready(description(render, element)));
    stream.run()
}

/// The bounds of the joiner.
fn limits(render: &RenderSpec) -> Limits {
    Limits {
        max_latency_ns: render.max_latency_ms.saturating_mul(1_000_000),
        // One more is held while it is drawn.
        hold_max: (render.frames.held_max as usize).saturating_sub(1),
        policy: render.frames.policy,
    }
}

fn description(render: &RenderSpec, element: EncoderElement) -> String {
    let mut text = match (&render.encode, render.passthrough) {
        (Some(encode), _) => {
            let settings = encode::described(encode);
            format!("{}, {settings}", element.described(encode))
        }
        (None, Some(_)) => "hands on what the source has coded".to_owned(),
        (None, None) => return "tracks; nothing is encoded".to_owned(),
    };
    if render.record.is_some() {
        text.push_str(", records");
    }
    if render.restream {
        text.push_str(", restreams");
    }
    text
}

/// What has ended of what comes in.
#[derive(Debug, Default)]
struct Ends {
    frames: bool,
    results: Vec<bool>,
    finished: bool,
}

struct Stream {
    control: Control,
    listener: Listener,
    frames: FrameSubscriber,
    results: Vec<ResultSubscriber>,
    arrivals: Arrivals,
    joiner: Joiner<Frame>,
    away: Vec<bool>,
    book: SharedBook,
    renderer: Renderer,
    ends: Ends,
    draining: bool,
    last_input_ns: u64,
}

impl Stream {
    fn open(spec: &WorkerSpec, render: RenderSpec, control: Control) -> Result<Self, Failure> {
        let failed = |error: BusError| bus_failure(&error);
        let book = BookWriter::<RenderCounters>::open(&render.book).map_err(failed)?;
        let arrivals = Arrivals::new(book.counters().next_sequence, spec.incarnation);
        let book = SharedBook::new(book.into());
        let bus = Bus::open(&spec.bus, &spec.worker.to_string()).map_err(failed)?;
        let listener = Listener::open(&bus, &spec.worker).map_err(failed)?;
        let myself = Waker::open(&bus, &spec.worker).map_err(failed)?;
        control.on_message(move || myself.wake());
        let results = render
            .models
            .iter()
            .map(|model| ResultSubscriber::open(&bus, &render.frames, &model.model))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let frames = FrameSubscriber::open(&bus, &render.frames).map_err(failed)?;
        let joiner = Joiner::new(results.len(), limits(&render));
        let away = vec![false; results.len()];
        let ends = Ends {
            results: vec![false; results.len()],
            ..Ends::default()
        };
        let renderer =
            Renderer::open(spec, render, bus, control.clone(), SharedBook::clone(&book))?;
        Ok(Self {
            control,
            listener,
            frames,
            results,
            arrivals,
            joiner,
            away,
            book,
            renderer,
            ends,
            draining: false,
            last_input_ns: monotonic_ns(),
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        while !self.control.stopping() {
            self.take_input()?;
            self.log_absences();
            let now_ns = monotonic_ns();
            self.renderer.poll(now_ns)?;
            if self.ends.frames && self.joiner.held() == 0 && !self.ends.finished {
                self.renderer.finish()?;
                self.ends.finished = true;
            }
            if self.draining && self.drained(now_ns) {
                return self.leave();
            }
            lock(&self.book).tick();
            let timeout = self.timeout(now_ns);
            self.listener
                .wait(timeout)
                .map_err(|error| bus_failure(&error))?;
        }
        self.renderer.abandon();
        Ok(())
    }

    fn take_messages(&mut self) {
        while let Some(message) = self.control.try_receive() {
            match message {
                ToWorker::Drain => {
                    self.draining = true;
                    self.last_input_ns = monotonic_ns();
                }
                ToWorker::Reconfigure { generation, role } => {
                    let result = self.reconfigure(*role);
                    self.control
                        .send(FromWorker::Reconfigured { generation, result });
                }
                ToWorker::Start
                | ToWorker::EventCommitted(_)
                | ToWorker::Configure(_)
                | ToWorker::Wanted(_) => {}
            }
        }
    }

    /// Goes over to another spec; frames that wait for results are rendered by it.
    fn reconfigure(&mut self, role: Role) -> Result<Vec<String>, String> {
        let Role::Render(spec) = role else {
            return Err("the new spec is not one of a render worker".to_owned());
        };
        let limits = limits(&spec);
        let done = self.renderer.reconfigure(spec)?;
        self.joiner.set_limits(limits);
        for line in &done {
            tracing::info!("{line}");
        }
        Ok(done)
    }

    /// Takes and renders until both queues are empty, or until frames must wait for results.
    fn take_input(&mut self) -> Result<(), Failure> {
        loop {
            // A file is read without a pause: there may be no other turn for minutes.
            self.take_messages();
            if self.renderer.pass_on()? {
                self.last_input_ns = monotonic_ns();
            }
            self.take_results()?;
            let more = self.joiner.takes_more() && self.take_frame()?;
            while let Some(joined) = self.joiner.release(monotonic_ns()) {
                self.renderer.render(joined)?;
            }
            if !more || self.control.stopping() {
                return Ok(());
            }
        }
    }

    fn take_results(&mut self) -> Result<(), Failure> {
        for model in 0..self.results.len() {
            loop {
                match self.results[model].receive() {
                    Ok(Some(result)) => self.take_result(model, result),
                    Ok(None) => break,
                    // The frame it was for goes on without it.
                    Err(error @ BusError::Invalid { .. }) => {
                        tracing::warn!("a result is not used: {error}");
                    }
                    Err(error) => return Err(bus_failure(&error)),
                }
            }
        }
        self.mark_end();
        Ok(())
    }

    fn take_result(&mut self, model: usize, result: FrameResult) {
        let now_ns = monotonic_ns();
        self.last_input_ns = now_ns;
        self.ends.results[model] = result.body == ResultBody::EndOfStream;
        let (first, last) = (result.first_sequence, result.last_sequence);
        let late = self.joiner.answer(model, first, last, result.body, now_ns);
        if late > 0 {
            lock(&self.book).update(|counters| counters.late_results += late);
        }
    }

    /// Says once that a model has gone silent, and once that it is back.
    fn log_absences(&mut self) {
        for (model, was_away) in self.away.iter_mut().enumerate() {
            let is_away = self.joiner.is_away(model);
            if is_away && !*was_away {
                tracing::warn!(model, "the model does not answer; frames go on without it");
            } else if *was_away && !is_away {
                tracing::info!(model, "the model answers again");
            }
            *was_away = is_away;
        }
    }

    /// Takes one frame, or whatever stands in its place; false when the queue is empty.
    fn take_frame(&mut self) -> Result<bool, Failure> {
        let incoming = match self.frames.receive() {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(false),
            Err(BusError::HeldTooMany) => {
                tracing::warn!("more frames are held than the bus allows");
                return Ok(false);
            }
            Err(error) => return Err(bus_failure(&error)),
        };
        let now_ns = monotonic_ns();
        self.last_input_ns = now_ns;
        match incoming {
            Incoming::Frame(frame) => {
                let sequence_number = frame.stamp().sequence_number;
                if self.count_arrival(sequence_number, frame.epoch(), |_| ()) {
                    self.ends.frames = false;
                    self.ends.finished = false;
                    self.mark_end();
                    self.joiner.push(frame, sequence_number, now_ns);
                }
            }
            Incoming::Invalid {
                sequence_number,
                epoch,
                reason,
            } => {
                tracing::warn!("frame {sequence_number} is not used: {reason}");
                self.count_arrival(sequence_number, epoch, |counters| {
                    counters.dropped_invalid += 1;
                });
            }
            Incoming::EndOfStream {
                next_sequence,
                epoch,
            } => {
                let end = self.arrivals.end(next_sequence, epoch);
                let next_sequence = self.arrivals.next_sequence();
                lock(&self.book).update(|counters| {
                    counters.next_sequence = next_sequence;
                    counters.overflowed += end.overflowed;
                    counters.lost_in_transit += end.lost;
                });
                self.ends.frames = true;
                self.mark_end();
            }
        }
        Ok(true)
    }

    /// Counts a frame that has come, with the gap before it, in one commit; false for a repeat.
    fn count_arrival(
        &mut self,
        sequence_number: u64,
        epoch: u32,
        also: impl FnOnce(&mut RenderCounters),
    ) -> bool {
        let arrival = self.arrivals.arrive(sequence_number, epoch);
        if !arrival.fresh {
            tracing::debug!(sequence_number, "a frame was repeated");
            return false;
        }
        let next_sequence = self.arrivals.next_sequence();
        lock(&self.book).update(|counters| {
            counters.next_sequence = next_sequence;
            counters.received += 1;
            counters.overflowed += arrival.overflowed;
            counters.lost_in_transit += arrival.lost;
            also(counters);
        });
        true
    }

    fn mark_end(&mut self) {
        let all_results = self.ends.results.iter().all(|ended| *ended);
        self.joiner.end(self.ends.frames && all_results);
    }

    /// All that was to come has come, or nothing comes any more.
    fn drained(&self, now_ns: u64) -> bool {
        let done = self.ends.finished && self.joiner.held() == 0;
        done || now_ns.saturating_sub(self.last_input_ns) >= DRAIN_SILENCE_NS
    }

    /// Accounts for what is still held and closes everything.
    fn leave(&mut self) -> Result<(), Failure> {
        self.joiner.end(true);
        while let Some(joined) = self.joiner.release(monotonic_ns()) {
            self.renderer.render(joined)?;
        }
        if !self.ends.finished {
            self.renderer.finish()?;
        }
        self.renderer.end_crops()?;
        lock(&self.book).tick();
        Ok(())
    }

    fn timeout(&self, now_ns: u64) -> Duration {
        let joiner = self.joiner.deadline_ns();
        let reports = self.renderer.deadline_ns();
        let earliest = joiner.into_iter().chain(reports).min();
        let wait = earliest.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now_ns)));
        wait.map_or(TURN_MAX, |wait| wait.min(TURN_MAX))
    }
}
