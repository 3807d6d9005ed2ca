//! Pictures of many streams to one tensor: `kernels/letterbox.cu`.

#![expect(unsafe_code, reason = "it launches a kernel")]

use crate::device::Device;
use crate::error::CudaError;
use crate::memory::{DeviceBuffer, DeviceSlice, PinnedBuffer};
use crate::module::Function;
use crate::stream::Work;

pub(super) const PTX: &str = include_str!("../../kernels/letterbox.ptx");

/// Threads of a block: a warp is a row, so what it writes lies side by side.
const BLOCK: [u32; 3] = [32, 8, 1];
/// Longest side of a picture and of a tensor: positions in it are exact enough in 32-bit floats.
const SIDE_MAX: u32 = 8192;
/// Blocks of a grid in its third dimension, at most (CUDA C++ programming guide, "Compute
/// capabilities").
const PICTURES_MAX: usize = 65_535;

/// Why pictures cannot become a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterboxError {
    /// A mistake in what was asked for.
    #[error("picture {index} of a batch: {what}")]
    Picture {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The device.
    #[error(transparent)]
    Device(#[from] CudaError),
    /// A mistake in where it is to go.
    #[error("the tensor of a batch: {what}")]
    Target {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where the samples of a picture lie, Y'CbCr with a sample of chroma for two by two of luma, each
/// a byte. Strides are in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Planes<'a> {
    /// Three planes.
    I420 {
        /// Y, Cb, Cr.
        planes: [DeviceSlice<'a>; 3],
        /// From row to row of luma and of chroma.
        strides: [u32; 2],
    },
    /// Luma, and Cb and Cr side by side.
    Nv12 {
        /// Y, CbCr.
        planes: [DeviceSlice<'a>; 2],
        /// From row to row of luma and of chroma.
        strides: [u32; 2],
    },
}

/// Where a picture lies in its tensor, in pixels of the tensor; what surrounds it is padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Columns at its left.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width there.
    pub width: u32,
    /// Its height there.
    pub height: u32,
}

/// A picture of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Its samples.
    pub planes: Planes<'a>,
    /// Width and height, in pixels.
    pub size: [u32; 2],
    /// Where it is to lie.
    pub place: Place,
    /// What chroma adds, for limited range: Cb to blue, Cb to green, Cr to green, Cr to red.
    pub chroma_weights: [f32; 4],
}

/// The type of the values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    Float32,
    /// 16-bit floats (IEEE 754 binary16).
    Float16,
    /// Bytes, rounded to the nearest.
    Byte,
}

impl Element {
    /// Bytes of one value.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
            Self::Byte => 1,
        }
    }
}

/// A tensor, and what the values of a colour become: `value * scale + shift`. The colours of the
/// arrays are blue, green and red, whatever the order of the channels.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where it lies; a place for each picture of the batch.
    pub memory: DeviceSlice<'a>,
    /// Width and height of a place, in pixels.
    pub size: [u32; 2],
    /// What it is made of.
    pub element: Element,
    /// `[N, H, W, 3]` instead of `[N, 3, H, W]`.
    pub interleaved: bool,
    /// Red is the first channel instead of blue.
    pub red_first: bool,
    /// Of blue, green and red.
    pub scale: [f32; 3],
    /// Of blue, green and red.
    pub shift: [f32; 3],
    /// What is put where there is no picture, of blue, green and red.
    pub padding: [f32; 3],
}

/// As `struct picture` of the kernel.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Row {
    addresses: [u64; 3],
    size: [u32; 2],
    strides: [u32; 2],
    chroma_step: u32,
    place: [u32; 4],
    chroma_weights: [f32; 4],
    reserved: u32,
}

/// As `struct letterbox` of the kernel.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Parameters {
    pictures: u64,
    tensor: u64,
    size: [u32; 2],
    element: u32,
    interleaved: u32,
    red_first: u32,
    reserved: u32,
    scale: [f32; 3],
    shift: [f32; 3],
    padding: [f32; 3],
    reserved2: u32,
}

const _: () = assert!(size_of::<Row>() == 80 && size_of::<Parameters>() == 80);

/// What a device is told of the pictures of a batch; made once, used for one batch after the
/// other.
#[derive(Debug)]
pub struct PictureTable {
    host: PinnedBuffer,
    device: DeviceBuffer,
}

impl PictureTable {
    /// For so many pictures.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(device: &Device, pictures: usize) -> Result<Self, CudaError> {
        let bytes = pictures.clamp(1, PICTURES_MAX) * size_of::<Row>();
        Ok(Self {
            host: PinnedBuffer::new(device, bytes)?,
            device: DeviceBuffer::new(device, bytes)?,
        })
    }

    fn pictures_max(&self) -> usize {
        self.host.len() / size_of::<Row>()
    }
}

/// The kernel, loaded.
#[derive(Debug)]
pub struct Letterbox {
    function: Function,
}

impl Letterbox {
    /// Loads it.
    ///
    /// # Errors
    /// When the driver is older than the PTX: one from 580 on takes it.
    pub fn load(device: &Device) -> Result<Self, CudaError> {
        Ok(Self {
            function: Function::load(device, PTX, "letterbox")?,
        })
    }

    /// Queues the tensor of these pictures, at least one: the first goes to the first place.
    ///
    /// # Errors
    /// When a picture or the tensor is not as it says; then nothing is queued.
    pub fn queue<'work>(
        &'work self,
        work: &'work Work<'work, '_>,
        table: &'work mut PictureTable,
        pictures: &[Picture<'work>],
        target: &Target<'work>,
    ) -> Result<(), LetterboxError> {
        let parameters = target.checked(pictures.len(), table)?;
        let rows = table.host.chunks_exact_mut(size_of::<Row>());
        for (index, (picture, bytes)) in pictures.iter().zip(rows).enumerate() {
            let row = picture
                .checked(target.size)
                .map_err(|what| LetterboxError::Picture { index, what })?;
            bytes.copy_from_slice(bytemuck::bytes_of(&row));
        }
        let table: &'work PictureTable = table;
        let rows = &table.host[..pictures.len() * size_of::<Row>()];
        work.upload(rows, table.device.whole())?;
        let [width, height] = target.size;
        let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
        let grid = [width.div_ceil(BLOCK[0]), height.div_ceil(BLOCK[1]), count];
        // SAFETY: the parameters are laid out as the kernel's, and the checks above say that all
        // of every picture, of the table and of the tensor is within its memory, which stays for
        // `'work`.
        unsafe { work.launch(&self.function, grid, BLOCK, &parameters) }?;
        Ok(())
    }
}

impl Target<'_> {
    fn checked(&self, pictures: usize, table: &PictureTable) -> Result<Parameters, LetterboxError> {
        let unfit = |what| LetterboxError::Target { what };
        if pictures == 0 {
            return Err(unfit("there is no picture"));
        }
        if pictures > table.pictures_max() {
            return Err(unfit("there are more pictures than the table has room for"));
        }
        let [width, height] = self.size;
        if ![width, height]
            .iter()
            .all(|side| (1..=SIDE_MAX).contains(side))
        {
            return Err(unfit("a side is not from 1 to 8192"));
        }
        let values = 3 * width as usize * height as usize * pictures;
        if self.memory.len() < values * self.element.bytes() {
            return Err(unfit("its memory is too small"));
        }
        if !self
            .memory
            .address()
            .is_multiple_of(self.element.bytes() as u64)
        {
            return Err(unfit("its memory begins within a value"));
        }
        Ok(Parameters {
            pictures: table.device.whole().address(),
            tensor: self.memory.address(),
            size: self.size,
            element: match self.element {
                Element::Float32 => 0,
                Element::Float16 => 1,
                Element::Byte => 2,
            },
            interleaved: self.interleaved.into(),
            red_first: self.red_first.into(),
            reserved: 0,
            scale: self.scale,
            shift: self.shift,
            padding: self.padding,
            reserved2: 0,
        })
    }
}

impl Picture<'_> {
    fn checked(&self, target: [u32; 2]) -> Result<Row, &'static str> {
        let [width, height] = self.size;
        if ![width, height]
            .iter()
            .all(|side| (1..=SIDE_MAX).contains(side))
        {
            return Err("a side is not from 1 to 8192");
        }
        let place = self.place;
        let within = |begin: u32, length: u32, whole: u32| {
            length > 0 && begin.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !within(place.left, place.width, target[0])
            || !within(place.top, place.height, target[1])
        {
            return Err("its place is not within the tensor");
        }
        let chroma = [width.div_ceil(2), height.div_ceil(2)];
        let (planes, strides, step) = match &self.planes {
            Planes::I420 { planes, strides } => (planes.map(Some), *strides, 1),
            Planes::Nv12 { planes, strides } => {
                ([Some(planes[0]), Some(planes[1]), None], *strides, 2)
            }
        };
        let sizes = [
            self.size,
            [chroma[0] * step, chroma[1]],
            [chroma[0], chroma[1]],
        ];
        let strides_of = [strides[0], strides[1], strides[1]];
        for ((plane, [columns, rows]), stride) in planes.iter().zip(sizes).zip(strides_of) {
            if stride < columns {
                return Err("a stride is less than a row");
            }
            let needed = stride as usize * (rows as usize - 1) + columns as usize;
            if plane.is_some_and(|plane| plane.len() < needed) {
                return Err("a plane is longer than its memory");
            }
        }
        let address = |index: usize| planes[index].map(|plane| plane.address());
        let cb = address(1).unwrap_or(0);
        Ok(Row {
            addresses: [address(0).unwrap_or(0), cb, address(2).unwrap_or(cb + 1)],
            size: self.size,
            strides,
            chroma_step: step,
            place: [place.left, place.top, place.width, place.height],
            chroma_weights: self.chroma_weights,
            reserved: 0,
        })
    }
}
