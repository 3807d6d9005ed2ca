//! What conditions remember between frames. All of it is allocated when it is made, and
//! all of it is forgotten when event time goes back.

use std::collections::VecDeque;

/// Most tracks that a window of `count(...) within T` and a rate remember. With more, those
/// that were seen last are kept.
pub(crate) const WINDOW_TRACKS_MAX: u32 = 256;

/// Most beginnings that a rate counts; with more, the newest.
pub(crate) const ONSETS_MAX: usize = 4096;

/// What one condition remembers of one key: a track, or the stream.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Event time of the last evaluation.
    pub(crate) at_ns: Option<u64>,
    pub(crate) slots: Box<[SlotState]>,
    /// What the slots said in the last evaluation: numbers, or 1 and 0.
    pub(crate) results: Box<[f64]>,
    pub(crate) sequence: SequenceState,
}

impl Memory {
    pub(crate) fn new(slots: Box<[SlotState]>, steps: usize) -> Self {
        Self {
            at_ns: None,
            results: vec![0.0; slots.len()].into(),
            slots,
            sequence: SequenceState::new(steps),
        }
    }

    /// Bytes that it takes, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let slots: usize = self.slots.iter().map(SlotState::bytes).sum();
        size_of::<Self>()
            + slots
            + size_of_val(&*self.results)
            + size_of_val(&*self.sequence.reached)
    }

    /// Takes notice of an evaluation; what was remembered of a later time is forgotten.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        if self.at_ns.is_some_and(|at_ns| now_ns < at_ns) {
            self.slots.iter_mut().for_each(SlotState::clear);
            self.results.fill(0.0);
            self.sequence.clear();
        }
        self.at_ns = Some(now_ns);
    }
}

/// What all evaluations of one condition in one stream share: what does not depend on the
/// track that it is evaluated for.
#[derive(Debug, Clone)]
pub struct Shared {
    at_ns: Option<u64>,
    pub(crate) slots: Box<[SlotState]>,
    /// How many tracks of this frame an aggregate holds for; computed when first asked for.
    counts: Box<[u32]>,
}

impl Shared {
    const NOT_COUNTED: u32 = u32::MAX;

    pub(crate) fn new(slots: Box<[SlotState]>, counts: usize) -> Self {
        Self {
            at_ns: None,
            slots,
            counts: vec![Self::NOT_COUNTED; counts].into(),
        }
    }

    /// Bytes that it takes, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let slots: usize = self.slots.iter().map(SlotState::bytes).sum();
        size_of::<Self>() + slots + size_of_val(&*self.counts)
    }

    pub(crate) fn advance(&mut self, now_ns: u64) {
        if self.at_ns.is_some_and(|at_ns| now_ns < at_ns) {
            self.slots.iter_mut().for_each(SlotState::clear);
        }
        self.at_ns = Some(now_ns);
        self.counts.fill(Self::NOT_COUNTED);
    }

    /// The count with this index in this frame.
    pub(crate) fn count(&mut self, index: u16, count: impl FnOnce() -> u32) -> u32 {
        let Some(known) = self.counts.get_mut(usize::from(index)) else {
            return 0;
        };
        if *known == Self::NOT_COUNTED {
            *known = count();
        }
        *known
    }
}

/// What one remembering thing remembers.
#[derive(Debug, Clone)]
pub(crate) enum SlotState {
    /// When it was true last.
    Every {
        last_ns: Option<u64>,
    },
    /// The last value, as bits or a hash.
    Changed {
        last: Option<u64>,
    },
    Window(Window),
    Rate(Rate),
}

impl SlotState {
    fn clear(&mut self) {
        match self {
            Self::Every { last_ns } => *last_ns = None,
            Self::Changed { last } => *last = None,
            Self::Window(window) => window.0.clear(),
            Self::Rate(rate) => rate.clear(),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Every { .. } | Self::Changed { .. } => 0,
                Self::Window(window) => window.0.bytes(),
                Self::Rate(rate) => {
                    rate.holding.bytes() + rate.onsets.capacity() * size_of::<(u64, u64)>()
                }
            }
    }

    /// So much time has passed since it was true last.
    pub(crate) fn every(&mut self, now_ns: u64, interval_ns: u64) -> bool {
        let Self::Every { last_ns } = self else {
            return false;
        };
        let passed = last_ns.is_none_or(|last_ns| now_ns.saturating_sub(last_ns) >= interval_ns);
        if passed {
            *last_ns = Some(now_ns);
        }
        passed
    }

    /// The value is another than the last.
    pub(crate) fn changed(&mut self, value: u64) -> bool {
        let Self::Changed { last } = self else {
            return false;
        };
        last.replace(value).is_some_and(|last| last != value)
    }

    /// What a window or a rate says, with the track `own` left out.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    pub(crate) fn number(&self, own: Option<u64>) -> f64 {
        match self {
            Self::Window(window) => window.count(own) as f64,
            Self::Rate(rate) => rate.per_minute(own),
            Self::Every { .. } | Self::Changed { .. } => 0.0,
        }
    }
}

/// Tracks, each with a time; at most [`WINDOW_TRACKS_MAX`].
#[derive(Debug, Clone)]
struct Tracks {
    entries: Vec<(u64, u64)>,
}

impl Tracks {
    fn new() -> Self {
        Self {
            entries: Vec::with_capacity(WINDOW_TRACKS_MAX as usize),
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, u64)>()
    }

    /// Forgets those whose time is over `window_ns` ago.
    fn expire(&mut self, now_ns: u64, window_ns: u64) {
        self.entries
            .retain(|(_, at_ns)| now_ns.saturating_sub(*at_ns) <= window_ns);
    }

    /// Sets a track's time; whether the track was not there before. Where there is no room,
    /// the one with the oldest time goes.
    fn insert(&mut self, id: u64, now_ns: u64) -> bool {
        if let Some((_, at_ns)) = self.entries.iter_mut().find(|(known, _)| *known == id) {
            *at_ns = now_ns;
            return false;
        }
        if self.entries.len() >= WINDOW_TRACKS_MAX as usize {
            let oldest = (0..self.entries.len()).min_by_key(|index| self.entries[*index].1);
            self.entries.swap_remove(oldest.unwrap_or_default());
        }
        self.entries.push((id, now_ns));
        true
    }

    fn remove(&mut self, id: u64) {
        self.entries.retain(|(known, _)| *known != id);
    }
}

/// The tracks that a condition held for in some frame of a window.
#[derive(Debug, Clone)]
pub(crate) struct Window(Tracks);

impl Window {
    pub(crate) fn new() -> Self {
        Self(Tracks::new())
    }

    /// Takes a frame: the tracks that the condition holds for.
    pub(crate) fn observe(
        &mut self,
        now_ns: u64,
        window_ns: u64,
        holding: impl Iterator<Item = u64>,
    ) {
        self.0.expire(now_ns, window_ns);
        for id in holding {
            self.0.insert(id, now_ns);
        }
    }

    fn count(&self, own: Option<u64>) -> usize {
        let entries = &self.0.entries;
        match own {
            Some(own) => entries.iter().filter(|(id, _)| *id != own).count(),
            None => entries.len(),
        }
    }
}

/// When a condition began to hold for tracks.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    window_ns: u64,
    /// Tracks that it held for when they were seen last, with that time.
    holding: Tracks,
    /// Time and track.
    onsets: VecDeque<(u64, u64)>,
}

impl Rate {
    pub(crate) fn new(window_ns: u64) -> Self {
        Self {
            window_ns,
            holding: Tracks::new(),
            onsets: VecDeque::with_capacity(ONSETS_MAX),
        }
    }

    fn clear(&mut self) {
        self.holding.clear();
        self.onsets.clear();
    }

    /// Takes a frame: each track with whether the condition holds for it.
    pub(crate) fn observe(&mut self, now_ns: u64, tracks: impl Iterator<Item = (u64, bool)>) {
        let is_old = |at_ns: u64| now_ns.saturating_sub(at_ns) > self.window_ns;
        while self.onsets.front().is_some_and(|(at_ns, _)| is_old(*at_ns)) {
            self.onsets.pop_front();
        }
        self.holding.expire(now_ns, self.window_ns);
        for (id, holds) in tracks {
            if !holds {
                self.holding.remove(id);
            } else if self.holding.insert(id, now_ns) {
                if self.onsets.len() >= ONSETS_MAX {
                    self.onsets.pop_front();
                }
                self.onsets.push_back((now_ns, id));
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "thousands, and at most an hour")]
    fn per_minute(&self, own: Option<u64>) -> f64 {
        let onsets = match own {
            Some(own) => self.onsets.iter().filter(|(_, id)| *id != own).count(),
            None => self.onsets.len(),
        };
        per_minute(onsets as f64, self.window_ns)
    }
}

/// So many in a window, as a rate.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "at most an hour; rounded as the constants are that it is compared with"
)]
pub(crate) fn per_minute(count: f64, window_ns: u64) -> f64 {
    f64::from((count * 60e9 / window_ns as f64) as f32)
}

/// How far a sequence has come.
#[derive(Debug, Clone)]
pub(crate) struct SequenceState {
    /// For each step but the last, the partial match that has come so far.
    pub(crate) reached: Box<[Option<Reached>]>,
    /// It was completed, and the last step has held since.
    completed: bool,
    /// Since when the first step, an absence, has not been disturbed.
    quiet_since_ns: Option<u64>,
}

/// A partial match: when it began and when it reached its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) start_ns: u64,
    pub(crate) at_ns: u64,
}

impl SequenceState {
    fn new(steps: usize) -> Self {
        Self {
            reached: vec![None; steps.saturating_sub(1)].into(),
            completed: false,
            quiet_since_ns: None,
        }
    }

    fn clear(&mut self) {
        self.reached.fill(None);
        self.completed = false;
        self.quiet_since_ns = None;
    }

    /// Takes a frame. `absent_for_ns` says of each step whether it is an absence; `holds`
    /// answers whether the condition of a step holds now.
    pub(crate) fn advance(
        &mut self,
        absent_for_ns: &[Option<u64>],
        within_ns: Option<u64>,
        now_ns: u64,
        mut holds: impl FnMut(usize) -> bool,
    ) -> bool {
        let last = self.reached.len();
        let first_holds = self.first_step(absent_for_ns[0], now_ns, holds(0));
        if last == 0 {
            return first_holds;
        }
        if self.completed && holds(last) == absent_for_ns[last].is_some() {
            self.completed = false;
        }
        // From the last step to the first, so that no match takes two steps in one frame.
        for step in (1..=last).rev() {
            let Some(pending) = self.reached[step - 1] else {
                continue;
            };
            if within_ns.is_some_and(|within_ns| now_ns - pending.start_ns > within_ns) {
                self.reached[step - 1] = None;
                continue;
            }
            let advances = match absent_for_ns[step] {
                None => holds(step),
                Some(absent_for_ns) => {
                    let disturbed = holds(step);
                    let done = !disturbed && now_ns - pending.at_ns >= absent_for_ns;
                    if disturbed || done {
                        self.reached[step - 1] = None;
                    }
                    done
                }
            };
            if advances && step == last {
                self.reached.fill(None);
                self.completed = true;
                return true;
            }
            if advances {
                self.arrive(step, pending.start_ns, now_ns, absent_for_ns);
            }
        }
        if first_holds {
            self.arrive(0, now_ns, now_ns, absent_for_ns);
        }
        self.completed
    }

    fn first_step(&mut self, absent_for_ns: Option<u64>, now_ns: u64, holds: bool) -> bool {
        let Some(absent_for_ns) = absent_for_ns else {
            return holds;
        };
        if holds {
            self.quiet_since_ns = Some(now_ns);
            return false;
        }
        let since_ns = *self.quiet_since_ns.get_or_insert(now_ns);
        now_ns - since_ns >= absent_for_ns
    }

    /// A match has come to `step`. Of two, the one that began later has more time left; but
    /// before an absence the earlier one stays, or else its wait would begin anew.
    fn arrive(&mut self, step: usize, start_ns: u64, now_ns: u64, absent_for_ns: &[Option<u64>]) {
        let waits = absent_for_ns[step + 1].is_some();
        match &mut self.reached[step] {
            Some(_) if waits => {}
            Some(known) if known.start_ns >= start_ns => {}
            place => {
                *place = Some(Reached {
                    start_ns,
                    at_ns: now_ns,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_tracks_that_it_held_for_last() {
        let mut window = Window::new();
        for id in 0..u64::from(WINDOW_TRACKS_MAX) + 10 {
            window.observe(id, 1000, std::iter::once(id));
        }
        assert_eq!(window.count(None), WINDOW_TRACKS_MAX as usize);
        assert_eq!(
            window.count(Some(5)),
            WINDOW_TRACKS_MAX as usize,
            "it is gone"
        );
        assert_eq!(window.count(Some(200)), WINDOW_TRACKS_MAX as usize - 1);
        assert_eq!(window.0.entries.capacity(), WINDOW_TRACKS_MAX as usize);
    }

    #[test]
    fn a_rate_counts_the_newest_beginnings() {
        let mut rate = Rate::new(60_000_000_000);
        let capacity = rate.onsets.capacity();
        for index in 0..2 * ONSETS_MAX as u64 {
            rate.observe(index, std::iter::once((1, index.is_multiple_of(2))));
            rate.observe(index, std::iter::once((2, !index.is_multiple_of(2))));
        }
        assert_eq!(rate.onsets.len(), ONSETS_MAX);
        assert_eq!(rate.onsets.capacity(), capacity);
        assert!((rate.per_minute(Some(1)) - ONSETS_MAX as f64 / 2.0).abs() < 1.0);
    }
}
