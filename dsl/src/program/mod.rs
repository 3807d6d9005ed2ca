//! The flat program that a typed tree is compiled to, and its evaluation.
//!
//! A condition becomes a list of elementary tests, each of which says where to go on when it
//! is true and where when it is false. All jumps go forward, so an evaluation makes each test
//! at most once and recurses nowhere. What an aggregate asks each track is a list of its own.
//!
//! A value that is not known is NaN, with which no comparison holds.

mod compile;
mod decide;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::tz::TimeZone;

use self::decide::Evaluation;
use crate::memory::{Memory, Rate, Shared, SlotState, Window};
use crate::scene::{Scene, TrackFacts};
use crate::tree::Comparison;
use crate::typed::{ClockPart, Fold, Pattern, Slot};
use crate::vocabulary::Field;

/// Most zones of a rule file: membership of all of them fits one word.
pub const ZONES_MAX: usize = 64;

/// A condition, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    branches: Box<[Branch]>,
    /// Where the condition of each step begins.
    steps: Box<[Entry]>,
    absent_for_ns: Box<[Option<u64>]>,
    within_ns: Option<u64>,
    aggregates: Box<[Aggregate]>,
    memory_slots: Box<[SlotCode]>,
    shared_slots: Box<[SlotCode]>,
    /// How many aggregates are counted once a frame.
    counts: usize,
    texts: Box<[Box<str>]>,
    text_lists: Box<[Box<[Box<str>]>]>,
    number_lists: Box<[Box<[f64]>]>,
    patterns: Box<[Pattern]>,
    time_zones: Box<[TimeZone]>,
}

/// Index of a branch, or one of the two answers.
type Entry = u32;
const HOLDS: Entry = u32::MAX;
const FAILS: Entry = u32::MAX - 1;

#[derive(Debug, Clone, Copy)]
struct Branch {
    test: Test,
    if_true: Entry,
    if_false: Entry,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Constant(bool),
    CompareConstant {
        source: Source,
        comparison: Comparison,
        constant: f64,
    },
    Compare {
        left: Source,
        comparison: Comparison,
        right: Source,
    },
    Between {
        source: Source,
        low: f64,
        high: f64,
    },
    OneOf {
        source: Source,
        list: u16,
    },
    SameText {
        left: TextSource,
        right: TextSource,
    },
    TextOneOf {
        source: TextSource,
        list: u16,
    },
    Matches {
        source: TextSource,
        pattern: u16,
    },
    InZone(u8),
    Entered(u8),
    Left(u8),
    Crossed {
        line: u8,
        right: bool,
        left: bool,
    },
    /// The aggregate holds for some track.
    Some(u16),
    /// What `every` or `changed` said.
    Flag(Slot),
}

/// Where a number comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Field(Field),
    Dwell(u8),
    DistanceToOwn,
    DistanceToZone(u8),
    DistanceToLine(u8),
    ZoneMotion(u8),
    Clock { zone: u16, part: ClockPart },
    Aggregate(u16),
    Slot(Slot),
}

/// Where a text comes from; indices into the program's texts.
#[derive(Debug, Clone, Copy)]
enum TextSource {
    Constant(u16),
    Label,
    Attribute(u16),
    StreamName,
    StreamLabel(u16),
    Weekday(u16),
}

/// What is asked of all tracks.
#[derive(Debug, Clone, Copy)]
enum Aggregate {
    Count {
        entry: Entry,
        /// It does not depend on the own track: counted once a frame, under this index.
        shared: Option<u16>,
    },
    Fold {
        fold: Fold,
        source: Source,
        filter: Option<Entry>,
    },
}

/// How a slot is brought up to date.
#[derive(Debug, Clone, Copy)]
enum SlotCode {
    Every { interval_ns: u64 },
    ChangedNumber(Source),
    ChangedText(TextSource),
    ChangedCondition(Entry),
    Window { entry: Entry, window_ns: u64 },
    Rate { entry: Entry, window_ns: u64 },
}

/// The scene, as one evaluation sees it.
#[derive(Clone, Copy)]
struct View<'a> {
    scene: &'a Scene<'a>,
    /// The track that the rule is evaluated for.
    own: Option<usize>,
    /// Tracks there are; a gate knows only their number.
    tracks: u32,
}

impl<'a> View<'a> {
    fn new(scene: &'a Scene<'a>, own: Option<usize>) -> Self {
        Self {
            scene,
            own,
            tracks: u32::try_from(scene.tracks.len()).unwrap_or(u32::MAX),
        }
    }

    fn track(&self, index: Option<usize>) -> Option<&'a TrackFacts> {
        self.scene.tracks.get(index?)
    }

    /// All tracks but the own one.
    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.own;
        (0..self.scene.tracks.len()).filter(move |index| Some(*index) != own)
    }

    fn own_id(&self) -> Option<u64> {
        self.track(self.own).map(|track| track.id)
    }
}

impl Program {
    pub(crate) fn memory(&self) -> Memory {
        Memory::new(slots(&self.memory_slots), self.steps.len())
    }

    pub(crate) fn shared(&self) -> Shared {
        Shared::new(slots(&self.shared_slots), self.counts)
    }

    pub(crate) fn begin_frame(&self, scene: &Scene<'_>, shared: &mut Shared) {
        shared.advance(scene.pts_ns);
        let view = View::new(scene, None);
        for (code, state) in self.shared_slots.iter().zip(&mut shared.slots) {
            self.observe(*code, state, &view);
        }
    }

    pub(crate) fn evaluate(
        &self,
        scene: &Scene<'_>,
        own: Option<usize>,
        shared: &mut Shared,
        memory: &mut Memory,
    ) -> bool {
        let view = View::new(scene, own);
        memory.advance(scene.pts_ns);
        self.observe_all(&view, shared, memory);
        let mut evaluation = Evaluation {
            program: self,
            view,
            shared,
            results: &memory.results,
        };
        let mut holds = |entry| self.decide(entry, &view, own, &mut evaluation);
        match (&*self.steps, &*self.absent_for_ns) {
            ([entry], [None]) => holds(*entry),
            (steps, absent_for_ns) => {
                memory
                    .sequence
                    .advance(absent_for_ns, self.within_ns, scene.pts_ns, |step| {
                        holds(steps[step])
                    })
            }
        }
    }

    /// Evaluates a gate. Its `every` counts from the last frame that was let through, which
    /// was `since_ns` ago; `None`: there was none, or the stream has begun anew.
    pub(crate) fn admits(
        &self,
        scene: &Scene<'_>,
        tracks: u32,
        since_ns: Option<u64>,
        shared: &mut Shared,
        memory: &mut Memory,
    ) -> bool {
        for (code, result) in self.memory_slots.iter().zip(&mut memory.results) {
            if let SlotCode::Every { interval_ns } = code {
                let passed = since_ns.is_none_or(|since_ns| since_ns >= *interval_ns);
                *result = f64::from(u8::from(passed));
            }
        }
        let view = View {
            scene,
            own: None,
            tracks,
        };
        let mut evaluation = Evaluation {
            program: self,
            view,
            shared,
            results: &memory.results,
        };
        self.steps
            .iter()
            .all(|entry| self.decide(*entry, &view, None, &mut evaluation))
    }

    /// Brings up to date what remembers for one key. What a slot reads stands before it.
    fn observe_all(&self, view: &View<'_>, shared: &mut Shared, memory: &mut Memory) {
        for (index, code) in self.memory_slots.iter().enumerate() {
            let mut evaluation = Evaluation {
                program: self,
                view: *view,
                shared: &mut *shared,
                results: &memory.results,
            };
            let whole = &mut evaluation;
            let state = &mut memory.slots[index];
            let flag = match *code {
                SlotCode::Every { interval_ns } => state.every(view.scene.pts_ns, interval_ns),
                SlotCode::ChangedNumber(source) => {
                    let number = self.number(source, view, view.own, whole);
                    // All that is not known is the same, whatever the bits of the NaN.
                    let bits = if number.is_nan() { f64::NAN } else { number }.to_bits();
                    state.changed(bits)
                }
                SlotCode::ChangedText(source) => {
                    let mut hasher = DefaultHasher::new();
                    self.text(source, view, view.own).hash(&mut hasher);
                    state.changed(hasher.finish())
                }
                SlotCode::ChangedCondition(entry) => {
                    state.changed(u64::from(self.decide(entry, view, view.own, whole)))
                }
                code @ (SlotCode::Window { .. } | SlotCode::Rate { .. }) => {
                    self.observe(code, state, view);
                    memory.results[index] = state.number(None);
                    continue;
                }
            };
            memory.results[index] = f64::from(u8::from(flag));
        }
    }

    /// Brings a window or a rate up to date.
    fn observe(&self, code: SlotCode, state: &mut SlotState, view: &View<'_>) {
        let now_ns = view.scene.pts_ns;
        let id = |index: usize| view.scene.tracks[index].id;
        match (code, state) {
            (SlotCode::Window { entry, window_ns }, SlotState::Window(window)) => {
                let holding = view
                    .others()
                    .filter(|index| self.holds_for(entry, view, *index));
                window.observe(now_ns, window_ns, holding.map(id));
            }
            (SlotCode::Rate { entry, .. }, SlotState::Rate(rate)) => {
                let tracks = view
                    .others()
                    .map(|index| (id(index), self.holds_for(entry, view, index)));
                rate.observe(now_ns, tracks);
            }
            _ => {}
        }
    }
}

fn slots(codes: &[SlotCode]) -> Box<[SlotState]> {
    codes
        .iter()
        .map(|code| match code {
            SlotCode::Every { .. } => SlotState::Every { last_ns: None },
            SlotCode::ChangedNumber(_)
            | SlotCode::ChangedText(_)
            | SlotCode::ChangedCondition(_) => SlotState::Changed { last: None },
            SlotCode::Window { .. } => SlotState::Window(Window::new()),
            SlotCode::Rate { window_ns, .. } => SlotState::Rate(Rate::new(*window_ns)),
        })
        .collect()
}
