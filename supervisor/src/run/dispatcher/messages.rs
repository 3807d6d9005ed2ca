//! What workers say and how they end: into the store, onto the screen, to the fleet.

use contract::clock;
use contract::control::{FileKind, FileRecord, FromWorker, RecordingGap, SourceInfo, SourceState};
use contract::event::Event;
use contract::name::{StreamName, WorkerId};

use super::Dispatcher;
use crate::run::board::clock as shown_clock;
use crate::run::screen::Severity;
use crate::run::state::{DRAINED, FAILED};
use crate::store::{Row, StreamRowState, WorkerEnd};
use crate::supervision::life::{End, Gone, LifeEvent};

impl Dispatcher {
    pub(super) fn said(&mut self, member: usize, message: FromWorker) {
        let worker = self.worker(member).clone();
        match message {
            FromWorker::Warming(text) => {
                self.seats[member].text = text;
                self.tell(member, LifeEvent::Warming);
            }
            FromWorker::Ready(text) => {
                self.setting.store.offer(Row::WorkerReady {
                    worker: worker.clone(),
                    incarnation: self.fleet.members()[member].life.incarnation(),
                    text: text.clone(),
                    wall_ms: clock::wall_ms(),
                });
                self.notice(Severity::Info, format!("{worker} ready: {text}"));
                self.seats[member].text = text;
                self.tell(member, LifeEvent::Ready);
            }
            FromWorker::Source(info) => self.source(worker.stream(), info),
            FromWorker::SourceState { state, detail } => {
                if let Some(stream) = worker.stream() {
                    self.source_state(stream, state, detail);
                }
            }
            FromWorker::Event(event) => self.event(*event),
            FromWorker::Frames(records) => {
                let incarnation = self.fleet.members()[member].life.incarnation();
                if let Some(stream) = worker.stream().and_then(|name| self.stream_mut(name)) {
                    let row = Row::Frames {
                        stream: stream.name.clone(),
                        incarnation,
                        models: stream.render_models.clone(),
                        records,
                    };
                    self.setting.store.offer(row);
                }
            }
            FromWorker::File(record) => {
                let incarnation = self.fleet.members()[member].life.incarnation();
                self.file(incarnation, *record);
            }
            FromWorker::RecordingGap(gap) => self.recording_gap(gap),
            FromWorker::BestShot(shot) => self.setting.store.offer(Row::BestShot(shot)),
            FromWorker::Failing(text) => self.seats[member].last_words = text,
            FromWorker::Wanted { stream, wanted } => self.wanted(&worker, &stream, wanted),
            FromWorker::Knocked { stream, rule, full } => self.knocked(stream, &rule, full),
            // Answers questions that no run asks.
            FromWorker::Studied(_) => {}
            FromWorker::Reconfigured { generation, result } => {
                self.reconfigured(member, generation, result);
            }
        }
    }

    fn source(&mut self, stream: Option<&StreamName>, info: SourceInfo) {
        let Some(stream) = stream else { return };
        let hardware = if info.hardware { " (hardware)" } else { "" };
        let frames = match info.frames_total {
            Some(total) => format!(", {total} frames"),
            None => String::new(),
        };
        let decoder = match info.decoder.as_str() {
            "" => String::new(),
            decoder => format!(", decoded by {decoder}{hardware}"),
        };
        let transport = match info.transport.as_str() {
            "" => String::new(),
            transport => format!(", over {transport}"),
        };
        let text = format!(
            "{stream}: {} at {:.2} fps{frames}{decoder}{transport}",
            info.size, info.fps
        );
        self.setting.store.offer(Row::Source {
            stream: stream.clone(),
            info: info.clone(),
        });
        let mut is_news = false;
        if let Some(known) = self.stream_mut(stream) {
            is_news = known.info.as_ref() != Some(&info);
            known.info = Some(info);
        }
        // A camera that comes back says the same again.
        if is_news {
            self.notice(Severity::Info, text);
        }
    }

    fn source_state(&mut self, stream: &StreamName, state: SourceState, detail: String) {
        let severity = match state {
            SourceState::Idle | SourceState::Connecting | SourceState::Live => Severity::Info,
            SourceState::Stalled | SourceState::Lost => Severity::Warning,
            // A file ends this way too; how bad it is shows in how its worker exits.
            SourceState::Gone => Severity::Info,
            SourceState::Refused => Severity::Error,
        };
        let text = format!("{stream}: {}: {detail}", state.as_str());
        self.notice(severity, text.trim_end_matches(": ").to_owned());
        if let Some(known) = self.stream_mut(stream) {
            known.source_state(state, detail);
            self.store_stream(stream);
        }
    }

    fn file(&mut self, incarnation: u32, record: FileRecord) {
        if record.kind == FileKind::Recording {
            // The last of each stream is named at the end; all are in the store.
            let known = self
                .recordings
                .iter()
                .position(|it| it.stream == record.stream);
            match known {
                Some(known) => self.recordings[known] = record.clone(),
                None => {
                    let text = format!("{}: recording {}", record.stream, record.path);
                    self.notice(Severity::Info, text);
                    self.recordings.push(record.clone());
                }
            }
        }
        self.setting.store.offer(Row::File {
            incarnation,
            record,
        });
    }

    fn recording_gap(&mut self, gap: RecordingGap) {
        let stream = gap.stream.clone();
        if gap.end_wall_ms.is_some() {
            self.recording_gaps.remove(&stream);
            let frames = gap.frames;
            let text = format!("{stream}: recording goes on, {frames} frames are missing");
            self.notice(Severity::Info, text);
        } else {
            let text = format!("{stream}: recording stopped: {}", gap.text);
            // It is told again, with more frames, while it lasts.
            if self.recording_gaps.insert(stream, gap.clone()).is_none() {
                self.notice(Severity::Error, text);
            }
        }
        self.setting.store.offer(Row::RecordingGap(gap));
    }

    /// What the worker had open is told of by nobody any more.
    fn recorder_gone(&mut self, worker: &WorkerId, incarnation: u32) {
        let WorkerId::Render(stream) = worker else {
            return;
        };
        self.setting.keeper.writer_died(stream.clone(), incarnation);
        if let Some(mut gap) = self.recording_gaps.remove(stream) {
            gap.end_wall_ms = Some(clock::wall_ms());
            self.setting.store.offer(Row::RecordingGap(gap));
        }
    }

    fn event(&mut self, event: Event) {
        if event.end_pts_ns.is_none() {
            self.notice(
                Severity::Info,
                format!("{}: {}: {}", event.stream, event.rule, event.message),
            );
            if let Some(stream) = self.stream_mut(&event.stream) {
                stream.events += 1;
            }
        }
        self.setting.store.offer(Row::Event(Box::new(event)));
    }

    pub(super) fn store_stream(&mut self, name: &StreamName) {
        let Some(stream) = self.stream_mut(name) else {
            return;
        };
        let row = Row::Stream(StreamRowState {
            stream: name.clone(),
            state: stream.shown_state(),
            detail: stream.shown_detail(),
        });
        self.setting.store.offer(row);
    }

    pub(super) fn gone(&mut self, member: usize, gone: &Gone) {
        let worker = self.worker(member).clone();
        let text = self.seats[member].last_words.clone();
        self.seats[member].last_end = Some(gone.end);
        self.setting.store.offer(Row::WorkerEnded(WorkerEnd {
            worker: worker.clone(),
            incarnation: gone.incarnation,
            wall_ms: clock::wall_ms(),
            code: gone.report.code,
            signal: gone.report.signal,
            reason: gone.end.as_str(),
            text: text.clone(),
        }));
        self.recorder_gone(&worker, gone.incarnation);
        self.demand_ends(&worker);
        // One that leaves ends no stream; what becomes of that is the reload's to say.
        if !self.fleet.members()[member].is_leaving() {
            self.stream_ended(&worker, gone, &text);
        }
        if matches!(gone.end, End::Drained | End::Stopped) {
            return;
        }
        let (severity, what_next) = match gone.restart_in {
            Some(delay) if gone.quarantined => (
                Severity::Error,
                format!("it died too often, next try in {}", shown_clock(delay)),
            ),
            Some(delay) if delay.is_zero() => (Severity::Warning, "starting it again".to_owned()),
            Some(delay) => (
                Severity::Warning,
                format!("starting it again in {} ms", delay.as_millis()),
            ),
            None => (Severity::Error, "it is not started again".to_owned()),
        };
        let mut why = describe(gone);
        if !text.is_empty() {
            why = format!("{why}: {text}");
        }
        self.notice(severity, format!("{worker} {why}; {what_next}"));
    }

    /// A stream ends with its ingest worker, or when its render worker is over for good.
    fn stream_ended(&mut self, worker: &WorkerId, gone: &Gone, text: &str) {
        let Some(name) = worker.stream() else { return };
        let is_ingest = matches!(worker, WorkerId::Ingest(_));
        let end = match gone.end {
            _ if gone.restart_in.is_some() => return,
            End::Drained if is_ingest => Some((DRAINED, String::new())),
            End::SourceGone if is_ingest => Some((SourceState::Gone.as_str(), text.to_owned())),
            End::BadConfig => Some((FAILED, text.to_owned())),
            _ => None,
        };
        let Some((state, detail)) = end else { return };
        if let Some(stream) = self.stream_mut(name) {
            stream.ended(state, detail);
            self.store_stream(name);
        }
    }
}

fn describe(gone: &Gone) -> String {
    match (gone.end, gone.report.signal, gone.report.code) {
        (End::Hung, ..) => "stood still and was killed".to_owned(),
        (End::NotStarted, ..) => "could not be started".to_owned(),
        (End::BadConfig, ..) => "cannot work".to_owned(),
        (End::SourceGone, ..) => "has no source any more".to_owned(),
        (_, Some(signal), _) => match sandbox_signal(signal) {
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (_, None, Some(code)) => format!("failed (exit code {code})"),
        (_, None, None) => "is gone".to_owned(),
    }
}

fn sandbox_signal(number: i32) -> Option<&'static str> {
    sandbox::Signal::try_from(number)
        .ok()
        .map(sandbox::Signal::as_str)
}
