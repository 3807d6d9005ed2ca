//! Another text for the run: from what the loader read to workers that go on with it.
//!
//! One text at a time. What is saved meanwhile waits, and only the newest of it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use contract::clock;
use contract::control::ToWorker;
use contract::name::WorkerId;
use frame_bus::budget;

use super::{Dispatcher, RunEvent};
use crate::books::{BookId, NewBooks};
use crate::config::{Problems, RunConfig, SourceFile};
use crate::plan::Plan;
use crate::reload::loader::{Loaded, Report};
use crate::reload::{self, Change, ChangeAction, Edition, Ended, ReloadPlan, Step};
use crate::run::screen::Severity;
use crate::run::state::StreamState;
use crate::run::{generation_files, kept, shown_source};
use crate::store::{AskedBy, GenerationBegun, GenerationDone, NewStream, Outcome, Row};
use crate::supervision::fleet::FleetEvent;

/// Most streams that a run has ever had: their books and counters are kept to its end.
const STREAMS_EVER_MAX: usize = 4096;

/// Where the loop is with another text.
#[derive(Debug, Default)]
pub(super) struct Reloading {
    /// The number of the last text.
    generation: u64,
    state: State,
    /// What was read meanwhile.
    waiting: Option<Loaded>,
    /// Why the last text was not taken.
    error: Option<String>,
    /// Workers that did not take what is in force.
    behind: BTreeSet<WorkerId>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// What the change needs is being made.
    Preparing(Box<Next>),
    Changing {
        change: Box<Change>,
        /// Until it is adopted.
        next: Option<(Box<Next>, NewBooks)>,
        asked_wall_ms: i64,
    },
}

/// A text that is to be in force.
#[derive(Debug)]
struct Next {
    generation: u64,
    edition: Edition,
    plan: ReloadPlan,
    asked_wall_ms: i64,
}

impl Dispatcher {
    pub(super) fn loader_says(&mut self, report: Report) {
        match report {
            Report::Blind(why) => self.notice(
                Severity::Warning,
                format!("files are not watched: {why}; `sluice reload` reads them all the same"),
            ),
            Report::Loaded(mut loaded) => {
                // Who asked by command waits for an answer, whatever was saved since.
                if let Some(before) = self.reloading.waiting.take()
                    && (before.asked_by == AskedBy::Command || loaded.asked_by == AskedBy::File)
                {
                    loaded.asked_by = before.asked_by;
                }
                self.reloading.waiting = Some(loaded);
            }
        }
    }

    /// Takes the next step of a reload, if there is one to take. Called after each event.
    pub(super) fn carry_on_reload(&mut self) {
        self.carry_out();
        if matches!(self.reloading.state, State::Idle)
            && self.fleet.has_begun()
            && !self.fleet.is_stopping()
            && let Some(loaded) = self
                .reloading
                .waiting
                .take()
                .or_else(|| self.accepted_text())
        {
            self.consider(loaded);
            self.carry_out();
        }
    }

    /// The run ends: what is half done stays so.
    pub(super) fn abort_reload(&mut self) {
        self.reloading.waiting = None;
        match std::mem::take(&mut self.reloading.state) {
            State::Idle => {}
            State::Preparing(next) => {
                let why = vec!["the run was ended meanwhile".to_owned()];
                self.conclude(next.generation, Outcome::Failed, Vec::new(), why);
            }
            State::Changing {
                change,
                asked_wall_ms,
                ..
            } => {
                let generation = change.generation();
                self.end_change(generation, change.abort(), asked_wall_ms);
            }
        }
    }

    /// Why the last text was not taken, for the table.
    pub(super) fn reload_error(&self) -> Option<&String> {
        self.reloading.error.as_ref()
    }

    pub(super) fn reconfigured(
        &mut self,
        member: usize,
        generation: u64,
        result: Result<Vec<String>, String>,
    ) {
        let worker = self.worker(member).clone();
        if let State::Changing { change, .. } = &mut self.reloading.state {
            change.answered(&worker, generation, result);
        }
    }

    pub(super) fn prepared(&mut self, result: Result<NewBooks, String>) {
        let State::Preparing(next) = std::mem::take(&mut self.reloading.state) else {
            return;
        };
        match result {
            Ok(books) => {
                let old = &self.setting.edition;
                let change = Change::new(next.generation, next.plan.clone(), old, &next.edition);
                self.reloading.state = State::Changing {
                    change: Box::new(change),
                    asked_wall_ms: next.asked_wall_ms,
                    next: Some((next, books)),
                };
            }
            Err(why) => self.refuse(next.generation, vec![why]),
        }
    }

    /// Compares a text with the one in force, and begins to change what is to be changed.
    fn consider(&mut self, loaded: Loaded) {
        let Loaded {
            asked_by,
            wall_ms,
            result,
        } = loaded;
        let same = |config: &RunConfig| is_same(&config.files, &self.setting.edition.config.files);
        let unchanged = result.as_ref().is_ok_and(|config| same(config));
        if unchanged && asked_by == AskedBy::File && self.reloading.error.is_none() {
            return;
        }
        self.reloading.generation += 1;
        let generation = self.reloading.generation;
        let mut begun = GenerationBegun {
            generation,
            asked_by,
            wall_ms,
            files: generation_files(match &result {
                Ok(config) => &config.files,
                Err(problems) => &problems.files,
            }),
            plan: Vec::new(),
        };
        let planned = match result {
            Ok(config) => {
                let config = self.with_accepted(*config);
                self.plan_for(config, generation)
            }
            Err(problems) => Err(lines_of(&problems)),
        };
        match planned {
            Err(diagnostics) => {
                self.setting.store.offer(Row::GenerationBegun(begun));
                self.refuse(generation, diagnostics);
            }
            Ok((edition, plan)) if plan.steps.is_empty() => {
                self.setting.store.offer(Row::GenerationBegun(begun));
                // A comment may have changed: that text is the one in force from now on.
                self.setting.edition = edition;
                self.conclude(generation, Outcome::Unchanged, Vec::new(), Vec::new());
            }
            Ok((edition, plan)) => {
                begun.plan = plan.lines();
                self.notice(Severity::Info, format!("reload {generation}:"));
                for line in &begun.plan {
                    self.notice(Severity::Info, format!("  {line}"));
                }
                self.setting.store.offer(Row::GenerationBegun(begun));
                self.prepare(Next {
                    generation,
                    edition,
                    plan,
                    asked_wall_ms: wall_ms,
                });
            }
        }
    }

    fn plan_for(
        &self,
        mut config: RunConfig,
        generation: u64,
    ) -> Result<(Edition, ReloadPlan), Vec<String>> {
        let setting = &self.setting;
        let old = &setting.edition;
        reload::number_rules(&mut config, &old.config, generation);
        let plan = Plan::new(&config, &setting.books_directory, setting.cpus);
        let mut edition = Edition { config, plan };
        reload::keep_gates(&mut edition, old);
        let steps = reload::plan(old, &edition, &self.reloading.behind)?;
        let new = edition.config.streams.keys();
        let new = new.filter(|name| !self.streams.iter().any(|known| known.name == **name));
        if self.streams.len() + new.count() > STREAMS_EVER_MAX {
            return Err(vec![format!(
                "this run has had {STREAMS_EVER_MAX} streams, and their books are kept: stop it and start again"
            )]);
        }
        Ok((edition, steps))
    }

    /// Checks that the machine has what the change needs and makes its books, off the loop.
    fn prepare(&mut self, next: Next) {
        let setting = &self.setting;
        let old = &setting.edition.plan;
        let new = &next.edition.plan;
        let workers = next.edition.plan.workers.iter();
        let programs = workers.map(|planned| planned.worker.program().to_owned());
        let preparation = Preparation {
            ports: (old.clone(), new.clone()),
            shared_memory: (new.shared_memory_bytes > old.shared_memory_bytes)
                .then_some(new.shared_memory_bytes),
            prefix: setting.bus_spec.prefix.clone(),
            books_directory: setting.books_directory.clone(),
            books: setting.books.missing(&new.books),
            programs: setting.programs.clone(),
            program_names: programs.collect(),
        };
        self.reloading.state = State::Preparing(Box::new(next));
        let events = self.events.clone();
        tokio::spawn(async move {
            let work = tokio::task::spawn_blocking(move || preparation.run());
            let result = work
                .await
                .unwrap_or_else(|error| Err(format!("its preparation panicked: {error}")));
            let _ = events.send(RunEvent::Prepared(result)).await;
        });
    }

    fn carry_out(&mut self) {
        loop {
            let State::Changing {
                change,
                asked_wall_ms,
                ..
            } = &mut self.reloading.state
            else {
                return;
            };
            let seats = &self.seats;
            let words = |member: usize| seats[member].last_words.clone();
            let actions = change.step(&self.fleet, self.begin.elapsed(), &words);
            if actions.is_empty() {
                if let Some(ended) = change.ended() {
                    let (generation, since) = (change.generation(), *asked_wall_ms);
                    self.reloading.state = State::Idle;
                    self.end_change(generation, ended, since);
                }
                return;
            }
            for action in actions {
                self.do_action(action);
            }
        }
    }

    fn do_action(&mut self, action: ChangeAction) {
        match action {
            ChangeAction::Enforce {
                worker,
                role,
                standby,
            } => {
                let roles = if standby {
                    &mut self.standby_roles
                } else {
                    &mut self.roles
                };
                roles.insert(worker, *role);
            }
            ChangeAction::Reconfigure { worker } => self.tell_role(&worker),
            ChangeAction::Adopt => self.adopt(),
            ChangeAction::Reshape(reshape) => self.step(FleetEvent::Reshape(reshape)),
        }
    }

    /// Tells a worker the spec in force, if there is a process to tell.
    fn tell_role(&mut self, worker: &WorkerId) {
        let now = self.begin.elapsed();
        let member = self.fleet.index_of(worker);
        let living = member.filter(|member| self.seats[*member].process.is_some());
        let State::Changing { change, .. } = &mut self.reloading.state else {
            return;
        };
        let incarnation = living.map(|member| self.fleet.members()[member].life.incarnation());
        change.told(worker, incarnation, now);
        let generation = change.generation();
        if let (Some(member), Some(role)) = (living, self.roles.get(worker)) {
            let message = ToWorker::Reconfigure {
                generation,
                role: Box::new(role.clone()),
            };
            self.send(member, &message);
        }
    }

    /// From here on the run is what the new text says.
    fn adopt(&mut self) {
        let State::Changing { next, .. } = &mut self.reloading.state else {
            return;
        };
        let Some((next, books)) = next.take() else {
            return;
        };
        let Next { edition, plan, .. } = *next;
        if let Err(error) = self.setting.books.adopt(books, &edition.plan.books) {
            let text = format!("a book does not begin where its stream is: {error}");
            self.notice(Severity::Warning, text);
        }
        for step in &plan.steps {
            match step {
                Step::AddStream { stream } | Step::RebuildStream { stream, .. } => {
                    if self.stream_mut(stream).is_none() {
                        let state = StreamState::new(stream.clone(), &edition.plan);
                        self.streams.push(state);
                    }
                    if let Some(state) = self.stream_mut(stream) {
                        state.begin();
                    }
                }
                Step::RemoveStream { stream } => {
                    if let Some(state) = self.stream_mut(stream) {
                        state.remove();
                    }
                    self.store_stream(stream);
                    self.setting.pools.forget(stream);
                }
                Step::Retain => self
                    .setting
                    .store
                    .set_retention(kept(edition.config.retention)),
                _ => {}
            }
        }
        for (name, stream) in &edition.config.streams {
            if let Some(state) = self.stream_mut(name) {
                state.adopt(&edition.plan);
            }
            let old = self.setting.edition.config.streams.get(name);
            let source = shown_source(&stream.source);
            if old.is_none_or(|old| shown_source(&old.source) != source) {
                self.setting.store.offer(Row::StreamAdded(NewStream {
                    name: name.clone(),
                    source,
                }));
            }
        }
        let kept = edition.config.kept_recordings();
        let name = edition.config.run.as_str().to_owned();
        self.setting.keeper.keep(name, kept);
        self.setting.edition = edition;
    }

    fn end_change(&mut self, generation: u64, ended: Ended, since_wall_ms: i64) {
        let Ended {
            notes,
            faults,
            in_force,
            behind,
        } = ended;
        if in_force {
            self.reloading.behind = behind;
        }
        for note in &notes {
            self.notice(Severity::Info, format!("  {note}"));
        }
        if faults.is_empty() {
            let took_ms = clock::wall_ms().saturating_sub(since_wall_ms);
            let text = format!("reload {generation} is in force after {took_ms} ms");
            self.notice(Severity::Info, text);
            self.conclude(generation, Outcome::Applied, notes, Vec::new());
            return;
        }
        let what = if in_force {
            "is in force, but not everywhere"
        } else {
            "failed, nothing was changed"
        };
        self.notice(Severity::Error, format!("reload {generation} {what}:"));
        for fault in &faults {
            self.notice(Severity::Error, format!("  {fault}"));
        }
        self.conclude(generation, Outcome::Failed, notes, faults);
    }

    fn refuse(&mut self, generation: u64, diagnostics: Vec<String>) {
        let text = format!("reload {generation} refused, nothing was changed:");
        self.notice(Severity::Error, text);
        for line in &diagnostics {
            self.notice(Severity::Error, format!("  {line}"));
        }
        self.conclude(generation, Outcome::Refused, Vec::new(), diagnostics);
    }

    /// Says for good what became of a text.
    fn conclude(
        &mut self,
        generation: u64,
        outcome: Outcome,
        notes: Vec<String>,
        diagnostics: Vec<String>,
    ) {
        self.follow_senders();
        let is_good = matches!(outcome, Outcome::Applied | Outcome::Unchanged);
        let first = diagnostics.first().map_or("", String::as_str);
        self.reloading.error = (!is_good).then(|| {
            let word = outcome.as_str();
            format!("reload {generation} {word}: {first}")
        });
        if outcome == Outcome::Unchanged {
            self.notice(
                Severity::Info,
                format!("reload {generation}: nothing changes"),
            );
        }
        self.setting
            .store
            .offer(Row::GenerationDone(GenerationDone {
                generation,
                wall_ms: clock::wall_ms(),
                outcome,
                notes,
                diagnostics,
            }));
    }
}

/// What must be there before anything is touched.
struct Preparation {
    /// The plan in force and the one to come.
    ports: (Plan, Plan),
    shared_memory: Option<u64>,
    prefix: String,
    books_directory: PathBuf,
    books: Vec<BookId>,
    programs: PathBuf,
    program_names: BTreeSet<String>,
}

impl Preparation {
    fn run(self) -> Result<NewBooks, String> {
        for name in &self.program_names {
            let path = self.programs.join(name);
            if !path.is_file() {
                return Err(format!("the program {} is missing", path.display()));
            }
        }
        let (old, new) = &self.ports;
        new.check_ports(Some(old))
            .map_err(|error| error.to_string())?;
        if let Some(needed) = self.shared_memory {
            // What this run has touched already is part of what it needs.
            let touched = touched_bytes(&self.prefix);
            let more = needed.saturating_sub(touched);
            budget::check_free(more).map_err(|error| error.to_string())?;
        }
        NewBooks::create(&self.books_directory, self.books).map_err(|error| error.to_string())
    }
}

/// Bytes of shared memory that files beginning with `prefix` take up now.
fn touched_bytes(prefix: &str) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let entries = std::fs::read_dir(budget::SHARED_MEMORY);
    let entries = entries.into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(prefix.as_bytes())
    });
    let sizes = ours.filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.blocks() * BLOCK_BYTES).sum()
}

/// The same bytes in the same files.
fn is_same(one: &[SourceFile], other: &[SourceFile]) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len()
        && pairs.all(|(one, other)| (&one.path, one.digest) == (&other.path, other.digest))
}

/// A line a problem: `file:line:column: error[C0104]: text`.
fn lines_of(problems: &Problems) -> Vec<String> {
    let diagnostics = problems.diagnostics.iter();
    diagnostics.map(ToString::to_string).collect()
}
