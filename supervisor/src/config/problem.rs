//! All that is wrong with a config.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use dsl::Diagnostic;

use super::SourceFile;

/// Everything found wrong, file by file, in the order of the text; never empty.
#[derive(Debug, Clone)]
pub struct Problems {
    /// Each problem with its place.
    pub diagnostics: Vec<Diagnostic>,
    /// The text of each file a diagnostic speaks of, passwords blanked, to show the lines from.
    pub texts: BTreeMap<PathBuf, String>,
    /// The files that were looked at: when one of them changes, it may be right.
    pub files: Vec<SourceFile>,
}

impl Problems {
    /// `config` is the run config; the files it names come after it.
    pub(super) fn new(
        config: &Path,
        mut diagnostics: Vec<Diagnostic>,
        texts: BTreeMap<PathBuf, String>,
        files: Vec<SourceFile>,
    ) -> Self {
        let place = |problem: &Diagnostic| {
            let Diagnostic {
                file, span, code, ..
            } = problem;
            (file != config, file.clone(), span.start, *code)
        };
        diagnostics.sort_by_key(place);
        Self {
            diagnostics,
            texts,
            files,
        }
    }
}

/// One line a problem: `file:line:column: error[C0104]: text`.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
