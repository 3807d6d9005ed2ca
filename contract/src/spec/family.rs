//! How to talk to a model: its family, and what a config says of its input.

use serde::{Deserialize, Serialize};

use crate::findings::Finds;
use crate::geometry::PixelSize;

/// How a model's input is made and its output read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    /// `NanoDet` with three strides: class scores and distance distributions.
    Nanodet,
    /// The anchor-free head of `YOLOv8`, v9, v11 and v12, and the end-to-end output of `YOLOv10`
    /// and of exports with suppression built in.
    Yolov8,
    /// `YOLOX`: boxes relative to the cells of a grid, objectness and class scores.
    Yolox,
    /// `CenterFace`: faces with five landmarks, from heat maps.
    Centerface,
    /// `SCRFD`: faces with five landmarks, from distances at three strides.
    Scrfd,
    /// `BlazeFace`, short range: faces with six key points, from anchors.
    Blazeface,
    /// Boxes, classes and scores that are final, as the TensorFlow Object Detection API and
    /// torchvision export them.
    Ssd,
    /// One score a class for the whole picture.
    Classifier,
    /// A vector that is near to those of pictures of the same thing: of a face, of a person.
    Embedding,
    /// Depth of every place, near or far, in the model's own unit.
    Depth,
    /// Semantic segmentation: the class of every place.
    Segmentation,
}

impl ModelFamily {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Nanodet,
        Self::Yolov8,
        Self::Yolox,
        Self::Centerface,
        Self::Scrfd,
        Self::Blazeface,
        Self::Ssd,
        Self::Classifier,
        Self::Embedding,
        Self::Depth,
        Self::Segmentation,
    ];

    /// The family in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nanodet => "nanodet",
            Self::Yolov8 => "yolov8",
            Self::Yolox => "yolox",
            Self::Centerface => "centerface",
            Self::Scrfd => "scrfd",
            Self::Blazeface => "blazeface",
            Self::Ssd => "ssd",
            Self::Classifier => "classifier",
            Self::Embedding => "embedding",
            Self::Depth => "depth",
            Self::Segmentation => "segmentation",
        }
    }

    /// The one class of a family that finds nothing else, whatever the file.
    #[must_use]
    pub fn only_label(self) -> Option<&'static str> {
        match self {
            Self::Centerface | Self::Scrfd | Self::Blazeface => Some("face"),
            _ => None,
        }
    }

    /// What kind of thing it says of a picture.
    #[must_use]
    pub fn finds(self) -> Finds {
        match self {
            Self::Nanodet
            | Self::Yolov8
            | Self::Yolox
            | Self::Centerface
            | Self::Scrfd
            | Self::Blazeface
            | Self::Ssd
            | Self::Classifier => Finds::Objects,
            Self::Embedding => Finds::Embedding,
            Self::Depth => Finds::Depth,
            Self::Segmentation => Finds::Classes,
        }
    }

    /// Whether it finds landmarks on objects.
    #[must_use]
    pub fn finds_landmarks(self) -> bool {
        matches!(self, Self::Centerface | Self::Scrfd | Self::Blazeface)
    }
}

/// What a config says of a model's input, where it says anything; the rest is the file's and
/// the family's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct InputSpec {
    /// Size of the input, for files that leave it open.
    pub size: Option<PixelSize>,
    /// Order of the channels.
    pub colour: Option<ColourOrder>,
    /// Subtracted from each channel, on the scale 0 to 255, in the order of the channels.
    pub mean: Option<[f32; 3]>,
    /// What each channel is divided by after that.
    pub deviation: Option<[f32; 3]>,
}

/// In which order a tensor holds its colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV reads pictures.
    Bgr,
}

impl ColourOrder {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rgb, Self::Bgr];

    /// The order in one word, as in a run config.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        }
    }
}
