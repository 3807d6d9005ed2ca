//! The program `infer-worker`: see the library for what it does.

fn main() {
    worker::main(infer_worker::run)
}
