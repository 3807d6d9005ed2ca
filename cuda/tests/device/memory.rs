use std::os::fd::AsFd;

use cuda::{CudaError, Device, DeviceBuffer, DeviceSlice, PinnedBuffer, SharedMemory, Stream};

use crate::{Random, gpu};

fn read(stream: &mut Stream, from: DeviceSlice<'_>) -> Vec<u8> {
    let mut bytes = vec![0; from.len()];
    let read = stream.run(|work| work.download(from, &mut bytes));
    read.expect("it was read");
    bytes
}

#[test]
fn bytes_go_to_the_device_and_come_back() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let bytes = Random(1).bytes(100_000);
    let mut pinned = PinnedBuffer::new(&device, bytes.len()).expect("memory");
    pinned.copy_from_slice(&bytes);
    let first = DeviceBuffer::new(&device, bytes.len()).expect("memory");
    let second = DeviceBuffer::new(&device, bytes.len()).expect("memory");
    let mut back = vec![0; bytes.len()];
    let ran = stream.run(|work| {
        work.fill(second.whole(), 7)?;
        work.upload(&pinned, first.whole())?;
        let part = first.whole().slice(1000..50_000)?;
        work.copy(part, second.whole().slice(20..second.whole().len())?)?;
        work.download(second.whole(), &mut back)
    });
    assert_eq!(ran, Ok::<_, CudaError>(()));
    let mut expected = vec![7; bytes.len()];
    expected[20..49_020].copy_from_slice(&bytes[1000..50_000]);
    assert!(back == expected);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_done() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let buffer = DeviceBuffer::new(&device, 100).expect("memory");
    let too_long = stream.run(|work| work.upload(&[0; 101], buffer.whole()));
    let refused = CudaError::Range {
        offset: 0,
        len: 101,
        bytes: 100,
    };
    assert_eq!(too_long, Err(refused));
    let whole = buffer.whole();
    assert!(whole.slice(50..101).is_err());
    let (end, begin) = (1, usize::MAX);
    assert!(whole.slice(begin..end).is_err());
    assert_eq!(whole.slice(50..100).expect("within").len(), 50);
    assert!(Device::open(1).is_err_and(
        |error| error.to_string() == "there is no GPU 1: the driver has 1, counted from 0"
    ));
}

#[test]
fn shared_memory_outlives_who_made_it() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let bytes = Random(2).bytes(5000);
    let made = SharedMemory::create(&device, 5000).expect("memory");
    assert!(made.len() >= 5000);
    stream
        .run(|work| work.upload(&bytes, made.whole()))
        .expect("it goes there");
    let descriptor = made.export().expect("a descriptor");
    let len = made.len();
    drop(made);
    let imported = SharedMemory::import(&device, descriptor.as_fd(), len).expect("it is there");
    drop(descriptor);
    let other = SharedMemory::import(
        &device,
        imported.export().expect("a descriptor").as_fd(),
        len,
    );
    let other = other.expect("it is there");
    let part = imported.whole().slice(0..5000).expect("within");
    assert!(read(&mut stream, part) == bytes);
    stream
        .run(|work| work.fill(part, 3))
        .expect("it can be written");
    assert!(read(&mut stream, other.whole().slice(0..5000).expect("within")) == vec![3; 5000]);
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let device = gpu();
    let file = tempfile();
    let imported = SharedMemory::import(&device, file.as_fd(), 4096);
    let error = imported.expect_err("it is a file").to_string();
    assert!(
        error.starts_with("cuMemImportFromShareableHandle: CUDA_ERROR_INVALID_VALUE"),
        "{error}"
    );
}

fn tempfile() -> std::fs::File {
    std::fs::File::open("/dev/null").expect("there is one")
}

#[test]
fn a_full_device_says_so_and_goes_on() {
    let device = gpu();
    let total = device.memory().expect("it says").total as usize;
    let error = SharedMemory::create(&device, total + 1).expect_err("there is no room");
    assert!(error.is_out_of_memory() && !error.is_fatal(), "{error}");
    let error = DeviceBuffer::new(&device, total + 1).expect_err("there is no room");
    assert!(error.is_out_of_memory(), "{error}");
    DeviceBuffer::new(&device, 1000).expect("there is room");
}

#[test]
fn work_is_done_before_what_it_borrows_goes_whatever_happens() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let buffer = DeviceBuffer::new(&device, 1 << 20).expect("memory");
    let bytes = Random(3).bytes(1 << 20);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let borrowed = bytes.clone();
        let _ = stream.run(|work| -> Result<(), CudaError> {
            for _ in 0..20 {
                work.upload(&borrowed, buffer.whole())?;
            }
            panic!("in the middle of it")
        });
    }));
    assert!(panicked.is_err());
    assert!(read(&mut stream, buffer.whole()) == bytes);
}
