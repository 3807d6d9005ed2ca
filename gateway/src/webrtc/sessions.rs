//! Who watches and who sends, and which of them a datagram is from.
//!
//! One look-up a datagram, however many watch: the requests of ICE name the session that they are
//! for, and all else comes from an address from which such a request has come. The engine itself
//! checks that the request was made by who was given the answer; only then its address is learnt,
//! and no address is taken from another.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use str0m::ice::StunMessage;
use tokio::sync::mpsc;

use super::engine::{Leaving, Party};
use super::socket::{Datagram, Socket};
use super::whep::Side;

/// Most viewers in all.
pub(super) const VIEWERS_MAX: usize = 256;

/// Most senders in all: as many as streams that a run has.
pub(super) const SENDERS_MAX: usize = 256;

/// Datagrams that wait for one viewer, who sends little. Those beyond are lost, as they would be on
/// the way.
const VIEWER_INBOX_MAX: usize = 64;

/// The same of one sender: two key frames of a megabyte.
const SENDER_INBOX_MAX: usize = 2048;

/// Addresses from which one of them sends: one of each of its interfaces, for a while.
const ADDRESSES_MAX: usize = 16;

/// Good-bye takes this long at most.
const CLOSE_MAX: Duration = Duration::from_millis(500);

/// First byte below this, and a request of ICE: see RFC 7983 on how datagrams are told apart.
const STUN_BELOW: u8 = 4;

/// The sessions there are. Cloning is cheap; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    sessions: HashMap<String, Session>,
    /// By the name that requests of ICE use for us.
    by_fragment: HashMap<String, Inbox>,
    by_address: HashMap<SocketAddr, Inbox>,
}

struct Session {
    side: Side,
    path: String,
    fragment: String,
    /// By which we would call it.
    offered: String,
    addresses: Vec<SocketAddr>,
}

type Inbox = mpsc::Sender<Datagram>;

impl Sessions {
    /// Whether there are as many of one side as there may be.
    pub(super) fn is_full(&self, side: Side) -> bool {
        let table = self.table();
        let sessions = table.sessions.values();
        let count = sessions.filter(|session| session.side == side).count();
        match side {
            Side::Viewer => count >= VIEWERS_MAX,
            Side::Sender => count >= SENDERS_MAX,
        }
    }

    /// Begins to serve somebody, on this event loop; returns the name of the session, which
    /// nobody can guess.
    pub(super) fn begin(
        &self,
        mut party: impl Party,
        side: Side,
        path: &str,
        socket: &Arc<Socket>,
    ) -> io::Result<String> {
        let mut secret = [0_u8; 16];
        getrandom::fill(&mut secret)?;
        let name = secret.iter().fold(String::new(), |mut name, byte| {
            // Writing into a string does not fail.
            let _ = write!(name, "{byte:02x}");
            name
        });
        let (inbox, datagrams) = mpsc::channel(match side {
            Side::Viewer => VIEWER_INBOX_MAX,
            Side::Sender => SENDER_INBOX_MAX,
        });
        let (fragment, offered) = party.engine().fragments();
        let mut table = self.table();
        table.by_fragment.insert(fragment.clone(), inbox);
        table.sessions.insert(
            name.clone(),
            Session {
                side,
                path: path.to_owned(),
                fragment,
                offered,
                addresses: Vec::new(),
            },
        );
        drop(table);
        let serving = Serving {
            party,
            sessions: self.clone(),
            name: name.clone(),
            path: path.to_owned(),
            socket: Arc::clone(socket),
        };
        tokio::spawn(serving.run(datagrams));
        Ok(name)
    }

    /// The `ice-ufrag` in the offer of a session at `path`; `None` when there is none.
    pub(super) fn offered_by(&self, side: Side, path: &str, name: &str) -> Option<String> {
        let table = self.table();
        let session = table
            .sessions
            .get(name)
            .filter(|session| session.side == side && session.path == path)?;
        Some(session.offered.clone())
    }

    /// Ends a session; says whether it was there. Its task finds its inbox closed.
    pub(super) fn end(&self, name: &str) -> bool {
        let mut table = self.table();
        let Some(session) = table.sessions.remove(name) else {
            return false;
        };
        table.by_fragment.remove(&session.fragment);
        for address in &session.addresses {
            table.by_address.remove(address);
        }
        true
    }

    /// Hands a datagram to whom it is from. What is from nobody is passed over in silence.
    pub(super) fn hand_over(&self, datagram: Datagram) {
        let table = self.table();
        let is_stun = datagram
            .contents
            .first()
            .is_some_and(|byte| *byte < STUN_BELOW);
        let inbox = if is_stun {
            let message = StunMessage::parse(&datagram.contents).ok();
            let name = message.as_ref().and_then(StunMessage::split_username);
            name.and_then(|(ours, _)| table.by_fragment.get(ours))
        } else {
            table.by_address.get(&datagram.source)
        };
        if let Some(inbox) = inbox {
            // Full: it is flooded, and does not get more for it.
            let _ = inbox.try_send(datagram);
        }
    }

    /// From now on what comes from `address` is this session's.
    fn learn(&self, name: &str, address: SocketAddr) {
        let mut table = self.table();
        let Table {
            sessions,
            by_fragment,
            by_address,
        } = &mut *table;
        if let Some(session) = sessions.get_mut(name)
            && session.addresses.len() < ADDRESSES_MAX
            && !by_address.contains_key(&address)
            && let Some(inbox) = by_fragment.get(&session.fragment)
        {
            by_address.insert(address, inbox.clone());
            session.addresses.push(address);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one session.
struct Serving<P: Party> {
    party: P,
    sessions: Sessions,
    name: String,
    path: String,
    socket: Arc<Socket>,
}

impl<P: Party> Serving<P> {
    async fn run(mut self, mut datagrams: mpsc::Receiver<Datagram>) {
        let mut outbox = self.socket.outbox();
        let mut known: Option<SocketAddr> = None;
        let mut closed_at: Option<Instant> = None;
        loop {
            // Nothing more is made before what was made has gone, so the outbox is bounded.
            let mut deadline = Instant::now() + CLOSE_MAX;
            let mut room = self.socket.send(&mut outbox);
            if room {
                deadline = self.party.turn(&mut outbox);
                room = self.socket.send(&mut outbox);
            }
            let late = closed_at.is_some_and(|at| at.elapsed() > CLOSE_MAX);
            if late || self.party.engine().is_gone() {
                break;
            }
            tokio::select! {
                () = self.socket.writable(), if !room => {}
                datagram = datagrams.recv(), if closed_at.is_none() => match datagram {
                    Some(datagram) => {
                        let source = datagram.source;
                        if self.party.engine().receive(&datagram) {
                            self.party.drain(&mut outbox);
                            if known != Some(source) {
                                known = Some(source);
                                self.sessions.learn(&self.name, source);
                            }
                        }
                    }
                    None => {
                        closed_at = Some(Instant::now());
                        self.party.engine().close(Leaving::Closed);
                    }
                },
                () = self.party.wait(), if room => {}
                () = tokio::time::sleep_until(deadline.into()), if room => {}
            }
        }
    }
}

impl<P: Party> Drop for Serving<P> {
    fn drop(&mut self) {
        self.sessions.end(&self.name);
        self.party.report(&self.path);
    }
}
