//! The kernel against its definition, in double precision.

use cuda::kernels::{
    Element, Letterbox, LetterboxError, Picture, PictureTable, Place, Planes, Target,
};
use cuda::{CudaError, Device, DeviceBuffer, DeviceSlice, Stream};

use crate::{Random, gpu};

const BT601: [f32; 4] = [2.017_232, -0.391_762, -0.812_968, 1.596_027];
const BT709: [f32; 4] = [2.112_402, -0.213_249, -0.532_909, 1.792_741];

/// A picture in memory of this machine, three planes without gaps.
struct Original {
    size: [u32; 2],
    planes: [Vec<u8>; 3],
    place: Place,
    chroma_weights: [f32; 4],
}

impl Original {
    fn random(random: &mut Random, size: [u32; 2], place: [u32; 4]) -> Self {
        let chroma = size.map(|side| side.div_ceil(2) as usize);
        let [left, top, width, height] = place;
        Self {
            size,
            planes: [
                random.bytes(size[0] as usize * size[1] as usize),
                random.bytes(chroma[0] * chroma[1]),
                random.bytes(chroma[0] * chroma[1]),
            ],
            place: Place {
                left,
                top,
                width,
                height,
            },
            chroma_weights: if random.below(2) == 0 { BT601 } else { BT709 },
        }
    }

    /// Its sample between samples.
    fn sample(&self, plane: usize, [across, down]: [f64; 2]) -> f64 {
        let size = self.size.map(|side| side as usize);
        let [width, height] = if plane == 0 {
            size
        } else {
            size.map(|side| side.div_ceil(2))
        };
        let position =
            |part: f64, length: usize| (part * length as f64 - 0.5).clamp(0.0, (length - 1) as f64);
        let (x, y) = (position(across, width), position(down, height));
        let at = |x: usize, y: usize| {
            f64::from(self.planes[plane][y.min(height - 1) * width + x.min(width - 1)])
        };
        let (left, top) = (x.floor() as usize, y.floor() as usize);
        let (right, bottom) = (x.fract(), y.fract());
        let row = |y| at(left, y) * (1.0 - right) + at(left + 1, y) * right;
        row(top) * (1.0 - bottom) + row(top + 1) * bottom
    }

    /// Blue, green and red of a pixel of the tensor, before they are normalised.
    fn colours(&self, x: u32, y: u32) -> Option<[f64; 3]> {
        let Place {
            left,
            top,
            width,
            height,
        } = self.place;
        let column = x.checked_sub(left).filter(|column| *column < width)?;
        let row = y.checked_sub(top).filter(|row| *row < height)?;
        let part = |index: u32, length: u32| (f64::from(index) + 0.5) / f64::from(length);
        let position = [part(column, width), part(row, height)];
        let luma = 255.0 / 219.0 * (self.sample(0, position) - 16.0);
        let (cb, cr) = (
            self.sample(1, position) - 128.0,
            self.sample(2, position) - 128.0,
        );
        let [blue_cb, green_cb, green_cr, red_cr] = self.chroma_weights.map(f64::from);
        let colours = [
            luma + blue_cb * cb,
            luma + green_cb * cb + green_cr * cr,
            luma + red_cr * cr,
        ];
        Some(colours.map(|colour| colour.clamp(0.0, 255.0)))
    }
}

/// Its planes on the device, with gaps after each row.
struct Uploaded {
    buffer: DeviceBuffer,
    offsets: [usize; 3],
    strides: [u32; 2],
    nv12: bool,
}

impl Uploaded {
    fn of(device: &Device, stream: &mut Stream, original: &Original, gap: u32, nv12: bool) -> Self {
        let chroma = original.size.map(|side| side.div_ceil(2));
        let step = if nv12 { 2 } else { 1 };
        let strides = [original.size[0] + gap, chroma[0] * step + gap];
        let mut bytes = Vec::new();
        let mut offsets = [0; 3];
        let mut rows = |rows: &mut dyn Iterator<Item = Vec<u8>>, stride: u32| {
            let begin = bytes.len();
            for mut row in rows {
                row.resize(stride as usize, 255);
                bytes.extend(row);
            }
            begin
        };
        let plane = |plane: usize, width: u32| {
            let rows = original.planes[plane].chunks_exact(width as usize);
            rows.map(<[u8]>::to_vec)
        };
        offsets[0] = rows(&mut plane(0, original.size[0]), strides[0]);
        if nv12 {
            let pairs = plane(1, chroma[0]).zip(plane(2, chroma[0]));
            let mut pairs = pairs.map(|(cb, cr)| {
                let pairs = cb.into_iter().zip(cr);
                pairs.flat_map(|(cb, cr)| [cb, cr]).collect()
            });
            offsets[1] = rows(&mut pairs, strides[1]);
        } else {
            offsets[1] = rows(&mut plane(1, chroma[0]), strides[1]);
            offsets[2] = rows(&mut plane(2, chroma[0]), strides[1]);
        }
        let buffer = DeviceBuffer::new(device, bytes.len()).expect("memory");
        stream
            .run(|work| work.upload(&bytes, buffer.whole()))
            .expect("it goes there");
        Self {
            buffer,
            offsets,
            strides,
            nv12,
        }
    }

    fn plane(&self, index: usize) -> DeviceSlice<'_> {
        let whole = self.buffer.whole();
        whole
            .slice(self.offsets[index]..whole.len())
            .expect("within")
    }

    fn picture(&self, original: &Original) -> Picture<'_> {
        let strides = self.strides;
        Picture {
            planes: if self.nv12 {
                let planes = [self.plane(0), self.plane(1)];
                Planes::Nv12 { planes, strides }
            } else {
                let planes = [self.plane(0), self.plane(1), self.plane(2)];
                Planes::I420 { planes, strides }
            },
            size: original.size,
            place: original.place,
            chroma_weights: original.chroma_weights,
        }
    }
}

/// IEEE 754 binary16, by its definition.
fn float_of_half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 => f64::INFINITY,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 0 { value } else { -value }
}

fn values(bytes: &[u8], element: Element) -> Vec<f64> {
    let of = |bytes: &[u8]| match *bytes {
        [byte] => f64::from(byte),
        [low, high] => float_of_half(u16::from_le_bytes([low, high])),
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        _ => unreachable!("there are three lengths"),
    };
    bytes.chunks_exact(element.bytes()).map(of).collect()
}

/// How far a value may be from its definition, as a part of its scale.
fn tolerance(element: Element) -> f64 {
    match element {
        Element::Float32 => 5e-4,
        Element::Float16 => 1e-3,
        // Rounded: half a step, of 255.
        Element::Byte => 0.55 / 255.0,
    }
}

#[test]
fn the_tensor_is_that_of_the_definition() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let kernel = Letterbox::load(&device).expect("it loads");
    let mut table = PictureTable::new(&device, 4).expect("memory");
    let mut random = Random(11);
    let formats = [Element::Float32, Element::Float16, Element::Byte];
    let cases = formats
        .into_iter()
        .flat_map(|element| [false, true].map(|interleaved| (element, interleaved)));
    for (index, (element, interleaved)) in cases.enumerate() {
        let red_first = index % 2 == 0;
        let size = [70, 50];
        let originals = [
            Original::random(&mut random, [97, 61], [0, 3, 70, 44]),
            Original::random(&mut random, [1, 1], [10, 0, 50, 50]),
            Original::random(&mut random, [320, 18], [0, 23, 70, 4]),
            Original::random(&mut random, [35, 25], [0, 0, 70, 50]),
        ];
        let uploaded = originals.each_ref().map(|original| {
            let (gap, nv12) = (random.below(40), random.below(2) == 0);
            Uploaded::of(&device, &mut stream, original, gap, nv12)
        });
        let pictures = uploaded.iter().zip(&originals);
        let pictures: Vec<_> = pictures.map(|(planes, of)| planes.picture(of)).collect();
        let count = originals.len() * 3 * 70 * 50;
        let tensor = DeviceBuffer::new(&device, count * element.bytes()).expect("memory");
        let (scale, shift) = if element == Element::Byte {
            ([1.0; 3], [0.0; 3])
        } else {
            ([0.017, 0.0175, 0.0174], [-2.1, -2.0, -1.8])
        };
        let padding = [114.0_f32, 115.0, 116.0];
        let padding = std::array::from_fn(|at| padding[at] * scale[at] + shift[at]);
        let target = Target {
            memory: tensor.whole(),
            size,
            element,
            interleaved,
            red_first,
            scale,
            shift,
            padding,
        };
        let mut bytes = vec![0; tensor.whole().len()];
        let ran = stream.run(|work| -> Result<(), LetterboxError> {
            work.fill(tensor.whole(), 0xff)?;
            kernel.queue(work, &mut table, &pictures, &target)?;
            Ok(work.download(tensor.whole(), &mut bytes)?)
        });
        assert_eq!(ran, Ok(()));
        let values = values(&bytes, element);
        let range = f64::from(scale[0]) * 255.0;
        let mut worst = 0.0_f64;
        for (place, original) in originals.iter().enumerate() {
            for y in 0..size[1] {
                for x in 0..size[0] {
                    let colours = original.colours(x, y);
                    for colour in 0..3 {
                        let expected = colours.map_or(f64::from(padding[colour]), |colours| {
                            colours[colour] * f64::from(scale[colour]) + f64::from(shift[colour])
                        });
                        let channel = if red_first { 2 - colour } else { colour };
                        let pixel = (y * size[0] + x) as usize;
                        let at = if interleaved {
                            (place * 3500 + pixel) * 3 + channel
                        } else {
                            (place * 3 + channel) * 3500 + pixel
                        };
                        let error = (values[at] - expected).abs() / range;
                        assert!(
                            error <= tolerance(element),
                            "{element:?} {place} {x} {y} {colour}: {} is not {expected}",
                            values[at]
                        );
                        worst = worst.max(error);
                    }
                }
            }
        }
        println!("{element:?} interleaved {interleaved}: worst {worst:.1e} of the range");
    }
}

#[test]
fn halves_are_rounded_to_the_nearest() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let kernel = Letterbox::load(&device).expect("it loads");
    let mut table = PictureTable::new(&device, 1).expect("memory");
    let mut random = Random(12);
    let original = Original::random(&mut random, [2, 2], [0, 0, 1, 1]);
    let uploaded = Uploaded::of(&device, &mut stream, &original, 0, false);
    let tensor = DeviceBuffer::new(&device, 12).expect("memory");
    // Padding goes to the tensor as it is, so any value can be tried.
    let mut tried = vec![
        0.0, 1.0, -2.5, 65_504.0, 65_519.9, 65_520.0, 1e9, 6e-8, 2.9e-8, 3.1e-5,
    ];
    tried.extend((0..300).map(|_| {
        let exponent = i32::try_from(random.below(34)).expect("small") - 26;
        (random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0) * 2_f32.powi(exponent)
    }));
    for value in tried {
        let target = Target {
            memory: tensor.whole(),
            size: [2, 1],
            element: Element::Float16,
            interleaved: true,
            red_first: false,
            scale: [1.0; 3],
            shift: [0.0; 3],
            padding: [value; 3],
        };
        let mut bytes = [0; 12];
        let ran = stream.run(|work| -> Result<(), LetterboxError> {
            kernel.queue(work, &mut table, &[uploaded.picture(&original)], &target)?;
            Ok(work.download(tensor.whole(), &mut bytes)?)
        });
        assert_eq!(ran, Ok(()));
        let made = u16::from_le_bytes([bytes[6], bytes[7]]);
        let (made_value, wanted) = (float_of_half(made), f64::from(value));
        if wanted.abs() >= 65_520.0 {
            assert_eq!(made_value, f64::INFINITY.copysign(wanted));
            continue;
        }
        // No other half is nearer, and of two as near it is the even one.
        for other in [made.wrapping_sub(1), made.wrapping_add(1)] {
            let other_value = float_of_half(other);
            if other_value.is_finite() && (other_value < 0.0) == (made_value < 0.0) {
                let (error, others) = ((made_value - wanted).abs(), (other_value - wanted).abs());
                assert!(
                    error < others || (error == others && made % 2 == 0),
                    "{value}"
                );
            }
        }
    }
}

#[test]
fn what_would_leave_its_memory_is_refused() {
    let device = gpu();
    let mut stream = Stream::new(&device).expect("a stream");
    let kernel = Letterbox::load(&device).expect("it loads");
    let mut table = PictureTable::new(&device, 1).expect("memory");
    let memory = DeviceBuffer::new(&device, 16 * 16 * 3 / 2).expect("memory");
    let whole = memory.whole();
    let part = |begin: usize, end: usize| whole.slice(begin..end).expect("within");
    let picture = Picture {
        planes: Planes::I420 {
            planes: [part(0, 256), part(256, 320), part(320, 384)],
            strides: [16, 8],
        },
        size: [16, 16],
        place: Place {
            left: 0,
            top: 0,
            width: 10,
            height: 10,
        },
        chroma_weights: BT601,
    };
    let tensor = DeviceBuffer::new(&device, 10 * 10 * 3 * 4).expect("memory");
    let target = Target {
        memory: tensor.whole(),
        size: [10, 10],
        element: Element::Float32,
        interleaved: false,
        red_first: false,
        scale: [1.0; 3],
        shift: [0.0; 3],
        padding: [0.0; 3],
    };
    let mut queue = |pictures: &[Picture<'_>], target: &Target<'_>| {
        let ran = stream.run(|work| kernel.queue(work, &mut table, pictures, target));
        ran.map_err(|error: LetterboxError| error.to_string())
    };
    assert_eq!(queue(&[picture], &target), Ok(()));
    let mut refused = |change: &dyn Fn(&mut Picture<'_>, &mut Target<'_>)| {
        let (mut picture, mut target) = (picture, target);
        change(&mut picture, &mut target);
        queue(&[picture], &target).expect_err("it is refused")
    };
    assert_eq!(
        refused(&|picture, _| picture.size = [16, 18]),
        "picture 0 of a batch: a plane is longer than its memory"
    );
    assert_eq!(
        refused(&|picture, _| picture.size = [0, 16]),
        "picture 0 of a batch: a side is not from 1 to 8192"
    );
    assert_eq!(
        refused(&|picture, _| picture.size = [17, 2]),
        "picture 0 of a batch: a stride is less than a row"
    );
    assert_eq!(
        refused(&|picture, _| picture.place.left = u32::MAX),
        "picture 0 of a batch: its place is not within the tensor"
    );
    assert_eq!(
        refused(&|_, target| target.size = [10, 11]),
        "the tensor of a batch: its memory is too small"
    );
    assert_eq!(
        queue(&[picture, picture], &target),
        Err(
            "the tensor of a batch: there are more pictures than the table has room for".to_owned()
        )
    );
    assert!(queue(&[], &target).is_err());
    let nothing_broke: Result<(), CudaError> = stream.run(|_| Ok(()));
    assert_eq!(nothing_broke, Ok(()));
}
