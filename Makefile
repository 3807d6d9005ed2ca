# Run `make` for the list. All targets may be repeated: what is done is skipped.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint bench eval fuzz soak faults kills kernels clean

# nextest runs the tests of all crates side by side; without it cargo's own runner does.
TEST := $(shell command -v cargo-nextest >/dev/null 2>&1 && echo "nextest run" || echo test)

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## Install what building, running and testing need (apt needs root or sudo)
	@scripts/setup test

demo: ## Watch people walk through a plaza for 30 s; DEMO=forever until Ctrl-C
	@scripts/setup build demo
	@cargo build --release --workspace --bins
	@scripts/demo

test: ## Run all tests
	@scripts/setup build test
	@cargo build --workspace --all-targets
	@SLUICE_PROGRAMS_BUILT=1 cargo $(TEST) --workspace --all-targets
	@.deps/venv/bin/python -B -m unittest discover --start-directory tools/tests

lint: ## Check format, lints, documentation and licences
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check licenses bans sources; \
	else echo "lint: cargo-deny is not installed, licences are not checked"; fi

fuzz: ## Fuzz the rule language, FUZZ_MINUTES=10 a target; without nightly and cargo-fuzz a long seeded slice
	@scripts/fuzz

soak: ## 500 reloads of a live run in a row
	@scripts/setup build test
	@cargo build --workspace --all-targets
	@SLUICE_PROGRAMS_BUILT=1 SLUICE_RELOADS=500 cargo test --workspace --test system many_reloads -- --nocapture

faults: ## Cameras that reboot, freeze, change and lose packets, FAULT_SECONDS=600
	@scripts/setup build test
	@cargo build --workspace --all-targets
	@SLUICE_PROGRAMS_BUILT=1 SLUICE_FAULT_SECONDS=$${FAULT_SECONDS:-600} cargo test --workspace --test system cameras_of_every_fault -- --nocapture

kills: ## Kill producers and consumers of frames 100 times each, in shared memory and on a fake GPU
	@scripts/setup build
	@cargo build --workspace --all-targets
	@SLUICE_PROGRAMS_BUILT=1 SLUICE_KILLS=$${SLUICE_KILLS:-100} cargo test --workspace --test peers -- --nocapture

kernels: ## Compile the GPU kernels to PTX after a change of their source
	@scripts/setup kernels
	@.deps/venv-kernels/bin/python -B tools/kernels/compile.py

bench: ## Measure against the plain Python loop
	@scripts/setup test
	@cargo build --release --workspace --bins
	@target/release/sluice-bench

eval: ## Tracking quality and speed beside public trackers
	@scripts/setup eval
	@cargo build --release --quiet --package analytics --example track_mot
	@.deps/venv-eval/bin/python -B tools/eval/tracking.py \
		"$${CARGO_TARGET_DIR:-target}/release/examples/track_mot" .deps/mot

clean: ## Remove what was built and recorded; .deps stays
	@cargo clean
	@rm -rf data
