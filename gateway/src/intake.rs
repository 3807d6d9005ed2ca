//! What senders publish: who may, and from their messages to the bus.
//!
//! A sender's bytes are not looked into here: a demultiplexer is the largest piece of code that
//! reads what strangers send, and belongs into the process whose death costs one stream. They are
//! gathered into chunks, numbered and handed to the ingest worker of the stream, and nobody waits
//! for that: what it does not take in time is overwritten on the bus, and it counts the gap.
//! Access units that came in RTP packets are handed on one by one, in as many chunks as they need.
//!
//! A sender whose name a rule of `accept` takes is let in before there is a stream: it *waits*, and
//! what it sends is held, until the supervisor has made the stream. A place among those who wait
//! is given back when the stream is there, or after a while, and not when the sender goes: so
//! strangers cannot make streams more often than that.
//!
//! Senders are served on the network's thread, paths change on the main one. Both take the same
//! lock for as long as a chunk is copied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::ledger::{Counters, IntakeCounters};
use contract::name::{StreamName, WorkerId};
use contract::spec::{AcceptSpec, IntakeSpec};
use frame_bus::{
    BookWriter, Bus, BusError, CHUNK_BYTES_MAX, ChunkContents, ChunkPublisher, ChunkStamp,
    UnitPart, Waker,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A chunk that has room left goes on its way so long after its first message. Pictures come in
/// bursts, so that most chunks go when a burst is over.
const CHUNK_AGE_MAX: Duration = Duration::from_millis(10);

/// A sender waits so long for its stream: models may have to be loaded for it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// Of senders for whom there is no place is told so often.
const FULL_INTERVAL: Duration = Duration::from_secs(10);

/// Most bytes of an access unit: a third of what may wait for the ingest worker.
pub(crate) const UNIT_BYTES_MAX: usize = 40 * CHUNK_BYTES_MAX;

/// An H.264 access unit of a sender, as a byte stream.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) data: Arc<[u8]>,
    /// When it was due by the rhythm of its sender, on the monotonic clock.
    pub(crate) pts_ns: u64,
    /// When it had come, on the same clock.
    pub(crate) arrived_ns: u64,
    pub(crate) keyframe: bool,
}

/// The paths at which senders may publish. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub(crate) struct Intakes {
    inner: Arc<Mutex<Inner>>,
    /// Counts the changes of the paths.
    changes: Arc<watch::Sender<u64>>,
    /// Wakes the main loop.
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    intakes: BTreeMap<String, Intake>,
    rules: Vec<Rule>,
    /// Until when a place is taken by a sender for whom there is no stream yet.
    waiting: BTreeMap<StreamName, Instant>,
    knocks: Vec<Knock>,
}

/// A rule by which senders may become streams.
struct Rule {
    spec: AcceptSpec,
    /// When it was last told that there is no place.
    told_full: Option<Instant>,
}

/// Somebody publishes what no stream has as its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Knock {
    pub(crate) stream: StreamName,
    /// The prefix of the rule that takes it.
    pub(crate) rule: StreamName,
    /// There is no place for it.
    pub(crate) full: bool,
}

/// One path.
struct Intake {
    accepted_by: Option<StreamName>,
    desk: Arc<Mutex<Desk>>,
    /// The path is taken away.
    closed: Arc<Notify>,
}

/// Where chunks of one stream are counted and published.
struct Desk {
    /// `None` when the path is taken away: another may write the book then.
    open: Option<Open>,
    taken: bool,
}

struct Open {
    publisher: ChunkPublisher,
    book: BookWriter<IntakeCounters>,
    waker: Waker,
}

/// Why somebody may not publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No stream has this path as its source.
    Unknown,
    /// Somebody else publishes there.
    Taken,
    /// A rule takes it, and there are as many of that rule as there may be.
    Full,
}

/// A sender that is let in.
pub(crate) enum Begun {
    /// Its stream is there.
    Session(Session),
    /// Its stream is to come.
    Waits,
}

impl Intakes {
    /// None yet; `waker` wakes the main loop.
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            inner: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            waker,
        }
    }

    /// From now on senders that these rules take may become streams.
    pub(crate) fn accept(&self, specs: &[AcceptSpec]) {
        let rules = specs.iter().map(|spec| Rule {
            spec: spec.clone(),
            told_full: None,
        });
        self.lock().rules = rules.collect();
    }

    /// Who has knocked since this was last asked.
    pub(crate) fn take_knocks(&self) -> Vec<Knock> {
        std::mem::take(&mut self.lock().knocks)
    }

    /// Opens the paths of `specs`; `incarnation` counts the gateway's starts.
    ///
    /// # Errors
    /// When a book or the bus cannot be used; then nothing is opened.
    pub(crate) fn open(
        &self,
        bus: &Bus,
        specs: &[IntakeSpec],
        incarnation: u32,
    ) -> Result<(), BusError> {
        let mut opened = Vec::new();
        for spec in specs {
            let open = Open {
                publisher: ChunkPublisher::open(bus, &spec.stream, incarnation)?,
                book: BookWriter::open(&spec.book)?,
                waker: Waker::open(bus, &WorkerId::Ingest(spec.stream.clone()))?,
            };
            let desk = Desk {
                open: Some(open),
                taken: false,
            };
            let intake = Intake {
                accepted_by: spec.accepted_by.clone(),
                desk: Arc::new(Mutex::new(desk)),
                closed: Arc::default(),
            };
            opened.push((spec.path.clone(), intake));
        }
        let mut inner = self.lock();
        for (path, _) in &opened {
            inner.waiting.retain(|name, _| name.as_str() != path);
        }
        inner.intakes.extend(opened);
        drop(inner);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Tells of each change of the paths.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Nobody may publish there any more; who does is sent away.
    pub(crate) fn close(&self, path: &str) {
        let Some(intake) = self.lock().intakes.remove(path) else {
            return;
        };
        lock(&intake.desk).close();
        // A permit stays for a sender that does not wait just now.
        intake.closed.notify_one();
    }

    /// Whether a sender would be let in.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admits(&self, path: &str) -> Result<(), Refusal> {
        let mut inner = self.lock();
        match inner.intakes.get(path) {
            None => inner.may_wait(path).map(drop).inspect_err(|refusal| {
                if *refusal == Refusal::Full {
                    self.waker.wake();
                }
            }),
            Some(intake) if lock(&intake.desk).taken => Err(Refusal::Taken),
            Some(_) => Ok(()),
        }
    }

    /// A sender is there, and is the only one until its session is dropped. One who waits does not
    /// begin twice: see [`Intakes::begin_session`].
    ///
    /// # Errors
    /// Why it may not publish.
    pub(crate) fn begin(&self, path: &str) -> Result<Begun, Refusal> {
        match self.begin_session(path) {
            Err(Refusal::Unknown) => {}
            begun => return begun.map(Begun::Session),
        }
        let mut inner = self.lock();
        let (stream, rule) = inner.may_wait(path)?;
        inner
            .waiting
            .insert(stream.clone(), Instant::now() + WAIT_MAX);
        inner.knocks.push(Knock {
            stream,
            rule,
            full: false,
        });
        drop(inner);
        self.waker.wake();
        Ok(Begun::Waits)
    }

    /// A sender is there whose stream is there too.
    ///
    /// # Errors
    /// Why it may not publish.
    pub(crate) fn begin_session(&self, path: &str) -> Result<Session, Refusal> {
        let inner = self.lock();
        let intake = inner.intakes.get(path).ok_or(Refusal::Unknown)?;
        let mut desk = lock(&intake.desk);
        if desk.taken {
            return Err(Refusal::Taken);
        }
        let open = desk.open.as_mut().ok_or(Refusal::Unknown)?;
        open.book.update(|book| {
            book.senders = 1;
            book.senders_total += 1;
            book.received += 1;
        });
        let number = open.book.counters().senders_total;
        open.send(number, monotonic_ns(), ChunkPublisher::begin);
        desk.taken = true;
        Ok(Session {
            desk: Arc::clone(&intake.desk),
            closed: Arc::clone(&intake.closed),
            number,
            chunk: Vec::with_capacity(CHUNK_BYTES_MAX),
            begun: None,
        })
    }

    /// All paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.lock().intakes.keys().cloned().collect()
    }

    /// Says in the books that the main loop lives.
    pub(crate) fn tick(&self) {
        for intake in self.lock().intakes.values() {
            if let Some(open) = &lock(&intake.desk).open {
                open.book.tick();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether a sender for whom there is no stream may wait for one: its name, and the rule's.
    fn may_wait(&mut self, path: &str) -> Result<(StreamName, StreamName), Refusal> {
        let now = Instant::now();
        self.waiting.retain(|_, until| now < *until);
        let name: StreamName = path.parse().map_err(|_| Refusal::Unknown)?;
        let takes = |rule: &&mut Rule| path.starts_with(rule.spec.prefix.as_str());
        let rule = self.rules.iter_mut().find(takes).ok_or(Refusal::Unknown)?;
        if self.waiting.contains_key(&name) {
            return Err(Refusal::Taken);
        }
        let prefix = &rule.spec.prefix;
        let accepted = self.intakes.values();
        let accepted = accepted.filter(|intake| intake.accepted_by.as_ref() == Some(prefix));
        let waiting = self.waiting.keys();
        let waiting = waiting.filter(|name| name.as_str().starts_with(prefix.as_str()));
        if accepted.count() + waiting.count() < rule.spec.max {
            return Ok((name, prefix.clone()));
        }
        let is_told = rule.told_full.is_some_and(|at| now < at + FULL_INTERVAL);
        if !is_told {
            rule.told_full = Some(now);
            self.knocks.push(Knock {
                stream: name,
                rule: prefix.clone(),
                full: true,
            });
        }
        Err(Refusal::Full)
    }
}

impl Desk {
    /// What the sender who is here has not sent in full is lost.
    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        if self.taken {
            open.book.update(|book| {
                book.settle();
                book.received += 1;
            });
            let number = open.book.counters().senders_total;
            open.send(number, monotonic_ns(), ChunkPublisher::end);
        }
        if let Err(imbalance) = open.book.counters().check() {
            tracing::error!(%imbalance, "the book of an intake does not balance");
        }
    }
}

impl Open {
    /// Publishes what was counted as received before. The number is committed first: a worker
    /// killed between the two leaves a gap, and never a number twice.
    fn send(
        &mut self,
        session: u64,
        arrived_ns: u64,
        send: impl FnOnce(&ChunkPublisher, &ChunkStamp) -> Result<(), BusError>,
    ) {
        let stamp = ChunkStamp {
            sequence_number: self.book.counters().published,
            session,
            arrived_ns,
        };
        self.book.update(|book| book.published += 1);
        if let Err(error) = send(&self.publisher, &stamp) {
            // Its number is a gap at the ingest worker.
            tracing::error!(%error, "a chunk is not published");
        }
        self.waker.wake();
    }
}

/// One sender, from its coming to its going, which is when this is dropped.
pub(crate) struct Session {
    desk: Arc<Mutex<Desk>>,
    closed: Arc<Notify>,
    /// Counts the senders of this path.
    number: u64,
    chunk: Vec<u8>,
    /// When the first message of the chunk came.
    begun: Option<(Instant, u64)>,
}

impl Session {
    /// Takes a message of the sender, which is handed on when the chunk is full, or
    /// [due](Session::due).
    pub(crate) fn take(&mut self, message: &[u8]) {
        if self.chunk.len() + message.len() > CHUNK_BYTES_MAX {
            self.flush();
        }
        let is_first = self.begun.is_none();
        self.begun
            .get_or_insert_with(|| (Instant::now(), monotonic_ns()));
        self.chunk.extend_from_slice(message);
        if let Some(open) = &mut lock(&self.desk).open {
            open.book.update(|book| {
                book.received += u64::from(is_first);
                book.messages += 1;
                book.bytes += message.len() as u64;
            });
        }
    }

    /// When what was taken is to be handed on; `None` when there is nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        Some(self.begun?.0 + CHUNK_AGE_MAX)
    }

    /// Hands on what was taken.
    pub(crate) fn flush(&mut self) {
        let Some((_, arrived_ns)) = self.begun.take() else {
            return;
        };
        let (chunk, number) = (&self.chunk, self.number);
        if let Some(open) = &mut lock(&self.desk).open {
            open.send(number, arrived_ns, |publisher, stamp| {
                publisher.publish(stamp, ChunkContents::TransportStream, chunk)
            });
        }
        self.chunk.clear();
    }

    /// Hands on an access unit. One that is too large is missed.
    pub(crate) fn take_unit(&mut self, unit: &Unit) {
        if unit.data.is_empty() || unit.data.len() > UNIT_BYTES_MAX {
            tracing::debug!(bytes = unit.data.len(), "an access unit is passed over");
            self.missed(1);
            return;
        }
        let parts = unit.data.len().div_ceil(CHUNK_BYTES_MAX);
        if let Some(open) = &mut lock(&self.desk).open {
            open.book.update(|book| {
                book.received += parts as u64;
                book.messages += 1;
                book.bytes += unit.data.len() as u64;
            });
            for (index, data) in unit.data.chunks(CHUNK_BYTES_MAX).enumerate() {
                let part = UnitPart {
                    pts_ns: unit.pts_ns,
                    keyframe: unit.keyframe,
                    first: index == 0,
                    last: index + 1 == parts,
                };
                open.send(self.number, unit.arrived_ns, |publisher, stamp| {
                    publisher.publish(stamp, ChunkContents::Unit(part), data)
                });
            }
        }
    }

    /// So many messages of the sender are missing since it has come.
    pub(crate) fn missed(&self, more: u64) {
        if let Some(open) = &mut lock(&self.desk).open
            && more > 0
        {
            open.book.update(|book| book.missed += more);
        }
    }

    /// Whether the path is taken away.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.desk).open.is_none()
    }

    /// Waits until the path is taken away.
    pub(crate) async fn closed(&self) {
        while lock(&self.desk).open.is_some() {
            self.closed.notified().await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.flush();
        let mut desk = lock(&self.desk);
        desk.taken = false;
        if let Some(open) = &mut desk.open {
            open.book.update(|book| {
                book.senders = 0;
                book.received += 1;
            });
            open.send(self.number, monotonic_ns(), ChunkPublisher::end);
        }
    }
}

/// What another thread has left is whole, also after a panic: books change in one step.
fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
