//! The files that a config was made from: what a reload watches, compares and records.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One file that was read, or that should have been there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Absolute, as it is named: symbolic links are not followed, for they may change.
    pub path: PathBuf,
    /// What it is for.
    pub kind: FileKind,
    /// SHA-256 of its bytes; `None` when it could not be read.
    pub digest: Option<[u8; 32]>,
    /// Its text as it may be stored and shown; `None` for secrets and what could not be read.
    pub text: Option<String>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// The run config itself.
    Config,
    /// Zones, lines, gates and rules.
    Rules,
    /// Class names of a model.
    Labels,
    /// Put in by `${file:PATH}`.
    Secret,
}

impl SourceFile {
    /// A file whose bytes were read; `text` is what of it may be shown.
    pub(super) fn read(kind: FileKind, path: &Path, bytes: &[u8], text: Option<String>) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            digest: Some(Sha256::digest(bytes).into()),
            text,
        }
    }

    /// A file that could not be read.
    pub(super) fn missing(kind: FileKind, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            digest: None,
            text: None,
        }
    }
}
