//! One encode of a stream while the stream is asked for: a task reads its channel, makes segments
//! of it, and stops when nobody has asked for a while.
//!
//! The encodes of a stream begin together, with the same picture and the same numbers, and stop
//! together. Their key frames are of the same pictures, so parts and segments are, too: a player
//! goes from one to another wherever it likes (RFC 8216, 6.2.4).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use contract::clock::{monotonic_ns, wall_ms};
use tokio::sync::watch;

use crate::channel::{AccessUnit, Asking, Channel, Next, Reader};
use crate::directory::Directory;
use crate::hls::playlist;
use crate::hls::segmenter::{Pace, Segmenter, SegmenterError, Step};
use crate::hls::viewers::{Viewers, Who};
use crate::hls::window::Window;
use crate::ladder::{Ladder, Rung};

/// Groups that are read from the ring at once: what players want behind them before they begin.
const GROUPS_BACK: usize = 6;

/// The pace is measured on so many access units.
const MEASURED: usize = 8;

/// Access units handled before others on this thread have a turn.
const UNITS_PER_TURN: usize = 32;

/// Nobody has asked for so long: nobody watches, and no segments are made.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// An ended stream is there for so long for those who watch it.
const ENDED_KEPT: Duration = Duration::from_secs(20);

/// A viewer asks once a target duration; who has missed so many is gone.
const VIEWER_TARGET_DURATIONS: u32 = 3;

/// Segments are counted from the clock in these units, so that numbers go on growing when the
/// stream, or this process, is begun anew. A segment lasts four or more, which also makes up
/// for those that are there from the beginning.
const SEGMENT_COUNT_NS: u64 = 250_000_000;

/// Parts are counted so.
const PART_COUNT_NS: u64 = 1_000_000;

/// Idleness and viewers are looked at so often.
const TIDY_INTERVAL: Duration = Duration::from_millis(500);

/// The encodes of streams that are asked for, by path. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub(crate) struct Lives {
    directory: Directory,
    lives: Arc<Mutex<BTreeMap<String, Arc<Live>>>>,
}

impl Lives {
    pub(crate) fn new(directory: Directory) -> Self {
        Self {
            directory,
            lives: Arc::default(),
        }
    }

    /// Whether a stream is served at a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.directory.find(path).is_some()
    }

    /// The encodes at a path for somebody who comes, the largest first: they are begun if they are
    /// not there, and begun anew if they have ended. Empty when nothing is served there.
    pub(crate) fn come(&self, path: &str) -> Vec<Arc<Live>> {
        let Some((root, ladder)) = self.directory.whole(path) else {
            return Vec::new();
        };
        let all = self.begin(&root, &ladder);
        let here = all.iter().filter(|live| path == root || live.path == path);
        here.cloned().collect()
    }

    /// All encodes of the stream at `root`, those that are not there begun.
    fn begin(&self, root: &str, ladder: &Ladder) -> Vec<Arc<Live>> {
        let mut lives = self.lives();
        let place = |rung: &Rung| match rung.name() {
            None => root.to_owned(),
            Some(name) => format!("{root}/{name}"),
        };
        let there = |rung: &Rung| {
            let live = lives.get(&place(rung));
            live.filter(|live| !live.has_ended()).cloned()
        };
        let known: Vec<Option<Arc<Live>>> = ladder.rungs().map(there).collect();
        let group = known.iter().flatten().next();
        let group = group.map_or_else(Arc::default, |live| Arc::clone(&live.group));
        group.touch();
        let mut all = Vec::with_capacity(known.len());
        let mut begun = Vec::new();
        for (rung, known) in ladder.rungs().zip(known) {
            let live = known.unwrap_or_else(|| {
                let live = Live::new(rung, place(rung), Arc::clone(&group));
                lives.insert(live.path.clone(), Arc::clone(&live));
                let reader = live.channel.read_back(GROUPS_BACK);
                begun.push((Arc::clone(&live), reader));
                live
            });
            all.push(live);
        }
        drop(lives);
        // What one of them does not have any more is left out by all.
        let first = begun.iter().filter_map(|(_, reader)| reader.captured_ns());
        let from_ns = first.max().unwrap_or(0);
        for (live, reader) in begun {
            tokio::spawn(live.run(reader, from_ns, self.clone()));
        }
        all
    }

    /// The stream at a path for somebody who watches it, also when it has ended.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Live>> {
        let lives = self.lives();
        let live = lives.get(path)?;
        live.group.touch();
        Some(Arc::clone(live))
    }

    /// Nobody finds it and the other encodes of its stream any more if nobody has asked for one of
    /// them in a while; says so, also when another was first.
    fn remove_idle(&self, live: &Arc<Live>) -> bool {
        let mut lives = self.lives();
        // Who finds one touches the group under the same lock.
        if live.group.idle() > IDLE_MAX {
            lives.retain(|_, other| !Arc::ptr_eq(&other.group, &live.group));
        }
        let here = lives.get(&live.path);
        !here.is_some_and(|here| Arc::ptr_eq(here, live))
    }

    /// Nobody finds it any more. Another may be there in its place already.
    fn remove(&self, live: &Arc<Live>) {
        let mut lives = self.lives();
        if lives
            .get(&live.path)
            .is_some_and(|other| Arc::ptr_eq(other, live))
        {
            lives.remove(&live.path);
        }
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Live>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the encodes of a stream have in common.
struct Group {
    /// When somebody has asked for one of them last.
    asked: Mutex<Instant>,
    /// Segments and parts are counted from here, by the monotonic clock.
    begun_ns: u64,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            asked: Mutex::new(Instant::now()),
            begun_ns: monotonic_ns(),
        }
    }
}

impl Group {
    fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.elapsed()
    }
}

/// One encode while its stream is asked for.
pub(crate) struct Live {
    /// What it is called below the path of its stream; `None`: that of full size.
    pub(crate) name: Option<String>,
    path: String,
    group: Arc<Group>,
    channel: Channel,
    /// Between two requests of a player the stream is wanted, too.
    _asking: Asking,
    state: Mutex<State>,
    /// Says that the window has changed.
    changed: watch::Sender<()>,
}

struct State {
    /// There when the pace is known.
    window: Option<Window>,
    /// The text of the playlist, made once for each change.
    playlist: Option<Bytes>,
    viewers: Viewers,
    ended: bool,
}

impl Live {
    fn new(rung: &Rung, path: String, group: Arc<Group>) -> Arc<Self> {
        Arc::new(Self {
            name: rung.name(),
            path,
            group,
            _asking: rung.channel.ask(),
            channel: rung.channel.clone(),
            state: Mutex::new(State {
                window: None,
                playlist: None,
                viewers: Viewers::default(),
                ended: false,
            }),
            changed: watch::Sender::new(()),
        })
    }

    /// What `look` finds in the window, as soon as it finds something. `None` when that is not
    /// within this time, or the stream ends before.
    pub(crate) async fn when<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&Window) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                let ended = {
                    let state = self.state();
                    if let Some(found) = state.window.as_ref().and_then(&mut look) {
                        return Some(found);
                    }
                    state.ended
                };
                // The sender is here.
                if ended || changed.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(within, found).await.ok().flatten()
    }

    /// What `look` finds in the window now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Window) -> Option<T>) -> Option<T> {
        self.state().window.as_ref().and_then(look)
    }

    /// The playlist as it is now.
    pub(crate) fn playlist(&self) -> Option<Bytes> {
        let state = &mut *self.state();
        let window = state.window.as_ref()?;
        let text = state
            .playlist
            .get_or_insert_with(|| playlist::media(window).into());
        Some(text.clone())
    }

    /// A viewer has asked for the playlist.
    pub(crate) fn see(&self, who: Who) {
        let state = &mut *self.state();
        if !state.ended {
            state.viewers.see(who, Instant::now(), &self.channel);
        }
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes segments of what was captured from `from_ns` on, until the stream ends or nobody asks.
    async fn run(self: Arc<Self>, mut reader: Reader, from_ns: u64, lives: Lives) {
        let mut maker = Maker::new(Arc::clone(&self));
        let mut tidied = Instant::now();
        loop {
            let mut next = Next::Nothing;
            for _ in 0..UNITS_PER_TURN {
                next = reader.try_next();
                match &next {
                    Next::Unit(unit) if unit.captured_ns < from_ns => {}
                    Next::Unit(unit) => maker.take(Arc::clone(unit)),
                    Next::Nothing | Next::Ended => break,
                }
            }
            match next {
                Next::Unit(_) => tokio::task::yield_now().await,
                // An error is that nothing has come for so long.
                Next::Nothing => drop(tokio::time::timeout(TIDY_INTERVAL, reader.wait()).await),
                Next::Ended => break,
            }
            if tidied.elapsed() >= TIDY_INTERVAL {
                tidied = Instant::now();
                self.forget_viewers(tidied);
                if lives.remove_idle(&self) {
                    return;
                }
            }
        }
        maker.finish();
        tokio::time::sleep(ENDED_KEPT).await;
        lives.remove(&self);
    }

    fn forget_viewers(&self, now: Instant) {
        let state = &mut *self.state();
        if let Some(window) = &state.window {
            let target = Duration::from_secs(window.pace.target_duration().into());
            state.viewers.forget(now, VIEWER_TARGET_DURATIONS * target);
        }
    }
}

/// Makes segments of access units and puts them into the window.
struct Maker {
    live: Arc<Live>,
    /// There when the pace is known.
    segmenter: Option<Segmenter>,
    /// What has come before that.
    measured: Vec<Arc<AccessUnit>>,
    /// What was last warned of.
    error: Option<SegmenterError>,
}

impl Maker {
    fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            segmenter: None,
            measured: Vec::new(),
            error: None,
        }
    }

    fn take(&mut self, unit: Arc<AccessUnit>) {
        let mut steps = Vec::new();
        if self.segmenter.is_some() {
            self.push(unit, &mut steps);
        } else {
            self.measured.push(unit);
            if self.measured.len() >= MEASURED {
                self.begin(&mut steps);
            }
        }
        self.apply(steps, false);
    }

    fn finish(&mut self) {
        let mut steps = Vec::new();
        if self.segmenter.is_none() {
            self.begin(&mut steps);
        }
        if let Some(segmenter) = &mut self.segmenter
            && let Err(error) = segmenter.unlink(wall_offset_ns(), &mut steps)
        {
            tracing::warn!(%error, "the last pictures of a stream cannot be served by HLS");
        }
        self.apply(steps, true);
    }

    /// The pace is what it was until now.
    fn begin(&mut self, steps: &mut Vec<Step>) {
        let pace = Pace::measure(&self.measured);
        let begun_ns = self.live.group.begun_ns;
        let first = begun_ns / SEGMENT_COUNT_NS;
        let first_part = begun_ns / PART_COUNT_NS;
        self.live.state().window = Some(Window::new(pace, first, first_part));
        self.segmenter = Some(Segmenter::new(pace, first));
        for unit in std::mem::take(&mut self.measured) {
            self.push(unit, steps);
        }
    }

    fn push(&mut self, unit: Arc<AccessUnit>, steps: &mut Vec<Step>) {
        let Some(segmenter) = &mut self.segmenter else {
            return;
        };
        let number = unit.sequence_number;
        if let Err(error) = segmenter.push(unit, wall_offset_ns(), steps)
            && self.error.as_ref() != Some(&error)
        {
            tracing::warn!(number, %error, "a picture cannot be served by HLS");
            self.error = Some(error);
        }
    }

    fn apply(&self, steps: Vec<Step>, ended: bool) {
        if steps.is_empty() && !ended {
            return;
        }
        let state = &mut *self.live.state();
        if let Some(window) = &mut state.window {
            steps.into_iter().for_each(|step| window.apply(step));
            window.ended = ended;
        }
        state.ended = ended;
        if ended {
            state.viewers.clear();
        }
        state.playlist = None;
        self.live.changed.send_replace(());
    }
}

/// How much the wall clock is ahead of the monotonic one, now: it may be set.
fn wall_offset_ns() -> i64 {
    let wall_ns = wall_ms().saturating_mul(1_000_000);
    wall_ns.saturating_sub(i64::try_from(monotonic_ns()).unwrap_or(i64::MAX))
}
