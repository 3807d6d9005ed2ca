use proptest::prelude::*;

use super::*;

const NORMALISATION: Normalisation = Normalisation {
    mean: [103.53, 116.28, 123.675],
    deviation: [57.375, 57.12, 58.395],
};

/// What `NanoDet` takes, at another size.
fn format(width: u32, height: u32) -> TensorFormat {
    TensorFormat {
        size: PixelSize { width, height },
        layout: ChannelLayout::Planar,
        colour: ColourOrder::Bgr,
        normalisation: NORMALISATION,
        padding: 0.0,
        bytes: false,
        batch: BatchDimension::Open,
    }
}

struct Image {
    layout: I420Layout,
    bytes: Vec<u8>,
}

impl Image {
    fn noise(width: u32, height: u32, seed: u64) -> Self {
        let layout = I420Layout::of(PixelSize { width, height });
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        Self {
            bytes: (0..layout.bytes).map(|_| next()).collect(),
            layout,
        }
    }

    fn picture(&self, colour: ColourMatrix) -> Picture<'_> {
        let layout = &self.layout;
        let plane = |plane: usize| {
            &self.bytes[layout.offsets[plane]..][..layout.strides[plane] * layout.rows[plane]]
        };
        Picture {
            layout,
            planes: [plane(0), plane(1), plane(2)],
            colour,
        }
    }

    /// One sample of a plane at the place the definition says, in double precision.
    fn sample(&self, plane: usize, x: usize, y: usize, letterbox: &Letterbox) -> f64 {
        let size = self.layout.size;
        let (width, height) = match plane {
            0 => (size.width, size.height),
            _ => (size.width.div_ceil(2), size.height.div_ceil(2)),
        };
        let at = |target: usize, scaled: usize, source: u32| {
            let position = (target as f64 + 0.5) * f64::from(source) / scaled as f64 - 0.5;
            let position = position.clamp(0.0, f64::from(source - 1));
            let first = position.floor();
            let second = (first as usize + 1).min(source as usize - 1);
            (first as usize, second, position - first)
        };
        let (left, right, across) = at(x, letterbox.width, width);
        let (above, below, down) = at(y, letterbox.height, height);
        let value = |x: usize, y: usize| {
            let row = self.layout.offsets[plane] + y * self.layout.strides[plane];
            f64::from(self.bytes[row + x])
        };
        let mix = |one: f64, other: f64, part: f64| one * (1.0 - part) + other * part;
        mix(
            mix(value(left, above), value(right, above), across),
            mix(value(left, below), value(right, below), across),
            down,
        )
    }

    /// The whole tensor by the definition, one sample at a time.
    fn reference(&self, matrix: ColourMatrix, format: &TensorFormat) -> Vec<f64> {
        let letterbox = Letterbox::new(self.layout.size, format.size);
        let (width, height) = (format.size.width as usize, format.size.height as usize);
        let mut tensor = vec![0.0; 3 * width * height];
        for y in 0..height {
            for x in 0..width {
                let inside = (letterbox.left..letterbox.left + letterbox.width).contains(&x)
                    && (letterbox.top..letterbox.top + letterbox.height).contains(&y);
                let [blue, green, red] = if inside {
                    let (x, y) = (x - letterbox.left, y - letterbox.top);
                    let sample = |plane| self.sample(plane, x, y, &letterbox);
                    let luma = 1.164383 * (sample(0) - 16.0);
                    let (cb, cr) = (sample(1) - 128.0, sample(2) - 128.0);
                    match matrix {
                        ColourMatrix::Bt601 => [
                            luma + 2.017232 * cb,
                            luma - 0.391762 * cb - 0.812968 * cr,
                            luma + 1.596027 * cr,
                        ],
                        ColourMatrix::Bt709 => [
                            luma + 2.112402 * cb,
                            luma - 0.213249 * cb - 0.532909 * cr,
                            luma + 1.792741 * cr,
                        ],
                    }
                } else {
                    [f64::from(format.padding); 3]
                };
                let channels = match format.colour {
                    ColourOrder::Bgr => [blue, green, red],
                    ColourOrder::Rgb => [red, green, blue],
                };
                for (channel, value) in channels.into_iter().enumerate() {
                    let mean = f64::from(format.normalisation.mean[channel]);
                    let deviation = f64::from(format.normalisation.deviation[channel]);
                    let place = match format.layout {
                        ChannelLayout::Planar => (channel * height + y) * width + x,
                        ChannelLayout::Interleaved => (y * width + x) * 3 + channel,
                    };
                    tensor[place] = (value.clamp(0.0, 255.0) - mean) / deviation;
                }
            }
        }
        tensor
    }
}

fn floats(maker: &TensorMaker) -> &[f32] {
    match maker.tensor(1) {
        TensorValues::Floats(values) => values,
        TensorValues::Bytes(_) => panic!("bytes"),
    }
}

fn largest_difference(tensor: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(tensor.len(), reference.len());
    let pairs = tensor.iter().zip(reference);
    let differences = pairs.map(|(value, exact)| (f64::from(*value) - exact).abs());
    differences.fold(0.0, f64::max)
}

fn assert_close(maker: &mut TensorMaker, image: &Image, matrix: ColourMatrix) {
    maker.make(0, &image.picture(matrix));
    let reference = image.reference(matrix, maker.format());
    let difference = largest_difference(floats(maker), &reference);
    assert!(difference < 1e-3, "{:?}: {difference}", image.layout.size);
}

#[test]
fn real_sizes_match_the_definition() {
    let mut maker = TensorMaker::new(format(416, 416), 1);
    for (width, height) in [(768, 576), (640, 272), (1920, 1080), (176, 144), (272, 640)] {
        for matrix in [ColourMatrix::Bt601, ColourMatrix::Bt709] {
            let image = Image::noise(width, height, u64::from(width * height));
            assert_close(&mut maker, &image, matrix);
        }
    }
}

#[test]
fn every_layout_and_order_matches_the_definition() {
    for layout in [ChannelLayout::Planar, ChannelLayout::Interleaved] {
        for colour in ColourOrder::ALL {
            let mut maker = TensorMaker::new(
                TensorFormat {
                    layout,
                    colour,
                    padding: 114.0,
                    ..format(96, 64)
                },
                1,
            );
            for (width, height) in [(80, 60), (33, 91), (192, 64)] {
                let image = Image::noise(width, height, 5);
                assert_close(&mut maker, &image, ColourMatrix::Bt601);
            }
        }
    }
}

#[test]
fn bytes_are_the_nearest_to_the_definition() {
    let mut maker = TensorMaker::new(
        TensorFormat {
            layout: ChannelLayout::Interleaved,
            normalisation: Normalisation::NONE,
            padding: 114.0,
            bytes: true,
            ..format(96, 64)
        },
        1,
    );
    let image = Image::noise(75, 64, 3);
    maker.make(0, &image.picture(ColourMatrix::Bt709));
    let reference = image.reference(ColourMatrix::Bt709, maker.format());
    let TensorValues::Bytes(bytes) = maker.tensor(1) else {
        panic!("floats");
    };
    assert_eq!(bytes.len(), reference.len());
    for (byte, exact) in bytes.iter().zip(&reference) {
        assert!((f64::from(*byte) - exact).abs() < 0.501, "{byte} {exact}");
    }
    assert_eq!(bytes[0], 114, "padding");
}

#[test]
fn dimensions_follow_the_layout() {
    let planar = format(96, 64);
    assert_eq!(planar.dimensions(1), [1, 3, 64, 96]);
    let interleaved = TensorFormat {
        layout: ChannelLayout::Interleaved,
        batch: BatchDimension::Absent,
        ..planar
    };
    assert_eq!(interleaved.dimensions(1), [64, 96, 3]);
}

#[test]
fn the_least_and_the_largest_sides_are_taken() {
    let mut maker = TensorMaker::new(format(64, 64), 1);
    for (width, height) in [(1, 1), (2, 2), (1, 300), (SIDE_MAX, 2), (3, SIDE_MAX)] {
        let image = Image::noise(width, height, 7);
        assert_close(&mut maker, &image, ColourMatrix::Bt601);
    }
}

#[test]
fn a_smaller_picture_leaves_nothing_of_a_larger_one() {
    for layout in [ChannelLayout::Planar, ChannelLayout::Interleaved] {
        let format = TensorFormat {
            layout,
            padding: 114.0,
            ..format(96, 96)
        };
        let mut maker = TensorMaker::new(format, 1);
        maker.make(0, &Image::noise(96, 96, 1).picture(ColourMatrix::Bt601));
        assert_close(&mut maker, &Image::noise(96, 33, 2), ColourMatrix::Bt601);
        assert_close(&mut maker, &Image::noise(21, 96, 3), ColourMatrix::Bt601);
    }
}

#[test]
fn each_place_holds_its_own_picture_and_padding_once_cleared() {
    for bytes in [false, true] {
        let one = TensorFormat {
            bytes,
            padding: 114.0,
            ..format(96, 64)
        };
        let values = |maker: &TensorMaker, places: usize| match maker.tensor(places) {
            TensorValues::Floats(values) => values.to_vec(),
            TensorValues::Bytes(values) => values.iter().map(|byte| f32::from(*byte)).collect(),
        };
        let alone = |image: &Image| {
            let mut maker = TensorMaker::new(one, 1);
            maker.make(0, &image.picture(ColourMatrix::Bt601));
            values(&maker, 1)
        };
        let images = [(80, 60, 1), (33, 91, 2), (192, 64, 3), (80, 60, 4)];
        let images = images.map(|(width, height, seed)| Image::noise(width, height, seed));
        let mut maker = TensorMaker::new(one, 3);
        let empty = values(&maker, 1);
        for pictures in images.windows(3) {
            for (place, image) in pictures.iter().enumerate() {
                maker.make(place, &image.picture(ColourMatrix::Bt601));
            }
            let wanted: Vec<_> = pictures.iter().flat_map(alone).collect();
            assert_eq!(values(&maker, 3), wanted);
            assert_eq!(values(&maker, 2), wanted[..2 * one.values()]);
        }
        maker.clear(1);
        assert_eq!(values(&maker, 3)[one.values()..2 * one.values()], empty);
        assert_eq!(values(&maker, 1), alone(&images[1]));
    }
}

#[test]
fn white_black_and_out_of_range_are_clamped() {
    let mut image = Image::noise(16, 16, 1);
    let mut maker = TensorMaker::new(format(32, 32), 1);
    for (luma, value) in [(16, 0.0), (0, 0.0), (235, 255.0), (255, 255.0)] {
        image.bytes.fill(128);
        image.bytes[..image.layout.offsets[1]].fill(luma);
        maker.make(0, &image.picture(ColourMatrix::Bt601));
        let blue = (value - NORMALISATION.mean[0]) / NORMALISATION.deviation[0];
        assert!((floats(&maker)[0] - blue).abs() < 1e-4, "luma {luma}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn odd_sizes_match_the_definition(
        width in 1_u32..200, height in 1_u32..200, seed: u64, high_definition: bool,
        input_width in 16_u32..160, input_height in 16_u32..160, interleaved: bool,
    ) {
        let matrix = if high_definition { ColourMatrix::Bt709 } else { ColourMatrix::Bt601 };
        let layout = if interleaved { ChannelLayout::Interleaved } else { ChannelLayout::Planar };
        let mut maker = TensorMaker::new(TensorFormat {
            layout,
            ..format(input_width, input_height)
        }, 1);
        assert_close(&mut maker, &Image::noise(width, height, seed), matrix);
    }
}
