//! One frame from one process to another: the bus beside Python's shared memory and queue.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use contract::clock::monotonic_ns;
use contract::geometry::{I420Layout, PixelSize};
use contract::motion::Cells;
use contract::name::{StreamName, WorkerId};
use contract::spec::{BusSpec, FrameMemory, FrameServiceSpec, QueuePolicy};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{
    Bus, ColourMatrix, FramePublisher, FrameStamp, FrameSubscriber, Incoming, Listener, Waker,
};
use serde::Deserialize;

use crate::command;
use crate::report::Report;

const FRAMES: u64 = 400;
/// The same pause between frames as the Python side makes.
const PAUSE: Duration = Duration::from_millis(3);
const SIZES: [PixelSize; 3] = [
    PixelSize {
        width: 64,
        height: 64,
    },
    PixelSize {
        width: 768,
        height: 576,
    },
    PixelSize {
        width: 1920,
        height: 1080,
    },
];

/// What the consuming process is told.
#[derive(Debug, Args)]
pub(crate) struct ConsumerArguments {
    #[arg(long)]
    bus_root: PathBuf,
    #[arg(long)]
    bus_prefix: String,
    #[arg(long)]
    size: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Percentiles {
    p50_us: f64,
    p99_us: f64,
}

/// Both sides' figures: from before the copy, and from after it.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Hop {
    hop: Percentiles,
    copy_and_hop: Percentiles,
}

fn percentiles(mut microseconds: Vec<f64>) -> Percentiles {
    microseconds.sort_by(f64::total_cmp);
    let at = |hundredths: usize| {
        let index = (microseconds.len() * hundredths / 100).min(microseconds.len() - 1);
        microseconds[index]
    };
    Percentiles {
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Measures all sizes on both sides.
pub(crate) fn measure(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    report.section(
        "Frame hop between two processes",
        "From the producer's `publish` (Python: `Queue.put`) to the consumer having the frame in hand, \
         one frame every 3 ms, 400 frames, I420. \"With the copy\" begins before the frame's bytes are copied \
         into shared memory. Sluice sleeps on an event and is woken, as its workers do; it does not poll. The first \
         row is the floor of any such hop on this machine: eight bytes through a Unix datagram socket to a thread \
         that sleeps in `recv`, at the same pace. \
         Command: `target/release/sluice-bench hop`.",
    );
    let floor = floor()?;
    let mut rows = vec![vec![
        "none".to_owned(),
        "waking a thread that sleeps on a socket".to_owned(),
        format!("{:.1}", floor.p50_us),
        format!("{:.1}", floor.p99_us),
        "-".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ]];
    for size in SIZES {
        let ours = ours(root, size)?;
        let python = python(root, size)?;
        for (name, ours, python) in [
            ("hop", ours.hop, python.hop),
            ("with the copy", ours.copy_and_hop, python.copy_and_hop),
        ] {
            rows.push(vec![
                size.to_string(),
                name.to_owned(),
                format!("{:.1}", ours.p50_us),
                format!("{:.1}", ours.p99_us),
                format!("{:.0}", python.p50_us),
                format!("{:.0}", python.p99_us),
                format!("{:.1}x", python.p50_us / ours.p50_us),
                format!("{:.1}x", python.p99_us / ours.p99_us),
            ]);
        }
    }
    report.table(
        &[
            "size",
            "what",
            "Sluice p50 us",
            "p99 us",
            "Python p50 us",
            "p99 us",
            "p50 ratio",
            "p99 ratio",
        ],
        &rows,
    );
    Ok(())
}

/// What the machine takes to wake a sleeper, with nothing of ours in it.
fn floor() -> anyhow::Result<Percentiles> {
    let (sender, receiver) = UnixDatagram::pair()?;
    let woken = std::thread::spawn(move || -> std::io::Result<Vec<f64>> {
        let mut message = [0; 8];
        (0..FRAMES)
            .map(|_| {
                receiver.recv(&mut message)?;
                let age_ns = monotonic_ns().saturating_sub(u64::from_le_bytes(message));
                Ok(Duration::from_nanos(age_ns).as_secs_f64() * 1e6)
            })
            .collect()
    });
    for _ in 0..FRAMES {
        std::thread::park_timeout(PAUSE);
        sender.send(&monotonic_ns().to_le_bytes())?;
    }
    let ages = woken
        .join()
        .map_err(|_| anyhow::anyhow!("the woken thread panicked"))??;
    Ok(percentiles(ages))
}

fn python(root: &Path, size: PixelSize) -> anyhow::Result<Hop> {
    let mut python = command::command(root, ".deps/venv/bin/python");
    python
        .args(["tools/bench/python_hop.py", "--json"])
        .args(["--width", &size.width.to_string()])
        .args(["--height", &size.height.to_string()]);
    let (_, output) = command::timed(&mut python)?;
    serde_json::from_slice(&output.stdout).context("python_hop.py printed no figures")
}

fn service(size: PixelSize) -> anyhow::Result<FrameServiceSpec> {
    let stream: StreamName = "hop".parse()?;
    Ok(FrameServiceSpec {
        stream,
        crops: None,
        size,
        policy: QueuePolicy::DropOldest,
        depth: 2,
        consumers_max: 1,
        held_max: 1,
        memory: FrameMemory::Host,
    })
}

fn consumer_id() -> anyhow::Result<WorkerId> {
    Ok(WorkerId::Render("hop".parse()?))
}

fn ours(root: &Path, size: PixelSize) -> anyhow::Result<Hop> {
    let own_root = Root::create(Path::new(BASE), "bench")?;
    let bus = Bus::open(&own_root.bus(), "producer")?;
    let publisher = FramePublisher::open(&bus, &service(size)?, 0)?;
    let waker = Waker::open(&bus, &consumer_id()?)?;
    let mut consumer = command::command(root, std::env::current_exe()?)
        .arg("hop-consumer")
        .arg("--bus-root")
        .arg(own_root.bus().root)
        .arg("--bus-prefix")
        .arg(own_root.bus().prefix)
        .arg("--size")
        .arg(size.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the consumer")?;
    let output = consumer
        .stdout
        .take()
        .context("the consumer has no output")?;
    let mut lines = BufReader::new(output).lines();
    if lines.next().transpose()?.as_deref() != Some("ready") {
        bail!("the consumer did not become ready");
    }

    publisher.begin_of_stream(|| waker.wake())?;
    let layout = I420Layout::of(size);
    let picture: Vec<u8> = (0..layout.bytes)
        .map(|index| index.to_le_bytes()[0])
        .collect();
    for sequence_number in 0..FRAMES {
        let before_copy = monotonic_ns();
        let mut loan = publisher.loan(size)?.context("no free slot")?;
        loan.payload_mut().copy_from_slice(&picture);
        let stamp = FrameStamp {
            sequence_number,
            // The two times the consumer needs travel in the stamp.
            pts_ns: before_copy,
            captured_ns: monotonic_ns(),
            motion: 0.0,
            moved: Cells::default(),
            colour: ColourMatrix::Bt601,
            discontinuity: false,
        };
        publisher.publish(loan, &stamp)?;
        waker.wake();
        std::thread::park_timeout(PAUSE);
    }
    publisher.end_of_stream(FRAMES, || waker.wake())?;
    let mut hops = Vec::new();
    let mut copies = Vec::new();
    for line in lines {
        let line = line?;
        let (hop, copy) = line.split_once(' ').context("a line of two numbers")?;
        hops.push(hop.parse::<f64>()? / 1000.0);
        copies.push(copy.parse::<f64>()? / 1000.0);
    }
    consumer.wait()?;
    if hops.len() as u64 != FRAMES {
        bail!("{} of {FRAMES} frames arrived", hops.len());
    }
    Ok(Hop {
        hop: percentiles(hops),
        copy_and_hop: percentiles(copies),
    })
}

/// The consuming process: prints `ready`, then two ages in nanoseconds a frame.
#[expect(clippy::print_stdout, reason = "standard output is its result")]
pub(crate) fn consume(arguments: &ConsumerArguments) -> anyhow::Result<()> {
    let size: PixelSize = arguments.size.parse().map_err(anyhow::Error::msg)?;
    let bus_spec = BusSpec {
        root: arguments.bus_root.clone(),
        prefix: arguments.bus_prefix.clone(),
    };
    let bus = Bus::open(&bus_spec, "consumer")?;
    let mut subscriber = FrameSubscriber::open(&bus, &service(size)?)?;
    let listener = Listener::open(&bus, &consumer_id()?)?;
    println!("ready");
    let mut ages = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    'stream: while Instant::now() < deadline {
        listener.wait(Duration::from_millis(250))?;
        while let Some(incoming) = subscriber.receive()? {
            match incoming {
                Incoming::Frame(frame) => {
                    let now = monotonic_ns();
                    let stamp = frame.stamp();
                    ages.push((now - stamp.captured_ns, now - stamp.pts_ns));
                }
                Incoming::EndOfStream { .. } => break 'stream,
                Incoming::Invalid { reason, .. } => return Err(reason.into()),
            }
        }
    }
    for (hop, copy) in ages {
        println!("{hop} {copy}");
    }
    Ok(())
}
