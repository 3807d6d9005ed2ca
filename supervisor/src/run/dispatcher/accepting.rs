//! Senders that become streams: said by the gateway, decided here, carried out as a reload.
//!
//! A sender's name is a stranger's word. It can make no more streams than its rule says, and none
//! more often than once in the time that its stream lingers; the gateway keeps who knocks out of
//! the way for as long as that takes. Names that were ever accepted are counted as well, because
//! the books of a stream are kept to the end of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::clock;
use contract::name::StreamName;

use super::Dispatcher;
use crate::config::RunConfig;
use crate::reload::loader::Loaded;
use crate::run::screen::Severity;
use crate::store::AskedBy;

/// Most names that are ever accepted in a run.
const NAMES_EVER_MAX: usize = 1024;

/// The senders that have become streams, or are about to.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// Those that are streams, and since when nobody sends them.
    streams: BTreeMap<StreamName, Option<Duration>>,
    /// Those that shall become streams.
    coming: BTreeSet<StreamName>,
    /// Those that shall be streams no more.
    leaving: BTreeSet<StreamName>,
    /// Those that ever were streams.
    ever: BTreeSet<StreamName>,
}

impl Accepting {
    /// There is something to be carried out.
    fn is_due(&self) -> bool {
        !self.coming.is_empty() || !self.leaving.is_empty()
    }

    /// The names that shall be streams from now on: those that are keep their places.
    fn decide(&mut self) -> Vec<StreamName> {
        let leaving = std::mem::take(&mut self.leaving);
        let coming = std::mem::take(&mut self.coming);
        let staying = self.streams.keys().filter(|name| !leaving.contains(name));
        let mut names: Vec<_> = staying.cloned().collect();
        names.extend(coming);
        names
    }

    /// Those that are streams of the text in force now.
    fn follow(&mut self, config: &RunConfig) {
        let accepted = config.streams.iter();
        let accepted = accepted.filter(|(_, stream)| stream.accepted_by.is_some());
        let known = std::mem::take(&mut self.streams);
        for (name, _) in accepted {
            let gone_since = known.get(name).copied().flatten();
            self.streams.insert(name.clone(), gone_since);
            self.ever.insert(name.clone());
        }
    }

    /// Takes in whether somebody sends a stream; true when nobody has for `linger`.
    fn look(&mut self, name: &StreamName, sends: bool, now: Duration, linger: Duration) -> bool {
        let Some(gone_since) = self.streams.get_mut(name) else {
            return false;
        };
        if sends {
            *gone_since = None;
            return false;
        }
        let since = *gone_since.get_or_insert(now);
        now.saturating_sub(since) >= linger
    }
}

impl Dispatcher {
    /// A sender has come whose name a rule takes.
    pub(super) fn knocked(&mut self, name: StreamName, rule: &StreamName, full: bool) {
        let config = &self.setting.edition.config;
        let Some(rule) = config.accept.iter().find(|known| known.prefix == *rule) else {
            return;
        };
        if full {
            let (prefix, max) = (&rule.prefix, rule.max);
            let text = format!(
                "the sender of {name} is refused: `accept` takes {max} streams `{prefix}...` at most"
            );
            self.notice(Severity::Warning, text);
            return;
        }
        if !rule.takes(&name) {
            tracing::warn!(%name, "the gateway takes who no rule takes");
            return;
        }
        if config.streams.contains_key(&name) {
            if config.streams[&name].accepted_by.is_none() {
                let text = format!("the sender of {name} is refused: that is another stream");
                self.notice(Severity::Warning, text);
            }
            // It may have been about to leave.
            self.accepting.leaving.remove(&name);
            return;
        }
        let ever = &self.accepting.ever;
        if !ever.contains(&name) && ever.len() >= NAMES_EVER_MAX {
            let text = format!(
                "the sender of {name} is refused: {NAMES_EVER_MAX} names were accepted in this run, and their books are kept"
            );
            self.notice(Severity::Warning, text);
            return;
        }
        self.notice(Severity::Info, format!("a sender publishes {name}"));
        self.accepting.coming.insert(name);
    }

    /// Looks which senders have gone for good. Called when the books have been read.
    pub(super) fn look_at_senders(&mut self) {
        let now = self.begin.elapsed();
        let config = &self.setting.edition.config;
        for (name, stream) in &config.streams {
            let Some(prefix) = &stream.accepted_by else {
                continue;
            };
            let rule = config.accept.iter().find(|rule| rule.prefix == *prefix);
            let linger = rule.map_or(Duration::ZERO, |rule| rule.linger);
            let intake = self.setting.books.read(name).intake;
            let sends = intake.is_some_and(|intake| intake.senders > 0);
            if self.accepting.look(name, sends, now, linger) {
                self.accepting.leaving.insert(name.clone());
            }
        }
    }

    /// What is to be carried out because of senders, as a text like any other.
    pub(super) fn accepted_text(&self) -> Option<Loaded> {
        self.accepting.is_due().then(|| Loaded {
            asked_by: AskedBy::Sender,
            wall_ms: clock::wall_ms(),
            result: Ok(Box::new(self.setting.edition.config.clone())),
        })
    }

    /// A text with the senders that are to be streams now.
    pub(super) fn with_accepted(&mut self, config: RunConfig) -> RunConfig {
        let names = self.accepting.decide();
        let config = config.with_accepted(&names);
        for name in names {
            if !config.streams.contains_key(&name) {
                let text = format!(
                    "{name} is accepted by no rule any more, or needs a path of another stream"
                );
                self.notice(Severity::Warning, text);
            }
        }
        config
    }

    /// Another text is in force, or the one that was stays so.
    pub(super) fn follow_senders(&mut self) {
        let Self {
            accepting, setting, ..
        } = self;
        accepting.follow(&setting.edition.config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_lingers_and_is_forgiven_a_break() {
        let name: StreamName = "cam-1".parse().expect("a name");
        let at = Duration::from_secs;
        let mut accepting = Accepting::default();
        assert!(!accepting.look(&name, false, at(0), at(30)), "it is none");
        accepting.streams.insert(name.clone(), None);
        assert!(!accepting.look(&name, false, at(1), at(30)));
        assert!(!accepting.look(&name, true, at(20), at(30)));
        assert!(!accepting.look(&name, false, at(21), at(30)));
        assert!(!accepting.look(&name, false, at(50), at(30)));
        assert!(accepting.look(&name, false, at(51), at(30)));
        accepting.leaving.insert(name.clone());
        accepting.coming.insert("cam-2".parse().expect("a name"));
        assert!(accepting.is_due());
        let names: Vec<_> = accepting.decide().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cam-2"]);
        assert!(!accepting.is_due());
    }
}
