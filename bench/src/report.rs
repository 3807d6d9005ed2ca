//! The Markdown file of results.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command;

/// Collects sections, printing each as it comes.
pub(crate) struct Report {
    text: String,
}

impl Report {
    /// Begins with what machine this is.
    pub(crate) fn new(root: &Path) -> anyhow::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo").context("no /proc/cpuinfo")?;
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("an unknown processor", |(_, name)| name.trim());
        let cores = std::thread::available_parallelism()?;
        let mut revision = command::command(root, "git");
        revision.args(["describe", "--always", "--dirty"]);
        let revision = command::timed(&mut revision).map_or("unknown".to_owned(), |(_, output)| {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        });
        let text = format!(
            "# Results\n\n\
             Written by `make bench` (`target/release/sluice-bench`): everything below comes from \
             one run on one machine, so the ratios hold where the absolute figures do not.\n\n\
             Machine: {model}, {cores} cores. Revision {revision}.\n"
        );
        Ok(Self { text })
    }

    /// A heading with the text under it.
    pub(crate) fn section(&mut self, title: &str, body: &str) {
        self.add(&format!("\n## {title}\n\n{body}\n"));
    }

    /// A table: each row has as many cells as the head.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let mut table = String::from("\n");
        let _ = writeln!(table, "| {} |", head.join(" | "));
        let _ = writeln!(table, "|{}", "---|".repeat(head.len()));
        for row in rows {
            let _ = writeln!(table, "| {} |", row.join(" | "));
        }
        self.add(&table);
    }

    #[expect(
        clippy::print_stdout,
        reason = "a bench shows what it finds as it goes"
    )]
    fn add(&mut self, text: &str) {
        print!("{text}");
        self.text.push_str(text);
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, &self.text).with_context(|| format!("cannot write {}", path.display()))
    }
}
