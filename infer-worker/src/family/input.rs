//! What a model takes: the file's own words first, then the config's, then what is usual for
//! the family.

use contract::geometry::PixelSize;
use contract::spec::{ColourOrder, InputSpec, ModelFamily};

use super::{BindError, Element, Port, mismatch};
use super::{blazeface, centerface, classifier, depth, embedding, nanodet};
use super::{scrfd, segmentation, ssd, yolov8, yolox};
use crate::tensor::{BatchDimension, ChannelLayout, Normalisation, TensorFormat};

/// Longest side of an input: a tensor of two of them has 200 MB.
const SIDE_MAX: u32 = 4096;

/// Most pictures of a tensor whose file fixes their number: as many as a config may ask for.
const BATCH_MAX: usize = 64;

/// What is usual for a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convention {
    /// Where the file takes any size.
    pub(super) size: PixelSize,
    /// Sides must be multiples of this.
    pub(super) stride: u32,
    /// Order of the channels.
    pub(super) colour: ColourOrder,
    /// Of models that take floats.
    pub(super) normalisation: Normalisation,
    /// What surrounds the picture in its letterbox, on the scale 0 to 255.
    pub(super) padding: f32,
}

fn convention(family: ModelFamily) -> Convention {
    match family {
        ModelFamily::Nanodet => nanodet::CONVENTION,
        ModelFamily::Yolov8 => yolov8::CONVENTION,
        ModelFamily::Yolox => yolox::CONVENTION,
        ModelFamily::Centerface => centerface::CONVENTION,
        ModelFamily::Scrfd => scrfd::CONVENTION,
        ModelFamily::Blazeface => blazeface::CONVENTION,
        ModelFamily::Ssd => ssd::CONVENTION,
        ModelFamily::Classifier => classifier::CONVENTION,
        ModelFamily::Embedding => embedding::CONVENTION,
        ModelFamily::Depth => depth::CONVENTION,
        ModelFamily::Segmentation => segmentation::CONVENTION,
    }
}

/// The format of the pictures that a model with these inputs is to be given.
///
/// # Errors
/// When it does not take pictures in colour, or not of the size that is asked for.
pub fn input(
    family: ModelFamily,
    inputs: &[Port],
    spec: &InputSpec,
) -> Result<TensorFormat, BindError> {
    let convention = convention(family);
    let picture = Picture::of(inputs).ok_or_else(|| {
        let expected = "one input for pictures, f32 or u8, [?,3,H,W] or [?,H,W,3]";
        mismatch(family, expected.to_owned(), inputs)
    })?;
    let asked = spec.size.unwrap_or(convention.size);
    let size = PixelSize {
        width: picture.width.unwrap_or(asked.width),
        height: picture.height.unwrap_or(asked.height),
    };
    if let Some(asked) = spec.size.filter(|asked| *asked != size) {
        return Err(BindError::FixedSize { asked, fixed: size });
    }
    check_stride(family, size, convention.stride)?;
    let normalisation = if picture.bytes {
        if spec.mean.is_some() || spec.deviation.is_some() {
            return Err(BindError::NormalisedBytes);
        }
        Normalisation::NONE
    } else {
        let Normalisation { mean, deviation } = convention.normalisation;
        Normalisation {
            mean: spec.mean.unwrap_or(mean),
            deviation: spec.deviation.unwrap_or(deviation),
        }
    };
    Ok(TensorFormat {
        size,
        layout: picture.layout,
        colour: spec.colour.unwrap_or(convention.colour),
        normalisation,
        padding: convention.padding,
        bytes: picture.bytes,
        batch: picture.batch,
    })
}

/// What the file says of its input.
struct Picture {
    layout: ChannelLayout,
    width: Option<u32>,
    height: Option<u32>,
    bytes: bool,
    batch: BatchDimension,
}

impl Picture {
    fn of(inputs: &[Port]) -> Option<Self> {
        let [input] = inputs else { return None };
        let (batch, dimensions) = match input.shape[..] {
            [-1, first, second, third] => (BatchDimension::Open, [first, second, third]),
            [pictures, first, second, third] => {
                let pictures = usize::try_from(pictures).ok()?;
                let fixed = (1..=BATCH_MAX).contains(&pictures);
                let fixed = fixed.then_some(BatchDimension::Fixed(pictures))?;
                (fixed, [first, second, third])
            }
            [first, second, third] => (BatchDimension::Absent, [first, second, third]),
            _ => return None,
        };
        // Where the channels are left open, planes are by far the more usual.
        let (layout, height, width) = match dimensions {
            [3, height, width] => (ChannelLayout::Planar, height, width),
            [height, width, 3] => (ChannelLayout::Interleaved, height, width),
            [-1, height, width] => (ChannelLayout::Planar, height, width),
            _ => return None,
        };
        let side = |dimension: i64| match dimension {
            -1 => Some(None),
            known => {
                let side = u32::try_from(known).ok()?;
                (1..=SIDE_MAX).contains(&side).then_some(Some(side))
            }
        };
        Some(Self {
            layout,
            width: side(width)?,
            height: side(height)?,
            bytes: match input.element {
                Element::F32 => false,
                Element::U8 => true,
                Element::I32 | Element::I64 | Element::Other => return None,
            },
            batch,
        })
    }
}

fn check_stride(family: ModelFamily, size: PixelSize, stride: u32) -> Result<(), BindError> {
    let nearest = |side: u32| {
        let steps = (side + stride / 2) / stride;
        (steps * stride).clamp(stride, SIDE_MAX / stride * stride)
    };
    let nearest = PixelSize {
        width: nearest(size.width),
        height: nearest(size.height),
    };
    if nearest == size {
        return Ok(());
    }
    Err(BindError::Stride {
        family: family.as_str(),
        size,
        stride,
        nearest,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::port;
    use super::*;

    fn spec(width: u32, height: u32) -> InputSpec {
        InputSpec {
            size: Some(PixelSize { width, height }),
            ..InputSpec::default()
        }
    }

    fn resolve(
        family: ModelFamily,
        shape: &[i64],
        spec: &InputSpec,
    ) -> Result<TensorFormat, String> {
        input(family, &[port("images", shape)], spec).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_goes_before_the_config_and_that_before_the_family() {
        let open = InputSpec::default();
        let fixed = resolve(ModelFamily::Yolov8, &[1, 3, 384, 640], &open).expect("it fits");
        assert_eq!(fixed.dimensions(1), [1, 3, 384, 640]);
        let any = resolve(ModelFamily::Yolov8, &[-1, 3, -1, -1], &open).expect("any size");
        assert_eq!(any.dimensions(1), [1, 3, 640, 640]);
        assert_eq!((any.colour, any.padding), (ColourOrder::Rgb, 114.0));
        assert_eq!(any.normalisation, Normalisation::UNIT);
        let asked = resolve(ModelFamily::Yolov8, &[-1, 3, -1, -1], &spec(320, 192));
        assert_eq!(asked.expect("any size").dimensions(1), [1, 3, 192, 320]);
        let same = resolve(ModelFamily::Yolov8, &[1, 3, 192, 320], &spec(320, 192));
        assert!(same.is_ok(), "{same:?}");

        let own = InputSpec {
            size: None,
            colour: Some(ColourOrder::Bgr),
            mean: Some([1.0, 2.0, 3.0]),
            deviation: Some([4.0; 3]),
        };
        let own = resolve(ModelFamily::Yolov8, &[1, 3, 32, 32], &own).expect("it fits");
        assert_eq!(own.colour, ColourOrder::Bgr);
        assert_eq!(own.normalisation.mean, [1.0, 2.0, 3.0]);
        assert_eq!(own.normalisation.deviation, [4.0; 3]);
    }

    #[test]
    fn layouts_are_told_apart() {
        let default = InputSpec::default();
        let layout = |shape: &[i64]| {
            let format = resolve(ModelFamily::Ssd, shape, &default);
            format.map(|format| (format.layout, format.batch, format.size.width))
        };
        let (planar, interleaved) = (ChannelLayout::Planar, ChannelLayout::Interleaved);
        let (one, open) = (BatchDimension::Fixed(1), BatchDimension::Open);
        assert_eq!(layout(&[1, 3, 200, 300]), Ok((planar, one, 300)));
        assert_eq!(
            layout(&[3, 200, 300]),
            Ok((planar, BatchDimension::Absent, 300))
        );
        assert_eq!(
            layout(&[4, 3, 200, 300]),
            Ok((planar, BatchDimension::Fixed(4), 300))
        );
        assert_eq!(layout(&[-1, -1, -1, -1]), Ok((planar, open, 320)));
        assert_eq!(layout(&[-1, 200, 100, 3]), Ok((interleaved, open, 100)));
        assert_eq!(layout(&[1, -1, -1, 3]), Ok((interleaved, one, 320)));
        for wrong in [
            &[1, 1, 200, 300][..],
            &[65, 3, 200, 300],
            &[0, 3, 200, 300],
            &[3, 9000, 1],
            &[10],
        ] {
            let error = layout(wrong).expect_err("no picture");
            assert!(
                error.starts_with("not a ssd model: expected one input"),
                "{error}"
            );
        }
        let two = [port("a", &[1, 3, 32, 32]), port("b", &[1, 3, 32, 32])];
        assert!(input(ModelFamily::Ssd, &two, &default).is_err());
    }

    #[test]
    fn a_size_that_cannot_be_run_is_refused_by_name() {
        let error = resolve(ModelFamily::Yolov8, &[1, 3, -1, -1], &spec(300, 500));
        assert_eq!(
            error.expect_err("not multiples"),
            "a yolov8 model cannot run at 300x500: width and height must be multiples of 32; \
             set `input.size` to 288x512"
        );
        let error = resolve(ModelFamily::Nanodet, &[1, 3, 416, 416], &spec(320, 320));
        assert_eq!(
            error.expect_err("another size"),
            "`input.size` asks for 320x320, but the model takes 416x416 only: leave it out"
        );
    }

    #[test]
    fn bytes_are_not_normalised() {
        let mut bytes = port("image_tensor", &[1, -1, -1, 3]);
        bytes.element = Element::U8;
        let format = input(
            ModelFamily::Ssd,
            std::slice::from_ref(&bytes),
            &spec(320, 320),
        );
        let format = format.expect("bytes");
        assert!(format.bytes);
        assert_eq!(format.normalisation, Normalisation::NONE);
        let normalised = InputSpec {
            mean: Some([1.0; 3]),
            ..InputSpec::default()
        };
        let error = input(ModelFamily::Ssd, &[bytes], &normalised);
        assert_eq!(error, Err(BindError::NormalisedBytes));
    }
}
