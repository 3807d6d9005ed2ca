//! Typed tree to flat program.

use jiff::tz::TimeZone;

use super::{Aggregate, Branch, Entry, FAILS, HOLDS, Program, SlotCode, Source, Test, TextSource};
use crate::rule_file::Subject;
use crate::tree::Spanned;
use crate::typed::{Condition, Home, Number, Pattern, Sequence, Slot, Text, Value};

impl Program {
    /// `subject` is `None` for a gate.
    pub(crate) fn new(sequence: &Sequence, subject: Option<Subject>) -> Self {
        let mut compiler = Compiler {
            has_own: subject == Some(Subject::Track),
            ..Compiler::default()
        };
        let steps: Vec<_> = sequence
            .steps
            .iter()
            .map(|step| compiler.list(List::Holds(&step.value.condition.value)))
            .collect();
        // A list may ask for others while it is written.
        while let Some((label, list)) = compiler.unwritten.pop() {
            compiler.write_list(label, list);
        }
        compiler.finish(steps, sequence)
    }
}

/// While lists are written, an [`Entry`] is a label: an index into `places`, which is where
/// its list begins. `finish` puts the places in for the labels.
#[derive(Default)]
struct Compiler<'t> {
    has_own: bool,
    branches: Vec<Branch>,
    places: Vec<Entry>,
    unwritten: Vec<(Entry, List<'t>)>,
    aggregates: Vec<Aggregate>,
    counts: u16,
    memory_slots: Vec<Option<SlotCode>>,
    shared_slots: Vec<Option<SlotCode>>,
    texts: Vec<Box<str>>,
    text_lists: Vec<Box<[Box<str>]>>,
    number_lists: Vec<Box<[f64]>>,
    patterns: Vec<Pattern>,
    time_zones: Vec<TimeZone>,
}

/// What a list of tests answers.
#[derive(Clone, Copy)]
enum List<'t> {
    /// The condition holds.
    Holds(&'t Condition),
    /// The filter holds and the condition does not: a counterexample to `all`.
    Refutes {
        condition: &'t Condition,
        filter: Option<&'t Condition>,
    },
}

impl<'t> Compiler<'t> {
    fn label(&mut self) -> Entry {
        self.places.push(FAILS);
        index(self.places.len() - 1)
    }

    /// The label's list goes on with the next branch that is written.
    fn place(&mut self, label: Entry) {
        self.places[label as usize] = index(self.branches.len());
    }

    /// A list to be written later, for its tests must not stand among others.
    fn list(&mut self, list: List<'t>) -> Entry {
        let label = self.label();
        self.unwritten.push((label, list));
        label
    }

    fn write_list(&mut self, label: Entry, list: List<'t>) {
        self.place(label);
        match list {
            List::Holds(condition) => self.write(condition, HOLDS, FAILS),
            List::Refutes { condition, filter } => {
                if let Some(filter) = filter {
                    let filtered = self.label();
                    self.write(filter, filtered, FAILS);
                    self.place(filtered);
                }
                self.write(condition, FAILS, HOLDS);
            }
        }
    }

    /// Writes the tests of a condition; they end at one of two labels.
    fn write(&mut self, condition: &'t Condition, if_true: Entry, if_false: Entry) {
        let test = match condition {
            Condition::Or(terms) => {
                return self.write_chain(terms, |this, term, next| match next {
                    Some(next) => this.write(term, if_true, next),
                    None => this.write(term, if_true, if_false),
                });
            }
            Condition::And(terms) => {
                return self.write_chain(terms, |this, term, next| match next {
                    Some(next) => this.write(term, next, if_false),
                    None => this.write(term, if_true, if_false),
                });
            }
            Condition::Not(term) => return self.write(&term.value, if_false, if_true),
            Condition::All { condition, filter } => {
                let refutes = self.list(List::Refutes {
                    condition: &condition.value,
                    filter: filter.as_ref().map(|filter| &filter.value),
                });
                let hoist = !depends_on_own(condition, filter.as_deref());
                let counterexample = Test::Some(self.count(refutes, hoist));
                return self.push(counterexample, if_false, if_true);
            }
            Condition::CompareText { left, equal, right } => {
                let same = Test::SameText {
                    left: self.text_source(&left.value),
                    right: self.text_source(&right.value),
                };
                let (if_same, if_other) = if *equal {
                    (if_true, if_false)
                } else {
                    (if_false, if_true)
                };
                return self.push(same, if_same, if_other);
            }
            other => self.test(other),
        };
        self.push(test, if_true, if_false);
    }

    fn push(&mut self, test: Test, if_true: Entry, if_false: Entry) {
        self.branches.push(Branch {
            test,
            if_true,
            if_false,
        });
    }

    /// Writes terms one behind the other; each is told where the next begins.
    fn write_chain(
        &mut self,
        terms: &'t [Spanned<Condition>],
        mut write: impl FnMut(&mut Self, &'t Condition, Option<Entry>),
    ) {
        for (index, term) in terms.iter().enumerate() {
            if index + 1 < terms.len() {
                let next = self.label();
                write(self, &term.value, Some(next));
                self.place(next);
            } else {
                write(self, &term.value, None);
            }
        }
    }

    /// A condition that is one test.
    fn test(&mut self, condition: &'t Condition) -> Test {
        match condition {
            Condition::Constant(value) => Test::Constant(*value),
            Condition::Compare {
                left,
                comparison,
                right,
            } => match &right.value {
                Number::Constant(constant) => Test::CompareConstant {
                    source: self.source(&left.value),
                    comparison: *comparison,
                    constant: *constant,
                },
                right => Test::Compare {
                    left: self.source(&left.value),
                    comparison: *comparison,
                    right: self.source(right),
                },
            },
            Condition::Between { value, low, high } => Test::Between {
                source: self.source(&value.value),
                low: *low,
                high: *high,
            },
            Condition::OneOf { value, numbers } => Test::OneOf {
                source: self.source(&value.value),
                list: kept(&mut self.number_lists, numbers.as_slice().into()),
            },
            Condition::TextOneOf { value, texts } => Test::TextOneOf {
                source: self.text_source(&value.value),
                list: kept(
                    &mut self.text_lists,
                    texts.iter().map(|text| text.as_str().into()).collect(),
                ),
            },
            Condition::Matches { value, pattern } => Test::Matches {
                source: self.text_source(&value.value),
                pattern: kept(&mut self.patterns, pattern.clone()),
            },
            Condition::InZone(zone) => Test::InZone(*zone),
            Condition::Entered(zone) => Test::Entered(*zone),
            Condition::Left(zone) => Test::Left(*zone),
            Condition::Crossed { line, right, left } => Test::Crossed {
                line: *line,
                right: *right,
                left: *left,
            },
            Condition::Exists(condition) => {
                let entry = self.list(List::Holds(&condition.value));
                let hoist = !condition.value.depends_on_own();
                Test::Some(self.count(entry, hoist))
            }
            Condition::Every { interval_ns, slot } => {
                let interval_ns = *interval_ns;
                self.keep_slot(*slot, SlotCode::Every { interval_ns });
                Test::Flag(*slot)
            }
            Condition::Changed { value, slot } => {
                let code = match &value.value {
                    Value::Condition(condition) => {
                        SlotCode::ChangedCondition(self.list(List::Holds(condition)))
                    }
                    Value::Number(number) => SlotCode::ChangedNumber(self.source(number)),
                    Value::Text(text) => SlotCode::ChangedText(self.text_source(text)),
                };
                self.keep_slot(*slot, code);
                Test::Flag(*slot)
            }
            Condition::Or(_)
            | Condition::And(_)
            | Condition::Not(_)
            | Condition::All { .. }
            | Condition::CompareText { .. } => {
                unreachable!("`write` makes several tests of these, or turns them round")
            }
        }
    }

    fn source(&mut self, number: &'t Number) -> Source {
        match number {
            Number::Constant(_) => {
                unreachable!("the checker puts a constant on the right of a comparison only")
            }
            Number::Field(field) => Source::Field(*field),
            Number::Dwell(zone) => Source::Dwell(*zone),
            Number::DistanceToOwn => Source::DistanceToOwn,
            Number::DistanceToZone(zone) => Source::DistanceToZone(*zone),
            Number::DistanceToLine(line) => Source::DistanceToLine(*line),
            Number::ZoneMotion(zone) => Source::ZoneMotion(*zone),
            Number::Clock { zone, part } => Source::Clock {
                zone: kept(&mut self.time_zones, zone.clone()),
                part: *part,
            },
            Number::Count(condition) => {
                let entry = self.list(List::Holds(&condition.value));
                let hoist = !condition.value.depends_on_own();
                Source::Aggregate(self.count(entry, hoist))
            }
            Number::CountWithin {
                condition,
                window_ns,
                slot,
            } => {
                let entry = self.list(List::Holds(&condition.value));
                let window_ns = *window_ns;
                self.keep_slot(*slot, SlotCode::Window { entry, window_ns });
                Source::Slot(*slot)
            }
            Number::Rate {
                condition,
                window_ns,
                slot,
            } => {
                let entry = self.list(List::Holds(&condition.value));
                let window_ns = *window_ns;
                self.keep_slot(*slot, SlotCode::Rate { entry, window_ns });
                Source::Slot(*slot)
            }
            Number::Fold {
                fold,
                value,
                filter,
            } => {
                let aggregate = Aggregate::Fold {
                    fold: *fold,
                    source: self.source(&value.value),
                    filter: filter
                        .as_ref()
                        .map(|filter| self.list(List::Holds(&filter.value))),
                };
                Source::Aggregate(kept(&mut self.aggregates, aggregate))
            }
        }
    }

    fn text_source(&mut self, text: &Text) -> TextSource {
        let mut keep = |text: &str| kept(&mut self.texts, text.into());
        match text {
            Text::Constant(text) => TextSource::Constant(keep(text)),
            Text::Label => TextSource::Label,
            Text::Attribute(name) => TextSource::Attribute(keep(name)),
            Text::StreamName => TextSource::StreamName,
            Text::StreamLabel(name) => TextSource::StreamLabel(keep(name)),
            Text::Weekday(zone) => TextSource::Weekday(kept(&mut self.time_zones, zone.clone())),
        }
    }

    /// Counts the tracks that a list holds for; `hoist`: it is the same for every own track
    /// but for that track itself, so it is counted once a frame.
    fn count(&mut self, entry: Entry, hoist: bool) -> u16 {
        let shared = (self.has_own && hoist).then(|| {
            self.counts += 1;
            self.counts - 1
        });
        kept(&mut self.aggregates, Aggregate::Count { entry, shared })
    }

    fn keep_slot(&mut self, slot: Slot, code: SlotCode) {
        let slots = match slot.home {
            Home::Memory => &mut self.memory_slots,
            Home::Shared => &mut self.shared_slots,
        };
        let index = usize::from(slot.index);
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots[index] = Some(code);
    }

    /// Puts places in for labels.
    fn finish(self, steps: Vec<Entry>, sequence: &Sequence) -> Program {
        let place = |label: Entry| match label {
            HOLDS | FAILS => label,
            label => self.places[label as usize],
        };
        let place_slot =
            |slot: Option<SlotCode>| match slot.expect("the checker numbers slots without a gap") {
                SlotCode::ChangedCondition(entry) => SlotCode::ChangedCondition(place(entry)),
                SlotCode::Window { entry, window_ns } => SlotCode::Window {
                    entry: place(entry),
                    window_ns,
                },
                SlotCode::Rate { entry, window_ns } => SlotCode::Rate {
                    entry: place(entry),
                    window_ns,
                },
                other => other,
            };
        let branches: Box<[Branch]> = self
            .branches
            .iter()
            .map(|branch| Branch {
                test: branch.test,
                if_true: place(branch.if_true),
                if_false: place(branch.if_false),
            })
            .collect();
        debug_assert!(
            (0..)
                .zip(&branches)
                .all(|(at, branch)| branch.if_true > at && branch.if_false > at),
            "every jump goes forward"
        );
        Program {
            branches,
            steps: steps.into_iter().map(place).collect(),
            absent_for_ns: sequence
                .steps
                .iter()
                .map(|step| step.value.absent_for_ns)
                .collect(),
            within_ns: sequence.within_ns,
            aggregates: self
                .aggregates
                .iter()
                .map(|aggregate| match *aggregate {
                    Aggregate::Count { entry, shared } => Aggregate::Count {
                        entry: place(entry),
                        shared,
                    },
                    Aggregate::Fold {
                        fold,
                        source,
                        filter,
                    } => Aggregate::Fold {
                        fold,
                        source,
                        filter: filter.map(place),
                    },
                })
                .collect(),
            memory_slots: self.memory_slots.into_iter().map(place_slot).collect(),
            shared_slots: self.shared_slots.into_iter().map(place_slot).collect(),
            counts: usize::from(self.counts),
            texts: self.texts.into(),
            text_lists: self.text_lists.into(),
            number_lists: self.number_lists.into(),
            patterns: self.patterns.into(),
            time_zones: self.time_zones.into(),
        }
    }
}

fn depends_on_own(condition: &Spanned<Condition>, filter: Option<&Spanned<Condition>>) -> bool {
    condition.value.depends_on_own() || filter.is_some_and(|filter| filter.value.depends_on_own())
}

/// Keeps an item; its index.
fn kept<T>(items: &mut Vec<T>, item: T) -> u16 {
    items.push(item);
    u16::try_from(items.len() - 1).expect("an expression has 4096 bytes, and each item takes some")
}

fn index(length: usize) -> Entry {
    Entry::try_from(length).expect("an expression has 4096 bytes, and each test takes some")
}
