//! A mistake inside one scalar, before it is known where that scalar stands.

use std::ops::Range;
use std::path::Path;

use crate::diagnostic::Diagnostic;

/// Like [`crate::Diagnostic`], but its span counts bytes of the scalar's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            label: String::new(),
            help: None,
        }
    }

    pub(crate) fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn helped(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice to write `suggestion`, if there is one; else with `otherwise`.
    pub(crate) fn suggesting(
        self,
        suggestion: Option<String>,
        otherwise: impl Into<String>,
    ) -> Self {
        match suggestion {
            Some(word) => self.helped(format!("did you mean `{word}`?")),
            None => self.helped(otherwise),
        }
    }

    /// The diagnostic, once it is known where in `text` the scalar's bytes stand.
    pub(crate) fn in_text(
        self,
        file: &Path,
        text: &str,
        place: impl FnOnce(Range<usize>) -> Range<usize>,
    ) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(self.code, file, text, place(self.span), self.message);
        diagnostic.label = self.label;
        diagnostic.help = self.help;
        diagnostic
    }
}
