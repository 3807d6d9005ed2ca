//! When a source is opened, given time, closed, tried again and given up.
//!
//! A pure state machine: the clock, and what happened, go in; what to do comes
//! out. A *session* is one pipeline, from its opening to its closing; nothing of
//! it is used again for the next.

use std::time::Duration;

use contract::control::SourceState;
use contract::spec::RetrySpec;

/// A source that has not answered in this time does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connected camera must give a frame in this time; a decoder waits for the next key
/// frame, and cameras that save on them send one every ten seconds.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(15);
/// Who waits for a sender listens again so soon after one has left: it may be back at once,
/// and nobody is pestered by that.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);
/// Senders that were turned away are told of so often: anybody may knock.
const TURNED_AWAY_INTERVAL: Duration = Duration::from_secs(10);
/// How a source's failures are treated.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Retries; `None`: the first failure is the last, as for a file.
    pub retry: Option<RetrySpec>,
    /// No frame for so long, after the first, is a failure; `None`: never.
    pub no_frame_timeout: Option<Duration>,
    /// It waits for a sender to come: that none does is no failure.
    pub waits_for_sender: bool,
    /// It is open only while it is wanted, and so long after; `None`: always.
    pub linger: Option<Duration>,
    /// The stream, whose waits differ from another's.
    pub who: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The worker was told to start.
    Start,
    /// The source has said what it sends.
    Connected,
    /// A frame was taken.
    Frame,
    /// The session broke.
    Failed {
        /// [`SourceState::Refused`] or [`SourceState::Lost`].
        state: SourceState,
        /// What broke.
        detail: String,
    },
    /// A sender came, was turned away, and another is waited for.
    TurnedAway(String),
    /// Whether anybody asks for the stream.
    Wanted(bool),
    /// The source can never work, and why.
    Unusable(String),
    /// The source has ended for good, as files do.
    Ended,
    /// Nothing but time.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a session.
    Open,
    /// Close the session.
    Close,
    /// Tell the supervisor.
    Report(SourceState, String),
    /// Stop: the source is given up.
    GiveUp(Reason, String),
    /// Stop: the source has ended.
    Finish,
}

/// Why a source is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It can never work.
    Unusable,
    /// It is there, but gives no frames.
    Stalled,
    /// It was refused or lost once too often.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotStarted,
    /// Nobody asks for it; however soon somebody does, it is not opened before that time.
    Idle {
        not_before_ns: u64,
    },
    Connecting {
        since_ns: u64,
    },
    Connected {
        since_ns: u64,
    },
    Live {
        last_frame_ns: u64,
    },
    Waiting {
        until_ns: u64,
    },
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    Wanted,
    Unwanted { since_ns: u64 },
}

/// The state of one source.
#[derive(Debug)]
pub struct Sessions {
    policy: Policy,
    state: State,
    demand: Demand,
    /// When it was last told that a sender was turned away.
    turned_away_ns: Option<u64>,
    /// Failures since the last frame.
    failures: u32,
}

impl Sessions {
    /// A source that was not opened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let demand = match policy.linger {
            None => Demand::Wanted,
            Some(_) => Demand::Unwanted { since_ns: 0 },
        };
        Self {
            policy,
            state: State::NotStarted,
            demand,
            turned_away_ns: None,
            failures: 0,
        }
    }

    /// Takes in what happened at `now_ns` of the monotonic clock.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Over, _) => Vec::new(),
            (_, Event::Wanted(wanted)) => self.wanted(now_ns, wanted),
            (State::NotStarted, Event::Start) => match self.demand {
                Demand::Wanted => self.open(now_ns),
                Demand::Unwanted { .. } => self.rest(),
            },
            (State::NotStarted | State::Idle { .. }, _) => Vec::new(),
            (_, Event::Tick | Event::Frame) if self.has_lingered(now_ns) => self.rest(),
            (State::Waiting { until_ns }, Event::Tick) if now_ns >= until_ns => self.open(now_ns),
            (State::Waiting { .. }, _) => Vec::new(),
            (State::Connecting { .. }, Event::Connected) => {
                self.state = State::Connected { since_ns: now_ns };
                Vec::new()
            }
            (State::Live { .. }, Event::Frame) => {
                self.state = State::Live {
                    last_frame_ns: now_ns,
                };
                Vec::new()
            }
            (_, Event::Frame) => {
                self.failures = 0;
                self.state = State::Live {
                    last_frame_ns: now_ns,
                };
                vec![Action::Report(SourceState::Live, "frames come".to_owned())]
            }
            (State::Connecting { .. }, Event::TurnedAway(detail)) => {
                self.turned_away(now_ns, detail)
            }
            (_, Event::Ended) => {
                self.state = State::Over;
                vec![
                    Action::Close,
                    Action::Report(SourceState::Gone, "the source has ended".to_owned()),
                    Action::Finish,
                ]
            }
            (_, Event::Unusable(detail)) => {
                self.state = State::Over;
                vec![
                    Action::Close,
                    Action::Report(SourceState::Gone, detail.clone()),
                    Action::GiveUp(Reason::Unusable, detail),
                ]
            }
            (_, Event::Failed { state, detail }) => self.fail(now_ns, state, detail),
            (state, Event::Tick) => match self.overdue(state, now_ns) {
                Some((state, detail)) => self.fail(now_ns, state, detail),
                None => Vec::new(),
            },
            (_, Event::Start | Event::Connected | Event::TurnedAway(_)) => Vec::new(),
        }
    }

    fn wanted(&mut self, now_ns: u64, wanted: bool) -> Vec<Action> {
        if self.policy.linger.is_none() {
            return Vec::new();
        }
        match (wanted, self.demand) {
            (true, _) => self.demand = Demand::Wanted,
            (false, Demand::Wanted) => self.demand = Demand::Unwanted { since_ns: now_ns },
            (false, Demand::Unwanted { .. }) => {}
        }
        match self.state {
            // What was refused a moment ago is not asked again because a viewer is impatient.
            State::Idle { not_before_ns } if wanted && now_ns < not_before_ns => {
                self.state = State::Waiting {
                    until_ns: not_before_ns,
                };
                let wait = Duration::from_nanos(not_before_ns - now_ns);
                let detail = format!("it failed a moment ago; opening in {}", seconds(wait));
                vec![Action::Report(SourceState::Connecting, detail)]
            }
            State::Idle { .. } if wanted => self.open(now_ns),
            _ => Vec::new(),
        }
    }

    fn has_lingered(&self, now_ns: u64) -> bool {
        match (self.demand, self.policy.linger) {
            (Demand::Unwanted { since_ns }, Some(linger)) => {
                Duration::from_nanos(now_ns.saturating_sub(since_ns)) >= linger
            }
            _ => false,
        }
    }

    /// Nobody asks for it.
    fn rest(&mut self) -> Vec<Action> {
        let not_before_ns = match self.state {
            State::Waiting { until_ns } => until_ns,
            _ => 0,
        };
        let open = matches!(
            self.state,
            State::Connecting { .. } | State::Connected { .. } | State::Live { .. }
        );
        self.state = State::Idle { not_before_ns };
        let close = open.then_some(Action::Close);
        let detail = "nobody asks for it".to_owned();
        let report = Action::Report(SourceState::Idle, detail);
        close.into_iter().chain([report]).collect()
    }

    fn turned_away(&mut self, now_ns: u64, detail: String) -> Vec<Action> {
        let recently = self.turned_away_ns.is_some_and(|told_ns| {
            Duration::from_nanos(now_ns.saturating_sub(told_ns)) < TURNED_AWAY_INTERVAL
        });
        if recently {
            return Vec::new();
        }
        self.turned_away_ns = Some(now_ns);
        vec![Action::Report(SourceState::Refused, detail)]
    }

    fn open(&mut self, now_ns: u64) -> Vec<Action> {
        self.state = State::Connecting { since_ns: now_ns };
        let detail = match self.failures {
            _ if self.policy.waits_for_sender => "waiting for its sender".to_owned(),
            0 => "opening".to_owned(),
            failures => format!("opening again after {failures} failure(s)"),
        };
        vec![
            Action::Report(SourceState::Connecting, detail),
            Action::Open,
        ]
    }

    /// Whether time alone has broken the session, and how.
    fn overdue(&self, state: State, now_ns: u64) -> Option<(SourceState, String)> {
        let no_frame_timeout = self.policy.no_frame_timeout?;
        let over = |since_ns: u64, limit: Duration| {
            Duration::from_nanos(now_ns.saturating_sub(since_ns)) >= limit
        };
        match state {
            State::Connecting { .. } if self.policy.waits_for_sender => None,
            State::Connecting { since_ns } if over(since_ns, CONNECT_TIMEOUT) => Some((
                SourceState::Lost,
                format!("no answer for {}", seconds(CONNECT_TIMEOUT)),
            )),
            State::Connected { since_ns } => {
                let limit = no_frame_timeout.max(FIRST_FRAME_TIMEOUT);
                over(since_ns, limit).then(|| {
                    let detail = format!("connected, but no frame for {}", seconds(limit));
                    (SourceState::Stalled, detail)
                })
            }
            State::Live { last_frame_ns } if over(last_frame_ns, no_frame_timeout) => Some((
                SourceState::Stalled,
                format!("no frame for {}", seconds(no_frame_timeout)),
            )),
            _ => None,
        }
    }

    fn fail(&mut self, now_ns: u64, state: SourceState, detail: String) -> Vec<Action> {
        self.failures += 1;
        let retry = self.policy.retry.as_ref();
        // A listener is never given up: its sender may come whenever it likes.
        let attempts = retry
            .and_then(|retry| retry.attempts)
            .filter(|_| !self.policy.waits_for_sender);
        let again = retry.filter(|_| attempts.is_none_or(|most| self.failures < most));
        let Some(retry) = again else {
            self.state = State::Over;
            let gone = match self.failures {
                1 => detail.clone(),
                failures => format!("{detail}; given up after {failures} failures in a row"),
            };
            let reason = match state {
                SourceState::Stalled => Reason::Stalled,
                _ => Reason::Lost,
            };
            return vec![
                Action::Close,
                Action::Report(state, detail),
                Action::Report(SourceState::Gone, gone.clone()),
                Action::GiveUp(reason, gone),
            ];
        };
        let wait = self.wait(retry, state);
        let until_ns = now_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let of = attempts.map_or_else(String::new, |most| format!(" of {most}"));
        let detail = format!(
            "{detail}; failure {}{of}, trying again in {}",
            self.failures,
            seconds(wait)
        );
        self.state = State::Waiting { until_ns };
        vec![Action::Close, Action::Report(state, detail)]
    }

    /// The wait after the `failures`-th failure in a row.
    fn wait(&self, retry: &RetrySpec, state: SourceState) -> Duration {
        if self.policy.waits_for_sender && self.failures == 1 {
            return LISTEN_AGAIN;
        }
        match state {
            // Cameras lock an account after a few wrong passwords.
            SourceState::Refused => retry.wait_refused(self.failures, &self.policy.who),
            _ => retry.wait(self.failures, &self.policy.who),
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
