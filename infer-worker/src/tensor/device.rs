//! Tensors of pictures that lie on a GPU, made there: one kernel for a batch, in one pass from
//! I420 to what the model takes, by the definition that `tensor/mod.rs` gives.

use contract::geometry::I420Layout;
use contract::spec::ColourOrder;
use cuda::kernels::{
    Element, Letterbox, LetterboxError, Picture, PictureTable, Place, Planes, Target,
};
use cuda::{CudaError, Device, DeviceBuffer, DeviceSlice, Stream};
use frame_bus::ColourMatrix;

use super::format::{ChannelLayout, TensorFormat};
use super::{Transform, chroma_weights};
use crate::letterbox;

/// A picture in the memory of a GPU.
#[derive(Debug, Clone, Copy)]
pub struct DevicePicture<'a> {
    /// Size, strides and where its planes begin.
    pub layout: &'a I420Layout,
    /// All of it.
    pub memory: DeviceSlice<'a>,
    /// How luma and chroma become colours.
    pub colour: ColourMatrix,
}

/// Makes the tensors of one session on one GPU.
#[derive(Debug)]
pub struct DeviceTensors {
    stream: Stream,
    kernel: Letterbox,
    table: PictureTable,
    tensor: DeviceBuffer,
}

impl DeviceTensors {
    /// For tensors of up to so many pictures.
    ///
    /// # Errors
    /// When the GPU has no room, or its driver is too old.
    pub fn new(device: &Device, format: &TensorFormat, pictures: usize) -> Result<Self, CudaError> {
        let bytes = pictures * format.values() * element(format).bytes();
        Ok(Self {
            stream: Stream::new(device)?,
            kernel: Letterbox::load(device)?,
            table: PictureTable::new(device, pictures)?,
            tensor: DeviceBuffer::new(device, bytes)?,
        })
    }

    /// The GPU.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.stream.device()
    }

    /// Makes the tensor of these pictures and copies it to `tensor`, which is as long. The
    /// pictures are not needed after this.
    pub(super) fn make(
        &mut self,
        format: &TensorFormat,
        pictures: &[DevicePicture<'_>],
        letterboxes: &[letterbox::Letterbox],
        tensor: &mut [u8],
    ) -> Result<(), LetterboxError> {
        let batch = pictures.iter().zip(letterboxes);
        let batch: Result<Vec<_>, CudaError> = batch
            .map(|(picture, letterbox)| picture.placed(letterbox))
            .collect();
        let batch = batch?;
        let Self {
            stream,
            kernel,
            table,
            tensor: made,
        } = self;
        let made = &*made;
        let target = target(format, made.whole());
        stream.run(|work| {
            kernel.queue(work, &mut *table, &batch, &target)?;
            Ok(work.download(made.whole(), &mut *tensor)?)
        })
    }
}

impl<'a> DevicePicture<'a> {
    fn placed(&self, letterbox: &letterbox::Letterbox) -> Result<Picture<'a>, CudaError> {
        let layout = self.layout;
        let plane = |plane: usize| {
            let begin = layout.offsets[plane];
            let bytes = layout.strides[plane] * layout.rows[plane];
            self.memory.slice(begin..begin + bytes)
        };
        // Sides and strides are at most SIDE_MAX.
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Picture {
            planes: Planes::I420 {
                planes: [plane(0)?, plane(1)?, plane(2)?],
                strides: [narrow(layout.strides[0]), narrow(layout.strides[1])],
            },
            size: [layout.size.width, layout.size.height],
            place: Place {
                left: narrow(letterbox.left),
                top: narrow(letterbox.top),
                width: narrow(letterbox.width),
                height: narrow(letterbox.height),
            },
            chroma_weights: chroma_weights(self.colour),
        })
    }
}

fn element(format: &TensorFormat) -> Element {
    if format.bytes {
        Element::Byte
    } else {
        Element::Float32
    }
}

fn target<'a>(format: &TensorFormat, memory: DeviceSlice<'a>) -> Target<'a> {
    let red_first = format.colour == ColourOrder::Rgb;
    // Of blue, green and red, as its fields are.
    let Transform { scale, shift, .. } = Transform::new(ColourMatrix::default(), format);
    let mut padding = format.padding_values();
    if red_first {
        padding.reverse();
    }
    Target {
        memory,
        size: [format.size.width, format.size.height],
        element: element(format),
        interleaved: format.layout == ChannelLayout::Interleaved,
        red_first,
        scale,
        shift,
        padding,
    }
}
