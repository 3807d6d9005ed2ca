//! The account of one stream: what came, what became of it, and who is told.
//!
//! Every frame received ends in exactly one outcome, which is published first, then
//! booked, and then the consumer is woken. A kill in between leaves the frame in
//! flight, and the supervisor books it as lost.

use std::sync::Mutex;
use std::time::Duration;

use contract::detection::Skip;
use contract::findings::Finds;
use contract::ledger::InferCounters;
use contract::name::ModelName;
use contract::spec::InferStreamSpec;
use frame_bus::{Arrivals, BookWriter, Bus, BusError, Outcome, ResultPublisher, Waker};

use crate::engine::Inference;
use crate::exchange::lock;

/// The account of one stream, shared by the dispatcher and all sessions.
#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
    consumer: Waker,
    /// The main loop of this worker, which may wait for the last frame of a stream.
    dispatcher: Waker,
}

#[derive(Debug)]
struct State {
    book: BookWriter<InferCounters>,
    results: ResultPublisher,
    arrivals: Arrivals,
    /// Frames received that have no outcome yet.
    in_flight: u64,
    end: End,
}

/// What is known of the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Frames may come.
    Open,
    /// None will come, but some are in flight.
    Announced { next_sequence: u64 },
    /// The consumer has been told.
    Told { next_sequence: u64 },
}

impl Account {
    /// Opens the book, the results of a model and the consumer's waker of a stream. `incarnation` counts
    /// this worker's starts: a gap before the first frame of a restarted one is a loss.
    /// `dispatcher` wakes the main loop of this worker.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(
        bus: &Bus,
        (model, finds): (&ModelName, Finds),
        spec: &InferStreamSpec,
        incarnation: u32,
        dispatcher: Waker,
    ) -> Result<Self, BusError> {
        let book = BookWriter::<InferCounters>::open(&spec.book)?;
        let arrivals = Arrivals::new(book.counters().next_sequence, incarnation);
        Ok(Self {
            state: Mutex::new(State {
                book,
                results: ResultPublisher::open(bus, &spec.frames, model, finds)?,
                arrivals,
                in_flight: 0,
                end: End::Open,
            }),
            consumer: Waker::open(bus, &spec.consumer)?,
            dispatcher,
        })
    }

    /// Books a frame as received, and what was missed before it; the consumer learns of the
    /// missed. False for a frame that was seen before: it is to be ignored.
    ///
    /// # Errors
    /// When results cannot be published.
    pub fn arrive(&self, sequence_number: u64, epoch: u32) -> Result<bool, BusError> {
        let mut state = lock(&self.state);
        let first_missed = state.arrivals.next_sequence();
        let arrival = state.arrivals.arrive(sequence_number, epoch);
        if !arrival.fresh {
            return Ok(false);
        }
        state.in_flight += 1;
        state.end = End::Open;
        let next_sequence = state.arrivals.next_sequence();
        state.book.update(|counters| {
            counters.received += 1;
            counters.overflowed += arrival.overflowed;
            counters.lost_in_transit += arrival.lost;
            counters.next_sequence = next_sequence;
        });
        self.tell_missed(&state, first_missed, sequence_number)?;
        Ok(true)
    }

    /// Books the end of the stream, and tells the consumer once nothing is in flight.
    /// The bus may announce the same end more than once.
    ///
    /// # Errors
    /// When results cannot be published.
    pub fn end(&self, next_sequence: u64, epoch: u32) -> Result<(), BusError> {
        let mut state = lock(&self.state);
        let first_missed = state.arrivals.next_sequence();
        let arrival = state.arrivals.end(next_sequence, epoch);
        if !arrival.fresh || state.end == (End::Told { next_sequence }) {
            return Ok(());
        }
        state.book.update(|counters| {
            counters.overflowed += arrival.overflowed;
            counters.lost_in_transit += arrival.lost;
            counters.next_sequence = next_sequence;
        });
        state.end = End::Announced { next_sequence };
        self.tell_missed(&state, first_missed, next_sequence)?;
        self.tell_end(&mut state)
    }

    /// No frame is taken any more, though the stream may go on: tells the consumer, once
    /// nothing is in flight, that no result comes after those it has.
    ///
    /// # Errors
    /// When results cannot be published.
    pub fn close(&self) -> Result<(), BusError> {
        let mut state = lock(&self.state);
        if state.end == End::Open {
            let next_sequence = state.arrivals.next_sequence();
            state.end = End::Announced { next_sequence };
        }
        self.tell_end(&mut state)
    }

    /// The model ran on a frame; `taken` is the time since a session took it.
    ///
    /// # Errors
    /// When the result cannot be published.
    pub fn inferred(
        &self,
        sequence_number: u64,
        inference: &Inference,
        taken: impl FnOnce() -> Duration,
    ) -> Result<(), BusError> {
        let outcome = Outcome::Found(&inference.findings);
        let mut state = lock(&self.state);
        self.close_one(&mut state, sequence_number, outcome, |counters| {
            counters.inferred += 1;
            counters.detections += inference.findings.detections().len() as u64;
            counters.model_us += microseconds(inference.model);
            counters.conversion_us += microseconds(inference.conversion);
            counters.batch_frames += inference.batch as u64;
        })?;
        state.book.record_latency_us(microseconds(taken()));
        Ok(())
    }

    /// The model did not run on a frame that was received.
    ///
    /// # Errors
    /// When the result cannot be published.
    pub fn skipped(&self, sequence_number: u64, skip: Skip) -> Result<(), BusError> {
        let mut state = lock(&self.state);
        let outcome = Outcome::Skipped(skip);
        self.close_one(
            &mut state,
            sequence_number,
            outcome,
            |counters| match skip {
                Skip::Gated => counters.gated += 1,
                Skip::Stale => counters.stale += 1,
                Skip::Shed => counters.shed += 1,
                // What overflowed was never received; a frame that was can only have failed.
                Skip::Failed | Skip::Overflowed => counters.failed += 1,
            },
        )
    }

    /// The stream has ended and its consumer has been told.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(lock(&self.state).end, End::Told { .. })
    }

    /// Says in the book that this worker's main loop is alive.
    pub fn tick(&self) {
        lock(&self.state).book.tick();
    }

    fn close_one(
        &self,
        state: &mut State,
        sequence_number: u64,
        outcome: Outcome<'_>,
        change: impl FnOnce(&mut InferCounters),
    ) -> Result<(), BusError> {
        state
            .results
            .publish(sequence_number, sequence_number, outcome)?;
        state.book.update(change);
        state.in_flight -= 1;
        self.tell_end(state)?;
        self.consumer.wake();
        Ok(())
    }

    fn tell_missed(&self, state: &State, first: u64, next: u64) -> Result<(), BusError> {
        if first < next {
            let outcome = Outcome::Skipped(Skip::Overflowed);
            state.results.publish(first, next - 1, outcome)?;
            self.consumer.wake();
        }
        Ok(())
    }

    fn tell_end(&self, state: &mut State) -> Result<(), BusError> {
        if let End::Announced { next_sequence } = state.end
            && state.in_flight == 0
        {
            state.results.end_of_stream(next_sequence)?;
            state.end = End::Told { next_sequence };
            self.consumer.wake();
            self.dispatcher.wake();
        }
        Ok(())
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
