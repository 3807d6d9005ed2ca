//! Tracks, evaluates rules, draws, encodes and records one stream; started by `sluice`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(render_worker::run)
}
