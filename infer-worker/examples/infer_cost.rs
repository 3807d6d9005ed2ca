//! What one frame costs, part by part, on one thread:
//!
//!     cargo run --release -p infer-worker --example infer_cost -- MODEL CLIP.yuv:768x576 ...
//!
//! A clip is raw I420, as `ffmpeg -i CLIP -pix_fmt yuv420p -f rawvideo CLIP.yuv` writes it; its
//! width must be a multiple of 8, so that rows have no padding on the bus either. Then all
//! session counts are measured, as the worker does when it starts.

#![expect(clippy::print_stdout, reason = "it is a measuring tool")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::{BackendSpec, BatchSpec, InferSpec, InputSpec, ModelFamily};
use frame_bus::ColourMatrix;
use infer_worker::engine::Engine;
use infer_worker::pool::Pool;
use infer_worker::runtime;
use infer_worker::tensor::Picture;

const FRAMES_MAX: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments
        .next()
        .ok_or("usage: infer_cost MODEL CLIP.yuv:WIDTHxHEIGHT ...")?;
    let spec = spec(PathBuf::from(model));
    let environment = runtime::open(None)?;
    let mut engine = Engine::load(&environment, &spec)?;
    println!("{}: {}", spec.file.display(), engine.description());
    for clip in arguments {
        let (path, size) = clip
            .rsplit_once(':')
            .ok_or("write the clip as PATH:WIDTHxHEIGHT")?;
        measure(&mut engine, Path::new(path), size.parse()?)?;
    }
    drop(engine);
    let cores = std::thread::available_parallelism()?.get();
    let pool = Pool::warm(&environment, &spec, cores, |text| println!("{text}"))?;
    println!(
        "best: {}; resident memory {} MiB",
        pool.description(),
        resident_mib()?
    );
    Ok(())
}

fn measure(engine: &mut Engine, path: &Path, size: PixelSize) -> Result<(), Box<dyn Error>> {
    let layout = I420Layout::of(size);
    let bytes = std::fs::read(path)?;
    let (mut tensor, mut model, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    let mut detections = 0;
    for frame in bytes.chunks_exact(layout.bytes).take(FRAMES_MAX) {
        let plane = |plane: usize| {
            &frame[layout.offsets[plane]..][..layout.strides[plane] * layout.rows[plane]]
        };
        let picture = Picture {
            layout: &layout,
            planes: [plane(0), plane(1), plane(2)],
            colour: ColourMatrix::Bt601,
        };
        let begin = Instant::now();
        engine.prepare(&picture);
        let prepared = begin.elapsed();
        let inference = engine.infer()?;
        detections += inference.findings.detections().len();
        tensor.push(prepared.as_micros());
        model.push(inference.model.as_micros());
        decode.push(inference.conversion.saturating_sub(prepared).as_micros());
    }
    let frames = tensor.len().max(1);
    println!(
        "{} {size}: {frames} frames, {detections} detections; median us a frame: tensor {}, model {}, decode {}",
        path.display(),
        median(&mut tensor),
        median(&mut model),
        median(&mut decode),
    );
    Ok(())
}

fn median(samples: &mut [u128]) -> u128 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}

fn resident_mib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? / 1024)
}

fn spec(file: PathBuf) -> InferSpec {
    InferSpec {
        model: "model".parse().expect("a name"),
        file,
        family: ModelFamily::Nanodet,
        input: InputSpec::default(),
        labels: (0..80).map(|class| class.to_string()).collect(),
        score_min: 0.4,
        nms_iou: 0.6,
        sessions: None,
        batch: BatchSpec::default(),
        backend: BackendSpec::default(),
        library: None,
        streams: Vec::new(),
        standby: false,
    }
}
