//! A short slice of fuzzing on a stable compiler: the bodies of the fuzz targets, run over
//! their corpora and over mutations of them.
//!
//! `FUZZ_MUTATIONS=1000000 cargo test -p dsl --test fuzz_slice -- --nocapture` runs longer,
//! `FUZZ_SEED=7` takes another path. Seed and input of a failure are printed.

#![expect(
    clippy::print_stdout,
    reason = "a seed and an input that failed are for the reader"
)]

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own under cargo-fuzz")]
mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Most mutations of one input.
const STEPS_MAX: u64 = 6;

/// Inputs that grow beyond it are cut.
const INPUT_BYTES_MAX: usize = 4096;

#[test]
fn grammar() {
    fuzz("grammar", 20_000, targets::grammar);
}

#[test]
fn rule_file() {
    fuzz("rule_file", 20_000, targets::rule_file);
}

#[test]
fn evaluate() {
    fuzz("evaluate", 20_000, targets::evaluate);
}

fn fuzz(name: &str, mutations: u64, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let corpus = read_corpus(&directory.join("corpus").join(name));
    let dictionary = read_dictionary(&directory.join("dictionary.txt"));
    let seed = variable("FUZZ_SEED").unwrap_or(1);
    let mutations = variable("FUZZ_MUTATIONS").unwrap_or(mutations);
    for (path, input) in &corpus {
        run(target, input, &path.display().to_string());
    }
    let mut random = Random(seed);
    for number in 0..mutations {
        let input = mutate(&corpus, &dictionary, &mut random);
        run(
            target,
            &input,
            &format!("FUZZ_SEED={seed}, mutation {number}"),
        );
    }
    println!(
        "{name}: {} inputs and {mutations} mutations of seed {seed}",
        corpus.len()
    );
}

fn run(target: fn(&[u8]), input: &[u8], what: &str) {
    if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| target(input))) {
        println!("{what}:\n{}", input.escape_ascii());
        panic::resume_unwind(cause);
    }
}

fn read_corpus(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a corpus");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    // The order of a directory is not the same everywhere.
    paths.sort();
    assert!(!paths.is_empty(), "{}", directory.display());
    paths
        .into_iter()
        .map(|path| {
            let input = fs::read(&path).expect("an input");
            (path, input)
        })
        .collect()
}

/// The words of a libFuzzer dictionary: one a line, in double quotes.
fn read_dictionary(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).expect("a dictionary");
    text.lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'))
        .map(|word| {
            let word = word
                .replace("\\x0a", "\n")
                .replace("\\\"", "\"")
                .replace("\\\\", "\\");
            word.into_bytes()
        })
        .collect()
}

fn mutate(corpus: &[(PathBuf, Vec<u8>)], dictionary: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.one_of(corpus).1.clone();
    for _ in 0..=random.below(STEPS_MAX) {
        let length = input.len() as u64;
        let place = random.below(length + 1) as usize;
        let end = (place + random.below(24) as usize).min(input.len());
        match random.below(8) {
            0 => drop(input.drain(place..end)),
            1 => {
                let part = input[place..end].to_vec();
                let times = 1 + random.below(40) as usize;
                input.splice(place..place, part.repeat(times));
            }
            2 | 3 => {
                let word = random.one_of(dictionary).clone();
                input.splice(place..place, word);
            }
            4 => {
                let word = random.one_of(dictionary).clone();
                input.splice(place..end, word);
            }
            5 => {
                let other = &random.one_of(corpus).1;
                let from = random.below(other.len() as u64 + 1) as usize;
                let to = (from + random.below(200) as usize).min(other.len());
                input.splice(place..end, other[from..to].iter().copied());
            }
            6 => {
                if let Some(byte) = input.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
            _ => input.insert(place, random.below(256) as u8),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}
