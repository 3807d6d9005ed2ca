//! The gateway process. Started by the supervisor, never by hand.

fn main() {
    worker::main(gateway::run)
}
