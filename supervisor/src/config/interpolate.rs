//! `${NAME}` and `${file:PATH}` in values.

use std::io::Read;
use std::path::Path;

use dsl::yaml::{Node, Value};

use super::code;
use super::files::{FileKind, SourceFile};
use super::reader::Reader;

/// Most bytes of a file put in by `${file:PATH}`.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Gives the value of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `${...}` in every value of the tree; keys stay as they are.
pub(super) fn interpolate(reader: &Reader<'_>, node: &mut Node, environment: Environment<'_>) {
    if node
        .as_scalar()
        .is_some_and(|scalar| scalar.text.contains('$'))
    {
        let replaced = replace(reader, node, environment);
        if let Value::Scalar(scalar) = &mut node.value {
            scalar.text = replaced;
        }
        return;
    }
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            for item in items {
                interpolate(reader, item, environment);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                interpolate(reader, &mut entry.value, environment);
            }
        }
    }
}

/// The text of a scalar with each `${...}` replaced; one that cannot be is reported and stays.
fn replace(reader: &Reader<'_>, node: &Node, environment: Environment<'_>) -> String {
    let text = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        replaced.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let at = text.len() - rest.len();
        let (length, outcome) = reference(reader, rest, environment);
        match outcome {
            Ok(value) => replaced.push_str(&value),
            Err((message, help)) => {
                let span = node.span_within(reader.text, at..at + length);
                let problem = reader.problem(code::INTERPOLATION, &span, message);
                reader.report(problem.helped(help));
                reader.mark_unknown(&node.span);
                replaced.push_str(&rest[..length]);
            }
        }
        rest = &rest[length..];
    }
    replaced.push_str(rest);
    replaced
}

/// What is wrong, and what to do.
type Wrong = (String, String);

/// Reads what begins with `$`: its length, and what stands for it.
fn reference(
    reader: &Reader<'_>,
    text: &str,
    environment: Environment<'_>,
) -> (usize, Result<String, Wrong>) {
    if text.starts_with("$$") {
        return (2, Ok("$".to_owned()));
    }
    let Some(inside) = text.strip_prefix("${") else {
        return (1, Ok("$".to_owned()));
    };
    match inside.split_once('}') {
        Some((name, _)) => ("${}".len() + name.len(), value(reader, name, environment)),
        None => (
            text.len(),
            Err((
                "`${` without `}`".to_owned(),
                "write `${NAME}`, or `$$` for a `$`".to_owned(),
            )),
        ),
    }
}

/// What stands for the inside of `${...}`, or what is wrong and what to do.
fn value(reader: &Reader<'_>, name: &str, environment: Environment<'_>) -> Result<String, Wrong> {
    if let Some(path) = name.strip_prefix("file:") {
        let named = reader.directory.join(path);
        let read = read_file(&named);
        reader.note(match &read {
            Ok(text) => SourceFile::read(FileKind::Secret, &named, text.as_bytes(), None),
            Err(_) => SourceFile::missing(FileKind::Secret, &named),
        });
        return read.map_err(|reason| {
            (
                format!("the file of `${{file:{path}}}` {reason}"),
                "relative paths begin at the directory of this file".to_owned(),
            )
        });
    }
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err((
            format!("`${{{name}}}` names no environment variable"),
            "write `${NAME}` or `${file:PATH}`; `$$` stands for a `$`".to_owned(),
        ));
    }
    environment(name).ok_or_else(|| {
        (
            format!("the environment variable `{name}` is not set"),
            format!("set it before the start: `export {name}=...`"),
        )
    })
}

/// The text of a file without its last line break, or why it cannot be had.
fn read_file(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::InvalidData => "is not UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}
