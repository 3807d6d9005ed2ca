//! The main loop: takes frames from the bus, lets sessions run on them, goes over to another
//! spec when told, sees to the end.
//!
//! The dispatcher thread owns every queue; each session thread owns one engine. Between
//! them stand the [`crate::exchange`] (frames) and the accounts (outcomes).

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::control::ToWorker;
use contract::detection::Skip;
use contract::spec::{InferSpec, InferStreamSpec, Role};
use frame_bus::{Bus, BusError, FrameSubscriber, Listener, Waker};
use worker::{Control, Failure};

use crate::account::Account;
use crate::family::Thresholds;
use crate::gate::GateRules;
use crate::pool::{self, Loader, Pool};
use crate::reconfigure::{Prepared, Reconfiguration, Stage, Workforce};
use crate::session::{Sessions, Shared};
use crate::stream::{Looked, Parts, Stream};

/// Longest sleep of the main loop: it says that it is alive at least so often.
const TURN_MAX: Duration = Duration::from_millis(200);
/// After the order to drain, streams that have not ended are given up.
const DRAIN_MAX: Duration = Duration::from_millis(1500);
/// Looks at the queues at the end.
const LAST_LOOKS_MAX: usize = 8;

/// Where a worker stands on the bus.
#[derive(Debug)]
pub struct Place {
    /// The bus.
    pub bus: Bus,
    /// What the main loop waits on.
    pub listener: Listener,
    /// What wakes it.
    pub waker: Waker,
    /// Counts the worker's starts. Frames missed before the first are lost by a crash when it
    /// is over 0; what is missed when streams change hands in order is an overflow.
    pub incarnation: u32,
}

/// The main loop and all it owns.
#[derive(Debug)]
pub struct Dispatcher {
    spec: InferSpec,
    place: Place,
    loader: Loader,
    /// What full batches gain, as measured.
    batch_gain: f64,
    /// Sessions that were measured best at start, where they were measured.
    measured: Option<usize>,
    shared: Arc<Shared>,
    sessions: Sessions,
    streams: Vec<Stream>,
    leaving: Vec<Stream>,
    reconfiguration: Option<Reconfiguration>,
}

impl Dispatcher {
    /// Opens every stream of `spec` and lets the sessions begin.
    ///
    /// # Errors
    /// When the rules of a stream cannot be read, or the bus refuses.
    pub fn open(spec: InferSpec, place: Place, pool: Pool) -> Result<Self, Failure> {
        let rules = GateRules::compile(&spec.model, &spec.streams).map_err(Failure::bad_config)?;
        let shared = Arc::new(Shared::new(Thresholds::of(&spec), place.waker.clone()));
        let mut dispatcher = Self {
            measured: spec.sessions.is_none().then_some(pool.engines.len()),
            sessions: Sessions::new(Arc::clone(&shared)),
            spec,
            place,
            loader: pool.loader,
            batch_gain: pool.batch_gain,
            shared,
            streams: Vec::new(),
            leaving: Vec::new(),
            reconfiguration: None,
        };
        let streams = dispatcher.spec.streams.clone();
        let incarnation = dispatcher.place.incarnation;
        let parts = dispatcher.open_parts(&streams, rules, incarnation);
        let parts = parts.map_err(broken)?;
        dispatcher.insert(&streams, parts);
        dispatcher.set_delay();
        dispatcher.sessions.start(pool.engines)?;
        Ok(dispatcher)
    }

    /// Runs until drained, told to leave, or failed.
    ///
    /// # Errors
    /// When the bus is broken, a session panics or the model fails frame after frame.
    pub fn run(&mut self, control: &Control) -> Result<(), Failure> {
        let mut draining_since: Option<Instant> = None;
        loop {
            let more = self.look_at_all().map_err(broken)?;
            if let Some(fault) = self.shared.take_fault() {
                return Err(Failure::failed(fault));
            }
            self.tick();
            self.go_over(control)?;
            // One change after the other; the next waits in the channel.
            while self.reconfiguration.is_none()
                && let Some(message) = control.try_receive()
            {
                if let ToWorker::Reconfigure { generation, role } = message {
                    self.reconfigure(control, generation, *role);
                }
            }
            if control.draining() {
                draining_since.get_or_insert_with(Instant::now);
                // Who makes crops has ended before, or asks for no more.
                self.let_leave(Stream::is_crops);
            }
            let all_ended = self.streams.iter().all(Stream::ended) && self.leaving.is_empty();
            let drained = draining_since.is_some() && all_ended;
            let given_up = draining_since.is_some_and(|since| since.elapsed() > DRAIN_MAX);
            if drained || given_up || control.stopping() {
                break;
            }
            let timeout = if more { Duration::ZERO } else { TURN_MAX };
            self.place.listener.wait(timeout).map_err(broken)?;
        }
        if let Some(unfinished) = self.reconfiguration.take() {
            let reason = "the worker was told to leave".to_owned();
            control.reconfigured(unfinished.generation, Err(reason));
        }
        self.finish().map_err(broken)?;
        match self.shared.take_fault() {
            Some(fault) => Err(Failure::failed(fault)),
            None => Ok(()),
        }
    }

    /// Frames wait for company as the spec says, where it pays.
    fn set_delay(&self) {
        let delay = pool::batch_delay(&self.spec, self.batch_gain);
        self.shared.exchange().set_delay(delay);
    }

    fn look_at_all(&mut self) -> Result<bool, BusError> {
        let mut more = false;
        for stream in &mut self.streams {
            more |= stream.look(self.shared.exchange())? == Looked::More;
        }
        let mut index = 0;
        while let Some(stream) = self.leaving.get_mut(index) {
            if let Some(looked) = stream.leave(self.shared.exchange())? {
                more |= looked == Looked::More;
                index += 1;
            } else {
                tracing::info!(stream = stream.topic(), "not served any more");
                self.leaving.swap_remove(index);
            }
        }
        Ok(more)
    }

    /// Says in the books that the main loop and the sessions are alive.
    fn tick(&mut self) {
        if !self.sessions.hangs() {
            let streams = self.streams.iter().chain(&self.leaving);
            streams.for_each(|stream| stream.account().tick());
        }
    }

    fn reconfigure(&mut self, control: &Control, generation: u64, wanted: Role) {
        let workforce = Workforce {
            loader: self.loader.clone(),
            batch_max: self.spec.batch.max,
            present: self.sessions.count(),
            measured: self.measured,
        };
        let waker = self.place.waker.clone();
        match Reconfiguration::begin(generation, &self.spec, wanted, workforce, waker) {
            Ok(begun) => self.reconfiguration = Some(begun),
            Err(reason) => control.reconfigured(generation, Err(reason)),
        }
    }

    /// Takes a change one stage further, if it can go on.
    fn go_over(&mut self, control: &Control) -> Result<(), Failure> {
        let Some(mut change) = self.reconfiguration.take() else {
            return Ok(());
        };
        if let Some(prepared) = change.prepared() {
            match prepared.and_then(|prepared| self.apply(&change, prepared)) {
                Ok(replaced) => change.stage = Stage::Leaving(replaced),
                Err(reason) => {
                    control.reconfigured(change.generation, Err(reason));
                    return Ok(());
                }
            }
        }
        match change.stage {
            Stage::Leaving(rules) if self.leaving.is_empty() => {
                let replaced = &change.plan.replaced;
                // There is no way back any more: a clean worker gets it right, or says what is wrong.
                let parts = self.open_parts(replaced, rules, 0).map_err(broken)?;
                self.insert(replaced, parts);
                self.spec = change.plan.wanted;
                self.set_delay();
                control.reconfigured(change.generation, Ok(change.plan.notes));
            }
            _ => self.reconfiguration = Some(change),
        }
        Ok(())
    }

    /// Applies what was prepared, all or nothing; returns the gates of streams that come back.
    fn apply(
        &mut self,
        change: &Reconfiguration,
        prepared: Prepared,
    ) -> Result<Vec<Option<GateRules>>, String> {
        let plan = &change.plan;
        let parts = self.open_parts(&plan.added, prepared.added, 0);
        let parts = parts.map_err(|error| error.to_string())?;
        let started = if prepared.replaces {
            self.sessions.replace(prepared.engines)
        } else {
            self.sessions.start(prepared.engines)
        };
        started.map_err(|failure| failure.to_string())?;
        self.batch_gain = prepared.batch_gain.unwrap_or(self.batch_gain);
        self.sessions.retire(prepared.sessions);
        self.shared.set_thresholds(Thresholds::of(&plan.wanted));
        for (spec, rules) in plan.changed.iter().zip(prepared.changed) {
            let topic = spec.frames.topic();
            let mut known = self.streams.iter_mut();
            let stream = known.find(|known| known.topic() == topic);
            if let Some(stream) = stream {
                stream.change(spec, rules, self.shared.exchange());
            }
        }
        self.insert(&plan.added, parts);
        self.let_leave(|stream| plan.removed.iter().any(|gone| gone == stream.topic()));
        Ok(prepared.replaced)
    }

    fn let_leave(&mut self, goes: impl Fn(&Stream) -> bool) {
        for mut stream in self.streams.extract_if(.., |stream| goes(stream)) {
            stream.begin_to_leave();
            self.leaving.push(stream);
            // Those that leave are looked at before anything else sleeps.
            self.place.waker.wake();
        }
    }

    fn open_parts(
        &self,
        streams: &[InferStreamSpec],
        rules: Vec<Option<GateRules>>,
        incarnation: u32,
    ) -> Result<Vec<Parts>, BusError> {
        let Place { bus, waker, .. } = &self.place;
        let model = (&self.spec.model, self.spec.family.finds());
        let open = |(stream, rules): (&InferStreamSpec, Option<GateRules>)| {
            Ok(Parts {
                account: Account::open(bus, model, stream, incarnation, waker.clone())?,
                subscriber: FrameSubscriber::open(bus, &stream.frames)?,
                rules,
            })
        };
        streams.iter().zip(rules).map(open).collect()
    }

    fn insert(&mut self, streams: &[InferStreamSpec], parts: Vec<Parts>) {
        for (spec, parts) in streams.iter().zip(parts) {
            let waker = self.place.waker.clone();
            let stream = Stream::new(spec, parts, self.shared.exchange(), waker);
            self.streams.push(stream);
        }
    }

    /// Accounts for everything that came and that no session will run on any more.
    fn finish(&mut self) -> Result<(), BusError> {
        for held in self.shared.exchange().close() {
            held.skip(Skip::Shed)?;
        }
        // The exchange is closed, so what is still queued on the bus comes back to be shed.
        // The looks are bounded, for a producer that has not ended may go on publishing.
        for _ in 0..LAST_LOOKS_MAX {
            if !self.look_at_all()? {
                break;
            }
        }
        self.sessions.finish();
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn broken(error: BusError) -> Failure {
    Failure::failed(error.to_string())
}
