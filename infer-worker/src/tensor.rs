//! From an I420 picture to a letterboxed, normalised tensor in one pass.
//!
//! A row of the tensor is made from two rows of each plane: the rows are blended
//! first, at the picture's width, because that loop is contiguous; then the blended
//! row is resampled to the tensor's width; then luma and chroma become blue, green and
//! red, already normalised. No full-size RGB picture exists at any time.
//!
//! All arithmetic is `f32` without rounding in between, so the result is that of the
//! definition below to within 1e-3 of a normalised value, whatever the instruction
//! set. With `(x, y)` a pixel of the scaled picture and `w x h` the size of a plane:
//!
//! - source position `((x + 0.5) * w / width - 0.5, (y + 0.5) * h / height - 0.5)`,
//!   clamped to the plane, bilinear;
//! - ITU-R BT.601 or BT.709, limited range, clamped to 0..255;
//! - `(value - mean) / standard deviation` for each channel; padding is the value 0.

use contract::geometry::{I420Layout, PixelSize, SIDE_MAX};
use frame_bus::ColourMatrix;
use pulp::{Arch, Simd, WithSimd};

use crate::letterbox::Letterbox;

/// Samples of a blended row. A power of two, so that a masked index needs no bounds check.
const ROW_SAMPLES: usize = SIDE_MAX as usize;
const _: () = assert!(ROW_SAMPLES.is_power_of_two());

/// A row of one plane, blended of two; only as many samples as the plane is wide are used.
type Row = [f32; ROW_SAMPLES];

/// A decoded picture, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Size and strides.
    pub layout: &'a I420Layout,
    /// Y, U and V: `rows * stride` bytes each.
    pub planes: [&'a [u8]; 3],
    /// How luma and chroma become colours.
    pub colour: ColourMatrix,
}

impl Picture<'_> {
    /// The samples of a row of a plane, and of the row below it or, at the edge, itself.
    #[inline(always)]
    fn rows(&self, plane: usize, first: usize) -> (&[u8], &[u8]) {
        let layout = self.layout;
        let width = layout.size.width as usize;
        let samples = if plane == 0 { width } else { width.div_ceil(2) };
        let stride = layout.strides[plane];
        let row = |row: usize| &self.planes[plane][row * stride..][..samples];
        (row(first), row((first + 1).min(layout.rows[plane] - 1)))
    }
}

/// How a model wants its pixels: `(value - mean) / deviation`, in the order blue, green, red.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Divided by.
    pub deviation: [f32; 3],
}

/// Makes the tensors of one session; owns the tensor and all scratch rows.
#[derive(Debug)]
pub struct TensorMaker {
    side: usize,
    normalisation: Normalisation,
    plan: Plan,
    scratch: Scratch,
    tensor: Vec<f32>,
    arch: Arch,
}

impl TensorMaker {
    /// A maker of `[1, 3, side, side]` tensors.
    #[must_use]
    pub fn new(side: usize, normalisation: Normalisation) -> Self {
        let size = PixelSize {
            width: 16,
            height: 16,
        };
        let mut maker = Self {
            side,
            normalisation,
            plan: Plan::new(size, side),
            scratch: Scratch::new(side),
            tensor: vec![0.0; 3 * side * side],
            arch: Arch::new(),
        };
        maker.pad();
        maker
    }

    /// The tensor last made; before the first, only padding.
    #[must_use]
    pub fn tensor(&self) -> &[f32] {
        &self.tensor
    }

    /// Makes the tensor of a picture and says where in it the picture lies.
    pub fn make(&mut self, picture: &Picture<'_>) -> Letterbox {
        if self.plan.letterbox.picture != picture.layout.size {
            self.plan = Plan::new(picture.layout.size, self.side);
            self.pad();
        }
        self.arch.dispatch(Fill {
            picture,
            plan: &self.plan,
            transform: Transform::new(picture.colour, &self.normalisation),
            side: self.side,
            scratch: &mut self.scratch,
            tensor: &mut self.tensor,
        });
        self.plan.letterbox
    }

    /// Fills the whole tensor with the normalised value 0; the picture is written over it.
    fn pad(&mut self) {
        let planes = self.tensor.chunks_exact_mut(self.side * self.side);
        let Normalisation { mean, deviation } = self.normalisation;
        for (channel, plane) in planes.enumerate() {
            plane.fill(-mean[channel] / deviation[channel]);
        }
    }
}

/// Everything that depends on the picture's size only.
#[derive(Debug)]
struct Plan {
    letterbox: Letterbox,
    luma: [Taps; 2],
    chroma: [Taps; 2],
}

impl Plan {
    fn new(size: PixelSize, side: usize) -> Self {
        let letterbox = Letterbox::new(size, side);
        let (width, height) = (size.width as usize, size.height as usize);
        let taps = |columns: usize, rows: usize| {
            [
                Taps::new(columns, letterbox.width),
                Taps::new(rows, letterbox.height),
            ]
        };
        Self {
            letterbox,
            luma: taps(width, height),
            chroma: taps(width.div_ceil(2), height.div_ceil(2)),
        }
    }
}

/// For each target sample: the first of two source samples, and the weight of the second.
#[derive(Debug)]
struct Taps {
    index: Vec<u16>,
    weight: Vec<f32>,
}

impl Taps {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position lies between 0 and SIDE_MAX, which fits in 16 bits"
    )]
    fn new(source: usize, target: usize) -> Self {
        let scale = source as f64 / target as f64;
        let last = source.saturating_sub(1) as f64;
        // The second sample of the last pair is the edge itself: nothing lies beyond it.
        let last_pair = source.saturating_sub(2) as f64;
        let position = |sample: usize| ((sample as f64 + 0.5) * scale - 0.5).clamp(0.0, last);
        let pairs = (0..target).map(|sample| {
            let position = position(sample);
            let first = position.floor().min(last_pair);
            (first as u16, (position - first) as f32)
        });
        let (index, weight) = pairs.unzip();
        Self { index, weight }
    }
}

/// Blended rows at the width of each plane, and resampled ones at the tensor's.
#[derive(Debug)]
struct Scratch {
    blended: Box<Row>,
    resampled: [Vec<f32>; 3],
}

impl Scratch {
    fn new(side: usize) -> Self {
        let row: Box<[f32]> = vec![0.0; ROW_SAMPLES].into_boxed_slice();
        Self {
            blended: row.try_into().expect("the row has ROW_SAMPLES samples"),
            resampled: std::array::from_fn(|_| vec![0.0; side]),
        }
    }
}

/// 255/219: luma of limited range has 219 steps (ITU-R BT.601-7).
const LUMA_WEIGHT: f32 = 1.164_383;

/// What chroma adds, for limited range: Cb to blue, Cb to green, Cr to green, Cr to red.
/// From the luma weights of ITU-R BT.601-7 and BT.709-6 and the chroma range of 224 steps.
fn chroma_weights(colour: ColourMatrix) -> [f32; 4] {
    match colour {
        ColourMatrix::Bt601 => [2.017_232, -0.391_762, -0.812_968, 1.596_027],
        ColourMatrix::Bt709 => [2.112_402, -0.213_249, -0.532_909, 1.792_741],
    }
}

/// Y'CbCr to blue, green and red with the normalisation folded in: for each channel
/// `clamp(luma * y + chroma_blue * cb + chroma_red * cr + offset) * scale + shift`.
#[derive(Debug, Clone, Copy)]
struct Transform {
    luma: f32,
    blue_cb: f32,
    green_cb: f32,
    green_cr: f32,
    red_cr: f32,
    scale: [f32; 3],
    shift: [f32; 3],
}

impl Transform {
    fn new(colour: ColourMatrix, normalisation: &Normalisation) -> Self {
        let [blue_cb, green_cb, green_cr, red_cr] = chroma_weights(colour);
        let Normalisation { mean, deviation } = normalisation;
        Self {
            luma: LUMA_WEIGHT,
            blue_cb,
            green_cb,
            green_cr,
            red_cr,
            scale: deviation.map(|deviation| 1.0 / deviation),
            shift: std::array::from_fn(|channel| -mean[channel] / deviation[channel]),
        }
    }

    #[inline(always)]
    fn apply(&self, rows: [&[f32]; 3], [blue, green, red]: [&mut [f32]; 3]) {
        let [luma, cb, cr] = rows;
        let inputs = luma.iter().zip(cb).zip(cr);
        let outputs = blue.iter_mut().zip(green).zip(red);
        for (((luma, cb), cr), ((blue, green), red)) in inputs.zip(outputs) {
            let luma = self.luma * (luma - 16.0);
            let (cb, cr) = (cb - 128.0, cr - 128.0);
            *blue = self.normalised(0, luma + self.blue_cb * cb);
            *green = self.normalised(1, luma + self.green_cb * cb + self.green_cr * cr);
            *red = self.normalised(2, luma + self.red_cr * cr);
        }
    }

    #[inline(always)]
    fn normalised(&self, channel: usize, value: f32) -> f32 {
        value.clamp(0.0, 255.0) * self.scale[channel] + self.shift[channel]
    }
}

/// The whole pass; compiled once for each instruction set and chosen at run time.
struct Fill<'a> {
    picture: &'a Picture<'a>,
    plan: &'a Plan,
    transform: Transform,
    side: usize,
    scratch: &'a mut Scratch,
    tensor: &'a mut [f32],
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Letterbox {
            width,
            height,
            left,
            top,
            ..
        } = self.plan.letterbox;
        let (blue, rest) = self.tensor.split_at_mut(self.side * self.side);
        let (green, red) = rest.split_at_mut(self.side * self.side);

        for y in 0..height {
            let Scratch { blended, resampled } = &mut *self.scratch;
            for (plane, resampled) in resampled.iter_mut().enumerate() {
                let [columns, rows] = if plane == 0 {
                    &self.plan.luma
                } else {
                    &self.plan.chroma
                };
                let (first, second) = self.picture.rows(plane, usize::from(rows.index[y]));
                blend(first, second, rows.weight[y], blended);
                resample(blended, columns, resampled);
            }
            let [luma, cb, cr] = &self.scratch.resampled;
            let begin = (top + y) * self.side + left;
            self.transform.apply(
                [&luma[..width], &cb[..width], &cr[..width]],
                [
                    &mut blue[begin..][..width],
                    &mut green[begin..][..width],
                    &mut red[begin..][..width],
                ],
            );
        }
    }
}

#[inline(always)]
fn blend(first: &[u8], second: &[u8], weight: f32, blended: &mut Row) {
    for ((blended, first), second) in blended.iter_mut().zip(first).zip(second) {
        let (first, second) = (f32::from(*first), f32::from(*second));
        *blended = first + (second - first) * weight;
    }
}

#[inline(always)]
fn resample(row: &Row, taps: &Taps, resampled: &mut [f32]) {
    let taps = taps.index.iter().zip(&taps.weight);
    for (resampled, (index, weight)) in resampled.iter_mut().zip(taps) {
        let index = usize::from(*index);
        let first = row[index % ROW_SAMPLES];
        let second = row[(index + 1) % ROW_SAMPLES];
        *resampled = first + (second - first) * weight;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NORMALISATION: Normalisation = Normalisation {
        mean: [103.53, 116.28, 123.675],
        deviation: [57.375, 57.12, 58.395],
    };

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
        fn reference(&self, colour: ColourMatrix, side: usize) -> Vec<f64> {
            let letterbox = Letterbox::new(self.layout.size, side);
            let mut tensor = vec![0.0; 3 * side * side];
            for y in 0..side {
                for x in 0..side {
                    let inside = (letterbox.left..letterbox.left + letterbox.width).contains(&x)
                        && (letterbox.top..letterbox.top + letterbox.height).contains(&y);
                    let [blue, green, red] = if inside {
                        let (x, y) = (x - letterbox.left, y - letterbox.top);
                        let sample = |plane| self.sample(plane, x, y, &letterbox);
                        let luma = 1.164383 * (sample(0) - 16.0);
                        let (cb, cr) = (sample(1) - 128.0, sample(2) - 128.0);
                        match colour {
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
                        [0.0; 3]
                    };
                    for (channel, value) in [blue, green, red].into_iter().enumerate() {
                        let mean = f64::from(NORMALISATION.mean[channel]);
                        let deviation = f64::from(NORMALISATION.deviation[channel]);
                        tensor[(channel * side + y) * side + x] =
                            (value.clamp(0.0, 255.0) - mean) / deviation;
                    }
                }
            }
            tensor
        }
    }

    fn largest_difference(tensor: &[f32], reference: &[f64]) -> f64 {
        assert_eq!(tensor.len(), reference.len());
        let pairs = tensor.iter().zip(reference);
        let differences = pairs.map(|(value, exact)| (f64::from(*value) - exact).abs());
        differences.fold(0.0, f64::max)
    }

    fn assert_close(maker: &mut TensorMaker, image: &Image, colour: ColourMatrix) {
        maker.make(&image.picture(colour));
        let difference = largest_difference(maker.tensor(), &image.reference(colour, maker.side));
        assert!(difference < 1e-3, "{:?}: {difference}", image.layout.size);
    }

    #[test]
    fn real_sizes_match_the_definition() {
        let mut maker = TensorMaker::new(416, NORMALISATION);
        for (width, height) in [(768, 576), (640, 272), (1920, 1080), (176, 144), (272, 640)] {
            for colour in [ColourMatrix::Bt601, ColourMatrix::Bt709] {
                let image = Image::noise(width, height, u64::from(width * height));
                assert_close(&mut maker, &image, colour);
            }
        }
    }

    #[test]
    fn the_least_and_the_largest_sides_are_taken() {
        let mut maker = TensorMaker::new(64, NORMALISATION);
        for (width, height) in [(1, 1), (2, 2), (1, 300), (SIDE_MAX, 2), (3, SIDE_MAX)] {
            assert_close(
                &mut maker,
                &Image::noise(width, height, 7),
                ColourMatrix::Bt601,
            );
        }
    }

    #[test]
    fn a_smaller_picture_leaves_nothing_of_a_larger_one() {
        let mut maker = TensorMaker::new(96, NORMALISATION);
        maker.make(&Image::noise(96, 96, 1).picture(ColourMatrix::Bt601));
        assert_close(&mut maker, &Image::noise(96, 33, 2), ColourMatrix::Bt601);
        assert_close(&mut maker, &Image::noise(21, 96, 3), ColourMatrix::Bt601);
    }

    #[test]
    fn white_black_and_out_of_range_are_clamped() {
        let mut image = Image::noise(16, 16, 1);
        let mut maker = TensorMaker::new(32, NORMALISATION);
        for (luma, value) in [(16, 0.0), (0, 0.0), (235, 255.0), (255, 255.0)] {
            image.bytes.fill(128);
            image.bytes[..image.layout.offsets[1]].fill(luma);
            maker.make(&image.picture(ColourMatrix::Bt601));
            let blue = (value - NORMALISATION.mean[0]) / NORMALISATION.deviation[0];
            assert!((maker.tensor()[0] - blue).abs() < 1e-4, "luma {luma}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn odd_sizes_match_the_definition(
            width in 1_u32..200, height in 1_u32..200, seed: u64, high_definition: bool,
        ) {
            let colour = if high_definition { ColourMatrix::Bt709 } else { ColourMatrix::Bt601 };
            let mut maker = TensorMaker::new(96, NORMALISATION);
            assert_close(&mut maker, &Image::noise(width, height, seed), colour);
        }
    }
}
