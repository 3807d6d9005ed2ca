//! Calls: each function and its arguments.

use std::ops::Range;

use super::{Checker, Place, name_of};
use crate::code;
use crate::diagnostic::suggest;
use crate::problem::Problem;
use crate::rule_file::Subject;
use crate::tree::{Argument, Call, Expression, Operand, Spanned};
use crate::typed::{ClockPart, Condition, Fold, Home, Number, Text, Value};
use crate::vocabulary::{Function, FunctionSpec};

impl Checker<'_> {
    pub(super) fn call(&mut self, call: &Call, span: &Range<usize>) -> Option<Value> {
        let spec = self.function(&call.name)?;
        if let Some(name) = call
            .arguments
            .iter()
            .find_map(|argument| argument.name.as_ref())
        {
            return self.wrong(
                &name.span,
                format!("the arguments of `{}` have no names", spec.name),
                spec,
            );
        }
        if let Some(member) = &call.member
            && spec.function != Function::Clock
        {
            return self.wrong(
                &member.span,
                format!("`{}` has no `.{}`", spec.usage, member.value),
                spec,
            );
        }
        let arguments = &call.arguments;
        match spec.function {
            Function::InZone => {
                let zone = self.only_zone(spec, arguments, span)?;
                Some(Value::Condition(Condition::InZone(zone)))
            }
            Function::Entered => {
                let zone = self.only_zone(spec, arguments, span)?;
                Some(Value::Condition(Condition::Entered(zone)))
            }
            Function::Left => {
                let zone = self.only_zone(spec, arguments, span)?;
                Some(Value::Condition(Condition::Left(zone)))
            }
            Function::Dwell => {
                let zone = self.only_zone(spec, arguments, span)?;
                Some(Value::Number(Number::Dwell(zone)))
            }
            Function::Motion => {
                let zone = self.only_zone(spec, arguments, span)?;
                Some(Value::Number(Number::ZoneMotion(zone)))
            }
            Function::Crossed => self.crossed(spec, arguments, span),
            Function::Distance => self.distance(spec, arguments, span),
            Function::Attribute => {
                let name = self.only_string(spec, arguments, span)?;
                Some(Value::Text(Text::Attribute(name.value)))
            }
            Function::StreamLabel => {
                let name = self.only_string(spec, arguments, span)?;
                Some(Value::Text(Text::StreamLabel(name.value)))
            }
            Function::Exists => {
                let [condition] = self.taking(spec, arguments, span)?;
                let condition = self.counted(spec, span, |this| this.condition(condition))?;
                Some(Value::Condition(Condition::Exists(Box::new(condition))))
            }
            Function::Count => self.count(spec, arguments, span),
            Function::All => self.all(spec, arguments, span),
            Function::Minimum => self.fold(spec, Fold::Minimum, arguments, span),
            Function::Maximum => self.fold(spec, Fold::Maximum, arguments, span),
            Function::Average => self.fold(spec, Fold::Average, arguments, span),
            Function::Rate => self.rate(spec, arguments, span),
            Function::Clock => self.clock(spec, call, span),
            Function::Every => self.every(spec, arguments, span),
            Function::Changed => {
                let [value] = self.taking(spec, arguments, span)?;
                let value = Spanned {
                    value: self.value_or_condition(value)?,
                    span: value.span.clone(),
                };
                let slot = self.slot(spec.name, Home::Memory, span)?;
                Some(Value::Condition(Condition::Changed {
                    value: Box::new(value),
                    slot,
                }))
            }
        }
    }

    fn crossed(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        const WAYS: [&str; 2] = ["left_to_right", "right_to_left"];
        let (line, way) = match arguments {
            [line] => (line, None),
            [line, way] => (line, Some(way)),
            _ => return self.wrong_count(spec, arguments.len(), span),
        };
        let index = match bare_word(&line.value) {
            Some(name) => self.line(name, &line.value.span),
            None => self.unquoted(spec, "line", &line.value),
        };
        let (right, left) = match way.map(|way| (bare_word(&way.value), &way.value.span)) {
            None => (true, true),
            Some((Some("left_to_right"), _)) => (true, false),
            Some((Some("right_to_left"), _)) => (false, true),
            Some((word, span)) => {
                return self.report(
                    Problem::new(
                        code::BAD_CHOICE,
                        span.clone(),
                        "a line is crossed `left_to_right` or `right_to_left`",
                    )
                    .suggesting(
                        word.and_then(|word| suggest(word, WAYS.into_iter())),
                        "as seen walking from the line's `from` to its `to`",
                    ),
                );
            }
        };
        Some(Value::Condition(Condition::Crossed {
            line: index?,
            right,
            left,
        }))
    }

    fn distance(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let [argument] = self.taking(spec, arguments, span)?;
        let Some(name) = bare_word(argument) else {
            return self.unquoted(spec, "zone or line", argument);
        };
        if name != "track" {
            let line = self.names.lines.iter().any(|line| line == name);
            return Some(Value::Number(if line {
                Number::DistanceToLine(self.line(name, &argument.span)?)
            } else {
                Number::DistanceToZone(self.zone(name, &argument.span)?)
            }));
        }
        let (message, help) = match self.subject() {
            Some(Subject::Track) if self.counted => {
                return Some(Value::Number(Number::DistanceToOwn));
            }
            Some(Subject::Track) => (
                "the distance of the track to itself is always 0",
                "write it inside of an aggregate: `exists(label == \"person\" and distance(track) < 0.1)`",
            ),
            _ => (
                "`distance(track)` is the distance to a rule's own track, and this rule has none",
                "write `on: track`, or name a zone or line",
            ),
        };
        self.report(Problem::new(code::WRONG_SCOPE, argument.span.clone(), message).helped(help))
    }

    fn count(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let window = self.window.take();
        let [condition] = self.taking(spec, arguments, span)?;
        let condition = Box::new(self.counted(spec, span, |this| this.condition(condition))?);
        Some(Value::Number(match window {
            None => Number::Count(condition),
            Some(window) => {
                let home = self.home(&condition.value);
                Number::CountWithin {
                    slot: self.slot("count(...) within", home, span)?,
                    condition,
                    window_ns: window.value,
                }
            }
        }))
    }

    fn all(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let (condition, filter) = self.filtered(spec, arguments, span)?;
        let (condition, filter) = self.counted(spec, span, |this| {
            let condition = this.condition(condition);
            let filter = filter.map(|filter| this.condition(filter));
            Some((condition?, filter))
        })?;
        let filter = match filter {
            Some(filter) => Some(Box::new(filter?)),
            None => None,
        };
        Some(Value::Condition(Condition::All {
            condition: Box::new(condition),
            filter,
        }))
    }

    fn fold(
        &mut self,
        spec: &'static FunctionSpec,
        fold: Fold,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let (value, filter) = self.filtered(spec, arguments, span)?;
        let (value, filter) = self.counted(spec, span, |this| {
            let number = match &value.value {
                Expression::Operand(operand @ (Operand::Field(_) | Operand::Call(_))) => {
                    let found = this.value(operand, &value.span);
                    found.and_then(|found| this.number(found, &name_of(operand), &value.span))
                }
                _ => this.wrong(
                    &value.span,
                    format!("`{}` takes a value of a track, like `score`", spec.name),
                    spec,
                ),
            };
            let filter = filter.map(|filter| this.condition(filter));
            Some((
                Spanned {
                    value: number?,
                    span: value.span.clone(),
                },
                filter,
            ))
        })?;
        let filter = match filter {
            Some(filter) => Some(Box::new(filter?)),
            None => None,
        };
        Some(Value::Number(Number::Fold {
            fold,
            value: Box::new(value),
            filter,
        }))
    }

    fn rate(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let [condition, window] = self.taking(spec, arguments, span)?;
        let window_ns = match &window.value {
            Expression::Operand(Operand::Duration(nanoseconds)) => self.window(&Spanned {
                value: *nanoseconds,
                span: window.span.clone(),
            }),
            _ => self.wrong(
                &window.span,
                "the window of a rate is a duration".to_owned(),
                spec,
            ),
        };
        let condition = Box::new(self.counted(spec, span, |this| this.condition(condition))?);
        let home = self.home(&condition.value);
        Some(Value::Number(Number::Rate {
            slot: self.slot(spec.name, home, span)?,
            condition,
            window_ns: window_ns?,
        }))
    }

    fn clock(
        &mut self,
        spec: &'static FunctionSpec,
        call: &Call,
        span: &Range<usize>,
    ) -> Option<Value> {
        const MEMBERS: [&str; 4] = ["hour", "minute", "weekday", "time"];
        let name = self.only_string(spec, &call.arguments, span)?;
        let zone = self.time_zone(&name.value, &name.span);
        let Some(member) = &call.member else {
            return self.wrong(
                span,
                "`clock` needs to know what of the time".to_owned(),
                spec,
            );
        };
        let part = match member.value.as_str() {
            "hour" => ClockPart::Hour,
            "minute" => ClockPart::Minute,
            "time" => ClockPart::Time,
            "weekday" => return Some(Value::Text(Text::Weekday(zone?))),
            other => {
                return self.report(
                    Problem::new(
                        code::ARGUMENTS,
                        member.span.clone(),
                        format!("a clock has no `.{other}`"),
                    )
                    .suggesting(
                        suggest(other, MEMBERS.into_iter()),
                        "it has `.hour`, `.minute`, `.weekday` and `.time`",
                    ),
                );
            }
        };
        Some(Value::Number(Number::Clock { zone: zone?, part }))
    }

    fn every(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Value> {
        let [interval] = self.taking(spec, arguments, span)?;
        match &interval.value {
            Expression::Operand(Operand::Duration(interval_ns)) if *interval_ns > 0 => {
                let slot = self.slot(spec.name, Home::Memory, span)?;
                Some(Value::Condition(Condition::Every {
                    interval_ns: *interval_ns,
                    slot,
                }))
            }
            _ => self.report(
                Problem::new(
                    code::ARGUMENTS,
                    interval.span.clone(),
                    "`every` takes a duration above 0",
                )
                .helped("write it like `every(2s)` or `every(500ms)`"),
            ),
        }
    }

    /// Checks what is asked of each counted track.
    fn counted<T>(
        &mut self,
        spec: &'static FunctionSpec,
        span: &Range<usize>,
        check: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.counted {
            return self.report(
                Problem::new(
                    code::NESTED,
                    span.clone(),
                    format!("`{}` stands inside of another aggregate", spec.name),
                )
                .helped("an aggregate asks each track by itself; write the two side by side"),
            );
        }
        self.counted = true;
        let checked = check(self);
        self.counted = false;
        checked
    }

    /// Where the set of tracks that `condition` holds for is remembered.
    fn home(&self, condition: &Condition) -> Home {
        match self.place {
            Place::Rule(Subject::Track) if !condition.depends_on_own() => Home::Shared,
            _ => Home::Memory,
        }
    }

    fn only_zone(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<u8> {
        let [argument] = self.taking(spec, arguments, span)?;
        match bare_word(argument) {
            Some(name) => self.zone(name, &argument.span),
            None => self.unquoted(spec, "zone", argument),
        }
    }

    fn only_string(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &[Argument],
        span: &Range<usize>,
    ) -> Option<Spanned<String>> {
        let [argument] = self.taking(spec, arguments, span)?;
        match &argument.value {
            Expression::Operand(Operand::String(text)) => Some(Spanned {
                value: text.clone(),
                span: argument.span.clone(),
            }),
            _ => self.wrong(
                &argument.span,
                format!("`{}` takes a string in double quotes", spec.name),
                spec,
            ),
        }
    }

    /// One argument, or one and a filter.
    fn filtered<'t>(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &'t [Argument],
        span: &Range<usize>,
    ) -> Option<(&'t Spanned<Expression>, Option<&'t Spanned<Expression>>)> {
        match arguments {
            [only] => Some((&only.value, None)),
            [first, filter] => Some((&first.value, Some(&filter.value))),
            _ => self.wrong_count(spec, arguments.len(), span),
        }
    }

    fn taking<'t, const COUNT: usize>(
        &mut self,
        spec: &'static FunctionSpec,
        arguments: &'t [Argument],
        span: &Range<usize>,
    ) -> Option<[&'t Spanned<Expression>; COUNT]> {
        let values: Vec<_> = arguments.iter().map(|argument| &argument.value).collect();
        match values.try_into() {
            Ok(values) => Some(values),
            Err(_) => self.wrong_count(spec, arguments.len(), span),
        }
    }

    /// A zone or line that is not named by a bare word.
    fn unquoted<T>(
        &mut self,
        spec: &'static FunctionSpec,
        what: &str,
        argument: &Spanned<Expression>,
    ) -> Option<T> {
        if let Expression::Operand(Operand::String(name)) = &argument.value {
            return self.report(
                Problem::new(
                    code::ARGUMENTS,
                    argument.span.clone(),
                    format!("a {what} is named without quotes"),
                )
                .helped(format!("write `{}({name})`", spec.name)),
            );
        }
        self.wrong(
            &argument.span,
            format!("`{}` takes the name of a {what}", spec.name),
            spec,
        )
    }

    fn wrong_count<T>(
        &mut self,
        spec: &'static FunctionSpec,
        found: usize,
        span: &Range<usize>,
    ) -> Option<T> {
        self.wrong(
            span,
            match found {
                1 => format!("`{}` does not take 1 argument", spec.name),
                _ => format!("`{}` does not take {found} arguments", spec.name),
            },
            spec,
        )
    }

    fn wrong<T>(
        &mut self,
        span: &Range<usize>,
        message: String,
        spec: &'static FunctionSpec,
    ) -> Option<T> {
        self.report(
            Problem::new(code::ARGUMENTS, span.clone(), message)
                .helped(format!("write {}", spec.usage)),
        )
    }
}

/// A word without quotes, such as the name of a zone.
fn bare_word(argument: &Spanned<Expression>) -> Option<&str> {
    match &argument.value {
        Expression::Operand(Operand::Field(name)) => Some(name),
        _ => None,
    }
}
