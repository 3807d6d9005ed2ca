//! `sluice-bench`: measures Sluice beside the usual Python ways to do the same, in one run,
//! and writes what it found to a Markdown file.
//!
//! Machines are shared and noisy, so what counts are the ratios inside one run.

mod cameras;
mod command;
mod database;
mod glass;
mod hop;
mod infer;
mod job;
mod latency;
mod processes;
mod reload;
mod report;
mod rules;
mod scale;
mod viewers;

use std::path::PathBuf;
use std::time::Duration;

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
    /// Only the evaluation and compiling of rules.
    Rules,
    /// Only edits of a live run.
    Reload,
    /// Only what inference adds to the model.
    Infer,
    /// Only eight streams that share a model.
    Scale,
    /// Only the latency from a camera's picture to a viewer's.
    Glass,
    /// Only what many viewers of one stream cost.
    Viewers,
    /// Only many cameras; not among the others, it takes its time.
    Cameras {
        /// How long each run lasts.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// The other side of a hop; started by `hop`.
    #[command(hide = true)]
    HopConsumer(hop::ConsumerArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let root = arguments.root.canonicalize().context("no such root")?;
    let mut report = Report::new(&root)?;
    let rounds = arguments.rounds.max(1);
    match arguments.what {
        Some(What::HopConsumer(consumer)) => return hop::consume(&consumer),
        Some(What::Hop) => hop::measure(&root, &mut report)?,
        Some(What::Rules) => rules::measure(&mut report)?,
        Some(What::Reload) => reload::measure(&root, &mut report)?,
        Some(What::Infer) => infer::measure(&root, rounds, &mut report)?,
        Some(What::Scale) => scale::measure(&root, &mut report)?,
        Some(What::Glass) => glass::measure(&root, &mut report)?,
        Some(What::Viewers) => viewers::measure(&root, &mut report)?,
        Some(What::Cameras { seconds }) => {
            cameras::measure(&root, Duration::from_secs(seconds), &mut report)?;
        }
        Some(What::Job) => job::measure(&root, rounds, &mut report)?,
        None => {
            hop::measure(&root, &mut report)?;
            rules::measure(&mut report)?;
            reload::measure(&root, &mut report)?;
            infer::measure(&root, rounds, &mut report)?;
            scale::measure(&root, &mut report)?;
            glass::measure(&root, &mut report)?;
            viewers::measure(&root, &mut report)?;
            job::measure(&root, rounds, &mut report)?;
            report.write(&root.join(&arguments.results))?;
        }
    }
    Ok(())
}
