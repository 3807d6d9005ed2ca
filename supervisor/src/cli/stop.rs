//! `sluice stop`: ends a run that another process runs.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use contract::exit::Exit;
use frame_bus::supervision::owner_lives;
use tokio::time::{Instant, interval};

use super::signal::Supervisor;
use super::{CommandError, open_store};

/// A run that was told to stop ends within this: 5 s of draining, 2 s until it kills its
/// workers, 5 s of patience with a disk that refuses.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn stop(data: &Path, word: &str, out: &mut impl Write) -> Result<Exit, CommandError> {
    let store = open_store(data)?;
    let run = store.run(word)?;
    let pid = run.pid;
    Supervisor::of(&run)?.terminate().map_err(|error| {
        let text = format!("cannot stop run {} (pid {pid}): {error}", run.id);
        CommandError::other(Exit::Environment, text)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let stopped = runtime.block_on(async {
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut look = interval(LOOK_INTERVAL);
        while owner_lives(&run.root) {
            if Instant::now() >= deadline {
                return false;
            }
            look.tick().await;
        }
        true
    });
    if !stopped {
        let text = format!(
            "run {} (pid {pid}) does not end; `kill -9 {pid}` ends it, its books are closed then too",
            run.id
        );
        return Err(CommandError::other(Exit::Failure, text));
    }
    let run = store.run(&run.id)?;
    writeln!(out, "run {} {}", run.id, run.state)?;
    Ok(Exit::Success)
}
