//! The gateway process. Started by the supervisor, never by hand.

fn main() -> std::process::ExitCode {
    worker::main(gateway::run)
}
