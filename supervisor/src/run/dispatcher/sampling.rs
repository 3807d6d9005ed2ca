//! What is read from the books each second: for the table, the metrics and the ledger.

use contract::clock;
use contract::name::{StreamName, WorkerId};

use super::Dispatcher;
use crate::books::{BookId, Part};
use crate::run::board::{Board, WorkerLine};
use crate::run::meter::Reading;
use crate::run::screen::Severity;
use crate::run::state::{DEGRADED, StreamState};
use crate::store::{MetricSample, Row};
use crate::supervision::life::{End, Phase};

impl Dispatcher {
    /// Reads all books: for the table, the metrics and the rates.
    pub(super) fn sample(&mut self) {
        let at = self.begin.elapsed();
        let wall_ms = clock::wall_ms();
        let mut changed = Vec::new();
        for stream in self
            .streams
            .iter_mut()
            .filter(|stream| !stream.is_removed())
        {
            let latency = self.setting.books.histogram(&BookId {
                stream: stream.name.clone(),
                part: Part::Render,
            });
            let books = self.setting.books.read(&stream.name);
            stream.meter.push(Reading { at, books, latency });
            if stream.judge_load() {
                changed.push(stream.name.clone());
            }
            let (rates, dropped, lost) = stream.meter.last_interval();
            self.setting.store.offer(Row::Metric(MetricSample {
                stream: stream.name.clone(),
                wall_ms,
                captured_fps: rates.captured_fps,
                inferred_fps: rates.inferred_fps,
                rendered_fps: rates.rendered_fps,
                latency_p50_us: rates.latency_p50_us,
                latency_p99_us: rates.latency_p99_us,
                dropped,
                lost,
            }));
        }
        for stream in changed {
            self.load_changed(&stream);
        }
        let health = self.setting.store.health();
        let trouble = health.trouble.map(|trouble| {
            let lost = health.rows_given_up;
            format!("the store cannot write: {trouble} ({lost} rows given up)")
        });
        if trouble.is_some() != self.store_trouble.is_some() {
            match &trouble {
                Some(trouble) => self.notice(Severity::Error, trouble.clone()),
                None => self.notice(Severity::Info, "the store can write again".to_owned()),
            }
        }
        self.store_trouble = trouble;
        self.setting.screen.board(self.board());
    }

    /// Models keep up with a stream no more, or again.
    fn load_changed(&mut self, name: &StreamName) {
        let Some(stream) = self.streams.iter().find(|stream| stream.name == *name) else {
            return;
        };
        let (state, detail) = (stream.shown_state(), stream.shown_detail());
        let (severity, text) = if state == DEGRADED {
            (Severity::Warning, format!("{name}: {state}: {detail}"))
        } else {
            (Severity::Info, format!("{name}: {state}: models keep up"))
        };
        self.notice(severity, text);
        self.store_stream(name);
    }

    pub(super) fn store_ledger(&self) {
        for found in self.setting.books.content() {
            self.setting.store.offer(Row::Ledger {
                stream: found.stream,
                book: found.book,
                counters: found.counters,
            });
        }
    }

    fn board(&self) -> Board {
        let restarts = |worker: WorkerId| {
            let member = self.fleet.index_of(&worker);
            member.map_or(0, |member| self.fleet.members()[member].life.restarts())
        };
        let line = |stream: &StreamState| {
            let own = restarts(WorkerId::Ingest(stream.name.clone()))
                + restarts(WorkerId::Render(stream.name.clone()));
            let models = stream.models.iter().cloned().map(WorkerId::Infer);
            stream.line(own + models.map(restarts).sum::<u32>())
        };
        let shown = self.streams.iter().filter(|stream| !stream.is_removed());
        let needs_attention = |phase: &Phase| {
            !matches!(
                phase,
                Phase::Ready | Phase::Draining | Phase::Over(End::Drained)
            )
        };
        let mut not_recorded: Vec<_> = self.recording_gaps.values().collect();
        not_recorded.sort_by(|a, b| a.stream.cmp(&b.stream));
        let not_recorded = not_recorded.into_iter();
        let not_recorded =
            not_recorded.map(|gap| format!("{}: recording stopped: {}", gap.stream, gap.text));
        let members = self.fleet.members().iter().enumerate();
        let workers = members
            .filter(|(_, member)| needs_attention(member.life.phase()) && !member.is_leaving());
        Board {
            run: self.setting.run.clone(),
            elapsed: self.begin.elapsed(),
            streams: shown.map(line).collect(),
            workers: workers
                .map(|(index, member)| WorkerLine {
                    name: member.worker.to_string(),
                    phase: member.life.phase().as_str(),
                    grave: member.life.is_quarantined() || member.life.end().is_some(),
                    text: if self.seats[index].last_words.is_empty() {
                        self.seats[index].text.clone()
                    } else {
                        self.seats[index].last_words.clone()
                    },
                })
                .collect(),
            troubles: self
                .store_trouble
                .iter()
                .chain(self.reload_error())
                .cloned()
                .chain(not_recorded)
                .collect(),
        }
    }
}
