//! The end of a run: the books are closed, the verdict is made, everything is stored.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use contract::clock;
use contract::exit::Exit;
use contract::name::{RunId, StreamName, WorkerId};

use super::board::{clock as shown_clock, milliseconds};
use super::dispatcher::{Outcome, StopReason};
use super::meter::drops;
use super::screen::Severity;
use crate::books::{BookId, Books, Part, StreamBooks};
use crate::store::{Latency, Row, RunEnd, RunState, Writer};
use crate::supervision::fleet::{Fleet, Member};
use crate::supervision::life::{End, Life};

/// How a run went.
#[derive(Debug)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// Its last state.
    pub state: RunState,
    /// What `sluice run` exits with.
    pub exit: Exit,
    /// Why, when that is not success.
    pub detail: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// Its streams.
    pub streams: Vec<StreamSummary>,
    /// Recordings, absolute.
    pub recordings: Vec<PathBuf>,
    /// Its own directory.
    pub directory: PathBuf,
}

/// How a stream went.
#[derive(Debug)]
pub struct StreamSummary {
    /// Its name.
    pub name: StreamName,
    /// Its last state.
    pub state: &'static str,
    /// Its books, closed.
    pub books: StreamBooks,
    /// Median of capture to rendered.
    pub latency_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub latency_p99_us: Option<u64>,
    /// Rule firings.
    pub events: u64,
}

/// Closes the run of `outcome`.
pub(super) fn finish(outcome: Outcome, writer: Writer) -> Summary {
    let Outcome {
        run,
        directories,
        books: kept,
        store,
        screen,
        fleet,
        streams,
        stopped_by,
        last_words,
        recordings,
        elapsed,
    } = outcome;
    let closed = kept.close_transit(|id| is_lost(&fleet, id));
    let mut imbalances = Vec::new();
    if let Err(error) = closed {
        imbalances.push(error.to_string());
    }
    let mut summaries = Vec::new();
    for stream in &streams {
        let books = kept.read(&stream.name);
        if let Err(error) = books.check_closed() {
            let name = &stream.name;
            imbalances.push(format!(
                "the books of stream {name} do not balance: {error}"
            ));
        }
        let latency = kept.histogram(&BookId {
            stream: stream.name.clone(),
            part: Part::Render,
        });
        summaries.push(StreamSummary {
            name: stream.name.clone(),
            state: stream.state,
            books,
            latency_p50_us: latency.quantile_us(0.5),
            latency_p99_us: latency.quantile_us(0.99),
            events: stream.events,
        });
    }
    store_books(&kept, &store);
    let health = store.health();
    let mut verdict = verdict(&fleet, &last_words, stopped_by, &imbalances);
    if let (Some(trouble), Exit::Success) = (&health.trouble, verdict.exit) {
        verdict = Verdict::failed(
            Exit::Environment,
            format!("the store cannot write: {trouble}"),
        );
    }
    store.offer(Row::RunEnded(RunEnd {
        state: verdict.state,
        exit_code: verdict.exit.code(),
        detail: verdict.detail.clone(),
        wall_ms: clock::wall_ms(),
    }));
    drop(store);
    let health = writer.finish();
    if let (Some(trouble), Exit::Success) = (&health.trouble, verdict.exit) {
        verdict = Verdict::failed(
            Exit::Environment,
            format!("the store cannot write: {trouble}"),
        );
    }
    if health.rows_given_up > 0 {
        let text = format!("{} rows could not be stored", health.rows_given_up);
        screen.notice(Severity::Error, text);
    }
    // Gives the terminal back before the summary is printed.
    drop(screen);
    Summary {
        run,
        state: verdict.state,
        exit: verdict.exit,
        detail: verdict.detail,
        elapsed,
        streams: summaries,
        recordings: recordings
            .iter()
            .map(|file| directories.run.join(&file.path))
            .collect(),
        directory: directories.run,
    }
}

/// Whether what a book's worker never took is lost: it, or the worker it takes from, did not
/// end by draining. Between two that did, nothing may be missing.
fn is_lost(fleet: &Fleet, id: &BookId) -> bool {
    let producer = match id.part {
        // Senders go on when nobody takes their chunks any more.
        Part::Ingest => return true,
        // Nor do members of a mosaic wait for it.
        Part::Mosaic(_) => return true,
        Part::Crops(_) | Part::Intake | Part::Tiles(_) => return false,
        Part::Infer(_) | Part::Render => WorkerId::Ingest(id.stream.clone()),
        Part::InferCrops(_) | Part::Gateway => WorkerId::Render(id.stream.clone()),
    };
    let life = |worker: &WorkerId| Some(&fleet.members()[fleet.index_of(worker)?].life);
    let drained = |worker: &WorkerId| life(worker).and_then(Life::end) == Some(End::Drained);
    // A worker that comes after a dead one finds out what that one missed by the next crop,
    // and there may be none.
    let missed_some = matches!(id.part, Part::InferCrops(_))
        && life(&id.worker()).is_some_and(|life| life.restarts() > 0);
    missed_some || !drained(&id.worker()) || !drained(&producer)
}

fn store_books(books: &Books, store: &crate::store::WriterHandle) {
    for found in books.content() {
        store.offer(Row::Ledger {
            stream: found.stream.clone(),
            book: found.book.clone(),
            counters: found.counters,
        });
        store.offer(Row::Latency(Latency {
            stream: found.stream,
            book: found.book,
            histogram: found.histogram,
        }));
    }
}

struct Verdict {
    state: RunState,
    exit: Exit,
    detail: Option<String>,
}

impl Verdict {
    fn failed(exit: Exit, detail: String) -> Self {
        Self {
            state: RunState::Failed,
            exit,
            detail: Some(detail),
        }
    }
}

/// What is worst decides: a run that could not begin, books that do not balance, a worker
/// that ended for good, one in quarantine.
fn verdict(
    fleet: &Fleet,
    last_words: &[String],
    stopped_by: Option<StopReason>,
    imbalances: &[String],
) -> Verdict {
    let explained = |index: usize, member: &Member| {
        let worker = &member.worker;
        match last_words.get(index).map(String::as_str) {
            Some("") | None => format!("{worker} died; logs/{worker}.log in its run says more"),
            Some(words) => format!("{worker}: {words}"),
        }
    };
    let exit_of = |member: &Member| match member.worker {
        WorkerId::Ingest(_) => Exit::Source,
        WorkerId::Infer(_) => Exit::Model,
        WorkerId::Render(_) | WorkerId::Gateway => Exit::Environment,
    };
    if let Some(index) = fleet.failed() {
        let member = &fleet.members()[index];
        return Verdict::failed(exit_of(member), explained(index, member));
    }
    if let Some(imbalance) = imbalances.first() {
        return Verdict::failed(Exit::Unbalanced, imbalance.clone());
    }
    // How one ended that a reload let go of says nothing of the run.
    let members = || {
        let members = fleet.members().iter().enumerate();
        members.filter(|(_, member)| !member.is_leaving())
    };
    let is_gone =
        |member: &Member| matches!(member.life.end(), Some(End::BadConfig | End::SourceGone));
    if let Some((index, member)) = members().find(|(_, member)| is_gone(member)) {
        return Verdict::failed(exit_of(member), explained(index, member));
    }
    if let Some((index, member)) = members().find(|(_, member)| member.life.is_quarantined()) {
        return Verdict::failed(Exit::Quarantined, explained(index, member));
    }
    // It crashed while draining: there was nothing to bring it back for.
    let has_crashed = |member: &Member| {
        matches!(
            member.life.end(),
            Some(End::Failed | End::Killed | End::Hung)
        )
    };
    if let Some((index, member)) = members().find(|(_, member)| has_crashed(member)) {
        return Verdict::failed(Exit::Failure, explained(index, member));
    }
    Verdict {
        state: match stopped_by {
            Some(StopReason::Person) => RunState::Stopped,
            Some(StopReason::Duration) | None => RunState::Finished,
        },
        exit: Exit::Success,
        detail: None,
    }
}

/// What is printed when a run is over.
impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "run {} {} after {}",
            self.run,
            self.state.as_str(),
            shown_clock(self.elapsed)
        )?;
        for stream in &self.streams {
            let ledger = &stream.books.ledger;
            write!(
                formatter,
                "  {}: {} captured",
                stream.name, ledger.ingest.captured
            )?;
            if ledger.render.units_passed > 0 {
                write!(formatter, ", {} handed on", ledger.render.units_passed)?;
            }
            for (model, infer) in &ledger.infer {
                write!(formatter, ", {} inferred ({model})", infer.inferred)?;
            }
            let dropped: u64 = drops(&stream.books).iter().map(|(_, count)| count).sum();
            writeln!(
                formatter,
                ", {} rendered, {dropped} dropped, {} lost, {} events, latency p50 {} ms p99 {} ms",
                ledger.render.rendered,
                ledger.lost(),
                stream.events,
                milliseconds(stream.latency_p50_us),
                milliseconds(stream.latency_p99_us),
            )?;
        }
        for recording in &self.recordings {
            writeln!(formatter, "  recorded {}", recording.display())?;
        }
        writeln!(formatter, "  files    {}", self.directory.display())?;
        write!(formatter, "  more     sluice stats {}", self.run)
    }
}

#[cfg(test)]
mod tests;
