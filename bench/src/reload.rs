//! Edits of a live run: from the save of a rule file to the new rules in force, and what is lost.

use std::fs;
use std::path::Path;
use std::time::Duration;

use contract::clock;

use crate::command::{Run, pause, wait};
use crate::database::{Database, LIVE};
use crate::report::Report;

/// Saves that are measured.
const SAVES: usize = 60;
/// Between two saves; longer than any reload, so that none waits for the one before.
const PAUSE: Duration = Duration::from_millis(400);

/// Runs two live streams and edits their rules.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("run.yaml");
    let clip = |name: &str| root.join(".deps/clips").join(name).display().to_string();
    let model = root.join("assets/models/nanodet-416-int8.onnx");
    fs::write(
        &config,
        format!(
            "run: edited\nmodels:\n  people: {{file: {model}, family: nanodet, labels: coco, score: 0.4}}\n\
             defaults: {{pace: live, loop: true, infer: [people]}}\nstreams:\n  \
             yard: {{source: {walking}, size: 768x576, outputs: [{{record: yard}}]}}\n  \
             road: {{source: {traffic}, size: 640x272}}\nrules: rules.yaml\n",
            model = model.display(),
            walking = clip("walking.mp4"),
            traffic = clip("traffic.mp4"),
        ),
    )?;
    let rules = directory.path().join("rules.yaml");
    fs::write(&rules, rules_text(0))?;
    let data = directory.path().join("data");
    let run = Run::start(root, &config, &data)?;
    let database = Database::of(&data);
    wait(|| database.value::<i64>(LIVE).is_ok_and(|count| count == 2))?;
    let mut delays_ms = Vec::new();
    for save in 1..=SAVES {
        pause(PAUSE);
        let new = rules.with_extension("new");
        fs::write(&new, rules_text(save))?;
        let saved_wall_ms = clock::wall_ms();
        fs::rename(&new, &rules)?;
        let applied = format!(
            "SELECT applied_wall_ms FROM generations WHERE generation = {save} AND outcome = 'applied'"
        );
        wait(|| database.value::<i64>(&applied).is_ok())?;
        delays_ms.push(database.value::<i64>(&applied)? - saved_wall_ms);
    }
    run.stop()?;
    let lost: i64 = database.value("SELECT sum(value) FROM ledgers WHERE counter LIKE 'lost%'")?;
    let frames: i64 = database
        .value("SELECT sum(value) FROM ledgers WHERE book = 'render' AND counter = 'rendered'")?;
    delays_ms.sort_unstable();
    let percentile = |percent: usize| delays_ms[(delays_ms.len() - 1) * percent / 100].to_string();
    report.section(
        "From the save of a rule file to the new rules in force",
        &format!(
            "Two live streams (768x576 at 10 fps, recorded, and 640x272 at 25 fps, both with NanoDet 416 int8); \
             {SAVES} saves by write and rename. Measured on the wall clock from before the rename until every \
             worker had acknowledged; file watching waits for quiet before it reads. \
             Command: `target/release/sluice-bench reload`.",
        ),
    );
    report.table(
        &[
            "p50 ms",
            "p90 ms",
            "max ms",
            "frames rendered meanwhile",
            "frames lost",
        ],
        &[vec![
            percentile(50),
            percentile(90),
            percentile(100),
            frames.to_string(),
            lost.to_string(),
        ]],
    );
    Ok(())
}

fn rules_text(save: usize) -> String {
    format!(
        "rules:\n  stays: {{on: track, when: 'label == \"person\" and score > 50%', for: 5s}}\n  \
         edited: {{on: track, when: 'label == \"car\"', for: {}ms}}\n",
        1000 + save
    )
}
