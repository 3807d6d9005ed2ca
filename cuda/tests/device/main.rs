//! Memory, streams and kernels on the fake driver, in a process of their own.

mod letterbox;
mod memory;

use std::sync::Once;

use cuda::Device;

/// The fake GPU.
fn gpu() -> Device {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        cuda::load_driver(&testkit::process::fake_cuda()).expect("it loads");
    });
    Device::open(0).expect("there is one")
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // The constants of MMIX, D. E. Knuth.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() & 255) as u8).collect()
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }
}
