//! `sluice models bench`

use std::io::Write;

use contract::exit::Exit;
use contract::study::{Answer, ConfigurationSpeed, Question, SpeedAnswer};

use super::choice::choose;
use super::{BenchArguments, CommandError, Progress, check_clips, print_json, study_failed};
use crate::cli::text::print_table;
use crate::models::study::{self, StudyError};

/// Frames that are measured on, again and again: more than fit into a cache, and few enough
/// to be kept.
const FRAMES_MAX: u32 = 48;
/// Sessions that get less of the cores than this are in somebody's way.
const PROCESSOR_SHARE_MIN: f64 = 0.9;

pub(super) fn bench(
    arguments: &BenchArguments,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let model = choose(&arguments.model)?;
    check_clips(&arguments.clips)?;
    let mut sources: Vec<_> = arguments
        .clips
        .iter()
        .map(|clip| study::clip(clip))
        .collect();
    if sources.is_empty() {
        sources.push(study::pattern(u64::from(FRAMES_MAX)));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let question = Question::Speed {
        model,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
    };
    let mut progress = Progress::begin();
    let mut show = |text: &str| progress.show(|| text.to_owned());
    let answer = study::ask(question, &sources, FRAMES_MAX, &mut show);
    drop(progress);
    let speed = match answer.map_err(|error| study_failed(&error))? {
        Answer::Speed(speed) => speed,
        _ => {
            let error = StudyError::Died("the infer worker answered another question".to_owned());
            return Err(study_failed(&error));
        }
    };
    if arguments.format.json {
        print_json(out, &speed)?;
    } else {
        print(&speed, arguments.clips.is_empty(), out)?;
    }
    Ok(Exit::Success)
}

fn print(
    speed: &SpeedAnswer,
    is_generated: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let kind = if is_generated { "generated" } else { "real" };
    writeln!(
        out,
        "{}, {} cores, {} {kind} frames; times are medians in ms\n",
        speed.model, speed.cores, speed.frames
    )?;
    let cells = |row: &ConfigurationSpeed| {
        vec![
            row.sessions.to_string(),
            row.threads.to_string(),
            format!("{:.1}", row.frames_per_second),
            format!("{:.2}", row.frame_ms),
            format!("{:.2}", row.preprocess_ms),
            format!("{:.2}", row.model_ms),
            format!("{:.2}", row.decode_ms),
        ]
    };
    let header = [
        "sessions",
        "threads each",
        "frames/s",
        "a frame",
        "preprocess",
        "model",
        "decode",
    ];
    let rows: Vec<_> = speed.configurations.iter().map(cells).collect();
    print_table(out, &header, &rows)?;
    writeln!(out)?;
    if let [_, _, ..] = speed.batches[..] {
        let cells = speed
            .batches
            .iter()
            .map(|row| vec![row.batch.to_string(), format!("{:.2}", row.model_ms)]);
        let rows: Vec<_> = cells.collect();
        print_table(out, &["batch", "model, a frame"], &rows)?;
        writeln!(out)?;
    } else {
        writeln!(out, "the file fixes its batch: one frame at a time\n")?;
    }
    for line in verdict(speed) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Which configuration wins, and what to write for it.
fn verdict(speed: &SpeedAnswer) -> Vec<String> {
    let rows = speed.configurations.iter();
    let by_rate = |one: &&ConfigurationSpeed, other: &&ConfigurationSpeed| {
        one.frames_per_second.total_cmp(&other.frames_per_second)
    };
    let by_time = |one: &&ConfigurationSpeed, other: &&ConfigurationSpeed| {
        one.frame_ms.total_cmp(&other.frame_ms)
    };
    let mut lines = Vec::new();
    let mut alone = rows.clone().filter(|row| row.threads == 1);
    if alone.any(|row| row.processor_share < PROCESSOR_SHARE_MIN) {
        let text = "other programs were busy meanwhile: measure again when they are not";
        lines.push(text.to_owned());
    }
    if let Some(row) = rows.clone().max_by(by_rate) {
        let rate = row.frames_per_second;
        lines.push(format!("most frames a second: {} ({rate:.0})", shape(row)));
    }
    if let Some(row) = rows.clone().min_by(by_time) {
        let time = row.frame_ms;
        lines.push(format!(
            "soonest done with a frame: {} ({time:.1} ms)",
            shape(row)
        ));
    }
    // A run has sessions of one thread only.
    if let Some(row) = rows.filter(|row| row.threads == 1).max_by(by_rate) {
        lines.push(format!("in a run config: `sessions: {}`", row.sessions));
    }
    lines
}

/// `2 sessions of 1 thread`
fn shape(row: &ConfigurationSpeed) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (sessions, threads) = (row.sessions, row.threads);
    format!(
        "{sessions} session{} of {threads} thread{}",
        plural(sessions),
        plural(threads)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sessions: usize, threads: usize, rate: f64, time: f64) -> ConfigurationSpeed {
        ConfigurationSpeed {
            sessions,
            threads,
            frames_per_second: rate,
            processor_share: 0.99,
            frame_ms: time,
            preprocess_ms: 0.4,
            model_ms: time - 0.5,
            decode_ms: 0.1,
        }
    }

    #[test]
    fn the_winner_depends_on_what_is_wanted() {
        let speed = SpeedAnswer {
            model: "nanodet 416x416".to_owned(),
            cores: 2,
            frames: 48,
            configurations: vec![
                row(1, 1, 45.0, 22.0),
                row(2, 1, 91.0, 22.1),
                row(1, 2, 71.0, 14.0),
            ],
            batches: Vec::new(),
        };
        assert_eq!(
            verdict(&speed),
            [
                "most frames a second: 2 sessions of 1 thread (91)",
                "soonest done with a frame: 1 session of 2 threads (14.0 ms)",
                "in a run config: `sessions: 2`",
            ]
        );
        let mut busy = speed;
        busy.configurations[1].processor_share = 0.6;
        assert!(verdict(&busy)[0].starts_with("other programs were busy"));
    }
}
