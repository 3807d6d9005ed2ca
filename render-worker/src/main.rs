//! Tracks, evaluates rules, draws, encodes and records one stream; started by `sluice`.

fn main() {
    worker::main(render_worker::run)
}
