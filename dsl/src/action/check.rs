//! Syntax tree to action: names, arguments and what they may say.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Action, RECORD_AFTER_NS_MAX, RECORD_BEFORE_NS_MAX, SnapshotOf};
use crate::code;
use crate::diagnostic::suggest;
use crate::duration::format_duration;
use crate::problem::Problem;
use crate::rule_file::Subject;
use crate::tree::{Argument, Call, Expression, Operand, Spanned};
use crate::vocabulary::{ACTIONS, ActionSpec};

const RECORD_BEFORE_NS: u64 = 5_000_000_000;
const RECORD_AFTER_NS: u64 = 10_000_000_000;

/// Longest name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

const URL_BYTES_MAX: usize = 2048;

/// Longest name of an attribute, as of all names.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 48;

/// Longest value of an attribute: each track carries its own.
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 128;

/// The colours that have names.
const COLORS: &[(&str, [u8; 3])] = &[
    ("red", [255, 0, 0]),
    ("orange", [255, 128, 0]),
    ("yellow", [255, 255, 0]),
    ("green", [0, 255, 0]),
    ("cyan", [0, 255, 255]),
    ("blue", [0, 64, 255]),
    ("magenta", [255, 0, 255]),
    ("white", [255, 255, 255]),
];

/// Checks an item of `do:`. Of models that can be asked about crops, `None` knows all.
pub(crate) fn check(
    item: &Spanned<Operand>,
    subject: Subject,
    crop_models: Option<&BTreeSet<String>>,
) -> Result<Action, Problem> {
    let alone;
    let call = match &item.value {
        Operand::Call(call) => call,
        Operand::Field(name) => {
            alone = Call {
                name: Spanned {
                    value: name.clone(),
                    span: item.span.clone(),
                },
                arguments: Vec::new(),
                member: None,
            };
            &alone
        }
        _ => {
            let message = "an action is a word or a call, like `snapshot` or `publish(\"gate\")`";
            return Err(Problem::new(code::SYNTAX, item.span.clone(), message));
        }
    };
    let spec = find(call)?;
    if spec.on_track && subject != Subject::Track {
        return Err(needs_track(spec.name, call.name.span.clone()));
    }
    let values = bind(spec, call)?;
    let value = |index: usize| values.get(index).copied().flatten();
    let action = match spec.name {
        "alert" => Action::Alert,
        "draw" => Action::Draw {
            color: value(0).map(color).transpose()?,
        },
        "snapshot" => Action::Snapshot(snapshot_of(value(0), subject)?),
        "record" => record(value(0), value(1), &item.span)?,
        "tag" => tag(required(spec, value(0), &item.span)?, value(1))?,
        "publish" => Action::Publish {
            topic: topic(required(spec, value(0), &item.span)?)?,
        },
        "webhook" => Action::Webhook {
            url: url(required(spec, value(0), &item.span)?)?,
        },
        _ => Action::Infer {
            model: model(required(spec, value(0), &item.span)?, crop_models)?,
        },
    };
    Ok(action)
}

fn needs_track(what: &str, span: Range<usize>) -> Problem {
    Problem::new(
        code::WRONG_SUBJECT,
        span,
        format!("`{what}` is done to a track, and this rule is about none"),
    )
    .helped("give the rule `on: track`, or take the action out")
}

fn find(call: &Call) -> Result<&'static ActionSpec, Problem> {
    let name = &call.name.value;
    if let Some(member) = &call.member {
        return Err(Problem::new(
            code::ARGUMENTS,
            member.span.clone(),
            "an action has nothing behind its parentheses",
        ));
    }
    ACTIONS
        .iter()
        .find(|spec| spec.name == name)
        .ok_or_else(|| {
            let all: Vec<_> = ACTIONS.iter().map(|spec| spec.name).collect();
            Problem::new(
                code::BAD_CHOICE,
                call.name.span.clone(),
                format!("`{name}` is not an action"),
            )
            .suggesting(
                suggest(name, all.iter().copied()),
                format!("write one of {}", all.join(", ")),
            )
        })
}

struct Parameter {
    name: &'static str,
    /// It is written with its name, `before: 5s`.
    named: bool,
    required: bool,
}

const fn named(name: &'static str) -> Parameter {
    Parameter {
        name,
        named: true,
        required: false,
    }
}

const fn plain(name: &'static str, required: bool) -> Parameter {
    Parameter {
        name,
        named: false,
        required,
    }
}

fn parameters(action: &str) -> &'static [Parameter] {
    match action {
        "draw" => const { &[named("color")] },
        "snapshot" => const { &[plain("`best` or `frame`", false)] },
        "record" => const { &[named("before"), named("after")] },
        "tag" => const { &[plain("name", true), plain("value", false)] },
        "publish" => const { &[plain("topic", true)] },
        "webhook" => const { &[plain("URL", true)] },
        "infer" => const { &[plain("model", true)] },
        _ => &[],
    }
}

/// The value of each parameter.
fn bind<'c>(
    spec: &ActionSpec,
    call: &'c Call,
) -> Result<Vec<Option<&'c Spanned<Expression>>>, Problem> {
    let usage = format!("it is written {}", spec.usage);
    let parameters = parameters(spec.name);
    let mut values = vec![None; parameters.len()];
    for Argument { name, value } in &call.arguments {
        let free = |(index, parameter): &(usize, &Parameter)| match name {
            Some(name) => parameter.named && parameter.name == name.value,
            None => !parameter.named && values[*index].is_none(),
        };
        let parameter = parameters.iter().enumerate().find(free);
        let Some((index, _)) = parameter.filter(|(index, _)| values[*index].is_none()) else {
            let (message, span) = match name {
                Some(name) if parameter.is_some() => (
                    format!("`{}` is given twice", name.value),
                    name.span.clone(),
                ),
                Some(name) => (
                    format!("`{}` has no argument `{}`", spec.name, name.value),
                    name.span.clone(),
                ),
                None => (
                    format!("`{}` takes no such argument", spec.name),
                    value.span.clone(),
                ),
            };
            return Err(Problem::new(code::ARGUMENTS, span, message).helped(usage));
        };
        values[index] = Some(value);
    }
    let missing =
        |(parameter, value): &(&Parameter, &Option<_>)| parameter.required && value.is_none();
    match parameters.iter().zip(&values).find(missing) {
        Some((parameter, _)) => Err(Problem::new(
            code::ARGUMENTS,
            call.name.span.clone(),
            format!("`{}` needs its {}", spec.name, parameter.name),
        )
        .helped(usage)),
        None => Ok(values),
    }
}

/// A value that [`bind`] has seen to.
fn required<'c>(
    spec: &ActionSpec,
    value: Option<&'c Spanned<Expression>>,
    span: &Range<usize>,
) -> Result<&'c Spanned<Expression>, Problem> {
    value.ok_or_else(|| {
        Problem::new(
            code::ARGUMENTS,
            span.clone(),
            format!("`{}` needs an argument", spec.name),
        )
    })
}

fn string<'c>(value: &'c Spanned<Expression>, wanted: &str) -> Result<&'c str, Problem> {
    match &value.value {
        Expression::Operand(Operand::String(content)) => Ok(content),
        _ => Err(wrong_value(value, &format!("{wanted}, in double quotes"))),
    }
}

fn wrong_value(value: &Spanned<Expression>, wanted: &str) -> Problem {
    Problem::new(
        code::ARGUMENTS,
        value.span.clone(),
        format!("expected {wanted}"),
    )
}

fn color(value: &Spanned<Expression>) -> Result<[u8; 3], Problem> {
    let text = string(value, "a colour")?;
    if let Some((_, color)) = COLORS.iter().find(|(name, _)| *name == text) {
        return Ok(*color);
    }
    let channel =
        |digits: &str, place: usize| u8::from_str_radix(&digits[place..place + 2], 16).ok();
    let digits = text
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let color = digits.and_then(|digits| {
        Some([
            channel(digits, 0)?,
            channel(digits, 2)?,
            channel(digits, 4)?,
        ])
    });
    let names = || COLORS.iter().map(|(name, _)| *name);
    color.ok_or_else(|| {
        let all: Vec<_> = names().collect();
        Problem::new(
            code::BAD_COLOR,
            value.span.clone(),
            format!("\"{text}\" is not a colour"),
        )
        .suggesting(
            suggest(text, names()),
            format!("write \"#rrggbb\" or one of {}", all.join(", ")),
        )
    })
}

fn snapshot_of(
    value: Option<&Spanned<Expression>>,
    subject: Subject,
) -> Result<SnapshotOf, Problem> {
    let Some(value) = value else {
        return Ok(match subject {
            Subject::Track => SnapshotOf::Best,
            Subject::Frame | Subject::Stream => SnapshotOf::Frame,
        });
    };
    match &value.value {
        Expression::Operand(Operand::Field(word)) if word == "frame" => Ok(SnapshotOf::Frame),
        Expression::Operand(Operand::Field(word)) if word == "best" => match subject {
            Subject::Track => Ok(SnapshotOf::Best),
            Subject::Frame | Subject::Stream => {
                Err(needs_track("snapshot(best)", value.span.clone()))
            }
        },
        _ => Err(wrong_value(value, "`best` or `frame`")),
    }
}

fn record(
    before: Option<&Spanned<Expression>>,
    after: Option<&Spanned<Expression>>,
    span: &Range<usize>,
) -> Result<Action, Problem> {
    let part = |value, default, max| match value {
        Some(value) => duration(value, max),
        None => Ok(default),
    };
    let before_ns = part(before, RECORD_BEFORE_NS, RECORD_BEFORE_NS_MAX)?;
    let after_ns = part(after, RECORD_AFTER_NS, RECORD_AFTER_NS_MAX)?;
    if before_ns == 0 && after_ns == 0 {
        return Err(Problem::new(
            code::OUT_OF_RANGE,
            span.clone(),
            "a recording of 0s keeps nothing",
        )
        .helped("give it a time before or after the event"));
    }
    Ok(Action::Record {
        before_ns,
        after_ns,
    })
}

fn duration(value: &Spanned<Expression>, max: u64) -> Result<u64, Problem> {
    match value.value {
        Expression::Operand(Operand::Duration(nanoseconds)) if nanoseconds <= max => {
            Ok(nanoseconds)
        }
        Expression::Operand(Operand::Duration(nanoseconds)) => Err(Problem::new(
            code::OUT_OF_RANGE,
            value.span.clone(),
            format!(
                "{} is over the limit of {}",
                format_duration(nanoseconds),
                format_duration(max)
            ),
        )),
        _ => Err(wrong_value(value, "a duration, like 5s")),
    }
}

fn tag(name: &Spanned<Expression>, value: Option<&Spanned<Expression>>) -> Result<Action, Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let text = string(name, "a name")?;
    if text.is_empty() || text.len() > ATTRIBUTE_NAME_BYTES_MAX || !text.bytes().all(fits) {
        return Err(Problem::new(
            code::BAD_TAG,
            name.span.clone(),
            format!("\"{text}\" cannot be the name of an attribute"),
        )
        .helped(format!(
            "use 1 to {ATTRIBUTE_NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        )));
    }
    let content = value.map_or(Ok("true"), |value| string(value, "a value"))?;
    if content.is_empty() || content.len() > ATTRIBUTE_VALUE_BYTES_MAX {
        let span = value.unwrap_or(name).span.clone();
        return Err(Problem::new(
            code::BAD_TAG,
            span,
            format!(
                "the value of an attribute has 1 to {ATTRIBUTE_VALUE_BYTES_MAX} bytes, not {}",
                content.len()
            ),
        )
        .helped("an attribute that is not set reads as \"\""));
    }
    Ok(Action::Tag {
        name: text.to_owned(),
        value: content.to_owned(),
    })
}

fn topic(value: &Spanned<Expression>) -> Result<String, Problem> {
    let text = string(value, "the name of a topic")?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let length = 1..=TOPIC_BYTES_MAX;
    if length.contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err(Problem::new(
        code::BAD_TOPIC,
        value.span.clone(),
        format!("\"{text}\" cannot be the name of a topic"),
    )
    .helped(format!(
        "use 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`"
    )))
}

fn url(value: &Spanned<Expression>) -> Result<String, Problem> {
    let text = string(value, "a URL")?;
    let refuse = |message: &str, help: &str| {
        Err(Problem::new(code::BAD_URL, value.span.clone(), message).helped(help))
    };
    if text.len() > URL_BYTES_MAX {
        return refuse("the URL is too long", "a URL has at most 2048 bytes");
    }
    let Ok(uri) = text.parse::<http::Uri>() else {
        return refuse(
            "this is not a URL",
            "write it like \"https://example.org/hook\"",
        );
    };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refuse(
            "a webhook is called by `http` or `https`",
            "write it like \"https://example.org/hook\"",
        );
    };
    if authority.as_str().contains('@') {
        return refuse(
            "the URL holds a user or password",
            "rule files are stored and shown: keep secrets out of them",
        );
    }
    Ok(text.to_owned())
}

fn model(
    value: &Spanned<Expression>,
    crop_models: Option<&BTreeSet<String>>,
) -> Result<String, Problem> {
    let name = match &value.value {
        Expression::Operand(Operand::Field(name) | Operand::String(name)) => name,
        _ => return Err(wrong_value(value, "the name of a model")),
    };
    let Some(models) = crop_models.filter(|models| !models.contains(name)) else {
        return Ok(name.clone());
    };
    let known = || models.iter().map(String::as_str);
    let all: Vec<_> = known().collect();
    let problem = Problem::new(
        code::UNKNOWN_MODEL,
        value.span.clone(),
        format!("the run has no model `{name}` that can be asked about a track"),
    );
    let others = match &all[..] {
        [] => "it has none that finds objects in a crop or makes an embedding of it".to_owned(),
        all => format!("those that can are {}", all.join(", ")),
    };
    Err(problem.suggesting(suggest(name, known()), others))
}

/// That the run has no such model.
pub(crate) fn unknown_model(name: &str, models: &BTreeSet<String>, span: Range<usize>) -> Problem {
    let known = || models.iter().map(String::as_str);
    let all: Vec<_> = known().collect();
    Problem::new(
        code::UNKNOWN_MODEL,
        span,
        format!("the run has no model `{name}`"),
    )
    .suggesting(
        suggest(name, known()),
        format!("its models are {}", all.join(", ")),
    )
}
