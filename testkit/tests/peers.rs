//! Producers and consumers that are killed, one after the other, with what they hold: frames stay
//! whole, the other goes on, and nothing is left.
//!
//! `SLUICE_KILLS` is how many are killed of each, 10 if it is not set (`make kills`: 100).

use std::path::Path;
use std::time::Duration;

use contract::spec::FrameMemory;
use frame_bus::supervision::Root;
use frame_bus::{Bus, PoolKeeper};
use testkit::process::{Launch, Process, fake_cuda, program};
use testkit::wait_until;

const SOON: Duration = Duration::from_secs(20);

struct Run {
    memory: FrameMemory,
    bus: Bus,
    keeper: PoolKeeper,
    root: Root,
}

impl Run {
    fn new(memory: FrameMemory) -> Self {
        let root = Root::create(Path::new("/tmp"), "test").expect("a root");
        Self {
            memory,
            bus: Bus::open(&root.bus(), "supervisor").expect("a bus"),
            keeper: PoolKeeper::start(&root).expect("a keeper"),
            root,
        }
    }

    fn start(&self, role: &str, epoch: u32) -> Process {
        let bus = self.root.bus();
        let memory = match self.memory {
            FrameMemory::Host => "host",
            FrameMemory::Cuda(_) => "cuda",
        };
        let root = bus.root.to_string_lossy().into_owned();
        Launch::new(&program("bus-peer"))
            .arguments([role, &root, &bus.prefix, memory, &epoch.to_string()])
            .environment("SLUICE_LIBCUDA", &fake_cuda().to_string_lossy())
            .environment("FAKE_CUDA_DEVICE", &bus.prefix)
            .start()
    }

    /// Bytes of the GPU's memory that are somebody's.
    fn used(&self) -> u64 {
        let mut peer = self.start("used", 0);
        assert_eq!(peer.exit_code(SOON), 0, "{}", peer.stderr());
        peer.stdout().trim().parse().expect("a number")
    }

    /// Kills it, as its supervisor would have it.
    fn kill(&self, peer: &mut Process) {
        peer.kill();
        let _ = self.bus.clean_dead_nodes();
    }
}

/// How many frames a consumer has found whole, twice each.
fn right(consumer: &Process) -> u64 {
    let printed = consumer.stdout();
    let last = printed.lines().next_back();
    last.map_or(0, |count| count.parse().expect("a number"))
}

fn goes_on(consumer: &Process) {
    let before = right(consumer);
    let on = wait_until(SOON, || right(consumer) > before + 20);
    assert!(on, "{consumer:?}: {}", consumer.stderr());
}

fn kills() -> u32 {
    let kills = std::env::var("SLUICE_KILLS");
    kills.map_or(10, |kills| kills.parse().expect("a number"))
}

fn producers_and_consumers_are_killed(run: &Run) {
    let mut producer = run.start("produce", 0);
    let mut consumer = run.start("consume", 0);
    goes_on(&consumer);
    for epoch in 1..=kills() {
        run.kill(&mut producer);
        producer = run.start("produce", epoch);
        goes_on(&consumer);
        run.kill(&mut consumer);
        consumer = run.start("consume", 0);
        goes_on(&consumer);
    }
    run.kill(&mut producer);
    run.kill(&mut consumer);
}

#[test]
fn frames_in_shared_memory_survive_the_death_of_either() {
    producers_and_consumers_are_killed(&Run::new(FrameMemory::Host));
}

#[test]
fn frames_on_a_gpu_survive_the_death_of_either_and_nothing_is_left_there() {
    let run = Run::new(FrameMemory::Cuda(0));
    producers_and_consumers_are_killed(&run);
    // What is left is what is kept for who comes next.
    assert_eq!(run.keeper.pools(), 2);
    let kept = run.used();
    assert!(kept > 0);
    run.keeper.forget(&"yard".parse().expect("a name"));
    assert_eq!(run.used(), 0, "of {kept}");
}
