//! Joins frames with what the models say of them.
//!
//! Pure: the clock is passed in, and a frame is any `F`. Frames leave in the
//! order in which they came, each exactly once, as soon as the first of these
//! holds for the oldest one:
//!
//! - every model has answered, with findings or with a skip;
//! - it has waited `max_latency`;
//! - more than `hold_max` frames are held (not under [`QueuePolicy::Wait`], where
//!   [`Joiner::takes_more`] says no instead and the queue on the bus fills up);
//! - every model that has not answered is *away*, or the stream has ended and no
//!   answer can come.
//!
//! A model is away when a frame has waited `max_latency` for it and it has
//! answered nothing at all in that time: its worker is dead or hangs. From then on
//! nothing waits for it, so that video keeps its latency while tracks coast, until
//! its next answer shows that it is back. A model that is only slow goes on
//! answering, late, and is waited for.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::detection::Skip;
use contract::findings::Findings;
use contract::spec::QueuePolicy;
use frame_bus::ResultBody;

/// Results kept whose frame has not come yet, and missed answers remembered.
pub const REMEMBERED_MAX: usize = 256;

/// The bounds of a joiner.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A frame waits so long, from its arrival.
    pub max_latency_ns: u64,
    /// Frames held at the same time.
    pub hold_max: usize,
    /// What happens when one more comes.
    pub policy: QueuePolicy,
}

impl Limits {
    fn checked(self) -> Self {
        Self {
            hold_max: self.hold_max.max(1),
            ..self
        }
    }
}

/// What one model says of one frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It ran.
    Found(Arc<Findings>),
    /// It did not.
    Skipped(Skip),
}

/// A frame with all that is known of it.
#[derive(Debug)]
pub struct Joined<F> {
    /// The frame.
    pub frame: F,
    /// Its number.
    pub sequence_number: u64,
    /// One a model; `None`: that model has not answered in time.
    pub answers: Vec<Option<Answer>>,
}

impl<F> Joined<F> {
    /// Every model has answered.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }
}

#[derive(Debug)]
struct Held<F> {
    joined: Joined<F>,
    arrived_ns: u64,
}

#[derive(Debug)]
struct Early {
    first: u64,
    last: u64,
    model: usize,
    answer: Answer,
}

#[derive(Debug, Clone)]
struct Model {
    /// When it last answered, or when the first frame came.
    answered_ns: Option<u64>,
    away: bool,
}

/// Joins the frames of one stream with the results of its models.
#[derive(Debug)]
pub struct Joiner<F> {
    limits: Limits,
    models: Vec<Model>,
    held: VecDeque<Held<F>>,
    early: VecDeque<Early>,
    /// Answers that frames went on without, by number and model; a late one is taken out.
    missed: VecDeque<(u64, usize)>,
    newest: Option<u64>,
    ended: bool,
}

impl<F> Joiner<F> {
    /// A joiner for so many models.
    #[must_use]
    pub fn new(models: usize, limits: Limits) -> Self {
        let model = Model {
            answered_ns: None,
            away: false,
        };
        Self {
            limits: limits.checked(),
            models: vec![model; models],
            held: VecDeque::new(),
            early: VecDeque::new(),
            missed: VecDeque::new(),
            newest: None,
            ended: false,
        }
    }

    /// Other bounds from now on, also for the frames that are held.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.checked();
    }

    /// There is room for another frame. Always true where the oldest frame makes room.
    #[must_use]
    pub fn takes_more(&self) -> bool {
        self.limits.policy != QueuePolicy::Wait || self.held.len() < self.limits.hold_max
    }

    /// Frames held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A frame has come; numbers grow. Call [`Joiner::release`] until it gives nothing.
    pub fn push(&mut self, frame: F, sequence_number: u64, now_ns: u64) {
        debug_assert!(
            self.newest.is_none_or(|newest| newest < sequence_number),
            "numbers grow"
        );
        self.ended = false;
        self.newest = Some(sequence_number);
        for model in &mut self.models {
            model.answered_ns.get_or_insert(now_ns);
        }
        let mut answers: Vec<Option<Answer>> = self.models.iter().map(|_| None).collect();
        for early in &self.early {
            if (early.first..=early.last).contains(&sequence_number) {
                answers[early.model] = Some(early.answer.clone());
            }
        }
        self.early.retain(|early| early.last > sequence_number);
        self.held.push_back(Held {
            joined: Joined {
                frame,
                sequence_number,
                answers,
            },
            arrived_ns: now_ns,
        });
    }

    /// Model number `model` has said something of the frames `first..=last`; returns for
    /// how many of them it came too late.
    pub fn answer(
        &mut self,
        model: usize,
        first: u64,
        last: u64,
        body: ResultBody,
        now_ns: u64,
    ) -> u64 {
        let answer = match body {
            ResultBody::Found(findings) => Answer::Found(Arc::new(findings)),
            ResultBody::Skipped(skip) => Answer::Skipped(skip),
            ResultBody::EndOfStream => return 0,
        };
        let Some(state) = self.models.get_mut(model) else {
            return 0;
        };
        state.answered_ns = Some(now_ns);
        state.away = false;
        for held in &mut self.held {
            if (first..=last).contains(&held.joined.sequence_number) {
                held.joined.answers[model].get_or_insert_with(|| answer.clone());
            }
        }
        if self.newest.is_none_or(|newest| newest < last) {
            if self.early.len() == REMEMBERED_MAX {
                self.early.pop_front();
            }
            self.early.push_back(Early {
                first,
                last,
                model,
                answer,
            });
        }
        let missed_before = self.missed.len();
        self.missed
            .retain(|(number, of)| *of != model || !(first..=last).contains(number));
        (missed_before - self.missed.len()) as u64
    }

    /// No frame comes any more; those held still wait for answers, `max_latency` at most.
    /// With `answers_too` no answer comes either, and nothing waits.
    pub fn end(&mut self, answers_too: bool) {
        self.ended = answers_too;
    }

    /// The next frame that may go on, if there is one.
    pub fn release(&mut self, now_ns: u64) -> Option<Joined<F>> {
        let oldest = self.held.front()?;
        let overdue = now_ns.saturating_sub(oldest.arrived_ns) >= self.limits.max_latency_ns;
        if overdue {
            self.find_the_away(now_ns);
        }
        let oldest = self.held.front()?;
        let waited_for =
            |(answer, model): (&Option<Answer>, &Model)| answer.is_none() && !model.away;
        let waits = oldest
            .joined
            .answers
            .iter()
            .zip(&self.models)
            .any(waited_for);
        let full =
            self.limits.policy != QueuePolicy::Wait && self.held.len() > self.limits.hold_max;
        if waits && !overdue && !full && !self.ended {
            return None;
        }
        let joined = self.held.pop_front()?.joined;
        for (model, _) in unanswered(&joined) {
            if self.missed.len() == REMEMBERED_MAX {
                self.missed.pop_front();
            }
            self.missed.push_back((joined.sequence_number, model));
        }
        Some(joined)
    }

    /// When the oldest frame will have waited long enough.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let oldest = self.held.front()?;
        Some(oldest.arrived_ns.saturating_add(self.limits.max_latency_ns))
    }

    /// This model is waited for no more until it answers again.
    #[must_use]
    pub fn is_away(&self, model: usize) -> bool {
        self.models.get(model).is_some_and(|model| model.away)
    }

    /// The oldest frame has waited its time: who has been silent for all of it is away.
    fn find_the_away(&mut self, now_ns: u64) {
        let Some(oldest) = self.held.front() else {
            return;
        };
        for (model, _) in unanswered(&oldest.joined) {
            let state = &mut self.models[model];
            let silent_ns = now_ns.saturating_sub(state.answered_ns.unwrap_or(now_ns));
            state.away |= silent_ns >= self.limits.max_latency_ns;
        }
    }
}

fn unanswered<F>(joined: &Joined<F>) -> impl Iterator<Item = (usize, &Option<Answer>)> {
    let answers = joined.answers.iter().enumerate();
    answers.filter(|(_, answer)| answer.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn limits(policy: QueuePolicy) -> Limits {
        Limits {
            max_latency_ns: 100 * MS,
            hold_max: 3,
            policy,
        }
    }

    fn joiner(models: usize) -> Joiner<()> {
        Joiner::new(models, limits(QueuePolicy::DropOldest))
    }

    fn found() -> ResultBody {
        ResultBody::Found(Findings::Detections(Vec::new()))
    }

    fn numbers(joiner: &mut Joiner<()>, now_ns: u64) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| joiner.release(now_ns))
            .map(|joined| (joined.sequence_number, joined.complete()))
            .collect()
    }

    #[test]
    fn frames_go_on_in_order_when_all_models_have_answered() {
        let mut joiner = joiner(2);
        (0..3).for_each(|number| joiner.push((), number, number * MS));
        joiner.answer(0, 0, 0, found(), 5 * MS);
        joiner.answer(0, 1, 1, found(), 5 * MS);
        joiner.answer(1, 1, 2, ResultBody::Skipped(Skip::Shed), 5 * MS);
        assert_eq!(numbers(&mut joiner, 6 * MS), []);
        joiner.answer(1, 0, 0, found(), 7 * MS);
        assert_eq!(numbers(&mut joiner, 7 * MS), [(0, true), (1, true)]);
        assert_eq!(joiner.deadline_ns(), Some(102 * MS));
        assert_eq!(numbers(&mut joiner, 101 * MS), []);
        assert_eq!(numbers(&mut joiner, 102 * MS), [(2, false)]);
    }

    #[test]
    fn without_models_nothing_waits() {
        let mut joiner = joiner(0);
        joiner.push((), 7, 0);
        assert_eq!(numbers(&mut joiner, 0), [(7, true)]);
    }

    #[test]
    fn an_early_answer_finds_its_frame() {
        let mut joiner = joiner(1);
        joiner.answer(0, 4, 5, ResultBody::Skipped(Skip::Overflowed), 0);
        joiner.answer(0, 6, 6, found(), 0);
        for number in [4, 5, 6] {
            joiner.push((), number, MS);
        }
        assert_eq!(numbers(&mut joiner, MS), [(4, true), (5, true), (6, true)]);
        for number in 100..100 + 2 * REMEMBERED_MAX as u64 {
            joiner.answer(0, number, number, found(), 0);
        }
        assert_eq!(joiner.early.len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_late_answer_is_counted_once_a_frame() {
        let mut joiner = joiner(1);
        joiner.push((), 0, 0);
        joiner.push((), 1, 0);
        assert_eq!(numbers(&mut joiner, 100 * MS).len(), 2);
        assert_eq!(joiner.answer(0, 0, 9, found(), 101 * MS), 2);
        assert_eq!(joiner.answer(0, 0, 1, found(), 101 * MS), 0);
        // Of frames that never came here nobody is late.
        assert_eq!(joiner.answer(0, 50, 60, found(), 101 * MS), 0);
    }

    #[test]
    fn a_full_live_joiner_lets_the_oldest_go_and_a_lossless_one_takes_no_more() {
        let mut live = joiner(1);
        (0..4).for_each(|number| live.push((), number, 0));
        assert!(live.takes_more());
        assert_eq!(numbers(&mut live, 0), [(0, false)]);

        let mut lossless: Joiner<()> = Joiner::new(1, limits(QueuePolicy::Wait));
        for number in 0..3 {
            assert!(lossless.takes_more());
            lossless.push((), number, 0);
        }
        assert!(!lossless.takes_more());
        assert_eq!(numbers(&mut lossless, 0), []);
        lossless.answer(0, 0, 0, found(), MS);
        assert_eq!(numbers(&mut lossless, MS), [(0, true)]);
        assert!(lossless.takes_more());
    }

    #[test]
    fn a_dead_model_is_waited_for_once_and_a_slow_one_always() {
        let mut joiner = joiner(2);
        joiner.push((), 0, 0);
        joiner.answer(1, 0, 0, found(), 90 * MS);
        assert_eq!(numbers(&mut joiner, 99 * MS), []);
        assert_eq!(numbers(&mut joiner, 100 * MS), [(0, false)]);
        assert!(joiner.is_away(0) && !joiner.is_away(1));
        joiner.push((), 1, 110 * MS);
        assert_eq!(numbers(&mut joiner, 110 * MS), []);
        joiner.answer(1, 1, 1, found(), 120 * MS);
        assert_eq!(numbers(&mut joiner, 120 * MS), [(1, false)]);

        joiner.answer(0, 2, 2, found(), 130 * MS);
        assert!(!joiner.is_away(0));
        joiner.push((), 3, 140 * MS);
        joiner.answer(1, 3, 3, found(), 141 * MS);
        assert_eq!(numbers(&mut joiner, 200 * MS), []);
        joiner.answer(0, 1, 1, found(), 210 * MS);
        assert_eq!(numbers(&mut joiner, 240 * MS), [(3, false)]);
        assert!(!joiner.is_away(0), "it answered 30 ms ago");
    }

    #[test]
    fn at_the_end_nothing_waits_for_answers_that_cannot_come() {
        let mut joiner = joiner(1);
        joiner.push((), 0, 0);
        joiner.end(false);
        assert_eq!(numbers(&mut joiner, MS), []);
        joiner.end(true);
        assert_eq!(numbers(&mut joiner, MS), [(0, false)]);
        // A restarted source goes on.
        joiner.push((), 1, 2 * MS);
        assert_eq!(numbers(&mut joiner, 2 * MS), []);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Frame { gap: u64 },
        Answer { model: usize, back: u64, count: u64 },
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_u64..4).prop_map(|gap| Step::Frame { gap }),
            5 => (0_usize..2, 0_u64..8, 0_u64..3)
                .prop_map(|(model, back, count)| Step::Answer { model, back, count }),
            2 => (0_u64..80).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_frame_leaves_exactly_once_in_order_and_in_time(
            steps in prop::collection::vec(step(), 0..120),
            wait in any::<bool>(),
        ) {
            let policy = if wait { QueuePolicy::Wait } else { QueuePolicy::DropLatest };
            let mut joiner: Joiner<u64> = Joiner::new(2, limits(policy));
            let (mut now, mut next) = (0, 0);
            let (mut pushed, mut left) = (Vec::new(), Vec::new());
            let (mut missing, mut late) = (0, 0);
            for step in steps {
                match step {
                    Step::Frame { gap } if joiner.takes_more() => {
                        next += gap;
                        joiner.push(now, next, now);
                        pushed.push(next);
                    }
                    Step::Frame { .. } => {}
                    Step::Answer { model, back, count } => {
                        let first = (next + 2).saturating_sub(back);
                        late += joiner.answer(model, first, first + count, found(), now);
                    }
                    Step::Wait(ms) => now += ms * MS,
                }
                while let Some(joined) = joiner.release(now) {
                    prop_assert!(now - joined.frame <= 180 * MS, "one wait past its deadline");
                    missing += joined.answers.iter().filter(|a| a.is_none()).count() as u64;
                    left.push(joined.sequence_number);
                }
                prop_assert!(joiner.held() <= 3);
                prop_assert!(joiner.deadline_ns().is_none_or(|deadline| deadline > now));
            }
            joiner.end(true);
            left.extend(std::iter::from_fn(|| joiner.release(now)).map(|j| j.sequence_number));
            prop_assert_eq!(left, pushed);
            prop_assert!(late <= missing);
        }
    }
}
