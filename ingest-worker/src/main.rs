//! The program `ingest-worker`. It is started by `sluice`, not by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(ingest_worker::run)
}
