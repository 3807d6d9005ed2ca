//! `sluice doctor`: what this machine has and lacks, each with what to do.
//!
//! The supervisor links neither GStreamer nor ONNX Runtime, so it looks for the
//! files, and asks GStreamer's own tool and an infer worker.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contract::exit::Exit;
use contract::spec::Backend;
use contract::study::{Answer, BackendState, BackendsAnswer, Question};
use frame_bus::budget::{SHARED_MEMORY, free_bytes};
use frame_bus::supervision::{BASE, leftovers};
use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use super::text::print_table;
use super::{CommandError, Format, print_json};
use crate::models::study;
use crate::models::tool::Tool;
use crate::store;

/// GStreamer elements that workers cannot do without, and the Debian package of each.
const ELEMENTS_NEEDED: &[(&str, &str)] = &[
    ("filesrc", "libgstreamer1.0-0"),
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("decodebin", "gstreamer1.0-plugins-base"),
    ("videoscale", "gstreamer1.0-plugins-base"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtph264pay", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("udpsrc", "gstreamer1.0-plugins-good"),
    ("souphttpsrc", "gstreamer1.0-plugins-good"),
    ("flvmux", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("hlsdemux", "gstreamer1.0-plugins-bad"),
    ("tsdemux", "gstreamer1.0-plugins-bad"),
    ("srtsrc", "gstreamer1.0-plugins-bad"),
    ("rtmp2src", "gstreamer1.0-plugins-bad"),
    ("rtmp2sink", "gstreamer1.0-plugins-bad"),
    ("rtspclientsink", "gstreamer1.0-rtsp"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("avdec_h264", "gstreamer1.0-libav"),
];

/// Decoders that take work off the CPU where they are.
const HARDWARE_DECODERS: &[&str] = &["nvh264dec", "vah264dec"];

/// The same for encoders, in the order in which render workers try them.
const HARDWARE_ENCODERS: &[&str] = &["nvh264enc", "qsvh264enc", "vah264enc", "vah264lpenc"];

const INSPECT: &str = "gst-inspect-1.0";

/// A 1080p stream with two consumers and default queues takes about this much.
const SHARED_MEMORY_BYTES_GOOD: u64 = 256 << 20;

/// Workers are limited to so many descriptors, or fewer where the machine allows fewer.
const OPEN_FILES_GOOD: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found; where it is not good, what to do.
    text: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            text: text.into(),
        }
    }
}

pub(super) fn doctor(
    data: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let mut checks = vec![programs(), onnxruntime()];
    checks.extend(back_ends());
    checks.extend(gstreamer());
    checks.extend([
        shared_memory(),
        roots(),
        data_directory(data),
        open_files(),
        processor(),
        model_tools(),
    ]);
    if format.json {
        print_json(out, &checks)?;
    } else {
        let cells = |check: &Check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            vec![
                verdict.to_owned(),
                check.name.to_owned(),
                check.text.clone(),
            ]
        };
        let rows: Vec<_> = checks.iter().map(cells).collect();
        print_table(out, &["", "what", "found"], &rows)?;
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed {
        Exit::Environment
    } else {
        Exit::Success
    })
}

fn programs() -> Check {
    let name = "worker programs";
    let own = std::env::current_exe().unwrap_or_default();
    let directory = own.parent().unwrap_or(Path::new("."));
    let programs = ["ingest-worker", "infer-worker", "render-worker", "gateway"];
    let missing = programs
        .iter()
        .filter(|program| !directory.join(program).is_file());
    let missing: Vec<_> = missing.copied().collect();
    if missing.is_empty() {
        return Check::new(name, Verdict::Ok, format!("in {}", directory.display()));
    }
    let text = format!(
        "{} not in {}: run `cargo build --workspace --bins`",
        missing.join(", "),
        directory.display()
    );
    Check::new(name, Verdict::Fail, text)
}

/// Looks where infer workers look: `$ORT_DYLIB_PATH`, the place of set-up upwards from the
/// programs and from the current directory, the system's library directories.
fn onnxruntime() -> Check {
    const LIBRARY: &str = "libonnxruntime.so";
    let name = "onnx runtime";
    let found = |path: PathBuf| Check::new(name, Verdict::Ok, path.display().to_string());
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from) {
        if named.is_file() {
            return found(named);
        }
        let text = format!("ORT_DYLIB_PATH names {}, which is no file", named.display());
        return Check::new(name, Verdict::Fail, text);
    }
    let own = std::env::current_exe().unwrap_or_default();
    let current = std::env::current_dir().unwrap_or_default();
    let above = own.ancestors().chain(current.ancestors());
    let set_up = above.map(|directory| directory.join(".deps/onnxruntime/lib"));
    let system = [
        "/usr/local/lib",
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    let mut places = set_up.chain(system.iter().map(PathBuf::from));
    match places.find(|place| place.join(LIBRARY).is_file()) {
        Some(place) => found(place.join(LIBRARY)),
        None => Check::new(
            name,
            Verdict::Fail,
            format!(
                "{LIBRARY} is not found: run scripts/setup, or name it with ORT_DYLIB_PATH or `onnxruntime:` in the config"
            ),
        ),
    }
}

/// What an infer worker could run models on: only a process that loads ONNX Runtime knows.
fn back_ends() -> Vec<Check> {
    let question = Question::Backends { library: None };
    match study::ask(question, &[], 0, &mut |_| ()) {
        Ok(Answer::Backends(answer)) => checks_of(&answer),
        Ok(_) => vec![unknown("the infer worker answered another question")],
        Err(error) => vec![unknown(&error.to_string())],
    }
}

/// Without ONNX Runtime, or programs, there is a failure already.
fn unknown(reason: &str) -> Check {
    let text = format!("an infer worker cannot say which there are: {reason}");
    Check::new("back ends", Verdict::Warn, text)
}

fn checks_of(answer: &BackendsAnswer) -> Vec<Check> {
    let states = answer.backends.iter();
    states
        .map(|BackendState { backend, missing }| {
            let (name, cost) = match backend {
                Backend::Cpu => ("back end cpu", "nothing runs"),
                Backend::Openvino => (
                    "back end openvino",
                    "models of 32-bit floats cannot run in bf16, twice as quick on CPUs that have it",
                ),
                Backend::Cuda => ("back end cuda", "models run on the CPU"),
                Backend::Tensorrt => (
                    "back end tensorrt",
                    "models have no engine built for the GPU, nor half precision",
                ),
            };
            let Some(missing) = missing else {
                let gpus = answer.gpus.join(", ");
                let where_it_is = if backend.is_gpu() { &gpus } else { &answer.library };
                return Check::new(name, Verdict::Ok, where_it_is.clone());
            };
            // Without a GPU, or a wish for it, nothing is amiss.
            let is_amiss = match backend {
                Backend::Cpu => true,
                Backend::Openvino => false,
                Backend::Cuda | Backend::Tensorrt => !answer.gpus.is_empty(),
            };
            let verdict = if is_amiss { Verdict::Warn } else { Verdict::Ok };
            Check::new(name, verdict, format!("not here, so {cost}: {missing}"))
        })
        .collect()
}

fn gstreamer() -> Vec<Check> {
    let name = "gstreamer";
    if element_exists("fakesink").is_none() {
        let text = format!(
            "{INSPECT} cannot be run, so elements are not checked: install gstreamer1.0-tools"
        );
        return vec![Check::new(name, Verdict::Warn, text)];
    }
    let exists = |element: &str| element_exists(element) == Some(true);
    let missing = ELEMENTS_NEEDED
        .iter()
        .filter(|(element, _)| !exists(element));
    let missing: Vec<_> = missing.collect();
    let elements = if missing.is_empty() {
        let text = format!("all {} elements", ELEMENTS_NEEDED.len());
        Check::new(name, Verdict::Ok, text)
    } else {
        let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        let names: Vec<_> = missing.iter().map(|(element, _)| *element).collect();
        let text = format!(
            "lacks {}: apt-get install {}",
            names.join(", "),
            packages.join(" ")
        );
        Check::new(name, Verdict::Fail, text)
    };
    // An element that is installed may still lack its device: workers try it before they rely on it.
    let hardware = |name, elements: &[&'static str], without: &str| {
        let installed = elements.iter().copied().filter(|element| exists(element));
        let installed: Vec<_> = installed.collect();
        let text = if installed.is_empty() {
            format!("none: {without}")
        } else {
            format!("{}, where its device works", installed.join(", "))
        };
        Check::new(name, Verdict::Ok, text)
    };
    vec![
        elements,
        hardware(
            "hardware decoder",
            HARDWARE_DECODERS,
            "video is decoded by the CPU",
        ),
        hardware(
            "hardware encoder",
            HARDWARE_ENCODERS,
            "video is encoded by x264, on the CPU",
        ),
    ]
}

/// Whether GStreamer has an element; `None` when its tool cannot be run.
#[expect(
    clippy::disallowed_methods,
    reason = "a diagnostic tool that ends by itself and is waited for, not a worker"
)]
fn element_exists(element: &str) -> Option<bool> {
    let status = Command::new(INSPECT)
        .args(["--exists", element])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.ok().map(|status| status.success())
}

fn shared_memory() -> Check {
    let name = "shared memory";
    match free_bytes(Path::new(SHARED_MEMORY)) {
        Ok(bytes) if bytes >= SHARED_MEMORY_BYTES_GOOD => Check::new(
            name,
            Verdict::Ok,
            format!("{} MiB free in {SHARED_MEMORY}", bytes >> 20),
        ),
        Ok(bytes) => {
            let text = format!(
                "{} MiB free in {SHARED_MEMORY}, a few streams need {}: remount it with a larger `size=`, or start the container with `--shm-size=1g`",
                bytes >> 20,
                SHARED_MEMORY_BYTES_GOOD >> 20
            );
            Check::new(name, Verdict::Warn, text)
        }
        Err(error) => Check::new(name, Verdict::Fail, error.to_string()),
    }
}

fn roots() -> Check {
    let name = "leftovers";
    match leftovers(Path::new(BASE)) {
        Ok(found) if found.is_empty() => Check::new(name, Verdict::Ok, "none of dead runs"),
        Ok(found) => {
            let paths = found.iter().map(|root| root.path().display().to_string());
            let text = format!(
                "{} of dead runs: `sluice runs` removes them",
                paths.collect::<Vec<_>>().join(", ")
            );
            Check::new(name, Verdict::Warn, text)
        }
        Err(error) => Check::new(name, Verdict::Fail, error.to_string()),
    }
}

fn data_directory(data: &Path) -> Check {
    let name = "data directory";
    // An existing one is asked; a missing one would be made, so its parent is.
    let existing = data.ancestors().find(|path| path.is_dir());
    let existing = existing.unwrap_or(Path::new("."));
    match store::check_writable(existing) {
        Ok(()) => {
            let free = free_bytes(existing).map_or(0, |bytes| bytes >> 20);
            let text = format!("{} can be written, {free} MiB free", data.display());
            Check::new(name, Verdict::Ok, text)
        }
        Err(error) => {
            let text = format!(
                "{} cannot be written: {error}; choose another with --data",
                data.display()
            );
            Check::new(name, Verdict::Fail, text)
        }
    }
}

fn open_files() -> Check {
    let name = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= OPEN_FILES_GOOD => {
            Check::new(name, Verdict::Ok, format!("up to {hard} a process"))
        }
        Ok((_, hard)) => {
            let text = format!(
                "up to {hard} a process, with many streams {OPEN_FILES_GOOD} are needed: raise `ulimit -Hn`"
            );
            Check::new(name, Verdict::Warn, text)
        }
        Err(error) => Check::new(name, Verdict::Warn, error.desc().to_owned()),
    }
}

fn processor() -> Check {
    let name = "processor";
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = vector_flags(&information);
    if flags.is_empty() && cfg!(target_arch = "x86_64") {
        let text = format!("{cpus} CPUs without AVX2: inference is several times slower");
        return Check::new(name, Verdict::Warn, text);
    }
    Check::new(
        name,
        Verdict::Ok,
        format!("{cpus} CPUs {}", flags.join(" ")),
    )
}

/// Without it everything runs, but `sluice models` quantises and converts nothing.
fn model_tools() -> Check {
    let name = "model tools";
    match Tool::quantizing_python() {
        Ok(python) => Check::new(name, Verdict::Ok, python.program().display().to_string()),
        Err(error) => {
            let text = format!("{error}; only `sluice models quantize` and some fetches need it");
            Check::new(name, Verdict::Warn, text)
        }
    }
}

/// The instruction sets that inference gains most from, as the kernel names them.
fn vector_flags(information: &str) -> Vec<&str> {
    const WANTED: &[&str] = &[
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "amx_int8",
        "asimd",
        "asimddp",
    ];
    let line = information
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let flags = line.and_then(|line| line.split_once(':'));
    let flags = flags.map_or("", |(_, flags)| flags).split_whitespace();
    flags.filter(|flag| WANTED.contains(flag)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_are_found_in_the_kernels_text() {
        let text = "processor\t: 0\nflags\t\t: fpu sse avx avx2 avx512f avx512_vnni\n";
        assert_eq!(vector_flags(text), ["avx2", "avx512f", "avx512_vnni"]);
        assert!(vector_flags("").is_empty());
    }

    #[test]
    fn a_missing_back_end_is_amiss_only_where_there_is_a_gpu() {
        let state = |backend, missing: Option<&str>| BackendState {
            backend,
            missing: missing.map(str::to_owned),
        };
        let mut answer = BackendsAnswer {
            library: "1.31".to_owned(),
            gpus: Vec::new(),
            backends: vec![
                state(Backend::Tensorrt, Some("libnvinfer.so.10 is not found")),
                state(Backend::Cuda, None),
                state(Backend::Cpu, None),
                state(Backend::Openvino, Some("no such provider")),
            ],
        };
        let verdicts = |answer: &BackendsAnswer| {
            let checks = checks_of(answer).into_iter();
            checks.map(|check| check.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&answer), [Verdict::Ok; 4]);
        answer.gpus = vec!["NVIDIA L4".to_owned()];
        assert_eq!(verdicts(&answer)[..2], [Verdict::Warn, Verdict::Ok]);
        let checks = checks_of(&answer);
        assert_eq!(
            checks[0].text,
            "not here, so models have no engine built for the GPU, nor half precision: \
             libnvinfer.so.10 is not found"
        );
        assert_eq!(
            (checks[1].text.as_str(), checks[2].text.as_str()),
            ("NVIDIA L4", "1.31")
        );
    }

    #[test]
    fn an_unwritable_data_directory_is_said_with_what_to_do() {
        let check = data_directory(Path::new("/proc/sluice"));
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.text.contains("--data"), "{}", check.text);
    }
}
