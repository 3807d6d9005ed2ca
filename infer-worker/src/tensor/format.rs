//! What a model takes: a picture of a size, with its channels in an order, a layout and a scale.

use contract::geometry::PixelSize;
use contract::spec::ColourOrder;

/// How the values of a pixel become those of a model: `(value - mean) / deviation`, one of
/// each a channel, in the order of the model's channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Divided by.
    pub deviation: [f32; 3],
}

impl Normalisation {
    /// Values stay as they are, 0 to 255.
    pub const NONE: Self = Self {
        mean: [0.0; 3],
        deviation: [1.0; 3],
    };
    /// Mean and standard deviation of `ImageNet`, red first.
    pub const IMAGENET: Self = Self {
        mean: [123.675, 116.28, 103.53],
        deviation: [58.395, 57.12, 57.375],
    };
    /// Values from 0 to 1.
    pub const UNIT: Self = Self {
        mean: [0.0; 3],
        deviation: [255.0; 3],
    };
}

/// Where a tensor holds the channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelLayout {
    /// `[N, 3, H, W]`: a plane each.
    Planar,
    /// `[N, H, W, 3]`: side by side.
    Interleaved,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorFormat {
    /// Size of the picture.
    pub size: PixelSize,
    /// Where channels lie.
    pub layout: ChannelLayout,
    /// Their order.
    pub colour: ColourOrder,
    /// What becomes of their values.
    pub normalisation: Normalisation,
    /// What surrounds the picture in its letterbox, on the scale 0 to 255.
    pub padding: f32,
    /// Bytes instead of 32-bit floats.
    pub bytes: bool,
    /// How many pictures a tensor holds.
    pub batch: BatchDimension,
}

/// The first dimension of a tensor, which counts pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchDimension {
    /// There is none: one picture.
    Absent,
    /// Always so many.
    Fixed(usize),
    /// As many as there are.
    Open,
}

impl TensorFormat {
    /// Dimensions of a tensor of so many pictures.
    #[must_use]
    pub fn dimensions(&self, pictures: usize) -> Vec<usize> {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let picture = match self.layout {
            ChannelLayout::Planar => [3, height, width],
            ChannelLayout::Interleaved => [height, width, 3],
        };
        let batch = (self.batch != BatchDimension::Absent).then_some(pictures);
        batch.into_iter().chain(picture).collect()
    }

    /// Values of one picture.
    #[must_use]
    pub fn values(&self) -> usize {
        3 * self.pixels()
    }

    /// Pixels of the picture.
    pub(super) fn pixels(&self) -> usize {
        self.size.width as usize * self.size.height as usize
    }

    /// The value of padding in each channel, in the order of the channels.
    pub(super) fn padding_values(&self) -> [f32; 3] {
        let Normalisation { mean, deviation } = self.normalisation;
        std::array::from_fn(|channel| (self.padding - mean[channel]) / deviation[channel])
    }
}
