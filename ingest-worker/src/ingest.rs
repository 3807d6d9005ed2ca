//! The life of the worker and its main loop.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::{FromWorker, SourceInfo, SourceState, ToWorker};
use contract::geometry::PixelSize;
use contract::spec::{IngestSpec, Role, WorkerSpec};
use frame_bus::Bus;
use gstreamer as gst;
use worker::{Control, Failure};

use crate::decoder;
use crate::description::{describe, description, source_name, time_of_frame};
use crate::fault::Fault;
use crate::nature::Nature;
use crate::output::Output;
use crate::pipeline::{Next, Pipeline, SINK_BUFFERS};
use crate::ports::Ports;
use crate::reconfigure::motion_of;
use crate::session::{Action, Event, Policy, Reason, Sessions};
use crate::timeline::Timeline;
use crate::transport::Transport;

mod opening;

/// The main loop turns at least so often, and so hears orders and says that it lives.
const TURN: Duration = Duration::from_millis(100);
/// A file that gives no frame for so long hangs: a decoder or a network disk does not answer.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker that leaves waits so long for its session to close in order.
const CLOSE_WAIT: Duration = Duration::from_millis(300);
/// Sessions that do not close are left behind; with so many the process is of no more use.
const CLOSING_MAX: usize = 3;

/// Runs the worker until its source has ended or it is told to stop.
///
/// # Errors
/// A [`Failure`] whose kind says whether starting again can help.
pub fn run(spec: WorkerSpec, control: Control) -> Result<(), Failure> {
    let Role::Ingest(ingest) = spec.role else {
        return Err(Failure::bad_config(
            "the spec is not one of an ingest worker",
        ));
    };
    let name = source_name(&ingest.source).map_err(Failure::bad_config)?;
    control.send(FromWorker::Warming(format!("opening {name}")));
    gst::init()
        .map_err(|error| Failure::bad_config(format!("GStreamer does not start: {error}")))?;
    crate::logging::forward(&ingest.source);
    decoder::prefer_hardware(ingest.hardware_decoder);
    let bus = Bus::open(&spec.bus, &spec.worker.to_string());
    let bus = bus.map_err(|error| Failure::failed(error.to_string()))?;
    let output = Output::open(&bus, &ingest, spec.incarnation)?;
    let ports = Ports::open(&bus, &ingest, output.book(), spec.incarnation)?;
    let mut worker = Ingest::new(ingest, name, control, output, ports);
    let ended = worker.capture();
    if let Some(pipeline) = worker.pipeline.take() {
        worker.closing.push(close(pipeline));
    }
    let restarted =
        matches!(&ended, Err(failure) if failure.exit() == contract::exit::WorkerExit::Failed);
    if !restarted {
        // Consumers must know the end also of a stream that failed for good. Access units first:
        // with its frames a stream is over.
        if let Some(passthrough) = &worker.ports.passthrough {
            let ended = passthrough.end_of_stream();
            ended.map_err(|error| Failure::failed(error.to_string()))?;
        }
        worker.output.end_of_stream()?;
    }
    if let Some(closed) = worker.closing.last() {
        let _ = closed.recv_timeout(CLOSE_WAIT);
    }
    ended
}

struct Ingest {
    spec: IngestSpec,
    name: String,
    nature: Nature,
    control: Control,
    output: Output,
    ports: Ports,
    sessions: Sessions,
    timeline: Timeline,
    pipeline: Option<Pipeline>,
    closing: Vec<Receiver<()>>,
    /// The stream's size: that of the first session.
    size: Option<PixelSize>,
    info: Option<SourceInfo>,
    transport: Transport,
    /// The supervisor has said whether anybody asks for the stream.
    wanted: Option<bool>,
    /// The next frame does not follow the last without a gap.
    discontinuity: bool,
    /// Pictures before this time, or so many of them, were taken in an earlier life.
    skip_before_ns: u64,
    skip_frames: u64,
    /// Frames since the source was opened or began again.
    pass_frames: u64,
}

impl Ingest {
    fn new(spec: IngestSpec, name: String, control: Control, output: Output, ports: Ports) -> Self {
        let nature = Nature::of(&spec.source);
        let no_frame_timeout = Duration::from_millis(spec.no_frame_timeout_ms);
        let policy = Policy {
            retry: nature.camera.then(|| spec.retry.clone()),
            no_frame_timeout: Some(if nature.camera {
                no_frame_timeout
            } else {
                no_frame_timeout.max(FILE_TIMEOUT)
            }),
            waits_for_sender: nature.waits_for_sender,
            linger: spec
                .on_demand
                .map(|on_demand| Duration::from_millis(on_demand.linger_ms)),
            who: spec.stream.to_string(),
        };
        Self {
            name,
            nature,
            control,
            output,
            ports,
            sessions: Sessions::new(policy),
            timeline: Timeline::new(0),
            pipeline: None,
            closing: Vec::new(),
            size: None,
            info: None,
            transport: Transport::of(&spec.source),
            wanted: None,
            discontinuity: false,
            skip_before_ns: 0,
            skip_frames: 0,
            pass_frames: 0,
            spec,
        }
    }

    /// Everything from opening the source to its end, or the order to drain.
    fn capture(&mut self) -> Result<(), Failure> {
        if self.nature.camera {
            // A camera that is off must not keep a run from starting.
            self.control.send(FromWorker::Ready(format!(
                "{}, connected to at start",
                self.name
            )));
        } else {
            match self.open_ahead() {
                Ok(true) => {
                    let text = description(&self.name, self.describe().as_ref());
                    self.control.send(FromWorker::Ready(text));
                }
                Ok(false) => return Ok(()),
                Err(fault) => return Err(self.unopened(&fault)),
            }
        }
        if !self.wait_for_start() {
            return Ok(());
        }
        self.output.begin(&self.control)?;
        let mut event = Event::Start;
        loop {
            if let Some(ended) = self.take_in(event)? {
                return ended;
            }
            self.output.book().tick();
            // Between two sessions there is only the supervisor to listen to.
            let wait = if self.pipeline.is_some() {
                Duration::ZERO
            } else {
                TURN
            };
            if self.told_to_stop(wait) {
                self.drop_what_is_decoded();
                return Ok(());
            }
            event = self.turn()?;
        }
    }

    /// Waits for the next thing to happen, for one turn at most.
    fn turn(&mut self) -> Result<Event, Failure> {
        let Some(pipeline) = &self.pipeline else {
            return Ok(Event::Tick);
        };
        match pipeline.next(TURN) {
            Next::Sample(sample) if self.is_undecoded() => Ok(self.hand_on(&sample)),
            Next::Sample(sample) => {
                let taken = self.publish(&sample)?;
                Ok(self.taken(taken))
            }
            Next::Nothing => Ok(pipeline
                .turned_away()
                .map_or(Event::Tick, Event::TurnedAway)),
            Next::Ended if self.nature.repeat && self.pass_frames > 0 => Ok(self.begin_again()),
            // What has a length was a file.
            Next::Ended if self.nature.may_end && pipeline.duration().is_some() => Ok(Event::Ended),
            Next::Ended if self.nature.camera => Ok(Event::Failed {
                state: SourceState::Lost,
                detail: "the other end has closed the connection".to_owned(),
            }),
            Next::Ended => Ok(Event::Ended),
            Next::Failed(fault) => Ok(self.failed(fault)),
        }
    }

    /// What comes out of the pipeline are access units.
    fn is_undecoded(&self) -> bool {
        let passthrough = self.ports.passthrough.as_ref();
        passthrough.is_some_and(|passthrough| !passthrough.is_decoded())
    }

    /// Publishes an access unit of the source.
    fn hand_on(&mut self, sample: &gst::Sample) -> Event {
        let (Some(pipeline), Some(passthrough)) = (&self.pipeline, &self.ports.passthrough) else {
            return Event::Tick;
        };
        let time_ns = pipeline.time_ns(sample, self.nature.clocked);
        match passthrough.publish(sample, time_ns) {
            Ok(taken) => {
                self.learn();
                self.pass_frames += u64::from(taken);
                self.taken(taken)
            }
            Err(fault) => self.failed(fault),
        }
    }

    /// Something of the source was taken, or was taken in an earlier life already.
    fn taken(&mut self, taken: bool) -> Event {
        if !taken {
            return Event::Tick;
        }
        self.transport.works();
        Event::Frame
    }

    /// Lets the state machine take in an event, and does what it says. `Some` ends the worker.
    fn take_in(&mut self, event: Event) -> Result<Option<Result<(), Failure>>, Failure> {
        let mut events = VecDeque::from([event]);
        if let Some(wanted) = self.wanted.take() {
            events.push_front(Event::Wanted(wanted));
        }
        if self.pipeline.as_ref().is_some_and(Pipeline::connected) {
            events.push_front(Event::Connected);
        }
        while let Some(event) = events.pop_front() {
            for action in self.sessions.step(monotonic_ns(), event) {
                match action {
                    Action::Open => events.extend(self.open()),
                    Action::Close => self.close()?,
                    Action::Report(state, detail) => self.report(state, detail),
                    Action::GiveUp(reason, detail) => {
                        return Ok(Some(Err(self.given_up(reason, &detail))));
                    }
                    Action::Finish => return Ok(Some(Ok(()))),
                }
            }
        }
        Ok(None)
    }

    /// At the end of a repeated file.
    fn begin_again(&mut self) -> Event {
        self.discontinuity = true;
        self.pass_frames = 0;
        if !self.nature.clocked {
            self.timeline.begin_again();
        }
        if let Some(passthrough) = &self.ports.passthrough {
            passthrough.begin_again();
        }
        let sought = self
            .pipeline
            .as_ref()
            .is_some_and(|open| open.seek(Duration::ZERO));
        if sought {
            return Event::Tick;
        }
        // A container that cannot be sought in is read again from the beginning.
        self.abandon();
        self.open().unwrap_or(Event::Tick)
    }

    /// What a fault means for the state machine; a hardware decoder that failed is replaced.
    fn failed(&mut self, fault: Fault) -> Event {
        self.output.book().update(|book| book.source_errors += 1);
        let (state, detail) = match fault {
            Fault::HardwareDecoder(detail) => {
                self.give_up_hardware(&detail);
                return self.open().unwrap_or(Event::Tick);
            }
            // Anybody may send what cannot be used; the next sender may do better.
            Fault::Unusable(detail) if self.nature.waits_for_sender => (SourceState::Lost, detail),
            Fault::Unusable(detail) => return Event::Unusable(detail),
            Fault::Refused(detail) => (SourceState::Refused, detail),
            Fault::Lost(detail) => (SourceState::Lost, detail),
            Fault::Transport(detail) => {
                if self.transport.try_other() {
                    tracing::info!(detail, "trying the other transport");
                    self.abandon();
                    return self.open().unwrap_or(Event::Tick);
                }
                (SourceState::Refused, detail)
            }
        };
        Event::Failed { state, detail }
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(pipeline) = self.pipeline.take() else {
            return Ok(());
        };
        // A session may hang in its closing, on a server that is frozen say.
        self.closing.retain(|closed| closed.try_recv().is_err());
        if self.closing.len() >= CLOSING_MAX {
            return Err(Failure::failed(format!(
                "{}: {CLOSING_MAX} sessions do not close",
                self.name
            )));
        }
        self.closing.push(close(pipeline));
        Ok(())
    }

    fn report(&self, state: SourceState, detail: String) {
        tracing::info!(state = state.as_str(), %detail, "source");
        self.control.send(FromWorker::SourceState { state, detail });
    }

    fn given_up(&self, reason: Reason, detail: &str) -> Failure {
        let text = format!("{}: {detail}", self.name);
        match reason {
            Reason::Unusable => Failure::bad_config(text),
            // The file is still there; a new process may get on with it.
            Reason::Stalled if !self.nature.camera => Failure::failed(text),
            Reason::Stalled | Reason::Lost => Failure::source_gone(text),
        }
    }

    /// A file or pattern that does not open will not do so next time either.
    fn unopened(&self, fault: &Fault) -> Failure {
        self.output.book().update(|book| book.source_errors += 1);
        Failure::bad_config(format!("{}: {fault}", self.name))
    }

    /// Waits until all consumers are there. False when the worker was told to stop instead.
    fn wait_for_start(&mut self) -> bool {
        loop {
            self.output.book().tick();
            match self.control.receive_timeout(TURN) {
                Some(ToWorker::Start) => return true,
                Some(ToWorker::Drain) => return false,
                Some(message) => self.hear(message),
                None if self.control.stopping() => return false,
                None => {}
            }
        }
    }

    fn told_to_stop(&mut self, wait: Duration) -> bool {
        let message = if wait.is_zero() {
            self.control.try_receive()
        } else {
            self.control.receive_timeout(wait)
        };
        match message {
            Some(ToWorker::Drain) => return true,
            Some(message) => self.hear(message),
            None => {}
        }
        self.control.stopping()
    }

    /// Orders that may come at any time.
    fn hear(&mut self, message: ToWorker) {
        if let ToWorker::Wanted(wanted) = message {
            self.wanted = Some(wanted);
        } else if let ToWorker::Reconfigure { generation, role } = message {
            let result = motion_of(&self.spec, &role).map(|motion| {
                if *motion == self.spec.motion {
                    return Vec::new();
                }
                self.output.reconfigure_motion(motion);
                self.spec.motion.clone_from(motion);
                vec![format!("stream {}: motion settings", self.spec.stream)]
            });
            self.control.reconfigured(generation, result);
        }
    }

    fn drop_what_is_decoded(&self) {
        // Access units are counted when they are published.
        let Some(pipeline) = self.pipeline.as_ref().filter(|_| !self.is_undecoded()) else {
            return;
        };
        // No more than there were when the order came: a fast source goes on filling the sink.
        for _ in 0..SINK_BUFFERS {
            if let Next::Sample(_) = pipeline.next(Duration::ZERO) {
                self.output.drop_stopping();
            }
        }
    }

    /// Publishes a picture; false for one that was published in an earlier life.
    fn publish(&mut self, sample: &gst::Sample) -> Result<bool, Failure> {
        if self.skip_frames > 0 {
            self.skip_frames -= 1;
            return Ok(false);
        }
        let time_ns = self
            .pipeline
            .as_ref()
            .and_then(|open| open.time_ns(sample, self.nature.clocked));
        if time_ns.is_some_and(|time_ns| time_ns < self.skip_before_ns) {
            return Ok(false);
        }
        let resized = self
            .pipeline
            .as_ref()
            .is_some_and(|open| open.begins_resized(sample));
        self.learn();
        let Some(size) = self.size else {
            return Err(Failure::failed("a picture came before its size"));
        };
        let clock_ns = self.nature.clocked.then(monotonic_ns);
        let pts_ns = self.timeline.stamp(time_ns, clock_ns);
        let discontinuity = std::mem::take(&mut self.discontinuity) || resized;
        self.output.publish(sample, size, pts_ns, discontinuity)?;
        self.pass_frames += 1;
        Ok(true)
    }

    /// Tells the supervisor what the first frame of a session has made known.
    fn learn(&mut self) {
        let Some(info) = self.describe() else {
            return;
        };
        if self.info.as_ref() == Some(&info) {
            return;
        }
        if let Some(interval_ns) = time_of_frame(1, info.fps) {
            self.timeline.set_interval(interval_ns);
            if let Some(passthrough) = &self.ports.passthrough {
                passthrough.set_interval(interval_ns);
            }
        }
        let known = self.info.as_ref().map(|info| info.source_size);
        if known.is_some_and(|known| known != info.source_size) {
            self.output.book().update(|book| book.size_changes += 1);
        }
        self.size = Some(info.size);
        self.control.send(FromWorker::Source(info.clone()));
        self.info = Some(info);
    }

    fn describe(&self) -> Option<SourceInfo> {
        let pipeline = self.pipeline.as_ref()?;
        describe(&self.spec.source, pipeline, self.transport.name())
    }
}

/// Closes a session on a thread of its own, which says when it is done.
fn close(pipeline: Pipeline) -> Receiver<()> {
    let (done, closed) = sync_channel(1);
    // Without a thread to be had it is closed right here.
    let _ = std::thread::Builder::new()
        .name("close".to_owned())
        .spawn(move || {
            let begin = Instant::now();
            drop(pipeline);
            tracing::debug!(took = ?begin.elapsed(), "a session is closed");
            // Nobody waits for it after the worker has left.
            let _ = done.send(());
        });
    closed
}
