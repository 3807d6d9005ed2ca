//! When and how often a lost source, or a lost push, is tried again.

use std::time::Duration;

use contract::spec::{Backoff, RetrySpec};

use super::reader::Fields;
use super::table::{Absent, Key, Kind, Section};
use super::units::millis;

/// The keys of `retry`.
pub(super) const RETRY: Section = Section {
    name: "retry",
    doc: "When and how often a lost source is tried again.",
    keys: &[attempts("5"), INTERVAL, backoff("fixed"), MAX_INTERVAL],
};

/// The keys of `retry` of a push, which goes on for ever if nothing else is said.
pub(super) const PUSH_RETRY: Section = Section {
    name: "push_retry",
    doc: "When and how often a lost push is tried again.",
    keys: &[
        attempts("forever"),
        INTERVAL,
        backoff("exponential"),
        MAX_INTERVAL,
    ],
};

const fn attempts(usual: &'static str) -> Key {
    Key {
        name: "attempts",
        doc: "Failures in a row before it is given up.",
        kind: Kind::IntegerOr(1, 1_000_000, "forever"),
        absent: Absent::Default(usual),
    }
}

const INTERVAL: Key = Key {
    name: "interval",
    doc: "Wait before the first retry.",
    kind: Kind::Duration(100, 3_600_000),
    absent: Absent::Default("5s"),
};

const fn backoff(usual: &'static str) -> Key {
    Key {
        name: "backoff",
        doc: "How the wait grows: not at all, or doubling up to `max_interval`.",
        kind: Kind::Choice(&["fixed", "exponential"]),
        absent: Absent::Default(usual),
    }
}

const MAX_INTERVAL: Key = Key {
    name: "max_interval",
    doc: "Longest wait; and for a source the wait after each refusal, so that no account is locked by wrong passwords.",
    kind: Kind::Duration(100, 86_400_000),
    absent: Absent::Default("1m"),
};

/// Retry settings of a source or a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Consecutive failures before it is given up; `None`: never.
    pub attempts: Option<u32>,
    /// Wait before the first retry.
    pub interval: Duration,
    /// How the wait grows.
    pub backoff: Backoff,
    /// Longest wait, and the wait after each refusal.
    pub max_interval: Duration,
}

impl RetryConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let attempts = fields.integer_or_word("attempts");
        let interval = fields.duration("interval");
        let backoff = fields.choice("backoff");
        let max_interval = fields.duration("max_interval");
        Some(Self {
            max_interval: max_interval?,
            attempts: attempts?,
            interval: interval?,
            backoff: match backoff? {
                "exponential" => Backoff::Exponential,
                _ => Backoff::Fixed,
            },
        })
    }

    /// The settings as a worker is told.
    #[must_use]
    pub fn spec(&self) -> RetrySpec {
        RetrySpec {
            attempts: self.attempts,
            interval_ms: millis(self.interval),
            backoff: self.backoff,
            max_interval_ms: millis(self.max_interval),
        }
    }
}
