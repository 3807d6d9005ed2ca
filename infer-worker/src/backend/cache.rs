//! Where `TensorRT` engines are kept: building one takes minutes, loading it a second.
//!
//! An engine is good for one model, one kind of GPU and one version of `TensorRT` only, and ONNX
//! Runtime takes what it finds. So each combination has a directory of its own, whose name says
//! which one it is: what it holds can be removed at any time, and is never read by mistake.
//! Timings of kernels are the same for all models of a machine, and are shared.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::ep::{ExecutionProvider, TensorRT};
use ort::session::Session;
use sha2::{Digest, Sha256};

use super::Target;

/// Where the kernel driver says which GPUs there are, a directory each.
const GPUS: &str = "/proc/driver/nvidia/gpus";
/// Bytes of a digest that names a directory: of so many models no two share one.
const DIGEST_BYTES: usize = 8;

/// The directories of one combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineCache {
    engines: PathBuf,
    timings: PathBuf,
}

impl EngineCache {
    /// Makes the directories for a target; `None`, with a word in the log, where that cannot be
    /// done: the engine is then built at every start.
    pub(super) fn open(environment: &Environment, target: &Target<'_>) -> Option<Self> {
        let root = target.spec.cache.as_deref()?;
        let opened = Machine::of(environment, target.spec.device).and_then(|machine| {
            let model = digest_of(target.file)?;
            let cache = Self::of(root, &model, &machine);
            std::fs::create_dir_all(&cache.engines)?;
            std::fs::create_dir_all(&cache.timings)?;
            Ok(cache)
        });
        match opened {
            Ok(cache) => Some(cache),
            Err(error) => {
                let directory = root.display();
                tracing::warn!(%directory, %error, "TensorRT engines cannot be kept");
                None
            }
        }
    }

    /// By what an engine is good for.
    fn of(root: &Path, model: &str, machine: &Machine) -> Self {
        let machine = machine.directory();
        Self {
            engines: root.join(&machine).join(model),
            timings: root.join(machine).join("timings"),
        }
    }

    pub(super) fn engines(&self) -> String {
        self.engines.display().to_string()
    }

    pub(super) fn timings(&self) -> String {
        self.timings.display().to_string()
    }
}

/// What an engine depends on besides its model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    /// Their names, in the driver's order.
    gpus: Vec<String>,
    /// Which of them, as CUDA counts: that order may be another, so all names count.
    device: u32,
    tensorrt: String,
    onnxruntime: String,
}

impl Machine {
    fn of(environment: &Environment, device: u32) -> io::Result<Self> {
        // Loads TensorRT: before, nothing says which of several versions it will be.
        let loaded = Session::builder(environment)
            .and_then(|mut builder| TensorRT::default().register(&mut builder));
        loaded.map_err(|error| io::Error::other(error.to_string()))?;
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        Ok(Self {
            gpus: gpus(),
            device,
            tensorrt: loaded_version(&maps, "libnvinfer.so.").unwrap_or_default(),
            onnxruntime: ort::info().to_owned(),
        })
    }

    /// A name for it that a person can read, and that no other has.
    fn directory(&self) -> String {
        let mut digest = Sha256::new();
        for part in self.gpus.iter().chain([&self.tensorrt, &self.onnxruntime]) {
            digest.update(part);
            digest.update([0]);
        }
        let gpu = self.gpus.get(self.device as usize).or(self.gpus.first());
        let gpu = gpu.map_or("gpu", String::as_str).to_lowercase();
        let gpu = gpu.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let (device, tensorrt) = (self.device, &self.tensorrt);
        format!("{gpu}-{device}-trt{tensorrt}-{}", hexadecimal(digest))
    }
}

/// What the driver calls its GPUs; empty where there is no such driver.
pub(super) fn gpus() -> Vec<String> {
    gpus_in(Path::new(GPUS))
}

fn gpus_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut places: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    places.sort();
    let model = |place: &PathBuf| {
        let text = std::fs::read_to_string(place.join("information")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(line.trim().to_owned())
    };
    places.iter().filter_map(model).collect()
}

/// The version in the file name of a library that is mapped into a process: `10.7.0` of
/// `/usr/lib/libnvinfer.so.10.7.0`.
fn loaded_version(maps: &str, stem: &str) -> Option<String> {
    let mut names = maps.lines().filter_map(|line| line.rsplit('/').next());
    let version = names.find_map(|name| name.strip_prefix(stem))?;
    let is_version = version
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_version.then(|| version.to_owned())
}

fn digest_of(file: &Path) -> io::Result<String> {
    let (mut file, mut digest) = (File::open(file)?, Sha256::new());
    let mut chunk = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(hexadecimal(digest));
        }
        digest.update(&chunk[..count]);
    }
}

fn hexadecimal(digest: Sha256) -> String {
    let digest = digest.finalize();
    let bytes = digest.iter().take(DIGEST_BYTES);
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            gpus: vec!["NVIDIA L4".to_owned(), "NVIDIA L4".to_owned()],
            device: 1,
            tensorrt: "10.7.0".to_owned(),
            onnxruntime: "ORT Build Info: git-commit-id=abc".to_owned(),
        }
    }

    #[test]
    fn whatever_an_engine_depends_on_is_another_directory() {
        let root = Path::new("/cache");
        let known = EngineCache::of(root, "0123", &machine());
        let name = known.engines();
        assert!(name.starts_with("/cache/nvidia-l4-1-trt10.7.0-"), "{name}");
        assert!(name.ends_with("/0123"), "{name}");
        assert_eq!(known, EngineCache::of(root, "0123", &machine()));
        let changes: [fn(&mut Machine); 4] = [
            |machine| machine.gpus[0] = "NVIDIA H100".to_owned(),
            |machine| machine.device = 0,
            |machine| machine.tensorrt = "10.8.0".to_owned(),
            |machine| machine.onnxruntime.push('d'),
        ];
        for change in changes {
            let mut other = machine();
            change(&mut other);
            let other = EngineCache::of(root, "0123", &other);
            assert!(other.engines != name && other.timings() != known.timings());
        }
        let other = EngineCache::of(root, "4567", &machine());
        assert_ne!(other.engines(), name);
        assert_eq!(other.timings(), known.timings(), "shared by all models");
    }

    #[test]
    fn names_of_gpus_are_the_drivers() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(gpus_in(&directory.path().join("none")).is_empty());
        for (place, model) in [
            ("0000:81:00.0", "NVIDIA H100"),
            ("0000:01:00.0", "NVIDIA L4"),
        ] {
            let place = directory.path().join(place);
            std::fs::create_dir(&place).expect("a directory");
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 42\n");
            std::fs::write(place.join("information"), text).expect("written");
        }
        assert_eq!(gpus_in(directory.path()), ["NVIDIA L4", "NVIDIA H100"]);
    }

    #[test]
    fn the_version_is_that_of_the_library_that_was_loaded() {
        let maps = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libnvinfer_plugin.so.10.7.0\n\
                    7f02-7f03 r-xp 0 08:01 2 /opt/trt/lib/libnvinfer.so.10.13.2\n\
                    7f04-7f05 rw-p 0 00:00 0 [heap]\n";
        let version = loaded_version(maps, "libnvinfer.so.");
        assert_eq!(version.as_deref(), Some("10.13.2"));
        assert_eq!(loaded_version("", "libnvinfer.so."), None);
        assert_eq!(
            loaded_version("/lib/libnvinfer.so.10 (deleted)", "libnvinfer.so."),
            None
        );
    }

    #[test]
    fn a_model_is_known_by_its_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            digest_of(&path).expect("a digest")
        };
        // The beginning of the digest in FIPS 180-2, appendix B.1.
        assert_eq!(write("one", b"abc"), "ba7816bf8f01cfea");
        assert_eq!(write("other", b"abc"), write("one", b"abc"));
        assert_ne!(write("other", b"abd"), write("one", b"abc"));
    }
}
