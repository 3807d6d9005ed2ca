//! Tensors of pictures on a GPU, the fake one, against those that the CPU makes.

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::ColourOrder;
use cuda::{Device, DeviceBuffer, Stream};
use frame_bus::ColourMatrix;
use infer_worker::tensor::{
    BatchDimension, ChannelLayout, DevicePicture, DeviceTensors, Normalisation, Picture,
    TensorFormat, TensorMaker, TensorValues,
};

const SIZES: [[u32; 2]; 3] = [[96, 54], [30, 64], [64, 64]];

fn format(layout: ChannelLayout, colour: ColourOrder, bytes: bool) -> TensorFormat {
    TensorFormat {
        size: PixelSize {
            width: 64,
            height: 48,
        },
        layout,
        colour,
        normalisation: if bytes {
            Normalisation::NONE
        } else {
            Normalisation::IMAGENET
        },
        padding: 114.0,
        bytes,
        batch: BatchDimension::Open,
    }
}

/// Noise, the same in each run.
fn picture(size: [u32; 2]) -> (I420Layout, Vec<u8>) {
    let layout = I420Layout::of(PixelSize {
        width: size[0],
        height: size[1],
    });
    let mut random = u64::from(size[0]);
    let bytes = (0..layout.bytes).map(|_| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    });
    (layout, bytes.collect())
}

fn values(tensor: TensorValues<'_>) -> Vec<f32> {
    match tensor {
        TensorValues::Floats(values) => values.to_vec(),
        TensorValues::Bytes(values) => values.iter().copied().map(f32::from).collect(),
    }
}

#[test]
fn tensors_of_a_gpu_are_those_of_the_cpu() {
    cuda::load_driver(&testkit::process::fake_cuda()).expect("it loads");
    let gpu = Device::open(0).expect("a GPU");
    let mut stream = Stream::new(&gpu).expect("a stream");
    let pictures = SIZES.map(picture);
    let uploaded = pictures.each_ref().map(|(_, bytes)| {
        let buffer = DeviceBuffer::new(&gpu, bytes.len()).expect("memory");
        stream
            .run(|work| work.upload(bytes, buffer.whole()))
            .expect("it goes there");
        buffer
    });
    for layout in [ChannelLayout::Planar, ChannelLayout::Interleaved] {
        for colour in [ColourOrder::Rgb, ColourOrder::Bgr] {
            for bytes in [false, true] {
                let format = format(layout, colour, bytes);
                let mut on_cpu = TensorMaker::new(format, 4);
                let mut on_gpu = TensorMaker::new(format, 4);
                let mut device = DeviceTensors::new(&gpu, &format, 4).expect("memory");
                // The first place is of a picture in memory of this machine on both ways, and
                // what was there before is of another size.
                for maker in [&mut on_cpu, &mut on_gpu] {
                    for place in 0..4 {
                        make(maker, place, &pictures[2]);
                    }
                    make(maker, 0, &pictures[1]);
                }
                let wanted = [0, 1, 2].map(|index| make(&mut on_cpu, index + 1, &pictures[index]));
                let batch = [0, 1, 2].map(|index| DevicePicture {
                    layout: &pictures[index].0,
                    memory: uploaded[index].whole(),
                    colour: ColourMatrix::Bt709,
                });
                let made = on_gpu.make_on_device(1, &mut device, &batch);
                assert_eq!(made, Ok(wanted.to_vec()));
                let unit = if bytes { 1.0 } else { 1.0 / 58.0 };
                let expected = values(on_cpu.tensor(4));
                let made = values(on_gpu.tensor(4));
                for (index, (made, expected)) in made.iter().zip(&expected).enumerate() {
                    // Bytes are rounded, so one may be the next.
                    let error = (made - expected).abs();
                    let most = if bytes { 1.0 } else { 0.1 * unit };
                    assert!(error <= most, "{index}: {made} is not {expected}");
                }
                // Either may have any place next.
                let both = [&mut on_cpu, &mut on_gpu].map(|maker| {
                    make(maker, 2, &pictures[1]);
                    maker.clear(3);
                    values(maker.tensor(4)).split_off(2 * format.values())
                });
                assert_eq!(both[0], both[1]);
            }
        }
    }
}

fn make(
    maker: &mut TensorMaker,
    place: usize,
    (layout, bytes): &(I420Layout, Vec<u8>),
) -> infer_worker::letterbox::Letterbox {
    let plane = |plane: usize| &bytes[layout.offsets[plane]..];
    let plane = |index: usize| &plane(index)[..layout.strides[index] * layout.rows[index]];
    maker.make(
        place,
        &Picture {
            layout,
            planes: [plane(0), plane(1), plane(2)],
            colour: ColourMatrix::Bt709,
        },
    )
}
