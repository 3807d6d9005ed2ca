//! The newest access units of one stream, from which each viewer reads at its own pace.
//!
//! The main thread writes, once for all; every reader has a place of its own in
//! the same ring. So a reader that is slow, or frozen, costs nobody anything:
//! what it has not read when it is needed no more is gone, and it goes on at the
//! newest key frame. What readers pass over so is counted.
//!
//! The ring holds access units that follow each other without a gap. Where one is
//! missing all that came before is dropped, so that nobody is given a picture
//! that refers to one it never had.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::rate::Rate;

/// Most access units in the ring: 8 s at 60 frames a second.
const UNITS_MAX: usize = 512;

/// Most bytes in the ring, its newest access unit not counted.
const BYTES_MAX: usize = 16 << 20;

/// One encoded picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccessUnit {
    /// Counts the access units of its encode. One is left out where some are missing.
    pub(crate) sequence_number: u64,
    /// When its picture is to be shown, on the time line of the encoder.
    pub(crate) pts_ns: u64,
    /// When its picture was captured, by the monotonic clock.
    pub(crate) captured_ns: u64,
    /// It can be decoded without any other.
    pub(crate) keyframe: bool,
    /// H.264 byte stream, parameter sets before a key frame.
    pub(crate) data: Bytes,
    /// The same as MPEG-TS, once somebody has needed it.
    pub(crate) transport_stream: OnceLock<Bytes>,
}

/// The newest access units of one stream. Cloning is cheap; all clones are one.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Shared>);

struct Shared {
    ring: Mutex<Ring>,
    /// Says that something has come; readers that sleep look at the ring then.
    changed: watch::Sender<()>,
    viewers: AtomicU64,
    viewers_total: AtomicU64,
    skipped: AtomicU64,
    /// Those who ask and are no viewers yet.
    asking: AtomicU64,
    /// Called when viewers come and go.
    on_viewers: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Without a gap.
    units: VecDeque<Arc<AccessUnit>>,
    bytes: usize,
    /// Access units that were here and are not any more: the place of the oldest that is.
    first: u64,
    /// Place of the newest key frame, while it is here.
    keyframe: Option<u64>,
    /// How often access units were missing; who reads across that begins with a key frame.
    gaps: u64,
    /// How often the stream has ended; who reads across that has to leave.
    ends: u64,
    rate: Rate,
}

impl Ring {
    /// The place after the newest.
    fn next(&self) -> u64 {
        self.first + self.units.len() as u64
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.units.pop_front() else {
            return;
        };
        self.bytes -= oldest.data.len();
        if self.keyframe == Some(self.first) {
            // Whoever is in step goes on; whoever comes waits for the next.
            self.keyframe = None;
        }
        self.first += 1;
    }

    fn clear(&mut self) {
        self.gaps += 1;
        self.first = self.next();
        self.units.clear();
        self.bytes = 0;
        self.keyframe = None;
        self.rate.unlink();
    }

    /// Place of the key frame `groups` before the newest, or of the oldest that is here.
    fn back(&self, groups: usize) -> Option<u64> {
        let units = self.units.iter().enumerate().rev();
        let keyframes = units.filter(|(_, unit)| unit.keyframe);
        let (index, _) = keyframes.take(groups + 1).last()?;
        Some(self.first + index as u64)
    }

    fn get(&self, place: u64) -> Option<&Arc<AccessUnit>> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.units.get(index)
    }
}

impl Channel {
    /// An empty one; `on_viewers` is called, on any thread, when viewers come and go.
    pub(crate) fn new(on_viewers: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            ring: Mutex::default(),
            changed: watch::Sender::new(()),
            viewers: AtomicU64::new(0),
            viewers_total: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            asking: AtomicU64::new(0),
            on_viewers: Box::new(on_viewers),
        }))
    }

    /// Adds the next access unit.
    pub(crate) fn push(&self, unit: Arc<AccessUnit>) {
        let mut ring = self.ring();
        while ring.units.len() >= UNITS_MAX || ring.bytes > BYTES_MAX {
            ring.drop_oldest();
        }
        if unit.keyframe {
            ring.keyframe = Some(ring.next());
        }
        ring.bytes += unit.data.len();
        ring.rate.count(&unit);
        ring.units.push_back(unit);
        drop(ring);
        self.0.changed.send_replace(());
    }

    /// The next access unit does not continue what was before.
    pub(crate) fn unlink(&self) {
        self.ring().clear();
    }

    /// No access unit comes any more, or not soon: all readers are told that the stream has
    /// ended. Who comes later is served again when something comes.
    pub(crate) fn end(&self) {
        let mut ring = self.ring();
        ring.clear();
        ring.ends += 1;
        drop(ring);
        self.0.changed.send_replace(());
    }

    /// The newest key frame and all since; empty when there is none to begin with.
    pub(crate) fn group(&self) -> Vec<Arc<AccessUnit>> {
        let ring = self.ring();
        let Some(keyframe) = ring.keyframe else {
            return Vec::new();
        };
        let places = keyframe..ring.next();
        places
            .filter_map(|place| ring.get(place))
            .cloned()
            .collect()
    }

    /// A viewer comes. It is counted until the reader is dropped.
    pub(crate) fn watch(&self) -> Reader {
        let mut reader = self.follow();
        reader.count();
        reader
    }

    /// Somebody comes who is not counted as a viewer before [`Reader::count`].
    pub(crate) fn follow(&self) -> Reader {
        self.read_back(0)
    }

    /// A viewer comes who does not read here itself. It is counted until this is dropped.
    pub(crate) fn join(&self) -> Viewer {
        self.0.viewers.fetch_add(1, Ordering::Relaxed);
        self.0.viewers_total.fetch_add(1, Ordering::Relaxed);
        (self.0.on_viewers)();
        Viewer(self.clone())
    }

    /// Reads for viewers who are counted by [`Channel::join`]; begins with so many whole
    /// groups before the newest key frame, or as many as are here.
    pub(crate) fn read_back(&self, groups: usize) -> Reader {
        let changed = self.0.changed.subscribe();
        let ring = self.ring();
        Reader {
            gaps: ring.gaps,
            ends: ring.ends,
            place: (groups > 0).then(|| ring.back(groups)).flatten(),
            channel: self.clone(),
            changed,
            viewer: None,
        }
    }

    /// Somebody asks for the stream who is no viewer yet: it is wanted until this is dropped.
    pub(crate) fn ask(&self) -> Asking {
        self.0.asking.fetch_add(1, Ordering::Relaxed);
        (self.0.on_viewers)();
        Asking(self.clone())
    }

    /// Somebody watches or asks.
    pub(crate) fn is_wanted(&self) -> bool {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        load(&self.0.viewers) + load(&self.0.asking) > 0
    }

    /// Waits for something to begin with: a source that is connected to on demand has nothing
    /// before somebody asks. False when the time is over.
    pub(crate) async fn wait_for_picture(&self, within: Duration) -> bool {
        let _asking = self.ask();
        let mut changed = self.0.changed.subscribe();
        let found = async {
            while self.ring().keyframe.is_none() {
                // The sender is here.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(within, found).await.is_ok()
    }

    /// Its bit rate, over its newest group of pictures; 0 while that is not known.
    pub(crate) fn bits_per_second(&self) -> u64 {
        self.ring().rate.bits_per_second()
    }

    /// When the picture of the newest key frame was captured, if that is here.
    pub(crate) fn keyframe_captured_ns(&self) -> Option<u64> {
        let ring = self.ring();
        let keyframe = ring.get(ring.keyframe?)?;
        Some(keyframe.captured_ns)
    }

    /// Viewers now, and viewers ever.
    pub(crate) fn viewers(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.0.viewers), load(&self.0.viewers_total))
    }

    /// Access units that viewers have passed over, each viewer counted for itself.
    pub(crate) fn skipped(&self) -> u64 {
        self.0.skipped.load(Ordering::Relaxed)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a viewer reads next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// An access unit: the one after the last, or a key frame after which all is new.
    Unit(Arc<AccessUnit>),
    /// Nothing yet.
    Nothing,
    /// The stream has ended; there is nothing more for this viewer.
    Ended,
}

/// Counts a viewer for as long as it is kept.
pub(crate) struct Viewer(Channel);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.0.viewers.fetch_sub(1, Ordering::Relaxed);
        (self.0.0.on_viewers)();
    }
}

/// Makes a stream wanted for as long as it is kept.
pub(crate) struct Asking(Channel);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.asking.fetch_sub(1, Ordering::Relaxed);
        (self.0.0.on_viewers)();
    }
}

/// How far a viewer is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// From the access unit that it reads next to the newest, by PTS.
    pub(crate) by: Duration,
    /// There is a key frame after the access unit that it reads next.
    pub(crate) keyframe_ahead: bool,
}

/// A place in the ring. It begins with the newest key frame and all since.
pub(crate) struct Reader {
    channel: Channel,
    gaps: u64,
    ends: u64,
    /// Where it reads next; `None`: at the newest key frame.
    place: Option<u64>,
    changed: watch::Receiver<()>,
    /// None when it reads for others, or is not counted yet.
    viewer: Option<Viewer>,
}

impl Reader {
    /// From now on it is counted as a viewer.
    pub(crate) fn count(&mut self) {
        if self.viewer.is_none() {
            self.viewer = Some(self.channel.join());
        }
    }

    /// It is counted in place of `other`, as the same viewer, if that is counted.
    pub(crate) fn count_for(&mut self, other: &mut Self) {
        if let Some(viewer) = other.viewer.take() {
            self.channel.0.viewers.fetch_add(1, Ordering::Relaxed);
            self.viewer = Some(Viewer(self.channel.clone()));
            drop(viewer);
        }
    }

    /// What comes next, without waiting.
    pub(crate) fn try_next(&mut self) -> Next {
        let ring = self.channel.ring();
        if ring.ends != self.ends {
            return Next::Ended;
        }
        let in_step = |place: &u64| *place >= ring.first && self.gaps == ring.gaps;
        let here = self.place.filter(in_step);
        let Some(place) = here.or(ring.keyframe) else {
            return Next::Nothing;
        };
        let Some(unit) = ring.get(place).cloned() else {
            return Next::Nothing;
        };
        self.gaps = ring.gaps;
        drop(ring);
        self.go_to(place);
        self.place = Some(place + 1);
        Next::Unit(unit)
    }

    /// Waits until [`Reader::try_next`] may have something new. Nothing is missed when this is
    /// given up half-way.
    pub(crate) async fn wait(&mut self) {
        // The channel outlives its readers, so the sender is there.
        let _ = self.changed.changed().await;
    }

    /// When the picture was captured that it reads next, if it is here.
    pub(crate) fn captured_ns(&self) -> Option<u64> {
        let ring = self.channel.ring();
        let next = ring.get(self.place.or(ring.keyframe)?)?;
        Some(next.captured_ns)
    }

    /// Access units that are here and unread.
    pub(crate) fn behind(&self) -> u64 {
        let ring = self.channel.ring();
        let place = self.place.or(ring.keyframe);
        place.map_or(0, |place| ring.next().saturating_sub(place))
    }

    /// Passes over everything up to the newest key frame, if that is not behind; whether it is not.
    pub(crate) fn skip_to_live(&mut self) -> bool {
        let keyframe = self.channel.ring().keyframe;
        // Who has not begun begins there anyway.
        let Some(place) = self.place else {
            return keyframe.is_some();
        };
        let Some(keyframe) = keyframe.filter(|keyframe| place <= *keyframe) else {
            return false;
        };
        self.go_to(keyframe);
        true
    }

    /// Reads the newest key frame and all since next, again if it has read them already. Nothing
    /// happens when that key frame is not here any more.
    pub(crate) fn begin_again(&mut self) {
        let keyframe = self.channel.ring().keyframe;
        if let Some(keyframe) = keyframe {
            self.skip_to_live();
            self.place = self.place.map(|_| keyframe);
        }
    }

    /// How it stands to the newest access unit.
    pub(crate) fn lag(&self) -> Lag {
        let ring = self.channel.ring();
        let in_step = |place: &u64| *place >= ring.first && self.gaps == ring.gaps;
        let next = self.place.filter(in_step).or(ring.keyframe);
        let ends = next.and_then(|next| ring.get(next)).zip(ring.units.back());
        Lag {
            by: ends.map_or(Duration::ZERO, |(next, newest)| {
                Duration::from_nanos(newest.pts_ns.saturating_sub(next.pts_ns))
            }),
            keyframe_ahead: ring.keyframe > next,
        }
    }

    fn go_to(&mut self, place: u64) {
        if let Some(before) = self.place.replace(place) {
            let skipped = place.saturating_sub(before);
            self.channel.0.skipped.fetch_add(skipped, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
