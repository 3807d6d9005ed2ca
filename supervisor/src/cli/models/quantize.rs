//! `sluice models quantize`

use std::io::Write;

use contract::exit::Exit;

use super::choice::choose;
use super::{CommandError, Progress, QuantizeArguments, check_clips, print_json};
use crate::models::quantize::{self, Outcome, Request};

pub(super) fn quantize(
    arguments: &QuantizeArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let request = Request {
        model: choose(&arguments.model)?,
        clips: &arguments.clips,
        out: &arguments.out,
        agreement_min: arguments.agreement_min,
    };
    check_clips(&arguments.clips)?;
    let mut progress = Progress::begin();
    let mut show = |text: &str| progress.show(|| text.to_owned());
    let outcome = quantize::quantize(&request, &mut show)
        .map_err(|error| CommandError::other(error.exit(), error.to_string()))?;
    drop(progress);
    if arguments.format.json {
        print_json(out, &outcome)?;
    } else {
        print(&outcome, out)?;
    }
    match &outcome.rejected {
        None => Ok(Exit::Success),
        Some(reason) => {
            out.flush()?;
            let text = format!(
                "the int8 model is refused: {reason}; it is kept as {}",
                outcome.file.display()
            );
            Err(CommandError::other(Exit::Model, text))
        }
    }
}

fn print(outcome: &Outcome, out: &mut impl Write) -> Result<(), CommandError> {
    let agreement = &outcome.agreement;
    writeln!(
        out,
        "calibrated on {} frames, judged on {} others, in which the original finds {} objects",
        outcome.calibration_frames, agreement.frames, agreement.truths
    )?;
    writeln!(
        out,
        "speed      {:.2} ms of processor time a frame instead of {:.2}: {:.2} times as quick",
        agreement.candidate_ms,
        agreement.original_ms,
        outcome.speedup()
    )?;
    if let Some(precision) = agreement.average_precision {
        writeln!(
            out,
            "agreement  {precision:.4} average precision (IoU 0.5) against the original, at least {} asked for",
            outcome.agreement_min
        )?;
    }
    writeln!(
        out,
        "size       {:.1} MB instead of {:.1}",
        megabytes(outcome.bytes),
        megabytes(outcome.original_bytes)
    )?;
    if outcome.rejected.is_none() {
        writeln!(out, "written    {}", outcome.file.display())?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
