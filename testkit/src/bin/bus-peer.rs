//! A producer or a consumer of one stream in a process of its own, so that it can be killed:
//!
//!     bus-peer produce|consume|used ROOT PREFIX host|cuda EPOCH
//!
//! `used` prints how many bytes of the GPU's memory are somebody's.
//!
//! Each frame is full of one byte, which its number says. The producer publishes as quickly as a
//! camera of 500 frames a second; the consumer looks at every byte of what it takes, holds some
//! frames for a while and looks again, and prints how many were right after each. A frame that is
//! not whole is printed, and ends it with status 1. `SLUICE_LIBCUDA` is the driver's library.

#![expect(clippy::print_stdout, reason = "its tests read it")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use contract::clock::monotonic_ns;
use contract::geometry::PixelSize;
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::{BusSpec, FrameMemory, FrameServiceSpec, QueuePolicy};
use cuda::{Device, Stream};
use frame_bus::{
    Bus, ColourMatrix, Frame, FramePublisher, FrameStamp, FrameSubscriber, Incoming, Listener,
    Pixels, PixelsMut, Waker,
};

const SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};
const INTERVAL: Duration = Duration::from_millis(2);
/// Frames that the consumer holds.
const HELD: usize = 3;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [role, root, prefix, memory, epoch] = arguments[..] else {
        eprintln!("bus-peer produce|consume|used ROOT PREFIX host|cuda EPOCH");
        return ExitCode::from(2);
    };
    match run(role, root, prefix, memory == "cuda", epoch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: &str, root: &str, prefix: &str, cuda: bool, epoch: &str) -> Result<(), Failure> {
    if let Some(library) = std::env::var_os("SLUICE_LIBCUDA") {
        cuda::load_driver(Path::new(&library))?;
    }
    if role == "used" {
        let memory = Device::open(0)?.memory()?;
        println!("{}", memory.total - memory.free);
        return Ok(());
    }
    let bus = BusSpec {
        root: PathBuf::from(root),
        prefix: prefix.to_owned(),
    };
    let bus = Bus::open(&bus, role)?;
    let spec = FrameServiceSpec {
        stream: "yard".parse()?,
        crops: None,
        size: SIZE,
        policy: QueuePolicy::DropOldest,
        depth: 2,
        consumers_max: 2,
        held_max: u32::try_from(HELD)? + 1,
        memory: if cuda {
            FrameMemory::Cuda(0)
        } else {
            FrameMemory::Host
        },
    };
    let mut stream = cuda
        .then(|| Device::open(0).and_then(|device| Stream::new(&device)))
        .transpose()?;
    match role {
        "produce" => produce(&bus, &spec, stream.as_mut(), epoch.parse()?),
        _ => consume(&bus, &spec, stream.as_mut()),
    }
}

fn byte_of(sequence_number: u64) -> u8 {
    // Neighbours differ in all bits but one.
    (sequence_number as u8).wrapping_mul(0x9b)
}

fn produce(
    bus: &Bus,
    spec: &FrameServiceSpec,
    mut stream: Option<&mut Stream>,
    epoch: u32,
) -> Result<(), Failure> {
    let publisher = FramePublisher::open(bus, spec, epoch)?;
    let waker = Waker::open(bus, &WorkerId::Render("yard".parse()?))?;
    let mut picture = Vec::new();
    for number in 0.. {
        std::thread::park_timeout(INTERVAL);
        let Some(mut loan) = publisher.loan(SIZE)? else {
            continue;
        };
        picture.clear();
        picture.resize(loan.layout().bytes, byte_of(number));
        match (loan.pixels_mut(), &mut stream) {
            (PixelsMut::Host(bytes), _) => bytes.copy_from_slice(&picture),
            (PixelsMut::Cuda(slot), Some(stream)) => {
                stream.run(|work| work.upload(&picture, slot))?;
            }
            (PixelsMut::Cuda(_), None) => return Err("a slot on a GPU without one".into()),
        }
        let stamp = FrameStamp {
            sequence_number: number,
            pts_ns: number,
            captured_ns: monotonic_ns(),
            motion: 0.0,
            moved: Cells::default(),
            colour: ColourMatrix::Bt601,
            discontinuity: false,
        };
        publisher.publish(loan, &stamp)?;
        waker.wake();
    }
    Ok(())
}

fn consume(
    bus: &Bus,
    spec: &FrameServiceSpec,
    mut stream: Option<&mut Stream>,
) -> Result<(), Failure> {
    let listener = Listener::open(bus, &WorkerId::Render("yard".parse()?))?;
    let mut subscriber = FrameSubscriber::open(bus, spec)?;
    let mut held = VecDeque::new();
    let mut right = 0_u64;
    loop {
        listener.wait(Duration::from_millis(20))?;
        while let Some(incoming) = subscriber.receive()? {
            let frame = match incoming {
                Incoming::Frame(frame) => frame,
                Incoming::EndOfStream { .. } => return Ok(()),
                Incoming::Invalid { reason, .. } => return Err(reason.into()),
            };
            check(&frame, stream.as_deref_mut())?;
            held.push_back(frame);
            if held.len() > HELD
                && let Some(frame) = held.pop_front()
            {
                // Nobody has written to it meanwhile.
                check(&frame, stream.as_deref_mut())?;
                right += 1;
                println!("{right}");
            }
        }
    }
}

fn check(frame: &Frame, stream: Option<&mut Stream>) -> Result<(), Failure> {
    let mut bytes = vec![0; frame.layout().bytes];
    match (frame.pixels(), stream) {
        (Pixels::Host(picture), _) => bytes.copy_from_slice(picture),
        (Pixels::Cuda(slot), Some(stream)) => {
            stream.run(|work| work.download(slot, &mut bytes))?;
        }
        (Pixels::Cuda(_), None) => return Err("a slot on a GPU without one".into()),
    }
    let number = frame.stamp().sequence_number;
    let wrong = bytes
        .iter()
        .filter(|byte| **byte != byte_of(number))
        .count();
    if wrong > 0 {
        let epoch = frame.epoch();
        return Err(format!("frame {number} of epoch {epoch}: {wrong} bytes are wrong").into());
    }
    Ok(())
}
