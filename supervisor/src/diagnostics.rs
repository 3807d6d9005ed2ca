//! Shows what is wrong with a run config or rule file.
//!
//! Two forms: for people at a terminal, the line with a mark under the place,
//! what is wrong and what to do; for logs and editors, one line a problem,
//! `file:line:column: error[C0104]: text`.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::config::Problems;

/// Columns of a report when the terminal does not say how many it has.
const WIDTH: usize = 80;

/// In which form problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One line a problem.
    Plain,
    /// With the line of the file and a mark under the place.
    Report {
        /// In colours.
        colour: bool,
    },
}

impl Look {
    /// The form for standard error: a report on a terminal, else plain.
    ///
    /// `environment` is asked for `NO_COLOR`.
    #[must_use]
    pub fn for_stderr(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain;
        }
        let no_colour = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::Report { colour: !no_colour }
    }
}

/// All problems and a last line that counts them; ends with a line break.
#[must_use]
pub fn render(problems: &Problems, look: Look) -> String {
    let mut rendered = String::new();
    for diagnostic in &problems.diagnostics {
        match look {
            Look::Plain => put_line(&mut rendered, diagnostic),
            Look::Report { colour } => {
                let text = problems.texts.get(&diagnostic.file);
                let report = Report {
                    diagnostic,
                    source: text.filter(|text| !text.is_empty()).map(|text| {
                        let name = diagnostic.file.display().to_string();
                        NamedSource::new(name, text.as_str().to_owned()).with_language("YAML")
                    }),
                };
                report.render(colour, &mut rendered);
                rendered.push('\n');
            }
        }
    }
    put_line(&mut rendered, &Summary(problems));
    rendered
}

fn put_line(rendered: &mut String, line: &dyn fmt::Display) {
    writeln!(rendered, "{line}").expect("writing into a String cannot fail");
}

/// `3 problems in configs/yard.yaml`
struct Summary<'a>(&'a Problems);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<_> = self
            .0
            .diagnostics
            .iter()
            .map(|problem| &problem.file)
            .collect();
        let count = files.len();
        files.dedup();
        let files: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(formatter, "{count} {noun} in {}", files.join(" and "))
    }
}

/// A diagnostic as `miette` wants it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a dsl::Diagnostic,
    /// `None` when there is no text to show: the file could not be read.
    source: Option<NamedSource<String>>,
}

impl Report<'_> {
    fn render(&self, colour: bool, rendered: &mut String) {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(WIDTH)
            .with_context_lines(1)
            .with_links(false);
        if handler.render_report(rendered, self).is_err() {
            put_line(rendered, &self.diagnostic);
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dsl::Diagnostic {
            code,
            message,
            file,
            ..
        } = self.diagnostic;
        write!(formatter, "error[{code}]: {message}")?;
        match self.source {
            Some(_) => Ok(()),
            None => write!(formatter, " ({})", file.display()),
        }
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let help = self.diagnostic.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let source = self.source.as_ref()?;
        Some(source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let diagnostic = self.diagnostic;
        let label = Some(diagnostic.label.clone()).filter(|label| !label.is_empty());
        let span = diagnostic.span.clone();
        Some(Box::new(std::iter::once(
            LabeledSpan::new_primary_with_span(label, span),
        )))
    }
}
