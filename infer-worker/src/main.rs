//! The program `infer-worker`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main(infer_worker::run)
}
