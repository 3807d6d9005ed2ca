//! `sluice rules fmt`: rule files in their canonical form.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use contract::exit::Exit;
use dsl::Diagnostic;
use dsl::format::format_rule_file;

use super::{CommandError, FmtArguments, read_bounded, read_text, wrong};
use crate::config::Problems;

/// How standard input is named in problems.
const STDIN: &str = "<stdin>";

pub(super) fn fmt(arguments: &FmtArguments, out: &mut impl Write) -> Result<Exit, CommandError> {
    let is_stdin = |file: &PathBuf| file.as_os_str() == "-";
    if !arguments.files.iter().any(is_stdin) {
        return fmt_files(arguments, out);
    }
    if arguments.files.len() > 1 {
        let text = "`-` stands alone: format standard input or files, not both";
        return Err(CommandError::other(Exit::Usage, text));
    }
    fmt_stdin(arguments.check, out)
}

fn fmt_stdin(check: bool, out: &mut impl Write) -> Result<Exit, CommandError> {
    let text = read_bounded(io::stdin().lock(), dsl::FILE_BYTES_MAX as u64).map_err(|reason| {
        let text = format!("cannot read standard input: {reason}");
        CommandError::other(Exit::Config, text)
    })?;
    let path = Path::new(STDIN);
    let formatted =
        formatted(&text, path).map_err(|diagnostics| wrong(path, &text, diagnostics))?;
    if !check {
        out.write_all(formatted.as_bytes())?;
        return Ok(Exit::Success);
    }
    if formatted == text {
        return Ok(Exit::Success);
    }
    writeln!(out, "standard input is not in canonical form")?;
    Ok(Exit::Failure)
}

fn fmt_files(arguments: &FmtArguments, out: &mut impl Write) -> Result<Exit, CommandError> {
    let mut problems = Problems {
        diagnostics: Vec::new(),
        texts: BTreeMap::new(),
        files: Vec::new(),
    };
    let mut unformatted = 0_usize;
    for path in &arguments.files {
        let text = read_text(path, dsl::FILE_BYTES_MAX as u64)?;
        match formatted(&text, path) {
            Ok(formatted) if formatted == text => {}
            Ok(_) if arguments.check => {
                writeln!(out, "{} is not in canonical form", path.display())?;
                unformatted += 1;
            }
            Ok(formatted) => {
                replace(path, &formatted).map_err(|error| {
                    let text = format!("cannot write {}: {error}", path.display());
                    CommandError::other(Exit::Environment, text)
                })?;
                writeln!(out, "formatted {}", path.display())?;
            }
            // The other files are formatted all the same.
            Err(diagnostics) => {
                problems.diagnostics.extend(diagnostics);
                problems.texts.insert(path.clone(), text);
            }
        }
    }
    if !problems.diagnostics.is_empty() {
        return Err(CommandError::Config(Box::new(problems)));
    }
    if unformatted > 0 {
        writeln!(out, "`sluice rules fmt FILE` formats it")?;
        return Ok(Exit::Failure);
    }
    Ok(Exit::Success)
}

fn formatted(text: &str, path: &Path) -> Result<String, Vec<Diagnostic>> {
    format_rule_file(text).map_err(|diagnostics| {
        let named = diagnostics.into_iter().map(|diagnostic| Diagnostic {
            file: path.to_owned(),
            ..diagnostic
        });
        named.collect()
    })
}

/// Gives a file a new text in one step: whoever reads it, as a run that watches it does,
/// finds the old or the new one, never a part. Permissions stay; of a link, the target
/// is replaced.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let temporary = target.with_file_name(name);
    let result =
        write_beside(&target, &temporary, text).and_then(|()| fs::rename(&temporary, &target));
    if result.is_err() {
        // The error tells more than what becomes of this.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_beside(target: &Path, temporary: &Path, text: &str) -> io::Result<()> {
    let permissions = fs::metadata(target)?.permissions();
    if permissions.readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(temporary)?;
    // Before anything is in it: an address in a rule may be for few eyes.
    file.set_permissions(permissions)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_permissions_also_behind_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("rules.yaml");
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        let link = directory.path().join("link.yaml");
        symlink(&file, &link).expect("linked");

        replace(&link, "new").expect("replaced");

        assert_eq!(fs::read_to_string(&file).expect("read"), "new");
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let is_link = fs::symlink_metadata(&link).expect("there").is_symlink();
        assert!(is_link);
        let left = fs::read_dir(directory.path()).expect("read").count();
        assert_eq!(left, 2, "nothing temporary is left");
    }

    #[test]
    fn a_file_that_must_not_be_written_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("rules.yaml");
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).expect("set");

        let error = replace(&file, "new").expect_err("read-only");

        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&file).expect("read"), "old");
        let left = fs::read_dir(directory.path()).expect("read").count();
        assert_eq!(left, 1, "nothing temporary is left");
    }
}
