//! From I420 pictures to a tensor of letterboxed, normalised ones, each in one pass.
//!
//! A row of the tensor is made from two rows of each plane: the rows are blended
//! first, at the picture's width, because that loop is contiguous; then the blended
//! row is resampled to the tensor's width; then luma and chroma become blue, green and
//! red, already normalised, where the model wants them. No full-size RGB picture exists
//! at any time.
//!
//! All arithmetic is `f32` without rounding in between, so the result is that of the
//! definition below to within 1e-3 of a normalised value, whatever the instruction
//! set. With `(x, y)` a pixel of the scaled picture and `w x h` the size of a plane:
//!
//! - source position `((x + 0.5) * w / width - 0.5, (y + 0.5) * h / height - 0.5)`,
//!   clamped to the plane, bilinear;
//! - ITU-R BT.601 or BT.709, limited range, clamped to 0..255;
//! - `(value - mean) / standard deviation` for each channel; padding is one value for
//!   all of them, treated the same;
//! - for models that take bytes, rounded to the nearest.

mod device;
mod format;

use contract::geometry::{I420Layout, PixelSize, SIDE_MAX};
use contract::spec::ColourOrder;
use cuda::kernels::LetterboxError;
use frame_bus::ColourMatrix;
use pulp::{Arch, Simd, WithSimd};

use crate::letterbox::Letterbox;

pub use device::{DevicePicture, DeviceTensors};
pub use format::{BatchDimension, ChannelLayout, Normalisation, TensorFormat};

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

/// The values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TensorValues<'a> {
    /// For models that take floats.
    Floats(&'a [f32]),
    /// For models that take bytes.
    Bytes(&'a [u8]),
}

/// Makes the tensors of one session; owns the tensor and all scratch rows.
///
/// The tensor has a *place* for each picture of a batch. A place keeps what it held until it is
/// written again, so pictures of one size after the other need no new padding.
#[derive(Debug)]
pub struct TensorMaker {
    format: TensorFormat,
    plan: Plan,
    scratch: Scratch,
    tensor: Vec<f32>,
    /// The tensor in bytes; empty where the model takes floats.
    bytes: Vec<u8>,
    /// Where the picture lies in each place; `None`: it holds padding only.
    places: Vec<Option<Letterbox>>,
    arch: Arch,
}

impl TensorMaker {
    /// A maker of tensors of one format, of up to so many pictures.
    #[must_use]
    pub fn new(format: TensorFormat, places: usize) -> Self {
        let size = PixelSize {
            width: 16,
            height: 16,
        };
        let places = places.max(1);
        let values = places * format.values();
        let mut maker = Self {
            plan: Plan::new(size, format.size),
            scratch: Scratch::new(format.size.width as usize),
            tensor: vec![0.0; values],
            bytes: vec![0; if format.bytes { values } else { 0 }],
            places: vec![None; places],
            arch: Arch::new(),
            format,
        };
        for place in 0..places {
            maker.pad(place);
            maker.round(place);
        }
        maker
    }

    /// What it makes.
    #[must_use]
    pub fn format(&self) -> &TensorFormat {
        &self.format
    }

    /// Most pictures of a tensor.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The first so many places of the tensor.
    #[must_use]
    pub fn tensor(&self, places: usize) -> TensorValues<'_> {
        let values = places.min(self.places()) * self.format.values();
        if self.format.bytes {
            TensorValues::Bytes(&self.bytes[..values])
        } else {
            TensorValues::Floats(&self.tensor[..values])
        }
    }

    /// Writes a picture into a place and says where in it the picture lies.
    pub fn make(&mut self, place: usize, picture: &Picture<'_>) -> Letterbox {
        if self.plan.letterbox.picture != picture.layout.size {
            self.plan = Plan::new(picture.layout.size, self.format.size);
        }
        let letterbox = self.plan.letterbox;
        if self.places[place] != Some(letterbox) {
            self.pad(place);
            self.places[place] = Some(letterbox);
        }
        let values = self.format.values();
        self.arch.dispatch(Fill {
            picture,
            plan: &self.plan,
            transform: Transform::new(picture.colour, &self.format),
            format: &self.format,
            scratch: &mut self.scratch,
            tensor: &mut self.tensor[place * values..][..values],
        });
        self.round(place);
        letterbox
    }

    /// Writes pictures that lie on a GPU into places from `first` on, and says where in them each
    /// lies.
    ///
    /// # Errors
    /// When the GPU fails; the places then hold nothing of use.
    ///
    /// # Panics
    /// When there are not as many places.
    pub fn make_on_device(
        &mut self,
        first: usize,
        device: &mut DeviceTensors,
        pictures: &[DevicePicture<'_>],
    ) -> Result<Vec<Letterbox>, LetterboxError> {
        let letterboxes: Vec<_> = pictures
            .iter()
            .map(|picture| Letterbox::new(picture.layout.size, self.format.size))
            .collect();
        let places = first..first + pictures.len();
        let values = self.format.values();
        let range = places.start * values..places.end * values;
        let tensor = if self.format.bytes {
            &mut self.bytes[range]
        } else {
            bytemuck::cast_slice_mut(&mut self.tensor[range])
        };
        let made = device.make(&self.format, pictures, &letterboxes, tensor);
        for (place, letterbox) in places.zip(&letterboxes) {
            if made.is_err() {
                // What is there now is nothing.
                self.pad(place);
                self.round(place);
                self.places[place] = None;
            } else if self.places[place].replace(*letterbox) != Some(*letterbox)
                && self.format.bytes
            {
                // The floats behind the bytes were passed by, and get their padding.
                self.pad(place);
            }
        }
        made.map(|()| letterboxes)
    }

    /// Fills a place with padding, where a model takes more pictures than there are.
    pub fn clear(&mut self, place: usize) {
        if self.places[place].take().is_some() {
            self.pad(place);
            self.round(place);
        }
    }

    /// Fills a whole place with padding; the picture is written over it.
    fn pad(&mut self, place: usize) {
        let (padding, values) = (self.format.padding_values(), self.format.values());
        let tensor = &mut self.tensor[place * values..][..values];
        match self.format.layout {
            ChannelLayout::Planar => {
                let planes = tensor.chunks_exact_mut(self.format.pixels());
                for (plane, value) in planes.zip(padding) {
                    plane.fill(value);
                }
            }
            ChannelLayout::Interleaved => {
                for pixel in tensor.chunks_exact_mut(3) {
                    pixel.copy_from_slice(&padding);
                }
            }
        }
    }

    /// Makes the bytes of a place, where the model takes such.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and values are not negative"
    )]
    fn round(&mut self, place: usize) {
        if !self.format.bytes {
            return;
        }
        let values = self.format.values();
        let range = place * values..(place + 1) * values;
        let bytes = self.bytes[range.clone()].iter_mut();
        for (byte, value) in bytes.zip(&self.tensor[range]) {
            *byte = (value + 0.5) as u8;
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
    fn new(size: PixelSize, input: PixelSize) -> Self {
        let letterbox = Letterbox::new(size, input);
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

/// Blended rows at the width of each plane; resampled ones, and those of the channels, at the
/// tensor's.
#[derive(Debug)]
struct Scratch {
    blended: Box<Row>,
    resampled: [Vec<f32>; 3],
    channels: [Vec<f32>; 3],
}

impl Scratch {
    fn new(width: usize) -> Self {
        let row: Box<[f32]> = vec![0.0; ROW_SAMPLES].into_boxed_slice();
        Self {
            blended: row.try_into().expect("the row has ROW_SAMPLES samples"),
            resampled: std::array::from_fn(|_| vec![0.0; width]),
            channels: std::array::from_fn(|_| vec![0.0; width]),
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
    fn new(colour: ColourMatrix, format: &TensorFormat) -> Self {
        let [blue_cb, green_cb, green_cr, red_cr] = chroma_weights(colour);
        let Normalisation {
            mut mean,
            mut deviation,
        } = format.normalisation;
        if format.colour == ColourOrder::Rgb {
            mean.reverse();
            deviation.reverse();
        }
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
    format: &'a TensorFormat,
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
        let (pixels, stride) = (self.format.pixels(), self.format.size.width as usize);
        let red_first = self.format.colour == ColourOrder::Rgb;

        for y in 0..height {
            let Scratch {
                blended,
                resampled,
                channels,
            } = &mut *self.scratch;
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
            let rows = resampled.each_ref().map(|row| &row[..width]);
            let begin = (top + y) * stride + left;
            match self.format.layout {
                ChannelLayout::Planar => {
                    let (first, rest) = self.tensor.split_at_mut(pixels);
                    let (second, third) = rest.split_at_mut(pixels);
                    let planes = [first, second, third];
                    let mut planes = planes.map(|plane| &mut plane[begin..][..width]);
                    if red_first {
                        planes.reverse();
                    }
                    self.transform.apply(rows, planes);
                }
                ChannelLayout::Interleaved => {
                    let mut channels = channels.each_mut().map(|row| &mut row[..width]);
                    self.transform
                        .apply(rows, channels.each_mut().map(|row| &mut **row));
                    if red_first {
                        channels.reverse();
                    }
                    let row = &mut self.tensor[3 * begin..][..3 * width];
                    interleave(channels.map(|row| &*row), row);
                }
            }
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

#[inline(always)]
fn interleave([first, second, third]: [&[f32]; 3], pixels: &mut [f32]) {
    let values = first.iter().zip(second).zip(third);
    for (pixel, ((first, second), third)) in pixels.chunks_exact_mut(3).zip(values) {
        pixel.copy_from_slice(&[*first, *second, *third]);
    }
}

#[cfg(test)]
mod tests;
