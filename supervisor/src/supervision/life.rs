//! The life of one worker: a pure state machine with the clock passed in.
//!
//! ```text
//! idle -> starting -> warming -> ready -> draining -> over
//!            |           |         |         |
//!            +-----------+----+----+         +--> over
//!                             v
//!                         cleaning -> waiting -> starting (next incarnation)
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use contract::exit::WorkerExit;
use sandbox::{ExitReport, Signal};

/// A worker that was ready for so long is restarted at once; earlier deaths are forgiven.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Delay of the first restart of a worker that is not stable; doubles with each death.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest delay of a restart.
pub const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// Part of a delay that is random, so that workers that died together do not start together.
pub const RESTART_JITTER: f64 = 0.2;
/// So many deaths ...
pub const QUARANTINE_DEATHS: usize = 5;
/// ... within this time put a worker into quarantine.
pub const QUARANTINE_WINDOW: Duration = Duration::from_secs(30);
/// A worker in quarantine is tried again so often.
pub const QUARANTINE_RETRY: Duration = Duration::from_secs(60);
/// A ready worker whose progress counter stands still for so long hangs.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker that is not ready after this long hangs: models are loaded and tried out in it.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(120);
/// A worker that was told to drain has so long.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL.
pub const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time between two looks at the progress counter that counts as standing still:
/// when the supervisor itself was stopped, its workers are not to blame.
const STILL_STEP_MAX: Duration = Duration::from_secs(1);

/// Where a worker is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Not started yet.
    Idle,
    /// Its process is being made, or has not said anything yet.
    Starting,
    /// It loads, connects, runs its model for the first time.
    Warming,
    /// It takes frames.
    Ready,
    /// It accounts for what it has, then exits.
    Draining,
    /// It was told by a signal to exit.
    Ending,
    /// It is dead; what it left on the bus is being cleaned up.
    Cleaning,
    /// It is started again at `until`.
    Waiting {
        /// When, on the supervisor's clock.
        until: Duration,
        /// It died too often.
        quarantined: bool,
    },
    /// It has ended for good.
    Over(End),
}

impl Phase {
    /// The phase in one word, as shown to people.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Ending => "ending",
            Self::Cleaning => "died",
            Self::Waiting {
                quarantined: false, ..
            } => "restarting",
            Self::Waiting {
                quarantined: true, ..
            } => "quarantined",
            Self::Over(end) => end.as_str(),
        }
    }

    /// There is a process.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Warming | Self::Ready | Self::Draining | Self::Ending
        )
    }
}

/// Why a worker process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It accounted for everything.
    Drained,
    /// It failed in a way that may pass.
    Failed,
    /// Its spec can never work.
    BadConfig,
    /// Its source refused, or ended for good.
    SourceGone,
    /// It says that the supervisor is gone.
    Orphaned,
    /// A signal that we did not send.
    Killed,
    /// It stood still and was killed.
    Hung,
    /// It was told by a signal to exit.
    Stopped,
    /// Its process could not be made.
    NotStarted,
}

impl End {
    /// The reason in one word, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Failed => "failed",
            Self::BadConfig => "bad_config",
            Self::SourceGone => "source_gone",
            Self::Orphaned => "orphaned",
            Self::Killed => "killed",
            Self::Hung => "hung",
            Self::Stopped => "stopped",
            Self::NotStarted => "not_started",
        }
    }
}

/// What happened to a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LifeEvent {
    /// The run begins.
    Begin,
    /// Its process could not be made.
    NotStarted,
    /// It has its spec and is loading.
    Warming,
    /// It takes frames.
    Ready,
    /// Time has passed; this is what its progress counter says.
    Tick {
        /// The counter: it grows while the main loop is alive.
        progress: u64,
    },
    /// Nobody needs it any more: let it account for what it has.
    Drain,
    /// It does not read its control channel.
    Deaf,
    /// It shall exit now.
    Terminate,
    /// It shall be gone.
    Kill,
    /// It has exited and was reaped.
    Exited(ExitReport),
    /// What it left on the bus is cleaned up, its book is settled.
    Cleaned,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum LifeAction {
    /// Start a process.
    Spawn {
        /// Its number.
        incarnation: u32,
    },
    /// Send the order to drain.
    Drain,
    /// Send a signal.
    Signal(Signal),
    /// Clean up the bus, settle the book, then say [`LifeEvent::Cleaned`].
    Clean,
    /// Tell people that it is gone.
    Gone(Gone),
}

/// A process that is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    /// Its number.
    pub incarnation: u32,
    /// Why.
    pub end: End,
    /// What it exited with, what killed it.
    pub report: ExitReport,
    /// When it is started again: after this long; `None`: never.
    pub restart_in: Option<Duration>,
    /// It died too often.
    pub quarantined: bool,
}

/// The state of one worker.
#[derive(Debug, Clone)]
pub struct Life {
    phase: Phase,
    incarnation: u32,
    /// The number of its next process: one more, unless another took that.
    next_incarnation: u32,
    restarts: u32,
    /// Deaths within the window.
    deaths: VecDeque<Duration>,
    /// Deaths since it was last stable.
    deaths_in_a_row: u32,
    in_quarantine: bool,
    started_at: Duration,
    ready_at: Option<Duration>,
    /// When the present phase must be over.
    deadline: Option<Duration>,
    last_tick: Duration,
    progress: u64,
    still_for: Duration,
    /// We have killed it because it hung.
    hung: bool,
    /// No restart: the run does not need it any more.
    unwanted: bool,
    /// What becomes of it once it is cleaned up.
    next: Option<Phase>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            incarnation: 0,
            next_incarnation: 1,
            restarts: 0,
            deaths: VecDeque::new(),
            deaths_in_a_row: 0,
            in_quarantine: false,
            started_at: Duration::ZERO,
            ready_at: None,
            deadline: None,
            last_tick: Duration::ZERO,
            progress: 0,
            still_for: Duration::ZERO,
            hung: false,
            unwanted: false,
            next: None,
        }
    }
}

impl Life {
    /// A worker whose first process has this number, after `restarts` of those before it.
    #[must_use]
    pub fn beginning_at(incarnation: u32, restarts: u32) -> Self {
        Self {
            incarnation,
            next_incarnation: incarnation.saturating_add(1),
            restarts,
            ..Self::default()
        }
    }

    /// Processes up to and without this number are another's.
    pub fn skip_to(&mut self, incarnation: u32) {
        self.next_incarnation = self.next_incarnation.max(incarnation);
    }

    /// The number that the next process of this worker may have.
    #[must_use]
    pub fn next_incarnation(&self) -> u32 {
        self.next_incarnation
    }

    /// Whether it is started again when it dies. Who was told to end never is.
    pub fn restart(&mut self, wanted: bool) {
        if !matches!(self.phase, Phase::Draining | Phase::Ending) {
            self.unwanted = !wanted;
        }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The number of its present or last process.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// How often it was started again because it had died.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How it ended, if it has ended for good.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Over(end) => Some(end),
            _ => None,
        }
    }

    /// It died too often and waits for its next try, or is at it.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.in_quarantine
    }

    /// Takes what happened at `now` and says what is to be done. `random` is from 0 to 1.
    pub fn step(&mut self, event: LifeEvent, now: Duration, random: f64) -> Vec<LifeAction> {
        match event {
            LifeEvent::Begin => match self.phase {
                Phase::Idle => self.spawn(now),
                _ => Vec::new(),
            },
            LifeEvent::Warming => {
                if self.phase == Phase::Starting {
                    self.phase = Phase::Warming;
                }
                Vec::new()
            }
            LifeEvent::Ready => {
                if matches!(self.phase, Phase::Starting | Phase::Warming) {
                    self.phase = Phase::Ready;
                    self.ready_at = Some(now);
                    self.deadline = None;
                    self.last_tick = now;
                    self.still_for = Duration::ZERO;
                }
                Vec::new()
            }
            LifeEvent::Tick { progress } => self.tick(progress, now),
            LifeEvent::Drain => self.drain(now),
            LifeEvent::Terminate => self.terminate(now),
            LifeEvent::Kill => self.kill(),
            LifeEvent::Deaf => self.kill_hung(),
            LifeEvent::NotStarted => {
                let report = ExitReport {
                    code: None,
                    signal: None,
                };
                self.gone(End::NotStarted, report, now, random)
            }
            LifeEvent::Exited(report) => {
                let end = self.end_of(report);
                self.gone(end, report, now, random)
            }
            LifeEvent::Cleaned => {
                if let Some(next) = self.next.take() {
                    self.phase = next;
                }
                if self.unwanted && matches!(self.phase, Phase::Waiting { .. }) {
                    self.phase = Phase::Over(End::Stopped);
                }
                Vec::new()
            }
        }
    }

    fn spawn(&mut self, now: Duration) -> Vec<LifeAction> {
        self.phase = Phase::Starting;
        self.started_at = now;
        self.ready_at = None;
        self.deadline = Some(now + WARM_TIMEOUT);
        self.hung = false;
        vec![LifeAction::Spawn {
            incarnation: self.incarnation,
        }]
    }

    fn tick(&mut self, progress: u64, now: Duration) -> Vec<LifeAction> {
        let step = now.saturating_sub(self.last_tick).min(STILL_STEP_MAX);
        self.last_tick = now;
        if progress == self.progress {
            self.still_for += step;
        } else {
            self.progress = progress;
            self.still_for = Duration::ZERO;
        }
        let late = self.deadline.is_some_and(|deadline| now >= deadline);
        if self.phase == Phase::Ready && self.is_stable(now) {
            self.in_quarantine = false;
        }
        match self.phase {
            Phase::Starting | Phase::Warming if late => self.kill_hung(),
            Phase::Ready if self.still_for >= HANG_TIMEOUT => self.kill_hung(),
            Phase::Draining if self.still_for >= HANG_TIMEOUT => self.kill_hung(),
            Phase::Draining if late => self.terminate(now),
            Phase::Ending if late => self.kill(),
            Phase::Waiting { until, .. } if now >= until => {
                self.incarnation = self.next_incarnation;
                self.next_incarnation = self.incarnation.saturating_add(1);
                self.restarts += 1;
                self.spawn(now)
            }
            _ => Vec::new(),
        }
    }

    fn drain(&mut self, now: Duration) -> Vec<LifeAction> {
        self.unwanted = true;
        match self.phase {
            Phase::Ready => {
                self.phase = Phase::Draining;
                self.deadline = Some(now + DRAIN_TIMEOUT);
                vec![LifeAction::Drain]
            }
            // It has taken no frame yet: there is nothing to account for.
            Phase::Starting | Phase::Warming => self.terminate(now),
            _ => self.let_be(),
        }
    }

    fn terminate(&mut self, now: Duration) -> Vec<LifeAction> {
        self.unwanted = true;
        match self.phase {
            Phase::Ending => Vec::new(),
            ref phase if phase.is_alive() => {
                self.phase = Phase::Ending;
                self.deadline = Some(now + TERMINATE_TIMEOUT);
                vec![LifeAction::Signal(Signal::SIGTERM)]
            }
            _ => self.let_be(),
        }
    }

    fn kill(&mut self) -> Vec<LifeAction> {
        self.unwanted = true;
        if !self.phase.is_alive() {
            return self.let_be();
        }
        self.phase = Phase::Ending;
        self.deadline = None;
        vec![LifeAction::Signal(Signal::SIGKILL)]
    }

    /// There is no process, and there shall be none.
    fn let_be(&mut self) -> Vec<LifeAction> {
        if matches!(self.phase, Phase::Idle | Phase::Waiting { .. }) {
            self.phase = Phase::Over(End::Stopped);
        }
        Vec::new()
    }

    fn kill_hung(&mut self) -> Vec<LifeAction> {
        if !self.phase.is_alive() || self.hung {
            return Vec::new();
        }
        self.hung = true;
        self.deadline = None;
        vec![LifeAction::Signal(Signal::SIGKILL)]
    }

    fn end_of(&self, report: ExitReport) -> End {
        let Some(code) = report.code else {
            return match self.phase {
                _ if self.hung => End::Hung,
                Phase::Ending => End::Stopped,
                _ => End::Killed,
            };
        };
        match WorkerExit::from_code(code) {
            WorkerExit::Drained if self.phase == Phase::Ending => End::Stopped,
            WorkerExit::Drained => End::Drained,
            WorkerExit::BadConfig => End::BadConfig,
            WorkerExit::SourceGone => End::SourceGone,
            WorkerExit::Failed if self.phase == Phase::Ending => End::Stopped,
            WorkerExit::Failed => End::Failed,
            WorkerExit::Orphaned => End::Orphaned,
        }
    }

    fn gone(
        &mut self,
        end: End,
        report: ExitReport,
        now: Duration,
        random: f64,
    ) -> Vec<LifeAction> {
        if !self.phase.is_alive() {
            return Vec::new();
        }
        let for_good = matches!(end, End::Drained | End::BadConfig | End::SourceGone);
        let next = if for_good || self.unwanted {
            Phase::Over(end)
        } else {
            self.count_death(now);
            let delay = self.restart_delay(random);
            Phase::Waiting {
                until: now + delay,
                quarantined: self.in_quarantine,
            }
        };
        let restart_in = match next {
            Phase::Waiting { until, .. } => Some(until.saturating_sub(now)),
            _ => None,
        };
        self.next = Some(next);
        self.phase = Phase::Cleaning;
        self.deadline = None;
        let gone = Gone {
            incarnation: self.incarnation,
            end,
            report,
            restart_in,
            quarantined: self.in_quarantine,
        };
        vec![LifeAction::Gone(gone), LifeAction::Clean]
    }

    fn count_death(&mut self, now: Duration) {
        if self.is_stable(now) {
            self.deaths_in_a_row = 0;
            self.in_quarantine = false;
        } else {
            self.deaths_in_a_row = self.deaths_in_a_row.saturating_add(1);
        }
        self.deaths.push_back(now);
        while self.deaths.len() > QUARANTINE_DEATHS
            || self
                .deaths
                .front()
                .is_some_and(|death| now.saturating_sub(*death) > QUARANTINE_WINDOW)
        {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= QUARANTINE_DEATHS {
            self.in_quarantine = true;
        }
    }

    fn is_stable(&self, now: Duration) -> bool {
        self.ready_at
            .is_some_and(|ready_at| now.saturating_sub(ready_at) >= STABLE_AFTER)
    }

    fn restart_delay(&self, random: f64) -> Duration {
        if self.in_quarantine {
            return QUARANTINE_RETRY;
        }
        let Some(doublings) = self.deaths_in_a_row.checked_sub(1) else {
            return Duration::ZERO;
        };
        // Beyond 2^16 every delay is the longest anyway.
        let delay = RESTART_DELAY_MIN * 2_u32.pow(doublings.min(16));
        let jitter = 1.0 + RESTART_JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        delay.mul_f64(jitter).min(RESTART_DELAY_MAX)
    }
}

#[cfg(test)]
mod tests;
