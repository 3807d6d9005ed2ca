//! From a file to a checked run config.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use dsl::Diagnostic;
use dsl::yaml::{self, FaultKind};

use super::files::{FileKind, SourceFile};
use super::interpolate::{Environment, interpolate};
use super::reader::Reader;
use super::redact::redact;
use super::{Problems, RunConfig, code};

/// Most bytes of a run config or rule file.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks a run config.
///
/// `path` is shown in problems as it is given. `environment` gives the value of
/// a variable for `${NAME}`.
///
/// # Errors
/// [`Problems`]: all that is wrong with it and with the rule file it names.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<RunConfig, Problems> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut file = SourceFile::missing(FileKind::Config, &absolute);
    let (text, span, reason) = match read_bytes(path, TEXT_BYTES_MAX) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return parse(&text, path, environment),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                file = SourceFile::read(FileKind::Config, &absolute, error.as_bytes(), None);
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                (text, at..at + 1, "is not UTF-8".to_owned())
            }
        },
        Err(reason) => (String::new(), 0..0, reason),
    };
    let message = format!("the run config {reason}");
    let problem = Diagnostic::new(code::UNREADABLE, path, &text, span, message);
    let texts = BTreeMap::from([(path.to_owned(), redact(&text))]);
    Err(Problems::new(path, vec![problem], texts, vec![file]))
}

/// Checks the text of a run config; `path` is where it stands or would stand.
///
/// # Errors
/// [`Problems`]: all that is wrong with it and with the rule file it names.
pub fn parse(text: &str, path: &Path, environment: Environment<'_>) -> Result<RunConfig, Problems> {
    let mut texts = BTreeMap::from([(path.to_owned(), redact(text))]);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let reader = Reader::new(path, text, directory);
    let (kind, shown) = (FileKind::Config, redact(text));
    reader.note(SourceFile::read(
        kind,
        &absolute,
        text.as_bytes(),
        Some(shown),
    ));
    let config = read(&reader, &absolute, environment, &mut texts);
    let (diagnostics, files) = reader.into_found();
    match config {
        Some(config) if diagnostics.is_empty() => Ok(RunConfig {
            files,
            engine_cache: engine_cache(environment),
            ..config
        }),
        _ => Err(Problems::new(path, diagnostics, texts, files)),
    }
}

/// Engines can be built anew from what is kept elsewhere, and are good for any run of this user on
/// this machine: so they lie where the XDG base directory specification has such files.
fn engine_cache(environment: Environment<'_>) -> Option<PathBuf> {
    let named = environment("XDG_CACHE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let home = || Some(Path::new(&environment("HOME")?).join(".cache"));
    let base = named.or_else(home).filter(|path| path.is_absolute())?;
    Some(base.join("sluice/tensorrt"))
}

fn read(
    reader: &Reader<'_>,
    absolute: &Path,
    environment: Environment<'_>,
    texts: &mut BTreeMap<PathBuf, String>,
) -> Option<RunConfig> {
    let document = yaml::parse(reader.text);
    let is_empty = document.root.as_ref().is_none_or(yaml::Node::is_null);
    if is_empty && document.faults.is_empty() {
        reader.report(
            reader
                .problem(code::NOTHING, &(0..0), "the run config is empty")
                .helped("the shortest one is `run: NAME` and `streams: {NAME: {source: FILE}}`"),
        );
        return None;
    }
    for fault in document.faults {
        let code = match fault.kind {
            FaultKind::Syntax => code::SYNTAX,
            FaultKind::DuplicateKey => code::DUPLICATE_KEY,
        };
        reader.report(fault.diagnostic(code, reader.file, reader.text));
    }
    let mut root = document.root?;
    interpolate(reader, &mut root, environment);
    RunConfig::read(reader, &root, absolute, texts)
}

/// The text of a file, or why it cannot be had, to complete "the file ...".
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let bytes = read_bytes(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        format!("is not UTF-8: byte {byte} begins no character")
    })
}

fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_kept_where_caches_are() {
        let cache = |variables: &[(&str, &str)]| {
            let value = |name: &str| {
                let mut variables = variables.iter();
                let found = variables.find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            engine_cache(&value)
        };
        let (home, named) = (("HOME", "/home/me"), ("XDG_CACHE_HOME", "/cache"));
        assert_eq!(cache(&[home, named]), Some("/cache/sluice/tensorrt".into()));
        let in_home = Some("/home/me/.cache/sluice/tensorrt".into());
        assert_eq!(cache(&[home]), in_home);
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "here")]), in_home);
        assert_eq!(cache(&[("HOME", "")]), None);
        assert_eq!(cache(&[]), None);
    }
}
