//! Who watches a stream by HLS: who has asked for its playlist a moment ago.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::channel::{Channel, Viewer};

/// Viewers of a stream that are told apart. More are served and not counted.
const VIEWERS_MAX: usize = 4096;

/// How a viewer is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// By the number that the multivariant playlist has given it.
    Numbered(u64),
    /// Who has come without: by its address and a hash of its user agent.
    Client(IpAddr, u64),
}

impl Who {
    pub(crate) fn client(address: IpAddr, user_agent: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        user_agent.hash(&mut hasher);
        Self::Client(address, hasher.finish())
    }
}

/// The viewers of one stream.
#[derive(Default)]
pub(crate) struct Viewers(HashMap<Who, (Instant, Viewer)>);

impl Viewers {
    /// Somebody has asked for the playlist.
    pub(crate) fn see(&mut self, who: Who, now: Instant, channel: &Channel) {
        if let Some((seen, _)) = self.0.get_mut(&who) {
            *seen = now;
        } else if self.0.len() < VIEWERS_MAX {
            self.0.insert(who, (now, channel.join()));
        }
    }

    /// Who has not asked for so long does not watch any more.
    pub(crate) fn forget(&mut self, now: Instant, after: Duration) {
        self.0
            .retain(|_, (seen, _)| now.saturating_duration_since(*seen) <= after);
    }

    /// The stream has ended for all of them.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_again_stays_one_viewer_and_who_does_not_is_forgotten() {
        let channel = Channel::new(|| ());
        let mut viewers = Viewers::default();
        let begin = Instant::now();
        let home = IpAddr::from([127, 0, 0, 1]);
        let who = [
            Who::Numbered(1),
            Who::Numbered(2),
            Who::client(home, b"VLC"),
            Who::client(home, b"Lavf"),
        ];
        for who in who.into_iter().chain(who) {
            viewers.see(who, begin, &channel);
        }
        assert_eq!(channel.viewers(), (4, 4));
        let second = Duration::from_secs(1);
        viewers.see(who[2], begin + 5 * second, &channel);
        viewers.forget(begin + 6 * second, 6 * second);
        assert_eq!(channel.viewers(), (4, 4));
        viewers.forget(begin + 7 * second, 6 * second);
        assert_eq!(channel.viewers(), (1, 4));
        drop(viewers);
        assert_eq!(channel.viewers(), (0, 4));
    }

    #[test]
    fn their_number_is_limited() {
        let channel = Channel::new(|| ());
        let mut viewers = Viewers::default();
        for number in 0..2 * VIEWERS_MAX as u64 {
            viewers.see(Who::Numbered(number), Instant::now(), &channel);
        }
        assert_eq!(channel.viewers().0, VIEWERS_MAX as u64);
    }
}
