//! Comparisons, sets and patterns: what can be compared with what.

use super::{Checker, is_literal, kind_of, name_of};
use crate::code;
use crate::diagnostic::suggest;
use crate::problem::Problem;
use crate::tree::{Comparison, Operand, Set, Spanned, Word};
use crate::typed::{Condition, Number, Pattern, Text, Value};
use crate::vocabulary::Type;

/// Weekdays, as `clock(...).weekday` names them.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 256;

impl Checker<'_> {
    pub(super) fn compare(
        &mut self,
        left: &Spanned<Operand>,
        comparison: Comparison,
        right: &Spanned<Operand>,
    ) -> Option<Condition> {
        match (is_literal(&left.value), is_literal(&right.value)) {
            (true, true) => self.report(
                Problem::new(
                    code::TYPES,
                    left.span.start..right.span.end,
                    "a comparison of two constants is always the same",
                )
                .helped("one side must be a field; write `true` or `false` for a constant"),
            ),
            (false, true) => self.compare_literal(left, comparison, right),
            (true, false) => self.compare_literal(right, comparison.flipped(), left),
            (false, false) => self.compare_values(left, comparison, right),
        }
    }

    pub(super) fn member(
        &mut self,
        left: &Spanned<Operand>,
        set: &Spanned<Set>,
    ) -> Option<Condition> {
        if is_literal(&left.value) {
            return self.report(
                Problem::new(
                    code::TYPES,
                    left.span.clone(),
                    format!("{} is always the same", kind_of(&left.value)),
                )
                .helped("write a field before `in`, like `label in [\"car\", \"truck\"]`"),
            );
        }
        let name = name_of(&left.value);
        match (self.operand(left)?, &set.value) {
            (Value::Condition(_), _) => self.compared_condition(left),
            (Value::Text(text), Set::List(items)) => {
                let value = spanned(text, left);
                let texts: Vec<_> = items
                    .iter()
                    .map(|item| self.text_constant(&value.value, &name, item))
                    .collect();
                Some(Condition::TextOneOf {
                    value,
                    texts: texts.into_iter().collect::<Option<_>>()?,
                })
            }
            (Value::Number(number), Set::List(items)) => {
                let value = spanned(number, left);
                let numbers: Vec<_> = items
                    .iter()
                    .map(|item| self.constant(&value.value, &name, item))
                    .collect();
                Some(Condition::OneOf {
                    value,
                    numbers: numbers.into_iter().collect::<Option<_>>()?,
                })
            }
            (Value::Number(number), Set::Range(low, high)) => {
                let value = spanned(number, left);
                let ends = [low, high].map(|end| self.constant(&value.value, &name, end));
                let (low, high) = (ends[0]?, ends[1]?);
                if low > high {
                    return self.report(
                        Problem::new(
                            code::OUT_OF_RANGE,
                            set.span.clone(),
                            "nothing lies in this range: its first end is above its second",
                        )
                        .helped(if matches!(&left.value, Operand::Call(call) if call.name.value == "clock") {
                            "over midnight, write `... >= 22 or ... < 6`"
                        } else {
                            "write the lower end first"
                        }),
                    );
                }
                Some(Condition::Between { value, low, high })
            }
            (Value::Text(text), Set::Range(..)) => self.report(
                Problem::new(
                    code::TYPES,
                    set.span.clone(),
                    format!("`{name}` is {} and has no order", text.kind()),
                )
                .helped("list what it may be, like [\"car\", \"truck\"]"),
            ),
        }
    }

    pub(super) fn matches(&mut self, left: &Spanned<Operand>, pattern: &Word) -> Option<Condition> {
        let value = if is_literal(&left.value) {
            None
        } else {
            Some(self.operand(left)?)
        };
        let Some(Value::Text(text)) = value else {
            let kind = value.map_or(kind_of(&left.value).to_owned(), |value| {
                value.kind().to_string()
            });
            return self.report(
                Problem::new(
                    code::TYPES,
                    left.span.clone(),
                    format!("`matches` looks into a text, and this is {kind}"),
                )
                .helped("write it like `attribute(\"plate\") matches \"^B-\"`"),
            );
        };
        if pattern.value.len() > PATTERN_BYTES_MAX {
            return self.report(
                Problem::new(
                    code::BAD_PATTERN,
                    pattern.span.clone(),
                    format!(
                        "a pattern of {} bytes is over the limit of {PATTERN_BYTES_MAX}",
                        pattern.value.len()
                    ),
                )
                .helped("write several patterns, joined by `or`"),
            );
        }
        match Pattern::new(&pattern.value) {
            Ok(pattern) => Some(Condition::Matches {
                value: spanned(text, left),
                pattern,
            }),
            Err(error) => self.report(
                Problem::new(
                    code::BAD_PATTERN,
                    pattern.span.clone(),
                    format!("this pattern cannot be used: {error}"),
                )
                .helped(
                    "it is a regular expression: `^` and `$` are the ends of the text, `.` is any \
                     character, and `\\\\` takes a sign's meaning away",
                ),
            ),
        }
    }

    fn operand(&mut self, operand: &Spanned<Operand>) -> Option<Value> {
        self.value(&operand.value, &operand.span)
    }

    fn compare_literal(
        &mut self,
        side: &Spanned<Operand>,
        comparison: Comparison,
        literal: &Spanned<Operand>,
    ) -> Option<Condition> {
        let name = name_of(&side.value);
        match self.operand(side)? {
            Value::Condition(_) => self.compared_condition(side),
            Value::Number(number) => {
                let constant = self.constant(&number, &name, literal)?;
                Some(Condition::Compare {
                    left: spanned(number, side),
                    comparison,
                    right: Spanned {
                        value: Number::Constant(constant),
                        span: literal.span.clone(),
                    },
                })
            }
            Value::Text(text) => {
                let constant = self.text_constant(&text, &name, literal)?;
                let equal = self.equality(text.kind(), comparison, literal)?;
                Some(Condition::CompareText {
                    left: spanned(text, side),
                    equal,
                    right: Spanned {
                        value: Text::Constant(constant),
                        span: literal.span.clone(),
                    },
                })
            }
        }
    }

    fn compare_values(
        &mut self,
        left: &Spanned<Operand>,
        comparison: Comparison,
        right: &Spanned<Operand>,
    ) -> Option<Condition> {
        let values = (self.operand(left), self.operand(right));
        match (values.0?, values.1?) {
            (Value::Condition(_), _) => self.compared_condition(left),
            (_, Value::Condition(_)) => self.compared_condition(right),
            (Value::Number(one), Value::Number(other)) if comparable(one.kind(), other.kind()) => {
                Some(Condition::Compare {
                    left: spanned(one, left),
                    comparison,
                    right: spanned(other, right),
                })
            }
            (Value::Text(one), Value::Text(other)) => {
                let equal = self.equality(one.kind(), comparison, right)?;
                Some(Condition::CompareText {
                    left: spanned(one, left),
                    equal,
                    right: spanned(other, right),
                })
            }
            (one, other) => {
                let (one_name, other_name) = (name_of(&left.value), name_of(&right.value));
                self.report(
                    Problem::new(
                        code::TYPES,
                        right.span.clone(),
                        format!("`{one_name}` cannot be compared with `{other_name}`"),
                    )
                    .labelled(format!(
                        "{}, but `{one_name}` is {}",
                        other.kind(),
                        one.kind()
                    )),
                )
            }
        }
    }

    fn compared_condition(&mut self, operand: &Spanned<Operand>) -> Option<Condition> {
        let name = name_of(&operand.value);
        self.report(
            Problem::new(
                code::TYPES,
                operand.span.clone(),
                format!("`{name}` is true or false by itself and cannot be compared"),
            )
            .helped(format!(
                "write `{name}` or `not {name}` without a comparison"
            )),
        )
    }

    /// Whether texts are compared for being the same.
    fn equality(
        &mut self,
        kind: Type,
        comparison: Comparison,
        other: &Spanned<Operand>,
    ) -> Option<bool> {
        match comparison {
            Comparison::Equal => Some(true),
            Comparison::NotEqual => Some(false),
            _ => {
                let what = match kind {
                    Type::Label => "labels have",
                    _ => "strings have",
                };
                self.report(
                    Problem::new(code::TYPES, other.span.clone(), format!("{what} no order"))
                        .helped("compare them by `==`, `!=` or `in`"),
                )
            }
        }
    }

    /// A literal as the text that `value` is compared with.
    fn text_constant(
        &mut self,
        value: &Text,
        name: &str,
        literal: &Spanned<Operand>,
    ) -> Option<String> {
        let Operand::String(text) = &literal.value else {
            let help = match value.kind() {
                Type::Label => "write it like `label == \"person\"`",
                _ => "write a string in double quotes",
            };
            return self.mismatch(value.kind(), name, literal, help);
        };
        match value {
            Text::Label => self.known_label(text, &literal.span)?,
            Text::Weekday(_) if !WEEKDAYS.contains(&text.as_str()) => {
                return self.report(
                    Problem::new(
                        code::OUT_OF_RANGE,
                        literal.span.clone(),
                        format!("no weekday is called \"{text}\""),
                    )
                    .suggesting(
                        suggest(text, WEEKDAYS.into_iter()),
                        format!("there is {}", WEEKDAYS.join(", ")),
                    ),
                );
            }
            _ => {}
        }
        Some(text.clone())
    }

    /// A literal as the number that `value` is compared with.
    fn constant(&mut self, value: &Number, name: &str, literal: &Spanned<Operand>) -> Option<f64> {
        let kind = value.kind();
        let number = match (kind, &literal.value) {
            (Type::Integer | Type::Number | Type::Fraction, Operand::Number(number)) => *number,
            (Type::Fraction, Operand::Percent(percent)) => percent / 100.0,
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact below 104 days; nothing is compared with more"
            )]
            (Type::Duration, Operand::Duration(nanoseconds)) => *nanoseconds as f64,
            (Type::Duration, _) => {
                return self.mismatch(
                    kind,
                    name,
                    literal,
                    "write a duration, like `10s` or `500ms`",
                );
            }
            (Type::Fraction, _) => {
                return self.mismatch(kind, name, literal, "write a number, like `0.6` or `60%`");
            }
            _ => return self.mismatch(kind, name, literal, "write a number"),
        };
        if let Some(maximum) = value.maximum()
            && number > maximum
        {
            let limit = match kind {
                Type::Duration => "24h".to_owned(),
                _ => maximum.to_string(),
            };
            return self.report(
                Problem::new(
                    code::OUT_OF_RANGE,
                    literal.span.clone(),
                    format!("`{name}` is never above {limit}"),
                )
                .helped(match (kind, &literal.value) {
                    (Type::Fraction, Operand::Number(_)) if number <= 100.0 => {
                        format!("did you mean `{number}%`?")
                    }
                    (Type::Fraction, _) => "write a number from 0 to 1, or up to 100%".to_owned(),
                    _ => format!("write at most {limit}"),
                }),
            );
        }
        // What is measured is f32. The constant is rounded the same way, or else a score of
        // 0.6 would be greater than 0.6.
        #[expect(clippy::cast_possible_truncation, reason = "that is the rounding")]
        Some(match kind {
            Type::Fraction | Type::Number => f64::from(number as f32),
            _ => number,
        })
    }

    fn mismatch<T>(
        &mut self,
        kind: Type,
        name: &str,
        literal: &Spanned<Operand>,
        help: &str,
    ) -> Option<T> {
        self.report(
            Problem::new(
                code::TYPES,
                literal.span.clone(),
                format!(
                    "`{name}` is {kind} and cannot be compared with {}",
                    kind_of(&literal.value)
                ),
            )
            .helped(help),
        )
    }
}

fn comparable(one: Type, other: Type) -> bool {
    let is_count = |kind| matches!(kind, Type::Integer | Type::Number);
    one == other || (is_count(one) && is_count(other))
}

fn spanned<T>(value: T, operand: &Spanned<Operand>) -> Spanned<T> {
    Spanned {
        value,
        span: operand.span.clone(),
    }
}

impl Comparison {
    /// The same comparison read from right to left.
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }
}
