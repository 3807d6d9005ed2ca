//! When a source is opened, given time, closed, tried again and given up.
//!
//! A pure state machine: the clock, and what happened, go in; what to do comes
//! out. A *session* is one pipeline, from its opening to its closing; nothing of
//! it is used again for the next.

use std::time::Duration;

use contract::control::SourceState;
use contract::spec::{Backoff, RetrySpec};

/// Longest wait between two sessions, however often it was doubled.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A source that has not answered in this time does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connected camera must give a frame in this time; a decoder waits for the next key
/// frame, and cameras that save on them send one every ten seconds.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(15);
/// Each wait is made longer by up to one part in so many, so that the cameras of a
/// recorder that was restarted do not all come back in the same moment.
const JITTER_PART: u64 = 5;

/// How a source's failures are treated.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Retries; `None`: the first failure is the last, as for a file.
    pub retry: Option<RetrySpec>,
    /// No frame for so long, after the first, is a failure; `None`: never.
    pub no_frame_timeout: Option<Duration>,
    /// What makes this stream's jitter differ from another's.
    pub seed: u64,
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
    Idle,
    Connecting { since_ns: u64 },
    Connected { since_ns: u64 },
    Live { last_frame_ns: u64 },
    Waiting { until_ns: u64 },
    Over,
}

/// The state of one source.
#[derive(Debug)]
pub struct Sessions {
    policy: Policy,
    state: State,
    /// Failures since the last frame.
    failures: u32,
}

impl Sessions {
    /// A source that was not opened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Idle,
            failures: 0,
        }
    }

    /// Takes in what happened at `now_ns` of the monotonic clock.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Action> {
        match (self.state, event) {
            (State::Over, _) => Vec::new(),
            (State::Idle, Event::Start) => self.open(now_ns),
            (State::Waiting { until_ns }, Event::Tick) if now_ns >= until_ns => self.open(now_ns),
            (State::Idle | State::Waiting { .. }, _) => Vec::new(),
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
            (_, Event::Start | Event::Connected) => Vec::new(),
        }
    }

    fn open(&mut self, now_ns: u64) -> Vec<Action> {
        self.state = State::Connecting { since_ns: now_ns };
        let detail = match self.failures {
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
        let again = retry.filter(|retry| retry.attempts.is_none_or(|most| self.failures < most));
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
        let wait = self.wait(retry);
        let until_ns = now_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let of = retry
            .attempts
            .map_or_else(String::new, |most| format!(" of {most}"));
        let detail = format!(
            "{detail}; failure {}{of}, trying again in {}",
            self.failures,
            seconds(wait)
        );
        self.state = State::Waiting { until_ns };
        vec![Action::Close, Action::Report(state, detail)]
    }

    /// The wait after the `failures`-th failure in a row.
    fn wait(&self, retry: &RetrySpec) -> Duration {
        let interval = Duration::from_millis(retry.interval_ms);
        let wait = match retry.backoff {
            Backoff::Fixed => interval,
            Backoff::Exponential => {
                let doublings = self.failures.saturating_sub(1).min(16);
                interval.saturating_mul(1 << doublings).min(BACKOFF_MAX)
            }
        };
        let part = wait / u32::try_from(JITTER_PART).unwrap_or(1);
        let random = scramble(self.policy.seed.wrapping_add(u64::from(self.failures)));
        wait + part
            .mul_f64(f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014): spreads a seed over all bits.
fn scramble(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A source with a clock of its own.
    struct Fake {
        sessions: Sessions,
        now_ns: u64,
    }

    impl Fake {
        fn camera(attempts: Option<u32>, backoff: Backoff) -> Self {
            Self::new(Policy {
                retry: Some(RetrySpec {
                    attempts,
                    interval_ms: 5000,
                    backoff,
                }),
                no_frame_timeout: Some(Duration::from_secs(3)),
                seed: 7,
            })
        }

        fn new(policy: Policy) -> Self {
            let mut fake = Self {
                sessions: Sessions::new(policy),
                now_ns: 100 * SECOND,
            };
            assert_eq!(fake.step(Event::Tick), []);
            let opened = fake.step(Event::Start);
            assert_eq!(
                opened,
                [
                    Action::Report(SourceState::Connecting, "opening".to_owned()),
                    Action::Open
                ]
            );
            fake
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            self.sessions.step(self.now_ns, event)
        }

        fn lose(&mut self) -> Vec<Action> {
            self.step(Event::Failed {
                state: SourceState::Lost,
                detail: "broken".to_owned(),
            })
        }

        /// Seconds, in steps of 10 ms, until time alone makes something happen.
        fn wait(&mut self) -> (f64, Vec<Action>) {
            let begin_ns = self.now_ns;
            for _ in 0..20_000 {
                self.now_ns += SECOND / 100;
                let actions = self.step(Event::Tick);
                if !actions.is_empty() {
                    let waited = Duration::from_nanos(self.now_ns - begin_ns);
                    return (waited.as_secs_f64(), actions);
                }
            }
            panic!("nothing happens in 200 s");
        }
    }

    fn states(actions: &[Action]) -> Vec<SourceState> {
        let reported = |action: &Action| match action {
            Action::Report(state, _) => Some(*state),
            _ => None,
        };
        actions.iter().filter_map(reported).collect()
    }

    #[test]
    fn a_lost_camera_is_opened_again_after_the_interval() {
        let mut fake = Fake::camera(Some(5), Backoff::Fixed);
        fake.step(Event::Connected);
        assert_eq!(states(&fake.step(Event::Frame)), [SourceState::Live]);
        assert_eq!(fake.step(Event::Frame), []);
        let lost = fake.lose();
        assert_eq!(lost[0], Action::Close);
        assert_eq!(states(&lost), [SourceState::Lost]);
        let (waited, opened) = fake.wait();
        assert!((5.0..=6.01).contains(&waited), "{waited}");
        assert_eq!(opened[1], Action::Open);
    }

    #[test]
    fn it_is_given_up_after_so_many_failures_in_a_row() {
        let mut fake = Fake::camera(Some(3), Backoff::Fixed);
        for _ in 0..2 {
            assert_eq!(states(&fake.lose()), [SourceState::Lost]);
            fake.wait();
        }
        // A frame forgives all that was.
        fake.step(Event::Frame);
        for _ in 0..2 {
            assert_eq!(states(&fake.lose()), [SourceState::Lost]);
            fake.wait();
        }
        let last = fake.lose();
        assert_eq!(states(&last), [SourceState::Lost, SourceState::Gone]);
        assert_eq!(
            last[3],
            Action::GiveUp(
                Reason::Lost,
                "broken; given up after 3 failures in a row".to_owned()
            )
        );
        fake.now_ns += 1000 * SECOND;
        assert_eq!(fake.step(Event::Tick), []);
        assert_eq!(fake.step(Event::Frame), []);
    }

    #[test]
    fn without_a_limit_it_is_tried_for_ever() {
        let mut fake = Fake::camera(None, Backoff::Fixed);
        for _ in 0..100 {
            assert_eq!(fake.lose().len(), 2);
            fake.wait();
        }
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut fake = Fake::camera(None, Backoff::Exponential);
        for expected in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0] {
            fake.lose();
            let (waited, _) = fake.wait();
            let range = expected..=expected * 1.2 + 0.01;
            assert!(range.contains(&waited), "{waited} is not in {range:?}");
        }
    }

    #[test]
    fn streams_do_not_wait_alike() {
        let mut waits: Vec<_> = (0..20)
            .map(|seed| {
                let mut fake = Fake::camera(None, Backoff::Fixed);
                fake.sessions.policy.seed = seed;
                fake.lose();
                format!("{:.2}", fake.wait().0)
            })
            .collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 15, "{waits:?}");
    }

    #[test]
    fn a_frozen_camera_is_stalled_and_opened_again() {
        let mut fake = Fake::camera(Some(5), Backoff::Fixed);
        fake.step(Event::Connected);
        fake.step(Event::Frame);
        fake.now_ns += 2 * SECOND;
        assert_eq!(fake.step(Event::Frame), []);
        let (waited, stalled) = fake.wait();
        assert!((3.0..3.1).contains(&waited), "{waited}");
        assert_eq!(stalled[0], Action::Close);
        assert_eq!(states(&stalled), [SourceState::Stalled]);
        assert_eq!(states(&fake.wait().1), [SourceState::Connecting]);
    }

    #[test]
    fn a_camera_that_never_answers_is_lost_and_one_that_never_sends_is_stalled() {
        let mut silent = Fake::camera(Some(5), Backoff::Fixed);
        let (waited, actions) = silent.wait();
        assert!((10.0..10.1).contains(&waited), "{waited}");
        assert_eq!(states(&actions), [SourceState::Lost]);

        let mut blind = Fake::camera(Some(5), Backoff::Fixed);
        blind.step(Event::Connected);
        let (waited, actions) = blind.wait();
        assert!((15.0..15.1).contains(&waited), "{waited}");
        assert_eq!(states(&actions), [SourceState::Stalled]);
    }

    #[test]
    fn a_refusal_is_told_as_such() {
        let mut fake = Fake::camera(Some(2), Backoff::Fixed);
        let refuse = || Event::Failed {
            state: SourceState::Refused,
            detail: "wrong password".to_owned(),
        };
        assert_eq!(states(&fake.step(refuse())), [SourceState::Refused]);
        fake.wait();
        assert_eq!(
            states(&fake.step(refuse())),
            [SourceState::Refused, SourceState::Gone]
        );
    }

    #[test]
    fn what_can_never_work_is_not_tried_again() {
        let mut fake = Fake::camera(None, Backoff::Fixed);
        let actions = fake.step(Event::Unusable("no decoder".to_owned()));
        assert_eq!(states(&actions), [SourceState::Gone]);
        let given_up = Action::GiveUp(Reason::Unusable, "no decoder".to_owned());
        assert_eq!(actions.last(), Some(&given_up));
    }

    #[test]
    fn a_file_ends_and_is_not_tried_again() {
        let file = || {
            Fake::new(Policy {
                retry: None,
                no_frame_timeout: None,
                seed: 0,
            })
        };
        let mut ended = file();
        ended.step(Event::Frame);
        ended.now_ns += 1000 * SECOND;
        assert_eq!(ended.step(Event::Tick), []);
        let actions = ended.step(Event::Ended);
        assert_eq!(states(&actions), [SourceState::Gone]);
        assert_eq!(actions.last(), Some(&Action::Finish));

        let broken = file().lose();
        let given_up = Action::GiveUp(Reason::Lost, "broken".to_owned());
        assert_eq!(broken.last(), Some(&given_up));
    }
}
