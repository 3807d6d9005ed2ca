//! The program `ingest-worker`. It is started by `sluice`, not by hand.

fn main() {
    worker::main(ingest_worker::run)
}
