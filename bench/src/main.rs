//! `sluice-bench`: measures Sluice beside the usual Python ways to do the same, in one run,
//! and writes what it found to a Markdown file.
//!
//! Machines are shared and noisy, so what counts are the ratios inside one run.

mod command;
mod hop;
mod job;
mod report;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

use report::Report;

/// Measures Sluice beside the usual Python ways to do the same.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the results go, inside the root.
    #[arg(long, default_value = "bench/RESULTS.md")]
    results: PathBuf,
    /// Times each whole-job measurement is repeated; medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Only the frame hop.
    Hop,
    /// Only the whole job.
    Job,
    /// The other side of a hop; started by `hop`.
    #[command(hide = true)]
    HopConsumer(hop::ConsumerArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let root = arguments.root.canonicalize().context("no such root")?;
    let mut report = Report::new(&root)?;
    if let Some(What::HopConsumer(consumer)) = &arguments.what {
        return hop::consume(consumer);
    }
    if !matches!(arguments.what, Some(What::Job)) {
        hop::measure(&root, &mut report)?;
    }
    if !matches!(arguments.what, Some(What::Hop)) {
        job::measure(&root, arguments.rounds.max(1), &mut report)?;
    }
    if arguments.what.is_none() {
        report.write(&root.join(&arguments.results))?;
    }
    Ok(())
}
